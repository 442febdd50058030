"""The API of tasks: what is submitted reads back, runs, and ends as promised."""

from __future__ import annotations

import base64
import io
import threading
import zipfile
from typing import Any

import pytest

from accord.core.replica import Phase, StepResult, Verdict, content
from accord.core.task import INLINE_STREAM
from tests.builders import a_result, a_step_result
from tests.delivery.site import Site
from tests.delivery.test_http_archives import a_zip


def test_the_short_form_is_taken_and_reads_back(site: Site) -> None:
    limits = {"wall": 10, "cpu": 5, "memory": 268435456}
    made = site.submit(language="cpp", source="int main(){}", stdin="1 2", limits=limits)
    assert made["status"] == "pending"
    assert made["spec"]["compile"]["command"][0] == "g++"
    assert made["spec"]["execute"]["limits"]["memory"] == 268435456
    assert made["spec"]["execute"]["stdin"]["size"] == 3
    assert list(made["spec"]["source"]["files"]) == ["main.cpp"]
    assert site.get(made["links"]["self"]).json == made


def test_the_long_form_is_taken(site: Site) -> None:
    made = site.submit(
        source={"files": {"main.cpp": "…", "lib/a.h": {"base64": "/w=="}}},
        compile={"command": "g++ -O2 -o main main.cpp"},
        execute={"command": "./main", "args": ["a b"], "stdin": "x", "env": {"K": "v"}},
        name="n",
        labels={"course": "algo"},
        priority=-7,
        outputs=["out/*.txt"],
    )
    assert made["spec"]["compile"]["command"] == "g++ -O2 -o main main.cpp"
    assert made["spec"]["execute"]["args"] == ["a b"]
    assert made["spec"]["execute"]["env"] == {"K": "v"}
    assert (made["name"], made["labels"], made["priority"]) == ("n", {"course": "algo"}, -7)
    job = site.executor.take()
    assert job.task.spec.source is not None
    assert job.task.spec.source.files["lib/a.h"].inline == b"\xff"


def test_a_script_may_begin_with_blanks(site: Site) -> None:
    made = site.submit(execute={"command": "\n  echo hello"})
    assert made["spec"]["execute"]["command"] == "\n  echo hello"


def test_a_source_may_be_absent(site: Site) -> None:
    made = site.submit(execute={"command": ["/bin/echo", "hello"]})
    assert made["spec"]["execute"]["command"] == ["/bin/echo", "hello"]
    assert made["spec"]["source"] is None


def test_a_language_fills_only_what_is_absent(site: Site) -> None:
    made = site.submit(language="cpp", source="x", execute={"command": "./main | sort"})
    assert made["spec"]["compile"]["command"][0] == "g++"
    assert made["spec"]["execute"]["command"] == "./main | sort"


def test_a_zip_comes_by_multipart(site: Site) -> None:
    packed = a_zip({"Makefile": b"all:", "main.c": b"int main;"})
    fields = {
        "source": (io.BytesIO(packed), "project.zip"),
        "data": (io.BytesIO(a_zip({"in.txt": b"1"})), "d.zip"),
        "stdin": (io.BytesIO(b"\xff\x00"), "stdin"),
        "task": '{"compile": {"command": "make"}, "execute": {"command": "./main"}}',
    }
    response = site.post("/api/v1/tasks", data=fields)
    assert response.status_code == 201, response.text
    task = response.json or {}
    assert task["spec"]["source"]["zip"]["size"] == len(packed)
    assert site.get(f"{task['links']['files']}/source").data == packed
    assert site.get(f"{task['links']['files']}/stdin").data == b"\xff\x00"


def test_form_fields_do_for_a_small_task(site: Site) -> None:
    fields = {
        "language": "python",
        "source": "print(1)",
        "args": ["a", "b"],
        "env": "A=1=2",
        "label": "k:v:w",
        "limits.wall": "2.5",
        "priority": "3",
    }
    response = site.post("/api/v1/tasks", data=fields, content_type="multipart/form-data")
    assert response.status_code == 201, response.text
    task = response.json or {}
    execute = task["spec"]["execute"]
    assert (execute["args"], execute["env"], execute["limits"]["wall"]) == (
        ["a", "b"],
        {"A": "1=2"},
        2.5,
    )
    assert (task["labels"], task["priority"]) == ({"k": "v:w"}, 3)


