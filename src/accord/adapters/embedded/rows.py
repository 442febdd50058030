"""A task as a row: what is written, and how it is read back."""

from __future__ import annotations

import functools
import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from accord.adapters.embedded.batches import Fold, write
from accord.core.documents import decode, encode
from accord.core.ids import BatchId, TaskId
from accord.core.index import Index, index_of
from accord.core.task import NEVER, Task, blobs

_COLUMNS = (
    "id",
    "version",
    "status",
    "class",
    "priority",
    "transition_time",
    "assimilate",
    "wall",
    "held",
    "blobs",
    "summary",
    "document",
    "user",
    "key",
    "name",
    "add_time",
    "labels",
    "batch",
)
"""As in a row; those from user on are written once, save the batch, which a task may leave.

A statement that names a column writes its indexes anew, whether or not the value changes.
"""
_CHANGING = _COLUMNS[: _COLUMNS.index("user")]
_STATUS, _BATCH, _USER = (_COLUMNS.index(name) for name in ("status", "batch", "user"))
_MOST = 64
"""Rows of one statement. Statements of 1, 2, 4 … rows are prepared once and then reused."""

Values = tuple[Any, ...]
"""A row by the order of _COLUMNS."""


def values_of(task: Task, index: Index, class_: int | None) -> Values:
    """The row of a task, worked out by the caller's thread so that the writer only writes."""
    return (
        task.id,
        task.version,
        index.status.value,
        class_,
        index.priority,
        index.transition_time if index.transition_time < NEVER else None,
        index.assimilate,
        index.summary.wall_time if index.batch is not None and index.status.done else None,
        _json(index.held_by),
        _json(sorted(blobs(task))),
        encode(index.summary),
        encode(task),
        task.user,
        task.key,
        task.name.casefold(),
        task.add_time,
        _json(task.labels),
        index.batch,
    )


def next_version(task: Task) -> Task:
    """The task as it is to be stored: its version one more."""
    return msgspec.structs.replace(task, version=task.version + 1)


def class_number(db: sqlite3.Connection, key: str) -> int:
    """The number of a requirement class, given to it now where it has none."""
    db.execute("INSERT OR IGNORE INTO classes (key) VALUES (?)", (key,))
    number: int = db.execute("SELECT id FROM classes WHERE key = ?", (key,)).fetchone()[0]
    return number


def _json(items: object) -> str | None:
    return msgspec.json.encode(items).decode() if items else None


# Each step of a statement lets other threads in, and waits to be let in again. So the rows of all
# callers go into few statements of many rows.


class Written(NamedTuple):
    """What became of the rows of one call, and which batches are due after the whole commit."""

    rows: list[Any]
    due: list[BatchId]


def insert(
    db: sqlite3.Connection, calls: Sequence[tuple[Sequence[Values], float]]
) -> list[Written]:
    """Insert the rows of several calls, each with its time; for each row None where it is stored
    as given, or the document that holds its id or key already.
    """
    fold = Fold()
    found = _insert_all(db, [rows for rows, _ in calls])
    for (rows, _), there in zip(calls, found, strict=True):
        for row, holder in zip(rows, there, strict=True):
            if holder is None:
                _entered(fold, row, None)
    due = write(db, fold, max(now for _, now in calls))
    return [Written(there, due) for there in found]


def _insert_all(
    db: sqlite3.Connection, calls: Sequence[Sequence[Values]]
) -> list[list[bytes | None]]:
    all_rows = [row for rows in calls for row in rows]
    fresh = [seq for portion in _portions(all_rows) for seq in _insert(db, portion)]
    if len(fresh) == len(all_rows):
        return [[None] * len(rows) for rows in calls]
    # Something was there already. That is rare, so begin again and look at each row.
    db.execute("DELETE FROM tasks WHERE seq IN (SELECT value FROM json_each(?))", [_json(fresh)])
    return [[None if _insert(db, [row]) else _holder(db, row) for row in rows] for rows in calls]


def _entered(fold: Fold, row: Values, former: str | None) -> None:
    """A row is stored; ``former`` is the status that it had, None where it is new."""
    status, batch = row[_STATUS], row[_BATCH]
    fold.enter(row[_USER], status, batch)
    fold.end(status, batch, former)


def _insert(db: sqlite3.Connection, rows: Sequence[Values]) -> range:
    """Insert what is not there; the numbers of the new rows, which follow each other."""
    cursor = db.execute(_insertion(len(rows)), _flat(rows))
    last = cursor.lastrowid or 0
    return range(last - cursor.rowcount + 1, last + 1)


