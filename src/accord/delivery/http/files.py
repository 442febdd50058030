"""The exact bytes of a task: what it was given and what it gave back.

Everything is handed out as a download and never as a page: a program's output that looks like
HTML must not run in this site's origin.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from typing import IO
from urllib.parse import quote

import msgspec
from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel, Field
from werkzeug.datastructures import ContentRange
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from accord.core.errors import NotDone, NotFound
from accord.core.replica import Content, Replica, StepResult
from accord.core.task import Task
from accord.core.view import done
from accord.delivery.http.context import gateway
from accord.delivery.http.documents import API, FileOut, file_out, read_content
from accord.delivery.http.parameters import Parameters
from accord.delivery.http.problems import PROBLEMS
from accord.delivery.http.tasks import TaskPath, answer, read

_PIECE = 256 * 1024
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""Archives made here carry no time, so that equal sources make equal archives."""
_STREAMS = ("stdout", "stderr", "compile_stdout", "compile_stderr")

api = APIBlueprint(
    "files",
    __name__,
    url_prefix=f"{API}/tasks",
    abp_tags=[Tag(name="Files")],
    abp_responses=PROBLEMS,
)

_BINARY: ResponseDict = {
    200: {
        "description": "The exact bytes.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    206: {
        "description": "The range that was asked for.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    304: {"description": "As the caller has it."},
}


class FilePath(TaskPath):
    """A file of a task."""

    name: str = Field(
        description="source, source/PATH, data, stdin, stdout, stderr, compile_stdout, "
        "compile_stderr or outputs/PATH"
    )


class FileQuery(Parameters):
    """Of which run."""

    replica: int | None = Field(
        default=None, ge=0, description="A replica's number; else that of the task's result."
    )


class Files(BaseModel):
    """What there is to download."""

    items: list[FileOut]


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Something to download."""

    name: str
    size: int
    tag: str
    read: Callable[[int, int], bytes]
    """At most so many bytes from there; empty at the end."""
    media: str = "application/octet-stream"
    close: Callable[[], None] | None = None
    """To be called when it is sent, or was not wanted."""


@api.get("/<task_id>/files", responses={200: Files})
def listing(path: TaskPath, query: FileQuery) -> Response:
    """List a task's files."""
    task = read(path.task_id).task
    found = _contents(task, query.replica)
    return answer(Files(items=[file_out(task, name, found[name]) for name in found]))


@api.get("/<task_id>/files/<path:name>", responses=_BINARY)
def download(path: FilePath, query: FileQuery) -> Response:
    """Download a file, whole or a range of it."""
    task = read(path.task_id).task
    return send(_piece(task, path.name, query.replica))


def _contents(task: Task, number: int | None) -> dict[str, Content]:
    """The files of a task by name. Raises NotFound where there is no such replica."""
    spec = task.spec
    found: dict[str, Content] = {}
    if spec.source and spec.source.archive:
        found["source"] = spec.source.archive
    elif spec.source:
        found.update({f"source/{path}": c for path, c in sorted(spec.source.files.items())})
    if spec.data:
        found["data"] = spec.data
    if spec.execute.stdin:
        found["stdin"] = spec.execute.stdin
    replica = _replica(task, number)
    if replica and replica.result:
        found.update(_step_contents("", replica.result.execute))
        found.update(_step_contents("compile_", replica.result.compile))
        kept = replica.result.kept
        found.update({f"outputs/{path}": kept[path] for path in sorted(kept)})
    return found


def _replica(task: Task, number: int | None) -> Replica | None:
    if number is None:
        number = task.canonical
    if number is None:
        return None
    replica = task.replica(number)
    if replica is None:
        raise NotFound("The task has no replica of that number. Its document lists them.")
    return replica


def _step_contents(prefix: str, step: StepResult | None) -> dict[str, Content]:
    if step is None:
        return {}
    return {f"{prefix}stdout": step.stdout, f"{prefix}stderr": step.stderr}


def _piece(task: Task, name: str, number: int | None) -> Piece:
    found = _contents(task, number)
    content = found.get(name)
    if content is not None:
        return _stored(name, content, task)
    if name == "source" and task.spec.source and task.spec.source.files:
        return _packed({n: c for n, c in found.items() if n.startswith("source/")})
    if name in _STREAMS and not done(task):
        raise NotDone(f"{name} is there when the task is done. Until then follow its events.")
    if name in _STREAMS and number is None and task.canonical is None:
        raise NotFound("The task has no result. What each run left is under ?replica=NUMBER.")
    raise NotFound("The task has no such file. List its files, at …/files.")


def _stored(name: str, content: Content, task: Task) -> Piece:
    judicator = gateway().judicator
    source = task.spec.source
    packed = name == "data" or (name == "source" and source is not None and source.archive)
    return Piece(
        name=name.rpartition("/")[2] + (".zip" if packed else ""),
        size=content.size,
        tag=content.digest,
        read=lambda start, size: read_content(judicator, content, start, size),
        media="application/zip" if packed else "application/octet-stream",
    )


def _packed(files: dict[str, Content]) -> Piece:
    """The files of a source as a zip made on the fly, in a temporary file."""
    file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # the response closes it
    judicator = gateway().judicator
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name.removeprefix("source/"), _ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w") as target:
                for piece in pieces(lambda s, n, c=content: read_content(judicator, c, s, n)):  # type: ignore[misc]  # the default binds the loop's value
                    target.write(piece)
    tag = "-".join(sorted(c.digest[:12] for c in files.values()))[:200]
    size = file.seek(0, 2)
    return Piece(
        name="source.zip",
        size=size,
        tag=tag,
        read=_reader(file),
        media="application/zip",
        close=file.close,
    )


def _reader(file: IO[bytes]) -> Callable[[int, int], bytes]:
    def read_at(start: int, size: int) -> bytes:
        file.seek(start)
        return file.read(size)

    return read_at


def pieces(
    read_at: Callable[[int, int], bytes], start: int = 0, size: int | None = None
) -> Iterator[bytes]:
    """What ``read_at`` has from ``start``, at most ``size`` bytes, piece by piece."""
    end = None if size is None else start + size
    while end is None or start < end:
        piece = read_at(start, _PIECE if end is None else min(_PIECE, end - start))
        if not piece:
            return
        start += len(piece)
        yield piece


def send(piece: Piece) -> Response:
    """Answer with a file: whole, a range of it, or "not modified"."""
    try:
        response = _sent(piece)
    except (RequestedRangeNotSatisfiable, NotFound):
        if piece.close:
            piece.close()
        raise
    if piece.close:
        response.call_on_close(piece.close)
    return response


def _sent(piece: Piece) -> Response:
    if request.if_none_match.contains(piece.tag):
        return Response(status=304, headers={"ETag": f'"{piece.tag}"'})
    bounds = _range(piece)
    start, end = bounds or (0, piece.size)
    if start < end:
        piece.read(start, 1)  # what is gone is told before the answer has begun
    body = pieces(piece.read, start, end - start)
    response = Response(body, 206 if bounds else 200, content_type=piece.media)
    if bounds:
        response.content_range = ContentRange("bytes", start, end, piece.size)
    response.content_length = end - start
    response.set_etag(piece.tag)
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(piece.name)}"
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


def _range(piece: Piece) -> tuple[int, int] | None:
    """The one range that is asked for, as start and end; None for the whole file.

    Several ranges are answered with the whole, as RFC 9110 allows. Raises 416.
    """
    wanted = request.range
    fresh = request.if_range is None or request.if_range.etag in {None, piece.tag}
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1 or not fresh:
        return None
    begin = wanted.ranges[0][0]
    if piece.size and begin < -piece.size:
        return 0, piece.size  # the last so many bytes are all that there are
    found = wanted.range_for_length(piece.size)
    if found is None:
        raise RequestedRangeNotSatisfiable(piece.size)
    return found
