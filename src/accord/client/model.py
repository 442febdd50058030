"""What the API answers, as small frozen values. Fields that are new to this version are kept in
``raw`` and otherwise passed over, so an older client reads a newer server.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Self

OPEN = frozenset({"pending", "compiling", "running", "validating", "retrying", "cancelling"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Document:
    raw: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    """The whole answer."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The value that the API's document tells of; absent fields take their defaults."""
        names = {f.name for f in dataclasses.fields(cls)} - {"raw"}
        known = {k: v for k, v in document.items() if k in names and v is not None}
        return cls(raw=document, **known)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task(_Document):
    """A task. Times are seconds (``wall_time``, ``cpu_time``), memory is bytes."""

    id: str
    status: str = ""
    user: str = ""
    name: str = ""
    language: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    priority: int = 0
    verdict: str | None = None
    reason: str | None = None
    """Why it failed, where the status is ``failed``."""
    exit_code: int | None = None
    signal: int | None = None
    limit: str | None = None
    """The limit that was hit: ``wall``, ``cpu``, ``memory``, …"""
    stdout: str = ""
    """The beginning as text; ``Client.file`` has the exact bytes of all of it."""
    stderr: str = ""
    compile_stdout: str = ""
    compile_stderr: str = ""
    truncated: bool = False
    """Whether a stream is longer than what is shown here, or hit its limit."""
    wall_time: float | None = None
    cpu_time: float | None = None
    peak_memory: int | None = None
    add_time: str = ""
    """ISO 8601 in UTC, as are the two below."""
    start_time: str = ""
    done_time: str = ""
    retry_of: str = ""
    replicas: Sequence[Mapping[str, Any]] = ()
    """Its runs, as the API tells them."""
    outputs: Sequence[Mapping[str, Any]] = ()
    """Kept output files: name, size, sha256, href."""

    @property
    def done(self) -> bool:
        """Whether its status is final."""
        return self.status not in OPEN

    @property
    def ok(self) -> bool:
        """Whether it ended with success."""
        return self.status == "success"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Executor(_Document):
    """A machine that runs tasks."""

    name: str
    state: str = ""
    slots: int = 0
    cores: int = 0
    memory: int = 0
    languages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tags: Sequence[str] = ()
    isolation: str = ""
    isolation_why: str = ""
    last_report: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judicator(_Document):
    """A manager process."""

    name: str
    version: str = ""
    leader: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """News of a task. ``task`` on a change of state, ``stream`` with ``data`` on output."""

    id: str
    """Where to resume: pass it as ``after``."""
    kind: str
    """``state``, ``output`` or ``done``."""
    task: Task | None = None
    stream: str = ""
    """stdout, stderr, compile_stdout or compile_stderr."""
    offset: int = 0
    data: bytes = b""
    attempt: int = 0
    """The replica that the output is of; a new attempt begins again at offset 0."""
