"""The machine's clock and chance. Nothing else in Accord reads either.

Tests use ``accord.testing.clock`` in their place.
"""

from __future__ import annotations

import secrets
import threading
import time

from ulid import ULID

from accord.core.ids import BatchId, SessionId, TaskId, TokenId

_OF_MEMBERS = 35
"""Bits of an id in which the tasks of a batch differ (``core.ids.member``)."""


class SystemClock:
    """The clock of this machine (port ``Clock``)."""

    def now(self) -> float:
        """Seconds since the epoch; may jump when the machine's clock is set."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since an unknown moment; never runs backwards."""
        return time.monotonic()

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        """Wait on a held condition. False where time ran out."""
        return condition.wait(timeout)

    def wait_event(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait for an event. Whether it is set."""
        return event.wait(timeout)


class SystemIds:
    """Names made of time and the kernel's randomness (port ``Ids``)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._last_batch = 0

    def task(self, now: float) -> TaskId:
        """A new ULID. It is greater than all before it of this process, even where ``now`` is
        not later; it then stands for the earlier time and the next number.
        """
        fresh = (int(now * 1000) << 80) | secrets.randbits(80)
        with self._lock:
            self._last = max(fresh, self._last + 1)
            value = self._last
        return TaskId(str(ULID.from_bytes(value.to_bytes(16, "big"))))

    def batch(self, now: float) -> BatchId:
        """A new ULID. It differs from those of all other batches in what the ids of its tasks
        begin with, and is later where ``now`` is.
        """
        fresh = (int(now * 1000) << 80) | secrets.randbits(80)
        with self._lock:
            self._last_batch = max(fresh, self._last_batch + (1 << _OF_MEMBERS))
            value = self._last_batch
        return BatchId(str(ULID.from_bytes(value.to_bytes(16, "big"))))

    def session(self) -> SessionId:
        """A new session: 128 random bits."""
        return SessionId(secrets.token_hex(16))

    def token(self) -> tuple[TokenId, str]:
        """A token's id (64 random bits) and its secret (256 random bits, safe in a URL)."""
        return TokenId(secrets.token_hex(8)), secrets.token_urlsafe(32)

    def jitter(self) -> float:
        """A random number from 0 up to 1, 53 bits of it."""
        return secrets.randbits(53) / (1 << 53)
