"""Everything in this process's memory: for tests and simulations, under the same contracts."""

from accord.adapters.memory.store import MemoryStore

__all__ = ["MemoryStore"]
