"""``/execute`` runs exactly the code that was sent, and the code never reaches a log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from werkzeug.test import TestResponse

from accord.core.errors import Unavailable
from accord.core.replica import Result, StepResult, Verdict, content
from accord.ports.judicator import Assignment
from tests.builders import a_result, a_step_result
from tests.delivery.site import BASE, Site

CODE = 'print("a+b & c = d%20", 1 + 1)\n# é \N{SNOWMAN} \U0001f600;\tx=1\r\n\n'


def running(
    site: Site, call: Callable[[], TestResponse], end: Any
) -> tuple[TestResponse, Assignment]:
    """The answer to a call, while an executor ends the task as said."""
    jobs: list[Assignment] = []

    def run() -> None:
        jobs.append(site.executor.take())
        site.executor.finish(jobs[0], end)

    runner = threading.Thread(target=run)
    runner.start()
    response = call()
    runner.join(30)
    return response, jobs[0]


def source_of(job: Assignment) -> str:
    source = job.task.spec.source
    assert source is not None
    (found,) = source.files.values()
    assert found.inline is not None
    return found.inline.decode()


CALLS: dict[str, Callable[[Site], TestResponse]] = {
    "get": lambda site: site.get(f"/execute?code={quote_plus(CODE)}&language=python"),
    "form": lambda site: site.post(
        "/execute",
        data=f"code={quote_plus(CODE)}&stdin={quote_plus('1+1 é')}",
        content_type="application/x-www-form-urlencoded",
    ),
    "multipart": lambda site: site.post(
        "/execute", data={"code": CODE}, content_type="multipart/form-data"
    ),
    "raw": lambda site: site.post(
        "/execute?language=python", data=CODE.encode(), content_type="text/plain; charset=utf-8"
    ),
    "post with the code in the address": lambda site: site.post(
        f"/execute?code={quote_plus(CODE)}"
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_code_arrives_exactly_and_reaches_no_log(
    site: Site, name: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    response, job = running(site, lambda: CALLS[name](site), a_result(b"42\n"))
    assert source_of(job) == CODE
    if name == "form":
        stdin = job.task.spec.execute.stdin
        assert stdin is not None
        assert stdin.inline == "1+1 é".encode()
    assert (response.status_code, response.data) == (200, b"42\n")
    lines = [str(vars(record)) for record in caplog.records]
    assert any("A request was answered" in line for line in lines)
    logged = "".join(lines) + "".join(capfd.readouterr())
    for secret in ("a+b", quote_plus("a+b"), "SNOWMAN", "\N{SNOWMAN}", quote_plus("\N{SNOWMAN}")):
        assert secret not in logged


def test_an_address_that_matches_no_route_reaches_no_log(
    shared: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert shared.get("/execute/print(6*7)?code=print(6*7)").status_code == 404
    assert caplog.records
    assert not any("print" in str(vars(record)) for record in caplog.records)


def test_the_answer_is_text_with_how_it_went_in_headers(site: Site) -> None:
    response, job = running(site, lambda: site.get("/execute?code=print(6*7)"), a_result(b"42\n"))
    assert response.text == "42\n"
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.headers["X-Accord-Task"] == job.task.id
    assert response.headers["X-Accord-Status"] == "success"
    assert response.headers["X-Accord-Verdict"] == "ok"
    assert response.headers["X-Accord-Exit-Code"] == "0"


@pytest.mark.parametrize(
    ("query", "headers"),
    [("&format=json", {}), ("", {"Accept": "application/json"})],
)
def test_the_answer_is_json_where_asked(site: Site, query: str, headers: dict[str, str]) -> None:
    response, job = running(
        site, lambda: site.get(f"/execute?code=1{query}", headers=headers), a_result(b"42\n")
    )
    assert response.json is not None
    assert (response.json["id"], response.json["stdout"]) == (job.task.id, "42\n")


def test_a_failed_run_answers_with_its_errors(site: Site) -> None:
    result = a_result(
        verdict=Verdict.RUNTIME_ERROR, execute=a_step_result(b"out\n", b"err\n", exit_code=3)
    )
    response, _ = running(site, lambda: site.get("/execute?code=1"), result)
    assert (response.status_code, response.data) == (200, b"out\nerr\n")
    assert response.headers["X-Accord-Verdict"] == "runtime_error"
    assert response.headers["X-Accord-Exit-Code"] == "3"


def test_a_compile_error_answers_with_what_the_compiler_said(site: Site) -> None:
    result = Result(
        verdict=Verdict.COMPILE_ERROR,
        compile=StepResult(exit_code=1, stdout=content(b"o"), stderr=content(b"main.cpp:1: no\n")),
    )
    response, _ = running(site, lambda: site.get("/execute?code=x&language=cpp"), result)
    assert response.data == b"omain.cpp:1: no\n"
    assert response.headers["X-Accord-Verdict"] == "compile_error"


def test_output_is_exact_however_long_and_whatever_bytes(site: Site) -> None:
    data = bytes(range(256)) * 4000
    site.judicator.write_blob("upload-1", 0, data)
    digest, size = site.judicator.commit_blob("upload-1")
    stored = type(content(b""))(digest=digest, size=size)
    result = a_result(execute=StepResult(exit_code=0, stdout=stored))
    response, _ = running(site, lambda: site.get("/execute?code=1"), result)
    assert response.data == data


def test_a_wait_that_ends_loses_nothing(site: Site) -> None:
    response = site.get("/execute?code=1&wait=0.01")
    id_ = response.headers["X-Accord-Task"]
    assert response.status_code == 202
    assert response.headers["Location"] == f"/api/v1/tasks/{id_}"
    assert id_ in response.text
    assert (site.get(response.headers["Location"]).json or {})["status"] == "pending"


def test_an_outage_during_the_wait_loses_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(site.judicator, "get", unreachable)
    response = site.get("/execute?code=1")
    monkeypatch.undo()
    assert response.status_code == 202
    assert (site.get(response.headers["Location"]).json or {})["status"] == "pending"


def test_a_task_without_a_result_is_a_503_that_says_why(site: Site) -> None:
    answers: list[TestResponse] = []
    client = site.app.test_client()
    caller = threading.Thread(
        target=lambda: answers.append(client.get("/execute?code=1", base_url=BASE))
    )
    caller.start()
    job = site.executor.take()
    site.judicator.cancel(job.task.id)
    site.executor.finish(job, None, killed=True)
    caller.join(30)
    problem = answers[0].json or {}
    assert (answers[0].status_code, problem["code"]) == (503, "cancelled")
    assert problem["task"] == job.task.id
    assert problem["detail"]


LARGE = "#" * (48 * 1024 + 1)


def test_large_code_comes_by_post_only(site: Site) -> None:
    refused = site.get("/execute?" + urlencode({"code": LARGE}))
    assert (refused.status_code, (refused.json or {})["code"]) == (413, "too_large")
    response = site.post("/execute", data={"code": LARGE, "wait": "0"})
    assert response.status_code == 202


@pytest.mark.parametrize(
    ("method", "query", "options", "status"),
    [
        ("GET", "", {}, 422),
        ("GET", "code=", {}, 422),
        ("GET", "code=%ff", {}, 400),
        ("GET", "code=1&code=2", {}, 422),
        ("GET", "code=1&language=cobol", {}, 422),
        ("GET", "code=1&lang=python", {}, 422),
        ("GET", "code=1&wait=-1", {}, 422),
        ("GET", "code=1&wait=nan", {}, 422),
        ("GET", "code=1&wait=1e9", {}, 422),
        ("GET", "code=1&format=xml", {}, 422),
        ("HEAD", "code=1", {}, 405),
        ("PUT", "code=1", {}, 405),
        ("POST", "code=1", {"data": {"code": "2"}}, 422),
        ("POST", "", {"data": b"\xff", "content_type": "text/plain"}, 400),
        (
            "POST",
            "",
            {"data": b"code=%ff", "content_type": "application/x-www-form-urlencoded"},
            400,
        ),
        ("POST", "", {"json": {"code": "1"}}, 422),
        ("POST", "", {"data": b"", "content_type": "text/plain"}, 422),
    ],
)
def test_a_bad_call_is_refused_and_runs_nothing(
    shared: Site, method: str, query: str, options: dict[str, Any], status: int
) -> None:
    response = shared.call(method, f"/execute?{query}", **options)
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    assert (shared.get("/api/v1/tasks").json or {})["total"] == 0
