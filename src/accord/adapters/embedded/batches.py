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

_COLUMNS = "document, counters"
GET = f"SELECT {_COLUMNS} FROM batches WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"
DUE = (
    f"SELECT {_COLUMNS} FROM batches INDEXED BY batches_due "
    "WHERE (open <= open_mark OR waiting <= waiting_mark) AND id > ? ORDER BY id LIMIT ?"
)
STALE = (
    "SELECT document FROM batches INDEXED BY batches_silent "
    "WHERE silent_since IS NOT NULL AND silent_since < ? ORDER BY silent_since, id LIMIT ?"
)
BY_KEY = "SELECT document FROM batches WHERE user = ? AND key = ? AND key IS NOT NULL"
BY_ID = "SELECT document FROM batches WHERE id = ?"
COUNTERS = "SELECT counters FROM batches WHERE id = ?"
BLOBS = "SELECT blobs FROM batches WHERE blobs IS NOT NULL"
RECOUNT = (
    "SELECT status, count(*) FROM tasks INDEXED BY tasks_batch_status "
    "WHERE batch = ? AND batch IS NOT NULL GROUP BY status"
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
        if number:
            touched.setdefault(batch, {})[Status(status)] = number
    return [
        BatchId(batch)
        for batch, deltas in touched.items()
        if _count(db, batch, deltas, fold.ended[batch], now)
    ]


def _count(
    db: sqlite3.Connection, batch: str, deltas: dict[Status, int], ended: int, now: float
) -> bool:
    row = db.execute(COUNTERS, (batch,)).fetchone()
    if row is None:
        return False
    return _store_counters(db, batch, decode(row[0], Counters).changed(deltas, ended, now))


def _store_counters(db: sqlite3.Connection, batch: str, counters: Counters) -> bool:
    """Store them; whether the batch is due by them."""
    rows = db.execute(
        "UPDATE batches SET open = ?, waiting = ?, counters = ? WHERE id = ? "
        "RETURNING open <= open_mark OR waiting <= waiting_mark",
        (counters.open, counters.waiting, encode(counters), batch),
    ).fetchall()
    return bool(rows and rows[0][0])


# -- documents -------------------------------------------------------------------------------


def put(db: sqlite3.Connection, batch: Batch) -> Batch:
    """Store a new one, or answer with the one that holds its id or key."""
    cursor = db.execute(
        "INSERT INTO batches (id, user, key, name, labels, created, open, waiting, counters, "
        "version, live, silent_since, open_mark, waiting_mark, blobs, document) "
        "VALUES (?, ?, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            batch.id,
            batch.user,
            batch.key,
            batch.name.casefold(),
            _json(batch.labels),
            batch.created,
            encode(Counters()),
            *_changing(batch),
        ),
    )
    if cursor.rowcount:
        return batch
    found = db.execute(BY_ID, (batch.id,)).fetchone()
    if found is None:
        found = db.execute(BY_KEY, (batch.user, batch.key)).fetchone()
    return decode(found[0], Batch)


def _changing(batch: Batch) -> tuple[object, ...]:
    marks = marks_of(batch)
    silent = batch.changed if batch.closed is None and not batch.stays_open else None
    return (
        batch.version,
        batch.done is None,
        silent,
        marks.open,
        marks.waiting,
        _json(sorted(batch_blobs(batch))),
        encode(batch),
    )


def _json(items: object) -> str | None:
    return msgspec.json.encode(items).decode() if items else None


def replace(db: sqlite3.Connection, batch: Batch) -> bool:
    """Compare and set."""
    after = msgspec.structs.replace(batch, version=batch.version + 1)
    cursor = db.execute(
        "UPDATE batches SET version = ?, live = ?, silent_since = ?, open_mark = ?, "
        "waiting_mark = ?, blobs = ?, document = ? WHERE id = ? AND version = ?",
        (*_changing(after), batch.id, batch.version),
    )
    return cursor.rowcount == 1


def rows(db: sqlite3.Connection, query: str, *values: object) -> list[Row]:
    """Batches with their counters, as a query finds them."""
    found = db.execute(query, values)
    return [(decode(document, Batch), decode(counters, Counters)) for document, counters in found]


def search(query: BatchQuery) -> tuple[str, list[object]]:
    """The query for a page of batches, newest first."""
    index, where, values = "", ["1"], []
    conditions: list[tuple[bool, str, list[object]]] = [
        (query.user is not None, "user = ?", [query.user]),
        (query.cursor is not None, "id < ?", [query.cursor]),
        (query.live is not None, "live = ?", [query.live]),
        (query.since is not None, "created >= ?", [query.since]),
        (query.until is not None, "created < ?", [query.until]),
        (
            bool(query.text),
            "(instr(name, ?) > 0 OR substr(id, 1, length(?)) = ?)",
            [query.text.casefold(), query.text.upper(), query.text.upper()],
        ),
    ]
    conditions += [
        (True, "(SELECT value FROM json_each(labels) WHERE key = ?) = ?", [key, value])
        for key, value in query.labels.items()
    ]
    for asked, condition, bound in conditions:
        if asked:
            where.append(condition)
            values += bound
    if query.user is not None:
        index = "INDEXED BY batches_user"
    text = f"SELECT {_COLUMNS} FROM batches {index} WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"
    return text, [*values, query.limit]


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


def recount(db: sqlite3.Connection, batch: BatchId) -> bool:
    """Count anew; whether the counters were wrong. Within a write, so nothing changes meanwhile."""
    row = db.execute(COUNTERS, (batch,)).fetchone()
    if row is None:
        return False
    before = decode(row[0], Counters)
    counts = {Status(status): number for status, number in db.execute(RECOUNT, (batch,))}
    if counts == before.counts:
        return False
    _store_counters(db, batch, msgspec.structs.replace(before, counts=counts))
    return True


def remove(db: sqlite3.Connection, batch: BatchId) -> bool:
    """Remove a batch that no task counts in; whether it was there."""
    row = db.execute(COUNTERS, (batch,)).fetchone()
    if row is None or decode(row[0], Counters).counts:
        return False
    return db.execute("DELETE FROM batches WHERE id = ?", (batch,)).rowcount == 1


def digests(db: sqlite3.Connection) -> Iterator[str]:
    """The blobs that batches name."""
    for (blobs,) in db.execute(BLOBS):
        yield from json.loads(blobs)
