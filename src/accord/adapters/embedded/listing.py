"""Lists of tasks: filters to SQL, keyset pages, totals up to the ceiling.

The index that a list walks is chosen here by its filters and named in the query; what no index
orders is looked at in passing. Of what a replica is at, the table of tasks knows nothing: tasks
whose phase says another status than their row (``Shown``) are left out of the walks by status
and found by their ids.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from accord.adapters.embedded import batches
from accord.core.documents import decode
from accord.core.ids import BatchId, TaskId, UserName
from accord.core.search import TOTAL_CEILING, Page, Query, Summary
from accord.core.status import Status

Shown = Mapping[TaskId, Summary]
"""Tasks whose phase says another status than their row, as they are to be shown."""

COUNTS = "SELECT status, sum(number) FROM counts GROUP BY status"
COUNTS_OF_USER = "SELECT status, number FROM counts WHERE user = ?"


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of an index in the order of their ids."""

    rows: str
    """What follows FROM."""
    order: str
    """The column that the index is ordered by, and the cursor compared to."""
    where: tuple[str, ...]
    values: tuple[object, ...]

    def narrowed(self, condition: str, *values: object) -> Walk:
        """The walk, with one more condition."""
        return msgspec.structs.replace(
            self, where=(*self.where, condition), values=(*self.values, *values)
        )

    @property
    def condition(self) -> str:
        """What follows WHERE."""
        return " AND ".join(self.where) or "1"


def page(db: sqlite3.Connection, query: Query, shown: Shown) -> Page:
    """The page that was asked for."""
    walks = [slowest(query)] if query.slowest_first else walks_of(query, shown)
    rows = itertools.chain.from_iterable(db.execute(*page_of(w, query)) for w in walks)
    found = sorted(rows, reverse=not query.oldest_first)[: query.limit + 1]
    items = tuple(shown.get(id_) or decode(data, Summary) for *_, id_, data in found[: query.limit])
    total = None if shown else _total_by_counters(db, query)
    if total is None:
        total = sum(db.execute(*total_of(walk)).fetchone()[0] for walk in walks)
    return Page(
        items=items,
        total=min(total, TOTAL_CEILING),
        more_than_total=total > TOTAL_CEILING,
        next=items[-1].id if len(found) > query.limit and not query.slowest_first else None,
    )


def _total_by_counters(db: sqlite3.Connection, query: Query) -> int | None:
    """How many tasks of a batch match, where nothing is asked but its statuses; else None."""
    rest = msgspec.structs.replace(query, batch=None, status=(), limit=0, cursor=None)
    if query.batch is None or rest not in _UNFILTERED:
        return None
    counters = batches.counters_of(db, query.batch)
    if counters is None:
        return None
    return sum(n for s, n in counters.counts.items() if not query.status or s in query.status)


_UNFILTERED = (Query(limit=0), Query(limit=0, oldest_first=True))


def page_of(walk: Walk, query: Query) -> tuple[str, tuple[object, ...]]:
    """The query for the rows of a page that one walk contributes, and one more."""
    order = "ASC" if query.oldest_first else "DESC"
    if query.cursor is not None:
        walk = walk.narrowed(f"{walk.order} {'>' if query.oldest_first else '<'} ?", query.cursor)
    slowest = walk.order == "t.wall"
    place = "t.wall, t.id" if slowest else "t.id"
    by = f"t.wall {order}, t.id" if slowest else walk.order
    return (
        f"SELECT {place}, t.summary FROM {walk.rows} WHERE {walk.condition} "
        f"ORDER BY {by} {order} LIMIT ?",
        (*walk.values, query.limit + 1),
    )


def total_of(walk: Walk) -> tuple[str, tuple[object, ...]]:
    """The query that counts a walk, no further than one beyond the ceiling."""
    rows = f"SELECT 1 FROM {walk.rows} WHERE {walk.condition} LIMIT {TOTAL_CEILING + 1}"
    return f"SELECT count(*) FROM ({rows})", walk.values


