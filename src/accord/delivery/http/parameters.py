"""What is common to the parameters of all calls."""

from __future__ import annotations

import datetime
import math
import re
from typing import Any

from pydantic import BaseModel, ConfigDict

from accord.core.errors import Invalid

_SPACE_FOR_PLUS = re.compile(r" (\d\d:?\d\d)$")
_schemas: dict[Any, dict[str, Any]] = {}


class Parameters(BaseModel):
    """Parameters in the query; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """The schema; made once, since the library asks for it at every request."""
        key = (cls, args, tuple(sorted(options.items())))
        if key not in _schemas:
            _schemas[key] = super().model_json_schema(*args, **options)
        return _schemas[key]


class NoQuery(Parameters):
    """A call without parameters."""


def labels_of(given: list[str]) -> dict[str, str]:
    """Labels as parameters spell them, key:value. Raises Invalid."""
    split = [part.partition(":") for part in given if part]
    if not all(key and colon for key, colon, _ in split):
        raise Invalid("Write label as key:value.", field="label")
    return {key: value for key, _, value in split}


def moment_of(text: str | None, field: str) -> float | None:
    """Seconds since the epoch of an ISO 8601 time (UTC where it names no zone) or a number.

    Raises Invalid.
    """
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return _iso(text, field)
    if not math.isfinite(seconds):
        raise Invalid(f"{field} must be a time.", field=field)
    return seconds


def _iso(text: str, field: str) -> float:
    try:
        moment = datetime.datetime.fromisoformat(_SPACE_FOR_PLUS.sub(r"+\1", text))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return moment.timestamp()
    except (ValueError, OverflowError) as error:
        raise Invalid(
            f"{field} must be a time: ISO 8601 such as 2026-01-31T12:00:00Z, or epoch seconds.",
            field=field,
        ) from error
