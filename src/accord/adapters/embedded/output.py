"""Progress of replicas, and their live output, kept in pieces as it came."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from accord.core.documents import encode
from accord.core.ids import TaskId
from accord.ports.store import Chunk, Running

_PLACE = "task = ? AND number = ? AND stream = ?"
END = f"SELECT max(start), stop FROM output WHERE {_PLACE}"
PIECES = (
    f"SELECT start, data FROM output WHERE {_PLACE} AND start >= coalesce("
    f"(SELECT max(start) FROM output WHERE {_PLACE} AND start <= ?), 0) "
    "AND start < ? ORDER BY start"
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
    for chunk in chunks:
        _append(db, chunk)


def _append(db: sqlite3.Connection, chunk: Chunk) -> None:
    place = (chunk.task, chunk.number, chunk.stream)
    end = db.execute(END, place).fetchone()[1] or 0
    data = chunk.data[end - chunk.offset :] if chunk.offset <= end else b""
    if data:
        db.execute(
            "INSERT INTO output (task, number, stream, start, stop, data) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (*place, end, end + len(data), data),
        )


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


def drop(db: sqlite3.Connection, task: TaskId, number: int | None) -> None:
    """Forget progress and output of a task, or of one replica."""
    which, values = (
        ("task = ?", (task,))
        if number is None
        else (
            "task = ? AND number = ?",
            (task, number),
        )
    )
    for table in ("running", "output"):
        db.execute(f"DELETE FROM {table} WHERE {which}", values)
