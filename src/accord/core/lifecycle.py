"""Events in, changes out: the whole life of a task.

``decide(task, event, now, policy)`` is the only way by which a task changes. The services load a
document, decide, and write it back by compare-and-set on its version; a lost race re-reads and
decides again. Where a crash falls between two writes, the sweep over ``transition_time`` (an
event Tick) finds the rest to do: every stage looks at what is, not at what happened.
"""

from __future__ import annotations

import msgspec

from accord.core.ids import ExecutorName, SessionId, TaskId
from accord.core.replica import Failure, Result
from accord.core.task import Task


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the administrator decides for all tasks. Seconds."""

    retry_first: float = 1.0
    """Back-off before the second attempt after an infrastructure fault; doubles each time."""
    retry_most: float = 60.0
    """The longest back-off."""
    grace: float = 60.0
    """Added to the limits of a task for its default report deadline."""
    unsendable_after: float = 3600.0
    """A task that no known executor can take fails as unsendable after this long."""


class Claimed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An executor is to be given the ready replica of that number (rules S1, S2)."""

    number: int
    executor: ExecutorName
    session: SessionId


class Reported(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An executor delivers the end of a replica (rules R1-R3).

    ``executor`` and ``session`` are those of the assignment. A repeat changes nothing.
    """

    number: int
    executor: ExecutorName
    session: SessionId
    end: Result | Failure


class Killed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An executor says that the replica's box was killed on request and is empty."""

    number: int
    executor: ExecutorName
    session: SessionId
    started: bool = False


class HandedBack(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An executor returns a replica of which no program has begun (drain, refused slot)."""

    number: int
    executor: ExecutorName
    session: SessionId


class Lost(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A session of an executor is gone (lease over, or a new session knows nothing of it).

    Applies to every replica in progress of that session; ``session`` None means any session.
    ``numbers`` limits it to these replicas; None means all. ``started`` tells, where known,
    which had begun to run; a replica whose start is unknown counts as started.
    """

    executor: ExecutorName
    session: SessionId | None = None
    numbers: tuple[int, ...] | None = None
    detached: bool = False
    not_started: tuple[int, ...] = ()


class CancelRequested(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A user wants the task to end (rule F2)."""


class Unsendable(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """No known executor has been able to take it for Policy.unsendable_after (rule T6)."""


class Assimilated(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The assimilation handler has returned (rule A1)."""


class Tick(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Nothing happened but time (rules T1-T17)."""


Event = (
    Claimed
    | Reported
    | Killed
    | HandedBack
    | Lost
    | CancelRequested
    | Unsendable
    | Assimilated
    | Tick
)


class WorkReady(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A replica became ready to be sent: wake the polls that could take it."""

    task: TaskId


class StopRun(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A replica in progress is no longer wanted: tell its executor."""

    executor: ExecutorName
    session: SessionId
    task: TaskId
    number: int


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The task reached a final status."""

    task: TaskId


Effect = WorkReady | StopRun | Finished


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the task. ``task`` is the same object where nothing changes.

    The version is not touched here: the store's compare-and-set raises it. Effects are hints
    for speed; whoever misses one finds the same out by looking at the store.
    """

    task: Task
    effects: tuple[Effect, ...] = ()
    refused: str = ""
    """Why the event was not taken (an old session, a repeat); empty where it was."""
