"""Any value of a type annotation of the ports, for property tests."""

from __future__ import annotations

import enum
import string
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from accord.core import ids

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,20}", fullmatch=True)
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
ULIDS = st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=26, max_size=26)
OPAQUE = st.text(string.ascii_letters, min_size=1, max_size=30)

SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    int: st.integers(-(2**31), 2**31 - 1),
    bool: st.booleans(),
    bytes: st.binary(max_size=50),
    float: st.floats(allow_nan=False, allow_infinity=False),
    ids.TaskId: ULIDS,
    ids.BatchId: ULIDS,
    ids.Digest: HEX,
    ids.ExecutorName: NAMES,
    ids.UserName: NAMES,
    ids.SessionId: OPAQUE,
    ids.TokenId: OPAQUE,
}
_made: dict[Any, st.SearchStrategy[Any]] = dict(SCALARS)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of that annotation."""
    if hint not in _made:
        _made[hint] = st.deferred(lambda: _values(hint))
    return _made[hint]


def _values(hint: Any) -> st.SearchStrategy[Any]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is types.NoneType:
        return st.none()
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(values, args))
    if origin is tuple and args[-1:] != (Ellipsis,):
        return st.tuples(*map(values, args))
    if origin in (tuple, list, Sequence):
        return st.lists(values(args[0]), max_size=3).map(tuple if origin is tuple else list)
    if origin in (dict, Mapping):
        return st.dictionaries(*map(values, args), max_size=3)
    if issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    return st.builds(hint, **{f.name: values(f.type) for f in msgspec.structs.fields(hint)})
