"""Which replica may go to which executor.

Few distinct sets of requirements exist however many tasks wait, so executors are matched against
*requirement classes*, and a store finds waiting tasks by class.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Mapping

import msgspec

from accord.core.executor import ISOLATION_LEVELS, Executor, ExecutorState
from accord.core.ids import ExecutorName
from accord.core.judging_spec import bare_spec
from accord.core.limits import MIB
from accord.core.replica import Outcome, Replica, ReplicaState
from accord.core.retry import FAULTS
from accord.core.task import Spec, Task
from accord.core.versions import toolchain_for

PATIENCE = 60.0
"""Seconds for which a task that failed somewhere waits for a better executor to have room."""


class RequirementClass(msgspec.Struct, frozen=True, kw_only=True):
    """What a task needs of an executor, coarse enough that few classes exist."""

    language: str = ""
    version: str = ""
    """Of the language's toolchain; see ``versions.fits``."""
    tags: tuple[str, ...] = ()
    cpus: int = 1
    memory: int = 0
    """Bytes, rounded up to a power of two of at least 512 MiB."""
    isolation: str = ""
    network: bool = False
    platform: str = ""
    """The platform that the task is committed to; ``os`` or ``os+cpu`` where it will be to that
    of the first executor, whichever, as long as it is known (S1).
    """
    executors: tuple[ExecutorName, ...] = ()
    """Those that it must not go to: they have run it, and its runs must be apart (S2)."""
    owners: tuple[str, ...] = ()
    """Owners to whose executors it must not go."""

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
    """The class of a task's next replica. It names those who cannot be sent it, so that they find
    what is behind it in the queue without walking over it.
    """
    wished = task.spec.redundancy.homogeneous
    needs = _needs(task.spec, task.hr_class or ("" if wished == "none" else wished))
    return _apart(needs, task, occupying) if len(task.replicas) > 1 or task.barred else needs


def judging_class(task: Task) -> RequirementClass:
    """The class of a task's judging run."""
    return _apart(_needs(bare_spec(task), ""), task, lambda r: r.result is not None)


def next_class(task: Task) -> RequirementClass | None:
    """The class of what can be sent of the task at once: its judging run before a replica, as
    that may make the replica needless. None where nothing can.
    """
    if task.judging is not None and task.judging.sendable:
        return judging_class(task)
    if any(r.sendable for r in task.replicas):
        return requirement_class(task)
    return None


def waits_since(task: Task) -> float:
    """Since when what can be sent of the task has been waiting for somebody to take it (T6)."""
    if task.judging is not None and task.judging.sendable:
        return task.judging.since
    moments = [t for r in task.replicas for t in (r.since, r.sent_time, r.over_time) if t]
    return max(task.add_time, *moments, 0.0)


def _apart(
    needs: RequirementClass, task: Task, counts: Callable[[Replica], bool]
) -> RequirementClass:
    distinct = task.spec.redundancy.distinct
    made = [r for r in task.replicas if counts(r) and r.executor] if distinct != "none" else []
    if not made and not task.barred:
        return needs
    return msgspec.structs.replace(
        needs,
        executors=tuple(sorted({*task.barred, *(r.executor for r in made if r.executor)})),
        owners=tuple(sorted({r.owner for r in made if r.owner})) if distinct == "owner" else (),
    )


def _needs(spec: Spec, platform: str) -> RequirementClass:
    steps = [s for s in (spec.compile, spec.execute) if s]
    wanted = max([spec.requires.memory, *(s.limits.memory for s in steps)])
    memory = 512 * MIB
    while memory < wanted:
        memory *= 2
    return RequirementClass(
        language=spec.language or "",
        version=spec.requires.language_version,
        tags=tuple(sorted(set(spec.requires.tags))),
        cpus=spec.requires.cpus,
        memory=memory,
        isolation=spec.requires.isolation,
        network=spec.network,
        platform=platform,
    )


def lacks(executor: Executor, needs: RequirementClass, weakest: str) -> list[str]:
    """What the executor lacks for that class, in words; empty where it has all.

    ``weakest`` is the cluster's lowest isolation level for tasks that name none.
    """
    info = executor.info
    missing = []
    missing += _lacks_language(info.languages, needs)
    missing += [f"tag {tag}" for tag in needs.tags if tag not in info.tags]
    if needs.cpus > info.cores:
        missing.append(f"{needs.cpus} cores")
    if needs.memory > info.memory:
        missing.append(f"{needs.memory // MIB} MiB of memory")
    if needs.network and not info.network:
        missing.append("network")
    level = needs.isolation or weakest
    if ISOLATION_LEVELS.index(info.isolation.level) < ISOLATION_LEVELS.index(level):
        missing.append(f"isolation {level}")
    if needs.platform and not _is_of(info.os, info.cpu, needs.platform):
        missing.append(_PLATFORMS.get(needs.platform, f"platform {needs.platform}"))
    return missing


def _lacks_language(languages: Mapping[str, str], needs: RequirementClass) -> list[str]:
    wanted = needs.language
    if not wanted or toolchain_for(languages, wanted, needs.version):
        return []
    there = toolchain_for(languages, wanted, "") is not None
    return [f"language {wanted} {needs.version}" if there else f"language {wanted}"]


def satisfies(executor: Executor, needs: RequirementClass, weakest: str) -> bool:
    """Whether the executor could be sent tasks of that class."""
    return not kept_apart(executor, needs) and not lacks(executor, needs, weakest)


def kept_apart(executor: Executor, needs: RequirementClass) -> bool:
    """Whether it, or another of its owner's, has run the task already (S2)."""
    return executor.name in needs.executors or executor.info.owner in needs.owners


