"""When two results of a task agree, as its policy has it.

How the program ended is compared first, whichever the comparator: two replicas that fail alike
agree. Then what it left, by digest where that suffices; standard output is interpreted here up to
``PARSE_MOST`` bytes. What is larger, or is for a user's program to compare, core cannot decide:
the answer is None, and a judging run finds out (see ``judging``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from accord.core import texts
from accord.core.replica import Result, Verdict
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

MOST_APART = 16
"""Distinct standard outputs that core tells apart pair by pair; a judging run forms groups of
however many."""
APART_BYTES = 8 * PARSE_MOST
"""Bytes of all of these together."""

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
        parsed = text is None or texts.parsed(text) is not texts.NOT_JSON
        return "" if parsed else "Its standard output is not one JSON value."
    return ""


def too_many(results: Iterable[Result]) -> bool:
    """Whether so much was printed, and so differently, that core does not compare each with each."""
    found = {_digest(r): _text(r, PARSE_MOST) or b"" for r in results if r.verdict is Verdict.OK}
    return len(found) > MOST_APART or sum(map(len, found.values())) > APART_BYTES


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
    """A file that neither kept says nothing of what they had to write."""
    kept = all(path in one.kept and path in other.kept for path in comparator.paths)
    if not kept:
        return _left(one) == _left(other)
    return all(one.kept[path].digest == other.kept[path].digest for path in comparator.paths)


def _program(_comparator: Program, one: Result, other: Result, _most: int) -> bool | None:
    """The same bytes need no program to be called equal."""
    return True if _left(one) == _left(other) else None


_Texts = Lines | Tokens | Numbers | Json


def _by_text(comparator: _Texts, one: Result, other: Result, most: int) -> bool | None:
    """Interpret both standard outputs, unless they are the same anyway."""
    if _digest(one) == _digest(other):
        return True
    first, second = _text(one, most), _text(other, most)
    if first is None or second is None:
        return None
    return _same(comparator, min(first, second), max(first, second))


@functools.lru_cache(maxsize=512)
def _same(comparator: _Texts, one: bytes, other: bytes) -> bool:
    """The same pairs are asked of again with each result that a task gets."""
    if isinstance(comparator, Numbers):
        return texts.same_words(_words(one), _words(other), comparator.abs, comparator.rel)
    return _SAME[type(comparator)](one, other)


@functools.lru_cache(maxsize=MOST_APART)
def _words(text: bytes) -> tuple[tuple[bytes, float | None], ...]:
    """Reading the numbers takes longer than comparing them."""
    return texts.words_of(text)


_SAME: Mapping[type, Callable[[bytes, bytes], bool]] = {
    Lines: texts.same_lines,
    Tokens: texts.same_tokens,
    Json: texts.same_json,
}


_AGREE: Mapping[type, Callable[[Any, Result, Result, int], bool | None]] = {
    Default: _default,
    Exact: _exact,
    Lines: _by_text,
    Tokens: _by_text,
    Numbers: _by_text,
    Json: _by_text,
    Files: _files,
    Program: _program,
}


def _digest(result: Result) -> str | None:
    return result.execute.stdout.digest if result.execute else None


def _text(result: Result, most: int) -> bytes | None:
    """Its standard output, where that is at hand and not too large."""
    if result.execute is None:
        return b""
    inline = result.execute.stdout.inline
    return None if inline is None or len(inline) > most else inline
