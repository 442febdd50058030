"""The judicator's Thrift service: a thread for each connection, and nobody can hold up another.

What a stranger can cost is bounded: who says nothing after connecting, or stalls within a frame,
is dropped; a frame is refused by its length before it is read, and by its elements while it is;
large frames share an allowance of memory, and so do connections a number. Who has spoken once may
be silent for ever, since that is what an executor's connection is while there is nothing to do;
the kernel's keep-alive finds the dead ones.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from accord import logs
from accord.core.errors import Unavailable
from accord.core.ids import ExecutorName, SessionId
from accord.delivery.rpc import dispatch
from accord.delivery.rpc.binary import Malformed
from accord.delivery.rpc.frames import FRAME, Cut, Frames, Refused
from accord.delivery.rpc.hangups import HangUps
from accord.delivery.rpc.pool import tune
from accord.ports.clock import Clock
from accord.ports.judicator import Connections, Judicator, Report

BACKLOG = 1024
"""Connections that the kernel keeps until they are accepted."""
CONNECTIONS = 8192
"""The most at once: 2,000 executors have three each. Fewer where open files are fewer."""
FIRST = 10.0
"""Seconds within which a new connection must begin its first frame."""
STALL = 10.0
"""Seconds that a frame may take to come in whole, or to be taken by the client."""
GRACE = 5.0
"""Seconds that calls under way get when the server stops."""
SMALL = 64 << 10
"""Bytes up to which a frame asks for no part of the allowance; a poll that names the replicas of
hundreds of slots is smaller, and may be held."""
LARGE = FRAME + FRAME // 2
"""Bytes that larger frames may have together, from their first byte until they are answered. What
they unfold to is some five times as large."""
STACK = 256 << 10
"""Bytes of a connection thread's stack, most of them never touched; the default is 8 MiB."""
_SPARE = 256
"""Open files that are left to the rest of the process."""

_log = logs.get("rpc")
_stack = threading.Lock()


class Service(Judicator, Connections, Protocol):
    """What is served."""


class _Allowance:
    """Bytes that large frames share, first come, first served."""

    def __init__(self, total: int, patience: float, clock: Clock) -> None:
        self._left = total
        self._patience = patience
        self._clock = clock
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    @contextlib.contextmanager
    def share(self, size: int) -> Iterator[None]:
        """Have ``size`` bytes. Raises TimeoutError where others hold on to theirs."""
        if size <= SMALL:
            yield
            return
        self._have(size)
        try:
            yield
        finally:
            with self._changed:
                self._left += size
                self._changed.notify_all()

    def _have(self, size: int) -> None:
        place = object()
        with self._changed:
            self._queue.append(place)
            try:
                while self._queue[0] is not place or self._left < size:
                    if not self._clock.wait(self._changed, self._patience):
                        raise TimeoutError("too many large frames at once")
                self._left -= size
            finally:
                self._queue.remove(place)
                self._changed.notify_all()


class _Connection:
    """One client. What it said of itself in reports is told to the service, and taken back."""

    def __init__(
        self, sock: socket.socket, peer: str, frames: Frames, service: Connections
    ) -> None:
        self.sock = sock
        self.peer = peer
        self.frames = frames
        self.ended = False
        self._service = service
        self._lock = threading.Lock()
        self._kinds: dict[str, tuple[ExecutorName, SessionId]] = {}

    def brought(self, report: Report) -> None:
        """A report came in."""
        kind = "poll" if report.poll else "push"
        whose = (report.executor, report.session)
        with self._lock:
            before = self._kinds.get(kind)
            if self.ended or before == whose:
                return
            if before is not None:
                self._service.connection_closed(*before, kind)
            self._kinds[kind] = whose
            self._service.connection_opened(*whose, kind)

    def left(self) -> None:
        """It is gone; may be said twice."""
        with self._lock:
            self.ended = True
            kinds, self._kinds = self._kinds, {}
            for kind, whose in kinds.items():
                self._service.connection_closed(*whose, kind)

    def hang_up(self, how: int) -> None:
        """Let its thread find the connection closed."""
        with contextlib.suppress(OSError):  # the peer was quicker
            self.sock.shutdown(how)


