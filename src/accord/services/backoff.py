"""Pauses between attempts: growing, and never in step with those of other machines."""

from __future__ import annotations

from accord.ports.clock import Ids


class Backoff:
    """Doubling pauses with jitter: each lies between half and the whole of its bound (seconds)."""

    def __init__(self, ids: Ids, first: float = 0.1, most: float = 3.0) -> None:
        self._ids = ids
        self._first = first
        self._most = most
        self._bound = first

    def next(self) -> float:
        """The next pause in seconds."""
        pause = self._bound * (0.5 + 0.5 * self._ids.jitter())
        self._bound = min(self._most, self._bound * 2)
        return pause

    def reset(self) -> None:
        """An attempt went well: begin anew with the shortest."""
        self._bound = self._first
