"""The transitioner: rules T1-T17 as small stages, each a function of the task as it is.

A stage looks at what is, never at what happened, so that whoever finds a task half-way (after a
crash, after a lost race) brings it to the same end. Each returns the very object that it was given
where it has nothing to do. ``transition`` is one pass of the rules, of any task in any state;
``lifecycle.decide`` runs the same stages after every event, with validation between them.

Retention (T1, T12, T14) lies in ``retention``. T17 is that a task is written whole, by
compare-and-set on its version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from accord.core import retention, retry
from accord.core.errors import Invalid
from accord.core.judging import JudgingState
from accord.core.policy import Policy
from accord.core.replica import ErrorClass, Outcome, Replica, ReplicaState, Validity
from accord.core.task import NEVER, ErrorMask, Numbers, Redundancy, Stage, Task, quorum_of
from accord.core.view import done

SAFETY_NET = 10 * 86400.0
"""Seconds after which an open task is looked at though nothing called for it (T15)."""

_CANCELLED = int(ErrorMask.CANCELLED)
_UNCHECKED = (Validity.INIT, Validity.INCONCLUSIVE)
_LOST = (Outcome.NO_REPLY, Outcome.DETACHED)
_ERRORS = (Outcome.CLIENT_ERROR, Outcome.VALIDATE_ERROR)

replace = msgspec.structs.replace


def transition(task: Task, now: float, policy: Policy) -> Task:
    """T1-T17: one pass over a task, whatever state it is in. Raises nothing."""
    for stage in STAGES:
        task = stage(task, now, policy)
    return task


# -- what the rules count ----------------------------------------------------------------


class Tally(msgspec.Struct):
    """The counts that the rules speak of (T3, T4)."""

    unsent: int = 0
    in_progress: int = 0
    successes: int = 0
    """Not invalid ones, whether or not anything has looked at them."""
    errors: int = 0
    silent: int = 0
    """Lost or killed: neither a success nor an error."""
    over: int = 0
    total: int = 0
    """All but those that were handed back: these were never tried."""
    couldnt_send: int = 0
    bad_input: int = 0
    lost_on: set[str | None] = msgspec.field(default_factory=set)
    """Executors on which a box had begun and that were never heard of again."""


def tally(replicas: Iterable[Replica]) -> Tally:
    """Count (T3, T4). A lost replica is no error: it counts by its executor."""
    counts = Tally()
    for replica in replicas:
        if handed_back(replica):
            continue
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
    counts.over += 1
    if outcome is Outcome.SUCCESS:
        counts.successes += replica.validity is not Validity.INVALID
    elif outcome in _ERRORS:
        counts.errors += 1
        counts.bad_input += replica.error_class is ErrorClass.BAD_INPUT
    elif outcome in _LOST:
        counts.silent += 1
        if replica.started:
            counts.lost_on.add(replica.executor)
    elif outcome is Outcome.ABORTED:
        counts.silent += 1
    elif outcome is Outcome.COULDNT_SEND:
        counts.couldnt_send += 1


def is_fresh(replica: Replica) -> bool:
    """T3: a success that nothing has looked at."""
    return replica.outcome is Outcome.SUCCESS and replica.validity is Validity.INIT


def handed_back(replica: Replica) -> bool:
    """Whether it was sent and came back unstarted, or was not needed there after all."""
    return replica.outcome is Outcome.DIDNT_NEED and replica.sent_time is not None


def cancelling(task: Task) -> bool:
    """Whether a user's cancellation is to be proved yet: every box must be seen empty (F2).

    Then silence past a deadline proves nothing, and the end is not told before it is known.
    """
    asked = task.cancel_requested_at is not None and bool(task.error_mask & _CANCELLED)
    return asked and not done(task)


# -- what may be asked for ---------------------------------------------------------------


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
    _check_choice("distinct", policy.distinct, DISTINCT)
    _check_choice("homogeneous", policy.homogeneous, HOMOGENEOUS)
    if isinstance(policy.comparator, Numbers):
        _check_tolerance(policy.comparator)


def check_adaptive(policy: Redundancy) -> None:
    """Refuse an adaptive policy by which nothing could ever be checked. It does no harm, but whoever
    asks for it means something else. Raises Invalid, naming the field.
    """
    if policy.adaptive and policy.min_quorum < 2:
        raise Invalid(
            "redundancy.adaptive needs a min_quorum of 2 or more: it is what a result of an executor "
            "that is not trusted has to come to.",
            field="redundancy.adaptive",
        )


def _check_choice(field: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        known = ", ".join(choices)
        raise Invalid(f"redundancy.{field} must be one of {known}.", field=f"redundancy.{field}")


def _check_tolerance(comparator: Numbers) -> None:
    for name in ("abs", "rel"):
        if not 0 <= getattr(comparator, name) < NEVER:  # a NaN fails this too
            field = f"redundancy.comparator.{name}"
            raise Invalid(f"{field} must be a number that is not negative.", field=field)


DISTINCT = ("executor", "owner", "none")
HOMOGENEOUS = ("none", "os", "os+cpu")


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
    late = [r for r in task.replicas if _overdue(r, now)]
    if not late or cancelling(task):
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


def refuse_late(task: Task, _now: float, _policy: Policy) -> Task:
    """T3: a success that comes when the canonical result's files are gone is too late. Its
    executor is not to blame, as nothing is left to hold it against.
    """
    if not retention.canonical_gone(task):
        return task
    late = [r for r in task.replicas if is_fresh(r)]
    return _with_validity(task, late, Validity.TOO_LATE)


def want_validation(task: Task, _now: float, _policy: Policy) -> Task:
    """T5: something fresh and enough successes: the task wants validation."""
    if task.need_validate or not any(map(is_fresh, task.replicas)):
        return task
    if tally(task.replicas).successes < quorum_of(task):
        return task
    return replace(task, need_validate=True)


def give_up(task: Task, now: float, _policy: Policy) -> Task:
    """T6, T7, T9 and the task's own deadline: end what can no longer come to a result.

    Passed over once there is a canonical result: a finished task cannot fail afterwards (Q1); and
    once its end is told, so that the reason stays what it was.
    """
    if task.canonical is not None or task.done_time is not None or cancelling(task):
        return task
    mask = failings(tally(task.replicas), task.spec.redundancy, task.target_replicas)
    if now >= own_deadline(task):
        mask |= ErrorMask.DEADLINE
    return replace(task, error_mask=int(task.error_mask | mask)) if mask else task


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


def uncommit(task: Task, _now: float, _policy: Policy) -> Task:
    """T8: where nothing but errors came of the platform that a task is committed to, another may
    try. Passed over with a canonical result (Q1).
    """
    if not task.hr_class or task.canonical is not None:
        return task
    counts = tally(task.replicas)
    hopeful = counts.successes or counts.in_progress or counts.silent
    return task if hopeful or not counts.errors else replace(task, hr_class="")


def wind_up(task: Task, now: float, _policy: Policy) -> Task:
    """T10, V5, Q6: with a result or without hope of one, nothing more is sent.

    Without hope, what was not checked will not be.
    """
    if not task.error_mask and task.canonical is None:
        return task
    task = drop_unsent(task, now)
    if not task.error_mask:
        return task
    unchecked = [
        r for r in task.replicas if r.outcome is Outcome.SUCCESS and r.validity in _UNCHECKED
    ]
    return _with_validity(task, unchecked, Validity.NO_CHECK)


def drop_unsent(task: Task, now: float) -> Task:
    """What was not sent is not needed any more."""
    over = [
        replace(r, state=ReplicaState.OVER, outcome=Outcome.DIDNT_NEED, over_time=now)
        for r in task.replicas
        if r.state is ReplicaState.UNSENT
    ]
    return replace_replicas(task, over)


def conclude(task: Task, now: float, _policy: Policy) -> Task:
    """T10, V5: the moment at which the status is final, and assimilation due where it failed.

    A cancelled task is concluded when the last of its boxes is known to be empty, so that the
    handler learns of what is, not of what was asked for.
    """
    if task.error_mask and not cancelling(task) and task.assimilate_state is Stage.INIT:
        task = replace(task, assimilate_state=Stage.READY)
    if task.done_time is not None or not done(task):
        return task
    return replace(task, done_time=now)


def resume(task: Task, _now: float, _policy: Policy) -> Task:
    """T13: an assimilation that its handler put off is due again once all replicas are in."""
    put_off = task.canonical is not None and task.assimilate_state is Stage.INIT
    if not put_off or not retention.judged(task):
        return task
    return replace(task, assimilate_state=Stage.READY)


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
    made = [
        Replica(
            number=first + i,
            not_before=now + delay if delay else 0.0,
            since=now,
            priority=bump(counts, policy),
        )
        for i in range(need)
    ]
    kept = [r for r in task.replicas if not handed_back(r)]
    return replace(task, replicas=(*kept, *made))


def bump(counts: Tally, policy: Policy) -> int:
    """T11: what is added to the priority of a replica that follows others."""
    if counts.over and policy.priority_on_over:
        return policy.priority_on_over
    if counts.over and not counts.errors:
        return policy.priority_on_over_except_error
    return 0


def wake(task: Task, now: float, _policy: Policy) -> Task:
    """T11: a replica whose back-off is over may be sent at once."""
    awake = [
        replace(r, not_before=0.0, since=now)
        for r in task.replicas
        if r.state is ReplicaState.UNSENT and 0 < r.not_before <= now
    ]
    return replace_replicas(task, awake)


def schedule(task: Task, now: float, policy: Policy) -> Task:
    """T15: when the task is to be looked at next: the least of all times that it waits for.

    An open task has the safety net besides.
    """
    least = min(retention.waits_until(task, now, policy), *waits_for(task))
    if cancelling(task) or not (task.error_mask or task.canonical is not None):
        least = min(least, now + max(SAFETY_NET, 1.5 * delay_bound(task, policy)))
    return task if task.transition_time == least else replace(task, transition_time=least)


def waits_for(task: Task) -> list[float]:
    """Every time at which something of a task is to be looked at, and NEVER."""
    times = [NEVER]
    proving = cancelling(task)
    for replica in task.replicas:
        if replica.state is ReplicaState.UNSENT and replica.not_before:
            times.append(replica.not_before)
        elif replica.state is ReplicaState.IN_PROGRESS and not proving:
            times.append(replica.report_deadline or 0.0)
    if not done(task) and not proving:
        times.append(own_deadline(task))
    run = task.judging
    if run is not None and run.state is JudgingState.IN_PROGRESS and not proving:
        times.append(run.deadline or 0.0)
    elif run is not None and run.state is JudgingState.UNSENT and run.not_before:
        times.append(run.not_before)
    return times


def catch_up(task: Task, now: float, _policy: Policy) -> Task:
    """T16: a next look that lies in the past is put off by twice the delay, within a minute and a
    day. Here as the rules have it; ``schedule`` never leaves such a time, since T2 has taken all
    that lay before now.
    """
    late = now - task.transition_time
    if late <= 0:
        return task
    return replace(task, transition_time=now + min(max(2 * late, 60.0), 86400.0))


STAGES: tuple[Callable[[Task, float, Policy], Task], ...] = (
    expire,
    refuse_late,
    want_validation,
    give_up,
    uncommit,
    wind_up,
    resume,
    retention.delete,
    create,
    wake,
    schedule,
    catch_up,
    conclude,
)
"""One pass, in BOINC's order. What is created is no part of T12, so it comes after T14; the moment
of the end is noted last, as the rules know nothing of it.
"""


# -- pieces ------------------------------------------------------------------------------


def _with_validity(task: Task, replicas: Sequence[Replica], validity: Validity) -> Task:
    return replace_replicas(task, [replace(r, validity=validity) for r in replicas])


def replace_replicas(task: Task, changed: Sequence[Replica]) -> Task:
    """The task with these replicas in the place of those of the same numbers."""
    if not changed:
        return task
    by_number = {r.number: r for r in changed}
    return replace(task, replicas=tuple(by_number.get(r.number, r) for r in task.replicas))
