"""A socket as a sequence of frames: a length of four bytes, then so many bytes.

A length is refused before a byte of its frame is read. Waiting for a frame to begin and waiting
for the rest of one are two things: a connection may be idle for ever, a frame may not stall.
"""

from __future__ import annotations

import mmap
import socket
import struct
from collections.abc import Callable

FRAME = 8 << 20
"""The most bytes of one frame."""
PIECE = 64 << 10
"""Bytes asked of the socket at once."""

_LENGTH = struct.Struct("!i")


class Refused(Exception):
    """The peer sent a length that no frame of ours has."""


class Cut(Exception):
    """The peer closed the connection."""


class Frames:
    """Reads and writes frames on a connected socket. For one thread at a time.

    ``stall`` is how many seconds a frame that has begun may take to come in whole, by ``now``;
    without ``now`` it is the longest pause between two pieces. Sending may pause as long.
    """

    def __init__(
        self, sock: socket.socket, stall: float, now: Callable[[], float] | None = None
    ) -> None:
        self._sock = sock
        self._stall = stall
        self._now = now
        self._rest = b""
        self._until = 0.0

    def begin(self, patience: float | None) -> int:
        """Wait for a frame, at most that many seconds (None: for ever); returns its length.

        Raises Cut where the peer is gone, Refused, TimeoutError, OSError.
        """
        if not self._rest:
            self._sock.settimeout(patience)
            self._rest = self._piece(PIECE)
        if self._now:
            self._until = self._now() + self._stall
        (size,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if not 0 < size <= FRAME:
            raise Refused(f"a frame of {size} bytes; they have 1 to {FRAME}")
        return int(size)

    def body(self, size: int) -> bytes | memoryview:
        """The frame that has begun. Raises Cut, TimeoutError, OSError."""
        return self._exactly(size) if size <= PIECE else self._mapped(size)

    def send(self, data: bytes) -> None:
        """Write a frame. Raises TimeoutError, OSError; the connection is of no use then."""
        self._sock.settimeout(self._stall)
        length = _LENGTH.pack(len(data))
        if len(data) > PIECE:  # two packets cost less than another copy
            self._sock.sendall(length)
            self._sock.sendall(data)
        else:
            self._sock.sendall(length + data)

    def _exactly(self, size: int) -> bytes:
        data = self._rest
        while len(data) < size:
            self._sock.settimeout(self._left())
            data += self._piece(PIECE)
        self._rest = data[size:]
        return data[:size]

    def _mapped(self, size: int) -> memoryview:
        """A large frame, in memory that goes back to the system with the last reference to it.

        Its pages cost nothing before they are written to, and never become the allocator's.
        """
        view = memoryview(mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        have = min(len(self._rest), size)
        view[:have] = self._rest[:have]
        self._rest = self._rest[have:]
        while have < size:
            self._sock.settimeout(self._left())
            count = self._sock.recv_into(view[have:])
            if not count:
                raise Cut
            have += count
        return view

    def _piece(self, size: int) -> bytes:
        found = self._sock.recv(size)
        if not found:
            raise Cut
        return found

    def _left(self) -> float:
        if not self._now:
            return self._stall
        left = self._until - self._now()
        if left <= 0:
            raise TimeoutError("a frame took too long to come in")
        return left
