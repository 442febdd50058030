"""The pages of batches as a person meets them: live while it runs, and a picture at the end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, Route

from accord.cli.example_files import BatchExample, load_examples
from accord.cli.examples import begin, of_batch
from accord.client import Batch, Client, Conflict, NotFound, spec

from .platforms import RunningPlatform

pytestmark = pytest.mark.browser

EXAMPLES = Path(__file__).parents[2] / "examples"
MINUTES = 180_000  # milliseconds, for 64 programs to be compiled and run

# Tasks 0 and 1 end well, 2 badly; 3 goes on until it is cancelled: no sleep decides what is seen.
STUCK = "import sys, time\nif {n} == 3: time.sleep(50)\nsys.exit({n} == 2)\n"

WRONG: list[dict[str, Any]] = [
    {"status": "cancelled"},
    {"counts": {"success": 63}},
    {"finish": "run_failed"},
    {"first_line": "64 of 64"},
    {"kept": ("mandelbrot.png", "other.png")},
]


@pytest.fixture
def stuck(platform: RunningPlatform) -> Iterator[Batch]:
    """A batch that has come as far as it comes by itself; cancelled afterwards."""
    template = spec(execute=["python3", "-c", STUCK], limits={"wall": 55})
    with Client(platform.url) as client:
        batch = client.create_batch(
            template=template, parameters={"n": {"range": [0, 4]}}, name="stuck"
        )
        for now in client.batch_events(batch.id):
            if now.counts == {"success": 2, "run_failed": 1, "running": 1}:
                break
        yield batch
        with suppress(NotFound, Conflict):  # a test may have purged it, or cancelled it
            client.cancel_batch(batch.id)
            client.wait_batch(batch.id, 30)


def test_the_mandelbrot_example_is_seen_to_grow_and_ends_as_a_picture(
    page: Page, platform: RunningPlatform
) -> None:
    example = load_examples(EXAMPLES)["mandelbrot"]
    assert isinstance(example, BatchExample)
    with Client(platform.url) as client:
        wait = begin(client, EXAMPLES / "mandelbrot", "mandelbrot", example)
        (batch,) = client.batches(text="mandelbrot")
        page.goto(f"/batches/{batch.id}")
        page.evaluate("window.neverLoadedAnew = true")
        page.locator("[role=progressbar]:not([aria-valuenow='0'])").wait_for(timeout=MINUTES)
        assert page.evaluate("window.neverLoadedAnew")
        picture = page.get_by_role("img", name="mandelbrot.png")
        picture.wait_for(timeout=MINUTES)
        outcome = wait()
        assert outcome.as_expected, outcome
        for expect in WRONG:
            other = replace(example, expect=replace(example.expect, **expect))
            assert not of_batch(client, other, client.batch(batch.id)).as_expected
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 768
    assert page.locator("#status").inner_text() == "done"
    assert page.locator("#result").get_by_text("64 of 64 tiles").is_visible()
    assert page.get_by_role("link", name="64 success").is_visible()


def test_what_is_drawn_live_is_what_the_server_would_draw(
    browser: Browser, page: Page, platform: RunningPlatform, stuck: Batch
) -> None:
    with browser.new_context(base_url=platform.url, java_script_enabled=False) as context:
        plain = context.new_page()
        plain.goto(f"/batches/{stuck.id}")
        served = plain.locator("[role=progressbar]").evaluate("bar => bar.outerHTML")
        numbers = plain.locator("#live ul").inner_text()
        why = plain.locator("#why").inner_text()

    def emptied(route: Route) -> None:
        response = route.fetch()
        body = response.text()
        for told in ('aria-valuenow="3"', 'width="500"', ">2</span> success", why):
            assert told in body
            body = body.replace(told, re.sub(r"\d+", "1", told))
        route.fulfill(response=response, body=body)

    page.route(f"**/batches/{stuck.id}", emptied)
    page.goto(f"/batches/{stuck.id}")
    page.locator("[aria-valuenow='3']").wait_for()
    assert page.locator("[role=progressbar]").evaluate("bar => bar.outerHTML") == served
    assert page.locator("#live ul").inner_text() == numbers
    assert page.locator("#why").inner_text() == why


def test_the_lists_follow_while_somebody_looks(page: Page, platform: RunningPlatform) -> None:
    with Client(platform.url) as client:
        batch = client.create_batch(tasks=[], open=True, name="open")
        page.clock.install()
        page.goto(f"/batches/{batch.id}")
        page.get_by_text("receiving").wait_for()
        page.evaluate("window.neverLoadedAnew = true")
        page.clock.fast_forward(6_000)
        client.extend_batch(batch.id, [spec(execute="true", name="a later one")])
        page.locator("#first").get_by_role("link", name="a later one").wait_for()
        assert page.evaluate("window.neverLoadedAnew")
        client.close_batch(batch.id)
        page.locator("#status", has_text="done").wait_for()
        assert page.get_by_text("It took").is_visible()


def test_a_batch_is_cancelled_gone_on_with_and_purged_by_the_keyboard(
    page: Page, stuck: Batch
) -> None:
    page.goto(f"/batches/{stuck.id}")
    page.get_by_role("button", name="Cancel").press("Enter")
    page.locator("#status", has_text="cancelled").wait_for()
    page.get_by_role("button", name="Go on").press("Enter")
    page.locator("#status", has_text="running").wait_for()
    page.get_by_role("button", name="Cancel").press("Enter")
    page.locator("#status", has_text="cancelled").wait_for()
    page.get_by_text("Purge…").press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/batches")
    assert page.locator(f'a[href="/batches/{stuck.id}"]').count() == 0


def test_failing_parameters_lead_to_their_task(page: Page, stuck: Batch) -> None:
    page.goto("/batches?live=true")
    page.get_by_role("link", name="stuck").first.click()
    page.locator("#failing").get_by_role("link", name="n=2").click()
    assert "exit code 1" in page.locator("main").inner_text()
    page.get_by_role("link", name="its batch").click()
    page.wait_for_url(f"**/batches/{stuck.id}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_a_batch_without_scrolling_sideways(
    browser: Browser, platform: RunningPlatform, stuck: Batch, scheme: Any
) -> None:
    size = {"width": 360, "height": 740}
    with browser.new_context(base_url=platform.url, viewport=size, color_scheme=scheme) as context:  # type: ignore[arg-type]  # a plain dict does
        phone = context.new_page()
        for path in (f"/batches/{stuck.id}", "/batches", f"/tasks?batch={stuck.id}"):
            phone.goto(path)
            wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert phone.evaluate(wider) == 0, path
