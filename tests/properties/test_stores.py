"""Random operations on the SQLite store and the one in memory, side by side: equal answers."""

import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from accord.adapters.embedded import SqliteStore
from accord.adapters.memory import MemoryStore
from accord.core.batch import BatchQuery
from accord.core.executor import ExecutorState
from accord.core.ids import Digest, SessionId, member
from accord.core.index import index_of
from accord.core.parameters import Rows
from accord.core.replica import Content, Phase, Replica, Result, StepResult, Verdict
from accord.core.search import Query
from accord.core.status import Status
from accord.core.task import NEVER, Stage, Task
from accord.ports.store import Chunk, Running
from accord.testing.clock import FakeClock
from accord.testing.samples import (
    START,
    batch,
    batch_id,
    ended,
    executor,
    running,
    task,
    task_id,
)

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where nothing waits for a disk: what is compared here are answers."""

NUMBERS = st.integers(1, 12)
NAMES = st.sampled_from(["", "abc", "ABCDE", "a%c", "Straße", "x_y"])
USERS = st.sampled_from(["alice", "bob"])
LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"))
TIMES = st.sampled_from([START, START + 5, START + 9, NEVER])
BLOBS = st.sampled_from("abc").map(lambda c: Content(digest=Digest(c * 64), size=9))
WAITING = st.sampled_from([0.0, START + 9])
EXECUTORS = st.sampled_from(["e1", "e2"])
BATCHES = st.integers(1, 3)
PLACES = st.integers(0, 5)
EVERY_BATCH = [batch_id(n) for n in range(1, 4)]
EVERY_TASK = [task_id(n) for n in range(1, 13)]
EVERY_TASK += [member(b, n) for b in EVERY_BATCH for n in range(6)]
IDS = st.sampled_from(EVERY_TASK)
STALE = st.sampled_from([False] * 4 + [True])
WALLS = st.sampled_from([0.5, 1.0, 1.0, 7.0])


@st.composite
def replicas(draw):
    """Up to three replicas in any state, and the canonical one."""
    found = []
    for number in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["unsent", "running", "over"]))
        if kind == "unsent":
            found.append(Replica(number=number, not_before=draw(WAITING)))
        elif kind == "running":
            found.append(running(draw(EXECUTORS), number))
        else:
            step = StepResult(exit_code=0, wall_time=draw(WALLS), stdout=draw(BLOBS))
            verdict = draw(st.sampled_from(list(Verdict)))
            found.append(ended(number, Result(verdict=verdict, execute=step)))
    results = [r.number for r in found if r.result]
    return tuple(found), draw(st.sampled_from([None, *results]))


@st.composite
def tasks(draw, of=st.none() | BATCHES.map(batch_id)):
    batch = draw(of)
    number = draw(PLACES if batch else NUMBERS)
    found, canonical = draw(replicas())
    return task(
        number,
        batch=batch,
        finishes=None if batch else draw(st.sampled_from([None, None, batch_id(1)])),
        retried_by=task_id(9) if batch and draw(st.sampled_from([False] * 4 + [True])) else None,
        user=draw(USERS),
        name=draw(NAMES),
        labels=draw(LABELS),
        key=draw(st.sampled_from([None, None, "k", "l"])),
        priority=draw(st.integers(-2, 2)),
        language=draw(st.sampled_from([None, "c", "go"])),
        transition_time=draw(TIMES),
        assimilate_state=draw(st.sampled_from(list(Stage))),
        error_mask=draw(st.sampled_from([0, 0, 2, 16])),
        replicas=found,
        canonical=canonical,
    )


@st.composite
def batches(draw):
    """What may be said of a batch, whatever sense it makes."""
    number = draw(BATCHES)
    total = draw(st.integers(0, 6))
    blob = draw(st.none() | BLOBS)
    maybe = st.sampled_from([None, None, START + 3])
    return batch(
        number,
        user=draw(USERS),
        name=draw(NAMES),
        labels=draw(LABELS),
        key=draw(st.sampled_from([None, None, "k", "l"])),
        axes=(Rows(names=("n",), rows=blob, size=1),) if blob else (),
        stays_open=draw(st.booleans()),
        cushion=draw(st.sampled_from([0, 2, 4])),
        total=total,
        taken=draw(st.integers(0, total)),
        changed=draw(TIMES),
        closed=draw(maybe),
        cancel_requested_at=draw(maybe),
        retry_before=draw(maybe),
        done=draw(maybe),
        purging=draw(st.sampled_from([False, False, False, True])),
    )


STATUSES = st.lists(st.sampled_from(list(Status)), max_size=3).map(tuple)

queries = st.builds(
    Query,
    user=st.none() | USERS,
    batch=st.none() | BATCHES.map(batch_id),
    status=STATUSES,
    labels=LABELS,
    since=st.none() | st.integers(0, 13).map(lambda n: START + n),
    until=st.none() | st.integers(0, 13).map(lambda n: START + n),
    text=st.sampled_from(["", "", "B", "%", "_", "SS", task_id(1)[:-1], "01h"]),
    limit=st.integers(1, 6),
    cursor=st.none() | IDS,
    oldest_first=st.booleans(),
)
slowest = queries.map(
    lambda query: msgspec.structs.replace(
        query, batch=query.batch or batch_id(1), slowest_first=True, oldest_first=False, cursor=None
    )
)
batch_queries = st.builds(
    BatchQuery,
    user=st.none() | USERS,
    labels=LABELS,
    live=st.none() | st.booleans(),
    since=st.none() | st.integers(0, 4).map(lambda n: START + n),
    until=st.none() | st.integers(0, 4).map(lambda n: START + n),
    text=st.sampled_from(["", "", "B", "%", "_", "SS", batch_id(1)[:-8], "01k"]),
    limit=st.integers(1, 3),
    cursor=st.none() | BATCHES.map(batch_id),
)


class SideBySide(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.clock = FakeClock()
        self.folder = tempfile.TemporaryDirectory(prefix="accord-", dir=MEMORY)
        sqlite = SqliteStore(Path(self.folder.name) / "accord.db", self.clock)
        self.stores = (MemoryStore(self.clock), sqlite)
        self.feeds = [store.feed() for store in self.stores]

    def teardown(self):
        for store in self.stores:
            store.close()
        self.folder.cleanup()

    def both(self, ask):
        memory, sqlite = (ask(store) for store in self.stores)
        assert memory == sqlite
        return memory

    @rule(new=st.lists(tasks(), max_size=4))
    def add(self, new):
        self.both(lambda store: store.add(new))

    @initialize(new=st.lists(tasks(st.just(batch_id(1))), max_size=4))
    def begin(self, new):
        """Most of what there is to compare needs a batch with tasks in it."""
        self.both(lambda store: store.put_batch(batch()))
        self.both(lambda store: store.add_to_batch(batch(), new))

    def some(self, data, condition=lambda task: True):
        """A few of the stored tasks, perhaps one twice."""
        there = [t for t in self.stores[0].get(EVERY_TASK).values() if condition(t)]
        return data.draw(st.lists(st.sampled_from(there), max_size=6)) if there else []

    @rule(data=st.data())
    def apply(self, data):
        fields = ["priority", "transition_time", "assimilate_state", "error_mask"]
        fields += ["replicas", "canonical", "spec"]
        changed: list[Task] = []
        for there in self.some(data):
            like, stale = data.draw(st.tuples(tasks(), STALE))
            more = {f: getattr(like, f) for f in fields}
            again = sum(before.id == there.id for before in changed)
            version = there.version + again - stale
            changed.append(msgspec.structs.replace(there, version=version, **more))
        self.both(lambda store: store.apply(changed))

    @rule(data=st.data(), by=st.sampled_from([None, task_id(9), task_id(9)]))
    def retry(self, data, by):
        found = self.some(data, lambda task: task.batch is not None)
        changed = [msgspec.structs.replace(task, retried_by=by) for task in found]
        self.both(lambda store: store.apply(changed))

    @rule(id_=IDS)
    def apply_what_loses(self, id_):
        """Whether there is such a task or not: none is stored in version 0."""
        assert self.both(lambda store: store.apply([task(1, id=id_, version=0)])) == [False]

    @rule(ids=st.lists(IDS, max_size=3))
    def purge(self, ids):
        self.both(lambda store: store.purge(ids))

    @rule(new=batches())
    def put_batch(self, new):
        self.both(lambda store: store.put_batch(new))

    def changed(self, like, stale):
        """The batch that is stored, with what another says."""
        there = self.stores[0].batches([like.id]).get(like.id)
        if there is None:
            return like
        same = {f: getattr(there[0], f) for f in ("user", "key", "name", "labels", "created")}
        return msgspec.structs.replace(like, version=there[0].version - stale, **same)

    @rule(data=st.data(), like=batches(), stale=STALE)
    def add_to_batch(self, data, like, stale):
        new = data.draw(st.lists(tasks(st.just(like.id)), max_size=4))
        changed = self.changed(like, stale)
        self.both(lambda store: store.add_to_batch(changed, new))

    @rule(likes=st.lists(st.tuples(batches(), STALE), max_size=2))
    def apply_batches(self, likes):
        changed = [self.changed(*like) for like in likes]
        self.both(lambda store: store.apply_batches(changed))

    @rule(number=BATCHES)
    def purge_batch(self, number):
        self.both(lambda store: store.purge_batch(batch_id(number)))

    @rule(query=batch_queries)
    def search_batches(self, query):
        self.both(lambda store: store.search_batches(query))

    @rule(number=BATCHES, statuses=STATUSES, after=st.none() | IDS, limit=st.integers(0, 4))
    def batch_tasks(self, number, statuses, after, limit):
        self.both(lambda store: store.batch_tasks(batch_id(number), statuses, after, limit))

    @rule(limit=st.integers(0, 2), after=st.none() | BATCHES.map(batch_id))
    def due_batches(self, limit, after):
        self.both(lambda store: store.due_batches(limit, after))
        self.both(lambda store: store.stale_batches(START + 5, limit))

    @rule(seconds=st.sampled_from([1.0, 10.0, 700.0]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule(query=queries | slowest)
    def search(self, query):
        self.both(lambda store: store.search(query))

    @rule(limit=st.integers(0, 5), skipped=st.lists(NUMBERS, max_size=3), first=st.booleans())
    def claim(self, limit, skipped, first):
        classes = sorted(self.both(lambda store: sorted(store.waiting_classes())))
        skip = [task_id(n) for n in skipped]
        wanted = classes[:1] if first else [*classes, "unknown"]
        self.both(lambda store: store.claimable(wanted, limit, skip))

    @rule(id_=IDS, phase=st.sampled_from(list(Phase)), replica=st.integers(0, 2))
    def progress(self, id_, phase, replica):
        note = Running(task=id_, number=replica, session=SessionId("s1"), phase=phase)
        if self.stores[0].get([note.task]):
            self.both(lambda store: store.put_running([note]))

    @rule(
        number=NUMBERS,
        replica=st.integers(0, 1),
        stream=st.sampled_from(["stdout", "stderr"]),
        offset=st.integers(0, 8),
        data=st.binary(max_size=5),
    )
    def output(self, number, replica, stream, offset, data):
        place = {"task": task_id(number), "number": replica, "stream": stream}
        chunk = Chunk(**place, offset=offset, data=data)
        self.both(lambda store: store.append_output([chunk]))
        self.both(lambda store: store.output(*place.values(), offset // 2, 1 + offset))
        self.both(lambda store: store.output_sizes(task_id(number), replica))

    @rule(number=NUMBERS, replica=st.none() | st.integers(0, 1))
    def drop(self, number, replica):
        self.both(lambda store: store.drop_output(task_id(number), replica))

    @rule(name=EXECUTORS, drained=st.booleans(), known=st.booleans(), at=st.integers(0, 9))
    def put_executor(self, name, drained, known, at):
        state = ExecutorState.DRAINING if drained else ExecutorState.ONLINE
        new = executor(name, state=state, last_report=START + at)
        expected = executor(name) if known else None
        self.both(lambda store: store.put_executor(new, expected))
        self.both(lambda store: store.touch({name: START + at + 1}))

    @rule(name=EXECUTORS)
    def forget_executor(self, name):
        self.both(lambda store: store.forget_executor(name))

    @invariant()
    def answers_are_equal(self):
        there = self.both(lambda store: store.get(EVERY_TASK))
        self.both(lambda store: [store.position(t) for t in there.values()])
        self.both(lambda store: [store.running(i) for i in EVERY_TASK])
        self.both(lambda store: [store.held_by(e) for e in ("e1", "e2")])
        self.both(lambda store: [store.counts(), store.counts("bob")])
        self.both(lambda store: [store.next_due(), store.due(START + 5, 3), store.due(NEVER, 99)])
        self.both(lambda store: store.to_assimilate(3))
        self.both(lambda store: [store.executors(), set(store.blob_digests())])
        told = [list(feed.next(0)) for feed in self.feeds]
        assert told[0] == told[1]

    @invariant()
    def lists_of_a_batch_are_equal(self):
        two = (Status.RUNNING, Status.PENDING)
        for id_ in EVERY_BATCH:
            of = partial(Query, batch=id_, limit=2)
            asked = [
                of(),
                of(status=two),
                of(slowest_first=True),
                of(status=two, oldest_first=True),
            ]
            self.both(lambda store, asked=asked: [store.search(query) for query in asked])
            page = (id_, two, member(id_, 0), 2)
            self.both(lambda store, page=page: store.batch_tasks(*page))

    @invariant()
    def counters_equal_a_recount(self):
        found = self.both(lambda store: store.batches(EVERY_BATCH))
        self.both(lambda store: [store.due_batches(9), store.stale_batches(START + 5, 9)])
        for id_, (_, counters) in found.items():
            tasks = self.both(lambda store, id_=id_: store.batch_tasks(id_))
            assert counters.counts == Counter(index_of(task).status for task in tasks)
            assert not self.both(lambda store, id_=id_: store.recount(id_))


TestSideBySide = SideBySide.TestCase
TestSideBySide.settings = settings(
    max_examples=80,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
