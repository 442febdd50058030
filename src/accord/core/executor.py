"""An executor: a machine that runs replicas, as the judicators know it."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from accord.core.ids import ExecutorName, SessionId
from accord.core.standing import Standing

ISOLATION_LEVELS = ("none", "landlock", "bwrap+poll", "bwrap+cgv1", "bwrap+cgv2")
"""From weakest to strongest; a task may demand the lowest that it accepts."""

FASTEST = 1000.0
"""The highest benchmark that is believed."""


class ExecutorState(enum.StrEnum):
    """Whether work is sent to it."""

    ONLINE = "online"
    DRAINING = "draining"
    QUARANTINED = "quarantined"
    LOST = "lost"


class Isolation(msgspec.Struct, frozen=True, kw_only=True):
    """How well an executor's box holds, and why no better."""

    level: str
    why: str = ""
    checks: Mapping[str, str] = {}
    """Self-test attacks by name: ``held``, ``not run: …``; a failed one closes the executor."""


class ExecutorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What an executor says of itself when it introduces a session."""

    name: ExecutorName
    instance_key: str
    """Proves that two sessions of one name are the same installation (a fence against clones)."""
    session: SessionId
    owner: str = ""
    address: str = ""
    tags: tuple[str, ...] = ()
    languages: Mapping[str, str] = {}
    """Preset name to the version that its probe printed; others of a preset are NAME@WHICH."""
    os: str = ""
    cpu: str = ""
    cores: int = 1
    memory: int = 0
    slots: int = 1
    isolation: Isolation
    version: str = ""
    network: bool = False
    """Whether tasks that ask for the network get it there."""
    benchmark: float = 1.0
    """How fast one of its cores is; a typical one is 1. Credit goes by it."""


class Executor(msgspec.Struct, frozen=True, kw_only=True):
    """What the store keeps of an executor."""

    info: ExecutorInfo
    state: ExecutorState = ExecutorState.ONLINE
    registered: float = 0.0
    last_report: float = 0.0
    held: bool = False
    """Quarantined by a person: it stays so when it comes back."""
    standings: tuple[Standing, ...] = ()
    """By task class, where a judicator lists it. The store keeps what they follow from apart."""

    @property
    def credit(self) -> float:
        """What its valid replicas earned."""
        return sum(standing.credit for standing in self.standings)

    @property
    def name(self) -> ExecutorName:
        """Its name, unique in the cluster."""
        return self.info.name
