"""How values are written down, in stores and on the wire alike: msgpack maps by field name.

Fields that are unknown here are passed over and absent ones take their defaults, so documents of
a neighbouring version are read. ``FORMAT`` rises when that is not enough.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from accord.core.errors import Corrupt

FORMAT = 1

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[object, msgspec.msgpack.Decoder[object]] = {}


def encode(value: object) -> bytes:
    """``value``, a struct of the core or ports, as msgpack."""
    return _encoder.encode(value)


def decode(data: bytes, type_: type[T]) -> T:
    """The value of that type that ``data`` spells. Raises Corrupt."""
    decoder = _decoders.get(type_)
    if decoder is None:
        decoder = _decoders[type_] = msgspec.msgpack.Decoder(type_)
    try:
        return decoder.decode(data)  # type: ignore[return-value]  # keyed by its own type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt(f"Not a readable {type_.__name__}: {error}") from error
