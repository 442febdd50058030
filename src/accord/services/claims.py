"""Which waiting replicas an executor is given.

Candidates come from the store by the requirement classes that the executor satisfies, highest
priority first, then oldest. A claim is one compare-and-set over all of them; what is won is
assigned. Polls of one judicator reserve their candidates among themselves, so that many idle
executors do not race for the head of the queue.

What is known of the executor (``reputation``) bounds what it is given of each class of tasks. Where
it may have nothing of one, the claim looks further; a requirement class of which even so nothing was
found for it is left out of the rest of the claim, so that a queue full of that keeps it from
nothing else. Nothing wakes a poll when a quarantine ends: an
executor that is held asks again within seconds.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from importlib import resources

import msgspec

from accord.core import texts, transition
from accord.core.assignment import (
    RequirementClass,
    avoids,
    avoids_judging,
    kept_apart,
    may_wait,
    next_class,
    requirement_class,
    satisfies,
    takes_work,
)
from accord.core.executor import Executor
from accord.core.ids import ExecutorName, SessionId, TaskId
from accord.core.judging import is_judging, run_number
from accord.core.judging_spec import spec_of
from accord.core.lifecycle import Claimed, JudgingClaimed
from accord.core.policy import Policy
from accord.core.reliability import (
    Reliability,
    reduced_delay_bound,
    reliable,
    spared,
    wants_reliable,
)
from accord.core.replica import Content, Replica, content
from accord.core.task import Task
from accord.ports.judicator import Assignment
from accord.ports.store import Store
from accord.services.changes import Changes
from accord.services.rations import Ration, Rations
from accord.services.reputation import Reputation
from accord.services.roster import Roster
from accord.services.weight import task_bytes

MOST = 256
"""Replicas that one poll is given at most."""
ASSIGN_BYTES = 4 << 20
"""Assignments of one answer are cut off here, well below a frame of the wire."""
FURTHER = 64
"""Candidates that a poll looks at, past tasks of which its executor may have none for now."""
ROUNDS = 5
"""How often one poll asks for more candidates after it lost races or had to pass some over."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim came to."""

    won: tuple[Assignment, ...] = ()
    passed_over: tuple[str, ...] = ()
    """Classes of work that is waiting and had better go to another executor first."""


