"""Values of the core and ports as structs of the wire, and back.

A *shape* converts one type both ways. Shapes follow from the types' own annotations, field by
field by name, so that a field which the definition lacks is an error when this module is imported
and not a value lost on the way. Reading is total: whatever a peer sends gives a valid value, or
Invalid with the path of the field.

Task, NewTask, Query, Page and those of batches travel as documents (``core.documents``) in a binary
field.
"""

from __future__ import annotations

import enum
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from accord.core import documents, ids
from accord.core.batch import Batch, BatchPage, BatchQuery, BatchView, NewBatch
from accord.core.errors import AccordError, Corrupt, Invalid, TooLarge, all_errors
from accord.core.ids import BatchId, Digest, ExecutorName, TaskId, TokenId, UserName
from accord.core.replica import Failure, Result
from accord.core.search import Page, Query
from accord.core.task import NewTask, Task
from accord.core.user import Token
from accord.delivery.rpc import msgpack
from accord.delivery.rpc.idl import WIRE
from accord.ports.judicator import Finished

DOCUMENT = 1 << 20
"""The largest document that a caller may send, in bytes."""
TASKS = 100
"""The most tasks in one call."""
BYTES = 1 << 20
"""The most bytes in one binary field: a piece of a blob, or of output."""
MESSAGE = 2_000
"""A fault's message is cut to this many characters."""

VALUES = 65_536
"""The most values of a batch's parameters, beside what else is in its document."""

_SENT = {
    NewTask: msgpack.FREE,
    Query: msgpack.FREE,
    BatchQuery: msgpack.FREE,
    NewBatch: msgpack.FREE + VALUES,
}
"""Documents that callers send, bounded in bytes and values; and so many values each may hold of
whatever size."""
_GIVEN = (Task, Page, Batch, BatchPage, BatchView)
"""Documents of answers: bounded by the frame."""
_RENAMED = {"inline": "data", "next": "cursor"}
"""Fields whose names are reserved words of Thrift."""
_WHOLE = range(-(1 << 63), 1 << 63)


class Shape(NamedTuple):
    """How one type is written to the wire and read from it.

    ``take`` is handed what ``binary.Reader`` read, which has the type that the definition says.
    """

    put: Callable[[Any], Any]
    take: Callable[[Any], Any]


