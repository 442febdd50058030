"""What this executor holds: replicas that wait, run, or are finished and not yet stored.

The slots, the two links and the uploader meet here and nowhere else: one lock, one condition. A
replica is in here from the moment it is assigned until a judicator says that its end is stored, so
that what a poll names is always the whole. What a push carries is worked out in ``outbox``.
"""

from __future__ import annotations

import enum
import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence

from accord.core.ids import SessionId, TaskId
from accord.core.replica import Phase, Result
from accord.ports.clock import Clock
from accord.ports.judicator import Assignment, Finished, Held
from accord.ports.sandbox import Box
from accord.services.capture import Capture
from accord.services.pace import Pace
from accord.services.spool import Key, Spooled

PHASE_DELAY = 0.03
"""Seconds for which a new phase waits to be told."""
OUTPUT_DELAY = 0.03
"""Seconds for which live output waits for more."""
REMEMBERED = 10_000
"""Replicas remembered after they left, so that a belated answer does not run them once more."""


class Why(enum.Enum):
    """Why a run is stopped from outside."""

    CANCELLED = "cancelled"
    STOPPING = "stopping"


class Job:
    """One replica here. Its fields change under the lock of Holdings, save ``stop``, which anyone
    may look at, and ``streams``, to which only the run adds.
    """

    def __init__(self, key: Key, session: SessionId, assignment: Assignment | None = None) -> None:
        self.key = key
        self.session = session
        self.assignment = assignment
        """None for one that was restored from the spool, or never came."""
        self.since = 0.0
        """When it came, or entered its slot."""
        self.stop = threading.Event()
        self.why: Why | None = None
        self.box: Box | None = None
        self.phase: Phase | None = None
        self.phase_since = 0.0
        self.phase_told: Phase | None = None
        self.streams: dict[str, Capture] = {}
        self.acknowledged: dict[str, int] = {}
        """By stream, how much of the live output a judicator has."""
        self.output_since: float | None = None
        """When the oldest byte came that no push has carried; None where there is none."""
        self.output_last = 0.0
        """Not before this may the next live output be sent."""
        self.finished: Finished | None = None
        self.spooled: Spooled | None = None
        self.uploaded_at: float | None = None
        self.refusals = 0
        self.retry_at = 0.0

    @property
    def work(self) -> Assignment:
        """What is to be run. Raises ValueError for a job that came without."""
        if self.assignment is None:
            raise ValueError("This replica was never assigned here.")
        return self.assignment

    @property
    def waits(self) -> bool:
        """Whether it is to be run, and no slot has it."""
        return self.assignment is not None and self.phase is None and self.finished is None

    @property
    def needs_upload(self) -> bool:
        """Whether blobs of its result must be sent before the result."""
        return self.spooled is not None and bool(self.spooled.files) and self.uploaded_at is None

    @property
    def sendable(self) -> bool:
        """Whether its end can be pushed."""
        return self.finished is not None and not self.needs_upload


