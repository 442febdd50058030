"""What a duty lets rest for a while because it failed, so that the others need not wait for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
"""Seconds until the next attempt at one thing that fails: the first, doubled up to the longest."""
MOST = 10_000
"""Things that are remembered. Of more, the oldest are forgotten and tried again at once."""

K = TypeVar("K", bound=Hashable)


class Patience(Generic[K]):
    """See the module's docstring. It knows only its own process: elsewhere all is tried anew."""

    def __init__(self) -> None:
        self._failing: dict[K, tuple[int, float]] = {}
        """How often each failed in a row, and when it is tried again."""

    def attempt(
        self,
        key: K,
        now: float,
        work: Callable[[], int],
        complain: Callable[[Exception, float], None],
    ) -> int:
        """Do the work unless it rests; what it answered, 0 where it rests or failed now. Of a
        failure ``complain`` is told, with the seconds until the next attempt.
        """
        count, again_at = self._failing.get(key, (0, 0.0))
        if now < again_at:
            return 0
        try:
            done = work()
        except Exception as error:  # noqa: BLE001  # whatever it is, the others must go on
            complain(error, self._failed(key, count, now))
            return 0
        self._failing.pop(key, None)
        return done

    def rests(self, key: K, now: float) -> bool:
        """Whether it would not be tried."""
        return now < self._failing.get(key, (0, 0.0))[1]

    def _failed(self, key: K, count: int, now: float) -> float:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(count, 16))
        self._failing.pop(key, None)  # what failed last is forgotten last
        self._failing[key] = (count + 1, now + pause)
        if len(self._failing) > MOST:
            del self._failing[next(iter(self._failing))]
        return pause
