"""When an executor's session is lost.

Two things speak for it: a lease without a report, and both connections broken and not renewed.
Neither says anything while the judicators themselves could not be reached, so after such an outage
whoever has not been heard of since gets one whole lease to report.
"""

from __future__ import annotations

import msgspec


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """How much silence is allowed, in seconds."""

    lease: float = 15.0
    """From the last report."""
    reconnect: float = 3.0
    """From when the last open connection broke."""


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a session; all times by one clock."""

    last_report: float
    broken_since: float | None = None
    """When the last of its connections broke; None while one is open, or none is known of."""


def lost_at(contact: Contact, lease: Lease, up_since: float) -> float:
    """When the session is lost, if nothing more is heard of it.

    ``up_since`` is when the judicators could last be reached again: the start of this one, or the
    end of an outage of the store.
    """
    silent = contact.last_report + lease.lease
    broken = contact.broken_since
    at = silent if broken is None else min(silent, broken + lease.reconnect)
    return at if contact.last_report >= up_since else max(at, up_since + lease.lease)


def lost(contact: Contact, lease: Lease, up_since: float, now: float) -> bool:
    """Whether the session is lost.

    >>> quiet = Contact(last_report=100.0)
    >>> lost(quiet, Lease(), up_since=0.0, now=114.9), lost(quiet, Lease(), up_since=0.0, now=115.0)
    (False, True)
    >>> lost(quiet, Lease(), up_since=110.0, now=124.9)
    False
    """
    return now >= lost_at(contact, lease, up_since)
