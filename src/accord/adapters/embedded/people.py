"""Executors, users, tokens and kept values in the database: few rows, written whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec

from accord.core.documents import decode, encode
from accord.core.executor import Executor
from accord.core.ids import ExecutorName
from accord.core.user import Token, User

EXECUTORS = "SELECT document, last_report FROM executors ORDER BY name"
EXECUTOR = "SELECT document, last_report FROM executors WHERE name = ?"
TOKENS = "SELECT document FROM tokens INDEXED BY tokens_created ORDER BY created, id"
TOKEN_BY_HASH = "SELECT document FROM tokens WHERE hash = ?"  # noqa: S105  # a query, no secret
KEPT = "SELECT value FROM kept WHERE name = ?"
TOKEN_BY_ID = "SELECT document FROM tokens WHERE id = ?"  # noqa: S105  # as above


def executors(db: sqlite3.Connection) -> list[Executor]:
    """All of them, by name."""
    return [_executor(*row) for row in db.execute(EXECUTORS)]


def _executor(document: bytes, last_report: float) -> Executor:
    return msgspec.structs.replace(decode(document, Executor), last_report=last_report)


def put_executor(db: sqlite3.Connection, executor: Executor, expected: Executor | None) -> bool:
    """Store it if what is stored equals ``expected`` but for ``last_report``, which never falls."""
    row = db.execute(EXECUTOR, (executor.name,)).fetchone()
    stored = _executor(*row) if row else None
    if not _same(stored, expected):
        return False
    seen = max(executor.last_report, stored.last_report if stored else 0.0)
    db.execute(
        "INSERT OR REPLACE INTO executors (name, last_report, document) VALUES (?, ?, ?)",
        (executor.name, seen, encode(executor)),
    )
    return True


def _same(stored: Executor | None, expected: Executor | None) -> bool:
    if stored is None or expected is None:
        return stored is expected
    return msgspec.structs.replace(stored, last_report=expected.last_report) == expected


def forget_executor(db: sqlite3.Connection, name: ExecutorName) -> bool:
    """Remove it, and what is known of its reliability; whether it was there."""
    db.execute("DELETE FROM reliability WHERE executor = ?", (name,))
    return db.execute("DELETE FROM executors WHERE name = ?", (name,)).rowcount == 1


def touch(db: sqlite3.Connection, seen: Mapping[ExecutorName, float]) -> None:
    """Raise ``last_report``; never lowers it."""
    db.executemany(
        "UPDATE executors SET last_report = ?1 WHERE name = ?2 AND last_report < ?1",
        [(time, name) for name, time in seen.items()],
    )


def put_token(db: sqlite3.Connection, token: Token, user: User) -> None:
    """Store a token, new or changed, and its user where new."""
    db.execute(
        "INSERT OR REPLACE INTO tokens (id, hash, created, document) VALUES (?, ?, ?, ?)",
        (token.id, token.hash, token.created, encode(token)),
    )
    db.execute(
        "INSERT OR IGNORE INTO users (name, document) VALUES (?, ?)", (user.name, encode(user))
    )


def tokens(db: sqlite3.Connection, query: str, *values: str) -> list[Token]:
    """The tokens that a query finds."""
    return [decode(document, Token) for (document,) in db.execute(query, values)]


def keep(db: sqlite3.Connection, name: str, value: bytes) -> bytes:
    """Keep a value unless there is one of that name; returns what is kept."""
    db.execute("INSERT OR IGNORE INTO kept (name, value) VALUES (?, ?)", (name, value))
    kept: bytes = db.execute(KEPT, (name,)).fetchone()[0]
    return kept
