"""What a step may use. Nothing is ever unlimited: every limit has a default and a cap."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from accord.core.errors import Invalid

MIB = 1 << 20


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of one step. Times in seconds, sizes in bytes, the rest counts."""

    wall: float = 60.0
    """Seconds on the clock, from the start of the program."""
    cpu: float = 30.0
    """Seconds of processor time of the whole process tree."""
    memory: int = 512 * MIB
    """Memory of the whole process tree."""
    processes: int = 64
    """Processes and threads alive at once."""
    output: int = 8 * MIB
    """Bytes of stdout and stderr together."""
    file: int = 64 * MIB
    """The largest single file that may be written."""
    disk: int = 256 * MIB
    """Bytes in the work directory and /tmp together."""
    open_files: int = 256
    """Open file descriptors of one process."""


EXECUTE_DEFAULTS = Limits()
COMPILE_DEFAULTS = Limits(wall=60.0, cpu=60.0, memory=2048 * MIB)
CAPS = Limits(
    wall=3600.0,
    cpu=3600.0,
    memory=8192 * MIB,
    processes=512,
    output=64 * MIB,
    file=1024 * MIB,
    disk=2048 * MIB,
    open_files=4096,
)
"""What the administrator allows where the configuration says nothing else."""

FLOORS = Limits(
    wall=0.01, cpu=0.01, memory=4 * MIB, processes=1, output=0, file=0, disk=4096, open_files=8
)
"""Below these no program starts at all; smaller values are refused instead of failing later."""


def resolve(wished: Mapping[str, object], defaults: Limits, caps: Limits) -> Limits:
    """The limits of a step: what was wished over the defaults, checked against floors and caps.

    Raises Invalid, naming the limit, where a wish is unknown, no number, or out of range.
    """
    values: dict[str, float | int] = {}
    for key, value in wished.items():
        if key not in Limits.__struct_fields__:
            known = ", ".join(Limits.__struct_fields__)
            raise Invalid(f"There is no limit {key!r}. There are: {known}.", field=f"limits.{key}")
        values[key] = _checked(key, value, caps)
    merged = {
        key: min(getattr(defaults, key), getattr(caps, key)) for key in Limits.__struct_fields__
    }
    return Limits(**{**merged, **values})


def _checked(key: str, value: object, caps: Limits) -> float | int:
    whole = isinstance(getattr(FLOORS, key), int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        kind = "a whole number" if whole else "a number of seconds"
        raise Invalid(f"limits.{key} must be {kind}.", field=f"limits.{key}")
    low, high = getattr(FLOORS, key), getattr(caps, key)
    if not low <= value <= high:  # a NaN fails this too
        raise Invalid(f"limits.{key} must lie between {low} and {high}.", field=f"limits.{key}")
    return value if whole else float(value)
