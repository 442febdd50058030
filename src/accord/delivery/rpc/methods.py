"""The calls of the service, as messages: what the server and the client both go by.

They follow from ``ports.judicator.Judicator``: the arguments and the result of a method have the
shapes of their annotations, in the order of the definition's numbers.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from thriftpy2.thrift import TApplicationException

from accord.core import ids
from accord.core.batch import BatchPage
from accord.core.errors import AccordError, Invalid, NotFound, NotYet, TooLarge
from accord.core.ids import BatchId, TaskId
from accord.core.search import Page
from accord.delivery.rpc import binary, codec
from accord.delivery.rpc.binary import Header, Malformed, Reader
from accord.delivery.rpc.codec import Shape
from accord.delivery.rpc.frames import FRAME
from accord.delivery.rpc.idl import WIRE
from accord.ports.judicator import Judicator, Orders, Results

RENAMED = {"retry": "retry_task"}
"""Methods whose names are reserved words of Thrift."""
_ANSWER_ELEMENTS = 16 * binary.ELEMENTS
"""A list of thousands of executors has many; the answer of a judicator is not a stranger's."""


class Declared(Exception):
    """The judicator answered with an error of its own: the connection is as good as before."""

    def __init__(self, error: AccordError) -> None:
        super().__init__(error)
        self.error = error


class Method:
    """One call, by the name that ``ports.judicator`` has for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.wire = RENAMED.get(name, name)
        hints = typing.get_type_hints(getattr(Judicator, name))
        given = hints.pop("return")
        self._args = getattr(WIRE.Judicator, f"{self.wire}_args")
        self._result = getattr(WIRE.Judicator, f"{self.wire}_result")
        spec = self._args.thrift_spec
        wire_names = [spec[number][1] for number in sorted(spec)]
        self._takes = list(zip(wire_names, map(_argument, hints.values()), strict=True))
        self._gives = _answer(given)
        self._smaller = _SMALLER.get(given)

    def request(self, sequence: int, arguments: Sequence[Any]) -> bytes:
        """The call as a message. Raises Invalid, TooLarge."""
        given = zip(self._takes, arguments, strict=True)
        payload = self._args(**{name: shape.put(value) for (name, shape), value in given})
        return bounded(binary.write(self.wire, binary.CALL, sequence, payload))

    def arguments(self, reader: Reader) -> list[Any]:
        """What the caller sent. Raises Malformed, Invalid, TooLarge, NotFound."""
        values = reader.last(self._args.thrift_spec)
        for name, _ in self._takes:
            if name not in values:
                raise Invalid(f"{name} is required.", field=name)
        return [codec.read(shape, values[name], name) for name, shape in self._takes]

    def reply(self, sequence: int, value: Any) -> bytes:
        """The result as a message: in part, where it is too large and a part has a meaning.

        Raises TooLarge otherwise, and Invalid where it is no result of this method.
        """
        payload = self._result()
        if self._gives is not None:
            payload.success = self._gives.put(value)
            if payload.success is None:
                raise Invalid(f"{self.name} gave nothing.")
        data = binary.write(self.wire, binary.REPLY, sequence, payload)
        smaller = self._smaller(value) if self._smaller and len(data) > FRAME else None
        return bounded(data) if smaller is None else self.reply(sequence, smaller)

    def failure(self, sequence: int, error: AccordError) -> bytes:
        """The error as a message."""
        payload = self._result(fault=codec.fault(error))
        return binary.write(self.wire, binary.REPLY, sequence, payload)

    def response(self, data: bytes | memoryview, sequence: int) -> Any:
        """The result that an answer holds.

        Raises Declared with the judicator's error, or Malformed where this is no answer to the
        call and the connection is of no more use.
        """
        reader = Reader(data, _ANSWER_ELEMENTS, FRAME)
        header = reader.header()
        if header.sequence != sequence:
            raise Malformed(f"an answer to call {header.sequence}, not to {sequence}")
        if header.kind == binary.EXCEPTION:
            raise _application(self.wire, reader)
        if header.kind != binary.REPLY or header.name != self.wire:
            raise Malformed(f"an answer to {header.name}, not to {self.wire}")
        try:
            return self._found(reader.last(self._result.thrift_spec))
        except (Invalid, TooLarge) as error:
            raise Malformed(error.message) from error

    def _found(self, values: dict[str, Any]) -> Any:
        if "fault" in values:
            raise Declared(codec.error(values["fault"]))
        if self._gives is None:
            return None
        if "success" not in values:
            raise Malformed("an answer without a result")
        return codec.read(self._gives, values["success"], "answer")


def unknown(header: Header) -> bytes:
    """The answer to a call that the definition does not have."""
    error = TApplicationException(binary.UNKNOWN_METHOD, f"There is no {header.name!r}.")
    return binary.write(header.name, binary.EXCEPTION, header.sequence, error)


def bounded(data: bytes) -> bytes:
    """``data``, where it may travel in one frame. Raises TooLarge."""
    if len(data) > FRAME:
        raise TooLarge(
            f"This makes a message of {len(data)} bytes; at most {FRAME} are sent at once. "
            "Ask for less, or send it in parts.",
            bound=FRAME,
        )
    return data


def _application(name: str, reader: Reader) -> Exception:
    values = reader.last(TApplicationException.thrift_spec)
    if values.get("type") == binary.UNKNOWN_METHOD:
        return Declared(NotYet(f"The judicator is of a version without {name}.", field=name))
    return Malformed(f"a TApplicationException of type {values.get('type')}")


def _argument(hint: Any) -> Shape:
    return Shape(str, _existing) if hint in (TaskId, BatchId) else codec.shape_of(hint)


def _existing(text: str) -> TaskId:
    found = ids.task_id(text)
    if found is None:
        raise NotFound
    return found


def _answer(hint: Any) -> Shape | None:
    if hint is type(None):
        return None
    return codec.MAYBE.get(hint) or codec.shape_of(hint)


def _fewer_assignments(orders: Orders) -> Orders | None:
    """Half of them: what an executor does not name in its next poll is sent again."""
    half = orders.assign[: len(orders.assign) // 2]
    return msgspec.structs.replace(orders, assign=half) if half else None


def _shorter_page(page: Page) -> Page | None:
    """The first half, with the cursor at its end."""
    half = page.items[: len(page.items) // 2]
    return msgspec.structs.replace(page, items=half, next=half[-1].id) if half else None


def _shorter_list(page: BatchPage) -> BatchPage | None:
    """As of tasks."""
    half = page.items[: len(page.items) // 2]
    return BatchPage(items=half, next=half[-1].batch.id) if half else None


class _Line(msgspec.Struct):
    """What a line of results says of its task."""

    id: TaskId


def _fewer_lines(results: Results) -> Results | None:
    """The first half; the cursor of the next piece is the last task of this one."""
    half = results.lines[: len(results.lines) // 2]
    if not half:
        return None
    return Results(lines=half, next=msgspec.json.decode(half[-1], type=_Line).id)


_SMALLER: dict[Any, Callable[[Any], Any]] = {
    Orders: _fewer_assignments,
    Page: _shorter_page,
    BatchPage: _shorter_list,
    Results: _fewer_lines,
}

METHODS: dict[str, Method] = {
    name: Method(name)
    for name, _ in inspect.getmembers(Judicator, inspect.isfunction)
    if not name.startswith("_")
}
"""By the name that ``ports.judicator`` has for them."""
BY_WIRE: dict[str, Method] = {method.wire: method for method in METHODS.values()}
"""By the name that the definition has for them."""
