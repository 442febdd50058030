"""The scenario vectors of the rules, by their numbers, in the codes of ``tests.builders``.

The policy is two of two, 3 errors, 6 successes, 6 in all, 100 s, where a vector says nothing else.
T* are one pass of ``transition.transition``, V* one of ``validation.validate``, S* and A* go
through ``lifecycle.decide``.

Vectors that do not apply, as Accord has no such thing: T36 (transitioner flags: nothing is made by
hand), V15 and V16 (suspicious results; the fix Q4 is that a raised quorum is stored, see S4).
T39 and the third part of V8 speak of inactive replicas: here they are unsent ones that are held
back, which is all that it comes to; by the fix Q6 they are not needed once there is a result.
"""

from __future__ import annotations

from typing import Any

import pytest

from accord.core import assimilation, reliability, transition, validation
from accord.core.ids import ExecutorName, SessionId
from accord.core.lifecycle import Assimilated, Claimed, Decision, Deferred, Reported, Tick, decide
from accord.core.policy import Policy
from accord.core.reliability import Reliability, TrustPolicy
from accord.core.replica import Outcome, ReplicaState, Result, Validity
from accord.core.task import NEVER, ErrorMask, Stage, Task
from tests.builders import (
    NOW,
    a_failure,
    a_replica,
    a_result,
    a_task_of,
    replicas,
    sent,
    spelled,
    spelled_all,
)

POLICY = Policy(delete_delay=0.0)
DAYS = 86400.0


def transitioned(task: Task, **policy: Any) -> Task:
    return transition.transition(task, NOW, Policy(**{"delete_delay": 0.0, **policy}))


def validated(task: Task) -> Task:
    return validation.validate(task, NOW, POLICY)


def wanted(codes: str, **changes: Any) -> Task:
    """A task that wants validation."""
    return a_task_of(codes, need_validate=True, **changes)


def made(before: Task, after: Task) -> list[int]:
    """The numbers of the replicas that were created."""
    return [r.number for r in after.replicas if before.replica(r.number) is None]


def file_states(task: Task) -> list[str]:
    return [str(r.file_delete_state) for r in task.replicas]


# -- T: the transitioner -------------------------------------------------------------------


def test_t1_a_task_without_replicas_gets_its_target_and_the_safety_net() -> None:
    task = a_task_of("")
    after = transitioned(task)
    assert made(task, after) == [0, 1]
    assert after.transition_time == NOW + 10 * DAYS


def test_t2_a_replica_past_its_deadline_is_no_reply_and_replaced() -> None:
    late, fine = sent(0, report_deadline=NOW - 1), sent(1, executor=ExecutorName("e1x"))
    task = a_task_of("", replicas=(late, fine))
    after = transitioned(task)
    assert after.replicas[0].state is ReplicaState.OVER
    assert after.replicas[0].outcome is Outcome.NO_REPLY
    assert made(task, after) == [2]


def test_t3_a_replica_due_right_now_is_not_late() -> None:
    task = a_task_of("", replicas=replicas("P P", report_deadline=NOW))
    after = transitioned(task)
    assert spelled_all(after) == "P P"
    assert after.transition_time == NOW


def test_t4_one_success_of_two_waits_for_the_other() -> None:
    after = transitioned(a_task_of("S P"))
    assert spelled_all(after) == "S P"
    assert not after.need_validate
    assert after.transition_time == NOW + 100


def test_t5_enough_fresh_successes_want_validation() -> None:
    after = transitioned(a_task_of("S S"))
    assert after.need_validate
    assert after.transition_time == NOW + 10 * DAYS


def test_t7_an_error_is_made_up_for() -> None:
    task = a_task_of("E P")
    after = transitioned(task)
    assert made(task, after) == [2]
    assert after.error_mask == 0


def test_t9_too_many_errors_end_the_task() -> None:
    after = transitioned(a_task_of("E E E E U S", max_total_replicas=9))
    assert after.error_mask == ErrorMask.TOO_MANY_ERRORS
    assert spelled_all(after) == "E E E E D SN"
    assert after.assimilate_state is Stage.READY


