"""The scenario vectors of the rules, by their numbers, in a shorthand for replicas.

U unsent, P in progress (due in 100 s), S success that nothing looked at, SV valid, SI invalid,
SC inconclusive, E client error, N no reply, X detached, VE validate error, CS couldn't send.
The policy is two of two, 3 errors, 6 successes, 6 in all, 100 s, where a vector says nothing else.

Vectors that do not apply, as Accord has no such thing:
T10 (a user's abort at the client: only a task is cancelled), T36 (transitioner flags), T37, T38
(priority bumps of replicas), T39, V8's third part (INACTIVE), V15, V16 (suspicious results), S3
(homogeneous redundancy), S4, S5 (adaptive redundancy), S12 (daily quotas).
T25's second half, T30 and T31 speak of the deletion of files, which no rule here drives.
A2 (assimilation without result and without error) cannot be stored: the invariants refuse it.
"""

from __future__ import annotations

from typing import Any

import pytest

from accord.core import transition, validation
from accord.core.ids import ExecutorName, SessionId
from accord.core.lifecycle import (
    Assimilated,
    Claimed,
    Decision,
    Policy,
    Reported,
    Tick,
    decide,
)
from accord.core.replica import Outcome, Replica, ReplicaState, Result, Validity
from accord.core.task import NEVER, ErrorMask, Stage, Task
from tests.builders import NOW, a_failure, a_replica, a_result, a_task, over, sent

POLICY = Policy()
DAYS = 86400.0

SHORT: dict[str, dict[str, Any]] = {
    "S": {"outcome": Outcome.SUCCESS},
    "SV": {"outcome": Outcome.SUCCESS, "validity": Validity.VALID},
    "SI": {"outcome": Outcome.SUCCESS, "validity": Validity.INVALID},
    "SC": {"outcome": Outcome.SUCCESS, "validity": Validity.INCONCLUSIVE},
    "E": {"outcome": Outcome.CLIENT_ERROR, "validity": Validity.INVALID},
    "N": {"outcome": Outcome.NO_REPLY},
    "X": {"outcome": Outcome.DETACHED},
    "VE": {"outcome": Outcome.VALIDATE_ERROR, "validity": Validity.INVALID},
    "CS": {"outcome": Outcome.COULDNT_SEND},
}


def replicas(codes: str, **in_progress: Any) -> tuple[Replica, ...]:
    """The replicas that the codes spell, each on an executor of its own."""
    made = []
    for number, code in enumerate(codes.split()):
        where: dict[str, Any] = {"executor": ExecutorName(f"e{number}")}
        if code == "U":
            made.append(a_replica(number))
        elif code == "P":
            made.append(sent(number, **where, **in_progress))
        else:
            made.append(over(number, **SHORT[code], **where))
    return tuple(made)


def given(codes: str, **changes: Any) -> Task:
    """A task of the vectors' policy with these replicas."""
    fields: dict[str, Any] = {
        "min_quorum": 2,
        "target_replicas": 2,
        "max_total_replicas": 6,
        "delay_bound": 100.0,
        "replicas": replicas(codes),
    }
    return a_task(**fields | changes)


STAGES = (
    transition.expire,
    transition.want_validation,
    transition.give_up,
    transition.create,
    transition.wind_up,
    transition.conclude,
    transition.schedule,
)


def transitioned(task: Task) -> Task:
    """One pass of the transitioner alone, as the vectors mean it: nothing validates."""
    for stage in STAGES:
        task = stage(task, NOW, POLICY)
    return task


def validated(task: Task) -> Task:
    """One pass of the validator, then what V5 says of the rest."""
    task = validation.validate(task, NOW, POLICY)
    for stage in (transition.wind_up, transition.conclude, transition.schedule):
        task = stage(task, NOW, POLICY)
    return task


def made(before: Task, after: Task) -> list[int]:
    """The numbers of the replicas that were created."""
    return [r.number for r in after.replicas if before.replica(r.number) is None]


def test_t1_a_task_without_replicas_gets_its_target_and_the_safety_net() -> None:
    task = given("")
    after = transitioned(task)
    assert made(task, after) == [0, 1]
    assert after.transition_time == NOW + 10 * DAYS


