"""What the judicator's suites work with: calls on threads, a machine that reports, small values."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from accord.core.errors import AccordError
from accord.core.executor import ExecutorInfo, Isolation
from accord.core.ids import ExecutorName, SessionId, TaskId, UserName
from accord.core.limits import EXECUTE_DEFAULTS, MIB
from accord.core.replica import Failure, Result, StepResult, Verdict, content
from accord.core.task import NewTask, Spec, Step, Task
from accord.ports.judicator import Assignment, Finished, Held, Judicator, Orders, Report

PATIENCE = 30.0
"""Real seconds after which a call that should have come back counts as hanging."""

T = TypeVar("T")


class Call(Generic[T]):
    """A call under way on a thread of its own."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._answer: list[T] = []
        self._error: AccordError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer.append(self._call())
        except AccordError as error:
            self._error = error

    def answer(self) -> T:
        """What it answered, or the error that it raised."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the call did not come back"
        if self._error is not None:
            raise self._error
        return self._answer[0]


class Machine:
    """An executor as the judicator meets it: it reports what a test tells it to."""

    def __init__(
        self, judicator: Judicator, name: str = "e1", session: str = "s1", **about: Any
    ) -> None:
        fields: dict[str, Any] = {
            "name": ExecutorName(name),
            "instance_key": f"key of {name}",
            "session": SessionId(session),
            "languages": {"c": "gcc 12", "python": "Python 3.11"},
            "cores": 4,
            "memory": 8192 * MIB,
            "slots": 2,
            "isolation": Isolation(level="bwrap+cgv2"),
        }
        self.info = ExecutorInfo(**fields | about)
        self.held: dict[tuple[TaskId, int], Held] = {}
        self._judicator = judicator
        self._sequence = 0

    def report(self, **fields: Any) -> Orders:
        """A report of the next sequence."""
        self._sequence += 1
        fields = {"sequence": self._sequence, **fields}
        report = Report(executor=self.info.name, session=self.info.session, **fields)
        orders = self._judicator.report(report)
        assert orders.sequence == report.sequence
        return orders

    def hello(self, **fields: Any) -> Orders:
        """Introduce the session by a push."""
        return self.report(poll=False, hello=self.info, **fields)

    def poll(self, vacant: int = 0, wait: float = 0.0, **fields: Any) -> Orders:
        """Poll, naming everything that was assigned and not delivered."""
        holds = tuple(self.held.values())
        orders = self.report(
            **{"poll": True, "vacant": vacant, "wait": wait, "holds": holds} | fields
        )
        for given in orders.assign:
            held = Held(task=given.task.id, number=given.number, session=given.session)
            self.held[given.task.id, given.number] = held
        return orders

    def take(self, count: int = 1) -> list[Assignment]:
        """Poll for work that is there."""
        given = list(self.poll(vacant=count).assign)
        assert len(given) == count
        return given

    def finish(
        self, *given: Assignment, end: Result | Failure | None = None, **fields: Any
    ) -> Orders:
        """Deliver ends by a push; forget what is acknowledged."""
        default = a_result() if not fields else None
        complete = tuple(
            Finished(
                task=g.task.id, number=g.number, session=g.session, end=end or default, **fields
            )
            for g in given
        )
        orders = self.report(poll=False, complete=complete)
        for key in orders.stored:
            self.held.pop(key, None)
        return orders


def a_step(**changes: Any) -> Step:
    """A step that says hello."""
    return Step(**{"command": ("/bin/echo", "hello"), "limits": EXECUTE_DEFAULTS, **changes})


def a_new(**changes: Any) -> NewTask:
    """A task to add. Fields of its spec may be given directly."""
    spec = {k: changes.pop(k) for k in Spec.__struct_fields__ if k in changes}
    spec = {"execute": a_step(), **spec}
    return NewTask(**{"user": UserName("alice"), "spec": Spec(**spec), **changes})


def a_result(stdout: bytes = b"hello\n", **changes: Any) -> Result:
    """A result of verdict ok."""
    step = StepResult(exit_code=0, wall_time=0.5, stdout=content(stdout))
    return Result(**{"verdict": Verdict.OK, "execute": step, **changes})


def names(tasks: Sequence[Task]) -> list[str]:
    """Their names."""
    return [task.name for task in tasks]


NOBODY = TaskId("01ARZ3NDEKTSV4RRFFQ69G5FAV")
LONG = 7.25
"""Seconds of the waits that tests wait for: odd, so that they are told from all others."""
