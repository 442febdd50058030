"""Reports that hang: connections are made anew, then the process gives up; an outage is neither."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from accord.config import ExecutorSettings, Settings
from accord.core.errors import Unavailable
from accord.ports.judicator import Orders, Report
from accord.services.executor import Executor
from accord.services.watchdog import Watchdog
from accord.testing.clock import FakeClock, FakeIds
from accord.testing.scripted_sandbox import ScriptedSandbox

LEASE = 7.25  # an odd one, that nothing else waits for
PATIENCE = 30.0


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.rebuilt = 0
        self.gave_up: list[str] = []
        self.dog = Watchdog(self.clock, LEASE, self._rebuild, self.gave_up.append)

    def _rebuild(self) -> None:
        self.rebuilt += 1

    def after(self, leases: float) -> tuple[int, bool]:
        """Let time pass; how often connections were made anew, and whether it gave up."""
        self.clock.advance(leases * LEASE)
        self.dog.look()
        return self.rebuilt, bool(self.gave_up)

    def fails(self, leases: float) -> tuple[int, bool]:
        """A call that fails after that time."""
        try:
            with self.dog.watching("push", 0.0):
                found = self.after(leases)
                self._broken()
        except Unavailable:
            return found
        raise AssertionError

    def _broken(self) -> None:
        raise Unavailable


@pytest.fixture
def world() -> World:
    return World()


def test_a_call_that_hangs_has_connections_made_anew_once_and_then_ends_the_process(world):
    with world.dog.watching("push", 0.0):
        assert world.after(2.9) == (0, False)
        assert world.after(0.2) == (1, False)
        assert world.after(2.8) == (1, False)
        assert world.after(0.2) == (1, True)


def test_a_held_poll_hangs_only_after_the_time_for_which_it_asked(world):
    with world.dog.watching("poll", LEASE):
        assert world.after(3.9) == (0, False)
        assert world.after(0.2) == (1, False)


def test_calls_that_were_broken_by_us_and_hang_again_are_one_hang(world):
    assert world.fails(3) == (1, False)
    with world.dog.watching("push", 0.0):
        assert world.after(2.9) == (1, False)
        assert world.after(0.2) == (1, True)


@pytest.mark.parametrize("answered", [True, False])
def test_new_connections_that_are_answered_or_refused_end_the_hang(world, answered):
    assert world.fails(3) == (1, False)
    if answered:
        with world.dog.watching("push", 0.0):
            pass
    else:
        assert world.fails(0) == (1, False)
    with world.dog.watching("push", 0.0):
        assert world.after(2.9) == (1, False)
        assert world.after(0.2) == (2, False)


def test_an_outage_however_long_is_no_hang(world):
    for _ in range(100):
        assert world.fails(1) == (0, False)
        assert world.after(1) == (0, False)


def test_one_link_may_hang_while_the_other_is_answered(world):
    with world.dog.watching("poll", 0.0):
        for _ in range(6):
            with world.dog.watching("push", 0.0):
                world.after(1)
    assert (world.rebuilt, bool(world.gave_up)) == (1, True)


class Silent:
    """A judicator that answers nothing; its connections are made anew by ``rebuild``."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._connections = 0
        self.calls = 0

    def report(self, report: Report) -> Orders:
        with self._changed:
            self.calls += 1
            self._changed.notify_all()
            own = self._connections
            self._changed.wait_for(lambda: self._connections > own, PATIENCE)
        raise Unavailable

    def rebuild(self) -> None:
        with self._changed:
            self._connections += 1
            self._changed.notify_all()

    def wait_for_calls(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.calls >= number, PATIENCE)


def test_an_executor_whose_judicator_never_answers_gives_up_after_six_leases(tmp_path: Path):
    clock, silent = FakeClock(), Silent()
    executor = Executor(
        Settings(executor=ExecutorSettings(name="e1", slots=1, lease=LEASE, benchmark=1.0)),
        tmp_path,
        polls=silent,  # type: ignore[arg-type]  # the part that an executor uses
        pushes=silent,  # type: ignore[arg-type]  # as above
        sandbox=ScriptedSandbox({}),
        clock=clock,
        ids=FakeIds(),
        presets={},
        rebuild=silent.rebuild,
    )
    executor.start()
    silent.wait_for_calls(1)
    for lease in range(1, 7):
        assert executor.failure is None
        clock.wait_for_wait(LEASE)
        clock.advance(LEASE)
        if lease == 3:
            clock.wait_for_wait(0.075)  # the poll was broken, and is repeated after that pause
        if lease == 4:
            silent.wait_for_calls(2)
    assert executor._over.wait(PATIENCE)
    assert executor.hung
    assert executor.failure is not None
    executor.stop()
