"""The end of documents (rule D2): tasks whose files are gone, and that ended long enough ago."""

from __future__ import annotations

from accord import logs
from accord.core.policy import Policy
from accord.core.retention import purgeable
from accord.core.search import Query
from accord.core.task import Task
from accord.ports.store import Store

PAGE = 500

_log = logs.get("duties")


class Purge:
    """Goes through all old tasks, a page in a pass, then begins anew; so that a shorter
    ``purge_after`` concerns those that ended before it was set as well.

    Tasks of a batch stay as long as their batch, whose counters speak of them.
    """

    name = "purge"
    every = 30.0

    def __init__(self, store: Store, policy: Policy) -> None:
        self._store = store
        self._policy = policy
        self._cursor: str | None = None

    def run(self, now: float) -> int:
        """Look at a page of old tasks; how many were removed."""
        if not self._policy.purge_after:
            return 0
        until = now - self._policy.purge_after
        page = self._store.search(
            Query(until=until, oldest_first=True, limit=PAGE, cursor=self._cursor)
        )
        self._cursor = page.next
        found = self._store.get([item.id for item in page.items])
        gone = [task.id for task in found.values() if self._goes(task, now)]
        removed = self._store.purge(gone) if gone else 0
        if removed:
            _log.info("Old tasks were removed", extra={"action": "purged", "tasks": removed})
        return removed

    def _goes(self, task: Task, now: float) -> bool:
        return task.batch is None and purgeable(task, now, self._policy.purge_after)
