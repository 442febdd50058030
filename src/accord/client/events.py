"""Server-sent events, read as they come."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from accord.client.model import Event, Task


def parse_events(lines: Iterable[str]) -> Iterator[Event]:
    """The events that the lines of a stream spell.

    A field's value follows ``name:`` and perhaps a space; an empty line ends an event; comments
    and events of later versions are passed over.

    >>> lines = ['event: output', 'data: {"stream": "stdout", "offset": 2, "text": "hi"}', '']
    >>> [(e.kind, e.stream, e.offset, e.data) for e in parse_events(lines)]
    [('output', 'stdout', 2, b'hi')]
    """
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        event = _event(fields)
        fields = {}
        if event:
            yield event


def _event(fields: Mapping[str, str]) -> Event | None:
    kind, id_ = fields.get("event", ""), fields.get("id", "")
    if kind not in {"state", "output", "done"}:
        return None
    document = json.loads(fields.get("data", "{}"))
    if kind == "output":
        return _output(id_, document)
    task = Task.from_json(document) if kind == "state" else None
    return Event(id=id_, kind=kind, task=task)


def _output(id_: str, document: Mapping[str, Any]) -> Event:
    text = document.get("text")
    return Event(
        id=id_,
        kind="output",
        stream=str(document.get("stream", "")),
        offset=int(document.get("offset", 0)),
        data=text.encode() if text is not None else base64.b64decode(document.get("base64", "")),
        attempt=int(document.get("replica", 0)),
    )
