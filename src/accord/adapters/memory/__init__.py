"""Everything in this process's memory: for tests and simulations, under the same contracts."""

from accord.adapters.memory.blobs import MemoryBlobs
from accord.adapters.memory.registry import MemoryRegistry
from accord.adapters.memory.store import MemoryStore

__all__ = ["MemoryBlobs", "MemoryRegistry", "MemoryStore"]
