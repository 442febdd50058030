"""How things are shown: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

_STYLES = {
    "success": "green",
    "ok": "green",
    "online": "green",
    "held": "green",
    "cancelled": "dim",
    "pending": "yellow",
    "compiling": "yellow",
    "running": "yellow",
    "retrying": "yellow",
    "cancelling": "yellow",
    "draining": "yellow",
}


_GAP = 2
"""Columns of a terminal between those of a table."""
_NARROWEST = 10
"""A column gives way no further."""


def print_json(document: Any) -> None:
    """One JSON document."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def print_json_lines(documents: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line."""
    for document in documents:
        print(json.dumps(document, ensure_ascii=False), flush=True)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    yielding: int = -1,
    overflow: Literal["ellipsis", "fold"] = "ellipsis",
) -> None:
    """A table on stdout; its cells are text, never markup.

    On a narrow terminal the column ``yielding`` gives way. The others stay whole, since an id that
    is cut can be copied by nobody: where there is no room for them the lines are wider than the
    terminal. What is no terminal has no width, and gets everything.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    if sys.stdout.isatty():
        elastic = yielding % len(widths)
        others = sum(widths) - widths[elastic] + _GAP * (len(widths) - 1)
        left = max(_NARROWEST, Console(file=sys.stdout).width - others)
        widths[elastic] = min(widths[elastic], left)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, width=width, no_wrap=overflow == "ellipsis", overflow=overflow)
    for row in cells:
        table.add_row(*(Text(cell, style=_style(cell)) for cell in row))
    whole = sum(widths) + _GAP * len(widths)
    Console(file=sys.stdout, width=whole, soft_wrap=True).print(table)


def _style(cell: str) -> str:
    if cell in _STYLES:
        return _STYLES[cell]
    return "red" if cell.endswith(("_failed", "_error", "_limit", "failed", "lost")) else ""


def printable(text: str) -> str:
    """``text`` without what would steer a terminal: a program's output may hold anything.

    >>> printable("a" + chr(27) + "[31mb") == "a" + chr(92) + "x1b[31mb"
    True
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def duration(value: float | None) -> str:
    """Seconds for a person.

    >>> duration(0.0123), duration(2.5), duration(None)
    ('12 ms', '2.50 s', '')
    """
    if value is None:
        return ""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def amount(value: float | None) -> str:
    """Bytes for a person.

    >>> amount(1536), amount(300 << 20), amount(None)
    ('1.5 KiB', '300.0 MiB', '')
    """
    if value is None:
        return ""
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
