"""A stream of tasks that keeps a platform busy, and remembers what it was told."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

from accord.client import AccordClientError, Client
from tests.faults.history import History

OPEN = ["pending", "compiling", "running", "validating", "retrying", "cancelling"]
SCRIPT = 'echo "$ACCORD_TASK $ACCORD_REPLICA" >> {ledger}; sleep 0.1; echo ran'


class Load:
    """Submits tasks that write to a ledger, so that a number of them is always under way."""

    def __init__(self, url: str, inside: Path, in_flight: int, ledger: Path) -> None:
        self.history = History()
        self._client = Client(url, timeout=10)
        self._script = SCRIPT.format(ledger=inside)
        self._ledger = ledger
        self._in_flight = in_flight
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._submit, name="load")

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def in_flight(self) -> int:
        """How many tasks are open, as the platform says; -1 where it does not answer."""
        try:
            page = self._client._http.json(
                "GET", "/api/v1/tasks", params={"status": OPEN, "limit": 1}
            )
        except AccordClientError:
            return -1
        return int(page["total"])

    def finish(self) -> History:
        """Stop submitting, wait until every task ended, and read everything back."""
        self._stop.set()
        self._thread.join()
        for summary in list(self._client.list()):
            self.history.tasks[summary.id] = self._ended(summary.id)
        lines = self._ledger.read_text(encoding="utf-8").split("\n")[:-1]
        self.history.ledger = [(id_, int(number)) for id_, number in map(str.split, lines)]
        return self.history

    def _ended(self, id_: str) -> dict[str, Any]:
        return dict(self._client.wait(id_, 120).raw)

    def _submit(self) -> None:
        """The same key until it is answered: that is how a client that must not submit twice
        behaves."""
        for number in itertools.count():
            key = f"load-{number}"
            while not self._submit_one(key):
                if self._stop.wait(0.1):
                    return
            while self.in_flight() >= self._in_flight and not self._stop.wait(0.1):
                pass
            if self._stop.is_set():
                return

    def _submit_one(self, key: str) -> bool:
        self.history.unsure.add(key)
        try:
            task = self._client.submit(self._script, language="bash", key=key)
        except AccordClientError:
            return False
        self.history.unsure.discard(key)
        self.history.acknowledged[key] = task.id
        return True
