"""What strangers send does not stay in the judicator's memory, nor fill it."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.core.documents import encode
from accord.core.ids import TaskId
from accord.delivery.rpc.binary import CALL, write
from accord.delivery.rpc.frames import FRAME
from accord.delivery.rpc.idl import WIRE
from accord.delivery.rpc.methods import METHODS
from tests.builders import a_new_task, a_spec
from tests.delivery.rpc_served import PONG, framed, raw, receive, remote, send

GROWTH = 100 << 20
"""The most by which memory may grow at any moment, in bytes."""

SERVER = """
import sys, threading
from accord.adapters.system import SystemClock
from accord.delivery.rpc.server import Server
from tests.builders import a_new_task, a_spec
from tests.delivery.rpc_served import Scripted
server = Server(Scripted(add=lambda new: []), "127.0.0.1", 0, SystemClock(), stall=2.0)
server.start()
print(server.address, flush=True)
sys.stdin.read()
server.stop()
"""

HEAD = write("report", CALL, 1, WIRE.Judicator.report_args())[:-1]
ADD = write("add", CALL, 1, WIRE.Judicator.add_args())[:-1]


class Process:
    """A server in a process of its own."""

    def __init__(self, address: str, pid: int) -> None:
        self.address = address
        self._status = Path(f"/proc/{pid}/status")
        self._before = self._read("VmRSS")

    def _read(self, field: str) -> int:
        line = next(x for x in self._status.read_text().splitlines() if x.startswith(field))
        return int(line.split()[1]) << 10

    @property
    def growth(self) -> int:
        """By how much its memory ever exceeded what it was at the start."""
        return self._read("VmHWM") - self._before


@pytest.fixture
def process() -> Iterator[Process]:
    child = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout
        assert child.stdin
        address = child.stdout.readline().strip()
        with remote(address) as client:
            assert client.ping() == PONG
        try:
            yield Process(address, child.pid)
        finally:
            child.stdin.close()


def storm(process: Process, data: bytes, count: int) -> None:
    """That from so many connections at once; the server goes on serving meanwhile."""

    def one() -> None:
        with raw(process.address) as sock:
            send(sock, data)
            with contextlib.suppress(AssertionError, ConnectionError):
                receive(sock)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    with remote(process.address) as client:
        assert client.ping() == PONG
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def a_flood(count: int) -> bytes:
    """Small structs without end, as far as a message may hold them."""
    return HEAD + b"\x0c\0\x01\x0f\0\x09" + struct.pack("!bi", 12, count) + b"\0" * count


def documents(count: int, document: bytes) -> bytes:
    packed = (struct.pack("!i", len(document)) + document) * count
    return ADD + b"\x0f\0\x01" + struct.pack("!bi", 11, count) + packed + b"\0"


def a_document(count: int, size: int) -> bytes:
    """A task whose outputs are so many short texts."""
    return encode(a_new_task(spec=a_spec(outputs=["x" * size] * count)))


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (struct.pack("!i", 900_000_000) + b"x" * (16 << 20), 10),
        (struct.pack("!i", FRAME) + b"x" * (FRAME - 1), 60),
        (framed(a_flood(4_000_000)), 20),
        (framed(a_flood(65_000)), 100),
        (framed(HEAD + b"\x0f\0\x63" + b"\x0f\0\0\0\x01" * 1_468_000), 20),
        (framed(documents(7, a_document(340_000, 2))), 20),
        (framed(documents(7, a_document(120_000, 7))), 20),
        (framed(documents(8_000, a_document(100, 2))), 20),
        (framed(documents(100, a_document(900, 2))), 20),
        (framed(METHODS["write_blob"].request(1, ["u", 0, b"x" * (7 << 20)])), 40),
        (framed(METHODS["explain"].request(1, [TaskId("0" * 7_000_000)])), 40),
    ],
    ids=[
        "900 MB announced", "8 MiB that never end", "empty structs", "as many structs as may be",
        "lists in lists", "documents of many values", "documents of as many values as may be",
        "too many documents", "small documents of many values", "large blobs", "a long text",
    ],
)  # fmt: skip
def test_memory_stays_bounded(process, data, count):
    storm(process, data, count)
    assert process.growth < GROWTH, f"{process.growth >> 20} MiB"


def test_silent_connections_cost_little(process):
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(raw(process.address))
        with remote(process.address) as client:
            assert client.ping() == PONG
        assert process.growth < GROWTH // 5
