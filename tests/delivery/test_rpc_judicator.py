"""The wire changes no meaning: the judicator's port is kept through a real socket as without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.adapters.memory.blobs import MemoryBlobs
from accord.adapters.memory.registry import MemoryRegistry
from accord.adapters.memory.store import MemoryStore
from accord.adapters.signing import StoreSigner
from accord.adapters.system import SystemClock
from accord.delivery.rpc.client import RemoteJudicator
from accord.delivery.rpc.server import Server
from accord.services.judicator import Judicator
from accord.testing.clock import FakeClock, FakeIds
from accord.testing.judicator_suite import JudicatorSuite


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class TestThroughTheWire(JudicatorSuite):
    @pytest.fixture
    def judicator(self, clock: FakeClock, tmp_path: Path) -> Iterator[RemoteJudicator]:
        store = MemoryStore(clock)
        service = Judicator(
            store=store,
            blobs=MemoryBlobs(clock),
            registry=MemoryRegistry(clock),
            clock=clock,
            ids=FakeIds(),
            signer=StoreSigner(store),
            spool=tmp_path / "uploads",
        )
        service.start()
        server = Server(service, "127.0.0.1", 0, SystemClock())
        server.start()
        client = RemoteJudicator(lambda: [server.address])
        yield client
        service.stop()
        server.stop()
        client.close()
