"""Messages as bytes: Thrift's strict binary protocol, read within bounds.

thriftpy2's own reader trusts every length and count that it is sent: a few megabytes of empty
elements become hundreds of megabytes of objects, and a mistyped map is read out of step. This one
checks each length against what is there, counts elements, bounds the nesting, and gives plain
values: a struct becomes a dict by field name. Writing is thriftpy2's, since it is quick and what
it writes is our own.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from thriftpy2.protocol import TBinaryProtocol
from thriftpy2.thrift import TDecodeException, TMessageType, TType
from thriftpy2.transport import TMemoryBuffer

from accord.core.errors import Invalid, TooLarge

ELEMENTS = 65_536
"""The most fields, list elements and map entries of one request. The largest report of an executor
with hundreds of slots stays far below it; as the smallest objects they take some 10 MB."""
TEXT = 64 << 10
"""The longest text of a request, in bytes. Ours are names and messages; output is binary."""
NAME = 64
"""Bytes of a method's name that are looked at."""
DEPTH = 32
"""How deep structs and containers may nest; ours nest 7 deep."""

_Buffer: Any = TMemoryBuffer
_Protocol: Any = TBinaryProtocol

CALL, REPLY, EXCEPTION = TMessageType.CALL, TMessageType.REPLY, TMessageType.EXCEPTION
UNKNOWN_METHOD = 1
"""The kind of a TApplicationException after which the connection is as good as before."""

_VERSION = 0x80010000
_TEXTS = (TType.STRING, TType.BINARY)
_FIXED: dict[int, struct.Struct] = {
    TType.BYTE: struct.Struct("!b"),
    TType.DOUBLE: struct.Struct("!d"),
    TType.I16: struct.Struct("!h"),
    TType.I32: struct.Struct("!i"),
    TType.I64: struct.Struct("!q"),
}
_SIZES = {TType.BOOL: 1, **{kind: packed.size for kind, packed in _FIXED.items()}}
_I32 = _FIXED[TType.I32]
_LIST = struct.Struct("!bi")
_MAP = struct.Struct("!bbi")


class Malformed(Exception):
    """The bytes are not a message. What follows on that connection cannot be trusted either."""


class Header(NamedTuple):
    """The beginning of every message."""

    name: str
    kind: int
    sequence: int


