"""Threads that repeat a step until they are stopped.

A step does what is due and says in how many seconds to come again; an error is logged, counted
and answered with a growing pause, so that an outage of the store or the registry ends a pass and
not the service. Every background thread of the judicator is one of these.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from accord import logs
from accord.ports.clock import Clock

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds between two attempts of a step that fails: the first pause, doubled up to the longest."""

_log = logs.get("loop")


class Loop:
    """One such thread. ``start`` and ``stop`` may each be called twice, in any order."""

    def __init__(self, name: str, step: Callable[[], float], clock: Clock) -> None:
        self.name = name
        self.passes = 0
        self.failures = 0
        self._step = step
        self._clock = clock
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._kicked = False

    def start(self) -> None:
        """Begin; does nothing where it runs already, or was stopped."""
        with self._changed:
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End, and return once the step that is under way has ended."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def kick(self) -> None:
        """Let the next step begin at once."""
        with self._changed:
            self._kicked = True
            self._changed.notify_all()

    def _run(self) -> None:
        failed = 0
        while not self._stopped:
            try:
                pause = self._step()
                self.passes += 1
                failed = 0
            except Exception as error:  # noqa: BLE001  # the one supervised place: see the module
                self.failures += 1
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**failed)
                failed = min(failed + 1, 10)
                self._complain(error, pause)
            self._pause(pause)

    def _complain(self, error: Exception, pause: float) -> None:
        extra = {"action": "step_failed", "loop": self.name, "pause": pause}
        _log.warning("A step failed and will be repeated", extra=extra, exc_info=error)

    def _pause(self, seconds: float) -> None:
        with self._changed:
            if seconds > 0 and not self._kicked and not self._stopped:
                self._clock.wait(self._changed, seconds)
            self._kicked = False
