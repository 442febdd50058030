"""Measures what the processes of one command use. Three ways, from exact to sampled: cgroup.py
(v2 and v1) and polling.py. ``Accounting`` is chosen once, at the executor's start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from accord.core.limits import Limits


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What a command uses at the moment."""

    cpu: float
    """Seconds of the whole tree, since it was attached."""
    memory: int
    """Bytes that cannot be taken back: neither page cache nor the box's own files."""
    processes: int = 0
    out_of_memory: bool = False
    """Whether the kernel killed one of its processes at the memory limit."""


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """What a command has used, all its processes being dead."""

    cpu: float | None
    """None: the init's count of its children is the better one."""
    peak_memory: int
    processes: int
    out_of_memory: bool
    refused_forks: bool
    """Whether it tried to have more processes than it may."""
    written: int = 0
    """Bytes that it handed to ``write`` and its like; 0 where nothing counts them."""


class Written:
    """Counts what is written below an init from now on. The kernel adds what a process wrote to
    its parent's count when it is reaped, and all that a command leaves is reaped by the init.
    """

    def __init__(self, init: int) -> None:
        self._path = Path(f"/proc/{init}/io")
        self._before = self._count()

    def bytes(self) -> int:
        """How many so far, of processes that are dead; 0 where the kernel does not tell."""
        return max(0, self._count() - self._before)

    def _count(self) -> int:
        try:
            lines = self._path.read_text().splitlines()
        except (
            OSError
        ):  # a kernel without it, the init is gone, or (it is not dumpable) we are not root
            return 0
        return next((int(line[7:]) for line in lines if line.startswith("wchar: ")), 0)


class Meter(Protocol):
    """Of one command."""

    def attach(self, pid: int) -> None:
        """Begin with this process and all that it will start. Raises SandboxError. Not called where
        the account does not ask for it.
        """

    def sample(self, files: int, shared: int) -> Sample:
        """What is used now. Of memory, ``files`` bytes are the work directory and /tmp, which do
        not count, and ``shared`` bytes are in /dev/shm, which do.
        """

    def finish(self) -> Total:
        """The whole of it, and forget it; called once all processes are dead."""


class Account(Protocol):
    """Of one box, from its start to its end."""

    attaches: bool
    """Whether a command must wait until its first process was attached to its meter."""

    def meter(self, limits: Limits) -> Meter:
        """A meter for the next command; the one before is finished. Raises SandboxError."""

    def close(self) -> None:
        """Forget it, the box being dead; may be called twice."""


class Accounting(Protocol):
    """Makes accounts."""

    level: str
    """The isolation level that a box has with it."""
    why: str
    """Why it is no better; empty where it is the best."""
    counts_all_memory: bool
    """Whether memory that no process has mapped is counted too."""

    def account(self, name: str, init: int) -> Account:
        """An account for the box whose init is that process of the host. Raises SandboxError."""

    def close(self) -> None:
        """Remove what is left."""
