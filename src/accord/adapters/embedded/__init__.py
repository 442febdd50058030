"""One machine without servers: SQLite, files, fixed addresses."""

from accord.adapters.embedded.blobs import FileBlobs
from accord.adapters.embedded.registry import FixedRegistry
from accord.adapters.embedded.store import SqliteStore

__all__ = ["FileBlobs", "FixedRegistry", "SqliteStore"]
