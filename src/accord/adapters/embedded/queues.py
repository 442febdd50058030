"""Finding the tasks that something is to be done about. Each query walks one index.

``tests/contract/test_plans.py`` asks SQLite how it would run them all.
"""

from __future__ import annotations

import heapq
import itertools
import json
import sqlite3
from collections.abc import Iterator, Sequence

from accord.core.ids import ExecutorName, TaskId

GET = (
    "SELECT t.document FROM json_each(?) AS wanted "
    "CROSS JOIN tasks AS t INDEXED BY tasks_id ON t.id = wanted.value ORDER BY wanted.key"
)
CLASS = "SELECT id FROM classes WHERE key = ?"
CLASSES = """
WITH RECURSIVE waiting (class) AS (
  SELECT min(class) FROM tasks WHERE class IS NOT NULL
  UNION ALL
  SELECT (SELECT min(t.class) FROM tasks AS t WHERE t.class > waiting.class)
    FROM waiting WHERE waiting.class IS NOT NULL
)
SELECT key FROM classes JOIN waiting ON classes.id = waiting.class ORDER BY key
"""
READY = (
    "SELECT -priority, id, seq FROM tasks INDEXED BY tasks_ready "
    f"WHERE class = ({CLASS}) AND id NOT IN (SELECT value FROM json_each(?)) "
    "ORDER BY priority DESC, id LIMIT ?"
)
DOCUMENTS = (
    "SELECT t.document FROM json_each(?) AS wanted CROSS JOIN tasks AS t ON t.seq = wanted.value "
    "ORDER BY wanted.key"
)
BEFORE = (
    f"SELECT (SELECT count(*) FROM tasks WHERE class = ({CLASS}) AND priority > ?) "
    f"+ (SELECT count(*) FROM tasks WHERE class = ({CLASS}) AND priority = ? AND id < ?)"
)
DUE = (
    "SELECT document FROM tasks INDEXED BY tasks_due WHERE transition_time <= ? "
    "ORDER BY transition_time, id LIMIT ?"
)
NEXT_DUE = "SELECT min(transition_time) FROM tasks WHERE transition_time IS NOT NULL"
TO_ASSIMILATE = (
    "SELECT document FROM tasks INDEXED BY tasks_assimilate WHERE assimilate = 1 AND id > ? "
    "ORDER BY id LIMIT ?"
)
HELD = (
    "SELECT t.document FROM holds CROSS JOIN tasks AS t INDEXED BY tasks_id ON t.id = holds.task "
    "WHERE holds.executor = ? ORDER BY holds.task"
)
BLOBS = (
    "SELECT seq, blobs FROM tasks INDEXED BY tasks_blobs WHERE blobs IS NOT NULL AND seq > ? "
    "ORDER BY seq LIMIT 1000"
)


def documents(db: sqlite3.Connection, query: str, *values: object) -> list[bytes]:
    """The documents that a query finds."""
    return [document for (document,) in db.execute(query, values)]


def claimable(
    db: sqlite3.Connection, classes: Sequence[str], limit: int, skip: Sequence[TaskId]
) -> list[bytes]:
    """Documents of ready tasks. Each class is an index walk in order; the walks are merged, so
    the cost follows the number of classes and the limit, not the number of tasks.
    """
    passed = json.dumps(skip)
    walks = [db.execute(READY, (c, passed, limit)).fetchall() for c in dict.fromkeys(classes)]
    first = itertools.islice(heapq.merge(*walks), limit)
    return documents(db, DOCUMENTS, json.dumps([seq for _, _, seq in first]))


def held(db: sqlite3.Connection, executor: ExecutorName) -> list[bytes]:
    """Documents of tasks of which a replica is in progress on that executor."""
    return documents(db, HELD, executor)


def digests(db: sqlite3.Connection, after: int) -> Iterator[tuple[int, list[str]]]:
    """Where tasks name blobs: a place to go on from, and the digests."""
    for seq, blobs in db.execute(BLOBS, (after,)):
        yield seq, json.loads(blobs)
