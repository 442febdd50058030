"""One thread that writes, for all: group commit.

A caller hands in a job and waits until it is committed and synced. What arrives while one commit
is under way goes into the next, so a sync is shared by whoever needed one; on an idle store a job
is begun at once and waits for nobody.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from accord import logs
from accord.adapters.embedded.database import translate
from accord.core.errors import Unavailable

T = TypeVar("T")

MOST = 1000
"""Jobs of one commit, so that the first of them does not wait for ever."""

_log = logs.get("store")


class _Job(Generic[T]):
    """Some statements, and whoever waits for them. ``run`` may be called again after a rollback."""

    def __init__(self, run: Callable[[sqlite3.Connection], T], after: Callable[[T], None]) -> None:
        self.run = run
        self.after = after
        self.result: T | None = None
        self.error: Exception | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def attempt(self, db: sqlite3.Connection) -> None:
        self.result = self.run(db)

    def finish(self) -> None:
        self.after(self.result)  # type: ignore[arg-type]  # run has set it


def _nothing(_: object) -> None:
    return None


class Writer:
    """Owns the writing connection, which ``close`` closes."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._changed = threading.Condition()
        self._waiting: list[_Job[object]] = []
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    def do(
        self, run: Callable[[sqlite3.Connection], T], after: Callable[[T], None] = _nothing
    ) -> T:
        """Run the statements in the next commit; returns once they are durable.

        ``after`` is called with the result between the commit and the return, by the writer, in
        the order of the writes. Raises what ``run`` raised, and Unavailable or Corrupt where the
        database failed.
        """
        job = _Job(run, after)
        self._submit(job)
        job.done.acquire()
        if job.error is not None:
            raise translate(job.error) from job.error
        return job.result  # type: ignore[return-value]  # run has set it

    def begin(self, run: Callable[[sqlite3.Connection], None]) -> None:
        """Run the statements in some later commit, without waiting: best effort."""
        self._submit(_Job(run, _nothing))

    def _submit(self, job: _Job[T]) -> None:
        with self._changed:
            if self._closing:
                raise Unavailable("The store is closed.")
            self._waiting.append(job)  # type: ignore[arg-type]  # the result is the job's own affair
            self._changed.notify()

    def close(self) -> None:
        """Finish what was accepted, then close the connection; may be called twice."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    # -- the thread ----------------------------------------------------------------------

    def _work(self) -> None:
        while jobs := self._next():
            self._commit(jobs)
        with contextlib.suppress(sqlite3.Error):  # all is in the log anyway, which is read again
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    def _next(self) -> list[_Job[object]]:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            jobs, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            return jobs

    def _commit(self, jobs: list[_Job[object]]) -> None:
        try:
            self._together(jobs)
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to the callers
            self._fail(jobs, error)
        for job in jobs:
            if job.error is None:
                self._finish(job)
        for job in jobs:
            job.done.release()

    def _finish(self, job: _Job[object]) -> None:
        try:
            job.finish()
        except Exception:  # noqa: BLE001  # it is committed, and all callers must have their answers
            _log.exception("Telling of a write failed", extra={"action": "tell_failed"})

    def _together(self, jobs: list[_Job[object]]) -> None:
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            self._attempt(jobs)
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")

    def _attempt(self, jobs: list[_Job[object]]) -> None:
        """All jobs; where one fails, all are undone and run again, each for itself."""
        self._db.execute("SAVEPOINT jobs")
        try:
            for job in jobs:
                job.attempt(self._db)
        except Exception:
            if not self._db.in_transaction:  # SQLite gave up the whole: disk full, an I/O error
                raise
            self._db.execute("ROLLBACK TO jobs")
            for job in jobs:
                self._attempt_alone(job)
        self._db.execute("RELEASE jobs")

    def _attempt_alone(self, job: _Job[object]) -> None:
        self._db.execute("SAVEPOINT job")
        try:
            job.attempt(self._db)
        except Exception as error:
            if not self._db.in_transaction:
                raise
            self._db.execute("ROLLBACK TO job")
            job.error = error
        self._db.execute("RELEASE job")

    def _fail(self, jobs: list[_Job[object]], error: Exception) -> None:
        _log.error(
            "A commit failed",
            extra={"action": "commit_failed", "jobs": len(jobs), "error": str(error)},
        )
        for job in jobs:
            job.error = job.error or error
