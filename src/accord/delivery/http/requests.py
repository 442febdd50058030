"""Reading requests strictly: what is not exactly what it claims to be is refused, never guessed.

The libraries beneath repair bad UTF-8, drop the second of two equal keys and take NaN for a
number; a platform that runs what it is sent must run just that. Bodies are bounded here as well,
chunked ones included, which uWSGI hands out only by its own call.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import IO, Any, NoReturn
from urllib.parse import parse_qsl, unquote_to_bytes

import flask
from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.exceptions import (
    BadRequest,
    LengthRequired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)
from werkzeug.formparser import FormDataParser, MultiPartParser
from werkzeug.wsgi import LimitedStream

from accord.core.errors import Invalid
from accord.ports.clock import Clock

Parsed = tuple[IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]

_CHUNKED = "accord.chunked"
"""In the environment of a request with a chunked body: readable or unreadable."""
LINES = "application/x-ndjson"
"""The type of a body of any length that is read as it comes."""
LONGEST_LINE = 1 << 20
"""Bytes of one line of such a body."""
_LINGER = 10.0
"""Seconds for which the rest of a body that nobody wants is read before it is answered."""
_PIECE = 64 * 1024
_REPEATABLE = frozenset({"status", "label"})
_SURROGATE = re.compile(rb"\\u[dD]")


def parse_json(body: bytes) -> object:
    """The value that ``body`` spells. Raises BadRequest for anything doubtful.

    >>> parse_json(b'{"a": 1}')
    {'a': 1}
    """
    try:
        text = body.decode("utf-8")
        value = _decoder.decode(text)
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a pair fails here
    except UnicodeError as error:
        raise BadRequest("The JSON is not valid UTF-8. Encode it as UTF-8.") from error
    except RecursionError as error:
        raise BadRequest("The JSON is nested too deeply. Nest it less.") from error
    except ValueError as error:
        raise BadRequest(f"The JSON cannot be read: {error}. Correct it.") from error
    return value


def _no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_no_twins, parse_constant=_no_constant)


def parse_fields(body: bytes) -> MultiDict[str, str]:
    """The fields of an urlencoded form or query. Raises BadRequest where they are no UTF-8."""
    try:
        text = body.decode("ascii" if body.isascii() else "utf-8")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise BadRequest(
            "The fields are not valid UTF-8. Encode them as quote_plus does."
        ) from error
    return MultiDict(pairs)


class _Bytewise(MultiPartParser):
    """Decodes fields as bytes, so that the caller can tell what is no UTF-8."""

    def get_part_charset(self, headers: Headers) -> str:  # noqa: ARG002  # the signature is the library's
        """A charset that keeps every byte."""
        return "latin-1"


class StrictForms(FormDataParser):
    """Form data of which nothing is repaired on the way."""

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> Parsed:
        """Stream, fields and files. Raises BadRequest."""
        if mimetype == "application/x-www-form-urlencoded":
            return stream, parse_fields(stream.read()), MultiDict()
        if mimetype == "multipart/form-data":
            return self._parts(stream, content_length, options or {})
        return stream, MultiDict(), MultiDict()

    def _parts(
        self, stream: IO[bytes], content_length: int | None, options: dict[str, str]
    ) -> Parsed:
        parser = _Bytewise(
            stream_factory=self.stream_factory,
            max_form_memory_size=self.max_form_memory_size,
            max_form_parts=self.max_form_parts,
        )
        try:
            boundary = options["boundary"].encode("ascii")
            fields, files = parser.parse(stream, boundary, content_length)
            exact = [(k, v.encode("latin-1").decode("utf-8")) for k, v in fields.items(multi=True)]
        except UnicodeError as error:
            raise BadRequest("A form field is not valid UTF-8. Send it as a file part.") from error
        except (KeyError, ValueError) as error:
            raise BadRequest("The multipart body cannot be read. Check its boundaries.") from error
        return stream, MultiDict(exact), files


class Request(flask.Request):
    """A request whose JSON and forms are read strictly, and whose query is UTF-8."""

    form_data_parser_class = StrictForms

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:  # noqa: ARG002, FBT001, FBT002  # the signature is the library's
        """The body as JSON. Raises BadRequest or UnsupportedMediaType, also where ``silent``."""
        if not (self.is_json or force):
            raise UnsupportedMediaType("Send the body as application/json.")
        return parse_json(self.get_data(cache=cache))


def check_query(request: flask.Request) -> None:
    """Refuse a query that is no UTF-8, or says one thing twice. Raises BadRequest, Invalid."""
    try:
        unquote_to_bytes(request.query_string).decode("utf-8")
    except UnicodeError as error:
        raise BadRequest("The query is not valid UTF-8. Encode it as quote_plus does.") from error
    for name, values in request.args.lists():
        if len(values) > 1 and name not in _REPEATABLE:
            raise Invalid("This parameter stands twice. Give it once.", field=name[:100])


class _Chunks(io.RawIOBase):
    """A body of unknown length as a file, which raises where it exceeds what is allowed, if there
    is a bound.

    The library would cut it there instead, and half a program would run.
    """

    def __init__(self, read_chunk: Callable[[], bytes], largest: float) -> None:
        self._read_chunk = read_chunk
        self._left = largest
        self._rest = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` as far as a chunk goes. Raises BadRequest, RequestEntityTooLarge."""
        if not self._rest:
            self._rest = self._next()
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def _next(self) -> bytes:
        try:
            chunk = self._read_chunk()
        except OSError as error:
            raise BadRequest("The chunked body broke off. Send it again.") from error
        self._left -= len(chunk)
        if self._left < 0:
            raise RequestEntityTooLarge
        return chunk