def test_t10_what_was_aborted_is_neither_error_nor_success() -> None:
    task = a_task_of("G G G P", max_error_replicas=1, max_total_replicas=9)
    after = transitioned(task)
    assert after.error_mask == 0
    assert made(task, after) == [4]


def test_t11_validate_errors_count_as_errors() -> None:
    after = transitioned(a_task_of("VE VE", max_error_replicas=1))
    assert after.error_mask == ErrorMask.TOO_MANY_ERRORS
    assert after.assimilate_state is Stage.READY


def test_t14_no_room_is_no_error_where_nothing_is_missing() -> None:
    after = transitioned(a_task_of("S P", max_total_replicas=2))
    assert after.error_mask == 0
    assert spelled_all(after) == "S P"


def test_t16_an_invalid_success_is_made_up_for() -> None:
    after = transitioned(a_task_of("SI P"))
    assert spelled_all(after) == "SI P U"
    assert not after.need_validate


@pytest.mark.parametrize(("codes", "expected"), [("SC SC P", False), ("SC SC S", True)])
def test_t17_t18_only_something_fresh_wants_validation(codes: str, expected: bool) -> None:
    after = transitioned(a_task_of(codes, target_replicas=3))
    assert after.need_validate is expected


def test_t19_a_replica_that_could_not_be_sent_ends_the_task() -> None:
    after = transitioned(a_task_of("CS S"))
    assert after.error_mask == ErrorMask.COULDNT_SEND
    assert spelled_all(after) == "CS SN"
    assert after.assimilate_state is Stage.READY


def test_t24_a_finished_task_makes_nothing_more_and_waits_for_nothing() -> None:
    task = a_task_of("SV SV N", canonical=1, assimilate_state=Stage.READY)
    after = transitioned(task)
    assert spelled_all(after) == "SV SV N"
    assert after.transition_time == NEVER


def test_t25_a_straggler_of_a_finished_task_is_validated_before_the_canonical_files_go() -> None:
    task = a_task_of("SV SV S", canonical=1, assimilate_state=Stage.DONE, target_replicas=3)
    after = transitioned(task)
    assert after.need_validate
    assert file_states(after) == ["ready", "init", "init"]
    assert after.file_delete_state is Stage.INIT


def test_t30_nothing_is_deleted_before_the_delay_is_over() -> None:
    finished = replicas("SV SV")
    received = tuple(transition.replace(r, received_time=NOW - 10) for r in finished)
    task = a_task_of("", replicas=received, canonical=1, assimilate_state=Stage.DONE)
    after = transitioned(task, delete_delay=100.0)
    assert file_states(after) == ["init", "init"]
    assert after.file_delete_state is Stage.INIT
    assert after.transition_time == NOW + 90


def test_t31_a_failed_task_keeps_nothing() -> None:
    task = a_task_of("E E", error_mask=ErrorMask.TOO_MANY_ERRORS, assimilate_state=Stage.DONE)
    after = transitioned(task)
    assert after.file_delete_state is Stage.READY
    assert file_states(after) == ["ready", "ready"]


@pytest.mark.parametrize(
    ("codes", "policy", "bump"),
    [
        ("N P", {"priority_on_over": 10}, 10),
        ("E P", {"priority_on_over_except_error": 10}, 0),
        ("N P", {"priority_on_over_except_error": 10}, 10),
        ("E P", {"priority_on_over": 10}, 10),
        ("P", {"priority_on_over": 10}, 0),
    ],
    ids=["T37", "T38", "lost, except errors", "error, any", "nothing over"],
)
def test_t37_t38_what_follows_another_may_be_put_first(
    codes: str, policy: dict[str, int], bump: int
) -> None:
    after = transitioned(a_task_of(codes), **policy)
    assert [r.priority for r in after.replicas if spelled(r) in "UI"] == [bump]


