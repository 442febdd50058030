"""Requests are read strictly: nothing doubtful is repaired, and nothing crashes the reader."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from flask import Flask, Response, jsonify, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import BadRequest
from werkzeug.test import EnvironBuilder

from accord.core.errors import Invalid
from accord.delivery.http.requests import (
    LONGEST_LINE,
    Request,
    WholeRequests,
    check_length,
    lines_of,
    open_body,
    parse_fields,
    parse_json,
    restore_query,
)
from accord.testing.clock import FakeClock


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": "\\ud800"}',
        b'{"\\uDC00": 1}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'"\x00"',
    ],
    ids=lambda body: repr(body[:24]),
)
def test_doubtful_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_json(body)


def test_sound_json_is_read_as_it_is() -> None:
    value = {"a": [1, 2.5, None, True], "é": "\U0001f600 \x00"}
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


def test_fields_are_decoded_exactly() -> None:
    fields = parse_fields(b"code=a%2Bb+%26+c%0A%C3%A9&empty=&code=2")
    assert fields.getlist("code") == ["a+b & c\né", "2"]
    assert fields["empty"] == ""


@pytest.mark.parametrize("body", [b"code=%ff", b"code=\xff", b"%C3=1"])
def test_fields_that_are_no_utf8_are_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_fields(body)


class _Echo(Flask):
    request_class = Request


def _echo() -> _Echo:
    app = _Echo(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 1000

    @app.post("/")
    def echo() -> Response:
        files = {name: file.read().decode("latin-1") for name, file in request.files.items()}
        return jsonify(form=request.form.to_dict(), files=files)

    return app


def _multipart(*parts: bytes) -> bytes:
    return b"".join(b"--X\r\n" + part + b"\r\n" for part in parts) + b"--X--\r\n"


def _post(body: bytes, kind: str = "multipart/form-data; boundary=X") -> tuple[int, object]:
    response = _echo().test_client().post("/", data=body, content_type=kind)
    return response.status_code, response.json


def test_multipart_fields_and_files_are_exact() -> None:
    field = 'Content-Disposition: form-data; name="code"\r\n\r\né + \r\n\n'.encode()
    file = b'Content-Disposition: form-data; name="source"; filename="a"\r\n\r\n\xff\x00'
    status, found = _post(_multipart(field, file))
    assert status == 200
    assert found == {"form": {"code": "é + \r\n\n"}, "files": {"source": "\xff\x00"}}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (_multipart(b'Content-Disposition: form-data; name="code"\r\n\r\n\xff'), "boundary=X"),
        (b"no boundary", "x=y"),
        (b"no such boundary", "boundary=X"),
        (b"x", "boundary=\xe9"),
    ],
)
def test_malformed_multipart_is_refused(body: bytes, kind: str) -> None:
    status, _ = _post(body, f"multipart/form-data; {kind}")
    assert status == 400


def test_a_query_that_the_server_had_no_room_for_is_found_in_the_address() -> None:
    lost = {"REQUEST_URI": "/execute?code=a%2Bb?&x=1", "QUERY_STRING": ""}
    restore_query(lost)
    assert lost["QUERY_STRING"] == "code=a%2Bb?&x=1"
    kept = {"REQUEST_URI": "/execute?code=2", "QUERY_STRING": "code=1"}
    restore_query(kept)
    assert kept["QUERY_STRING"] == "code=1"
    none: dict[str, Any] = {}
    restore_query(none)
    assert none["QUERY_STRING"] == ""


# -- chunked bodies --------------------------------------------------------------------------


class _Chunks:
    """What uWSGI's chunked_read does: a chunk a call, empty at the end."""

    def __init__(self, *chunks: bytes) -> None:
        self._left = list(chunks)

    def __call__(self) -> bytes:
        return self._left.pop(0) if self._left else b""


def _chunked(read: _Chunks | None, environ: dict[str, Any] | None = None) -> tuple[int, bytes]:
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 1000
    app.before_request(lambda: check_length(request))

    @app.post("/")
    def size() -> str:
        return str(len(request.get_data()))

    builder = EnvironBuilder(method="POST", headers=Headers({"Transfer-Encoding": "chunked"}))
    given: dict[str, Any] = {**builder.get_environ(), "wsgi.input": io.BytesIO(), **(environ or {})}
    given.pop("CONTENT_LENGTH", None)
    status: list[str] = []
    wrapped = WholeRequests(app.wsgi_app, read, 1000)
    body = b"".join(wrapped(given, lambda line, headers, *_: status.append(line)))
    return int(status[0].split()[0]), body


def test_a_chunked_body_is_read_whole() -> None:
    assert _chunked(_Chunks(b"a" * 600, b"b", b"c" * 399)) == (200, b"1000")


@pytest.mark.parametrize("chunks", [[b"a" * 600] * 5, [b"a" * 1000, b"b"], [b"a" * 1001]])
def test_a_chunked_body_beyond_the_cap_is_413_and_never_cut(chunks: list[bytes]) -> None:
    status, _ = _chunked(_Chunks(*chunks))
    assert status == 413


def test_a_chunked_body_that_the_server_reads_itself_is_bounded_alike() -> None:
    for size, status in ((1000, 200), (1001, 413)):
        environ = {"wsgi.input_terminated": True, "wsgi.input": io.BytesIO(b"a" * size)}
        assert _chunked(None, environ)[0] == status


def test_a_chunked_body_that_nobody_can_read_is_411() -> None:
    assert _chunked(None)[0] == 411


def test_a_chunked_body_that_breaks_off_is_400() -> None:
    class Broken(_Chunks):
        def __call__(self) -> bytes:
            raise OSError("unable to receive chunked part")

    assert _chunked(Broken())[0] == 400


# -- bodies that are read line by line -------------------------------------------------------


def _pieces(*pieces: bytes) -> Callable[[], bytes]:
    left = iter(pieces)
    return lambda: next(left, b"")


def test_lines_are_found_wherever_the_pieces_end() -> None:
    found = list(lines_of(_pieces(b"a", b"b\n\n c\r", b"\n", b"d\ne")))
    assert found == [(1, b"ab"), (3, b" c\r"), (4, b"d"), (5, b"e")]


def test_a_line_that_never_ends_is_refused_long_before_it_fills_the_memory() -> None:
    read: list[int] = []

    def endless() -> bytes:
        read.append(1 << 16)
        return b"x" * (1 << 16)

    with pytest.raises(Invalid) as raised:
        list(lines_of(endless))
    assert raised.value.fields["line"] == 1
    assert sum(read) <= LONGEST_LINE + (1 << 16)


def _opened(stream: io.IOBase, clock: FakeClock) -> AbstractContextManager[Callable[[], bytes]]:
    environ = EnvironBuilder(method="POST").get_environ()
    environ |= {"wsgi.input": stream, "CONTENT_LENGTH": str(1 << 40)}
    return open_body(Request(environ), clock)


class _Endless(io.RawIOBase):
    """A client that sends for ever, a piece a second."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.read_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._clock.advance(1.0)
        self.read_bytes += len(buffer)
        return len(buffer)


def test_what_nobody_wanted_of_a_body_is_read_for_a_while_and_no_longer() -> None:
    clock = FakeClock()
    endless = _Endless(clock)
    begun = clock.monotonic()
    with _opened(endless, clock) as read:
        assert read()
    assert 5 < clock.monotonic() - begun < 20


def test_a_body_that_ends_early_is_400_where_it_is_read_and_nothing_afterwards() -> None:
    with _opened(io.BytesIO(b"abc"), FakeClock()) as read:
        assert read() == b"abc"
        with pytest.raises(BadRequest):
            read()
