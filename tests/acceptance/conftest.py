"""A real browser for the tests of the site."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .platforms import RunningPlatform

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 40_000  # milliseconds


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; where it is absent the tests are skipped, but fail under CI."""
    if not CHROMIUM.exists():
        told = f"{CHROMIUM} is not there: make deps-system installs it"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser, platform: RunningPlatform) -> Iterator[Page]:
    """A page of the platform's site. Whatever the console says of an error fails the test."""
    context = browser.new_context(base_url=platform.url)
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda said: errors.append(said.text) if _faulty(said) else None)
    yield opened
    context.close()
    assert errors == []


def _faulty(said: ConsoleMessage) -> bool:
    """Whether a script or the policy failed; a refused form is told by its page."""
    return said.type == "error" and not said.text.startswith("Failed to load resource")
