"""The API of batches: what is submitted together is there once, counted, and read as promised."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from werkzeug.test import TestResponse

from accord.adapters.system import SystemClock, SystemIds
from accord.core.batch import Batch, BatchSource, BatchStatus, BatchView, Counters, NewBatch
from accord.core.ids import BatchId, UserName
from accord.core.replica import StepResult, Verdict
from accord.core.status import Status
from accord.core.task import INLINE_STREAM
from accord.core.user import LOCAL_USER, Role
from accord.delivery.http.app import make_app
from accord.delivery.http.batch_documents import batch_out
from accord.delivery.http.batch_intake import MOST_LISTED, fingerprint_of
from accord.delivery.http.batch_streams import news_of
from accord.delivery.http.requests import LINES, LONGEST_LINE
from accord.delivery.rpc.client import RemoteJudicator
from accord.delivery.rpc.frames import FRAME
from accord.testing.clock import FakeClock, FakeIds
from accord.testing.judicator_parts import Call
from tests.builders import a_new_task, a_result, a_spec, a_step
from tests.delivery.rpc_served import remote, serving
from tests.delivery.site import BASE, Site

BATCHES = "/api/v1/batches"
SWEEP: dict[str, Any] = {"template": {"execute": {"command": "f {n}"}}}


def echo(n: Any, **more: Any) -> dict[str, Any]:
    return {"execute": {"command": ["/bin/echo", str(n)]}, "name": f"t{n}", **more}


def made(response: TestResponse, status: int = 201) -> dict[str, Any]:
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json or {}
    return found


def send(site: Site, document: dict[str, Any], key: str | None = None) -> TestResponse:
    """As it stands: the client's own way would sort the parameters."""
    headers = {"Idempotency-Key": key} if key else {}
    body = json.dumps(document)
    return site.post(BATCHES, data=body, content_type="application/json", headers=headers)


def submit(site: Site, key: str | None = None, **document: Any) -> dict[str, Any]:
    return made(send(site, document, key))


def stream(site: Site, tasks: Iterable[Any], query: str = "", **options: Any) -> TestResponse:
    lines = [task if isinstance(task, bytes) else json.dumps(task).encode() for task in tasks]
    path = options.pop("path", BATCHES)
    return site.post(path + query, data=b"\n".join(lines), content_type=LINES, **options)


def refused(response: TestResponse, status: int = 422, code: str = "invalid") -> dict[str, Any]:
    problem = made(response, status)
    assert problem["code"] == code
    return problem