Environ = dict[str, Any]
StartResponse = Callable[..., Any]


def restore_query(environ: Environ) -> None:
    """Give a request its query again where uWSGI had no room to say it twice.

    uWSGI hands a request over in 64 KiB, with its address whole and the query once more; beyond
    some 32 KiB it leaves the second out and goes on.
    """
    if not environ.get("QUERY_STRING"):
        environ["QUERY_STRING"] = environ.get("REQUEST_URI", "").partition("?")[2]


def _is_stream(environ: Environ) -> bool:
    return bool(environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() == LINES)


class WholeRequests:
    """WSGI middleware: chunked bodies are readable up to a size, or refused with 411; long
    queries are whole.

    A server says by ``wsgi.input_terminated`` that it reads them itself; uWSGI does not and needs
    ``chunked_read``; of any other server nothing is known.
    """

    def __init__(
        self,
        app: Callable[[Environ, StartResponse], Iterable[bytes]],
        read_chunk: Callable[[], bytes] | None,
        largest: int,
    ) -> None:
        self._app = app
        self._read_chunk = read_chunk
        self._largest = largest

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        restore_query(environ)
        if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            self._bound(environ)
        return self._app(environ, start_response)

    def _bound(self, environ: Environ) -> None:
        read = self._read_chunk
        if environ.get("wsgi.input_terminated"):
            stream = environ["wsgi.input"]
            read = partial(stream.read, _PIECE)
        environ[_CHUNKED] = "readable" if read else "unreadable"
        if read:
            largest = math.inf if _is_stream(environ) else self._largest
            environ["wsgi.input"] = io.BufferedReader(_Chunks(read, largest))
            environ["wsgi.input_terminated"] = True


def check_length(request: flask.Request) -> None:
    """Refuse a body whose length cannot be known. Raises LengthRequired."""
    chunked = request.environ.get(_CHUNKED)
    if chunked == "unreadable":
        raise LengthRequired("Send the body with a Content-Length instead of chunked.")
    if chunked and request.max_content_length is not None:
        # Ours raises beyond the limit; the library's bound would cut the body just there.
        request.max_content_length += 1


@contextmanager
def open_body(request: flask.Request, clock: Clock) -> Iterator[Callable[[], bytes]]:
    """A function that reads a body of any length, a piece a call; empty at its end.

    At the end what was not read is read and dropped, for a while: a client that is still sending
    when the connection is closed would find that, and not the answer. Reading raises BadRequest
    where the body breaks off.
    """
    body = request.environ["wsgi.input"]
    if request.environ.get(_CHUNKED):
        read = partial(body.read1, _PIECE)
    else:
        read = partial(LimitedStream(body, request.content_length or 0).read, _PIECE)
    try:
        yield read
    finally:
        with suppress(BadRequest):
            _drop(read, clock)


def _drop(read: Callable[[], bytes], clock: Clock) -> None:
    end = clock.monotonic() + _LINGER
    while read() and clock.monotonic() < end:
        pass


def lines_of(read: Callable[[], bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines of a body that are not blank, each with its number from 1. Raises Invalid where
    one is too long, and what ``read`` raises.
    """
    number, rest = 1, b""
    while piece := read():
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield from _line(number, line)
            number += 1
        _check_line(number, rest)
    yield from _line(number, rest)


def _line(number: int, line: bytes) -> Iterator[tuple[int, bytes]]:
    _check_line(number, line)
    if line.strip():
        yield number, line


def _check_line(number: int, line: bytes) -> None:
    if len(line) > LONGEST_LINE:
        raise Invalid(
            f"It is longer than {LONGEST_LINE} bytes. Send what is so large as a task of "
            "its own, or as a zip.",
            line=number,
        )
