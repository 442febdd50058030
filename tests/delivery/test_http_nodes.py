"""Health, executors, judicators, languages, and the document that describes it all."""

from __future__ import annotations

import html
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accord.core.errors import Corrupt, Unavailable
from accord.core.languages import PRESETS
from accord.core.replica import ErrorClass, Failure, Result, StepResult, Verdict
from accord.delivery.http.app import make_app
from accord.testing.clock import FakeClock, FakeIds
from tests.delivery.site import BASE, Site

BROKEN = Failure(error_class=ErrorClass.INTERNAL_FAIL, message="the disk is full")
SPENT = Result(verdict=Verdict.OK, execute=StepResult(exit_code=0, wall_time=2.0, cpu_time=2.5))


def test_health_tells_of_a_working_judicator(shared: Site) -> None:
    response = shared.get("/api/v1/health")
    assert (response.status_code, (response.json or {})["status"]) == (200, "ok")


class Broken:
    """A judicator that cannot be reached, or that fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        def fail(*args: object, **options: object) -> Any:
            raise self._error

        return fail


@pytest.mark.parametrize("path", ["/api/v1/health", "/api/v1/tasks", "/execute?code=1", "/tasks"])
def test_without_a_judicator_all_is_503_with_retry_after(shared: Site, path: str) -> None:
    app = make_app(Broken(Unavailable()), shared.settings, FakeClock(), FakeIds())
    response = app.test_client().get(path, base_url=BASE)
    assert response.status_code == 503
    assert response.headers["Retry-After"]


@pytest.mark.parametrize("error", [Corrupt("row 7 of secret.db"), RuntimeError("code: print(1)")])
def test_what_nobody_foresaw_is_a_500_that_is_logged(
    shared: Site, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(Broken(error), shared.settings, FakeClock(), FakeIds())
    response = app.test_client().get("/api/v1/executors", base_url=BASE)
    assert (response.status_code, response.content_type) == (500, "application/problem+json")
    assert any(record.levelname == "ERROR" for record in caplog.records)
    assert "print(1)" not in "".join(str(vars(record)) for record in caplog.records)


def test_executors_are_listed_and_steered(site: Site) -> None:
    site.submit()
    site.executor.take()
    (found,) = (site.get("/api/v1/executors").json or {})["items"]
    assert (found["name"], found["state"], found["isolation"]) == ("box1", "online", "bwrap+cgv2")
    for verb, state in (
        ("drain", "draining"),
        ("release", "online"),
        ("quarantine", "quarantined"),
    ):
        response = site.post(f"/api/v1/executors/box1/{verb}")
        assert (response.status_code, (response.json or {})["state"]) == (200, state)
    assert site.post("/api/v1/executors/none/drain").status_code == 404
    assert site.post("/api/v1/executors/box1/explode").status_code == 422


def test_executors_tell_how_they_stand_and_what_was_earned(site: Site) -> None:
    for number in range(6):
        site.submit(language="python", source="1", labels={"app": "seti"})
        end = BROKEN if number else SPENT
        site.executor.finish(site.executor.take(), end)
    (found,) = (site.get("/api/v1/executors").json or {})["items"]
    assert (found["credit"], found["benchmark"]) == (2.5, 1.0)
    (seti,) = found["reliability"]
    assert (seti["task_class"], seti["failures"], seti["sent_today"]) == ("seti", 5, 5)
    assert seti["quarantined_until"].endswith("Z")
    assert seti["rests_until"] is None
    assert seti["note"].startswith("quarantined for seti until")
    page = html.unescape(site.get("/executors").text)
    assert seti["note"] in page
    assert "/executors/box1/release" in page
    site.judicator.housekeeping.step()
    credit = site.get("/api/v1/credit").json or {}
    assert (list(credit["users"].values()), credit["owners"]) == ([2.5], {})
    released = site.post("/api/v1/executors/box1/release").json or {}
    assert [s["note"] for s in released["reliability"]] == [""]


def test_a_task_tells_what_its_replicas_earned(site: Site) -> None:
    made = site.submit()
    site.executor.finish(site.executor.take(), SPENT)
    read = site.get(f"/api/v1/tasks/{made['id']}").json or {}
    assert [replica["credit"] for replica in read["replicas"]] == [2.5]


def test_judicators_are_listed(shared: Site) -> None:
    names = [j["name"] for j in (shared.get("/api/v1/judicators").json or {})["items"]]
    assert names in ([], ["judicator"])


def test_every_language_is_listed_with_who_runs_it(site: Site) -> None:
    site.submit()
    site.executor.take()
    items = (site.get("/api/v1/languages").json or {})["items"]
    assert [item["name"] for item in items] == list(PRESETS)
    found = {item["name"]: item["executors"] for item in items}
    assert found["python"] == {"box1": "Python 3.11.2"}
    assert found["rust"] == {}


def test_the_document_describes_every_route(shared: Site) -> None:
    paths = (shared.get("/api/openapi.json").json or {})["paths"]
    rules = {
        (rule.rule.replace("<path:", "{").replace("<", "{").replace(">", "}"), method.lower())
        for rule in shared.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/v1") or rule.rule == "/execute"
    }
    assert {(path, method) for path in paths for method in paths[path]} == rules


def test_the_browsable_page_brings_its_own_scripts(shared: Site) -> None:
    page = shared.get("/api/swagger").text
    assert "http://" not in page
    assert "https://" not in page
    for path in ("/api/swagger/js/swagger-ui-bundle.js", "/static/api.js"):
        with shared.get(path) as response:
            assert response.status_code == 200


# -- the document holds: whatever it allows or forbids, no request brings the gateway down ----

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OPERATIONS = 31
"""How many there are: if the document lost some, the test below would pass by testing less."""


def test_random_requests_are_answered_as_the_document_says(site: Site) -> None:
    document = schemathesis.openapi.from_wsgi("/api/openapi.json", site.app, base_url=BASE)
    found: list[Any] = list(document.get_all_operations())
    operations = [operation.ok() for operation in found]
    assert len(operations) == OPERATIONS
    for operation in operations:
        _try(operation, operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
        with suppress(Unsatisfiable):  # where there is nothing that could be given wrongly
            _try(operation, operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))


def _try(operation: Any, cases: Any) -> None:
    @settings(
        max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(case=cases)
    def attempt(case: Any) -> None:
        if case.path == "/execute" or "wait" in (case.query or {}):
            case.query = {**(case.query or {}), "wait": 0}
        response = case.call(base_url=BASE)
        case.validate_response(response, checks=CHECKS)

    attempt()
