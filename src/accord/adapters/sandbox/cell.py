"""A running box with its init: what outlives the tasks that have it one after the other."""

from __future__ import annotations

import contextlib
import os
import select
import signal

from accord.adapters.sandbox.launch import Started
from accord.adapters.sandbox.meter import Account, Accounting
from accord.adapters.sandbox.wire import Broken
from accord.core.errors import SandboxError

_EMPTY_TIMEOUT = 30.0
"""Seconds for a killed box to be seen empty."""
_WIPE_TIMEOUT = 1.0
"""Seconds for the init to wipe: it gives up by itself long before."""


class Cell:
    """See the module's docstring. Not thread-safe, save ``kill`` before ``end``."""

    def __init__(self, started: Started, name: str, accounting: Accounting) -> None:
        self.box = started
        self._released = False
        self._new = self._files()
        try:
            self.account: Account = accounting.account(name, started.pid)
        except SandboxError:
            self._destroy()
            self._release()
            raise

    def wipe(self) -> bool:
        """Have the init empty the box, and see that it did; else it is only fit to be ended."""
        try:
            self.box.wire.socket.settimeout(_WIPE_TIMEOUT)
            self.box.wire.send(b"wipe")
            answer = self.box.wire.recv()
        except Broken:
            return False
        answer.close()
        return answer.verb == b"clean" and self._files() == self._new

    def _files(self) -> list[tuple[int, int]]:
        """Blocks and files in use, of each place that can be written: what hides counts too."""
        found = map(os.fstatvfs, self.box.roots)
        return [(root.f_blocks - root.f_bfree, root.f_files - root.f_ffree) for root in found]

    def kill(self) -> None:
        """Kill everything in it; must not be called any more once it was ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.box.pidfd, signal.SIGKILL)

    def destroy(self) -> None:
        """Kill everything, and see that it is gone. Raises SandboxError where it is not."""
        if not self._released:
            self._destroy()

    def end(self) -> None:
        """The same, and give back what it held here; may be called twice."""
        if not self._released:
            self._destroy()
            self.account.close()
            self._release()

    def _destroy(self) -> None:
        """The kernel lets the init of a pid namespace die last, and bubblewrap waits for the
        init.
        """
        self.kill()
        if not all(gone(fd, _EMPTY_TIMEOUT) for fd in (self.box.pidfd, self.box.bwrap)):
            raise SandboxError("The box could not be emptied: a process in it does not end.")

    def _release(self) -> None:
        self._released = True
        self.box.wire.socket.close()
        for fd in (self.box.pidfd, self.box.bwrap, self.box.stderr, *self.box.roots):
            os.close(fd)


def gone(pidfd: int, timeout: float) -> bool:
    """Whether that process has ended, or does so within so many seconds."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout * 1000))
