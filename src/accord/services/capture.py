"""One stream of a running program: kept as it comes, readable at any offset while it grows.

The beginning stays in memory; a stream that outgrows that goes to a file in the replica's folder
of the spool, so that it is on disk already when the result is spooled.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from accord.core.ids import Digest
from accord.core.replica import Content
from accord.core.task import INLINE_STREAM

IN_MEMORY = 64 << 10
"""Bytes of a stream that stay in memory; beyond, all of it lies in a file."""
_PIECE = 1 << 20


class Capture:
    """Takes a stream's bytes from one thread, while others read what is there.

    ``name`` in ``folder`` is where the stream goes when it must lie on disk; ``noticed`` is called
    after bytes were added, on the thread that brought them.
    """

    def __init__(self, folder: Path, name: str, noticed: Callable[[], None]) -> None:
        self._folder = folder
        self._name = name
        self._noticed = noticed
        self._lock = threading.Lock()
        self._memory = bytearray()
        self._fd: int | None = None
        self._size = 0
        self._digest = hashlib.sha256()
        self._failed: OSError | None = None

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return self._size

    def append(self, data: bytes) -> None:
        """Take more bytes. Never raises: a full disk is told by ``finish``."""
        with self._lock:
            if self._failed is None:
                try:
                    self._store(data)
                except OSError as error:
                    self._failed = error
        self._noticed()

    def read(self, offset: int, size: int) -> bytes:
        """At most ``size`` bytes from ``offset``; empty where there are none yet, or no more."""
        with self._lock:
            if self._fd is None:
                return bytes(self._memory[offset : offset + size])
            return os.pread(self._fd, size, offset)

    def pieces(self) -> Iterator[bytes]:
        """All bytes so far, from the beginning."""
        at = 0
        while piece := self.read(at, _PIECE):
            at += len(piece)
            yield piece

    def finish(self) -> tuple[Content, Path | None]:
        """The stream as content, and the file that holds it where it is too long to be inline.

        The file is synced. Raises the OSError that kept some bytes from being stored.
        """
        with self._lock:
            if self._failed is not None:
                raise self._failed
            digest = Digest(self._digest.hexdigest())
            if self._size <= INLINE_STREAM:
                return Content(digest=digest, size=self._size, inline=bytes(self._memory)), None
            if self._fd is None:
                self._spill()
            os.fsync(self._file())
            return Content(digest=digest, size=self._size), self._folder / self._name

    def close(self) -> None:
        """Let go of the file, which stays; what was not spilled is gone. May be called twice."""
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
            self._fd = None
            self._memory.clear()

    def _store(self, data: bytes) -> None:
        if self._fd is None and self._size + len(data) > IN_MEMORY:
            self._spill()
        if self._fd is None:
            self._memory += data
        else:
            _write_all(self._fd, data)
        self._digest.update(data)
        self._size += len(data)

    def _spill(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._fd = os.open(self._folder / self._name, flags, 0o600)
        _write_all(self._fd, bytes(self._memory))
        self._memory.clear()

    def _file(self) -> int:
        if self._fd is None:
            raise OSError("the stream's file was closed before it was finished")
        return self._fd


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
