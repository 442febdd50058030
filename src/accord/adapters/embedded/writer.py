"""One thread that writes, for all: group commit.

A caller hands in a job and waits until it is committed and synced. What arrives while one commit
is under way goes into the next, so a sync is shared by whoever needed one; on an idle store a job
is begun at once and waits for nobody.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from accord import logs
from accord.adapters.embedded.database import translate
from accord.core.errors import Unavailable

A = TypeVar("A")
T = TypeVar("T")

MOST = 1000
"""Jobs of one commit, so that the first of them does not wait for ever."""

_log = logs.get("store")


class _Job(Generic[T]):
    """Some statements, and whoever waits for them. They may be run again after a rollback."""

    def __init__(
        self,
        many: Callable[[sqlite3.Connection, Sequence[Any]], Sequence[T]],
        argument: object,
        after: Callable[[T], None],
    ) -> None:
        self.many = many
        self.argument = argument
        self.after = after
        self.result: T | None = None
        self.error: Exception | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def finish(self) -> None:
        self.after(self.result)  # type: ignore[arg-type]  # the statements have set it


def _run(db: sqlite3.Connection, jobs: Sequence[_Job[Any]]) -> None:
    results = jobs[0].many(db, [job.argument for job in jobs])
    for job, result in zip(jobs, results, strict=True):
        job.result = result


def _one_by_one(
    db: sqlite3.Connection, calls: Sequence[Callable[[sqlite3.Connection], T]]
) -> list[T]:
    return [call(db) for call in calls]


def _nothing(_: object) -> None:
    return None


def _grouped(jobs: Sequence[_Job[Any]]) -> Iterator[list[_Job[Any]]]:
    """First those that share statements, by what they share; then the others, as they came."""
    shared: dict[object, list[_Job[Any]]] = {}
    for job in jobs:
        shared.setdefault(job.many, []).append(job)
    others = shared.pop(_one_by_one, [])
    yield from shared.values()
    if others:
        yield others


class Writer:
    """Owns the writing connection, which ``close`` closes."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._changed = threading.Condition()
        self._waiting: list[_Job[Any]] = []
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
        return self.do_with_others(_one_by_one, run, after)

    def do_with_others(
        self,
        many: Callable[[sqlite3.Connection, Sequence[A]], Sequence[T]],
        argument: A,
        after: Callable[[T], None] = _nothing,
    ) -> T:
        """As ``do``, for what is cheaper for several callers at once: ``many`` gets the arguments
        of all callers that gave the same function, and answers each. Such jobs may go before
        others of the same commit.
        """
        job = _Job(many, argument, after)
        self._submit(job)
        job.done.acquire()
        if job.error is not None:
            raise translate(job.error) from job.error
        return job.result  # type: ignore[return-value]  # the statements have set it

    def begin(self, run: Callable[[sqlite3.Connection], None]) -> None:
        """Run the statements in some later commit, without waiting: best effort."""
        self.begin_with_others(_one_by_one, run)

    def begin_with_others(
        self,
        many: Callable[[sqlite3.Connection, Sequence[A]], Sequence[T]],
        argument: A,
        after: Callable[[T], None] = _nothing,
    ) -> None:
        """As ``do_with_others``, without waiting: best effort."""
        self._submit(_Job(many, argument, after))

    def _submit(self, job: _Job[Any]) -> None:
        with self._changed:
            if self._closing:
                raise Unavailable("The store is closed.")
            self._waiting.append(job)
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

    def _next(self) -> list[_Job[Any]]:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            jobs, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            return jobs

    def _commit(self, jobs: list[_Job[Any]]) -> None:
        try:
            self._together(jobs)
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to the callers
            self._fail(jobs, error)
        for job in jobs:
            if job.error is None:
                self._finish(job)
        for job in jobs:
            job.done.release()

    def _finish(self, job: _Job[Any]) -> None:
        try:
            job.finish()
        except Exception:  # noqa: BLE001  # it is committed, and all callers must have their answers
            _log.exception("Telling of a write failed", extra={"action": "tell_failed"})

    def _together(self, jobs: list[_Job[Any]]) -> None:
        """All jobs in one transaction; where one fails, in another where each is for itself."""
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                for group in _grouped(jobs):
                    _run(db, group)
            except Exception:
                if not db.in_transaction:  # SQLite gave up the whole: disk full, an I/O error
                    raise
                db.execute("ROLLBACK")
                db.execute("BEGIN IMMEDIATE")
                for job in jobs:
                    self._attempt_alone(job)
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")

    def _attempt_alone(self, job: _Job[Any]) -> None:
        self._db.execute("SAVEPOINT job")
        try:
            _run(self._db, [job])
        except Exception as error:
            if not self._db.in_transaction:
                raise
            self._db.execute("ROLLBACK TO job")
            job.error = error
        self._db.execute("RELEASE job")

    def _fail(self, jobs: list[_Job[Any]], error: Exception) -> None:
        _log.error(
            "A commit failed",
            extra={"action": "commit_failed", "jobs": len(jobs), "error": str(error)},
        )
        for job in jobs:
            job.error = job.error or error
