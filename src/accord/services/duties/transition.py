"""The sweep over ``transition_time``: deadlines, back-offs, and what a crash left half-way."""

from __future__ import annotations

from accord.core.holding import is_held
from accord.core.lifecycle import Tick, Vouched
from accord.core.reliability import proven, task_class
from accord.core.replica import Outcome, ReplicaState
from accord.core.task import Task
from accord.ports.store import Store
from accord.services.changes import Changes
from accord.services.duties.uptime import Uptime
from accord.services.reputation import Reputation

BATCH = 500
GRACE_BATCH = 10_000
"""While overdue replicas are left alone they stand at the head of what is due."""


class Transition:
    """Every task whose time has come is looked at (rules T1-T17).

    Replicas whose report deadline passed during an outage of the judicators are left alone for
    one lease: their executors could not report, and bring their results now.

    A result that stands alone and was held is vouched for if its executor has not been caught by
    now; else whoever is to confirm it is sent for.
    """

    name = "transition"
    every = 0.0

    def __init__(
        self,
        store: Store,
        changes: Changes,
        reputation: Reputation,
        uptime: Uptime,
        lease: float,
    ) -> None:
        self._store = store
        self._reputation = reputation
        self._changes = changes
        self._uptime = uptime
        self._lease = lease
        self._grace_until: float | None = None

    def run(self, now: float) -> int:
        """Look at a batch of due tasks; how many of them changed."""
        due = self._due(now)
        if not due:
            return 0
        versions = {task.id: task.version for task in due}
        changed = self._changes.many_of(due, {task.id: (self._event(task, now),) for task in due})
        return sum(c.task is not None and c.task.version != versions[i] for i, c in changed.items())

    def _event(self, task: Task, now: float) -> Tick | Vouched:
        over = is_held(task) and all(r.not_before <= now for r in task.replicas)
        made = next((r.executor for r in task.replicas if r.outcome is Outcome.SUCCESS), None)
        if not over or made is None:
            return Tick()
        record = self._reputation.record(made, task_class(task))
        return Vouched() if proven(record, self._reputation.policy) else Tick()

    def _due(self, now: float) -> list[Task]:
        in_grace = self._grace_until is None or now < self._grace_until
        found = self._store.due(now, GRACE_BATCH if in_grace else BATCH)
        self._grace_until = self._uptime.seen(now) + self._lease
        if now >= self._grace_until:
            return found
        return [task for task in found if not _overdue(task, now)][:BATCH]


def _overdue(task: Task, now: float) -> bool:
    return any(
        r.state is ReplicaState.IN_PROGRESS and (r.report_deadline or now) < now
        for r in task.replicas
    )
