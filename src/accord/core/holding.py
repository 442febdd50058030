"""Holding a result that stands alone, so that it can be checked if its executor is caught.

A held task wants its policy's whole quorum, but the replicas that would confirm its result wait
for the end of the hold. At that end it is vouched for, and its result stands alone; or it was
doubted before, and the others were sent at once. Where nobody does either (all judicators were
down), the others are sent when the hold ends: whoever dies leaves a task that is checked, not one
that is believed.

Each function returns the task as it is to be before the stages of ``lifecycle`` look at it.
"""

from __future__ import annotations

import msgspec

from accord.core import transition
from accord.core.replica import Replica, ReplicaState
from accord.core.task import Task, quorum_of

replace = msgspec.structs.replace


def raised(task: Task) -> Task:
    """S3: a task that was to be run once is one of its policy's whole quorum."""
    if not stands_alone(task):
        return task
    return replace(
        task,
        quorum=None,
        target_replicas=max(task.target_replicas, task.spec.redundancy.target_replicas),
    )


def stands_alone(task: Task) -> bool:
    """Whether it is to be run once though its policy speaks of more (S3)."""
    policy = task.spec.redundancy
    return policy.adaptive and quorum_of(task) < policy.min_quorum and task.canonical is None


def held(task: Task, until: float) -> Task:
    """The task, just before the only result of an adaptive one is reported: held until then.

    Not where its own deadline comes first, nor where there is no room for those who would confirm
    it: either would fail a task whose result is there.
    """
    if not stands_alone(task) or until >= transition.own_deadline(task):
        return task
    wanted = raised(task)
    first = 1 + max(r.number for r in task.replicas)
    missing = wanted.target_replicas - 1
    total = transition.tally(task.replicas).total
    if total + missing > task.spec.redundancy.max_total_replicas:
        return task
    waiting = [Replica(number=first + n, not_before=until) for n in range(missing)]
    quorum = task.spec.redundancy.min_quorum
    return replace(wanted, quorum=quorum, replicas=(*task.replicas, *waiting))


def is_held(task: Task) -> bool:
    """Whether it was held, and nothing that would confirm its result has been sent yet.

    Its quorum is written out though it is the policy's: that tells it from a task whose whole
    quorum was called for, and of which a replica waits for a back-off.
    """
    written_out = task.quorum == task.spec.redundancy.min_quorum
    return written_out and any(r.state is ReplicaState.UNSENT for r in task.replicas)


def vouched(task: Task) -> Task:
    """The hold is over and its executor was not caught: what there is, stands alone."""
    return replace(task, quorum=1, target_replicas=1) if is_held(task) else task


def doubted(task: Task, now: float) -> Task:
    """Its executor was caught: what would confirm its result may be sent at once."""
    if not is_held(task):
        return task
    awake = tuple(
        replace(r, not_before=now) if r.state is ReplicaState.UNSENT else r for r in task.replicas
    )
    return replace(task, quorum=None, replicas=awake)
