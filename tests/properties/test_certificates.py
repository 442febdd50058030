"""No change of a certificate passes: not of a byte, a field, its spelling, or by parts of others."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.adapters.memory.store import MemoryStore
from accord.adapters.signing import StoreSigner, verify
from accord.core.certificate import Refused, Unreadable, canonical, check, statement_of, written
from accord.core.policy import Policy
from accord.core.replica import content
from accord.core.task import Numbers, Task
from accord.core.validation import validate
from accord.testing.clock import FakeClock
from tests.builders import NOW, a_result, a_task_id, a_task_of, over

SIGNER = StoreSigner(MemoryStore(FakeClock()))
STRANGER = StoreSigner(MemoryStore(FakeClock()))
KEY = SIGNER.public_key


def a_done_task(number: int) -> Task:
    """A task whose result two of three agreed on."""
    kept = {"a/b.csv": content(b"1,2"), "é": content(b"")}
    task = a_task_of(
        "",
        id=a_task_id(number),
        name="sum of primes",
        comparator=Numbers(rel=1e-6, abs=0.5),
        need_validate=True,
        done_time=NOW + 7.25,
        replicas=(
            over(0, result=a_result(b"7", kept=kept), owner="lab", executor="e0"),
            over(1, result=a_result(b"70", kept=kept), executor="e1"),
            over(2, result=a_result(b"7.0", kept=kept), executor="e2"),
        ),
    )
    return validate(task, NOW, Policy())


def issued(number: int = 1, signer: StoreSigner = SIGNER, named: StoreSigner = SIGNER) -> bytes:
    """A certificate that ``signer`` signed, with the key of ``named``."""
    statement = statement_of(a_done_task(number), signer.public_key, NOW + 60)
    return written(statement, named.public_key, signer.sign(canonical(statement)))


FILE = issued()
DOCUMENT: dict[str, Any] = json.loads(FILE)


def respelled(document: object) -> bytes:
    """A document in the spelling of certificates."""
    return canonical(document) + b"\n"


def refused(data: bytes) -> None:
    with pytest.raises((Refused, Unreadable)):
        check(data, KEY, verify)


def test_unchanged_it_is_what_was_stated():
    assert check(FILE, KEY, verify) == statement_of(a_done_task(1), KEY, NOW + 60)
    assert respelled(DOCUMENT) == FILE


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
def test_no_byte_may_be_another(place, flip):
    changed = bytearray(FILE)
    changed[place] ^= flip
    refused(bytes(changed))


@given(st.integers(0, len(FILE)), st.integers(1, 40))
def test_no_bytes_may_be_missing(start, length):
    changed = FILE[:start] + FILE[start + length :]
    if changed != FILE:
        refused(changed)


@given(st.integers(0, len(FILE)), st.binary(min_size=1, max_size=5) | st.sampled_from(b" \n\t0,"))
def test_nothing_may_be_added(place, added):
    refused(FILE[:place] + (added if isinstance(added, bytes) else bytes([added])) + FILE[place:])


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values within a document."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        inner = list(value.items() if isinstance(value, dict) else enumerate(value))
    return [path, *(found for key, held in inner for found in places(held, (*path, key)))]


PATHS = [path for path in places(DOCUMENT) if path]
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)


def edited(path: tuple[Any, ...], value: object) -> Any:
    """The document with another value there."""
    if not path:
        return value
    document = json.loads(FILE)
    held = document
    for key in path[:-1]:
        held = held[key]
    held[path[-1]] = value
    return document


def at(path: tuple[Any, ...]) -> Any:
    found: Any = DOCUMENT
    for key in path:
        found = found[key]
    return found


@given(st.sampled_from(PATHS), JSON)
def test_no_field_may_have_another_value(path, value):
    try:
        changed = respelled(edited(path, value))
    except (UnicodeEncodeError, ValueError):  # what JSON cannot spell, nobody can send
        return
    if changed != FILE:
        refused(changed)


def others(value: Any) -> list[Any]:
    """Values that are not this one, some of them near to it."""
    if isinstance(value, str):
        return [f"{value}x", value[1:], "", None]
    if isinstance(value, dict):
        return [{}, {**value, "more": 1}, None]
    if isinstance(value, list):
        return [[], [*value, value[0]], value[::-1], None]
    if value is None:
        return [0, "", False]
    return [value + 1, -value, int(value), float(value), str(value), None]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_every_field_counts(path):
    for other in others(at(path)):
        changed = respelled(edited(path, other))
        if changed != FILE:
            refused(changed)


@given(st.sampled_from([path for path in [(), *PATHS] if isinstance(at(path), dict)]))
def test_no_field_may_be_unknown_missing_or_there_twice(path):
    held = at(path)
    refused(respelled(edited(path, {**held, "unknown": 1})))
    for name, value in held.items():
        refused(respelled(edited(path, {k: v for k, v in held.items() if k != name})))
        once = canonical({name: value})[1:-1]
        assert once in FILE
        refused(FILE.replace(once, once + b"," + once, 1))


@pytest.mark.parametrize(
    "spelled",
    [
        json.dumps(DOCUMENT).encode(),
        json.dumps(DOCUMENT, indent=2).encode() + b"\n",
        FILE.rstrip(),
        FILE + b"\n",
        b"\xef\xbb\xbf" + FILE,
        FILE.replace("é".encode(), rb"\u00e9"),
        FILE.replace(b"1700000000.0", b"1700000000"),
        FILE.replace(b"1700000000.0", b"1.7e9"),
        FILE.replace(b"1700000000.0", b"1700000000.00"),
        FILE.replace(b"1e-6", b"0.000001").replace(b"1e-06", b"0.000001"),
        FILE.replace(b"==", b""),
    ],
    ids=range(11),
)
def test_no_other_spelling_is_taken(spelled):
    refused(spelled)


def test_a_signature_fits_no_other_certificate():
    other = json.loads(issued(2))
    for part in ("signature", "statement"):
        assert other[part] != DOCUMENT[part]
        refused(respelled({**DOCUMENT, part: other[part]}))


def test_another_clusters_certificate_is_refused_whichever_key_it_names():
    assert check(issued(1, STRANGER, STRANGER), STRANGER.public_key, verify)
    with pytest.raises(Refused, match="is signed by the key"):
        check(issued(1, STRANGER, STRANGER), KEY, verify)
    with pytest.raises(Refused, match="does not belong"):
        check(issued(1, STRANGER, SIGNER), KEY, verify)
    with pytest.raises(Refused, match="is signed by the key"):
        check(FILE, STRANGER.public_key, verify)


def test_a_statement_for_another_cluster_is_refused_though_it_is_signed():
    statement = statement_of(a_done_task(1), STRANGER.public_key, NOW)
    with pytest.raises(Refused, match="another cluster"):
        check(written(statement, KEY, SIGNER.sign(canonical(statement))), KEY, verify)


def test_what_is_signed_are_the_bytes_of_the_statement_as_they_stand_in_the_file():
    statement = FILE[FILE.index(b'"statement":') + 12 : -2]
    assert verify(KEY, base64.b64decode(DOCUMENT["signature"]), statement)