class Server:
    """Serves a judicator on ``host:port``; port 0 takes a free one.

    Args:
        service: called from many threads at once.
        host: a name or address of this machine.
        port: TCP port.
        clock: for time-outs.
        connections: the most at once; further ones are closed at once, and the log says so.
        first: seconds within which a new connection must begin its first frame.
        stall: seconds that a frame may take to come in whole.
    """

    def __init__(
        self,
        service: Service,
        host: str,
        port: int,
        clock: Clock,
        connections: int = CONNECTIONS,
        first: float = FIRST,
        stall: float = STALL,
    ) -> None:
        self._service = service
        self._host = host
        self._port = port
        self._clock = clock
        self._most = connections
        self._first = first
        self._stall = stall
        self._large = _Allowance(LARGE, stall, clock)
        self._parsing = threading.Lock()
        self._hang_ups: HangUps | None = None
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._changed = threading.Condition()
        self._connections: set[_Connection] = set()
        self._full = False
        self._closing = False

    @property
    def address(self) -> str:
        """``host:port`` as it listens."""
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    def start(self) -> None:
        """Listen and serve. Raises Unavailable where the address cannot be had."""
        self._most = min(self._most, _open_files() - _SPARE)
        listener = self._listen()
        self._port = listener.getsockname()[1]
        self._hang_ups = HangUps()
        self._accepting = threading.Thread(
            target=self._accept, args=(listener, self._hang_ups), name="rpc-accept", daemon=True
        )
        self._accepting.start()
        self._listener = listener

    def stop(self, grace: float = GRACE) -> None:
        """Stop listening, let calls under way be answered, close the rest; may be called twice.

        The port is free on return. Calls that the service holds are its own to release: those
        that it still holds after ``grace`` seconds lose their connections.
        """
        with self._changed:
            listener, self._listener, self._closing = self._listener, None, True
        if listener is None or self._accepting is None or self._hang_ups is None:
            return
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        self._accepting.join()
        self._hang_ups.stop()
        self._drain(grace)

    def _drain(self, grace: float) -> None:
        until = self._clock.monotonic() + grace
        with self._changed:
            for connection in self._connections:
                connection.hang_up(socket.SHUT_RD)
            while self._connections and (left := until - self._clock.monotonic()) > 0:
                self._clock.wait(self._changed, left)
            for connection in self._connections:
                connection.hang_up(socket.SHUT_RDWR)
                connection.left()

    # -- accepting -----------------------------------------------------------------------

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            return socket.create_server((self._host, self._port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise Unavailable(
                f"Cannot listen on {self._host}:{self._port}: {error.strerror}. Stop what uses it, or "
                "set judicator.port.",
                host=self._host,
                port=self._port,
            ) from error

    def _accept(self, listener: socket.socket, hang_ups: HangUps) -> None:
        while not self._closing:
            try:
                sock, peer = listener.accept()
            except OSError as error:
                self._not_accepted(error)
            else:
                self._admit(sock, f"{peer[0]}:{peer[1]}", hang_ups)

    def _not_accepted(self, error: OSError) -> None:
        """Where open files or memory ran out: wait until a connection ends, or a second."""
        with self._changed:
            if self._closing or isinstance(error, ConnectionAbortedError):
                return
            extra = {"action": "accept_failed", "why": str(error)}
            _log.error("A connection could not be accepted", extra=extra)
            self._clock.wait(self._changed, 1.0)

    def _admit(self, sock: socket.socket, peer: str, hang_ups: HangUps) -> None:
        frames = Frames(sock, self._stall, self._clock.monotonic)
        connection = _Connection(sock, peer, frames, self._service)
        with self._changed:
            full = len(self._connections) >= self._most
            if not full:
                self._connections.add(connection)
            news, self._full = full and not self._full, full
        if full:
            sock.close()
            if news:
                extra = {"action": "full", "connections": self._most, "peer": peer}
                _log.warning("There are too many connections; new ones are closed", extra=extra)
            return
        try:
            tune(sock)
            hang_ups.watch(sock, connection.left)
            _start(threading.Thread(target=self._serve, args=(connection, hang_ups), daemon=True))
        except (OSError, RuntimeError) as error:  # RuntimeError: no more threads
            self._not_served(connection, str(error))
            self._end(connection, hang_ups)

    # -- a connection's thread -----------------------------------------------------------

    def _serve(self, connection: _Connection, hang_ups: HangUps) -> None:
        try:
            self._converse(connection)
        except (Malformed, Refused, TimeoutError) as error:
            self._not_served(connection, str(error))
        except (Cut, OSError) as error:  # the client is gone, which is its right
            extra = {"action": "ended", "peer": connection.peer, "why": str(error)}
            _log.debug("A connection ended", extra=extra)
        finally:
            self._end(connection, hang_ups)

    def _converse(self, connection: _Connection) -> None:
        frames = connection.frames
        patience: float | None = self._first
        while not self._closing and not connection.ended:
            size = frames.begin(patience)
            patience = None
            with self._large.share(size):
                answer = self._answer(connection, frames.body(size))
            with self._large.share(len(answer)):
                frames.send(answer)

    def _answer(self, connection: _Connection, frame: bytes | memoryview) -> bytes:
        if len(frame) <= SMALL // 16:
            request = dispatch.parse(frame)
        else:
            with self._parsing:  # one at a time, so that what frames unfold to does not add up
                request = dispatch.parse(frame)
        if request.report is not None:
            connection.brought(request.report)
        return dispatch.answer(self._service, request)

    def _not_served(self, connection: _Connection, why: str) -> None:
        extra = {"action": "dropped", "peer": connection.peer, "why": why}
        _log.warning("A connection was dropped", extra=extra)

    def _end(self, connection: _Connection, hang_ups: HangUps) -> None:
        connection.left()
        hang_ups.forget(connection.sock)
        connection.sock.close()
        with self._changed:
            self._connections.discard(connection)
            self._changed.notify_all()


def _start(thread: threading.Thread) -> None:
    """Start it with a small stack. The setting is the process's, so it is put back at once."""
    with _stack:
        before = threading.stack_size(STACK)
        try:
            thread.start()
        finally:
            threading.stack_size(before)


def _open_files() -> int:
    """Raise the soft limit of open files to the hard one; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # where the hard one is beyond the kernel's
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft
