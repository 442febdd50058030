"""Connections to judicators: one caller at a time on each, kept while they are sound.

A connection is given back only after an answer to its own question, or an error that the
judicator declared. After anything else it is closed: a later answer would be taken for another
question's. Connections are opened when they are wanted, and none outlives a fork: a child that
finds its parent's lets them be and opens its own.

Nothing here waits other than in ``socket`` and ``threading``, which gevent makes its own.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from accord.delivery.rpc.binary import Malformed
from accord.delivery.rpc.frames import Cut, Frames, Refused
from accord.delivery.rpc.methods import Declared, Method

Dial = Callable[[str, float], socket.socket]
"""Opens a connection to ``host:port`` within so many seconds. Raises OSError."""

_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class Unreached(Exception):
    """No connection could be made: nothing was sent."""


class Broken(Exception):
    """The connection failed under way: the judicator may or may not have done what was asked."""

    def __init__(self, why: str, *, late: bool = False) -> None:
        super().__init__(why)
        self.late = late
        """No answer came in time, so that asking the same judicator again would take as long."""


def dial(address: str, timeout: float) -> socket.socket:
    """A plain connection to ``host:port`` (``[host]:port`` where the host has colons)."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout)


def tune(sock: socket.socket) -> None:
    """Answers leave at once, and a peer whose machine died is noticed within a minute."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


class Connection:
    """One connection, for one caller at a time."""

    def __init__(self, sock: socket.socket, patience: float) -> None:
        self._sock = sock
        self._patience = patience
        self._frames = Frames(sock, patience)

    def call(self, method: Method, message: bytes, sequence: int, wait: float) -> Any:
        """The result of a call that the judicator may hold for ``wait`` seconds.

        Raises Declared, after which the connection is sound, or Broken, after which it is not.
        """
        try:
            self._frames.send(message)
            size = self._frames.begin(wait + self._patience)
            return method.response(self._frames.body(size), sequence)
        except Cut as error:
            raise Broken("the judicator closed the connection") from error
        except (OSError, Refused, Malformed) as error:
            raise Broken(str(error), late=isinstance(error, TimeoutError)) from error

    def idle(self) -> bool:
        """Whether it is open and silent, as one that waits for its next call must be."""
        try:
            self._sock.setblocking(False)
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close it; may be called twice."""
        self._sock.close()

    def cut(self) -> None:
        """Let the call that is under way in another thread fail."""
        with contextlib.suppress(OSError):  # the peer has cut it already
            self._sock.shutdown(socket.SHUT_RDWR)


class _Shelf:
    """The idle connections of one process."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.lock = threading.Lock()
        self.idle: dict[str, list[Connection]] = {}
        self.busy: set[Connection] = set()
        self.sequences = itertools.count(1)


class Pool:
    """Connections by address. Any number may be in use; ``keep`` idle ones stay for each."""

    def __init__(self, keep: int, connect: float, patience: float, dial: Dial = dial) -> None:
        self._keep = keep
        self._connect = connect
        self._patience = patience
        self._dial = dial
        self._shelf = _Shelf()

    def call(self, address: str, method: Method, arguments: tuple[Any, ...], wait: float) -> Any:
        """Call that judicator, which may hold the call for ``wait`` seconds.

        Raises what it declared; Unreached and Broken; Invalid and TooLarge for what cannot be sent.
        """
        shelf = self._own()
        sequence = next(shelf.sequences) & 0x7FFFFFFF
        message = method.request(sequence, arguments)
        connection = self._take(shelf, address)
        with shelf.lock:
            shelf.busy.add(connection)
        sound = False
        try:
            result = connection.call(method, message, sequence, wait)
            sound = True
        except Declared as declared:
            sound = True
            raise declared.error from None
        finally:  # also where a greenlet is killed or a signal's exception passes through
            self._give(shelf, address, connection, sound=sound)
        return result

    def close(self) -> None:
        """Close what is idle. Calls under way go on, and a later one opens anew."""
        shelf = self._own()
        with shelf.lock:
            idle, shelf.idle = shelf.idle, {}
        for connection in itertools.chain.from_iterable(idle.values()):
            connection.close()

    def reset(self) -> None:
        """Close all connections; calls under way fail as if the judicator had cut them."""
        self.close()
        shelf = self._own()
        with shelf.lock:
            busy = list(shelf.busy)
        for connection in busy:
            connection.cut()

    def _own(self) -> _Shelf:
        """This process's shelf. After a fork the parent's is let be, its lock may be held."""
        if self._shelf.process != os.getpid():
            self._shelf = _Shelf()
        return self._shelf

    def _take(self, shelf: _Shelf, address: str) -> Connection:
        while True:
            with shelf.lock:
                idle = shelf.idle.get(address)
                connection = idle.pop() if idle else None
            if connection is None:
                return self._open(address)
            if connection.idle():
                return connection
            connection.close()

    def _open(self, address: str) -> Connection:
        try:
            sock = self._dial(address, self._connect)
        except (OSError, ValueError) as error:  # ValueError: a port that is no number
            raise Unreached(f"{address}: {error}") from error
        tune(sock)
        return Connection(sock, self._patience)

    def _give(self, shelf: _Shelf, address: str, connection: Connection, *, sound: bool) -> None:
        with shelf.lock:
            shelf.busy.discard(connection)
            if sound:
                idle = shelf.idle.setdefault(address, [])
                if len(idle) < self._keep:
                    idle.append(connection)
                    return
        connection.close()
