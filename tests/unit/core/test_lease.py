"""When a session is lost."""

from __future__ import annotations

import pytest

from accord.core.lease import Contact, Lease, lost

LEASE = Lease(lease=15.0, reconnect=3.0)


@pytest.mark.parametrize(
    ("contact", "up_since", "at"),
    [
        (Contact(last_report=100.0), 0.0, 115.0),
        (Contact(last_report=100.0, broken_since=101.0), 0.0, 104.0),
        (Contact(last_report=100.0, broken_since=114.0), 0.0, 115.0),
        (Contact(last_report=100.0), 110.0, 125.0),
        (Contact(last_report=100.0, broken_since=101.0), 110.0, 125.0),
        (Contact(last_report=111.0), 110.0, 126.0),
        (Contact(last_report=111.0, broken_since=112.0), 110.0, 115.0),
    ],
    ids=[
        "a lease without a report",
        "both connections broken and not renewed",
        "whichever comes first",
        "after an outage, one lease to report",
        "after an outage, connections that broke in it say nothing",
        "whoever reported since the outage has the usual lease",
        "and the usual time to reconnect",
    ],
)
def test_a_session_is_lost_at_its_moment_and_not_before(
    contact: Contact, up_since: float, at: float
) -> None:
    assert not lost(contact, LEASE, up_since, at - 0.001)
    assert lost(contact, LEASE, up_since, at)
