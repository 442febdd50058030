"""The pages of batches: how far each is, which parameters fail or are slow, and what came out."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from accord.core.batch import (
    BUCKET,
    Batch,
    BatchSource,
    BatchStatus,
    BatchView,
    Counters,
)
from accord.core.ids import BatchId
from accord.core.replica import Content, Verdict, content
from accord.core.status import Status
from accord.core.user import LOCAL_USER, Role
from accord.delivery.http.batch_documents import batch_out
from accord.delivery.web.progress import WIDTH, segments, throughput
from tests.builders import a_result, a_step_result
from tests.delivery.site import Site
from tests.delivery.test_http_batches import submit

HOSTILE = "<script>alert(1)</script>&\"'"
PNG = b"\x89PNG\r\n\x1a\n" + b"the rest of a picture"
TEMPLATE: dict[str, Any] = {"execute": {"command": "f {n}"}}
FINISH: dict[str, Any] = {"execute": {"command": "join"}}


def sweep(site: Site, count: int, **more: Any) -> dict[str, Any]:
    """A batch of that many tasks, which vary in n."""
    return submit(site, template=TEMPLATE, parameters={"n": {"range": [0, count]}}, **more)


def slowness(number: int) -> float:
    """Seconds that a task takes: neither in the order of places nor against it."""
    return float(number * 7 % 15)


def end_all(site: Site, batch: dict[str, Any], *failing: int, **finish: Any) -> None:
    """End each of its tasks after slowness(n), those named badly, and then the finishing task so."""
    for _ in range(batch["total"]):
        job = site.executor.take()
        number = int(job.task.parameters["n"])
        bad: dict[str, Any] = {"exit_code": 1} if number in failing else {}
        verdict = Verdict.RUNTIME_ERROR if bad else Verdict.OK
        step = a_step_result(wall_time=slowness(number), **bad)
        site.executor.finish(job, a_result(verdict=verdict, execute=step))
    if finish:
        site.executor.finish(site.executor.take(), a_result(**finish))
    assert read(site, f"{batch['links']['self']}?wait=30")["done"]


def page_of(site: Site, batch: dict[str, Any], **options: Any) -> str:
    response = site.get(batch["links"]["page"], **options)
    assert response.status_code == 200, response.text
    return response.text


def read(site: Site, path: str) -> dict[str, Any]:
    """What the API says."""
    found: dict[str, Any] = site.get(path).json or {}
    return found


def section(page: str, name: str) -> str:
    """A part of the page by its id."""
    return page.split(f'<section id="{name}"', 1)[1].split("<section id=", 1)[0]


def parameters_in(part: str) -> list[str]:
    return re.findall(r'<code class="text-break">(\w+=.*?)</code>', part)


# -- one batch -------------------------------------------------------------------------------


def test_a_batch_tells_how_far_it_is_and_what_it_varies_in(site: Site) -> None:
    batch = submit(
        site,
        template={"execute": {"command": f"f {{n}} {HOSTILE}"}},
        parameters={"n": {"range": [0, 20]}, "c": {"list": [HOSTILE, 0.5]}},
        name=HOSTILE,
    )
    for _ in range(3):
        site.executor.finish(site.executor.take(), a_result())
    page = page_of(site, batch)
    assert HOSTILE not in page
    assert 'aria-valuenow="3"' in page
    assert 'aria-valuemax="40"' in page
    assert f"{batch['links']['events']}" in page
    shown = html.unescape(page)
    for told in ("3 of 40 tasks are done", "0, 1, 2, … 17, 18, 19", f"{HOSTILE}, 0.5", "batch.js"):
        assert told in shown
    pending = f"/tasks?batch={batch['id']}&status=success"
    assert "3 success" in re.sub(r"<[^>]+>", "", page)
    assert pending in shown


def test_the_slowest_and_the_failing_are_told_by_their_parameters(site: Site) -> None:
    batch = sweep(site, 15)
    end_all(site, batch, 3, 7)
    page = page_of(site, batch)
    assert parameters_in(section(page, "slowest")) == [
        f"n={n}" for n in sorted(range(15), key=slowness, reverse=True)[:10]
    ]
    assert sorted(parameters_in(section(page, "failing"))) == ["n=3", "n=7"]
    assert parameters_in(section(page, "first")) == [f"n={n}" for n in range(15)]
    (every,) = re.findall(r'href="([^"]+)">All that failed', page)
    assert sorted(parameters_in(site.get(html.unescape(every)).text)) == ["n=3", "n=7"]
    assert "batch.js" not in page


def test_a_batch_of_nothing_yet_has_a_page(site: Site) -> None:
    page = page_of(site, submit(site, tasks=[], open=True))
    assert "receiving" in page
    assert "None yet" in page


def test_the_finishing_tasks_result_is_shown_with_its_pictures(site: Site) -> None:
    kept = {"out/a b.png": content(PNG), "table.csv": content(b"1,2")}
    batch = sweep(site, 2, finish=FINISH)
    end_all(site, batch, execute=a_step_result(b"joined <2>"), kept=kept)
    page = page_of(site, batch)
    result = section(page, "result")
    assert "joined &lt;2&gt;" in result
    assert "outputs/table.csv" in result
    (source,) = re.findall(r'<img class="picture" src="([^"]+)"', result)
    response = site.get(source)
    assert response.data == PNG
    assert response.content_type == "image/png"


def test_no_finishing_task_no_result(site: Site) -> None:
    batch = sweep(site, 1)
    end_all(site, batch)
    assert "Result" not in section(page_of(site, batch), "result")


def test_pages_of_batches_have_no_inline_script_or_style(site: Site) -> None:
    batch = sweep(site, 3, finish=FINISH)
    site.executor.finish(site.executor.take(), a_result())
    for path in ("/batches", batch["links"]["page"], f"/tasks?batch={batch['id']}"):
        page = site.get(path).text
        assert not re.search(r'(?:src|href|action)="(?:https?:)?//', page)
        assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", page)


# -- pictures --------------------------------------------------------------------------------


def keep(site: Site, kept: dict[str, Content]) -> str:
    """The id of a task that kept these files."""
    id_: str = site.submit()["id"]
    site.executor.finish(site.executor.take(), a_result(kept=kept))
    return id_


@pytest.mark.parametrize(
    ("head", "media"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"),
        (b"GIF89a\x01\x00", "image/gif"),
    ],
    ids=["png", "jpeg", "gif"],
)
def test_a_picture_is_served_as_what_its_bytes_are_and_as_nothing_else(
    site: Site, head: bytes, media: str
) -> None:
    id_ = keep(site, {"one.png": content(head + b"<script>alert(1)</script>")})
    response = site.get(f"/tasks/{id_}/pictures/one.png")
    assert response.content_type == media
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert f"/tasks/{id_}/pictures/one.png" in site.get(f"/tasks/{id_}").text


@pytest.mark.parametrize(
    "data",
    [
        b"<html><script>alert(1)</script>",
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b" \x89PNG\r\n\x1a\n",
        b"\x89PNG",
        b"",
    ],
    ids=["html", "svg", "later", "cut", "empty"],
)
def test_what_is_no_picture_is_never_served_as_one(site: Site, data: bytes) -> None:
    id_ = keep(site, {"one.png": content(data), "one.svg": content(data)})
    for name in ("one.png", "one.svg"):
        response = site.get(f"/tasks/{id_}/pictures/{name}")
        assert response.status_code == 404
        assert data[1:] not in response.data or not data[1:]
    assert "<img" not in site.get(f"/tasks/{id_}").text
    assert site.get(f"/api/v1/tasks/{id_}/files/outputs/one.png").data == data


def test_only_kept_files_are_pictures_and_only_of_those_who_may_see_them(guarded: Site) -> None:
    mine, others = guarded.token("ann", Role.SUBMITTER), guarded.token("bob", Role.SUBMITTER)
    id_ = guarded.submit(mine, execute={"command": "true"})["id"]
    kept, printed = {"one.png": content(PNG)}, a_step_result(PNG)
    guarded.executor.finish(guarded.executor.take(), a_result(execute=printed, kept=kept))
    path = f"/tasks/{id_}/pictures/"
    assert guarded.get(f"{path}one.png", token=mine).status_code == 200
    assert guarded.get(f"{path}one.png", token=others).status_code == 404
    assert guarded.get(f"{path}stdout", token=mine).status_code == 404


# -- buttons ---------------------------------------------------------------------------------


def test_cancel_retry_and_purge_by_button(site: Site) -> None:
    batch = sweep(site, 3)
    path = batch["links"]["page"]
    response = site.post(f"{path}/cancel")
    assert (response.status_code, response.headers["Location"]) == (303, path)
    assert read(site, f"{batch['links']['self']}?wait=30")["status"] == "cancelled"
    assert "Go on" in page_of(site, batch)
    assert site.post(f"{path}/retry").headers["Location"] == path
    end_all(site, batch, 1)
    page = page_of(site, batch)
    assert "Retry failed" in page
    assert f'action="{path}/purge"' in page
    assert f'action="{path}/cancel"' not in page
    assert site.post(f"{path}/purge").headers["Location"] == "/batches"
    assert site.get(path).status_code == 404
    assert batch["id"] not in site.get("/batches").text


def test_a_cancel_that_comes_too_late_shows_the_end(site: Site) -> None:
    batch = sweep(site, 1)
    end_all(site, batch)
    response = site.post(f"{batch['links']['page']}/cancel")
    assert (response.status_code, response.headers["Location"]) == (303, batch["links"]["page"])


def test_nothing_is_offered_that_a_batch_cannot_take(site: Site) -> None:
    batch = sweep(site, 1)
    page = page_of(site, batch)
    for verb, there in (("cancel", True), ("retry", False), ("purge", False)):
        assert (f"/{verb}" in page) == there
    refused = site.post(f"{batch['links']['page']}/purge")
    assert refused.status_code == 409


def test_a_reader_reads_and_another_user_sees_nothing(guarded: Site) -> None:
    mine, other = guarded.token("ann", Role.SUBMITTER), guarded.token("bob", Role.SUBMITTER)
    reader = guarded.token("ann", Role.READER)
    document = {"template": TEMPLATE, "parameters": {"n": {"range": [0, 2]}}}
    batch = guarded.post("/api/v1/batches", json=document, token=mine).json
    assert batch is not None
    path = batch["links"]["page"]
    assert "/cancel" in page_of(guarded, batch, token=mine)
    assert "/cancel" not in page_of(guarded, batch, token=reader)
    for verb in ("cancel", "retry", "purge"):
        assert guarded.post(f"{path}/{verb}", token=reader).status_code == 403
        assert guarded.post(f"{path}/{verb}", token=other).status_code == 404
    assert guarded.get(path, token=other).status_code == 404
    assert batch["id"] not in guarded.get("/batches", token=other).text
    assert batch["id"] in guarded.get("/batches", token=reader).text
    assert guarded.get(path).headers["Location"] == f"/sign-in?next={path}"


# -- lists -----------------------------------------------------------------------------------


def test_the_list_of_batches_filters_and_pages(site: Site) -> None:
    found = [sweep(site, 1, name=f"sweep {n}", labels={"k": f"v{n}"}) for n in range(3)]
    ids = [batch["id"] for batch in found]
    end_all(site, found[0])
    page = site.get("/batches?limit=2&text=&label=&live=").text
    assert ids[2] in page
    assert ids[0] not in page
    (onward,) = re.findall(r'rel="next" href="([^"]+)"', page)
    assert ids[0] in site.get(html.unescape(onward)).text
    for query, shown in (
        ("text=SWEEP+1", [1]),
        ("label=k:v2", [2]),
        ("live=true", [1, 2]),
        ("live=false", [0]),
        ("text=nothing", []),
    ):
        page = site.get(f"/batches?{query}").text
        assert [n for n in range(3) if ids[n] in page] == shown, query
    assert "No batch matches" in page
    assert site.get("/batches?label=k").status_code == 422


def test_tasks_are_listed_of_one_batch(site: Site) -> None:
    batch = sweep(site, 3)
    site.executor.take()  # they are made
    single = site.submit()["id"]
    page = site.get(f"/tasks?batch={batch['id']}&limit=2&order=oldest").text
    assert parameters_in(page) == ["n=0", "n=1"]
    assert single not in page
    assert f'name="batch" value="{batch["id"]}"' in page
    (onward,) = re.findall(r'rel="next" href="([^"]+)"', page)
    assert parameters_in(site.get(html.unescape(onward)).text) == ["n=2"]
    assert 'name="batch"' not in site.get("/tasks").text
    assert site.get("/tasks?batch=nonsense").status_code == 422


def test_a_tasks_page_leads_to_its_batch(site: Site) -> None:
    batch = sweep(site, 2, finish=FINISH)
    end_all(site, batch, 1, kept={})
    ids = [task["id"] for task in read(site, f"{batch['links']['tasks']}?order=oldest")["items"]]
    page = site.get(f"/tasks/{ids[1]}").text
    assert f'place 1 of <a href="{batch["links"]["page"]}"' in page
    assert parameters_in(page)[0] == "n=1"
    finish = read(site, batch["links"]["self"])["finish_task"]
    assert f'finishes <a href="{batch["links"]["page"]}"' in site.get(f"/tasks/{finish}").text


# -- shapes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "total", "widths"),
    [
        ({}, 0, [0, 0, 0, 0]),
        ({Status.SUCCESS: 5, Status.RUNNING: 1, Status.PENDING: 4}, 10, [500, 0, 0, 100]),
        ({Status.SUCCESS: 999_999, Status.FAILED: 1}, 1_000_000, [997, 3, 0, 0]),
        (
            {Status.SUCCESS: 500_000, Status.WRONG_ANSWER: 1, Status.CANCELLED: 2},
            1_000_000,
            [500, 3, 3, 0],
        ),
    ],
)
def test_the_bar_shows_what_there_is_and_is_never_too_long(
    counts: dict[Status, int], total: int, widths: list[int]
) -> None:
    batch = Batch(
        id=BatchId("0" * 26), user=LOCAL_USER, source=BatchSource.LIST, created=0.0, total=total
    )
    view = BatchView(
        batch=batch, counters=Counters(counts=counts), status=BatchStatus.RUNNING, now=0.0
    )
    parts = segments(batch_out(view))
    assert [part.width for part in parts] == widths
    assert all(part.start + part.width <= WIDTH for part in parts)


def test_throughput_has_a_bar_for_each_ten_seconds() -> None:
    counters = Counters(ended={100: 4, 103: 8})
    bars = throughput(counters, 105 * BUCKET, live=True)
    assert [bar.number for bar in bars][-6:] == [4, 0, 0, 8, 0, 0]
    assert [bar.height for bar in bars][-6:] == [50, 0, 0, 100, 0, 0]
    assert [bar.number for bar in throughput(counters, 9e9, live=False)][-4:] == [4, 0, 0, 8]
    assert len(bars) == 12  # a short batch is not one fat block
    assert throughput(Counters(), 0.0, live=True) == []
    assert len(throughput(Counters(ended={0: 1}), 10_000 * BUCKET, live=True)) <= 61