def test_t2_a_replica_past_its_deadline_is_no_reply_and_replaced() -> None:
    late, fine = sent(0, report_deadline=NOW - 1), sent(1, executor=ExecutorName("e1x"))
    task = given("", replicas=(late, fine))
    after = transitioned(task)
    assert after.replicas[0].state is ReplicaState.OVER
    assert after.replicas[0].outcome is Outcome.NO_REPLY
    assert made(task, after) == [2]


def test_t3_a_replica_due_right_now_is_not_late() -> None:
    task = given("", replicas=replicas("P P", report_deadline=NOW))
    after = transitioned(task)
    assert [r.state for r in after.replicas] == [ReplicaState.IN_PROGRESS] * 2
    assert after.transition_time == NOW
    assert made(task, after) == []


def test_t4_one_success_of_two_waits_for_the_other() -> None:
    task = given("S P")
    after = transitioned(task)
    assert not after.need_validate
    assert made(task, after) == []
    assert after.transition_time == NOW + 100


def test_t5_enough_fresh_successes_want_validation() -> None:
    after = transitioned(given("S S"))
    assert after.need_validate
    assert after.transition_time == NOW + 10 * DAYS


def test_t7_an_error_is_made_up_for() -> None:
    task = given("E P")
    after = transitioned(task)
    assert made(task, after) == [2]
    assert after.error_mask == 0


def test_t9_too_many_errors_end_the_task() -> None:
    after = transitioned(given("E E E E U S", max_total_replicas=9))
    assert after.error_mask == ErrorMask.TOO_MANY_ERRORS
    assert after.replicas[4].outcome is Outcome.DIDNT_NEED
    assert after.replicas[5].validity is Validity.NO_CHECK
    assert after.assimilate_state is Stage.READY


def test_t11_validate_errors_count_as_errors() -> None:
    after = transitioned(given("VE VE", max_error_replicas=1))
    assert after.error_mask == ErrorMask.TOO_MANY_ERRORS
    assert after.assimilate_state is Stage.READY


def test_t14_no_room_is_no_error_where_nothing_is_missing() -> None:
    task = given("S P", max_total_replicas=2)
    after = transitioned(task)
    assert after.error_mask == 0
    assert made(task, after) == []


def test_t16_an_invalid_success_is_made_up_for() -> None:
    task = given("SI P")
    after = transitioned(task)
    assert len(made(task, after)) == 1
    assert not after.need_validate


@pytest.mark.parametrize(("codes", "wanted"), [("SC SC P", False), ("SC SC S", True)])
def test_t17_t18_only_something_fresh_wants_validation(codes: str, wanted: bool) -> None:
    task = given(codes, target_replicas=3)
    after = transitioned(task)
    assert after.need_validate is wanted


def test_t19_a_replica_that_could_not_be_sent_ends_the_task() -> None:
    after = transitioned(given("CS S"))
    assert after.error_mask == ErrorMask.COULDNT_SEND
    assert after.replicas[1].validity is Validity.NO_CHECK
    assert after.assimilate_state is Stage.READY


def test_t24_a_finished_task_makes_nothing_more_and_waits_for_nothing() -> None:
    task = given("SV SV N", canonical=1, assimilate_state=Stage.READY, done_time=NOW)
    after = transitioned(task)
    assert made(task, after) == []
    assert after.transition_time == NEVER


def test_t25_a_straggler_of_a_finished_task_is_still_validated() -> None:
    task = given(
        "SV SV S", canonical=1, assimilate_state=Stage.DONE, done_time=NOW, target_replicas=3
    )
    assert transitioned(task).need_validate


def test_v1_two_that_agree_are_valid_and_the_first_is_canonical() -> None:
    after = validated(given("S S", need_validate=True))
    assert after.canonical == 0
    assert [r.validity for r in after.replicas] == [Validity.VALID, Validity.VALID]
    assert after.assimilate_state is Stage.READY
    assert after.transition_time == NEVER


def different() -> tuple[Replica, ...]:
    return (over(0, result=a_result(b"a")), over(1, result=a_result(b"b")))


def test_v2_two_that_disagree_are_inconclusive_and_a_third_is_wanted() -> None:
    after = validated(given("", replicas=different(), need_validate=True))
    assert [r.validity for r in after.replicas] == [Validity.INCONCLUSIVE] * 2
    assert after.target_replicas == 3
    assert after.canonical is None
    assert len(transitioned(after).replicas) == 3  # at once: the vector's tt = now


