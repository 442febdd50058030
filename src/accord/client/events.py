"""Server-sent events, read as they come."""

from __future__ import annotations

import base64
import dataclasses
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
    for frame in parse_frames(lines):
        event = _event(frame)
        if event:
            yield event


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    """One event as it came."""

    id: str
    kind: str
    document: Mapping[str, Any]


def parse_frames(lines: Iterable[str]) -> Iterator[Frame]:
    """The events of a stream, whatever they tell of; comments are passed over.

    >>> list(parse_frames([": alive", "", "event: done", "data: {}", ""]))
    [Frame(id='', kind='done', document={})]
    """
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        if fields.get("event"):
            document = json.loads(fields.get("data", "{}"))
            yield Frame(id=fields.get("id", ""), kind=fields["event"], document=document)
        fields = {}


def _event(frame: Frame) -> Event | None:
    if frame.kind not in {"state", "output", "done"}:
        return None
    if frame.kind == "output":
        return _output(frame.id, frame.document)
    task = Task.from_json(frame.document) if frame.kind == "state" else None
    return Event(id=frame.id, kind=frame.kind, task=task)


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
