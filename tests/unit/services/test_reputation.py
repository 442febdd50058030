"""What is known of executors: learnt at once, written down later, shared by all judicators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from accord.adapters.memory.store import MemoryStore
from accord.core import lifecycle
from accord.core.errors import Unavailable
from accord.core.executor import Executor
from accord.core.ids import ExecutorName, SessionId
from accord.core.policy import Policy
from accord.core.reliability import ANY, CLASSES, Reliability, TrustPolicy
from accord.core.replica import ErrorClass, Failure
from accord.core.standing import Credit
from accord.core.task import Task
from accord.services.reputation import Reputation
from accord.services.roster import Roster
from accord.testing.clock import FakeClock, FakeIds
from accord.testing.judicator_parts import a_new, a_result
from accord.testing.samples import executor

E1 = ExecutorName("e1")
Pair = tuple[Reliability, Reliability | None]


class Troubled(MemoryStore):
    """A store that may fail, or let somebody else write first."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.down: set[str] = set()
        self.before_put: list[Any] = []
        self.puts = 0

    def put_reliability(self, records: Sequence[Pair]) -> list[bool]:
        if "reliability" in self.down:
            raise Unavailable
        self.puts += 1
        if self.before_put:
            self.before_put.pop(0)()
        return super().put_reliability(records)

    def add_credit(self, earned: Credit) -> None:
        if "credit" in self.down:
            raise Unavailable
        super().add_credit(earned)


