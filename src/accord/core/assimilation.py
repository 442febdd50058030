"""The assimilator: rule A1. What is done once with a task that has ended.

The handler itself is a service's affair: it runs at least once, before the write that says so.
That it be due without a result and without an error cannot occur: ``transition.conclude`` makes
it due in the write that makes the status final. There is one handler yet, which keeps the result
where it is, so none defers.
"""

from __future__ import annotations

import msgspec

from accord.core.task import Stage, Task


def assimilated(task: Task) -> Task | None:
    """A1: the handler has returned. None where nothing was due (a repeat)."""
    if task.assimilate_state is not Stage.READY:
        return None
    return msgspec.structs.replace(task, assimilate_state=Stage.DONE)
