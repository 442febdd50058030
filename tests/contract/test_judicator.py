"""The judicator's service keeps its port's contract, over either store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.adapters.embedded import SqliteStore
from accord.adapters.embedded.blobs import FileBlobs
from accord.adapters.memory.blobs import MemoryBlobs
from accord.adapters.memory.registry import MemoryRegistry
from accord.adapters.memory.store import MemoryStore
from accord.adapters.signing import StoreSigner
from accord.ports.blobs import Blobs
from accord.ports.store import Store
from accord.services.judicator import Judicator
from accord.testing.clock import FakeClock, FakeIds
from accord.testing.judicator_suite import JudicatorSuite


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def served(store: Store, blobs: Blobs, clock: FakeClock, spool: Path) -> Iterator[Judicator]:
    service = Judicator(
        store=store,
        blobs=blobs,
        registry=MemoryRegistry(clock),
        clock=clock,
        ids=FakeIds(),
        signer=StoreSigner(store),
        spool=spool,
    )
    service.start()
    yield service
    service.stop()
    store.close()


class TestOverMemory(JudicatorSuite):
    @pytest.fixture
    def judicator(self, clock: FakeClock, tmp_path: Path) -> Iterator[Judicator]:
        yield from served(MemoryStore(clock), MemoryBlobs(clock), clock, tmp_path / "uploads")


class TestOverSqlite(JudicatorSuite):
    @pytest.fixture
    def judicator(self, clock: FakeClock, tmp_path: Path) -> Iterator[Judicator]:
        store = SqliteStore(tmp_path / "accord.db", clock)
        blobs = FileBlobs(tmp_path / "blobs", clock)
        yield from served(store, blobs, clock, tmp_path / "uploads")
