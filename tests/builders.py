"""Values for tests: valid by default, any field overridden by keyword, any state can be built.

A builder makes what its name says and nothing clever: a test shows by its keywords what matters
to it. Times are seconds since the epoch; ``NOW`` is the moment at which tests begin.

``replicas("S=a SV P")`` and ``a_task_of("S=a SV P", canonical=1)`` spell replicas by the codes of
the scenario vectors; ``CODES`` lists them. What no code can say is said by keywords.
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
    Validity,
    Verdict,
    content,
)
from accord.core.task import NEVER, NewTask, Redundancy, Spec, Step, Task

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


# -- by the codes of the vectors ---------------------------------------------------------

_SUCCESS = {"outcome": Outcome.SUCCESS}
_UNSENT_FACTS: dict[str, Any] = dict.fromkeys(
    ("executor", "session", "sent_time", "report_deadline"), None
)

CODES: dict[str, dict[str, Any]] = {
    "U": {},
    "I": {"not_before": NEVER / 10},
    "P": {},
    "S": _SUCCESS,
    "SV": {**_SUCCESS, "validity": Validity.VALID},
    "SI": {**_SUCCESS, "validity": Validity.INVALID},
    "SC": {**_SUCCESS, "validity": Validity.INCONCLUSIVE},
    "SN": {**_SUCCESS, "validity": Validity.NO_CHECK},
    "SL": {**_SUCCESS, "validity": Validity.TOO_LATE},
    "E": {"outcome": Outcome.CLIENT_ERROR, "validity": Validity.INVALID},
    "G": {"outcome": Outcome.ABORTED, "received_time": NOW, "killed_at": NOW},
    "N": {"outcome": Outcome.NO_REPLY, "report_deadline": NOW - 1},
    "X": {"outcome": Outcome.DETACHED, "report_deadline": NOW - 1},
    "VE": {
        "outcome": Outcome.VALIDATE_ERROR,
        "validity": Validity.INVALID,
        "received_time": NOW,
        "result": a_result(),
    },
    "CS": {"outcome": Outcome.COULDNT_SEND, **_UNSENT_FACTS},
    "D": {"outcome": Outcome.DIDNT_NEED, **_UNSENT_FACTS},
    "H": {"outcome": Outcome.DIDNT_NEED, "received_time": NOW},
}
"""What stands for a replica: U unsent, I unsent and held back (BOINC's inactive), P in progress and
due in 100 seconds, S a success that nothing looked at, SV valid, SI invalid, SC inconclusive, SN
not checked, SL too late, E client error, G aborted, N no reply, X detached, VE validate error, CS
could not be sent, D not needed (never sent), H handed back.
"""


def a_coded_replica(number: int, code: str, **changes: Any) -> Replica:
    """The replica that a code spells, on an executor of its own: ``e`` and its number.

    ``S=a`` is a success whose standard output is ``a``; ``S!`` one whose result cannot be read.
    """
    code, _, text = code.partition("=")
    facts = dict(CODES[code.rstrip("!")])
    if code.rstrip("!") in ("U", "I"):
        return a_replica(number, **facts | changes)
    if text:
        facts["result"] = a_result(text.encode())
    if code.endswith("!"):
        facts["result"] = None
    where = {"executor": ExecutorName(f"e{number}")}
    if code == "P":
        return sent(number, **where | facts | changes)
    return over(number, **where | facts | changes)


def replicas(codes: str, **in_progress: Any) -> tuple[Replica, ...]:
    """The replicas that the codes spell, numbered from 0. Keywords change those in progress."""
    return tuple(
        a_coded_replica(number, code, **(in_progress if code == "P" else {}))
        for number, code in enumerate(codes.split())
    )


def a_task_of(codes: str, **changes: Any) -> Task:
    """A task of those replicas, in whatever state, and of the vectors' policy: two of two, 3
    errors, 6 successes, 6 in all, any number of lost ones, 100 seconds.
    """
    fields: dict[str, Any] = {
        "min_quorum": 2,
        "target_replicas": 2,
        "max_total_replicas": 6,
        "max_lost_replicas": 100,
        "delay_bound": 100.0,
        "replicas": replicas(codes),
    }
    return a_task(**fields | changes)


def spelled(replica: Replica) -> str:
    """The code of a replica, without its output: what ``a_coded_replica`` would make it of."""
    if replica.state is ReplicaState.UNSENT:
        return "I" if replica.not_before else "U"
    if replica.state is ReplicaState.IN_PROGRESS:
        return "P"
    if replica.outcome is Outcome.DIDNT_NEED:
        return "D" if replica.sent_time is None else "H"
    wanted = {"outcome": replica.outcome, "validity": replica.validity}
    if replica.outcome is not Outcome.SUCCESS:
        del wanted["validity"]
    return next(
        code
        for code, facts in CODES.items()
        if all(facts.get(k, Validity.INIT) == v for k, v in wanted.items()) and "outcome" in facts
    )


def spelled_all(task: Task) -> str:
    """The codes of a task's replicas."""
    return " ".join(spelled(r) for r in task.replicas)


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
