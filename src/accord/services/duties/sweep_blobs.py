"""Mark and sweep: blobs that no task names any more."""

from __future__ import annotations

from accord.ports.blobs import Blobs
from accord.ports.store import Store


class SweepBlobs:
    """Removes what no task refers to and was last put longer ago than the grace."""

    name = "sweep_blobs"

    def __init__(self, store: Store, blobs: Blobs, grace: float) -> None:
        self.every = max(60.0, grace / 12)
        self._store = store
        self._blobs = blobs
        self._grace = grace

    def run(self, now: float) -> int:
        """Sweep once. One pass does it all, so it answers 0: nothing is left for the next."""
        self._blobs.sweep(self._store.blob_digests(), now, self._grace)
        return 0
