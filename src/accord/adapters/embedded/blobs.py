"""Blobs as files by their digest (port ``Blobs``).

A blob lies in ``ab/cd/DIGEST``; its modification time is when it was last put. It is written
below ``tmp/`` of the same file system and renamed when whole and synced, so a reader never sees
half of one.

Two locks keep puts and sweeps apart, also between processes, and vanish with their holders:
a put holds its temporary file's (so a sweep can tell it from a dead one's remains), and whoever
moves a blob in, renews it or removes it holds that of the file ``lock``.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from accord.adapters.embedded.durable import sync_directory
from accord.core import ids
from accord.core.errors import NotFound, Unavailable
from accord.core.ids import Digest
from accord.ports.clock import Clock

CHUNK = 1 << 20


class FileBlobs:
    """See the module's docstring. ``root`` is made where it is not there."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._temporaries = root / "tmp"
        self._temporaries.mkdir(parents=True, exist_ok=True)

    def put(self, chunks: Iterable[bytes]) -> tuple[Digest, int]:
        """Store the bytes; returns their digest and size. Raises Unavailable where the disk does
        not take them.
        """
        with _no_os_errors():
            descriptor, name = tempfile.mkstemp(dir=self._temporaries)
        temporary = Path(name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            digest, size = _write(descriptor, chunks)
            with _no_os_errors():
                self._keep(temporary, descriptor, self._path(digest))
        finally:
            temporary.unlink(missing_ok=True)
            os.close(descriptor)
        return digest, size

    def _keep(self, temporary: Path, descriptor: int, path: Path) -> None:
        if not path.exists():
            os.fsync(descriptor)  # before the lock, which others wait for
            self._make_directory(path.parent)
        with self._lock():
            try:
                self._renew(path)
            except FileNotFoundError:
                self._stamp(descriptor)
                os.fsync(descriptor)
                temporary.rename(path)
        sync_directory(path.parent)  # also a renewed one: its first put may be yet to do this

    def _renew(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            self._stamp(descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _stamp(self, descriptor: int) -> None:
        now = _nanoseconds(self._clock.now())
        os.utime(descriptor, ns=(now, now))

    def _make_directory(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        sync_directory(path.parent)
        sync_directory(self._root)

    def read(self, digest: Digest, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """The bytes from ``start``, at most ``size`` of them. Raises NotFound, Invalid."""
        try:
            descriptor = os.open(self._path(digest), os.O_RDONLY)
        except FileNotFoundError as error:
            raise NotFound(f"There is no blob {digest}.", digest=digest) from error
        return _Chunks(descriptor, start, size)

    def size(self, digest: Digest) -> int | None:
        """Its size in bytes. Raises Invalid for what is no digest."""
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def sweep(self, marked: Iterable[Digest], now: float, grace: float) -> int:
        """Remove blobs that are not marked and were last put more than ``grace`` seconds ago,
        and temporary files as old that no put holds any more.
        """
        keep = frozenset(marked)
        before = _nanoseconds(now - grace)
        for path in list(self._temporaries.iterdir()):
            _remove_remains(path, before)
        return sum(self._remove_old(path, before) for path in self._all() if path.name not in keep)

    def _all(self) -> Iterator[Path]:
        for first in self._root.iterdir():
            if len(first.name) == 2:  # else it is tmp or the lock
                for second in first.iterdir():
                    yield from second.iterdir()

    def _remove_old(self, path: Path, before: int) -> bool:
        if not _is_older(path, before):
            return False
        with self._lock():
            if not _is_older(path, before):  # renewed, or removed, in the meantime
                return False
            path.unlink()
            return True

    def _path(self, digest: Digest) -> Path:
        name = ids.digest(digest)  # also what keeps the path below the root
        return self._root / name[:2] / name[2:4] / name

    @contextmanager
    def _lock(self) -> Iterator[None]:
        descriptor = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class _Chunks(Iterator[bytes]):
    """Reads on; closes its file at the end, or when nobody wants it any more."""

    def __init__(self, descriptor: int, start: int, size: int | None) -> None:
        self._descriptor: int | None = descriptor
        self._at = start
        self._left = size

    def __next__(self) -> bytes:
        if self._descriptor is None:
            raise StopIteration
        wanted = CHUNK if self._left is None else min(CHUNK, self._left)
        data = os.pread(self._descriptor, wanted, self._at) if wanted > 0 else b""
        if not data:
            self.close()
            raise StopIteration
        self._at += len(data)
        if self._left is not None:
            self._left -= len(data)
        return data

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.close()


def _write(descriptor: int, chunks: Iterable[bytes]) -> tuple[Digest, int]:
    hasher, size = hashlib.sha256(), 0
    for chunk in chunks:
        hasher.update(chunk)
        size += len(chunk)
        with _no_os_errors():
            _write_all(descriptor, chunk)
    return Digest(hasher.hexdigest()), size


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _nanoseconds(time: float) -> int:
    return int(time * 1e9)


def _is_older(path: Path, before: int) -> bool:
    try:
        return path.stat().st_mtime_ns < before
    except FileNotFoundError:
        return False


def _remove_remains(path: Path, before: int) -> None:
    if not _is_older(path, before):
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # its put has ended
        return
    try:
        with suppress(BlockingIOError):  # its put is under way
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


@contextmanager
def _no_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"The blob store cannot write: {error.strerror}.") from error