def test_t39_what_is_held_back_counts_as_unsent() -> None:
    assert spelled_all(transitioned(a_task_of("I I"))) == "I I"


# -- V: the validator ----------------------------------------------------------------------


def test_v1_two_that_agree_are_valid_and_the_first_is_canonical() -> None:
    after = validated(wanted("S=a S=a"))
    assert after.canonical == 0
    assert spelled_all(after) == "SV SV"
    assert after.assimilate_state is Stage.READY
    assert after.transition_time == NEVER
    assert not after.need_validate


def test_v2_two_that_disagree_are_inconclusive_and_a_third_is_wanted() -> None:
    after = validated(wanted("S=a S=b"))
    assert spelled_all(after) == "SC SC"
    assert after.target_replicas == 3
    assert after.canonical is None
    assert after.transition_time == NOW
    assert spelled_all(transitioned(after)) == "SC SC U"


def test_v7_too_few_successes_only_clear_the_wish() -> None:
    task = wanted("S")
    assert validated(task) == transition.replace(task, need_validate=False)


def test_v8_what_was_not_sent_is_not_needed_and_what_runs_is_left() -> None:
    assert spelled_all(validated(wanted("S=a S=a U P I"))) == "SV SV D P D"


def test_v14_with_a_quorum_of_one_the_first_is_canonical() -> None:
    assert validated(wanted("S=a", min_quorum=1, target_replicas=1)).canonical == 0


# -- S and A: through decide ---------------------------------------------------------------


def alone(codes: str = "U", **changes: Any) -> Task:
    """A task of a quorum of one."""
    fields: dict[str, Any] = {"min_quorum": 1, "target_replicas": 1}
    return a_task_of(codes, **fields | changes)


def claim(task: Task, executor: str = "e0", number: int = 0, **about: Any) -> Decision:
    who: dict[str, Any] = {"executor": ExecutorName(executor), "session": SessionId("s1")}
    return decide(task, Claimed(number=number, **who, **about), NOW, POLICY)


def report(task: Task, end: Any = None, executor: str = "e0") -> Decision:
    event = Reported(
        number=0,
        executor=ExecutorName(executor),
        session=SessionId("s1"),
        end=end or a_result(),
    )
    return decide(task, event, NOW, POLICY)


def test_s1_a_claim_sets_the_deadline_and_the_next_look() -> None:
    after = claim(alone(transition_time=NEVER)).task
    assert spelled_all(after) == "P"
    assert after.replicas[0].report_deadline == NOW + 100
    assert after.transition_time == NOW + 100


def test_s2_of_two_claims_the_later_is_refused() -> None:
    first = claim(alone()).task
    second = claim(first, "e9")
    assert second.refused
    assert second.task is first


def test_s3_the_first_sending_commits_a_homogeneous_task_to_its_platform() -> None:
    linux: dict[str, Any] = {"os": "Linux", "cpu": "Intel(R) Xeon(R)"}
    first = claim(a_task_of("U U", homogeneous="os+cpu"), **linux).task
    assert first.hr_class == "linux/intel"
    refused = claim(first, "e1", 1, os="Windows", cpu="Intel(R) Xeon(R)")
    assert refused.refused == "the task is committed to linux/intel"
    assert spelled_all(claim(first, "e1", 1, **linux).task) == "P P"


def wants_two() -> Task:
    """A task whose two of two are only called for where its executor is not trusted."""
    policy = {"min_quorum": 2, "target_replicas": 2, "adaptive": True}
    return transition.replace(a_task_of("U", **policy), quorum=1, target_replicas=1)


def known(consecutive_valid: int) -> Reliability:
    return Reliability(
        executor=ExecutorName("e0"), task_class="any", consecutive_valid=consecutive_valid
    )


def test_s4_an_executor_that_is_not_trusted_calls_for_the_whole_quorum() -> None:
    trusted = reliability.trusted(known(9), TrustPolicy(), 0.5)
    after = claim(wants_two(), trusted=trusted).task
    assert after.quorum is None
    assert after.target_replicas == 2
    assert spelled_all(after) == "P U"


