"""What a task's document means, once more, as dumbly as it can be said."""

from __future__ import annotations

from accord.core.replica import Replica
from accord.core.status import Status
from accord.core.task import Task

WENT_WRONG = ("client_error", "no_reply", "validate_error", "aborted", "detached")


def naive_status(task: Task) -> Status:
    """What ``view.status_of`` says without phases, from the words of the document alone."""
    running = [r for r in task.replicas if r.state == "in_progress"]
    judged = task.judging is not None and task.judging.state == "in_progress"
    cancelled = bool(task.error_mask & 16)
    for replica in task.replicas:
        if replica.number == task.canonical:
            return _of_result(replica)
    if cancelled and (running or judged):
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


def missed(task: Task) -> str:
    """Which time the task would be looked at too late for, in words; empty where for none."""
    cancelling = bool(task.error_mask & 16) and task.done_time is None
    times: list[tuple[float, str]] = []
    for replica in task.replicas:
        if replica.state == "unsent" and replica.not_before > 0:
            times.append((replica.not_before, f"the back-off of {replica.number}"))
        if replica.state == "in_progress" and not cancelling:
            times.append((replica.report_deadline or 0, f"the deadline of {replica.number}"))
    run = task.judging
    if run is not None and run.state == "in_progress" and not cancelling:
        times.append((run.deadline or 0, "the deadline of the judging run"))
    if run is not None and run.state == "unsent" and run.not_before > 0:
        times.append((run.not_before, "the back-off of the judging run"))
    if task.done_time is None:
        times.append((1e17, "the safety net"))
        if task.spec.deadline is not None and not cancelling:
            times.append((task.add_time + task.spec.deadline, "its own deadline"))
    return ", ".join(what for when, what in times if when < task.transition_time)
