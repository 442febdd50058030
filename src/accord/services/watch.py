"""Who waits for news of which task or batch: long polls of readers.

Each waits on an event of its own, kept under the task's id, so that a write wakes those who wait
for that task and nobody else, however many wait. A waiter registers before it reads the store:
what is written in between is found as a mark.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from accord.ports.clock import Clock


class Watch:
    """One waiter's place."""

    def __init__(self, clock: Clock, deadline: float) -> None:
        self._clock = clock
        self._deadline = deadline
        self.event = threading.Event()
        self.closed = False

    def wait(self) -> bool:
        """Wait for news. False where time ran out, or everything is closing.

        Take the news as seen before looking: the mark is cleared here.
        """
        if self.closed:
            return False
        left = self._deadline - self._clock.monotonic()
        if left <= 0 or not self._clock.wait_event(self.event, left):
            return False
        self.event.clear()
        return not self.closed


class Watchers:
    """See the module's docstring."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[str, set[Watch]] = {}
        self._closed = False

    @contextmanager
    def watch(self, task: str, seconds: float) -> Iterator[Watch]:
        """A place at which to wait for news of a task or batch, for at most that long in all."""
        place = Watch(self._clock, self._clock.monotonic() + seconds)
        with self._lock:
            place.closed = self._closed
            self._waiting.setdefault(task, set()).add(place)
        try:
            yield place
        finally:
            with self._lock:
                places = self._waiting[task]
                places.discard(place)
                if not places:
                    del self._waiting[task]

    def wake(self, tasks: Iterable[str]) -> None:
        """There is news of these."""
        with self._lock:
            for task in tasks:
                for place in self._waiting.get(task, ()):
                    place.event.set()

    def wake_all(self) -> None:
        """There may be news of any."""
        with self._lock:
            self._wake_all()

    def close(self) -> None:
        """Let everybody who waits answer with what there is, those to come too."""
        with self._lock:
            self._closed = True
            for places in self._waiting.values():
                for place in places:
                    place.closed = True
            self._wake_all()

    def _wake_all(self) -> None:
        for places in self._waiting.values():
            for place in places:
                place.event.set()