def test_s5_a_result_of_one_that_is_trusted_stands_alone() -> None:
    trusted = reliability.trusted(known(100), TrustPolicy(), 0.5)
    sent_once = claim(wants_two(), trusted=trusted).task
    assert spelled_all(sent_once) == "P"
    after = report(sent_once).task
    assert after.canonical == 0
    lessons = reliability.lessons(sent_once, after)
    learnt = [reliability.learnt(known(100), each, TrustPolicy(), NOW) for each in lessons]
    assert {record.consecutive_valid for record in learnt} == {100}


def test_s6_a_late_result_of_a_lost_replica_is_taken() -> None:
    after = report(alone("N U")).task
    assert spelled_all(after) == "SV D"
    assert after.replicas[0].received_time == NOW


def test_s7_a_repeat_changes_nothing() -> None:
    first = report(alone("P")).task
    again = report(first, a_result(b"other"))
    assert again.refused
    assert again.task is first


def test_s8_a_report_by_another_executor_changes_nothing() -> None:
    task = alone("P")
    decision = report(task, executor="e7")
    assert decision.refused
    assert decision.task is task


def test_s9_a_run_without_a_verdict_is_a_client_error_and_invalid() -> None:
    after = report(alone("P"), a_failure()).task
    assert after.replicas[0].outcome is Outcome.CLIENT_ERROR
    assert after.replicas[0].validity is Validity.INVALID


@pytest.mark.parametrize(("quota", "slots", "most"), [(1, 4, 1), (2, 4, 8)])
def test_s12_a_quota_of_one_is_one_however_many_slots(quota: int, slots: int, most: int) -> None:
    record = transition.replace(known(0), quota=quota)
    assert reliability.limit(record, slots, TrustPolicy()) == most


def ready() -> Task:
    return report(alone("P")).task


def test_a1_a_handler_that_returned_ends_assimilation() -> None:
    assert ready().assimilate_state is Stage.READY
    done = assimilation.assimilated(ready(), NOW)
    assert done is not None
    assert (done.assimilate_state, done.transition_time) == (Stage.DONE, NOW)
    decided = decide(ready(), Assimilated(), NOW, POLICY).task
    assert decided.assimilate_state is Stage.DONE
    assert decide(decided, Assimilated(), NOW, POLICY).refused


def test_a1_a_handler_that_defers_is_called_again_when_all_is_in() -> None:
    task = report(alone("P P")).task
    later = assimilation.deferred(task, NOW)
    assert later is not None
    assert (later.assimilate_state, later.transition_time) == (Stage.INIT, NOW)
    waiting = decide(task, Deferred(), NOW, POLICY).task
    assert waiting.assimilate_state is Stage.INIT
    who: dict[str, Any] = {"executor": ExecutorName("e1"), "session": SessionId("s1")}
    last = Reported(number=1, **who, end=a_result())
    assert decide(waiting, last, NOW, POLICY).task.assimilate_state is Stage.READY


def test_a1_a_handler_that_raised_sends_no_event_and_is_called_again() -> None:
    task = ready()
    assert decide(task, Tick(), NOW, POLICY).task is task


def test_a2_what_is_due_without_result_and_reason_has_failed() -> None:
    damaged = a_task_of("E", assimilate_state=Stage.READY)
    assert assimilation.prepared(damaged).error_mask == ErrorMask.NO_CANONICAL
    done = assimilation.assimilated(damaged, NOW)
    assert done is not None
    assert (done.error_mask, done.assimilate_state) == (ErrorMask.NO_CANONICAL, Stage.DONE)


def test_results_of_a_decision_are_the_very_ones_that_came() -> None:
    result: Result = a_result(b"x")
    assert report(alone("P"), result).task.replicas[0].result is result


def test_an_unsent_replica_is_one_that_may_be_sent_at_once() -> None:
    assert replicas("U") == (a_replica(0),)