def tasks_of(site: Site, batch: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = made(
            site.get(f"{batch['links']['tasks']}?order=oldest&limit=100&cursor={cursor}{query}"),
            200,
        )
        found += page["items"]
        cursor = page["next"]
        if not cursor:
            return found


def names(site: Site, batch: dict[str, Any]) -> list[str]:
    return [task["name"] for task in tasks_of(site, batch)]


def run(site: Site, count: int, verdicts: dict[str, Verdict] | None = None) -> None:
    """Play the executor for so many tasks; ``verdicts`` by the task's name, else ok."""
    for _ in range(count):
        job = site.executor.take()
        verdict = (verdicts or {}).get(job.task.name, Verdict.OK)
        step = StepResult(exit_code=0 if verdict is Verdict.OK else 1, wall_time=1.0)
        site.executor.finish(job, a_result(verdict=verdict, execute=step))


def done(site: Site, batch: dict[str, Any]) -> dict[str, Any]:
    found = made(site.get(f"{batch['links']['self']}?wait=20"), 200)
    assert found["done"], found
    return found


# -- lists -----------------------------------------------------------------------------------


def test_a_list_is_taken_counted_and_closed(site: Site) -> None:
    response = site.post(
        BATCHES, json={"tasks": [echo(n) for n in range(3)], "name": "b", "labels": {"k": "v"}}
    )
    batch = made(response)
    assert response.headers["Location"] == batch["links"]["self"] == f"{BATCHES}/{batch['id']}"
    assert (batch["name"], batch["labels"], batch["source"]) == ("b", {"k": "v"}, "list")
    assert (batch["status"], batch["done"], batch["open"]) == ("running", False, False)
    assert (batch["total"], batch["counts"], batch["to_generate"]) == (3, {"pending": 3}, 0)
    assert "0 of 3" in batch["explanation"]
    assert made(site.get(f"{BATCHES}/{batch['id'].lower()}"), 200) == batch
    assert names(site, batch) == ["t0", "t1", "t2"]


def test_a_task_of_a_batch_says_where_it_belongs(site: Site) -> None:
    batch = submit(site, tasks=[echo(0), echo(1)])
    second = tasks_of(site, batch)[1]
    assert (second["batch"], second["parameters"]) == (batch["id"], {})
    task = made(site.get(f"/api/v1/tasks/{second['id']}"), 200)
    assert (task["batch"], task["index"], task["finishes"]) == (batch["id"], 1, None)
    alone = site.submit()
    assert (alone["batch"], alone["index"], alone["parameters"]) == (None, None, {})


def test_a_list_of_more_than_a_portion_is_taken_in_order(site: Site) -> None:
    batch = submit(site, tasks=[echo(n) for n in range(250)])
    assert (batch["total"], batch["counts"], batch["open"]) == (250, {"pending": 250}, False)
    assert names(site, batch) == [f"t{n}" for n in range(250)]


def test_what_many_tasks_share_is_sent_once_and_arrives(site: Site) -> None:
    source = "#" * (INLINE_STREAM + 1)
    submit(site, tasks=[{"language": "python", "source": source} for _ in range(3)])
    for _ in range(3):
        job = site.executor.take()
        assert job.task.spec.source is not None
        found = job.task.spec.source.files["main.py"]
        assert site.judicator.read_blob(found.digest, 0, 1 << 20) == source.encode()


def test_large_tasks_go_in_as_many_messages_as_the_wire_wants(site: Site) -> None:
    """A hundred of these are more than a frame."""
    large = echo(0, execute={"command": "cat", "stdin": "x" * INLINE_STREAM})
    large["source"] = {"files": {f"f{n}": "x" * INLINE_STREAM for n in range(7)}}
    large["compile"] = {"command": "y" * 30_000}
    assert 100 * len(json.dumps(large)) > FRAME
    body = b"\n".join([json.dumps(large).encode()] * 100)
    with serving(site.judicator) as server, remote(server.address) as client:
        far = make_app(client, site.settings, SystemClock(), SystemIds()).test_client()
        for data, kind in (
            (json.dumps({"tasks": [large] * 30}), "application/json"),
            (body, LINES),
        ):
            response = far.post(BATCHES, data=data, content_type=kind, base_url=BASE)
            assert made(response)["total"] in {30, 100}


def test_a_bad_task_refuses_the_whole_list_by_its_place(site: Site) -> None:
    for bad, field in (
        ({"execute": {"command": ""}}, "tasks.1.execute.command"),
        ({"nonsense": 1}, "tasks.1.nonsense"),
        ({"language": "cobol"}, "tasks.1.language"),
        ({"language": "python", "source": {"files": {"../x": ""}}}, "tasks.1.source.files"),
    ):
        problem = refused(site.post(BATCHES, json={"tasks": [echo(0), bad, echo(2)]}))
        assert problem["field"] == field
    problem = refused(site.post(BATCHES, json={"tasks": [echo(0, check="x")]}), code="not_yet")
    assert problem["field"] == "tasks.0.check"
    assert made(site.get(BATCHES), 200)["items"] == []


def test_a_list_that_the_judicator_refuses_does_not_run_in_part(site: Site) -> None:
    tasks = [echo(n) for n in range(150)]
    tasks[120]["assimilate"] = "nobody"
    problem = refused(site.post(BATCHES, json={"tasks": tasks}))
    assert problem["field"] == "tasks.120.assimilate"
    assert problem["taken"] == 100
    batch = made(site.get(f"{BATCHES}/{problem['batch']}?wait=20"), 200)
    assert (batch["status"], batch["counts"]) == ("cancelled", {"cancelled": 100})


def test_what_the_judicator_refuses_from_its_first_task_on_leaves_no_batch(site: Site) -> None:
    bad = echo(0, assimilate="nobody")
    for response in (
        send(site, {"tasks": [bad, echo(1)]}),
        stream(site, [bad, echo(1)]),
        stream(site, [echo(0)], "?assimilate=nobody"),
    ):
        problem = refused(response)
        assert (problem["taken"], "batch" in problem) == (0, False)
    assert made(site.get(BATCHES), 200)["items"] == []


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "tasks"),
        ({"tasks": []}, "tasks"),
        ({"tasks": [echo(0)], **SWEEP}, "tasks"),
        ({"tasks": [echo(0)], "parameters": {"n": {"list": [1]}}}, "parameters"),
        ({"tasks": [echo(0)], "csv": "n\n1\n"}, "csv"),
        ({"tasks": [echo(0)], "cushion": 5}, "cushion"),
        ({"tasks": [echo(0)], "colour": "red"}, "colour"),
        ({"tasks": [echo(0)], "name": "a\nb"}, "name"),
        ({"tasks": [echo(0)], "finish": {"data": {"base64": ""}, **echo(1)}}, "finish.data"),
        ({"tasks": [echo(0)], "finish": {"language": "cobol"}}, "finish.language"),
        ({"tasks": [echo(0)] * (MOST_LISTED + 1)}, "tasks"),
        ({**SWEEP, "open": True}, "open"),
        ({**SWEEP, "cushion": 0}, "cushion"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_batch_is_refused_by_its_field(
    shared: Site, document: dict[str, Any], field: str
) -> None:
    assert refused(shared.post(BATCHES, json=document))["field"] == field


def test_a_handler_for_all_holds_where_a_task_names_none(site: Site) -> None:
    tasks = [echo(0), echo(1, assimilate="keep")]
    batch = submit(
        site,
        tasks=tasks,
        assimilate={"handler": "append", "options": {"file": "f"}},
        finish=echo(2),
    )
    told = [
        made(site.get(f"/api/v1/tasks/{task['id']}"), 200)["spec"]["assimilate"]
        for task in tasks_of(site, batch)
    ]
    assert told == [
        {"handler": "append", "options": {"file": "f"}},
        {"handler": "keep", "options": {}},
    ]
    assert batch["finish"]["assimilate"]["handler"] == "keep"


# -- the same again --------------------------------------------------------------------------


def test_a_repeat_with_the_same_key_is_the_same_batch(site: Site) -> None:
    document: dict[str, Any] = {"tasks": [echo(n) for n in range(120)], "name": "x"}
    first = submit(site, "key", **document)
    turned = {"name": "x", "tasks": [dict(reversed(t.items())) for t in document["tasks"]]}
    assert submit(site, "key", **turned)["id"] == first["id"]
    assert made(site.get(first["links"]["self"]), 200)["total"] == 120
    other = send(site, {"tasks": [echo(7)]}, "key")
    refused(other, 409, "key_reused")


def test_a_list_that_broke_off_goes_on_where_it_was(site: Site) -> None:
    document: dict[str, Any] = {"tasks": [echo(n) for n in range(30)]}
    begun = site.judicator.create_batch(
        NewBatch(
            user=UserName(LOCAL_USER),
            source=BatchSource.LIST,
            key="key",
            fingerprint=fingerprint_of(document),
        )
    )
    some = [
        a_new_task(user=UserName(LOCAL_USER), name=f"t{n}", spec=a_spec(execute=a_step()))
        for n in range(10)
    ]
    site.judicator.extend_batch(begun.id, 0, some, False)
    batch = submit(site, "key", **document)
    assert (batch["id"], batch["total"], batch["open"]) == (begun.id, 30, False)
    assert names(site, batch) == [f"t{n}" for n in range(30)]


def test_a_batch_that_was_cut_short_is_not_said_to_be_whole(site: Site) -> None:
    document: dict[str, Any] = {"tasks": [echo(n) for n in range(3)]}
    begun = site.judicator.create_batch(
        NewBatch(
            user=UserName(LOCAL_USER),
            source=BatchSource.LIST,
            key="key",
            fingerprint=fingerprint_of(document),
        )
    )
    site.judicator.cancel_batch(begun.id)
    problem = refused(send(site, document, "key"), 409, "already_done")
    assert (problem["batch"], problem["taken"]) == (begun.id, 0)


def test_the_order_of_parameters_is_part_of_what_was_asked(site: Site) -> None:
    parameters = {"n": {"range": [0, 2]}, "c": {"list": ["a"]}}
    first = submit(site, "key", **SWEEP, parameters=parameters)
    assert submit(site, "key", **SWEEP, parameters=parameters)["id"] == first["id"]
    turned = dict(reversed(parameters.items()))
    response = send(site, {**SWEEP, "parameters": turned}, "key")
    refused(response, 409, "key_reused")


# -- streams ---------------------------------------------------------------------------------


def test_a_stream_is_taken_line_by_line(site: Site) -> None:
    lines: list[Any] = [echo(n) for n in range(250)]
    lines[3:3] = [b"", b"  \r"]
    finish = quote(json.dumps(echo("end")))
    query = f"?name=long&label=a:b&label=c:d&finish={finish}&assimilate=append"
    batch = made(stream(site, lines, query))
    assert (batch["source"], batch["total"], batch["open"]) == ("stream", 250, False)
    assert (batch["name"], batch["labels"]) == ("long", {"a": "b", "c": "d"})
    assert batch["finish"]["execute"]["command"] == ["/bin/echo", "end"]
    assert names(site, batch) == [f"t{n}" for n in range(250)]
    task = made(site.get(f"/api/v1/tasks/{tasks_of(site, batch)[9]['id']}"), 200)
    assert (task["index"], task["spec"]["assimilate"]["handler"]) == (9, "append")


def test_a_stream_may_be_longer_than_any_other_body(site: Site) -> None:
    """Its lines are sent on as they come, so only a line is bounded."""
    large = {"source": "#" * (LONGEST_LINE - 1000), "language": "python"}
    batch = made(stream(site, [large] * 6))
    assert batch["total"] == 6
    assert 6 * len(json.dumps(large)) > site.settings.gateway.largest_body


def test_a_chunked_stream_is_taken_likewise(site: Site) -> None:
    body = b"".join(
        json.dumps(echo(n, labels={"x": "y" * 100})).encode() + b"\n" for n in range(30_000)
    )
    assert len(body) > site.settings.gateway.largest_body
    batch = made(_chunked(site, body))
    assert (batch["total"], batch["open"]) == (30_000, False)


def _chunked(site: Site, body: bytes) -> TestResponse:
    return site.post(
        BATCHES,
        input_stream=io.BytesIO(body),
        content_type=LINES,
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )


def test_elsewhere_such_a_body_is_bounded_as_any_other(site: Site) -> None:
    body = b"x" * (site.settings.gateway.largest_body + 1)
    headers = {"Transfer-Encoding": "chunked"}
    for path in ("/api/v1/tasks", "/execute"):
        response = site.post(
            path,
            input_stream=io.BytesIO(body),
            content_type=LINES,
            headers=headers,
            environ_overrides={"wsgi.input_terminated": True},
        )
        assert response.status_code in {413, 415, 422}


@pytest.mark.parametrize(
    ("bad", "field", "code"),
    [
        (b"{", None, "invalid"),
        (b"[1, 2]", None, "invalid"),
        (b'{"name": "\xff"}', None, "invalid"),
        ({"nonsense": 1}, "nonsense", "invalid"),
        (echo(0, check="x"), "check", "not_yet"),
        (echo(0, assimilate="nobody"), "assimilate", "invalid"),
        ({"execute": {"command": ""}}, "execute.command", "invalid"),
        (b'{"name": "' + b"x" * LONGEST_LINE + b'"}', None, "invalid"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_bad_line_is_named_with_what_was_taken(
    site: Site, bad: Any, field: str | None, code: str
) -> None:
    problem = refused(stream(site, [echo(0), b"", echo(1), bad, echo(2)]), code=code)
    assert (problem["line"], problem["taken"]) == (4, 2)
    assert problem.get("field") in {field, ""}
    batch = made(site.get(f"{BATCHES}/{problem['batch']}"), 200)
    assert (batch["status"], batch["open"], batch["total"]) == ("receiving", True, 2)
    assert "Line 4" in problem["detail"]
    assert f"{BATCHES}/{batch['id']}/tasks?at=2&close=true" in problem["detail"]


def test_after_a_bad_line_the_rest_can_be_sent(site: Site) -> None:
    problem = refused(stream(site, [echo(0), echo(1), b"{", echo(3)]))
    path = f"{BATCHES}/{problem['batch']}/tasks"
    batch = made(stream(site, [echo(2), echo(3)], "?at=2&close=true", path=path), 200)
    assert (batch["total"], batch["open"]) == (4, False)
    assert names(site, batch) == ["t0", "t1", "t2", "t3"]


def test_after_a_bad_line_the_whole_can_be_repeated_with_its_key(site: Site) -> None:
    headers = {"Idempotency-Key": "key"}
    lines: list[Any] = [echo(n) for n in range(150)]
    problem = refused(stream(site, [*lines[:130], b"{", *lines[131:]], headers=headers))
    assert (problem["line"], problem["taken"]) == (131, 130)
    assert "Idempotency-Key" in problem["detail"]
    for _ in range(2):
        batch = made(stream(site, lines, headers=headers))
        assert (batch["id"], batch["total"]) == (problem["batch"], 150)
        assert not batch["open"]
    assert names(site, batch) == [f"t{n}" for n in range(150)]


def test_another_stream_with_the_same_key_is_refused(site: Site) -> None:
    headers = {"Idempotency-Key": "key"}
    first = made(stream(site, [echo(0), echo(1)], headers=headers))
    for other, query in (([echo(0), echo(7)], ""), ([echo(0), echo(1)], "?name=other")):
        refused(stream(site, other, query, headers=headers), 409, "key_reused")
    more = refused(stream(site, [echo(0), echo(1), echo(2)], headers=headers), 409, "already_done")
    assert more["batch"] == first["id"]


def test_where_the_first_line_is_bad_there_is_no_batch(site: Site) -> None:
    problem = refused(stream(site, [b"{", echo(0)]))
    assert (problem["line"], problem["taken"]) == (1, 0)
    assert "batch" not in problem
    assert made(site.get(BATCHES), 200)["items"] == []


def test_a_stream_without_tasks_is_refused_unless_it_stays_open(site: Site) -> None:
    assert refused(stream(site, [b"", b" "]))["field"] == "tasks"
    assert made(stream(site, [], "?open=true"))["open"]


def test_a_stream_that_breaks_off_leaves_what_came_and_says_so(site: Site) -> None:
    body = json.dumps(echo(0)).encode() + b"\n" + json.dumps(echo(1)).encode()[:-5]
    response = site.post(
        BATCHES,
        input_stream=io.BytesIO(body),
        content_type=LINES,
        environ_overrides={"CONTENT_LENGTH": str(len(body) + 100)},
    )
    problem = refused(response)
    assert problem["taken"] == 1
    batch = made(site.get(f"{BATCHES}/{problem['batch']}"), 200)
    assert (batch["total"], batch["open"]) == (1, True)


def test_the_query_is_for_streams_alone(shared: Site) -> None:
    problem = refused(shared.post(f"{BATCHES}?name=x", json={"tasks": [echo(0)]}))
    assert problem["field"] == "name"
    assert refused(stream(shared, [echo(0)], "?finish={"))["field"] == "finish"
    assert refused(stream(shared, [echo(0)], "?colour=red"))["field"] == "colour"
    assert refused(stream(shared, [echo(0)], "?label=x"))["field"] == "label"


def test_a_body_of_another_type_is_refused(shared: Site) -> None:
    assert shared.post(BATCHES, data="x", content_type="text/plain").status_code == 415


# -- open batches ----------------------------------------------------------------------------


def test_an_open_batch_takes_more_until_it_is_closed(site: Site) -> None:
    batch = submit(site, tasks=[echo(0)], open=True)
    assert (batch["open"], batch["status"]) == (True, "receiving")
    run(site, 1)
    assert made(site.post(batch["links"]["tasks"], json={"tasks": [echo(1)]}), 200)["open"]
    made(stream(site, [echo(2)], path=batch["links"]["tasks"]), 200)
    assert made(site.post(f"{batch['links']['self']}/close"), 200)["open"] is False
    run(site, 2)
    assert done(site, batch)["counts"] == {"success": 3}
    assert names(site, batch) == ["t0", "t1", "t2"]
    refused(site.post(batch["links"]["tasks"], json={"tasks": [echo(3)]}), 409, "already_done")


def test_what_a_closed_batch_refuses_is_not_to_be_sent_there_again(site: Site) -> None:
    batch = submit(site, tasks=[echo(0)])
    problem = refused(stream(site, [echo(1)], path=batch["links"]["tasks"]), 409, "already_done")
    assert (problem["batch"], problem["taken"]) == (batch["id"], 0)
    assert "?at=" not in problem["detail"]
    assert "line" not in problem


def test_an_open_batch_stays_whatever_it_refuses(site: Site) -> None:
    batch = submit(site, tasks=[], open=True)
    bad, path = echo(0, assimilate="nobody"), batch["links"]["tasks"]
    refused(stream(site, [bad], path=path))
    refused(site.post(path, json={"tasks": [bad]}))
    assert made(site.get(batch["links"]["self"]), 200)["status"] == "receiving"


def test_adding_at_a_place_adds_once(site: Site) -> None:
    batch = submit(site, tasks=[], open=True)
    path = batch["links"]["tasks"]
    for _ in range(2):
        found = made(site.post(f"{path}?at=0&close=true", json={"tasks": [echo(0)]}), 200)
        assert (found["total"], found["open"]) == (1, False)
    refused(site.post(f"{path}?at=0", json={"tasks": [echo(7)]}), 409, "key_reused")


def test_a_bad_task_that_is_added_is_named(site: Site) -> None:
    batch = submit(site, tasks=[], open=True)
    path = batch["links"]["tasks"]
    problem = refused(site.post(path, json={"tasks": [echo(0), {"language": "cobol"}]}))
    assert problem["field"] == "tasks.1.language"
    problem = refused(stream(site, [echo(0), b"{"], path=path))
    assert (problem["line"], problem["taken"], problem["batch"]) == (2, 1, batch["id"])
    assert made(site.get(batch["links"]["self"]), 200)["total"] == 1


# -- templates -------------------------------------------------------------------------------


def test_a_template_makes_a_task_of_each_place_of_the_grid(site: Site) -> None:
    parameters = {"n": {"range": [0, 1, 0.5]}, "c": {"list": ["a b", 3]}}
    template = {
        "execute": {"command": ["f", "{n}"], "args": ["{c}", "{{n}}", "${n}"], "stdin": "<{n}>"},
        "name": "{n}/{c}",
        "labels": {"of": "{c}"},
        "source": {"files": {"in-{n}.txt": "{n}"}},
        "outputs": ["out-{c}.txt"],
    }
    batch = submit(site, template=template, parameters=parameters, cushion=10)
    assert (batch["source"], batch["total"], batch["cushion"]) == ("template", 4, 10)
    assert batch["parameters"] == parameters
    assert batch["template"]["execute"]["command"] == ["f", "{n}"]
    assert sum(batch["counts"].values()) + batch["to_generate"] == 4
    jobs = [site.executor.take() for _ in range(4)]
    found = {job.task.name: job.task for job in jobs}
    assert sorted(found) == ["0.0/3", "0.0/a b", "0.5/3", "0.5/a b"]
    task = found["0.5/a b"]
    assert task.parameters == {"n": 0.5, "c": "a b"}
    assert task.spec.execute.command == ("f", "0.5")
    assert task.spec.execute.args == ("a b", "{n}", "${n}")
    assert task.spec.execute.stdin is not None
    assert task.spec.execute.stdin.inline == b"<0.5>"
    assert task.spec.outputs == ("out-a b.txt",)
    assert task.spec.source is not None
    assert list(task.spec.source.files) == ["in-0.5.txt"]
    assert task.labels == {"of": "a b"}
    items = tasks_of(site, batch)
    assert [item["name"] for item in items] == ["0.0/a b", "0.0/3", "0.5/a b", "0.5/3"]
    assert items[3]["parameters"] == {"n": 0.5, "c": 3}


def test_a_template_without_placeholders_is_repeated(site: Site) -> None:
    batch = submit(site, template=echo(1), parameters={"n": {"range": [0, 3]}})
    assert batch["total"] == 3
    run(site, 3)
    assert done(site, batch)["counts"] == {"success": 3}
    alone = submit(site, template=echo(1))
    assert (alone["total"], alone["parameters"]) == (1, {})


def test_rows_of_a_csv_vary_together_and_slowest(site: Site) -> None:
    table = '\ufeffword, size\r\n"a, b",1\r\n\r\nc,\r\n'
    template = {"execute": {"command": "f"}, "name": "{word}|{size}|{n}"}
    batch = submit(site, template=template, csv=table, parameters={"n": {"range": [1, 3]}})
    assert batch["total"] == 4
    assert batch["parameters"] == {
        "word": {"csv": 2},
        "size": {"csv": 2},
        "n": {"range": [1, 3]},
    }
    run(site, 4)
    assert names(site, batch) == ["a, b|1|1", "a, b|1|2", "c||1", "c||2"]
    assert tasks_of(site, batch)[0]["parameters"] == {"word": "a, b", "size": "1", "n": 1}


def test_a_long_csv_is_read_as_it_is_needed(site: Site) -> None:
    table = "n\n" + "".join(f"{n:06d}\n" for n in range(20_000))
    batch = submit(site, template=echo("{n}"), csv=table, cushion=4)
    assert batch["total"] == 20_000
    run(site, 9)
    found = names(site, batch)
    assert found == [f"t{n:06d}" for n in range(len(found))]
    assert 9 <= len(found) < 100


@pytest.mark.parametrize(
    ("table", "line", "said"),
    [
        ("", None, "empty"),
        ("n\n", None, "no rows"),
        ("n,m\n1,2\n3\n", 3, "1 values"),
        ("n\n1\n2,3\n", 3, "2 values"),
        ('n\n1\n"2\n', 3, "cannot be read"),
        ('n\n"1"x\n', 2, "cannot be read"),
        ("1n\n1\n", 1, "'1n'"),
        ("n, n\n1,2\n", None, "twice"),
        ("n\n\0\n", None, "NUL"),
    ],
)
def test_a_bad_csv_is_refused_by_its_line(
    shared: Site, table: str, line: int | None, said: str
) -> None:
    problem = refused(shared.post(BATCHES, json={**SWEEP, "csv": table}))
    assert (problem.get("line"), said in problem["detail"]) == (line, True)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"parameters": {"n": {}}}, "parameters.n"),
        ({"parameters": {"n": {"range": [0, 1], "list": [1]}}}, "parameters.n"),
        ({"parameters": {"n": {"range": [0, 0]}}}, "parameters.n"),
        ({"parameters": {"n": {"range": [0, 9, 0]}}}, "parameters.n"),
        ({"parameters": {"n": {"list": []}}}, "parameters.n"),
        ({"parameters": {"n": {"range": [1]}}}, "parameters.n.range"),
        ({"parameters": {"n": {"range": [0, 1, 2, 3]}}}, "parameters.n.range"),
        ({"parameters": {"a b": {"list": [1]}}}, "parameters"),
        ({"parameters": {"n": {"list": [1]}}, "csv": "n\n1\n"}, "parameters"),
        ({"parameters": {"n": {"range": [0, 100_000_001]}}}, "parameters"),
        ({"parameters": {"n": {"range": [0, 9]}}, "csv": "n\n1\n"}, "parameters"),
        ({"parameters": {"n": {"range": [0, 1e308, 1e-308]}}}, "parameters"),
        ({"parameters": {"n": {"range": [0, 1e300]}, "m": {"range": [0, 9]}}}, "parameters"),
        ({"parameters": {"n": {"list": ["x" * 40_000] * 2}}}, "parameters"),
        ({"parameters": {"n": {"list": ["a", "x\0"]}}}, None),
        ({"parameters": {"n": {"list": [{}]}}}, None),
        ({"template": {"language": "cobol"}}, "template.language"),
        ({"template": echo(1, check="x")}, "template.check"),
    ],
    ids=str,
)
def test_a_bad_sweep_is_refused_by_its_field(
    shared: Site, more: dict[str, Any], field: str | None
) -> None:
    problem = made(shared.post(BATCHES, json={**SWEEP, **more}), 422)
    if field is None:
        assert problem["field"].startswith("parameters.n.list")
    else:
        assert problem["field"] == field


