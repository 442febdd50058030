"""A registry in this process's memory (port ``Registry``), with times to live on a Clock."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from accord.ports.clock import Clock
from accord.ports.registry import Member


class MemoryRegistry:
    """What judicators share that live in one process. Expiry is by the clock's monotonic time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._members: dict[str, tuple[Member, float]] = {}
        self._leader: str | None = None
        self._term = 0
        self._until = 0.0

    def announce(self, member: Member, ttl: float) -> None:
        """Make or renew an announcement."""
        with self._lock:
            self._members[member.name] = (member, self._clock.monotonic() + ttl)

    def withdraw(self, name: str) -> None:
        """Take an announcement back; may be called twice."""
        with self._lock:
            self._members.pop(name, None)

    def judicators(self) -> Sequence[Member]:
        """Those announced and not expired, by name."""
        with self._lock:
            now = self._clock.monotonic()
            return [self._members[n][0] for n in sorted(self._members) if self._members[n][1] > now]

    def campaign(self, name: str, ttl: float) -> int | None:
        """The new term's number; None while another term holds, also one of the same name."""
        with self._lock:
            if self._holds():
                return None
            self._leader = name
            self._term += 1
            self._until = self._clock.monotonic() + ttl
            return self._term

    def renew(self, name: str, term: int, ttl: float) -> bool:
        """Whether the term still holds; it is then renewed for ``ttl`` from now."""
        with self._lock:
            if not self._holds() or (name, term) != (self._leader, self._term):
                return False
            self._until = self._clock.monotonic() + ttl
            return True

    def resign(self, name: str, term: int) -> None:
        """Give the term back; does nothing to a later one."""
        with self._lock:
            if (name, term) == (self._leader, self._term):
                self._leader = None

    def leader(self) -> str | None:
        """The name of the leader, if there is one."""
        with self._lock:
            return self._leader if self._holds() else None

    def _holds(self) -> bool:
        return self._leader is not None and self._clock.monotonic() < self._until
