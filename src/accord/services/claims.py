"""Which waiting replicas an executor is given.

Candidates come from the store by the requirement classes that the executor satisfies, highest
priority first, then oldest. A claim is one compare-and-set over all of them; what is won is
assigned. Polls of one judicator reserve their candidates among themselves, so that many idle
executors do not race for the head of the queue.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from accord.core.assignment import (
    RequirementClass,
    avoids,
    requirement_class,
    satisfies,
    takes_work,
)
from accord.core.executor import Executor
from accord.core.ids import ExecutorName, SessionId, TaskId
from accord.core.lifecycle import Claimed
from accord.core.replica import ReplicaState
from accord.core.task import Task
from accord.ports.judicator import Assignment
from accord.ports.store import Store
from accord.services.changes import Changes
from accord.services.roster import Roster
from accord.services.weight import task_bytes

MOST = 256
"""Replicas that one poll is given at most."""
ASSIGN_BYTES = 4 << 20
"""Assignments of one answer are cut off here, well below a frame of the wire."""
ROUNDS = 5
"""How often one poll asks for more candidates after it lost races or had to pass some over."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim came to."""

    won: tuple[Assignment, ...] = ()
    passed_over: tuple[str, ...] = ()
    """Classes of work that is waiting and had better go to another executor first."""


class Claims:
    """See the module's docstring."""

    def __init__(self, store: Store, changes: Changes, roster: Roster, weakest: str) -> None:
        self._store = store
        self._changes = changes
        self._roster = roster
        self._weakest = weakest
        self._lock = threading.Lock()
        self._reserved: set[TaskId] = set()
        self._fits: dict[tuple[ExecutorName, SessionId, str], bool] = {}

    def fits(self, executor: Executor, class_: str) -> bool:
        """Whether the executor satisfies a requirement class. Few classes exist, and what an
        executor offers changes only with its session: the answers are remembered.
        """
        key = (executor.name, executor.info.session, class_)
        known = self._fits.get(key)
        if known is None:
            if len(self._fits) > 100_000:
                self._fits.clear()
            known = satisfies(executor, RequirementClass.parse(class_), self._weakest)
            self._fits[key] = known
        return known

    def claim(self, executor: Executor, vacant: int) -> Grant:
        """Give it at most that many replicas."""
        vacant = min(vacant, MOST)
        if vacant <= 0 or not takes_work(executor):
            return Grant()
        classes = [c for c in self._store.waiting_classes() if self.fits(executor, c)]
        if not classes:
            return Grant()
        won: list[Assignment] = []
        passed: dict[TaskId, str] = {}
        seen: set[TaskId] = set()
        room = ASSIGN_BYTES
        for _ in range(ROUNDS):
            wanted = vacant - len(won)
            candidates = self._candidates(classes, wanted, seen)
            if not candidates:
                break
            try:
                chosen, room = _within(self._choose(executor, candidates, passed), room)
                won += self._take(executor, chosen)
            finally:
                self._release(candidates)
            seen.update(task.id for task in candidates)
            if len(won) >= vacant or len(candidates) < wanted or room <= 0:
                break
        return Grant(won=tuple(won), passed_over=tuple(passed.values()))

    def _candidates(self, classes: Sequence[str], wanted: int, seen: set[TaskId]) -> list[Task]:
        """Reserve candidates that no other poll of this judicator is at."""
        with self._lock:
            skip = [*seen, *self._reserved]
        found = self._store.claimable(classes, wanted, skip)
        with self._lock:
            free = [task for task in found if task.id not in self._reserved]
            self._reserved.update(task.id for task in free)
        return free

    def _release(self, candidates: Sequence[Task]) -> None:
        with self._lock:
            self._reserved.difference_update(task.id for task in candidates)

    def _choose(
        self, executor: Executor, candidates: Sequence[Task], passed: dict[TaskId, str]
    ) -> list[Task]:
        now = self._store.now()
        chosen = []
        for task in candidates:
            if len(task.replicas) > 1 and self._avoids(task, executor, now, passed):
                continue
            chosen.append(task)
        return chosen

    def _avoids(
        self, task: Task, executor: Executor, now: float, passed: dict[TaskId, str]
    ) -> bool:
        class_ = requirement_class(task).key
        others = [
            other.name
            for other in self._roster.all()
            if takes_work(other) and other.name != executor.name and self.fits(other, class_)
        ]
        if not avoids(task, executor.name, others, now, executor.info.owner):
            return False
        passed[task.id] = class_
        return True

    def _take(self, executor: Executor, chosen: Sequence[Task]) -> list[Assignment]:
        now = self._store.now()
        decided: list[tuple[Task, int]] = []
        for task in chosen:
            number = _ready(task)
            event = _claimed(executor, number)
            after, _ = self._changes.decide(task, (event,), now)
            replica = after.replica(number)
            if replica is not None and replica.state is ReplicaState.IN_PROGRESS:
                decided.append((after, number))
        stored = self._changes.apply([task for task, _ in decided])
        return [
            assignment(task, number, executor.info.session)
            for task, (_, number) in zip(stored, decided, strict=True)
            if task is not None
        ]


def _claimed(executor: Executor, number: int) -> Claimed:
    info = executor.info
    return Claimed(
        number=number,
        executor=info.name,
        session=info.session,
        owner=info.owner,
        os=info.os,
        cpu=info.cpu,
    )


def assignment(task: Task, number: int, session: SessionId) -> Assignment:
    """What the executor is sent: the task without the results of other replicas."""
    own = tuple(r for r in task.replicas if r.number == number)
    return Assignment(
        task=msgspec.structs.replace(task, replicas=own), number=number, session=session
    )


def _ready(task: Task) -> int:
    """The number of the replica that can be sent at once."""
    return next(
        r.number for r in task.replicas if r.state is ReplicaState.UNSENT and not r.not_before
    )


def _within(tasks: Sequence[Task], room: int) -> tuple[list[Task], int]:
    """As many of the tasks as fit, at least one, and the room that is left."""
    taken: list[Task] = []
    for task in tasks:
        room -= task_bytes(task)
        if room < 0 and taken:
            break
        taken.append(task)
    return taken, room
