"""From bytes and streams to content: small ones lie in the document, larger ones become blobs.

A stream goes to the judicator piece by piece and is never whole in memory.
"""

from __future__ import annotations

import io
from typing import IO

from accord.core.replica import Content, content
from accord.core.task import INLINE_DOCUMENT, INLINE_STREAM
from accord.ports.clock import Ids
from accord.ports.judicator import Judicator

_PIECE = 1 << 20
_BUDGET = INLINE_DOCUMENT // 2
"""Inline bytes of what is submitted; the other half of the document is the results'."""


class Uploads:
    """Takes in the contents of one submission."""

    def __init__(self, judicator: Judicator, ids: Ids) -> None:
        self._judicator = judicator
        self._ids = ids
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
        return self._blob(start, stream)

    def _blob(self, start: bytes, stream: IO[bytes]) -> Content:
        upload = self._ids.session()
        offset = 0
        piece = start + stream.read(_PIECE - len(start))
        while piece:
            self._judicator.write_blob(upload, offset, piece)
            offset += len(piece)
            piece = stream.read(_PIECE)
        digest, size = self._judicator.commit_blob(upload)
        return Content(digest=digest, size=size)
