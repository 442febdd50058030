"""The sweep over ``transition_time``: deadlines, back-offs, and what a crash left half-way."""

from __future__ import annotations

from accord.core.lifecycle import Tick
from accord.ports.store import Store
from accord.services.changes import Changes

BATCH = 500


class Transition:
    """Every task whose time has come is looked at (rules T1-T17)."""

    name = "transition"
    every = 0.0

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    def run(self, now: float) -> int:
        """Look at a batch of due tasks; how many of them changed."""
        due = self._store.due(now, BATCH)
        if not due:
            return 0
        versions = {task.id: task.version for task in due}
        changed = self._changes.many_of(due, {task.id: (Tick(),) for task in due})
        return sum(c.task is not None and c.task.version != versions[i] for i, c in changed.items())
