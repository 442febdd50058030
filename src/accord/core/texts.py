"""When two texts are one: by lines, words, numbers within a tolerance, or as JSON.

The same functions serve in two places: ``comparators`` calls them on what a document holds, and
this very file, as it stands, is the built-in program of judging runs, which applies them to
outputs of any size in a box. So it needs nothing but Python 3.8.

In the box: ``judge.py TYPE OPTIONS N...``, with ``results/N/stdout`` for each N. It prints the Ns
in groups of equal ones, each held against the first of a group, and which it could not read.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import zip_longest

NOT_JSON = object()
"""Stands for the value of a text that is not one JSON value."""


def same_lines(one: bytes, other: bytes) -> bool:
    r"""Equal lines, but for blanks at their ends and empty lines at the end.

    >>> same_lines(b"a b \r\n\nc\n\n", b"a b\n\nc"), same_lines(b"a", b"\na")
    (True, False)
    """
    return _equal(_lines(one), _lines(other))


def same_tokens(one: bytes, other: bytes) -> bool:
    r"""Equal words, however they are spaced.

    >>> same_tokens(b"a  b\n", b"a\tb"), same_tokens(b"a", b"a b")
    (True, False)
    """
    return _equal(_words(one), _words(other))


def same_numbers(one: bytes, other: bytes, abs_: float, rel: float) -> bool:
    """Equal words, of which numbers may differ by ``abs_``, or by ``rel`` times the larger.

    >>> same_numbers(b"x 1.000", b"x  1.0001", 0.0, 1e-3), same_numbers(b"x", b"1", 0.0, 1.0)
    (True, False)
    """
    pairs = zip_longest(_words(one), _words(other))
    return all(a is not None and b is not None and _near(a, b, abs_, rel) for a, b in pairs)


def words_of(text: bytes) -> tuple[tuple[bytes, float | None], ...]:
    """Its words, each with the number that it spells: for a small text that is compared often.

    >>> words_of(b"x 1.50")
    ((b'x', None), (b'1.50', 1.5))
    """
    return tuple((word, _number(word)) for word in _words(text))


def same_words(
    one: Sequence[tuple[bytes, float | None]],
    other: Sequence[tuple[bytes, float | None]],
    abs_: float,
    rel: float,
) -> bool:
    """As ``same_numbers``, of what ``words_of`` has read.

    >>> same_words(words_of(b"x 1.000"), words_of(b"x  1.0001"), 0.0, 1e-3)
    True
    """
    return len(one) == len(other) and all(
        a[0] == b[0] or _near_numbers(a[1], b[1], abs_, rel)
        for a, b in zip(one, other)  # noqa: B905  # of 3.10
    )


def same_json(one: bytes, other: bytes) -> bool:
    """Equal JSON values: 1 and 1.0 are one, true and 1 are not. False where one is not JSON.

    >>> same_json(b'{"a": [1, 2], "b": null}', b'{"b":null,"a":[1.0,2]}')
    True
    >>> same_json(b"[1]", b"[true]"), same_json(b"x", b"y")
    (False, False)
    """
    first, second = parsed(one), parsed(other)
    if first is NOT_JSON or second is NOT_JSON:
        return False
    waiting: list[tuple[object, object]] = [(first, second)]
    while waiting:  # not by recursion: the texts are strangers'
        a, b = waiting.pop()
        inner = _inner_pairs(a, b)
        if inner is None:
            return False
        waiting += inner
    return True


def parsed(text: bytes) -> object:
    """The value of a JSON text in UTF-8, else ``NOT_JSON``; so also what is nested too deeply.

    >>> parsed(b" [1, 2] "), parsed(b"[1] 2") is NOT_JSON, parsed(b"NaN") is NOT_JSON
    ([1, 2], True, True)
    """
    try:
        return json.loads(text.decode("utf-8"), parse_int=_whole, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return NOT_JSON


# -- lines, words, numbers ---------------------------------------------------------------


def _equal(one: Iterator[bytes], other: Iterator[bytes]) -> bool:
    return all(a == b for a, b in zip_longest(one, other))


def _lines(text: bytes) -> Iterator[bytes]:
    end = len(text.rstrip())
    for found in re.finditer(rb"[^\n]*\n?", text[:end]):
        if found.group():
            yield found.group().rstrip()


def _words(text: bytes) -> Iterator[bytes]:
    """One after the other, so that a large text is not there a second time as objects."""
    return (found.group() for found in re.finditer(rb"\S+", text))


def _near(one: bytes, other: bytes, abs_: float, rel: float) -> bool:
    return one == other or _near_numbers(_number(one), _number(other), abs_, rel)


def _near_numbers(first: float | None, second: float | None, abs_: float, rel: float) -> bool:
    if first is None or second is None:
        return False
    if math.isnan(first) or math.isnan(second):
        return math.isnan(first) and math.isnan(second)
    return first == second or _within(first, second, abs_, rel)


def _within(one: float, other: float, abs_: float, rel: float) -> bool:
    """Infinity is near to nothing else."""
    if math.isinf(one) or math.isinf(other):
        return False
    return abs(one - other) <= max(abs_, rel * max(abs(one), abs(other)))


def _number(word: bytes) -> float | None:
    """The number that a word spells, as most languages print them; None where it is none.

    >>> [_number(w) for w in (b"1e3", b"-.5", b"nan", b"1_000", b"0x10")]
    [1000.0, -0.5, nan, None, None]
    """
    if b"_" in word:  # Python's own way of writing numbers
        return None
    try:
        return float(word)
    except ValueError:
        return None


# -- JSON --------------------------------------------------------------------------------


def _whole(digits: str) -> object:
    """Exact either way. Python reads no int of more than 4300 digits, or of 640 where it is told so,
    and long before that it takes its time.
    """
    return int(digits) if len(digits) <= 600 else Decimal(digits)


def _refuse(name: str) -> object:
    raise ValueError(name)  # NaN and Infinity are Python's, not JSON's


def _inner_pairs(one: object, other: object) -> list[tuple[object, object]] | None:
    """The pairs that must be the same for these two to be so; None where they cannot be."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [(one[k], other[k]) for k in one] if one.keys() == other.keys() else None
    if isinstance(one, list) and isinstance(other, list):
        return list(zip(one, other)) if len(one) == len(other) else None  # noqa: B905  # of 3.10
    if isinstance(one, bool) is not isinstance(other, bool):
        return None
    return [] if one == other else None


