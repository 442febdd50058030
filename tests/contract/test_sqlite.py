"""What only the SQLite store promises: durability, group commit, schemas, other processes."""

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
from accord.core.errors import AccordError, Corrupt, NotDone, Unavailable
from accord.core.ids import TaskId
from accord.core.search import Query
from accord.testing.clock import FakeClock
from accord.testing.samples import START, running, task, task_id
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
    odd = task(7, priority=2**63)
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


def test_a_document_that_cannot_be_read_is_told_as_corrupt(store):
    store.add([task(1, replicas=(running(),))])
    store._writer.do(lambda db: db.execute("UPDATE tasks SET document = x'00'").rowcount)
    with pytest.raises(Corrupt, match="Task"):
        store.get([task_id(1)])
