"""When two results of a task agree, as its policy has it.

How the program ended is compared first, whichever the comparator: two replicas that fail alike
agree. Then what it left, by digest where that suffices; standard output is interpreted here up to
``PARSE_MOST`` bytes. What is larger, or is for a user's program to compare, core cannot decide:
the answer is None, and a judging run finds out (see ``judging``). The built-in program of such a
run is ``groups`` over the whole contents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from accord.core.judging import Judgement
from accord.core.replica import Content, Result, Verdict
from accord.core.task import (
    INLINE_STREAM,
    Comparator,
    Default,
    Exact,
    Files,
    Json,
    Lines,
    Numbers,
    Program,
    Tokens,
)

PARSE_MOST = INLINE_STREAM
"""Bytes of one standard output that core interprets: what a document holds inline anyway."""

_LIMITS = (
    Verdict.TIME_LIMIT,
    Verdict.MEMORY_LIMIT,
    Verdict.OUTPUT_LIMIT,
    Verdict.DISK_LIMIT,
)


def agree(
    comparator: Comparator, one: Result, other: Result, most: int = PARSE_MOST
) -> bool | None:
    """Whether two results are one; None where that cannot be said without a judging run.

    Need not be transitive: with a tolerance, neighbours agree and the ends of a row do not.
    """
    if _end(one) != _end(other):
        return False
    if one.verdict is not Verdict.OK:
        return not _counts_output(comparator, one) or _left(one) == _left(other)
    return _AGREE[type(comparator)](comparator, one, other, most)


def unreadable(comparator: Comparator, result: Result, most: int = PARSE_MOST) -> str:
    """Why a result cannot be compared with one that is not the same byte for byte; else empty.

    Only what ended well is interpreted. What is too large to be read here is for the judging run.
    """
    if result.verdict is not Verdict.OK:
        return ""
    if isinstance(comparator, Files):
        missing = [path for path in comparator.paths if path not in result.kept]
        return f"It did not keep {missing[0]}." if missing else ""
    if isinstance(comparator, Json):
        text = _text(result, most)
        parsed = text is None or _parsed(text) is not _NOT_JSON
        return "" if parsed else "Its standard output is not one JSON value."
    return ""


def groups(comparator: Comparator, results: Mapping[int, Result]) -> Judgement:
    """The results in groups of equal ones, each held against the first of a group.

    This is what the built-in program of a judging run does: contents are inline, however large.
    """
    whole = 1 << 62
    bad = [n for n, result in results.items() if unreadable(comparator, result, whole)]
    found: list[list[int]] = []
    for number, result in results.items():
        if number in bad:
            continue
        for group in found:
            if agree(comparator, results[group[0]], result, whole):
                group.append(number)
                break
        else:
            found.append([number])
    return Judgement(groups=tuple(tuple(g) for g in found), unreadable=tuple(bad))


# -- how it ended ------------------------------------------------------------------------


def _end(result: Result) -> tuple[object, ...]:
    """Verdict and exit. Where a limit or the compiler ended it, the verdict alone: the signal is
    ours then, and compilers exit as they like.
    """
    step = result.execute
    if step is None:
        return (result.verdict, "compile")
    if result.verdict in _LIMITS:
        return (result.verdict,)
    return (result.verdict, step.exit_code, step.signal)


def _counts_output(comparator: Comparator, result: Result) -> bool:
    """Whether what was printed before a failure counts: byte for byte, or not at all. Not where a
    limit ended it, as it is chance how much got out by then.
    """
    return isinstance(comparator, Default | Exact) and result.verdict not in _LIMITS


def _left(result: Result) -> tuple[object, ...]:
    """What the program left. Standard error never counts, nor what the compile step printed:
    compilers word their messages by version.
    """
    stdout = result.execute.stdout.digest if result.execute else None
    return (stdout, {path: content.digest for path, content in result.kept.items()})


# -- what it left, by comparator ---------------------------------------------------------


def _default(_comparator: Default, one: Result, other: Result, _most: int) -> bool:
    return _left(one) == _left(other)


def _exact(_comparator: Exact, one: Result, other: Result, _most: int) -> bool:
    return _digest(one) == _digest(other)


def _files(comparator: Files, one: Result, other: Result, _most: int) -> bool:
    return all(_kept_digest(one, path) == _kept_digest(other, path) for path in comparator.paths)


def _program(_comparator: Program, one: Result, other: Result, _most: int) -> bool | None:
    """The same bytes need no program to be called equal."""
    return True if _left(one) == _left(other) else None


def _lines(_comparator: Lines, one: Result, other: Result, most: int) -> bool | None:
    return _by_text(one, other, most, lambda a, b: _trimmed(a) == _trimmed(b))


def _tokens(_comparator: Tokens, one: Result, other: Result, most: int) -> bool | None:
    return _by_text(one, other, most, lambda a, b: a.split() == b.split())


def _numbers(comparator: Numbers, one: Result, other: Result, most: int) -> bool | None:
    return _by_text(one, other, most, lambda a, b: _near(comparator, a.split(), b.split()))


def _json(_comparator: Json, one: Result, other: Result, most: int) -> bool | None:
    return _by_text(one, other, most, _same_json)


_AGREE: Mapping[type, Callable[[Any, Result, Result, int], bool | None]] = {
    Default: _default,
    Exact: _exact,
    Lines: _lines,
    Tokens: _tokens,
    Numbers: _numbers,
    Json: _json,
    Files: _files,
    Program: _program,
}


def _by_text(
    one: Result, other: Result, most: int, same: Callable[[bytes, bytes], bool]
) -> bool | None:
    """Interpret both standard outputs, unless they are the same anyway."""
    if _digest(one) == _digest(other):
        return True
    first, second = _text(one, most), _text(other, most)
    if first is None or second is None:
        return None
    return same(first, second)


def _digest(result: Result) -> str | None:
    return result.execute.stdout.digest if result.execute else None


def _kept_digest(result: Result, path: str) -> str | None:
    found: Content | None = result.kept.get(path)
    return found.digest if found else None


def _text(result: Result, most: int) -> bytes | None:
    """Its standard output, where that is at hand and not too large."""
    if result.execute is None:
        return b""
    inline = result.execute.stdout.inline
    return None if inline is None or len(inline) > most else inline


# -- texts -------------------------------------------------------------------------------


def _trimmed(text: bytes) -> list[bytes]:
    r"""Lines without blanks at their ends, nor empty ones at the end.

    >>> _trimmed(b"a b \r\n\nc\n\n")
    [b'a b', b'', b'c']
    """
    return [line.rstrip() for line in text.rstrip().split(b"\n")]


def _near(tolerance: Numbers, one: Sequence[bytes], other: Sequence[bytes]) -> bool:
    """Whether two rows of words are the same within the tolerance.

    >>> _near(Numbers(rel=1e-3), [b"x", b"1.000"], [b"x", b"1.0001"])
    True
    >>> _near(Numbers(rel=1e-3), [b"x"], [b"1"])
    False
    """
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all(_near_word(tolerance, a, b) for a, b in pairs)


def _near_word(tolerance: Numbers, one: bytes, other: bytes) -> bool:
    if one == other:
        return True
    first, second = _number(one), _number(other)
    if first is None or second is None:
        return False
    if math.isnan(first) or math.isnan(second):
        return math.isnan(first) and math.isnan(second)
    return first == second or _within(tolerance, first, second)


def _within(tolerance: Numbers, one: float, other: float) -> bool:
    """Infinity is near to nothing else."""
    if math.isinf(one) or math.isinf(other):
        return False
    bound = max(tolerance.abs, tolerance.rel * max(abs(one), abs(other)))
    return abs(one - other) <= bound


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

_NOT_JSON = object()


def _parsed(text: bytes) -> object:
    """The value of a JSON text, else ``_NOT_JSON``."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _NOT_JSON


def _same_json(one: bytes, other: bytes) -> bool:
    """By value: 1 and 1.0 are one, true and 1 are not.

    >>> _same_json(b'{"a": [1, 2], "b": null}', b'{"b":null,"a":[1.0,2]}')
    True
    >>> _same_json(b"[1]", b"[true]"), _same_json(b"x", b"y")
    (False, False)
    """
    first, second = _parsed(one), _parsed(other)
    if first is _NOT_JSON or second is _NOT_JSON:
        return False
    waiting: list[tuple[object, object]] = [(first, second)]
    while waiting:  # not by recursion: the texts are strangers'
        a, b = waiting.pop()
        inner = _inner_pairs(a, b)
        if inner is None:
            return False
        waiting += inner
    return True


def _inner_pairs(one: object, other: object) -> list[tuple[object, object]] | None:
    """The pairs that must be the same for these two to be so; None where they cannot be."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [(one[k], other[k]) for k in one] if one.keys() == other.keys() else None
    if isinstance(one, list) and isinstance(other, list):
        return list(zip(one, other, strict=True)) if len(one) == len(other) else None
    if isinstance(one, bool) is not isinstance(other, bool):
        return None
    return [] if one == other else None
