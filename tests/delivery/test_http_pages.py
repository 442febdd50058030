"""The pages show what the API tells, escape what users wrote, and take forms in."""

from __future__ import annotations

import html
import io
import re
from typing import Any

import pytest

from accord.core.replica import Verdict, content
from accord.core.task import Numbers
from tests.builders import a_result, a_step_result
from tests.delivery.site import Site
from tests.delivery.test_http_archives import a_zip

HOSTILE = "<script>alert(1)</script>&\"'"


def submit(site: Site, **fields: Any) -> Any:
    """Post the form of ``/submit``."""
    empty = {"source": "", "stdin": "", "args": "", "wall": "", "cpu": "", "memory": "", "name": ""}
    return site.post("/submit", data={"language": "python", **empty, **fields})


def test_home_leads_to_submitting(shared: Site) -> None:
    response = shared.get("/")
    assert (response.status_code, response.headers["Location"]) == (302, "/submit")


def test_the_form_submits_exactly_what_was_typed(site: Site) -> None:
    response = submit(
        site,
        source="a = 1\r\nprint('é + &', a)\r\n",
        stdin="1\r\n2",
        args="--x\r\na b\r\n",
        wall="2.5",
        memory="64",
        name="mine",
    )
    assert response.status_code == 303
    task = site.executor.take().task
    assert response.headers["Location"] == f"/tasks/{task.id}"
    assert task.spec.source is not None
    assert task.spec.source.files["main.py"].inline == "a = 1\nprint('é + &', a)\n".encode()
    assert task.spec.execute.stdin is not None
    assert task.spec.execute.stdin.inline == b"1\n2"
    assert task.spec.execute.args == ("--x", "a b")
    assert (task.spec.execute.limits.wall, task.spec.execute.limits.memory) == (2.5, 64 << 20)
    assert task.name == "mine"


def test_the_form_takes_a_zip_with_own_commands(site: Site) -> None:
    packed = (io.BytesIO(a_zip({"Makefile": b"all:"})), "p.zip")
    response = submit(site, language="", archive=packed, compile="make", execute="./main")
    assert response.status_code == 303
    spec = site.executor.take().task.spec
    assert spec.source is not None
    assert spec.source.archive is not None
    assert spec.compile is not None
    assert (spec.language, spec.compile.command, spec.execute.command) == (None, "make", "./main")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "Give the source"),
        ({"source": "x", "wall": "abc"}, "wall must be a number"),
        ({"source": "x", "wall": "-1"}, "wall must be a positive number"),
        ({"source": "x", "wall": "nan"}, "wall must be a positive number"),
        ({"source": "x", "memory": "1e11"}, "limits.memory must lie between"),
        ({"source": "x", "language": "cobol"}, "There is no language"),
        ({"archive": (io.BytesIO(b"nonsense"), "x.zip")}, "no zip archive"),
        ({"source": "x", "name": "a\x00"}, "name:"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_form_comes_back_with_what_to_change(
    site: Site, fields: dict[str, Any], told: str
) -> None:
    response = submit(site, **{"args": HOSTILE, **fields})
    assert response.status_code == 422
    assert told in response.text
    assert "&lt;script&gt;" in response.text  # what was typed is kept, and escaped
    assert HOSTILE not in response.text


def test_a_page_of_a_task_tells_how_it_went(site: Site) -> None:
    made = site.submit(language="python", source="x", name=HOSTILE, labels={"k": HOSTILE})
    page = site.get(f"/tasks/{made['id']}").text
    assert "pending" in page
    assert f"/api/v1/tasks/{made['id']}/events" in page
    step = a_step_result(HOSTILE.encode(), b"\xff", exit_code=3, limit="wall")
    kept = {f"out/{HOSTILE}": content(b"1")}
    site.executor.finish(site.executor.take(), a_result(execute=step, kept=kept))
    page = site.get(f"/tasks/{made['id']}").text
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for told in (
        "exit code 3",
        "limit hit: wall",
        "Run again",
        "box1",
        "\N{REPLACEMENT CHARACTER}",
    ):
        assert told in page
    assert "task.js" not in page
    assert site.get(f"/tasks/{made['id']}").text.count("<script ") == 1


def test_what_a_compiler_used_is_shown_of_the_compilers_limits(site: Site) -> None:
    made = site.submit(language="cpp", source="x")
    end = a_result(verdict=Verdict.COMPILE_ERROR, compile=a_step_result(exit_code=1), execute=None)
    site.executor.finish(site.executor.take(), end)
    page = site.get(f"/tasks/{made['id']}").text
    assert "of 2 GiB" in page
    assert "of 512 MiB" not in page


def test_a_page_says_that_nothing_was_printed_only_of_a_program_that_ended(site: Site) -> None:
    made = site.submit()
    job = site.executor.take()
    site.executor.print(job, 0, b"on")
    site.post(f"/tasks/{made['id']}/cancel")
    site.executor.finish(job, None, killed=True)
    page = site.get(f"/tasks/{made['id']}").text
    assert "cancelled" in page
    assert "printed nothing" not in page


def test_a_page_shows_each_replica_and_whether_it_agrees(site: Site) -> None:
    made = site.submit(
        execute={"command": "true"},
        redundancy={
            "min_quorum": 2,
            "target_replicas": 3,
            "distinct": "none",
            "comparator": {"type": "numbers", "rel": 1e-9},
        },
    )
    for text in (b"1.0\n", b"2.0\n", b"1.00\n"):
        site.executor.finish(site.executor.take(), a_result(text))
    page = site.get(f"/tasks/{made['id']}").text
    table = page[page.index(">Replicas</h2>") :]
    rows = re.findall(r"<tr><td>(\d)</td>(.*?)</tr>", table, re.DOTALL)
    words = ["agrees" in row or "differs" in row for _, row in rows]
    assert [number for number, _ in rows] == ["0", "1", "2"]
    assert all(words)
    assert ("differs" in rows[1][1], "the result" in rows[0][1]) == (True, True)
    assert [row.count("the result") for _, row in rows] == [1, 0, 0]
    digest = content(b"2.0\n").digest
    assert f'stdout?replica=1" title="SHA-256 {digest}"' in rows[1][1]
    assert f">{digest[:8]}<" in rows[1][1]
    assert "2 of 2 must agree" in page
    assert "numbers within 1e-09 of the larger" in page


def test_a_page_of_a_single_run_says_nothing_of_a_quorum(site: Site) -> None:
    made = site.submit()
    assert "must agree" not in site.get(f"/tasks/{made['id']}").text


def test_a_page_tells_by_explain_what_a_replica_waits_for(site: Site) -> None:
    made = site.submit(execute={"command": "true"}, redundancy={"min_quorum": 2})
    site.executor.finish(site.executor.take(), a_result())
    why = (site.get(made["links"]["explain"]).json or {})["explanation"]
    assert why
    assert why in html.unescape(site.get(f"/tasks/{made['id']}").text)


def test_the_form_asks_for_a_quorum(site: Site) -> None:
    wish = {"quorum": "2", "comparator": "numbers", "tolerance": "1e-9", "distinct": "none"}
    assert submit(site, source="print(1)", **wish).status_code == 303
    policy = site.executor.take().task.spec.redundancy
    assert (policy.min_quorum, policy.target_replicas, policy.distinct) == (2, 2, "none")
    assert policy.comparator == Numbers(rel=1e-9)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"quorum": "two"}, "quorum must be a number"),
        ({"quorum": "1.5"}, "quorum must be a whole number"),
        ({"quorum": "500"}, "redundancy.min_quorum:"),
        ({"quorum": "2", "comparator": "fuzzy"}, "There is no such comparator"),
        ({"quorum": "2", "comparator": "numbers", "tolerance": "-1"}, "tolerance must be"),
    ],
    ids=str,
)
def test_a_wrong_quorum_comes_back_with_what_to_change(
    site: Site, fields: dict[str, str], told: str
) -> None:
    response = submit(site, source="print(1)", **fields)
    assert response.status_code == 422
    assert told in response.text
    assert f'value="{fields["quorum"]}"' in response.text  # it is kept, and the part is open
    assert '<details class="mb-3" open>' in response.text


