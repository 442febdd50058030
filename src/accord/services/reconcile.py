"""What an executor says that it holds, laid beside what the store says of it. Pure.

Either side may have missed something: an answer with an assignment that was lost on its way, a
cancellation, a restart. A poll names everything that its executor knows of, so that the whole
difference can be read off each time, and nothing depends on what was said before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from accord.core.ids import ExecutorName, SessionId, TaskId
from accord.core.lifecycle import Event, Killed, Lost
from accord.core.replica import Outcome, Replica, ReplicaState
from accord.core.task import Task

Key = tuple[TaskId, int]

_LATE = (Outcome.NO_REPLY, Outcome.DETACHED)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done so that both sides agree."""

    again: tuple[tuple[Task, Replica], ...] = ()
    """Assignments that never arrived."""
    stop: tuple[Key, ...] = ()
    """Replicas that the executor is to kill or forget."""
    events: Mapping[TaskId, tuple[Event, ...]] = {}
    """What the tasks must be told: of a former session that is gone, and of replicas that are
    not wanted any more and never arrived."""
    holding: frozenset[Key] = frozenset()
    """The replicas that the store holds for this executor."""


def compare(
    executor: ExecutorName,
    session: SessionId,
    named: Iterable[Key],
    held: Sequence[Task],
    others: Mapping[TaskId, Task],
) -> Difference:
    """``held`` are the tasks of which the store says that the executor runs a replica; ``others``
    those tasks besides that it named, where they exist.
    """
    known = frozenset(named)
    again: list[tuple[Task, Replica]] = []
    stop: list[Key] = []
    events: dict[TaskId, tuple[Event, ...]] = {}
    holding: set[Key] = set()
    for task in held:
        for replica in _running_on(task, executor):
            key = (task.id, replica.number)
            holding.add(key)
            if key in known:
                stop += [key] if _unwanted(task) else []
            elif replica.session == session and not _unwanted(task):
                again.append((task, replica))
            else:
                event = _absent(executor, session, replica)
                events[task.id] = (*events.get(task.id, ()), event)
    everything = {**others, **{task.id: task for task in held}}
    stop += [k for k in known - holding if _to_forget(everything.get(k[0]), k[1], executor)]
    return Difference(
        again=tuple(again), stop=tuple(stop), events=events, holding=frozenset(holding)
    )


def _running_on(task: Task, executor: ExecutorName) -> list[Replica]:
    return [
        r for r in task.replicas if r.state is ReplicaState.IN_PROGRESS and r.executor == executor
    ]


def _unwanted(task: Task) -> bool:
    """Whether no replica of the task needs to run on."""
    return bool(task.error_mask) or task.canonical is not None or bool(task.cancel_requested_at)


def _absent(executor: ExecutorName, session: SessionId, replica: Replica) -> Event:
    """The executor does not know a replica that it was to run."""
    if replica.session == session:  # it never arrived, so no box of it ever was
        return Killed(number=replica.number, executor=executor, session=session)
    return Lost(
        executor=executor, session=replica.session, numbers=(replica.number,), detached=True
    )


def _to_forget(task: Task | None, number: int, executor: ExecutorName) -> bool:
    """Whether a replica that the store does not hold for the executor is to be stopped there.

    Not where its end was just reported: the answer to that report tells. Nor where it was given
    up for lost while the task still waits for somebody to run it: then its late result is taken.
    """
    replica = task.replica(number) if task else None
    if task is None or replica is None or replica.executor != executor:
        return True
    if replica.received_time is not None:
        return False
    taken_over = any(r.state is ReplicaState.IN_PROGRESS for r in task.replicas)
    return replica.outcome not in _LATE or _unwanted(task) or taken_over
