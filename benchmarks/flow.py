"""The flow of very short tasks between a judicator and an executor that is some way off.

The judicator is real and durable (SQLite), the wire is Thrift on loopback, and each report takes a
given round trip longer. Boxes are scripted: a run sleeps. So what is measured is the report loop
alone: how many polls and pushes a task costs, and how busy the slots are. The control is the same
with nothing asked ahead.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from accord.adapters.embedded.blobs import FileBlobs
from accord.adapters.embedded.store import SqliteStore
from accord.adapters.memory.registry import MemoryRegistry
from accord.adapters.signing import StoreSigner
from accord.adapters.system import SystemClock, SystemIds
from accord.config import ExecutorSettings, Settings
from accord.core.ids import UserName
from accord.core.limits import Limits
from accord.core.task import NewTask, Spec, Step
from accord.delivery.rpc.client import RemoteJudicator
from accord.delivery.rpc.server import Server
from accord.ports.judicator import Orders, Report
from accord.services.executor import Executor
from accord.services.judicator import Judicator
from accord.services.pace import Pace
from accord.testing.scripted_sandbox import Act, ScriptedSandbox

ROUNDS = 3
TASKS = 200
SLOTS = 2
CASES = ((0.0, 0.005), (0.02, 0.005), (0.1, 0.02), (0.02, 0.1))
"""Seconds of a round trip, and of a run."""


class Far:
    """A judicator that is further off; counts what is asked of it."""

    def __init__(self, near: RemoteJudicator, trip: float) -> None:
        self._near = near
        self._trip = trip
        self.reports = 0

    def report(self, report: Report) -> Orders:
        self.reports += bool(report.poll or report.complete)  # a heart beat is no task's cost
        time.sleep(self._trip / 2)
        try:
            return self._near.report(report)
        finally:
            time.sleep(self._trip / 2)


@contextmanager
def _judicator(folder: Path) -> Iterator[tuple[Judicator, str]]:
    clock = SystemClock()
    store = SqliteStore(folder / "accord.db", clock)
    judicator = Judicator(
        store=store,
        blobs=FileBlobs(folder / "blobs", clock),
        registry=MemoryRegistry(clock),
        clock=clock,
        ids=SystemIds(),
        signer=StoreSigner(store),
        spool=folder / "uploads",
    )
    server = Server(judicator, "127.0.0.1", 0, clock)
    judicator.start()
    server.start()
    try:
        yield judicator, server.address
    finally:
        judicator.stop()
        server.stop()
        store.close()


def _sleeping(seconds: float) -> Callable[..., Act]:
    def act(_command: object) -> Act:
        time.sleep(seconds)
        return Act(stdout=b"hello\n")

    return act


def one(trip: float, run: float) -> tuple[float, float, float, float]:
    """Tasks a second, polls and pushes for each, and the part of the time for which slots ran."""
    with tempfile.TemporaryDirectory() as data, ExitStack() as stack:
        judicator, address = stack.enter_context(_judicator(Path(data)))
        polls, pushes = (Far(RemoteJudicator(lambda: [address]), trip) for _ in range(2))
        executor = Executor(
            Settings(executor=ExecutorSettings(name="e1", slots=SLOTS, benchmark=1.0)),
            Path(data) / "executor",
            polls=polls,  # type: ignore[arg-type]  # the part that an executor uses
            pushes=pushes,  # type: ignore[arg-type]  # as above
            sandbox=ScriptedSandbox({"say": _sleeping(run)}),
            clock=SystemClock(),
            ids=SystemIds(),
            presets={},
        )
        new = NewTask(
            user=UserName("bench"), spec=Spec(execute=Step(command=("say",), limits=Limits()))
        )
        ids = [task.id for _ in range(TASKS // 100) for task in judicator.add([new] * 100)]
        executor.start()
        stack.callback(executor.stop)
        began = time.perf_counter()
        for id_ in ids:
            assert judicator.get(id_, 60.0).status.done
        took = time.perf_counter() - began
        counted = polls.reports / TASKS, pushes.reports / TASKS
        return TASKS / took, *counted, TASKS * run / took / SLOTS


def main() -> None:
    ahead = Pace.asks_ahead
    for trip, run in CASES:
        print(f"round trip {1000 * trip:.0f} ms, runs of {1000 * run:.0f} ms")
        for name, asks in (("nothing ahead", property(lambda _: False)), ("asked ahead", ahead)):
            setattr(Pace, "asks_ahead", asks)  # noqa: B010  # mypy takes no property for another
            figures = zip(*(one(trip, run) for _ in range(ROUNDS)), strict=True)
            rate, polls, pushes, busy = map(statistics.median, figures)
            print(
                f"  {name}: {rate:.0f} tasks/s, {polls:.2f} polls and {pushes:.2f} pushes a task, "
                f"slots busy {100 * busy:.0f} %"
            )


if __name__ == "__main__":
    main()
