"""A task: what a user submits, one document that holds its replicas and is only replaced whole."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from accord.core.ids import BatchId, Digest, ExecutorName, TaskId, UserName
from accord.core.judging import Judging
from accord.core.limits import COMPILE_DEFAULTS, EXECUTE_DEFAULTS, Limits
from accord.core.replica import Content, Replica, Stage

NEVER = 1e18
"""A time that does not come: the transition time of a task that waits for nothing."""

MASK = "***"
"""What stands where a secret is shown."""

INLINE_STREAM = 8 * 1024
"""A stream up to this many bytes lies in the document; a longer one is a blob."""
INLINE_DOCUMENT = 128 * 1024
"""All inline bytes of one document together; beyond it the largest become blobs."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What the program is made of: files by relative path, or one zip archive."""

    files: Mapping[str, Content] = {}
    archive: Content | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One command. A string is a script for bash in the box; a tuple is an argv without a shell."""

    command: str | tuple[str, ...]
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    stdin: Content | None = None
    limits: Limits
    secrets: tuple[str, ...] = ()
    """Names of variables whose values are for the program alone: see ``shown_env``."""


class Requires(msgspec.Struct, frozen=True, kw_only=True):
    """What an executor must offer to be given the task."""

    tags: tuple[str, ...] = ()
    cpus: int = 1
    memory: int = 0
    """Bytes of memory of the machine; the limits of the steps count as a minimum anyway."""
    isolation: str = ""
    """The lowest isolation level accepted; empty means the cluster's default."""
    language_version: str = ""
    """The toolchain's version, as far as it matters: ``3.11`` takes 3.11.2; empty takes any."""


class Default(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="default"):
    """Equal verdict, exit, standard output and kept files, byte for byte."""


class Exact(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="exact"):
    """Equal standard output, byte for byte; kept files do not count."""


class Lines(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="lines"):
    """Equal lines of standard output, but for blanks at their ends and empty lines at the end."""


class Tokens(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="tokens"):
    """Equal words of standard output, however they are spaced."""


class Numbers(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="numbers"):
    """Words of standard output, of which numbers may differ: by ``abs``, or by ``rel`` times the
    larger of the two.
    """

    abs: float = 0.0
    rel: float = 0.0


class Json(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="json"):
    """Standard output as one JSON value: the order of keys and the spelling do not count."""


class Files(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="files"):
    """The kept files of these paths, byte for byte; standard output does not count."""

    paths: tuple[str, ...]


class Program(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="program"):
    """A user's program decides, in a judging run (see ``judging``)."""

    execute: Step
    compile: Step | None = None
    source: Source | None = None
    language: str | None = None


Comparator = Default | Exact | Lines | Tokens | Numbers | Json | Files | Program
"""When two results of a task agree; ``comparators`` says how it is decided."""


class Redundancy(msgspec.Struct, frozen=True, kw_only=True):
    """How many runs, and when their results are one. BOINC's policy fields in our words."""

    min_quorum: int = 1
    target_replicas: int = 1
    max_error_replicas: int = 3
    max_total_replicas: int = 10
    max_success_replicas: int = 6
    max_lost_replicas: int = 3
    delay_bound: float | None = None
    """Seconds from sending a replica to its report deadline; None: from the limits plus grace."""
    distinct: str = "executor"
    """Replicas run on different executors, or those of different owners, or anywhere (none)."""
    comparator: Comparator = Default()
    homogeneous: str = "none"
    """Replicas run on one kind of platform: none (any), os, or os+cpu."""
    adaptive: bool = False
    """Begin with one replica; the quorum is only called for where its executor is not trusted."""


Scalar = str | int | float | bool
"""A value of a batch's parameter."""