class _Bad(Exception):
    """A value that cannot be taken; gathers the path on its way out."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.path = ""

    def within(self, name: str) -> _Bad:
        dot = "." if self.path and not self.path.startswith("[") else ""
        self.path = f"{name}{dot}{self.path}"
        return self


def read(shape: Shape, value: Any, name: str) -> Any:
    """What ``value`` spells. Raises Invalid with the path, which begins with ``name``."""
    try:
        return shape.take(value)
    except _Bad as error:
        path = error.within(name).path
        raise Invalid(f"{path}: {error.why}", field=path) from error


def _same(value: Any) -> Any:
    return value


def _checked(check: Callable[[str], Any]) -> Shape:
    def take(text: str) -> Any:
        try:
            return check(text)
        except Invalid as error:
            raise _Bad(error.message) from error

    return Shape(str, take)


def _task_id(text: str) -> TaskId:
    found = ids.task_id(text)
    if found is None:
        raise Invalid("An id is a ULID of 26 letters and digits.")
    return found


def _batch_id(text: str) -> BatchId:
    return BatchId(_task_id(text))


def _short(text: str) -> str:
    if not 0 < len(text) <= 128:
        raise Invalid("It must have 1 to 128 characters.")
    return text


def _few_bytes(data: bytes | memoryview) -> bytes:
    if len(data) > BYTES:
        raise TooLarge(f"{len(data)} bytes at once; at most {BYTES} are allowed.", bound=BYTES)
    return bytes(data)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise _Bad("It must be a finite number.")
    return value


_SCALARS: dict[Any, Shape] = {
    str: Shape(_same, _same),
    int: Shape(_same, _same),
    bool: Shape(_same, _same),
    bytes: Shape(_same, _few_bytes),
    float: Shape(float, _finite),
    TaskId: _checked(_task_id),
    BatchId: _checked(_batch_id),
    Digest: _checked(ids.digest),
    ExecutorName: _checked(ids.name),
    UserName: _checked(ids.name),
    ids.SessionId: _checked(_short),
    TokenId: _checked(_short),
}


def shape_of(hint: Any) -> Shape:
    """The shape of a type annotation of the core or ports."""
    if hint not in _shapes:
        _shapes[hint] = _new_shape(hint)
    return _shapes[hint]


def _new_shape(hint: Any) -> Shape:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint in _SENT:
        return _bounded_document(hint, _SENT[hint])
    if hint in _GIVEN:
        return _document(hint)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (a for a in args if a is not types.NoneType)
        return shape_of(inner)  # None is a field that is not set, and never comes here
    if origin is tuple:
        return _list(shape_of(args[0]), tuple)
    if origin in (list, Sequence):
        return _list(shape_of(args[0]), list, TASKS if args[0] is NewTask else None)
    if origin in (dict, Mapping):
        return _map(shape_of(args[0]), shape_of(args[1]))
    if issubclass(hint, enum.Enum):
        return _enum(hint)
    return _struct(hint)


def _document(type_: Any) -> Shape:
    def put(value: Any) -> bytes:
        try:
            return documents.encode(value)
        except UnicodeEncodeError as error:
            raise Invalid(f"A text of the {type_.__name__} is not valid Unicode.") from error
        except OverflowError as error:
            raise Invalid(f"A number of the {type_.__name__} has over 64 bits.") from error

    def take(data: bytes) -> Any:
        try:
            return documents.decode(data, type_)
        except Corrupt as error:
            raise _Bad(error.message) from error

    return Shape(put, take)


def _bounded_document(type_: Any, free: int) -> Shape:
    put, take = _document(type_)

    def bounded(data: bytes) -> bytes:
        if len(data) > DOCUMENT:
            raise TooLarge(
                f"This {type_.__name__} has {len(data)} bytes; at most {DOCUMENT} are allowed. "
                "Put large files into blobs.",
                bound=DOCUMENT,
            )
        return data

    def take_bounded(data: bytes) -> Any:
        if len(bounded(data)) > free:
            try:
                msgpack.check(data, free)
            except Corrupt as error:
                raise _Bad(error.message) from error
        return take(data)

    return Shape(lambda value: bounded(put(value)), take_bounded)


def _list(inner: Shape, made: Callable[[list[Any]], Any], most: int | None = None) -> Shape:
    put, take = inner

    def put_all(values: Sequence[Any]) -> list[Any]:
        return [put(v) for v in _few(values, most)]

    def take_all(values: list[Any]) -> Any:
        index = 0
        found = []
        try:
            for index, value in enumerate(_few(values, most)):  # noqa: B007 - named in the error
                found.append(take(value))
        except _Bad as error:
            raise error.within(f"[{index}]") from None
        return made(found)

    return Shape(put_all, take_all)


def _few(values: Sequence[Any], most: int | None) -> Sequence[Any]:
    if most is not None and len(values) > most:
        raise Invalid(f"{len(values)} are too many at once; at most {most} are allowed.", most=most)
    return values


def _map(key: Shape, value: Shape) -> Shape:
    def take(values: dict[Any, Any]) -> dict[Any, Any]:
        return {key.take(k): _within(str(k), value, v) for k, v in values.items()}

    return Shape(lambda values: {key.put(k): value.put(v) for k, v in values.items()}, take)


def _within(name: str, shape: Shape, value: Any) -> Any:
    try:
        return shape.take(value)
    except _Bad as error:
        raise error.within(name) from None


def _enum(type_: type[enum.Enum]) -> Shape:
    wire = getattr(WIRE, type_.__name__)
    to_wire = {member: getattr(wire, member.name) for member in type_}
    from_wire = {number: member for member, number in to_wire.items()}

    def take(number: int) -> enum.Enum:
        try:
            return from_wire[number]
        except KeyError:
            raise _Bad(f"{type_.__name__} has no value {number}.") from None

    return Shape(to_wire.__getitem__, take)


class _Field(NamedTuple):
    name: str
    wire: str
    shape: Shape
    required: bool
    """By the definition: it is always written, and must be there."""
    default: Callable[[], Any]


def _fields(type_: type, wire: Any) -> list[_Field]:
    required = {spec[1]: spec[-1] for spec in wire.thrift_spec.values()}
    found = []
    for field in msgspec.structs.fields(type_):
        if (type_, field.name) in _SPLIT:
            continue
        name = _RENAMED.get(field.name, field.name)
        shape = shape_of(field.type)
        found.append(_Field(field.name, name, shape, required[name], _default(field)))
    return found


def _default(field: msgspec.structs.FieldInfo) -> Callable[[], Any]:
    factory: Any = field.default_factory
    if factory is not msgspec.NODEFAULT:
        return factory  # type: ignore[no-any-return]  # msgspec says Any
    return _none if field.default is msgspec.NODEFAULT else lambda: field.default


def _none() -> None:
    return None


def _struct(type_: type) -> Shape:
    wire = getattr(WIRE, type_.__name__)
    fields = _fields(type_, wire)
    always = [(f.name, f.wire, f.shape.put) for f in fields if f.required]
    seldom = [(f.name, f.wire, f.shape.put, f.default()) for f in fields if not f.required]

    def put(value: Any) -> Any:
        made = wire()
        for name, to, convert in always:
            setattr(made, to, convert(getattr(value, name)))
        for name, to, convert, default in seldom:
            found = getattr(value, name)
            if found != default:
                setattr(made, to, convert(found))
        return made

    return Shape(put, lambda values: type_(**_taken(fields, values)))


def _taken(fields: list[_Field], values: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, wire, shape, required, default in fields:
        value = values.get(wire)
        if value is not None:
            try:
                found[name] = shape.take(value)
            except _Bad as error:
                raise error.within(wire) from None
        elif required:
            raise _Bad("It is required.").within(wire)
        else:
            found[name] = default()
    return found


def _finished() -> Shape:
    """``end`` is one of two fields on the wire, or neither."""
    fields = _fields(Finished, WIRE.Finished)
    result, failure = shape_of(Result), shape_of(Failure)

    def put(value: Finished) -> Any:
        made = WIRE.Finished(**{f.wire: f.shape.put(getattr(value, f.name)) for f in fields})
        if isinstance(value.end, Result):
            made.result = result.put(value.end)
        elif value.end is not None:
            made.failure = failure.put(value.end)
        return made

    def take(values: dict[str, Any]) -> Finished:
        if "result" in values and "failure" in values:
            raise _Bad("It has a result or a failure, not both.").within("failure")
        end: Result | Failure | None = None
        if "result" in values:
            end = _within("result", result, values["result"])
        elif "failure" in values:
            end = _within("failure", failure, values["failure"])
        return Finished(end=end, **_taken(fields, values))

    return Shape(put, take)


def _pair(wire: Any, names: tuple[str, str], shapes: tuple[Shape, Shape]) -> Shape:
    """A tuple of two that is a struct on the wire."""

    def put(value: tuple[Any, Any]) -> Any:
        return wire(**{n: s.put(v) for n, s, v in zip(names, shapes, value, strict=True)})

    fields = [_Field(n, n, s, True, _none) for n, s in zip(names, shapes, strict=True)]
    return Shape(put, lambda values: tuple(_taken(fields, values).values()))


def _maybe(wire: Any, name: str, shape: Shape) -> Shape:
    """An answer that may be None: a struct with one optional field."""

    def put(value: Any) -> Any:
        return wire(**{name: None if value is None else shape.put(value)})

    def take(values: dict[str, Any]) -> Any:
        return _within(name, shape, values[name]) if name in values else None

    return Shape(put, take)


_SPLIT = {(Finished, "end")}
_shapes: dict[Any, Shape] = dict(_SCALARS)
# Of an answer, so bounded by the frame: a line holds much of a task's output.
_shapes[tuple[bytes, ...]] = _list(Shape(_same, bytes), tuple)
_shapes[Finished] = _finished()
_shapes[tuple[TaskId, int]] = _pair(
    WIRE.ReplicaRef, ("task", "number"), (shape_of(TaskId), shape_of(int))
)
_shapes[tuple[Digest, int]] = _pair(
    WIRE.Blob, ("digest", "size"), (shape_of(Digest), shape_of(int))
)
MAYBE: dict[Any, Shape] = {
    Token | None: _maybe(WIRE.MaybeToken, "token", shape_of(Token)),
    int | None: _maybe(WIRE.MaybeSize, "size", shape_of(int)),
}
"""Answers that may be None, by their annotation; an *argument* or field is just left out."""


def fault(error: AccordError) -> Any:
    """The error as the wire's Fault."""
    facts = {_sound(name): _fact(value) for name, value in error.fields.items()}
    return WIRE.Fault(code=error.code, message=_sound(error.message), fields=facts)


def error(values: dict[str, Any]) -> AccordError:
    """The error that a Fault, as it was read, stands for; AccordError where its code is new."""
    code = values.get("code", AccordError.code)
    made = all_errors().get(code, AccordError)(values.get("message"))
    made.fields = {name: _plain(fact) for name, fact in values.get("fields", {}).items()}
    if made.code != code:
        made.fields["code"] = code
    return made


def _fact(value: object) -> Any:
    if value is None:
        return WIRE.Fact()
    if isinstance(value, float):
        return WIRE.Fact(real=value)
    if isinstance(value, int) and value in _WHOLE:
        return WIRE.Fact(whole=int(value))
    return WIRE.Fact(text=_sound(str(value)))


def _plain(fact: dict[str, Any]) -> str | int | float | None:
    return next(iter(fact.values()), None)


def _sound(text: str) -> str:
    """The text, short and without what UTF-8 cannot spell."""
    return text[:MESSAGE].encode("utf-8", "replace").decode()
