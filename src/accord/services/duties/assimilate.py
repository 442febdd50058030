"""Assimilation: the handler of a task that has come to its end (rule A1).

The handler "keep" leaves the result where it is, so its return needs no call and no write of its own:
the write that stores a result says so at once, and this duty finds those that were not told then. Any
other handler is called here, before the write that says so: at least once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from accord import logs
from accord.core.ids import TaskId
from accord.core.lifecycle import Assimilated, Tick
from accord.core.task import Task
from accord.ports.assimilator import KEEP, Assimilator, Ending
from accord.ports.blobs import Blobs
from accord.ports.store import Store
from accord.services.changes import Changes
from accord.services.duties.patience import Patience
from accord.services.lines import line_of, read

BATCH = 500
PAGES = 20
"""Batches of tasks whose handlers are all given a pause that one pass looks at."""

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
        self._patience: Patience[TaskId] = Patience()
        """Of tasks whose handler raised."""
        self._after: TaskId | None = None
        """How far the present round has come. A round goes by all that are ready, so that tasks
        whose handlers keep raising, however many, keep no others waiting."""

    def run(self, now: float) -> int:
        """Assimilate a batch of tasks that are ready for it; how many."""
        for _ in range(PAGES):
            ready = self._store.to_assimilate(BATCH, self._after)
            self._after = ready[-1].id if len(ready) == BATCH else None
            due = [task for task in ready if not self._patience.rests(task.id, now)]
            if due:
                return self._assimilate(due, now)
            if self._after is None:
                break
        return 0

    def _assimilate(self, due: Sequence[Task], now: float) -> int:
        called = [task for task in due if self._handled(task, now)]
        # Every decision of Changes ends by assimilating what is kept; a Tick adds nothing else.
        events = {t.id: (Tick() if _kept(t) else Assimilated(),) for t in called}
        changed = self._changes.many_of(called, events)
        return sum(c.task is not None for c in changed.values())

    def _handled(self, task: Task, now: float) -> bool:
        """Call the handler; whether it returned."""
        if _kept(task):
            return True
        call = partial(self._call, task)
        return self._patience.attempt(task.id, now, call, partial(_complain, task)) > 0

    def _call(self, task: Task) -> int:
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
        return 1


def _complain(task: Task, error: Exception, pause: float) -> None:
    extra = {"action": "assimilation_failed", "task": task.id, "pause": pause}
    _log.warning("An assimilator raised and is called again", extra=extra, exc_info=error)


def _kept(task: Task) -> bool:
    return task.spec.assimilate.handler == KEEP
