"""The exact bytes of a task, whole and in ranges, and never as a page."""

from __future__ import annotations

import io
import zipfile

import pytest

from accord.core.replica import Content, StepResult, content
from tests.builders import a_result
from tests.delivery.site import Site

DATA = bytes(range(256)) * 3000  # three quarters of a megabyte, no UTF-8, a blob


@pytest.fixture
def files(site: Site) -> str:
    """Where the files of a done task are."""
    made = site.submit(
        source={"files": {"a b/é.py": "print(1)", "x.bin": {"base64": "/wA="}}},
        execute={"command": "python3 'a b/é.py'", "stdin": "<script>alert(1)</script>"},
    )
    job = site.executor.take()
    site.judicator.write_blob("upload-1", 0, DATA)
    digest, size = site.judicator.commit_blob("upload-1")
    step = StepResult(exit_code=0, stdout=Content(digest=digest, size=size))
    kept = {"out/<i>.html": content(b"<script>alert(1)</script>"), 'é"\r\n;x': content(b"")}
    site.executor.finish(job, a_result(execute=step, kept=kept))
    where: str = made["links"]["files"]
    return where


def test_all_files_are_listed_and_each_link_leads_to_its_bytes(site: Site, files: str) -> None:
    items = (site.get(files).json or {})["items"]
    assert [item["name"] for item in items] == [
        "source/a b/é.py",
        "source/x.bin",
        "stdin",
        "stdout",
        "stderr",
        "outputs/out/<i>.html",
        'outputs/é"\r\n;x',
    ]
    for item in items:
        response = site.get(item["href"])
        assert response.status_code == 200, item
        assert len(response.data) == item["size"]


@pytest.mark.parametrize(
    "name", ["stdin", "stdout", "outputs/out/%3Ci%3E.html", 'outputs/é"%0D%0A;x']
)
def test_nothing_is_shown_as_a_page(site: Site, files: str, name: str) -> None:
    headers = site.get(f"{files}/{name}").headers
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''")
    assert "\n" not in headers["Content-Disposition"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("sandbox")


def test_bytes_are_exact(site: Site, files: str) -> None:
    response = site.get(f"{files}/stdout")
    assert response.data == DATA
    assert response.content_length == len(DATA)


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=255-600000", 255, 600_001),
        ("bytes=767999-", 767_999, 768_000),
        ("bytes=-5", 767_995, 768_000),
        ("bytes=-9999999", 0, 768_000),
        ("bytes=10-9999999", 10, 768_000),
    ],
)
def test_a_range_is_answered_with_just_that(
    site: Site, files: str, header: str, start: int, end: int
) -> None:
    response = site.get(f"{files}/stdout", headers={"Range": header})
    assert response.status_code == 206
    assert response.data == DATA[start:end]
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
    assert response.content_length == end - start


def test_a_range_beyond_the_end_is_416(site: Site, files: str) -> None:
    response = site.get(f"{files}/stdout", headers={"Range": "bytes=768000-"})
    assert response.status_code == 416
    assert response.headers["Content-Range"] == "bytes */768000"


@pytest.mark.parametrize("header", ["bytes=5-1", "bytes=a-b", "lines=1-2", "bytes=0-1,4-5", "x"])
def test_what_is_no_single_range_is_answered_whole(site: Site, files: str, header: str) -> None:
    response = site.get(f"{files}/stdout", headers={"Range": header})
    assert (response.status_code, len(response.data)) == (200, len(DATA))


def test_what_the_caller_has_is_not_sent_again(site: Site, files: str) -> None:
    tag = site.get(f"{files}/stdout").headers["ETag"]
    assert site.get(f"{files}/stdout", headers={"If-None-Match": tag}).status_code == 304
    fresh = site.get(f"{files}/stdout", headers={"Range": "bytes=0-1", "If-Range": tag})
    stale = site.get(f"{files}/stdout", headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert (fresh.status_code, stale.status_code) == (206, 200)


def test_a_source_of_files_is_packed_on_the_fly(site: Site, files: str) -> None:
    with site.get(f"{files}/source") as response:
        packed = response.data
    assert response.content_type == "application/zip"
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.read("a b/é.py") == b"print(1)"
        assert archive.read("x.bin") == b"\xff\x00"
    with site.get(f"{files}/source", headers={"Range": "bytes=4-"}) as response:
        assert response.data == packed[4:]
    assert site.get(f"{files}/source", headers={"Range": "bytes=9999-"}).status_code == 416


@pytest.mark.parametrize(
    "name",
    [
        "nothing",
        "source/",
        "source/none",
        "source/../stdin",
        "outputs",
        "outputs/../stdin",
        "data",
        "compile_stdout",
        "STDOUT",
        "..%2f..%2fetc%2fpasswd",
        "outputs/%00",
    ],
)
def test_what_is_not_there_is_404(site: Site, files: str, name: str) -> None:
    response = site.get(f"{files}/{name}")
    assert (response.status_code, (response.json or {})["code"]) == (404, "not_found")


def test_output_of_a_running_task_is_not_there_yet(site: Site) -> None:
    made = site.submit()
    response = site.get(f"{made['links']['files']}/stdout")
    assert (response.status_code, (response.json or {})["code"]) == (409, "not_done")
    assert "events" in (response.json or {})["detail"]


def test_a_replica_may_be_named(site: Site, files: str) -> None:
    assert site.get(f"{files}/stdout?replica=0").data == DATA
    assert site.get(f"{files}/stdout?replica=1").status_code == 404
    assert site.get(f"{files}/stdout?replica=-1").status_code == 422


def test_a_task_whose_files_were_deleted_by_their_age_still_reads(site: Site, files: str) -> None:
    site.judicator._blobs.sweep([], 1e12, 0)  # as once nothing names them any more
    home = files.removesuffix("/files")
    answer = site.get(home)
    assert answer.status_code == 200, answer.text
    task = answer.json or {}
    assert (task["status"], task["stdout"], task["stdout_truncated"]) == ("success", "", True)
    assert site.get(home.replace("/api/v1", "")).status_code == 200
    assert "event: done" in site.get(f"{home}/events").text
    gone = site.get(f"{files}/stdout")
    assert gone.status_code == 404
    assert "deleted" in (gone.json or {})["detail"]
    assert site.get(f"{files}/stdin").status_code == 200
