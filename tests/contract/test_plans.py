"""How SQLite would run every query of the store: by an index each, and sorting nothing large."""

import itertools
import json
import re
import sqlite3

import msgspec
import pytest

from accord.adapters.embedded import batches, listing, output, people, queues, rows, standings
from accord.adapters.embedded.database import connect, migrate, migrations
from accord.core.batch import BatchQuery
from accord.core.ids import member
from accord.core.index import index_of
from accord.core.search import Page, Query
from accord.core.status import Status
from accord.testing.clock import FakeClock
from accord.testing.samples import (
    START,
    batch,
    batch_id,
    running,
    succeeded,
    task,
    task_id,
)

ONE = batch_id(1)


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    """A filled database whose statistics are known, so that plans are those of a large one."""
    path = tmp_path_factory.mktemp("plans") / "accord.db"
    db = connect(path, writes=True)
    migrate(db, FakeClock(), migrations())
    db.execute("PRAGMA synchronous=OFF")
    numbers: dict[str, int] = {}

    def class_of(key):
        return numbers.setdefault(key, rows.class_number(db, key))

    tasks = [task(n, priority=n % 7, labels={"app": str(n % 3)}) for n in range(2000)]
    tasks += [task(n, replicas=(running(f"e{n % 50}"),)) for n in range(2000, 2200)]
    tasks += [succeeded(n, transition_time=START + n) for n in range(2200, 3000)]
    tasks += [task(n, batch=ONE, priority=n % 7) for n in range(1000)]
    tasks += [succeeded(n, batch=ONE) for n in range(1000, 2000)]
    for number in range(200):
        batches.put(db, batch(number, closed=START if number % 9 == 0 else None, key=str(number)))
    rows.insert(db, [([row for _, _, row in rows.indexed(tasks, class_of)], START)])
    yield db
    db.close()


def plan(db: sqlite3.Connection, query: str, values) -> list[str]:
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}", values)]


def assert_indexed(db, query, values, *, may_sort=False):
    steps = plan(db, query, values)
    assert steps
    for step in steps:
        scan = re.match(r"SCAN (\w+)", step)
        table = scan and scan[1]
        assert (
            not scan
            or "INDEX" in step
            or table in {"wanted", "json_each", "waiting", "new"}
            or (re.match(r"SCAN (\d+|new|CONSTANT|\(subquery)", step))
        ), steps
        assert may_sort or "TEMP B-TREE" not in step, steps


QUEUES: dict[str, tuple[str, list[object]]] = {
    "get": (queues.GET, [json.dumps([task_id(1)])]),
    "class": (queues.CLASS, ["x"]),
    "ready": (queues.READY, ["x", "[]", 5]),
    "documents": (queues.DOCUMENTS, ["[1, 2]"]),
    "before": (queues.BEFORE, ["x", 1, "x", 1, "id"]),
    "due": (queues.DUE, [START, 5]),
    "next due": (queues.NEXT_DUE, []),
    "to assimilate": (queues.TO_ASSIMILATE, ["", 5]),
    "held": (queues.HELD, ["e1"]),
    "blobs": (queues.BLOBS, [0]),
    "executor": (people.EXECUTOR, ["e1"]),
    "executors": (people.EXECUTORS, []),
    "records": (standings.RECORDS, []),
    "record": (standings.RECORD, ["e1", "c"]),
    "credit": (standings.CREDIT, []),
    "tokens": (people.TOKENS, []),
    "kept": (people.KEPT, ["x"]),
    "token by hash": (people.TOKEN_BY_HASH, ["x"]),
    "token by id": (people.TOKEN_BY_ID, ["x"]),
    "output pieces": (output.PIECES, ["t", 0, "stdout", "t", 0, "stdout", 5, 9]),
    "output sizes": (output.SIZES, ["t", 0]),
    "counts of a user": (listing.COUNTS_OF_USER, ["alice"]),
    "batches": (batches.GET, [json.dumps([ONE, batch_id(2)])]),
    "due batches": (batches.DUE, ["", 5]),
    "stale batches": (batches.STALE, [START + 9, 5]),
    "batch by key": (batches.BY_KEY, ["alice", "7"]),
    "batch by id": (batches.BY_ID, [ONE]),
    "counters": (batches.COUNTERS, [ONE]),
    "blobs of batches": (batches.BLOBS, []),
    "recount": (batches.RECOUNT, [ONE]),
    "does a task count": (batches.COUNTED, [ONE]),
    "tasks of a batch": (batches.TASKS, [ONE, member(ONE, 500), 5]),
    "tasks by status": (batches.TASKS_BY_STATUS, [ONE, "success", member(ONE, 1500), 5]),
}


@pytest.mark.parametrize("name", QUEUES)
def test_a_query_walks_an_index(db, name):
    # json_each's key gives the order of what was asked for: a sort of no more than that.
    assert_indexed(db, *QUEUES[name], may_sort="wanted" in QUEUES[name][0])


FEW = 600
"""Steps of SQLite's machine; a walk over the 2,000 waiting tasks takes many thousands."""


def steps(db, ask) -> int:
    """How many steps SQLite's machine makes for a call."""
    taken = 0

    def count():
        nonlocal taken
        taken += 1

    db.set_progress_handler(count, 1)
    try:
        ask()
    finally:
        db.set_progress_handler(None, 1)
    return taken


# Left out: positions and recounts are counts, and an executor is asked for all that it holds.
@pytest.mark.parametrize("name", sorted(QUEUES.keys() - {"before", "held", "recount"}))
def test_a_query_costs_little_however_many_tasks_wait(db, name):
    query, values = QUEUES[name]
    ready = index_of(task(1)).ready
    values = [ready if value == "x" else value for value in values]
    assert steps(db, lambda: db.execute(query, values).fetchall()) < FEW


