"""Blobs on their way in: pieces are gathered in files of a spool directory, then made a blob.

Memory is bounded by one piece a caller, the disk by ``MOST_BYTES`` and ``MOST_UPLOADS``. What
nobody added to for an hour is forgotten; so is everything at a start, since the names of uploads
live in this process.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from accord.core.errors import Invalid, NotFound, TooLarge, Unavailable
from accord.core.ids import Digest
from accord.ports.blobs import Blobs
from accord.ports.clock import Clock

PIECE = 1 << 20
"""Bytes of one piece at most."""
MOST_BYTES = 4 << 30
MOST_UPLOADS = 1_000
REMEMBERED = 10_000
"""Uploads that are remembered once they are blobs, for a caller whose answer was lost."""
FORGOTTEN_AFTER = 3600.0
"""Seconds since the last piece."""


class _Upload:
    def __init__(self, path: Path, now: float) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.size = 0
        self.last = b""
        """Digest of the last piece, by which its repeat is known."""
        self.last_offset = 0
        self.touched = now
        self.gone = False


class Uploads:
    """See the module's docstring."""

    def __init__(self, blobs: Blobs, clock: Clock, spool: Path) -> None:
        self._blobs = blobs
        self._clock = clock
        self._spool = spool
        self._lock = threading.Lock()
        self._open: dict[str, _Upload] = {}
        self._blobbed: OrderedDict[str, tuple[Digest, int]] = OrderedDict()
        self._bytes = 0

    def start(self) -> None:
        """Make the spool directory, and remove what an earlier process left in it."""
        self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in self._spool.glob("*.part"):
            left.unlink()

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Append a piece (port ``Judicator.write_blob``)."""
        if len(data) > PIECE:
            raise TooLarge("A piece of an upload is at most 1 MiB. Send it in several.")
        if not 1 <= len(name) <= 128:
            raise Invalid("The name of an upload has 1 to 128 characters.", field="upload")
        upload = self._find(name)
        if upload is None:
            if offset:
                raise _misfit(0, offset)
            upload = self._begin(name)
        # The lock is one upload's own: it keeps two pieces of it in order on the disk.
        with upload.lock:
            upload.touched = self._clock.monotonic()
            if upload.gone or offset != upload.size:
                self._check_repeat(upload, offset, data)
                return
            self._grow(len(data))
            self._append(upload, offset, data)

    def _append(self, upload: _Upload, offset: int, data: bytes) -> None:
        try:
            with upload.path.open("r+b") as file:
                file.seek(offset)
                file.write(data)
        except OSError:
            self._grow(-len(data))
            raise
        upload.size += len(data)
        upload.last, upload.last_offset = hashlib.sha256(data).digest(), offset

    def _check_repeat(self, upload: _Upload, offset: int, data: bytes) -> None:
        repeat = (
            not upload.gone
            and offset == upload.last_offset
            and hashlib.sha256(data).digest() == upload.last
        )
        if not repeat:
            raise _misfit(upload.size, offset)

    def commit(self, name: str) -> tuple[Digest, int]:
        """Make it a blob; a repeat is answered alike. NotFound."""
        upload = self._find(name)
        if upload is None:
            return self._blob_of(name)
        # Held during the store's call, so that a repeat meanwhile waits for the answer.
        with upload.lock:
            if upload.gone:
                return self._blob_of(name)
            blob = self._blobs.put(_chunks(upload.path))
            upload.gone = True
            with self._lock:
                del self._open[name]
                self._blobbed[name] = blob
                if len(self._blobbed) > REMEMBERED:
                    self._blobbed.popitem(last=False)
            self._discard(upload)
            return blob

    def _blob_of(self, name: str) -> tuple[Digest, int]:
        with self._lock:
            if name not in self._blobbed:
                raise NotFound("There is no such upload. Begin anew.")
            return self._blobbed[name]

    def forget(self) -> int:
        """Forget uploads that nobody added to for an hour; how many."""
        before = self._clock.monotonic() - FORGOTTEN_AFTER
        with self._lock:
            old = {n: u for n, u in self._open.items() if u.touched <= before}
        return sum(self._forget(name, upload) for name, upload in old.items())

    def _forget(self, name: str, upload: _Upload) -> bool:
        with upload.lock:
            if upload.gone or self._clock.monotonic() < upload.touched + FORGOTTEN_AFTER:
                return False
            upload.gone = True
            with self._lock:
                del self._open[name]
            self._discard(upload)
            return True

    def _find(self, name: str) -> _Upload | None:
        with self._lock:
            return self._open.get(name)

    def _begin(self, name: str) -> _Upload:
        path = self._spool / f"{hashlib.sha256(name.encode()).hexdigest()}.part"
        with self._lock:
            there = self._open.get(name)
            if there is not None:
                return there
            if len(self._open) >= MOST_UPLOADS:
                raise Unavailable("Too many uploads are under way. Try again later.")
            upload = self._open[name] = _Upload(path, self._clock.monotonic())
            path.touch(mode=0o600)
            return upload

    def _grow(self, size: int) -> None:
        with self._lock:
            if size > 0 and self._bytes + size > MOST_BYTES:
                raise Unavailable("Uploads fill their space. Try again later.")
            self._bytes += size

    def _discard(self, upload: _Upload) -> None:
        with contextlib.suppress(FileNotFoundError):
            upload.path.unlink()
        self._grow(-upload.size)


def _misfit(size: int, offset: int) -> Invalid:
    return Invalid(
        f"The upload stands at {size} bytes; this piece is for {offset}. "
        "Begin anew under another name.",
        field="offset",
    )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(PIECE):
            yield chunk