class Assimilation(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told of the task's end (rule A1): a registered handler, and what it is to know."""

    handler: str = "keep"
    options: Mapping[str, str] = {}


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for; never changes."""

    execute: Step
    compile: Step | None = None
    source: Source | None = None
    data: Content | None = None
    """A zip archive, unpacked to ``data/`` before the execute step."""
    outputs: tuple[str, ...] = ()
    """Globs, relative to the work directory, of files to keep."""
    language: str | None = None
    network: bool = False
    """Whether its programs may use the network of the executor's machine."""
    requires: Requires = Requires()
    redundancy: Redundancy = Redundancy()
    deadline: float | None = None
    """Seconds from add_time by which the task is to be done, else it fails."""
    assimilate: Assimilation = Assimilation()


class ErrorMask(enum.IntFlag):
    """Why a task has no result. The values up to 32 are BOINC's."""

    COULDNT_SEND = 1
    TOO_MANY_ERRORS = 2
    TOO_MANY_SUCCESSES = 4
    TOO_MANY_REPLICAS = 8
    CANCELLED = 16
    NO_CANONICAL = 32
    """Assimilation was due without a result and without another reason (A2)."""
    TOO_MANY_LOST = 64
    DEADLINE = 128
    BAD_INPUT = 256


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One document. Every change is a compare-and-set on ``version``; times are store time."""

    id: TaskId
    user: UserName
    spec: Spec
    add_time: float
    name: str = ""
    batch: BatchId | None = None
    """The batch that it was made for."""
    parameters: Mapping[str, Scalar] = {}
    """What its batch's template was filled with."""
    finishes: BatchId | None = None
    """The batch whose finishing task it is; it is not one of that batch's own."""
    retried_by: TaskId | None = None
    """The task that took its place in its batch. This one does not count there any more."""
    labels: Mapping[str, str] = {}
    priority: int = 0
    key: str | None = None
    """Idempotency key, unique per user."""
    retry_of: TaskId | None = None
    version: int = 1
    start_time: float | None = None
    done_time: float | None = None
    error_mask: int = 0
    canonical: int | None = None
    """The number of the replica whose result is the task's result."""
    need_validate: bool = False
    assimilate_state: Stage = Stage.INIT
    file_delete_state: Stage = Stage.INIT
    transition_time: float = 0.0
    cancel_requested_at: float | None = None
    target_replicas: int = 1
    """Grows where results disagree (V6)."""
    quorum: int | None = None
    """The quorum that holds now, where it is not the policy's (S3); see ``quorum_of``."""
    hr_class: str = ""
    """The platform that it is committed to, where its replicas must be of one (S1, T8)."""
    barred: tuple[ExecutorName, ...] = ()
    """Executors that it must not be sent to: of an audit, those that have answered already."""
    disputed_by: TaskId | None = None
    """The audit whose answers say that its result is wrong."""
    judged_by: ExecutorName | None = None
    """Who told by a judging run which results agree, where the result was chosen by that."""
    judging: Judging | None = None
    """The judging run that validation waits for, or whose answer it goes by."""
    replicas: tuple[Replica, ...] = ()

    def replica(self, number: int) -> Replica | None:
        """The replica of that number, or None."""
        return next((r for r in self.replicas if r.number == number), None)


class NewTask(msgspec.Struct, frozen=True, kw_only=True):
    """What a judicator is asked to add: all that the submitter decides."""

    user: UserName
    spec: Spec
    name: str = ""
    labels: Mapping[str, str] = {}
    priority: int = 0
    key: str | None = None
    retry_of: TaskId | None = None


def shown_env(step: Step) -> dict[str, str]:
    """The environment as it may be shown: the values of secrets are masked."""
    return {name: MASK if name in step.secrets else value for name, value in step.env.items()}


def quorum_of(task: Task) -> int:
    """How many results must be there before one can be the task's."""
    return task.spec.redundancy.min_quorum if task.quorum is None else task.quorum


def contents(task: Task) -> tuple[Content, ...]:
    """Every piece of content that the document refers to, spec and results."""
    found = list(spec_contents(task.spec))
    for replica in task.replicas:
        if replica.result:
            found += replica.result.contents()
    return tuple(found)


def spec_contents(spec: Spec) -> tuple[Content, ...]:
    """Every piece of content that a spec refers to."""
    found = list(spec.source.files.values()) if spec.source else []
    found += [spec.source.archive] if spec.source and spec.source.archive else []
    found += [spec.data] if spec.data else []
    found += [s.stdin for s in (spec.compile, spec.execute) if s and s.stdin]
    comparator = spec.redundancy.comparator
    return (
        (*found, *_program_contents(comparator))
        if isinstance(comparator, Program)
        else tuple(found)
    )


def _program_contents(program: Program) -> list[Content]:
    found = list(program.source.files.values()) if program.source else []
    found += [program.source.archive] if program.source and program.source.archive else []
    return found + [s.stdin for s in (program.compile, program.execute) if s and s.stdin]


def blobs(task: Task) -> frozenset[Digest]:
    """The digests of the blobs that must not be swept while this task stands: of all files that
    are not deleted (D1).
    """
    found = [] if task.file_delete_state is Stage.DONE else list(spec_contents(task.spec))
    for replica in task.replicas:
        if replica.result and replica.file_delete_state is not Stage.DONE:
            found += replica.result.contents()
    return frozenset(c.digest for c in found if c.inline is None)


__all__ = [
    "COMPILE_DEFAULTS",
    "EXECUTE_DEFAULTS",
    "INLINE_DOCUMENT",
    "INLINE_STREAM",
    "MASK",
    "NEVER",
    "Assimilation",
    "Comparator",
    "Content",
    "Default",
    "ErrorMask",
    "Exact",
    "Files",
    "Json",
    "Lines",
    "NewTask",
    "Numbers",
    "Program",
    "Redundancy",
    "Requires",
    "Scalar",
    "Source",
    "Spec",
    "Stage",
    "Step",
    "Task",
    "Tokens",
    "blobs",
    "contents",
    "quorum_of",
    "shown_env",
    "spec_contents",
]