def _holder(db: sqlite3.Connection, row: Values) -> bytes:
    values = dict(zip(_COLUMNS, row, strict=True))
    found = db.execute("SELECT document FROM tasks WHERE id = :id", values).fetchone()
    if found is None:
        by_key = "SELECT document FROM tasks WHERE user = :user AND key = :key"
        found = db.execute(f"{by_key} AND key IS NOT NULL", values).fetchone()
    return bytes(found[0])


def update(
    db: sqlite3.Connection, calls: Sequence[tuple[Sequence[Values], float]]
) -> list[Written]:
    """Update each row of several calls, each with its time, whose version is one more than what is
    stored; whether it was so. Of several for one task the first wins.
    """
    stored = _stored(db, [row[0] for rows, _ in calls for row in rows])
    fold = Fold()
    winners: dict[Any, Values] = {}  # of one that wins twice, the last is what is to be stored
    moved: dict[Any, Any] = {}
    won = [[_wins(row, stored, winners, moved, fold) for row in rows] for rows, _ in calls]
    for portion in _portions([*winners.values()]):
        db.execute(_replacement(len(portion)), _flat(portion))
    db.executemany("UPDATE tasks SET batch = ? WHERE id = ?", [(b, i) for i, b in moved.items()])
    due = write(db, fold, max(now for _, now in calls))
    return [Written(one, due) for one in won]


def _stored(db: sqlite3.Connection, ids: Sequence[Any]) -> dict[Any, list[Any]]:
    """Version, status and batch of these tasks as they are stored."""
    query = (
        "SELECT json_group_object(t.id, json_array(t.version, t.status, t.batch)) "
        "FROM json_each(?) AS wanted "
        "CROSS JOIN tasks AS t INDEXED BY tasks_id ON t.id = wanted.value"
    )
    found: dict[Any, list[Any]] = msgspec.json.decode(
        db.execute(query, (json.dumps(ids),)).fetchone()[0]
    )
    return found


def _wins(
    row: Values,
    stored: dict[Any, list[Any]],
    winners: dict[Any, Values],
    moved: dict[Any, Any],
    fold: Fold,
) -> bool:
    there = stored.get(row[0])
    if there is None or row[1] != there[0] + 1:
        return False
    _, status, batch = there
    if status != row[_STATUS] or batch != row[_BATCH]:
        fold.leave(row[_USER], status, batch)
        _entered(fold, row, status)
    if batch != row[_BATCH]:
        moved[row[0]] = row[_BATCH]
    stored[row[0]] = [row[1], row[_STATUS], row[_BATCH]]
    winners[row[0]] = row[: len(_CHANGING)]
    return True


def _portions(rows: Sequence[Values]) -> Iterator[Sequence[Values]]:
    """The rows in portions of whole powers of two."""
    at = 0
    while left := len(rows) - at:
        size = min(_MOST, 1 << (left.bit_length() - 1))
        yield rows[at : at + size]
        at += size


def _flat(rows: Sequence[Values]) -> list[Any]:
    return [*itertools.chain.from_iterable(rows)]


def _places(rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return ", ".join([row] * rows)


@functools.cache
def _insertion(rows: int) -> str:
    return (
        f"INSERT INTO tasks ({', '.join(_COLUMNS)}) VALUES {_places(rows, len(_COLUMNS))} "
        "ON CONFLICT DO NOTHING"
    )


@functools.cache
def _replacement(rows: int) -> str:
    names = list(enumerate(_CHANGING, start=1))[1:]
    return (
        f"UPDATE tasks SET {', '.join(f'{name} = new.column{n}' for n, name in names)} "
        f"FROM (VALUES {_places(rows, len(_CHANGING))}) AS new WHERE tasks.id = new.column1"
    )


def delete(db: sqlite3.Connection, ids: Sequence[TaskId], now: float) -> Written:
    """Remove tasks and what stands beside them; those that there were."""
    fold = Fold()
    gone = [id_ for id_ in ids if _delete(db, id_, fold)]
    return Written(gone, write(db, fold, now))


def _delete(db: sqlite3.Connection, id_: TaskId, fold: Fold) -> bool:
    db.execute("DELETE FROM running WHERE task = ?", (id_,))
    db.execute("DELETE FROM output WHERE task = ?", (id_,))
    found = db.execute(
        "DELETE FROM tasks WHERE id = ? RETURNING user, status, batch", (id_,)
    ).fetchall()
    for row in found:
        fold.leave(*row)
    return bool(found)


def task_of(document: bytes) -> Task:
    """The task that a document spells. Raises Corrupt."""
    return decode(document, Task)


def indexed(
    tasks: Sequence[Task], class_of: Callable[[str], int]
) -> list[tuple[Task, Index, Values]]:
    """Tasks with their index and row."""
    found = []
    for task in tasks:
        index = index_of(task)
        class_ = None if index.ready is None else class_of(index.ready)
        found.append((task, index, values_of(task, index, class_)))
    return found
