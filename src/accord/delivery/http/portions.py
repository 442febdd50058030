"""Tasks on their way into a batch: in portions, each with its place, so that a repeat of the whole
goes on where it broke off and adds nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable

from accord.core.batch import Batch
from accord.core.errors import AccordError, AlreadyDone
from accord.core.task import NewTask
from accord.delivery.http.uploads import Later
from accord.ports.judicator import Judicator

MOST_TASKS = 100
MOST_BYTES = 4 << 20
"""Of one portion: half of what the judicator takes at once."""
_PATIENCE = 5.0
"""Seconds to wait for the end of a batch without tasks, which comes with the next look at it."""


class Portions:
    """Adds tasks to a batch.

    ``begin`` gives the batch when the first ones are to be added; ``at`` is the place of the first,
    or -1 for the batch's end, whatever it is. ``own`` says that the batch is made for these tasks.
    """

    def __init__(
        self,
        judicator: Judicator,
        later: Later,
        at: int,
        begin: Callable[[], Batch],
        *,
        own: bool = False,
    ) -> None:
        self._judicator = judicator
        self._later = later
        self._begin = begin
        self._own = own
        self.at = at
        """The place of the task that is added next; -1: the batch's end."""
        self._waiting: list[tuple[NewTask, int]] = []
        self._bytes = 0
        self.batch: Batch | None = None
        """The batch, once there is one."""
        self.handed = 0
        """Tasks that were handed in here."""
        self.taken = 0
        """Those of them that are in the batch for sure."""

    def add(self, task: NewTask, size: int, mark: int) -> None:
        """Add one of about that many bytes; ``mark`` is its number in the request, for errors.

        Raises what ``flush`` raises.
        """
        if len(self._waiting) >= MOST_TASKS or self._bytes + size > MOST_BYTES:
            self.flush()
        self._waiting.append((task, mark))
        self._bytes += size
        self.handed += 1

    def keep_before(self, mark: int) -> None:
        """Forget what waits from that number on."""
        self._waiting = [(task, number) for task, number in self._waiting if number < mark]

    def withdraw(self) -> None:
        """Remove the batch where it is made for these tasks and has none: what was refused whole
        leaves nothing behind.
        """
        if not self._own or self.batch is None or self.batch.total:
            return
        self._judicator.cancel_batch(self.batch.id)
        if self._judicator.batch(self.batch.id, _PATIENCE).status.done:
            self._judicator.purge_batch(self.batch.id)
            self.batch = None

    def flush(self, *, close: bool = False) -> Batch:
        """Add what waits, then close the batch if asked to.

        Raises what the judicator raises, with the mark of the task that it refused as ``mark``.
        """
        tasks = [task for task, _ in self._waiting]
        if self.batch is None:
            self.batch = self._begin()
        if tasks or close:
            self.batch = self._extend(self.batch, tasks, close=close)
        self.taken += len(tasks)
        self.at += len(tasks) if self.at >= 0 else 0
        self._waiting, self._bytes = [], 0
        return self.batch

    def _extend(self, batch: Batch, tasks: list[NewTask], *, close: bool) -> Batch:
        try:
            self._later.send(tasks)
            return self._judicator.extend_batch(batch.id, self.at, tasks, close)
        except AccordError as error:
            self._name(error)
            raise

    def _name(self, error: AccordError) -> None:
        """Say which task was meant, where the judicator knows."""
        index = error.fields.pop("index", None)
        of_batch = error.retry or isinstance(error, AlreadyDone)  # whatever the tasks are
        if index is None and len(self._waiting) == 1 and not of_batch:
            index = 0
        if isinstance(index, int) and index < len(self._waiting):
            error.fields["mark"] = self._waiting[index][1]
