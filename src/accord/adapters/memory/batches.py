"""Batches and their counters in memory, with the index by which due ones are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from accord.core.batch import Batch, BatchQuery, Counters, marks_of
from accord.core.ids import BatchId, UserName
from accord.core.index import Index
from accord.core.status import Status

Delta = tuple[BatchId, Status]


class Folding:
    """What one commit changes in the counters of batches."""

    def __init__(self) -> None:
        self.deltas: Counter[Delta] = Counter()
        self.ended: Counter[BatchId] = Counter()

    def count(self, before: Index | None, after: Index | None) -> None:
        """A task was so, and is so now."""
        was, is_ = _counted(before), _counted(after)
        if was == is_:
            return
        if was is not None:
            self.deltas[was] -= 1
        if is_ is not None:
            self.deltas[is_] += 1
        if is_ is not None and is_[1].done and not (before is not None and before.status.done):
            self.ended[is_[0]] += 1


def _counted(index: Index | None) -> Delta | None:
    """Where a task counts."""
    return None if index is None or index.batch is None else (index.batch, index.status)


class Batches:
    """Whoever calls holds the store's lock."""

    def __init__(self) -> None:
        self._by_id: dict[BatchId, Batch] = {}
        self._counters: dict[BatchId, Counters] = {}
        self._keys: dict[tuple[UserName, str], BatchId] = {}
        self._due: set[BatchId] = set()

    def put(self, batch: Batch, counts: dict[Status, int]) -> Batch:
        """Store a new one with the counts of its tasks, or answer with the one that holds its id
        or key.
        """
        there = batch.id if batch.id in self._by_id else None
        if there is None and batch.key is not None:
            there = self._keys.get((batch.user, batch.key))
        if there is not None:
            return self._by_id[there]
        self._by_id[batch.id] = batch
        self._counters[batch.id] = Counters(counts=counts)
        if batch.key is not None:
            self._keys[batch.user, batch.key] = batch.id
        self._mark(batch.id)
        return batch

    def replace(self, batch: Batch) -> bool:
        """Compare and set."""
        there = self._by_id.get(batch.id)
        if there is None or there.version != batch.version:
            return False
        self._by_id[batch.id] = msgspec.structs.replace(batch, version=batch.version + 1)
        self._mark(batch.id)
        return True

    def fold(self, folding: Folding, now: float) -> list[BatchId]:
        """Take in what a commit changed; which of these batches are due now."""
        touched: dict[BatchId, dict[Status, int]] = {}
        for (batch, status), number in folding.deltas.items():
            if batch in self._by_id:
                touched.setdefault(batch, {})[status] = number
        for batch, deltas in touched.items():
            ended = folding.ended[batch]
            self._counters[batch] = self._counters[batch].changed(deltas, ended, now)
            self._mark(batch)
        return [batch for batch in touched if batch in self._due]

    def _mark(self, id_: BatchId) -> None:
        marks, counters = marks_of(self._by_id[id_]), self._counters[id_]
        if counters.open <= marks.open or counters.waiting <= marks.waiting:
            self._due.add(id_)
        else:
            self._due.discard(id_)

    def get(self, ids: Iterable[BatchId]) -> dict[BatchId, tuple[Batch, Counters]]:
        """Those that exist."""
        return {i: (self._by_id[i], self._counters[i]) for i in ids if i in self._by_id}

    def due(self, after: BatchId | None) -> list[BatchId]:
        """Those that are due, by id."""
        return sorted(i for i in self._due if after is None or i > after)

    def stale(self, before: float) -> list[Batch]:
        """Those whose submission is silent, for the longest time first."""
        found = [
            batch
            for batch in self._by_id.values()
            if batch.closed is None and not batch.stays_open and batch.changed < before
        ]
        return sorted(found, key=lambda batch: (batch.changed, batch.id))

    def search(self, query: BatchQuery) -> Iterator[BatchId]:
        """Those that match, newest first."""
        for id_ in sorted(self._by_id, reverse=True):
            if (query.cursor is None or id_ < query.cursor) and _matches(self._by_id[id_], query):
                yield id_

    def correct(self, id_: BatchId, counts: dict[Status, int]) -> bool:
        """Put the counters right; whether they were wrong."""
        before = self._counters.get(id_)
        if before is None or before.counts == counts:
            return False
        self._counters[id_] = msgspec.structs.replace(before, counts=counts)
        self._mark(id_)
        return True

    def remove(self, id_: BatchId) -> bool:
        """Remove one that no task counts in; whether it was there."""
        batch = self._by_id.pop(id_, None)
        if batch is None:
            return False
        del self._counters[id_]
        self._due.discard(id_)
        if batch.key is not None:
            del self._keys[batch.user, batch.key]
        return True

    def all(self) -> list[Batch]:
        """All of them."""
        return list(self._by_id.values())


def _matches(batch: Batch, query: BatchQuery) -> bool:
    return (
        query.user in (None, batch.user)
        and all(batch.labels.get(k) == v for k, v in query.labels.items())
        and query.live in (None, batch.done is None)
        and (query.since is None or batch.created >= query.since)
        and (query.until is None or batch.created < query.until)
        and (
            query.text.casefold() in batch.name.casefold()
            or batch.id.startswith(query.text.upper())
        )
    )