class Holdings:
    """See the module's docstring. One lock, with a condition for each kind of waiter, so that a
    change wakes those whom it concerns: ``changed`` the pollers, ``work`` the slots, ``outgoing`` the
    pusher, ``uploads`` the uploader, ``fewer`` whoever waits for the end. Holding any holds the lock.

    ``spool_full`` says that results could not be kept, so that no more work is asked for.
    """

    def __init__(
        self, clock: Clock, slots: int, spool_full: Callable[[], bool] = lambda: False
    ) -> None:
        lock = threading.RLock()
        self.changed = threading.Condition(lock)
        self.work = threading.Condition(lock)
        self.outgoing = threading.Condition(lock)
        self.uploads = threading.Condition(lock)
        self.fewer = threading.Condition(lock)
        self.draining = False
        self.ended = threading.Event()
        """Set by ``close``."""
        self.push_at = math.inf
        """When (monotonic) the pusher, which waits, wakes by itself."""
        self._clock = clock
        self._spool_full = spool_full
        self._was_full = False
        self._slots = slots
        self._running: set[Job] = set()
        self._pace = Pace()
        self._jobs: dict[Key, Job] = {}
        self._waiting: deque[Job] = deque()
        self._settled: OrderedDict[tuple[TaskId, int, SessionId], None] = OrderedDict()

    @property
    def closed(self) -> bool:
        """Whether every thread that works on this must end."""
        return self.ended.is_set()

    # -- for the poll --------------------------------------------------------------------

    def vacant(self) -> int:
        """Slots that are free for new work now; one whose run is being killed is not."""
        with self.changed:
            return max(0, self._room())

    def wanted(self) -> int:
        """How much new work there is room for: ``vacant``, and, where runs are short, as much
        ahead as would follow on the slots at once.
        """
        with self.changed:
            return max(0, self._room() + self._ahead())

    def hungry(self) -> bool:
        """Whether a slot is free, or may soon be without what is to follow."""
        with self.changed:
            ahead = self._ahead()
            return self._room() > 0 or (ahead > 0 and 2 * len(self._waiting) <= ahead)

    def _room(self) -> int:
        self._was_full = self._spool_full()
        if self.draining or self.closed or self._was_full:
            return 0
        return self._slots - len(self._running) - len(self._waiting)

    def _ahead(self) -> int:
        """A slot whose run has turned out to be long is not asked ahead for."""
        each = self._pace.ahead
        if not each or self.draining or self.closed or self._was_full:
            return 0
        now, short = self._clock.monotonic(), self._pace.short
        return each * (self._slots - sum(now - job.since > short for job in self._running))

    def travelled(self, seconds: float) -> None:
        """A poll took that long, beyond what the judicator held it for."""
        with self.changed:
            self._pace.travelled(seconds)

    @property
    def patience(self) -> float:
        """Seconds for which work that was asked for ahead may wait for a slot."""
        return self._pace.patience

    def return_stale(self) -> None:
        """Hand back what has waited for longer: others may be idle."""
        with self.changed:
            before = self._clock.monotonic() - self._pace.patience
            for job in [job for job in self._waiting if job.since <= before]:
                self._stop(job, Why.STOPPING)

    def holds(self) -> tuple[Held, ...]:
        """Everything here, whole."""
        with self.changed:
            return tuple(
                Held(task=job.key[0], number=job.key[1], session=job.session, phase=job.phase)
                for job in self._jobs.values()
            )

    def assign(self, assignments: Sequence[Assignment]) -> int:
        """Take new work; how much of it was new. While draining it is handed back at once."""
        with self.changed:
            return sum(self._assign(assignment) for assignment in assignments)

    def _assign(self, new: Assignment) -> bool:
        key = (new.task.id, new.number)
        if key in self._jobs or (*key, new.session) in self._settled:
            return False
        job = self._jobs[key] = Job(key, new.session, new)
        if self.draining or self.closed:
            job.finished = without_result(job, killed=False)
            self.outgoing.notify()
        else:
            job.since = self._clock.monotonic()
            self._waiting.append(job)
            self.work.notify()
        return True

    def cancel(self, keys: Iterable[Key], session: SessionId) -> int:
        """Stop these; how many of them were news.

        One that never came here (its assignment was lost on the way) is reported as killed under
        ``session`` and will not be taken any more.
        """
        with self.changed:
            stopped = [self._cancel(key, session) for key in keys]
            boxes = [job.box for job in stopped if job and job.box]
        for box in boxes:
            box.kill()
        return sum(job is not None for job in stopped)

    def _cancel(self, key: Key, session: SessionId) -> Job | None:
        job = self._jobs.get(key)
        if job is None:
            if (*key, session) in self._settled:
                return None
            job = self._jobs[key] = Job(key, session)
        elif job.finished is not None or job.stop.is_set():
            return None
        self._stop(job, Why.CANCELLED)
        return job

    def _stop(self, job: Job, why: Why) -> None:
        if job.why is None:
            job.why = why
        job.stop.set()
        if job in self._waiting:
            self._waiting.remove(job)
        if job.phase is None:  # no slot has it, so its box is as empty as can be
            job.finished = without_result(job, killed=why is Why.CANCELLED)
            self.outgoing.notify()
            self.changed.notify_all()

    # -- for the slots -------------------------------------------------------------------

    def take(self) -> Job | None:
        """Wait for work and occupy a slot with it; None when there will be no more."""
        with self.changed:
            while not self._waiting and not self.closed:
                self._clock.wait(self.work, None)
            if self.closed:
                return None
            job = self._waiting.popleft()
            self._running.add(job)
            self._enter(job, Phase.FETCHING)
            job.since = job.phase_since
            if self._ahead() and self.hungry():
                self.changed.notify_all()
            return job

    def attach(self, job: Job, box: Box | None) -> None:
        """Note the box of a run, so that stopping the run kills what is in it."""
        with self.changed:
            job.box = box

    def enter(self, job: Job, phase: Phase) -> None:
        """The run has come to that phase."""
        with self.changed:
            self._enter(job, phase)

    def _enter(self, job: Job, phase: Phase) -> None:
        job.phase = phase
        job.phase_since = self._clock.monotonic()
        self._due(job.phase_since + PHASE_DELAY)

    def _due(self, at: float) -> None:
        """Something can go out then: wake the pusher, unless it wakes by then anyway."""
        if at < self.push_at:
            self.push_at = at
            self.outgoing.notify()

    def noticed(self, job: Job) -> None:
        """Output of the run has come."""
        if job.output_since is not None:  # it is known; a stale look costs one turn of the lock
            return
        with self.changed:
            job.output_since = self._clock.monotonic()
            self._due(max(job.output_since + OUTPUT_DELAY, job.output_last))

    def finish(
        self, job: Job, finished: Finished, spooled: Spooled | None, *, reusable: bool = True
    ) -> None:
        """The run is over; the slot is free again, or out of service where not ``reusable``."""
        with self.changed:
            job.finished, job.spooled, job.box = finished, spooled, None
            self._running.remove(job)
            now = self._clock.monotonic()
            if isinstance(finished.end, Result):
                self._pace.ran(now - job.since)
            if self._waiting:  # the slot has more to run: what comes of that may go along
                job.retry_at = now + self._pace.linger
            self._slots -= not reusable
            if job.needs_upload:
                self.uploads.notify()
            else:
                self._due(job.retry_at)
            if self._room() > 0:
                self.changed.notify_all()
            self.fewer.notify_all()

    @property
    def slots(self) -> int:
        """Slots in service."""
        return self._slots

    # -- for whoever delivers ------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """All that is here, oldest assignment first."""
        with self.changed:
            return list(self._jobs.values())

    def restore(self, entries: Sequence[Spooled]) -> None:
        """Take over what an earlier process had spooled."""
        with self.changed:
            for entry in entries:
                job = self._jobs[entry.key] = Job(entry.key, entry.finished.session)
                job.finished, job.spooled = entry.finished, entry

    def settle(self, key: Key) -> None:
        """Its end is stored: forget it, but for the memory that it was here."""
        with self.changed:
            job = self._jobs.pop(key, None)
            if job is not None:
                self._settled[(*key, job.session)] = None
            while len(self._settled) > REMEMBERED:
                self._settled.popitem(last=False)
            if self._was_full:  # then there is room for more work now
                self.changed.notify_all()
            self.fewer.notify_all()

    def notify_everyone(self) -> None:
        """Something changed that concerns all."""
        with self.changed:
            for condition in (self.changed, self.work, self.outgoing, self.uploads, self.fewer):
                condition.notify_all()

    # -- for the end ---------------------------------------------------------------------

    def drain(self) -> None:
        """Take no more work, and hand back what waits."""
        with self.changed:
            self.draining = True
            for job in list(self._waiting):
                self._stop(job, Why.STOPPING)
            self.notify_everyone()

    def stop_all(self) -> None:
        """Kill what runs, because the executor ends."""
        with self.changed:
            running = [job for job in self._jobs.values() if job.finished is None]
            for job in running:
                self._stop(job, Why.STOPPING)
            boxes = [job.box for job in running if job.box]
        for box in boxes:
            box.kill()

    def wait_for_runs(self, timeout: float | None) -> bool:
        """Wait until no slot is busy; False where that took longer than ``timeout`` seconds."""
        return self._wait(lambda: not self._running, timeout)

    def wait_for_delivery(self, timeout: float) -> bool:
        """Wait until nothing is held; False where that took longer than ``timeout`` seconds."""
        return self._wait(lambda: not self._jobs, timeout)

    def close(self) -> None:
        """Let every thread that waits here end."""
        with self.changed:
            self.ended.set()
            self.notify_everyone()

    def _wait(self, over: Callable[[], bool], timeout: float | None) -> bool:
        end = None if timeout is None else self._clock.monotonic() + timeout
        with self.fewer:
            while not over():
                left = None if end is None else end - self._clock.monotonic()
                if left is not None and left <= 0:
                    return False
                self._clock.wait(self.fewer, left)
        return True


def without_result(job: Job, *, killed: bool) -> Finished:
    """The end of a replica of which no program ran: killed on request, or handed back."""
    task, number = job.key
    return Finished(
        task=task, number=number, session=job.session, end=None, killed=killed, started=False
    )