def test_a_task_reads_back_with_its_result(site: Site) -> None:
    made = site.submit()
    job = site.executor.take()
    result = a_result(
        verdict=Verdict.RUNTIME_ERROR,
        execute=StepResult(
            signal=11,
            wall_time=1.5,
            cpu_time=1.25,
            peak_memory=4096,
            stdout=content(b"ab\xff"),
            stderr=content("é".encode()),
            stderr_truncated=True,
        ),
        compile=a_step_result(b"c-out", b"c-err", cached=True),
        kept={"out/é.txt": content(b"kept")},
    )
    site.executor.finish(job, result)
    task = site.get(f"/api/v1/tasks/{made['id'].lower()}?wait=20").json or {}
    assert (task["status"], task["verdict"], task["done"]) == ("run_failed", "runtime_error", True)
    assert (task["exit_code"], task["signal"]) == (None, 11)
    assert (task["stdout"], task["stderr"]) == ("ab\N{REPLACEMENT CHARACTER}", "é")
    assert (task["compile_stdout"], task["compile_stderr"]) == ("c-out", "c-err")
    assert task["compile_cached"]
    assert (task["stdout_truncated"], task["stderr_truncated"], task["truncated"]) == (
        False,
        True,
        True,
    )
    assert (task["wall_time"], task["cpu_time"], task["peak_memory"]) == (1.5, 1.25, 4096)
    (replica,) = task["replicas"]
    assert (replica["executor"], replica["outcome"]) == ("box1", "success")
    assert task["done_time"].endswith("Z")
    (kept,) = task["outputs"]
    assert site.get(kept["href"]).data == b"kept"


def test_long_output_is_cut_at_a_character_and_whole_under_files(site: Site) -> None:
    made = site.submit()
    job = site.executor.take()
    text = ("é" * 50_000).encode()
    site.judicator.write_blob("upload-1", 0, text)
    digest, size = site.judicator.commit_blob("upload-1")
    stdout = content(text).__class__(digest=digest, size=size)
    site.executor.finish(
        job, a_result(execute=a_step_result().__class__(exit_code=0, stdout=stdout))
    )
    task = site.get(f"{made['links']['self']}?wait=20").json or {}
    assert task["stdout"] == "é" * 32768
    assert task["stdout_truncated"]
    assert site.get(f"{made['links']['files']}/stdout").data == text


def test_what_is_large_goes_to_blobs(site: Site) -> None:
    large = "x" * (INLINE_STREAM + 1)
    made = site.submit(language="python", source=large, stdin=large[:-1])
    spec = site.executor.take().task.spec
    assert spec.source is not None
    assert spec.source.files["main.py"].inline is None
    assert spec.execute.stdin is not None
    assert spec.execute.stdin.inline is not None
    assert site.get(f"{made['links']['files']}/source/main.py").data == large.encode()


def test_many_small_files_do_not_overfill_the_document(site: Site) -> None:
    files = {f"f{n}": "y" * 1000 for n in range(200)}
    site.submit(source={"files": files}, execute={"command": "true"})
    source = site.executor.take().task.spec.source
    assert source is not None
    assert sum(len(c.inline or b"") for c in source.files.values()) <= 64 * 1024
    assert len(source.files) == 200


def test_a_wait_is_answered_at_the_end(site: Site) -> None:
    made = site.submit()
    job = site.executor.take()
    answers: list[Any] = []
    waiting = threading.Thread(
        target=lambda: answers.append(
            site.app.test_client()
            .get(f"{made['links']['self']}?wait=60", base_url="http://127.0.0.1:7000")
            .json
        )
    )
    waiting.start()
    site.executor.finish(job, a_result())
    waiting.join(30)
    assert answers[0]["status"] == "success"


def test_a_wait_that_ends_answers_with_the_state(site: Site) -> None:
    made = site.submit()
    response = site.get(f"{made['links']['self']}?wait=0.01")
    assert (response.status_code, (response.json or {})["status"]) == (200, "pending")


def test_the_phase_shows(site: Site) -> None:
    made = site.submit()
    site.executor.at(site.executor.take(), Phase.COMPILING)
    task = site.get(made["links"]["self"]).json or {}
    assert (task["status"], task["replicas"][0]["phase"]) == ("compiling", "compiling")


# -- idempotency -----------------------------------------------------------------------------


