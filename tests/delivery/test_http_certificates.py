"""Certificates over HTTP and on the page of a task."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from accord.adapters.signing import verify
from accord.core.certificate import check
from accord.core.cluster_key import from_pem
from accord.core.ids import ExecutorName, UserName
from accord.core.judging import Judgement, Judging, JudgingState
from accord.core.policy import Policy
from accord.core.replica import Verdict
from accord.core.task import ErrorMask, Numbers, Task
from accord.core.user import Role
from accord.core.validation import validate
from tests.builders import NOW, a_result, a_step_result, a_task_of
from tests.delivery.site import Site


def stored(site: Site, codes: str, **changes: Any) -> Task:
    """A task of several replicas, put into the store after validation."""
    task = validate(a_task_of(codes, need_validate=True, **changes), NOW, Policy())
    return site.store.add([msgspec.structs.replace(task, done_time=NOW + 3)])[0]


def test_a_result_is_certified_and_checked_by_the_key(site: Site) -> None:
    made = site.submit(language="python", source="print(42)", name="sum")
    job = site.executor.take()
    site.executor.finish(job, a_result(b"42\n"))
    key = site.get("/api/v1/key")
    assert (key.status_code, key.content_type) == (200, "application/x-pem-file")
    response = site.get(f"/api/v1/tasks/{made['id'].lower()}/certificate")
    assert (response.status_code, response.content_type) == (200, "application/json")
    told = f'attachment; filename="{made["id"]}.certificate.json"'
    assert response.headers["Content-Disposition"] == told
    statement = check(response.data, from_pem(key.text), verify)
    assert (statement.task, statement.name, statement.agreed) == (made["id"], "sum", 1)


def test_the_key_stays_the_same(site: Site) -> None:
    assert site.get("/api/v1/key").data == site.get("/api/v1/key").data


def refused(site: Site, path: str, status: int, code: str, **options: Any) -> str:
    response = site.get(path, **options)
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    document = response.json or {}
    assert document["code"] == code
    return str(document["detail"])


def test_what_cannot_be_certified_is_a_problem_that_says_why(site: Site) -> None:
    open_ = site.submit()
    path = f"/api/v1/tasks/{open_['id']}/certificate"
    assert "pending" in refused(site, path, 409, "not_done")
    site.call("DELETE", f"/api/v1/tasks/{open_['id']}")
    assert "cancelled" in refused(site, path, 409, "no_result")
    failed = stored(site, "E E E", error_mask=ErrorMask.TOO_MANY_ERRORS)
    path = f"/api/v1/tasks/{failed.id}/certificate"
    assert "failed" in refused(site, path, 409, "no_result")
    refused(site, "/api/v1/tasks/01ARZ3NDEKTSV4RRFFQ69G5FAV/certificate", 404, "not_found")
    refused(site, "/api/v1/tasks/..%2Fetc/certificate", 404, "not_found")
    refused(site, f"{path}?x=1", 422, "invalid")


def test_whoever_may_read_the_task_gets_its_certificate_and_nobody_else(guarded: Site) -> None:
    task = stored(guarded, "S=a S=a", user=UserName("ada"))
    path = f"/api/v1/tasks/{task.id}/certificate"
    refused(guarded, path, 401, "unauthenticated")
    refused(guarded, "/api/v1/key", 401, "unauthenticated")
    stranger = guarded.token("bob", Role.SUBMITTER)
    refused(guarded, path, 404, "not_found", token=stranger)
    assert guarded.get("/api/v1/key", token=stranger).status_code == 200
    for who in (("ada", Role.READER), ("root", Role.ADMIN)):
        assert guarded.get(path, token=guarded.token(*who)).status_code == 200


# -- the page ----------------------------------------------------------------------------


def section(site: Site, task: Task) -> str:
    """The part of the task's page that speaks of its certificate; empty where there is none."""
    page = site.get(f"/tasks/{task.id}").text
    return page.partition('id="certificate"')[2].partition("</section>")[0]


def test_a_page_tells_who_agreed_and_how_to_check_it(site: Site) -> None:
    task = stored(site, "S=x S=1.0 S=1.01", comparator=Numbers(rel=0.1))
    shown = section(site, task)
    assert "2 of 3 runs agreed, where 2 had to" in shown
    assert "e1, e2" in shown
    assert "e0" not in shown
    assert "numbers (abs 0.0, rel 0.1)" in shown
    assert f'href="/api/v1/tasks/{task.id}/certificate"' in shown
    assert "accord verify" in shown


def test_a_page_tells_who_judged(site: Site) -> None:
    answer = Judgement(groups=((0, 1),))
    run = Judging(state=JudgingState.OVER, executor=ExecutorName("e9"), answer=answer)
    assert "on e9" in section(site, stored(site, "S=a S=a", judging=run))


def test_a_page_says_where_nobody_confirmed_it(site: Site) -> None:
    shown = section(site, stored(site, "S=a", quorum=1))
    assert "nobody confirmed its result" in shown
    assert "e0" in shown


@pytest.mark.parametrize("verdict", [Verdict.RUNTIME_ERROR, Verdict.COMPILE_ERROR])
def test_a_program_that_failed_has_a_certificate_too(site: Site, verdict: Verdict) -> None:
    made = site.submit()
    compile_ = a_step_result(exit_code=1) if verdict is Verdict.COMPILE_ERROR else None
    execute = None if compile_ else a_step_result(exit_code=1)
    end = a_result(verdict=verdict, compile=compile_, execute=execute)
    site.executor.finish(site.executor.take(), end)
    assert 'id="certificate"' in site.get(f"/tasks/{made['id']}").text


def test_a_page_of_a_task_without_a_result_has_no_certificate(site: Site) -> None:
    made = site.submit()
    assert 'id="certificate"' not in site.get(f"/tasks/{made['id']}").text
    failed = stored(site, "E E E", error_mask=ErrorMask.TOO_MANY_ERRORS)
    assert section(site, failed) == ""