class Claims:
    """See the module's docstring."""

    def __init__(
        self,
        store: Store,
        changes: Changes,
        roster: Roster,
        reputation: Reputation,
        policy: Policy,
        weakest: str,
        draw: Callable[[], float],
    ) -> None:
        self._store = store
        self._changes = changes
        self._roster = roster
        self._reputation = reputation
        self._policy = policy
        self._weakest = weakest
        self._draw = draw
        """A random number from 0 up to 1."""
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
        look = _Look(
            executor, Rations(self._store, self._reputation, executor, vacant, self._store.now())
        )
        won: list[Assignment] = []
        room = ASSIGN_BYTES
        for _ in range(ROUNDS):
            wanted = vacant - len(won)
            portion = max(wanted, FURTHER) if look.short else wanted
            candidates = self._candidates(classes, portion, look.seen)
            if not candidates:
                break
            try:
                chosen, room = _within(self._choose(look, candidates, wanted), room)
                won += self._take(look, chosen)
            finally:
                self._release(candidates)
            classes = [c for c in classes if c not in look.closed]
            if len(won) >= vacant or len(candidates) < portion or room <= 0 or not classes:
                break
        return Grant(won=tuple(won), passed_over=tuple(look.passed.values()))

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

    def _choose(self, look: _Look, candidates: Sequence[Task], most: int) -> list[Task]:
        now = self._store.now()
        chosen: list[Task] = []
        short: set[str] = set()
        for task in candidates:
            if len(chosen) == most:
                break
            look.seen.add(task.id)
            ration = look.rations.of(task)
            if ration.left <= 0:
                short.add(look.pass_over(task))
            elif len(task.replicas) > 1 and self._avoids(task, look.executor, ration, now):
                look.pass_over(task)
            else:
                ration.left -= 1
                chosen.append(task)
        if look.short:  # it looked further already: there may be thousands of these before others
            look.closed |= short - {_class_of(task) for task in chosen}
        look.short = look.short or bool(short)
        return chosen

    def _avoids(self, task: Task, executor: Executor, ration: Ration, now: float) -> bool:
        class_ = _class_of(task)
        others = [
            other
            for other in self._roster.all()
            if takes_work(other) and other.name != executor.name and self.fits(other, class_)
        ]
        names = [other.name for other in others]
        if _judges(task):
            return avoids_judging(task, executor.name, names, now)
        if avoids(task, executor.name, names, now, executor.info.owner):
            return True
        return self._leaves(task, ration.record, others, now)

    def _leaves(
        self, task: Task, record: Reliability, others: Sequence[Executor], now: float
    ) -> bool:
        """Whether a retry is left to a reliable executor for a while, where there is one."""
        trust = self._reputation.policy
        if not wants_reliable(_ready(task).priority, trust) or not may_wait(task, now):
            return False
        needs = requirement_class(task)
        return not reliable(record, trust) and any(
            reliable(self._reputation.record(other.name, record.task_class), trust)
            for other in others
            if not kept_apart(other, needs)
        )

    def _take(self, look: _Look, chosen: Sequence[Task]) -> list[Assignment]:
        now = self._store.now()
        decided: list[tuple[Task, Task]] = []
        numbers: list[int] = []
        for task in chosen:
            event = self._claim_of(look, task)
            after, refused = self._changes.decide(task, (event,), now)
            if not refused:
                decided.append((task, after))
                numbers.append(_number_of(event, after))
        stored = self._changes.apply(decided, now)
        won = [(task, n) for task, n in zip(stored, numbers, strict=True) if task is not None]
        for task, n in won:
            look.rations.of(task).sent += not is_judging(n)
        look.rations.note()
        session = look.executor.info.session
        return [assignment(task, number, session) for task, number in won]

    def _claim_of(self, look: _Look, task: Task) -> Claimed | JudgingClaimed:
        """The claim of what can be sent of the task."""
        info = look.executor.info
        if _judges(task):
            return JudgingClaimed(executor=info.name, session=info.session, owner=info.owner)
        return self._claimed(look, task, _ready(task))

    def _claimed(self, look: _Look, task: Task, replica: Replica) -> Claimed:
        info = look.executor.info
        trust = self._reputation.policy
        record = look.rations.of(task).record
        bound = None
        if wants_reliable(replica.priority, trust) and reliable(record, trust):
            full = transition.delay_bound(task, self._policy)
            bound = reduced_delay_bound(full, record.turnaround.mean, trust)
        return Claimed(
            number=replica.number,
            executor=info.name,
            session=info.session,
            owner=info.owner,
            os=info.os,
            cpu=info.cpu,
            trusted=task.spec.redundancy.adaptive and spared(record, trust, self._draw()),
            delay_bound=bound,
        )


class _Look:
    """One claim, while it is being made."""

    def __init__(self, executor: Executor, rations: Rations) -> None:
        self.executor = executor
        self.rations = rations
        self.seen: set[TaskId] = set()
        self.passed: dict[TaskId, str] = {}
        """Tasks that had better go elsewhere, with their requirement classes."""
        self.short = False
        """Whether it may have nothing of some class of tasks that waits."""
        self.closed: set[str] = set()
        """Requirement classes that are left out of the rounds to come."""

    def pass_over(self, task: Task) -> str:
        """Leave it to others; its requirement class."""
        class_ = self.passed[task.id] = _class_of(task)
        return class_


def _judges(task: Task) -> bool:
    """Whether it is the task's judging run that can be sent."""
    return task.judging is not None and task.judging.sendable


def _class_of(task: Task) -> str:
    """The requirement class of what can be sent of a task."""
    needs = next_class(task)
    return needs.key if needs else ""


def _number_of(event: Claimed | JudgingClaimed, after: Task) -> int:
    """The number of what was claimed, among the runs of its task."""
    if isinstance(event, Claimed):
        return event.number
    return run_number(after.judging) if after.judging else 0


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


def _ready(task: Task) -> Replica:
    """The replica that can be sent at once; of several the first of the highest priority."""
    ready = [r for r in task.replicas if r.sendable]
    return ready[0] if len(ready) == 1 else max(ready, key=lambda r: r.priority)


def _within(tasks: Sequence[Task], room: int) -> tuple[list[Task], int]:
    """As many of the tasks as fit, at least one, and the room that is left."""
    taken: list[Task] = []
    for task in tasks:
        room -= task_bytes(task)
        if room < 0 and taken:
            break
        taken.append(task)
    return taken, room
