"""What is known of executors: learnt from every change of a task, asked at every claim.

A lesson counts at once in this judicator. It is written down by a duty of the housekeeping, with
whatever else came since: bad ones by a pass that is begun for them; good ones, of which
thousands come each second, every few seconds. A record is written by compare-and-set; where another
judicator was first, the lessons are applied again to what it wrote. So nobody's lessons are
lost in a race, and each judicator knows what the others know a few seconds later.

A crash loses the lessons and the credit of the last seconds, never the tasks that they are of.
Where the store failed without saying whether it had written, those may count twice.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from accord import logs
from accord.core import reliability
from accord.core.executor import Executor
from accord.core.ids import ExecutorName, TaskId, UserName
from accord.core.reliability import (
    ANY,
    CLASSES,
    Kind,
    Lesson,
    Reliability,
    TrustPolicy,
    learnt,
    lessons,
)
from accord.core.standing import Credit, Standing, standing
from accord.core.task import Task
from accord.ports.assimilator import AUDIT
from accord.ports.store import Store
from accord.services.roster import Roster

ATTEMPTS = 20
"""Races that are lost before a record is left to the next pass."""

PAUSE = 1.0
"""Seconds between two passes that are begun for bad lessons: each reads all that is known."""

_GOOD = (Kind.SUCCESS, Kind.VALID)  # a set would ask each for its hash, which takes long
_Key = tuple[ExecutorName, str]
_Learnt = tuple[Lesson, float]
"""A lesson and when it was learnt."""

_log = logs.get("judicator")


class Caught(msgspec.Struct, frozen=True, kw_only=True):
    """A proven executor's result of an adaptive task was found invalid."""

    task: TaskId
    executor: ExecutorName
    checked: int
    """What it had passed before; given back if it was right after all."""


class _Known:
    """What is known of one executor and class. Its fields change under the lock of Reputation."""

    def __init__(self, stored: Reliability | None, fresh: Reliability) -> None:
        self.stored = stored
        """As the store had it when it was last looked at."""
        self.record = stored or fresh
        """With all that was folded in since."""
        self.lessons: list[_Learnt] = []
        """What is not written down, in order."""
        self.folded = 0
        """How many of these the record has."""


class _Earned:
    """Credit that is not written down."""

    def __init__(self) -> None:
        self.users: dict[str, float] = {}
        self.owners: dict[str, float] = {}

    def add(self, user: UserName, lesson: Lesson) -> None:
        _add(self.users, user, lesson.credit)
        if lesson.owner:
            _add(self.owners, lesson.owner, lesson.credit)

    def merge(self, other: _Earned) -> None:
        for mine, theirs in ((self.users, other.users), (self.owners, other.owners)):
            for name, amount in theirs.items():
                _add(mine, name, amount)


def _add(sums: dict[str, float], name: str, amount: float) -> None:
    sums[name] = sums.get(name, 0.0) + amount


