"""How long files are kept: rules T1, T12, T14, D1 and D2.

Files lie in the blob store under their digests, and a blob goes when no document calls for it any
more (``task.blobs``). So to delete a file is to say so in the document, which cannot fail: BOINC's
fourth state, error, does not exist here. What lies inline goes with its document. Digests stay:
a result can be proved after its files are gone.
"""

from __future__ import annotations

import msgspec

from accord.core.policy import Policy
from accord.core.replica import Outcome, Replica, ReplicaState, Stage, Validity
from accord.core.task import NEVER, Task

replace = msgspec.structs.replace

_WITHOUT_RESULT = (Outcome.CLIENT_ERROR, Outcome.VALIDATE_ERROR, Outcome.NO_REPLY)


def canonical_gone(task: Task) -> bool:
    """T1, Q7: whether the canonical result's files are deleted or about to be."""
    canonical = None if task.canonical is None else task.replica(task.canonical)
    return canonical is not None and canonical.file_delete_state is not Stage.INIT


def settled(task: Task, now: float) -> bool:
    """T12: nothing more can come: all is over, judged, and no lost one has time left."""
    return judged(task) and not any(
        r.outcome is Outcome.NO_REPLY and (r.report_deadline or 0.0) > now for r in task.replicas
    )


def judged(task: Task) -> bool:
    """T12 without its last clause: every replica is over, and no success unlooked at."""
    return all(
        r.state is ReplicaState.OVER
        and not (r.outcome is Outcome.SUCCESS and r.validity is Validity.INIT)
        for r in task.replicas
    )


def keep_until(task: Task, policy: Policy) -> float:
    """T14: when the files of an assimilated task may go: ``delete_delay`` after its last result, or
    after its end where that was later: what was never sent can be retried for as long.
    """
    over = (r.received_time or 0.0 for r in task.replicas if r.state is ReplicaState.OVER)
    last = max(over, default=0.0)
    return max(last, task.done_time or 0.0) + policy.delete_delay


def delete(task: Task, now: float, policy: Policy) -> Task:
    """T14, Q5: which files of an assimilated task are to be deleted.

    The inputs once it is settled; the outputs of a replica once it is known what it is worth, but
    those of the canonical one not before the task is settled.
    """
    if task.assimilate_state is not Stage.DONE or now < keep_until(task, policy):
        return task
    if not settled(task, now):
        return _outputs(task, keep=task.canonical)
    if task.file_delete_state is Stage.INIT:
        task = replace(task, file_delete_state=Stage.READY)
    return _outputs(task, keep=None)


def waits_until(task: Task, now: float, policy: Policy) -> float:
    """T14: when ``delete`` is to look again; NEVER where time alone changes nothing."""
    if task.assimilate_state is not Stage.DONE:
        return NEVER
    until = keep_until(task, policy)
    return until if now < until else NEVER


def tidy(task: Task, now: float, _policy: Policy) -> Task:
    """What nobody will ask for goes sooner than T14 has it: of a task that is assimilated and
    settled, the outputs of all replicas but the canonical one.
    """
    if task.canonical is None or task.assimilate_state is not Stage.DONE:
        return task
    return _outputs(task, keep=task.canonical) if settled(task, now) else task


def deleted(task: Task, _now: float, _policy: Policy) -> Task:
    """D1: what was to be deleted is."""
    if task.assimilate_state is not Stage.DONE:
        return task
    if task.file_delete_state is Stage.READY:
        task = replace(task, file_delete_state=Stage.DONE)
    if not any(r.file_delete_state is Stage.READY for r in task.replicas):
        return task
    return replace(task, replicas=tuple(_done(r) for r in task.replicas))


def purgeable(task: Task, now: float, after: float) -> bool:
    """D2: whether the document itself may go: its inputs are deleted, and it ended that long ago.

    ``after`` is in seconds. Until then it tells what became of the task, without its files.
    """
    ended = task.file_delete_state is Stage.DONE and task.done_time is not None
    return ended and now >= (task.done_time or 0.0) + after


def _outputs(task: Task, keep: int | None) -> Task:
    """Mark the outputs of all replicas that have come to something, but for one."""
    if not any(_goes(r, keep) for r in task.replicas):
        return task
    ready = tuple(
        replace(r, file_delete_state=Stage.READY) if _goes(r, keep) else r for r in task.replicas
    )
    return replace(task, replicas=ready)


def _goes(replica: Replica, keep: int | None) -> bool:
    if replica.file_delete_state is not Stage.INIT or replica.number == keep:
        return False
    if replica.outcome is Outcome.SUCCESS:
        return replica.validity is not Validity.INIT
    return replica.outcome in _WITHOUT_RESULT


def _done(replica: Replica) -> Replica:
    ready = replica.file_delete_state is Stage.READY
    return replace(replica, file_delete_state=Stage.DONE) if ready else replica