def takes_work(executor: Executor) -> bool:
    """Whether work is sent to it at all."""
    return executor.state is ExecutorState.ONLINE


def platform_of(os: str, cpu: str, homogeneous: str) -> str:
    """The homogeneous class of a machine (S1): what must be the same on all that run a task.

    ``os`` and ``cpu`` are as an executor states them. Empty where it cannot be told, or where
    the task does not ask: an executor of unknown class gets no work of one that does.

    >>> platform_of("Debian GNU/Linux 12, Linux 6.1, x86_64", "AMD EPYC 7B13", "os+cpu")
    'debian gnu/linux 12/amd'
    >>> platform_of("linux", "Intel(R) Xeon(R)", "os"), platform_of("linux", "?", "os+cpu")
    ('linux', '')
    """
    system = os.partition(",")[0].strip().lower()
    if homogeneous == "none" or not system:
        return ""
    if homogeneous == "os":
        return system
    family = next((name for word, name in _FAMILIES if word in cpu.lower()), "")
    return f"{system}/{family}" if family else ""


_FAMILIES = (
    ("intel", "intel"),
    ("xeon", "intel"),
    ("amd", "amd"),
    ("epyc", "amd"),
    ("ryzen", "amd"),
    ("arm", "arm"),
    ("aarch64", "arm"),
    ("neoverse", "arm"),
    ("cortex", "arm"),
    ("power", "power"),
    ("ppc", "power"),
    ("riscv", "riscv"),
)
"""Words of a CPU's name, and its family. Within one the same program rounds alike."""


_PLATFORMS = {
    "os": "a known operating system",
    "os+cpu": "a known operating system and CPU family",
}


def _is_of(os: str, cpu: str, platform: str) -> bool:
    if platform in _PLATFORMS:
        return bool(platform_of(os, cpu, platform))
    return platform in (platform_of(os, cpu, kind) for kind in _PLATFORMS)


def misfit(task: Task, os: str, cpu: str) -> str:
    """Why a machine is of the wrong platform for the task (S1); empty where it is not."""
    wanted = task.spec.redundancy.homogeneous
    if wanted == "none":
        return ""
    found = platform_of(os, cpu, wanted)
    if not found:
        return "its platform is not known"
    if task.hr_class and found != task.hr_class:
        return f"the task is committed to {task.hr_class}"
    return ""


def avoids(
    task: Task,
    executor: ExecutorName,
    others: Collection[ExecutorName],
    now: float,
    owner: str = "",
) -> bool:
    """Whether the task had better not go to that executor now.

    ``others`` are the other executors that are online and satisfy its class. After an
    infrastructure fault one on which the task failed less often is tried first, so that neither a
    bad host nor a bad task is met twice in a row; but no longer than PATIENCE after the last
    fault, since that one may be busy for hours.
    """
    if occupied(task, executor, owner):
        return True
    here = _faults_on(task, executor)
    if not here or now >= _last_fault(task) + PATIENCE:
        return False
    return any(_faults_on(task, other) < here for other in others if other != executor)


def may_wait(task: Task, now: float) -> bool:
    """Whether a retry may still wait for a reliable executor: for PATIENCE after what it follows."""
    last = max((r.over_time or 0.0 for r in task.replicas), default=0.0)
    return now < last + PATIENCE


def avoids_judging(
    task: Task, executor: ExecutorName, others: Collection[ExecutorName], now: float
) -> bool:
    """Whether the task's judging run had better not go to that executor now, as one has failed
    there, and ``others`` could take it; no longer than PATIENCE.
    """
    run = task.judging
    if run is None or executor not in run.failed_on or now >= run.failed_at + PATIENCE:
        return False
    return any(other not in run.failed_on for other in others)


def occupied(task: Task, executor: ExecutorName, owner: str = "") -> bool:
    """Whether the executor has a replica of the task already, where they must be distinct; or its
    owner, where owners must be; or is barred from it.

    One that runs there, or that succeeded there: a result can only be confirmed elsewhere.
    """
    return executor in task.barred or any(
        occupying(r) and _same_side(task, r, executor, owner) for r in task.replicas
    )


def occupying(replica: Replica) -> bool:
    """Whether it keeps others away from its executor."""
    return replica.state is ReplicaState.IN_PROGRESS or replica.outcome is Outcome.SUCCESS


def repeats(task: Task, replica: Replica) -> bool:
    """Whether another result of the task came from the same executor, or owner, where they must be
    distinct. Of an executor that was thought lost two may come: one confirms nothing of the other.
    """
    return any(
        r.outcome is Outcome.SUCCESS
        and r.number != replica.number
        and _same_side(task, r, replica.executor, replica.owner)
        for r in task.replicas
    )


def may_judge(task: Task, executor: ExecutorName, owner: str = "") -> bool:
    """Whether the executor may be given the task's judging run: it made none of the results, nor
    did its owner where owners must be distinct.
    """
    return not any(
        r.result is not None and _same_side(task, r, executor, owner) for r in task.replicas
    )


def _same_side(task: Task, replica: Replica, executor: str | None, owner: str) -> bool:
    """Whether a replica's executor counts as one with another. Who has no owner is alone."""
    distinct = task.spec.redundancy.distinct
    if distinct == "none":
        return False
    return replica.executor == executor or (
        distinct == "owner" and owner != "" and replica.owner == owner
    )


def _faults_on(task: Task, executor: ExecutorName) -> int:
    return sum(r.executor == executor and r.outcome in FAULTS for r in task.replicas)


def _last_fault(task: Task) -> float:
    return max((r.over_time or 0.0 for r in task.replicas if r.outcome in FAULTS), default=0.0)
