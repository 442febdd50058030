"""The life of a judging run: claimed, answered, lost, given up, not needed any more."""

from __future__ import annotations

from typing import Any

import pytest

from accord.core import lifecycle
from accord.core.ids import ExecutorName, SessionId
from accord.core.index import index_of
from accord.core.judging import Judgement, Judging, JudgingState
from accord.core.judging import answered as judging_answered
from accord.core.lifecycle import (
    CancelRequested,
    Decision,
    Judged,
    JudgingClaimed,
    JudgingReady,
    JudgingReturned,
    Lost,
    Reported,
    StopRun,
    Tick,
    Unsendable,
    decide,
)
from accord.core.policy import Policy
from accord.core.status import Reason, Status
from accord.core.task import NEVER, Program, Task
from accord.core.view import reason_of, status_of
from tests.builders import NOW, a_failure, a_result, a_step, a_task_of, spelled_all

POLICY = Policy()
E9, S1 = ExecutorName("e9"), SessionId("s1")
WHO: dict[str, Any] = {"executor": E9, "session": S1}


def waiting(codes: str = "S=a S=b", **changes: Any) -> Task:
    """A task whose results only a program can tell apart."""
    fields: dict[str, Any] = {"comparator": Program(execute=a_step()), "target_replicas": 3}
    task = a_task_of(codes, **fields | {"target_replicas": 2} | changes)
    return after(task, Tick())


def after(task: Task, *events: lifecycle.Event, now: float = NOW) -> Task:
    for event in events:
        decision = decide(task, event, now, POLICY)
        assert not decision.refused, decision.refused
        task = decision.task
    return task


def out(**changes: Any) -> Task:
    """A task whose judging run is on e9."""
    return after(waiting(**changes), JudgingClaimed(**WHO))


def run_of(task: Task) -> Judging:
    assert task.judging is not None
    return task.judging


def refusal(task: Task, event: lifecycle.Event, now: float = NOW) -> str:
    decision = decide(task, event, now, POLICY)
    assert decision.task is task
    return decision.refused


def judged(*groups: tuple[int, ...], number: int = 1, **who: Any) -> Judged:
    return Judged(number=number, **WHO | who, end=Judgement(groups=groups))


def failed(number: int = 1) -> Judged:
    return Judged(number=number, **WHO, end=a_failure())


def test_a_task_whose_results_must_be_judged_is_validating_and_wakes_polls() -> None:
    decision = decide(
        a_task_of("S=a S=b", comparator=Program(execute=a_step())), Tick(), NOW, POLICY
    )
    assert status_of(decision.task) is Status.VALIDATING
    assert JudgingReady(task=decision.task.id) in decision.effects


def test_the_result_that_completes_the_quorum_asks_for_it_in_the_same_write() -> None:
    task = a_task_of("S=a P", comparator=Program(execute=a_step()))
    last = Reported(number=1, executor=ExecutorName("e1"), session=S1, end=a_result(b"b"))
    assert run_of(after(task, last)).candidates == (0, 1)


def test_it_goes_to_an_executor_that_made_none_of_the_results() -> None:
    task = waiting()
    for name in ("e0", "e1"):
        own = JudgingClaimed(executor=ExecutorName(name), session=S1)
        assert refusal(task, own) == "it made one of the results"
    run = run_of(after(task, JudgingClaimed(**WHO)))
    assert (run.state, run.executor, run.number) == (JudgingState.IN_PROGRESS, "e9", 1)
    assert run.deadline == NOW + POLICY.judging_bound


def test_where_replicas_need_not_be_apart_anybody_may_judge() -> None:
    task = waiting(distinct="none")
    own = JudgingClaimed(executor=ExecutorName("e0"), session=S1)
    assert run_of(after(task, own)).executor == "e0"


def test_the_store_finds_the_executor_that_has_it() -> None:
    assert index_of(waiting()).held_by == ()
    assert index_of(out()).held_by == (E9,)
    assert index_of(after(out(), judged((0, 1)))).held_by == ()


def test_of_two_claims_the_later_is_refused() -> None:
    assert refusal(out(), JudgingClaimed(executor=ExecutorName("e8"), session=S1))


def test_its_answer_is_taken_once_and_decides() -> None:
    task = after(out(), judged((0, 1)))
    assert task.canonical == 0
    assert spelled_all(task) == "SV SV"
    assert run_of(task).executor == "e9"  # who judged stays on record
    assert refusal(task, judged((0,), (1,)))


@pytest.mark.parametrize(
    "event",
    [
        judged((0, 1), number=2),
        judged((0, 1), executor=ExecutorName("e8")),
        judged((0, 1), session=SessionId("s2")),
        JudgingReturned(number=2, **WHO),
    ],
)
def test_nobody_else_may_answer(event: lifecycle.Event) -> None:
    assert refusal(out(), event)


def test_an_answer_that_they_differ_makes_another_replica() -> None:
    task = after(out(), judged((0,), (1,)))
    assert spelled_all(task) == "SC SC U"
    assert task.target_replicas == 3


