"""Whether tasks are asked for ahead of a free slot, and for how long they may wait for one."""

from __future__ import annotations

import msgspec
import pytest

from accord.services.holdings import Holdings, Job
from accord.services.outbox import Outbox
from accord.services.pace import LONGEST_LINGER, Pace
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


@pytest.mark.parametrize(
    ("run", "ahead"),
    [(0.21, 0), (0.19, 3), (0.1, 4), (0.05, 8), (0.025, 16), (0.001, 16), (0.0, 16)],
)
def test_what_four_round_trips_take_is_asked_ahead_up_to_a_bound(run, ahead):
    pace = Pace()
    pace.travelled(0.1)
    pace.ran(run)
    assert pace.ahead == ahead


def test_results_wait_for_others_no_longer_than_two_round_trips():
    pace = Pace()
    assert pace.linger == 0.0
    pace.travelled(0.004)
    assert pace.linger == 0.008
    pace.travelled(100.0)
    assert pace.linger == LONGEST_LINGER


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def holdings(clock):
    """Two slots, round trips of a second, and a short run that is over."""
    made = Holdings(clock, 2)
    made.travelled(1.0)
    _run(made, clock, 1, 1.0)
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


def test_each_slot_has_as_much_ahead_as_it_runs_in_four_round_trips(holdings):
    assert (holdings.vacant(), holdings.wanted()) == (2, 10)
    holdings.assign([an_assignment(n) for n in range(2, 12)])
    assert (holdings.vacant(), holdings.wanted()) == (0, 0)
    holdings.take()
    holdings.take()
    assert (holdings.vacant(), holdings.wanted()) == (0, 0)
    assert len(holdings.holds()) == 10


def test_more_is_asked_for_when_half_of_what_waits_is_gone(holdings):
    holdings.assign([an_assignment(n) for n in range(2, 12)])
    holdings.take()
    holdings.take()
    for _ in range(4):
        assert not holdings.hungry()
        holdings.take()
    assert holdings.hungry()


def test_a_slot_whose_run_turns_out_long_is_not_asked_ahead_for(holdings, clock):
    holdings.assign([an_assignment(n) for n in (2, 3)])
    holdings.take()
    clock.advance(3.0)
    holdings.take()
    assert holdings.wanted() == 4


def test_a_result_waits_for_others_while_its_slot_has_more_to_run(holdings, clock, tmp_path):
    outbox = Outbox(holdings, Spool(tmp_path), clock)
    holdings.assign([an_assignment(n) for n in (2, 3)])
    first, second = _taken(holdings), _taken(holdings)
    holdings.assign([an_assignment(4)])
    holdings.finish(first, finished(2), None)
    assert outbox.due() == clock.monotonic() + LONGEST_LINGER
    _taken(holdings)
    holdings.finish(second, finished(3), None)  # nothing waits any more
    assert outbox.due() <= clock.monotonic()
    assert [done.task for done in outbox.collect().complete] == [first.key[0], second.key[0]]


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
