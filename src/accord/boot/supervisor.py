"""Boot: starts the services of a node in order, keeps them, and stops them in reverse order."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

from accord import logs
from accord.boot.keeper import Keeper
from accord.boot.layout import Layout
from accord.boot.leftovers import stop_leftovers
from accord.boot.pids import identify
from accord.boot.service import Service
from accord.ports.clock import Clock

MOST_FAILED_STARTS = 3
"""A service that ends so often before it was ever ready makes the first start fail."""

_log = logs.get("boot")


class BootError(Exception):
    """The platform cannot be started; the message says what to do."""


class AlreadyRunning(BootError):
    """Another Boot serves this data directory."""


class StartFailed(BootError):
    """A service does not start."""


class Supervisor:
    """All services of one data directory.

    ``notify`` takes sentences for a person. ``before_start`` is called once the directory is
    ours and free of leftovers; what it raises ends the start.
    """

    def __init__(
        self,
        services: Sequence[Service],
        layout: Layout,
        clock: Clock,
        notify: Callable[[str], None] = lambda _: None,
        before_start: Callable[[], None] = lambda: None,
    ) -> None:
        self._services = services
        self._layout = layout
        self._clock = clock
        self._notify = notify
        self._before_start = before_start
        self._keepers: dict[str, Keeper] = {}
        self._stopping = threading.Event()
        self._lock = layout.lock("boot")
        self._pid_file = layout.pid_file("boot")
        self._claimed = False

    def start(self) -> None:
        """Start everything, each as soon as what it needs is ready; return when all are ready.

        Raises AlreadyRunning, and StartFailed with the log to read; both leave nothing running.
        ``ask_stop`` from another thread makes it return early.
        """
        self._claim()
        try:
            self._stop_leftovers()
            self._before_start()
            self._start_all()
        except BaseException:
            self.stop()
            raise

    def _claim(self) -> None:
        if not self._lock.acquire():
            raise self._already_running()
        self._claimed = True
        own = identify(os.getpid())
        if own:
            self._pid_file.write(own)

    def _stop_leftovers(self) -> None:
        for name, pid in stop_leftovers(self._layout, [s.name for s in self._services]).items():
            self._notify(f"Stopped {name} (pid {pid}), left by a Boot that was killed")

    def _already_running(self) -> AlreadyRunning:
        owner = self._pid_file.read()
        pid = owner.pid if owner else None
        return AlreadyRunning(
            f"Accord runs on {self._layout.data} already (Boot has pid {pid or 'unknown'}). "
            f"Stop it with: kill {pid or 'PID'}, or choose another directory with --data."
        )

    def _start_all(self) -> None:
        for service in self._services:
            for needed in service.needs:
                self._await(self._keepers[needed])
            if self._stopping.is_set():
                return
            keeper = Keeper(service, self._layout, self._clock, self._notify)
            self._keepers[service.name] = keeper
            keeper.start()
        for keeper in list(self._keepers.values()):
            self._await(keeper)

    def _await(self, keeper: Keeper) -> None:
        def give_up() -> bool:
            return self._stopping.is_set() or keeper.failed_starts >= MOST_FAILED_STARTS

        ready = keeper.wait_ready(None, give_up)
        if ready or self._stopping.is_set():
            return
        name = keeper.service.name
        raise StartFailed(f"{name} does not start. Its log says why: {self._layout.log(name)}")

    def ask_stop(self) -> None:
        """Make a start that is under way return; ``stop`` is then to be called."""
        self._stopping.set()
        for keeper in list(self._keepers.values()):
            keeper.nudge()

    def stop(self) -> None:
        """Stop everything in reverse order; returns when nothing is left. May be called twice."""
        self.ask_stop()
        for keeper in reversed(list(self._keepers.values())):
            keeper.stop()
        if self._claimed:
            self._layout.address.unlink(missing_ok=True)
            self._pid_file.clear()
            self._lock.release()
            self._claimed = False

    def hurry(self) -> None:
        """Wait for nothing any more. Nothing acknowledged is lost by it."""
        for keeper in list(self._keepers.values()):
            keeper.hurry()

    @property
    def ready(self) -> bool:
        """Whether every service does its work."""
        return bool(self._keepers) and all(k.ready for k in self._keepers.values())
