"""What a store keeps beside a task's document so as to find it again: one function for all."""

from __future__ import annotations

import msgspec

from accord.core.assignment import next_class
from accord.core.ids import BatchId, ExecutorName
from accord.core.judging import JudgingState
from accord.core.replica import ReplicaState
from accord.core.search import Summary
from accord.core.status import Status
from accord.core.task import Stage, Task
from accord.core.view import summary_of

BOUND = 1000


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """Derived from the document at every write."""

    ready: str | None
    """The requirement class of what can be sent at once, a judging run or a replica; else None."""
    priority: int
    """The task's, and what the replica that can be sent adds to it (T11); within ``BOUND``."""
    held_by: tuple[ExecutorName, ...]
    """Executors with a replica or a judging run in progress."""
    transition_time: float
    assimilate: bool
    status: Status
    batch: BatchId | None
    """The batch in which it counts: none once another task has taken its place there."""
    summary: Summary


def index_of(task: Task) -> Index:
    """The index of a task."""
    ready = next_class(task)
    bump = max((r.priority for r in task.replicas if r.sendable), default=0) if ready else 0
    held = {r.executor for r in task.replicas if r.state is ReplicaState.IN_PROGRESS and r.executor}
    if task.judging and task.judging.state is JudgingState.IN_PROGRESS and task.judging.executor:
        held.add(task.judging.executor)
    summary = summary_of(task)
    return Index(
        ready=ready.key if ready else None,
        priority=max(-BOUND, min(BOUND, task.priority + bump)),
        held_by=tuple(sorted(held)),
        transition_time=task.transition_time,
        assimilate=task.assimilate_state is Stage.READY,
        status=summary.status,
        batch=None if task.retried_by else task.batch,
        summary=summary,
    )
