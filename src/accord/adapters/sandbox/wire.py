"""Frames over a stream socket between the executor, its spawner, and the init of a box.

A frame is a list of byte strings, with descriptors beside it. It is read by a Python without
accord, and later by a program in C, so this module imports nothing but built-in modules, and
numbers travel as decimal text. Each end may distrust the other: lengths are checked before memory
is taken, and descriptors that nobody asked for are closed by the caller.
"""

from __future__ import annotations

import _socket
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST_FRAME = 8 << 20
"""Bytes; more than the kernel takes as argv and environment of one program."""
LARGEST_CHUNK = 64 << 10
"""Bytes of a file in one frame."""
_MOST_FDS = 16
_LENGTH = struct.Struct("!I")
_CREDENTIALS = struct.Struct("3i")


class Broken(Exception):
    """The other end is gone, or does not keep to the format."""


class Frame:
    """What was received: a verb, its arguments, descriptors, and who sent it."""

    def __init__(self, fields: list[bytes], fds: list[int], pid: int, uid: int) -> None:
        self.verb = fields[0] if fields else b""
        self.fields = fields[1:]
        self.fds = fds
        self.pid = pid
        """The sender as the kernel names it here; 0 where credentials were not asked for."""
        self.uid = uid

    def close(self) -> None:
        """Close the descriptors that came along."""
        while self.fds:
            os.close(self.fds.pop())


class Wire:
    """One end of a connection. Not thread-safe. A time-out is that of the socket."""

    def __init__(self, sock: _socket.socket) -> None:
        self.socket = sock

    def send(self, *fields: bytes, fds: Sequence[int] = ()) -> None:
        """Send a frame. Raises Broken where nobody is there to read it."""
        payload = b"".join([_LENGTH.pack(len(field)) + field for field in fields])
        if len(payload) > LARGEST_FRAME:
            raise Broken(f"a frame of {len(payload)} bytes")
        beside = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))]
        whole = _LENGTH.pack(len(payload)) + payload
        try:
            sent = self.socket.sendmsg([whole], beside if fds else [])
            if sent < len(whole):
                self.socket.sendall(memoryview(whole)[sent:])
        except OSError as error:
            raise Broken(str(error)) from error

    def recv(self) -> Frame:
        """The next frame. Raises Broken at its end, on nonsense, and when time runs out."""
        try:
            head, fds, pid, uid = self._head()
            frame = Frame([], fds, pid, uid)
            try:
                fields = _fields(self._exactly(_LENGTH.unpack(head)[0]))
            except BaseException:
                frame.close()
                raise
        except OSError as error:
            raise Broken(str(error)) from error
        return Frame(fields, fds, pid, uid)

    def _head(self) -> tuple[bytes, list[int], int, int]:
        space = _socket.CMSG_SPACE(4 * _MOST_FDS) + _socket.CMSG_SPACE(_CREDENTIALS.size)
        head, beside, _, _ = self.socket.recvmsg(_LENGTH.size, space, _socket.MSG_CMSG_CLOEXEC)
        fds: list[int] = []
        pid = uid = 0
        for level, kind, data in beside:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                fds.extend(struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4]))
            elif level == _socket.SOL_SOCKET and kind == _socket.SCM_CREDENTIALS:
                pid, uid, _ = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])
        if len(head) != _LENGTH.size:
            for fd in fds:
                os.close(fd)
            raise Broken("closed")
        return head, fds, pid, uid

    def _exactly(self, size: int) -> bytes:
        if size > LARGEST_FRAME:
            raise Broken(f"a frame of {size} bytes")
        parts = []
        while size:
            part = self.socket.recv(size)
            if not part:
                raise Broken("closed in the midst of a frame")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _fields(payload: bytes) -> list[bytes]:
    fields, at = [], 0
    while at < len(payload):
        if len(payload) - at < _LENGTH.size:
            raise Broken("a field without a length")
        (size,) = _LENGTH.unpack_from(payload, at)
        at += _LENGTH.size
        if size > len(payload) - at:
            raise Broken("a field longer than its frame")
        fields.append(payload[at : at + size])
        at += size
    return fields