class Reputation:
    """See the module's docstring. A duty (``duties.duty.Duty``): a pass is a flush."""

    name = "reputation"
    every = 0.0

    def __init__(
        self, store: Store, roster: Roster, policy: TrustPolicy, kick: Callable[[], None]
    ) -> None:
        self.policy = policy
        self._store = store
        self._roster = roster
        self._kick = kick
        """Lets the next pass begin at once."""
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._known: dict[_Key, _Known] = {}
        self._classes: dict[ExecutorName, set[str]] = {}
        self._told_at = -math.inf
        self._earned = _Earned()
        self._caught: list[Caught] = []

    # -- learning ------------------------------------------------------------------------

    def learn(self, before: Task, after: Task, now: float) -> None:
        """Take what a change that is stored says of executors. Never for one that lost a race."""
        if after.replicas is before.replicas:
            return
        found = lessons(before, after)
        if not found:
            return
        class_ = reliability.task_class(after)
        bad = False
        with self._lock:
            for lesson in found:
                known = self._known.get((lesson.executor, class_))
                known = known or self._of(lesson.executor, class_)
                if lesson.kind is Kind.INVALID and not self._counts(known, lesson, after):
                    continue
                known.lessons.append((lesson, now))
                if lesson.credit:
                    self._earned.add(after.user, lesson)
                bad = bad or lesson.kind not in _GOOD
            tell = bad and now >= self._told_at + PAUSE
            if tell:
                self._told_at = now
        if tell:
            self._kick()

    def caught(self) -> list[Caught]:
        """Who was caught since the last call, to be audited."""
        with self._lock:
            found, self._caught = self._caught, []
            return found

    def failed(self, executor: ExecutorName, class_: str) -> None:
        """An audit has found that a result of its own was wrong."""
        self._tell(executor, class_, Kind.INVALID, adaptive=True)

    def acquit(self, executor: ExecutorName, class_: str, checked: int) -> None:
        """An audit has found that it was right when it was caught: it has passed as much again."""
        self._tell(executor, class_, Kind.ACQUITTED, count=checked)

    def _tell(self, executor: ExecutorName, class_: str, kind: Kind, **about: Any) -> None:
        lesson, now = Lesson(executor=executor, kind=kind, number=0, **about), self._store.now()
        with self._lock:
            self._of(executor, class_).lessons.append((lesson, now))

    def sent(self, executor: ExecutorName, class_: str, count: int, now: float) -> None:
        """So many replicas of that class were sent to it."""
        lesson = Lesson(executor=executor, kind=Kind.SENT, number=0, count=count)
        with self._lock:
            self._of(executor, class_).lessons.append((lesson, now))

    def release(self, executor: ExecutorName) -> None:
        """End its quarantines and rests; written down on return."""
        self._of_all(executor, Kind.RELEASED)

    def renew(self, executor: ExecutorName) -> None:
        """Another installation has its name: forget what is known; written down on return."""
        self._of_all(executor, Kind.RENEWED)

    def _of_all(self, executor: ExecutorName, kind: Kind) -> None:
        lesson, now = Lesson(executor=executor, kind=kind, number=0), self._store.now()
        with self._lock:
            for class_ in self._classes.get(executor, ()):
                self._known[executor, class_].lessons.append((lesson, now))
        self.flush()

    def forget(self, executor: ExecutorName) -> None:
        """It was removed from the store: let go of what is known of it."""
        with self._lock:
            self._drop([(executor, class_) for class_ in self._classes.get(executor, ())])

    # -- asking --------------------------------------------------------------------------

    def record(self, executor: ExecutorName, class_: str) -> Reliability:
        """What is known of it, with every lesson of this judicator."""
        with self._lock:
            known = self._known.get((executor, class_))
            if known is None and self._is_full(executor):
                known = self._known.get((executor, ANY))
            if known is None:
                return Reliability(executor=executor, task_class=class_)
            return self._folded(known)

    def standings(self, executor: Executor, now: float) -> tuple[Standing, ...]:
        """How it stands with every class that is known of it, by name."""
        with self._lock:
            classes = sorted(self._classes.get(executor.name, ()))
            records = [self._folded(self._known[executor.name, class_]) for class_ in classes]
        return tuple(standing(r, self.policy, executor.info.slots, now) for r in records)

    # -- under the lock ------------------------------------------------------------------

    def _counts(self, known: _Known, lesson: Lesson, task: Task) -> bool:
        """Whether an invalid result is held against its executor by itself. What the results of an
        audit say, the whole of them says. Of who was proven an audit is to be opened.
        """
        if task.spec.assimilate.handler == AUDIT:
            return False
        record = self._folded(known)
        if lesson.adaptive and reliability.proven(record, self.policy):
            found = Caught(task=task.id, executor=lesson.executor, checked=record.checked)
            self._caught.append(found)
        return True

    def _of(self, executor: ExecutorName, class_: str) -> _Known:
        known = self._known.get((executor, class_))
        if known is None:
            if class_ != ANY and self._is_full(executor):
                return self._of(executor, ANY)
            known = self._put(Reliability(executor=executor, task_class=class_), None)
        return known

    def _is_full(self, executor: ExecutorName) -> bool:
        return len(self._classes.get(executor, ())) >= CLASSES

    def _put(self, fresh: Reliability, stored: Reliability | None) -> _Known:
        key = (fresh.executor, fresh.task_class)
        known = self._known[key] = _Known(stored, fresh)
        self._classes.setdefault(fresh.executor, set()).add(fresh.task_class)
        return known

    def _drop(self, keys: Sequence[_Key]) -> None:
        for key in keys:
            del self._known[key]
            self._classes[key[0]].discard(key[1])
            if not self._classes[key[0]]:
                del self._classes[key[0]]

    def _folded(self, known: _Known) -> Reliability:
        if known.folded < len(known.lessons):
            known.record = self._after(known.record, known.lessons[known.folded :])
            known.folded = len(known.lessons)
        return known.record

    def _after(self, record: Reliability, found: Sequence[_Learnt]) -> Reliability:
        for lesson, now in found:
            record = learnt(record, lesson, self.policy, now)
        return record

    # -- writing down --------------------------------------------------------------------

    def run(self, now: float) -> int:  # noqa: ARG002  # part of the duty's shape
        """One pass. Never more to do at once."""
        self.flush()
        return 0

    def flush(self) -> None:
        """Write down what was learnt, and look at what others wrote."""
        with self._flushing:
            for _ in range(ATTEMPTS):
                there = {(r.executor, r.task_class): r for r in self._store.reliability()}
                if self._write(there):
                    break
            else:
                _log.warning("Records lost every race", extra={"action": "records_not_written"})
            self._write_credit()

    def _write(self, there: Mapping[_Key, Reliability]) -> bool:
        """One attempt; whether nothing lost its race."""
        with self._lock:
            self._see(there)
            taken = [
                (known, len(known.lessons), self._folded(known), known.stored)
                for known in self._known.values()
                if known.lessons
            ]
        if not taken:
            return True
        won = self._store.put_reliability([(new, old) for _, _, new, old in taken])
        with self._lock:
            for (known, number, new, _), ok in zip(taken, won, strict=True):
                if ok:
                    known.stored = new
                    del known.lessons[:number]
                    known.folded -= number
        return all(won)

    def _see(self, there: Mapping[_Key, Reliability]) -> None:
        """Take what the store has as the base of what is not written down. What it no longer has
        was forgotten, and so are lessons of executors that it does not know.
        """
        for key, record in there.items():
            known = self._known.get(key) or self._put(record, record)
            if known.stored != record:
                known.stored = known.record = record
                known.folded = 0
        self._drop([key for key in self._known if key not in there and self._is_over(key)])

    def _is_over(self, key: _Key) -> bool:
        return self._known[key].stored is not None or self._roster.get(key[0]) is None

    def _write_credit(self) -> None:
        with self._lock:
            earned, self._earned = self._earned, _Earned()
        if not earned.users and not earned.owners:
            return
        try:
            self._store.add_credit(Credit(users=earned.users, owners=earned.owners))
        except BaseException:
            with self._lock:
                self._earned.merge(earned)
            raise
