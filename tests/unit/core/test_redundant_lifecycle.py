"""The life of a task that is run more than once, a promise at a time, with the rule's number."""

from __future__ import annotations

from typing import Any

import pytest

from accord.core import transition
from accord.core.errors import Invalid
from accord.core.ids import ExecutorName, SessionId, TaskId
from accord.core.lifecycle import (
    Claimed,
    Disputed,
    Doubted,
    Event,
    Killed,
    Lost,
    Reported,
    StopRun,
    Tick,
    WorkReady,
    decide,
    submitted,
)
from accord.core.policy import Policy
from accord.core.replica import Stage
from accord.core.status import Status
from accord.core.task import NEVER, Numbers, Task, quorum_of
from accord.core.view import status_of
from tests.builders import (
    NOW,
    a_coded_replica,
    a_failure,
    a_new_task,
    a_result,
    a_spec,
    a_task_id,
    a_task_of,
    spelled_all,
)

POLICY = Policy()
S1 = SessionId("s1")


def after(task: Task, *events: Event) -> Task:
    """The task once all these were taken."""
    for event in events:
        decision = decide(task, event, NOW, POLICY)
        assert not decision.refused, decision.refused
        task = decision.task
    return task


# -- several replicas ----------------------------------------------------------------------


def two(codes: str, **changes: Any) -> Task:
    return a_task_of(codes, **{"transition_time": NOW, **changes})


def by(number: int, executor: str, end: Any = None) -> Reported:
    who: dict[str, Any] = {"executor": ExecutorName(executor), "session": S1}
    return Reported(number=number, **who, end=end or a_result(b"a"))


def test_two_results_that_agree_end_the_task_in_the_write_that_stores_the_second() -> None:
    task = after(two("P P"), by(0, "e0"))
    assert spelled_all(task) == "S P"
    task = after(task, by(1, "e1"))
    assert spelled_all(task) == "SV SV"
    assert status_of(task) is Status.SUCCESS
    assert task.assimilate_state is Stage.READY


def test_a_disagreement_is_followed_by_another_replica_in_the_same_write() -> None:
    decision = decide(two("S=b P"), by(1, "e1"), NOW, POLICY)
    assert spelled_all(decision.task) == "SC SC U"
    assert WorkReady(task=decision.task.id) in decision.effects


def test_f3_what_still_runs_when_the_result_is_there_is_told_to_stop() -> None:
    decision = decide(two("S=a P P", target_replicas=3), by(1, "e1"), NOW, POLICY)
    assert [e.number for e in decision.effects if isinstance(e, StopRun)] == [2]
    killed = Killed(number=2, executor=ExecutorName("e2"), session=S1, started=True)
    assert spelled_all(after(decision.task, killed)) == "SV SV G"


def test_a_result_that_came_before_it_could_be_stopped_is_judged() -> None:
    task = after(two("S=a P P", target_replicas=3), by(1, "e1"), by(2, "e2", a_result(b"b")))
    assert spelled_all(task) == "SV SV SI"
    assert status_of(task) is Status.SUCCESS


def test_v1_whatever_comes_late_is_judged_though_invalid_results_leave_less_than_the_quorum() -> (
    None
):
    changes = {"min_quorum": 5, "target_replicas": 6, "max_success_replicas": 6}
    task = after(two("S=a S=a S=a S=b S=c P", **changes), Tick())
    assert spelled_all(task) == "SV SV SV SI SI P"
    late = after(task, by(5, "e5"))
    assert spelled_all(late) == "SV SV SV SI SI SV"
    assert late.transition_time == NEVER


def test_one_executor_confirms_nothing_of_its_own() -> None:
    """It was given up for lost, got the next replica, and then both its results arrive."""
    task = two("N P P", target_replicas=2)
    again = transition.replace(task.replicas[1], executor=ExecutorName("e0"))
    task = transition.replace_replicas(task, [again])
    task = after(task, by(0, "e0"), by(1, "e0"))
    assert spelled_all(task) == "S H P"
    assert "has given a result" in task.replicas[1].message
    assert task.canonical is None


def test_t10_a_task_that_failed_validates_nothing_more() -> None:
    task = after(two("E E E E S P"), Tick())
    assert spelled_all(task) == "E E E E SN P"
    task = after(task, by(5, "e5"))
    assert spelled_all(task) == "E E E E SN SN"
    assert not task.need_validate
    assert status_of(task) is Status.FAILED


def test_what_is_there_is_validated_before_anything_is_given_up() -> None:
    """The write that brings the last error would otherwise throw two good results away."""
    task = after(two("E E E E S=a S=a"), Tick())
    assert spelled_all(task) == "E E E E SV SV"


def test_f4_a_lost_replica_has_no_time_left() -> None:
    task = after(two("P P"), Lost(executor=ExecutorName("e0")))
    assert spelled_all(task) == "N P I"
    assert task.replicas[0].report_deadline == NOW


