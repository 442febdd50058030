"""The executors as the store has them, kept at hand, and the one way to change them.

The store is the truth. What is kept here is at most one refresh (a second) old, which suffices
for matching work; what must be exact goes through ``edit``, a compare-and-set.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from accord.core.errors import AccordError, Unavailable
from accord.core.executor import Executor
from accord.core.ids import ExecutorName
from accord.ports.store import Store

ATTEMPTS = 20


class Roster:
    """See the module's docstring."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: dict[ExecutorName, Executor] = {}
        self._edits = 0
        self.benchmarks: dict[ExecutorName, float] = {}
        """How fast they are, as they say."""

    def refresh(self) -> list[Executor]:
        """Read all of them anew."""
        with self._lock:
            edits = self._edits
        found = self._store.executors()
        with self._lock:
            if self._edits == edits:  # else this may be older than what the edit left here
                self._known = {executor.name: executor for executor in found}
                self.benchmarks.update((e.name, e.info.benchmark) for e in found)
        return found

    def all(self) -> list[Executor]:
        """All that were known at the last refresh."""
        with self._lock:
            return list(self._known.values())

    def get(self, name: ExecutorName) -> Executor | None:
        """That executor as of the last refresh or edit."""
        with self._lock:
            return self._known.get(name)

    def cores(self, name: ExecutorName) -> int:
        """How many cores that executor says that it has; 1 where it is not known."""
        found = self.get(name)
        return found.info.cores if found else 1

    def edit(
        self, name: ExecutorName, change: Callable[[Executor | None], Executor]
    ) -> tuple[Executor | None, Executor]:
        """Replace what is stored of an executor by what ``change`` makes of it.

        ``change`` is called again where a race is lost, and may raise to refuse. Returns what was
        there and what is there now. Nothing is written where they are the same object.
        Unavailable where too many races are lost.

        The first attempt is made on what is at hand, so that thousands of executors that come at
        once do not each read all of them; a refusal counts only on what is stored.
        """
        for attempt in range(ATTEMPTS):
            there = self.get(name) if attempt == 0 else self._stored(name)
            try:
                wanted = change(there)
            except AccordError:
                if attempt == 0:
                    continue
                raise
            if wanted is there or self._store.put_executor(wanted, there):
                with self._lock:
                    self._edits += 1
                    self._known[name] = wanted
                    self.benchmarks[name] = wanted.info.benchmark
                return there, wanted
        raise Unavailable("The executor is being changed by many at once. Try again shortly.")

    def _stored(self, name: ExecutorName) -> Executor | None:
        return next((e for e in self.refresh() if e.name == name), None)

    def forget(self, name: ExecutorName) -> None:
        """Remove it."""
        self._store.forget_executor(name)
        with self._lock:
            self._edits += 1
            self._known.pop(name, None)
            self.benchmarks.pop(name, None)
