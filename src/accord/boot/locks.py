"""Locks on files, which the kernel releases when their holder ends, however it ends.

A service's lock is held by Boot for the moment of a start, and by a person (``accord maintain``)
for as long as Boot must not start it. Boot's own lock makes it the only one of a data directory.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FileLock:
    """An exclusive lock; reentrant for nobody, freed by the kernel when the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def acquire(self, *, wait: bool = False) -> bool:
        """Take the lock, where ``wait`` as soon as it is free; whether it was taken."""
        self.release()  # a lock of our own must not be waited for
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(handle)
            return False
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return True

    def release(self) -> None:
        """Give it back; may be called twice. The file stays: removing it would split the lock."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
