"""A task as a row: what is written, and how it is read back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

import msgspec

from accord.core.documents import decode, encode
from accord.core.ids import TaskId
from accord.core.index import Index, index_of
from accord.core.task import Task, blobs

_INSERT = """
INSERT INTO tasks (id, version, user, key, name, add_time, status, class, priority,
  transition_time, assimilate, held, labels, blobs, summary, document)
VALUES (:id, :version, :user, :key, :name, :add_time, :status, :class, :priority,
  :transition_time, :assimilate, :held, :labels, :blobs, :summary, :document)
ON CONFLICT DO NOTHING
"""
_UPDATE = """
UPDATE tasks SET version = :version, status = :status, class = :class, priority = :priority,
  transition_time = :transition_time, assimilate = :assimilate, held = :held, blobs = :blobs,
  summary = :summary, document = :document
WHERE id = :id AND version = :version - 1
"""

Values = dict[str, object]


def values_of(task: Task, index: Index, class_: int | None) -> Values:
    """The row of a task, worked out by the caller's thread so that the writer only writes."""
    return {
        "id": task.id,
        "version": task.version,
        "user": task.user,
        "key": task.key,
        "name": task.name.casefold(),
        "add_time": task.add_time,
        "status": index.status.value,
        "class": class_,
        "priority": task.priority,
        "transition_time": index.transition_time,
        "assimilate": index.assimilate,
        "held": _json(index.held_by),
        "labels": _json(task.labels),
        "blobs": _json(sorted(blobs(task))),
        "summary": encode(index.summary),
        "document": encode(task),
    }


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


def insert(db: sqlite3.Connection, rows: Sequence[Values]) -> list[bytes | None]:
    """Insert rows; for each None, or the document that holds its id or key already."""
    return [None if db.execute(_INSERT, row).rowcount else _holder(db, row) for row in rows]


def _holder(db: sqlite3.Connection, row: Values) -> bytes:
    found = db.execute("SELECT document FROM tasks WHERE id = :id", row).fetchone()
    if found is None:
        by_key = "SELECT document FROM tasks WHERE user = :user AND key = :key"
        found = db.execute(f"{by_key} AND key IS NOT NULL", row).fetchone()
    document: bytes = found[0]
    return document


def update(db: sqlite3.Connection, rows: Sequence[Values]) -> list[bool]:
    """Update each row whose version is one more than what is stored; whether it was so."""
    return [db.execute(_UPDATE, row).rowcount == 1 for row in rows]


def delete(db: sqlite3.Connection, ids: Sequence[TaskId]) -> list[TaskId]:
    """Remove tasks and what stands beside them; returns those that there were."""
    return [id_ for id_ in ids if _delete(db, id_)]


def _delete(db: sqlite3.Connection, id_: TaskId) -> bool:
    db.execute("DELETE FROM running WHERE task = ?", (id_,))
    db.execute("DELETE FROM output WHERE task = ?", (id_,))
    return db.execute("DELETE FROM tasks WHERE id = ?", (id_,)).rowcount == 1


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
