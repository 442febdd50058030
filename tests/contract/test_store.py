"""The stores keep the port's contract."""

import shutil
import tempfile
from pathlib import Path

from accord.adapters.embedded import SqliteStore
from accord.adapters.embedded.database import connect
from accord.adapters.memory import MemoryStore
from accord.core.documents import encode
from accord.testing.store_suite import DurableStoreSuite, StoreSuite


class TestMemoryStore(StoreSuite):
    def open_store(self, clock, feed_capacity):
        return MemoryStore(clock, feed_capacity)

    def miscount(self, id_, counters):
        assert isinstance(self.store, MemoryStore)
        self.store._batches._counters[id_] = counters
        self.store._batches._mark(id_)


class TestSqliteStore(DurableStoreSuite):
    def setup_method(self):
        self.folder = Path(tempfile.mkdtemp(prefix="accord-"))
        super().setup_method()

    def teardown_method(self):
        super().teardown_method()
        shutil.rmtree(self.folder)

    def open_store(self, clock, feed_capacity):
        return SqliteStore(self.folder / "accord.db", clock, feed_capacity)

    def miscount(self, id_, counters):
        db = connect(self.folder / "accord.db", writes=True)
        db.execute(
            "UPDATE counters SET open = ?, waiting = ?, document = ? WHERE batch = ?",
            (counters.open, counters.waiting, encode(counters), id_),
        )
        db.close()