def test_v6_too_many_that_disagree_end_the_task() -> None:
    third = over(2, result=a_result(b"c"))
    task = given("", replicas=(*different(), third), need_validate=True, max_success_replicas=2)
    after = validated(task)
    assert after.error_mask == ErrorMask.TOO_MANY_SUCCESSES
    assert {r.validity for r in after.replicas} == {Validity.NO_CHECK}
    assert after.assimilate_state is Stage.READY


def test_v4_a_third_that_agrees_with_one_of_two_decides() -> None:
    third = over(2, result=a_result(b"b"))
    after = validated(given("", replicas=(*different(), third), need_validate=True))
    assert after.canonical == 1
    assert [r.validity for r in after.replicas] == ["invalid", "valid", "valid"]


def test_v7_too_few_successes_only_clear_the_wish() -> None:
    task = given("S", need_validate=True)
    after = validation.validate(task, NOW, POLICY)
    assert not after.need_validate
    assert after.replicas == task.replicas


def test_v8_what_was_not_sent_is_not_needed_and_what_runs_is_left() -> None:
    after = validated(given("S S U P", need_validate=True))
    assert after.replicas[2].outcome is Outcome.DIDNT_NEED
    assert after.replicas[3].state is ReplicaState.IN_PROGRESS


def test_v14_with_a_quorum_of_one_the_first_is_canonical() -> None:
    after = validated(given("S", need_validate=True, min_quorum=1, target_replicas=1))
    assert after.canonical == 0


# -- S and A: through decide ---------------------------------------------------------------


def alone(**changes: Any) -> Task:
    """A task of a quorum of one."""
    fields: dict[str, Any] = {"min_quorum": 1, "target_replicas": 1, "replicas": replicas("U")}
    return given("", **fields | changes)


def claim(task: Task, executor: str = "e0") -> Decision:
    event = Claimed(number=0, executor=ExecutorName(executor), session=SessionId("s1"))
    return decide(task, event, NOW, POLICY)


def report(task: Task, end: Any = None, executor: str = "e0") -> Decision:
    event = Reported(
        number=0,
        executor=ExecutorName(executor),
        session=SessionId("s1"),
        end=end or a_result(),
    )
    return decide(task, event, NOW, POLICY)


def test_s1_a_claim_sets_the_deadline_and_the_next_look() -> None:
    after = claim(alone()).task
    assert after.replicas[0].state is ReplicaState.IN_PROGRESS
    assert after.replicas[0].report_deadline == NOW + 100
    assert after.transition_time == NOW + 100


def test_s2_of_two_claims_the_later_is_refused() -> None:
    first = claim(alone()).task
    second = claim(first, "e9")
    assert second.refused
    assert second.task is first


def test_s6_a_late_result_of_a_lost_replica_is_taken() -> None:
    after = report(alone(replicas=(*replicas("N"), a_replica(1)))).task
    assert after.replicas[0].outcome is Outcome.SUCCESS
    assert after.replicas[0].received_time == NOW
    assert after.canonical == 0
    assert after.replicas[1].outcome is Outcome.DIDNT_NEED


def test_s7_a_repeat_changes_nothing() -> None:
    first = report(alone(replicas=replicas("P"))).task
    again = report(first, a_result(b"other"))
    assert again.refused
    assert again.task is first


def test_s8_a_report_by_another_executor_changes_nothing() -> None:
    task = alone(replicas=replicas("P"))
    decision = report(task, executor="e7")
    assert decision.refused
    assert decision.task is task


def test_s9_a_run_without_a_verdict_is_a_client_error_and_invalid() -> None:
    after = report(alone(replicas=replicas("P")), a_failure()).task
    assert after.replicas[0].outcome is Outcome.CLIENT_ERROR
    assert after.replicas[0].validity is Validity.INVALID


def test_a1_a_handler_that_returned_ends_assimilation() -> None:
    ready = report(alone(replicas=replicas("P"))).task
    assert ready.assimilate_state is Stage.READY
    done = decide(ready, Assimilated(), NOW, POLICY).task
    assert done.assimilate_state is Stage.DONE
    # A handler that raised sends no event: what was ready stays so, and is found again.
    assert decide(ready, Tick(), NOW, POLICY).task is ready
    assert decide(done, Assimilated(), NOW, POLICY).refused


def test_results_of_a_decision_are_the_very_ones_that_came() -> None:
    result: Result = a_result(b"x")
    assert report(alone(replicas=replicas("P")), result).task.replicas[0].result is result
