"""Blobs: immutable bytes, addressed by their SHA-256."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from accord.core.ids import Digest


class Blobs(Protocol):
    """A store of bytes by digest. Every method may be called from any thread."""

    def put(self, chunks: Iterable[bytes]) -> tuple[Digest, int]:
        """Store the bytes; returns their digest and size. Never holds them all in memory.

        Durable on return. Storing what is there already renews its grace. Where the iterator
        raises, nothing is left behind.
        """

    def read(self, digest: Digest, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """The bytes from ``start``, at most ``size`` of them, in chunks of at most 1 MiB.

        Raises NotFound at the call (not at the first chunk) where there is no such blob.
        """

    def size(self, digest: Digest) -> int | None:
        """Its size in bytes, None where there is no such blob."""

    def sweep(self, marked: Iterable[Digest], now: float, grace: float) -> int:
        """Remove blobs that are not marked and were last put more than ``grace`` seconds ago.

        Returns how many went. ``marked`` is read wholly before anything is removed. A put that
        is under way, or that ends during the sweep, is never removed.
        """
