"""One run of a service: a process in a session of its own, its output, its end.

The session keeps a terminal's Ctrl-C from it, since Boot decides in which order things stop. When
the process has ended, whatever it left in its process group is killed before its pid is freed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable

from accord.boot.output import RotatingLog, pump
from accord.boot.pids import Identity, identify
from accord.boot.service import Service
from accord.ports.clock import Clock

PARENT = "ACCORD_BOOT_PID"
"""In a child's environment: Boot's pid. The child ends itself when Boot does (see cli.serve)."""


class Process:
    """A running service. ``on_end`` is called from another thread, once."""

    def __init__(
        self, service: Service, log: RotatingLog, clock: Clock, on_end: Callable[[], None]
    ) -> None:
        self._service = service
        self._log = log
        self._clock = clock
        self._on_end = on_end
        self._ended = False
        self._popen = _spawn(service)
        self.identity = self._identify()
        self._pump = self._thread("output", self._copy)
        self._waiter = self._thread("wait", self._wait)

    def _identify(self) -> Identity:
        found = identify(self._popen.pid)
        # a child that has ended already is still a zombie of ours, so its pid is not another's
        return found or Identity(pid=self._popen.pid, start=0, boot="")

    def _thread(self, role: str, target: Callable[[], None]) -> threading.Thread:
        name = f"{self._service.name}-{role}"
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread

    def _copy(self) -> None:
        if self._popen.stdout:
            with self._popen.stdout as stream:
                pump(stream, self._log, self._service.name, self._clock)

    def _wait(self) -> None:
        os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOWAIT)
        self._kill_group()  # before the pid, which is the group's name, is freed
        self._popen.wait()
        self._pump.join(timeout=2.0)
        self._ended = True
        self._on_end()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)

    @property
    def ended(self) -> bool:
        """Whether it and its process group are gone."""
        return self._ended

    @property
    def how(self) -> str:
        """How it ended, for a person."""
        code = self._popen.returncode
        if code is None:
            return "still runs"
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, with its process group."""
        if not self._ended:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # the waiter alone reaps, so until it says so the pid is this process's
        if self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._popen.pid, number)

    def join(self) -> None:
        """Wait until it is gone."""
        self._waiter.join()


def _spawn(service: Service) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        service.argv,
        env={**service.env, PARENT: str(os.getpid())},
        cwd=service.cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