def test_claiming_costs_little_however_many_tasks_wait(db):
    ready = index_of(task(1)).ready or ""
    found: list[bytes] = []
    assert steps(db, lambda: found.extend(queues.claimable(db, [ready], 5, [task_id(6)]))) < FEW
    assert len(found) == 5


def test_waiting_classes_are_found_by_one_step_per_class(db):
    steps = plan(db, queues.CLASSES, [])
    assert sum("tasks_ready" in step for step in steps) == 2, steps
    assert not any(re.match(r"SCAN (tasks|t)\b", step) for step in steps), steps


def test_a_recount_reads_the_index_alone(db):
    assert any("COVERING INDEX tasks_batch_status" in s for s in plan(db, batches.RECOUNT, [ONE]))


def test_counting_a_commit_into_a_batch_costs_little_however_many_tasks_it_has(db):
    fold = batches.Fold()
    for _ in range(100):
        fold.leave("alice", "pending", ONE)
        fold.enter("alice", "running", ONE)
    db.execute("BEGIN")
    assert steps(db, lambda: batches.write(db, fold, START)) < FEW
    db.execute("ROLLBACK")


FILTERS = {
    "user": "alice",
    "batch": ONE,
    "status": (Status.PENDING, Status.SUCCESS),
    "labels": {"app": "1", "env": "x"},
    "since": START,
    "until": START + 9,
    "text": "x",
    "cursor": task_id(50),
    "oldest_first": True,
}


@pytest.mark.parametrize("compiling", [False, True])
def test_every_list_walks_an_index_in_its_order(db, compiling):
    one = index_of(task(2000, replicas=(running(),))).summary
    shown = {one.id: one} if compiling else {}
    for filters in itertools.product([False, True], repeat=len(FILTERS)):
        chosen = {name: FILTERS[name] for name in itertools.compress(FILTERS, filters)}
        query = msgspec.convert(chosen, Query)
        for walk in listing.walks_of(query, shown):
            by_ids = "tasks_id" in walk.rows and "labels" not in walk.rows
            assert_indexed(db, *listing.page_of(walk, query), may_sort=by_ids)
            assert_indexed(db, *listing.total_of(walk), may_sort=by_ids)


@pytest.mark.parametrize("filters", [{}, {"status": (Status.SUCCESS,)}, {"text": "x"}])
def test_the_slowest_of_a_batch_come_from_an_index_in_its_order(db, filters):
    query = Query(batch=ONE, slowest_first=True, **filters)
    page = listing.page_of(listing.slowest(query), query)
    assert_indexed(db, *page)
    assert any("tasks_slow (batch=?" in step for step in plan(db, *page))


def test_a_page_of_a_batch_walks_the_batch(db):
    for status in [(), (Status.PENDING,)]:
        for cursor in [None, member(ONE, 500)]:
            query = Query(batch=ONE, status=status, cursor=cursor, limit=5)
            (walk,) = listing.walks_of(query, {})
            page = listing.page_of(walk, query)
            assert steps(db, lambda page=page: db.execute(*page).fetchall()) < FEW


@pytest.mark.parametrize("status", [(), (Status.PENDING, Status.SUCCESS)])
def test_the_total_of_a_batch_comes_from_its_counters(db, status):
    query = Query(batch=ONE, status=status, limit=5)
    pages: list[Page] = []
    assert steps(db, lambda: pages.append(listing.page(db, query, {}))) < FEW
    assert (pages[0].total, len(pages[0].items)) == (2000, 5)


BATCH_FILTERS = {
    "user": "alice",
    "labels": {"app": "1", "env": "x"},
    "live": True,
    "since": START,
    "until": START + 9,
    "text": "x",
    "cursor": batch_id(50),
}


def test_every_list_of_batches_walks_an_index_in_its_order(db):
    for filters in itertools.product([False, True], repeat=len(BATCH_FILTERS)):
        names = itertools.compress(BATCH_FILTERS, filters)
        query = msgspec.convert({name: BATCH_FILTERS[name] for name in names}, BatchQuery)
        assert_indexed(db, *batches.search(query))


def test_an_update_finds_its_rows_by_id(db):
    row = rows.indexed([rows.next_version(task(1))], lambda _: 1)[0][2]
    steps = plan(db, rows._replacement(1), row[: len(rows._CHANGING)])
    assert any("tasks_id (id=?)" in step for step in steps), steps
    assert not any(re.match(r"SCAN tasks", step) for step in steps), steps


@pytest.mark.parametrize("table", ["running", "output"])
@pytest.mark.parametrize("condition", [output.OF_TASKS, output.OF_REPLICAS])
def test_output_is_dropped_by_an_index(db, table, condition):
    steps = plan(db, f"DELETE FROM {table} WHERE {condition}", ["[]"])
    assert any(f"SEARCH {table}" in step for step in steps), steps


def test_output_is_appended_by_an_index(db):
    values = {"task": "t", "number": 0, "stream": "stdout", "offset": 0, "data": b"x"}
    steps = plan(db, output.APPEND, values)
    assert any("SEARCH output USING" in step and "output_place" in step for step in steps), steps
    assert not any("TEMP B-TREE" in step for step in steps), steps


def test_a_list_reads_no_page_of_a_document(db):
    names = [row[1] for row in db.execute("PRAGMA table_info(tasks)")]
    assert names[-2:] == ["summary", "document"]
