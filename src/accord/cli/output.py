"""How things are shown: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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


def print_json(document: Any) -> None:
    """One JSON document."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def print_json_lines(documents: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line."""
    for document in documents:
        print(json.dumps(document, ensure_ascii=False), flush=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout; its cells are text, never markup."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = [printable(str(cell)) for cell in row]
        table.add_row(*(Text(cell, style=_style(cell)) for cell in cells))
    # a pipe has no width: what reads it gets whole lines
    width = None if sys.stdout.isatty() else 200
    Console(file=sys.stdout, width=width).print(table)


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
