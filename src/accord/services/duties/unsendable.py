"""Tasks that no known executor can take (rule T6)."""

from __future__ import annotations

from accord.core.assignment import RequirementClass, satisfies, waits_since
from accord.core.executor import Executor, ExecutorState
from accord.core.ids import TaskId
from accord.core.lifecycle import Unsendable as Event
from accord.core.policy import Policy
from accord.core.task import Task
from accord.ports.store import Store
from accord.services.changes import Changes
from accord.services.roster import Roster

BATCH = 200
ROUNDS = 10


class Unsendable:
    """Fails what has waited for ``Policy.unsendable_after`` without an executor that could run it;
    a judging run for which nobody comes is done without.

    An executor counts as able while it is not lost, and, lost, for that long after its last
    report: a task must not fail because the only machine for it is being restarted.
    """

    name = "unsendable"
    every = 10.0

    def __init__(
        self, store: Store, changes: Changes, roster: Roster, policy: Policy, weakest: str
    ) -> None:
        self._store = store
        self._changes = changes
        self._roster = roster
        self._policy = policy
        self._weakest = weakest

    def run(self, now: float) -> int:
        """Fail a batch of unsendable tasks; how many."""
        before = now - self._policy.unsendable_after
        able = [executor for executor in self._roster.refresh() if _counts(executor, before)]
        orphaned = [c for c in self._store.waiting_classes() if not self._anyone(able, c)]
        old = self._waiting_since(orphaned, before) if orphaned else []
        changed = self._changes.many_of(old, {task.id: (_event(task),) for task in old})
        return sum(c.task is not None and not c.refused for c in changed.values())

    def _anyone(self, able: list[Executor], class_: str) -> bool:
        needs = RequirementClass.parse(class_)
        return any(satisfies(executor, needs, self._weakest) for executor in able)

    def _waiting_since(self, classes: list[str], before: float) -> list[Task]:
        """Tasks of these classes that are old enough; younger ones of a higher priority may
        stand before them.
        """
        seen: list[TaskId] = []
        for _ in range(ROUNDS):
            found = self._store.claimable(classes, BATCH, seen)
            old = [task for task in found if waits_since(task) <= before]
            if old or len(found) < BATCH:
                return old
            seen += [task.id for task in found]
        return []


def _event(task: Task) -> Event:
    return Event(judging=task.judging is not None and task.judging.sendable)


def _counts(executor: Executor, before: float) -> bool:
    return executor.state is not ExecutorState.LOST or executor.last_report > before
