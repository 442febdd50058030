"""How the pages put things into words: statuses, sizes, durations."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

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
    "moment": moment,
    "signal_name": signal_name,
    "share": share,
}
"""By the names that the templates use."""
