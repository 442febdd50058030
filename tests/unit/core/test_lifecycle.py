"""The life of a task, a promise at a time, each with the number of its rule."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from accord.core.errors import Invalid, InvalidTransition
from accord.core.ids import ExecutorName, SessionId
from accord.core.invariants import check_invariants
from accord.core.judging import Judging
from accord.core.lifecycle import (
    CancelRequested,
    Claimed,
    Decision,
    Event,
    Finished,
    HandedBack,
    Killed,
    Lost,
    Policy,
    Reported,
    StopRun,
    Tick,
    Unsendable,
    WorkReady,
    decide,
    submitted,
)
from accord.core.replica import ErrorClass, Outcome, Replica, ReplicaState, Validity, Verdict
from accord.core.status import Reason, Status
from accord.core.task import NEVER, ErrorMask, Stage, Task
from accord.core.view import reason_of, status_of
from tests.builders import (
    NOW,
    a_compile_step,
    a_failure,
    a_new_task,
    a_replica,
    a_result,
    a_spec,
    a_task,
    a_task_id,
    over,
    sent,
)

POLICY = Policy()
E1, S1 = ExecutorName("e1"), SessionId("s1")
WHO: dict[str, Any] = {"number": 0, "executor": E1, "session": S1}


def after(task: Task, *events: Event, at: float = NOW) -> Task:
    """The task once all these were taken."""
    for event in events:
        decision = decide(task, event, at, POLICY)
        assert not decision.refused
        task = decision.task
    return task


def on(task: Task, event: Event, at: float = NOW) -> Decision:
    return decide(task, event, at, POLICY)


def running(**changes: Any) -> Task:
    """A task whose only replica runs on e1, session s1, due in 100 s."""
    fields: dict[str, Any] = {"replicas": (sent(),), "transition_time": NOW + 100}
    return a_task(**fields | {"start_time": NOW} | changes)


def refused(task: Task, event: Event, at: float = NOW) -> bool:
    """Whether it was not taken, and changed nothing."""
    decision = on(task, event, at)
    assert decision.task is task or not decision.refused
    assert not (decision.refused and decision.effects)
    return bool(decision.refused)


# -- how it begins -------------------------------------------------------------------------


def test_c2_a_new_task_has_its_first_replica_ready_to_be_sent() -> None:
    task = submitted(a_new_task(name="pi"), a_task_id(7), NOW, POLICY)
    assert [(r.number, r.state, r.not_before) for r in task.replicas] == [
        (0, ReplicaState.UNSENT, 0.0)
    ]
    assert (task.id, task.name, task.add_time, task.version) == (a_task_id(7), "pi", NOW, 1)
    assert status_of(task) is Status.PENDING


def test_c2_a_new_task_keeps_all_that_the_submitter_decided() -> None:
    new = a_new_task(labels={"app": "x"}, priority=3, key="k", retry_of=a_task_id(2))
    task = submitted(new, a_task_id(), NOW, POLICY)
    for field in type(new).__struct_fields__:
        assert getattr(task, field) == getattr(new, field)


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({"max_error_replicas": 0}, "max_error_replicas"),
        ({"max_lost_replicas": 0}, "max_lost_replicas"),
        ({"max_success_replicas": 11}, "max_success_replicas"),
        ({"max_error_replicas": 11}, "max_error_replicas"),
        ({"target_replicas": 7}, "target_replicas"),
        ({"min_quorum": 2}, "min_quorum"),
        ({"delay_bound": 0.0}, "delay_bound"),
        ({"delay_bound": float("nan")}, "delay_bound"),
    ],
)
def test_c1_a_policy_that_contradicts_itself_is_refused(policy: Any, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        submitted(a_new_task(spec=a_spec(**policy)), a_task_id(), NOW, POLICY)
    assert caught.value.fields["field"] == f"redundancy.{field}"


# -- sending -------------------------------------------------------------------------------


def claim(executor: str = "e1", number: int = 0) -> Claimed:
    return Claimed(number=number, executor=ExecutorName(executor), session=S1)


def test_s1_the_default_deadline_is_the_limits_of_the_steps_plus_grace() -> None:
    plain = after(a_task(), claim())
    assert plain.replicas[0].report_deadline == NOW + 60 + 60
    compiled = after(a_task(spec=a_spec(compile=a_compile_step())), claim())
    assert compiled.replicas[0].report_deadline == NOW + 60 + 60 + 60


def test_s1_a_claimed_replica_is_assigned_and_the_task_has_begun() -> None:
    task = after(a_task(), claim(), at=NOW + 5)
    replica = task.replicas[0]
    assert (replica.executor, replica.session, replica.sent_time) == (E1, S1, NOW + 5)
    assert task.start_time == NOW + 5
    assert status_of(task) is Status.RUNNING


def test_start_time_is_that_of_the_first_attempt() -> None:
    task = after(running(), Reported(**WHO, end=a_failure()))
    task = after(task, Tick(), claim("e2", 1), at=NOW + 2)
    assert task.start_time == NOW


def test_s2_a_replica_in_its_back_off_is_not_sent() -> None:
    task = a_task(replicas=(a_replica(not_before=NOW + 5),), transition_time=NOW + 5)
    assert refused(task, claim())
    assert not refused(task, claim(), at=NOW + 5)


@pytest.mark.parametrize("replicas", [(), (sent(),), (over(),)])
def test_s2_what_is_not_unsent_is_not_sent(replicas: tuple[Replica, ...]) -> None:
    assert refused(a_task(replicas=replicas), claim())


def test_s2_nothing_is_sent_past_the_tasks_own_deadline() -> None:
    task = a_task(spec=a_spec(deadline=10.0), transition_time=NOW + 10)
    assert refused(task, claim(), at=NOW + 10)


def test_never_two_replicas_of_a_task_on_one_executor_where_distinct() -> None:
    two = {"min_quorum": 2, "target_replicas": 2}
    task = a_task(replicas=(sent(0), a_replica(1)), **two)
    assert refused(task, claim("e1", 1))
    assert not refused(task, claim("e2", 1))
    shared = a_task(replicas=(sent(0), a_replica(1)), distinct="none", **two)
    assert not refused(shared, claim("e1", 1))


# -- reports -------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", list(Verdict))
def test_r2_a_verdict_is_a_success_whichever(verdict: Verdict) -> None:
    task = after(running(), Reported(**WHO, end=a_result(verdict=verdict)))
    assert task.replicas[0].outcome is Outcome.SUCCESS
    assert task.canonical == 0


def test_r3_a_result_of_a_quorum_of_one_ends_the_task_in_one_decision() -> None:
    decision = on(running(), Reported(**WHO, end=a_result()), NOW + 3)
    task = decision.task
    assert status_of(task) is Status.SUCCESS
    assert task.replicas[0].validity is Validity.VALID
    assert task.replicas[0].received_time == NOW + 3
    assert (task.done_time, task.assimilate_state) == (NOW + 3, Stage.READY)
    assert task.transition_time == NEVER
    assert decision.effects == (Finished(task=task.id),)


@pytest.mark.parametrize(
    "who",
    [{"number": 5}, {"executor": ExecutorName("e2")}, {"session": SessionId("s2")}],
    ids=["an unknown number", "another executor", "another session"],
)
def test_r1_only_the_assignment_of_the_replica_may_deliver(who: dict[str, Any]) -> None:
    assert refused(running(), Reported(**{**WHO, **who}, end=a_result()))


@pytest.mark.parametrize(
    "outcome",
    [o for o in Outcome if o not in (Outcome.NO_REPLY, Outcome.DETACHED, Outcome.SUCCESS)],
)
def test_r1_what_is_over_otherwise_than_lost_takes_no_result(outcome: Outcome) -> None:
    task = a_task(replicas=(over(0, outcome), a_replica(1)))
    assert refused(task, Reported(**WHO, end=a_result()))


@pytest.mark.parametrize("outcome", [Outcome.NO_REPLY, Outcome.DETACHED])
def test_r1_a_late_result_is_taken_and_its_replacement_not_needed(outcome: Outcome) -> None:
    task = a_task(replicas=(over(0, outcome), a_replica(1)))
    task = after(task, Reported(**WHO, end=a_result()))
    assert task.canonical == 0
    assert task.replicas[1].outcome is Outcome.DIDNT_NEED


def test_r1_a_late_result_stops_the_replacement_that_runs_already() -> None:
    second = sent(1, executor=ExecutorName("e2"), session=SessionId("s9"))
    decision = on(
        a_task(replicas=(over(0, Outcome.NO_REPLY), second), transition_time=NOW),
        Reported(**WHO, end=a_result()),
    )
    task = decision.task
    stop = StopRun(executor=ExecutorName("e2"), session=SessionId("s9"), task=task.id, number=1)
    assert decision.effects == (stop, Finished(task=task.id))
    assert status_of(task) is Status.SUCCESS
    assert task.transition_time == NOW + 100  # the one that runs is still looked after


def test_r1_a_late_result_of_a_cancelled_task_is_refused() -> None:
    task = a_task(replicas=(over(0, Outcome.NO_REPLY), a_replica(1)))
    task = after(task, CancelRequested())
    assert refused(task, Reported(**WHO, end=a_result()))


def test_r1_a_late_failure_of_a_replica_is_taken_once() -> None:
    task = a_task(replicas=(over(0, Outcome.NO_REPLY), a_replica(1)))
    task = after(task, Reported(**WHO, end=a_failure()))
    assert task.replicas[0].outcome is Outcome.CLIENT_ERROR
    assert refused(task, Reported(**WHO, end=a_result()))


# -- faults and attempts -------------------------------------------------------------------


def test_t7_a_fault_is_followed_by_another_attempt_after_a_back_off_that_doubles() -> None:
    task, now, pauses = a_task(max_error_replicas=9), NOW, []
    for number in range(9):
        task = after(task, claim(f"e{number}", number), at=now)
        who: dict[str, Any] = {
            "number": number,
            "executor": ExecutorName(f"e{number}"),
            "session": S1,
        }
        task = after(task, Reported(**who, end=a_failure()), at=now)
        assert status_of(task) is Status.RETRYING
        newest = task.replicas[-1]
        pauses.append(newest.not_before - now)
        assert task.transition_time == newest.not_before
        now = newest.not_before
        task = after(task, Tick(), at=now)
        assert task.replicas[-1].not_before == 0
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60])


def test_t11_the_end_of_a_back_off_makes_work_ready() -> None:
    task = a_task(
        replicas=(over(0, Outcome.CLIENT_ERROR), a_replica(1, not_before=NOW + 1)),
        transition_time=NOW + 1,
    )
    assert on(task, Tick(), NOW + 0.9).task is task
    assert on(task, Tick(), NOW + 1).effects == (WorkReady(task=task.id),)


def test_t7_more_errors_than_allowed_fail_the_task() -> None:
    errors = [over(n, Outcome.CLIENT_ERROR) for n in range(2)]
    task = running(replicas=(*errors, sent(2)), max_error_replicas=2)
    task = after(task, Reported(**{**WHO, "number": 2}, end=a_failure()))
    assert (status_of(task), reason_of(task)) == (Status.FAILED, Reason.TOO_MANY_ERRORS)
    assert len(task.replicas) == 3


def test_bad_input_ends_the_task_at_once() -> None:
    task = after(running(), Reported(**WHO, end=a_failure(ErrorClass.BAD_INPUT)))
    assert (status_of(task), reason_of(task)) == (Status.FAILED, Reason.BAD_INPUT)
    assert len(task.replicas) == 1


def test_t4_lost_replicas_are_no_errors() -> None:
    task = running(max_error_replicas=1)
    for number in range(4):
        task = after(task, Lost(executor=E1))
        now = task.replicas[-1].not_before
        task = after(task, Tick(), claim("e1", number + 1), at=now)
    assert status_of(task) is Status.RUNNING


def test_a_task_that_kills_its_hosts_stops() -> None:
    task, now = a_task(max_lost_replicas=2), NOW
    for number in range(3):
        task = after(task, claim(f"e{number}", number), at=now)
        task = after(task, Lost(executor=ExecutorName(f"e{number}")), at=now)
        now += 100
        task = on(task, Tick(), now).task
    assert (status_of(task), reason_of(task)) == (Status.FAILED, Reason.TOO_MANY_LOST)


def test_lost_replicas_count_by_distinct_executors_where_the_box_had_started() -> None:
    same = [over(n, Outcome.NO_REPLY) for n in range(3)]
    idle = [over(n, Outcome.NO_REPLY, executor=f"i{n}", started=False) for n in range(3, 6)]
    task = running(replicas=(*same, *idle, sent(6)), max_lost_replicas=1)
    assert status_of(after(task, Lost(executor=E1))) is Status.RETRYING


@pytest.mark.parametrize(("not_started", "started"), [((), True), ((0,), False)])
def test_a_lost_replica_counts_as_started_unless_known_otherwise(
    not_started: tuple[int, ...], started: bool
) -> None:
    task = after(running(), Lost(executor=E1, not_started=not_started))
    assert task.replicas[0].started is started


def test_t9_all_attempts_together_are_bounded() -> None:
    lost = [over(n, Outcome.NO_REPLY) for n in range(2)]
    task = running(replicas=(*lost, sent(2)), max_total_replicas=3)
    task = after(task, Lost(executor=E1))
    assert (status_of(task), reason_of(task)) == (Status.FAILED, Reason.TOO_MANY_REPLICAS)


def test_t9_no_more_is_made_than_there_is_room_for() -> None:
    gone = (over(0, Outcome.NO_REPLY), sent(1))
    two = {"min_quorum": 2, "target_replicas": 2, "max_total_replicas": 3}
    task = after(a_task(replicas=gone, transition_time=NOW, **two), Lost(executor=E1))
    assert [r.number for r in task.replicas] == [0, 1, 2]
    assert task.error_mask == 0


# -- lost ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("detached", "outcome"), [(False, "no_reply"), (True, "detached")])
def test_a_lost_session_loses_its_replicas(detached: bool, outcome: str) -> None:
    decision = on(running(), Lost(executor=E1, session=S1, detached=detached))
    replica = decision.task.replicas[0]
    assert (replica.outcome, replica.error_class) == (outcome, ErrorClass.LOST)
    assert "e1" in replica.message
    assert decision.effects == ()  # there is nobody to tell, and the next attempt waits


@pytest.mark.parametrize(
    "event",
    [
        Lost(executor=ExecutorName("e2")),
        Lost(executor=E1, session=SessionId("s2")),
        Lost(executor=E1, numbers=(1,)),
    ],
    ids=["another executor", "another session", "another number"],
)
def test_only_what_the_lost_session_held_is_lost(event: Lost) -> None:
    assert refused(running(), event)


def test_t2_silence_past_the_deadline_is_no_reply_and_the_run_is_stopped() -> None:
    decision = on(running(), Tick(), NOW + 100.1)
    assert decision.task.replicas[0].outcome is Outcome.NO_REPLY
    assert decision.effects == (StopRun(executor=E1, session=S1, task=decision.task.id, number=0),)
    assert len(decision.task.replicas) == 2


def test_t2_a_box_that_is_killed_after_its_deadline_is_noted_and_nothing_more_comes() -> None:
    task = after(running(), Tick(), at=NOW + 101)
    task = after(task, Killed(**WHO, started=True), at=NOW + 102)
    assert task.replicas[0].outcome is Outcome.NO_REPLY
    assert task.replicas[0].killed_at == NOW + 102
    assert refused(task, Reported(**WHO, end=a_result()))


# -- handed back ---------------------------------------------------------------------------


def test_a_replica_that_is_handed_back_is_replaced_at_once_under_another_number() -> None:
    decision = on(running(), HandedBack(**WHO))
    assert [(r.number, r.state, r.not_before) for r in decision.task.replicas] == [
        (1, ReplicaState.UNSENT, 0.0)
    ]
    assert decision.effects == (WorkReady(task=decision.task.id),)
    assert status_of(decision.task) is Status.PENDING


def test_handing_back_counts_for_nothing_and_leaves_the_document_small() -> None:
    task = running(max_total_replicas=1, max_error_replicas=1, max_success_replicas=1)
    for number in range(50):
        task = after(task, HandedBack(**{**WHO, "number": number}), claim("e1", number + 1))
    assert len(task.replicas) == 1
    assert task.replicas[0].number == 50
    assert status_of(task) is Status.RUNNING


def test_a_number_that_was_handed_back_is_not_heard_again() -> None:
    task = after(running(), HandedBack(**WHO))
    assert refused(task, HandedBack(**WHO))
    assert refused(task, Reported(**WHO, end=a_result()))


def test_a_lost_replica_that_was_waiting_all_along_is_not_held_against_its_host() -> None:
    task = after(running(), Tick(), at=NOW + 101)
    assert task.replicas[0].started
    task = after(task, HandedBack(**WHO), at=NOW + 102)
    assert not task.replicas[0].started


# -- cancel --------------------------------------------------------------------------------


def test_f2_a_task_that_was_not_sent_is_cancelled_at_once() -> None:
    decision = on(a_task(), CancelRequested())
    assert decision.task.replicas[0].outcome is Outcome.DIDNT_NEED
    assert status_of(decision.task) is Status.CANCELLED
    assert decision.task.cancel_requested_at == decision.task.done_time == NOW
    assert decision.effects == (Finished(task=decision.task.id),)


def test_f2_a_running_task_is_cancelling_until_its_box_is_known_to_be_empty() -> None:
    decision = on(running(), CancelRequested())
    task = decision.task
    assert status_of(task) is Status.CANCELLING
    assert decision.effects == (StopRun(executor=E1, session=S1, task=task.id, number=0),)
    assert (task.done_time, task.assimilate_state) == (None, Stage.INIT)
    decision = on(task, Killed(**WHO, started=True), NOW + 2)
    replica = decision.task.replicas[0]
    assert (replica.outcome, replica.killed_at) == (Outcome.ABORTED, NOW + 2)
    assert status_of(decision.task) is Status.CANCELLED
    assert decision.task.done_time == NOW + 2
    assert decision.effects == (Finished(task=task.id),)


ALIVE = CancelRequested(alive=frozenset({(E1, S1)}))


def given_up() -> Task:
    """A task whose only replica did not report in time; another waits for its back-off."""
    return after(running(), Tick(), at=NOW + 101)


def test_f2_what_was_given_up_on_an_executor_that_is_alive_is_to_be_seen_empty_too() -> None:
    decision = on(given_up(), ALIVE, NOW + 101)
    task = decision.task
    assert status_of(task) is Status.CANCELLING
    assert decision.effects == (StopRun(executor=E1, session=S1, task=task.id, number=0),)
    assert status_of(on(task, Tick(), NOW + 1000).task) is Status.CANCELLING
    task = after(task, Killed(**WHO, started=True), at=NOW + 102)
    assert (task.replicas[0].outcome, task.replicas[0].killed_at) == (Outcome.ABORTED, NOW + 102)
    assert status_of(task) is Status.CANCELLED


def test_f2_what_was_given_up_is_not_waited_for_once_its_executor_is_lost() -> None:
    assert status_of(after(given_up(), CancelRequested(), at=NOW + 101)) is Status.CANCELLED
    task = after(given_up(), ALIVE, Lost(executor=E1), at=NOW + 101)
    assert status_of(task) is Status.CANCELLED


def test_f2_what_was_given_up_and_seen_empty_since_is_not_waited_for() -> None:
    task = after(given_up(), Killed(**WHO, started=True), ALIVE, at=NOW + 102)
    assert status_of(task) is Status.CANCELLED


def test_f2_one_executor_may_hold_what_was_given_up_and_the_attempt_after_it() -> None:
    task = after(given_up(), Tick(), at=NOW + 200)
    task = after(task, Claimed(number=1, executor=E1, session=S1), ALIVE, at=NOW + 200)
    task = after(task, Killed(**WHO, started=True), at=NOW + 201)
    assert status_of(task) is Status.CANCELLING
    task = after(task, Killed(**WHO | {"number": 1}, started=True), at=NOW + 202)
    assert status_of(task) is Status.CANCELLED


def cancelling(**changes: Any) -> Task:
    return after(running(**changes), CancelRequested())


def test_f2_a_lost_executor_is_proof_enough() -> None:
    assert status_of(after(cancelling(), Lost(executor=E1))) is Status.CANCELLED


def test_f2_silence_past_the_deadline_is_no_proof() -> None:
    task = cancelling()
    assert status_of(on(task, Tick(), NOW + 1000).task) is Status.CANCELLING


@pytest.mark.parametrize("end", [a_result(), a_failure(), a_failure(ErrorClass.BAD_INPUT)])
def test_f2_a_run_that_ended_by_itself_meanwhile_does_not_change_that(end: Any) -> None:
    task = after(cancelling(), Reported(**WHO, end=end))
    assert status_of(task) is Status.CANCELLED
    assert task.canonical is None
    assert len(task.replicas) == 1


def test_f2_a_result_that_came_while_cancelling_is_kept_unchecked() -> None:
    replica = after(cancelling(), Reported(**WHO, end=a_result())).replicas[0]
    assert (replica.outcome, replica.validity) == (Outcome.SUCCESS, Validity.NO_CHECK)


def test_f2_a_replica_handed_back_while_cancelling_is_not_replaced() -> None:
    task = after(cancelling(), HandedBack(**WHO))
    assert status_of(task) is Status.CANCELLED
    assert task.replicas[0].outcome is Outcome.DIDNT_NEED


def test_f2_a_repeated_cancellation_changes_nothing() -> None:
    for task in (cancelling(), after(a_task(), CancelRequested())):
        again = on(task, CancelRequested(), NOW + 9)
        assert again.task is task
        assert not again.refused


def test_f2_a_task_that_ended_otherwise_cannot_be_cancelled() -> None:
    assert refused(after(running(), Reported(**WHO, end=a_result())), CancelRequested())


def test_f2_cancelling_holds_against_the_tasks_own_deadline() -> None:
    task = cancelling(spec=a_spec(deadline=50.0), transition_time=NOW + 50)
    task = on(task, Tick(), NOW + 60).task
    assert task.error_mask == ErrorMask.CANCELLED


def test_a_kill_that_nobody_asked_for_is_one_more_attempt() -> None:
    task = after(running(), Killed(**WHO, started=True))
    assert task.replicas[0].outcome is Outcome.ABORTED
    assert status_of(task) is Status.RETRYING


# -- deadlines and what cannot be sent -----------------------------------------------------


def test_the_tasks_own_deadline_ends_it_and_stops_what_runs() -> None:
    task = running(spec=a_spec(deadline=50.0), transition_time=NOW + 50)
    assert on(task, Tick(), NOW + 49).task is task
    decision = on(task, Tick(), NOW + 50)
    assert reason_of(decision.task) is Reason.DEADLINE
    stop = StopRun(executor=E1, session=S1, task=task.id, number=0)
    assert decision.effects == (stop, Finished(task=task.id))


def test_a_failed_task_stays_so_whatever_its_last_run_reports() -> None:
    task = running(spec=a_spec(deadline=50.0), transition_time=NOW + 50)
    failed = after(task, Tick(), at=NOW + 50)
    late = after(failed, Reported(**WHO, end=a_result()), at=NOW + 51)
    assert reason_of(late) is Reason.DEADLINE
    assert late.replicas[0].validity is Validity.NO_CHECK
    assert late.done_time == NOW + 50
    assert late.transition_time == NEVER


def test_a_result_that_is_there_before_the_deadline_is_noticed_wins() -> None:
    task = running(spec=a_spec(deadline=50.0), transition_time=NOW + 50)
    assert status_of(after(task, Reported(**WHO, end=a_result()), at=NOW + 51)) is Status.SUCCESS


def test_t6_what_nobody_can_take_fails_as_unsendable_but_not_too_soon() -> None:
    assert refused(a_task(), Unsendable(), NOW + 3599)
    task = after(a_task(), Unsendable(), at=NOW + 3600)
    assert task.replicas[0].outcome is Outcome.COULDNT_SEND
    assert (status_of(task), reason_of(task)) == (Status.FAILED, Reason.UNSENDABLE)


def test_t6_what_was_sent_is_not_unsendable() -> None:
    assert refused(running(), Unsendable(), NOW + 3600)


# -- looking -------------------------------------------------------------------------------


def test_t15_the_next_look_is_the_least_of_all_that_is_waited_for() -> None:
    assert after(a_task(), claim()).transition_time == NOW + 120
    assert after(a_task(delay_bound=7.0), claim()).transition_time == NOW + 7
    soon = submitted(a_new_task(spec=a_spec(deadline=5.0)), a_task_id(), NOW, POLICY)
    assert soon.transition_time == NOW + 5


def test_t15_the_safety_net_is_ten_days_or_more_where_the_bound_is_longer() -> None:
    assert submitted(a_new_task(), a_task_id(), NOW, POLICY).transition_time == NOW + 864000
    long = a_new_task(spec=a_spec(delay_bound=1e6))
    assert submitted(long, a_task_id(), NOW, POLICY).transition_time == NOW + 1.5e6


def test_looking_at_a_task_that_waits_changes_nothing() -> None:
    for task in (a_task(), running(), cancelling()):
        decision = on(task, Tick(), NOW + 50)
        assert decision.task is task
        assert decision.effects == ()


def test_the_version_is_the_stores_alone() -> None:
    assert after(running(version=41), Reported(**WHO, end=a_result())).version == 41


def test_q1_a_finished_task_cannot_fail_afterwards() -> None:
    errors = [over(n, Outcome.CLIENT_ERROR) for n in range(3)]
    good = over(3, validity=Validity.VALID)
    straggler = sent(4, executor=ExecutorName("e9"))
    task = a_task(
        replicas=(*errors, good, straggler),
        canonical=3,
        done_time=NOW,
        assimilate_state=Stage.DONE,
        transition_time=NOW + 100,
    )
    who: dict[str, Any] = {"number": 4, "executor": ExecutorName("e9"), "session": S1}
    task = after(task, Reported(**who, end=a_failure()))
    assert status_of(task) is Status.SUCCESS
    assert task.error_mask == 0


@pytest.mark.parametrize(("stdout", "validity"), [(b"hello\n", "valid"), (b"no", "invalid")])
def test_v1_a_straggler_is_held_against_the_canonical_result(stdout: bytes, validity: str) -> None:
    task = a_task(
        replicas=(over(0, validity=Validity.VALID), sent(1, executor=ExecutorName("e9"))),
        canonical=0,
        done_time=NOW,
        assimilate_state=Stage.DONE,
        transition_time=NOW + 100,
    )
    who: dict[str, Any] = {"number": 1, "executor": ExecutorName("e9"), "session": S1}
    task = after(task, Reported(**who, end=a_result(stdout)))
    assert task.replicas[1].validity == validity
    assert task.canonical == 0


# -- faults of our own ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"replicas": ()}, "can still end it"),
        ({"replicas": (a_replica(1), a_replica(0))}, "must rise"),
        ({"replicas": (a_replica(outcome=Outcome.SUCCESS),)}, "exactly when it is over"),
        ({"replicas": (over(result=None),)}, "yet has no result"),
        ({"replicas": (over(0, Outcome.CLIENT_ERROR, result=a_result()),)}, "did not succeed"),
        ({"replicas": (a_replica(executor=E1),)}, "yet on an executor"),
        ({"replicas": (sent(session=None),)}, "yet not assigned"),
        ({"replicas": (sent(killed_at=NOW),)}, "yet is not over"),
        ({"replicas": (sent(0), sent(1))}, "on one executor"),
        ({"replicas": (over(),), "canonical": 0, "error_mask": 2}, "cannot have failed"),
        ({"replicas": (over(),), "canonical": 0}, "must be a valid one"),
        ({"done_time": NOW}, "done_time"),
        ({"replicas": (), "error_mask": 2, "done_time": NOW}, "assimilation"),
        (
            {"error_mask": 2, "done_time": NOW, "assimilate_state": Stage.READY},
            "nothing more may be sent",
        ),
        ({"replicas": (sent(),), "transition_time": NOW + 101}, "too late"),
        ({"transition_time": NEVER}, "never be looked at"),
        ({"need_validate": True}, "which nothing will do"),
        ({"judging": Judging()}, "nothing waits for"),
        (
            {"need_validate": True, "judging": Judging(executor=E1)},
            "exactly while in progress or answered",
        ),
        ({"file_delete_state": Stage.READY}, "in the same write"),
        ({"file_delete_state": Stage.DONE}, "before the task is assimilated"),
        (
            {
                "replicas": (over(validity=Validity.VALID),),
                "canonical": 0,
                "done_time": NOW,
                "assimilate_state": Stage.DONE,
                "file_delete_state": Stage.DONE,
            },
            "canonical files go with the inputs",
        ),
        (
            {"replicas": (over(0), over(1), a_replica(2)), "min_quorum": 2, "target_replicas": 3},
            "two results are of one executor",
        ),
    ],
)
def test_what_must_hold_of_every_task_is_checked(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidTransition, match=words) as caught:
        check_invariants(a_task(**changes))
    assert "next look" in str(caught.value.fields["story"])


def test_a_task_that_breaks_an_invariant_is_not_decided_on_silently() -> None:
    wrong = a_task(replicas=(sent(0), sent(1)), transition_time=NOW)
    with pytest.raises(InvalidTransition, match="one executor"):
        on(wrong, Tick())


def test_an_event_that_is_none_is_a_fault() -> None:
    with pytest.raises(InvalidTransition):
        on(a_task(), msgspec.UNSET)  # type: ignore[arg-type]  # the point of the test
