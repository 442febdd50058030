"""Events in, changes out: the whole life of a task.

``decide(task, event, now, policy)`` is the only way by which a task changes. The services load a
document, decide, and write it back by compare-and-set on its version; a lost race re-reads and
decides again. Where a crash falls between two writes, the sweep over ``transition_time`` (an
event Tick) finds the rest to do: every stage looks at what is, not at what happened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from accord.core import transition, validation
from accord.core.assignment import occupied
from accord.core.assimilation import assimilated
from accord.core.errors import InvalidTransition
from accord.core.ids import BatchId, ExecutorName, SessionId, TaskId
from accord.core.invariants import check_invariants, check_step, given_up
from accord.core.policy import Policy
from accord.core.replica import (
    ErrorClass,
    Failure,
    Outcome,
    Replica,
    ReplicaState,
    Result,
    Validity,
)
from accord.core.task import ErrorMask, NewTask, Scalar, Task
from accord.core.view import done


class Claimed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An executor is to be given the ready replica of that number (rules S1, S2)."""

    number: int
    executor: ExecutorName
    session: SessionId


class Reported(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An executor delivers the end of a replica (rules R1-R3).

    ``executor`` and ``session`` are those of the assignment. A repeat changes nothing.
    """

    number: int
    executor: ExecutorName
    session: SessionId
    end: Result | Failure


class Killed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An executor says that the replica's box was killed on request and is empty."""

    number: int
    executor: ExecutorName
    session: SessionId
    started: bool = False


class HandedBack(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An executor returns a replica of which no program has begun (drain, refused slot)."""

    number: int
    executor: ExecutorName
    session: SessionId


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A session of an executor is gone (lease over, or a new session knows nothing of it).

    Applies to every replica in progress of that session; ``session`` None means any session.
    ``numbers`` limits it to these replicas; None means all. ``started`` tells, where known,
    which had begun to run; a replica whose start is unknown counts as started.
    """

    executor: ExecutorName
    session: SessionId | None = None
    numbers: tuple[int, ...] | None = None
    detached: bool = False
    not_started: tuple[int, ...] = ()


class CancelRequested(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A user wants the task to end (rule F2).

    ``alive`` are the sessions of executors that are not lost: a replica that was given up for its
    silence may still run there, so its box must be seen empty too.
    """

    alive: frozenset[tuple[ExecutorName, SessionId]] = frozenset()


class Unsendable(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """No known executor has been able to take it for Policy.unsendable_after (rule T6)."""


class Replaced(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Another task takes its place in its batch."""

    by: TaskId


class Assimilated(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The assimilation handler has returned (rule A1)."""


class Tick(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Nothing happened but time (rules T1-T17)."""


Event = (
    Claimed
    | Reported
    | Killed
    | HandedBack
    | Lost
    | CancelRequested
    | Unsendable
    | Replaced
    | Assimilated
    | Tick
)


class WorkReady(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A replica became ready to be sent: wake the polls that could take it."""

    task: TaskId


class StopRun(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A replica in progress is no longer wanted: tell its executor."""

    executor: ExecutorName
    session: SessionId
    task: TaskId
    number: int


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The task reached a final status."""

    task: TaskId


Effect = WorkReady | StopRun | Finished


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the task. ``task`` is the same object where nothing changes.

    The version is not touched here: the store's compare-and-set raises it. Effects are hints
    for speed; whoever misses one finds the same out by looking at the store.
    """

    task: Task
    effects: tuple[Effect, ...] = ()
    refused: str = ""
    """Why the event was not taken (an old session, a repeat); empty where it was."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What a task that a batch made has of it."""

    batch: BatchId | None = None
    parameters: Mapping[str, Scalar] = {}
    finishes: BatchId | None = None


def submitted(
    new: NewTask, id_: TaskId, now: float, policy: Policy, origin: Origin = Origin()
) -> Task:
    """The task as it is stored first, its replicas made and ready to be sent (C1, C2, T11).

    Raises Invalid where its redundancy contradicts itself.
    """
    transition.check_policy(new.spec.redundancy)
    return _begun(_new(new, id_, now, origin), now, policy)


def unfit(new: NewTask, id_: TaskId, now: float, policy: Policy, origin: Origin, why: str) -> Task:
    """A task of a batch that cannot be run as it came out of its template: it ends at once as
    failed, bad_input, and says why.
    """
    failed = Replica(
        number=0,
        state=ReplicaState.OVER,
        outcome=Outcome.CLIENT_ERROR,
        validity=Validity.INVALID,
        error_class=ErrorClass.BAD_INPUT,
        message=why,
        received_time=now,
        over_time=now,
    )
    return _begun(replace(_new(new, id_, now, origin), replicas=(failed,)), now, policy)


def _begun(task: Task, now: float, policy: Policy) -> Task:
    task = _settle(task, now, policy)
    check_invariants(task)
    return task


def _new(new: NewTask, id_: TaskId, now: float, origin: Origin) -> Task:
    return Task(
        id=id_,
        user=new.user,
        spec=new.spec,
        add_time=now,
        name=new.name,
        labels=new.labels,
        priority=new.priority,
        key=new.key,
        retry_of=new.retry_of,
        target_replicas=new.spec.redundancy.target_replicas,
        batch=origin.batch,
        parameters=origin.parameters,
        finishes=origin.finishes,
    )


def decide(task: Task, event: Event, now: float, policy: Policy) -> Decision:
    """What becomes of the task by that event.

    Raises InvalidTransition, with the task's story, where the outcome would break an invariant:
    a fault of Accord itself, after which nothing may be written.
    """
    handler = _HANDLERS.get(type(event))
    if handler is None:
        raise InvalidTransition(f"There is no event {type(event).__name__}.", task=task.id)
    taken = handler(task, event, now, policy)
    if isinstance(taken, str):
        return Decision(task=task, refused=taken)
    if isinstance(event, Claimed):  # a claim says nothing of what else the task needs (S1)
        after = transition.schedule(taken, now, policy)
    else:
        after = _settle(taken, now, policy)
    if after is task:
        return Decision(task=task)
    check_invariants(after)
    check_step(task, after)
    return Decision(task=after, effects=_effects(task, after, event))


# -- the events: each is taken (a task) or refused (a reason) ----------------------------


def _claimed(task: Task, event: Claimed, now: float, policy: Policy) -> Task | str:
    """S1, S2, and never two replicas of a task on one executor at once where distinct."""
    replica = task.replica(event.number)
    if replica is None or replica.state is not ReplicaState.UNSENT or replica.not_before > now:
        return "not ready to be sent"
    if now >= transition.own_deadline(task):
        return "past the task's deadline"
    if occupied(task, event.executor):
        return "another replica of the task is on this executor"
    sent = replace(
        replica,
        state=ReplicaState.IN_PROGRESS,
        not_before=0.0,
        executor=event.executor,
        session=event.session,
        sent_time=now,
        report_deadline=now + transition.delay_bound(task, policy),
    )
    if task.start_time is None:
        task = replace(task, start_time=now)
    return transition.replace_replicas(task, [sent])


def _reported(task: Task, event: Reported, now: float, _policy: Policy) -> Task | str:
    """R1-R3. A verdict is a success, whichever; a failure of the infrastructure is an error."""
    replica = _assigned(task, event)
    if isinstance(replica, str):
        return replica
    if replica.state is ReplicaState.OVER and (task.error_mask or task.canonical is not None):
        return "too late: the task no longer wants a result"
    over = _over(replica, now, received_time=now)
    if isinstance(event.end, Result):
        over = replace(over, outcome=Outcome.SUCCESS, result=event.end, started=True)
    else:
        over = replace(
            over,
            outcome=Outcome.CLIENT_ERROR,
            validity=Validity.INVALID,
            error_class=event.end.error_class,
            message=event.end.message,
            started=event.end.started,
        )
    return transition.replace_replicas(task, [over])


def _killed(task: Task, event: Killed, now: float, _policy: Policy) -> Task | str:
    """F2: the proof that a box is empty. A replica that was lost stays so, but is proved too."""
    replica = _assigned(task, event)
    if isinstance(replica, str):
        return replica
    facts = {"received_time": now, "killed_at": now, "started": event.started}
    if replica.state is ReplicaState.OVER:
        return transition.replace_replicas(task, [replace(replica, **facts)])
    over = _over(replica, now, outcome=Outcome.ABORTED, **facts)
    return transition.replace_replicas(task, [over])


def _handed_back(task: Task, event: HandedBack, now: float, _policy: Policy) -> Task | str:
    """A replica that never began was not needed there: another number takes its place at once.

    Its own number is not sent again, since a message about it may still be on its way. It counts
    neither as an error nor towards the total (see ``transition.tally``), as nothing was tried.
    """
    replica = _assigned(task, event)
    if isinstance(replica, str):
        return replica
    facts = {"received_time": now, "started": False}
    if replica.state is ReplicaState.OVER:
        return transition.replace_replicas(task, [replace(replica, **facts)])
    over = _over(replica, now, outcome=Outcome.DIDNT_NEED, message="handed back", **facts)
    return transition.replace_replicas(task, [over])


def _lost(task: Task, event: Lost, now: float, _policy: Policy) -> Task | str:
    """Replicas whose executor is gone: no_reply, or detached where it came back without them."""
    gone = [r for r in task.replicas if _concerns(event, r)]
    if not gone:
        return "nothing of that session is in progress"
    outcome = Outcome.DETACHED if event.detached else Outcome.NO_REPLY
    message = (
        f"Executor {event.executor} was restarted and no longer knew of it."
        if event.detached
        else f"Executor {event.executor} was lost."
    )
    return transition.replace_replicas(
        task,
        [
            _over(
                r,
                now,
                outcome=outcome,
                error_class=ErrorClass.LOST,
                message=message,
                started=r.number not in event.not_started,
            )
            for r in gone
        ],
    )


def _cancel_requested(
    task: Task, event: CancelRequested, now: float, _policy: Policy
) -> Task | str:
    """F2. A repeat changes nothing; a task that ended otherwise is refused.

    What was given up on an executor that is alive is in progress again, until it is heard of.
    """
    if task.error_mask & ErrorMask.CANCELLED:
        return task
    if done(task):
        return "already done"
    mask = int(task.error_mask | ErrorMask.CANCELLED)
    doubted = [
        replace(r, **_IN_DOUBT)
        for r in task.replicas
        if given_up(r) and (r.executor, r.session) in event.alive
    ]
    task = replace(task, error_mask=mask, cancel_requested_at=now)
    return transition.replace_replicas(task, doubted)


_IN_DOUBT = {
    "state": ReplicaState.IN_PROGRESS,
    "outcome": None,
    "error_class": None,
    "message": "",
    "started": False,
    "over_time": None,
}


def _unsendable(task: Task, _event: Unsendable, now: float, policy: Policy) -> Task | str:
    """T6: what could not be sent for so long is over, couldnt_send."""
    if now < task.add_time + policy.unsendable_after:
        return "not waiting for long enough"
    unsent = [r for r in task.replicas if r.state is ReplicaState.UNSENT]
    if not unsent:
        return "nothing of it waits to be sent"
    over = [_over(r, now, outcome=Outcome.COULDNT_SEND) for r in unsent]
    return transition.replace_replicas(task, over)


def _replaced(task: Task, event: Replaced, _now: float, _policy: Policy) -> Task | str:
    if not done(task):
        return "not done"
    return replace(task, retried_by=event.by) if task.retried_by is None else task


def _assimilated(task: Task, _event: Assimilated, _now: float, _policy: Policy) -> Task | str:
    return assimilated(task) or "nothing is due to be assimilated"


def _ticked(task: Task, _event: Tick, _now: float, _policy: Policy) -> Task | str:
    return task


_HANDLERS: dict[type, Callable[[Task, Any, float, Policy], Task | str]] = {
    Claimed: _claimed,
    Reported: _reported,
    Killed: _killed,
    HandedBack: _handed_back,
    Lost: _lost,
    CancelRequested: _cancel_requested,
    Unsendable: _unsendable,
    Replaced: _replaced,
    Assimilated: _assimilated,
    Tick: _ticked,
}

replace = msgspec.structs.replace


def _assigned(task: Task, event: Reported | Killed | HandedBack) -> Replica | str:
    """The replica that the event speaks of, if its end may still be delivered, else why not (R1).

    It is in progress, or was given up as lost without any word of it. Executor and session must
    be those of its assignment.
    """
    replica = task.replica(event.number)
    if replica is None:
        return "there is no such replica"
    if replica.state is ReplicaState.UNSENT:
        return "that replica was never sent"
    if (replica.executor, replica.session) != (event.executor, event.session):
        return "that replica was assigned to another executor or session"
    lost = replica.outcome in (Outcome.NO_REPLY, Outcome.DETACHED)
    if replica.state is ReplicaState.OVER and (not lost or replica.received_time is not None):
        return f"that replica is over already: {replica.outcome}"
    return replica


def _over(replica: Replica, now: float, **facts: Any) -> Replica:
    return replace(replica, state=ReplicaState.OVER, over_time=now, **facts)


def _concerns(event: Lost, replica: Replica) -> bool:
    return (
        replica.state is ReplicaState.IN_PROGRESS
        and replica.executor == event.executor
        and event.session in (None, replica.session)
        and (event.numbers is None or replica.number in event.numbers)
    )


# -- after the event ---------------------------------------------------------------------

_STAGES: tuple[Callable[[Task, float, Policy], Task], ...] = (
    transition.expire,
    transition.want_validation,
    validation.validate,
    transition.give_up,
    transition.create,
    transition.wake,
    transition.wind_up,
    transition.conclude,
    transition.schedule,
)
"""In this order one pass suffices: none makes work for one before it."""


def _settle(task: Task, now: float, policy: Policy) -> Task:
    for stage in _STAGES:
        task = stage(task, now, policy)
    return task


def _effects(before: Task, after: Task, event: Event) -> tuple[Effect, ...]:
    """What others should be told, from the difference alone."""
    effects: list[Effect] = []
    was = {r.number: r for r in before.replicas}
    if any(_ready(r) and not _ready(was.get(r.number)) for r in after.replicas):
        effects.append(WorkReady(task=after.id))
    newly_unwanted = _unwanted(after) and not _unwanted(before)
    for replica in after.replicas:
        if replica.executor is None or replica.session is None:
            continue
        running = replica.state is ReplicaState.IN_PROGRESS
        if (running and newly_unwanted) or _expired(was.get(replica.number), replica, event):
            effects.append(
                StopRun(
                    executor=replica.executor,
                    session=replica.session,
                    task=after.id,
                    number=replica.number,
                )
            )
    if after.done_time is not None and before.done_time is None:
        effects.append(Finished(task=after.id))
    return tuple(effects)


def _ready(replica: Replica | None) -> bool:
    return replica is not None and replica.state is ReplicaState.UNSENT and replica.not_before == 0


def _unwanted(task: Task) -> bool:
    """Whether what is in progress might as well stop."""
    return task.error_mask != 0 or task.canonical is not None


def _expired(was: Replica | None, replica: Replica, event: Event) -> bool:
    """Whether it was just given up for its silence (T2), its executor being perhaps alive."""
    return (
        was is not None
        and was.state is ReplicaState.IN_PROGRESS
        and replica.outcome is Outcome.NO_REPLY
        and not (isinstance(event, Lost) and _concerns(event, was))
    )


__all__ = [
    "Assimilated",
    "CancelRequested",
    "Claimed",
    "Decision",
    "Effect",
    "Event",
    "Finished",
    "HandedBack",
    "Killed",
    "Lost",
    "Origin",
    "Policy",
    "Replaced",
    "Reported",
    "StopRun",
    "Tick",
    "Unsendable",
    "WorkReady",
    "decide",
    "submitted",
    "unfit",
]
