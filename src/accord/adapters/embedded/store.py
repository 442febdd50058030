"""The store in one SQLite file (port ``Store``).

Writes go through one thread (``writer``), reads through connections of their own, so neither
waits for the other. What an acknowledged call wrote is synced to disk.

Several processes may use the file at once: the command line stores tokens while the judicator
runs. Each write is a short transaction and waits for those of others; but a feed tells only of
the writes of its own process, so one process, the judicator, changes tasks.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from accord.adapters.embedded import batches, listing, output, people, queues, rows, standings
from accord.adapters.embedded.database import (
    Readers,
    alone,
    connect,
    migrate,
    migrations,
    translate,
)
from accord.adapters.embedded.writer import Writer
from accord.adapters.feeds import CAPACITY, Feeds, StoreTime, notices_of
from accord.core.batch import Batch, BatchQuery, Counters
from accord.core.documents import decode
from accord.core.executor import Executor
from accord.core.ids import BatchId, Digest, ExecutorName, TaskId, TokenId, UserName
from accord.core.index import index_of
from accord.core.reliability import Reliability
from accord.core.replica import Phase
from accord.core.search import Page, Query, Summary
from accord.core.standing import Credit
from accord.core.status import Status
from accord.core.task import Task
from accord.core.user import Token, User
from accord.core.view import summary_of
from accord.ports.clock import Clock
from accord.ports.store import Chunk, Feed, Notice, Running

_PLAIN = (Phase.FETCHING, Phase.RUNNING)
"""Phases that say the same status as the document alone."""


class SqliteStore:
    """See the module's docstring. Raises Corrupt where the file is of a newer version or no
    database, Unavailable where it cannot be opened.
    """

    def __init__(self, path: Path, clock: Clock, feed_capacity: int = CAPACITY) -> None:
        self._time = StoreTime(clock)
        self._feeds = Feeds(clock, feed_capacity)
        db = _opened(path, clock)
        self._progress = _Progress(db)
        self._writer = Writer(db)
        self._readers = Readers(path)
        self._classes: dict[str, int] = {}

    def now(self) -> float:
        """The store's time."""
        return self._time.now()

    # -- tasks ---------------------------------------------------------------------------

    def add(self, tasks: Sequence[Task]) -> list[Task]:
        """Store new tasks, all or none; those that are there already are answered instead."""
        found = rows.indexed(tasks, self._class)
        told = [notices_of(task, index) for task, index, _ in found]

        def after(written: rows.Written) -> None:
            self._tell([n for n, t in zip(told, written.rows, strict=True) if t is None], written)

        call = ([row for _, _, row in found], self.now())
        there = self._writer.do_with_others(rows.insert, call, after).rows
        return [
            task if document is None else rows.task_of(document)
            for task, document in zip(tasks, there, strict=True)
        ]

    def _tell(self, told: Sequence[tuple[Notice, ...]], written: rows.Written) -> None:
        """Tell of what a call wrote; of the batches that the commit made due, each call tells."""
        notices = [notice for some in told for notice in some]
        self._feeds.tell([*notices, *(Notice(batch=id_) for id_ in written.due)])

    def get(self, ids: Sequence[TaskId]) -> dict[TaskId, Task]:
        """The tasks of those ids that exist."""
        return {task.id: task for task in self._documents(queues.GET, json.dumps(ids))}

    def apply(self, changed: Sequence[Task]) -> list[bool]:
        """Replace each task whose stored version equals its version."""
        found = rows.indexed([rows.next_version(task) for task in changed], self._class)
        told = [notices_of(task, index) for task, index, _ in found]

        def after(written: rows.Written) -> None:
            self._tell([n for n, w in zip(told, written.rows, strict=True) if w], written)

        call = ([row for _, _, row in found], self.now())
        won: list[bool] = self._writer.do_with_others(rows.update, call, after).rows
        return won

    def purge(self, ids: Sequence[TaskId]) -> int:
        """Remove tasks with their progress and output."""
        now = self.now()

        def after(written: rows.Written) -> None:
            for id_ in written.rows:
                self._progress.forget((id_, None))
            self._tell([(Notice(task=id_),) for id_ in written.rows], written)

        return len(self._writer.do(lambda db: rows.delete(db, ids, now), after).rows)

    def search(self, query: Query) -> Page:
        """A page of summaries."""
        with self._readers.one() as db:
            return listing.page(db, query, self._shown(db))

    def _shown(self, db: sqlite3.Connection) -> dict[TaskId, Summary]:
        """Tasks whose phase says another status than their row."""
        phases = self._progress.unusual()
        found = queues.documents(db, queues.GET, json.dumps(list(phases)))
        tasks = [rows.task_of(document) for document in found]
        summaries = [summary_of(task, phases[task.id]) for task in tasks]
        return {
            summary.id: summary
            for task, summary in zip(tasks, summaries, strict=True)
            if summary.status is not index_of(task).status
        }

    def counts(self, user: UserName | None = None) -> dict[Status, int]:
        """How many tasks there are by status."""
        with self._readers.one() as db:
            return listing.counts(db, user)

    # -- what there is to do -------------------------------------------------------------

    def waiting_classes(self) -> list[str]:
        """The requirement classes of which a replica is ready to be sent."""
        with self._readers.one() as db:
            return [key for (key,) in db.execute(queues.CLASSES)]

    def claimable(
        self, classes: Sequence[str], limit: int, skip: Sequence[TaskId] = ()
    ) -> list[Task]:
        """Ready tasks of these classes: highest priority first, then oldest."""
        with self._readers.one() as db:
            found = queues.claimable(db, classes, limit, skip)
        return [rows.task_of(document) for document in found]

    def position(self, task: Task) -> int:
        """How many ready tasks of its class come before it."""
        index = index_of(task)
        values = (index.ready, index.priority, index.ready, index.priority, task.id)
        with self._readers.one() as db:
            before: int = db.execute(queues.BEFORE, values).fetchone()[0]
        return before

    def due(self, now: float, limit: int) -> list[Task]:
        """Tasks whose transition_time has come, earliest first."""
        return self._documents(queues.DUE, now, limit)

    def next_due(self) -> float | None:
        """The earliest transition_time of all."""
        with self._readers.one() as db:
            earliest: float | None = db.execute(queues.NEXT_DUE).fetchone()[0]
        return earliest

    def to_assimilate(self, limit: int, after: TaskId | None = None) -> list[Task]:
        """Tasks whose assimilate_state is READY, by id."""
        return self._documents(queues.TO_ASSIMILATE, after or "", limit)

    def held_by(self, executor: ExecutorName) -> list[Task]:
        """Tasks of which a replica is in progress on that executor, oldest first."""
        return self._documents(queues.HELD, executor)

    # -- batches -------------------------------------------------------------------------

    def put_batch(self, batch: Batch) -> Batch:
        """Store a new batch, or answer with the one that holds its id or key."""

        def after(there: Batch) -> None:
            if there is batch:
                self._feeds.tell([Notice(batch=batch.id)])

        return self._writer.do(lambda db: batches.put(db, batch), after)

    def add_to_batch(self, batch: Batch, tasks: Sequence[Task]) -> bool:
        """Replace the batch and store these tasks, or neither."""
        found = rows.indexed(tasks, self._class)
        told = [notices_of(task, index) for task, index, _ in found]
        call = ([row for _, _, row in found], self.now())

        def add(db: sqlite3.Connection) -> rows.Written | None:
            if not batches.replace(db, batch):
                return None
            return rows.insert(db, [call])[0] if found else rows.Written([], [])

        def after(written: rows.Written | None) -> None:
            if written is not None:
                fresh = [n for n, t in zip(told, written.rows, strict=True) if t is None]
                self._tell([*fresh, (Notice(batch=batch.id),)], written)

        return self._writer.do(add, after) is not None

    def apply_batches(self, changed: Sequence[Batch]) -> list[bool]:
        """Replace each batch whose stored version equals its version."""

        def after(won: list[bool]) -> None:
            told = [Notice(batch=b.id) for b, w in zip(changed, won, strict=True) if w]
            self._feeds.tell(told)

        return self._writer.do(lambda db: [batches.replace(db, b) for b in changed], after)

    def batches(self, ids: Sequence[BatchId]) -> dict[BatchId, tuple[Batch, Counters]]:
        """The batches of those ids that exist, with their counters."""
        return {row[0].id: row for row in self._batch_rows(batches.GET, json.dumps(ids))}

    def search_batches(self, query: BatchQuery) -> list[tuple[Batch, Counters]]:
        """Batches, newest first."""
        text, values = batches.search(query)
        return self._batch_rows(text, *values)

    def due_batches(self, limit: int, after: BatchId | None = None) -> list[tuple[Batch, Counters]]:
        """Batches that are due, by id."""
        return self._batch_rows(batches.DUE, after or "", limit)

    def _batch_rows(self, query: str, *values: object) -> list[tuple[Batch, Counters]]:
        with self._readers.one() as db:
            return batches.rows(db, query, *values)

    def stale_batches(self, before: float, limit: int) -> list[Batch]:
        """Batches whose submission is silent."""
        with self._readers.one() as db:
            found = queues.documents(db, batches.STALE, before, limit)
        return [decode(document, Batch) for document in found]

    def batch_tasks(
        self,
        batch: BatchId,
        statuses: Sequence[Status] = (),
        after: TaskId | None = None,
        limit: int = 100,
    ) -> list[Task]:
        """Tasks that count in the batch, by id."""
        with self._readers.one() as db:
            found = batches.tasks(db, batch, statuses, after, limit)
        return [rows.task_of(document) for document in found]

    def recount(self, batch: BatchId) -> bool:
        """Count the batch's tasks anew; whether its counters were wrong. No write waits for that
        unless they are.
        """
        with self._readers.one() as db:
            if not batches.are_wrong(db, batch):
                return False
        return self._writer.do(lambda db: batches.recount(db, batch), self._tell_if(batch))

    def purge_batch(self, id_: BatchId) -> bool:
        """Remove a batch that no task counts in; whether it was there."""
        return self._writer.do(lambda db: batches.remove(db, id_), self._tell_if(id_))

    def _tell_if(self, batch: BatchId) -> Callable[[bool], None]:
        """Tell of a batch if something was done about it."""
        return lambda done: self._feeds.tell([Notice(batch=batch)] if done else [])

    def feed(self) -> Feed:
        """A new subscription to the writes of this process."""
        return self._feeds.subscribe()

    def _documents(self, query: str, *values: object) -> list[Task]:
        with self._readers.one() as db:
            found = queues.documents(db, query, *values)
        return [rows.task_of(document) for document in found]

    def _class(self, key: str) -> int:
        """The number of a requirement class; few exist, so each is looked up once."""
        number = self._classes.get(key)
        if number is None:
            number = self._classes[key] = self._writer.do(lambda db: rows.class_number(db, key))
        return number

    # -- executors -----------------------------------------------------------------------

    def executors(self) -> list[Executor]:
        """All that are known, by name."""
        with self._readers.one() as db:
            return people.executors(db)

    def put_executor(self, executor: Executor, expected: Executor | None) -> bool:
        """Store it if what is stored equals ``expected`` but for ``last_report``."""
        return self._writer.do(lambda db: people.put_executor(db, executor, expected))

    def forget_executor(self, name: ExecutorName) -> bool:
        """Remove it, and what is known of its reliability; whether it was there."""
        return self._writer.do(lambda db: people.forget_executor(db, name))

    def touch(self, seen: Mapping[ExecutorName, float]) -> None:
        """Raise ``last_report`` of these."""
        if seen:
            self._writer.do(lambda db: people.touch(db, seen))

    # -- reliability and credit ----------------------------------------------------------

    def reliability(self) -> list[Reliability]:
        """What is known of executors, by name and task class."""
        with self._readers.one() as db:
            return standings.records(db)

    def put_reliability(
        self, records: Sequence[tuple[Reliability, Reliability | None]]
    ) -> list[bool]:
        """Store each record if what is stored equals what was expected."""
        if not records:
            return []
        return self._writer.do(lambda db: standings.put(db, records))

    def add_credit(self, earned: Credit) -> None:
        """Add to what users and owners were granted."""
        self._writer.do(lambda db: standings.add_credit(db, earned))

    def credit(self) -> Credit:
        """What users and owners were granted in all."""
        with self._readers.one() as db:
            return standings.credit(db)

    # -- progress and live output --------------------------------------------------------

    def put_running(self, running: Sequence[Running]) -> None:
        """Note what replicas are at; seen at once, on disk a moment later."""
        if running:
            self._progress.put(running)
            self._writer.begin(lambda db: output.put_running(db, running))

    def running(self, task: TaskId) -> dict[int, Running]:
        """What the replicas of a task were last known to do, by number."""
        return self._progress.of(task)

    def append_output(self, chunks: Sequence[Chunk]) -> None:
        """Keep live output; overlaps add only what is new, gaps are refused silently."""
        if chunks:
            self._writer.do(lambda db: output.append(db, chunks))

    def output(self, task: TaskId, number: int, stream: str, offset: int, size: int) -> bytes:
        """At most ``size`` bytes of live output from ``offset``."""
        if self._progress.is_dropping(task, number):
            return b""
        with self._readers.one() as db:
            return output.read(db, task, number, stream, offset, size)

    def output_sizes(self, task: TaskId, number: int) -> dict[str, int]:
        """How much of each stream is kept."""
        if self._progress.is_dropping(task, number):
            return {}
        with self._readers.one() as db:
            return output.sizes(db, task, number)

    def drop_output(self, task: TaskId, number: int | None = None) -> None:
        """Forget progress and live output of a task, or of one replica; at once for readers, on
        disk a moment later.
        """
        dropped = (task, number)
        self._progress.drop(dropped)
        self._writer.begin_with_others(output.drop, dropped, lambda _: self._progress.gone(dropped))

    # -- users, tokens, blobs ------------------------------------------------------------

    def put_token(self, token: Token, user: User) -> None:
        """Store a token, new or changed, and its user where new."""
        self._writer.do(lambda db: people.put_token(db, token, user))

    def tokens(self) -> list[Token]:
        """All tokens, oldest first."""
        with self._readers.one() as db:
            return people.tokens(db, people.TOKENS)

    def token_by_hash(self, hash_: str) -> Token | None:
        """The token with that hash."""
        with self._readers.one() as db:
            return next(iter(people.tokens(db, people.TOKEN_BY_HASH, hash_)), None)

    def token_by_id(self, id_: TokenId) -> Token | None:
        """The token of that id."""
        with self._readers.one() as db:
            return next(iter(people.tokens(db, people.TOKEN_BY_ID, id_)), None)

    def keep(self, name: str, value: bytes) -> bytes:
        """Keep a value unless there is one of that name; returns what is kept."""
        return self._writer.do(lambda db: people.keep(db, name, value))

    def blob_digests(self) -> Iterator[Digest]:
        """Every digest that some task refers to as a blob; may repeat one. Read in portions, so
        that no long transaction keeps the log from being emptied.
        """
        after = 0
        while True:
            with self._readers.one() as db:
                portion = list(queues.digests(db, after))
            if not portion:
                break
            for seq, digests in portion:
                after = seq
                yield from (Digest(d) for d in digests)
        with self._readers.one() as db:
            named = list(batches.digests(db))
        yield from (Digest(d) for d in named)

    def close(self) -> None:
        """Finish what was accepted and release files; may be called twice."""
        self._feeds.close()
        self._writer.close()
        self._readers.close()


