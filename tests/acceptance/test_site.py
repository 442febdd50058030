"""The website as a person meets it: a real browser, a real platform, a program that runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page

from .platforms import RunningPlatform

pytestmark = pytest.mark.browser

# It prints, then goes on when the test cancels or its input ends: no sleep decides what is seen.
LIVE = """
import sys, time
print("first <b>line</b>", flush=True)
print("a warning", file=sys.stderr, flush=True)
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    time.sleep(0.05)
"""


def submit(page: Page, source: str, **fields: str) -> None:
    page.goto("/submit")
    page.get_by_label("Language").select_option("python")
    page.get_by_label("Source").fill(source)
    for label, value in fields.items():
        page.get_by_label(label, exact=False).fill(value)
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/tasks/*", wait_until="commit")


def test_a_program_is_submitted_and_its_result_is_seen(page: Page) -> None:
    submit(page, "print('got', input(), 6 * 7)\n", Input="some input")
    page.locator("#verdict").wait_for()
    assert page.locator("#status").inner_text() == "success"
    assert page.get_by_label("Output (stdout)").inner_text() == "got some input 42\n"


def test_output_is_seen_while_the_program_runs_and_cancel_ends_it(page: Page) -> None:
    submit(page, LIVE)
    live = page.locator("#live-output")
    live.get_by_text("first <b>line</b>").wait_for()
    live.get_by_text("a warning").wait_for()
    page.locator("#why", has_text="unning").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.locator("#status", has_text="cancelled").wait_for()


def test_a_task_is_found_in_the_list(page: Page) -> None:
    submit(page, "raise SystemExit(3)\n", Name="to be found")
    page.locator("#verdict").wait_for()
    page.goto("/tasks?status=run_failed")
    page.get_by_label("Name or id").fill("to be found")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name="to be found").first.click()
    assert "exit code 3" in page.locator("main").inner_text()


def test_a_wrong_form_keeps_what_was_typed(page: Page) -> None:
    page.goto("/submit")
    page.get_by_label("Source").fill("\n  indented = 1\n")
    page.get_by_label("Time, s").evaluate("field => { field.type = 'text'; field.value = 'soon' }")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("alert").wait_for()
    assert page.get_by_label("Source").input_value() == "\n  indented = 1\n"


def test_a_quorum_is_asked_for_and_agreement_is_seen_also_on_a_phone(page: Page) -> None:
    page.goto("/submit")
    page.get_by_label("Source").fill(
        "import os\nprint(1 + 1e-12 * int(os.environ['ACCORD_REPLICA']))\n"
    )
    page.get_by_text("Run it more than once").click()
    page.get_by_label("Quorum").fill("2")
    page.get_by_label("Runs are on").select_option("any executors")
    page.get_by_label("Compared are").select_option("words and numbers")
    page.get_by_label("Numbers within").fill("1e-9")
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("#verdict").wait_for()
    rows = page.get_by_role("table").get_by_role("row").filter(has_text="agrees")
    assert rows.count() == 2
    assert rows.filter(has_text="the result").count() == 1
    assert "2 of 2 must agree" in page.locator("main").inner_text()
    page.set_viewport_size({"width": 360, "height": 740})
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wider) == 0
    with page.expect_download() as download:
        rows.first.get_by_role("link").click()
    assert float(download.value.path().read_text()) == pytest.approx(1)


def test_executors_show_the_machine(page: Page) -> None:
    page.goto("/executors")
    shown = page.locator("main").inner_text()
    assert "online" in shown
    assert "Python 3" in shown


@pytest.mark.parametrize("path", ["/submit", "/tasks", "/batches", "/executors", "/api/swagger"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(
    browser: Browser, platform: RunningPlatform, path: str, scheme: Any
) -> None:
    size = {"width": 360, "height": 740}
    with browser.new_context(base_url=platform.url, viewport=size, color_scheme=scheme) as context:  # type: ignore[arg-type]  # a plain dict does
        phone = context.new_page()
        phone.goto(path)
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert phone.evaluate(wider) == 0
        if path != "/api/swagger":
            theme = phone.evaluate("document.documentElement.dataset.bsTheme")
            assert theme == scheme


def test_another_site_cannot_run_code_through_the_browser(
    browser: Browser, platform: RunningPlatform
) -> None:
    before = httpx.get(f"{platform.url}/api/v1/tasks").json()["total"]
    target = f"{platform.url}/execute?code=print(1)"
    attack = f"""
        <img src="{target}"><iframe src="{target}"></iframe>
        <form id="f" method="post" action="{platform.url}/submit" target="_self">
        <input name="language" value="python"><input name="source" value="print(1)"></form>
        <script>fetch("{target}", {{mode: "no-cors"}}).finally(() => f.submit())</script>
    """
    with browser.new_context() as context:
        evil = context.new_page()
        evil.route(
            "http://evil.example/",
            lambda route: route.fulfill(body=attack, content_type="text/html"),
        )
        evil.goto("http://evil.example/")
        evil.wait_for_url(f"{platform.url}/submit")
        assert "another web site" in evil.locator("body").inner_text()
    assert httpx.get(f"{platform.url}/api/v1/tasks").json()["total"] == before


# -- what only the real server shows ---------------------------------------------------------


@pytest.mark.parametrize("size", [20_000, 40_000, 48 * 1024])
def test_long_code_in_an_address_arrives_whole_and_reaches_no_log(
    platform: RunningPlatform, size: int
) -> None:
    code = "print('whole')#SECRET".ljust(size - 1, "x") + "\n"
    answer = httpx.get(f"{platform.url}/execute", params={"code": code}, timeout=90)
    assert (answer.status_code, answer.text) == (200, "whole\n")
    logs = [path.read_bytes() for path in (platform.data / "logs").iterdir()]
    assert logs
    assert not any(b"SECRET" in log or b"x" * 100 in log for log in logs)


def test_a_chunked_body_arrives_whole(platform: RunningPlatform) -> None:
    pieces = [b"print('", *[b"y" * 10_000] * 20, b"')\n"]
    answer = httpx.post(
        f"{platform.url}/execute",
        content=iter(pieces),
        headers={"Content-Type": "text/plain"},
        timeout=90,
    )
    assert (answer.status_code, answer.text) == (200, "y" * 200_000 + "\n")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_64_mib_is_413(platform: RunningPlatform, *, chunked: bool) -> None:
    size = (64 << 20) + 1
    content: Any = iter([b"z" * (1 << 20)] * 65) if chunked else b"z" * size
    answer = httpx.post(
        f"{platform.url}/api/v1/tasks",
        content=content,
        headers={"Content-Type": "application/json"},
        timeout=90,
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def all_at_once(calls: Sequence[Callable[[], bool]]) -> list[bool]:
    """What the calls answer, each made on a thread of its own."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def test_a_hundred_clients_wait_and_follow_at_once(platform: RunningPlatform) -> None:
    source = "import time\nfor n in range(4):\n    print(n, flush=True)\n    time.sleep(0.5)\n"
    task = {"language": "python", "source": source}
    where = httpx.post(f"{platform.url}/api/v1/tasks", json=task).json()["links"]

    def wait() -> bool:
        answer = httpx.get(f"{platform.url}{where['self']}?wait=60", timeout=90)
        return bool(answer.json()["status"] == "success")

    def follow() -> bool:
        text = httpx.get(f"{platform.url}{where['events']}", timeout=90).text
        return "event: done" in text and text.count("event: output") >= 1

    assert all(all_at_once([wait, follow] * 50))
