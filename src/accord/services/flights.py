"""One does what several want at the same moment, and the others wait for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from accord.ports.clock import Clock

_LOOK = 0.1
"""Seconds after which whoever waits looks whether it was stopped."""


class Stopped(Exception):
    """The run was stopped from outside. Never leaves the run."""


class Flight:
    """Something that is being done."""

    def __init__(self, *, first: bool) -> None:
        self.first = first
        """Whether the caller is the one who is to do it."""
        self.done: bool | None = None
        """How it went: whether it can be had now. None until the first one says, and where that
        one failed: then another takes its place."""
        self.over = threading.Event()


class Flights:
    """What is being done, by name. Safe from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._flying: dict[str, Flight] = {}

    @contextmanager
    def join(self, name: str, stop: threading.Event) -> Iterator[Flight]:
        """Be the first at ``name``, and set ``done``, or come back when the first one has.

        Raises Stopped where ``stop`` is set while waiting.
        """
        while True:
            mine = Flight(first=True)
            with self._lock:
                flight = self._flying.setdefault(name, mine)
            if flight is mine:
                break
            self._wait(flight, stop)
            if flight.done is not None:
                followed = Flight(first=False)
                followed.done = flight.done
                yield followed
                return
        try:
            yield mine
        finally:
            with self._lock:
                del self._flying[name]
            mine.over.set()

    def _wait(self, flight: Flight, stop: threading.Event) -> None:
        while not self._clock.wait_event(flight.over, _LOOK):
            if stop.is_set():
                raise Stopped
        if stop.is_set():
            raise Stopped
