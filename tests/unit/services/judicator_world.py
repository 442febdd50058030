"""A judicator without threads: its duties are stepped by hand, on a clock that moves by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accord.adapters.memory.blobs import MemoryBlobs
from accord.adapters.memory.registry import MemoryRegistry
from accord.adapters.memory.store import MemoryStore
from accord.adapters.signing import StoreSigner
from accord.config import JudicatorSettings
from accord.core.audit import AuditPolicy
from accord.core.executor import Executor
from accord.core.ids import ExecutorName
from accord.core.policy import Policy
from accord.core.reliability import Reliability, TrustPolicy
from accord.core.status import Status
from accord.core.task import Task
from accord.ports.assimilator import Assimilator
from accord.services.judicator import Judicator
from accord.testing.clock import FakeClock, FakeIds
from accord.testing.judicator_parts import Machine, a_new


class World:
    """One judicator over a store in memory."""

    def __init__(self, spool: Path, store: Any = None, **settings: Any) -> None:
        self.clock = FakeClock()
        self.store: Any = (store or MemoryStore)(self.clock)
        self.blobs = MemoryBlobs(self.clock)
        self.registry = MemoryRegistry(self.clock)
        self.ids = FakeIds()
        self.policy = Policy()
        self.trust = TrustPolicy()
        self.audits = AuditPolicy()
        self.handlers: dict[str, Assimilator] = {}
        self._spool = spool
        self._settings = JudicatorSettings(**settings)
        self.judicator = self.new_judicator()

    def new_judicator(self, **settings: Any) -> Judicator:
        """Another process over the same store: it knows what the store knows."""
        fields = {f: getattr(self._settings, f) for f in JudicatorSettings.__struct_fields__}
        self.judicator = Judicator(
            store=self.store,
            blobs=self.blobs,
            registry=self.registry,
            clock=self.clock,
            ids=self.ids,
            signer=StoreSigner(self.store),
            spool=self._spool,
            settings=JudicatorSettings(**fields | settings),
            policy=self.policy,
            trust=self.trust,
            audits=self.audits,
            handlers=self.handlers,
        )
        return self.judicator

    def machine(self, name: str = "e1", session: str = "s1", **about: Any) -> Machine:
        """An executor that has introduced itself."""
        machine = Machine(self.judicator, name, session, **about)
        machine.hello()
        return machine

    def add(self, **changes: Any) -> Task:
        """A new task."""
        return self.judicator.add([a_new(**changes)])[0]

    def status(self, task: Task) -> Status:
        """Its status."""
        return self.judicator.get(task.id).status

    def executor(self, name: str = "e1") -> Executor:
        """The executor as it is listed."""
        return next(e for e in self.judicator.executors() if e.name == name)

    def know(self, name: str, class_: str = "any", **facts: Any) -> None:
        """Let the store know that of an executor, and this judicator what the store knows."""
        record = Reliability(executor=ExecutorName(name), task_class=class_, **facts)
        known = {(r.executor, r.task_class): r for r in self.store.reliability()}
        former = known.get((record.executor, class_))
        assert self.store.put_reliability([(record, former)]) == [True]
        self.judicator.housekeeping.step()

    def pass_time(self, seconds: float, *alive: Machine) -> None:
        """Move the clock in steps of half a second, with all background work done at each; those
        alive push a heartbeat.
        """
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)
            for machine in alive:
                machine.report(poll=False)
            self.work()

    def work(self) -> None:
        """Do what the background threads would do now."""
        self.judicator.leadership.step()
        self.judicator.housekeeping.step()
        loops = (self.judicator.duties, self.judicator.batch_duties, self.judicator.slow_duties)
        while 0 in [loop.step() for loop in loops]:
            pass
