"""Derived views of a task: its status, the reason of a failure, and the summary of a list."""

from __future__ import annotations

from collections.abc import Mapping

from accord.core.replica import Phase, Replica, Verdict
from accord.core.search import Summary
from accord.core.status import Reason, Status
from accord.core.task import ErrorMask, Task

_FAILED: tuple[tuple[ErrorMask, Reason], ...] = (
    (ErrorMask.DEADLINE, Reason.DEADLINE),
    (ErrorMask.COULDNT_SEND, Reason.UNSENDABLE),
    (ErrorMask.TOO_MANY_LOST, Reason.TOO_MANY_LOST),
    (ErrorMask.TOO_MANY_ERRORS, Reason.TOO_MANY_ERRORS),
    (ErrorMask.TOO_MANY_SUCCESSES, Reason.NO_CONSENSUS),
    (ErrorMask.TOO_MANY_REPLICAS, Reason.TOO_MANY_REPLICAS),
)

_VERDICTS = {
    Verdict.OK: Status.SUCCESS,
    Verdict.COMPILE_ERROR: Status.COMPILE_FAILED,
    Verdict.WRONG_ANSWER: Status.WRONG_ANSWER,
    Verdict.FORMAT_ERROR: Status.FORMAT_ERROR,
}


def status_of(task: Task, phases: Mapping[int, Phase] | None = None) -> Status:
    """The status; ``phases`` are what the replicas in progress are at, where that is known."""
    raise NotImplementedError


def reason_of(task: Task) -> Reason | None:
    """Why the task failed, where its status is failed."""
    raise NotImplementedError


def shown_replica(task: Task) -> Replica | None:
    """The replica whose result a reader sees: the canonical one, else the latest with news."""
    raise NotImplementedError


def summary_of(task: Task, phases: Mapping[int, Phase] | None = None) -> Summary:
    """The task as a list shows it."""
    raise NotImplementedError
