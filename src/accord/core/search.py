"""Lists of tasks: what is asked, and the small view of a task that a list shows."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from accord.core.ids import BatchId, ExecutorName, TaskId, UserName
from accord.core.replica import Verdict
from accord.core.status import Reason, Status
from accord.core.task import Scalar

TOTAL_CEILING = 10_000
"""Totals are exact up to here; beyond it a list says "more"."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which tasks to list. All conditions hold together; None means any."""

    user: UserName | None = None
    batch: BatchId | None = None
    """The batch in which they count."""
    status: tuple[Status, ...] = ()
    labels: Mapping[str, str] = {}
    since: float | None = None
    """add_time at or after, seconds since the epoch."""
    until: float | None = None
    """add_time before."""
    text: str = ""
    """A part of the name, or the beginning of the id, in any case."""
    limit: int = 50
    cursor: str | None = None
    """The id after which the page begins, as the page before it gave."""
    oldest_first: bool = False
    slowest_first: bool = False
    """By the wall time of the run, longest first, of tasks that were run to their end. For one
    batch, and for one page without a cursor.
    """


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A task as a list shows it: small, whatever the task holds."""

    id: TaskId
    user: UserName
    name: str
    labels: Mapping[str, str]
    priority: int
    status: Status
    reason: Reason | None = None
    verdict: Verdict | None = None
    language: str | None = None
    add_time: float
    start_time: float | None = None
    done_time: float | None = None
    wall_time: float | None = None
    cpu_time: float | None = None
    peak_memory: int | None = None
    attempts: int = 0
    executor: ExecutorName | None = None
    batch: BatchId | None = None
    parameters: Mapping[str, Scalar] = {}
    """Long texts are cut short; the task has them whole."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list."""

    items: tuple[Summary, ...]
    total: int
    """How many match in all, counted no further than TOTAL_CEILING."""
    more_than_total: bool = False
    """Whether counting stopped at the ceiling."""
    next: str | None = None
    """The cursor of the next page, None on the last."""
