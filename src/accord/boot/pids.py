"""Which process is meant: a pid alone is not enough, since pids come back.

A pid file names the process by its pid, its start (clock ticks since the machine came up) and the
machine's boot id, so that a reboot or a reused pid is never taken for the service.
"""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import msgspec

_STATE, _START = 0, 19  # fields of /proc/PID/stat after the command's closing parenthesis


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """One process, for as long as the machine keeps running and after."""

    pid: int
    start: int
    """Clock ticks since the machine's start."""
    boot: str
    """The kernel's boot id."""


def identify(pid: int) -> Identity | None:
    """The process of that pid, None where there is none or it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[_STATE] in "ZX":
        return None
    return Identity(pid=pid, start=int(fields[_START]), boot=_boot_id())


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def alive(identity: Identity) -> bool:
    """Whether that very process still runs."""
    return identify(identity.pid) == identity


def send(identity: Identity, number: signal.Signals) -> bool:
    """Send a signal to that very process; whether it was there to take it."""
    handle = _open(identity)
    if handle is None:
        return False
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def wait_gone(identity: Identity, timeout: float) -> bool:
    """Wait until it has ended, at most ``timeout`` seconds; whether it has."""
    handle = _open(identity)
    if handle is None:
        return True
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(timeout * 1000))
    finally:
        os.close(handle)


def _open(identity: Identity) -> int | None:
    """A descriptor of the process; it cannot come to mean another one."""
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    if alive(identity):
        return handle
    os.close(handle)
    return None


class PidFile:
    """A file that says which process a service, or Boot itself, runs as."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, identity: Identity) -> None:
        """Replace the file at once; a reader sees the old or the new."""
        new = self._path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(identity) + b"\n")
        new.replace(self._path)

    def read(self) -> Identity | None:
        """Who is named, None where the file is absent or unreadable."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Identity)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError):
            return None

    def running(self) -> Identity | None:
        """Who is named, where that process still runs."""
        named = self.read()
        return named if named and alive(named) else None

    def clear(self) -> None:
        """Remove the file; may be called twice."""
        self._path.unlink(missing_ok=True)