def test_more_tasks_than_a_batch_may_have_are_refused_with_what_to_do(shared: Site) -> None:
    most = {"n": {"range": [0, 10_000]}, "m": {"range": [0, 10_000]}}
    assert submit(shared, **SWEEP, parameters=most, cushion=1)["total"] == 100_000_000
    document = {**SWEEP, "parameters": {**most, "k": {"list": ["a", "b"]}}}
    assert "Make several batches" in refused(send(shared, document))["detail"]


def test_the_largest_lists_are_taken_and_larger_ones_are_sent_as_csv(shared: Site) -> None:
    values = [n % 10 for n in range(1 << 15)]
    assert submit(shared, **SWEEP, parameters={"n": {"list": values}})["total"] == 1 << 15
    problem = refused(
        shared.post(BATCHES, json={**SWEEP, "parameters": {"n": {"list": [*values, 1]}}})
    )
    assert "Send them as csv" in problem["detail"]


@pytest.mark.parametrize(
    ("template", "values", "field"),
    [
        (echo(1, outputs=["{n}"]), ["a", "../b"], "template.outputs"),
        ({**echo(1), "source": {"files": {"{n}": ""}}}, ["/a", "b"], "template.source.files"),
        (
            {**echo(1), "source": {"files": {"{n}": "", "a": ""}}},
            ["b", "a"],
            "template.source.files",
        ),
        ({"execute": {"command": ["{n}"]}}, ["a", " "], "template.execute.command"),
        ({"execute": {"command": "f", "args": ["{n}"]}}, ["a", "x" * 40_000], "template.execute"),
        ({**echo(1), "name": "{n}"}, ["a", "b\nc"], "template.name"),
        ({**echo(1), "labels": {"k": "{n}"}}, ["a", "b" * 129], "template.labels.k"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_template_that_comes_out_wrong_at_an_end_is_refused(
    site: Site, template: dict[str, Any], values: list[str], field: str
) -> None:
    document = {"template": template, "parameters": {"n": {"list": values}}}
    problem = refused(site.post(BATCHES, json=document))
    assert problem["field"] == field
    assert "With n=" in problem["detail"]
    assert made(site.get(BATCHES), 200)["items"] == []


def test_a_stdin_with_placeholders_must_be_short(shared: Site) -> None:
    for text, status in (("{n}", 422), ("{m}", 201), ("${n}", 201)):
        template = {"execute": {"command": "f", "stdin": text + "x" * INLINE_STREAM}}
        document = {"template": template, "parameters": {"n": {"range": [0, 2]}}}
        found = made(shared.post(BATCHES, json=document), status)
        if status == 422:
            assert found["field"] == "template.execute.stdin"


# -- reading ---------------------------------------------------------------------------------


def test_a_batch_that_is_waited_for_is_read_at_its_end(site: Site) -> None:
    batch = submit(site, tasks=[echo(0), echo(1)], finish=echo("end"))
    run(site, 2, {"t1": Verdict.RUNTIME_ERROR})
    job = site.executor.take()
    assert (job.task.finishes, job.task.name) == (batch["id"], "tend")
    assert made(site.get(batch["links"]["self"]), 200)["status"] == "finishing"
    site.executor.finish(job, a_result())
    found = done(site, batch)
    assert (found["status"], found["counts"]) == ("done", {"run_failed": 1, "success": 1})
    assert (found["finish_task"], found["finish_status"]) == (job.task.id, "success")
    assert found["done_time"].endswith("Z")
    assert (found["rate"] > 0, found["eta"]) == (True, None)
    told = made(site.get(f"/api/v1/tasks/{job.task.id}"), 200)
    assert (told["batch"], told["finishes"], told["index"]) == (None, batch["id"], None)


def test_the_estimated_end_is_what_is_left_by_the_rate() -> None:
    batch = Batch(
        id=BatchId("01ARZ3NDEKTSV4RRFFQ69G5FAV"), user=UserName("u"), source=BatchSource.TEMPLATE,
        created=1.0, closed=1.0, total=1000, taken=600,
    )  # fmt: skip
    counts = {Status.SUCCESS: 400, Status.PENDING: 150, Status.RUNNING: 50}
    view = BatchView(
        batch=batch,
        counters=Counters(counts=counts, ended={100: 100}),
        status=BatchStatus.RUNNING,
        now=1010.0,
    )
    out = batch_out(view)
    assert (out.rate, out.eta, out.to_generate) == (10.0, 60.0, 400)
    still = msgspec.structs.replace(view, counters=Counters(counts=counts))
    assert (batch_out(still).rate, batch_out(still).eta) == (0.0, None)


def test_batches_are_listed_newest_first_and_filtered(site: Site) -> None:
    ids = [submit(site, tasks=[echo(n)], name=f"b{n}", labels={"n": str(n)})["id"] for n in "012"]
    page = made(site.get(f"{BATCHES}?limit=2"), 200)
    assert [item["id"] for item in page["items"]] == [ids[2], ids[1]]
    rest = made(site.get(f"{BATCHES}?limit=2&cursor={page['next']}"), 200)
    assert ([item["id"] for item in rest["items"]], rest["next"]) == ([ids[0]], None)
    run(site, 1)
    done(site, page["items"][0] | {"links": {"self": f"{BATCHES}/{ids[0]}"}})

    def found(query: str) -> list[str]:
        return [item["name"] for item in made(site.get(f"{BATCHES}?{query}"), 200)["items"]]

    assert found("label=n:1") == ["b1"]
    assert found("live=true") == ["b2", "b1"]
    assert found("live=false") == ["b0"]
    assert found("text=B2") == ["b2"]
    assert found(f"text={ids[1]}") == ["b1"]
    assert found("since=2020-01-01T00:00:00Z") == ["b2", "b1", "b0"]
    assert found("until=2020-01-01T00:00:00Z") == []
    assert found("user=nobody") == []
    for query, field in (("limit=0", "limit"), ("cursor=x", "cursor"), ("label=x", "label")):
        assert refused(site.get(f"{BATCHES}?{query}"))["field"] == field


def test_the_tasks_of_a_batch_are_listed_as_all_tasks_are(site: Site) -> None:
    batch = submit(site, tasks=[echo(n) for n in range(3)])
    site.submit()
    for seconds in (2.0, 3.0, 1.0):
        job = site.executor.take()
        site.executor.finish(job, a_result(execute=StepResult(exit_code=0, wall_time=seconds)))
    path = batch["links"]["tasks"]
    slow = made(site.get(f"{path}?order=slowest"), 200)["items"]
    assert [item["name"] for item in slow] == ["t1", "t0", "t2"]
    by_query = made(site.get(f"/api/v1/tasks?batch={batch['id']}&order=slowest&limit=2"), 200)
    assert by_query["items"] == slow[:2]
    assert made(site.get(f"{path}?status=pending"), 200)["items"] == []
    assert made(site.get(f"/api/v1/tasks?batch={batch['id']}"), 200)["total"] == 3
    assert refused(site.get("/api/v1/tasks?order=slowest"))["field"] == "order"
    assert refused(site.get("/api/v1/tasks?batch=x"))["field"] == "batch"


def test_results_come_a_line_a_task_in_order(site: Site) -> None:
    batch = submit(site, tasks=[echo(n) for n in range(230)])
    run(site, 2)
    response = site.get(batch["links"]["results"])
    assert (response.status_code, response.mimetype) == (200, LINES)
    assert response.data.endswith(b"\n")
    lines = [json.loads(line) for line in response.data.splitlines()]
    assert [line["index"] for line in lines] == list(range(230))
    assert {line["status"] for line in lines} == {"success", "pending"}
    assert (lines[0]["id"], lines[0]["name"]) == (tasks_of(site, batch)[0]["id"], "t0")
    rest = site.get(f"{batch['links']['results']}?after={lines[227]['id']}").data.splitlines()
    assert [json.loads(line)["index"] for line in rest] == [228, 229]
    assert refused(site.get(f"{batch['links']['results']}?after=x"))["field"] == "after"


def test_results_go_on_where_no_judicator_could_be_reached(site: Site) -> None:
    batch = submit(site, tasks=[echo(n) for n in range(150)])
    clock = FakeClock()
    with serving(site.judicator) as server:
        addresses = [server.address]
        client = RemoteJudicator(lambda: addresses)
        far = make_app(client, site.settings, clock, FakeIds()).test_client()
        response = far.get(batch["links"]["results"], base_url=BASE)
        pieces = response.iter_encoded()
        lines = next(pieces).splitlines()
        addresses.clear()
        reading = Call(lambda: list(pieces))
        clock.wait_for_waiters()
        addresses.append(server.address)
        clock.advance(1.0)
        lines += b"".join(reading.answer()).splitlines()
        client.close()
    assert [json.loads(line)["index"] for line in lines] == list(range(150))


def test_a_state_is_told_when_it_changed_and_its_rate_by_and_by() -> None:
    state = {"counts": {"pending": 1}, "rate": 1.0, "eta": 1.0}
    slower = {**state, "rate": 0.5, "eta": 2.0}
    assert news_of(None, state, beating=False).startswith("event: state\n")
    assert news_of(state, {**state, "counts": {}}, beating=False).startswith("event: state\n")
    assert news_of(state, slower, beating=False) == ""
    assert news_of(state, slower, beating=True).startswith("event: state\n")
    assert news_of(state, state, beating=True) == ": alive\n\n"


def test_events_tell_of_each_change_up_to_the_end(site: Site) -> None:
    batch = submit(site, tasks=[echo(0), echo(1)])
    response = site.get(batch["links"]["events"])
    assert response.mimetype == "text/event-stream"
    events = _events(response.iter_encoded())
    name, state = next(events)
    assert (name, state["counts"], state["done"]) == ("state", {"pending": 2}, False)
    run(site, 1)
    seen = [next(events)]
    while seen[-1][1]["counts"].get("success") != 1:
        seen.append(next(events))
    run(site, 1)
    seen += events
    assert [name for name, _ in seen[-2:]] == ["state", "done"]
    assert (seen[-2][1]["status"], seen[-2][1]["counts"]) == ("done", {"success": 2})
    assert seen[-1][1] == {"id": batch["id"]}
    response.close()


def _events(pieces: Iterable[bytes]) -> Iterator[Any]:
    for piece in pieces:
        lines = dict(
            line.split(": ", 1) for line in piece.decode().splitlines() if line and line[0] != ":"
        )
        if "event" in lines:
            yield lines["event"], json.loads(lines["data"])


# -- changing --------------------------------------------------------------------------------


def test_cancelling_ends_all_of_it(site: Site) -> None:
    batch = submit(site, tasks=[echo(0), echo(1)])
    job = site.executor.take()
    assert made(site.call("DELETE", batch["links"]["self"]), 202)["status"] == "cancelling"
    assert site.executor.cancelled() == [(job.task.id, job.number)]
    site.executor.finish(job, None, killed=True)
    found = done(site, batch)
    assert (found["status"], found["counts"]) == ("cancelled", {"cancelled": 2})
    assert found["cancel_requested_at"]
    assert made(site.call("DELETE", batch["links"]["self"]), 200)["status"] == "cancelled"


def test_what_failed_is_retried_in_its_place(site: Site) -> None:
    batch = submit(site, tasks=[echo(0), echo(1)])
    run(site, 2, {"t1": Verdict.RUNTIME_ERROR})
    done(site, batch)
    first = tasks_of(site, batch)[1]["id"]
    refused(site.call("DELETE", batch["links"]["self"]), 409, "already_done")
    assert not made(site.post(f"{batch['links']['self']}/retry"), 200)["done"]
    run(site, 1)
    assert done(site, batch)["counts"] == {"success": 2}
    second = tasks_of(site, batch)[1]["id"]
    assert made(site.get(f"/api/v1/tasks/{first}"), 200)["retried_by"] == second
    assert made(site.get(f"/api/v1/tasks/{second}"), 200)["index"] == 1


def test_purging_removes_a_done_batch_with_its_tasks(site: Site) -> None:
    batch = submit(site, tasks=[echo(0)])
    path = batch["links"]["self"]
    refused(site.post(f"{path}/purge"), 409, "not_done")
    run(site, 1)
    done(site, batch)
    assert site.post(f"{path}/purge").status_code == 204
    refused(site.get(path), 404, "not_found")


# -- who may ---------------------------------------------------------------------------------

CALLS = [
    ("GET", ""),
    ("DELETE", ""),
    ("GET", "/tasks"),
    ("POST", "/tasks"),
    ("POST", "/close"),
    ("POST", "/retry"),
    ("POST", "/purge"),
    ("GET", "/results"),
    ("GET", "/events"),
]


def test_others_batches_are_not_there(guarded: Site) -> None:
    mine = guarded.token("ann", Role.SUBMITTER)
    other = guarded.token("bob", Role.SUBMITTER)
    batch = made(guarded.post(BATCHES, json={"tasks": [echo(0)]}, token=mine))
    for method, path in CALLS:
        json_: Any = {"tasks": []} if path == "/tasks" and method == "POST" else None
        response = guarded.call(method, batch["links"]["self"] + path, token=other, json=json_)
        refused(response, 404, "not_found")
    response = stream(guarded, [echo(1)], path=batch["links"]["tasks"], token=other)
    refused(response, 404, "not_found")
    assert made(guarded.get(BATCHES, token=other), 200)["items"] == []
    listed = made(guarded.get(f"/api/v1/tasks?batch={batch['id']}", token=other), 200)
    assert listed["items"] == []
    refused(guarded.get(f"{BATCHES}?user=ann", token=other), 403, "forbidden")
    assert len(made(guarded.get(BATCHES, token=mine), 200)["items"]) == 1


def test_an_administrator_adds_to_anybodys_batch_in_their_name(guarded: Site) -> None:
    mine = guarded.token("ann", Role.SUBMITTER)
    admin = guarded.token("root", Role.ADMIN)
    batch = made(guarded.post(BATCHES, json={"tasks": [], "open": True}, token=mine))
    made(guarded.post(batch["links"]["tasks"], json={"tasks": [echo(0)]}, token=admin), 200)
    page = made(guarded.get(batch["links"]["tasks"], token=mine), 200)
    assert [task["user"] for task in page["items"]] == ["ann"]
    assert len(made(guarded.get(f"{BATCHES}?user=ann", token=admin), 200)["items"]) == 1


def test_a_reader_reads_only(guarded: Site) -> None:
    submitter = guarded.token("ann", Role.SUBMITTER)
    reader = guarded.token("ann", Role.READER)
    batch = made(guarded.post(BATCHES, json={"tasks": [echo(0)]}, token=submitter))
    for method, path in CALLS:
        if method == "GET" and path != "/events":
            assert guarded.get(batch["links"]["self"] + path, token=reader).status_code == 200
        elif method != "GET":
            response = guarded.call(method, batch["links"]["self"] + path, token=reader)
            refused(response, 403, "forbidden")
    refused(guarded.post(BATCHES, json={"tasks": [echo(0)]}, token=reader), 403, "forbidden")
    refused(stream(guarded, [echo(0)], token=reader), 403, "forbidden")
    refused(stream(guarded, [echo(0)]), 401, "unauthenticated")


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_a_batch_that_is_none_is_404(shared: Site, method: str, path: str) -> None:
    for id_ in ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "x", "..%2F.."):
        json_: Any = {"tasks": []} if path == "/tasks" and method == "POST" else None
        assert shared.call(method, f"{BATCHES}/{id_}{path}", json=json_).status_code == 404