class Bench:
    """A store with an executor, and as many judicators' reputations as a test wants."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Troubled(self.clock)
        self.ids = FakeIds()
        self.kicks = 0
        self.put("e1")

    def put(self, name: str, **changes: Any) -> Executor:
        """Store an executor."""
        made = executor(name, **changes)
        self.store.put_executor(made, None)
        return made

    def reputation(self) -> Reputation:
        """That of another judicator, which knows what the store knows."""
        roster = Roster(self.store)
        roster.refresh()
        made = Reputation(self.store, roster, TrustPolicy(), self._kick)
        made.flush()
        return made

    def _kick(self) -> None:
        self.kicks += 1

    def claimed(self, name: str = "e1", **changes: Any) -> Task:
        """A task that was sent to that executor."""
        now = self.store.now()
        task = lifecycle.submitted(a_new(**changes), self.ids.task(now), now, Policy())
        event = lifecycle.Claimed(
            number=0, executor=ExecutorName(name), session=SessionId("s1"), owner="lab"
        )
        return lifecycle.decide(task, event, now, Policy()).task

    def reported(self, task: Task, *, fails: bool = False) -> Task:
        """The task after its report."""
        replica = task.replicas[0]
        assert replica.executor
        assert replica.session
        end = Failure(error_class=ErrorClass.INTERNAL_FAIL, message="no") if fails else a_result()
        event = lifecycle.Reported(
            number=0, executor=replica.executor, session=replica.session, end=end
        )
        return lifecycle.decide(task, event, self.store.now(), Policy()).task

    def teach(self, reputation: Reputation, *, fails: bool = False, **changes: Any) -> None:
        """Let it learn of a report."""
        before = self.claimed(**changes)
        reputation.learn(before, self.reported(before, fails=fails), self.store.now())

    def stored(self, class_: str = ANY) -> Reliability:
        """What the store knows of e1."""
        return next(
            r for r in self.store.reliability() if (r.executor, r.task_class) == (E1, class_)
        )


@pytest.fixture
def bench() -> Bench:
    return Bench()


def paid(task: Task, credit: float) -> Task:
    """The task with that credit for its replica."""
    replica = lifecycle.replace(task.replicas[0], credit=credit)
    return lifecycle.replace(task, replicas=(replica,))


def test_a_lesson_counts_at_once_and_is_written_with_the_next_flush(bench: Bench) -> None:
    reputation = bench.reputation()
    bench.teach(reputation, fails=True)
    assert reputation.record(E1, ANY).failures == 1
    assert bench.store.reliability() == []
    reputation.run(bench.store.now())
    assert bench.stored() == reputation.record(E1, ANY)
    bench.teach(reputation, fails=True)
    assert (reputation.record(E1, ANY).failures, bench.stored().failures) == (2, 1)


def test_bad_lessons_let_the_next_pass_begin_at_once_and_good_ones_do_not(bench: Bench) -> None:
    reputation = bench.reputation()
    bench.teach(reputation)
    assert bench.kicks == 0
    bench.teach(reputation, fails=True)
    assert bench.kicks == 1
    bench.teach(reputation, fails=True)
    assert bench.kicks == 1
    bench.clock.advance(1)
    bench.teach(reputation, fails=True)
    assert bench.kicks == 2


def test_what_changes_nothing_teaches_nothing(bench: Bench) -> None:
    reputation = bench.reputation()
    task = bench.reported(bench.claimed())
    reputation.learn(task, task, bench.store.now())
    reputation.learn(task, lifecycle.replace(task, name="x"), bench.store.now())
    reputation.flush()
    assert bench.store.reliability() == []
    assert bench.store.puts == 0


def test_classes_are_kept_apart(bench: Bench) -> None:
    reputation = bench.reputation()
    bench.teach(reputation, fails=True, labels={"app": "seti"})
    bench.teach(reputation)
    assert reputation.record(E1, "seti").failures == 1
    assert reputation.record(E1, ANY).failures == 0
    assert reputation.record(E1, "never").failures == 0


def test_two_judicators_lose_nothing_of_each_other(bench: Bench) -> None:
    one, other = bench.reputation(), bench.reputation()
    for _ in range(2):
        bench.teach(one, fails=True)
        bench.teach(other, fails=True)
    one.flush()
    other.flush()  # what it knew of the store is old: it applies its lessons again
    assert bench.stored().failures == 4
    assert bench.stored().quota == TrustPolicy().daily_quota - 4
    assert (one.record(E1, ANY).failures, other.record(E1, ANY).failures) == (2, 4)
    one.flush()
    assert one.record(E1, ANY) == other.record(E1, ANY)


def test_a_lost_race_is_run_again_on_what_won_it(bench: Bench) -> None:
    one, other = bench.reputation(), bench.reputation()
    bench.teach(other, fails=True)
    bench.store.before_put.append(other.flush)
    bench.teach(one, fails=True)
    one.flush()
    assert bench.stored().failures == 2
    assert bench.store.puts == 3


def test_what_was_learnt_during_a_write_is_kept_for_the_next(bench: Bench) -> None:
    reputation = bench.reputation()
    bench.store.before_put.append(lambda: bench.teach(reputation, fails=True))
    bench.teach(reputation, fails=True)
    reputation.flush()
    assert (bench.stored().failures, reputation.record(E1, ANY).failures) == (1, 2)
    reputation.flush()
    assert bench.stored().failures == 2


def test_an_outage_of_the_store_keeps_lessons_and_credit(bench: Bench) -> None:
    reputation = bench.reputation()
    before = bench.claimed()
    reputation.learn(before, paid(bench.reported(before), 2.5), bench.store.now())
    bench.store.down = {"reliability", "credit"}
    with pytest.raises(Unavailable):
        reputation.flush()
    bench.store.down = {"credit"}
    with pytest.raises(Unavailable):
        reputation.flush()
    bench.store.down = set()
    reputation.flush()
    reputation.flush()
    assert bench.stored().credit == 2.5
    assert bench.store.credit() == Credit(users={"alice": 2.5}, owners={"lab": 2.5})


def test_a_crash_loses_what_was_not_written_and_nothing_else(bench: Bench) -> None:
    reputation = bench.reputation()
    bench.teach(reputation, fails=True)
    reputation.flush()
    bench.teach(reputation, fails=True)
    assert bench.reputation().record(E1, ANY).failures == 1


def test_a_crash_between_the_records_and_the_credit_loses_the_credit_of_users_alone(
    bench: Bench,
) -> None:
    reputation = bench.reputation()
    before = bench.claimed()
    reputation.learn(before, paid(bench.reported(before), 2.5), bench.store.now())
    bench.store.down = {"credit"}
    with pytest.raises(Unavailable):
        reputation.flush()
    assert (bench.stored().credit, bench.store.credit()) == (2.5, Credit())


def test_further_classes_than_are_remembered_count_as_any(bench: Bench) -> None:
    reputation = bench.reputation()
    for number in range(CLASSES + 5):
        bench.teach(reputation, fails=True, labels={"app": f"a{number:04}"})
    reputation.flush()
    assert len(bench.store.reliability()) == CLASSES + 1
    assert bench.stored().failures == 5
    assert reputation.record(E1, "yet another").failures == 5
    assert reputation.record(ExecutorName("e2"), "yet another").failures == 0
    assert bench.reputation().record(E1, "yet another").failures == 5


def test_who_was_forgotten_is_known_to_nobody(bench: Bench) -> None:
    one, other = bench.reputation(), bench.reputation()
    bench.teach(one, fails=True)
    one.flush()
    other.flush()
    bench.store.forget_executor(E1)
    one.forget(E1)
    assert one.record(E1, ANY).failures == 0
    other.flush()
    assert other.record(E1, ANY).failures == 0
    assert bench.store.reliability() == []


def test_lessons_of_executors_that_are_not_there_are_not_written(bench: Bench) -> None:
    reputation = bench.reputation()
    bench.teach(reputation, fails=True)
    before = bench.claimed("gone")
    reputation.learn(before, bench.reported(before, fails=True), bench.store.now())
    reputation.flush()
    assert {r.executor for r in bench.store.reliability()} == {E1}


def test_a_person_ends_quarantine_and_rest_of_every_class(bench: Bench) -> None:
    reputation = bench.reputation()
    for class_ in ("a", "b"):
        for _ in range(5):
            bench.teach(reputation, fails=True, labels={"app": class_})
    reputation.release(E1)
    for class_ in ("a", "b"):
        found = bench.stored(class_)
        assert (found.failures, found.quarantined_until, found.rests_until) == (0, 0.0, 0.0)
        assert found.quota < TrustPolicy().daily_quota


def test_another_installation_begins_anew(bench: Bench) -> None:
    reputation = bench.reputation()
    bench.teach(reputation, fails=True)
    reputation.renew(E1)
    assert bench.stored() == Reliability(executor=E1, task_class=ANY)


def test_standings_tell_what_stands_against_an_executor(bench: Bench) -> None:
    reputation = bench.reputation()
    for _ in range(5):
        bench.teach(reputation, fails=True, labels={"app": "seti"})
    bench.teach(reputation)
    known = next(iter(bench.store.executors()))
    any_, seti = reputation.standings(known, bench.store.now())
    assert (any_.task_class, any_.note) == (ANY, "")
    assert seti.note == (
        "quarantined for seti until 22:14 UTC after 5 failures in a row;"
        " then it gets one task as a probe"
    )
    _, seti = reputation.standings(known, bench.store.now() + 60)
    assert seti.note == "gets one task of seti as a probe, after 5 failures in a row"


def test_what_was_sent_counts_against_the_days_quota(bench: Bench) -> None:
    bench.store.put_reliability([(Reliability(executor=E1, task_class=ANY, quota=1), None)])
    reputation = bench.reputation()
    reputation.sent(E1, ANY, 1, bench.store.now())
    known = next(iter(bench.store.executors()))
    (found,) = reputation.standings(known, bench.store.now())
    assert (found.quota, found.sent_today) == (1, 1)
    assert found.note.startswith("has begun its 1 of any for the day, which ends at ")
