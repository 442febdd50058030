"""The values of a sweep, place after place, tables included: their rows are read as they are needed.

A place is worked out from its number; only the row of a table has to be found, and for that the
batch's document notes where the next one begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from accord.core.batch import Batch
from accord.core.errors import Corrupt
from accord.core.parameters import Rows, at, inner_size
from accord.core.replica import Content
from accord.core.task import Scalar
from accord.ports.blobs import Blobs


class Sweep:
    """See the module's docstring."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def portion(self, batch: Batch, wanted: int) -> tuple[list[Mapping[str, Scalar]], int]:
        """The values of the next ``wanted`` places, and the offset of the row of the place after
        them. Raises Corrupt, NotFound.
        """
        axes, first = batch.axes, batch.taken
        table = axes[0] if axes and isinstance(axes[0], Rows) else None
        if table is None:
            return [at(axes, n) for n in range(first, first + wanted)], 0
        found: list[Mapping[str, Scalar]] = []
        offset, each = batch.row_offset, inner_size(axes)
        for row, length in self._rows(table.rows, offset):
            while len(found) < wanted:
                found.append(at(axes, first + len(found), row))
                if (first + len(found)) % each == 0:
                    offset += length
                    break
            if len(found) >= wanted:
                return found, offset
        raise Corrupt("The table of a batch has fewer rows than it should.")

    def _rows(self, content: Content, offset: int) -> Iterator[tuple[Sequence[Scalar], int]]:
        """The rows from there on, each with the bytes that it takes."""
        for line in self._lines(content, offset):
            yield _decoder.decode(line), len(line)

    def _lines(self, content: Content, offset: int) -> Iterator[bytes]:
        rest = b""
        for chunk in self._chunks(content, offset):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line + b"\n" for line in lines)
        if rest:
            yield rest

    def _chunks(self, content: Content, offset: int) -> Iterator[bytes]:
        if content.inline is not None:
            yield content.inline[offset:]
        else:
            yield from self._blobs.read(content.digest, offset)


_decoder = msgspec.json.Decoder(list[Scalar])
