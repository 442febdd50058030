"""What the administrator decides for all tasks; what a submitter decides is in ``task.Redundancy``.

It stands apart from the lifecycle so that the stages can read it without knowing of events.
"""

from __future__ import annotations

import msgspec


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the administrator decides for all tasks. Times in seconds."""

    retry_first: float = 1.0
    """Back-off before the second attempt after an infrastructure fault; doubles each time."""
    retry_most: float = 60.0
    """The longest back-off."""
    grace: float = 60.0
    """Added to the limits of a task for its default report deadline."""
    unsendable_after: float = 3600.0
    """A task that no known executor can take fails as unsendable after this long."""
    delete_delay: float = 30 * 86400.0
    """From the last result of a finished task to the deletion of its files (T14)."""
    purge_after: float = 0.0
    """From the end of a task to the removal of all that is known of it, once its files are
    deleted (D2); 0: never. Tasks of a batch stay as long as their batch.
    """
    priority_on_over: int = 0
    """Added to the priority of a replica that follows another which is over; 0: nothing (T11)."""
    priority_on_over_except_error: int = 0
    """The same, but only where none of them was an error; not used where the former is set."""
    judging_bound: float = 600.0
    """From sending a judging run to the deadline of its answer."""
    judging_attempts: int = 3
    """Judging runs of one task that may be lost or fail before results that only they could
    compare count as different."""
    network_allowed: bool = False
    """Whether tasks may ask for the network. Executors give it where ``sandbox.network`` is on."""
    revalidate_after: float = 6 * 3600.0
    """When results that could not be read for the moment are tried again (V1, V6)."""
