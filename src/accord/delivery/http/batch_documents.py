"""How a batch reads back over HTTP."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from accord.core.batch import BatchPage, BatchSource, BatchStatus, BatchView
from accord.core.parameters import Axis, Range, Rows
from accord.core.task import NewTask, Scalar
from accord.delivery.http.documents import API, iso, spec_out


class BatchOut(BaseModel):
    """A batch as it reads back."""

    id: str
    name: str
    user: str
    labels: dict[str, str]
    source: BatchSource
    status: BatchStatus
    done: bool
    total: int
    counts: dict[str, int]
    to_generate: int
    open: bool
    cushion: int
    parameters: dict[str, dict[str, int | list[Scalar]]]
    template: dict[str, Any] | None
    finish: dict[str, Any] | None
    finish_task: str | None
    finish_status: str | None
    omitted: int
    broken_off: bool
    rate: float
    eta: float | None
    explanation: str
    created: str
    closed: str | None
    done_time: str | None
    cancel_requested_at: str | None
    links: dict[str, str]


class BatchPageOut(BaseModel):
    """One page of a list of batches."""

    items: list[BatchOut]
    next: str | None


def batch_out(view: BatchView) -> BatchOut:
    """The batch with its counters; rate in tasks a second, eta in seconds."""
    batch = view.batch
    rate = view.counters.rate(view.now)
    return BatchOut(
        id=batch.id,
        name=batch.name,
        user=batch.user,
        labels=dict(batch.labels),
        source=batch.source,
        status=view.status,
        done=view.status.done,
        total=batch.total,
        counts={status.value: number for status, number in sorted(view.counters.counts.items())},
        to_generate=batch.total - batch.taken,
        open=batch.closed is None,
        cushion=batch.cushion,
        parameters=_parameters(batch.axes),
        template=_told(batch.template),
        finish=_told(batch.finish),
        finish_task=batch.finish_task,
        finish_status=view.finish_status,
        omitted=batch.omitted,
        broken_off=batch.broken_off,
        rate=round(rate, 3),
        eta=_eta(view, rate),
        explanation=view.why,
        created=iso(batch.created) or "",
        closed=iso(batch.closed),
        done_time=iso(batch.done),
        cancel_requested_at=iso(batch.cancel_requested_at),
        links=_links(batch.id),
    )


def batch_page_out(page: BatchPage) -> BatchPageOut:
    """A page of a list."""
    return BatchPageOut(items=[batch_out(view) for view in page.items], next=page.next)


def _eta(view: BatchView, rate: float) -> float | None:
    """Seconds until all of its tasks are done, if they go on as they did over the last minute."""
    if view.status.done or not rate:
        return None
    left = view.counters.open + view.batch.total - view.batch.taken
    return round(left / rate, 1)


def _parameters(axes: tuple[Axis, ...]) -> dict[str, dict[str, int | list[Scalar]]]:
    """As they were given; of a table, for each column, how many rows it has."""
    found: dict[str, dict[str, int | list[Scalar]]] = {}
    for axis in axes:
        if isinstance(axis, Rows):
            found.update({name: {"csv": axis.size} for name in axis.names})
        elif isinstance(axis, Range):
            step: list[Scalar] = [axis.step] if axis.step != 1 else []
            found[axis.name] = {"range": [axis.start, axis.stop, *step]}
        else:
            found[axis.name] = {"list": list(axis.values)}
    return found


def _told(task: NewTask | None) -> dict[str, Any] | None:
    if task is None:
        return None
    about = {"name": task.name, "labels": dict(task.labels), "priority": task.priority}
    return {**spec_out(task.spec), **about}


def _links(id_: str) -> dict[str, str]:
    home = f"{API}/batches/{id_}"
    return {
        "self": home,
        "page": f"/batches/{id_}",
        "tasks": f"{home}/tasks",
        "results": f"{home}/results",
        "events": f"{home}/events",
    }
