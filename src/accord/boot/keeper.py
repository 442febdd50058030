"""Keeps one service running: start, wait until ready, watch, and again with back-off.

The loop runs on a thread of its own that lives as long as the service: the kernel tells a child
that its parent died when the *thread* that started it ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from accord import logs
from accord.boot.layout import Layout
from accord.boot.output import RotatingLog
from accord.boot.process import Process
from accord.boot.service import Service
from accord.ports.clock import Clock

READY_POLL = 0.05
HEALTH_EVERY = 5.0
HEALTH_STRIKES = 6
"""So many failed checks in a row make a process that lives but does nothing be restarted."""
MAINTENANCE_POLL = 0.5
PROVEN = 10.0
"""Seconds of being ready after which the back-off begins anew."""

_log = logs.get("boot")


def backoff(failures: int, first: float = 0.1, most: float = 30.0) -> float:
    """Seconds to wait before the next start after that many ends in a row.

    >>> [backoff(n) for n in (0, 1, 2, 3, 20)]
    [0.0, 0.1, 0.2, 0.4, 30.0]
    """
    return 0.0 if failures <= 0 else min(most, first * 2.0 ** min(failures - 1, 30))


class Keeper:
    """One service and the loop that keeps it. ``notify`` takes sentences for a person."""

    def __init__(
        self, service: Service, layout: Layout, clock: Clock, notify: Callable[[str], None]
    ) -> None:
        self.service = service
        self._layout = layout
        self._clock = clock
        self._notify = notify
        self._condition = threading.Condition()
        self._stop_asked = self._hurried = self._ready = False
        self._failures = 0
        self.failed_starts = 0
        """Starts in a row that ended before they were ready."""
        self._log = RotatingLog(layout.log(service.name))
        self._thread = threading.Thread(target=self._run, name=service.name, daemon=True)

    # -- what the supervisor asks ----------------------------------------------------------

    def start(self) -> None:
        """Begin to keep the service."""
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether it does its work, as far as is known."""
        return self._ready

    def wait_ready(self, timeout: float | None, give_up: Callable[[], bool]) -> bool:
        """Wait until it is ready; False where time ran out or ``give_up`` says so."""
        with self._condition:
            until = None if timeout is None else self._clock.monotonic() + timeout
            while not (self._ready or self._stopping() or give_up()):
                left = None if until is None else until - self._clock.monotonic()
                if left is not None and left <= 0:
                    break
                self._clock.wait(self._condition, left)
            return bool(self._ready)

    def stop(self) -> None:
        """Stop the service and the loop, and return when both are gone. May be called twice."""
        with self._condition:
            self._stop_asked = True
            self._condition.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self._log.close()

    def hurry(self) -> None:
        """Let nothing be waited for any more: from now on stopping means SIGKILL."""
        with self._condition:
            self._hurried = True
            self._condition.notify_all()

    def nudge(self) -> None:
        """Something that this one may be waiting for has changed."""
        with self._condition:
            self._condition.notify_all()

    def _stopping(self) -> bool:
        return self._stop_asked

    # -- the loop --------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping():
            process = self._try_start()
            if process is None:
                continue
            since = self._watch_start(process)
            if since is not None:
                self._watch(process, since)
            if self._stopping():
                self._end(process)
                break
            self._note_end(process)
            self._pause(backoff(self._failures))
        self._layout.pid_file(self.service.name).clear()

    def _try_start(self) -> Process | None:
        try:
            return self._start()
        except OSError as error:  # no memory, no descriptors, a full disk: it may pass
            self._failures += 1
            self.failed_starts += 1
            self._tell(f"{self.service.name} cannot be started: {error.strerror}", "start_failed")
            self._pause(backoff(self._failures))
            return None

    def _start(self) -> Process | None:
        """Start it, once nobody holds it for maintenance; None where all is to stop."""
        lock = self._layout.lock(self.service.name)
        told = False
        while not lock.acquire():
            if not told:
                self._tell(f"{self.service.name} is held for maintenance", "held")
                told = True
            self._pause(MAINTENANCE_POLL)
            if self._stopping():
                return None
        try:
            if self._stopping():
                return None
            self.service.prepare()
            process = Process(self.service, self._log, self._clock, self.nudge)
            self._layout.pid_file(self.service.name).write(process.identity)
        finally:
            lock.release()
        _log.info("A service was started", extra=self._fields("started", pid=process.identity.pid))
        return process

    def _watch_start(self, process: Process) -> float | None:
        """Wait until it is ready; since when, or None where it ended or must end first."""
        until = self._clock.monotonic() + self.service.start_timeout
        while not (self._stopping() or process.ended):
            if self.service.ready():
                return self._note_ready()
            if self._clock.monotonic() >= until:
                self._tell(f"{self.service.name} does not become ready", "start_timeout")
                process.kill()
            self._pause(READY_POLL, process)
        return None

    def _watch(self, process: Process, since: float) -> None:
        """Return when it has ended or is to be stopped; kill it where it no longer works."""
        strikes = 0
        while not (self._stopping() or process.ended):
            self._pause(HEALTH_EVERY, process)
            if self._clock.monotonic() - since >= PROVEN:
                self._failures = 0
            if self._stopping() or process.ended or self.service.healthy is None:
                continue
            strikes = 0 if self.service.healthy() else strikes + 1
            if strikes >= HEALTH_STRIKES:
                self._tell(f"{self.service.name} lives but does not answer", "unhealthy")
                process.kill()
                process.join()

    def _note_ready(self) -> float:
        with self._condition:
            self._ready = True
            self.failed_starts = 0
            self._condition.notify_all()
        _log.info("A service is ready", extra=self._fields("ready"))
        return self._clock.monotonic()

    def _note_end(self, process: Process) -> None:
        with self._condition:
            self.failed_starts += not self._ready
            self._ready = False
            self._failures += 1
            self._condition.notify_all()
        wait = backoff(self._failures)
        name = self.service.name
        text = f"{name} ended ({process.how}); it is started again"
        self._tell(text, "ended", how=process.how, pause=wait)

    def _end(self, process: Process) -> None:
        """Stop it: SIGTERM, then SIGKILL when its time is over or nobody wants to wait."""
        self._ready = False
        process.terminate()
        until = self._clock.monotonic() + self.service.stop_timeout
        with self._condition:
            while not (process.ended or self._hurried or self._clock.monotonic() >= until):
                self._clock.wait(self._condition, until - self._clock.monotonic())
        if not process.ended:
            process.kill()
        process.join()
        _log.info("A service was stopped", extra=self._fields("stopped", how=process.how))

    def _pause(self, seconds: float, process: Process | None = None) -> None:
        """Wait, but not beyond a stop or the end of ``process``."""
        until = self._clock.monotonic() + seconds
        with self._condition:
            while not (self._stopping() or (process and process.ended)):
                left = until - self._clock.monotonic()
                if left <= 0:
                    return
                self._clock.wait(self._condition, left)

    def _tell(self, sentence: str, action: str, **fields: object) -> None:
        _log.warning("A service needs attention", extra=self._fields(action, **fields))
        self._notify(sentence)

    def _fields(self, action: str, **fields: object) -> dict[str, object]:
        return {"action": action, "kept": self.service.name, **fields}
