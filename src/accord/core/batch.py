"""A batch: tasks that were submitted together, and what is to be done about them as a whole.

The document says what was asked for and how far it has come. How many of its tasks are in which
status is kept beside it (``Counters``), by whoever stores tasks, in the very commits that change
them. ``next_step`` looks at both and says what is due; like every loop it looks at what is, so
whoever finds a batch half-way after a crash brings it to the same end.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from accord.core.ids import BatchId, Digest, TaskId, UserName
from accord.core.parameters import Axis, Rows
from accord.core.status import OPEN, Status
from accord.core.task import NewTask, Spec, spec_contents

CUSHION = 1000
"""Unsent tasks of a template that are kept in the store by default."""
BUCKET = 10.0
"""Seconds over which ends are counted together for the throughput."""
BUCKETS = 61
"""Buckets that are kept: ten minutes."""
SILENCE = 3600.0
"""Seconds after which a submission that broke off half-way is closed with what it brought."""
ALWAYS = 1 << 62
"""A mark that is always reached."""

RETRIED = frozenset(s for s in Status if s.done and s is not Status.SUCCESS)
"""The statuses whose tasks "retry failed" makes anew: all ends but success."""


class BatchSource(enum.StrEnum):
    """Where the tasks of a batch come from."""

    LIST = "list"
    STREAM = "stream"
    TEMPLATE = "template"


class BatchStatus(enum.StrEnum):
    """What a user sees of a batch. The last two are final, until a retry."""

    RECEIVING = "receiving"
    """Tasks may still be added."""
    RUNNING = "running"
    FINISHING = "finishing"
    """All of its tasks are done; the finishing task is not."""
    CANCELLING = "cancelling"
    DONE = "done"
    CANCELLED = "cancelled"

    @property
    def done(self) -> bool:
        """Whether it is final."""
        return self in {BatchStatus.DONE, BatchStatus.CANCELLED}


class NewBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What a judicator is asked to create: all that the submitter decides."""

    user: UserName
    source: BatchSource
    name: str = ""
    labels: Mapping[str, str] = {}
    key: str | None = None
    """Idempotency key, unique per user among batches."""
    fingerprint: str = ""
    """Of the content, where it is known whole; a repeat of the key must have the same."""
    template: NewTask | None = None
    axes: tuple[Axis, ...] = ()
    cushion: int = CUSHION
    finish: NewTask | None = None
    """The finishing task; its data are the batch's results."""
    stays_open: bool = False
    """Whether tasks may be added until somebody closes it."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One document. Every change is a compare-and-set on ``version``; times are store time."""

    id: BatchId
    user: UserName
    source: BatchSource
    created: float
    name: str = ""
    labels: Mapping[str, str] = {}
    key: str | None = None
    fingerprint: str = ""
    template: NewTask | None = None
    axes: tuple[Axis, ...] = ()
    cushion: int = CUSHION
    finish: NewTask | None = None
    stays_open: bool = False
    version: int = 1
    total: int = 0
    """Tasks in all: of a template, or as many as were added so far."""
    taken: int = 0
    """Places whose tasks were put into the store; those before ``total`` are still to be generated."""
    row_offset: int = 0
    """Where in the blob of a table the row of place ``taken`` begins."""
    changed: float = 0.0
    """When tasks were added last."""
    closed: float | None = None
    """Since when no tasks can be added."""
    broken_off: bool = False
    """Closed because its submission broke off half-way."""
    cancel_requested_at: float | None = None
    retry_before: float | None = None
    """What ended badly up to then is being retried; None: nothing is."""
    finish_task: TaskId | None = None
    finish_round: int = 0
    """How many finishing tasks there were; after a retry there is another."""
    omitted: int = 0
    """Files and lines of results that the finishing task's data had no room for."""
    done: float | None = None
    purging: bool = False
    """It is being removed with its tasks, and nobody sees it any more."""


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """How many of a batch's tasks are in which status, and how many ended when."""

    counts: Mapping[Status, int] = {}
    """Compiling counts as running. Without statuses that no task has."""
    ended: Mapping[int, int] = {}
    """Tasks that ended in each bucket of BUCKET seconds, by its number; the latest BUCKETS."""

    @property
    def open(self) -> int:
        """Tasks that are not done."""
        return sum(n for status, n in self.counts.items() if status in OPEN)

    @property
    def waiting(self) -> int:
        """Tasks that wait to be sent."""
        return self.counts.get(Status.PENDING, 0) + self.counts.get(Status.RETRYING, 0)

    @property
    def done(self) -> int:
        """Tasks that are done."""
        return sum(self.counts.values()) - self.open

    def changed(self, deltas: Mapping[Status, int], ended: int, now: float) -> Counters:
        """With these added; ``ended`` tasks of them ended now."""
        counts = dict(self.counts)
        for status, number in deltas.items():
            counts[status] = counts.get(status, 0) + number
        buckets = dict(self.ended)
        if ended:
            bucket = int(now // BUCKET)
            buckets[bucket] = buckets.get(bucket, 0) + ended
            buckets = {b: n for b, n in buckets.items() if b > bucket - BUCKETS}
        return Counters(counts={s: n for s, n in counts.items() if n}, ended=buckets)

    def rate(self, now: float) -> float:
        """Tasks that ended a second, over the last whole minute or what there is of it.

        >>> Counters(ended={10: 50, 11: 70}).rate(125.0)
        4.8
        """
        bucket = int(now // BUCKET)
        recent = {b: n for b, n in self.ended.items() if bucket - 6 <= b <= bucket}
        if not recent:
            return 0.0
        began = min(recent) * BUCKET
        return sum(recent.values()) / max(now - began, BUCKET)


def batch_blobs(batch: Batch) -> frozenset[Digest]:
    """The digests of the blobs that must not be swept while this batch stands."""
    specs: list[Spec] = [new.spec for new in (batch.template, batch.finish) if new]
    found = [content for spec in specs for content in spec_contents(spec)]
    found += [axis.rows for axis in batch.axes if isinstance(axis, Rows)]
    return frozenset(content.digest for content in found if content.inline is None)


class BatchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which batches to list. All conditions hold together; None means any."""

    user: UserName | None = None
    labels: Mapping[str, str] = {}
    live: bool | None = None
    """Only those that are done, or only those that are not."""
    since: float | None = None
    """Created at or after, seconds since the epoch."""
    until: float | None = None
    """Created before."""
    text: str = ""
    """A part of the name, or the beginning of the id, in any case."""
    limit: int = 50
    cursor: str | None = None


class BatchView(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as it is read."""

    batch: Batch
    counters: Counters
    status: BatchStatus
    now: float
    """Store time, for what is said about rates and times."""
    finish_status: Status | None = None
    """Of the finishing task, where there is one and one batch was asked for."""
    why: str = ""
    """In a sentence or two: why it is in its state, and what happens next."""


class BatchPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list, newest first."""

    items: tuple[BatchView, ...]
    next: str | None = None
    """The cursor of the next page, None on the last."""


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """When a batch is due: as soon as its open tasks, or those that wait, are this few."""

    open: int = -1
    waiting: int = -1


def marks_of(batch: Batch) -> Marks:
    """When somebody must look at a batch (see ``next_step``), done or not."""
    if batch.purging:
        return Marks(open=ALWAYS)
    if batch.done is not None:
        return Marks()
    if batch.cancel_requested_at or batch.retry_before is not None or batch.finish_task:
        return Marks(open=ALWAYS)
    if batch.taken < batch.total:
        return Marks(waiting=batch.cushion // 2)
    return Marks(open=0) if batch.closed is not None else Marks()


class Step(enum.StrEnum):
    """What is due to be done about a batch."""

    NOTHING = "nothing"
    GENERATE = "generate"
    """Put more tasks of the template into the store."""
    CANCEL = "cancel"
    """Cancel tasks that are not done."""
    RETRY = "retry"
    """Make anew what ended badly, then clear ``retry_before``."""
    FINISH = "finish"
    """Gather the results and submit the finishing task."""
    CONCLUDE = "conclude"
    PURGE = "purge"
    """Remove its tasks, then itself."""


def next_step(batch: Batch, counters: Counters, *, finished: bool) -> Step:
    """What is due. ``finished`` says that its finishing task, if there is one, is done or gone."""
    if batch.purging:
        return Step.PURGE
    if batch.done is not None:
        return Step.NOTHING
    if batch.cancel_requested_at is not None:
        running = counters.open > 0 or (batch.finish_task is not None and not finished)
        return Step.CANCEL if running else Step.CONCLUDE
    if batch.retry_before is not None:
        return Step.RETRY
    if batch.taken < batch.total:
        low = counters.waiting <= batch.cushion // 2
        return Step.GENERATE if low else Step.NOTHING
    if batch.closed is None or counters.open:
        return Step.NOTHING
    if batch.finish is None:
        return Step.CONCLUDE
    if batch.finish_task is None:
        return Step.FINISH
    return Step.CONCLUDE if finished else Step.NOTHING


def status_of_batch(batch: Batch, counters: Counters) -> BatchStatus:
    """What a user sees."""
    if batch.cancel_requested_at is not None:
        return BatchStatus.CANCELLED if batch.done is not None else BatchStatus.CANCELLING
    if batch.done is not None:
        return BatchStatus.DONE
    if batch.closed is None:
        return BatchStatus.RECEIVING
    if batch.taken < batch.total or counters.open or batch.retry_before is not None:
        return BatchStatus.RUNNING
    return BatchStatus.FINISHING if batch.finish else BatchStatus.RUNNING


def explain_batch(view: BatchView) -> str:
    """Why a batch is in its state and what happens next; plain text, for a person."""
    return _TEXTS[view.status](view)


def _receiving(view: BatchView) -> str:
    if view.batch.stays_open:
        return (
            f"{_progress(view)} More may be added, by whoever submitted it; it is done once it "
            "has been closed and all of its tasks are done."
        )
    return (
        f"{_progress(view)} Its submission is still coming in. Should it break off, send it again "
        "with the same key: nothing of it runs twice."
    )


def _running(view: BatchView) -> str:
    batch, left = view.batch, view.batch.total - view.batch.taken
    said = _progress(view)
    if batch.retry_before is not None:
        return f"{said} What ended badly is being submitted again."
    if left:
        said += (
            f" {left:,} more are generated as these are sent, so that no more than {batch.cushion:,} "
            "wait in the store."
        )
    if batch.finish is not None:
        said += " When all are done, the finishing task runs on their results."
    return said


def _finishing(view: BatchView) -> str:
    if view.batch.finish_task is None:
        return "All of its tasks are done. Their results are being gathered for the finishing task."
    return (
        f"All of its tasks are done; the finishing task {view.batch.finish_task} is "
        f"{view.finish_status or 'on its way'}."
    )


def _cancelling(view: BatchView) -> str:
    return (
        f"{view.counters.open:,} tasks are being cancelled; it is cancelled once the last one is."
    )


def _done(view: BatchView) -> str:
    good = view.counters.counts.get(Status.SUCCESS, 0)
    bad = view.counters.done - good
    said = f"All of its {view.counters.done:,} tasks are done: {good:,} with success"
    said += f", {bad:,} otherwise. They can be retried." if bad else "."
    if view.batch.broken_off:
        said += " Its submission broke off: what came after these never arrived."
    if view.finish_status is not None and view.finish_status is not Status.SUCCESS:
        said += f" The finishing task ended as {view.finish_status}."
    if view.batch.omitted:
        said += (
            f" {view.batch.omitted:,} results or files found no room in the finishing task's data."
        )
    return said


def _cancelled(view: BatchView) -> str:
    left = view.batch.total - view.batch.taken
    said = f"It was cancelled; {view.counters.done:,} of its tasks had been submitted."
    return f"{said} {left:,} were never made." if left else said


def _progress(view: BatchView) -> str:
    counts = view.counters
    return f"{counts.done:,} of {view.batch.total:,} tasks are done, {_running_now(counts):,} are running."


def _running_now(counters: Counters) -> int:
    return counters.open - counters.waiting


_TEXTS = {
    BatchStatus.RECEIVING: _receiving,
    BatchStatus.RUNNING: _running,
    BatchStatus.FINISHING: _finishing,
    BatchStatus.CANCELLING: _cancelling,
    BatchStatus.DONE: _done,
    BatchStatus.CANCELLED: _cancelled,
}
