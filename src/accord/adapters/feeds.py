"""How a store of one process tells its subscribers of writes, and how it keeps its time.

Shared by the stores that live in one process; those of a cluster have the servers' own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from accord.core.index import Index
from accord.core.task import Task
from accord.ports.clock import Clock
from accord.ports.store import Notice

CAPACITY = 10_000
"""Notices that a subscriber may leave unread; beyond it they are dropped and it is told so."""


def notices_of(task: Task, index: Index) -> tuple[Notice, ...]:
    """What subscribers are told of a task as it stands after a write; of a finishing task its
    batch as well.
    """
    notice = Notice(task=task.id, ready=index.ready, held_by=index.held_by)
    return (notice,) if task.finishes is None else (notice, Notice(batch=task.finishes))


class BoundedFeed:
    """A subscription (port ``Feed``) that never makes a writer wait."""

    def __init__(self, clock: Clock, forget: Callable[[BoundedFeed], None], capacity: int) -> None:
        self._clock = clock
        self._forget = forget
        self._capacity = capacity
        self._changed = threading.Condition()
        self._notices: deque[Notice] = deque()
        self._closed = False

    def next(self, timeout: float) -> Sequence[Notice]:
        """The notices since the last call; empty after ``timeout`` seconds, or once closed."""
        deadline = self._clock.monotonic() + timeout
        with self._changed:
            while not self._notices and not self._closed:
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    return ()
                self._clock.wait(self._changed, left)
            found = tuple(self._notices)
            self._notices.clear()
            return found

    def close(self) -> None:
        """End the subscription; may be called twice."""
        self._forget(self)
        with self._changed:
            self._closed = True
            self._notices.clear()
            self._changed.notify_all()

    def put(self, notices: Sequence[Notice]) -> None:
        """Add notices; where they are too many, all give way to one that says so."""
        with self._changed:
            if self._closed:
                return
            self._notices.extend(notices)
            if len(self._notices) > self._capacity:
                self._notices.clear()
                self._notices.append(Notice())
            self._changed.notify_all()


class Feeds:
    """The subscriptions of one store."""

    def __init__(self, clock: Clock, capacity: int = CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        self._lock = threading.Lock()
        self._open: tuple[BoundedFeed, ...] = ()

    def subscribe(self) -> BoundedFeed:
        """A new subscription."""
        feed = BoundedFeed(self._clock, self._forget, self._capacity)
        with self._lock:
            self._open = (*self._open, feed)
        return feed

    def tell(self, notices: Sequence[Notice]) -> None:
        """Tell all subscribers."""
        if notices:
            for feed in self._open:
                feed.put(notices)

    def close(self) -> None:
        """End all subscriptions."""
        for feed in self._open:
            feed.close()

    def _forget(self, feed: BoundedFeed) -> None:
        with self._lock:
            self._open = tuple(f for f in self._open if f is not feed)


class StoreTime:
    """The wall clock, made to never run backwards and never to stand still.

    Where the machine's clock is set back, time goes on from where it was at the pace of the
    monotonic clock; where it is set forward, this follows.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._now = clock.now()
        self._monotonic = clock.monotonic()

    def now(self) -> float:
        """Seconds since the epoch."""
        with self._lock:
            monotonic = self._clock.monotonic()
            passed = self._now + (monotonic - self._monotonic)
            self._now = max(self._clock.now(), passed)
            self._monotonic = monotonic
            return self._now
