"""From a request's bytes to its answer's: the one place where a handler's failure ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from accord import logs
from accord.core.errors import AccordError, Invalid
from accord.delivery.rpc import binary, methods
from accord.delivery.rpc.binary import Header, Malformed, Reader
from accord.delivery.rpc.methods import Method
from accord.ports.judicator import Judicator, Report

_log = logs.get("rpc")


class Request(NamedTuple):
    """A call as it was read: what to do, or what to answer at once.

    It keeps no exception: by its traceback that would keep the frame for a while.
    """

    header: Header
    method: Method | None
    arguments: list[Any]
    refusal: bytes = b""

    @property
    def report(self) -> Report | None:
        """The report that it brought, if it is one."""
        first = self.arguments[0] if self.arguments else None
        return first if isinstance(first, Report) else None


def parse(frame: bytes | memoryview) -> Request:
    """The call that a frame spells. Raises Malformed where its connection is of no more use."""
    reader = Reader(frame)
    header = reader.header()
    if header.kind != binary.CALL:
        raise Malformed(f"a message of kind {header.kind} instead of a call")
    method = methods.BY_WIRE.get(header.name)
    if method is None:
        return Request(header, None, [], methods.unknown(header))
    try:
        return Request(header, method, method.arguments(reader))
    except AccordError as error:
        return Request(header, method, [], method.failure(header.sequence, error))


def answer(judicator: Judicator, request: Request) -> bytes:
    """Do it; whatever happens becomes an answer."""
    header, method, arguments, refusal = request
    if method is None or refusal:
        return refusal
    try:
        call: Callable[..., Any] = getattr(judicator, method.name)
        return _reply(method, header.sequence, call(*arguments))
    except AccordError as refused:
        return method.failure(header.sequence, refused)
    except Exception:  # noqa: BLE001 - a fault of ours must not end the connections of others
        extra = {"action": "call_failed", "method": method.name}
        _log.exception("A call failed in a way that it must not", extra=extra)
        return method.failure(header.sequence, AccordError())


def _reply(method: Method, sequence: int, result: Any) -> bytes:
    try:
        return method.reply(sequence, result)
    except Invalid as error:  # it is the caller's no longer: we made that result
        raise TypeError(error.message) from error
