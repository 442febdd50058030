"""Who is there, and who leads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A judicator's announcement."""

    name: str
    address: str
    """``host:port`` of its Thrift service."""


class Registry(Protocol):
    """Announcements and leadership by term. Every call returns within a few seconds."""

    def announce(self, member: Member, ttl: float) -> None:
        """Make or renew an announcement. Raises Unavailable where the registry is."""

    def withdraw(self, name: str) -> None:
        """Take an announcement back; may be called twice."""

    def judicators(self) -> Sequence[Member]:
        """Those announced and not expired, by name."""

    def campaign(self, name: str, ttl: float) -> int | None:
        """Try to become the leader; the term's number if so, else None. Terms rise strictly."""

    def renew(self, name: str, term: int, ttl: float) -> bool:
        """Whether the term still holds; it is then renewed for ``ttl`` from now."""

    def resign(self, name: str, term: int) -> None:
        """Give the term back; may be called twice, and does nothing to a later term."""

    def leader(self) -> str | None:
        """The name of the leader, if there is one."""
