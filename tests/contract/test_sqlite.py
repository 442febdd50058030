"""What only the SQLite store promises: durability, group commit, schemas, other processes."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from accord.adapters.embedded import SqliteStore, database
from accord.adapters.embedded.database import connect, migrate, migrations
from accord.adapters.embedded.writer import Writer
from accord.core.batch import Counters
from accord.core.documents import encode
from accord.core.errors import AccordError, Corrupt, NotDone, Unavailable
from accord.core.ids import ExecutorName, TaskId, UserName, member, place
from accord.core.index import index_of
from accord.core.search import Query
from accord.core.status import Status
from accord.core.task import NEVER, blobs
from accord.testing.clock import FakeClock
from accord.testing.samples import START, batch, batch_id, running, succeeded, task, task_id
from accord.testing.together import in_background, together


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store" / "accord.db"


@pytest.fixture
def store(path):
    store = SqliteStore(path, FakeClock())
    yield store
    store.close()


def open_files(path):
    """How many descriptors of this process are open on the store's files."""
    links = []
    for entry in os.scandir("/proc/self/fd"):
        try:
            links.append(str(Path(entry.path).readlink()))
        except FileNotFoundError:  # scandir's own
            continue
    return sum(link.startswith(str(path)) for link in links)


# -- durability ----------------------------------------------------------------------------

KILLED = """
import sys, threading
from pathlib import Path
import msgspec
from accord.adapters.embedded import SqliteStore
from accord.adapters.system import SystemClock
from accord.ports.store import Chunk
from accord.testing.samples import task, running

store = SqliteStore(Path(sys.argv[1]), SystemClock())
lock = threading.Lock()

def tell(*words):
    with lock:
        print(*words, flush=True)

def work(first):
    for number in range(first, 10_000_000, 4):
        new = task(number, key=str(number), labels={"n": str(number % 5)})
        store.add([new])
        tell("added", new.id)
        store.apply([msgspec.structs.replace(new, replicas=(running(),))])
        tell("applied", new.id)
        store.append_output(
            [Chunk(task=new.id, number=0, stream="stdout", offset=0, data=b"hello")]
        )
        tell("output", new.id)

for first in range(4):
    threading.Thread(target=work, args=(first,)).start()
"""


def test_everything_acknowledged_outlives_a_kill(path):
    told = []
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout
        told += [writer.stdout.readline() for _ in range(300)]
        writer.send_signal(signal.SIGKILL)
        told += [line for line in writer.stdout if line.endswith("\n")]
    assert len(told) >= 300
    store = SqliteStore(path, FakeClock())
    acknowledged = [(what, TaskId(id_)) for what, id_ in map(str.split, told)]
    found = store.get([id_ for _, id_ in acknowledged])
    for what, id_ in acknowledged:
        assert found[id_].version >= (1 if what == "added" else 2), (what, id_)
        if what == "output":
            assert store.output(id_, 0, "stdout", 0, 9) == b"hello"
    assert_sound(store, path)
    store.close()


def assert_sound(store, path):
    """What is kept beside the tasks agrees with them."""
    db = connect(path, writes=False)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    counted = dict(db.execute("SELECT status, count(*) FROM tasks GROUP BY status"))
    assert counted == {status.value: n for status, n in store.counts().items()}
    held = db.execute("SELECT task FROM holds ORDER BY task").fetchall()
    assert held == db.execute("SELECT id FROM tasks WHERE held IS NOT NULL ORDER BY id").fetchall()
    labelled = db.execute("SELECT task FROM labels ORDER BY task").fetchall()
    assert labelled == db.execute("SELECT id FROM tasks ORDER BY id").fetchall()
    db.close()


def test_acknowledged_writes_are_synced(store):
    synchronous = store._writer.do(lambda db: db.execute("PRAGMA synchronous").fetchone()[0])
    mode = store._writer.do(lambda db: db.execute("PRAGMA journal_mode").fetchone()[0])
    assert (synchronous, mode) == (2, "wal")  # 2 is FULL


