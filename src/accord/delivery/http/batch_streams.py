"""What of a batch is sent as a stream: the results of all of its tasks, and its changes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from flask_openapi3.types import ResponseDict
from pydantic import Field

from accord import logs
from accord.core.batch import BatchView
from accord.core.errors import AccordError, Invalid, Unavailable
from accord.core.ids import BatchId, task_id
from accord.delivery.http.batch_documents import batch_out
from accord.delivery.http.batches import BatchPath, read
from accord.delivery.http.context import Gateway, gateway
from accord.delivery.http.documents import API
from accord.delivery.http.events import BEAT, RECONNECT
from accord.delivery.http.parameters import NoQuery, Parameters
from accord.delivery.http.problems import PROBLEMS
from accord.delivery.http.requests import LINES
from accord.ports.clock import Clock
from accord.ports.judicator import Results

PIECE = 100
"""Tasks whose results are asked for at once."""
PAUSE = 0.5
"""Seconds between two events at least."""
_PATIENCE = 20
"""Times that results are asked for again, a second apart, where no judicator can be reached: a
stream that has begun cannot tell of an error."""

_log = logs.get("gateway")

api = APIBlueprint(
    "batch_streams",
    __name__,
    url_prefix=f"{API}/batches",
    abp_tags=[Tag(name="Batches")],
    abp_responses=PROBLEMS,
)


class ResultsQuery(Parameters):
    """Where to begin."""

    after: str | None = Field(
        default=None, description="The id in a line that came: go on behind it."
    )


_RESULTS: ResponseDict = {
    200: {
        "description": "A JSON object a line for each task, in order of their places.",
        "content": {LINES: {"schema": {"type": "string"}}},
    }
}
_EVENTS: ResponseDict = {
    200: {
        "description": "Events state and done.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@api.get("/<batch_id>/results", responses=_RESULTS)
def results(path: BatchPath, query: ResultsQuery) -> Response:
    """Read the results of all tasks of a batch, in whatever state they are."""
    after = task_id(query.after) if query.after else ""
    if after is None:
        raise Invalid("after must be the id in a line of results.", field="after")
    services = gateway()
    id_ = read(path.batch_id).batch.id
    first = services.judicator.results(id_, after, PIECE)
    return Response(_lines(services, id_, first), content_type=LINES)


def _lines(services: Gateway, id_: BatchId, piece: Results) -> Iterator[bytes]:
    while True:
        if piece.lines:
            yield b"\n".join(piece.lines) + b"\n"
        if piece.next is None:
            return
        piece = _next(services, id_, piece.next)


def _next(services: Gateway, id_: BatchId, cursor: str) -> Results:
    never = threading.Event()
    for _ in range(_PATIENCE):
        try:
            return services.judicator.results(id_, cursor, PIECE)
        except Unavailable:
            services.clock.wait_event(never, 1.0)
    return services.judicator.results(id_, cursor, PIECE)


@api.get("/<batch_id>/events", responses=_EVENTS)
def events(path: BatchPath, query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """Follow a batch: 'state' (the batch, where it changed), 'done' (the last one)."""
    view = read(path.batch_id)
    response = Response(_changes(gateway(), view), content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _changes(services: Gateway, view: BatchView) -> Iterator[str]:
    yield RECONNECT
    told, beat = None, _Beat(services.clock)
    try:
        while True:
            state = batch_out(view).model_dump(mode="json")
            news = news_of(told, state, beating=beat.due())
            if news:
                beat.reset()
                yield news
            if news and not news.startswith(":"):
                told = state
            if view.status.done:
                yield _event("done", {"id": view.batch.id})
                return
            view = services.judicator.batch(view.batch.id, PAUSE)
    except AccordError as error:
        # The answer has begun, so its status cannot tell; the client comes back by itself.
        _log.info("A stream broke off", extra={"action": "stream_broken", "code": error.code})


class _Beat:
    """When a sign of life is due."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Something was sent just now."""
        self._last = self._clock.monotonic()

    def due(self) -> bool:
        """Whether nothing was for a while."""
        return self._clock.monotonic() - self._last >= BEAT


_PASSING = {"rate": 0, "eta": None}
"""What changes while nothing happens; told by and by only."""


def news_of(told: dict[str, object] | None, state: dict[str, object], *, beating: bool) -> str:
    """The event that tells of the state where it is news, else a comment or nothing."""
    if told is None or {**told, **_PASSING} != {**state, **_PASSING}:
        return _event("state", state)
    if not beating:
        return ""
    return ": alive\n\n" if told == state else _event("state", state)


def _event(name: str, data: dict[str, object]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
