"""What Boot needs to know of a service in order to keep it running."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec


def _nothing() -> None:
    return None


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One service of a node."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    """The whole environment of its process."""
    cwd: Path
    ready: Callable[[], bool]
    """Whether it does its work; asked again and again after a start. Never raises, answers
    within a few seconds."""
    healthy: Callable[[], bool] | None = None
    """Whether it still does, asked while it runs; None: it is enough that it lives."""
    prepare: Callable[[], None] = _nothing
    """Called before each start."""
    needs: tuple[str, ...] = ()
    """Services that must be ready before its first start."""
    start_timeout: float = 60.0
    """Seconds after which a start that does not become ready is given up."""
    stop_timeout: float = 15.0
    """Seconds from SIGTERM to SIGKILL."""
