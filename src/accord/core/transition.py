"""The transitioner: rules T1-T17 as small stages, each a function of the task as it is.

A stage looks at what is, never at what happened, so that whoever finds a task half-way (after a
crash, after a lost race) brings it to the same end. ``lifecycle.decide`` runs them, in their
order, after every event. Each returns the very object that it was given where it has nothing to
do.

Not here because Accord has no such thing: T8 (platform commitment), T16 (dead in practice: after
T2 no time that is waited for lies in the past). T1 and T14 are the retention of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from accord.core import retry
from accord.core.errors import Invalid
from accord.core.policy import Policy
from accord.core.replica import ErrorClass, Outcome, Replica, ReplicaState, Validity
from accord.core.task import NEVER, ErrorMask, Redundancy, Stage, Task
from accord.core.view import done

SAFETY_NET = 10 * 86400.0
"""Seconds after which an open task is looked at though nothing called for it (T15)."""

_CANCELLED = int(ErrorMask.CANCELLED)
_UNCHECKED = (Validity.INIT, Validity.INCONCLUSIVE)
_LOST = (Outcome.NO_REPLY, Outcome.DETACHED)
_ERRORS = (Outcome.CLIENT_ERROR, Outcome.VALIDATE_ERROR)

replace = msgspec.structs.replace


class Tally(msgspec.Struct):
    """The counts that the rules speak of (T3, T4)."""

    unsent: int = 0
    in_progress: int = 0
    successes: int = 0
    """Not invalid ones, whether or not anything has looked at them."""
    fresh: int = 0
    """Successes that nothing has looked at."""
    errors: int = 0
    total: int = 0
    """All but those that were not needed: these were never run."""
    couldnt_send: int = 0
    bad_input: int = 0
    lost_on: set[str | None] = msgspec.field(default_factory=set)
    """Executors on which a box had begun and that were never heard of again."""


def tally(replicas: Iterable[Replica]) -> Tally:
    """Count (T3, T4). A lost replica is no error: it counts by its executor."""
    counts = Tally()
    for replica in replicas:
        counts.total += 1
        if replica.state is ReplicaState.UNSENT:
            counts.unsent += 1
        elif replica.state is ReplicaState.IN_PROGRESS:
            counts.in_progress += 1
        else:
            _tally_over(counts, replica)
    return counts


def _tally_over(counts: Tally, replica: Replica) -> None:
    outcome = replica.outcome
    if outcome is Outcome.SUCCESS:
        counts.successes += replica.validity is not Validity.INVALID
        counts.fresh += replica.validity is Validity.INIT
    elif outcome in _ERRORS:
        counts.errors += 1
        counts.bad_input += replica.error_class is ErrorClass.BAD_INPUT
    elif outcome in _LOST and replica.started:
        counts.lost_on.add(replica.executor)
    elif outcome is Outcome.DIDNT_NEED:
        counts.total -= 1
    elif outcome is Outcome.COULDNT_SEND:
        counts.couldnt_send += 1


def check_policy(policy: Redundancy) -> None:
    """Refuse a policy that contradicts itself (C1). Raises Invalid, naming the field."""
    for field in ("min_quorum", *_COUNTS):
        if getattr(policy, field) < 1:
            raise Invalid(f"redundancy.{field} must be at least 1.", field=f"redundancy.{field}")
    for low, high in _ORDERED:
        if getattr(policy, low) > getattr(policy, high):
            raise Invalid(
                f"redundancy.{low} ({getattr(policy, low)}) must not be more than "
                f"{high} ({getattr(policy, high)}).",
                field=f"redundancy.{low}",
            )
    if policy.delay_bound is not None and not policy.delay_bound > 0:
        raise Invalid(
            "redundancy.delay_bound must be a positive number of seconds.",
            field="redundancy.delay_bound",
        )


_COUNTS = (
    "target_replicas",
    "max_error_replicas",
    "max_total_replicas",
    "max_success_replicas",
    "max_lost_replicas",
)
_ORDERED = (
    ("min_quorum", "target_replicas"),
    ("target_replicas", "max_success_replicas"),
    ("max_success_replicas", "max_total_replicas"),
    ("max_error_replicas", "max_total_replicas"),
)


def delay_bound(task: Task, policy: Policy) -> float:
    """Seconds from sending a replica to its report deadline (S1)."""
    wished = task.spec.redundancy.delay_bound
    if wished is not None:
        return wished
    compile_time = task.spec.compile.limits.wall if task.spec.compile else 0.0
    return compile_time + task.spec.execute.limits.wall + policy.grace


# -- the stages, in their order ----------------------------------------------------------


def expire(task: Task, now: float, _policy: Policy) -> Task:
    """T2: a replica in progress whose report deadline lies before now is over, no_reply.

    Not while cancelling: a cancellation is proved by an empty box or a lost executor, and silence
    past a deadline is neither.
    """
    if task.error_mask & _CANCELLED:
        return task
    late = [r for r in task.replicas if _overdue(r, now)]
    if not late:
        return task
    return replace_replicas(task, [replace(r, **_NO_REPLY, over_time=now) for r in late])


def _overdue(replica: Replica, now: float) -> bool:
    return (
        replica.state is ReplicaState.IN_PROGRESS
        and replica.report_deadline is not None
        and replica.report_deadline < now
    )


_NO_REPLY = {
    "state": ReplicaState.OVER,
    "outcome": Outcome.NO_REPLY,
    "error_class": ErrorClass.LOST,
    "message": "Its executor did not report by the deadline.",
    "started": True,
}


def want_validation(task: Task, _now: float, _policy: Policy) -> Task:
    """T5: something fresh and enough successes: the task wants validation.

    A task that failed wants none: what arrives then is not checked (T10).
    """
    if task.need_validate or task.error_mask:
        return task
    counts = tally(task.replicas)
    if not counts.fresh or counts.successes < task.spec.redundancy.min_quorum:
        return task
    return replace(task, need_validate=True)


def give_up(task: Task, now: float, _policy: Policy) -> Task:
    """T6, T7, T9 and the task's own deadline: end what can no longer come to a result.

    Passed over once there is a canonical result: a finished task cannot fail afterwards (Q1); and
    once it has failed, so that the reason stays what it was.
    """
    if task.error_mask or task.canonical is not None:
        return task
    mask = failings(tally(task.replicas), task.spec.redundancy, task.target_replicas)
    if now >= own_deadline(task):
        mask |= ErrorMask.DEADLINE
    return replace(task, error_mask=int(mask)) if mask else task


def failings(counts: Tally, policy: Redundancy, target: int) -> int:
    """Which bits of ErrorMask the counts call for (T6, T7, T9)."""
    mask = 0
    if counts.couldnt_send:
        mask |= ErrorMask.COULDNT_SEND
    if counts.bad_input:
        mask |= ErrorMask.BAD_INPUT
    if counts.errors > policy.max_error_replicas:
        mask |= ErrorMask.TOO_MANY_ERRORS
    if len(counts.lost_on) > policy.max_lost_replicas:
        mask |= ErrorMask.TOO_MANY_LOST
    room = policy.max_total_replicas - counts.total
    if room < 0 or (room == 0 and missing(counts, target)):
        mask |= ErrorMask.TOO_MANY_REPLICAS
    return mask


def missing(counts: Tally, target: int) -> int:
    """How many replicas the task is short of (T9, first half)."""
    return max(0, target - counts.unsent - counts.in_progress - counts.successes)


def own_deadline(task: Task) -> float:
    """When the task itself is to be done, NEVER where it need not be."""
    wished = task.spec.deadline
    return NEVER if wished is None else task.add_time + wished


def create(task: Task, now: float, policy: Policy) -> Task:
    """T9, T11: make the replicas that are missing; after a fault they wait for their back-off.

    The ones that were handed back give way to those made in their place, so that the document of
    a task that many a draining executor returned stays small. Numbers go on from the highest.
    """
    if task.error_mask or task.canonical is not None:
        return task
    counts = tally(task.replicas)
    room = task.spec.redundancy.max_total_replicas - counts.total
    need = min(missing(counts, task.target_replicas), room)
    if need <= 0:
        return task
    delay = retry.back_off(retry.faults(task.replicas), policy)
    first = 1 + max((r.number for r in task.replicas), default=-1)
    not_before = now + delay if delay else 0.0
    made = [Replica(number=first + i, not_before=not_before) for i in range(need)]
    kept = [r for r in task.replicas if r.outcome is not Outcome.DIDNT_NEED]
    return replace(task, replicas=(*kept, *made))


def wake(task: Task, now: float, _policy: Policy) -> Task:
    """T11: a replica whose back-off is over may be sent at once."""
    awake = [
        replace(r, not_before=0.0)
        for r in task.replicas
        if r.state is ReplicaState.UNSENT and 0 < r.not_before <= now
    ]
    return replace_replicas(task, awake) if awake else task


def wind_up(task: Task, now: float, _policy: Policy) -> Task:
    """T10, V5, Q6: with a result or without hope of one, nothing more is sent.

    Without hope, what was not checked will not be.
    """
    if not task.error_mask and task.canonical is None:
        return task
    changed = [
        replace(r, state=ReplicaState.OVER, outcome=Outcome.DIDNT_NEED, over_time=now)
        for r in task.replicas
        if r.state is ReplicaState.UNSENT
    ]
    if task.error_mask:
        changed += [
            replace(r, validity=Validity.NO_CHECK)
            for r in task.replicas
            if r.outcome is Outcome.SUCCESS and r.validity in _UNCHECKED
        ]
    return replace_replicas(task, changed) if changed else task


def conclude(task: Task, now: float, _policy: Policy) -> Task:
    """T10, V5: the moment at which the status is final, and assimilation due.

    A cancelled task is concluded when the last of its boxes is known to be empty, so that the
    handler learns of what is, not of what was asked for.
    """
    if task.done_time is not None or not done(task):
        return task
    return replace(task, done_time=now, assimilate_state=Stage.READY)


def schedule(task: Task, now: float, policy: Policy) -> Task:
    """T15: when the task is to be looked at next: the least of all times that it waits for.

    An open task that waits for no time has the safety net. It counts from the last change, not
    from each look, so that looking alone writes nothing.
    """
    least = min(waits_for(task))
    if task.done_time is None:
        net = now + max(SAFETY_NET, 1.5 * delay_bound(task, policy))
        if net < least:
            least = task.transition_time if now < task.transition_time <= net else net
    if task.transition_time == least:
        return task
    return replace(task, transition_time=least)


def waits_for(task: Task) -> list[float]:
    """Every time at which something is to be looked at, and NEVER."""
    times = [NEVER]
    cancelling = task.error_mask & _CANCELLED
    for replica in task.replicas:
        if replica.state is ReplicaState.UNSENT and replica.not_before:
            times.append(replica.not_before)
        elif replica.state is ReplicaState.IN_PROGRESS and not cancelling:
            times.append(replica.report_deadline or 0.0)
    if task.done_time is None and not cancelling:
        times.append(own_deadline(task))
    return times


def replace_replicas(task: Task, changed: Sequence[Replica]) -> Task:
    """The task with these replicas in the place of those of the same numbers."""
    by_number = {r.number: r for r in changed}
    return replace(task, replicas=tuple(by_number.get(r.number, r) for r in task.replicas))
