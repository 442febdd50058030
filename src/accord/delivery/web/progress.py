"""How far a batch is, as shapes: the segments of its bar, and the bars of its throughput.

Widths and heights are attributes of SVG, since the site's policy allows no inline style; the
bar's script finds in each segment which statuses it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import msgspec

from accord.core.batch import BUCKET, BUCKETS, Counters
from accord.core.status import OPEN, Status
from accord.delivery.http.batch_documents import BatchOut

WIDTH = 1000
"""Units of the whole bar."""
_NARROWEST = 3
"""Units of a segment that is to be seen."""
_FEWEST = 12
"""Buckets that a chart shows at least, so that a short batch is not one fat block."""

_WAITING = frozenset({Status.PENDING, Status.RETRYING})
_LAID_ASIDE = frozenset({Status.CANCELLED, Status.SKIPPED})
FAILED = frozenset(s for s in Status if s.done) - _LAID_ASIDE - {Status.SUCCESS}
"""Ends that somebody should look at."""
ANY_FAILING = ",".join(sorted(FAILED))
"""The same, as a list of tasks is asked for them."""
_KINDS = {
    "success": frozenset({Status.SUCCESS}),
    "failed": FAILED,
    "cancelled": _LAID_ASIDE,
    "running": OPEN - _WAITING,
}
"""The segments in their order. What they leave over waits."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the bar."""

    kind: str
    number: int
    """Tasks."""
    statuses: tuple[str, ...]
    start: int
    width: int


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks ended in some ten seconds."""

    place: int
    number: int
    height: int
    """Of 100, which is the most."""


def segments(batch: BatchOut) -> list[Segment]:
    """The bar of a batch; a segment of some tasks is seen, however many others there are."""
    numbers = [_number(batch, statuses) for statuses in _KINDS.values()]
    widths = _widths(numbers, batch.total)
    return [
        Segment(
            kind=kind,
            number=number,
            statuses=tuple(sorted(statuses)),
            start=start,
            width=width,
        )
        for (kind, statuses), number, width, start in zip(
            _KINDS.items(), numbers, widths, accumulate(widths, initial=0), strict=False
        )
    ]


def _number(batch: BatchOut, statuses: frozenset[Status]) -> int:
    return sum(batch.counts.get(status, 0) for status in statuses)


def _widths(numbers: Sequence[int], total: int) -> list[int]:
    """Units of the bar: at least a few for what there is at all, at the largest's expense.

    >>> _widths([5, 0, 1], 10), _widths([999_999, 1], 1_000_000)
    ([500, 0, 100], [997, 3])
    """
    widths = [max(_NARROWEST, round(WIDTH * n / total)) if n else 0 for n in numbers]
    widths[widths.index(max(widths))] -= max(0, sum(widths) - WIDTH)
    return widths


def kind_of(status: str) -> str:
    """The segment in which a status counts; empty where it waits.

    >>> kind_of("wrong_answer"), kind_of("pending")
    ('failed', '')
    """
    return next((kind for kind, statuses in _KINDS.items() if status in statuses), "")


def ended(batch: BatchOut) -> int:
    """Tasks that are done, in whatever way."""
    return sum(number for status, number in batch.counts.items() if Status(status).done)


def told(batch: BatchOut) -> str:
    """The bar in words, for who does not see it."""
    parts = [f"{ended(batch):,} of {batch.total:,} tasks done"]
    parts += [
        f"{segment.number:,} {segment.kind}"
        for segment in segments(batch)
        if segment.number and segment.kind != "success"
    ]
    return ", ".join(parts)


def throughput(counters: Counters, now: float, *, live: bool) -> list[Bar]:
    """Ends in each ten seconds of the last ten minutes: before now, or before the last end."""
    if not counters.ended:
        return []
    last = int(now // BUCKET) if live else max(counters.ended)
    first = max(min(counters.ended), last - BUCKETS + 2)
    first = min(first, last - _FEWEST + 1)
    return _bars({bucket: counters.ended.get(bucket, 0) for bucket in range(first, last + 1)})


def _bars(numbers: Mapping[int, int]) -> list[Bar]:
    most = max([1, *numbers.values()])
    return [
        Bar(place=place, number=number, height=_height(number, most))
        for place, number in enumerate(numbers.values())
    ]


def _height(number: int, most: int) -> int:
    """Of 100; what is there at all is seen.

    >>> _height(0, 10), _height(5, 10), _height(1, 100_000)
    (0, 50, 2)
    """
    return max(2, round(100 * number / most)) if number else 0


PROGRESS: Mapping[str, Callable[..., Any]] = {
    "segments": segments,
    "ended": ended,
    "told": told,
    "kind": kind_of,
}
"""Filters, by the names that the templates use."""