def walks_of(query: Query, shown: Shown) -> list[Walk]:
    """The walks that together find each task once."""
    statuses = tuple(dict.fromkeys(query.status))
    if not statuses:
        walks = [_without_status(query)]
    else:
        others = json.dumps([i for i, s in shown.items() if s.status in statuses])
        walks = [_by_status(query, status, json.dumps(list(shown))) for status in statuses]
        if others != "[]":
            walks.append(_walk("t.id IN (SELECT value FROM json_each(?))", "tasks_id", others))
            walks[-1] = _of_batch(_of_user(walks[-1], query.user), query.batch)
    return [_filtered(walk, query) for walk in walks]


def slowest(query: Query) -> Walk:
    """By the seconds that tasks of a batch ran; only of those that are done."""
    condition = "t.wall IS NOT NULL AND t.batch = ?"
    walk = msgspec.structs.replace(_walk(condition, "tasks_slow", query.batch), order="t.wall")
    walk = _of_user(walk, query.user)
    if query.status:
        marks = ", ".join("?" * len(query.status))
        walk = walk.narrowed(f"t.status IN ({marks})", *(s.value for s in query.status))
    return _filtered(walk, query)


def _walk(condition: str, index: str, *values: object) -> Walk:
    rows = f"tasks AS t INDEXED BY {index}"
    return Walk(rows=rows, order="t.id", where=(condition,) if condition else (), values=values)


def _without_status(query: Query) -> Walk:
    if query.batch is not None:
        walk = _walk("t.batch = ? AND t.batch IS NOT NULL", "tasks_batch", query.batch)
        return _of_user(walk, query.user)
    if query.labels:
        return _of_user(_by_label(query), query.user)
    if query.user is not None:
        return _walk("t.user = ?", "tasks_user", query.user)
    return _walk("", "tasks_list")


def _by_label(query: Query) -> Walk:
    key, value = next(iter(query.labels.items()))
    return Walk(
        rows="labels CROSS JOIN tasks AS t INDEXED BY tasks_id ON t.id = labels.task",
        order="labels.task",
        where=("labels.key = ?", "labels.value = ?"),
        values=(key, value),
    )


def _by_status(query: Query, status: Status, others: str) -> Walk:
    if query.batch is not None:
        walk = _walk("t.batch = ? AND t.batch IS NOT NULL", "tasks_batch_status", query.batch)
        walk = _of_user(walk.narrowed("t.status = ?", status.value), query.user)
    elif query.labels:
        walk = _of_user(_by_label(query).narrowed("t.status = ?", status.value), query.user)
    elif query.user is not None:
        walk = _walk("t.user = ?", "tasks_user_status", query.user)
        walk = walk.narrowed("t.status = ?", status.value)
    else:
        walk = _walk("t.status = ?", "tasks_status", status.value)
    if others == "[]":
        return walk
    return walk.narrowed("t.id NOT IN (SELECT value FROM json_each(?))", others)


def _of_user(walk: Walk, user: UserName | None) -> Walk:
    return walk if user is None else walk.narrowed("t.user = ?", user)


def _of_batch(walk: Walk, batch: BatchId | None) -> Walk:
    return walk if batch is None else walk.narrowed("t.batch = ?", batch)


def _filtered(walk: Walk, query: Query) -> Walk:
    for key, value in query.labels.items():
        walk = walk.narrowed(
            "EXISTS (SELECT 1 FROM labels AS l WHERE l.key = ? AND l.value = ? AND l.task = t.id)",
            key,
            value,
        )
    if query.since is not None:
        walk = walk.narrowed("t.add_time >= ?", query.since)
    if query.until is not None:
        walk = walk.narrowed("t.add_time < ?", query.until)
    return _speaking_of(walk, query.text)


def _speaking_of(walk: Walk, text: str) -> Walk:
    if not text:
        return walk
    # instr takes the text as it is: nothing in it is a pattern, so nothing needs escaping.
    return walk.narrowed(
        "(instr(t.name, ?) > 0 OR substr(t.id, 1, length(?)) = ?)",
        text.casefold(),
        text.upper(),
        text.upper(),
    )


def counts(db: sqlite3.Connection, user: UserName | None) -> dict[Status, int]:
    """How many tasks there are by status."""
    rows: Sequence[tuple[str, int]] = (
        db.execute(COUNTS).fetchall()
        if user is None
        else db.execute(COUNTS_OF_USER, (user,)).fetchall()
    )
    return {Status(status): number for status, number in rows if number}