@pytest.mark.parametrize(
    "event",
    [failed(), Lost(executor=E9), Lost(executor=E9, session=S1, numbers=(), judging=True)],
    ids=["failed", "lost", "detached"],
)
def test_one_that_comes_to_nothing_is_sent_again_after_a_back_off(event: lifecycle.Event) -> None:
    task = after(out(), event)
    run = run_of(task)
    assert (run.state, run.attempts, run.executor) == (JudgingState.UNSENT, 1, None)
    assert spelled_all(task) == "S S"  # Q3
    assert task.need_validate
    assert task.transition_time == run.not_before == NOW + 1
    assert refusal(task, JudgingClaimed(**WHO))
    again = after(task, Tick(), now=NOW + 1)
    assert run_of(after(again, JudgingClaimed(**WHO), now=NOW + 1)).number == 2


def test_silence_past_its_deadline_is_the_same_and_it_is_told_to_stop() -> None:
    task = out()
    late = decide(task, Tick(), NOW + POLICY.judging_bound + 1, POLICY)
    assert run_of(late.task).attempts == 1
    assert StopRun(**WHO, task=task.id, number=1, judging=True) in late.effects


def test_the_replicas_of_another_session_are_not_its_loss() -> None:
    assert refusal(out(), Lost(executor=E9, session=SessionId("s0")))
    assert refusal(out(), Lost(executor=E9, session=S1, numbers=(4,)))


def test_after_three_attempts_what_only_it_could_tell_differs() -> None:
    task = waiting()
    for attempt in (1, 2, 3):
        now = NOW + 100 * attempt
        task = after(task, Tick(), JudgingClaimed(**WHO), failed(attempt), now=now)
    assert spelled_all(task) == "SC SC U"
    assert not task.need_validate
    assert run_of(task).state is JudgingState.OVER


def test_a_judging_run_that_nobody_can_take_is_given_up_in_the_end() -> None:
    task, event = waiting(), Unsendable(judging=True)
    assert refusal(task, event, now=NOW + 3599)
    assert spelled_all(after(task, event, now=NOW + 3600)) == "SC SC U"
    assert refusal(out(), event, now=NOW + 3600)


def test_one_that_is_handed_back_was_no_attempt() -> None:
    run = run_of(after(out(), JudgingReturned(number=1, **WHO)))
    assert (run.state, run.attempts, run.not_before) == (JudgingState.UNSENT, 0, 0.0)


def stops(decision: Decision) -> list[bool]:
    return [e.judging for e in decision.effects if isinstance(e, StopRun)]


def test_a_task_is_not_cancelled_before_its_judging_run_is_out_of_its_box() -> None:
    decision = decide(out(), CancelRequested(), NOW, POLICY)
    assert status_of(decision.task) is Status.CANCELLING
    assert stops(decision) == [True]
    for end in (JudgingReturned(number=1, **WHO), judged((0, 1)), failed(), Lost(executor=E9)):
        task = after(decision.task, end)
        assert status_of(task) is Status.CANCELLED
        assert spelled_all(task) == "SN SN"


def test_a_judging_run_that_was_not_sent_does_not_delay_a_cancellation() -> None:
    task = after(waiting(), CancelRequested())
    assert status_of(task) is Status.CANCELLED
    assert not run_of(task).pending


def test_the_tasks_own_deadline_ends_it_and_stops_its_judging_run() -> None:
    task = out()
    spec = lifecycle.replace(task.spec, deadline=50.0)
    task = lifecycle.replace(task, spec=spec, transition_time=NOW + 50)
    decision = decide(task, Tick(), NOW + 50, POLICY)
    assert reason_of(decision.task) is Reason.DEADLINE
    assert stops(decision) == [True]
    assert refusal(decision.task, judged((0, 1)))


def test_what_an_answer_says_and_what_the_bytes_say_is_put_together() -> None:
    """A third result comes meanwhile that is the same, byte for byte, as the first."""
    task = after(waiting("S=a S=b P", target_replicas=3), JudgingClaimed(**WHO))
    third = Reported(number=2, executor=ExecutorName("e2"), session=S1, end=a_result(b"a"))
    task = after(task, third)
    assert run_of(task).state is JudgingState.IN_PROGRESS
    assert spelled_all(after(task, judged((0,), (1,)))) == "SV SI SV"


def test_a_result_of_which_an_answer_says_nothing_is_judged_by_another_run() -> None:
    task = after(waiting("S=a S=b P", target_replicas=3), JudgingClaimed(**WHO))
    third = Reported(number=2, executor=ExecutorName("e2"), session=S1, end=a_result(b"c"))
    task = after(task, third, judged((0,), (1,)))
    run = run_of(task)
    assert (run.state, run.candidates, run.number) == (JudgingState.UNSENT, (0, 1, 2), 1)
    assert run_of(after(task, JudgingClaimed(**WHO))).number == 2


def test_a_straggler_of_a_finished_task_is_judged_and_its_status_stays() -> None:
    task = waiting("SV=a SV=a S=b", canonical=0, assimilate_state="ready", target_replicas=3)
    assert status_of(task) is Status.SUCCESS
    assert task.need_validate
    claimed = after(task, JudgingClaimed(**WHO))
    assert claimed.transition_time == NOW + POLICY.judging_bound
    done = after(claimed, judged((0, 2)))
    assert spelled_all(done) == "SV SV SV"
    assert done.transition_time == NEVER


def test_a_candidate_that_is_named_twice_belongs_to_the_first_group() -> None:
    run = Judging(candidates=(0, 1, 2), state=JudgingState.IN_PROGRESS)
    said = Judgement(groups=((0,), (0, 1, 1), (9,)), unreadable=(1, 2))
    assert judging_answered(run, said).answer == Judgement(groups=((0,), (1,)), unreadable=(2,))
