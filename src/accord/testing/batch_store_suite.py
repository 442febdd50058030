"""What every store must do about batches: one test for each sentence of that section of the port.

``StoreSuite`` takes these in, and opens the store that they ask. A subclass says in ``miscount``
how counters are made wrong.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from accord.core.batch import BUCKET, Batch, BatchQuery, BatchSource, Counters
from accord.core.ids import BatchId, Digest, ExecutorName, UserName, member, place
from accord.core.parameters import Rows, Values
from accord.core.replica import Content, Phase, Replica, Result, StepResult, Verdict
from accord.core.search import TOTAL_CEILING, Page, Query
from accord.core.status import Status
from accord.core.task import ErrorMask, NewTask, Spec, Task
from accord.ports.store import Notice, Running, Store
from accord.testing.clock import FakeClock
from accord.testing.samples import (
    START,
    batch,
    batch_id,
    ended,
    running,
    succeeded,
    task,
    task_id,
)
from accord.testing.together import in_background, together

ONE = batch_id(1)
BOB = UserName("bob")
RUNNING, OVER = (running(),), (ended(),)


def written(item: Batch, **changes: object) -> Batch:
    """The batch as it is stored after one more write."""
    return msgspec.structs.replace(item, version=item.version + 1, **changes)


def places(found: list[Task]) -> list[int]:
    """Their places in their batch."""
    return [place(item.id)[0] for item in found]


def over(wall: float) -> Replica:
    """A replica that ran for so many seconds."""
    step = StepResult(exit_code=0, wall_time=wall)
    return ended(0, Result(verdict=Verdict.OK, execute=step))


def after(wall: float) -> Task:
    """A task of batch 1 that ran for so many seconds, in the place of that number."""
    return succeeded(int(wall), batch=ONE, replicas=(over(wall),))


class BatchStoreSuite:
    """See the module's docstring."""

    clock: FakeClock
    store: Store

    def miscount(self, id_: BatchId, counters: Counters) -> None:
        """Put other counters in the place of a batch's own, behind the store's back."""
        raise NotImplementedError(f"{type(self).__name__} must say how counters are made wrong")

    def filled(self, *tasks: Task, **changes: Any) -> Batch:
        """Batch 1 with these tasks, as it is stored."""
        new = batch(**changes)
        self.store.put_batch(new)
        assert self.store.add_to_batch(new, tasks)
        return written(new)

    def counts(self, id_: BatchId = ONE) -> dict[Status, int]:
        """What the counters of a batch say."""
        return dict(self.store.batches([id_])[id_][1].counts)

    # -- counters ------------------------------------------------------------------------

    def test_counters_follow_the_tasks_that_are_added_applied_and_purged(self) -> None:
        self.filled(*(task(n, batch=ONE) for n in range(4)))
        assert self.counts() == {Status.PENDING: 4}
        self.store.apply(
            [task(0, batch=ONE, replicas=RUNNING), succeeded(1, batch=ONE), task(2, batch=ONE)]
        )
        assert self.counts() == {Status.PENDING: 2, Status.RUNNING: 1, Status.SUCCESS: 1}
        self.store.purge([member(ONE, 1), member(ONE, 2)])
        assert self.counts() == {Status.PENDING: 1, Status.RUNNING: 1}

    def test_counters_are_of_one_batch_each(self) -> None:
        for number in (1, 2):
            self.store.put_batch(batch(number))
        self.store.add([task(1, batch=batch_id(1)), task(1, batch=batch_id(2)), task(1)])
        self.store.apply([succeeded(1, batch=batch_id(2))])
        assert self.counts(batch_id(1)) == {Status.PENDING: 1}
        assert self.counts(batch_id(2)) == {Status.SUCCESS: 1}

    def test_what_was_not_stored_is_not_counted(self) -> None:
        self.filled(task(1, batch=ONE))
        self.store.add([task(1, batch=ONE), task(1, batch=ONE)])
        self.store.apply([succeeded(1, batch=ONE, version=7), succeeded(2, batch=ONE)])
        self.store.purge([member(ONE, 3)])
        assert self.counts() == {Status.PENDING: 1}

    def test_two_changes_of_a_task_in_one_call_are_counted_as_they_are_stored(self) -> None:
        self.filled(task(1, batch=ONE))
        second = succeeded(1, batch=ONE, version=2)
        assert self.store.apply([task(1, batch=ONE, replicas=RUNNING), second]) == [True, True]
        assert self.store.get([second.id])[second.id] == msgspec.structs.replace(second, version=3)
        assert self.counts() == {Status.SUCCESS: 1}

    def test_a_task_whose_place_another_took_no_longer_counts(self) -> None:
        failed = succeeded(1, batch=ONE)
        self.filled(failed)
        self.store.apply([msgspec.structs.replace(failed, retried_by=member(ONE, 1, 1))])
        assert self.counts() == {}
        assert self.store.batch_tasks(ONE) == []
        assert self.store.search(Query(batch=ONE)).total == 0

    def test_a_finishing_task_does_not_count_in_its_batch(self) -> None:
        self.filled()
        self.store.add([task(1, finishes=ONE)])
        assert self.counts() == {}

    def test_compiling_counts_as_running_in_a_batch(self) -> None:
        self.filled(task(1, batch=ONE, replicas=RUNNING))
        self.store.put_running([self.compiling(1)])
        assert self.counts() == {Status.RUNNING: 1}

    def compiling(self, number: int) -> Running:
        """The task of batch 1 in that place compiles."""
        replica = running()
        assert replica.session is not None
        return Running(
            task=member(ONE, number), number=0, session=replica.session, phase=Phase.COMPILING
        )

    def test_tasks_that_were_there_before_their_batch_count_in_it(self) -> None:
        self.store.add([task(1, batch=ONE), succeeded(2, batch=ONE)])
        self.store.put_batch(batch())
        assert self.counts() == {Status.PENDING: 1, Status.SUCCESS: 1}
        assert not self.store.recount(ONE)

    def test_ends_are_counted_by_the_time_at_which_they_came(self) -> None:
        self.filled(*(task(n, batch=ONE) for n in range(4)))
        self.store.apply([succeeded(0, batch=ONE), succeeded(1, batch=ONE)])
        self.clock.advance(BUCKET)
        self.store.apply([succeeded(2, batch=ONE), task(3, batch=ONE, replicas=RUNNING)])
        # These had ended before.
        self.store.apply([succeeded(2, batch=ONE, version=2, priority=3)])
        cancelled = {"replicas": OVER, "error_mask": ErrorMask.CANCELLED}
        self.store.apply([task(2, batch=ONE, version=3, **cancelled)])
        assert self.counts() == {Status.SUCCESS: 2, Status.RUNNING: 1, Status.CANCELLED: 1}
        first = int(START // BUCKET)
        assert self.store.batches([ONE])[ONE][1].ended == {first: 2, first + 1: 1}

    def test_ends_are_counted_though_others_begin_in_the_same_call(self) -> None:
        self.filled(task(1, batch=ONE), succeeded(2, batch=ONE))
        self.store.apply([succeeded(1, batch=ONE), task(2, batch=ONE)])
        assert self.store.batches([ONE])[ONE][1].ended == {int(START // BUCKET): 2}

    def test_changes_by_many_at_once_are_all_counted(self) -> None:
        self.filled(*(task(n, batch=ONE) for n in range(40)))
        moves = [[task(n, batch=ONE, replicas=RUNNING)] for n in range(30)]
        moves += [[succeeded(n, batch=ONE)] for n in range(20, 40)]
        answers = together([partial(self.store.apply, move) for move in moves])
        assert answers.count([True]) == 40
        running_now = self.store.search(Query(batch=ONE, status=(Status.RUNNING,))).total
        assert self.counts() == {Status.RUNNING: running_now, Status.SUCCESS: 40 - running_now}
        assert not self.store.recount(ONE)

    # -- put_batch -----------------------------------------------------------------------

    def test_put_batch_stores_a_new_batch_without_any_task(self) -> None:
        assert self.store.put_batch(batch()) == batch()
        assert self.store.batches([ONE]) == {ONE: (batch(), Counters())}

    def test_every_field_of_a_batch_is_read_back(self) -> None:
        content = Content(digest=Digest("a" * 64), size=3, inline=b"\x00\xff\n")
        new = NewTask(user=BOB, spec=Spec(execute=task().spec.execute, data=content))
        rows = Rows(names=("a", "b"), rows=content, size=7)
        whole = batch(
            source=BatchSource.TEMPLATE,
            name="Größe 'x' \N{SNOWMAN}",
            labels={"app": "a b", "": "\x00"},
            key="k\x00",
            fingerprint="f",
            template=new,
            axes=(rows, Values(name="c", values=("a", 3, 0.5))),
            cushion=5,
            finish=new,
            total=9,
            taken=4,
            row_offset=17,
            closed=START + 0.1,
            retry_before=START + 0.3,
            finish_task=task_id(1),
            finish_round=2,
            omitted=1,
        )
        assert self.store.put_batch(whole) == whole
        assert self.store.batches([ONE])[ONE][0] == whole

    def test_a_taken_key_answers_with_the_batch_that_holds_it(self) -> None:
        first = batch(1, key="k")
        self.store.put_batch(first)
        assert self.store.put_batch(batch(2, key="k")) == first
        assert self.store.batches([batch_id(2)]) == {}

    def test_keys_of_batches_are_unique_per_user_only(self) -> None:
        mine, theirs = batch(1, key="k"), batch(2, key="k", user=BOB)
        assert [self.store.put_batch(b) for b in (mine, theirs)] == [mine, theirs]
        assert len(self.store.batches([mine.id, theirs.id])) == 2

    def test_a_key_of_a_task_is_none_of_a_batch(self) -> None:
        self.store.add([task(1, key="k")])
        assert self.store.put_batch(batch(key="k")) == batch(key="k")

    def test_a_repeated_id_answers_with_the_batch_that_is_stored(self) -> None:
        stored = self.filled(task(1, batch=ONE), name="as it was")
        assert self.store.put_batch(batch(name="another")) == stored
        assert self.store.batches([ONE])[ONE] == (stored, Counters(counts={Status.PENDING: 1}))

    def test_of_many_that_put_a_key_at_once_one_is_stored(self) -> None:
        puts = [partial(self.store.put_batch, batch(n, key="k")) for n in range(1, 9)]
        assert len({answer.id for answer in together(puts)}) == 1
        assert len(self.store.search_batches(BatchQuery())) == 1

    # -- add_to_batch --------------------------------------------------------------------

    def test_add_to_batch_replaces_the_batch_and_stores_the_tasks(self) -> None:
        self.store.put_batch(batch())
        changed = batch(total=2, name="changed")
        new = [task(0, batch=ONE), task(1, batch=ONE)]
        assert self.store.add_to_batch(changed, new)
        assert self.store.batches([ONE])[ONE][0] == written(changed)
        assert self.store.get([t.id for t in new]) == {t.id: t for t in new}

    def test_where_the_version_lost_nothing_is_stored(self) -> None:
        self.store.put_batch(batch())
        for version in (2, 0):
            stale = batch(version=version, total=1)
            assert not self.store.add_to_batch(stale, [task(0, batch=ONE)])
        assert self.store.batches([ONE])[ONE] == (batch(), Counters())
        assert self.store.get([member(ONE, 0)]) == {}

    def test_nothing_is_added_to_a_batch_that_does_not_exist(self) -> None:
        assert not self.store.add_to_batch(batch(), [task(0, batch=ONE)])
        assert self.store.batches([ONE]) == {}
        assert self.store.get([member(ONE, 0)]) == {}

    def test_where_a_task_cannot_be_stored_the_batch_is_not_replaced(self) -> None:
        self.store.put_batch(batch())
        broken = task(2, batch=ONE, canonical=7)  # there is no such replica, so it has no status
        try:
            self.store.add_to_batch(batch(total=2), [task(1, batch=ONE), broken])
        except Exception:  # noqa: BLE001  # a store may say in its own way what it cannot hold
            assert self.store.batches([ONE])[ONE] == (batch(), Counters())
            assert self.store.get([member(ONE, 1)]) == {}
            return
        raise AssertionError("a task that has no status was stored")

    def test_a_task_that_is_stored_already_is_left_as_it_is(self) -> None:
        stored = self.filled(task(0, batch=ONE))
        self.store.apply([succeeded(0, batch=ONE)])
        there = self.store.get([member(ONE, 0)])
        assert self.store.add_to_batch(stored, [task(0, batch=ONE), task(1, batch=ONE)])
        assert self.store.get([member(ONE, 0)]) == there
        assert self.counts() == {Status.SUCCESS: 1, Status.PENDING: 1}

    def test_a_batch_may_be_replaced_without_any_task(self) -> None:
        self.store.put_batch(batch())
        assert self.store.add_to_batch(batch(closed=START), [])
        assert self.store.batches([ONE])[ONE][0] == written(batch(closed=START))

    def test_of_many_that_add_at_once_one_wins_and_only_its_task_is_stored(self) -> None:
        self.store.put_batch(batch())
        calls = [
            partial(self.store.add_to_batch, batch(total=1), [task(n, batch=ONE)])
            for n in range(10)
        ]
        answers = together(calls)
        assert sorted(answers) == [False] * 9 + [True]
        assert places(self.store.batch_tasks(ONE)) == [answers.index(True)]

    # -- apply_batches -------------------------------------------------------------------

    def test_apply_batches_replaces_a_batch_of_the_same_version_and_raises_it(self) -> None:
        self.store.put_batch(batch())
        changed = batch(name="changed", done=START)
        assert self.store.apply_batches([changed]) == [True]
        assert self.store.batches([ONE])[ONE][0] == written(changed)

    def test_a_replaced_batch_keeps_its_counters(self) -> None:
        stored = self.filled(task(1, batch=ONE))
        self.store.apply_batches([stored])
        assert self.counts() == {Status.PENDING: 1}

    def test_each_batch_stands_for_itself(self) -> None:
        for number in (1, 2, 3):
            self.store.put_batch(batch(number))
        self.store.apply_batches([batch(2)])
        answers = self.store.apply_batches([batch(n) for n in (1, 2, 9, 3)])
        assert answers == [True, False, False, True]
        versions = [
            b.version for b, _ in self.store.batches([batch_id(n) for n in (1, 2, 3)]).values()
        ]
        assert versions == [2, 2, 2]
        assert self.store.batches([batch_id(9)]) == {}
        assert self.store.apply_batches([]) == []

    def test_of_many_that_change_a_batch_at_once_one_wins(self) -> None:
        self.store.put_batch(batch())
        answers = together([partial(self.store.apply_batches, [batch(name="same")])] * 10)
        assert sorted(answers) == [[False]] * 9 + [[True]]

    # -- reading -------------------------------------------------------------------------

    def test_batches_leaves_out_what_does_not_exist(self) -> None:
        self.store.put_batch(batch(2))
        assert list(self.store.batches([batch_id(1), batch_id(2)])) == [batch_id(2)]
        assert self.store.batches([]) == {}

    def test_counters_are_of_one_moment(self) -> None:
        numbers = range(30)
        self.filled(*(task(n, batch=ONE) for n in numbers))
        done = threading.Event()

        def move() -> None:
            for version in range(1, 21):
                to = (RUNNING, (Replica(number=0),))[version % 2]
                moved = [task(n, batch=ONE, replicas=to, version=version) for n in numbers]
                self.store.apply(moved)
            done.set()

        answer = in_background(move)
        while not done.is_set():
            assert list(self.counts().values()) == [len(numbers)]
        answer()

    def test_search_batches_gives_the_newest_first_up_to_the_limit(self) -> None:
        self.filled(task(1, batch=ONE))
        self.store.put_batch(batch(3))
        self.store.put_batch(batch(2))
        rows = self.store.search_batches(BatchQuery())
        assert [(b.id, dict(c.counts)) for b, c in rows] == [
            (batch_id(3), {}),
            (batch_id(2), {}),
            (batch_id(1), {Status.PENDING: 1}),
        ]
        assert self.listed(limit=2) == [3, 2]
        assert self.listed(limit=2, cursor=batch_id(2)) == [1]

    def listed(self, **query: object) -> list[int]:
        """The numbers of the batches that a query finds."""
        found = self.store.search_batches(BatchQuery(**query))  # type: ignore[arg-type]  # a test's own keywords
        return [int(b.id[3:19]) for b, _ in found]

    def test_search_batches_by_user(self) -> None:
        self.store.put_batch(batch(1))
        self.store.put_batch(batch(2, user=BOB))
        assert self.listed(user=BOB) == [2]
        assert self.listed(user=UserName("eve")) == []

    def test_search_batches_by_whether_they_are_done(self) -> None:
        self.store.put_batch(batch(1))
        self.store.put_batch(batch(2, done=START))
        self.store.put_batch(batch(3))
        self.store.apply_batches([batch(3, done=START)])
        assert self.listed(live=True) == [1]
        assert self.listed(live=False) == [3, 2]
        assert self.listed(live=False, user=UserName("alice")) == [3, 2]

    def test_search_batches_by_labels_wants_all_of_them(self) -> None:
        self.store.put_batch(batch(1, labels={"app": "x", "env": "y"}))
        self.store.put_batch(batch(2, labels={"app": "x"}))
        self.store.put_batch(batch(3))
        assert self.listed(labels={"app": "x"}) == [2, 1]
        assert self.listed(labels={"app": "x", "env": "y"}) == [1]
        assert self.listed(labels={"app": "y"}) == []

    def test_labels_of_batches_may_be_any_text(self) -> None:
        texts = ['a"b', "it's", "x\\y", "new\nline", "ü \U0001f600", "", "a.b[0]", "{}", "%"]
        for n, text in enumerate(texts, start=1):
            self.store.put_batch(batch(n, labels={text: text}))
        for n, text in enumerate(texts, start=1):
            assert self.listed(labels={text: text}) == [n]

    def test_search_batches_since_and_until(self) -> None:
        for number in (1, 2, 3):
            self.store.put_batch(batch(number))
        assert self.listed(since=START + 2) == [3, 2]
        assert self.listed(until=START + 2) == [1]

    def test_search_batches_by_a_part_of_the_name_or_the_beginning_of_the_id(self) -> None:
        for number, name in enumerate(["Straße 100%", "a_b", "acb"], start=1):
            self.store.put_batch(batch(number, name=name))
        assert self.listed(text="STRASSE") == [1]
        assert self.listed(text="a_b") == [2]
        assert self.listed(text="%") == [1]
        assert self.listed(text=batch_id(3)[:19].lower()) == [3]
        assert self.listed(text=batch_id(3)[1:]) == []

    def test_all_conditions_on_batches_hold_together(self) -> None:
        wanted: dict[str, object] = {"user": BOB, "labels": {"a": "b"}, "name": "Some name"}
        self.store.put_batch(batch(1, **wanted))
        self.store.put_batch(batch(2, **wanted | {"user": UserName("eve")}))
        self.store.put_batch(batch(3, **wanted | {"labels": {}}))
        self.store.put_batch(batch(4, **wanted | {"name": "Another"}))
        self.store.put_batch(batch(5, **wanted, done=START))
        self.store.put_batch(batch(6, **wanted))
        query = {"user": BOB, "labels": {"a": "b"}, "text": "some", "live": True}
        assert self.listed(**query) == [6, 1]
        assert self.listed(**query, until=START + 6) == [1]
        assert self.listed(**query, cursor=batch_id(6)) == [1]

    # -- what is due ---------------------------------------------------------------------

    def due(self, **query: object) -> list[int]:
        """The numbers of the batches that are due."""
        found = self.store.due_batches(**{"limit": 99} | query)  # type: ignore[arg-type]  # a test's own keywords
        return [int(b.id[3:19]) for b, _ in found]

    def test_a_batch_that_receives_tasks_is_not_due(self) -> None:
        self.filled()
        assert self.due() == []

    def test_a_closed_batch_is_due_once_none_of_its_tasks_is_open(self) -> None:
        self.filled(task(1, batch=ONE), task(2, batch=ONE), closed=START, total=2, taken=2)
        self.store.apply([succeeded(1, batch=ONE), task(2, batch=ONE, replicas=RUNNING)])
        assert self.due() == []
        self.store.apply([succeeded(2, batch=ONE, version=2)])
        assert self.due() == [1]
        rows = self.store.due_batches(9)
        assert rows == [self.store.batches([ONE])[ONE]]

    def test_a_purge_may_make_a_batch_due(self) -> None:
        self.filled(task(1, batch=ONE), closed=START, total=1, taken=1)
        self.store.purge([member(ONE, 1)])
        assert self.due() == [1]

    def test_a_batch_with_more_to_generate_is_due_once_few_of_its_tasks_wait(self) -> None:
        new = [task(n, batch=ONE) for n in range(4)]
        self.filled(*new, closed=START, total=9, taken=4, cushion=4)
        self.store.apply([task(0, batch=ONE, replicas=RUNNING)])
        assert self.due() == []
        self.store.apply([task(1, batch=ONE, replicas=RUNNING)])
        assert self.due() == [1]
        self.store.apply([task(1, batch=ONE, version=2)])
        assert self.due() == []

    def test_a_batch_becomes_due_by_being_written(self) -> None:
        stored = self.filled(task(1, batch=ONE))
        self.store.apply_batches([msgspec.structs.replace(stored, cancel_requested_at=START)])
        assert self.due() == [1]
        stored = self.store.batches([ONE])[ONE][0]
        self.store.apply_batches([msgspec.structs.replace(stored, done=START)])
        assert self.due() == []

    def test_a_batch_that_is_being_removed_is_due_though_it_is_done(self) -> None:
        self.store.put_batch(batch(1, done=START))
        self.store.put_batch(batch(2, done=START, purging=True))
        assert self.due() == [2]

    def test_due_batches_come_by_id_after_another_up_to_the_limit(self) -> None:
        for number in (3, 1, 2):
            self.store.put_batch(batch(number, closed=START))
        assert self.due() == [1, 2, 3]
        assert self.due(limit=2) == [1, 2]
        assert self.due(after=batch_id(1)) == [2, 3]
        assert self.due(limit=1, after=batch_id(2)) == [3]

    def test_stale_are_those_that_neither_closed_nor_changed(self) -> None:
        self.store.put_batch(batch(1))
        self.store.put_batch(batch(2, closed=START))
        self.store.put_batch(batch(3, stays_open=True))
        self.store.put_batch(batch(4, changed=START + 50))
        assert self.store.stale_batches(START + 50, 9) == [batch(1)]
        assert self.store.stale_batches(START + 1, 9) == []
        assert len(self.store.stale_batches(START + 51, 1)) == 1
        self.store.apply_batches([batch(1, closed=START)])
        assert self.store.stale_batches(START + 50, 9) == []

    # -- their tasks ---------------------------------------------------------------------

    def test_batch_tasks_gives_those_of_the_batch_by_id(self) -> None:
        self.filled(*(task(n, batch=ONE) for n in (2, 0, 1)))
        self.store.put_batch(batch(2))
        self.store.add([task(5, batch=batch_id(2)), task(6)])
        assert self.store.batch_tasks(ONE) == [task(n, batch=ONE) for n in (0, 1, 2)]
        assert places(self.store.batch_tasks(ONE, after=member(ONE, 0))) == [1, 2]
        assert places(self.store.batch_tasks(ONE, limit=2)) == [0, 1]
        assert self.store.batch_tasks(batch_id(9)) == []

    def test_batch_tasks_in_some_statuses(self) -> None:
        self.filled(
            task(0, batch=ONE),
            task(1, batch=ONE, replicas=RUNNING),
            succeeded(2, batch=ONE),
            task(3, batch=ONE),
            succeeded(4, batch=ONE),
        )
        done = (Status.SUCCESS, Status.FAILED)
        mixed = (Status.SUCCESS, Status.PENDING, Status.SUCCESS)
        assert places(self.store.batch_tasks(ONE, done)) == [2, 4]
        assert places(self.store.batch_tasks(ONE, mixed)) == [0, 2, 3, 4]
        assert places(self.store.batch_tasks(ONE, mixed, limit=3)) == [0, 2, 3]
        assert places(self.store.batch_tasks(ONE, mixed, after=member(ONE, 0), limit=2)) == [2, 3]

    # -- recount and purge ---------------------------------------------------------------

    def test_a_recount_of_right_counters_changes_nothing(self) -> None:
        self.filled(task(1, batch=ONE), succeeded(2, batch=ONE))
        before = self.store.batches([ONE])
        assert not self.store.recount(ONE)
        assert self.store.batches([ONE]) == before

    def test_a_recount_corrects_wrong_counters_and_tells_whether_they_were(self) -> None:
        self.filled(*(succeeded(n, batch=ONE) for n in range(2)), closed=START, total=2, taken=2)
        right = self.store.batches([ONE])[ONE][1]
        assert right.ended == {int(START // BUCKET): 2}
        wrong = {Status.PENDING: 5, Status.SUCCESS: 1}
        self.miscount(ONE, msgspec.structs.replace(right, counts=wrong))
        assert self.counts() == wrong
        assert self.due() == []
        answers: list[bool] = []
        recount = partial(self.store.recount, ONE)
        assert self.told(lambda: answers.append(recount())) == [Notice(batch=ONE)]
        assert self.store.batches([ONE])[ONE][1] == right
        assert self.due() == [1]
        assert self.told(lambda: answers.append(recount())) == []
        assert answers == [True, False]

    def test_a_batch_whose_counters_are_wrong_is_not_purged_with_tasks_in_it(self) -> None:
        self.filled(task(1, batch=ONE))
        self.miscount(ONE, Counters())
        assert not self.store.purge_batch(ONE)

    def test_a_batch_that_does_not_exist_is_not_recounted(self) -> None:
        self.store.add([task(1, batch=ONE)])
        assert not self.store.recount(ONE)
        assert self.store.batches([ONE]) == {}

    def test_purge_batch_removes_a_batch_that_no_task_counts_in(self) -> None:
        self.filled(task(1, batch=ONE), key="k", labels={"a": "b"}, closed=START)
        self.store.purge([member(ONE, 1)])
        assert self.store.purge_batch(ONE)
        assert self.store.batches([ONE]) == {}
        assert self.due() == []
        assert self.listed() == []
        assert not self.store.purge_batch(ONE)

    def test_a_batch_in_which_tasks_count_is_not_purged(self) -> None:
        stored = self.filled(succeeded(1, batch=ONE))
        assert not self.store.purge_batch(ONE)
        assert self.store.batches([ONE])[ONE] == (stored, self.store.batches([ONE])[ONE][1])
        assert self.counts() == {Status.SUCCESS: 1}

    def test_of_a_purged_batch_nothing_is_left(self) -> None:
        self.filled(task(1, batch=ONE), closed=START)
        self.store.apply([succeeded(1, batch=ONE)])
        self.store.purge([member(ONE, 1)])
        self.store.purge_batch(ONE)
        self.store.put_batch(batch(2, closed=START))
        assert self.due(limit=1) == [2]
        self.store.put_batch(batch())
        assert self.store.batches([ONE]) == {ONE: (batch(), Counters())}

    def test_the_key_of_a_purged_batch_is_free_again(self) -> None:
        self.store.put_batch(batch(1, key="k"))
        self.store.purge_batch(ONE)
        assert self.store.put_batch(batch(2, key="k")) == batch(2, key="k")

    # -- search --------------------------------------------------------------------------

    def members(self, **query: object) -> list[int]:
        """The places of the tasks of batch 1 that a query finds on its first page."""
        page = self.store.search(Query(**{"batch": ONE} | query))  # type: ignore[arg-type]  # a test's own keywords
        return [place(item.id)[0] for item in page.items]

    def test_search_by_batch(self) -> None:
        self.filled(*(task(n, batch=ONE) for n in range(5)))
        self.store.add([task(9, batch=batch_id(2)), task(8)])
        page = self.store.search(Query(batch=ONE, limit=3))
        assert [place(item.id)[0] for item in page.items] == [4, 3, 2]
        assert (page.total, page.next) == (5, member(ONE, 2))
        assert {item.batch for item in page.items} == {ONE}
        assert self.members(cursor=page.next) == [1, 0]
        assert self.members(oldest_first=True, limit=2) == [0, 1]
        assert self.members(batch=batch_id(3)) == []

    def test_search_by_batch_and_other_conditions(self) -> None:
        self.filled(
            task(0, batch=ONE, name="Some"),
            succeeded(1, batch=ONE, labels={"a": "b"}),
            succeeded(2, batch=ONE, user=BOB),
            task(3, batch=ONE, replicas=RUNNING),
        )
        self.store.add([succeeded(5), task(6, labels={"a": "b"}, name="Some")])
        assert self.members(status=(Status.SUCCESS,)) == [2, 1]
        assert self.members(status=(Status.RUNNING, Status.PENDING)) == [3, 0]
        assert self.members(status=(Status.SUCCESS,), user=BOB) == [2]
        assert self.members(user=BOB) == [2]
        assert self.members(labels={"a": "b"}) == [1]
        assert self.members(labels={"a": "b"}, status=(Status.SUCCESS,)) == [1]
        assert self.members(text="some") == [0]
        assert self.members(since=START + 2) == [3, 2]
        assert self.members(until=START + 2, status=(Status.SUCCESS,)) == [1]
        both = Query(batch=ONE, status=(Status.SUCCESS, Status.PENDING), limit=1)
        assert self.store.search(both).total == 3

    def test_the_total_of_a_batch_says_more_beyond_the_ceiling(self) -> None:
        self.store.put_batch(batch())
        for first in range(0, TOTAL_CEILING, 1000):
            self.store.add([task(n, batch=ONE) for n in range(first, first + 1000)])
        queries = Query(batch=ONE), Query(batch=ONE, status=(Status.PENDING, Status.SUCCESS))
        assert [self.total(q) for q in queries] == [(TOTAL_CEILING, False)] * 2
        self.store.add([succeeded(TOTAL_CEILING, batch=ONE)])
        assert [self.total(q) for q in queries] == [(TOTAL_CEILING, True)] * 2
        assert self.total(Query(batch=ONE, status=(Status.SUCCESS,))) == (1, False)

    def total(self, query: Query) -> tuple[int, bool]:
        """How many a query finds, and whether counting stopped."""
        page: Page = self.store.search(query)
        return page.total, page.more_than_total

    def test_a_task_of_a_batch_that_compiles_is_listed_as_compiling(self) -> None:
        self.filled(*(task(n, batch=ONE, replicas=RUNNING) for n in range(3)))
        self.store.put_running([self.compiling(1)])
        assert self.members(status=(Status.COMPILING,)) == [1]
        assert self.members(status=(Status.RUNNING,)) == [2, 0]
        assert self.members() == [2, 1, 0]
        totals = {
            statuses: self.store.search(Query(batch=ONE, status=statuses)).total
            for statuses in [(), (Status.COMPILING,), (Status.RUNNING,)]
        }
        assert totals == {(): 3, (Status.COMPILING,): 1, (Status.RUNNING,): 2}
        assert self.members(batch=batch_id(2), status=(Status.COMPILING,)) == []

    def test_the_slowest_of_a_batch_come_first_of_those_that_ran_to_their_end(self) -> None:
        self.filled(
            *map(after, [2.0, 9.0, 4.0, 6.5]),
            task(20, batch=ONE),
            task(21, batch=ONE, replicas=RUNNING),
            task(22, batch=ONE, replicas=(over(8.0), Replica(number=1))),  # waits for another run
        )
        self.store.add([succeeded(30, batch=batch_id(2))])
        page = self.store.search(Query(batch=ONE, slowest_first=True, limit=3))
        assert [item.wall_time for item in page.items] == [9.0, 6.5, 4.0]
        assert (page.total, page.next) == (4, None)
        assert self.members(slowest_first=True, status=(Status.FAILED,)) == []
        assert self.members(slowest_first=True, status=(Status.SUCCESS,)) == [9, 6, 4, 2]
        assert self.members(slowest_first=True, text="nothing") == []

    # -- feed and blobs ------------------------------------------------------------------

    def told(self, *calls: Callable[[], object]) -> list[Notice]:
        """What a feed tells of these calls."""
        feed = self.store.feed()
        for call in calls:
            call()
        told = list(feed.next(0))
        feed.close()
        return told

    def test_a_feed_tells_of_every_batch_that_was_written(self) -> None:
        store = self.store
        assert (
            self.told(
                partial(store.put_batch, batch(1)),
                partial(store.put_batch, batch(1, name="again")),
                partial(store.apply_batches, [batch(2), batch(1)]),
                partial(store.apply_batches, [batch(1)]),
                partial(store.purge_batch, ONE),
                partial(store.purge_batch, ONE),
            )
            == [Notice(batch=ONE)] * 3
        )

    def test_a_feed_tells_of_the_tasks_that_were_added_and_of_their_batch(self) -> None:
        self.store.put_batch(batch())
        self.store.add([task(0, batch=ONE)])
        new = [task(n, batch=ONE, replicas=RUNNING) for n in (0, 1)]
        told = self.told(
            partial(self.store.add_to_batch, batch(), new),
            partial(self.store.add_to_batch, batch(), [task(2, batch=ONE)]),
        )
        held = (ExecutorName("e1"),)
        assert told == [Notice(task=member(ONE, 1), held_by=held), Notice(batch=ONE)]

    def test_a_feed_tells_of_a_batch_that_became_due_by_its_tasks(self) -> None:
        ids = [member(ONE, n) for n in (1, 2)]
        self.filled(*(task(n, batch=ONE) for n in (1, 2)), closed=START, total=2, taken=2)
        first, second = (partial(self.store.apply, [succeeded(n, batch=ONE)]) for n in (1, 2))
        assert self.told(first) == [Notice(task=ids[0])]
        assert self.told(second) == [Notice(task=ids[1]), Notice(batch=ONE)]

    def test_a_feed_tells_of_a_batch_that_became_due_for_more_tasks(self) -> None:
        new = [task(n, batch=ONE) for n in range(2)]
        self.filled(*new, closed=START, total=9, taken=2, cushion=2)
        told = self.told(partial(self.store.apply, [task(0, batch=ONE, replicas=RUNNING)]))
        assert told[1:] == [Notice(batch=ONE)]

    def test_a_feed_tells_of_a_batch_whose_finishing_task_was_written(self) -> None:
        self.store.put_batch(batch())
        finishing = task(1, finishes=ONE, replicas=())
        expected = [Notice(task=finishing.id), Notice(batch=ONE)]
        assert self.told(partial(self.store.add, [finishing])) == expected
        assert self.told(partial(self.store.apply, [finishing])) == expected

    def test_what_a_feed_tells_of_a_batch_can_be_read(self) -> None:
        self.filled(task(1, batch=ONE), closed=START, total=1, taken=1)
        feed = self.store.feed()
        answer = in_background(lambda: (feed.next(60), self.counts(), self.due())[1:])
        self.clock.wait_for_waiters(1)
        self.store.apply([succeeded(1, batch=ONE)])
        assert answer() == ({Status.SUCCESS: 1}, [1])
        feed.close()

    def test_blob_digests_are_those_of_batches_too(self) -> None:
        blob = [Content(digest=Digest(c * 64), size=1 << 20) for c in "abc"]
        inline = Content(digest=Digest("1" * 64), size=1, inline=b"x")
        new = [NewTask(user=BOB, spec=msgspec.structs.replace(task().spec, data=b)) for b in blob]
        rows = Rows(names=("n",), rows=blob[2], size=3)
        self.store.put_batch(batch(1, template=new[0], finish=new[1], axes=(rows,)))
        self.store.put_batch(batch(2, axes=(Rows(names=("n",), rows=inline, size=3),)))
        assert set(self.store.blob_digests()) == {b.digest for b in blob}
        self.store.apply_batches([batch(1, finish=new[1])])
        assert set(self.store.blob_digests()) == {blob[1].digest}
        self.store.purge_batch(ONE)
        assert set(self.store.blob_digests()) == set()
