"""What an executor holds: each replica once, from its assignment until its end is stored."""

from __future__ import annotations

import pytest

from accord.core.ids import SessionId
from accord.core.replica import Phase
from accord.ports.judicator import Assignment, Finished
from accord.services.holdings import Holdings
from accord.testing.clock import FakeClock
from tests.builders import a_result, a_task, a_task_id

S1 = SessionId("s1")


@pytest.fixture
def holdings():
    return Holdings(FakeClock(), 2)


def an_assignment(number: int = 1) -> Assignment:
    return Assignment(task=a_task(id=a_task_id(number)), number=0, session=S1)


def finished(number: int = 1) -> Finished:
    return Finished(task=a_task_id(number), number=0, session=S1, end=a_result())


def test_an_assignment_that_comes_twice_is_taken_once(holdings):
    assert holdings.assign([an_assignment()]) == 1
    assert holdings.assign([an_assignment()]) == 0
    assert holdings.vacant() == 1
    holdings.take()
    assert holdings.assign([an_assignment()]) == 0


def test_a_belated_assignment_of_what_is_stored_already_is_not_run_again(holdings):
    holdings.assign([an_assignment()])
    holdings.finish(holdings.take(), finished(), None)
    holdings.settle((a_task_id(1), 0))
    assert holdings.assign([an_assignment()]) == 0
    assert holdings.vacant() == 2


def test_everything_is_named_until_it_is_stored(holdings):
    holdings.assign([an_assignment(1), an_assignment(2)])
    job = holdings.take()
    holdings.enter(job, Phase.RUNNING)
    assert [(h.task, h.phase) for h in holdings.holds()] == [
        (a_task_id(1), Phase.RUNNING),
        (a_task_id(2), None),
    ]
    holdings.finish(job, finished(), None)
    assert len(holdings.holds()) == 2
    holdings.settle(job.key)
    assert [h.task for h in holdings.holds()] == [a_task_id(2)]


def test_what_comes_while_draining_is_handed_back_and_what_waits_too(holdings):
    holdings.assign([an_assignment(1)])
    holdings.drain()
    holdings.assign([an_assignment(2)])
    ends = [job.finished for job in holdings.jobs()]
    assert [(e.end, e.killed, e.started) for e in ends] == [(None, False, False)] * 2
    assert holdings.vacant() == 0


def test_a_waiting_replica_is_cancelled_without_a_box(holdings):
    holdings.assign([an_assignment()])
    assert holdings.cancel([(a_task_id(1), 0)], S1) == 1
    assert holdings.cancel([(a_task_id(1), 0)], S1) == 0
    (job,) = holdings.jobs()
    assert (job.finished.killed, job.finished.started) == (True, False)
    assert holdings.vacant() == 2


def test_a_cancelled_replica_that_never_came_is_told_as_killed_and_not_taken_later(holdings):
    assert holdings.cancel([(a_task_id(1), 0)], S1) == 1
    (job,) = holdings.jobs()
    assert (job.finished.session, job.finished.killed) == (S1, True)
    holdings.settle(job.key)
    assert holdings.assign([an_assignment()]) == 0
    assert holdings.cancel([job.key], S1) == 0
    assert holdings.jobs() == []


def test_a_full_spool_asks_for_no_work():
    full = [True]
    holdings = Holdings(FakeClock(), 2, lambda: full[0])
    seen = [holdings.vacant()]
    full[0] = False
    assert [*seen, holdings.vacant()] == [0, 2]