def test_a_key_makes_a_repeat_the_same_task(site: Site) -> None:
    document = {"language": "python", "source": "print(1)"}
    headers = {"Idempotency-Key": "k 1"}
    first = site.post("/api/v1/tasks", json=document, headers=headers)
    again = site.post("/api/v1/tasks", json=document, headers=headers)
    other = site.post("/api/v1/tasks", json=document | {"stdin": "x"}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert (first.json or {})["id"] == (again.json or {})["id"]
    assert (other.status_code, (other.json or {})["code"]) == (409, "key_reused")


@pytest.mark.parametrize("key", ["", "x" * 201, "é"])
def test_a_bad_key_is_refused(shared: Site, key: str) -> None:
    response = shared.post(
        "/api/v1/tasks", json={"execute": {"command": "true"}}, headers={"Idempotency-Key": key}
    )
    assert (response.status_code, (response.json or {})["field"]) == (422, "Idempotency-Key")


# -- cancel, retry, purge, explain -----------------------------------------------------------


def test_cancel_is_202_until_it_is_proved_then_200(site: Site) -> None:
    made = site.submit()
    job = site.executor.take()
    response = site.call("DELETE", made["links"]["self"])
    assert (response.status_code, (response.json or {})["status"]) == (202, "cancelling")
    assert site.executor.cancelled() == [(job.task.id, job.number)]
    assert site.call("DELETE", made["links"]["self"]).status_code == 202
    site.executor.finish(job, None, killed=True)
    response = site.call("DELETE", made["links"]["self"])
    assert (response.status_code, (response.json or {})["status"]) == (200, "cancelled")


def test_cancel_of_a_task_that_ended_is_409(site: Site) -> None:
    made = site.submit()
    site.executor.finish(site.executor.take(), a_result())
    response = site.call("DELETE", made["links"]["self"])
    assert (response.status_code, (response.json or {})["code"]) == (409, "already_done")


def test_retry_makes_a_new_task(site: Site) -> None:
    made = site.submit()
    assert site.post(f"{made['links']['self']}/retry").status_code == 409
    site.executor.finish(site.executor.take(), a_result())
    response = site.post(f"{made['links']['self']}/retry")
    fresh = response.json or {}
    assert response.status_code == 201
    assert (fresh["retry_of"], fresh["status"]) == (made["id"], "pending")
    assert response.headers["Location"].endswith(fresh["id"])


def test_purge_removes_a_done_task(site: Site) -> None:
    made = site.submit()
    assert site.post(f"{made['links']['self']}/purge").status_code == 409
    site.executor.finish(site.executor.take(), a_result())
    assert site.post(f"{made['links']['self']}/purge").status_code == 204
    assert site.get(made["links"]["self"]).status_code == 404


def test_explain_says_why(site: Site) -> None:
    made = site.submit(language="go", source="package main")
    told = site.get(made["links"]["explain"]).json or {}
    assert told["status"] == "pending"
    assert "executor" in told["explanation"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/retry"),
        ("POST", "/purge"),
        ("GET", "/explain"),
        ("GET", "/events"),
        ("GET", "/files"),
        ("GET", "/files/stdout"),
    ],
)
@pytest.mark.parametrize("id_", ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "nonsense", "..%2f", "é", "%00"])
def test_an_unknown_task_is_404(shared: Site, method: str, path: str, id_: str) -> None:
    response = shared.call(method, f"/api/v1/tasks/{id_}{path}")
    assert response.status_code == 404
    assert response.content_type == "application/problem+json"


# -- lists -----------------------------------------------------------------------------------


def _ids(site: Site, query: str) -> list[str]:
    response = site.get(f"/api/v1/tasks?{query}")
    assert response.status_code == 200, response.text
    return [item["id"] for item in (response.json or {})["items"]]


def test_lists_filter_and_page(site: Site) -> None:
    ids = [
        site.submit(
            execute={"command": "true"}, name=f"run {n}", labels={"n": str(n % 2), "a": "b:c"}
        )["id"]
        for n in range(5)
    ]
    assert _ids(site, "") == ids[::-1]
    assert _ids(site, "order=oldest") == ids
    assert _ids(site, "label=n:0&label=a:b:c&order=oldest") == ids[::2]
    assert _ids(site, "text=RUN%203") == [ids[3]]
    assert _ids(site, f"text={ids[2].lower()}") == [ids[2]]
    assert _ids(site, "status=success,cancelled&status=failed") == []
    assert _ids(site, "status=pending&user=local&since=2020-01-01T00:00:00+00:00") == ids[::-1]
    assert _ids(site, "until=2020-01-01T00:00:00Z") == []
    assert _ids(site, "since=1e9&until=9e9") == ids[::-1]
    seen, query = [], "limit=2"
    while query:
        page = site.get(f"/api/v1/tasks?{query}").json or {}
        assert (page["total"], page["more_than_total"]) == (5, False)
        seen += [item["id"] for item in page["items"]]
        query = f"limit=2&cursor={page['next']}" if page["next"] else ""
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=-1",
        "status=done",
        "label=x",
        "order=up",
        "since=yesterday",
        "since=nan",
        "until=inf",
        "cursor=x",
        "cursor=%00",
        "page=2",
    ],
)
def test_a_bad_filter_is_422_and_named(shared: Site, query: str) -> None:
    response = shared.get(f"/api/v1/tasks?{query}")
    assert response.status_code == 422
    assert (response.json or {})["field"] == query.partition("=")[0]


