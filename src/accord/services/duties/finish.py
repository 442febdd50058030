"""Finishing tasks: when all of a batch are done, their results are gathered and its finishing task
is submitted with them.

The task's id follows from the batch and the round, so a crash between its submission and the note of
it in the batch's document makes no second one.
"""

from __future__ import annotations

import msgspec

from accord import logs
from accord.core.batch import Batch, Step, next_step
from accord.core.ids import MOST_MEMBERS, BatchId, TaskId, member
from accord.core.lifecycle import Origin
from accord.core.replica import Content
from accord.core.task import NewTask, Task
from accord.ports.blobs import Blobs
from accord.ports.store import Store
from accord.services.adding import Adding
from accord.services.duties.batches import PAGE, finished
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

    def run(self, now: float) -> int:
        """Submit the finishing tasks that are due; how many."""
        submitted = 0
        after: BatchId | None = None
        while True:
            due = self._store.due_batches(PAGE, after)
            for batch, counters in due:
                step = next_step(batch, counters, finished=finished(self._store, batch))
                if step is Step.FINISH and batch.finish is not None:
                    submitted += self._finish(batch, batch.finish, now)
            if len(due) < PAGE:
                return submitted
            after = due[-1][0].id

    def _finish(self, batch: Batch, finish: NewTask, now: float) -> bool:
        data, omitted = self._gather(batch, finish)
        task = self._store.add([self._made(batch, finish, data, now)])[0]
        noted = _replace(batch, finish_task=task.id, omitted=omitted)
        won = self._store.apply_batches([noted])[0]
        extra = {"action": "finishing", "batch": batch.id, "task": task.id, "bytes": data.size}
        _log.info("The finishing task of a batch was submitted", extra=extra)
        return won

    def _gather(self, batch: Batch, finish: NewTask) -> tuple[Content, int]:
        room = min(self._most_bytes, finish.spec.execute.limits.disk // 2)
        archive = Archive(self._store, self._blobs, batch, room)
        digest, size = self._blobs.put(archive.chunks())
        return Content(digest=digest, size=size), archive.omitted

    def _made(self, batch: Batch, finish: NewTask, data: Content, now: float) -> Task:
        new = _replace(
            finish,
            name=finish.name or f"finish {batch.name or batch.id}",
            spec=_replace(finish.spec, data=data),
        )
        id_ = finish_id(batch)
        return self._adding.made(new, id_, now, Origin(finishes=batch.id))


def finish_id(batch: Batch) -> TaskId:
    """The id of the finishing task of its present round."""
    return member(batch.id, MOST_MEMBERS - 1, batch.finish_round)
