"""Batches as rows, and their counters: what the tasks of a commit change is added up and written once
for each batch that it touches.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from accord.core.batch import Batch, BatchQuery, Counters, batch_blobs, marks_of
from accord.core.documents import decode, encode
from accord.core.ids import BatchId, TaskId
from accord.core.status import OPEN, Status

Row = tuple[Batch, Counters]

_ROW = "SELECT b.document, c.document"
GET = (
    f"{_ROW} FROM json_each(?) AS wanted "
    "CROSS JOIN batches AS b INDEXED BY batches_id ON b.id = wanted.value "
    "CROSS JOIN counters AS c ON c.batch = b.id ORDER BY wanted.key"
)
DUE = (
    f"{_ROW} FROM counters AS c INDEXED BY counters_due "
    "CROSS JOIN batches AS b INDEXED BY batches_id ON b.id = c.batch "
    "WHERE (c.open <= c.open_mark OR c.waiting <= c.waiting_mark) AND c.batch > ? "
    "ORDER BY c.batch LIMIT ?"
)
STALE = (
    "SELECT document FROM batches INDEXED BY batches_silent "
    "WHERE silent_since IS NOT NULL AND silent_since < ? ORDER BY silent_since, id LIMIT ?"
)
BY_KEY = "SELECT document FROM batches WHERE user = ? AND key = ? AND key IS NOT NULL"
BY_ID = "SELECT document FROM batches WHERE id = ?"
COUNTERS = "SELECT document FROM counters WHERE batch = ?"
BLOBS = "SELECT blobs FROM batches INDEXED BY batches_blobs WHERE blobs IS NOT NULL"
RECOUNT = (
    "SELECT status, count(*) FROM tasks INDEXED BY tasks_batch_status "
    "WHERE batch = ? AND batch IS NOT NULL GROUP BY status"
)
COUNTED = (
    "SELECT EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_batch "
    "WHERE batch = ? AND batch IS NOT NULL)"
)
TASKS = (
    "SELECT document FROM tasks INDEXED BY tasks_batch "
    "WHERE batch = ? AND batch IS NOT NULL AND id > ? ORDER BY id LIMIT ?"
)
TASKS_BY_STATUS = (
    "SELECT id, document FROM tasks INDEXED BY tasks_batch_status "
    "WHERE batch = ? AND batch IS NOT NULL AND status = ? AND id > ? ORDER BY id LIMIT ?"
)


class Fold:
    """What the rows of one commit change in the counters of users and batches."""

    def __init__(self) -> None:
        self.users: Counter[tuple[str, str]] = Counter()
        self.batches: Counter[tuple[str, str]] = Counter()
        self.ended: Counter[str] = Counter()

    def leave(self, user: str, status: str, batch: str | None) -> None:
        """A task no longer is so."""
        self.users[user, status] -= 1
        if batch is not None:
            self.batches[batch, status] -= 1

    def enter(self, user: str, status: str, batch: str | None) -> None:
        """A task is so now."""
        self.users[user, status] += 1
        if batch is not None:
            self.batches[batch, status] += 1

    def end(self, status: str, batch: str | None, former: str | None) -> None:
        """A task of a batch that is done now, and perhaps was not before."""
        if batch is not None and status not in _OPEN and (former is None or former in _OPEN):
            self.ended[batch] += 1


_OPEN = frozenset(status.value for status in OPEN)


def write(db: sqlite3.Connection, fold: Fold, now: float) -> list[BatchId]:
    """Write what was added up; which of the batches are due now."""
    changed = [(user, status, n) for (user, status), n in fold.users.items() if n]
    db.executemany(
        "INSERT INTO counts VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET number = number + excluded.number",
        changed,
    )
    touched: dict[str, dict[Status, int]] = {}
    for (batch, status), number in fold.batches.items():
        touched.setdefault(batch, {})[Status(status)] = number
    return [
        BatchId(batch)
        for batch, deltas in touched.items()
        if _count(db, batch, deltas, fold.ended[batch], now)
    ]


def _count(
    db: sqlite3.Connection, batch: str, deltas: dict[Status, int], ended: int, now: float
) -> bool:
    before = counters_of(db, batch)
    return before is not None and _store_counters(db, batch, before.changed(deltas, ended, now))


def counters_of(db: sqlite3.Connection, batch: str) -> Counters | None:
    """The counters of a batch, None where there is none of that id."""
    row = db.execute(COUNTERS, (batch,)).fetchone()
    return None if row is None else decode(row[0], Counters)


def _store_counters(db: sqlite3.Connection, batch: str, counters: Counters) -> bool:
    """Store them; whether the batch is due by them."""
    rows = db.execute(
        "UPDATE counters SET open = ?, waiting = ?, document = ? WHERE batch = ? "
        "RETURNING open <= open_mark OR waiting <= waiting_mark",
        (counters.open, counters.waiting, encode(counters), batch),
    ).fetchall()
    return bool(rows and rows[0][0])


def _counted_anew(db: sqlite3.Connection, batch: str) -> dict[Status, int]:
    return {Status(status): number for status, number in db.execute(RECOUNT, (batch,))}


# -- documents -------------------------------------------------------------------------------


def put(db: sqlite3.Connection, batch: Batch) -> Batch:
    """Store a new one, or answer with the one that holds its id or key."""
    cursor = db.execute(
        "INSERT INTO batches (id, user, key, name, labels, created, "
        "version, live, silent_since, blobs, document) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            batch.id,
            batch.user,
            batch.key,
            batch.name.casefold(),
            _json(batch.labels),
            batch.created,
            *_changing(batch),
        ),
    )
    if cursor.rowcount:
        _begin_counting(db, batch)
        return batch
    found = db.execute(BY_ID, (batch.id,)).fetchone()
    if found is None:
        found = db.execute(BY_KEY, (batch.user, batch.key)).fetchone()
    return decode(found[0], Batch)


def _begin_counting(db: sqlite3.Connection, batch: Batch) -> None:
    counters = Counters(counts=_counted_anew(db, batch.id))
    marks = marks_of(batch)
    db.execute(
        "INSERT INTO counters (batch, open, waiting, open_mark, waiting_mark, document) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (batch.id, counters.open, counters.waiting, marks.open, marks.waiting, encode(counters)),
    )


def _changing(batch: Batch) -> tuple[object, ...]:
    silent = batch.changed if batch.closed is None and not batch.stays_open else None
    return (
        batch.version,
        batch.done is None,
        silent,
        _json(sorted(batch_blobs(batch))),
        encode(batch),
    )


def _json(items: object) -> str | None:
    return msgspec.json.encode(items).decode() if items else None


def replace(db: sqlite3.Connection, batch: Batch) -> bool:
    """Compare and set."""
    after = msgspec.structs.replace(batch, version=batch.version + 1)
    cursor = db.execute(
        "UPDATE batches SET version = ?, live = ?, silent_since = ?, blobs = ?, document = ? "
        "WHERE id = ? AND version = ?",
        (*_changing(after), batch.id, batch.version),
    )
    if not cursor.rowcount:
        return False
    marks = marks_of(after)
    db.execute(
        "UPDATE counters SET open_mark = ?, waiting_mark = ? WHERE batch = ?",
        (marks.open, marks.waiting, batch.id),
    )
    return True


def rows(db: sqlite3.Connection, query: str, *values: object) -> list[Row]:
    """Batches with their counters, as a query finds them."""
    found = db.execute(query, values)
    return [(decode(document, Batch), decode(counters, Counters)) for document, counters in found]


def search(query: BatchQuery) -> tuple[str, list[object]]:
    """The query for a page of batches, newest first."""
    index, where, values = _walk(query)
    for asked, condition, bound in _filters(query):
        if asked:
            where.append(condition)
            values += bound
    return (
        f"{_ROW} FROM batches AS b INDEXED BY {index} "
        "CROSS JOIN counters AS c ON c.batch = b.id "
        f"WHERE {' AND '.join(where) or '1'} ORDER BY b.id DESC LIMIT ?",
        [*values, query.limit],
    )


def _walk(query: BatchQuery) -> tuple[str, list[str], list[object]]:
    """The index to walk, with its condition: a user has few batches, and few are live."""
    if query.user is not None:
        return "batches_user", ["b.user = ?"], [query.user]
    return ("batches_live", ["b.live"], []) if query.live else ("batches_id", [], [])


def _filters(query: BatchQuery) -> Iterator[tuple[bool, str, list[object]]]:
    """Conditions: whether they are asked for, and their values."""
    yield query.cursor is not None, "b.id < ?", [query.cursor]
    yield query.live is not None, "b.live = ?", [query.live]
    yield query.since is not None, "b.created >= ?", [query.since]
    yield query.until is not None, "b.created < ?", [query.until]
    text = query.text.upper()
    yield (
        bool(text),
        "(instr(b.name, ?) > 0 OR substr(b.id, 1, length(?)) = ?)",
        [query.text.casefold(), text, text],
    )
    for key, value in query.labels.items():
        yield True, "(SELECT value FROM json_each(b.labels) WHERE key = ?) = ?", [key, value]


# -- their tasks -----------------------------------------------------------------------------


def tasks(
    db: sqlite3.Connection,
    batch: BatchId,
    statuses: Sequence[Status],
    after: TaskId | None,
    limit: int,
) -> list[bytes]:
    """Documents of tasks that count in a batch, by id."""
    if not statuses:
        return [document for (document,) in db.execute(TASKS, (batch, after or "", limit))]
    found: list[tuple[str, bytes]] = []
    for status in dict.fromkeys(statuses):
        found += db.execute(TASKS_BY_STATUS, (batch, status.value, after or "", limit))
    return [document for _, document in sorted(found)[:limit]]


def are_wrong(db: sqlite3.Connection, batch: BatchId) -> bool:
    """Whether the counters differ from a count, both as of one moment."""
    counters = counters_of(db, batch)
    return counters is not None and counters.counts != _counted_anew(db, batch)


def recount(db: sqlite3.Connection, batch: BatchId) -> bool:
    """Count anew; whether the counters were wrong. Within a write, so nothing changes meanwhile."""
    before = counters_of(db, batch)
    if before is None:
        return False
    counts = _counted_anew(db, batch)
    if counts == before.counts:
        return False
    _store_counters(db, batch, msgspec.structs.replace(before, counts=counts))
    return True


def remove(db: sqlite3.Connection, batch: BatchId) -> bool:
    """Remove a batch that no task counts in; whether it was there."""
    if db.execute(COUNTED, (batch,)).fetchone()[0]:
        return False
    db.execute("DELETE FROM counters WHERE batch = ?", (batch,))
    return db.execute("DELETE FROM batches WHERE id = ?", (batch,)).rowcount == 1


def digests(db: sqlite3.Connection) -> Iterator[str]:
    """The blobs that batches name."""
    for (blobs,) in db.execute(BLOBS):
        yield from json.loads(blobs)
