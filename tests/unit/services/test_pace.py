"""Whether tasks are asked for ahead of a free slot, and for how long they may wait for one."""

from __future__ import annotations

import msgspec
import pytest

from accord.services.holdings import Holdings, Job
from accord.services.outbox import Outbox
from accord.services.pace import Pace
from accord.services.spool import Spool
from accord.testing.clock import FakeClock
from tests.unit.services.test_holdings import an_assignment, finished


def test_nothing_is_asked_ahead_before_both_times_are_known():
    pace = Pace()
    assert not pace.asks_ahead
    pace.ran(0.0)
    assert not pace.asks_ahead
    pace.travelled(0.1)
    assert pace.asks_ahead


@pytest.mark.parametrize(("run", "ahead"), [(0.19, True), (0.21, False)])
def test_a_run_is_short_below_two_round_trips(run, ahead):
    pace = Pace()
    pace.travelled(0.1)
    pace.ran(run)
    assert pace.asks_ahead is ahead


def test_what_is_recent_counts_most():
    pace = Pace()
    pace.travelled(0.1)
    for _ in range(100):
        pace.ran(0.01)
    for _ in range(20):
        pace.ran(10.0)
    assert not pace.asks_ahead


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def holdings(clock):
    """Two slots, round trips of a second, and a short run that is over."""
    made = Holdings(clock, 2)
    made.travelled(1.0)
    _run(made, clock, 1, 0.5)
    return made


def _taken(holdings: Holdings) -> Job:
    job = holdings.take()
    assert job is not None
    return job


def _run(holdings: Holdings, clock: FakeClock, number: int, seconds: float) -> None:
    holdings.assign([an_assignment(number)])
    job = _taken(holdings)
    clock.advance(seconds)
    holdings.finish(job, finished(number), None)
    holdings.settle(job.key)


def test_as_many_are_asked_ahead_as_there_are_slots(holdings):
    assert (holdings.vacant(), holdings.wanted()) == (2, 4)
    holdings.assign([an_assignment(n) for n in (2, 3, 4, 5)])
    assert (holdings.vacant(), holdings.wanted()) == (0, 0)
    holdings.take()
    holdings.take()
    assert (holdings.vacant(), holdings.wanted()) == (0, 0)
    assert len(holdings.holds()) == 4


def test_more_is_asked_for_when_half_of_what_waits_is_gone(holdings):
    holdings.assign([an_assignment(n) for n in (2, 3, 4, 5)])
    holdings.take()
    holdings.take()
    assert not holdings.hungry()
    holdings.finish(next(j for j in holdings.jobs() if j.phase), finished(2), None)
    holdings.take()
    assert holdings.hungry()
    assert holdings.wanted() == 1


def test_a_slot_whose_run_turns_out_long_is_not_asked_ahead_for(holdings, clock):
    holdings.assign([an_assignment(n) for n in (2, 3)])
    holdings.take()
    clock.advance(3.0)
    holdings.take()
    assert holdings.wanted() == 1


def test_a_draining_or_full_executor_asks_for_nothing(holdings):
    holdings.drain()
    assert (holdings.wanted(), holdings.hungry()) == (0, False)
    full = Holdings(FakeClock(), 2, lambda: True)
    full.travelled(1.0)
    assert (full.wanted(), full.hungry()) == (0, False)


def test_what_waits_for_too_long_is_handed_back(holdings, clock):
    holdings.assign([an_assignment(n) for n in (2, 3, 4)])
    running = [holdings.take(), holdings.take()]
    clock.advance(holdings.patience - 0.1)
    holdings.return_stale()
    assert not any(job.finished for job in holdings.jobs())
    clock.advance(0.1)
    holdings.return_stale()
    (stale,) = [job for job in holdings.jobs() if job.finished]
    assert stale not in running
    assert (stale.finished.started, stale.finished.killed) == (False, False)


def test_a_run_without_a_verdict_says_nothing_of_how_long_runs_are(clock):
    holdings = Holdings(clock, 1)
    holdings.travelled(1.0)
    holdings.assign([an_assignment(1)])
    job = _taken(holdings)
    holdings.finish(job, msgspec.structs.replace(finished(1), end=None), None)
    assert holdings.wanted() == 1


def test_a_push_goes_out_in_time_to_hand_back_what_waits_for_too_long(holdings, clock, tmp_path):
    outbox = Outbox(holdings, Spool(tmp_path), clock)
    holdings.assign([an_assignment(n) for n in (2, 3, 4)])
    running = [_taken(holdings), _taken(holdings)]
    for job in running:
        job.phase_told = job.phase
    due = outbox.due()
    assert due == clock.monotonic() + holdings.patience
    clock.advance(holdings.patience)
    (back,) = outbox.collect().complete
    assert (back.started, back.end) == (False, None)
    assert back.task not in {job.key[0] for job in running}
