"""The transitioner, rule by rule, where the vectors and the lifecycle's tests do not say it."""

from __future__ import annotations

from typing import Any

import pytest

from accord.core import retention, transition
from accord.core.policy import Policy
from accord.core.replica import Outcome, Stage
from accord.core.task import NEVER, ErrorMask, Task
from tests.builders import NOW, a_task_of, replicas, spelled_all

POLICY = Policy(delete_delay=0.0)
DAYS = 86400.0
DONE: dict[str, Any] = {"assimilate_state": Stage.DONE}


def passed(task: Task, policy: Policy = POLICY) -> Task:
    return transition.transition(task, NOW, policy)


def with_files(task: Task, number: int, state: Stage) -> Task:
    replica = task.replica(number)
    assert replica is not None
    gone = transition.replace(replica, file_delete_state=state)
    return transition.replace_replicas(task, [gone])


@pytest.mark.parametrize("state", [Stage.READY, Stage.DONE])
def test_t1_t3_q7_a_success_after_the_canonical_files_are_going_is_too_late(state: Stage) -> None:
    task = with_files(a_task_of("SV SV S", canonical=1, **DONE), 1, state)
    after = passed(task)
    assert spelled_all(after) == "SV SV SL"
    assert not after.need_validate


def test_t3_files_of_other_replicas_do_not_matter() -> None:
    task = with_files(a_task_of("SV SV S", canonical=1), 0, Stage.DONE)
    assert passed(task).need_validate


def test_t2_a_loss_is_noted_with_its_time_and_counts_as_begun() -> None:
    task = a_task_of("", replicas=replicas("P", report_deadline=NOW - 1))
    lost = passed(task).replicas[0]
    assert (lost.outcome, lost.over_time, lost.started) == (Outcome.NO_REPLY, NOW, True)


def test_t2_silence_is_no_proof_while_a_users_cancellation_is_to_be_proved() -> None:
    codes = replicas("P", report_deadline=NOW - 1)
    asked = a_task_of("", replicas=codes, error_mask=16, cancel_requested_at=NOW - 5)
    assert spelled_all(passed(asked)) == "P"
    assert passed(asked).assimilate_state is Stage.INIT
    assert passed(asked).transition_time == NOW + 10 * DAYS  # nor is its deadline waited for
    bare = a_task_of("", replicas=codes, error_mask=16)
    assert spelled_all(passed(bare)) == "N"
    assert passed(bare).assimilate_state is Stage.READY


@pytest.mark.parametrize(
    ("codes", "successes", "errors", "silent", "total"),
    [
        ("S SV SC SN SL", 5, 0, 0, 5),
        ("SI", 0, 0, 0, 1),
        ("E VE", 0, 2, 0, 2),
        ("N X G", 0, 0, 3, 3),
        ("CS D", 0, 0, 0, 2),
        ("H H", 0, 0, 0, 0),
    ],
)
def test_t4_what_counts_as_what(
    codes: str, successes: int, errors: int, silent: int, total: int
) -> None:
    counts = transition.tally(replicas(codes))
    assert (counts.successes, counts.errors, counts.silent, counts.total) == (
        successes,
        errors,
        silent,
        total,
    )


def test_t5_an_inconclusive_result_counts_and_does_not_trigger() -> None:
    assert not passed(a_task_of("SC SC")).need_validate
    assert passed(a_task_of("SC S")).need_validate


def test_t7_as_many_errors_as_allowed_are_none_too_many() -> None:
    assert passed(a_task_of("E E E")).error_mask == 0
    assert passed(a_task_of("E E E E")).error_mask == ErrorMask.TOO_MANY_ERRORS


def test_t7_lost_replicas_count_by_executor_and_only_where_the_box_had_begun() -> None:
    few = {"max_lost_replicas": 1, "max_total_replicas": 9}
    assert passed(a_task_of("N N", **few)).error_mask == ErrorMask.TOO_MANY_LOST
    same = tuple(transition.replace(r, executor="e0") for r in replicas("N N X"))
    assert passed(a_task_of("", replicas=same, **few)).error_mask == 0
    idle = tuple(transition.replace(r, started=False) for r in replicas("N N X"))
    assert passed(a_task_of("", replicas=idle, **few)).error_mask == 0


@pytest.mark.parametrize(
    ("codes", "dropped"),
    [
        ("E", True),
        ("VE U", True),
        ("E S", False),
        ("E P", False),
        ("E N", False),
        ("E X", False),
        ("E G", False),
        ("U", False),
        ("N", False),
        ("E SI", True),
    ],
)
def test_t8_a_platform_of_which_only_errors_came_is_given_up(codes: str, dropped: bool) -> None:
    after = passed(a_task_of(codes, hr_class="linux"))
    assert after.hr_class == ("" if dropped else "linux")


