"""Notices reports that hang: calls that are neither answered nor fail.

Every way to a judicator has time-outs of its own, after which a call fails, and failures are an
ordinary outage: the links try again with back-off for as long as it lasts. This is for what gets
past those: a connection that is neither dead nor alive, a fault of our own. After some leases both
connections are made anew; after some more the process gives up, and Boot starts another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock

from accord import logs
from accord.ports.clock import Clock

REBUILD_AFTER = 3
GIVE_UP_AFTER = 6
"""Leases for which a link hangs, counted from when its call should have been answered."""

_log = logs.get("executor.watchdog")


class _Call:
    def __init__(self, link: str, due: float, generation: int) -> None:
        self.link = link
        self.due = due
        self.generation = generation
        """How often connections had been made anew when it began."""


class Watchdog:
    """See the module's docstring. ``run`` is the body of its thread.

    Args:
        lease: seconds of a lease.
        rebuild: makes both connections anew; calls under way on the old ones fail.
        give_up: is told in a sentence why the process cannot go on.
    """

    def __init__(
        self,
        clock: Clock,
        lease: float,
        rebuild: Callable[[], None],
        give_up: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._lease = lease
        self._rebuild = rebuild
        self._give_up = give_up
        self._lock = Lock()
        self._calls: set[_Call] = set()
        self._hangs: dict[str, float] = {}
        """By link, since when it hangs, where its calls only failed because we broke them."""
        self._generation = 0
        self._rebuilt_for: float | None = None
        """The beginning of the hang for which connections were made anew last."""

    @contextmanager
    def watching(self, link: str, wait: float) -> Iterator[None]:
        """Around one call of a link, which the judicator may hold for ``wait`` seconds."""
        with self._lock:
            call = _Call(link, self._clock.monotonic() + wait, self._generation)
            self._calls.add(call)
        answered = False
        try:
            yield
            answered = True
        finally:
            with self._lock:
                self._calls.remove(call)
                if answered or call.generation == self._generation:
                    self._hangs.pop(link, None)
                else:
                    self._hangs.setdefault(link, call.due)

    def run(self, ended: Event) -> None:
        """Look once each lease until the event is set, or it has given up."""
        while not self._clock.wait_event(ended, self._lease):
            if not self.look():
                return

    def look(self) -> bool:
        """Do what is due; False where it gave up."""
        with self._lock:
            since = min([*self._hangs.values(), *(call.due for call in self._calls)], default=None)
            leases = 0.0
            if since is not None:
                leases = (self._clock.monotonic() - since) / self._lease
            rebuild = leases >= REBUILD_AFTER and since != self._rebuilt_for
            if rebuild and since is not None:
                self._rebuilt_for = since
                self._generation += 1
        if leases >= GIVE_UP_AFTER:
            self._give_up(
                f"Reports have hung for {GIVE_UP_AFTER} leases; new connections did not help."
            )
            return False
        if rebuild:
            _log.warning(
                "Reports hang; both connections are made anew",
                extra={"action": "rebuilt", "leases": round(leases, 1)},
            )
            self._rebuild()
        return True
