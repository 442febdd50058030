"""What is known of executors, and what was granted for their work, in the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from accord.core.documents import decode, encode
from accord.core.reliability import Reliability
from accord.core.standing import Credit

RECORDS = "SELECT document FROM reliability ORDER BY executor, class"
RECORD = "SELECT document FROM reliability WHERE executor = ? AND class = ?"
CREDIT = "SELECT kind, name, amount FROM credit ORDER BY kind, name"


def records(db: sqlite3.Connection) -> list[Reliability]:
    """All of them."""
    return [decode(document, Reliability) for (document,) in db.execute(RECORDS)]


def put(
    db: sqlite3.Connection, pairs: Sequence[tuple[Reliability, Reliability | None]]
) -> list[bool]:
    """Store each record if what is stored equals what was expected."""
    return [_put(db, record, expected) for record, expected in pairs]


def _put(db: sqlite3.Connection, record: Reliability, expected: Reliability | None) -> bool:
    key = (record.executor, record.task_class)
    row = db.execute(RECORD, key).fetchone()
    if (decode(row[0], Reliability) if row else None) != expected:
        return False
    db.execute(
        "INSERT OR REPLACE INTO reliability (executor, class, document) VALUES (?, ?, ?)",
        (*key, encode(record)),
    )
    return True


def add_credit(db: sqlite3.Connection, earned: Credit) -> None:
    """Add to what users and owners were granted."""
    found = [("user", *item) for item in earned.users.items()]
    found += [("owner", *item) for item in earned.owners.items()]
    db.executemany(
        "INSERT INTO credit (kind, name, amount) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
        found,
    )


def credit(db: sqlite3.Connection) -> Credit:
    """What users and owners were granted in all."""
    sums: dict[str, dict[str, float]] = {"user": {}, "owner": {}}
    for kind, name, amount in db.execute(CREDIT):
        sums[kind][name] = amount
    return Credit(users=sums["user"], owners=sums["owner"])
