"""When two results agree, by each comparator."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from accord.core.comparators import PARSE_MOST, agree, unreadable
from accord.core.replica import Result, Verdict, content
from accord.core.task import (
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
from tests.builders import a_result, a_step, a_step_result


def default(one: Result, other: Result) -> bool | None:
    return agree(Default(), one, other)


def result(**changes: Any) -> Result:
    return a_result(execute=a_step_result(**changes))


@pytest.mark.parametrize(
    "other",
    [
        result(exit_code=1),
        result(exit_code=None, signal=11),
        result(stdout=b"hello"),
        a_result(verdict=Verdict.WRONG_ANSWER),
        a_result(kept={"out.txt": content(b"1")}),
        a_result(execute=None),
    ],
    ids=["exit code", "signal", "stdout", "verdict", "kept files", "not executed"],
)
def test_results_differ_by_what_the_program_did(other: Result) -> None:
    assert not default(result(), other)
    assert not default(other, result())


@pytest.mark.parametrize(
    "other",
    [
        result(stderr=b"warning"),
        result(wall_time=9.0, cpu_time=9.0, peak_memory=1),
        a_result(compile=a_step_result(b"gcc 13")),
        a_result(kept_dropped=("big",)),
    ],
    ids=["stderr", "usage", "what the compiler printed", "what was not kept"],
)
def test_results_agree_whatever_else_differs(other: Result) -> None:
    assert default(result(), other)


def test_kept_files_are_compared_by_content_not_order() -> None:
    one = a_result(kept={"a": content(b"1"), "b": content(b"2")})
    two = a_result(kept={"b": content(b"2"), "a": content(b"1")})
    assert default(one, two)
    assert not default(one, a_result(kept={"a": content(b"1"), "b": content(b"3")}))


# -- how it ended ------------------------------------------------------------------------

EVERY: list[Comparator] = [
    Default(),
    Exact(),
    Lines(),
    Tokens(),
    Numbers(abs=1.0),
    Json(),
    Files(paths=("out.txt",)),
    Program(execute=a_step()),
]


@pytest.mark.parametrize("comparator", EVERY, ids=lambda c: type(c).__name__)
def test_results_that_ended_differently_never_agree(comparator: Comparator) -> None:
    crashed = result(exit_code=None, signal=11)
    failed = a_result(verdict=Verdict.RUNTIME_ERROR, execute=a_step_result(exit_code=3))
    assert agree(comparator, result(), crashed) is False
    assert agree(comparator, result(), failed) is False


@pytest.mark.parametrize("comparator", EVERY, ids=lambda c: type(c).__name__)
@pytest.mark.parametrize(
    "failed",
    [
        a_result(verdict=Verdict.RUNTIME_ERROR, execute=a_step_result(b"x", exit_code=3)),
        a_result(verdict=Verdict.COMPILE_ERROR, execute=None, compile=a_step_result(b"oh")),
        a_result(verdict=Verdict.TIME_LIMIT, execute=a_step_result(b"x", signal=9)),
    ],
    ids=lambda r: str(r.verdict),
)
def test_two_that_fail_alike_agree(comparator: Comparator, failed: Result) -> None:
    assert agree(comparator, failed, failed) is True


def test_how_much_got_out_before_a_limit_does_not_count() -> None:
    slow, later = (
        a_result(verdict=Verdict.TIME_LIMIT, execute=a_step_result(out, signal=signal))
        for out, signal in ((b"1 2", 9), (b"1 2 3", 24))
    )
    assert all(agree(comparator, slow, later) is True for comparator in EVERY)
    in_compiler = a_result(verdict=Verdict.TIME_LIMIT, execute=None, compile=a_step_result())
    assert agree(Default(), slow, in_compiler) is False


def test_what_a_program_printed_before_it_failed_counts_byte_for_byte_or_not_at_all() -> None:
    one, other = (
        a_result(verdict=Verdict.RUNTIME_ERROR, execute=a_step_result(out, exit_code=1))
        for out in (b"1", b"2")
    )
    assert agree(Default(), one, other) is False
    assert agree(Exact(), one, other) is False
    assert agree(Json(), one, other) is True


# -- by comparator -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comparator", "one", "other", "same"),
    [
        (Exact(), b"a\n", b"a\n", True),
        (Exact(), b"a\n", b"a", False),
        (Lines(), b"a \r\nb\n\n", b"a\nb", True),
        (Lines(), b" a\nb", b"a\nb", False),
        (Lines(), b"\na", b"a", False),
        (Tokens(), b"a  b\nc", b"a b c\n", True),
        (Tokens(), b"a b", b"ab", False),
        (Numbers(rel=1e-6), b"pi 3.1415926", b"pi 3.1415927", True),
        (Numbers(rel=1e-9), b"pi 3.1415926", b"pi 3.1415927", False),
        (Numbers(abs=0.5), b"1 2", b"1.5 2", True),
        (Numbers(abs=0.5), b"1", b"1 1", False),
        (Numbers(abs=0.5), b"e 1", b"f 1", False),
        (Numbers(), b"1.0", b"1", True),
        (Numbers(), b"1_0", b"10", False),
        (Numbers(), b"nan", b"NaN", True),
        (Numbers(abs=1.0), b"nan", b"0", False),
        (Numbers(rel=1.0), b"inf", b"1", False),
        (Numbers(rel=1.0), b"inf", b"Infinity", True),
        (Json(), b'{"a":1,"b":[1,2]}', b'{ "b": [1.0, 2], "a": 1 }', True),
        (Json(), b"[1,2]", b"[2,1]", False),
        (Json(), b"[true]", b"[1]", False),
        (Json(), b'{"a":1}', b'{"a":1,"b":2}', False),
        (Json(), b"[" * 4000 + b"]" * 4000, b"1", False),
    ],
)
def test_standard_output_is_interpreted(
    comparator: Comparator, one: bytes, other: bytes, same: bool
) -> None:
    assert agree(comparator, a_result(one), a_result(other)) is same
    assert agree(comparator, a_result(other), a_result(one)) is same


def test_kept_files_count_only_for_the_default_and_where_they_are_named() -> None:
    one, other = (a_result(kept={"out.txt": content(data)}) for data in (b"1", b"2"))
    for comparator in (Exact(), Lines(), Tokens(), Numbers(), Json()):
        assert agree(comparator, one, other) is True
    assert agree(Default(), one, other) is False
    assert agree(Files(paths=("out.txt",)), one, other) is False


def test_named_files_are_compared_and_nothing_else() -> None:
    kept = {"out.txt": content(b"1")}
    one = a_result(b"x", kept=kept)
    other = a_result(b"y", kept={**kept, "log": content(b"noise")})
    assert agree(Files(paths=("out.txt",)), one, other) is True


def test_named_files_that_neither_kept_agree_only_where_all_is_the_same() -> None:
    named = Files(paths=("out.txt", "more.txt"))
    one = a_result(b"x", kept={"out.txt": content(b"1")})
    assert agree(named, one, one) is True
    assert agree(named, one, a_result(b"y", kept=one.kept)) is False


def test_a_users_program_is_asked_only_where_the_bytes_differ() -> None:
    program = Program(execute=a_step())
    assert agree(program, a_result(b"1"), a_result(b"1")) is True
    assert agree(program, a_result(b"1"), a_result(b"2")) is None


# -- what core cannot decide ---------------------------------------------------------------

LARGE = b"1 " * PARSE_MOST


def stored(data: bytes) -> Result:
    """A result whose standard output lies in the blob store."""
    away = msgspec.structs.replace(content(data), inline=None)
    return a_result(execute=msgspec.structs.replace(a_step_result(), stdout=away))


@pytest.mark.parametrize("comparator", EVERY[2:6], ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("large", [a_result(LARGE), stored(b"1")], ids=["large", "not at hand"])
def test_what_core_does_not_read_only_a_judging_run_can_tell(
    comparator: Comparator, large: Result
) -> None:
    assert agree(comparator, large, a_result(b"1 2")) is None
    assert agree(comparator, large, large) is True
    assert not unreadable(comparator, large)


@pytest.mark.parametrize(
    ("comparator", "bad"),
    [
        (Json(), a_result(b"{")),
        (Json(), a_result(b"NaN")),
        (Json(), a_result(b"\xff")),
        (Files(paths=("a",)), a_result()),
    ],
)
def test_what_is_not_what_was_asked_for_is_unreadable(comparator: Comparator, bad: Result) -> None:
    assert unreadable(comparator, bad)
    failed = msgspec.structs.replace(bad, verdict=Verdict.RUNTIME_ERROR)
    assert not unreadable(comparator, failed)
