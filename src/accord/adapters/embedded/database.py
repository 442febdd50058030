"""Opening the SQLite file: pragmas, migrations, and a pool of connections that read.

Several processes may have the file open: the command line stores tokens in it while the
judicator runs. So write transactions are short, and everybody waits ``BUSY`` seconds for them.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from accord.core.errors import AccordError, Corrupt, Unavailable
from accord.ports.clock import Clock

BUSY = 10.0
"""Seconds to wait for another process's write."""
IDLE_READERS = 32
"""Connections kept for the next readers; more are opened as needed, and closed after use."""


def translate(error: Exception) -> AccordError:
    """What callers are told of a fault of the database; the fault stays as the cause."""
    if isinstance(error, AccordError):
        return type(error)(error.message, **error.fields)
    if isinstance(error, (sqlite3.OperationalError, OSError)):
        return Unavailable(f"The store cannot be used at the moment: {error}.")
    if isinstance(error, sqlite3.DatabaseError):
        return Corrupt(f"The store refuses this: {error}.")
    return AccordError(f"The store failed: {type(error).__name__}: {error}.")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only one that opens a database in that directory, which is made where it is not
    there: when several turn a new file's log on at once, SQLite fails instead of waiting.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def connect(path: Path, *, writes: bool) -> sqlite3.Connection:
    """A connection in autocommit mode; whoever uses it sees to it that only one thread does.

    What a writing one commits is synced before the commit returns.
    """
    db = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        for pragma in _pragmas(writes=writes):
            db.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _pragmas(*, writes: bool) -> tuple[str, ...]:
    if not writes:
        return ("temp_store=MEMORY", "cache_size=-4000", "query_only=1")
    return (
        "temp_store=MEMORY",
        "journal_mode=WAL",
        "synchronous=FULL",
        "cache_size=-65536",
        "wal_autocheckpoint=16000",  # pages: a page that many commits write is copied once
        "journal_size_limit=134217728",
    )


# -- migrations ------------------------------------------------------------------------------


def migrations() -> dict[int, Traversable]:
    """The migrations by the version that each makes, ascending."""
    folder = resources.files("accord.adapters.embedded") / "migrations"
    found = {int(f.name[:-4]): f for f in folder.iterdir() if re.fullmatch(r"\d+\.sql", f.name)}
    return dict(sorted(found.items()))


def migrate(db: sqlite3.Connection, clock: Clock, steps: dict[int, Traversable]) -> None:
    """Bring the schema up to date, in one transaction. Raises Corrupt where a newer Accord
    wrote it.
    """
    db.execute("BEGIN IMMEDIATE")  # first of all, so that two that start together take turns
    try:
        db.execute("CREATE TABLE IF NOT EXISTS schema (version INTEGER PRIMARY KEY, applied REAL)")
        there = db.execute("SELECT coalesce(max(version), 0) FROM schema").fetchone()[0]
        newest = max(steps)
        if there > newest:
            raise Corrupt(
                f"The store's schema is version {there}, but this Accord knows versions up to "
                f"{newest}: a newer Accord wrote it. Upgrade this one, or give it another data "
                "directory."
            )
        for version in [v for v in steps if v > there]:
            for statement in _statements(steps[version].read_text(encoding="utf-8")):
                db.execute(statement)
            db.execute("INSERT INTO schema VALUES (?, ?)", (version, clock.now()))
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: executescript would commit what is begun."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement


# -- readers ---------------------------------------------------------------------------------


class Readers:
    """Connections that read. A caller has one to itself for as long as its call takes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    @contextmanager
    def one(self) -> Iterator[sqlite3.Connection]:
        """A connection in a read transaction: all that it reads is of one moment."""
        try:
            db = self._take()
            try:
                db.execute("BEGIN")
                yield db
            finally:
                if db.in_transaction:
                    db.execute("COMMIT")
                self._give_back(db)
        except sqlite3.Error as error:
            raise translate(error) from error

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise Unavailable("The store is closed.")
            if self._idle:
                return self._idle.pop()
        return connect(self._path, writes=False)

    def _give_back(self, db: sqlite3.Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < IDLE_READERS:
                self._idle.append(db)
                return
        db.close()

    def close(self) -> None:
        """Close what is idle; what is in use is closed when given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for db in idle:
            db.close()
