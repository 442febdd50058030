"""The assimilator: rules A1 and A2. What is done once with a task that has ended.

The handler itself is a service's affair: it is called at least once, with what ``prepared`` gives,
before the write that says how it went. One that raises changes nothing: the task stays due.
"""

from __future__ import annotations

import msgspec

from accord.core.task import ErrorMask, Stage, Task

replace = msgspec.structs.replace


def prepared(task: Task) -> Task:
    """A2: the task as its handler is to see it. One that is due without a result and without a
    reason is damaged: it has failed, no_canonical.
    """
    if task.canonical is not None or task.error_mask:
        return task
    return replace(task, error_mask=int(ErrorMask.NO_CANONICAL))


def assimilated(task: Task, now: float) -> Task | None:
    """A1: the handler has returned. None where nothing was due (a repeat)."""
    if task.assimilate_state is not Stage.READY:
        return None
    return replace(prepared(task), assimilate_state=Stage.DONE, transition_time=now)


def deferred(task: Task, now: float) -> Task | None:
    """A1: the handler wants to be called again, once all replicas are in (T13). None as above."""
    if task.assimilate_state is not Stage.READY:
        return None
    return replace(prepared(task), assimilate_state=Stage.INIT, transition_time=now)
