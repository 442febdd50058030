"""The status of a task once more, as dumbly as it can be said."""

from __future__ import annotations

from accord.core.replica import Replica
from accord.core.status import Status
from accord.core.task import Task

WENT_WRONG = ("client_error", "no_reply", "validate_error", "aborted", "detached")


def naive_status(task: Task) -> Status:
    """What ``view.status_of`` says without phases, from the words of the document alone."""
    running = [r for r in task.replicas if r.state == "in_progress"]
    cancelled = bool(task.error_mask & 16)
    for replica in task.replicas:
        if replica.number == task.canonical:
            return _of_result(replica)
    if cancelled and running:
        return Status("cancelling")
    if cancelled:
        return Status("cancelled")
    if task.error_mask != 0:
        return Status("failed")
    if running:
        return Status("running")
    if task.need_validate:
        return Status("validating")
    if [r for r in task.replicas if r.outcome in WENT_WRONG]:
        return Status("retrying")
    return Status("pending")


def _of_result(replica: Replica) -> Status:
    assert replica.result is not None
    verdict = str(replica.result.verdict)
    if verdict == "ok":
        return Status("success")
    if verdict in ("wrong_answer", "format_error"):
        return Status(verdict)
    if verdict == "compile_error":
        return Status("compile_failed")
    return Status("run_failed" if replica.result.execute else "compile_failed")
