"""Assimilation: the handler of a task that has come to its end (rule A1).

The handler "keep" leaves the result where it is, so its return needs no call and no write of its own:
the write that stores a result says so at once, and this duty finds those that were not told then. Any
other handler is called here, before the write that says so: at least once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from accord import logs
from accord.core.ids import TaskId
from accord.core.lifecycle import Assimilated, Tick
from accord.core.task import Task
from accord.ports.assimilator import KEEP, Assimilator, Ending
from accord.ports.blobs import Blobs
from accord.ports.store import Store
from accord.services.changes import Changes
from accord.services.lines import line_of, read

BATCH = 500
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
"""Seconds between two calls for a task whose handler raises: the first, doubled up to the longest."""

_log = logs.get("duties")


class Assimilate:
    """See the module's docstring."""

    name = "assimilate"
    every = 0.0

    def __init__(
        self, store: Store, blobs: Blobs, changes: Changes, handlers: Mapping[str, Assimilator]
    ) -> None:
        self._store = store
        self._changes = changes
        self._handlers = handlers
        self._blobs = blobs
        self._failing: dict[TaskId, tuple[int, float]] = {}
        """Tasks whose handler raised: how often, and when it is called again."""

    def run(self, now: float) -> int:
        """Assimilate a batch of tasks that are ready for it; how many."""
        ready = self._store.to_assimilate(BATCH + len(self._failing))
        if not ready:
            self._failing.clear()
            return 0
        due = [task for task in ready if self._failing.get(task.id, (0, 0.0))[1] <= now]
        called = [task for task in due if self._handled(task, now)]
        # Every decision of Changes ends by assimilating what is kept; a Tick adds nothing else.
        events = {t.id: (Tick() if _kept(t) else Assimilated(),) for t in called}
        changed = self._changes.many_of(called, events)
        return sum(c.task is not None for c in changed.values())

    def _handled(self, task: Task, now: float) -> bool:
        """Call the handler; whether it returned."""
        if _kept(task):
            return True
        try:
            self._call(task)
        except Exception as error:  # noqa: BLE001  # a stranger's code; it is logged and called again
            self._failed(task, now, error)
            return False
        self._failing.pop(task.id, None)
        return True

    def _call(self, task: Task) -> None:
        wish = task.spec.assimilate
        handler = self._handlers.get(wish.handler)
        if handler is None:
            raise LookupError(f"There is no assimilator {wish.handler!r} in this judicator.")
        handler.assimilate(
            Ending(
                token=task.id,
                task=task,
                options=wish.options,
                result=line_of(task, self._blobs),
                read=partial(read, blobs=self._blobs),
            )
        )

    def _failed(self, task: Task, now: float, error: Exception) -> None:
        count = self._failing.get(task.id, (0, 0.0))[0]
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(count, 16))
        self._failing[task.id] = (count + 1, now + pause)
        extra = {"action": "assimilation_failed", "task": task.id, "pause": pause}
        _log.warning("An assimilator raised and is called again", extra=extra, exc_info=error)


def _kept(task: Task) -> bool:
    return task.spec.assimilate.handler == KEEP