def _opened(path: Path, clock: Clock) -> sqlite3.Connection:
    try:
        with alone(path.parent):
            db = connect(path, writes=True)
            with _closed_unless_done(db):
                migrate(db, clock, migrations())
    except (OSError, sqlite3.Error) as error:
        translated = translate(error)
        raise type(translated)(f"Cannot open the store {path}: {error}.") from error
    return db


@contextmanager
def _closed_unless_done(db: sqlite3.Connection) -> Iterator[None]:
    with ExitStack() as stack:
        stack.callback(db.close)
        yield
        stack.pop_all()


class _Progress:
    """What replicas are at: read and shown from memory, begun with what the file holds."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._lock = threading.Lock()
        self._notes: dict[TaskId, dict[int, Running]] = {}
        self._unusual: dict[TaskId, None] = {}
        self._dropping: Counter[output.Dropped] = Counter()
        self.put([decode(document, Running) for (document,) in db.execute(output.RUNNING)])

    def put(self, running: Sequence[Running]) -> None:
        with self._lock:
            for note in running:
                self._notes.setdefault(note.task, {})[note.number] = note
                self._classify(note.task)

    def _classify(self, task: TaskId) -> None:
        if any(n.phase not in _PLAIN for n in self._notes.get(task, {}).values()):
            self._unusual[task] = None
        else:
            self._unusual.pop(task, None)

    def of(self, task: TaskId) -> dict[int, Running]:
        with self._lock:
            return dict(self._notes.get(task, {}))

    def unusual(self) -> dict[TaskId, dict[int, Phase]]:
        """The phases of tasks that may show another status than their document alone."""
        with self._lock:
            return {
                task: {number: note.phase for number, note in self._notes[task].items()}
                for task in self._unusual
            }

    def drop(self, dropped: output.Dropped) -> None:
        """Forget it; its output is on disk until ``gone`` is called."""
        self.forget(dropped)
        with self._lock:
            self._dropping[dropped] += 1

    def gone(self, dropped: output.Dropped) -> None:
        with self._lock:
            self._dropping[dropped] -= 1
            if not self._dropping[dropped]:
                del self._dropping[dropped]

    def is_dropping(self, task: TaskId, number: int) -> bool:
        with self._lock:
            return (task, number) in self._dropping or (task, None) in self._dropping

    def forget(self, dropped: output.Dropped) -> None:
        task, number = dropped
        with self._lock:
            notes = self._notes.get(task, {})
            for n in [n for n in notes if number in (None, n)]:
                del notes[n]
            if not notes:
                self._notes.pop(task, None)
            self._classify(task)
