"""When two results agree by the default comparator."""

from __future__ import annotations

from typing import Any

import pytest

from accord.core.comparators import agree
from accord.core.replica import Result, Verdict, content
from accord.core.task import Default
from tests.builders import a_result, a_step_result


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
