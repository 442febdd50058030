"""A replica: one run of a task on one executor. Lives inside its task's document."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping

import msgspec

from accord.core.ids import Digest, ExecutorName, SessionId


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """Some bytes: here in the document, or in the blob store under their digest."""

    digest: Digest
    size: int
    inline: bytes | None = None


def content(data: bytes) -> Content:
    """``data`` as inline content."""
    digest = Digest(hashlib.sha256(data).hexdigest())
    return Content(digest=digest, size=len(data), inline=data)


EMPTY = content(b"")


class ReplicaState(enum.StrEnum):
    """unsent → in_progress → over. A replica that was given up for lost may still bring a late end,
    and is in progress again while a cancellation waits for word of its box.
    """

    UNSENT = "unsent"
    IN_PROGRESS = "in_progress"
    OVER = "over"


class Outcome(enum.StrEnum):
    """What became of a replica as a run. Not to be confused with the verdict."""

    SUCCESS = "success"
    """The box ran the program to a verdict, whichever."""
    CLIENT_ERROR = "client_error"
    """The executor could not run it: an infrastructure fault."""
    NO_REPLY = "no_reply"
    """Its deadline passed, or its executor was lost."""
    COULDNT_SEND = "couldnt_send"
    DIDNT_NEED = "didnt_need"
    VALIDATE_ERROR = "validate_error"
    ABORTED = "aborted"
    """Killed on the task's cancellation; its box was seen empty."""
    DETACHED = "detached"
    """Its executor came back in another session and knew nothing of it."""


class Verdict(enum.StrEnum):
    """What a program did. Limits of the compile step carry the limit's verdict too."""

    OK = "ok"
    COMPILE_ERROR = "compile_error"
    RUNTIME_ERROR = "runtime_error"
    WRONG_ANSWER = "wrong_answer"
    FORMAT_ERROR = "format_error"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    DISK_LIMIT = "disk_limit"


class ErrorClass(enum.StrEnum):
    """Why the infrastructure failed a replica."""

    NETWORK_FAIL = "network_fail"
    INTERNAL_FAIL = "internal_fail"
    RESOURCE_FAIL = "resource_fail"
    LOST = "lost"
    BAD_INPUT = "bad_input"
    """The task's own archive or files cannot be used; another attempt would fail alike."""


class Validity(enum.StrEnum):
    """What validation thinks of a successful replica's result."""

    INIT = "init"
    VALID = "valid"
    INVALID = "invalid"
    INCONCLUSIVE = "inconclusive"
    NO_CHECK = "no_check"
    TOO_LATE = "too_late"


class Stage(enum.StrEnum):
    """How far assimilation, or the deletion of files, has come."""

    INIT = "init"
    READY = "ready"
    DONE = "done"


class Phase(enum.StrEnum):
    """What a replica in progress is at. Kept beside the task, never in it."""

    FETCHING = "fetching"
    COMPILING = "compiling"
    RUNNING = "running"
    JUDGING = "judging"


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one step did. Exactly one of exit_code and signal is set once it has run."""

    exit_code: int | None = None
    signal: int | None = None
    wall_time: float = 0.0
    cpu_time: float = 0.0
    """Seconds, of the whole process tree."""
    peak_memory: int = 0
    """Bytes, of the whole process tree where a cgroup measures it, else of sampled RSS."""
    processes: int = 0
    """The most processes seen at once; 0 where nothing counts them."""
    written: int = 0
    """Bytes that its processes wrote, wherever to; 0 where nothing counts them."""
    limit: str | None = None
    """The name of the limit that was hit, a field of Limits."""
    stdout: Content = EMPTY
    stderr: Content = EMPTY
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    cached: bool = False
    """Not run again: the executor had run the same compile step for the same user before. What
    stands here is of that run."""


class Result(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What an executor reports of a replica that the box ran to a verdict."""

    verdict: Verdict
    compile: StepResult | None = None
    execute: StepResult | None = None
    kept: Mapping[str, Content] = {}
    """Kept output files by path, always relative, never with ``..``."""
    kept_dropped: tuple[str, ...] = ()
    """Paths that matched ``outputs`` but were over the caps or not regular files."""

    def contents(self) -> list[Content]:
        """Every piece of content of this result."""
        steps = [s for s in (self.compile, self.execute) if s]
        return [c for s in steps for c in (s.stdout, s.stderr)] + list(self.kept.values())


class Failure(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What an executor reports of a replica that it could not run."""

    error_class: ErrorClass
    message: str
    """For a person: what failed and what to do about it."""
    started: bool = False
    """Whether a program of the task had begun to run."""


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a task on one executor."""

    number: int
    """From 0, rising; never used twice in a task."""
    state: ReplicaState = ReplicaState.UNSENT
    not_before: float = 0.0
    """While unsent: the back-off's end; 0 when it may be sent at once."""
    since: float = 0.0
    """Since when it has been waiting to be sent: since it was made, or its back-off was over."""
    priority: int = 0
    """Added to the task's: retries may be put first, and on reliable executors (T11)."""
    executor: ExecutorName | None = None
    owner: str = ""
    """Whose executor it is; empty where it is nobody's in particular."""
    session: SessionId | None = None
    sent_time: float | None = None
    report_deadline: float | None = None
    received_time: float | None = None
    """When its end was delivered, by whatever message; never set by a mere loss."""
    over_time: float | None = None
    """When its state became over."""
    outcome: Outcome | None = None
    """Set exactly when the state is over."""
    error_class: ErrorClass | None = None
    message: str = ""
    """Why the outcome is what it is, where that needs saying."""
    started: bool = False
    """Whether its box is known to have begun running the program."""
    killed_at: float | None = None
    """When its box was reported empty after a kill."""
    validity: Validity = Validity.INIT
    file_delete_state: Stage = Stage.INIT
    """How far the deletion of its output files has come (T14, D1)."""
    credit: float = 0.0
    result: Result | None = None

    @property
    def sendable(self) -> bool:
        """Whether it may be sent at once, no back-off holding it."""
        return self.state is ReplicaState.UNSENT and not self.not_before

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of its result, if it has one."""
        return self.result.verdict if self.result else None
