"""A bound on what a document may unfold to, before anything of it is decoded.

A megabyte of msgpack can spell half a million small objects, each some fifty times as large in
memory. Documents that we write have a few hundred values, and their size is in long texts, which
cost a step each here, whatever their length.
"""

from __future__ import annotations

import struct

from accord.core.errors import Corrupt, TooLarge

FREE = 1024
"""So many values any document may hold."""
BYTES = 8
"""And one more for so many of its bytes. Ours have 12 at least: a thousand empty files."""

_LENGTHS = {1: struct.Struct(">B"), 2: struct.Struct(">H"), 4: struct.Struct(">I")}
# First byte to (bytes of the length that follows, bytes added to it, values for each counted).
_SIZED = {
    **{0xC4 + i: (1 << i, 0, 0) for i in range(3)},  # bin
    **{0xC7 + i: (1 << i, 1, 0) for i in range(3)},  # ext
    **{0xD9 + i: (1 << i, 0, 0) for i in range(3)},  # str
    0xDC: (2, 0, 1),
    0xDD: (4, 0, 1),
    0xDE: (2, 0, 2),
    0xDF: (4, 0, 2),
}
# First byte to the bytes that follow: nil, booleans, floats, integers, short ext.
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8}
_FIXED.update({0xCC + i: 1 << i for i in range(4)})
_FIXED.update({0xD0 + i: 1 << i for i in range(4)})
_FIXED.update({0xD4 + i: 1 + (1 << i) for i in range(5)})


def check(data: bytes | memoryview, free: int = FREE) -> None:
    """Raise TooLarge where ``data`` holds too many values (``free``, and one for each BYTES bytes),
    Corrupt where it is not whole.
    """
    bound = free + len(data) // BYTES
    at, wanted, seen = 0, 1, 0
    while seen < wanted:
        if wanted > bound:
            raise TooLarge(f"A document of this size may hold {bound} values.", bound=bound)
        try:
            at, more = _step(data, at)
        except (IndexError, struct.error):
            raise Corrupt("A document ends too early.") from None
        seen += 1
        wanted += more


def _step(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Where the next value begins, and how many values this one holds."""
    first = data[at]
    if first < 0x80 or first >= 0xE0:
        return at + 1, 0
    if first >= 0xC0:
        return _long(data, at, first)
    if first >= 0xA0:
        return at + 1 + (first & 0x1F), 0
    return at + 1, (first & 0x0F) * (2 if first < 0x90 else 1)


def _long(data: bytes | memoryview, at: int, first: int) -> tuple[int, int]:
    if first not in _SIZED:
        return at + 1 + _FIXED.get(first, 0), 0
    width, extra, each = _SIZED[first]
    length = _LENGTHS[width].unpack_from(data, at + 1)[0]
    begin = at + 1 + width
    return (begin, length * each) if each else (begin + length + extra, 0)
