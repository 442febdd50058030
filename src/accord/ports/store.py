"""The store: tasks, executors, tokens, progress and live output.

It speaks meaning, not queries. An implementation keeps beside each task document the answer of
``core.index.index_of`` and nothing else that it works out by itself, so that policy lives in the
core alone. What a submitter decided (user, key, name, labels, add_time) never changes, so it may be
indexed once, when the task is added. Every method may be called from any thread. Nothing is
acknowledged before it is durable, save what is named as best effort.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from accord.core.batch import Batch, BatchQuery, Counters
from accord.core.executor import Executor
from accord.core.ids import BatchId, Digest, ExecutorName, SessionId, TaskId, TokenId, UserName
from accord.core.reliability import Reliability
from accord.core.replica import Phase
from accord.core.search import Page, Query
from accord.core.standing import Credit
from accord.core.status import Status
from accord.core.task import Task
from accord.core.user import Token, User


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica in progress was last known to do."""

    task: TaskId
    number: int
    session: SessionId
    phase: Phase
    since: float = 0.0


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of live output. ``stream`` is stdout, stderr, compile_stdout or compile_stderr."""

    task: TaskId
    number: int
    stream: str
    offset: int
    data: bytes


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A task or a batch was written. With neither, some notices were dropped: look at everything
    again.
    """

    task: TaskId | None = None
    batch: BatchId | None = None
    """A batch that was written, became due, or whose finishing task was written."""
    ready: str | None = None
    """The requirement class of which a replica can be sent, if one can."""
    held_by: tuple[ExecutorName, ...] = ()
    """The executors that hold a replica of it which they should perhaps stop."""


class Feed(Protocol):
    """A subscription to the writes of all judicators."""

    def next(self, timeout: float) -> Sequence[Notice]:
        """The notices since the last call, in order; empty after ``timeout`` seconds."""

    def close(self) -> None:
        """End the subscription; may be called twice. A waiting ``next`` returns at once."""


