"""Which replica may go to which executor.

Few distinct sets of requirements exist however many tasks wait, so executors are matched against
*requirement classes*, and a store finds waiting tasks by class.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection

import msgspec

from accord.core.executor import ISOLATION_LEVELS, Executor, ExecutorState
from accord.core.ids import ExecutorName
from accord.core.limits import MIB
from accord.core.replica import Outcome, ReplicaState
from accord.core.retry import FAULTS
from accord.core.task import Task

PATIENCE = 60.0
"""Seconds for which a task that failed somewhere waits for a better executor to have room."""


class RequirementClass(msgspec.Struct, frozen=True, kw_only=True):
    """What a task needs of an executor, coarse enough that few classes exist."""

    language: str = ""
    tags: tuple[str, ...] = ()
    cpus: int = 1
    memory: int = 0
    """Bytes, rounded up to a power of two of at least 512 MiB."""
    isolation: str = ""

    @property
    def key(self) -> str:
        """The class as text; equal classes have equal keys."""
        return _spelled(self)

    @staticmethod
    def parse(key: str) -> RequirementClass:
        """The class that a key spells."""
        return msgspec.json.decode(key, type=RequirementClass)


@functools.lru_cache(maxsize=4096)
def _spelled(needs: RequirementClass) -> str:
    """Few classes exist, and every write of a task asks for its own."""
    return json.dumps(msgspec.to_builtins(needs), sort_keys=True, separators=(",", ":"))


def requirement_class(task: Task) -> RequirementClass:
    """The class of a task."""
    spec = task.spec
    steps = [s for s in (spec.compile, spec.execute) if s]
    wanted = max([spec.requires.memory, *(s.limits.memory for s in steps)])
    memory = 512 * MIB
    while memory < wanted:
        memory *= 2
    return RequirementClass(
        language=spec.language or "",
        tags=tuple(sorted(set(spec.requires.tags))),
        cpus=spec.requires.cpus,
        memory=memory,
        isolation=spec.requires.isolation,
    )


def lacks(executor: Executor, needs: RequirementClass, weakest: str) -> list[str]:
    """What the executor lacks for that class, in words; empty where it satisfies it.

    ``weakest`` is the cluster's lowest isolation level for tasks that name none.
    """
    info = executor.info
    missing = []
    if needs.language and needs.language not in info.languages:
        missing.append(f"language {needs.language}")
    missing += [f"tag {tag}" for tag in needs.tags if tag not in info.tags]
    if needs.cpus > info.cores:
        missing.append(f"{needs.cpus} cores")
    if needs.memory > info.memory:
        missing.append(f"{needs.memory // MIB} MiB of memory")
    level = needs.isolation or weakest
    if ISOLATION_LEVELS.index(info.isolation.level) < ISOLATION_LEVELS.index(level):
        missing.append(f"isolation {level}")
    return missing


def satisfies(executor: Executor, needs: RequirementClass, weakest: str) -> bool:
    """Whether the executor could run tasks of that class."""
    return not lacks(executor, needs, weakest)


def takes_work(executor: Executor) -> bool:
    """Whether work is sent to it at all."""
    return executor.state is ExecutorState.ONLINE


def avoids(
    task: Task, executor: ExecutorName, others: Collection[ExecutorName], now: float
) -> bool:
    """Whether the task had better not go to that executor now.

    ``others`` are the other executors that are online and satisfy its class. After an
    infrastructure fault one on which the task failed less often is tried first, so that neither a
    bad host nor a bad task is met twice in a row; but no longer than PATIENCE after the last
    fault, since that one may be busy for hours.
    """
    if occupied(task, executor):
        return True
    here = _faults_on(task, executor)
    if not here or now >= _last_fault(task) + PATIENCE:
        return False
    return any(_faults_on(task, other) < here for other in others if other != executor)


def occupied(task: Task, executor: ExecutorName) -> bool:
    """Whether the executor has a replica of the task already, where they must be distinct.

    One that runs there, or that succeeded there: a result can only be confirmed elsewhere.
    """
    if task.spec.redundancy.distinct == "none":
        return False
    return any(
        r.executor == executor
        and (r.state is ReplicaState.IN_PROGRESS or r.outcome is Outcome.SUCCESS)
        for r in task.replicas
    )


def _faults_on(task: Task, executor: ExecutorName) -> int:
    return sum(r.executor == executor and r.outcome in FAULTS for r in task.replicas)


def _last_fault(task: Task) -> float:
    return max((r.over_time or 0.0 for r in task.replicas if r.outcome in FAULTS), default=0.0)
