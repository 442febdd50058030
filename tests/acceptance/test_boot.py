"""Boot's promises, with toy services: order, restart, maintenance, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from accord.adapters.system import SystemClock
from accord.boot import pids
from accord.boot.layout import Layout
from accord.boot.supervisor import AlreadyRunning, StartFailed, Supervisor

from .toys import pid, story, toy
from .waiting import until


@pytest.fixture
def layout(tmp_path):
    found = Layout(tmp_path / "data")
    found.make()
    return found


@pytest.fixture
def said():
    """What Boot tells a person."""
    return []


@pytest.fixture
def boot(layout, tmp_path, said):
    """A Boot of two toys, the second of which needs the first."""
    services = [toy("first", tmp_path), toy("second", tmp_path, needs=("first",))]
    supervisor = Supervisor(services, layout, SystemClock(), said.append)
    yield supervisor
    supervisor.hurry()
    supervisor.stop()


def gone(number: int) -> bool:
    return pids.identify(number) is None


def test_services_start_in_the_order_of_their_needs_and_stop_in_reverse(boot, tmp_path):
    boot.start()
    assert boot.ready
    boot.stop()
    assert story(tmp_path) == [
        "first started",
        "second started",
        "second stopped",
        "first stopped",
    ]


def test_a_service_that_dies_is_started_again(boot, tmp_path):
    boot.start()
    before = pid("first", tmp_path)
    os.kill(before, signal.SIGKILL)
    until(lambda: (tmp_path / "first.up").exists() and pid("first", tmp_path) != before)
    until(lambda: boot.ready)


def test_a_stop_leaves_no_process_and_no_pid_file(boot, layout, tmp_path):
    boot.start()
    numbers = [pid("first", tmp_path), pid("second", tmp_path)]
    boot.stop()
    boot.stop()
    assert all(gone(n) for n in numbers)
    assert not list(layout.run.glob("*.pid"))


def test_a_service_that_ignores_sigterm_is_killed_when_its_time_is_over(layout, tmp_path):
    (tmp_path / "deaf.deaf").touch()
    boot = Supervisor([toy("deaf", tmp_path, stop_timeout=0.2)], layout, SystemClock())
    boot.start()
    number = pid("deaf", tmp_path)
    boot.stop()
    assert gone(number)


def test_hurry_does_not_wait_for_a_service_that_takes_its_time(layout, tmp_path):
    (tmp_path / "deaf.deaf").touch()
    boot = Supervisor([toy("deaf", tmp_path, stop_timeout=3600)], layout, SystemClock())
    boot.start()
    stopping = threading.Thread(target=boot.stop)
    stopping.start()
    boot.hurry()
    stopping.join(20)
    assert not stopping.is_alive()


def test_there_is_one_boot_for_a_data_directory(boot, layout, tmp_path):
    boot.start()
    second = Supervisor([toy("first", tmp_path)], layout, SystemClock())
    with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"):
        second.start()
    second.stop()
    assert layout.pid_file("boot").running(), "the refused one must not clear the first one's file"
    assert boot.ready


def test_a_service_that_never_starts_fails_the_start_and_names_its_log(layout, tmp_path):
    (tmp_path / "bad.broken").touch()
    boot = Supervisor([toy("fine", tmp_path), toy("bad", tmp_path)], layout, SystemClock())
    with pytest.raises(StartFailed, match=r"bad does not start.*bad\.log"):
        boot.start()
    assert gone(pid("fine", tmp_path)), "nothing may be left running"
    assert "I cannot work" in layout.log("bad").read_text()


def test_a_held_service_is_not_started_until_it_is_released(boot, layout, said, tmp_path):
    boot.start()
    before = pid("first", tmp_path)
    lock = layout.lock("first")
    assert lock.acquire()
    os.kill(before, signal.SIGKILL)
    until(lambda: "first is held for maintenance" in said)
    assert gone(before)
    assert story(tmp_path).count("first started") == 1
    lock.release()
    until(lambda: (tmp_path / "first.up").exists() and pid("first", tmp_path) != before)
    assert story(tmp_path).count("first started") == 2


def test_what_children_print_becomes_json_lines(boot, layout):
    boot.start()
    log = layout.log("first")
    until(lambda: log.read_text().count("\n") >= 2)
    first, second = (json.loads(line) for line in log.read_text().splitlines()[:2])
    assert first == {"message": "I speak JSON"}
    assert (second["service"], second["raw"]) == ("first", "I do not")
    assert "level" not in second, "severity is never guessed"


_BOOT = """
import pathlib, sys, threading
from accord.adapters.system import SystemClock
from accord.boot.layout import Layout
from accord.boot.supervisor import Supervisor
from tests.acceptance.toys import toy
folder = pathlib.Path(sys.argv[1])
Supervisor([toy("first", folder)], Layout(folder / "data"), SystemClock()).start()
print("started", flush=True)
threading.Event().wait()
"""


def test_a_starting_boot_stops_what_a_killed_one_left_and_says_which(layout, said, tmp_path):
    former = subprocess.Popen(
        [sys.executable, "-c", _BOOT, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with former:
        assert former.stdout is not None
        assert former.stdout.readline() == b"started\n"
        former.kill()
    left = pid("first", tmp_path)
    assert not gone(left), "a toy does not watch its parent; it must still be there"
    boot = Supervisor([toy("first", tmp_path)], layout, SystemClock(), said.append)
    boot.start()
    boot.stop()
    assert gone(left)
    assert said == [f"Stopped first (pid {left}), left by a Boot that was killed"]
