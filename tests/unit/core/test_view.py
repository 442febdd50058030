"""What users see of a task."""

from __future__ import annotations

from typing import Any

import pytest

from accord.core.replica import Outcome, Phase, Validity, Verdict
from accord.core.status import Reason, Status
from accord.core.task import ErrorMask, Stage, Task
from accord.core.view import reason_of, shown_replica, status_of, summary_of
from tests.builders import (
    NOW,
    a_replica,
    a_result,
    a_step_result,
    a_task,
    over,
    sent,
)


def done(result: Any) -> Task:
    return a_task(
        replicas=(over(0, result=result, validity=Validity.VALID),),
        canonical=0,
        done_time=NOW,
        assimilate_state=Stage.READY,
    )


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (Verdict.OK, Status.SUCCESS),
        (Verdict.COMPILE_ERROR, Status.COMPILE_FAILED),
        (Verdict.RUNTIME_ERROR, Status.RUN_FAILED),
        (Verdict.WRONG_ANSWER, Status.WRONG_ANSWER),
        (Verdict.FORMAT_ERROR, Status.FORMAT_ERROR),
        (Verdict.TIME_LIMIT, Status.RUN_FAILED),
        (Verdict.MEMORY_LIMIT, Status.RUN_FAILED),
        (Verdict.OUTPUT_LIMIT, Status.RUN_FAILED),
        (Verdict.DISK_LIMIT, Status.RUN_FAILED),
    ],
)
def test_the_status_of_a_finished_task_is_told_by_its_verdict(
    verdict: Verdict, status: Status
) -> None:
    assert status_of(done(a_result(verdict=verdict))) is status
    assert status.done


@pytest.mark.parametrize(
    "verdict", [Verdict.TIME_LIMIT, Verdict.MEMORY_LIMIT, Verdict.OUTPUT_LIMIT, Verdict.DISK_LIMIT]
)
def test_a_limit_hit_while_compiling_is_compile_failed(verdict: Verdict) -> None:
    result = a_result(verdict=verdict, compile=a_step_result(limit="wall"), execute=None)
    assert status_of(done(result)) is Status.COMPILE_FAILED


@pytest.mark.parametrize(
    ("phase", "status"),
    [
        (None, Status.RUNNING),
        (Phase.FETCHING, Status.RUNNING),
        (Phase.COMPILING, Status.COMPILING),
        (Phase.RUNNING, Status.RUNNING),
        (Phase.JUDGING, Status.VALIDATING),
    ],
)
def test_a_run_in_progress_shows_its_phase_where_it_is_known(
    phase: Phase | None, status: Status
) -> None:
    task = a_task(replicas=(sent(3),))
    assert status_of(task, {3: phase} if phase else None) is status
    assert not status.done


def test_of_several_runs_the_furthest_is_shown() -> None:
    task = a_task(replicas=(sent(0), sent(1)))
    assert status_of(task, {0: Phase.RUNNING, 1: Phase.COMPILING}) is Status.RUNNING


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.CLIENT_ERROR, Status.RETRYING),
        (Outcome.NO_REPLY, Status.RETRYING),
        (Outcome.DETACHED, Status.RETRYING),
        (Outcome.DIDNT_NEED, Status.PENDING),
    ],
)
def test_a_task_that_waits_again_after_a_fault_is_retrying(
    outcome: Outcome, status: Status
) -> None:
    assert status_of(a_task(replicas=(over(0, outcome), a_replica(1)))) is status
    running_again = a_task(replicas=(over(0, outcome), sent(1)))
    assert status_of(running_again) is Status.RUNNING


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (ErrorMask.COULDNT_SEND, Reason.UNSENDABLE),
        (ErrorMask.TOO_MANY_ERRORS, Reason.TOO_MANY_ERRORS),
        (ErrorMask.TOO_MANY_SUCCESSES, Reason.NO_CONSENSUS),
        (ErrorMask.TOO_MANY_REPLICAS, Reason.TOO_MANY_REPLICAS),
        (ErrorMask.TOO_MANY_LOST, Reason.TOO_MANY_LOST),
        (ErrorMask.DEADLINE, Reason.DEADLINE),
        (ErrorMask.BAD_INPUT, Reason.BAD_INPUT),
        (ErrorMask.BAD_INPUT | ErrorMask.DEADLINE, Reason.BAD_INPUT),
    ],
)
def test_a_failed_task_tells_its_reason(mask: ErrorMask, reason: Reason) -> None:
    task = a_task(replicas=(), error_mask=int(mask))
    assert status_of(task) is Status.FAILED
    assert reason_of(task) is reason


def test_every_bit_of_the_mask_has_a_status() -> None:
    for bit in ErrorMask:
        task = a_task(replicas=(), error_mask=int(bit))
        assert (reason_of(task) is None) == (status_of(task) is Status.CANCELLED)


def test_a_failure_is_final_though_a_run_has_yet_to_be_stopped() -> None:
    task = a_task(replicas=(sent(),), error_mask=int(ErrorMask.DEADLINE))
    assert status_of(task) is Status.FAILED


def test_a_task_that_was_not_sent_has_nothing_to_show() -> None:
    assert shown_replica(a_task()) is None
    assert summary_of(a_task()).attempts == 0


@pytest.mark.parametrize(
    ("replicas", "shown"),
    [
        ((over(0, Outcome.CLIENT_ERROR), a_replica(1)), 0),
        ((over(0, Outcome.CLIENT_ERROR), sent(1)), 1),
        ((over(0, Outcome.CLIENT_ERROR), over(1, Outcome.NO_REPLY), a_replica(2)), 1),
        ((over(0, validity=Validity.NO_CHECK), over(1, Outcome.ABORTED)), 0),
    ],
)
def test_a_reader_sees_the_latest_news(replicas: tuple[Any, ...], shown: int) -> None:
    replica = shown_replica(a_task(replicas=replicas))
    assert replica is not None
    assert replica.number == shown


def test_a_reader_sees_the_canonical_result_before_any_other() -> None:
    task = a_task(
        replicas=(over(0, validity=Validity.VALID), over(1), sent(2)), canonical=0, done_time=NOW
    )
    assert shown_replica(task) is task.replicas[0]


def test_a_summary_measures_the_execute_step() -> None:
    task = done(a_result(compile=a_step_result(wall_time=9.0)))
    summary = summary_of(task)
    assert (summary.wall_time, summary.cpu_time) == (0.5, 0.25)
    assert (summary.verdict, summary.executor, summary.attempts) == (Verdict.OK, "e1", 1)
    assert (summary.status, summary.reason) == (Status.SUCCESS, None)


def test_a_summary_measures_the_compile_step_where_that_was_the_end() -> None:
    result = a_result(
        verdict=Verdict.COMPILE_ERROR, compile=a_step_result(wall_time=9.0), execute=None
    )
    assert summary_of(done(result)).wall_time == 9.0
