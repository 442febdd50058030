"""The recount: counters of batches are deltas, and this finds out whether they still add up.

They must: each delta is written in the commit of the change that it tells of. A counter that is wrong
is a fault of ours, so it is put right, and said loudly.
"""

from __future__ import annotations

from accord import logs
from accord.core.batch import BatchQuery
from accord.ports.store import Store

PAGE = 20

_log = logs.get("duties")


class Recount:
    """Goes through all batches, newest first, a few in a pass, then begins anew."""

    name = "recount"
    every = 30.0

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cursor: str | None = None

    def run(self, now: float) -> int:  # noqa: ARG002  # part of the duty's shape
        """Recount a few. It answers 0: the rest can wait for the next pass."""
        page = self._store.search_batches(BatchQuery(limit=PAGE, cursor=self._cursor))
        self._cursor = page[-1][0].id if len(page) == PAGE else None
        for batch, counters in page:
            if self._store.recount(batch.id):
                extra = {"action": "recounted", "batch": batch.id, "were": dict(counters.counts)}
                _log.error("The counters of a batch were wrong and were put right", extra=extra)
        return 0
