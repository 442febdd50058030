"""Since when the judicators could be reached without a break, as a duty sees it.

Executors that could not report must not be blamed for it. A duty that comes late follows an
outage: of the store, of the leader, of the whole process, or of the machine under it.
"""

from __future__ import annotations


class Uptime:
    """Told of each pass that succeeded; a gap between two longer than ``longest_gap`` seconds, and
    the first pass of all, begin a new time.

    >>> uptime = Uptime(longest_gap=7.5)
    >>> uptime.seen(100.0), uptime.seen(101.0), uptime.seen(200.0), uptime.seen(201.0)
    (100.0, 100.0, 200.0, 200.0)
    """

    def __init__(self, longest_gap: float) -> None:
        self._longest_gap = longest_gap
        self._since = 0.0
        self._last: float | None = None

    def seen(self, now: float) -> float:
        """A pass succeeded; since when there was no break."""
        if self._last is None or now - self._last > self._longest_gap:
            self._since = now
        self._last = now
        return self._since
