"""Signing in the name of the cluster."""

from __future__ import annotations

from typing import Protocol


class Signer(Protocol):
    """Holds the cluster's key. Any judicator over the same store signs with the same one; methods
    raise what the store raises. Any thread may call.
    """

    @property
    def public_key(self) -> bytes:
        """The raw Ed25519 public key, 32 bytes."""

    def sign(self, data: bytes) -> bytes:
        """The signature of some bytes, 64 bytes."""
