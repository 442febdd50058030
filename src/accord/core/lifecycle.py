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

from accord.core import holding, judging, retention, transition, validation
from accord.core.assignment import may_judge, misfit, occupied, platform_of, repeats, waits_since
from accord.core.assimilation import assimilated, deferred
from accord.core.errors import InvalidTransition
from accord.core.ids import BatchId, ExecutorName, SessionId, TaskId
from accord.core.invariants import check_invariants, check_step, given_up
from accord.core.judging import Judgement, Judging, JudgingState
from accord.core.measures import bounded
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
from accord.core.task import ErrorMask, NewTask, Redundancy, Scalar, Task
from accord.core.view import done


class Claimed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An executor is to be given the ready replica of that number (rules S1-S3)."""

    number: int
    executor: ExecutorName
    session: SessionId
    owner: str = ""
    os: str = ""
    cpu: str = ""
    """What the executor says of itself, for tasks that must run on one kind of platform."""
    trusted: bool = False
    """Whether a result of its own may stand alone, where the task's redundancy is adaptive."""
    delay_bound: float | None = None
    """Seconds to the report deadline where that is to come sooner than the task has it: for
    retries that go to reliable executors (``reliability.reduced_delay_bound``)."""


class Reported(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An executor delivers the end of a replica (rules R1-R3).

    ``executor`` and ``session`` are those of the assignment. A repeat changes nothing.
    """

    number: int
    executor: ExecutorName
    session: SessionId
    end: Result | Failure
    hold: float = 0.0
    """Seconds for which a result that stands alone is held before it is final (``holding``)."""
    cores: int = 1
    """How many the executor has: the times that it says are bounded by them (``measures``)."""


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
    ``numbers`` limits it to these replicas; None means all, and the judging run that it has.
    ``judging`` says that this run is lost too where there are numbers. ``not_started`` tells, where
    known, which had not begun to run; a replica whose start is unknown counts as started.
    """

    executor: ExecutorName
    session: SessionId | None = None
    numbers: tuple[int, ...] | None = None
    detached: bool = False
    not_started: tuple[int, ...] = ()
    judging: bool = False


class CancelRequested(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A user wants the task to end (rule F2).

    ``alive`` are the sessions of executors that are not lost: a replica that was given up for its
    silence may still run there, so its box must be seen empty too.
    """

    alive: frozenset[tuple[ExecutorName, SessionId]] = frozenset()


class Unsendable(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """No known executor has been able to take it for Policy.unsendable_after (rule T6)."""

    judging: bool = False
    """Whether that is said of its judging run, not of its replicas."""


class JudgingClaimed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An executor is to be given the task's judging run."""

    executor: ExecutorName
    session: SessionId
    owner: str = ""


class Judged(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An executor delivers the end of a judging run: its answer, or why there is none."""

    number: int
    executor: ExecutorName
    session: SessionId
    end: Judgement | Failure


class JudgingReturned(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A judging run was killed on request, or handed back before it began: its box is empty."""

    number: int
    executor: ExecutorName
    session: SessionId


class Vouched(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The hold of a result is over, and its executor was not caught meanwhile (``holding``)."""


class Doubted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A result may not stand alone any more, its executor having lost its trust (rule S3)."""


class Replaced(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Another task takes its place in its batch."""

    by: TaskId


class Disputed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An audit found that others give another result than the one that was agreed on."""

    by: TaskId


class Deferred(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The assimilation handler wants to be called again when all replicas are in (rule A1)."""


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
    | JudgingClaimed
    | Judged
    | JudgingReturned
    | Vouched
    | Doubted
    | Replaced
    | Disputed
    | Assimilated
    | Deferred
    | Tick
)


class WorkReady(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A replica became ready to be sent: wake the polls that could take it."""

    task: TaskId


class StopRun(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A replica in progress is no longer wanted: tell its executor (F3)."""

    executor: ExecutorName
    session: SessionId
    task: TaskId
    number: int
    judging: bool = False
    """Whether the number is that of a judging run."""


class JudgingReady(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A judging run became ready to be sent: wake the polls that could take it."""

    task: TaskId


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The task reached a final status."""

    task: TaskId


Effect = WorkReady | JudgingReady | StopRun | Finished


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the task. ``task`` is the same object where nothing changes.

    The version is not touched here: the store's compare-and-set raises it. Effects are hints
    for speed; whoever misses one finds the same out by looking at the store.
    """

    task: Task
    refused: str = ""
    """Why the event was not taken (an old session, a repeat); empty where it was."""
    before: Task | None = None
    """The task as it was, where something changes."""
    event: Event | None = None

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What others should be told; worked out when it is asked for."""
        if self.before is None or self.event is None:
            return ()
        return _effects(self.before, self.task, self.event)


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
        quorum=1 if _begins_alone(new.spec.redundancy) else None,
        target_replicas=_first_target(new.spec.redundancy),
        batch=origin.batch,
        parameters=origin.parameters,
        finishes=origin.finishes,
    )


def _begins_alone(policy: Redundancy) -> bool:
    """Whether the quorum depends on who gets the first replica (S3)."""
    return policy.adaptive and policy.min_quorum > 1


def _first_target(policy: Redundancy) -> int:
    return 1 if _begins_alone(policy) else policy.target_replicas


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
    if isinstance(event, Claimed) and taken.quorum == task.quorum:
        # a claim says nothing of what else the task needs (S1), unless it raised the quorum (S3)
        after = transition.schedule(taken, now, policy)
    else:
        after = _settle(taken, now, policy)
    if after is task:
        return Decision(task=task)
    check_invariants(after)
    check_step(task, after)
    return Decision(task=after, before=task, event=event)


# -- the events: each is taken (a task) or refused (a reason) ----------------------------


def _claimed(task: Task, event: Claimed, now: float, policy: Policy) -> Task | str:
    """S1-S3, and never two replicas of a task on one executor at once where distinct."""
    replica = task.replica(event.number)
    if replica is None or replica.state is not ReplicaState.UNSENT or replica.not_before > now:
        return "not ready to be sent"
    why = _may_not_run(task, event, now)
    if why:
        return why
    bound = transition.delay_bound(task, policy)
    if event.delay_bound is not None:
        bound = min(bound, event.delay_bound)
    sent = replace(
        replica,
        state=ReplicaState.IN_PROGRESS,
        not_before=0.0,
        executor=event.executor,
        owner=event.owner,
        session=event.session,
        sent_time=now,
        report_deadline=now + bound,
    )
    return transition.replace_replicas(_committed(task, event, now), [sent])


def _may_not_run(task: Task, event: Claimed, now: float) -> str:
    if now >= transition.own_deadline(task):
        return "past the task's deadline"
    if occupied(task, event.executor, event.owner):
        return "another replica of the task is on this executor"
    return misfit(task, event.os, event.cpu)


def _committed(task: Task, event: Claimed, now: float) -> Task:
    """S1: the platform is that of the first replica sent. S3: an executor that is not trusted
    calls for the whole quorum.
    """
    if task.start_time is None:
        task = replace(task, start_time=now)
    homogeneous = task.spec.redundancy.homogeneous
    if homogeneous != "none" and not task.hr_class:
        task = replace(task, hr_class=platform_of(event.os, event.cpu, homogeneous))
    return task if event.trusted else holding.raised(task)


def _reported(task: Task, event: Reported, now: float, _policy: Policy) -> Task | str:
    """R1-R3. A verdict is a success, whichever; a failure of the infrastructure is an error.

    A second result from where results must not come twice is not needed.
    """
    replica = _assigned(task, event)
    if isinstance(replica, str):
        return replica
    if replica.state is ReplicaState.OVER and (task.error_mask or task.canonical is not None):
        return "too late: the task no longer wants a result"
    if event.hold and isinstance(event.end, Result):
        task = holding.held(task, now + event.hold)
    over = _over(replica, now, received_time=now)
    if isinstance(event.end, Result) and repeats(task, replica):
        message = f"{event.executor} has given a result of this task already."
        over = replace(over, outcome=Outcome.DIDNT_NEED, error_class=None, message=message)
    elif isinstance(event.end, Result):
        result = bounded(event.end, task.spec, event.cores)
        over = replace(over, outcome=Outcome.SUCCESS, result=result, started=True)
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


def _lost(task: Task, event: Lost, now: float, policy: Policy) -> Task | str:
    """F4, detach: replicas whose executor is gone are no_reply, or detached where it came back
    without them. Their deadline is brought forward, so that nothing waits for it (T12).
    """
    gone = [r for r in task.replicas if _concerns(event, r)]
    run = task.judging if _concerns_judging(event, task.judging) else None
    if not gone and run is None:
        return "nothing of that session is in progress"
    outcome = Outcome.DETACHED if event.detached else Outcome.NO_REPLY
    message = (
        f"Executor {event.executor} was restarted and no longer knew of it."
        if event.detached
        else f"Executor {event.executor} was lost."
    )
    if run is not None:
        task = replace(task, judging=judging.failed(run, message, now, policy))
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
                report_deadline=min(now, r.report_deadline or now),
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


def _unsendable(task: Task, event: Unsendable, now: float, policy: Policy) -> Task | str:
    """T6: what could not be sent for so long is over, couldnt_send."""
    if event.judging:
        return _unjudgeable(task, now, policy)
    if now < waits_since(task) + policy.unsendable_after:
        return "not waiting for long enough"
    unsent = [r for r in task.replicas if r.state is ReplicaState.UNSENT]
    if not unsent:
        return "nothing of it waits to be sent"
    over = [_over(r, now, outcome=Outcome.COULDNT_SEND) for r in unsent]
    return transition.replace_replicas(task, over)


def _unjudgeable(task: Task, now: float, policy: Policy) -> Task | str:
    run = task.judging
    if run is None or run.state is not JudgingState.UNSENT:
        return "no judging run of it waits to be sent"
    if now < run.since + policy.unsendable_after:
        return "not waiting for long enough"
    return replace(task, judging=judging.abandoned(run, "No executor could judge.", policy))


def _judging_claimed(task: Task, event: JudgingClaimed, now: float, policy: Policy) -> Task | str:
    """A judging run goes to who made none of the results."""
    run = task.judging
    if run is None or not judging.ready(run, now):
        return "no judging run is ready to be sent"
    if not may_judge(task, event.executor, event.owner):
        return "it made one of the results"
    return replace(task, judging=judging.sent(run, event.executor, event.session, now, policy))


def _judged(task: Task, event: Judged, now: float, policy: Policy) -> Task | str:
    """V3: what a judging run found out, or that it found nothing out."""
    run = _judging_of(task, event)
    if isinstance(run, str):
        return run
    if isinstance(event.end, Judgement):
        return replace(task, judging=judging.answered(run, event.end))
    return replace(task, judging=judging.failed(run, event.end.message, now, policy))


def _judging_returned(
    task: Task, event: JudgingReturned, _now: float, _policy: Policy
) -> Task | str:
    run = _judging_of(task, event)
    return run if isinstance(run, str) else replace(task, judging=judging.returned(run))


def _judging_of(task: Task, event: Judged | JudgingReturned) -> Judging | str:
    run = task.judging
    if run is None or run.state is not JudgingState.IN_PROGRESS:
        return "no judging run of it is in progress"
    if (run.number, run.executor, run.session) != (event.number, event.executor, event.session):
        return "that judging run was assigned to another, or is another one"
    return run


def _vouched(task: Task, _event: Vouched, _now: float, _policy: Policy) -> Task | str:
    return holding.vouched(task) if holding.is_held(task) else "no result of it is held"


def _doubted(task: Task, _event: Doubted, now: float, _policy: Policy) -> Task | str:
    if done(task):
        return "already done"
    return holding.doubted(task, now) if holding.is_held(task) else holding.raised(task)


def _replaced(task: Task, event: Replaced, _now: float, _policy: Policy) -> Task | str:
    if not done(task):
        return "not done"
    return replace(task, retried_by=event.by) if task.retried_by is None else task


def _disputed(task: Task, event: Disputed, _now: float, _policy: Policy) -> Task | str:
    if task.canonical is None:
        return "it has no result"
    return replace(task, disputed_by=event.by) if task.disputed_by is None else task


def _assimilated(task: Task, _event: Assimilated, now: float, _policy: Policy) -> Task | str:
    return assimilated(task, now) or "nothing is due to be assimilated"


def _deferred(task: Task, _event: Deferred, now: float, _policy: Policy) -> Task | str:
    if retention.judged(task):
        return "all replicas are in: there is nothing to wait for"
    return deferred(task, now) or "nothing is due to be assimilated"


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
    JudgingClaimed: _judging_claimed,
    Judged: _judged,
    JudgingReturned: _judging_returned,
    Vouched: _vouched,
    Doubted: _doubted,
    Replaced: _replaced,
    Disputed: _disputed,
    Assimilated: _assimilated,
    Deferred: _deferred,
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


def _concerns_judging(event: Lost, run: Judging | None) -> bool:
    return (
        run is not None
        and run.state is JudgingState.IN_PROGRESS
        and run.executor == event.executor
        and event.session in (None, run.session)
        and (event.numbers is None or event.judging)
    )


# -- after the event ---------------------------------------------------------------------


def _lose_judging(task: Task, now: float, policy: Policy) -> Task:
    """T2 for judging runs: silence past the deadline. While cancelling it proves nothing."""
    run = task.judging
    if run is None or not judging.expired(run, now) or transition.cancelling(task):
        return task
    message = f"Executor {run.executor} did not report its judging run by the deadline."
    return replace(task, judging=judging.failed(run, message, now, policy))


def _wake_judging(task: Task, now: float, _policy: Policy) -> Task:
    run = task.judging
    if run is None or not run.not_before or not judging.ready(run, now):
        return task
    return replace(task, judging=replace(run, not_before=0.0))


def _want_late_validation(task: Task, _now: float, _policy: Policy) -> Task:
    """V1: whatever comes late is judged, also where invalid results have left fewer successes
    than the quorum; else its files would never go (T12).
    """
    if task.canonical is None or task.need_validate:
        return task
    fresh = any(map(transition.is_fresh, task.replicas))
    return replace(task, need_validate=True) if fresh else task


def _leave_failed(task: Task, _now: float, _policy: Policy) -> Task:
    """T10: of a task that has failed nothing is validated, since its end is told."""
    return replace(task, need_validate=False) if task.error_mask and task.need_validate else task


def _drop_judging(task: Task, _now: float, _policy: Policy) -> Task:
    """A judging run that nothing waits for is not needed; while cancelling, one that may be in a
    box is to be seen out of it (F2).
    """
    run = task.judging
    if run is None or not run.pending or task.need_validate:
        return task
    if run.state is JudgingState.IN_PROGRESS and transition.cancelling(task):
        return task
    return replace(task, judging=judging.dropped(run))


Stages = tuple[Callable[[Task, float, Policy], Task], ...]

_JUDGED: Stages = (
    transition.expire,
    _lose_judging,
    transition.refuse_late,
    transition.want_validation,
    _want_late_validation,
    _leave_failed,
    validation.validate,
    transition.give_up,
    _leave_failed,
    _drop_judging,
    _wake_judging,
)
_GOES_ON: Stages = (transition.uncommit, transition.create, transition.wake)
_ENDS: Stages = (
    transition.wind_up,
    transition.conclude,
    transition.resume,
    retention.delete,
    retention.tidy,
    retention.deleted,
)
"""The rules' stages with validation among them: before anything is given up, so that what is there
already can still be the task's result. In this order one pass suffices: none makes work for one
before it.
"""


def _settle(task: Task, now: float, policy: Policy) -> Task:
    before = task
    for stage in _JUDGED:
        task = stage(task, now, policy)
    for stage in _ENDS if _unwanted(task) else _GOES_ON:
        task = stage(task, now, policy)
    after = transition.schedule(task, now, policy)
    if task is before and now < task.transition_time <= after.transition_time:
        return task  # looking alone does not push the safety net on
    return after


def _effects(before: Task, after: Task, event: Event) -> tuple[Effect, ...]:
    """What others should be told, from the difference alone."""
    effects: list[Effect] = []
    was = {r.number: r for r in before.replicas}
    if any(_ready(r) and not _ready(was.get(r.number)) for r in after.replicas):
        effects.append(WorkReady(task=after.id))
    if _judging_ready(after) and not _judging_ready(before):
        effects.append(JudgingReady(task=after.id))
    effects += _stopped_judging(before, after, event)
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
    return replica is not None and replica.sendable


def _judging_ready(task: Task) -> bool:
    return task.judging is not None and task.judging.sendable


def _stopped_judging(before: Task, after: Task, event: Event) -> list[Effect]:
    """Of a judging run that is out and not wanted any more, or was given up for its silence."""
    was, now = before.judging, after.judging
    if was is None or was.state is not JudgingState.IN_PROGRESS:
        return []
    if isinstance(event, Judged | JudgingReturned) or _concerns_lost(event, was):
        return []
    still = now is not None and now.state is JudgingState.IN_PROGRESS
    if (still and not (_unwanted(after) and not _unwanted(before))) or not was.executor:
        return []
    return [
        StopRun(
            executor=was.executor,
            session=was.session or SessionId(""),
            task=after.id,
            number=was.number,
            judging=True,
        )
    ]


def _concerns_lost(event: Event, run: Judging) -> bool:
    return isinstance(event, Lost) and _concerns_judging(event, run)


def _unwanted(task: Task) -> bool:
    """F3: whether what is in progress might as well stop. BOINC lets begun runs of a finished task
    go on, as they are volunteers'; here they are told to, and what arrives anyway is judged (V1).
    """
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
    "Deferred",
    "Disputed",
    "Doubted",
    "Effect",
    "Event",
    "Finished",
    "HandedBack",
    "Judged",
    "JudgingClaimed",
    "JudgingReady",
    "JudgingReturned",
    "Killed",
    "Lost",
    "Origin",
    "Policy",
    "Replaced",
    "Reported",
    "StopRun",
    "Tick",
    "Unsendable",
    "Vouched",
    "WorkReady",
    "decide",
    "submitted",
    "unfit",
]