@pytest.mark.parametrize(("wished", "due"), [(None, 100), (50.0, 50), (500.0, 100)])
def test_s1_a_retry_on_a_reliable_executor_may_be_due_sooner(
    wished: float | None, due: float
) -> None:
    name = ExecutorName("e0")
    task = after(two("U U"), Claimed(number=0, executor=name, session=S1, delay_bound=wished))
    assert task.replicas[0].report_deadline == NOW + due


# -- adaptive redundancy ---------------------------------------------------------------------


def adaptive(**changes: Any) -> Task:
    policy = {"min_quorum": 2, "target_replicas": 2, "adaptive": True}
    new = a_new_task(spec=a_spec(**policy | changes))
    return submitted(new, a_task_id(), NOW, POLICY)


def claimed_by(executor: str, number: int = 0, *, trusted: bool) -> Claimed:
    name = ExecutorName(executor)
    return Claimed(number=number, executor=name, session=S1, trusted=trusted)


def test_s3_it_begins_with_one_replica() -> None:
    task = adaptive()
    assert spelled_all(task) == "U"
    assert quorum_of(task) == 1


def test_s3_who_is_trusted_runs_it_alone() -> None:
    task = after(adaptive(), claimed_by("e0", trusted=True), by(0, "e0"))
    assert spelled_all(task) == "SV"
    assert status_of(task) is Status.SUCCESS


def test_s3_who_is_not_calls_for_the_whole_quorum_at_once() -> None:
    task = after(adaptive(target_replicas=3), claimed_by("e0", trusted=False))
    assert spelled_all(task) == "P U U"
    assert quorum_of(task) == 2
    assert task.canonical is None


def test_s3_the_quorum_stays_raised_whoever_gets_the_next_replica() -> None:
    task = after(adaptive(), claimed_by("e0", trusted=False), claimed_by("e1", 1, trusted=True))
    assert quorum_of(task) == 2


def test_s3_a_result_that_is_doubted_is_checked() -> None:
    task = after(adaptive(), claimed_by("e0", trusted=True), Doubted())
    assert spelled_all(task) == "P U"
    assert spelled_all(after(task, by(0, "e0"))) == "S U"


def test_s3_what_is_done_cannot_be_doubted() -> None:
    task = after(adaptive(), claimed_by("e0", trusted=True), by(0, "e0"))
    assert decide(task, Doubted(), NOW, POLICY).refused


def test_s3_only_an_adaptive_task_is_run_once() -> None:
    task = after(two("U U"), claimed_by("e0", trusted=True))
    assert spelled_all(task) == "P U"
    assert quorum_of(task) == 2


# -- homogeneous redundancy ------------------------------------------------------------------


def on(executor: str, number: int, os: str) -> Claimed:
    return Claimed(number=number, executor=ExecutorName(executor), session=S1, os=os)


def test_s1_t8_a_platform_is_committed_to_and_given_up_where_only_errors_came_of_it() -> None:
    task = after(two("U", homogeneous="os", min_quorum=1, target_replicas=1), on("e0", 0, "Linux"))
    assert task.hr_class == "linux"
    task = after(task, by(0, "e0", a_failure()))
    assert task.hr_class == ""
    task = decide(task, Tick(), NOW + 5, POLICY).task
    other = decide(task, on("e1", 1, "Windows"), NOW + 5, POLICY)
    assert other.task.hr_class == "windows"


def test_s1_an_executor_of_an_unknown_platform_gets_none_of_it() -> None:
    refused = decide(two("U U", homogeneous="os"), on("e0", 0, ""), NOW, POLICY)
    assert refused.refused == "its platform is not known"


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({"distinct": "planet"}, "redundancy.distinct"),
        ({"homogeneous": "cpu"}, "redundancy.homogeneous"),
        ({"comparator": Numbers(abs=-1.0)}, "redundancy.comparator.abs"),
        ({"comparator": Numbers(rel=float("nan"))}, "redundancy.comparator.rel"),
    ],
)
def test_c1_what_is_no_policy_is_refused(policy: Any, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        submitted(a_new_task(spec=a_spec(**policy)), a_task_id(), NOW, POLICY)
    assert caught.value.fields["field"] == field


def test_a_result_that_an_audit_disputes_says_so_and_stays() -> None:
    task = after(two("SV=a SV=a", canonical=0, done_time=NOW), Disputed(by=TaskId("a1")))
    assert (task.disputed_by, task.canonical) == ("a1", 0)
    assert after(task, Disputed(by=TaskId("a2"))).disputed_by == "a1"
    assert "no result" in decide(two("P U"), Disputed(by=TaskId("a1")), NOW, POLICY).refused


def test_a_second_result_may_arrive_when_another_replica_has_just_fallen_silent() -> None:
    """The late one of replica 0 repeats what e0 said in 1, and gives way to what follows 2."""
    lost = a_coded_replica(0, "X", executor="e0", received_time=None)
    said = a_coded_replica(1, "S=a", executor="e0")
    silent = a_coded_replica(2, "P", executor="e2", report_deadline=NOW - 1)
    task = a_task_of("", replicas=(lost, said, silent), transition_time=NOW, max_total_replicas=9)
    late = Reported(number=0, executor=ExecutorName("e0"), session=S1, end=a_result(b"a"))
    assert spelled_all(after(task, late)) == "S N I"
