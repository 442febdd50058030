"""Small values for the conformance suites: tasks, batches, replicas and executors in any state."""

from __future__ import annotations

from typing import Any

from accord.core.batch import Batch, BatchSource
from accord.core.executor import Executor, ExecutorInfo, Isolation
from accord.core.ids import BatchId, ExecutorName, SessionId, TaskId, UserName, member
from accord.core.limits import EXECUTE_DEFAULTS
from accord.core.replica import (
    Outcome,
    Replica,
    ReplicaState,
    Result,
    StepResult,
    Verdict,
)
from accord.core.task import NEVER, Spec, Step, Task

START = 1_700_000_000.0
"""When a FakeClock begins."""


def task_id(number: int) -> TaskId:
    """Task ids that sort as their numbers do."""
    return TaskId(f"01H{number:023d}")


def batch_id(number: int) -> BatchId:
    """Batch ids that sort as their numbers do, after all of ``task_id``."""
    return BatchId(f"01K{number:016d}0000000")


def batch(number: int = 1, **changes: Any) -> Batch:
    """The batch of that number, which still receives tasks."""
    fields: dict[str, Any] = {
        "id": batch_id(number),
        "user": UserName("alice"),
        "source": BatchSource.LIST,
        "created": START + number,
        "changed": START + number,
    }
    return Batch(**fields | changes)


def task(number: int = 1, **changes: Any) -> Task:
    """The task of that number, with one replica ready to be sent. ``language`` may be given. One
    of a batch has the id of that place in it.
    """
    language = changes.pop("language", None)
    step = Step(command=("/bin/echo", "hello"), limits=EXECUTE_DEFAULTS)
    of = changes.get("batch")
    fields: dict[str, Any] = {
        "id": member(of, number) if of else task_id(number),
        "user": UserName("alice"),
        "spec": Spec(execute=step, language=language),
        "add_time": START + number,
        "transition_time": NEVER,
        "replicas": (Replica(number=0),),
    }
    return Task(**fields | changes)


def running(executor: str = "e1", number: int = 0, session: str = "s1") -> Replica:
    """A replica in progress."""
    return Replica(
        number=number,
        state=ReplicaState.IN_PROGRESS,
        executor=ExecutorName(executor),
        session=SessionId(session),
        sent_time=START,
    )


def ended(number: int = 0, result: Result | None = None) -> Replica:
    """A replica that is over with a result."""
    return Replica(
        number=number,
        state=ReplicaState.OVER,
        outcome=Outcome.SUCCESS,
        executor=ExecutorName("e1"),
        session=SessionId("s1"),
        sent_time=START,
        result=result or Result(verdict=Verdict.OK, execute=StepResult(exit_code=0)),
    )


def succeeded(number: int = 1, **changes: Any) -> Task:
    """A task that is done."""
    return task(number, **{"replicas": (ended(),), "canonical": 0, **changes})


def executor(name: str = "e1", **changes: Any) -> Executor:
    """An executor."""
    info = ExecutorInfo(
        name=ExecutorName(name),
        instance_key=f"key-{name}",
        session=SessionId("s1"),
        isolation=Isolation(level="bwrap+cgv2"),
    )
    return Executor(**{"info": info, "registered": START, "last_report": START, **changes})
