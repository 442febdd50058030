"""The store in this process's memory (port ``Store``): nothing outlives the process.

One lock guards everything, so every call is atomic. The tables below mirror the indexes that a
database would keep, so that costs grow alike.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import msgspec

from accord.adapters.feeds import CAPACITY, Feeds, StoreTime, notices_of
from accord.adapters.memory.batches import Batches, Folding
from accord.core.batch import Batch, BatchQuery, Counters, batch_blobs
from accord.core.executor import Executor
from accord.core.ids import BatchId, Digest, ExecutorName, TaskId, TokenId, UserName
from accord.core.index import Index, index_of
from accord.core.reliability import Reliability
from accord.core.search import TOTAL_CEILING, Page, Query, Summary
from accord.core.standing import Credit
from accord.core.status import Status
from accord.core.task import NEVER, Task, blobs
from accord.core.user import Token, User
from accord.core.view import summary_of
from accord.ports.clock import Clock
from accord.ports.store import Chunk, Feed, Notice, Running


class _Ordered(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


T = TypeVar("T", bound=_Ordered)

_Rank = tuple[int, TaskId]
"""Sorts by priority, highest first, then by age."""


class _Sorted(list[T]):
    """A sorted list, for keys that are unique in it."""

    def put(self, key: T) -> None:
        bisect.insort(self, key)

    def drop(self, key: T) -> None:
        del self[self.rank(key)]

    def rank(self, key: T) -> int:
        return bisect.bisect_left(self, key)


class _Tasks:
    """Tasks and their indexes."""

    def __init__(self) -> None:
        self.by_id: dict[TaskId, tuple[Task, Index]] = {}
        self.ids: _Sorted[TaskId] = _Sorted()
        self.keys: dict[tuple[UserName, str], TaskId] = {}
        self.ready: dict[str, _Sorted[_Rank]] = {}
        self.due: _Sorted[tuple[float, TaskId]] = _Sorted()
        self.assimilate: _Sorted[TaskId] = _Sorted()
        self.held: dict[ExecutorName, _Sorted[TaskId]] = {}
        self.counts: Counter[tuple[UserName, Status]] = Counter()
        self.members: dict[BatchId, _Sorted[TaskId]] = {}

    def index(self, id_: TaskId) -> Index | None:
        """How it is indexed, if it is there."""
        there = self.by_id.get(id_)
        return there[1] if there else None

    def put(self, task: Task, index: Index) -> None:
        """Insert or replace."""
        if task.id in self.by_id:
            self._unindex(*self.by_id[task.id])
        else:
            self.ids.put(task.id)
        self.by_id[task.id] = (task, index)
        self._index(task, index)

    def remove(self, id_: TaskId) -> None:
        self._unindex(*self.by_id.pop(id_))
        self.ids.drop(id_)

    def _index(self, task: Task, index: Index) -> None:
        self.counts[task.user, index.status] += 1
        if task.key is not None:
            self.keys[task.user, task.key] = task.id
        if index.ready is not None:
            self.ready.setdefault(index.ready, _Sorted()).put(_rank(task, index))
        if index.transition_time < NEVER:
            self.due.put((index.transition_time, task.id))
        if index.assimilate:
            self.assimilate.put(task.id)
        for name in index.held_by:
            self.held.setdefault(name, _Sorted()).put(task.id)
        if index.batch is not None:
            self.members.setdefault(index.batch, _Sorted()).put(task.id)

    def _unindex(self, task: Task, index: Index) -> None:
        self.counts[task.user, index.status] -= 1
        if task.key is not None:
            del self.keys[task.user, task.key]
        if index.ready is not None:
            _take(self.ready, index.ready, _rank(task, index))
        if index.transition_time < NEVER:
            self.due.drop((index.transition_time, task.id))
        if index.assimilate:
            self.assimilate.drop(task.id)
        for name in index.held_by:
            _take(self.held, name, task.id)
        if index.batch is not None:
            _take(self.members, index.batch, task.id)

    def documents(self, ids: Sequence[TaskId]) -> list[Task]:
        return [self.by_id[id_][0] for id_ in ids]


K = TypeVar("K")


def _take(table: dict[K, _Sorted[T]], key: K, item: T) -> None:
    table[key].drop(item)
    if not table[key]:
        del table[key]


def _rank(task: Task, index: Index) -> _Rank:
    return -index.priority, task.id


class _Commit:
    """What goes into one commit, and what is to be told of it."""

    def __init__(self, tasks: _Tasks) -> None:
        self._tasks = tasks
        self.folding = Folding()
        self.notices: list[Notice] = []

    def put(self, task: Task, index: Index) -> None:
        self.folding.count(self._tasks.index(task.id), index)
        self._tasks.put(task, index)
        self.notices += notices_of(task, index)

    def remove(self, id_: TaskId) -> None:
        self.folding.count(self._tasks.index(id_), None)
        self._tasks.remove(id_)
        self.notices.append(Notice(task=id_))


class MemoryStore:
    """See the module's docstring."""

    def __init__(self, clock: Clock, feed_capacity: int = CAPACITY) -> None:
        self._time = StoreTime(clock)
        self._feeds = Feeds(clock, feed_capacity)
        self._lock = threading.RLock()
        self._tasks = _Tasks()
        self._batches = Batches()
        self._executors: dict[ExecutorName, Executor] = {}
        self._reliability: dict[tuple[ExecutorName, str], Reliability] = {}
        self._credit = Credit()
        self._running: dict[TaskId, dict[int, Running]] = {}
        self._output: dict[tuple[TaskId, int], dict[str, bytearray]] = {}
        self._kept: dict[str, bytes] = {}
        self._tokens: dict[TokenId, Token] = {}
        self._users: dict[UserName, User] = {}

    def now(self) -> float:
        """The store's time."""
        return self._time.now()

    # -- tasks ---------------------------------------------------------------------------

    def add(self, tasks: Sequence[Task]) -> list[Task]:
        """Store new tasks, all or none; those that are there already are answered instead."""
        indexed = [(task, index_of(task)) for task in tasks]
        with self._lock, self._commit() as commit:
            kept = []
            for task, index in indexed:
                there = self._there(task)
                if there is None:
                    commit.put(task, index)
                kept.append(there or task)
            return kept

    @contextmanager
    def _commit(self) -> Iterator[_Commit]:
        """Writes that go together: their counters are folded in, then all is told."""
        commit = _Commit(self._tasks)
        yield commit
        due = self._batches.fold(commit.folding, self.now())
        self._feeds.tell([*commit.notices, *(Notice(batch=id_) for id_ in due)])

    def _there(self, task: Task) -> Task | None:
        holder = task.id if task.id in self._tasks.by_id else None
        if holder is None and task.key is not None:
            holder = self._tasks.keys.get((task.user, task.key))
        return self._tasks.by_id[holder][0] if holder is not None else None

    def get(self, ids: Sequence[TaskId]) -> dict[TaskId, Task]:
        """The tasks of those ids that exist."""
        with self._lock:
            return {i: self._tasks.by_id[i][0] for i in ids if i in self._tasks.by_id}

    def apply(self, changed: Sequence[Task]) -> list[bool]:
        """Replace each task whose stored version equals its version."""
        indexed = [(task, index_of(task)) for task in changed]
        with self._lock, self._commit() as commit:
            won = []
            for task, index in indexed:
                there = self._tasks.by_id.get(task.id)
                won.append(there is not None and there[0].version == task.version)
                if won[-1]:
                    commit.put(msgspec.structs.replace(task, version=task.version + 1), index)
            return won

    def purge(self, ids: Sequence[TaskId]) -> int:
        """Remove tasks with their progress and output."""
        with self._lock, self._commit() as commit:
            found = [i for i in dict.fromkeys(ids) if i in self._tasks.by_id]
            for id_ in found:
                commit.remove(id_)
                self.drop_output(id_)
            return len(found)

    def search(self, query: Query) -> Page:
        """A page of summaries."""
        with self._lock:
            ids = self._among(query)
            matching = [s for s in map(self._summary, ids) if _matches(s, query)]
        if query.slowest_first:
            matching = [s for s in matching if s.status.done and s.wall_time is not None]
            matching.sort(key=lambda s: (s.wall_time or 0.0, s.id))
        if not query.oldest_first:
            matching.reverse()
        rest = [s for s in matching if query.cursor is None or _after(s, query)]
        items = tuple(rest[: query.limit])
        return Page(
            items=items,
            total=min(len(matching), TOTAL_CEILING),
            more_than_total=len(matching) > TOTAL_CEILING,
            next=items[-1].id if len(rest) > query.limit and not query.slowest_first else None,
        )

    def _among(self, query: Query) -> Sequence[TaskId]:
        if query.batch is None:
            return self._tasks.ids
        return self._tasks.members.get(query.batch, [])

    def _summary(self, id_: TaskId) -> Summary:
        task, index = self._tasks.by_id[id_]
        phases = {number: r.phase for number, r in self._running.get(id_, {}).items()}
        return summary_of(task, phases) if phases else index.summary

    def counts(self, user: UserName | None = None) -> dict[Status, int]:
        """How many tasks there are by status."""
        found: Counter[Status] = Counter()
        with self._lock:
            for (owner, status), number in self._tasks.counts.items():
                if user in (None, owner) and number:
                    found[status] += number
        return dict(found)

    # -- what there is to do -------------------------------------------------------------

    def waiting_classes(self) -> list[str]:
        """The requirement classes of which a replica is ready to be sent."""
        with self._lock:
            return sorted(self._tasks.ready)

    def claimable(
        self, classes: Sequence[str], limit: int, skip: Sequence[TaskId] = ()
    ) -> list[Task]:
        """Ready tasks of these classes: highest priority first, then oldest."""
        passed = frozenset(skip)
        with self._lock:
            queues = [self._tasks.ready.get(c, ()) for c in dict.fromkeys(classes)]
            ids = (id_ for _, id_ in heapq.merge(*queues) if id_ not in passed)
            return self._tasks.documents(list(itertools.islice(ids, limit)))

    def position(self, task: Task) -> int:
        """How many ready tasks of its class come before it."""
        index = index_of(task)
        with self._lock:
            queue = self._tasks.ready.get(index.ready) if index.ready is not None else None
            return queue.rank(_rank(task, index)) if queue else 0

    def due(self, now: float, limit: int) -> list[Task]:
        """Tasks whose transition_time has come, earliest first."""
        with self._lock:
            upcoming = itertools.islice(self._tasks.due, limit)
            return self._tasks.documents([i for time, i in upcoming if time <= now])

    def next_due(self) -> float | None:
        """The earliest transition_time of all."""
        with self._lock:
            return self._tasks.due[0][0] if self._tasks.due else None

    def to_assimilate(self, limit: int, after: TaskId | None = None) -> list[Task]:
        """Tasks whose assimilate_state is READY, by id."""
        with self._lock:
            ids = self._tasks.assimilate
            first = bisect.bisect_right(ids, after) if after else 0
            return self._tasks.documents(ids[first : first + limit])

    def held_by(self, executor: ExecutorName) -> list[Task]:
        """Tasks of which a replica is in progress on that executor, oldest first."""
        with self._lock:
            return self._tasks.documents(self._tasks.held.get(executor, _Sorted()))

    # -- batches -------------------------------------------------------------------------

    def put_batch(self, batch: Batch) -> Batch:
        """Store a new batch, or answer with the one that holds its id or key."""
        with self._lock:
            there = self._batches.put(batch, self._counted(batch.id))
            if there is batch:
                self._feeds.tell([Notice(batch=batch.id)])
            return there

    def add_to_batch(self, batch: Batch, tasks: Sequence[Task]) -> bool:
        """Replace the batch and store these tasks, or neither."""
        indexed = [(task, index_of(task)) for task in tasks]
        with self._lock:
            if not self._batches.replace(batch):
                return False
            with self._commit() as commit:
                for task, index in indexed:
                    if self._there(task) is None:
                        commit.put(task, index)
                commit.notices.append(Notice(batch=batch.id))
            return True

    def apply_batches(self, changed: Sequence[Batch]) -> list[bool]:
        """Replace each batch whose stored version equals its version."""
        with self._lock:
            won = [self._batches.replace(batch) for batch in changed]
            told = [Notice(batch=b.id) for b, w in zip(changed, won, strict=True) if w]
            self._feeds.tell(told)
            return won

    def batches(self, ids: Sequence[BatchId]) -> dict[BatchId, tuple[Batch, Counters]]:
        """The batches of those ids that exist, with their counters."""
        with self._lock:
            return self._batches.get(ids)

    def search_batches(self, query: BatchQuery) -> list[tuple[Batch, Counters]]:
        """Batches, newest first."""
        with self._lock:
            ids = list(itertools.islice(self._batches.search(query), query.limit))
            return list(self._batches.get(ids).values())

    def due_batches(self, limit: int, after: BatchId | None = None) -> list[tuple[Batch, Counters]]:
        """Batches that are due, by id."""
        with self._lock:
            return list(self._batches.get(self._batches.due(after)[:limit]).values())

    def stale_batches(self, before: float, limit: int) -> list[Batch]:
        """Batches whose submission is silent."""
        with self._lock:
            return self._batches.stale(before)[:limit]

    def batch_tasks(
        self,
        batch: BatchId,
        statuses: Sequence[Status] = (),
        after: TaskId | None = None,
        limit: int = 100,
    ) -> list[Task]:
        """Tasks that count in the batch, by id."""
        with self._lock:
            ids = self._tasks.members.get(batch, _Sorted())
            rest = ids[bisect.bisect_right(ids, after) :] if after else ids
            found = (i for i in rest if not statuses or self._tasks.by_id[i][1].status in statuses)
            return self._tasks.documents(list(itertools.islice(found, limit)))

    def recount(self, batch: BatchId) -> bool:
        """Count the batch's tasks anew; whether its counters were wrong."""
        with self._lock:
            corrected = self._batches.correct(batch, self._counted(batch))
            if corrected:
                self._feeds.tell([Notice(batch=batch)])
            return corrected

    def _counted(self, batch: BatchId) -> dict[Status, int]:
        """The tasks of a batch, counted one by one."""
        ids = self._tasks.members.get(batch, _Sorted())
        return dict(Counter(self._tasks.by_id[i][1].status for i in ids))

    def purge_batch(self, id_: BatchId) -> bool:
        """Remove a batch that no task counts in; whether it was there."""
        with self._lock:
            gone = id_ not in self._tasks.members and self._batches.remove(id_)
            if gone:
                self._feeds.tell([Notice(batch=id_)])
            return gone

    def feed(self) -> Feed:
        """A new subscription."""
        return self._feeds.subscribe()

    # -- executors -----------------------------------------------------------------------

    def executors(self) -> list[Executor]:
        """All that are known, by name."""
        with self._lock:
            return [self._executors[name] for name in sorted(self._executors)]

    def put_executor(self, executor: Executor, expected: Executor | None) -> bool:
        """Store it if what is stored equals ``expected`` but for ``last_report``."""
        with self._lock:
            there = self._executors.get(executor.name)
            if not _same(there, expected):
                return False
            seen = max(executor.last_report, there.last_report if there else 0.0)
            self._executors[executor.name] = msgspec.structs.replace(executor, last_report=seen)
            return True

    def forget_executor(self, name: ExecutorName) -> bool:
        """Remove it; whether it was there."""
        with self._lock:
            for key in [k for k in self._reliability if k[0] == name]:
                del self._reliability[key]
            return self._executors.pop(name, None) is not None

    def touch(self, seen: Mapping[ExecutorName, float]) -> None:
        """Raise ``last_report`` of these."""
        with self._lock:
            for name, time in seen.items():
                there = self._executors.get(name)
                if there is not None and time > there.last_report:
                    self._executors[name] = msgspec.structs.replace(there, last_report=time)

    # -- reliability and credit ----------------------------------------------------------

    def reliability(self) -> list[Reliability]:
        """What is known of executors, by name and task class."""
        with self._lock:
            return [record for _, record in sorted(self._reliability.items())]

    def put_reliability(
        self, records: Sequence[tuple[Reliability, Reliability | None]]
    ) -> list[bool]:
        """Store each record if what is stored equals what was expected."""
        with self._lock:
            return [self._put_reliability(*pair) for pair in records]

    def _put_reliability(self, record: Reliability, expected: Reliability | None) -> bool:
        key = (record.executor, record.task_class)
        if self._reliability.get(key) != expected:
            return False
        self._reliability[key] = record
        return True

    def add_credit(self, earned: Credit) -> None:
        """Add to what users and owners were granted."""
        with self._lock:
            self._credit = Credit(
                users=_sums(self._credit.users, earned.users),
                owners=_sums(self._credit.owners, earned.owners),
            )

    def credit(self) -> Credit:
        """What users and owners were granted in all."""
        with self._lock:
            return self._credit

    # -- progress and live output --------------------------------------------------------

    def put_running(self, running: Sequence[Running]) -> None:
        """Note what replicas are at."""
        with self._lock:
            for note in running:
                self._running.setdefault(note.task, {})[note.number] = note

    def running(self, task: TaskId) -> dict[int, Running]:
        """What the replicas of a task were last known to do, by number."""
        with self._lock:
            return dict(self._running.get(task, {}))

    def append_output(self, chunks: Sequence[Chunk]) -> None:
        """Keep live output; overlaps add only what is new, gaps are refused silently."""
        with self._lock:
            for chunk in chunks:
                streams = self._output.setdefault((chunk.task, chunk.number), {})
                kept = streams.setdefault(chunk.stream, bytearray())
                if chunk.offset <= len(kept):
                    kept += chunk.data[len(kept) - chunk.offset :]

    def output(self, task: TaskId, number: int, stream: str, offset: int, size: int) -> bytes:
        """At most ``size`` bytes of live output from ``offset``."""
        with self._lock:
            kept = self._output.get((task, number), {}).get(stream, b"")
            return bytes(kept[offset : offset + size])

    def output_sizes(self, task: TaskId, number: int) -> dict[str, int]:
        """How much of each stream is kept."""
        with self._lock:
            streams = self._output.get((task, number), {})
            return {name: len(kept) for name, kept in streams.items() if kept}

    def drop_output(self, task: TaskId, number: int | None = None) -> None:
        """Forget progress and live output of a task, or of one replica."""
        with self._lock:
            notes = self._running.get(task, {})
            for n in [n for n in notes if number in (None, n)]:
                del notes[n]
            if not notes:
                self._running.pop(task, None)
            for key in [k for k in self._output if k[0] == task and number in (None, k[1])]:
                del self._output[key]

    # -- users, tokens, blobs ------------------------------------------------------------

    def put_token(self, token: Token, user: User) -> None:
        """Store a token, new or changed, and its user where new."""
        with self._lock:
            self._tokens[token.id] = token
            self._users.setdefault(user.name, user)

    def tokens(self) -> list[Token]:
        """All tokens, oldest first."""
        with self._lock:
            return sorted(self._tokens.values(), key=lambda t: (t.created, t.id))

    def token_by_hash(self, hash_: str) -> Token | None:
        """The token with that hash."""
        with self._lock:
            return next((t for t in self._tokens.values() if t.hash == hash_), None)

    def token_by_id(self, id_: TokenId) -> Token | None:
        """The token of that id."""
        with self._lock:
            return self._tokens.get(id_)

    def keep(self, name: str, value: bytes) -> bytes:
        """Keep a value unless there is one of that name; returns what is kept."""
        with self._lock:
            return self._kept.setdefault(name, value)

    def blob_digests(self) -> Iterator[Digest]:
        """Every digest that some task refers to as a blob; may repeat one."""
        with self._lock:
            tasks = [task for task, _ in self._tasks.by_id.values()]
            batches = self._batches.all()
        named = itertools.chain(map(blobs, tasks), map(batch_blobs, batches))
        return itertools.chain.from_iterable(named)

    def close(self) -> None:
        """End all subscriptions; may be called twice. What is stored can still be read."""
        self._feeds.close()


def _sums(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in sorted({*one, *other})}


def _same(stored: Executor | None, expected: Executor | None) -> bool:
    if stored is None or expected is None:
        return stored is expected
    return msgspec.structs.replace(stored, last_report=expected.last_report) == expected


def _matches(found: Summary, query: Query) -> bool:
    return (
        query.user in (None, found.user)
        and (not query.status or found.status in query.status)
        and all(found.labels.get(k) == v for k, v in query.labels.items())
        and (query.since is None or found.add_time >= query.since)
        and (query.until is None or found.add_time < query.until)
        and _speaks_of(found, query.text)
    )


def _speaks_of(found: Summary, text: str) -> bool:
    return text.casefold() in found.name.casefold() or found.id.startswith(text.upper())


def _after(found: Summary, query: Query) -> bool:
    cursor = query.cursor or ""
    return found.id > cursor if query.oldest_first else found.id < cursor
