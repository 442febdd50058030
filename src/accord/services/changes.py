"""The one way by which a judicator changes tasks: load, decide, compare-and-set, and again.

A lost race re-reads the document and decides anew on what is there; the core's decisions look at
what is, so a decision on a newer document is as good. Many tasks go in one call of the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from accord import logs
from accord.core.errors import InvalidTransition, NotFound, Unavailable
from accord.core.ids import ExecutorName, TaskId
from accord.core.lifecycle import Assimilated, Event, decide
from accord.core.policy import Policy
from accord.core.reliability import granted
from accord.core.task import Stage, Task
from accord.ports.assimilator import KEEP
from accord.ports.blobs import Blobs
from accord.ports.store import Store
from accord.services.weight import slim

ATTEMPTS = 20
"""Races that are lost before giving up: with one more contender gone at each, far more than ever
meet at one task."""

_log = logs.get("judicator")


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a task."""

    task: Task | None
    """As it is stored now; None: there is no such task."""
    refused: tuple[str, ...] = ()
    """Why events were not taken."""


class Changes:
    """See the module's docstring."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        policy: Policy,
        learn: Callable[[Task, Task, float], None],
        benchmarks: Mapping[ExecutorName, float],
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._policy = policy
        self._learn = learn
        """Told of each change that was stored: the task before and after it, and when."""
        self._benchmarks = benchmarks

    def one(self, id_: TaskId, event: Event) -> Changed:
        """Apply one event to one task. NotFound; Unavailable where every race was lost."""
        changed = self.many({id_: (event,)}).get(id_)
        if changed is None:
            raise Unavailable("The task is being changed by many at once. Try again shortly.")
        if changed.task is None:
            raise NotFound(f"There is no task {id_}.", id=id_)
        return changed

    def many(self, events: Mapping[TaskId, Sequence[Event]]) -> dict[TaskId, Changed]:
        """Apply events, in order, to many tasks. Absent from the answer are those tasks whose
        every race was lost: nothing is changed in them, and the caller may come again.
        """
        done: dict[TaskId, Changed] = {}
        left = dict(events)
        for _ in range(ATTEMPTS):
            if not left:
                break
            done.update(self._round(left))
            left = {id_: e for id_, e in left.items() if id_ not in done}
        return done

    def many_of(
        self, tasks: Sequence[Task], events: Mapping[TaskId, Sequence[Event]]
    ) -> dict[TaskId, Changed]:
        """As ``many``, where the documents have just been read."""
        done = self._try({task.id: task for task in tasks}, events)
        left = {id_: e for id_, e in events.items() if id_ not in done}
        return {**done, **self.many(left)} if left else done

    def _round(self, events: Mapping[TaskId, Sequence[Event]]) -> dict[TaskId, Changed]:
        return self._try(self._store.get(list(events)), events)

    def _try(
        self, found: Mapping[TaskId, Task], events: Mapping[TaskId, Sequence[Event]]
    ) -> dict[TaskId, Changed]:
        now = self._store.now()
        done: dict[TaskId, Changed] = {}
        wanted: list[tuple[Task, Task, tuple[str, ...]]] = []
        for id_, wished in events.items():
            task = found.get(id_)
            if task is None:
                done[id_] = Changed(task=None)
                continue
            decided, refused = self.decide(task, wished, now)
            if decided is task:
                done[id_] = Changed(task=task, refused=refused)
            else:
                wanted.append((task, decided, refused))
        stored = self.apply([(before, after) for before, after, _ in wanted], now)
        for (task, _, refused), won in zip(wanted, stored, strict=True):
            if won is not None:
                done[task.id] = Changed(task=won, refused=refused)
        return done

    def apply(self, decided: Sequence[tuple[Task, Task]], now: float) -> list[Task | None]:
        """Store what was decided at that time, each task with what it was before, by
        compare-and-set: each as it is stored now, None where it lost.
        """
        slimmed = [slim(after, self._blobs) for _, after in decided]
        won = self._store.apply(slimmed) if slimmed else []
        stored: list[Task | None] = []
        for (before, _), task, ok in zip(decided, slimmed, won, strict=True):
            stored.append(msgspec.structs.replace(task, version=task.version + 1) if ok else None)
            if ok:
                self._learn(before, task, now)
        return stored

    def decide(
        self, task: Task, events: Sequence[Event], now: float
    ) -> tuple[Task, tuple[str, ...]]:
        """What becomes of the task by these events, and why some were not taken. Whatever they
        made valid is granted its credit.
        """
        refused: list[str] = []
        before = task
        for event in events:
            task = self._decide(task, event, now, refused)
        if task.canonical is not None and task.replicas is not before.replicas:
            task = granted(task, self._benchmarks)
        if task.assimilate_state is Stage.READY and task.spec.assimilate.handler == KEEP:
            # The built-in handler keeps the result where it is, so its return needs no write of
            # its own; the duty does the same for what was READY in the store already.
            task = self._decide(task, Assimilated(), now, refused)
        return task, tuple(refused)

    def _decide(self, task: Task, event: Event, now: float, refused: list[str]) -> Task:
        try:
            decision = decide(task, event, now, self._policy)
        except InvalidTransition as error:
            # One impossible event must not keep the others of its call from being taken, and
            # would be as impossible when repeated.
            extra = {"action": "invalid_transition", "task": task.id, "event": type(event).__name__}
            _log.error("An event cannot follow the task's state", extra=extra, exc_info=error)
            refused.append(error.message)
            return task
        if decision.refused:
            refused.append(decision.refused)
        return decision.task
