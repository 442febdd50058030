"""One loop for all duties, with counters and, for each duty, a back-off of its own on errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from accord import logs
from accord.ports.clock import Clock
from accord.ports.store import Store
from accord.services.looping import LONGEST_PAUSE, Loop

_log = logs.get("duties")


class Duty(Protocol):
    """One job."""

    name: str
    every: float
    """Seconds between two passes that found nothing to do; 0: as often as the loop looks."""

    def run(self, now: float) -> int:
        """Do what is due at ``now``, bounded; how much was done. More may be left where it is
        not 0: the next pass follows at once.
        """


class Counters:
    """What became of a duty so far."""

    def __init__(self) -> None:
        self.passes = 0
        self.done = 0
        self.failures = 0
        self.failed_in_a_row = 0
        self.next_at = 0.0
        """Monotonic time before which it is left alone."""


class Duties:
    """Runs duties in turn while ``may`` says so (this judicator leads), each ``sweep`` seconds, or,
    ``timed``, as soon as a task's time comes. ``start`` and ``stop`` may each be called twice.
    """

    def __init__(
        self,
        duties: Sequence[Duty],
        store: Store,
        clock: Clock,
        may: Callable[[], bool],
        sweep: float,
        *,
        timed: bool = False,
    ) -> None:
        self.counters = {duty.name: Counters() for duty in duties}
        self._duties = tuple(duties)
        self._store = store
        self._clock = clock
        self._may = may
        self._sweep = sweep
        self._timed = timed
        self._loop = Loop("duties", self.step, clock)

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    def stop(self) -> None:
        """End; returns once the pass that is under way has ended."""
        self._loop.stop()

    def kick(self) -> None:
        """Let the next pass begin at once."""
        self._loop.kick()

    def step(self) -> float:
        """One pass over all duties that are due; seconds until the next."""
        if not self._may():
            return self._sweep
        worked = [self._run(duty) for duty in self._duties if self._may()]
        return 0.0 if any(worked) else self._pause()

    def _run(self, duty: Duty) -> int:
        counters = self.counters[duty.name]
        began = self._clock.monotonic()
        if began < counters.next_at:
            return 0
        counters.passes += 1
        try:
            done = duty.run(self._store.now())
        except Exception as error:  # noqa: BLE001  # one duty's failure must not stop the others
            self._failed(duty, counters, error)
            return 0
        counters.failed_in_a_row = 0
        counters.done += done
        counters.next_at = began + (0.0 if done else duty.every)
        return done

    def _failed(self, duty: Duty, counters: Counters, error: Exception) -> None:
        counters.failures += 1
        pause = min(LONGEST_PAUSE, self._sweep * 2**counters.failed_in_a_row)
        counters.failed_in_a_row = min(counters.failed_in_a_row + 1, 10)
        counters.next_at = self._clock.monotonic() + pause
        extra = {"action": "duty_failed", "duty": duty.name, "pause": pause}
        _log.warning("A duty failed and will be repeated", extra=extra, exc_info=error)

    def _pause(self) -> float:
        """Until the earliest time that a task waits for, but no longer than a sweep."""
        due = self._store.next_due() if self._timed else None
        left = self._sweep if due is None else due - self._store.now()
        return min(max(left, self._sweep / 100), self._sweep)
