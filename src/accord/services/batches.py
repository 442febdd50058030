"""Batches as users see them: create, extend, read, cancel, retry, purge.

Every change is a compare-and-set on the batch's document. What follows from one (tasks to generate,
to cancel, to submit again) is the affair of ``duties.batches``, which finds it by looking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from accord.core.batch import (
    RETRIED,
    Batch,
    BatchPage,
    BatchQuery,
    BatchSource,
    BatchStatus,
    BatchView,
    Counters,
    NewBatch,
    explain_batch,
    status_of_batch,
)
from accord.core.errors import AlreadyDone, Invalid, KeyReused, NotDone, NotFound, Unavailable
from accord.core.ids import MOST_ATTEMPTS, BatchId, TaskId, member, task_id
from accord.core.lifecycle import Origin
from accord.core.parameters import check_axes, grid_size
from accord.core.status import Status
from accord.core.task import NewTask, Task
from accord.core.view import status_of
from accord.ports.blobs import Blobs
from accord.ports.clock import Ids
from accord.ports.judicator import Results
from accord.ports.store import Store
from accord.services.adding import Adding, same
from accord.services.admission import check_batch
from accord.services.lines import encoded, line_of
from accord.services.reading import LONGEST_WAIT
from accord.services.watch import Watchers

ATTEMPTS = 50
"""Races for one batch that are lost before giving up."""
MOST_TASKS = 100_000_000
"""Tasks of one batch."""
RESULTS_BYTES = 4 << 20
"""Lines of one answer are cut off here, well below a frame of the wire."""

_replace = msgspec.structs.replace


class Batches:
    """See the module's docstring."""

    def __init__(
        self, store: Store, blobs: Blobs, ids: Ids, adding: Adding, watchers: Watchers
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._ids = ids
        self._adding = adding
        self._watchers = watchers

    # -- making --------------------------------------------------------------------------

    def create(self, new: NewBatch) -> Batch:
        """Create one (port ``Judicator.create_batch``)."""
        self._check(new)
        now = self._store.now()
        fields = {name: getattr(new, name) for name in NewBatch.__struct_fields__}
        whole = new.source is BatchSource.TEMPLATE
        batch = Batch(
            id=self._ids.batch(now),
            created=now,
            changed=now,
            total=grid_size(new.axes) if whole else 0,
            closed=now if whole else None,
            **fields,
        )
        there = self._store.put_batch(batch)
        if there.purging:
            raise Unavailable("The batch of this key is being removed. Try again shortly.")
        if there.id != batch.id and (there.source, there.fingerprint) != (
            new.source,
            new.fingerprint,
        ):
            raise KeyReused(
                "This idempotency key was used for another batch. Take a new key for a new batch.",
                key=new.key,
                id=there.id,
            )
        return there

    def _check(self, new: NewBatch) -> None:
        check_batch(new)
        if (new.source is BatchSource.TEMPLATE) != (new.template is not None):
            raise Invalid(
                "A template comes with the source template, and only then.", field="template"
            )
        check_axes(new.axes)
        size = grid_size(new.axes)
        if size > MOST_TASKS:
            raise Invalid(
                f"These parameters make {size:,} tasks; a batch has at most {MOST_TASKS:,}.",
                field="parameters",
            )
        for one in (new.template, new.finish):
            if one is not None:
                self._check_own(one, new)
        if new.finish is not None and new.finish.spec.data is not None:
            raise Invalid(
                "A finishing task finds the results in its data/, so it takes no data of its own.",
                field="finish.data",
            )
        self._adding.check_rows(new.axes)

    def _check_own(self, one: NewTask, new: NewBatch) -> None:
        self._adding.check(one)
        if one.user != new.user:
            raise Invalid("The tasks of a batch are its owner's.", field="user")
        if one.key is not None:
            raise Invalid("A task of a batch has no key of its own.", field="key")

    def extend(self, id_: BatchId, at: int, tasks: Sequence[NewTask], *, close: bool) -> Batch:
        """Add tasks (port ``Judicator.extend_batch``)."""
        self._adding.check_all(tasks)
        for number, task in enumerate(tasks):
            if task.key is not None:
                raise Invalid("A task of a batch has no key of its own.", field="key", index=number)

        def extended(batch: Batch) -> tuple[Batch, Sequence[Task]]:
            return self._extended(batch, at, tasks, close=close)

        return self._change(id_, extended)

    def _extended(
        self, batch: Batch, at: int, tasks: Sequence[NewTask], *, close: bool
    ) -> tuple[Batch, Sequence[Task]]:
        if any(task.user != batch.user for task in tasks):
            raise Invalid("The tasks of a batch are its owner's.", field="user")
        first = batch.total if at < 0 else at
        if first > batch.total:
            raise Invalid(
                f"The batch has {batch.total} tasks; the next goes to place {batch.total}, not {first}.",
                field="at",
            )
        there = min(len(tasks), batch.total - first)
        self._check_same(batch, first, tasks[:there])
        fresh = tasks[there:]
        if fresh and batch.closed is not None:
            raise AlreadyDone(
                "The batch is closed, so no tasks can be added. Make another batch of them.",
                id=batch.id,
            )
        return self._with(batch, fresh, close=close)

    def _with(
        self, batch: Batch, fresh: Sequence[NewTask], *, close: bool
    ) -> tuple[Batch, Sequence[Task]]:
        closing = close and batch.closed is None
        if not fresh and not closing:
            return batch, ()
        now = self._store.now()
        total = batch.total + len(fresh)
        if total > MOST_TASKS:
            raise Invalid(f"A batch has at most {MOST_TASKS:,} tasks.", field="tasks")
        made = [
            self._adding.made(one, member(batch.id, batch.total + n), now, Origin(batch=batch.id))
            for n, one in enumerate(fresh)
        ]
        closed = now if closing else batch.closed
        return _replace(batch, total=total, taken=total, changed=now, closed=closed), made

    def _check_same(self, batch: Batch, first: int, tasks: Sequence[NewTask]) -> None:
        """What a repeat brings again must be what is there; what was purged meanwhile may be any."""
        ids = [member(batch.id, first + n) for n in range(len(tasks))]
        found = self._store.get(ids) if ids else {}
        for number, (id_, one) in enumerate(zip(ids, tasks, strict=True)):
            there = found.get(id_)
            if there is not None and not same(one, there):
                raise KeyReused(
                    f"Place {first + number} of the batch holds another task. Repeat what was sent "
                    "before, or make another batch.",
                    id=there.id,
                    index=number,
                )

    # -- reading -------------------------------------------------------------------------

    def get(self, id_: BatchId, wait: float) -> BatchView:
        """The batch, as soon as it is done or after that many seconds. NotFound."""
        if wait <= 0:
            return self._view(*self._find(id_))
        with self._watchers.watch(id_, min(wait, LONGEST_WAIT)) as watch:
            while True:
                batch, counters = self._find(id_)
                if batch.done is not None or not watch.wait():
                    return self._view(batch, counters)

    def _find(self, id_: BatchId) -> tuple[Batch, Counters]:
        found = self._store.batches([id_]).get(id_)
        if found is None or found[0].purging:
            raise NotFound(f"There is no batch {id_}.", id=id_)
        return found

    def _view(self, batch: Batch, counters: Counters) -> BatchView:
        finish = self._finish_status(batch)
        view = _view(batch, counters, self._store.now(), finish)
        return _replace(view, why=explain_batch(view))

    def _finish_status(self, batch: Batch) -> Status | None:
        return self._finish_statuses([batch]).get(batch.id)

    def _finish_statuses(self, batches: Iterable[Batch]) -> dict[BatchId, Status]:
        """The status of the finishing task of each that has one."""
        places = {batch.finish_task: batch.id for batch in batches if batch.finish_task}
        found = self._store.get(list(places)) if places else {}
        return {places[id_]: status_of(task) for id_, task in found.items()}

    def page(self, query: BatchQuery) -> BatchPage:
        """A page of batches. Invalid."""
        if not 1 <= query.limit <= 1000:
            raise Invalid("limit must lie between 1 and 1000.", field="limit")
        if query.cursor is not None and task_id(query.cursor) != query.cursor:
            raise Invalid("cursor must be one that a page gave.", field="cursor")
        found = self._store.search_batches(_replace(query, limit=query.limit + 1))
        now = self._store.now()
        shown = found[: query.limit]
        there = [(batch, counters) for batch, counters in shown if not batch.purging]
        ends = self._finish_statuses(batch for batch, _ in there)
        views = [_view(batch, counters, now, ends.get(batch.id)) for batch, counters in there]
        return BatchPage(
            items=tuple(_replace(view, why=explain_batch(view)) for view in views),
            next=shown[-1][0].id if len(found) > query.limit else None,
        )

    def results(self, id_: BatchId, cursor: str, limit: int) -> Results:
        """A piece of its results (port ``Judicator.results``)."""
        if cursor and task_id(cursor) != cursor:
            raise Invalid("cursor must be one that a piece of results gave.", field="cursor")
        self._find(id_)
        wanted = max(1, min(limit, 100))
        tasks = self._store.batch_tasks(id_, (), TaskId(cursor) if cursor else None, wanted)
        lines: list[bytes] = []
        room = RESULTS_BYTES
        for task in tasks:
            lines.append(encoded(line_of(task, self._blobs)))
            room -= len(lines[-1])
            if room <= 0:
                break
        whole = len(lines) == len(tasks) < wanted
        return Results(
            lines=tuple(lines), next=None if whole or not lines else tasks[len(lines) - 1].id
        )

    # -- changing ------------------------------------------------------------------------

    def cancel(self, id_: BatchId) -> BatchView:
        """Ask for its end (port ``Judicator.cancel_batch``)."""

        def cancelled(batch: Batch) -> tuple[Batch, Sequence[Task]]:
            if batch.cancel_requested_at is not None:
                return batch, ()
            if batch.done is not None:
                raise AlreadyDone("The batch is done, so there is nothing to cancel.", id=id_)
            now = self._store.now()
            closed = batch.closed or now
            return _replace(batch, cancel_requested_at=now, closed=closed, retry_before=None), ()

        self._change(id_, cancelled)
        return self.get(id_, 0)

    def retry(self, id_: BatchId) -> BatchView:
        """Submit again what ended badly (port ``Judicator.retry_batch``)."""
        counters = self._find(id_)[1]

        def retried(batch: Batch) -> tuple[Batch, Sequence[Task]]:
            status = status_of_batch(batch, counters)
            if status is BatchStatus.CANCELLING:
                raise NotDone(
                    "The batch is being cancelled. Wait until it is cancelled, then retry it.",
                    id=id_,
                    status=status,
                )
            if batch.retry_before is not None or not self._has_failed(batch, counters):
                return batch, ()
            _check_rounds(batch)
            return _again(batch, self._store.now()), ()

        self._change(id_, retried)
        return self.get(id_, 0)

    def _has_failed(self, batch: Batch, counters: Counters) -> bool:
        if batch.cancel_requested_at is not None or not RETRIED.isdisjoint(counters.counts):
            return True
        finish = self._finish_status(batch)
        return finish is not None and finish.done and finish is not Status.SUCCESS

    def purge(self, id_: BatchId) -> None:
        """Remove it with its tasks (port ``Judicator.purge_batch``)."""

        def purging(batch: Batch) -> tuple[Batch, Sequence[Task]]:
            if batch.done is None:
                raise NotDone("The batch is not done. Wait for it, or cancel it first.", id=id_)
            return _replace(batch, purging=True), ()

        self._change(id_, purging)

    def _change(
        self, id_: BatchId, change: Callable[[Batch], tuple[Batch, Sequence[Task]]]
    ) -> Batch:
        """Change it by compare-and-set, together with tasks that are added to it."""
        for _ in range(ATTEMPTS):
            batch, _counters = self._find(id_)
            changed, tasks = change(batch)
            if changed is batch:
                return batch
            if self._store.add_to_batch(changed, tasks):
                return _replace(changed, version=changed.version + 1)
        raise Unavailable("The batch is being changed by many at once. Try again shortly.")


def _check_rounds(batch: Batch) -> None:
    """The ids of finishing tasks are as many as those of the attempts at any other place."""
    if batch.finish_task is not None and batch.finish_round + 1 >= MOST_ATTEMPTS:
        raise AlreadyDone(
            f"The batch had {MOST_ATTEMPTS} finishing tasks, which is all that it can have. "
            "Make another batch of what is to be retried.",
            id=batch.id,
        )


def _again(batch: Batch, now: float) -> Batch:
    """The batch on its way once more. A finishing task that there was gives way to another."""
    finished = batch.finish_task is not None
    return _replace(
        batch,
        retry_before=now,
        cancel_requested_at=None,
        done=None,
        finish_task=None,
        finish_round=batch.finish_round + finished,
        omitted=0,
    )


def _view(batch: Batch, counters: Counters, now: float, finish_status: Status | None) -> BatchView:
    return BatchView(
        batch=batch,
        counters=counters,
        status=status_of_batch(batch, counters),
        now=now,
        finish_status=finish_status,
    )
