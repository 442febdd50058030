"""The part of the client that speaks of batches: many tasks that are submitted together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from accord.client.errors import AccordClientError
from accord.client.events import parse_frames
from accord.client.model import Batch
from accord.client.transport import HELD, Transport, fresh_key, listed

_PATH = "/api/v1/batches"
_LINES = "application/x-ndjson"
_PIECE = 64 * 1024
"""Bytes of a stream that are sent at once, about."""
_LONGEST_QUERY = 12 * 1024
"""Bytes of a finishing task that still find room in an address."""
_TIME_TO_STORE = 300.0
"""Seconds that the end of a stream may take to be stored after it was sent."""

Line = str | bytes | Mapping[str, Any]
"""A task of a stream: its spec, or the JSON of one."""


class Batches:
    """What a client can do about batches; ``Client`` is one."""

    _http: Transport

    def create_batch(
        self,
        *,
        tasks: Sequence[Mapping[str, Any]] | None = None,
        template: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Mapping[str, Any]] | None = None,
        csv: str | None = None,
        name: str = "",
        labels: Mapping[str, str] | None = None,
        finish: Mapping[str, Any] | None = None,
        cushion: int | None = None,
        open: bool = False,  # noqa: A002  # the API's name
        key: str | None = None,
        **more: Any,
    ) -> Batch:
        """Submit tasks together: a list of at most 10,000 (``stream_batch`` takes any number), or
        a template and what it varies in.

        ``parameters`` are ``{"n": {"range": [start, stop]}}`` (stop excluded) or
        ``{"c": {"list": [...]}}``; of several, their grid. ``csv`` is a table with a header line.
        ``spec`` makes templates, tasks and ``finish``, the task that runs on the results of all.
        With ``open``, tasks may be added until it is closed. ``key`` makes a repeated submission
        the same batch; where none is given a fresh one is made. Raises Invalid, naming the field.
        """
        document = {
            "tasks": None if tasks is None else list(tasks),
            "template": template,
            "parameters": parameters,
            "csv": csv,
            "name": name or None,
            "labels": labels or None,
            "finish": finish,
            "cushion": cushion,
            "open": open or None,
            **more,
        }
        given = {field: value for field, value in document.items() if value is not None}
        headers = {"Idempotency-Key": key or fresh_key()}
        return self._batch("POST", _PATH, headers=headers, json=given)

    def stream_batch(
        self,
        tasks: Iterable[Line],
        *,
        name: str = "",
        labels: Mapping[str, str] | None = None,
        finish: Mapping[str, Any] | None = None,
        open: bool = False,  # noqa: A002  # the API's name
        key: str | None = None,
    ) -> Batch:
        """Submit any number of tasks, as they come: specs, or lines of JSON.

        No more of them is held in memory than a piece of the stream. A list, or whatever else
        can be gone through again, is sent again where the connection breaks; what can be gone
        through only once raises Unreachable: call this again with the same ``key`` and the same
        tasks, and none of them runs twice.
        """
        key = key or fresh_key()
        query = _query(name=name, labels=labels, finish=finish, open=open)
        if len(quote(query.get("finish", ""))) > _LONGEST_QUERY:
            batch = self.create_batch(
                tasks=[], name=name, labels=labels, finish=finish, open=True, key=key
            )
            return self.extend_batch(batch.id, tasks, at=0, close=not open)
        return self._upload(_PATH, tasks, query, {"Idempotency-Key": key})

    def extend_batch(
        self, id_: str, tasks: Iterable[Line], *, close: bool = False, at: int | None = None
    ) -> Batch:
        """Add tasks to an open batch, and close it if asked to. They come as for
        ``stream_batch``.

        ``at`` is the place of the first, the batch's ``total`` so far: what is there already is
        not added again, so a call may be repeated. Where it is left out it is asked for: only one
        may add at a time. Conflict where the batch is closed, or holds another task there.
        """
        first = self.batch(id_).total if at is None else at
        query = {"at": str(first), **({"close": "true"} if close else {})}
        return self._upload(_path(id_) + "/tasks", tasks, query, {})

    def _upload(
        self, path: str, tasks: Iterable[Line], query: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Batch:
        again = iter(tasks) is not tasks
        body = _Body(tasks)
        batch = self._batch(
            "POST",
            path,
            repeat=again,
            params=query,
            headers={"Content-Type": _LINES, **headers},
            content=body,
            extra_time=_TIME_TO_STORE,
        )
        _check_all_arrived(batch, int(query.get("at", 0)) + body.lines)
        return batch

    def close_batch(self, id_: str) -> Batch:
        """Add no more to it: it is done once all of its tasks are. A repeat is no error."""
        return self._batch("POST", _path(id_) + "/close")

    def batch(self, id_: str, wait: float = 0.0) -> Batch:
        """The batch as it is; with ``wait``, as soon as it is done or after that many seconds."""
        path = _path(id_) + (f"?wait={wait:g}" if wait > 0 else "")
        return self._batch("GET", path, extra_time=wait)

    def wait_batch(self, id_: str, timeout: float | None = None) -> Batch:
        """The batch once it is done or cancelled. Raises TimeoutError after ``timeout`` seconds."""
        left = timeout
        while True:
            held = HELD if left is None else max(0.0, min(HELD, left))
            batch = self.batch(id_, held)
            if batch.done:
                return batch
            if left is not None:
                left -= held
                if left <= 0:
                    raise TimeoutError(f"Batch {id_} is still {batch.status}.")

    def batches(self, *, limit: int | None = None, **filters: Any) -> Iterator[Batch]:
        """Batches, newest first, fetched page by page. Filters are those of the API:

        ``user``, ``label``, ``live`` ("true", "false"), ``since``, ``until``, ``text``.
        """
        for item in listed(self._http, _PATH, limit, filters):
            yield Batch.from_json(item)

    def cancel_batch(self, id_: str) -> Batch:
        """Ask for the end of it and its tasks. The answer is cancelling, or cancelled. Conflict
        where it is done.
        """
        return self._batch("DELETE", _path(id_))

    def retry_batch(self, id_: str) -> Batch:
        """Submit again what ended otherwise than with success, in the same batch."""
        return self._batch("POST", _path(id_) + "/retry")

    def purge_batch(self, id_: str) -> None:
        """Remove a done batch with its tasks for good."""
        self._http.request("POST", _path(id_) + "/purge", repeat=False)

    def batch_results(self, id_: str) -> Iterator[dict[str, Any]]:
        """Its tasks in order of their places, in whatever state they are, one by one.

        Each has ``id``, ``index``, ``parameters``, ``status``, ``exit_code``, ``stdout`` (the
        beginning as text), times in seconds, ``peak_memory`` in bytes and ``files``. A connection
        that breaks is made anew and goes on where it stopped.
        """
        last: str | None = None

        def go_on() -> Iterator[dict[str, Any] | None]:
            nonlocal last
            params = {"after": last} if last else {}
            with self._http.stream(_path(id_) + "/results", params=params) as response:
                for line in response.iter_lines():
                    result = json.loads(line)
                    last = result["id"]
                    yield result
            yield None

        for result in self._http.lasting(go_on, lambda found: found is None):
            if result is not None:
                yield result

    def batch_events(self, id_: str) -> Iterator[Batch]:
        """The batch as it is now, then each time that it has changed (at most twice a second),
        until it is done. A connection that breaks is made anew.
        """

        def go_on() -> Iterator[Batch]:
            headers = {"Accept": "text/event-stream"}
            with self._http.stream(_path(id_) + "/events", headers=headers) as response:
                for frame in parse_frames(response.iter_lines()):
                    if frame.kind == "state":
                        yield Batch.from_json(frame.document)

        yield from self._http.lasting(go_on, lambda batch: batch.done)

    def _batch(self, method: str, path: str, *, repeat: bool = True, **options: Any) -> Batch:
        return Batch.from_json(self._http.json(method, path, repeat=repeat, **options))


def _check_all_arrived(batch: Batch, wanted: int) -> None:
    """A chunked body that loses its end on the way looks like a shorter one: only we know better."""
    if batch.total < wanted:
        raise AccordClientError(
            f"Batch {batch.id} took {batch.total} of the {wanted} tasks that it was to have: the rest "
            "was lost on the way. Submit that as another batch."
        )


class _Body:
    """A stream of tasks in pieces of lines; may be gone through as often as its tasks may."""

    def __init__(self, tasks: Iterable[Line]) -> None:
        self._tasks = tasks
        self.lines = 0
        """Tasks that were given out, the last time that it was gone through."""

    def __iter__(self) -> Iterator[bytes]:
        piece = bytearray()
        self.lines = 0
        for task in self._tasks:
            line = _line(task)
            self.lines += not line.isspace()
            piece += line
            if len(piece) >= _PIECE:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)


def _line(task: Line) -> bytes:
    if isinstance(task, Mapping):
        return json.dumps(task, separators=(",", ":")).encode() + b"\n"
    data = task.encode() if isinstance(task, str) else task
    return data if data.endswith(b"\n") else data + b"\n"


def _query(
    *,
    name: str,
    labels: Mapping[str, str] | None,
    finish: Mapping[str, Any] | None,
    open: bool,  # noqa: A002  # the API's name
) -> dict[str, Any]:
    query = {
        "name": name,
        "label": [f"{key}:{value}" for key, value in (labels or {}).items()],
        "finish": json.dumps(finish) if finish is not None else "",
        "open": "true" if open else "",
    }
    return {field: value for field, value in query.items() if value}


def _path(id_: str) -> str:
    return f"{_PATH}/{quote(id_, safe='')}"
