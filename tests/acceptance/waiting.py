"""A bounded poll, for what real processes give no signal of."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(question: Callable[[], T | None], seconds: float = 20.0, what: str = "") -> T:
    """The first true answer. Fails where none came in time."""
    deadline = time.monotonic() + seconds  # noqa: TID251  # real processes take real time
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() >= deadline:  # noqa: TID251  # see above
            raise AssertionError(f"not within {seconds:g} s: {what or question}")
        time.sleep(0.02)  # noqa: TID251  # see above
