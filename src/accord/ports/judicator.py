"""What a judicator does for everybody else.

``accord.services.judicator.Judicator`` implements it in the judicator's own process, and
``accord.delivery.rpc.client.RemoteJudicator`` everywhere else, over Thrift. The same conformance
suite runs on both, so the wire cannot change a meaning. All methods raise from the tree of
``core.errors``; ``Unavailable`` is raised by the remote one alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from accord.core.batch import Batch, BatchPage, BatchQuery, BatchView, NewBatch
from accord.core.executor import Executor, ExecutorInfo
from accord.core.ids import BatchId, Digest, ExecutorName, SessionId, TaskId
from accord.core.replica import Failure, Phase, Result
from accord.core.search import Page, Query
from accord.core.standing import Credit
from accord.core.status import Status
from accord.core.task import NewTask, Task
from accord.core.user import Token
from accord.ports.store import Chunk


class Pong(msgspec.Struct, frozen=True, kw_only=True):
    """A sign of life."""

    name: str
    version: str
    now: float
    """The store's time."""
    leader: bool


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """A task as it is read: the document, and what its replicas in progress are at."""

    task: Task
    status: Status
    phases: dict[int, Phase] = {}


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a task since a cursor."""

    view: TaskView | None = None
    """The task, where it or its progress changed."""
    chunks: tuple[Chunk, ...] = ()
    """Output of the latest replica since the cursor, in order within each stream."""
    cursor: str = ""
    done: bool = False
    """Nothing more will come after this."""


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a batch's results."""

    lines: tuple[bytes, ...] = ()
    """One JSON object for each task, by its place; docs/reference/batches.md has its fields."""
    next: str | None = None
    """The cursor of the next piece, None on the last."""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a replica, as its executor reports it. Repeated until acknowledged."""

    task: TaskId
    number: int
    session: SessionId
    """The session of its assignment."""
    end: Result | Failure | None = None
    """None: it was killed on request and its box is empty, or (not started) handed back."""
    killed: bool = False
    started: bool = True


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A replica that an executor knows of: waiting, running or spooled."""

    task: TaskId
    number: int
    session: SessionId
    phase: Phase | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One call of an executor. A push has wait 0 and no vacancy; a poll names all it holds."""

    executor: ExecutorName
    session: SessionId
    sequence: int
    """Rises with every call on the same connection kind of a session."""
    poll: bool
    hello: ExecutorInfo | None = None
    """Sent first in a session, and again where UnknownSession was answered."""
    complete: tuple[Finished, ...] = ()
    progress: tuple[Held, ...] = ()
    """On a push: phases that changed."""
    output: tuple[Chunk, ...] = ()
    holds: tuple[Held, ...] = ()
    """On a poll: everything that the executor knows of, whole each time."""
    vacant: int = 0
    """How many replicas there is room for: free slots, and what may wait for one."""
    wait: float = 0.0
    draining: bool = False


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """A replica to run. The spec carries blobs by digest; fetch them with read_blob."""

    task: Task
    number: int
    session: SessionId


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a report."""

    sequence: int
    """Echo of the report's."""
    stored: tuple[tuple[TaskId, int], ...] = ()
    """The replicas of ``complete`` that need not be repeated: stored, or never wanted again."""
    output_stored: bool = True
    assign: tuple[Assignment, ...] = ()
    cancel: tuple[tuple[TaskId, int], ...] = ()
    """Replicas to kill (or forget) and to report as killed."""
    held: float = 0.0
    """Seconds for which the poll was held because there was nothing to tell."""


class Connections(Protocol):
    """What the server of a judicator tells it of executors' connections.

    An executor whose every connection broke is lost sooner than by its lease. The service
    implements this beside Judicator; there is nothing of it on the wire. A connection is known
    by its first report (``kind`` is ``poll`` or ``push``, as ``Report.poll`` says); one that
    turns to another session is closed and opened again. Neither method raises or blocks.
    """

    def connection_opened(self, executor: ExecutorName, session: SessionId, kind: str) -> None:
        """A connection brought its first report of that session."""

    def connection_closed(self, executor: ExecutorName, session: SessionId, kind: str) -> None:
        """A connection that was opened has ended, for whatever reason."""


