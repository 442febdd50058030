"""Makes a box as new between two tasks of one user, from inside it.

Runs in the init, once every process of the run is dead. It empties what could be written, and
looks at what cannot be emptied from here: where anything of that is left, or emptying takes too
long, it says so, and the box is thrown away. The host then compares the file systems' own counts
with those of the fresh box, so a file that hides is found as well.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST = 64
_PATIENCE = 0.05
"""Seconds; a fresh box costs less than a longer wipe."""
_LOOK = 128
"""Entries between two looks at the clock."""
_MODES = (0o755, 0o1777, 0o1777)
_SET_FLAGS = 0x4008_6602
"""FS_IOC_SETFLAGS: attributes as of chattr, the same on x86-64 and aarch64."""
_TABLES = (
    *("/proc/sysvipc/shm", "/proc/sysvipc/sem", "/proc/sysvipc/msg"),
    *("/proc/self/net/dev", "/proc/self/net/unix"),
)
_MOST_TABLE = 4096


class Dirty(Exception):
    """The box cannot be made as new; the message says what is left."""


class Wiper:
    """Wipes one box; made before the first program runs, so that it knows what new looks like.

    ``roots`` are the work directory, /tmp and /dev/shm.
    """

    def __init__(self, roots: list[int]) -> None:
        self._roots = roots
        self._queues = os.open("/dev/mqueue", _FOLDER)
        self._tables = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in _TABLES]
        self._new = self._read()

    def wipe(self) -> None:
        """Empty everything. Raises Dirty, OSError."""
        emptying = _Emptying(time.monotonic() + _PATIENCE)  # noqa: TID251 - no clock is sent in
        for root, mode in zip(self._roots, _MODES):  # noqa: B905 - Python 3.8 has no strict
            os.fchmod(root, 0o700)
            emptying.empty(root, _DEEPEST)
            _as_made(root, mode)
        if os.listdir(self._queues):  # noqa: PTH208 - pathlib is slow to import
            raise Dirty("a message queue is left")
        if self._read() != self._new:
            raise Dirty("something of System V or a socket is left, or the network was used")

    def _read(self) -> list[bytes]:
        """What there is of System V; the packets that went over the loopback, since connections
        outlive their processes, and their ports stay taken for a minute; local sockets, since those
        that are under way in each other are only found by the kernel's collector of garbage.
        """
        return [os.pread(table, _MOST_TABLE, 0) for table in self._tables]


class _Emptying:
    def __init__(self, until: float) -> None:
        self._until = until
        self._count = 0

    def empty(self, folder: int, depth: int) -> None:
        """Remove everything below; no link is followed."""
        with os.scandir(folder) as entries:
            for entry in entries:
                self._look()
                if entry.is_dir(follow_symlinks=False):
                    self._remove(folder, entry.name, depth)
                else:
                    os.unlink(entry.name, dir_fd=folder)

    def _remove(self, above: int, name: str, depth: int) -> None:
        if depth == 0:
            raise Dirty("folders are nested too deep")
        os.chmod(name, 0o700, dir_fd=above)
        folder = os.open(name, _FOLDER, dir_fd=above)
        try:
            self.empty(folder, depth - 1)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=above)

    def _look(self) -> None:
        self._count += 1
        if self._count % _LOOK == 0 and time.monotonic() > self._until:  # noqa: TID251 - as above
            raise Dirty("there are too many files")


def _as_made(root: int, mode: int) -> None:
    """Attributes, access lists, flags and times of the root itself, which was the program's too."""
    for name in os.listxattr(root):
        os.removexattr(root, name)
    _unflag(root)
    os.fchmod(root, mode)
    os.utime(root)


def _unflag(root: int) -> None:
    try:
        fcntl.ioctl(root, _SET_FLAGS, struct.pack("l", 0))
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):  # this kernel's tmpfs has no flags
            raise
