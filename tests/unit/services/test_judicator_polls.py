"""Who is woken by what, without threads: a mark that is there makes nobody wait."""

from __future__ import annotations

import pytest

from accord.core.errors import Superseded, UnknownSession
from accord.core.ids import ExecutorName, SessionId, TaskId
from accord.services.polls import Poll, Polls
from accord.services.sessions import Line
from accord.services.watch import Watchers
from accord.testing.clock import FakeClock

NOW = 0.0
"""Monotonic time of a clock that nobody moves: a wait until then does not wait."""


def a_line(name: str = "e1") -> Line:
    return Line(ExecutorName(name), SessionId("s1"))


def enter(polls: Polls, name: str = "e1", vacant: int = 1, fits: str = "c") -> Poll:
    return polls.enter(a_line(name), vacant, lambda class_: class_ in fits.split())


@pytest.fixture
def polls() -> Polls:
    return Polls(FakeClock())


def test_a_mark_that_came_before_the_wait_ends_it_at_once(polls: Polls) -> None:
    poll = enter(polls)
    polls.take(poll)
    assert not polls.wait(poll, NOW)
    polls.offer("c")
    assert polls.wait(poll, NOW)
    polls.take(poll)
    assert not polls.wait(poll, NOW)
    polls.look([ExecutorName("e1")])
    assert polls.wait(poll, NOW)


def test_work_is_promised_to_those_whom_it_fits_up_to_their_vacancy(polls: Polls) -> None:
    other, first, second = (
        enter(polls, "other", 9, "d"),
        enter(polls, "first", 2),
        enter(polls, "second", 2),
    )
    marks = []
    for _ in range(5):
        polls.offer("c")
        marks.append([len(p.promised) for p in (other, first, second)])
    assert marks == [[0, 1, 0], [0, 2, 0], [0, 2, 1], [0, 2, 2], [0, 2, 2]]


def test_a_promise_that_was_not_looked_for_goes_to_another(polls: Polls) -> None:
    first, second = enter(polls, "first"), enter(polls, "second")
    polls.offer("c")
    polls.leave(first)
    assert second.promised == ["c"]


def test_a_promise_that_was_not_looked_for_goes_to_one_whom_it_fits(polls: Polls) -> None:
    first = enter(polls, "first")
    other, second = enter(polls, "other", 9, "d"), enter(polls, "second")
    polls.offer("c")
    polls.leave(first)
    assert (other.promised, second.promised) == ([], ["c"])


def test_work_that_was_passed_on_is_not_offered_to_those_who_tried(polls: Polls) -> None:
    first, second, third = (enter(polls, name) for name in ("first", "second", "third"))
    polls.offer("c", frozenset({first.executor, second.executor}))
    assert (first.promised, second.promised, third.promised) == ([], [], ["c"])
    assert polls.take(third) == (False, frozenset({first.executor, second.executor}))


def test_a_poll_that_was_ended_says_why(polls: Polls) -> None:
    older = enter(polls)
    older.left.set()
    newer = enter(polls)
    with pytest.raises(Superseded):
        polls.take(older)
    polls.end(newer.executor, UnknownSession())
    with pytest.raises(UnknownSession):
        polls.take(newer)


def test_ending_spares_the_poll_of_the_line_that_is_named(polls: Polls) -> None:
    poll = enter(polls)
    polls.end(poll.executor, Superseded(), but=poll.line)
    polls.take(poll)


def test_leaving_does_not_remove_the_successor(polls: Polls) -> None:
    older = enter(polls)
    older.left.set()
    newer = enter(polls)
    polls.leave(older)
    polls.offer("c")
    assert newer.promised == ["c"]


def test_closing_answers_all_polls_those_to_come_too(polls: Polls) -> None:
    polls.close()
    assert not polls.wait(enter(polls), 100.0)


def test_news_wakes_those_who_wait_for_that_task_and_nobody_else() -> None:
    watchers = Watchers(FakeClock())
    mine, other = TaskId("mine"), TaskId("other")
    with (
        watchers.watch(mine, 5) as first,
        watchers.watch(mine, 5) as second,
        watchers.watch(other, 5) as third,
    ):
        watchers.wake([mine])
        assert (first.event.is_set(), second.event.is_set()) == (True, True)
        assert not third.event.is_set()
        assert first.wait()  # news that came before the wait is not lost


def test_whoever_waited_for_everything_leaves_nothing_behind() -> None:
    watchers = Watchers(FakeClock())
    with watchers.watch(TaskId("mine"), 5):
        pass
    assert not watchers._waiting