ADDING = """
import sys, threading
from pathlib import Path
import msgspec
from accord.adapters.embedded import SqliteStore
from accord.adapters.system import SystemClock
from accord.testing.samples import batch, batch_id, running, succeeded, task

store = SqliteStore(Path(sys.argv[1]), SystemClock())
lock = threading.Lock()

def work(number):
    there = store.put_batch(batch(number))
    for first in range(0, 10_000_000, 10):
        new = [task(n, batch=there.id) for n in range(first, first + 10)]
        changed = msgspec.structs.replace(there, total=first + 10)
        assert store.add_to_batch(changed, new)
        there = msgspec.structs.replace(changed, version=changed.version + 1)
        with lock:
            print(number, there.version, flush=True)
        store.apply([task(n, batch=there.id, replicas=(running(),)) for n in range(first, first + 9)])
        store.apply([succeeded(n, batch=there.id, version=2) for n in range(first, first + 5)])

for number in range(1, 4):
    threading.Thread(target=work, args=(number,)).start()
"""


def test_a_killed_batch_has_all_that_was_acknowledged_and_counters_that_add_up(path):
    with subprocess.Popen(
        [sys.executable, "-c", ADDING, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout
        told = [writer.stdout.readline() for _ in range(60)]
        writer.send_signal(signal.SIGKILL)
        told += [line for line in writer.stdout if line.endswith("\n")]
    store = SqliteStore(path, FakeClock())
    for number, version in sorted(tuple(map(int, line.split())) for line in told):
        there, counters = store.batches([batch_id(number)])[batch_id(number)]
        assert there.version >= version
        found = store.batch_tasks(there.id, limit=1_000_000)
        assert [place(t.id)[0] for t in found] == list(range(there.total))
        assert sum(counters.counts.values()) == there.total
        assert not store.recount(there.id)
    store.close()


# -- batches -------------------------------------------------------------------------------

ONE = batch_id(1)


def counters_of(store):
    return store.batches([ONE])[ONE][1]


def test_where_no_row_can_hold_a_task_its_batch_is_not_replaced_either(store):
    store.put_batch(batch())
    odd = task(2, batch=ONE, version=2**63)
    with pytest.raises(AccordError):
        store.add_to_batch(batch(total=2), [task(1, batch=ONE), odd])
    assert store.batches([ONE])[ONE] == (batch(), Counters())
    assert store.batch_tasks(ONE) == []


def test_what_many_change_is_counted_once_a_commit(store):
    store.put_batch(batch())
    store.add([task(n, batch=ONE) for n in range(20)])
    written: list[str] = []
    held, go_on = threading.Event(), threading.Event()

    def hold(db):
        db.set_trace_callback(written.append)
        held.set()
        go_on.wait()

    first = in_background(lambda: store._writer.do(hold))
    held.wait()
    moves = [in_background(partial(store.apply, [succeeded(n, batch=ONE)])) for n in range(20)]
    while len(store._writer._waiting) < len(moves):
        os.sched_yield()
    go_on.set()
    first()
    assert [move() for move in moves] == [[True]] * 20
    assert sum(s.startswith("UPDATE counters") for s in written) == 1
    assert counters_of(store).counts == {Status.SUCCESS: 20}


# -- group commit --------------------------------------------------------------------------


class Recorder:
    """A writer on a file of its own, whose first commit is held up until told to go on."""

    def __init__(self, path):
        self.db = connect(path, writes=True)
        self.db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        self.db.execute("PRAGMA foreign_keys=ON")
        self.db.execute(
            "CREATE TABLE child (n INTEGER REFERENCES t (n) DEFERRABLE INITIALLY DEFERRED)"
        )
        self.commits = 0
        self.db.set_trace_callback(self._count)
        self.writer = Writer(self.db)
        self.held, self.go_on = threading.Event(), threading.Event()
        self.first = in_background(lambda: self.writer.do(self._hold))
        self.held.wait()

    def _count(self, statement):
        self.commits += statement == "COMMIT"

    def _hold(self, db):
        self.held.set()
        self.go_on.wait()

    def insert(self, number):
        return lambda db: db.execute("INSERT INTO t VALUES (?)", (number,)).rowcount

    def queued(self, *calls):
        """Hand in calls, one after the other, while the first commit is under way."""
        answers = []
        for call in calls:
            with self.writer._changed:
                before = len(self.writer._waiting)
            answers.append(in_background(partial(_outcome, self.writer, call)))
            while len(self.writer._waiting) == before:
                os.sched_yield()
        return answers

    def release(self):
        self.go_on.set()
        self.first()


def _outcome(writer, call):
    try:
        return writer.do(call)
    except AccordError as error:
        return error


@pytest.fixture
def recorder(tmp_path):
    recorder = Recorder(tmp_path / "writer.db")
    yield recorder
    recorder.go_on.set()
    recorder.writer.close()


def test_what_arrives_during_a_commit_goes_into_the_next_together(recorder):
    answers = recorder.queued(*[recorder.insert(n) for n in range(20)])
    recorder.release()
    assert [answer() for answer in answers] == [1] * 20
    assert recorder.commits == 2


def test_on_an_idle_store_a_write_waits_for_nobody(recorder):
    recorder.release()
    for n in range(3):
        assert recorder.writer.do(recorder.insert(n)) == 1
    assert recorder.commits == 4


def test_a_failing_write_fails_alone(recorder):
    numbers = [1, 2, 1, 3]
    answers = recorder.queued(*[recorder.insert(n) for n in numbers])
    recorder.release()
    outcomes = [answer() for answer in answers]
    assert outcomes[:2] + outcomes[3:] == [1, 1, 1]
    assert isinstance(outcomes[2], Corrupt)
    assert isinstance(outcomes[2].__cause__, sqlite3.IntegrityError)
    rows = recorder.writer.do(lambda db: db.execute("SELECT n FROM t ORDER BY n").fetchall())
    assert rows == [(1,), (2,), (3,)]


def test_what_a_failing_write_has_written_is_undone(recorder):
    def half(db):
        db.execute("INSERT INTO t VALUES (7)")
        raise NotDone

    answers = recorder.queued(recorder.insert(1), half, recorder.insert(2))
    recorder.release()
    assert [type(answer()) for answer in answers] == [int, NotDone, int]
    rows = recorder.writer.do(lambda db: db.execute("SELECT n FROM t ORDER BY n").fetchall())
    assert rows == [(1,), (2,)]


def test_a_commit_that_fails_fails_all_of_its_group(recorder):
    def orphan(db):  # seen by the commit only
        db.execute("INSERT INTO child VALUES (99)")

    answers = recorder.queued(recorder.insert(1), orphan, recorder.insert(2))
    recorder.release()
    outcomes = [answer() for answer in answers]
    assert [str(outcome) for outcome in outcomes] == [
        "The store refuses this: FOREIGN KEY constraint failed."
    ] * 3
    assert recorder.writer.do(recorder.insert(1)) == 1


def test_where_sqlite_gives_up_the_transaction_all_of_the_group_fails(recorder):
    def gives_up(db):
        db.execute("INSERT OR ROLLBACK INTO t VALUES (1)")

    answers = recorder.queued(recorder.insert(1), gives_up, recorder.insert(2))
    recorder.release()
    assert all(isinstance(answer(), Corrupt) for answer in answers)
    assert recorder.writer.do(recorder.insert(1)) == 1


def test_close_finishes_what_was_accepted_and_refuses_the_rest(recorder):
    answers = recorder.queued(*[recorder.insert(n) for n in range(5)])
    closing = in_background(recorder.writer.close)
    while not recorder.writer._closing:
        os.sched_yield()
    with pytest.raises(Unavailable, match="closed"):
        recorder.writer.do(recorder.insert(9))
    recorder.release()
    closing()
    assert [answer() for answer in answers] == [1] * 5


def test_a_task_that_no_row_can_hold_fails_alone(store):
    odd = task(7, version=2**63)
    calls = [partial(_added, store, t) for t in [*map(task, range(1, 6)), odd]]
    assert together(calls) == [True] * 5 + [False]
    assert store.search(Query()).total == 5
    assert not _added(store, task(8), odd)
    assert store.get([task_id(8)]) == {}


def _added(store, *tasks):
    try:
        store.add(tasks)
    except AccordError:
        return False
    return True


# -- files and connections -----------------------------------------------------------------


def test_close_releases_all_files(path):
    store = SqliteStore(path, FakeClock())
    store.add([task(1)])
    together([lambda: store.search(Query())] * 8)
    assert open_files(path) > 0
    store.close()
    assert open_files(path) == 0
    assert sorted(p.name for p in path.parent.iterdir()) == ["accord.db"]


def test_a_closed_store_says_so(path):
    store = SqliteStore(path, FakeClock())
    store.close()
    for call in (lambda: store.add([task(1)]), lambda: store.search(Query()), store.tokens):
        with pytest.raises(Unavailable, match="closed"):
            call()


def test_readers_do_not_pile_up(store, path, monkeypatch):
    monkeypatch.setattr(database, "IDLE_READERS", 3)
    together([lambda: store.search(Query())] * 12)
    assert len(store._readers._idle) <= 3


def test_readers_do_not_wait_for_a_write(store):
    store.add([task(1)])
    begun, go_on = threading.Event(), threading.Event()

    def slow(db):
        begun.set()
        go_on.wait()

    write = in_background(lambda: store._writer.do(slow))
    begun.wait()
    assert store.search(Query()).total == 1
    go_on.set()
    write()


def test_another_process_may_write_while_the_store_is_open(store, path):
    code = """
import sys
from pathlib import Path
from accord.adapters.embedded import SqliteStore
from accord.adapters.system import SystemClock
from accord.core.user import Role, Token, User
store = SqliteStore(Path(sys.argv[1]), SystemClock())
for n in range(20):
    token = Token(id=str(n), user="bob", role=Role.ADMIN, hash=f"h{n}", created=float(n))
    store.put_token(token, User(name="bob"))
store.close()
"""
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as other:
        number = 0
        while other.poll() is None:
            number += 1
            assert store.add([task(number)]) == [task(number)]
    assert other.returncode == 0
    assert [token.id for token in store.tokens()] == [str(n) for n in range(20)]
    assert store.token_by_hash("h7").user == "bob"


def test_those_that_open_a_new_store_at_once_all_can(tmp_path):
    for attempt in range(10):
        path = tmp_path / str(attempt) / "accord.db"
        stores = together([partial(SqliteStore, path, FakeClock()) for _ in range(8)])
        for n, store in enumerate(stores):
            store.add([task(n)])
        assert stores[0].search(Query()).total == 8
        together([store.close for store in stores])


# -- schema --------------------------------------------------------------------------------


def test_a_newer_schema_is_refused_with_what_to_do(path):
    SqliteStore(path, FakeClock()).close()
    db = connect(path, writes=True)
    db.execute("INSERT INTO schema VALUES (99, 0)")
    db.close()
    with pytest.raises(Corrupt, match=r"version 99.*Upgrade this one"):
        SqliteStore(path, FakeClock())
    assert open_files(path) == 0


def test_what_is_no_database_is_refused(path):
    path.parent.mkdir()
    path.write_bytes(b"hello, I am not a database" * 1000)
    with pytest.raises(Corrupt, match=r"accord.db.*not a database"):
        SqliteStore(path, FakeClock())


def test_a_file_that_cannot_be_opened_is_told_of(path):
    path.mkdir(parents=True)
    with pytest.raises(Unavailable, match=r"accord.db"):
        SqliteStore(path, FakeClock())


def test_migrations_are_numbered_without_gaps():
    assert list(migrations()) == list(range(1, len(migrations()) + 1))


def test_a_migration_that_fails_changes_nothing(tmp_path):
    one, two = tmp_path / "0001.sql", tmp_path / "0002.sql"
    one.write_text("CREATE TABLE a (x);\n")
    two.write_text("CREATE TABLE b (x); -- and then\nCREATE TABLE a (x);\n")
    db = connect(tmp_path / "x.db", writes=True)
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(db, FakeClock(), {1: one, 2: two})
    assert db.execute("SELECT name FROM sqlite_schema").fetchall() == []
    two.write_text("CREATE TABLE b (x);\n")
    migrate(db, FakeClock(), {1: one})
    migrate(db, FakeClock(), {1: one, 2: two})
    migrate(db, FakeClock(), {1: one, 2: two})
    assert db.execute("SELECT version, applied FROM schema").fetchall() == [(1, START), (2, START)]
    db.close()


BOB, E1 = UserName("bob"), ExecutorName("e1")
FIRST = (
    "INSERT INTO tasks (id, version, user, key, name, add_time, status, class, priority, "
    "transition_time, assimilate, held, labels, blobs, summary, document) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
"""How a row was written by version 1."""


def first_row(item, number):
    """A task as version 1 stored it; ``number`` is that of its class."""
    index = index_of(item)
    return (
        *(item.id, item.version, item.user, item.key, item.name.casefold(), item.add_time),
        *(index.status.value, number if index.ready else None, item.priority),
        *(item.transition_time if item.transition_time < NEVER else None, index.assimilate),
        json.dumps(index.held_by) if index.held_by else None,
        json.dumps(dict(item.labels)) if item.labels else None,
        json.dumps(sorted(blobs(item))) if blobs(item) else None,
        encode(index.summary),
        encode(item),
    )


@pytest.fixture
def first_version(path):
    """A store of version 1, with tasks that wait, run and are done."""
    tasks = [task(n, labels={"n": str(n % 2)}, key=str(n)) for n in range(1, 5)]
    tasks += [task(5, replicas=(running(),), transition_time=START + 5), succeeded(6, user="bob")]
    path.parent.mkdir()
    db = connect(path, writes=True)
    migrate(db, FakeClock(), {1: migrations()[1]})
    db.execute("INSERT INTO classes VALUES (3, ?)", [index_of(tasks[0]).ready])
    db.executemany(FIRST, [first_row(item, 3) for item in reversed(tasks)])
    db.execute("DELETE FROM tasks WHERE id = ?", [task_id(4)])  # a gap in what numbers the rows
    db.close()
    return [t for t in tasks if t.id != task_id(4)]


def numbers(page):
    return [int(item.id[3:]) for item in page.items]


def test_tasks_of_the_first_version_are_all_there(path, first_version):
    store = SqliteStore(path, FakeClock())
    assert store.get([t.id for t in first_version]) == {t.id: t for t in first_version}
    assert numbers(store.search(Query())) == [6, 5, 3, 2, 1]
    assert numbers(store.search(Query(labels={"n": "1"}))) == [3, 1]
    assert numbers(store.search(Query(user=BOB, status=(Status.SUCCESS,)))) == [6]
    assert store.counts() == {Status.PENDING: 3, Status.RUNNING: 1, Status.SUCCESS: 1}
    assert store.counts(BOB) == {Status.SUCCESS: 1}
    assert [t.id for t in store.claimable(store.waiting_classes(), 9)] == [
        task_id(n) for n in (1, 2, 3)
    ]
    assert [t.id for t in store.held_by(E1)] == [task_id(5)]
    assert store.next_due() == START + 5
    assert_sound_columns(path)
    store.close()


def assert_sound_columns(path):
    """Each row says of its task what a new one would."""
    db = connect(path, writes=False)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert db.execute("SELECT count(*) FROM tasks WHERE batch IS NOT NULL").fetchone() == (0,)
    assert db.execute("SELECT id FROM tasks ORDER BY seq").fetchall() == [
        (task_id(n),) for n in (6, 5, 3, 2, 1)
    ]
    db.close()


def test_a_store_of_the_first_version_goes_on_being_written(path, first_version):
    store = SqliteStore(path, FakeClock())
    assert store.add([task(9, key="1"), task(7)]) == [first_version[0], task(7)]
    assert store.apply([succeeded(1, labels={"n": "1"}, key="1"), task(2, version=4)]) == [
        True,
        False,
    ]
    assert store.apply([succeeded(5)]) == [True]
    assert store.held_by(E1) == []
    assert store.purge([task_id(3), task_id(6)]) == 2
    assert numbers(store.search(Query(labels={"n": "1"}))) == [1]
    assert store.counts() == {Status.PENDING: 2, Status.SUCCESS: 2}
    assert store.counts(BOB) == {}
    store.put_batch(batch())
    assert store.add_to_batch(batch(), [task(1, batch=ONE)])
    assert store.counts() == {Status.PENDING: 3, Status.SUCCESS: 2}
    assert [t.id for t in store.batch_tasks(ONE)] == [member(ONE, 1)]
    store.close()
    db = connect(path, writes=False)
    assert db.execute("SELECT task FROM labels ORDER BY task").fetchall() == [
        (task_id(n),) for n in (1, 2)
    ]
    assert db.execute("SELECT * FROM holds").fetchall() == []
    db.close()


def test_a_document_that_cannot_be_read_is_told_as_corrupt(store):
    store.add([task(1, replicas=(running(),))])
    store._writer.do(lambda db: db.execute("UPDATE tasks SET document = x'00'").rowcount)
    with pytest.raises(Corrupt, match="Task"):
        store.get([task_id(1)])


def test_what_is_kept_is_told_by_no_log_or_error(store, caplog):
    secret = b"the seed of the cluster's key..."
    caplog.set_level("DEBUG")
    assert store.keep("key", secret) == secret
    store._writer.do(lambda db: db.execute("DROP TABLE kept").rowcount)
    with pytest.raises(Unavailable) as caught:
        store.keep("key", secret)
    told = caplog.text + caught.value.message + str(caught.value.fields)
    for spelled in (secret.decode(), secret.hex(), repr(secret)):
        assert spelled not in told


def test_a_store_of_the_second_version_keeps_values_too(path):
    path.parent.mkdir()
    db = connect(path, writes=True)
    migrate(db, FakeClock(), {version: migrations()[version] for version in (1, 2)})
    db.close()
    store = SqliteStore(path, FakeClock())
    assert store.keep("key", b"first") == b"first"
    store.close()
