"""Sends the blobs of finished results, on a thread of its own, so that a large output delays neither
the heartbeat nor other results. A result is pushed once all its blobs are there.
"""

from __future__ import annotations

from pathlib import Path

from accord import logs
from accord.core.errors import AccordError, Corrupt
from accord.core.ids import Digest
from accord.core.replica import ErrorClass, Failure
from accord.ports.clock import Clock, Ids
from accord.ports.judicator import Finished, Judicator
from accord.services.backoff import Backoff
from accord.services.holdings import Holdings, Job
from accord.services.spool import Spool, chunks_of

PIECE = 1 << 20

_log = logs.get("executor.uploads")


class Uploader:
    """See the module's docstring. ``run`` is the body of its thread."""

    def __init__(
        self, judicator: Judicator, holdings: Holdings, spool: Spool, clock: Clock, ids: Ids
    ) -> None:
        self._judicator = judicator
        self._holdings = holdings
        self._spool = spool
        self._clock = clock
        self._ids = ids
        self._backoff = Backoff(ids)

    def run(self) -> None:
        """Upload until the holdings are closed."""
        while (job := self._next()) is not None:
            try:
                self._upload(job)
                self._backoff.reset()
            except (Corrupt, OSError) as error:
                self._give_up(job, error)
            except AccordError as error:
                _log.warning(
                    "An output could not be sent yet",
                    extra={"action": "upload_retry", "task": job.key[0], "why": error.message},
                )
                self._clock.wait_event(self._holdings.ended, self._backoff.next())

    def _next(self) -> Job | None:
        with self._holdings.uploads:
            while not self._holdings.closed:
                job = next((j for j in self._holdings.jobs() if j.needs_upload), None)
                if job is not None:
                    return job
                self._clock.wait(self._holdings.uploads, None)
        return None

    def _upload(self, job: Job) -> None:
        files = job.spooled.files if job.spooled else {}
        for digest, name in files.items():
            self._send(digest, self._spool.file(job.key, name))
        with self._holdings.changed:
            job.uploaded_at = self._clock.monotonic()
            self._holdings.outgoing.notify()

    def _send(self, digest: Digest, path: Path) -> None:
        upload = self._ids.token()[1]
        offset = 0
        for piece in chunks_of(path, PIECE):
            self._judicator.write_blob(upload, offset, piece)
            offset += len(piece)
        if offset == 0 or self._judicator.commit_blob(upload)[0] != digest:
            raise Corrupt("A spooled output is not what it was when it was written.")

    def _give_up(self, job: Job, error: Exception) -> None:
        _log.error(
            "A spooled output is damaged; its replica will run again",
            extra={"action": "spool_damaged", "task": job.key[0], "why": str(error)},
        )
        message = "The executor's disk damaged the result before it was stored."
        failure = Failure(error_class=ErrorClass.INTERNAL_FAIL, message=message, started=True)
        self._spool.set_aside(job.key)
        with self._holdings.changed:
            job.spooled = None
            job.finished = Finished(
                task=job.key[0], number=job.key[1], session=job.session, end=failure
            )
            self._holdings.outgoing.notify()
