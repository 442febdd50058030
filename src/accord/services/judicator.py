"""The judicator: what a manager process does for users, gateways and executors.

Stateless but for what it can find again: any judicator over the same store serves any call. This
class is the port's whole, put together from parts that each do one thing: ``adding``,
``reading`` (get, follow), ``certifying``, ``reporting`` (sessions, polls, claims, results), ``incoming``
(blobs), and the threads beside them: the feed of the store, ``leadership`` with its ``duties``,
``housekeeping``.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from accord import __version__, logs
from accord.config import JudicatorSettings
from accord.core import ids as names
from accord.core.audit import AuditPolicy
from accord.core.batch import Batch, BatchPage, BatchQuery, BatchView, NewBatch
from accord.core.errors import AlreadyDone, Invalid, NotDone, NotFound
from accord.core.executor import Executor
from accord.core.explain import Surroundings, explain
from accord.core.ids import BatchId, Digest, ExecutorName, SessionId, TaskId
from accord.core.lease import Lease
from accord.core.lifecycle import CancelRequested
from accord.core.limits import CAPS, Limits
from accord.core.policy import Policy
from accord.core.reliability import TrustPolicy
from accord.core.search import Page, Query
from accord.core.standing import Credit
from accord.core.status import Status
from accord.core.task import NewTask, Task
from accord.core.user import Token, User
from accord.core.view import status_of
from accord.ports.assimilator import AUDIT, Assimilator
from accord.ports.blobs import Blobs
from accord.ports.clock import Clock, Ids
from accord.ports.judicator import News, Orders, Pong, Report, TaskView
from accord.ports.judicator import Results as BatchResults
from accord.ports.registry import Member, Registry
from accord.ports.signer import Signer
from accord.ports.store import Feed, Notice, Store
from accord.services.adding import Adding, again
from accord.services.admission import finite
from accord.services.audits import Audits
from accord.services.batches import Batches
from accord.services.certifying import Certifying
from accord.services.changes import Changes
from accord.services.claims import Claims
from accord.services.duties.assimilate import Assimilate
from accord.services.duties.batches import Batches as BatchDuty
from accord.services.duties.batches import alive
from accord.services.duties.duty import Duties, Duty
from accord.services.duties.expire import Expire
from accord.services.duties.finish import Finish
from accord.services.duties.purge import Purge
from accord.services.duties.recount import Recount
from accord.services.duties.sweep_blobs import SweepBlobs
from accord.services.duties.transition import Transition
from accord.services.duties.unsendable import Unsendable
from accord.services.duties.uptime import Uptime
from accord.services.housekeeping import DropOutput, ForgetUploads, Presence
from accord.services.incoming import PIECE, Uploads
from accord.services.leadership import Leadership
from accord.services.looping import Loop
from accord.services.polls import Polls
from accord.services.reading import Reading
from accord.services.reporting import Reporting
from accord.services.reputation import Reputation
from accord.services.results import Results
from accord.services.roster import Roster
from accord.services.sessions import Sessions
from accord.services.steering import Steering
from accord.services.watch import Watchers

FEED_WAIT = 3600.0
"""Seconds for which the feed is asked at once; closing it ends the call."""

_log = logs.get("judicator")


class Judicator:
    """Implements ``ports.judicator.Judicator`` and ``Connections``.

    ``start`` and ``stop`` may each be called twice. Store, blobs and registry belong to the
    caller, who closes them after ``stop``. ``spool`` is a directory for uploads, of this process
    alone; ``address`` is what the registry is told.
    """

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        registry: Registry,
        clock: Clock,
        ids: Ids,
        signer: Signer,
        spool: Path,
        settings: JudicatorSettings | None = None,
        policy: Policy | None = None,
        trust: TrustPolicy | None = None,
        audits: AuditPolicy | None = None,
        caps: Limits = CAPS,
        address: str = "",
        handlers: Mapping[str, Assimilator] | None = None,
    ) -> None:
        settings = settings or JudicatorSettings()
        policy = policy or Policy()
        self._store = store
        self._blobs = blobs
        self._registry = registry
        self._clock = clock
        self._settings = settings
        self._policy = policy
        self._lock = threading.Lock()
        self._started = False
        self._stopped = False
        self._feed: Feed | None = None

        self._roster = Roster(store)
        self._reputation = Reputation(
            store, self._roster, trust or TrustPolicy(), lambda: self.housekeeping.kick()
        )
        self._changes = Changes(
            store, blobs, policy, self._reputation.learn, self._roster.benchmarks
        )
        self._audits = Audits(
            store,
            self._changes,
            self._roster,
            self._reputation,
            ids,
            policy,
            audits or AuditPolicy(),
            settings.weakest_isolation,
        )
        self._sessions = Sessions(store, self._roster, settings.lease, self._reputation.renew)
        self._polls = Polls(clock)
        self._watchers = Watchers(clock)
        self._uploads = Uploads(blobs, clock, spool)
        self._drop_output = DropOutput(store)
        self._reading = Reading(store, blobs, self._watchers)
        self._certifying = Certifying(store, self._reading, signer)
        handlers = handlers or {}
        self._adding = Adding(store, blobs, ids, caps, policy, handlers)
        self._batches = Batches(store, blobs, ids, self._adding, self._watchers)
        self._steering = Steering(store, self._changes, self._roster, self._polls, self._reputation)
        self._reporting = Reporting(
            store,
            clock,
            self._changes,
            self._roster,
            self._sessions,
            self._polls,
            Claims(
                store,
                self._changes,
                self._roster,
                self._reputation,
                policy,
                settings.weakest_isolation,
                ids.jitter,
            ),
            Results(
                store,
                self._changes,
                self._watchers,
                self._drop_output.note,
                self._reputation.policy.hold,
                self._roster.cores,
            ),
        )
        member = Member(name=settings.name, address=address)
        self.duties = Duties(
            self._leader_duties(),
            store,
            clock,
            lambda: self.leadership.leading,
            settings.sweep,
            timed=True,
        )
        """What the leader does, with counters."""
        self.batch_duties = Duties(
            [
                BatchDuty(
                    store,
                    blobs,
                    self._changes,
                    self._adding,
                    self._roster,
                    finishing=lambda: self.slow_duties.kick(),
                )
            ],
            store,
            clock,
            lambda: self.leadership.leading,
            settings.sweep,
        )
        """What the leader does about batches: many at once must not keep the others waiting."""
        self.slow_duties = Duties(
            [
                Assimilate(store, blobs, self._changes, {**handlers, AUDIT: self._audits}),
                Finish(store, blobs, self._adding, settings.finish_bytes),
                Recount(store),
                Purge(store, policy),
            ],
            store,
            clock,
            lambda: self.leadership.leading,
            settings.sweep,
        )
        """What the leader does that may take long."""
        self.leadership = Leadership(registry, clock, member, settings.term, self._kick)
        self.housekeeping = Duties(
            self._own_duties(), store, clock, lambda: True, settings.lease / 5
        )
        """What every judicator does, with counters."""
        self._watching = Loop("feed", self._watch, clock)

    def _leader_duties(self) -> list[Duty]:
        settings = self._settings
        lease = Lease(lease=settings.lease, reconnect=settings.reconnect)
        gap = max(settings.lease / 2, 3 * settings.sweep)
        return [
            Transition(self._store, self._changes, self._reputation, Uptime(gap), settings.lease),
            Expire(
                self._store,
                self._changes,
                self._roster,
                self._sessions,
                self._polls,
                lease,
                Uptime(gap),
            ),
            Unsendable(
                self._store,
                self._changes,
                self._roster,
                self._policy,
                settings.weakest_isolation,
            ),
            SweepBlobs(self._store, self._blobs, settings.blob_grace),
        ]

    def _own_duties(self) -> list[Duty]:
        return [
            Presence(self._roster, self._sessions, self._polls),
            self._reputation,  # after the roster is as the store has it
            self._audits,
            ForgetUploads(self._uploads),
            self._drop_output,
        ]

    def _kick(self) -> None:
        for duties in (self.duties, self.batch_duties, self.slow_duties):
            duties.kick()

    # -- life ----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin: the feed first, so that no write after this goes unseen."""
        with self._lock:
            if self._started or self._stopped:
                return
            self._started = True
        self._uploads.start()
        self._feed = self._store.feed()
        self._roster.refresh()
        self._reputation.flush()
        self._watching.start()
        self.housekeeping.start()
        self.leadership.start()
        self.duties.start()
        self.batch_duties.start()
        self.slow_duties.start()
        _log.info("The judicator serves", extra={"action": "started", "name_": self._settings.name})

    def stop(self) -> None:
        """End: held calls are answered, the term is resigned, what is known is written down."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            started = self._started
        self._polls.close()
        self._watchers.close()
        for duties in (self.duties, self.batch_duties, self.slow_duties):
            duties.stop()
        if started:
            self.leadership.stop()
        self.housekeeping.stop()
        if self._feed is not None:
            self._feed.close()
        self._watching.stop()
        if started:
            self._sessions.flush()
            self._reputation.flush()
            _log.info("The judicator stopped", extra={"action": "stopped"})

    def _watch(self) -> float:
        """Pass on what the store tells of writes, ours and those of other judicators."""
        if self._feed is None:
            self._feed = self._store.feed()
            self._wake_all()
        try:
            notices = self._feed.next(FEED_WAIT)
        except Exception:
            self._feed.close()
            self._feed = None  # what was missed meanwhile is made up for by waking everybody
            raise
        self._pass_on(notices)
        return 0.0

    def _pass_on(self, notices: Sequence[Notice]) -> None:
        """Tell whom it concerns, each once: a commit may have written hundreds of tasks."""
        batches = [notice.batch for notice in notices if notice.batch is not None]
        tasks = [notice.task for notice in notices if notice.task is not None]
        if any(notice.task is None and notice.batch is None for notice in notices):
            self._wake_all()
        self._watchers.wake([*batches, *tasks])
        ready = Counter(notice.ready for notice in notices if notice.ready is not None)
        for class_, number in ready.items():
            self._polls.offer(class_, number=number)
        self._polls.look({name for notice in notices for name in notice.held_by})
        if batches:
            self.batch_duties.kick()

    def _wake_all(self) -> None:
        self._watchers.wake_all()
        self._kick()
        self._polls.look_all()
        self._polls.offer_all()

    # -- users ---------------------------------------------------------------------------

    def ping(self) -> Pong:
        """Whether it works, store included."""
        self._store.next_due()
        return self._pong(self._settings.name, leader=self.leadership.leading)

    def _pong(self, name: str, *, leader: bool) -> Pong:
        return Pong(name=name, version=__version__, now=self._store.now(), leader=leader)

    def add(self, new: Sequence[NewTask]) -> list[Task]:
        """Add tasks, all or none."""
        return self._adding.add(new)

    def cancel(self, id_: TaskId) -> TaskView:
        """Ask for a task's end."""
        changed = self._changes.one(id_, CancelRequested(alive=alive(self._roster)))
        task = changed.task
        if task is None:
            raise NotFound(f"There is no task {id_}.", id=id_)
        view = self._reading.view(task)
        if view.status not in (Status.CANCELLING, Status.CANCELLED):
            raise AlreadyDone(
                f"The task ended as {view.status} before. Retry makes a new task of it.",
                id=id_,
                status=view.status,
            )
        return view

    def retry(self, id_: TaskId) -> Task:
        """A new task of the same content."""
        task = self._done(id_)
        return self._adding.add([again(task, id_)])[0]

    def purge(self, id_: TaskId) -> None:
        """Remove a done task for good."""
        self._done(id_)
        self._store.purge([id_])

    def _done(self, id_: TaskId) -> Task:
        task = self._reading.task(id_)
        status = status_of(task)
        if not status.done:
            raise NotDone(
                f"The task is {status}. Wait for it, or cancel it first.", id=id_, status=status
            )
        return task

    def search(self, query: Query) -> Page:
        """A page of tasks."""
        if not 1 <= query.limit <= 1000:
            raise Invalid("limit must lie between 1 and 1000.", field="limit")
        if query.cursor is not None and names.task_id(query.cursor) != query.cursor:
            raise Invalid("cursor must be one that a page gave.", field="cursor")
        if query.slowest_first and (query.batch is None or query.cursor is not None):
            raise Invalid("The slowest tasks are listed of one batch, on one page.", field="order")
        return self._store.search(query)

    # -- batches -------------------------------------------------------------------------

    def create_batch(self, new: NewBatch) -> Batch:
        """Create a batch."""
        return self._batches.create(new)

    def extend_batch(self, id_: BatchId, at: int, tasks: Sequence[NewTask], close: bool) -> Batch:  # noqa: FBT001  # the port's
        """Add tasks to a batch, and close it if asked to."""
        return self._batches.extend(id_, at, tasks, close=close)

    def batch(self, id_: BatchId, wait: float = 0.0) -> BatchView:
        """The batch, now or when it is done."""
        return self._batches.get(id_, finite(wait))

    def batches(self, query: BatchQuery) -> BatchPage:
        """A page of batches."""
        return self._batches.page(query)

    def cancel_batch(self, id_: BatchId) -> BatchView:
        """Ask for the end of a batch and of all of its tasks."""
        return self._batches.cancel(id_)

    def retry_batch(self, id_: BatchId) -> BatchView:
        """Submit again what ended badly."""
        return self._batches.retry(id_)

    def purge_batch(self, id_: BatchId) -> None:
        """Remove a done batch with its tasks for good."""
        self._batches.purge(id_)

    def results(self, id_: BatchId, cursor: str, limit: int) -> BatchResults:
        """A piece of the results of a batch."""
        return self._batches.results(id_, cursor, limit)

    # -- tasks, again --------------------------------------------------------------------

    def counts(self) -> dict[Status, int]:
        """How many tasks there are by status."""
        return self._store.counts()

    def get(self, id_: TaskId, wait: float = 0.0) -> TaskView:
        """The task, now or when it is done."""
        return self._reading.get(id_, finite(wait))

    def follow(self, id_: TaskId, cursor: str, wait: float) -> News:
        """What happened to the task since the cursor."""
        return self._reading.follow(id_, cursor, finite(wait))

    def explain(self, id_: TaskId) -> str:
        """Why the task is in its state, and what happens next."""
        view = self._reading.view(self._reading.task(id_))
        around = Surroundings(
            now=self._store.now(),
            executors=tuple(self.executors()),
            weakest=self._settings.weakest_isolation,
            position=self._store.position(view.task),
            phases=view.phases,
            policy=self._policy,
        )
        return explain(view.task, around)

    def certificate(self, id_: TaskId) -> bytes:
        """A certificate of the task's result."""
        return self._certifying.certificate(id_)

    def public_key(self) -> bytes:
        """The key by which the cluster signs."""
        return self._certifying.public_key()

    # -- executors -----------------------------------------------------------------------

    def report(self, report: Report) -> Orders:
        """An executor's push or poll."""
        sound = msgspec.structs.replace(report, wait=finite(report.wait))
        return self._reporting.report(sound)

    def connection_opened(self, executor: ExecutorName, session: SessionId, kind: str) -> None:
        """A connection brought its first report of that session."""
        self._sessions.opened(executor, session, kind)

    def connection_closed(self, executor: ExecutorName, session: SessionId, kind: str) -> None:
        """A connection that was opened has ended."""
        self._sessions.closed(executor, session, kind, self._store.now())

    def executors(self) -> list[Executor]:
        """All executors that are known."""
        now = self._store.now()
        return [self._listed(executor, now) for executor in self._store.executors()]

    def _listed(self, executor: Executor, now: float) -> Executor:
        return msgspec.structs.replace(
            executor,
            last_report=self._sessions.last_report(executor),
            standings=self._reputation.standings(executor, now),
        )

    def steer(self, name: ExecutorName, verb: str) -> Executor:
        """Drain, quarantine, release or forget an executor."""
        return self._listed(self._steering.steer(name, verb), self._store.now())

    def credit(self) -> Credit:
        """What users and owners were granted."""
        return self._store.credit()

    def judicators(self) -> list[Pong]:
        """All judicators that are registered."""
        leader = self._registry.leader()
        return [
            self._pong(member.name, leader=member.name == leader)
            for member in self._registry.judicators()
        ]

    # -- tokens and blobs ----------------------------------------------------------------

    def authenticate(self, hash_: str) -> Token | None:
        """The live token with that hash."""
        token = self._store.token_by_hash(hash_)
        return token if token is not None and token.alive(self._store.now()) else None

    def put_token(self, token: Token) -> None:
        """Store a token, new or changed."""
        names.name(token.user, "user")
        names.digest(token.hash)
        self._store.put_token(token, User(name=token.user, created=self._store.now()))

    def tokens(self) -> list[Token]:
        """All tokens."""
        return self._store.tokens()

    def write_blob(self, upload: str, offset: int, data: bytes) -> None:
        """Append to an upload."""
        self._uploads.write(upload, offset, data)

    def commit_blob(self, upload: str) -> tuple[Digest, int]:
        """Make an upload a blob."""
        return self._uploads.commit(upload)

    def read_blob(self, digest: Digest, offset: int, size: int) -> bytes:
        """A piece of a blob."""
        if offset < 0 or size < 0:
            raise Invalid("offset and size must not be negative.", field="offset")
        return b"".join(self._blobs.read(names.digest(digest), offset, min(size, PIECE)))

    def blob_size(self, digest: Digest) -> int | None:
        """A blob's size."""
        return self._blobs.size(names.digest(digest))
