"""Time, waiting and fresh names: the only places where services meet the clock and chance."""

from __future__ import annotations

import threading
from typing import Protocol

from accord.core.ids import BatchId, SessionId, TaskId, TokenId


class Clock(Protocol):
    """Reads time and waits. A fake one moves by hand in tests."""

    def now(self) -> float:
        """Seconds since the epoch by this machine's clock; may jump."""

    def monotonic(self) -> float:
        """Seconds since an unknown moment; never runs backwards."""

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        """Wait on a held condition, at most ``timeout`` seconds. False where time ran out."""

    def wait_event(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait for an event, at most ``timeout`` seconds. Whether it is set."""


class Ids(Protocol):
    """Makes names that nobody has."""

    def task(self, now: float) -> TaskId:
        """A new ULID; those of one process rise strictly, also within a millisecond."""

    def batch(self, now: float) -> BatchId:
        """A new ULID; no two batches share what the ids of their tasks begin with
        (``core.ids.member``).
        """

    def session(self) -> SessionId:
        """A new session."""

    def token(self) -> tuple[TokenId, str]:
        """A token's id and its secret, of at least 160 random bits."""

    def jitter(self) -> float:
        """A random number from 0 up to 1."""
