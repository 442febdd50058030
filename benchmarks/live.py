"""How long live output takes from the program that writes it to whoever follows it.

A program in a box writes the time, fifty times; what reads it on the same machine subtracts. The
readers: the API's events, ``accord logs -f``, and the page of the task in a browser (where there is
Chromium).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from accord.client import Client
from benchmarks.echo import platform

LINES = 50
PACES = (0.5, 0.05)
"""Seconds between two lines: alone, and several in each push."""
PROGRAM = """
import sys, time
time.sleep(4)  # until whoever follows is there
for _ in range(int(sys.argv[1])):
    print(time.time(), flush=True)
    time.sleep(float(sys.argv[2]))
time.sleep(1)
"""
CHROMIUM = Path("/usr/bin/chromium")
WATCH = """() => {
  window.seen = [];
  const pane = document.getElementById("live-output");
  new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.addedNodes) {
      for (const line of node.textContent.split("\\n")) if (line) window.seen.push(Date.now() / 1000 - line);
    }
  }).observe(pane, {childList: true});
}"""


def by_events(client: Client, id_: str) -> Iterator[float]:
    """Seconds of each line to a reader of the API's events."""
    for event in client.events(id_):
        if event.stream == "stdout":
            now = time.time()
            yield from (now - float(line) for line in event.data.split())


def by_logs(client: Client, id_: str) -> Iterator[float]:
    """Seconds of each line to a reader of ``accord logs -f``."""
    argv = [sys.executable, "-m", "accord", "logs", "-f", id_, "--url", client.url]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield time.time() - float(line)


def by_page(client: Client, id_: str) -> Iterator[float]:
    """Seconds of each line to the page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.goto(f"{client.url}/tasks/{id_}", wait_until="commit")
        page.wait_for_selector("#live-output", state="attached")
        page.evaluate(WATCH)
        while len(seen := page.evaluate("window.seen")) < LINES:
            time.sleep(0.1)
        yield from seen
        browser.close()


def main() -> None:
    readers: dict[str, Callable[[Client, str], Iterator[float]]] = {
        "events": by_events,
        "logs -f": by_logs,
    }
    if CHROMIUM.exists():
        readers["page"] = by_page
    with platform() as (url, _), Client(url) as client:
        client.run("print()", language="python")
        for pace in PACES:
            for name, read in readers.items():
                task = client.submit(PROGRAM, language="python", args=[str(LINES), str(pace)])
                took = sorted(1000 * seconds for seconds in read(client, task.id))
                client.wait(task.id)
                print(
                    f"a line each {1000 * pace:.0f} ms, {name}: {len(took)} lines, "
                    f"median {statistics.median(took):.0f} ms, worst {took[-1]:.0f} ms"
                )


if __name__ == "__main__":
    main()
