"""Blobs in this process's memory (port ``Blobs``)."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator

from accord.core import ids
from accord.core.errors import NotFound
from accord.core.ids import Digest
from accord.ports.clock import Clock

CHUNK = 1 << 20


class MemoryBlobs:
    """See the module's docstring."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._blobs: dict[Digest, tuple[bytes, float]] = {}

    def put(self, chunks: Iterable[bytes]) -> tuple[Digest, int]:
        """Store the bytes; returns their digest and size."""
        data = b"".join(chunks)
        digest = Digest(hashlib.sha256(data).hexdigest())
        with self._lock:
            self._blobs[digest] = (data, self._clock.now())
        return digest, len(data)

    def read(self, digest: Digest, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """The bytes from ``start``, at most ``size`` of them. Raises NotFound, Invalid."""
        with self._lock:
            found = self._blobs.get(ids.digest(digest))
        if found is None:
            raise NotFound(f"There is no blob {digest}.", digest=digest)
        data = found[0]
        end = len(data) if size is None else min(start + size, len(data))
        return (data[at : min(at + CHUNK, end)] for at in range(start, end, CHUNK))

    def size(self, digest: Digest) -> int | None:
        """Its size in bytes. Raises Invalid for what is no digest."""
        with self._lock:
            found = self._blobs.get(ids.digest(digest))
        return None if found is None else len(found[0])

    def sweep(self, marked: Iterable[Digest], now: float, grace: float) -> int:
        """Remove blobs that are not marked and were last put more than ``grace`` seconds ago."""
        keep = frozenset(marked)
        with self._lock:
            old = [
                digest
                for digest, (_, put) in self._blobs.items()
                if digest not in keep and now - put > grace
            ]
            for digest in old:
                del self._blobs[digest]
        return len(old)
