"""Live output on its way to the API, the command line and the page: all bytes, in order."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from accord.client import Client

from .platforms import RunningPlatform, clean_env

if TYPE_CHECKING:
    from playwright.sync_api import Page

TALK = r"""
import os, sys, time
out = b"\xff\xfe" + "ünï→".encode() * 5000 + bytes(range(256)) * 100
for at in range(0, len(out), 7001):  # cuts characters in two
    os.write(1, out[at:at + 7001])
    os.write(2, b"\x80%d\n" % at)
    time.sleep(0.01)
"""
OUT = b"\xff\xfe" + "ünï→".encode() * 5000 + bytes(range(256)) * 100
ERR = b"".join(b"\x80%d\n" % at for at in range(0, len(OUT), 7001))


@pytest.fixture
def own(tmp_path):
    """A platform that one test has for itself."""
    running = RunningPlatform(tmp_path / "data")
    running.start()
    yield running
    running.stop()


def test_events_bring_every_byte_in_order_while_the_program_runs(platform):
    with Client(platform.url) as client:
        task = client.submit(TALK + "time.sleep(1)", language="python")
        streams = {"stdout": b"", "stderr": b""}
        early = 0
        ended = False
        for event in client.events(task.id):
            ended = ended or bool(event.task and event.task.done)
            if event.kind == "output":
                assert event.offset == len(streams[event.stream])
                streams[event.stream] += event.data
                early += not ended
        assert streams == {"stdout": OUT, "stderr": ERR}
        assert early > 2
        assert client.file(task.id, "stdout") == OUT


def test_logs_followed_are_byte_exact(platform):
    with Client(platform.url) as client:
        task = client.submit("import time; time.sleep(1)\n" + TALK, language="python")
    argv = [sys.executable, "-m", "accord", "logs", "-f", task.id, "--url", platform.url]
    followed = subprocess.run(argv, capture_output=True, timeout=100, env=clean_env())
    assert (followed.stdout, followed.stderr) == (OUT, ERR)


def test_the_page_shows_what_comes_in_order_and_whole_characters(
    page: Page, platform: RunningPlatform
) -> None:
    program = (
        "import os, time\n"
        "time.sleep(2)\n"
        "for at in range(200): os.write(1, '→'.encode()[:2]); time.sleep(0.005);"
        " os.write(1, '→'.encode()[2:] + b'%d\\n' % at)\n"
        "time.sleep(60)\n"
    )
    with Client(platform.url) as client:
        task = client.submit(program, language="python")
        page.goto(f"/tasks/{task.id}", wait_until="commit")
        pane = page.locator("#live-output")
        pane.get_by_text("→199").wait_for()
        assert pane.text_content() == "".join(f"→{at}\n" for at in range(200))
        client.cancel(task.id)


def test_what_was_stored_survives_the_executor_and_the_next_run_begins_anew(own, tmp_path):
    program = (
        "import os, time\n"
        "if os.environ['ACCORD_REPLICA'] == '0':\n"
        "    os.write(1, b'lost \\xff\\n'); time.sleep(600)\n"
        "os.write(1, b'second \\xff\\n')\n"
    )
    with Client(own.url) as client:
        task = client.submit(program, language="python")
        by_run: dict[int, bytes] = {}
        for event in client.events(task.id):
            if event.kind == "output":
                there = by_run.setdefault(event.attempt, b"")
                assert event.offset == len(there)
                by_run[event.attempt] = there + event.data
                if by_run == {0: b"lost \xff\n"}:
                    own.kill("executor")
        assert list(by_run.values()) == [b"lost \xff\n", b"second \xff\n"]
        assert client.file(task.id, "stdout") == b"second \xff\n"
