"""A task as a line of results: what ``GET …/results`` streams, a finishing task finds in its data,
and an assimilator is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from accord.core.errors import NotFound
from accord.core.ids import place
from accord.core.replica import Content, Result
from accord.core.task import Task
from accord.core.view import reason_of, result_of, shown_replica, shown_step, status_of
from accord.ports.blobs import Blobs

STDOUT = 64 * 1024
"""Bytes of a task's stdout in its line."""

_encoder = msgspec.json.Encoder()


def line_of(task: Task, blobs: Blobs, places: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The fields. ``places`` says where kept files lie, by their paths; None where nowhere."""
    shown, result = shown_replica(task), result_of(task)
    step = shown_step(result) if result else None
    text, cut = _stdout(result, blobs)
    return {
        "id": task.id,
        "index": place(task.id)[0] if task.batch else None,
        "parameters": task.parameters,
        "name": task.name,
        "status": status_of(task),
        "reason": reason_of(task),
        "verdict": result.verdict if result else None,
        "exit_code": step.exit_code if step else None,
        "signal": step.signal if step else None,
        "wall_time": step.wall_time if step else None,
        "cpu_time": step.cpu_time if step else None,
        "peak_memory": step.peak_memory if step else None,
        "executor": shown.executor if shown else None,
        "stdout": text,
        "stdout_truncated": cut,
        "files": {
            path: _file(content, (places or {}).get(path))
            for path, content in (result.kept if result else {}).items()
        },
    }


def encoded(line: Mapping[str, Any]) -> bytes:
    """The line as JSON, without a line end."""
    return _encoder.encode(line)


def _file(content: Content, where: str | None) -> dict[str, Any]:
    told: dict[str, Any] = {"size": content.size, "sha256": content.digest}
    return told if where is None else {**told, "path": where}


def _stdout(result: Result | None, blobs: Blobs) -> tuple[str, bool]:
    step = result.execute if result else None
    if step is None:
        return "", False
    try:
        data = b"".join(read(step.stdout, blobs, STDOUT))
    except NotFound:  # deleted by its age: the line goes without it
        data = b""
    cut = step.stdout.size > len(data) or step.stdout_truncated
    return data.decode("utf-8", "ignore" if cut else "replace"), cut


def read(content: Content, blobs: Blobs, size: int | None = None) -> Iterator[bytes]:
    """The bytes of some content, at most ``size`` of them, in chunks. NotFound."""
    if content.inline is not None:
        yield content.inline[:size]
    else:
        yield from blobs.read(content.digest, 0, size)
