"""The cluster's key: made once, kept in the store, and read by whatever else reads Ed25519."""

from __future__ import annotations

from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from accord.adapters.memory.store import MemoryStore
from accord.adapters.signing import NAME, StoreSigner, verify
from accord.core.cluster_key import from_pem, to_pem
from accord.core.errors import Corrupt
from accord.testing.clock import FakeClock
from accord.testing.together import together


@pytest.fixture
def store():
    return MemoryStore(FakeClock())


def test_a_signature_is_of_those_bytes_by_that_key_alone(store):
    signer, stranger = StoreSigner(store), StoreSigner(MemoryStore(FakeClock()))
    signature = signer.sign(b"what was agreed on")
    assert verify(signer.public_key, signature, b"what was agreed on")
    assert not verify(signer.public_key, signature, b"what was agreed om")
    assert not verify(
        signer.public_key, stranger.sign(b"what was agreed on"), b"what was agreed on"
    )
    assert not verify(stranger.public_key, signature, b"what was agreed on")


@pytest.mark.parametrize("key", [b"", b"x" * 31, b"x" * 33])
def test_what_is_no_key_or_signature_verifies_nothing(store, key):
    signer = StoreSigner(store)
    assert not verify(key, signer.sign(b"a"), b"a")
    assert not verify(signer.public_key, key, b"a")


def test_all_over_one_store_sign_with_one_key(store):
    signers = [StoreSigner(store) for _ in range(8)]
    assert len(set(together([partial(getattr, s, "public_key") for s in signers]))) == 1
    assert StoreSigner(store).sign(b"a") == signers[0].sign(b"a")


def test_nothing_is_kept_before_it_is_needed(store):
    StoreSigner(store)
    assert store.keep(NAME, b"") == b""


def test_a_seed_that_is_none_is_told_without_telling_it(store):
    store.keep(NAME, b"secret, not a seed")
    with pytest.raises(Corrupt, match="cluster-key") as caught:
        StoreSigner(store).sign(b"a")
    assert "secret" not in caught.value.message


def test_the_seed_shows_nowhere(store):
    signer = StoreSigner(store)
    signer.sign(b"a")
    seed = store.keep(NAME, b"")
    assert len(seed) == 32
    for shown in (repr(signer), str(vars(signer))):
        assert seed.hex() not in shown
        assert repr(seed) not in shown


def test_the_pem_is_what_others_write_and_read(store):
    raw = StoreSigner(store).public_key
    key = Ed25519PublicKey.from_public_bytes(raw)
    theirs = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert to_pem(raw) == theirs
    assert load_pem_public_key(to_pem(raw).encode()) == key
    assert from_pem(theirs.replace("\n", "\r\n")) == raw
