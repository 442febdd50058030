"""Servers and clients for the tests of the wire."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

from accord.adapters.system import SystemClock
from accord.core.ids import ExecutorName, SessionId
from accord.delivery.rpc.client import RemoteJudicator
from accord.delivery.rpc.methods import METHODS
from accord.delivery.rpc.server import Server
from accord.ports.judicator import Orders, Pong, Report

PATIENCE = 20.0
"""Real seconds after which waiting for what must come is a failure."""
PONG = Pong(name="j1", version="1", now=1.0, leader=True)


class Scripted:
    """A handler for tests of the server alone: answers what the test says.

    It keeps no tasks and no rules; the judicator itself is run through the wire by
    ``test_rpc_judicator``.
    """

    def __init__(self, **calls: Callable[..., Any]) -> None:
        self.changed = threading.Condition()
        self.connections: list[tuple[str, str, str, str]] = []
        self.reports: list[Report] = []
        self.release = threading.Event()
        self._calls = calls

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return self._calls[name]

    def ping(self) -> Pong:
        return PONG

    def report(self, report: Report) -> Orders:
        """A poll that asks to be held is held until the test releases it."""
        with self.changed:
            self.reports.append(report)
            self.changed.notify_all()
        if report.wait:
            assert self.release.wait(3 * PATIENCE)
        return Orders(sequence=report.sequence)

    def connection_opened(self, executor: ExecutorName, session: SessionId, kind: str) -> None:
        self._note("opened", executor, session, kind)

    def connection_closed(self, executor: ExecutorName, session: SessionId, kind: str) -> None:
        self._note("closed", executor, session, kind)

    def _note(self, *what: str) -> None:
        with self.changed:
            self.connections.append(what)  # type: ignore[arg-type]  # four of them
            self.changed.notify_all()

    def wait_for(self, met: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(met, PATIENCE)


@contextlib.contextmanager
def serving(service: Any = None, **settings: Any) -> Iterator[Server]:
    """A server on a free port, stopped at the end."""
    server = Server(
        service or Scripted(), "127.0.0.1", settings.pop("port", 0), SystemClock(), **settings
    )
    server.start()
    try:
        yield server
    finally:
        if isinstance(service, Scripted):
            service.release.set()
        server.stop()


@contextlib.contextmanager
def remote(*addresses: str, **settings: Any) -> Iterator[RemoteJudicator]:
    """A client of those addresses, closed at the end."""
    client = RemoteJudicator(lambda: addresses, **settings)
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def raw(address: str) -> Iterator[socket.socket]:
    """A bare connection."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), PATIENCE) as sock:
        sock.settimeout(PATIENCE)
        yield sock


def framed(data: bytes) -> bytes:
    return struct.pack("!i", len(data)) + data


def receive(sock: socket.socket) -> bytes:
    """One frame's content."""
    (size,) = struct.unpack("!i", exactly(sock, 4))
    return exactly(sock, size)


def exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, "the connection was closed"
        data += piece
    return data


def closed(sock: socket.socket) -> bool:
    """Whether the server has closed it, or does so within PATIENCE."""
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def send(sock: socket.socket, data: bytes) -> None:
    """Send what a server may refuse half-way."""
    with contextlib.suppress(ConnectionError):
        sock.sendall(data)


def pinged(sock: socket.socket, sequence: int = 1) -> bool:
    """Whether the connection still answers."""
    sock.sendall(framed(METHODS["ping"].request(sequence, [])))
    return bool(METHODS["ping"].response(receive(sock), sequence) == PONG)


def a_report(name: str = "e1", session: str = "s1", **changes: Any) -> Report:
    """A push, or what the changes make of it."""
    fields = {"sequence": 1, "poll": False, **changes}
    return Report(executor=ExecutorName(name), session=SessionId(session), **fields)
