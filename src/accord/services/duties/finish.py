"""Finishing tasks: when all of a batch are done, their results are gathered and its finishing task
is submitted with them.

The task is stored in the commit that notes it in the batch's document: a batch that was cancelled or
retried while its results were gathered gets none of these.
"""

from __future__ import annotations

from functools import partial

import msgspec

from accord import logs
from accord.core.batch import Batch, Counters, Step, next_step
from accord.core.ids import BatchId, finisher
from accord.core.lifecycle import Origin
from accord.core.replica import Content
from accord.core.task import NewTask, Task
from accord.ports.blobs import Blobs
from accord.ports.store import Store
from accord.services.adding import Adding
from accord.services.duties.batches import PAGE, complain, finished
from accord.services.duties.patience import Patience
from accord.services.finishing import Archive

_replace = msgspec.structs.replace
_log = logs.get("duties")


class Finish:
    """See the module's docstring. ``most_bytes`` bounds the data of one finishing task, as does half
    of its disk limit.
    """

    name = "finish"
    every = 0.0

    def __init__(self, store: Store, blobs: Blobs, adding: Adding, most_bytes: int) -> None:
        self._store = store
        self._blobs = blobs
        self._adding = adding
        self._most_bytes = most_bytes
        self._patience: Patience[BatchId] = Patience()

    def run(self, now: float) -> int:
        """Submit the finishing tasks that are due; how many."""
        submitted = 0
        after: BatchId | None = None
        while True:
            due = self._store.due_batches(PAGE, after)
            submitted += sum(self._attempt(batch, counters, now) for batch, counters in due)
            if len(due) < PAGE:
                return submitted
            after = due[-1][0].id

    def _attempt(self, batch: Batch, counters: Counters, now: float) -> int:
        step = next_step(batch, counters, finished=finished(self._store, batch))
        if step is not Step.FINISH or batch.finish is None:
            return 0
        work = partial(self._finish, batch, batch.finish)
        return self._patience.attempt(batch.id, now, work, partial(complain, batch))

    def _finish(self, batch: Batch, finish: NewTask) -> int:
        data, omitted = self._gather(batch, finish)
        task = self._made(batch, finish, data)
        noted = _replace(batch, finish_task=task.id, omitted=omitted)
        if not self._store.add_to_batch(noted, [task]):
            return 0
        extra = {"action": "finishing", "batch": batch.id, "task": task.id, "bytes": data.size}
        _log.info("The finishing task of a batch was submitted", extra=extra)
        return 1

    def _gather(self, batch: Batch, finish: NewTask) -> tuple[Content, int]:
        room = min(self._most_bytes, finish.spec.execute.limits.disk // 2)
        archive = Archive(self._store, self._blobs, batch, room)
        digest, size = self._blobs.put(archive.chunks())
        return Content(digest=digest, size=size), archive.omitted

    def _made(self, batch: Batch, finish: NewTask, data: Content) -> Task:
        new = _replace(
            finish,
            name=finish.name or f"finish {batch.name or batch.id}",
            spec=_replace(finish.spec, data=data),
        )
        id_ = finisher(batch.id, batch.finish_round)
        now = self._store.now()  # gathering may have taken long
        return self._adding.made(new, id_, now, Origin(finishes=batch.id))
