"""A task's inputs, as streams: what is inline from the document, the rest from the judicator.

A blob is never whole in memory, is checked against its digest as it passes, and is asked for again
from where it stopped when the judicator is away for a while. One that fits into the cache is fetched
into it first, once for all runs that want it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accord.core.errors import Corrupt, Unavailable
from accord.core.replica import Content
from accord.ports.clock import Clock, Ids
from accord.ports.judicator import Judicator
from accord.services.backoff import Backoff
from accord.services.cache import Cache, pieces
from accord.services.flights import Flights, Stopped
from accord.services.holdings import Job

PIECE = 1 << 20
_SMALL_STDIN = 1 << 20
"""Bytes of stdin that are kept in memory while the program runs; more goes to a file."""


class Inputs:
    """Fetches contents for the runs of one executor; safe from any thread."""

    def __init__(
        self, judicator: Judicator, scratch: Path, cache: Cache, clock: Clock, ids: Ids
    ) -> None:
        self._judicator = judicator
        self._scratch = scratch
        self._cache = cache
        self._flights = Flights(clock)
        self._clock = clock
        self._ids = ids

    def chunks(self, content: Content, job: Job) -> Iterator[bytes]:
        """The content's bytes. Raises NotFound where a blob is gone, Corrupt where it is not what
        its digest says, Stopped where the job is stopped meanwhile.
        """
        if content.inline is not None:
            yield content.inline
            return
        fd = self._kept(content, job)
        if fd is None:
            yield from self._fetched(content, job)
            return
        try:
            for piece in pieces(fd):
                if job.stop.is_set():
                    raise Stopped
                yield piece
        finally:
            os.close(fd)

    def _kept(self, content: Content, job: Job) -> int | None:
        """A descriptor of the content in the cache, fetched where it is not there yet; None where
        it cannot be kept there.
        """
        name = f"blob-{content.digest}"
        if content.size > self._cache.largest:
            return None
        if (fd := self._cache.open(name)) is not None:
            return fd
        with self._flights.join(name, job.stop) as flight:
            if not flight.first:
                return self._cache.open(name)
            fd = self._cache.open(name)  # it may have come between the two looks
            if fd is None and self._cache.add(name, self._fetched(content, job)):
                fd = self._cache.open(name)
            flight.done = fd is not None
            return fd

    def _fetched(self, content: Content, job: Job) -> Iterator[bytes]:
        digest, offset = hashlib.sha256(), 0
        while offset < content.size:
            piece = self._piece(content, offset, job)
            digest.update(piece)
            offset += len(piece)
            yield piece
        if digest.hexdigest() != content.digest:
            raise Corrupt("An input is not what was stored under its digest.")

    @contextmanager
    def stdin(self, content: Content | None, job: Job) -> Iterator[int | None]:
        """A descriptor that reads the content from its beginning. It belongs to no path, neither
        in the box nor outside, and the program cannot change what is behind it.
        """
        if content is None or not content.size:
            yield None
            return
        fd = self._held(content, job)
        try:
            yield fd
        finally:
            os.close(fd)

    def _held(self, content: Content, job: Job) -> int:
        if content.size <= _SMALL_STDIN:
            fd = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        else:
            file, path = tempfile.mkstemp(prefix="stdin-", dir=self._scratch)
            Path(path).unlink()
            fd = file
        try:
            for piece in self.chunks(content, job):
                _write_all(fd, piece)
            if content.size <= _SMALL_STDIN:
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(fd)

    def _piece(self, content: Content, offset: int, job: Job) -> bytes:
        backoff = Backoff(self._ids)
        while not job.stop.is_set():
            try:
                piece = self._judicator.read_blob(content.digest, offset, PIECE)
            except Unavailable:
                self._clock.wait_event(job.stop, backoff.next())
                continue
            if not piece:
                raise Corrupt("An input is not what was stored under its digest.")
            return piece
        raise Stopped


_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
