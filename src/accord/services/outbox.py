"""What the next push carries, and what its answer changes.

Finished results go at once. A phase and live output wait for a few milliseconds, so that a program
which is over by then costs one push, not three; then at most one piece of output goes out each 100
ms and replica, so that a program that writes without end does not fill the line. All of a stream is
in the result anyway: live output of a finished replica is not sent any more.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from accord.core import documents
from accord.ports.clock import Clock
from accord.ports.judicator import Finished, Held, Orders
from accord.ports.store import Chunk
from accord.services.holdings import OUTPUT_DELAY, PHASE_DELAY, Holdings, Job
from accord.services.spool import Key, Spool

PIECE = 64 << 10
"""Bytes of one stream in one push."""
MOST_OUTPUT = 1 << 20
"""Bytes of live output in one push."""
MOST_RESULTS = 2 << 20
"""Bytes of results in one push, where there are several: far below what a frame may hold."""
OUTPUT_PAUSE = 0.1
UPLOAD_HOLDS = 1200.0
"""Seconds after which a blob that no stored result names yet is sent again: it may be swept."""
_REFUSED_FIRST, _REFUSED_MOST = 0.2, 5.0
"""Seconds before a result is repeated that was neither stored nor refused for good."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What a push carries."""

    complete: tuple[Finished, ...] = ()
    progress: tuple[Held, ...] = ()
    output: tuple[Chunk, ...] = ()


class Outbox:
    """See the module's docstring. One thread uses it."""

    def __init__(self, holdings: Holdings, spool: Spool, clock: Clock) -> None:
        self._holdings = holdings
        self._spool = spool
        self._clock = clock

    def due(self) -> float | None:
        """When (monotonic) there is something to send; None where nothing waits to be sent."""
        patience = self._holdings.patience
        dues = (at for job in self._holdings.jobs() for at in _due(job, patience))
        return min(dues, default=None)

    def collect(self) -> Batch:
        """Everything that is due now, within the bounds of one push."""
        now = self._clock.monotonic()
        self._holdings.return_stale()
        jobs = self._holdings.jobs()
        self._renew_uploads(jobs, now)
        ended = (j.finished for j in jobs if j.finished and j.sendable and _goes(j, now))
        entered = [job for job in jobs if _phase_due(job, now)]
        return Batch(
            complete=tuple(_within(ended)),
            progress=tuple(
                Held(task=j.key[0], number=j.key[1], session=j.session, phase=j.phase)
                for j in entered
            ),
            output=tuple(_bounded(c for j in jobs if _output_due(j, now) for c in _chunks(j))),
        )

    def _renew_uploads(self, jobs: list[Job], now: float) -> None:
        stale = [
            j for j in jobs if j.uploaded_at is not None and j.uploaded_at + UPLOAD_HOLDS < now
        ]
        with self._holdings.changed:
            for job in stale:
                job.uploaded_at = None
            if stale:
                self._holdings.uploads.notify()

    def answered(self, batch: Batch, orders: Orders) -> None:
        """The push came back with these orders."""
        stored = set(orders.stored)
        for finished in batch.complete:
            key = (finished.task, finished.number)
            if key in stored:
                self._spool.remove(key)
                self._holdings.settle(key)
        with self._holdings.changed:
            jobs = {job.key: job for job in self._holdings.jobs()}
            self._repeat_later(batch, jobs)
            for held in batch.progress:
                if job := jobs.get((held.task, held.number)):
                    job.phase_told = held.phase
            self._output_answered(batch, jobs, stored=orders.output_stored)

    def failed(self, batch: Batch) -> None:
        """The judicator was away for a while. Live output is the one thing that a judicator may
        have lost after it acknowledged it, so it begins anew; what is there already is passed over.
        """
        with self._holdings.changed:
            jobs = {job.key: job for job in self._holdings.jobs()}
            self._output_answered(batch, jobs, stored=False)

    def _repeat_later(self, batch: Batch, jobs: dict[Key, Job]) -> None:
        for finished in batch.complete:
            job = jobs.get((finished.task, finished.number))
            if job is not None:
                pause = min(_REFUSED_MOST, _REFUSED_FIRST * 2**job.refusals)
                job.retry_at = self._clock.monotonic() + pause
                job.refusals = min(job.refusals + 1, 10)

    def _output_answered(self, batch: Batch, jobs: dict[Key, Job], *, stored: bool) -> None:
        now = self._clock.monotonic()
        for chunk in batch.output:
            job = jobs.get((chunk.task, chunk.number))
            if job is None:
                continue
            # Not stored: what is there may have been lost too, so the stream begins anew.
            reached = chunk.offset + len(chunk.data) if stored else 0
            job.acknowledged[chunk.stream] = reached
            job.output_last = now + OUTPUT_PAUSE
        for job in {
            (c.task, c.number): jobs.get((c.task, c.number)) for c in batch.output
        }.values():
            if job is not None:
                job.output_since = None
                if any(c.size > job.acknowledged.get(n, 0) for n, c in list(job.streams.items())):
                    job.output_since = now


def _goes(job: Job, now: float) -> bool:
    """Whether its end goes with a push: one that only waits for others goes with any."""
    return job.retry_at <= now or not job.refusals


def _due(job: Job, patience: float) -> Iterator[float]:
    if job.waits:
        yield job.since + patience
    if job.finished is not None:
        if job.sendable:
            yield job.retry_at
        return
    if job.phase is not None and job.phase is not job.phase_told:
        yield job.phase_since + PHASE_DELAY
    if job.output_since is not None:
        yield max(job.output_since + OUTPUT_DELAY, job.output_last)


def _phase_due(job: Job, now: float) -> bool:
    changed = job.finished is None and job.phase is not None and job.phase is not job.phase_told
    return changed and job.phase_since + PHASE_DELAY <= now


def _output_due(job: Job, now: float) -> bool:
    if job.finished is not None or job.output_since is None:
        return False
    return max(job.output_since + OUTPUT_DELAY, job.output_last) <= now


def _chunks(job: Job) -> Iterator[Chunk]:
    for name, stream in list(job.streams.items()):
        offset = job.acknowledged.get(name, 0)
        if data := stream.read(offset, PIECE):
            yield Chunk(task=job.key[0], number=job.key[1], stream=name, offset=offset, data=data)


def _within(ended: Iterator[Finished]) -> Iterator[Finished]:
    total = 0
    for finished in ended:
        total += len(documents.encode(finished))
        yield finished
        if total > MOST_RESULTS:
            return


def _bounded(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    total = 0
    for chunk in chunks:
        total += len(chunk.data)
        if total > MOST_OUTPUT:
            return
        yield chunk