# -- in the box --------------------------------------------------------------------------


def same_by(type_: str, options: Mapping[str, float]) -> Callable[[bytes, bytes], bool]:
    """How two texts compare by a comparator of that type and options."""
    if type_ == "numbers":
        abs_, rel = options.get("abs", 0.0), options.get("rel", 0.0)
        return lambda one, other: same_numbers(one, other, abs_, rel)
    return {"lines": same_lines, "tokens": same_tokens, "json": same_json}[type_]


def judged(
    type_: str, options: Mapping[str, float], texts: Mapping[int, bytes]
) -> dict[str, list[object]]:
    """The numbers of the texts in groups of equal ones, and those that cannot be read."""
    same = same_by(type_, options)
    bad = [n for n, text in texts.items() if type_ == "json" and parsed(text) is NOT_JSON]
    groups: list[list[int]] = []
    for number, text in texts.items():
        if number in bad:
            continue
        home = next((g for g in groups if same(texts[g[0]], text)), None)
        if home is None:
            groups.append([number])
        else:
            home.append(number)
    return {"groups": [*groups], "unreadable": [*bad]}


def main(argv: Sequence[str]) -> None:
    """See the module's docstring. The one function here that is not pure; only boxes call it."""
    texts = {}
    for word in argv[3:]:
        with open(f"results/{word}/stdout", "rb") as file:  # noqa: PTH123  # core knows no pathlib
            texts[int(word)] = file.read()
    sys.stdout.write(json.dumps(judged(argv[1], json.loads(argv[2]), texts)) + "\n")


if __name__ == "__main__":
    main(sys.argv)