class Store(Protocol):
    """See the module's docstring."""

    def now(self) -> float:
        """The store's time, in seconds since the epoch; never runs backwards."""

    # -- tasks ---------------------------------------------------------------------------

    def add(self, tasks: Sequence[Task]) -> list[Task]:
        """Store new tasks, all or none; returns them in order.

        Where a task's (user, key) is taken, also by an earlier one of the same call, the one
        that holds it is returned in its place and nothing is stored for it. Likewise where the
        id itself is stored already (a repeated call).
        """

    def get(self, ids: Sequence[TaskId]) -> dict[TaskId, Task]:
        """The tasks of those ids that exist."""

    def apply(self, changed: Sequence[Task]) -> list[bool]:
        """Replace each task whose stored version equals its ``version``; the stored version
        becomes one more. Each stands for itself; False where it lost. Group-committed across
        callers: what arrives while one commit is under way goes into the next.
        """

    def purge(self, ids: Sequence[TaskId]) -> int:
        """Remove tasks with their progress and output; returns how many there were."""

    def search(self, query: Query) -> Page:
        """A page of summaries, newest first unless asked otherwise; keyset by id."""

    def counts(self, user: UserName | None = None) -> dict[Status, int]:
        """How many tasks there are by status (compiling counts as running). Statuses without
        any are left out.
        """

    # -- what there is to do -------------------------------------------------------------

    def waiting_classes(self) -> list[str]:
        """The requirement classes of which a replica is ready to be sent."""

    def claimable(
        self, classes: Sequence[str], limit: int, skip: Sequence[TaskId] = ()
    ) -> list[Task]:
        """Tasks of these classes with a replica ready to be sent: highest priority first, then
        oldest. A claim is an ``apply`` of what the core decided on one of these. The cost does
        not grow with the number of waiting tasks.
        """

    def position(self, task: Task) -> int:
        """How many ready tasks of its class come before it."""

    def due(self, now: float, limit: int) -> list[Task]:
        """Tasks whose transition_time is at or before ``now``, earliest first."""

    def next_due(self) -> float | None:
        """The earliest transition_time of all, None where no task waits for a time."""

    def to_assimilate(self, limit: int, after: TaskId | None = None) -> list[Task]:
        """Tasks whose assimilate_state is READY, by id, those after ``after``."""

    def held_by(self, executor: ExecutorName) -> list[Task]:
        """Tasks of which a replica is in progress on that executor."""

    # -- batches -------------------------------------------------------------------------
    #
    # The counters of a batch change in the very commits that change its tasks (``add_to_batch``,
    # ``apply``, ``purge``): by ``core.index.Index.batch`` and ``status``. Reading them costs the same
    # however many tasks there are.

    def put_batch(self, batch: Batch) -> Batch:
        """Store a new batch; where its (user, key) or its id is taken, the one that holds it is
        returned instead and nothing is stored.
        """

    def add_to_batch(self, batch: Batch, tasks: Sequence[Task]) -> bool:
        """In one commit: replace the batch as ``apply_batches`` does, and store these new tasks.
        False, and nothing is stored, where the batch's version lost. A task whose id is stored
        already is left as it is.
        """

    def apply_batches(self, changed: Sequence[Batch]) -> list[bool]:
        """Replace each batch whose stored version equals its ``version``; the stored version
        becomes one more. Each stands for itself; False where it lost.
        """

    def batches(self, ids: Sequence[BatchId]) -> dict[BatchId, tuple[Batch, Counters]]:
        """The batches of those ids that exist, with their counters as of one moment."""

    def search_batches(self, query: BatchQuery) -> list[tuple[Batch, Counters]]:
        """At most ``query.limit`` batches, newest first; keyset by id."""

    def due_batches(self, limit: int, after: BatchId | None = None) -> list[tuple[Batch, Counters]]:
        """Batches that are due by ``core.batch.marks_of``, be they done or not, by id, those after
        ``after``.
        """

    def stale_batches(self, before: float, limit: int) -> list[Batch]:
        """Batches that are neither closed nor meant to stay open, unchanged since ``before``."""

    def batch_tasks(
        self,
        batch: BatchId,
        statuses: Sequence[Status] = (),
        after: TaskId | None = None,
        limit: int = 100,
    ) -> list[Task]:
        """Tasks that count in the batch, in these statuses (none: in any), by id, those after
        ``after``.
        """

    def recount(self, batch: BatchId) -> bool:
        """Count the batch's tasks anew, as of one moment, and correct its counters; whether they
        were wrong.
        """

    def purge_batch(self, id_: BatchId) -> bool:
        """Remove a batch that no task counts in; whether it was there. Where tasks count in it,
        nothing happens.
        """

    def feed(self) -> Feed:
        """A new subscription; it tells of every write that is durable after this call."""

    # -- executors -----------------------------------------------------------------------

    def executors(self) -> list[Executor]:
        """All that are known, by name."""

    def put_executor(self, executor: Executor, expected: Executor | None) -> bool:
        """Store it if what is stored equals ``expected`` but for ``last_report`` (None: if there
        is none of the name).
        """

    def forget_executor(self, name: ExecutorName) -> bool:
        """Remove it, and what is known of its reliability; whether it was there."""

    def touch(self, seen: Mapping[ExecutorName, float]) -> None:
        """Raise ``last_report`` of these; never lowers it. Unknown names are passed over."""

    # -- reliability and credit ----------------------------------------------------------

    def reliability(self) -> list[Reliability]:
        """What is known of executors, by name and task class."""

    def put_reliability(
        self, records: Sequence[tuple[Reliability, Reliability | None]]
    ) -> list[bool]:
        """Store each record if what is stored of its executor and class equals the second of the
        pair (None: if there is nothing). Each stands for itself; False where it lost. One commit.
        """

    def add_credit(self, earned: Credit) -> None:
        """Add to what users and owners were granted. One commit."""

    def credit(self) -> Credit:
        """What users and owners were granted in all."""

    # -- progress and live output: beside the task, never in its version -----------------

    def put_running(self, running: Sequence[Running]) -> None:
        """Note what replicas are at. Best effort: may be lost in a crash."""

    def running(self, task: TaskId) -> dict[int, Running]:
        """What the replicas of a task were last known to do, by number."""

    def append_output(self, chunks: Sequence[Chunk]) -> None:
        """Keep live output. A chunk at or below what is kept of its stream adds only what is
        new; one that would leave a gap is refused silently (the sender repeats from its
        acknowledged offset).
        """

    def output(self, task: TaskId, number: int, stream: str, offset: int, size: int) -> bytes:
        """At most ``size`` bytes of live output from ``offset``; empty where there is none yet."""

    def output_sizes(self, task: TaskId, number: int) -> dict[str, int]:
        """How much of each stream is kept."""

    def drop_output(self, task: TaskId, number: int | None = None) -> None:
        """Forget progress and live output of a task, or of one replica. Best effort: a crash may
        bring it back.
        """

    # -- users, tokens, blobs ------------------------------------------------------------

    def put_token(self, token: Token, user: User) -> None:
        """Store a token, new or changed, and its user where new."""

    def tokens(self) -> list[Token]:
        """All tokens, oldest first."""

    def token_by_hash(self, hash_: str) -> Token | None:
        """The token with that hash."""

    def token_by_id(self, id_: TokenId) -> Token | None:
        """The token of that id."""

    def keep(self, name: str, value: bytes) -> bytes:
        """Keep a value for good, unless there is one of that name; returns what is kept, which is
        the same for all who ask. Values are secret: no log or error tells them.
        """

    def blob_digests(self) -> Iterator[Digest]:
        """Every digest that some task or batch refers to as a blob (the mark of mark and sweep).
        One that is added before the iteration ends is among them or younger than it.
        """

    def close(self) -> None:
        """Finish what was accepted and release files; may be called twice."""
