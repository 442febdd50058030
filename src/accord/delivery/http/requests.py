"""Reading requests strictly: what is not exactly what it claims to be is refused, never guessed.

The libraries beneath repair bad UTF-8, drop the second of two equal keys and take NaN for a
number; a platform that runs what it is sent must run just that. Bodies are bounded here as well,
chunked ones included, which uWSGI hands out only by its own call.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable
from typing import IO, Any, NoReturn
from urllib.parse import parse_qsl, unquote_to_bytes

import flask
from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.exceptions import BadRequest, LengthRequired, UnsupportedMediaType
from werkzeug.formparser import FormDataParser, MultiPartParser

Parsed = tuple[IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]

_SURROGATE = re.compile(rb"\\u[dD]")


def parse_json(body: bytes) -> object:
    """The value that ``body`` spells. Raises BadRequest for anything doubtful.

    >>> parse_json(b'{"a": 1}')
    {'a': 1}
    """
    try:
        text = body.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_no_twins, parse_constant=_no_constant)
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
    """Refuse a query that is no UTF-8. Raises BadRequest."""
    try:
        unquote_to_bytes(request.query_string).decode("utf-8")
    except UnicodeError as error:
        raise BadRequest("The query is not valid UTF-8. Encode it as quote_plus does.") from error


class _Chunks(io.RawIOBase):
    """The body of a chunked request under uWSGI, as a file."""

    def __init__(self, read_chunk: Callable[[], bytes]) -> None:
        self._read_chunk = read_chunk
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            try:
                self._rest = self._read_chunk()
            except OSError as error:
                raise BadRequest("The chunked body broke off.") from error
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class ChunkedBodies:
    """WSGI middleware: chunked bodies are readable, or refused with 411.

    The server beneath says by ``wsgi.input_terminated`` that it reads them itself; uWSGI does not
    and needs ``chunked_read``; of any other server nothing is known.
    """

    def __init__(
        self,
        app: Callable[[Environ, StartResponse], Iterable[bytes]],
        read_chunk: Callable[[], bytes] | None,
    ) -> None:
        self._app = app
        self._read_chunk = read_chunk

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            self._make_readable(environ)
        return self._app(environ, start_response)

    def _make_readable(self, environ: Environ) -> None:
        if environ.get("wsgi.input_terminated"):
            return
        if self._read_chunk is None:
            environ["accord.length_required"] = True
            return
        environ["wsgi.input"] = io.BufferedReader(_Chunks(self._read_chunk))
        environ["wsgi.input_terminated"] = True


def check_length(request: flask.Request) -> None:
    """Refuse a body whose length cannot be known. Raises LengthRequired."""
    if request.environ.get("accord.length_required"):
        raise LengthRequired("Send the body with a Content-Length instead of chunked.")
