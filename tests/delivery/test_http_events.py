"""Server-sent events: everything once, in order, resumable, and nothing left behind."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from accord.core.errors import Unavailable
from accord.core.replica import Phase
from accord.delivery.http import events
from accord.ports.judicator import News
from tests.builders import a_result
from tests.delivery.site import BASE, Site


class Event(NamedTuple):
    name: str
    data: dict[str, Any]
    id: str | None


def parse(text: str) -> list[Event]:
    """What a browser reads of a stream."""
    found = []
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.splitlines():
            name, colon, value = line.partition(": ")
            assert colon
            fields[name] = value
        if "event" in fields:
            found.append(Event(fields["event"], json.loads(fields["data"]), fields.get("id")))
    return found


def stream(site: Site, path: str, **headers: str) -> Iterator[str]:
    """The stream, block by block."""
    response = site.app.test_client().get(path, base_url=BASE, headers=headers)
    assert response.content_type.startswith("text/event-stream")
    for chunk in response.iter_encoded():
        yield chunk.decode()


def until(blocks: Iterator[str], name: str) -> list[Event]:
    """The events up to the first of that name."""
    found: list[Event] = []
    while not any(event.name == name for event in found):
        found += parse(next(blocks))
    return found


def output(found: list[Event]) -> bytes:
    """The output of one stream, put together by offsets."""
    data = b""
    for event in found:
        if event.name == "output":
            piece = event.data
            raw = piece["text"].encode() if "text" in piece else base64.b64decode(piece["base64"])
            assert len(raw) == piece["size"]
            assert piece["offset"] <= len(data)
            data = data[: piece["offset"]] + raw
    return data


def test_state_and_output_come_as_they_happen(site: Site) -> None:
    made = site.submit()
    blocks = stream(site, made["links"]["events"])
    assert until(blocks, "state")[-1].data["status"] == "pending"
    job = site.executor.take()
    assert until(blocks, "state")[-1].data["status"] == "running"
    site.executor.at(job, Phase.COMPILING)
    assert until(blocks, "state")[-1].data["status"] == "compiling"
    site.executor.print(job, 0, b"one\n")
    assert until(blocks, "output")[-1].data["text"] == "one\n"
    site.executor.print(job, 4, b"\xff\x00")
    assert until(blocks, "output")[-1].data["base64"] == "/wA="
    site.executor.finish(job, a_result(b"one\n\xff\x00"))
    last = until(blocks, "done")
    assert [e.data["status"] for e in last if e.name == "state"][-1] == "success"
    assert list(blocks) == []


def test_a_done_task_is_told_whole_at_once(site: Site) -> None:
    made = site.submit()
    site.executor.finish(site.executor.take(), a_result(b"42\n"))
    found = parse("".join(stream(site, made["links"]["events"])))
    assert output(found) == b"42\n"
    assert found[-1].name == "done"


def test_a_client_that_comes_back_misses_nothing(site: Site) -> None:
    made = site.submit()
    job = site.executor.take()
    site.executor.print(job, 0, b"one\n")
    blocks = stream(site, made["links"]["events"])
    first = until(blocks, "output")
    while first[-1].id is None:
        first += parse(next(blocks))
    blocks.close()  # type: ignore[attr-defined]  # a generator's
    site.executor.print(job, 4, b"two\n")
    site.executor.finish(job, a_result(b"one\ntwo\nthree\n"))
    second = parse(
        "".join(stream(site, made["links"]["events"], **{"Last-Event-ID": first[-1].id}))
    )
    assert output(first) == b"one\n"
    assert b"one" not in b"".join(e.data.get("text", "").encode() for e in second)
    assert output(first + second) == b"one\ntwo\nthree\n"
    by_query = f"{made['links']['events']}?last_event_id={first[-1].id}"
    assert output(first + parse("".join(stream(site, by_query)))) == b"one\ntwo\nthree\n"


def test_only_the_last_event_of_some_news_carries_the_cursor(site: Site) -> None:
    made = site.submit()
    site.executor.finish(site.executor.take(), a_result(b"x"))
    for block in stream(site, made["links"]["events"]):
        found = parse(block)
        assert all(event.id is None for event in found[:-1])
        assert not found or found[-1].id


def test_a_bad_cursor_is_told_before_the_stream_begins(site: Site) -> None:
    made = site.submit()
    for cursor in ("nonsense", "AAAA", "é", "e30="):
        response = site.get(f"{made['links']['events']}?last_event_id={cursor}", buffered=False)
        assert response.status_code in {200, 422}
        response.close()
    assert site.get(f"{made['links']['events']}?last_event_id=nonsense").status_code == 422


class Quiet:
    """A judicator's ``follow`` that has nothing to tell for a while, then breaks."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def follow(self, id_: str, cursor: str, wait: float) -> News:
        self.waits.append(wait)
        if len(self.waits) > 2:
            raise Unavailable
        return News(cursor="c")


def test_a_quiet_stream_gives_a_sign_of_life_within_ten_seconds() -> None:
    quiet = Quiet()
    blocks = list(events._stream(quiet, "id", "", News()))  # type: ignore[arg-type]  # follow is all it needs
    assert blocks == ["retry: 1000\n\n", ": alive\n\n", ": alive\n\n", ": alive\n\n"]
    assert all(0 < wait <= 10 for wait in quiet.waits)


def test_a_client_that_goes_leaves_nothing_behind(site: Site) -> None:
    made = site.submit()
    response = site.app.test_client().get(made["links"]["events"], base_url=BASE)
    parts = response.iter_encoded()
    next(parts)
    next(parts)
    before = threading.active_count()
    response.close()
    assert threading.active_count() <= before
