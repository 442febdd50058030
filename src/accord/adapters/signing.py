"""Ed25519: the cluster's signatures, and their verification (port ``Signer``).

The one place that knows the library. Whoever only verifies needs nothing else of Accord.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from accord.core.errors import Corrupt
from accord.ports.store import Store

NAME = "cluster-key"
"""Under which the store keeps the seed."""


class StoreSigner:
    """Signs with the key whose seed the store keeps; it is made when it is first needed.

    Where several make one at once, the first that is stored is everybody's.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key: Ed25519PrivateKey | None = None

    @property
    def public_key(self) -> bytes:
        """The raw public key. Raises Corrupt where what is kept is no seed."""
        return self._known().public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """The signature of some bytes. Raises as ``public_key`` does."""
        return self._known().sign(data)

    def _known(self) -> Ed25519PrivateKey:
        if self._key is None:
            fresh = Ed25519PrivateKey.generate().private_bytes_raw()
            self._key = _key_of(self._store.keep(NAME, fresh))
        return self._key


def _key_of(seed: bytes) -> Ed25519PrivateKey:
    try:
        return Ed25519PrivateKey.from_private_bytes(seed)
    except ValueError:
        raise Corrupt(f"What the store keeps as {NAME} is no Ed25519 seed.") from None


def verify(key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether a raw public key made that signature of ``data``; False for what is no key."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True
