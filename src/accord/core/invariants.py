"""What holds of every task between two events, whatever came before.

``lifecycle.decide`` checks it before it hands a decision out, so that a fault of ours stops at a
refused write instead of a lost task; tests check the same functions after every step.
"""

from __future__ import annotations

from accord.core.assignment import repeats
from accord.core.errors import InvalidTransition
from accord.core.judging import JudgingState
from accord.core.replica import Outcome, Replica, ReplicaState, Validity
from accord.core.retention import canonical_gone, judged
from accord.core.task import NEVER, ErrorMask, Stage, Task
from accord.core.transition import cancelling, waits_for
from accord.core.view import done

_RESULTS = (Outcome.SUCCESS, Outcome.VALIDATE_ERROR)
_LATE = (Outcome.NO_REPLY, Outcome.DETACHED)
_CANCELLED = int(ErrorMask.CANCELLED)


def check_invariants(task: Task) -> None:
    """Raises InvalidTransition, with the task's story, where one is broken."""
    broken = _broken(task)
    if broken:
        raise InvalidTransition(f"Task {task.id}: {broken}.", task=task.id, story=story(task))


def check_step(before: Task, after: Task) -> None:
    """What a change must keep. Raises InvalidTransition where it does not."""
    broken = _broken_step(before, after)
    if broken:
        told = f"{story(before)} | {story(after)}"
        raise InvalidTransition(f"Task {after.id}: {broken}.", task=after.id, story=told)


def story(task: Task) -> str:
    """The task in one line, for whoever has to find out what went wrong."""
    replicas = ", ".join(_told(r) for r in task.replicas)
    return (
        f"mask {task.error_mask}, canonical {task.canonical}, done {task.done_time}, "
        f"assimilation {task.assimilate_state}, next look {task.transition_time}; [{replicas}]"
    )


def _told(replica: Replica) -> str:
    where = f" on {replica.executor}/{replica.session}" if replica.executor else ""
    what = f" {replica.outcome}/{replica.validity}" if replica.outcome else ""
    return f"{replica.number} {replica.state}{what}{where}"


def _broken(task: Task) -> str:
    """The first invariant that does not hold, in words, else an empty string."""
    last = -1
    for replica in task.replicas:
        if replica.number <= last:
            return "replica numbers must rise"
        last = replica.number
        broken = _broken_replica(replica)
        if broken:
            return f"replica {replica.number}: {broken}"
    return _broken_ends(task) or _broken_judging(task) or _broken_waiting(task)


def _broken_replica(replica: Replica) -> str:
    state = replica.state
    if (state is ReplicaState.OVER) != (replica.outcome is not None):
        return "it has an outcome exactly when it is over"
    if replica.outcome is Outcome.SUCCESS and replica.result is None:
        return "it succeeded, yet has no result"
    if replica.result is not None and replica.outcome not in _RESULTS:
        return "it has a result, yet did not succeed"
    if state is ReplicaState.UNSENT and replica.executor is not None:
        return "it is unsent, yet on an executor"
    if state is ReplicaState.IN_PROGRESS and not _is_assigned(replica):
        return "it is in progress, yet not assigned"
    if replica.killed_at is not None and state is not ReplicaState.OVER:
        return "it was killed, yet is not over"
    return ""


def _is_assigned(replica: Replica) -> bool:
    return None not in (
        replica.executor,
        replica.session,
        replica.sent_time,
        replica.report_deadline,
    )


def _broken_ends(task: Task) -> str:
    """Invariants of how a task ends."""
    if task.canonical is not None:
        if task.error_mask:
            return "a task with a result cannot have failed (Q1)"
        canonical = task.replica(task.canonical)
        if canonical is None or canonical.validity is not Validity.VALID:
            return "the canonical replica must be a valid one of the task"
    if (task.done_time is not None) != done(task):
        return "done_time is set exactly when the status is final"
    if task.assimilate_state is not Stage.INIT and not done(task):
        return "assimilation is only due when the status is final"
    if task.assimilate_state is Stage.INIT and done(task) and (task.error_mask or judged(task)):
        return "assimilation is due when the status is final, unless put off until all is in"
    return _broken_deletion(task)


