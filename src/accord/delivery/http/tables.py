"""A table of parameters: CSV in, JSON lines out, as the judicator reads them row after row.

The whole is checked before any of it is sent, so that a bad row a million lines down makes no
half of a batch.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

import msgspec

from accord.core.errors import Invalid
from accord.core.parameters import NAME

_IN_MEMORY = 1 << 20
_LONGEST_ROW = 64 * 1024
"""Characters of the values of one row: they lie in the document of each task that it makes."""
_encoder = msgspec.json.Encoder()


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """What a CSV text holds."""

    names: tuple[str, ...]
    size: int
    """Rows."""
    first: list[str]
    last: list[str]
    lines: IO[bytes]
    """A JSON list for each row, from the beginning."""


@contextmanager
def read_table(text: str) -> Iterator[Table]:
    r"""The table that a CSV text spells: a header of parameters' names, then their values.

    Values are texts. Blank lines are passed over. Raises Invalid, naming the line.

    >>> with read_table("n,word\n1,a b\n2,\n") as table:
    ...     table.names, table.size, table.last, table.lines.read()
    (('n', 'word'), 2, ['2', ''], b'["1","a b"]\n["2",""]\n')
    """
    if "\0" in text:
        raise Invalid("The csv holds a NUL character. Send it as text.", field="csv")
    rows = _rows(text.removeprefix("\N{BYTE ORDER MARK}"))
    names = _names(next(rows, (1, []))[1])
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as lines:
        yield _written(rows, names, cast("IO[bytes]", lines))


def _written(
    rows: Iterator[tuple[int, list[str]]], names: tuple[str, ...], lines: IO[bytes]
) -> Table:
    size = 0
    first: list[str] = []
    last: list[str] = []
    for number, last in rows:
        _check_row(last, names, number)
        first = first or last
        lines.write(_encoder.encode(last) + b"\n")
        size += 1
    if not size:
        raise Invalid("The csv has no rows below its header. Add one for each value.", field="csv")
    lines.seek(0)
    return Table(names=names, size=size, first=first, last=last, lines=lines)


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each row with the number of the line on which it ends."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        yield from ((reader.line_num, row) for row in reader if row)
    except csv.Error as error:
        number = reader.line_num
        raise Invalid(
            f"Line {number} of the csv cannot be read: {error}. Correct it.",
            field="csv",
            line=number,
        ) from error


def _names(header: list[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in header)
    if not names:
        raise Invalid(
            "The csv is empty. Its first line names the parameters, the others hold their values.",
            field="csv",
        )
    for name in names:
        if not NAME.fullmatch(name):
            raise Invalid(
                f"The csv's first line names its columns, and {name[:80]!r} cannot be a parameter. "
                "Take letters, digits and _, at most 64.",
                field="csv",
                line=1,
            )
    return names


def _check_row(row: list[str], names: tuple[str, ...], number: int) -> None:
    if sum(map(len, row)) > _LONGEST_ROW:
        raise Invalid(
            f"Line {number} of the csv has values of over {_LONGEST_ROW} characters. Shorten them, "
            "or send what is long as files.",
            field="csv",
            line=number,
        )
    if len(row) != len(names):
        raise Invalid(
            f"Line {number} of the csv has {len(row)} values, its header {len(names)}. "
            "Give one for each column; put a value with commas in quotes.",
            field="csv",
            line=number,
        )
