"""The judicator's service under the conformance suite of its port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.adapters.memory.blobs import MemoryBlobs
from accord.adapters.memory.registry import MemoryRegistry
from accord.adapters.memory.store import MemoryStore
from accord.services.judicator import Judicator
from accord.testing.clock import FakeClock, FakeIds
from accord.testing.judicator_suite import JudicatorSuite


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class TestService(JudicatorSuite):
    @pytest.fixture
    def judicator(self, clock: FakeClock, tmp_path: Path) -> Iterator[Judicator]:
        store = MemoryStore(clock)
        service = Judicator(
            store=store,
            blobs=MemoryBlobs(clock),
            registry=MemoryRegistry(clock),
            clock=clock,
            ids=FakeIds(),
            spool=tmp_path / "uploads",
        )
        service.start()
        yield service
        service.stop()
        store.close()