# -- refusals --------------------------------------------------------------------------------

SOUND: dict[str, Any] = {"execute": {"command": "true"}}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ([], ""),
        ({}, "execute.command"),
        (SOUND | {"user": "root"}, "user"),
        (SOUND | {"execut": {}}, "execut"),
        ({"execute": {"command": "true", "x": 1}}, "execute.x"),
        (SOUND | {"limits": {"wall": -1}}, "limits.wall"),
        (SOUND | {"limits": {"wall": 1e300}}, "limits.wall"),
        (SOUND | {"limits": {"memory": 2**70}}, "limits.memory"),
        (SOUND | {"limits": {"memory": "1g"}}, "limits.memory"),
        (SOUND | {"limits": {"memory": True}}, "limits.memory"),
        (SOUND | {"limits": {"colour": 1}}, "limits.colour"),
        (SOUND | {"compile": {"command": "x", "limits": {"cpu": 1e9}}}, "compile.limits.cpu"),
        (SOUND | {"priority": 101}, "priority"),
        (SOUND | {"priority": 1.5}, "priority"),
        (SOUND | {"name": "a\x00b"}, "name"),
        (SOUND | {"name": "n" * 300}, "name"),
        (SOUND | {"labels": {"a:b": "c"}}, "labels.a:b.[key]"),
        (SOUND | {"labels": {"a": 1}}, "labels.a"),
        (SOUND | {"outputs": ["../x"]}, "outputs"),
        (SOUND | {"outputs": ["/etc/*"]}, "outputs"),
        ({"execute": {"command": ""}}, "execute.command"),
        ({"execute": {"command": []}}, "execute.command"),
        ({"execute": {"command": "a\x00"}}, None),
        ({"execute": {"command": "true", "args": ["a\x00"]}}, "execute.args.0"),
        ({"execute": {"command": "true", "args": ["x" * 40_000]}}, "execute"),
        ({"execute": {"command": "true", "env": {"A=B": "c"}}}, "execute.env.A=B.[key]"),
        (SOUND | {"args": ["x"], "execute": {"command": "true", "args": ["y"]}}, "args"),
        ({"language": "cobol", "source": "x"}, "language"),
        ({"language": "python"}, "source"),
        ({"source": "x", "execute": {"command": "true"}}, "source"),
        ({"language": "python", "source": {"files": {"other.py": "x"}}}, "source.files"),
        (SOUND | {"source": {"files": {"../x": "y"}}}, "source.files"),
        (SOUND | {"source": {"files": {"a\x00": "y"}}}, "source.files"),
        (SOUND | {"source": {"files": {"a": "y", "a/b": "z"}}}, "source.files"),
        (SOUND | {"source": {"files": {f"f{n}": "" for n in range(257)}}}, None),
        (SOUND | {"source": {"files": {"a": {"base64": "%"}}}}, None),
        (SOUND | {"source": {"zip": {"base64": base64.b64encode(b"nonsense").decode()}}}, "source"),
        (SOUND | {"source": {}}, "source"),
        (SOUND | {"data": {"base64": ""}}, "data"),
        (SOUND | {"requires": {"cpus": 0}}, "requires.cpus"),
        (SOUND | {"requires": {"isolation": "strong"}}, "requires.isolation"),
        (SOUND | {"deadline": 0}, "deadline"),
        (SOUND | {"compile": {}}, "compile.command"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_bad_document_is_422_and_says_what_to_change(
    shared: Site, document: Any, field: str | None
) -> None:
    response = shared.post("/api/v1/tasks", json=document)
    problem = response.json or {}
    assert (response.status_code, problem["code"]) == (422, "invalid"), response.text
    assert response.content_type == "application/problem+json"
    if field is not None:
        assert problem["field"] == field
    assert problem["detail"]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({name: {"x": 1}}, name)
        for name in (
            "check",
            "expected",
            "after",
            "on_finish",
            "retry",
            "cases",
        )
    ],
)
def test_what_is_not_there_yet_is_refused_by_name(
    shared: Site, more: dict[str, Any], field: str
) -> None:
    response = shared.post("/api/v1/tasks", json=SOUND | more)
    problem = response.json or {}
    assert (response.status_code, problem["code"], problem["field"]) == (422, "not_yet", field)


