"""Progress of replicas, and their live output, kept in pieces as it came."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

import msgspec

from accord.core.documents import encode
from accord.core.ids import TaskId
from accord.ports.store import Chunk, Running

Dropped = tuple[TaskId, int | None]
"""A replica of a task, or all of them."""

_PLACE = "task = ? AND number = ? AND stream = ?"
APPEND = """
INSERT INTO output (task, number, stream, start, stop, data)
SELECT :task, :number, :stream, kept, :offset + length(:data), substr(:data, kept - :offset + 1)
FROM (SELECT coalesce((SELECT stop FROM output
  WHERE task = :task AND number = :number AND stream = :stream ORDER BY start DESC LIMIT 1), 0)
  AS kept)
WHERE :offset <= kept AND kept < :offset + length(:data)
"""
PIECES = (
    f"SELECT start, data FROM output WHERE {_PLACE} AND start >= coalesce("
    f"(SELECT max(start) FROM output WHERE {_PLACE} AND start <= ?), 0) "
    "AND start < ? ORDER BY start"
)
OF_TASKS = "task IN (SELECT value FROM json_each(?))"
OF_REPLICAS = (
    "(task, number) IN "
    "(SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))"
)
RUNNING = "SELECT document FROM running"
SIZES = (
    "SELECT stream, max(stop) FROM output INDEXED BY output_place WHERE task = ? AND number = ? "
    "GROUP BY stream"
)


def put_running(db: sqlite3.Connection, running: Sequence[Running]) -> None:
    """Note what replicas are at."""
    db.executemany(
        "INSERT OR REPLACE INTO running (task, number, document) VALUES (?, ?, ?)",
        [(note.task, note.number, encode(note)) for note in running],
    )


def append(db: sqlite3.Connection, chunks: Sequence[Chunk]) -> None:
    """Keep what is new in the chunks; one that would leave a gap is left out."""
    db.executemany(APPEND, [msgspec.structs.asdict(chunk) for chunk in chunks])


def read(
    db: sqlite3.Connection, task: TaskId, number: int, stream: str, offset: int, size: int
) -> bytes:
    """At most ``size`` bytes from ``offset``."""
    place = (task, number, stream)
    pieces = db.execute(PIECES, (*place, *place, offset, offset + size)).fetchall()
    if not pieces or size <= 0:
        return b""
    skipped = offset - pieces[0][0]
    return b"".join(data for _, data in pieces)[skipped : skipped + size]


def sizes(db: sqlite3.Connection, task: TaskId, number: int) -> dict[str, int]:
    """How much of each stream is kept."""
    return dict(db.execute(SIZES, (task, number)).fetchall())


def drop(db: sqlite3.Connection, calls: Sequence[Dropped]) -> list[None]:
    """Forget progress and output of tasks, or of one replica each."""
    tasks = [task for task, number in calls if number is None]
    replicas = [call for call in calls if call[1] is not None]
    for condition, wanted in ((OF_TASKS, tasks), (OF_REPLICAS, replicas)):
        if wanted:
            for table in ("running", "output"):
                db.execute(f"DELETE FROM {table} WHERE {condition}", (json.dumps(wanted),))
    return [None] * len(calls)
