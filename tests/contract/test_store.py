"""The stores keep the port's contract."""

import shutil
import tempfile
from pathlib import Path

from accord.adapters.embedded import SqliteStore
from accord.adapters.memory import MemoryStore
from accord.testing.store_suite import DurableStoreSuite, StoreSuite


class TestMemoryStore(StoreSuite):
    def open_store(self, clock, feed_capacity):
        return MemoryStore(clock, feed_capacity)


class TestSqliteStore(DurableStoreSuite):
    def setup_method(self):
        self.folder = Path(tempfile.mkdtemp(prefix="accord-"))
        super().setup_method()

    def teardown_method(self):
        super().teardown_method()
        shutil.rmtree(self.folder)

    def open_store(self, clock, feed_capacity):
        return SqliteStore(self.folder / "accord.db", clock, feed_capacity)
