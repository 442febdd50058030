"""The work generator, and what else is due about batches: cancel, retry, conclude, purge.

Each pass visits every batch that is due and does one portion of its next step; one that fails rests
for a while, and the others go on. How far a batch has come stands in its document, and a portion of
the generator is one commit of the document and its tasks: whenever this is stopped, the next pass
goes on exactly where that commit left it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from accord import logs
from accord.core.batch import RETRIED, SILENCE, Batch, Counters, Step, next_step
from accord.core.executor import ExecutorState
from accord.core.ids import (
    MOST_ATTEMPTS,
    BatchId,
    ExecutorName,
    SessionId,
    TaskId,
    finisher,
    member,
    place,
)
from accord.core.lifecycle import CancelRequested, Origin, Replaced
from accord.core.search import Query
from accord.core.status import OPEN, Status
from accord.core.task import Task
from accord.core.view import done
from accord.ports.blobs import Blobs
from accord.ports.store import Store
from accord.services.adding import Adding, again
from accord.services.changes import Changes
from accord.services.duties.patience import Patience
from accord.services.roster import Roster
from accord.services.sweep import Sweep

PORTION = 500
"""Tasks of one batch in one step, so that none keeps the others waiting."""
PAGE = 200
"""Batches that are looked at together."""
STALE_EVERY = 60.0

_CANCELLABLE = tuple(s for s in Status if s in OPEN and s is not Status.CANCELLING)
_RETRIED = tuple(s for s in Status if s in RETRIED)
_replace = msgspec.structs.replace
_log = logs.get("duties")


class Batches:
    """See the module's docstring."""

    name = "batches"
    every = 0.0

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        changes: Changes,
        adding: Adding,
        roster: Roster,
        finishing: Callable[[], None],
    ) -> None:
        self._finishing = finishing
        """Called where a finishing task is due, which is another duty's affair."""
        self._store = store
        self._changes = changes
        self._adding = adding
        self._roster = roster
        self._sweep = Sweep(blobs)
        self._patience: Patience[BatchId] = Patience()
        self._retried_up_to: dict[BatchId, tuple[float, TaskId]] = {}
        """How far the tasks of a batch were looked through for failed ones, in the retry of that
        time. Lost in a crash, which only means to look again."""
        self._stale_at = 0.0
        self._steps: dict[Step, Callable[[Batch, Counters, float], int]] = {
            Step.GENERATE: self._generate,
            Step.CANCEL: self._cancel,
            Step.RETRY: self._retry,
            Step.CONCLUDE: self._conclude,
            Step.PURGE: self._purge,
        }

    def run(self, now: float) -> int:
        """Do one portion of what is due for each batch; how many steps did something."""
        worked = self._close_stale(now)
        after: BatchId | None = None
        while True:
            due = self._store.due_batches(PAGE, after)
            worked += sum(self._attempt(batch, counters, now) > 0 for batch, counters in due)
            if len(due) < PAGE:
                return worked
            after = due[-1][0].id

    def _attempt(self, batch: Batch, counters: Counters, now: float) -> int:
        work = partial(self._do, batch, counters, now)
        return self._patience.attempt(batch.id, now, work, partial(complain, batch))

    def _do(self, batch: Batch, counters: Counters, now: float) -> int:
        step = next_step(batch, counters, finished=finished(self._store, batch))
        if step is Step.FINISH:
            self._finishing()
        work = self._steps.get(step)
        return work(batch, counters, now) if work else 0

    # -- the steps: each says how much it did --------------------------------------------

    def _generate(self, batch: Batch, counters: Counters, now: float) -> int:
        """The next tasks of a template, up to its cushion, in the commit that notes them."""
        if batch.template is None:
            return 0
        template = batch.template
        wanted = min(batch.cushion - counters.waiting, batch.total - batch.taken, PORTION)
        values, offset = self._sweep.portion(batch, wanted)
        tasks = [
            self._adding.filled(template, v, member(batch.id, batch.taken + n), now, batch.id)
            for n, v in enumerate(values)
        ]
        noted = _replace(batch, taken=batch.taken + len(tasks), row_offset=offset, changed=now)
        return len(tasks) if self._store.add_to_batch(noted, tasks) else 0

    def _cancel(self, batch: Batch, _counters: Counters, _now: float) -> int:
        tasks = self._store.batch_tasks(batch.id, _CANCELLABLE, None, PORTION)
        if batch.finish_task is not None:
            finish = self._store.get([batch.finish_task])
            tasks += [t for t in finish.values() if not done(t) and not t.cancel_requested_at]
        return self._cancel_tasks(tasks)

    def _cancel_tasks(self, tasks: Sequence[Task]) -> int:
        event = CancelRequested(alive=alive(self._roster))
        changed = self._changes.many_of(tasks, {task.id: (event,) for task in tasks})
        return sum(not c.refused for c in changed.values())

    def _retry(self, batch: Batch, _counters: Counters, now: float) -> int:
        """Make failed tasks anew, each beside the one whose place it takes; then that one gives
        way. A crash between the two leaves both, until this comes by again: the new one's id
        follows from the old one's, so it is not made twice.
        """
        self._stop_former_finish(batch)
        before = batch.retry_before or 0.0
        which, last = self._retried_up_to.get(batch.id, (before, None))
        after = last if which == before else None
        tasks = self._store.batch_tasks(batch.id, _RETRIED, after, PORTION)
        if not tasks:
            self._retried_up_to.pop(batch.id, None)
            return self._store.apply_batches([_replace(batch, retry_before=None)]).count(True)
        old = [t for t in tasks if (t.done_time or 0.0) <= before and _may_retry(t)]
        if old and not self._store.add_to_batch(
            _replace(batch, changed=now), [self._anew(batch, task, now) for task in old]
        ):
            return 0
        events = {task.id: (Replaced(by=_next(task.id)),) for task in old}
        if len(self._changes.many_of(old, events)) == len(old):  # else these come by again
            self._retried_up_to[batch.id] = (before, tasks[-1].id)
        return len(tasks)

    def _stop_former_finish(self, batch: Batch) -> None:
        """A finishing task that still runs tells of results that are made anew."""
        if batch.finish_round:
            former = self._store.get([finisher(batch.id, batch.finish_round - 1)])
            self._cancel_tasks([task for task in former.values() if not done(task)])

    def _anew(self, batch: Batch, task: Task, now: float) -> Task:
        id_ = _next(task.id)
        if batch.template is None:
            origin = Origin(batch=batch.id)
            return self._adding.made(again(task, task.id), id_, now, origin)
        made = self._adding.filled(batch.template, task.parameters, id_, now, batch.id)
        return _replace(made, retry_of=task.id)

    def _conclude(self, batch: Batch, counters: Counters, now: float) -> int:
        won = self._store.apply_batches([_replace(batch, done=now)])[0]
        if won:
            extra = {"action": "batch_done", "batch": batch.id, "tasks": counters.done}
            _log.info("A batch is done", extra=extra)
        return int(won)

    def _purge(self, batch: Batch, _counters: Counters, _now: float) -> int:
        tasks = self._store.batch_tasks(batch.id, (), None, PORTION) or self._others(batch)
        if tasks:
            return self._store.purge([task.id for task in tasks])
        return int(self._store.purge_batch(batch.id))

    def _others(self, batch: Batch) -> list[Task]:
        """What no longer counts in it: tasks that gave way to others, and finishing tasks. All
        their ids begin as the batch's own, so they lie next to each other.
        """
        first = member(batch.id, 0)
        page = self._store.search(
            Query(user=batch.user, cursor=first, oldest_first=True, limit=PORTION)
        )
        found = self._store.get([first, *(item.id for item in page.items)])
        return [task for task in found.values() if batch.id in (task.batch, task.finishes)]

    def _close_stale(self, now: float) -> int:
        """Close what a submission that broke off left open, and nobody came back for."""
        if now < self._stale_at:
            return 0
        self._stale_at = now + STALE_EVERY
        stale = self._store.stale_batches(now - SILENCE, PAGE)
        closed = [_replace(batch, closed=now, broken_off=True) for batch in stale]
        return self._store.apply_batches(closed).count(True) if closed else 0


def complain(batch: Batch, error: Exception, pause: float) -> None:
    """Log that something about a batch failed."""
    extra = {"action": "batch_failed", "batch": batch.id, "pause": pause}
    _log.warning("A batch cannot go on and is tried again", extra=extra, exc_info=error)


def finished(store: Store, batch: Batch) -> bool:
    """Whether its finishing task, if there is one, is done or was purged."""
    if batch.finish_task is None:
        return False
    task = store.get([batch.finish_task]).get(batch.finish_task)
    return task is None or done(task)


def alive(roster: Roster) -> frozenset[tuple[ExecutorName, SessionId]]:
    """The sessions of executors that are not lost, of which a cancellation wants word."""
    return frozenset(
        (executor.name, executor.info.session)
        for executor in roster.all()
        if executor.state is not ExecutorState.LOST
    )


def _next(id_: TaskId) -> TaskId:
    """The id of the task that takes the place of this one."""
    index, attempt = place(id_)
    return TaskId(member(BatchId(id_), index, attempt + 1))


def _may_retry(task: Task) -> bool:
    return place(task.id)[1] + 1 < MOST_ATTEMPTS
