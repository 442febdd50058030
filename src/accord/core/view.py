"""Derived views of a task: its status, the reason of a failure, and the summary of a list.

Nothing else works a status out. The document says what happened; these functions say what that
means to a reader.
"""

from __future__ import annotations

from collections.abc import Mapping

from accord.core.errors import InvalidTransition
from accord.core.judging import JudgingState
from accord.core.replica import Phase, Replica, ReplicaState, Result, StepResult, Verdict
from accord.core.retry import FAULTS
from accord.core.search import Summary
from accord.core.status import Reason, Status
from accord.core.task import ErrorMask, Scalar, Task

PARAMETERS = 1024
"""Characters of the texts among a task's parameters that a summary shows together."""
_FAILED: tuple[tuple[int, Reason], ...] = (
    (ErrorMask.BAD_INPUT, Reason.BAD_INPUT),
    (ErrorMask.COULDNT_SEND, Reason.UNSENDABLE),
    (ErrorMask.TOO_MANY_LOST, Reason.TOO_MANY_LOST),
    (ErrorMask.TOO_MANY_ERRORS, Reason.TOO_MANY_ERRORS),
    (ErrorMask.TOO_MANY_SUCCESSES, Reason.NO_CONSENSUS),
    (ErrorMask.TOO_MANY_REPLICAS, Reason.TOO_MANY_REPLICAS),
    (ErrorMask.NO_CANONICAL, Reason.NO_CONSENSUS),
    (ErrorMask.DEADLINE, Reason.DEADLINE),
)
"""Where several hold at once, the first is told: what can be repaired before what merely ran out."""

_VERDICTS = {
    Verdict.OK: Status.SUCCESS,
    Verdict.COMPILE_ERROR: Status.COMPILE_FAILED,
    Verdict.WRONG_ANSWER: Status.WRONG_ANSWER,
    Verdict.FORMAT_ERROR: Status.FORMAT_ERROR,
}

_PHASES = {
    Phase.FETCHING: Status.RUNNING,
    Phase.COMPILING: Status.COMPILING,
    Phase.RUNNING: Status.RUNNING,
    Phase.JUDGING: Status.VALIDATING,
}

_CANCELLED = int(ErrorMask.CANCELLED)


def status_of(task: Task, phases: Mapping[int, Phase] | None = None) -> Status:
    """The status; ``phases`` are what the replicas in progress are at, where that is known.

    Without phases a task whose program is being compiled counts as running.
    """
    if task.canonical is not None:
        return _status_of_result(_canonical(task))
    if task.error_mask & _CANCELLED:
        return Status.CANCELLING if _boxed(task) else Status.CANCELLED
    if task.error_mask:
        return Status.FAILED
    return _open_status(task, phases or {})


def done(task: Task) -> bool:
    """Whether its status is final."""
    if task.canonical is not None:
        return True
    if task.error_mask & _CANCELLED:
        return not _boxed(task)
    return task.error_mask != 0


def reason_of(task: Task) -> Reason | None:
    """Why the task failed, where its status is failed."""
    mask = task.error_mask
    if not mask or mask & _CANCELLED or task.canonical is not None:
        return None
    return next((reason for bit, reason in _FAILED if mask & bit), None)


def result_of(task: Task) -> Result | None:
    """The task's result: the canonical one. What other replicas brought is theirs alone."""
    return _canonical(task).result if task.canonical is not None else None


def shown_replica(task: Task) -> Replica | None:
    """The replica that a reader is told of: the canonical one, else the latest with news.

    News is first a run in progress, then a result or a fault. None where nothing was sent yet.
    """
    if task.canonical is not None:
        return _canonical(task)
    newest = task.replicas[::-1]
    return (
        next((r for r in newest if r.state is ReplicaState.IN_PROGRESS), None)
        or next((r for r in newest if r.result is not None), None)
        or next((r for r in newest if r.outcome in FAULTS), None)
    )


def shown_step(result: Result) -> StepResult | None:
    """The step that a summary measures: the execute step, or the compile step that ended it."""
    return result.execute or result.compile


def summary_of(task: Task, phases: Mapping[int, Phase] | None = None) -> Summary:
    """The task as a list shows it."""
    shown, result = shown_replica(task), result_of(task)
    step = shown_step(result) if result else None
    return Summary(
        id=task.id,
        user=task.user,
        name=task.name,
        labels=task.labels,
        priority=task.priority,
        status=status_of(task, phases),
        reason=reason_of(task),
        verdict=result.verdict if result else None,
        language=task.spec.language,
        add_time=task.add_time,
        start_time=task.start_time,
        done_time=task.done_time,
        wall_time=step.wall_time if step else None,
        cpu_time=step.cpu_time if step else None,
        peak_memory=step.peak_memory if step else None,
        attempts=sum(r.sent_time is not None for r in task.replicas),
        executor=shown.executor if shown else None,
        batch=task.batch,
        parameters=_brief(task.parameters),
    )


def _brief(parameters: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
    """The parameters, long texts cut short, so that a page of a list stays within a frame."""
    texts = [value for value in parameters.values() if isinstance(value, str)]
    if sum(map(len, texts)) <= PARAMETERS:
        return parameters
    most = PARAMETERS // len(texts)
    return {
        name: f"{value[: most - 1]}…" if isinstance(value, str) and len(value) > most else value
        for name, value in parameters.items()
    }


def _boxed(task: Task) -> bool:
    """Whether something of it may be in a box: a replica, or a judging run."""
    judged = task.judging is not None and task.judging.state is JudgingState.IN_PROGRESS
    return judged or any(r.state is ReplicaState.IN_PROGRESS for r in task.replicas)


def _canonical(task: Task) -> Replica:
    return next(r for r in task.replicas if r.number == task.canonical)


def _status_of_result(canonical: Replica) -> Status:
    result = canonical.result
    if result is None:
        raise InvalidTransition("The canonical replica has no result.", number=canonical.number)
    status = _VERDICTS.get(result.verdict)
    if status is not None:
        return status
    in_compile_step = result.compile is not None and result.execute is None
    return Status.COMPILE_FAILED if in_compile_step else Status.RUN_FAILED


def _open_status(task: Task, phases: Mapping[int, Phase]) -> Status:
    running = [r for r in task.replicas if r.state is ReplicaState.IN_PROGRESS]
    if running:
        return _PHASES[max((phases.get(r.number, Phase.FETCHING) for r in running), key=_ORDER)]
    if task.need_validate:
        return Status.VALIDATING
    faulty = any(r.outcome in FAULTS for r in task.replicas)
    return Status.RETRYING if faulty else Status.PENDING


_ORDER = list(Phase).index
