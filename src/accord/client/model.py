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
class Replica(_Document):
    """One run of a task on one executor."""

    number: int
    executor: str = ""
    owner: str = ""
    """Whose executor it is; empty where it is nobody's in particular."""
    state: str = ""
    """unsent, in_progress or over."""
    phase: str = ""
    """What it is at, while in progress."""
    outcome: str = ""
    """What became of it as a run, once it is over."""
    verdict: str | None = None
    """What the program did, where the outcome is ``success``."""
    validity: str = ""
    """Whether its result agrees: init, valid, invalid, inconclusive, no_check or too_late."""
    canonical: bool = False
    """Whether its result is the task's."""
    digest: str | None = None
    """SHA-256 of its standard output; ``Client.file`` with ``replica`` has the bytes."""
    kept: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """SHA-256 of its kept files, by path."""
    exit_code: int | None = None
    signal: int | None = None
    limit: str | None = None
    wall_time: float | None = None
    cpu_time: float | None = None
    peak_memory: int | None = None
    written: int | None = None
    credit: float = 0.0
    sent_time: str = ""
    """ISO 8601 in UTC, as is ``received_time``."""
    received_time: str = ""
    message: str = ""
    """Why the outcome is what it is, where that needs saying."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task(_Document):
    """A task. Times are seconds (``wall_time``, ``cpu_time``), memory and what was ``written`` are bytes."""

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
    compile_cached: bool = False
    """Whether the executor had compiled the same before, and did not again."""
    truncated: bool = False
    """Whether a stream is longer than what is shown here, or hit its limit."""
    wall_time: float | None = None
    cpu_time: float | None = None
    peak_memory: int | None = None
    written: int | None = None
    add_time: str = ""
    """ISO 8601 in UTC, as are the two below."""
    start_time: str = ""
    done_time: str = ""
    retry_of: str = ""
    batch: str = ""
    """The batch that it belongs to."""
    index: int | None = None
    """Its place there, from 0."""
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The values that a template was filled with."""
    finishes: str = ""
    """The batch that it is the finishing task of."""
    retried_by: str = ""
    """The task that took its place in the batch."""
    quorum: int = 1
    """Results of which a majority must agree."""
    target_replicas: int = 1
    """Runs that are wanted for now."""
    replicas: Sequence[Replica] = ()
    """Its runs."""
    outputs: Sequence[Mapping[str, Any]] = ()
    """Kept output files: name, size, sha256, href."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The task that the API's document tells of, its replicas as such."""
        replicas = [Replica.from_json(replica) for replica in document.get("replicas") or ()]
        return dataclasses.replace(super().from_json(document), replicas=tuple(replicas))

    @property
    def done(self) -> bool:
        """Whether its status is final."""
        return self.status not in OPEN

    @property
    def results(self) -> int:
        """Replicas whose program ran to a verdict."""
        return sum(replica.outcome == "success" for replica in self.replicas)

    @property
    def agreeing(self) -> int:
        """Replicas whose results agree with the task's, that one included."""
        return sum(replica.validity == "valid" for replica in self.replicas)

    @property
    def ok(self) -> bool:
        """Whether it ended with success."""
        return self.status == "success"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch(_Document):
    """Tasks that were submitted together."""

    id: str
    name: str = ""
    user: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    source: str = ""
    """list, stream or template."""
    status: str = ""
    """receiving, running, finishing, cancelling, done or cancelled."""
    done: bool = False
    """Whether its status is final."""
    explanation: str = ""
    """Why it is in its state, and what happens next."""
    total: int = 0
    """Tasks in all, as far as they are known."""
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Tasks by status, of those that were made so far."""
    to_generate: int = 0
    """Tasks of a template that are still to be made."""
    open: bool = False
    """Whether tasks may be added."""
    broken_off: bool = False
    """Whether its submission broke off half-way."""
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    finish_task: str = ""
    """The id of the finishing task, once there is one."""
    finish_status: str = ""
    rate: float = 0.0
    """Tasks that ended a second, over the last minute."""
    eta: float | None = None
    """Seconds until its end at that rate."""
    created: str = ""
    """ISO 8601 in UTC, as are the two below."""
    closed: str = ""
    done_time: str = ""

    @property
    def ended(self) -> int:
        """Tasks that are done."""
        return sum(n for status, n in self.counts.items() if status not in OPEN)

    @property
    def succeeded(self) -> int:
        """Tasks that ended with success."""
        return self.counts.get("success", 0)

    @property
    def failed(self) -> int:
        """Tasks that ended otherwise."""
        return self.ended - self.succeeded

    @property
    def ok(self) -> bool:
        """Whether it is done with all that it was to be, each with success, the finishing task
        included.
        """
        whole = self.status == "done" and not self.broken_off
        return whole and not self.failed and self.finish_status in {"", "success"}


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
    network: bool = False
    """Whether tasks that ask for the network get it there."""
    credit: float = 0.0
    """What its results earned: seconds of a typical core."""
    reliability: Sequence[Mapping[str, Any]] = ()
    """How it stands with each class of tasks; ``note`` says why it gets none, if so."""
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
