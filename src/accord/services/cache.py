"""What an executor keeps on disk to have it at hand again: inputs, and what compilers made.

An item is one file, named by what it holds, that begins with the SHA-256 of the rest. It is checked
whenever it is opened, so that a torn or damaged one is dropped and never used. All items together
stay below a bound: what was used longest ago makes room. Nothing is synced: what a crash takes is
fetched or compiled again.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accord import logs

PIECE = 1 << 20
_HEAD = 32
_NAME = re.compile(r"[a-z]+-[0-9a-f]{64}")
_SHARE = 4
"""No item takes more than one part in so many, else one would drive out all others."""

_log = logs.get("executor.cache")


class Full(Exception):
    """There is no room for more of the item. Never leaves this module."""


class Cache:
    """See the module's docstring. Every method may be called from any thread.

    ``bound`` is in bytes; 0 keeps nothing. The folder is the executor's own, and no name in it
    comes from a box.
    """

    def __init__(self, root: Path, bound: int) -> None:
        self._root = root
        self._bound = max(0, bound)
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._total = 0
        """Bytes of all items, those included that are being added."""
        self._numbers = itertools.count()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._restore()

    @property
    def largest(self) -> int:
        """Bytes that an item may have at most; 0 where nothing is kept."""
        return max(0, self._bound // _SHARE - _HEAD)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        with self._lock:
            return self._total

    def open(self, name: str) -> int | None:
        """A descriptor at the beginning of the item's bytes, which the caller closes; None where
        it is not here, or was found damaged. It stays readable when the item goes.
        """
        with self._lock:
            if name not in self._sizes:
                return None
            self._sizes.move_to_end(name)
        try:
            fd = os.open(self._root / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            self._drop(name, error.strerror or "it cannot be opened")
            return None
        if not _holds(fd):
            os.close(fd)
            self._drop(name, "its checksum does not match")
            return None
        os.utime(fd)  # the order of use, for after a restart
        return fd

    def add(self, name: str, chunks: Iterator[bytes]) -> bool:
        """Keep these bytes under that name, in place of what had it; whether there was room on
        the disk and below the bound. What the iterator raises comes through, save an OSError.
        """
        beside = self._root / f"{next(self._numbers)}.new"
        with self._reserving() as reserved:
            try:
                self._write(beside, chunks, reserved)
                with self._lock:
                    self._remove(name)
                    beside.rename(self._root / name)
                    self._sizes[name], reserved.bytes = reserved.bytes, 0
            except Full:
                return False
            except OSError as error:
                _log.warning(
                    "The cache could not take an item; the executor goes on without",
                    extra={"action": "cache_failed", "item": name, "why": str(error)},
                )
                return False
            else:
                return True
            finally:
                beside.unlink(missing_ok=True)

    def drop(self, name: str) -> None:
        """Forget an item, if it is here."""
        with self._lock:
            self._remove(name)

    def _write(self, path: Path, chunks: Iterator[bytes], reserved: _Reserved) -> None:
        digest = hashlib.sha256()
        with path.open("xb") as file:
            self._reserve(reserved, _HEAD)
            file.write(bytes(_HEAD))
            for chunk in chunks:
                self._reserve(reserved, len(chunk))
                file.write(chunk)
                digest.update(chunk)
            file.seek(0)
            file.write(digest.digest())

    def _reserve(self, reserved: _Reserved, size: int) -> None:
        with self._lock:
            if reserved.bytes + size > self.largest + _HEAD:
                raise Full
            while self._total + size > self._bound and self._sizes:
                self._remove(next(iter(self._sizes)))
            if self._total + size > self._bound:
                raise Full  # the others are being added at this moment
            self._total += size
            reserved.bytes += size

    @contextmanager
    def _reserving(self) -> Iterator[_Reserved]:
        reserved = _Reserved()
        try:
            yield reserved
        finally:
            with self._lock:
                self._total -= reserved.bytes

    def _drop(self, name: str, why: str) -> None:
        with self._lock:
            if name not in self._sizes:
                return  # it made room for another just now
            self._remove(name)
        _log.warning(
            "An item of the cache is damaged and was dropped",
            extra={"action": "cache_torn", "item": name, "why": why},
        )

    def _remove(self, name: str) -> None:
        if name in self._sizes:
            self._total -= self._sizes.pop(name)
            (self._root / name).unlink(missing_ok=True)

    def _restore(self) -> None:
        """Take over what an earlier process left, in the order in which it was used."""
        found = []
        for path in self._root.iterdir():
            if _NAME.fullmatch(path.name) and path.is_file():
                about = path.stat()
                found.append((about.st_mtime_ns, path.name, about.st_size))
            elif path.is_file():
                path.unlink()
        self._sizes.update((name, size) for _, name, size in sorted(found))
        self._total = sum(self._sizes.values())
        while self._total > self._bound:
            self._remove(next(iter(self._sizes)))


class _Reserved:
    bytes = 0


def pieces(fd: int, size: int | None = None) -> Iterator[bytes]:
    """The next ``size`` bytes of a descriptor, or all of them to the end."""
    while size is None or size > 0:
        piece = os.read(fd, PIECE if size is None else min(PIECE, size))
        if not piece:
            return
        if size is not None:
            size -= len(piece)
        yield piece


def _holds(fd: int) -> bool:
    """Whether it is what was written; it is then at the beginning of the bytes."""
    try:
        head = os.read(fd, _HEAD)
        digest = hashlib.sha256()
        for piece in pieces(fd):
            digest.update(piece)
        os.lseek(fd, _HEAD, os.SEEK_SET)
    except OSError:
        return False
    return digest.digest() == head
