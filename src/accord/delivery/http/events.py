"""Server-sent events of one task: its states and its live output, resumable.

Each piece of news ends with an event that carries the cursor as its id, so a client that comes
back with ``Last-Event-ID`` misses nothing; what it had in part is sent again, and the offsets
tell it so.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from flask_openapi3.types import ResponseDict
from pydantic import Field

from accord import logs
from accord.core.errors import AccordError
from accord.core.ids import TaskId
from accord.core.view import summary_of
from accord.delivery.http.context import gateway
from accord.delivery.http.documents import API, summary_out
from accord.delivery.http.parameters import Parameters
from accord.delivery.http.problems import PROBLEMS
from accord.delivery.http.tasks import TaskPath, read
from accord.ports.judicator import Judicator, News, TaskView
from accord.ports.store import Chunk

BEAT = 8.0
"""Seconds between signs of life: a client that has gone is noticed only by writing to it."""
RECONNECT = "retry: 1000\n\n"
"""Milliseconds after which a client whose stream broke comes back."""

_log = logs.get("gateway")

api = APIBlueprint(
    "events",
    __name__,
    url_prefix=f"{API}/tasks",
    abp_tags=[Tag(name="Tasks")],
    abp_responses=PROBLEMS,
)


class EventsQuery(Parameters):
    """Where to begin."""

    last_event_id: str = Field(
        default="", description="As the header Last-Event-ID, for a first request."
    )


_STREAM: ResponseDict = {
    200: {
        "description": "Events state, output and done.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@api.get("/<task_id>/events", responses=_STREAM)
def events(path: TaskPath, query: EventsQuery) -> Response:
    """Follow a task: 'state' (its summary), 'output' (a piece), 'done' (the last one)."""
    id_ = read(path.task_id).task.id
    judicator = gateway().judicator
    cursor = request.headers.get("Last-Event-ID") or query.last_event_id
    first = judicator.follow(id_, cursor, 0)  # what is wrong is told before the stream begins
    response = Response(_stream(judicator, id_, cursor, first), content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _stream(judicator: Judicator, id_: TaskId, cursor: str, news: News) -> Iterator[str]:
    yield RECONNECT
    try:
        while True:
            yield _told(news)
            cursor = news.cursor or cursor
            if news.done:
                return
            news = judicator.follow(id_, cursor, BEAT)
    except AccordError as error:
        # The answer has begun, so its status cannot tell; the client comes back by itself.
        _log.info("A stream broke off", extra={"action": "stream_broken", "code": error.code})


def _told(news: News) -> str:
    """The events of some news; a comment where there is none."""
    told = [("output", _chunk(chunk)) for chunk in news.chunks]
    if news.view is not None:
        told.append(("state", _state(news.view)))
    if news.done:
        told.append(("done", {"id": news.view.task.id if news.view else None}))
    if not told:
        return ": alive\n\n"
    lines = [f"event: {name}\ndata: {json.dumps(data)}\n" for name, data in told]
    # Only the last event carries the cursor: it stands for all of them.
    return "\n".join(lines) + f"id: {news.cursor}\n\n"


def _state(view: TaskView) -> dict[str, object]:
    summary = summary_out(summary_of(view.task, view.phases)).model_dump()
    return {**summary, "status": view.status, "done": view.status.done}


def _chunk(chunk: Chunk) -> dict[str, object]:
    told: dict[str, object] = {
        "replica": chunk.number,
        "stream": chunk.stream,
        "offset": chunk.offset,
        "size": len(chunk.data),
    }
    try:
        told["text"] = chunk.data.decode("utf-8")
    except UnicodeDecodeError:
        told["base64"] = base64.b64encode(chunk.data).decode("ascii")
    return told
