"""The cluster's public key as people and programs pass it on: raw, as PEM, and by its fingerprint.

An Ed25519 key has one encoding (RFC 8410): twelve bytes that say what it is, then the key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from accord.core.errors import Invalid
from accord.core.ids import Digest

SIZE = 32
"""Bytes of a raw public key, and of the seed behind it."""

_BEFORE = bytes.fromhex("302a300506032b6570032100")
"""What a SubjectPublicKeyInfo of Ed25519 begins with."""
_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----\s(.*?)-----END PUBLIC KEY-----", re.DOTALL)


def fingerprint(key: bytes) -> Digest:
    """What a key is called: the SHA-256 of its raw bytes."""
    return Digest(hashlib.sha256(key).hexdigest())


def to_pem(key: bytes) -> str:
    """The raw key as PEM text, a SubjectPublicKeyInfo.

    >>> to_pem(bytes(32)).splitlines()[1]
    'MCowBQYDK2VwAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='
    """
    text = base64.b64encode(_BEFORE + key).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"


def from_pem(text: str) -> bytes:
    r"""The raw key that a PEM text holds. Raises Invalid where it holds no Ed25519 public key.

    >>> from_pem("The key of ours:\n" + to_pem(bytes(range(32)))) == bytes(range(32))
    True
    """
    found = _PEM.search(text)
    try:
        data = base64.b64decode("".join(found[1].split()), validate=True) if found else b""
    except binascii.Error:
        data = b""
    if not data.startswith(_BEFORE) or len(data) != len(_BEFORE) + SIZE:
        raise Invalid("This is no Ed25519 public key as PEM, such as 'accord key' prints.")
    return data[len(_BEFORE) :]