@pytest.mark.parametrize(
    ("codes", "most", "made", "mask"),
    [
        ("", 6, 2, 0),
        ("E", 2, 1, 0),  # two are missing, there is room for one
        ("E E", 2, 0, ErrorMask.TOO_MANY_REPLICAS),
        ("S S", 2, 0, 0),
        ("S S S", 2, 0, ErrorMask.TOO_MANY_REPLICAS),
        ("H H H", 2, 2, 0),
        ("SI SV", 6, 1, 0),
    ],
)
def test_t9_t11_what_is_missing_is_made_as_far_as_there_is_room(
    codes: str, most: int, made: int, mask: int
) -> None:
    task = a_task_of(codes, max_total_replicas=most)
    after = passed(task)
    numbers = {r.number for r in task.replicas}
    assert sum(r.number not in numbers for r in after.replicas) == made
    assert after.error_mask == mask


def test_t11_numbers_go_on_from_the_highest() -> None:
    codes = replicas("E SI")
    later = tuple(transition.replace(r, number=r.number + 7) for r in codes)
    assert [r.number for r in passed(a_task_of("", replicas=later)).replicas] == [7, 8, 9, 10]


def test_t10_what_runs_is_left_to_run_and_what_was_judged_stays_so() -> None:
    after = passed(a_task_of("S SC SV SI SL U I P", error_mask=2))
    assert spelled_all(after) == "SN SN SV SI SL D D P"
    assert after.assimilate_state is Stage.READY
    assert after.transition_time == NOW + 100


def test_q6_what_was_not_sent_is_not_needed_once_there_is_a_result() -> None:
    assert spelled_all(passed(a_task_of("SV SV U I", canonical=0, **DONE))) == "SV SV D D"


@pytest.mark.parametrize("codes", ["SV SV E E E E", "SV SV CS", "SV SV N N N N N"])
def test_q1_a_finished_task_cannot_fail_afterwards(codes: str) -> None:
    after = passed(a_task_of(codes, canonical=0, max_error_replicas=1))
    assert after.error_mask == 0


def test_a_reason_stays_what_it_was_once_the_end_is_told() -> None:
    told = a_task_of("E E E E", error_mask=128, done_time=NOW - 1)
    assert passed(told).error_mask == ErrorMask.DEADLINE
    untold = a_task_of("E E E E", error_mask=128)
    assert passed(untold).error_mask == ErrorMask.DEADLINE | ErrorMask.TOO_MANY_ERRORS


@pytest.mark.parametrize(
    ("codes", "judged", "settled"),
    [
        ("SV SI SC E G X VE", True, True),
        ("SV S", False, False),
        ("SV U", False, False),
        ("SV P", False, False),
        ("SV N", True, True),
        ("", True, True),
    ],
)
def test_t12_what_is_judged_and_what_is_settled(codes: str, judged: bool, settled: bool) -> None:
    task = a_task_of(codes)
    assert retention.judged(task) is judged
    assert retention.settled(task, NOW) is settled


def test_t12_a_lost_replica_with_time_left_is_judged_and_not_settled() -> None:
    task = a_task_of("SV N")
    early = transition.replace(task.replicas[1], report_deadline=NOW + 1)
    task = transition.replace_replicas(task, [early])
    assert retention.judged(task)
    assert not retention.settled(task, NOW)
    assert retention.settled(task, NOW + 1)


@pytest.mark.parametrize(("codes", "state"), [("SV SV", "ready"), ("SV SV P", "init")])
def test_t13_an_assimilation_that_was_put_off_is_due_when_all_is_in(codes: str, state: str) -> None:
    assert passed(a_task_of(codes, canonical=0)).assimilate_state == state


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (a_task_of("S U"), NOW + 10 * DAYS),
        (a_task_of("S U", delay_bound=8 * DAYS), NOW + 12 * DAYS),
        (a_task_of("S P"), NOW + 100),
        (a_task_of("SV SV P", canonical=0), NOW + 100),
        (a_task_of("SV SV", canonical=0), NEVER),
        (a_task_of("E", error_mask=2), NEVER),
    ],
)
def test_t15_the_next_look_is_the_earliest_of_what_is_waited_for(
    task: Task, expected: float
) -> None:
    assert passed(task).transition_time == expected


@pytest.mark.parametrize(
    ("late", "pause"), [(1, 60), (100, 200), (1e6, 86400), (0, None), (-5, None)]
)
def test_t16_a_look_that_lies_in_the_past_is_put_off(late: float, pause: float | None) -> None:
    task = a_task_of("U", transition_time=NOW - late)
    expected = NOW - late if pause is None else NOW + pause
    assert transition.catch_up(task, NOW, POLICY).transition_time == expected


def test_a_pass_that_finds_nothing_to_do_gives_the_very_task() -> None:
    for codes in ("U U", "P P", "S P", "SC SC P"):
        task = passed(a_task_of(codes, target_replicas=len(codes.split())))
        assert passed(task) is task
