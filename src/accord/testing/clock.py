"""A clock that moves by hand, and names that repeat: what tests use where services take a Clock
and Ids.

A test that waits for a service to wait says ``clock.wait_for_waiters(1)``, then
``clock.advance(5)``: whoever waited for 5 seconds or less comes back, and nobody slept.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ulid import ULID

from accord.core.ids import BatchId, SessionId, TaskId, TokenId

PATIENCE = 30.0
"""Real seconds after which waiting for a waiter fails: then the code under test is stuck."""


class _Waiter:
    def __init__(self, deadline: float, wake: Callable[[], None]) -> None:
        self.deadline = deadline
        self.wake = wake
        self.expired = False


class FakeClock:
    """Time that moves only by ``advance`` (port ``Clock``).

    A wait returns when it is notified, or when the clock has been moved to its deadline or
    beyond. Waiting threads are real; the clock only decides when their time is over.
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._changed = threading.Condition()
        self._now = now
        self._monotonic = 0.0
        self._waiters: list[_Waiter] = []

    def now(self) -> float:
        """Seconds since the epoch, as moved so far."""
        with self._changed:
            return self._now

    def monotonic(self) -> float:
        """Seconds by which the clock was advanced."""
        with self._changed:
            return self._monotonic

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        """Wait on a held condition. False where the clock reached the deadline."""

        def wake() -> None:
            with condition:
                condition.notify_all()

        with self._waiting(timeout, wake) as waiter:
            if not waiter.expired:
                condition.wait()
        return not waiter.expired

    def wait_event(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait for an event. Whether it is set."""
        # The event's own condition is the only place where both a set() and we can wake it.
        condition: threading.Condition = event._cond  # type: ignore[attr-defined]  # see above

        def wake() -> None:
            with condition:
                condition.notify_all()

        with self._waiting(timeout, wake) as waiter, condition:
            while not event.is_set() and not waiter.expired:
                condition.wait()
        return event.is_set()

    @contextmanager
    def _waiting(self, timeout: float | None, wake: Callable[[], None]) -> Iterator[_Waiter]:
        with self._changed:
            deadline = math.inf if timeout is None else self._monotonic + timeout
            waiter = _Waiter(deadline, wake)
            waiter.expired = deadline <= self._monotonic
            if not waiter.expired:
                self._waiters.append(waiter)
                self._changed.notify_all()
        try:
            yield waiter
        finally:
            with self._changed:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                self._changed.notify_all()

    # -- for the test --------------------------------------------------------------------

    @property
    def waiters(self) -> int:
        """How many threads wait on this clock; those whose time is over no longer count."""
        with self._changed:
            return len(self._waiters)

    def deadlines(self) -> list[float]:
        """In how many seconds each waiter's time is over, soonest first; endless ones are inf."""
        with self._changed:
            return sorted(w.deadline - self._monotonic for w in self._waiters)

    def wait_for_waiters(self, count: int = 1, patience: float = PATIENCE) -> None:
        """Return once at least that many threads wait on this clock. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._waiters) >= count, patience):
                found = len(self._waiters)
                raise TimeoutError(f"{count} waiters were expected on the clock, {found} came.")

    def wait_for_wait(self, seconds: float, patience: float = PATIENCE) -> None:
        """Return once a thread waits whose time is over in that many seconds from now.

        A test that gives the wait which it wants to meet an odd length knows that it has met that
        one, whatever else waits on the clock. Raises TimeoutError.
        """

        def met() -> bool:
            lefts = [w.deadline - self._monotonic for w in self._waiters]
            return any(math.isclose(left, seconds, abs_tol=1e-6) for left in lefts)

        with self._changed:
            if not self._changed.wait_for(met, patience):
                raise TimeoutError(f"Nobody came to wait for {seconds} seconds.")

    def advance(self, seconds: float) -> None:
        """Move the clock forward and bring back whoever's time is over.

        The caller must not hold a condition that a waiter of another thread needs to go on.
        """
        if seconds < 0:
            raise ValueError("advance moves forward; use set_now for a jump of the wall clock")
        with self._changed:
            self._now += seconds
            self._monotonic += seconds
            over = [w for w in self._waiters if w.deadline <= self._monotonic]
            for waiter in over:
                waiter.expired = True
                self._waiters.remove(waiter)
            self._changed.notify_all()
        for waiter in over:  # outside of our lock: waking takes the waiter's own
            waiter.wake()

    def set_now(self, now: float) -> None:
        """Let the wall clock jump, back too; ``monotonic`` and deadlines stay as they are."""
        with self._changed:
            self._now = now


class FakeIds:
    """Names that come out the same in every run (port ``Ids``)."""

    def __init__(self, jitter: float = 0.5) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._last = 0
        self._jitter = jitter

    def _next(self) -> int:
        with self._lock:
            self._count += 1
            return self._count

    def task(self, now: float) -> TaskId:
        """A ULID of ``now`` and a counter; they rise strictly."""
        fresh = int(now * 1000) << 80
        with self._lock:
            self._last = max(fresh, self._last + 1)
            return TaskId(str(ULID.from_bytes(self._last.to_bytes(16, "big"))))

    def batch(self, now: float) -> BatchId:
        """A ULID of ``now`` and a counter, in what the ids of its tasks begin with."""
        value = (int(now * 1000) << 80) | (1 << 79) | (self._next() << 35)
        return BatchId(str(ULID.from_bytes(value.to_bytes(16, "big"))))

    def session(self) -> SessionId:
        """``session-1`` and so on."""
        return SessionId(f"session-{self._next()}")

    def token(self) -> tuple[TokenId, str]:
        """``token-1`` with its secret, and so on; one counter with the sessions."""
        number = self._next()
        return TokenId(f"token-{number}"), f"secret-{number:036d}"

    def jitter(self) -> float:
        """The number that was given at the start."""
        return self._jitter