def test_cancel_and_retry_by_button(site: Site) -> None:
    made = site.submit()
    response = site.post(f"/tasks/{made['id']}/cancel")
    assert (response.status_code, response.headers["Location"]) == (303, f"/tasks/{made['id']}")
    assert "cancelled" in site.get(f"/tasks/{made['id']}").text
    response = site.post(f"/tasks/{made['id']}/retry")
    fresh = response.headers["Location"]
    assert made["id"] in site.get(fresh).text


def test_a_cancel_that_comes_too_late_shows_the_end(site: Site) -> None:
    made = site.submit()
    site.executor.finish(site.executor.take(), a_result())
    response = site.post(f"/tasks/{made['id']}/cancel")
    assert (response.status_code, response.headers["Location"]) == (303, f"/tasks/{made['id']}")


def test_the_list_filters_and_pages(site: Site) -> None:
    ids = [site.submit(execute={"command": "true"}, name=f"run {n}")["id"] for n in range(3)]
    page = site.get("/tasks?status=pending&text=run&limit=2&label=&since=&order=newest").text
    assert ids[2] in page
    assert ids[0] not in page
    (onward,) = re.findall(r'rel="next" href="([^"]+)"', page)
    assert ids[0] in site.get(onward.replace("&amp;", "&")).text
    assert "No task matches" in site.get("/tasks?status=success").text
    assert site.get("/tasks?limit=0").status_code == 422


def test_executors_are_shown_and_steered(site: Site) -> None:
    assert "No executor has reported" in site.get("/executors").text
    site.submit()
    site.executor.take()
    page = site.get("/executors").text
    for told in ("box1", "online", "bwrap+cgv2", "Python 3.11.2", "held", "ago"):
        assert told in page
    assert site.post("/executors/box1/drain").status_code == 303
    assert "draining" in site.get("/executors").text


def test_languages_say_whether_anybody_has_them(site: Site) -> None:
    site.submit()
    site.executor.take()
    page = site.get("/submit").text
    assert re.search(r'value="python" selected>\s*Python\W+Python 3.11.2', page)
    assert re.search(r"Rust\W+no executor has it now", page)


@pytest.mark.parametrize("path", ["/nothing", "/tasks/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/tasks?x=1"])
def test_an_error_is_a_page_for_people_and_a_document_for_programs(shared: Site, path: str) -> None:
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    page = shared.get(path, headers={"Accept": browser})
    document = shared.get(path, headers={"Accept": "*/*"})
    assert page.status_code == document.status_code
    assert page.content_type.startswith("text/html")
    assert document.content_type == "application/problem+json"


def test_pages_need_no_other_site_and_no_inline_script(site: Site) -> None:
    made = site.submit()
    for path in ("/submit", "/tasks", f"/tasks/{made['id']}", "/executors", "/sign-in"):
        page = site.get(path).text
        assert not re.search(r'(?:src|href|action)="(?:https?:)?//', page)
        assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", page)
        for asset in re.findall(r'(?:src|href)="(/(?:static|bootstrap)[^"]+)"', page):
            with site.get(asset) as response:
                assert response.status_code == 200, asset
