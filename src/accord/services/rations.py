"""How much work of each class one claim may give its executor."""

from __future__ import annotations

from accord.core import reliability
from accord.core.executor import Executor
from accord.core.reliability import Reliability, TrustPolicy, task_class
from accord.core.replica import ReplicaState
from accord.core.task import Task
from accord.ports.store import Store
from accord.services.reputation import Reputation


class Ration:
    """Of one class."""

    def __init__(self, record: Reliability, left: int) -> None:
        self.record = record
        self.left = left
        self.sent = 0


class Rations:
    """Those of one claim. Most claims are of one class, so each is worked out once."""

    def __init__(
        self, store: Store, reputation: Reputation, executor: Executor, vacant: int, now: float
    ) -> None:
        self._store = store
        self._reputation = reputation
        self._executor = executor
        self._vacant = vacant
        self._now = now
        self._of: dict[str, Ration] = {}

    def of(self, task: Task) -> Ration:
        """The ration of the task's class."""
        class_ = task_class(task)
        found = self._of.get(class_)
        if found is None:
            record = self._reputation.record(self._executor.name, class_)
            # of a class that is not remembered by itself, the ration of all of those
            found = self._of.get(record.task_class) or Ration(record, self._room(record))
            self._of[class_] = self._of[record.task_class] = found
        return found

    def _room(self, record: Reliability) -> int:
        policy, slots = self._reputation.policy, self._executor.info.slots
        running = slots - self._vacant  # below zero by what it asks for ahead of a free slot
        if reliability.probing(record, policy) and not self._at_rest(record, policy):
            running = self._running(record.task_class)
        return reliability.room(record, policy, self._now, slots=slots, running=running)

    def _at_rest(self, record: Reliability, policy: TrustPolicy) -> bool:
        return reliability.quarantined(record, policy, self._now)

    def _running(self, class_: str) -> int:
        """Replicas of the class that it holds."""
        name = self._executor.name
        return sum(
            r.state is ReplicaState.IN_PROGRESS and r.executor == name
            for task in self._store.held_by(name)
            if self._reputation.record(name, task_class(task)).task_class == class_
            for r in task.replicas
        )

    def note(self) -> None:
        """Tell what was sent."""
        for ration in {id(r): r for r in self._of.values()}.values():
            if ration.sent:
                class_ = ration.record.task_class
                self._reputation.sent(self._executor.name, class_, ration.sent, self._now)
                ration.sent = 0
