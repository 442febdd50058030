"""What the administrator decides for all tasks; what a submitter decides is in ``task.Redundancy``.

It stands apart from the lifecycle so that the stages can read it without knowing of events.
"""

from __future__ import annotations

import msgspec


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the administrator decides for all tasks. Seconds."""

    retry_first: float = 1.0
    """Back-off before the second attempt after an infrastructure fault; doubles each time."""
    retry_most: float = 60.0
    """The longest back-off."""
    grace: float = 60.0
    """Added to the limits of a task for its default report deadline."""
    unsendable_after: float = 3600.0
    """A task that no known executor can take fails as unsendable after this long."""
