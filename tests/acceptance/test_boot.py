"""Boot's promises, with toy services: order, restart, maintenance, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import msgspec
import pytest

from accord.adapters.system import SystemClock
from accord.boot import pids
from accord.boot.keeper import HEALTH_EVERY, HEALTH_STRIKES, READY_POLL, backoff
from accord.boot.layout import Layout
from accord.boot.output import RotatingLog
from accord.boot.supervisor import AlreadyRunning, StartFailed, Supervisor
from accord.testing.clock import FakeClock

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


def test_nothing_starts_before_what_it_needs_is_ready(layout, tmp_path):
    seen = []

    def ready_at_the_tenth_question():
        seen.append(story(tmp_path) if (tmp_path / "story").exists() else [])
        return len(seen) >= 10

    slow = msgspec.structs.replace(toy("first", tmp_path), ready=ready_at_the_tenth_question)
    boot = Supervisor([slow, toy("second", tmp_path, needs=("first",))], layout, SystemClock())
    boot.start()
    boot.stop()
    assert "second started" not in seen[-1]


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
from accord.boot.keeper import HEALTH_EVERY, HEALTH_STRIKES, READY_POLL, backoff
from accord.boot.layout import Layout
from accord.boot.output import RotatingLog
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


def moved_until(clock, step, question):
    """Move the clock in steps until the answer is yes; the time that it took by that clock."""
    since = clock.monotonic()

    def asked():
        clock.advance(step)
        return question()

    until(asked)
    return clock.monotonic() - since


def by_fake_time(boot, clock):
    """Start it while its clock is moved; whoever waits for a moment gets it."""
    starting = threading.Thread(target=boot.start)
    starting.start()
    moved_until(clock, READY_POLL, lambda: boot.ready)
    starting.join()


def test_a_service_that_lives_but_does_not_answer_is_killed_and_started_again(layout, tmp_path):
    clock = FakeClock()
    service = msgspec.structs.replace(toy("mute", tmp_path), healthy=lambda: False)
    boot = Supervisor([service], layout, clock)
    by_fake_time(boot, clock)
    former = pid("mute", tmp_path)
    taken = moved_until(clock, 1.0, lambda: gone(former))
    assert taken >= HEALTH_EVERY * (HEALTH_STRIKES - 1)
    moved_until(clock, READY_POLL, lambda: boot.ready)
    boot.stop()


def started_since(folder, count):
    return len(story(folder)) > count


def test_a_service_that_ends_again_and_again_is_started_less_and_less_often(layout, tmp_path):
    clock = FakeClock()
    boot = Supervisor([toy("frail", tmp_path)], layout, clock)
    by_fake_time(boot, clock)
    for wait in (backoff(1), backoff(2), backoff(3)):
        os.kill(pid("frail", tmp_path), signal.SIGKILL)
        starts = len(story(tmp_path))
        until(lambda: not boot.ready)
        assert moved_until(clock, 0.01, partial(started_since, tmp_path, starts)) >= wait
        moved_until(clock, READY_POLL, lambda: boot.ready)
    boot.stop()


def test_a_log_does_not_grow_without_end(tmp_path):
    log = RotatingLog(tmp_path / "x.log", size=100, keep=2)
    for number in range(100):
        log.write(b"line %d" % number)
    log.close()
    files = sorted(tmp_path.glob("x.log*"))
    assert [f.name for f in files] == ["x.log", "x.log.1", "x.log.2"]
    assert all(f.stat().st_size <= 100 for f in files)
    assert files[0].read_text().splitlines()[-1] == "line 99"


def test_a_pid_that_came_back_is_not_taken_for_the_service():
    mine = pids.identify(os.getpid())
    assert mine is not None
    assert pids.alive(mine)
    assert not pids.alive(msgspec.structs.replace(mine, start=mine.start - 1))
    assert not pids.send(msgspec.structs.replace(mine, boot="another"), signal.SIGKILL)


@pytest.mark.parametrize("text", [b"", b"12", b"{}", b'{"pid": "x"}', b"\xff"])
def test_an_unreadable_pid_file_names_nobody(tmp_path, text):
    path = tmp_path / "x.pid"
    path.write_bytes(text)
    assert pids.PidFile(path).read() is None
    assert pids.PidFile(path).running() is None


SLEEPER = """
import signal, threading
from accord.boot.signals import Signals

stop = threading.Event()
asleep = threading.Event()

def deliver():
    asleep.wait()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

threading.Thread(target=deliver, daemon=True).start()
with Signals(first=stop.set):
    asleep.set()
    stop.wait()  # without an end: nothing but the signal wakes this thread
print("woken")
"""


def test_a_signal_is_heard_whichever_thread_the_kernel_gives_it_to():
    ended = subprocess.run(
        [sys.executable, "-c", SLEEPER], capture_output=True, text=True, timeout=20, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "woken\n"), ended.stderr


def test_a_signal_that_is_somebody_elses_stops_nothing():
    code = SLEEPER.replace("asleep.set()", "signal.signal(signal.SIGUSR1, lambda *_: asleep.set())")
    code = code.replace("stop.wait()", "signal.raise_signal(signal.SIGUSR1); stop.wait()")
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "woken\n"), ended.stderr
