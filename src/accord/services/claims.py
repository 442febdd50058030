"""Which waiting replicas an executor is given.

Candidates come from the store by the requirement classes that the executor satisfies, highest
priority first, then oldest. A claim is one compare-and-set over all of them; what is won is
assigned. Polls of one judicator reserve their candidates among themselves, so that many idle
executors do not race for the head of the queue.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from importlib import resources

import msgspec

from accord.core import texts
from accord.core.assignment import (
    RequirementClass,
    avoids,
    next_class,
    satisfies,
    takes_work,
)
from accord.core.executor import Executor
from accord.core.ids import ExecutorName, SessionId, TaskId
from accord.core.judging import is_judging, run_number
from accord.core.judging_spec import spec_of
from accord.core.lifecycle import Claimed, JudgingClaimed
from accord.core.replica import Content, ReplicaState, content
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
        needs = next_class(task)
        if needs is None or (task.judging is not None and task.judging.sendable):
            return False
        class_ = needs.key
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
            event = _claim_of(task, executor)
            after, refused = self._changes.decide(task, (event,), now)
            if not refused:
                decided.append((after, _number_of(event, after)))
        stored = self._changes.apply([task for task, _ in decided])
        return [
            assignment(task, number, executor.info.session)
            for task, (_, number) in zip(stored, decided, strict=True)
            if task is not None
        ]


def _claim_of(task: Task, executor: Executor) -> Claimed | JudgingClaimed:
    """The claim of what can be sent of the task."""
    info = executor.info
    if task.judging is not None and task.judging.sendable:
        return JudgingClaimed(executor=info.name, session=info.session, owner=info.owner)
    return _claimed(executor, _ready(task))


def _number_of(event: Claimed | JudgingClaimed, after: Task) -> int:
    """The number of what was claimed, among the runs of its task."""
    if isinstance(event, Claimed):
        return event.number
    return run_number(after.judging) if after.judging else 0


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
    """What the executor is sent: the task without the results of other replicas; of a judging
    run, what is to be run in its stead.
    """
    own = tuple(r for r in task.replicas if r.number == number)
    sent = msgspec.structs.replace(task, replicas=own)
    if is_judging(number) and task.judging is not None:
        spec = spec_of(task, task.judging, built_in())
        sent = msgspec.structs.replace(sent, spec=spec, judging=None)
    return Assignment(task=sent, number=number, session=session)


@functools.cache
def built_in() -> Content:
    """The built-in program of judging runs."""
    return content(resources.files(texts.__package__).joinpath("texts.py").read_bytes())


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
