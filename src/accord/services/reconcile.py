"""What an executor says that it holds, laid beside what the store says of it. Pure.

Either side may have missed something: an answer with an assignment that was lost on its way, a
cancellation, a restart. A poll names everything that its executor knows of, so that the whole
difference can be read off each time, and nothing depends on what was said before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from accord.core.ids import ExecutorName, SessionId, TaskId
from accord.core.judging import Judging, JudgingState, is_judging, run_number
from accord.core.lifecycle import Event, JudgingReturned, Killed, Lost
from accord.core.replica import Outcome, ReplicaState
from accord.core.task import Task

Key = tuple[TaskId, int]

_LATE = (Outcome.NO_REPLY, Outcome.DETACHED)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done so that both sides agree."""

    again: tuple[tuple[Task, int], ...] = ()
    """Assignments that never arrived: the task, and the number of the run."""
    stop: tuple[Key, ...] = ()
    """Runs that the executor is to kill or forget."""
    events: Mapping[TaskId, tuple[Event, ...]] = {}
    """What the tasks must be told: of a former session that is gone, and of replicas that are
    not wanted any more and never arrived."""
    holding: frozenset[Key] = frozenset()
    """The runs that the store holds for this executor, judging runs among them."""


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
    again: list[tuple[Task, int]] = []
    stop: list[Key] = []
    events: dict[TaskId, tuple[Event, ...]] = {}
    holding: set[Key] = set()
    for task in held:
        for number, sent_to in _running_on(task, executor):
            key = (task.id, number)
            holding.add(key)
            if key in known:
                stop += [key] if _unwanted(task) else []
            elif sent_to == session and not _unwanted(task):
                again.append((task, number))
            else:
                event = _absent(executor, session, number, sent_to)
                events[task.id] = (*events.get(task.id, ()), event)
    everything = {**others, **{task.id: task for task in held}}
    stop += [k for k in known - holding if _to_forget(everything.get(k[0]), k[1], executor)]
    return Difference(
        again=tuple(again), stop=tuple(stop), events=events, holding=frozenset(holding)
    )


def _running_on(task: Task, executor: ExecutorName) -> list[tuple[int, SessionId | None]]:
    """What of the task is in progress there: the numbers of the runs, and the sessions to which
    they were sent.
    """
    found = [
        (r.number, r.session)
        for r in task.replicas
        if r.state is ReplicaState.IN_PROGRESS and r.executor == executor
    ]
    run = task.judging
    if run and run.state is JudgingState.IN_PROGRESS and run.executor == executor:
        found.append((run_number(run), run.session))
    return found


def _unwanted(task: Task) -> bool:
    """Whether no replica of the task needs to run on."""
    return bool(task.error_mask) or task.canonical is not None or bool(task.cancel_requested_at)


def _absent(
    executor: ExecutorName, session: SessionId, number: int, sent_to: SessionId | None
) -> Event:
    """The executor does not know a run that it was to make."""
    if sent_to != session:
        numbers = () if is_judging(number) else (number,)
        return Lost(
            executor=executor,
            session=sent_to,
            numbers=numbers,
            detached=True,
            judging=is_judging(number),
        )
    if is_judging(number):  # it never arrived, so no box of it ever was
        return JudgingReturned(number=-number, executor=executor, session=session)
    return Killed(number=number, executor=executor, session=session)


def _to_forget(task: Task | None, number: int, executor: ExecutorName) -> bool:
    """Whether a replica that the store does not hold for the executor is to be stopped there.

    Not where its end was just reported: the answer to that report tells. Nor where it was given
    up for lost while the task still waits for somebody to run it: then its late result is taken.
    """
    if task is not None and is_judging(number):
        return not _answered(task.judging, number, executor)
    replica = task.replica(number) if task else None
    if task is None or replica is None or replica.executor != executor:
        return True
    if replica.received_time is not None:
        return False
    taken_over = any(r.state is ReplicaState.IN_PROGRESS for r in task.replicas)
    return replica.outcome not in _LATE or _unwanted(task) or taken_over


def _answered(run: Judging | None, number: int, executor: ExecutorName) -> bool:
    """Whether that judging run has been answered by that executor."""
    return (
        run is not None
        and run.answer is not None
        and (run_number(run), run.executor) == (number, executor)
    )
