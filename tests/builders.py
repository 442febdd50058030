"""Values for tests: valid by default, any field overridden by keyword, any state can be built.

A builder makes what its name says and nothing clever: a test shows by its keywords what matters
to it. Times are seconds since the epoch; ``NOW`` is the moment at which tests begin.
"""

from __future__ import annotations

from typing import Any

from accord.core.executor import Executor, ExecutorInfo, Isolation
from accord.core.ids import ExecutorName, SessionId, TaskId, UserName
from accord.core.limits import COMPILE_DEFAULTS, EXECUTE_DEFAULTS, MIB
from accord.core.replica import (
    ErrorClass,
    Failure,
    Outcome,
    Replica,
    ReplicaState,
    Result,
    StepResult,
    Verdict,
    content,
)
from accord.core.task import NewTask, Redundancy, Spec, Step, Task

NOW = 1_700_000_000.0
"""When tests begin."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def a_task_id(number: int = 1) -> TaskId:
    """The task id of that number; ids sort as their numbers do."""
    digits = []
    for _ in range(26):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return TaskId("".join(reversed(digits)))


def a_step(**changes: Any) -> Step:
    """An execute step: a program that says hello."""
    fields: dict[str, Any] = {"command": ("/bin/echo", "hello"), "limits": EXECUTE_DEFAULTS}
    return Step(**fields | changes)


def a_compile_step(**changes: Any) -> Step:
    """A compile step."""
    fields: dict[str, Any] = {"command": ("gcc", "main.c"), "limits": COMPILE_DEFAULTS}
    return Step(**fields | changes)


def a_spec(**changes: Any) -> Spec:
    """A spec of one execute step. Fields of Redundancy may be given directly."""
    policy = {k: changes.pop(k) for k in Redundancy.__struct_fields__ if k in changes}
    fields: dict[str, Any] = {"execute": a_step(), "redundancy": Redundancy(**policy)}
    return Spec(**fields | changes)


def a_new_task(**changes: Any) -> NewTask:
    """What a submitter sends."""
    fields: dict[str, Any] = {"user": UserName("alice"), "spec": a_spec()}
    return NewTask(**fields | changes)


def a_step_result(stdout: bytes = b"hello\n", stderr: bytes = b"", **changes: Any) -> StepResult:
    """What a step did: it ended well after a moment."""
    fields: dict[str, Any] = {
        "exit_code": 0,
        "wall_time": 0.5,
        "cpu_time": 0.25,
        "peak_memory": 4 * MIB,
        "stdout": content(stdout),
        "stderr": content(stderr),
    }
    return StepResult(**fields | changes)


def a_result(stdout: bytes = b"hello\n", **changes: Any) -> Result:
    """A result of verdict ok with that output."""
    fields: dict[str, Any] = {"verdict": Verdict.OK, "execute": a_step_result(stdout)}
    return Result(**fields | changes)


def a_failure(error_class: ErrorClass = ErrorClass.INTERNAL_FAIL, **changes: Any) -> Failure:
    """An infrastructure fault."""
    fields: dict[str, Any] = {"error_class": error_class, "message": "The disk is full."}
    return Failure(**fields | changes)


def a_replica(number: int = 0, **changes: Any) -> Replica:
    """An unsent replica that may be sent at once."""
    return Replica(**{"number": number, **changes})


def sent(number: int = 0, **changes: Any) -> Replica:
    """A replica in progress on executor ``e1``, session ``s1``, due in 100 seconds."""
    fields: dict[str, Any] = {
        "state": ReplicaState.IN_PROGRESS,
        "executor": ExecutorName("e1"),
        "session": SessionId("s1"),
        "sent_time": NOW,
        "report_deadline": NOW + 100,
    }
    return a_replica(number, **fields | changes)


def over(number: int = 0, outcome: Outcome = Outcome.SUCCESS, **changes: Any) -> Replica:
    """A replica that is over; a success has a result, a client_error its error class."""
    fields: dict[str, Any] = {"state": ReplicaState.OVER, "outcome": outcome, "over_time": NOW}
    if outcome is Outcome.SUCCESS:
        fields |= {"result": a_result(), "received_time": NOW, "started": True}
    elif outcome is Outcome.CLIENT_ERROR:
        fields |= {"error_class": ErrorClass.INTERNAL_FAIL, "message": "The disk is full."}
        fields |= {"received_time": NOW}
    elif outcome in (Outcome.NO_REPLY, Outcome.DETACHED):
        fields |= {"error_class": ErrorClass.LOST, "started": True}
    return sent(number, **fields | changes)


def a_task(**changes: Any) -> Task:
    """A pending task of one unsent replica, as it is stored after it was added.

    ``replicas`` may be given in any state. Fields of Redundancy may be given directly.
    """
    policy = {k: changes.pop(k) for k in Redundancy.__struct_fields__ if k in changes}
    spec = changes.pop("spec", None) or a_spec(**policy)
    fields: dict[str, Any] = {
        "id": a_task_id(),
        "user": UserName("alice"),
        "spec": spec,
        "add_time": NOW,
        "transition_time": NOW + 10 * 86400,
        "target_replicas": policy.get("target_replicas", spec.redundancy.target_replicas),
        "replicas": (a_replica(),),
    }
    return Task(**fields | changes)


def an_executor(name: str = "e1", **changes: Any) -> Executor:
    """An online executor that can do c, cpp and python in the strongest box.

    Fields of ExecutorInfo may be given directly.
    """
    info = {k: changes.pop(k) for k in ExecutorInfo.__struct_fields__ if k in changes}
    about: dict[str, Any] = {
        "name": ExecutorName(name),
        "instance_key": f"key-{name}",
        "session": SessionId("s1"),
        "languages": {"c": "gcc 12", "cpp": "g++ 12", "python": "Python 3.11"},
        "cores": 2,
        "memory": 4096 * MIB,
        "slots": 2,
        "isolation": Isolation(level="bwrap+cgv2"),
    }
    fields: dict[str, Any] = {"registered": NOW, "last_report": NOW}
    return Executor(**fields | changes, info=changes.pop("info", ExecutorInfo(**about | info)))
