"""The pages of batches: the list, and one batch with its progress, its worst tasks and its result."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import urlencode

import msgspec
from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from accord.core.batch import RETRIED, Batch, BatchStatus, BatchView
from accord.core.errors import AlreadyDone, NotFound
from accord.core.ids import TaskId
from accord.core.parameters import Axis, Range, Rows, Values, spelled
from accord.core.search import Query
from accord.core.status import Status
from accord.delivery.http.access import caller
from accord.delivery.http.batch_documents import batch_out, batch_page_out
from accord.delivery.http.batches import BatchListQuery, batches_query, read, read_to_change
from accord.delivery.http.context import gateway
from accord.delivery.http.documents import SummaryOut, TaskOut, summary_out, task_out
from accord.delivery.web.pictures import Picture, pictures_of
from accord.delivery.web.progress import ANY_FAILING, FAILED, throughput
from accord.ports.judicator import TaskView

WORST = 10
"""Tasks in the lists of the slowest and of the failing ones."""
FIRST = 25
"""Tasks in the list of the first ones."""
_SHOWN_VALUES = 8
"""Values of a parameter that are all written out; of more, the first and the last three."""
_LONGEST_VALUE = 60
"""Characters of a value that are shown in the table of parameters."""

blueprint = Blueprint("batches", __name__, url_prefix="/batches")


class Varied(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter, or the columns of a table that vary together, as the page tells of it."""

    names: tuple[str, ...]
    values: str
    size: int


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """The finishing task as the page shows it."""

    task: TaskOut
    why: str
    pictures: list[Picture]


@blueprint.get("")
def index() -> str:
    """The list; its filters are the API's parameters."""
    given = {name: values for name, values in request.args.lists() if any(values)}
    labels = {name: values for name, values in given.items() if name == "label"}
    query = BatchListQuery.model_validate({**{n: v[0] for n, v in given.items()}, **labels})
    page = batch_page_out(gateway().judicator.batches(batches_query(query, caller())))
    onward = None
    if page.next:
        onward = f"{url_for('.index')}?{urlencode({**given, 'cursor': page.next}, doseq=True)}"
    return render_template("batches.html", page=page, query=query, next=onward)


@blueprint.get("/<batch_id>")
def show(batch_id: str) -> str:
    """One batch, live while it runs."""
    view = read(batch_id)
    batch, counters = view.batch, view.counters
    return render_template(
        "batch.html",
        batch=batch_out(view),
        took=batch.done - batch.created if batch.done else None,
        varied=[_varied(axis) for axis in batch.axes],
        bars=throughput(counters, view.now, live=not view.status.done),
        slowest=_tasks(view, slowest_first=True) if counters.done else [],
        failing=_tasks(view, status=tuple(sorted(FAILED)))
        if FAILED & counters.counts.keys()
        else [],
        any_failing=ANY_FAILING,
        first=_tasks(view, oldest_first=True, limit=FIRST),
        finish=_finish(batch),
        may=_may(view),
        statuses=list(Status),
    )


def _tasks(
    view: BatchView,
    *,
    status: tuple[Status, ...] = (),
    oldest_first: bool = False,
    slowest_first: bool = False,
    limit: int = WORST,
) -> list[SummaryOut]:
    query = Query(
        batch=view.batch.id,
        status=status,
        oldest_first=oldest_first,
        slowest_first=slowest_first,
        limit=limit,
    )
    return [summary_out(item) for item in gateway().judicator.search(query).items]


def _varied(axis: Axis) -> Varied:
    return Varied(names=tuple(axis.names), values=_values(axis), size=axis.size)


def _values(axis: Axis) -> str:
    """The values in words, however many there are.

    >>> _values(Range(name="n", start=0, stop=1000, step=2))
    '0, 2, 4, … 994, 996, 998'
    >>> _values(Values(name="c", values=("a", 0.5, True)))
    'a, 0.5, true'
    """
    if isinstance(axis, Rows):
        return "rows of a table"
    numbers = list(range(axis.size)) if axis.size <= _SHOWN_VALUES else [0, 1, 2]
    told = ", ".join(_value(axis, number) for number in numbers)
    if axis.size <= _SHOWN_VALUES:
        return told
    last = ", ".join(_value(axis, axis.size - number) for number in (3, 2, 1))
    return f"{told}, … {last}"


def _value(axis: Range | Values, number: int) -> str:
    text = spelled(axis.at(number)[0])
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _finish(batch: Batch) -> Finish | None:
    view = _finishing(batch.finish_task)
    if view is None:
        return None
    judicator = gateway().judicator
    return Finish(
        task=task_out(view, judicator),
        why=judicator.explain(view.task.id),
        pictures=pictures_of(view.task),
    )


def _finishing(id_: TaskId | None) -> TaskView | None:
    """The finishing task where there is one: it may have been purged by itself."""
    if id_ is not None:
        with suppress(NotFound):
            return gateway().judicator.get(id_)
    return None


# -- changing --------------------------------------------------------------------------------


def _may(view: BatchView) -> set[str]:
    """What can be done with a batch in its state."""
    if not view.status.done:
        if view.status is BatchStatus.CANCELLING:
            return set()
        return {"cancel", "retry"} if _failed(view) else {"cancel"}
    again = view.status is BatchStatus.CANCELLED or _failed(view)
    return {"purge", "retry"} if again else {"purge"}


def _failed(view: BatchView) -> bool:
    return bool(RETRIED & view.counters.counts.keys()) or (
        view.finish_status is not None and view.finish_status in RETRIED
    )


@blueprint.post("/<batch_id>/cancel")
def cancel(batch_id: str) -> BaseResponse:
    """Cancel it with all of its tasks, and show it."""
    id_ = read_to_change(batch_id).batch.id
    with suppress(AlreadyDone):  # it ended while the reader reached for the button: show that
        gateway().judicator.cancel_batch(id_)
    return redirect(url_for(".show", batch_id=id_), 303)


@blueprint.post("/<batch_id>/retry")
def retry(batch_id: str) -> BaseResponse:
    """Submit again what ended badly, and show it."""
    id_ = read_to_change(batch_id).batch.id
    gateway().judicator.retry_batch(id_)
    return redirect(url_for(".show", batch_id=id_), 303)


@blueprint.post("/<batch_id>/purge")
def purge(batch_id: str) -> BaseResponse:
    """Remove it with its tasks for good, and show those that are left."""
    gateway().judicator.purge_batch(read_to_change(batch_id).batch.id)
    return redirect(url_for(".index"), 303)
