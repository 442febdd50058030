"""What is believed of the times that executors report."""

from __future__ import annotations

import math

import pytest

from accord.core.measures import bounded
from tests.builders import a_compile_step, a_result, a_spec, a_step_result

SPEC = a_spec(compile=a_compile_step())  # 60 s of wall and CPU to compile; 60 s and 30 s to execute


@pytest.mark.parametrize(
    ("said", "believed"),
    [
        ((2.0, 11.9), (2.0, 11.9)),
        ((2.0, 12.1), (2.0, 12.0)),  # three seconds of four cores
        ((60.0, 34.1), (60.0, 34.0)),  # its limit, and a second of each core
        ((1e300, 1e300), (70.0, 34.0)),
        ((math.inf, math.inf), (70.0, 34.0)),
        ((-1.0, -1.0), (0.0, 0.0)),
        ((math.nan, math.nan), (0.0, 0.0)),
    ],
)
def test_times_are_bounded_by_what_can_be(
    said: tuple[float, float], believed: tuple[float, float]
) -> None:
    step = a_step_result(wall_time=said[0], cpu_time=said[1])
    found = bounded(a_result(execute=step), SPEC, 4).execute
    assert found
    assert (found.wall_time, found.cpu_time) == believed


@pytest.mark.parametrize(("cores", "most"), [(0, 61.0), (8, 68.0), (10**9, 124.0)])
def test_so_are_those_of_the_compile_step(cores: int, most: float) -> None:
    step = a_step_result(wall_time=1e300, cpu_time=1e300)
    found = bounded(a_result(compile=step), SPEC, cores).compile
    assert found
    assert found.cpu_time == most  # no more cores than the step may have processes


def test_what_can_be_stays_the_very_result() -> None:
    result = a_result()
    assert bounded(result, SPEC, 1) is result
