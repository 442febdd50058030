"""A judicator on memory adapters and executors on scripted boxes, over lines that fail as told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accord.adapters.memory.blobs import MemoryBlobs
from accord.adapters.memory.registry import MemoryRegistry
from accord.adapters.memory.store import MemoryStore
from accord.adapters.signing import StoreSigner
from accord.adapters.system import SystemClock, SystemIds
from accord.config import ExecutorSettings, JudicatorSettings, SandboxSettings, Settings
from accord.core.errors import Unavailable
from accord.core.ids import Digest, TaskId
from accord.core.languages import Preset
from accord.core.policy import Policy
from accord.core.task import Task
from accord.ports.judicator import Judicator as JudicatorPort
from accord.ports.judicator import Orders, Report
from accord.ports.sandbox import Sandbox
from accord.services.executor import Executor
from accord.services.judicator import Judicator
from accord.testing.scripted_sandbox import Act, ScriptedSandbox
from tests.builders import a_new_task

PATIENCE = 30.0


class Line:
    """A line to a judicator. ``lost`` decides whose answers are lost on the way."""

    def __init__(self, judicator: Judicator) -> None:
        self._judicator = judicator
        self._changed = threading.Condition()
        self.away = False
        self.lost: Callable[[Report, Orders], bool] = lambda report, orders: False
        self.twice = False
        self.answered: list[tuple[Report, Orders]] = []
        """Reports with their orders, the lost ones too."""
        self.failed = 0
        self.sent: list[Report] = []
        self.cut: Callable[[Report], Report] = lambda report: report
        """What of a report arrives."""
        self.altered: Callable[[Report, Orders], Orders] = lambda report, orders: orders

    def report(self, report: Report) -> Orders:
        with self._changed:
            self.sent.append(report)
            self._changed.notify_all()
        self._pass()
        orders = self.altered(report, self._judicator.report(self.cut(report)))
        if self.twice:
            self._judicator.report(report)
        with self._changed:
            self.answered.append((report, orders))
            self._changed.notify_all()
            if self.lost(report, orders):
                raise Unavailable
        return orders

    def read_blob(self, digest: Digest, offset: int, size: int) -> bytes:
        self._pass()
        return self._judicator.read_blob(digest, offset, size)

    def write_blob(self, upload: str, offset: int, data: bytes) -> None:
        self._pass()
        self._judicator.write_blob(upload, offset, data)

    def commit_blob(self, upload: str) -> tuple[Digest, int]:
        self._pass()
        return self._judicator.commit_blob(upload)

    def wait_for(self, true: Callable[[], bool]) -> None:
        """Wait until ``true``, which is asked again at every answer and every failure."""
        with self._changed:
            assert self._changed.wait_for(true, PATIENCE)

    def _pass(self) -> None:
        with self._changed:
            if self.away:
                self.failed += 1
                self._changed.notify_all()
                raise Unavailable


def once(true: Callable[[Report, Orders], bool]) -> Callable[[Report, Orders], bool]:
    """True for the first report of which it is, and never again."""
    done = threading.Event()

    def first(report: Report, orders: Orders) -> bool:
        if done.is_set() or not true(report, orders):
            return False
        done.set()
        return True

    return first


class Platform:
    """One judicator; executors as many as a test starts."""

    def __init__(self, root: Path, policy: Policy = Policy()) -> None:
        self.root = root
        self.clock = SystemClock()
        self.ids = SystemIds()
        self.store = MemoryStore(self.clock)
        self.blobs = MemoryBlobs(self.clock)
        self.judicator = Judicator(
            store=self.store,
            blobs=self.blobs,
            registry=MemoryRegistry(self.clock),
            clock=self.clock,
            ids=self.ids,
            signer=StoreSigner(self.store),
            spool=root / "uploads",
            settings=JudicatorSettings(),
            policy=policy,
        )
        self.judicator.start()
        self._executors: list[Executor] = []

    def executor(
        self,
        acts: Mapping[str, Act | Callable[[Any], Act]] | Sandbox,
        *,
        data: str = "e1",
        name: str = "e1",
        polls: Line | None = None,
        pushes: Line | None = None,
        start: bool = True,
        delivery: float = PATIENCE,
        presets: Mapping[str, Preset] | None = None,
        boxes: SandboxSettings = SandboxSettings(),
        **settings: Any,
    ) -> tuple[Executor, Any]:
        sandbox = ScriptedSandbox(acts) if isinstance(acts, Mapping) else acts
        fields: dict[str, Any] = {"name": name, "slots": 1, "drain": 0.0} | settings
        executor = Executor(
            Settings(executor=ExecutorSettings(**fields), sandbox=boxes),
            self.root / data,
            polls=self._port(polls),
            pushes=self._port(pushes),
            sandbox=sandbox,
            clock=self.clock,
            ids=self.ids,
            home=self.root,
            presets=presets or {},
            delivery=delivery,
        )
        self._executors.append(executor)
        if start:
            executor.start()
        return executor, sandbox

    def line(self) -> Line:
        return Line(self.judicator)

    def add(self, **changes: Any) -> TaskId:
        return self.judicator.add([a_new_task(**changes)])[0].id

    def done(self, id_: TaskId) -> Task:
        """The task, once it is done."""
        view = self.judicator.get(id_, PATIENCE)
        assert view.status.done, self.judicator.explain(id_)
        return view.task

    def handed_back(self, id_: TaskId) -> None:
        """Wait until the task's first replica has come back unstarted: the next has its place."""
        cursor = ""
        while [r.number for r in self.judicator.get(id_).task.replicas] == [0]:
            news = self.judicator.follow(id_, cursor, PATIENCE)
            assert news.cursor != cursor, "nothing more happened to the task"
            cursor = news.cursor

    def close(self) -> None:
        for executor in self._executors:
            executor.stop()
        self.judicator.stop()
        self.store.close()

    def _port(self, line: Line | None) -> JudicatorPort:
        return line or self.judicator  # type: ignore[return-value]  # the part that an executor uses
