"""What an executor says of the times of a run, bounded by what can be true.

Credit, statistics and pages go by these numbers, and they are the executor's own word.
"""

from __future__ import annotations

import msgspec

from accord.core.limits import Limits
from accord.core.replica import Result, StepResult
from accord.core.task import Spec, Step

LATE = 10.0
"""Seconds for which a run may last beyond its wall limit: until a loaded machine has ended it."""
OVERRUN = 1.0
"""Seconds for which each core may have run before a limit was noticed or a clock began."""


def bounded(result: Result, spec: Spec, cores: int) -> Result:
    """The result with times that a machine of so many cores can have taken for these steps: wall
    time by the wall limit, processor time by the wall time on all cores and by its own limit.

    What is negative or no number is 0.
    """
    compiled = _bounded(result.compile, spec.compile or spec.execute, cores)
    executed = _bounded(result.execute, spec.execute, cores)
    if compiled is result.compile and executed is result.execute:
        return result
    return msgspec.structs.replace(result, compile=compiled, execute=executed)


def _bounded(found: StepResult | None, step: Step, cores: int) -> StepResult | None:
    if found is None:
        return None
    wall = _within(found.wall_time, step.limits.wall + LATE)
    cpu = _within(found.cpu_time, _most_cpu(wall, step.limits, cores))
    if wall == found.wall_time and cpu == found.cpu_time:
        return found
    return msgspec.structs.replace(found, wall_time=wall, cpu_time=cpu)


def _most_cpu(wall: float, limits: Limits, cores: int) -> float:
    """How many cores there are is the executor's word too; of its processes we know."""
    at_once = max(1, min(cores, limits.processes))
    return min((wall + OVERRUN) * at_once, limits.cpu + OVERRUN * at_once)


def _within(seconds: float, most: float) -> float:
    return min(seconds, most) if seconds > 0 else 0.0
