"""How long runs take here, and how long the way to the judicator and back: whether to ask ahead.

A slot that comes free has its next task after one round trip. Where runs are shorter than two of
those, slots would be idle for a third of the time and more; then some tasks are asked for before
there is a slot for them: what the slots run in four, since more is asked for when half of it is
left, and what travels together costs less. Both times are means that follow what is recent.
"""

from __future__ import annotations

import math

RECENT = 0.125
"""The weight of the newest sample (that of TCP's mean round trip)."""
LEAST_PATIENCE = 1.0
MOST_AHEAD = 16
"""Tasks asked ahead for one slot, however short the runs are: what an executor holds, no other can
have."""
LONGEST_LINGER = 0.02
"""Seconds for which a finished result waits for others, while its slot has more to run."""


class Pace:
    """See the module's docstring. Its caller holds a lock."""

    def __init__(self) -> None:
        self._run: float | None = None
        self._trip: float | None = None

    def ran(self, seconds: float) -> None:
        """A run that came to a verdict kept its slot for so long."""
        self._run = _averaged(self._run, seconds)

    def travelled(self, seconds: float) -> None:
        """A poll took so long, beyond what the judicator held it for."""
        self._trip = _averaged(self._trip, max(0.0, seconds))

    @property
    def short(self) -> float:
        """Two round trips: a run of fewer seconds is a short one. 0 where that is not known."""
        return 2 * self._trip if self._trip is not None else 0.0

    @property
    def asks_ahead(self) -> bool:
        """Whether runs are so short that tasks are to be asked for before there is a slot."""
        return self._run is not None and self._run < self.short

    @property
    def ahead(self) -> int:
        """How many tasks to ask for ahead, for each slot; 0 where runs are not short."""
        if self._run is None or not self.asks_ahead:
            return 0
        reach = 2 * self.short
        return MOST_AHEAD if self._run * MOST_AHEAD <= reach else math.ceil(reach / self._run)

    @property
    def linger(self) -> float:
        """Seconds for which a finished result may wait for others to go with it: no longer than
        the way there and back takes anyway, twice.
        """
        return min(LONGEST_LINGER, self.short)

    @property
    def patience(self) -> float:
        """Seconds for which a task that was asked for ahead may wait for a slot."""
        return max(LEAST_PATIENCE, 2 * self.short)


def _averaged(mean: float | None, sample: float) -> float:
    return sample if mean is None else mean + RECENT * (sample - mean)