def _broken_deletion(task: Task) -> str:
    """Invariants of the retention of files."""
    states = [task.file_delete_state, *(r.file_delete_state for r in task.replicas)]
    if Stage.READY in states:
        return "what is to be deleted is deleted in the same write (D1)"
    if Stage.DONE in states and task.assimilate_state is not Stage.DONE:
        return "no file goes before the task is assimilated (T14)"
    has_result = task.canonical is not None
    if task.file_delete_state is Stage.DONE and has_result and not canonical_gone(task):
        return "the canonical files go with the inputs (T14)"
    return ""


def _broken_judging(task: Task) -> str:
    """Invariants of judging runs."""
    run = task.judging
    pending = run is not None and run.pending
    if task.need_validate and not pending:
        return "it wants validation, which nothing will do"
    if pending and not task.need_validate and not cancelling(task):
        return "a judging run is pending that nothing waits for"
    if run is None:
        return ""
    if (run.state is JudgingState.IN_PROGRESS) != (run.executor is not None and run.answer is None):
        return "a judging run is on an executor exactly while in progress or answered"
    if run.answer is not None and run.state is not JudgingState.OVER:
        return "a judging run is answered, yet not over"
    return ""


def _broken_waiting(task: Task) -> str:
    """Invariants of what a task waits for: it is never forgotten."""
    unsent = any(r.state is ReplicaState.UNSENT for r in task.replicas)
    running = [r for r in task.replicas if r.state is ReplicaState.IN_PROGRESS]
    if task.error_mask or task.canonical is not None:
        if unsent:
            return "nothing more may be sent of a task that has its end"
    elif not unsent and not running and not (task.judging and task.judging.pending):
        return "an open task must have a replica that can still end it"
    if len(task.replicas) > 1 and _is_distinct(task):
        if len({r.executor for r in running}) < len(running):
            return "two replicas run on one executor"
        if any(repeats(task, r) for r in task.replicas if r.outcome is Outcome.SUCCESS):
            return "two results are of one executor or owner"
    if task.transition_time > min(waits_for(task)):
        return "it would be looked at too late"
    if task.done_time is None and task.transition_time >= NEVER:
        return "it would never be looked at again"
    return ""


def _is_distinct(task: Task) -> bool:
    """Whether its replicas must run apart. A cancelled one may wait for word of two on one executor:
    of what was given up there, and of the attempt after it.
    """
    return task.spec.redundancy.distinct != "none" and not task.error_mask & _CANCELLED


def _broken_step(before: Task, after: Task) -> str:
    if (before.id, before.version, before.add_time) != (after.id, after.version, after.add_time):
        return "id, version and add_time are not for events to change"
    if before.done_time is not None and _end(before) != _end(after):
        return "a final status must not change"
    if before.canonical is not None and before.canonical != after.canonical:
        return "the canonical replica must not change"
    now = {r.number: r for r in after.replicas}
    cancels = bool(after.error_mask & ~before.error_mask & _CANCELLED)
    for replica in before.replicas:
        later = now.get(replica.number)
        if later is None:
            if not _may_go(replica):
                return f"replica {replica.number} was dropped"
        elif cancels and given_up(replica) and later.state is ReplicaState.IN_PROGRESS:
            continue  # its box is to be seen empty (F2)
        elif replica.state is ReplicaState.OVER and not _may_follow(replica, later):
            return f"replica {replica.number} was over and changed"
    return ""


def given_up(replica: Replica) -> bool:
    """Whether it is over for its silence alone, and nothing was heard of it since."""
    return replica.outcome is Outcome.NO_REPLY and replica.received_time is None


def _end(task: Task) -> tuple[object, ...]:
    return task.done_time, task.canonical, task.error_mask


def _may_go(replica: Replica) -> bool:
    """Only one that was handed back gives way to another, now or later; or that was lost, and
    brings late what is not needed.
    """
    late = replica.outcome in _LATE and replica.received_time is None
    return late or (
        replica.state is ReplicaState.IN_PROGRESS or replica.outcome is Outcome.DIDNT_NEED
    )


def _may_follow(replica: Replica, later: Replica) -> bool:
    """Nothing leaves over but a late message of a lost replica, once."""
    if later.state is not ReplicaState.OVER:
        return False
    if replica.outcome is later.outcome:
        return replica.result is later.result
    if (replica.outcome, later.outcome) == _RESULTS:
        return replica.result is later.result  # it could not be read (V3)
    return replica.outcome in _LATE and replica.received_time is None
