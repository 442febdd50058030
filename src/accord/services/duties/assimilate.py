"""Assimilation: the handler of a task that has come to its end (rule A1).

The one handler there is keeps the result where it is, so its work is to say that it is done. The
write that stores a result says so at once; this duty finds those that were not told then.
"""

from __future__ import annotations

from accord.core.lifecycle import Tick
from accord.ports.store import Store
from accord.services.changes import Changes

BATCH = 500


class Assimilate:
    """The built-in handler "keep"."""

    name = "assimilate"
    every = 0.0

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    def run(self, now: float) -> int:  # noqa: ARG002  # part of the duty's shape
        """Assimilate a batch of tasks that are ready for it; how many."""
        ready = self._store.to_assimilate(BATCH)
        if not ready:
            return 0
        # Every decision of Changes ends by assimilating what is ready; a Tick adds nothing else.
        changed = self._changes.many_of(ready, {task.id: (Tick(),) for task in ready})
        return sum(c.task is not None for c in changed.values())