class Judicator(Protocol):
    """See the module's docstring."""

    def ping(self) -> Pong:
        """Whether it works, store included."""

    def add(self, new: Sequence[NewTask]) -> list[Task]:
        """Add at most 100 tasks, all or none; durable on return.

        The same key of the same user with the same content answers with the task that is there;
        with other content KeyReused. Invalid with the field for what is not right; NotFound for a
        blob that was never put.
        """

    def cancel(self, id_: TaskId) -> TaskView:
        """Ask for its end; returns what it is now: cancelling, or cancelled where no box runs.

        A repeat is answered alike. NotFound; AlreadyDone where it ended otherwise.
        """

    def retry(self, id_: TaskId) -> Task:
        """A new task of the same content, with retry_of set. NotFound; NotDone."""

    def purge(self, id_: TaskId) -> None:
        """Remove a done task for good. NotFound; NotDone."""

    def search(self, query: Query) -> Page:
        """A page of tasks. Invalid for a bad cursor or limit (1 to 1000)."""

    def create_batch(self, new: NewBatch) -> Batch:
        """Create a batch; durable on return. One of a template is complete with this: its tasks
        are made from now on. To any other, tasks are added by ``extend_batch``, which closes it.

        The same key of the same user with the same fingerprint answers with the batch that is
        there, with another KeyReused. Invalid with the field.
        """

    def extend_batch(self, id_: BatchId, at: int, tasks: Sequence[NewTask], close: bool) -> Batch:  # noqa: FBT001  # a fact on the wire
        """Add at most 100 tasks to a batch, all or none, then close it if asked to; durable.

        ``at`` is the place of the first: what is there already is not added again, so a repeat
        adds nothing twice; KeyReused where it differs from what is there, Invalid where it would
        leave a gap. -1 stands for the end, whatever it is. Closing twice is no error.
        NotFound; AlreadyDone where tasks are given and it is closed or cancelled.
        """

    def batch(self, id_: BatchId, wait: float = 0.0) -> BatchView:
        """The batch; with ``wait``, as soon as it is done or after that many seconds (at most 60).

        NotFound.
        """

    def batches(self, query: BatchQuery) -> BatchPage:
        """A page of batches, newest first. Invalid for a bad cursor or limit (1 to 1000)."""

    def cancel_batch(self, id_: BatchId) -> BatchView:
        """Ask for the end of a batch and of all of its tasks; no more are made or added.

        A repeat is answered alike. NotFound; AlreadyDone where it ended otherwise.
        """

    def retry_batch(self, id_: BatchId) -> BatchView:
        """Submit again what ended otherwise than with success, each in its place in the batch; of
        a cancelled batch, go on with it. A done batch is running again, and its finishing task
        runs anew at its end. NotFound.
        """

    def purge_batch(self, id_: BatchId) -> None:
        """Remove a done batch with all of its tasks for good. NotFound; NotDone."""

    def results(self, id_: BatchId, cursor: str, limit: int) -> Results:
        """A piece of the results of a batch: at most ``limit`` (and 100) tasks in whatever state
        they are, from the cursor on ("" for the first). NotFound; Invalid.
        """

    def counts(self) -> dict[Status, int]:
        """How many tasks there are by status."""

    def get(self, id_: TaskId, wait: float = 0.0) -> TaskView:
        """The task; with ``wait``, as soon as it is done or after that many seconds (at most 60).

        NotFound.
        """

    def certificate(self, id_: TaskId) -> bytes:
        """A certificate of the task's result as a file, freshly issued; ``core.certificate`` has
        its form. NotFound; NotDone; NoResult where it ended without one that was agreed on;
        TooLarge beyond 1 MiB.
        """

    def public_key(self) -> bytes:
        """The raw Ed25519 public key by which the cluster signs, 32 bytes. It stays the same."""

    def explain(self, id_: TaskId) -> str:
        """In a sentence or two: why it is in its state, and what happens next. NotFound."""

    def follow(self, id_: TaskId, cursor: str, wait: float) -> News:
        """What happened since the cursor ("" for all), at once where there is anything, else as
        soon as there is, or an empty News after ``wait`` seconds (at most 60). NotFound.
        """

    def report(self, report: Report) -> Orders:
        """An executor's push or poll; see section "The report loop" of docs/architecture.md.

        UnknownSession: say hello. NameTaken: another instance is alive. Superseded: a later
        call came (the connection that gets this is stale).
        """

    def executors(self) -> list[Executor]:
        """All executors that are known, with how they stand with each class of tasks."""

    def credit(self) -> Credit:
        """What users and owners were granted, as of a few seconds ago."""

    def steer(self, name: ExecutorName, verb: str) -> Executor:
        """``drain``, ``quarantine`` or ``release`` an executor, or ``forget`` a lost one. What is
        released may have work of every class again, whatever it failed at.

        NotFound; Invalid for another verb, or where it cannot be done in its state.
        """

    def judicators(self) -> list[Pong]:
        """All judicators that are registered, with what each says of itself."""

    def authenticate(self, hash_: str) -> Token | None:
        """The live token with that SHA-256 (hexadecimal), or None."""

    def put_token(self, token: Token) -> None:
        """Store a token, new or changed."""

    def tokens(self) -> list[Token]:
        """All tokens."""

    def write_blob(self, upload: str, offset: int, data: bytes) -> None:
        """Append at most 1 MiB to an upload that the caller named (a random string).

        ``offset`` is what was sent before; a repeat of the last piece is taken as one. Invalid
        where it does not fit. An upload that nothing was added to for an hour is forgotten.
        """

    def commit_blob(self, upload: str) -> tuple[Digest, int]:
        """Make the upload a blob; durable on return. NotFound where there is no such upload."""

    def read_blob(self, digest: Digest, offset: int, size: int) -> bytes:
        """At most ``size`` (and 1 MiB) bytes of a blob; empty at its end. NotFound."""

    def blob_size(self, digest: Digest) -> int | None:
        """Its size, None where there is none."""