class Reader:
    """Reads one message, whole in memory, from its beginning to its end.

    Raises Malformed where the structure does not hold; TooLarge beyond the budget of elements;
    Invalid, naming the field, where a value has another type than it should or is not UTF-8.
    """

    def __init__(
        self, data: bytes | memoryview, elements: int = ELEMENTS, text: int = TEXT
    ) -> None:
        self._data = data
        self._text_bound = text
        self._at = 0
        self._end = len(data)
        self._elements = elements

    def header(self) -> Header:
        """The message's name, kind and sequence number."""
        version = self._unpack(_I32)[0] & 0xFFFFFFFF
        if version & 0xFFFFFF00 != _VERSION:
            raise Malformed("not Thrift's strict binary protocol")
        name = str(self._raw()[:NAME], "utf-8", "replace")
        return Header(name, version & 0xFF, self._unpack(_I32)[0])

    def last(self, spec: Mapping[int, tuple[Any, ...]]) -> dict[str, Any]:
        """The message's one struct, after which it must end."""
        values = self._struct(spec, DEPTH)
        if self._at != self._end:
            raise Malformed(f"{self._end - self._at} bytes too many")
        return values

    def _take(self, size: int) -> int:
        """Step over ``size`` bytes; where they begin."""
        at = self._at
        if not 0 <= size <= self._end - at:
            raise Malformed("a length beyond the end of the message")
        self._at = at + size
        return at

    def _unpack(self, packed: struct.Struct) -> tuple[Any, ...]:
        return packed.unpack_from(self._data, self._take(packed.size))

    def _raw(self) -> bytes | memoryview:
        size = self._unpack(_I32)[0]
        at = self._take(size)
        return self._data[at : at + size]

    def _text(self, name: str) -> str:
        raw = self._raw()
        if len(raw) > self._text_bound:
            bound = self._text_bound
            raise TooLarge(
                f"{name} has {len(raw)} bytes; at most {bound} are allowed.", bound=bound
            )
        try:
            return str(raw, "utf-8")
        except UnicodeDecodeError:
            raise Invalid(f"{name} is not UTF-8.", field=name) from None

    def _count(self, elements: int) -> int:
        if elements < 0:
            raise Malformed("a negative count")
        self._elements -= elements
        if self._elements < 0:
            raise TooLarge(
                f"A message may have {ELEMENTS} elements (fields, list elements, map entries) "
                "at most. Send it in parts.",
                bound=ELEMENTS,
            )
        return elements

    def _struct(self, spec: Mapping[int, tuple[Any, ...]], depth: int) -> dict[str, Any]:
        _nest(depth)
        values: dict[str, Any] = {}
        data = self._data
        while data[at := self._take(1)]:
            kind = data[at]
            number = int.from_bytes(data[self._take(2) : self._at], "big", signed=True)
            self._count(1)
            field = spec.get(number)
            if field is None:
                self._skip(kind, depth - 1)
                continue
            name = field[1]
            _same(field[0], kind, name)
            values[name] = self._value(field[0], _inner(field), name, depth - 1)
        return values

    def _value(self, kind: int, inner: Any, name: str, depth: int) -> Any:
        if kind == TType.STRING:
            return self._text(name)
        if kind == TType.BINARY:  # of a large frame, a view: who needs bytes makes them
            return self._raw()
        if kind == TType.BOOL:
            return self._data[self._take(1)] != 0
        if kind in _FIXED:
            return self._unpack(_FIXED[kind])[0]
        return self._composed(kind, inner, name, depth)

    def _composed(self, kind: int, inner: Any, name: str, depth: int) -> Any:
        if kind == TType.STRUCT:
            return self._struct(inner.thrift_spec, depth)
        _nest(depth)
        if kind == TType.MAP:
            return self._map(inner, name, depth - 1)
        element, deeper = _split(inner)
        found, count = self._unpack(_LIST)
        self._count(count)
        if count:
            _same(element, found, name)
        return [self._value(element, deeper, name, depth - 1) for _ in range(count)]

    def _map(self, inner: Any, name: str, depth: int) -> dict[Any, Any]:
        (key, key_inner), (value, value_inner) = _split(inner[0]), _split(inner[1])
        found_key, found_value, count = self._unpack(_MAP)
        self._count(count)
        if count:  # an empty map may leave its types out
            _same(key, found_key, name)
            _same(value, found_value, name)
        read = self._value
        return {
            read(key, key_inner, name, depth): read(value, value_inner, name, depth)
            for _ in range(count)
        }

    def _skip(self, kind: int, depth: int) -> None:
        if kind in _SIZES:
            self._take(_SIZES[kind])
        elif kind == TType.STRING:
            self._take(self._unpack(_I32)[0])
        elif kind == TType.STRUCT:
            self._struct({}, depth)
        elif kind in (TType.LIST, TType.SET):
            element, count = self._unpack(_LIST)
            self._skip_each((element,), count, depth)
        elif kind == TType.MAP:
            key, value, count = self._unpack(_MAP)
            self._skip_each((key, value), count, depth)
        else:
            raise Malformed(f"no type {kind}")

    def _skip_each(self, kinds: tuple[int, ...], count: int, depth: int) -> None:
        _nest(depth)
        for _ in range(self._count(count)):
            for kind in kinds:
                self._skip(kind, depth - 1)


def _nest(depth: int) -> None:
    if depth <= 0:
        raise Malformed(f"nested deeper than {DEPTH}")


def _same(expected: int, found: int, name: str) -> None:
    if found != expected and not (found == TType.STRING and expected == TType.BINARY):
        raise Invalid(f"{name} has Thrift's type {found}, not {expected}.", field=name)


def _inner(field: tuple[Any, ...]) -> Any:
    """What a field's type is made of: thriftpy2 writes (type, name, [inner], required)."""
    return field[2] if len(field) == 4 else None


def _split(inner: Any) -> tuple[int, Any]:
    """An element's type and what that is made of: thriftpy2 leaves out the latter where none."""
    return inner if isinstance(inner, tuple) else (inner, None)


def write(name: str, kind: int, sequence: int, payload: Any) -> bytes:
    """A message of that one struct. Raises Invalid where a value does not fit its field."""
    buffer: Any = _Buffer()
    protocol: Any = _Protocol(buffer)
    try:
        protocol.write_message_begin(name, kind, sequence)
        payload.write(protocol)
    except (TDecodeException, OverflowError, UnicodeEncodeError) as error:
        raise Invalid(f"A value of {name} cannot be sent: it does not fit its field.") from error
    return bytes(buffer.getvalue())
