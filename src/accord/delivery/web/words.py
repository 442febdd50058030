"""How the pages put things into words: statuses, sizes, durations."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from accord.core.parameters import spelled

_COLOURS = {
    "success": "success",
    "compile_failed": "danger",
    "run_failed": "danger",
    "wrong_answer": "danger",
    "format_error": "danger",
    "failed": "danger",
    "cancelled": "secondary",
    "skipped": "secondary",
    "online": "success",
    "draining": "warning",
    "quarantined": "warning",
    "lost": "danger",
    "done": "success",
}

_NONE = "\N{EN DASH}"
"""Stands where there is nothing to tell."""
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def words(name: str) -> str:
    """A code as words.

    >>> words("compile_failed")
    'compile failed'
    """
    return name.replace("_", " ")


def colour(status: str) -> str:
    """Bootstrap's name for the colour that goes with a status; the word always stands beside it."""
    return _COLOURS.get(status, "primary")


def size(count: float | None) -> str:
    """Bytes for people.

    >>> size(512), size(536870912), size(2952790)
    ('512 bytes', '512 MiB', '2.8 MiB')
    """
    if count is None:
        return _NONE
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{round(count, 1):.5g} {_UNITS[unit]}"


def seconds(time: float | None) -> str:
    """A duration for people.

    >>> seconds(0.01234), seconds(2.5), seconds(90.0)
    ('12 ms', '2.5 s', '90 s')
    """
    if time is None:
        return _NONE
    return f"{time * 1000:.0f} ms" if time < 1 else f"{round(time, 2):g} s"


def ago(then: float, now: float) -> str:
    """How long ago something was.

    >>> ago(100.0, 103.2), ago(0.0, 7300.0)
    ('3 s ago', '2 h ago')
    """
    gone = max(0.0, now - then)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if gone >= 2 * length:
            return f"{gone / length:.0f} {unit} ago"
    return f"{gone:.0f} s ago"


def span(time: float | None) -> str:
    """A time to wait, or one that something took, for people; it is no measurement.

    >>> span(0.4), span(42.2), span(150), span(7200), span(200_000)
    ('1 s', '42 s', '2 min 30 s', '2 h', '2 d 7 h')
    """
    if time is None:
        return _NONE
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    left = max(1, round(time))
    for (length, unit), (finer, part) in pairwise(units):
        if left >= length:
            rest = left % length // finer
            return f"{left // length} {unit}" + (f" {rest} {part}" if rest else "")
    return f"{left} s"


def rate(per_second: float) -> str:
    """A throughput for people.

    >>> rate(12.345), rate(0.05), rate(0)
    ('12.3 tasks/s', '3 tasks/min', '0 tasks/s')
    """
    slow = 0 < per_second < 0.1
    number = per_second * 60 if slow else per_second
    shown = f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
    return f"{shown} tasks/{'min' if slow else 's'}"


def moment(iso: str | None) -> str:
    """A time for people, UTC.

    >>> moment("2023-11-14T22:13:20.250000Z")
    '2023-11-14 22:13:20 UTC'
    """
    return f"{iso[:10]} {iso[11:19]} UTC" if iso else _NONE


def signal_name(number: int) -> str:
    """A signal for people.

    >>> signal_name(9), signal_name(200)
    ('SIGKILL (9)', 'signal 200')
    """
    try:
        return f"{signal.Signals(number).name} ({number})"
    except ValueError:
        return f"signal {number}"


_VALIDITIES = {
    "init": "not compared yet",
    "valid": "agrees",
    "invalid": "differs",
    "inconclusive": "not decided",
    "no_check": "not checked",
    "too_late": "came too late",
}


def agreement(replica: Any) -> str:
    """What validation thinks of a replica's result; of one without a result, nothing.

    >>> from types import SimpleNamespace
    >>> agreement(SimpleNamespace(outcome="success", validity="no_check"))
    'not checked'
    >>> agreement(SimpleNamespace(outcome=None, validity="init")) == _NONE
    True
    """
    if replica.outcome == "validate_error":
        return "cannot be read"
    return _VALIDITIES[replica.validity] if replica.outcome == "success" else _NONE


def compared(comparator: Mapping[str, Any]) -> str:
    """When two results agree, for people.

    >>> compared({"type": "lines"})
    'lines of output'
    >>> compared({"type": "numbers", "abs": 0.0, "rel": 1e-09})
    'words of output, numbers within 1e-09 of the larger'
    """
    kind = comparator["type"]
    if kind == "numbers":
        return f"words of output, numbers {_tolerance(comparator)}"
    if kind == "files":
        return f"kept files {', '.join(comparator['paths'])}, byte for byte"
    return _COMPARED[kind]


_COMPARED = {
    "default": "output and kept files, byte for byte",
    "exact": "output, byte for byte",
    "lines": "lines of output",
    "tokens": "words of output",
    "json": "output as a JSON value",
    "program": "by a program of its own",
}


def _tolerance(comparator: Mapping[str, Any]) -> str:
    bounds = [f"{comparator['abs']:g}"] if comparator["abs"] else []
    bounds += [f"{comparator['rel']:g} of the larger"] if comparator["rel"] else []
    return f"within {' or '.join(bounds)}" if bounds else "by value"


def quorum(task: Any) -> str:
    """How many results must agree, for people; the majority is of the quorum.

    >>> from types import SimpleNamespace
    >>> quorum(SimpleNamespace(quorum=3)), quorum(SimpleNamespace(quorum=1))
    ('2 of 3 must agree', 'one suffices')
    """
    return (
        f"{task.quorum // 2 + 1} of {task.quorum} must agree" if task.quorum > 1 else "one suffices"
    )


def share(used: float | None, limit: float) -> int:
    """How much of a limit was used, in percent from 0 to 100.

    >>> share(5, 10), share(None, 10), share(11, 10)
    (50, 0, 100)
    """
    if not used or limit <= 0:
        return 0
    return min(100, round(100 * used / limit))


FILTERS: Mapping[str, Callable[..., Any]] = {
    "words": words,
    "colour": colour,
    "size": size,
    "seconds": seconds,
    "ago": ago,
    "span": span,
    "rate": rate,
    "moment": moment,
    "signal_name": signal_name,
    "share": share,
    "agreement": agreement,
    "compared": compared,
    "quorum": quorum,
    "spelled": spelled,
}
"""By the names that the templates use."""