def test_a_task_may_not_ask_for_the_network_unless_the_administrator_lets_it(shared: Site) -> None:
    response = shared.post("/api/v1/tasks", json=SOUND | {"network": True})
    problem = response.json or {}
    assert (response.status_code, problem["code"], problem["field"]) == (422, "invalid", "network")
    assert "policy.network_allowed" in problem["detail"]


def test_a_task_gets_into_a_batch_by_the_batch_alone(shared: Site) -> None:
    response = shared.post("/api/v1/tasks", json=SOUND | {"batch": "01ARZ3NDEKTSV4RRFFQ69G5FAV"})
    problem = response.json or {}
    assert (response.status_code, problem["code"], problem["field"]) == (422, "invalid", "batch")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, {"handler": "keep", "options": {}}),
        ("append", {"handler": "append", "options": {}}),
        (
            {"handler": "append", "options": {"file": "mine"}},
            {"handler": "append", "options": {"file": "mine"}},
        ),
    ],
)
def test_a_task_names_who_is_told_of_its_end(shared: Site, given: Any, told: Any) -> None:
    assert shared.submit(**SOUND, assimilate=given)["spec"]["assimilate"] == told


@pytest.mark.parametrize(
    "given", ["nobody", {"handler": "append", "options": {"x": "y"}}, {"handler": 1}, 7]
)
def test_a_handler_that_is_not_there_is_refused(shared: Site, given: Any) -> None:
    response = shared.post("/api/v1/tasks", json=SOUND | {"assimilate": given})
    problem = response.json or {}
    assert (response.status_code, problem["code"]) == (422, "invalid")
    assert problem["field"].startswith("assimilate")


def _hostile_zip(name: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, b"x")
    return target.getvalue()


@pytest.mark.parametrize("part", ["source", "data"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        _hostile_zip("../x"),
        _hostile_zip("/x"),
        _hostile_zip("a/../../x"),
        a_zip({"bomb": b"\0" * (2 << 20)}),
    ],
    ids=["empty", "nonsense", "up", "absolute", "deep", "bomb"],
)
def test_a_hostile_archive_is_422(shared: Site, part: str, data: bytes) -> None:
    fields = {part: (io.BytesIO(data), "x.zip"), "task": '{"execute": {"command": "true"}}'}
    response = shared.post("/api/v1/tasks", data=fields)
    assert (response.status_code, (response.json or {})["field"]) == (422, part), response.text


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"name": NaN}', "application/json", 400),
        (b'{"name": "a", "name": "b"}', "application/json", 400),
        (b'{"name": "\\ud800"}', "application/json", 400),
        (b"[" * 200_000, "application/json", 400),
        (b"null", "application/json", 422),
        (b'"{}"', "application/json", 422),
        (b"a=b", "application/x-www-form-urlencoded", 415),
        (b"a", "text/plain", 415),
        (b"a", "multipart/form-data", 400),
        (b"--X\r\n", "multipart/form-data; boundary=X", 400),
        (
            b'--X\r\nContent-Disposition: form-data; name="task"\r\n\r\n{\r\n--X--',
            "multipart/form-data; boundary=X",
            400,
        ),
        (
            b'--X\r\nContent-Disposition: form-data; name="up"; filename="a"\r\n\r\n{\r\n--X--',
            "multipart/form-data; boundary=X",
            422,
        ),
        (
            b"--X\r\nContent-Disposition: form-data\r\n\r\nx\r\n--X--",
            "multipart/form-data; boundary=X",
            422,
        ),
        (b"x" * (5 << 20), "application/json", 413),
        (b"x" * (5 << 20), "multipart/form-data; boundary=X", 413),
    ],
)
def test_a_hostile_body_is_refused(shared: Site, body: bytes, kind: str, status: int) -> None:
    response = shared.post("/api/v1/tasks", data=body, content_type=kind)
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    assert (response.json or {})["detail"]


def test_other_methods_are_405_with_what_is_allowed(shared: Site) -> None:
    response = shared.call("PUT", "/api/v1/tasks")
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]
    assert (response.json or {})["code"] == "method_not_allowed"
