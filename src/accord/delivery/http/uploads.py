"""From bytes and streams to content: small ones lie in the document, larger ones become blobs.

A stream goes to the judicator piece by piece and is never whole in memory.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Iterable
from typing import IO, Protocol

from accord.core.ids import Digest
from accord.core.replica import Content, content
from accord.core.task import INLINE_DOCUMENT, INLINE_STREAM, NewTask, spec_contents
from accord.ports.clock import Ids
from accord.ports.judicator import Judicator

_PIECE = 1 << 20
_BUDGET = INLINE_DOCUMENT // 2
"""Inline bytes of what is submitted; the other half of the document is the results'."""
_REMEMBERED = 1024
"""Blobs of one request that are known to have been sent."""


class Target(Protocol):
    """Where blobs go."""

    def blob(self, start: bytes, stream: IO[bytes]) -> Content:
        """Content of ``start`` and the rest of the stream."""


class Direct:
    """Blobs go to the judicator as they come."""

    def __init__(self, judicator: Judicator, ids: Ids) -> None:
        self._judicator = judicator
        self._ids = ids

    def blob(self, start: bytes, stream: IO[bytes]) -> Content:
        """Sent when this returns. Raises what the judicator raises."""
        upload = self._ids.session()
        offset = 0
        piece = start + stream.read(_PIECE - len(start))
        while piece:
            self._judicator.write_blob(upload, offset, piece)
            offset += len(piece)
            piece = stream.read(_PIECE)
        digest, size = self._judicator.commit_blob(upload)
        return Content(digest=digest, size=size)


class Later:
    """Blobs are kept back until the tasks that need them are sent; what many need goes once.

    They are in memory until then, as the request is of which they came.
    """

    def __init__(self, target: Direct) -> None:
        self._target = target
        self._waiting: dict[Digest, bytes] = {}
        self._sent: OrderedDict[Digest, None] = OrderedDict()

    def blob(self, start: bytes, stream: IO[bytes]) -> Content:
        """Known by its digest, not sent yet."""
        data = start + stream.read()
        found = content(data)
        if found.digest not in self._sent:
            self._waiting[found.digest] = data
        return Content(digest=found.digest, size=found.size)

    def send(self, tasks: Iterable[NewTask]) -> None:
        """Send what these tasks need. Raises what the judicator raises."""
        needed = (found for task in tasks for found in spec_contents(task.spec))
        for found in needed:
            data = self._waiting.pop(found.digest, None)
            if data is not None:
                self._target.blob(b"", io.BytesIO(data))
                self._note(found.digest)

    def _note(self, digest: Digest) -> None:
        self._sent[digest] = None
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)


class Uploads:
    """Takes in the contents of one submission."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._inline = 0

    def put(self, data: bytes) -> Content:
        """Content of these bytes."""
        return self.put_stream(io.BytesIO(data))

    def put_stream(self, stream: IO[bytes]) -> Content:
        """Content of what the stream holds from where it is."""
        start = stream.read(INLINE_STREAM + 1)
        if len(start) <= INLINE_STREAM and self._inline + len(start) <= _BUDGET:
            self._inline += len(start)
            return content(start)
        return self._target.blob(start, stream)
