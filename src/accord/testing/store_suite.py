"""What every store must do: one test for each sentence of ``ports.store.Store``.

Subclass ``StoreSuite``, say in ``open_store`` how a new, empty store is made, and let pytest
collect the subclass. ``DurableStoreSuite`` adds what holds for stores that outlive the process.
What is promised of batches has a module of its own, ``batch_store_suite``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from accord.core.batch import BatchQuery
from accord.core.executor import Executor, ExecutorState
from accord.core.ids import Digest, ExecutorName, SessionId, TaskId, TokenId, UserName
from accord.core.index import index_of
from accord.core.reliability import Average, Reliability
from accord.core.replica import (
    Content,
    Outcome,
    Phase,
    Replica,
    ReplicaState,
    Result,
    StepResult,
    Verdict,
)
from accord.core.search import TOTAL_CEILING, Page, Query
from accord.core.standing import Credit
from accord.core.status import Status
from accord.core.task import Stage, Task
from accord.core.user import Role, Token, User
from accord.ports.clock import Clock
from accord.ports.store import Chunk, Feed, Notice, Running, Store
from accord.testing.batch_store_suite import BatchStoreSuite
from accord.testing.clock import FakeClock
from accord.testing.samples import (
    START,
    batch,
    batch_id,
    ended,
    executor,
    running,
    succeeded,
    task,
    task_id,
)
from accord.testing.together import in_background, together

SMALL_FEED = 50
"""Notices that a feed of the stores under test must hold at least."""


def a_class(item: Task) -> str:
    """The requirement class of a task that is ready."""
    ready = index_of(item).ready
    assert ready is not None
    return ready


def a_record(name: str = "e1", class_: str = "any", **changes: Any) -> Reliability:
    """What is known of an executor."""
    return Reliability(executor=ExecutorName(name), task_class=class_, **changes)


def stored(item: Task) -> Task:
    """The task as it is stored after one more write."""
    return msgspec.structs.replace(item, version=item.version + 1)


def ids(found: list[Task]) -> list[TaskId]:
    """Their ids."""
    return [item.id for item in found]


class StoreSuite(BatchStoreSuite):
    """See the module's docstring."""

    def open_store(self, clock: Clock, feed_capacity: int) -> Store:
        """A new, empty store."""
        raise NotImplementedError(f"{type(self).__name__} must say how a store is made")

    def setup_method(self) -> None:
        """Open a store for each test."""
        self.clock = FakeClock()
        self.store = self.open_store(self.clock, SMALL_FEED)

    def teardown_method(self) -> None:
        """Close it."""
        self.store.close()

    # -- time ----------------------------------------------------------------------------

    def test_now_is_the_time_in_seconds_since_the_epoch(self) -> None:
        assert self.store.now() == START
        self.clock.advance(2.5)
        assert self.store.now() == START + 2.5

    def test_now_never_runs_backwards_nor_stands_still(self) -> None:
        self.clock.advance(100)
        before = self.store.now()
        self.clock.set_now(START)
        assert self.store.now() == before
        self.clock.advance(5)
        assert self.store.now() == before + 5

    # -- add and get ---------------------------------------------------------------------

    def test_add_returns_the_tasks_in_order(self) -> None:
        new = [task(2), task(1), task(3)]
        assert self.store.add(new) == new
        assert self.store.get([task_id(1), task_id(3)]) == {
            task_id(1): new[1],
            task_id(3): new[2],
        }

    def test_every_field_of_a_task_is_read_back(self) -> None:
        content = Content(digest=Digest("a" * 64), size=3, inline=b"\x00\xff\n")
        step = StepResult(signal=9, wall_time=1.5, limit="wall", stdout=content)
        result = Result(verdict=Verdict.TIME_LIMIT, execute=step, kept={"a/ü": content})
        whole = task(
            name="Größe 'x' \N{SNOWMAN}",
            labels={"app": "a b", "": "\x00"},
            priority=-100,
            key="k\x00",
            replicas=(ended(0, result), Replica(number=1, not_before=5.0)),
            transition_time=START + 0.1,
            cancel_requested_at=START + 0.3,
        )
        self.store.add([whole])
        assert self.store.get([whole.id]) == {whole.id: whole}

    def test_get_leaves_out_what_does_not_exist(self) -> None:
        assert self.store.get([task_id(1)]) == {}
        assert self.store.get([]) == {}

    def test_add_takes_an_empty_call(self) -> None:
        assert self.store.add([]) == []
        assert self.store.apply([]) == []

    def test_a_taken_key_answers_with_the_task_that_holds_it(self) -> None:
        first = task(1, key="k")
        self.store.add([first])
        assert self.store.add([task(2, key="k"), task(3)]) == [first, task(3)]
        assert self.store.get([task_id(2)]) == {}

    def test_a_key_taken_within_the_same_call_answers_alike(self) -> None:
        first, second, other = task(1, key="k"), task(2, key="k"), task(3, key="l")
        assert self.store.add([first, second, other]) == [first, first, other]
        assert self.store.search(Query()).total == 2

    def test_keys_are_unique_per_user_only(self) -> None:
        mine, theirs = task(1, key="k"), task(2, key="k", user=UserName("bob"))
        assert self.store.add([mine, theirs]) == [mine, theirs]
        assert self.store.search(Query()).total == 2

    def test_tasks_without_a_key_share_none(self) -> None:
        assert self.store.add([task(1), task(2)]) == [task(1), task(2)]

    def test_a_repeated_id_answers_with_what_is_stored(self) -> None:
        self.store.add([task(1)])
        self.store.apply([task(1, name="changed")])
        now = self.store.get([task_id(1)])[task_id(1)]
        assert self.store.add([task(1), task(2)]) == [now, task(2)]
        assert self.store.get([task_id(1)]) == {task_id(1): now}

    def test_of_one_key_added_by_many_at_once_one_is_stored(self) -> None:
        answers = together([partial(self.store.add, [task(n, key="k")]) for n in range(1, 13)])
        assert len({answer[0].id for answer in answers}) == 1
        assert self.store.search(Query()).total == 1

    def test_add_stores_all_or_none(self) -> None:
        broken = task(2, canonical=7)  # there is no such replica, so it has no status
        raised = _raises(lambda: self.store.add([task(1), broken, task(3)]))
        assert raised
        assert self.store.get([task_id(1), task_id(2), task_id(3)]) == {}
        assert self.store.search(Query()).total == 0
        assert self.store.counts() == {}

    def test_a_failing_call_fails_alone(self) -> None:
        broken = task(99, canonical=7)
        calls = [partial(_added, self.store, t) for t in [*map(task, range(1, 20)), broken]]
        assert together(calls) == [True] * 19 + [False]
        assert self.store.search(Query()).total == 19

    # -- apply ---------------------------------------------------------------------------

    def test_apply_replaces_a_task_of_the_same_version_and_raises_the_version(self) -> None:
        self.store.add([task(1)])
        changed = task(1, replicas=(running(),))
        assert self.store.apply([changed]) == [True]
        assert self.store.get([changed.id])[changed.id] == stored(changed)

    def test_apply_leaves_a_task_of_another_version_alone(self) -> None:
        self.store.add([task(1)])
        self.store.apply([task(1)])
        before = self.store.get([task_id(1)])
        stale, early = task(1, replicas=()), task(1, replicas=(), version=3)
        assert self.store.apply([stale]) == [False]
        assert self.store.apply([early]) == [False]
        assert self.store.get([task_id(1)]) == before

    def test_apply_to_a_task_that_does_not_exist_loses(self) -> None:
        assert self.store.apply([task(1)]) == [False]
        assert self.store.get([task_id(1)]) == {}

    def test_each_task_of_an_apply_stands_for_itself(self) -> None:
        self.store.add([task(1), task(2), task(3)])
        self.store.apply([task(2)])
        assert self.store.apply([task(1), task(2), task(9), task(3)]) == [True, False, False, True]

    def test_of_two_changes_of_one_task_in_a_call_the_first_wins(self) -> None:
        self.store.add([task(1)])
        one, two = task(1, replicas=(running("e1"),)), task(1, replicas=(running("e2"),))
        assert self.store.apply([one, two]) == [True, False]
        assert self.store.get([task_id(1)])[task_id(1)] == stored(one)

    def test_of_many_that_change_a_task_at_once_exactly_one_wins(self) -> None:
        self.store.add([task(n) for n in range(1, 6)])
        for n in range(1, 6):
            # The same change by all: what is written cannot tell the winner from the others.
            same = task(n, replicas=(running(),))
            answers = together([partial(self.store.apply, [same])] * 12)
            assert sorted(answers) == [[False]] * 11 + [[True]]
            assert self.store.get([task_id(n)])[task_id(n)].version == 2

    def test_counting_by_many_threads_loses_no_change(self) -> None:
        self.store.add([task(1, priority=0)])
        together([self._count_up] * 8)
        assert self.store.get([task_id(1)])[task_id(1)].priority == 8 * 5

    def _count_up(self) -> None:
        done = 0
        while done < 5:
            now = self.store.get([task_id(1)])[task_id(1)]
            more = msgspec.structs.replace(now, priority=now.priority + 1)
            done += self.store.apply([more])[0]

    # -- purge ---------------------------------------------------------------------------

    def test_purge_removes_tasks_and_tells_how_many_there_were(self) -> None:
        self.store.add([task(1, key="k", labels={"a": "b"}), task(2)])
        assert self.store.purge([task_id(1), task_id(7), task_id(1)]) == 1
        assert self.store.get([task_id(1), task_id(2)]) == {task_id(2): task(2)}
        assert self.store.search(Query(labels={"a": "b"})).total == 0
        assert self.store.purge([]) == 0

    def test_purge_removes_progress_and_output(self) -> None:
        self.store.add([task(1)])
        self.store.put_running([_note(1)])
        self.store.append_output([_chunk(1, b"hello")])
        self.store.purge([task_id(1)])
        assert self.store.running(task_id(1)) == {}
        assert self.store.output_sizes(task_id(1), 0) == {}

    def test_what_was_purged_is_nowhere(self) -> None:
        self.store.add(
            [
                task(1, replicas=(running(), Replica(number=1)), transition_time=START),
                succeeded(2, assimilate_state=Stage.READY),
            ]
        )
        self.store.purge([task_id(1), task_id(2)])
        assert self.store.counts() == {}
        assert self.store.waiting_classes() == []
        assert self.store.held_by(ExecutorName("e1")) == []
        assert self.store.due(START + 9, 9) == []
        assert self.store.to_assimilate(9) == []
        assert self.store.search(Query()) == Page(items=(), total=0)

    def test_the_key_of_a_purged_task_is_free_again(self) -> None:
        self.store.add([task(1, key="k")])
        self.store.purge([task_id(1)])
        assert self.store.add([task(2, key="k")]) == [task(2, key="k")]

    # -- search --------------------------------------------------------------------------

    def search(self, **query: object) -> list[int]:
        """The numbers of the tasks that a query finds on its first page."""
        page = self.store.search(Query(**query))  # type: ignore[arg-type]  # a test's own keywords
        return [int(item.id[3:]) for item in page.items]

    def test_a_page_holds_summaries_newest_first(self) -> None:
        self.store.add([task(2, name="b"), task(1, name="a"), task(3)])
        page = self.store.search(Query())
        newest_first = (task(3), task(2, name="b"), task(1, name="a"))
        assert page.items == tuple(index_of(t).summary for t in newest_first)
        assert (page.total, page.more_than_total, page.next) == (3, False, None)

    def test_or_oldest_first_where_asked(self) -> None:
        self.store.add([task(2), task(1), task(3)])
        assert self.search(oldest_first=True) == [1, 2, 3]

    def test_pages_follow_each_other_by_their_cursor(self) -> None:
        self.store.add([task(n) for n in range(1, 8)])
        for oldest_first, expected in (
            (False, [7, 6, 5, 4, 3, 2, 1]),
            (True, [1, 2, 3, 4, 5, 6, 7]),
        ):
            pages = self._pages(Query(limit=3, oldest_first=oldest_first))
            assert [[int(i[3:]) for i in page] for page in pages] == [
                expected[:3],
                expected[3:6],
                expected[6:],
            ]

    def _pages(self, query: Query) -> list[list[TaskId]]:
        pages, cursor = [], query.cursor
        while True:
            page = self.store.search(msgspec.structs.replace(query, cursor=cursor))
            pages.append([item.id for item in page.items])
            cursor = page.next
            if cursor is None:
                return pages

    def test_a_page_that_is_just_full_has_no_next(self) -> None:
        self.store.add([task(1), task(2)])
        assert self.store.search(Query(limit=2)).next is None
        assert self.store.search(Query(limit=1)).next == task_id(2)

    def test_the_total_is_of_all_pages(self) -> None:
        self.store.add([task(n) for n in range(1, 8)])
        page = self.store.search(Query(limit=2, cursor=task_id(4)))
        assert (page.total, len(page.items)) == (7, 2)

    def test_the_total_is_exact_up_to_the_ceiling_and_beyond_it_says_more(self) -> None:
        for first in range(0, TOTAL_CEILING, 1000):
            self.store.add([task(n) for n in range(first, first + 1000)])
        for query in (Query(), Query(user=UserName("alice"), status=(Status.PENDING,))):
            page = self.store.search(query)
            assert (page.total, page.more_than_total) == (TOTAL_CEILING, False)
        self.store.add([task(TOTAL_CEILING, labels={"a": "b"})])
        for query in (Query(), Query(status=(Status.PENDING, Status.SUCCESS))):
            page = self.store.search(query)
            assert (page.total, page.more_than_total) == (TOTAL_CEILING, True)
        assert self.store.search(Query(labels={"a": "b"})).total == 1

    def test_pages_show_each_task_once_while_others_are_added_and_purged(self) -> None:
        self.store.add([task(n) for n in range(10, 60)])
        seen, cursor = [], None
        for step in range(100, 200):
            page = self.store.search(Query(limit=7, cursor=cursor))
            seen += [int(item.id[3:]) for item in page.items]
            self.store.add([task(step)])
            self.store.purge([task_id(seen[-1])])  # the cursor's own task goes
            cursor = page.next
            if cursor is None:
                break
        assert seen == list(range(59, 9, -1))

    def test_search_by_user(self) -> None:
        self.store.add([task(1), task(2, user=UserName("bob"))])
        assert self.search(user=UserName("bob")) == [2]
        assert self.search(user=UserName("eve")) == []

    def test_search_by_status(self) -> None:
        self.store.add([task(1), task(2, replicas=(running(),)), succeeded(3), task(4)])
        assert self.search(status=(Status.PENDING,)) == [4, 1]
        assert self.search(status=(Status.SUCCESS, Status.RUNNING, Status.SUCCESS)) == [3, 2]
        assert self.search(status=(Status.FAILED,)) == []
        both = Query(status=(Status.PENDING, Status.SUCCESS), limit=1)
        assert self._pages(both) == [[task_id(n)] for n in (4, 3, 1)]
        assert self.store.search(both).total == 3

    def test_search_by_user_and_status(self) -> None:
        bob = UserName("bob")
        self.store.add([task(1, user=bob), succeeded(2, user=bob), task(3)])
        assert self.search(user=bob, status=(Status.PENDING,)) == [1]

    def test_search_follows_what_is_applied(self) -> None:
        self.store.add([task(1)])
        self.store.apply([succeeded(1)])
        assert self.search(status=(Status.PENDING,)) == []
        assert self.search(status=(Status.SUCCESS,)) == [1]

    def test_search_by_labels_wants_all_of_them(self) -> None:
        self.store.add(
            [
                task(1, labels={"app": "x", "env": "y"}),
                task(2, labels={"app": "x"}),
                task(3, labels={"app": "y", "env": "y"}, user=UserName("bob")),
                succeeded(4, labels={"app": "x"}),
            ]
        )
        assert self.search(labels={"app": "x"}) == [4, 2, 1]
        assert self.search(labels={"app": "x", "env": "y"}) == [1]
        assert self.search(labels={"app": "z"}) == []
        assert self.search(labels={"env": "y"}, user=UserName("bob")) == [3]
        assert self.search(labels={"app": "x"}, status=(Status.SUCCESS,)) == [4]
        assert self.store.search(Query(labels={"app": "x"}, limit=1, cursor=task_id(4))).next == (
            task_id(2)
        )

    def test_labels_may_be_any_text(self) -> None:
        texts = [
            'a"b',
            "it's",
            "x\\y",
            "new\nline",
            "ü \N{SNOWMAN} \U0001f600",
            "",
            "a.b[0]",
            "{}",
            "%",
        ]
        self.store.add([task(n, labels={text: text}) for n, text in enumerate(texts, start=1)])
        for n, text in enumerate(texts, start=1):
            assert self.search(labels={text: text}) == [n]
        self.store.purge([task_id(n) for n in range(1, 10)])
        self.store.add([task(20)])
        for text in texts:
            assert self.search(labels={text: text}) == []

    def test_executors_may_have_any_name(self) -> None:
        names = [ExecutorName(text) for text in ('a"b', "it's", "x\\y", "ü@host", "a,b")]
        self.store.add([task(n, replicas=(running(name),)) for n, name in enumerate(names)])
        for n, name in enumerate(names):
            assert ids(self.store.held_by(name)) == [task_id(n)]
        self.store.apply([succeeded(n) for n in range(len(names))])
        assert [self.store.held_by(name) for name in names] == [[]] * len(names)

    def test_search_since_and_until(self) -> None:
        self.store.add([task(n) for n in (1, 2, 3)])
        assert self.search(since=START + 2) == [3, 2]
        assert self.search(until=START + 2) == [1]
        assert self.search(since=START + 2, until=START + 3) == [2]

    def test_search_by_a_part_of_the_name_in_any_case(self) -> None:
        self.store.add([task(1, name="Straße 100%"), task(2, name="a_b"), task(3, name="acb")])
        assert self.search(text="STRASSE") == [1]
        assert self.search(text="raß") == [1]

    def test_no_character_of_the_text_is_a_pattern(self) -> None:
        names = ["100%", "a_b", "acb", "x\\y", "it's", "100"]
        self.store.add([task(n, name=name) for n, name in enumerate(names, start=1)])
        for n, text in enumerate(["0%", "a_b", "acb", "\\", "'"], start=1):
            assert self.search(text=text) == [n]
        assert self.search(text="*") == []

    def test_search_by_the_beginning_of_the_id_in_any_case(self) -> None:
        self.store.add([task(1), task(23), task(24)])
        assert self.search(text=task_id(23).lower()) == [23]
        assert self.search(text=task_id(20)[:-1].lower()) == [24, 23]
        assert self.search(text=task_id(23)[1:]) == []

    def test_all_conditions_hold_together(self) -> None:
        bob = UserName("bob")
        wanted: dict[str, object] = {"user": bob, "labels": {"a": "b"}, "name": "Some name"}
        self.store.add(
            [
                succeeded(1, **wanted),
                task(2, **wanted),
                succeeded(3, **wanted | {"user": UserName("eve")}),
                succeeded(4, **wanted | {"labels": {"a": "c"}}),
                succeeded(5, **wanted | {"name": "Another"}),
                succeeded(6, **wanted),
            ]
        )
        query = {"user": bob, "labels": {"a": "b"}, "text": "some", "status": (Status.SUCCESS,)}
        assert self.search(**query) == [6, 1]
        assert self.search(**query, until=START + 6) == [1]

    def test_a_task_whose_replica_compiles_is_listed_as_compiling(self) -> None:
        self.store.add([task(n, replicas=(running(),), user=UserName("bob")) for n in (1, 2, 3)])
        self.store.put_running([_note(1, Phase.RUNNING), _note(2, Phase.COMPILING)])
        shown = {int(i.id[3:]): i.status for i in self.store.search(Query()).items}
        assert shown == {1: Status.RUNNING, 2: Status.COMPILING, 3: Status.RUNNING}
        assert self.search(status=(Status.COMPILING,)) == [2]
        assert self.search(status=(Status.RUNNING,)) == [3, 1]
        assert self.search(status=(Status.RUNNING, Status.COMPILING)) == [3, 2, 1]
        assert self.search(status=(Status.COMPILING,), user=UserName("eve")) == []
        assert self.search(status=(Status.COMPILING,), user=UserName("bob")) == [2]
        both = Query(status=(Status.RUNNING, Status.COMPILING), limit=1)
        assert self._pages(both) == [[task_id(n)] for n in (3, 2, 1)]
        assert self.store.search(both).total == 3

    def test_a_task_no_longer_compiles_once_its_replica_runs_or_is_over(self) -> None:
        self.store.add([task(n, replicas=(running(),)) for n in (1, 2)])
        self.store.put_running([_note(1, Phase.COMPILING), _note(2, Phase.COMPILING)])
        self.store.put_running([_note(1, Phase.RUNNING)])
        self.store.apply([succeeded(2)])
        assert self.search(status=(Status.COMPILING,)) == []
        assert self.search(status=(Status.RUNNING,)) == [1]
        assert self.search(status=(Status.SUCCESS,)) == [2]

    # -- counts --------------------------------------------------------------------------

    def test_counts_by_status_leave_out_statuses_without_tasks(self) -> None:
        assert self.store.counts() == {}
        self.store.add([task(1), task(2, user=UserName("bob")), task(3, replicas=(running(),))])
        self.store.apply([succeeded(1)])
        assert self.store.counts() == {Status.PENDING: 1, Status.RUNNING: 1, Status.SUCCESS: 1}
        assert self.store.counts(UserName("bob")) == {Status.PENDING: 1}
        assert self.store.counts(UserName("eve")) == {}

    def test_compiling_counts_as_running(self) -> None:
        self.store.add([task(1, replicas=(running(),))])
        self.store.put_running([_note(1, Phase.COMPILING)])
        assert self.store.counts() == {Status.RUNNING: 1}

    # -- what there is to do -------------------------------------------------------------

    def test_waiting_classes_are_those_of_ready_replicas(self) -> None:
        assert self.store.waiting_classes() == []
        self.store.add(
            [
                task(1, language="c"),
                task(2, language="c"),
                task(3, language="go"),
                task(4, language="java", replicas=(running(),)),
                task(5, language="perl", replicas=(Replica(number=0, not_before=START + 9),)),
            ]
        )
        expected = {a_class(task(1, language="c")), a_class(task(3, language="go"))}
        assert set(self.store.waiting_classes()) == expected
        assert len(self.store.waiting_classes()) == 2
        self.store.apply([task(3, language="go", replicas=(running(),))])
        assert self.store.waiting_classes() == [a_class(task(1, language="c"))]

    def test_claimable_gives_the_highest_priority_first_then_the_oldest(self) -> None:
        c, go = {"language": "c"}, {"language": "go"}
        self.store.add(
            [
                task(1, priority=-5, **c),
                task(2, **c),
                task(3, **go),
                task(4, **c),
                task(5, priority=7, **go),
                task(6, priority=100, language="java"),
            ]
        )
        classes = [a_class(task(1, **c)), a_class(task(3, **go)), a_class(task(3, **go))]
        assert ids(self.store.claimable(classes, 9)) == [task_id(n) for n in (5, 2, 3, 4, 1)]
        assert ids(self.store.claimable(classes, 2)) == [task_id(5), task_id(2)]
        assert ids(self.store.claimable(classes[:1], 9)) == [task_id(n) for n in (2, 4, 1)]

    def test_what_a_ready_replica_adds_to_the_priority_counts(self) -> None:
        gone = Replica(number=0, state=ReplicaState.OVER, outcome=Outcome.NO_REPLY)
        bumped = [Replica(number=1, priority=5)]
        held = [gone, Replica(number=1, priority=50, not_before=START + 9)]
        self.store.add(
            [
                task(1, priority=3),
                task(2, replicas=(gone, *bumped)),
                task(3, priority=1, replicas=(*held, Replica(number=2, priority=1))),
                task(4, priority=1000),
                task(5, priority=999, replicas=(Replica(number=0, priority=900),)),
            ]
        )
        classes = [a_class(task())]
        found = self.store.claimable(classes, 9)
        assert ids(found) == [task_id(n) for n in (4, 5, 2, 1, 3)]
        assert [self.store.position(t) for t in found] == [0, 1, 2, 3, 4]
        self.store.apply([task(2, replicas=(gone, running("e8", 1)))])
        self.store.apply([task(1, replicas=(Replica(number=0, priority=-4),))])
        assert ids(self.store.claimable(classes, 9)) == [task_id(n) for n in (4, 5, 3, 1)]

    def test_claimable_passes_over_what_is_to_be_skipped(self) -> None:
        self.store.add([task(n) for n in range(1, 6)])
        found = self.store.claimable([a_class(task())], 2, [task_id(1), task_id(3)])
        assert ids(found) == [task_id(2), task_id(4)]

    def test_claimable_knows_no_unknown_class_and_takes_none(self) -> None:
        self.store.add([task(1)])
        assert self.store.claimable(["{}"], 9) == []
        assert self.store.claimable([], 9) == []

    def test_what_was_claimed_is_no_longer_claimable(self) -> None:
        self.store.add([task(1), task(2)])
        self.store.apply([task(1, replicas=(running(),))])
        assert self.store.claimable([a_class(task())], 9) == [task(2)]

    def test_a_task_with_another_ready_replica_stays_claimable(self) -> None:
        self.store.add([task(1)])
        more = task(1, replicas=(running(), Replica(number=1)))
        self.store.apply([more])
        assert a_class(more) != a_class(task())  # it tells who has the first
        assert self.store.claimable([a_class(more)], 9) == [stored(more)]
        assert self.store.claimable([a_class(task())], 9) == []

    def test_many_that_claim_at_once_get_each_task_once(self) -> None:
        self.store.add([task(n) for n in range(1, 41)])
        won = together([partial(self._claim_all, f"e{n}") for n in range(6)])
        claimed = [id_ for ids_ in won for id_ in ids_]
        assert sorted(claimed) == [task_id(n) for n in range(1, 41)]
        for number, ids_ in enumerate(won):
            assert sorted(ids(self.store.held_by(ExecutorName(f"e{number}")))) == sorted(ids_)

    def _claim_all(self, name: str) -> list[TaskId]:
        won: list[TaskId] = []
        while found := self.store.claimable([a_class(task())], 3):
            claims = [msgspec.structs.replace(t, replicas=(running(name),)) for t in found]
            answers = self.store.apply(claims)
            won += [t.id for t, taken in zip(found, answers, strict=True) if taken]
        return won

    def test_position_counts_the_ready_tasks_of_the_class_before_it(self) -> None:
        self.store.add([task(1), task(2, priority=5), task(3), task(4, language="c"), task(5)])
        self.store.apply([task(1, replicas=(running(),))])
        positions = {n: self.store.position(t) for n, t in ((3, task(3)), (5, task(5)))}
        assert positions == {3: 1, 5: 2}
        assert self.store.position(task(2, priority=5)) == 0
        assert self.store.position(task(4, language="c")) == 0

    def test_due_gives_those_whose_time_has_come_earliest_first(self) -> None:
        times = {1: 30.0, 2: 10.0, 3: 20.0, 4: 10.0}
        self.store.add([task(n, transition_time=START + t) for n, t in times.items()])
        self.store.add([task(5)])  # waits for no time
        assert ids(self.store.due(START + 20, 9)) == [task_id(n) for n in (2, 4, 3)]
        assert ids(self.store.due(START + 20, 1)) == [task_id(2)]
        assert self.store.due(START + 9.9, 9) == []
        assert len(self.store.due(START + 1e9, 9)) == 4

    def test_next_due_is_the_earliest_time_of_all(self) -> None:
        assert self.store.next_due() is None
        self.store.add([task(1)])
        assert self.store.next_due() is None
        self.store.add([task(2, transition_time=START + 9), task(3, transition_time=START + 5)])
        assert self.store.next_due() == START + 5
        self.store.apply([task(3)])
        assert self.store.next_due() == START + 9

    def test_to_assimilate_gives_those_that_are_ready_for_it(self) -> None:
        states = {1: Stage.INIT, 2: Stage.READY, 3: Stage.DONE, 4: Stage.READY}
        self.store.add([succeeded(n, assimilate_state=s) for n, s in states.items()])
        assert ids(self.store.to_assimilate(9)) == [task_id(2), task_id(4)]
        assert ids(self.store.to_assimilate(1)) == [task_id(2)]
        assert ids(self.store.to_assimilate(9, task_id(2))) == [task_id(4)]
        self.store.apply([succeeded(2, assimilate_state=Stage.DONE)])
        assert ids(self.store.to_assimilate(9)) == [task_id(4)]

    def test_held_by_gives_the_tasks_with_a_replica_in_progress_there(self) -> None:
        e1, e2 = ExecutorName("e1"), ExecutorName("e2")
        both = task(2, replicas=(running("e1", 0), running("e2", 1), running("e1", 2)))
        self.store.add([task(1, replicas=(running("e1"),)), both, task(3)])
        assert ids(self.store.held_by(e1)) == [task_id(1), task_id(2)]
        assert ids(self.store.held_by(e2)) == [task_id(2)]
        self.store.apply([task(2, replicas=(running("e2", 1),)), succeeded(1)])
        assert self.store.held_by(e1) == []
        assert ids(self.store.held_by(e2)) == [task_id(2)]
        self.store.apply([task(3, replicas=(running("e1"),))])
        assert ids(self.store.held_by(e1)) == [task_id(3)]

    # -- feed ----------------------------------------------------------------------------

    def test_a_feed_tells_of_every_write_in_order(self) -> None:
        self.store.add([task(1)])
        feed = self.store.feed()
        self.store.add([task(2), task(3, replicas=(running(),))])
        self.store.apply([task(2, replicas=(running("e9"),)), task(3, version=7)])
        self.store.purge([task_id(1)])
        assert list(feed.next(0)) == [
            Notice(task=task_id(2), ready=a_class(task(2))),
            Notice(task=task_id(3), held_by=(ExecutorName("e1"),)),
            Notice(task=task_id(2), held_by=(ExecutorName("e9"),)),
            Notice(task=task_id(1)),
        ]
        assert list(feed.next(0)) == []
        feed.close()

    def test_a_task_that_was_not_stored_is_not_told_of(self) -> None:
        self.store.add([task(1, key="k")])
        feed = self.store.feed()
        self.store.add([task(2, key="k")])
        self.store.apply([task(1, version=5)])
        assert list(feed.next(0)) == []
        feed.close()

    def test_what_a_feed_tells_of_can_be_read(self) -> None:
        feed = self.store.feed()
        answer = in_background(lambda: self._read_told(feed))
        self.clock.wait_for_waiters(1)
        self.store.add([task(1)])
        assert answer() == {task_id(1): task(1)}
        feed.close()

    def _read_told(self, feed: Feed) -> dict[TaskId, Task]:
        told = feed.next(60)
        return self.store.get([n.task for n in told if n.task])

    def test_a_waiting_feed_returns_empty_after_the_timeout(self) -> None:
        feed = self.store.feed()
        answer = in_background(lambda: list(feed.next(5)))
        self.clock.wait_for_waiters(1)
        self.clock.advance(5)
        assert answer() == []
        feed.close()

    def test_closing_a_feed_lets_a_waiting_next_return(self) -> None:
        feed = self.store.feed()
        answer = in_background(lambda: list(feed.next(60)))
        self.clock.wait_for_waiters(1)
        feed.close()
        assert answer() == []
        feed.close()
        self.store.add([task(1)])
        assert list(feed.next(0)) == []

    def test_a_feed_that_is_not_read_says_that_it_dropped_notices(self) -> None:
        feed, other = self.store.feed(), self.store.feed()
        self.store.add([task(n) for n in range(1, SMALL_FEED + 2)])
        told = list(feed.next(0))
        assert Notice() in told
        self.store.add([task(1000)])
        assert [n.task for n in feed.next(0)] == [task_id(1000)]
        feed.close()
        other.close()

    # -- executors -----------------------------------------------------------------------

    def test_executors_are_listed_by_name(self) -> None:
        assert self.store.executors() == []
        for name in ("b", "a"):
            assert self.store.put_executor(executor(name), None)
        assert [e.name for e in self.store.executors()] == ["a", "b"]
        assert self.store.executors()[0] == executor("a")

    def test_put_executor_is_a_compare_and_set(self) -> None:
        first = executor()
        drained = msgspec.structs.replace(first, state=ExecutorState.DRAINING)
        assert not self.store.put_executor(drained, first)
        assert self.store.put_executor(first, None)
        assert not self.store.put_executor(drained, None)
        assert not self.store.put_executor(first, drained)
        assert self.store.put_executor(drained, first)
        assert self.store.executors() == [drained]

    def test_put_executor_does_not_mind_a_newer_last_report_nor_lowers_it(self) -> None:
        first = executor()
        self.store.put_executor(first, None)
        self.store.touch({first.name: START + 50})
        drained = msgspec.structs.replace(first, state=ExecutorState.DRAINING)
        assert self.store.put_executor(drained, first)
        assert self._only_executor().state is ExecutorState.DRAINING
        assert self._only_executor().last_report == START + 50

    def test_of_many_that_put_an_executor_at_once_one_wins(self) -> None:
        answers = together([lambda: self.store.put_executor(executor(), None)] * 8)
        assert sorted(answers) == [False] * 7 + [True]

    def test_touch_raises_the_last_report_and_never_lowers_it(self) -> None:
        self.store.put_executor(executor(), None)
        self.store.touch({ExecutorName("e1"): START + 9, ExecutorName("unknown"): START + 9})
        assert self._only_executor().last_report == START + 9
        self.store.touch({ExecutorName("e1"): START + 3})
        assert self._only_executor().last_report == START + 9
        self.store.touch({})

    def _only_executor(self) -> Executor:
        found = self.store.executors()
        assert len(found) == 1
        return found[0]

    def test_forget_executor_tells_whether_it_was_there(self) -> None:
        self.store.put_executor(executor(), None)
        assert self.store.forget_executor(ExecutorName("e1"))
        assert not self.store.forget_executor(ExecutorName("e1"))
        assert self.store.executors() == []

    # -- reliability and credit ----------------------------------------------------------

    def test_records_of_reliability_are_listed_by_name_and_class(self) -> None:
        assert self.store.reliability() == []
        records = [a_record("b", "c"), a_record("a", "python", checked=7), a_record("a", "c")]
        assert self.store.put_reliability([(r, None) for r in records]) == [True] * 3
        assert self.store.reliability() == [records[2], records[1], records[0]]
        assert self.store.put_reliability([]) == []

    def test_every_field_of_a_record_is_read_back(self) -> None:
        average = Average(count=3, mean=0.1, variance=1 / 3, squares=1.0)
        whole = a_record("a", "Größe 'x'", turnaround=average, quota=1, lost_at=START, credit=0.3)
        assert self.store.put_reliability([(whole, None)]) == [True]
        assert self.store.reliability() == [whole]

    def test_put_reliability_is_a_compare_and_set_of_each(self) -> None:
        first, second = a_record(), a_record(checked=1)
        assert self.store.put_reliability([(second, first)]) == [False]
        assert self.store.put_reliability([(first, None)]) == [True]
        assert self.store.put_reliability([(second, None)]) == [False]
        assert self.store.put_reliability([(second, second), (a_record("e2"), None)]) == [
            False,
            True,
        ]
        assert self.store.put_reliability([(second, first), (first, second)]) == [True, True]
        assert self.store.reliability() == [first, a_record("e2")]

    def test_of_many_that_put_a_record_at_once_each_win_counts(self) -> None:
        assert sum(together([self._check_once] * 6)) == 6
        assert self.store.reliability()[0].checked == 6

    def _check_once(self) -> int:
        while True:
            there = next(iter(self.store.reliability()), None)
            wanted = a_record(checked=there.checked + 1 if there else 1)
            if self.store.put_reliability([(wanted, there)]) == [True]:
                return 1

    def test_a_forgotten_executor_leaves_no_record(self) -> None:
        self.store.put_executor(executor(), None)
        self.store.put_reliability([(a_record("e1"), None), (a_record("e10"), None)])
        self.store.forget_executor(ExecutorName("e1"))
        assert self.store.reliability() == [a_record("e10")]

    def test_credit_adds_up_by_user_and_owner(self) -> None:
        assert self.store.credit() == Credit()
        self.store.add_credit(Credit(users={"alice": 1.5}, owners={"lab": 0.5, "alice": 2.0}))
        self.store.add_credit(Credit(users={"bob": 1.0, "alice": 0.5}))
        self.store.add_credit(Credit())
        owners = {"alice": 2.0, "lab": 0.5}
        assert self.store.credit() == Credit(users={"alice": 2.0, "bob": 1.0}, owners=owners)

    # -- progress and live output --------------------------------------------------------

    def test_running_gives_what_replicas_were_last_known_to_do(self) -> None:
        self.store.add([task(1)])
        self.store.put_running([_note(1, Phase.FETCHING), _note(1, Phase.COMPILING, number=1)])
        self.store.put_running([_note(1, Phase.RUNNING)])
        self.store.put_running([])
        assert self.store.running(task_id(1)) == {
            0: _note(1, Phase.RUNNING),
            1: _note(1, Phase.COMPILING, number=1),
        }
        assert self.store.running(task_id(2)) == {}

    def test_progress_and_output_never_touch_the_task(self) -> None:
        self.store.add([task(1)])
        feed = self.store.feed()
        self.store.put_running([_note(1)])
        self.store.append_output([_chunk(1, b"hello")])
        self.store.drop_output(task_id(1))
        assert self.store.get([task_id(1)]) == {task_id(1): task(1)}
        assert list(feed.next(0)) == []
        feed.close()

    def test_output_is_read_from_an_offset(self) -> None:
        self.store.append_output([_chunk(1, b"hello "), _chunk(1, b"world", 6), _chunk(1, b"", 11)])
        assert self._output(0, 100) == b"hello world"
        assert self._output(4, 4) == b"o wo"
        assert self._output(6, 2) == b"wo"
        assert self._output(11, 9) == b""
        assert self._output(99, 9) == b""
        assert self._output(3, 0) == b""

    def _output(self, offset: int, size: int, number: int = 0, stream: str = "stdout") -> bytes:
        return self.store.output(task_id(1), number, stream, offset, size)

    def test_streams_replicas_and_tasks_are_kept_apart(self) -> None:
        self.store.append_output([_chunk(1, b"out"), _chunk(1, b"err!", stream="stderr")])
        self.store.append_output([_chunk(1, b"other", number=1), _chunk(2, b"task")])
        assert self._output(0, 9) == b"out"
        assert self._output(0, 9, stream="stderr") == b"err!"
        assert self._output(0, 9, number=1) == b"other"
        assert self.store.output_sizes(task_id(1), 0) == {"stdout": 3, "stderr": 4}
        assert self.store.output_sizes(task_id(1), 7) == {}
        assert self._output(0, 9, number=7) == b""

    def test_a_chunk_that_overlaps_adds_only_what_is_new(self) -> None:
        self.store.append_output([_chunk(1, b"hello")])
        self.store.append_output(
            [_chunk(1, b"hello"), _chunk(1, b"XXo wor", 2), _chunk(1, b"Z", 1)]
        )
        assert self._output(0, 99) == b"hello wor"[:5] + b" wor"
        assert self.store.output_sizes(task_id(1), 0) == {"stdout": 9}

    def test_a_chunk_that_would_leave_a_gap_is_refused_silently(self) -> None:
        self.store.append_output([_chunk(1, b"late", 9)])
        assert self.store.output_sizes(task_id(1), 0) == {}
        self.store.append_output([_chunk(1, b"hello"), _chunk(1, b"late", 6)])
        assert self._output(0, 99) == b"hello"

    def test_output_is_any_bytes(self) -> None:
        data = bytes(range(256)) * 300
        self.store.append_output([_chunk(1, data)])
        assert self._output(0, len(data)) == data

    def test_drop_output_forgets_one_replica_or_all(self) -> None:
        self.store.put_running([_note(1), _note(1, number=1), _note(2)])
        self.store.append_output([_chunk(1, b"a"), _chunk(1, b"b", number=1), _chunk(2, b"c")])
        self.store.drop_output(task_id(1), 0)
        assert set(self.store.running(task_id(1))) == {1}
        assert self._output(0, 9) == b""
        assert self._output(0, 9, number=1) == b"b"
        self.store.drop_output(task_id(1))
        assert self.store.running(task_id(1)) == {}
        assert self._output(0, 9, number=1) == b""
        assert set(self.store.running(task_id(2))) == {0}
        assert self.store.output_sizes(task_id(2), 0) == {"stdout": 1}
        self.store.drop_output(task_id(9))

    # -- users, tokens, blobs ------------------------------------------------------------

    def test_tokens_are_found_by_id_and_hash_and_listed_oldest_first(self) -> None:
        young, old = _token("a", created=2.0), _token("b", created=1.0)
        for token in (young, old):
            self.store.put_token(token, User(name=token.user))
        assert self.store.tokens() == [old, young]
        assert self.store.token_by_id(TokenId("a")) == young
        assert self.store.token_by_hash("hash-b") == old
        assert self.store.token_by_id(TokenId("c")) is None
        assert self.store.token_by_hash("hash-c") is None

    def test_a_changed_token_takes_the_place_of_the_old(self) -> None:
        self.store.put_token(_token("a"), User(name=UserName("alice")))
        revoked = msgspec.structs.replace(_token("a"), revoked=9.0)
        self.store.put_token(revoked, User(name=UserName("alice")))
        assert self.store.tokens() == [revoked]
        assert self.store.token_by_hash("hash-a") == revoked

    def test_of_what_is_kept_under_a_name_the_first_stays(self) -> None:
        assert self.store.keep("a", b"first\x00\xff") == b"first\x00\xff"
        assert self.store.keep("a", b"second") == b"first\x00\xff"
        assert self.store.keep("b", b"") == b""
        assert self.store.keep("b", b"second") == b""

    def test_many_that_keep_a_value_at_once_are_told_the_same(self) -> None:
        told = together([partial(self.store.keep, "a", bytes([n])) for n in range(8)])
        assert len(set(told)) == 1
        assert self.store.keep("a", b"later") == told[0]

    def test_blob_digests_are_those_of_all_tasks_but_not_of_inline_content(self) -> None:
        inline = Content(digest=Digest("1" * 64), size=1, inline=b"x")
        blob = [Content(digest=Digest(c * 64), size=1 << 20) for c in "abcd"]
        spec = msgspec.structs.replace(task().spec, data=blob[0])
        step = StepResult(exit_code=0, stdout=blob[1], stderr=inline)
        result = Result(verdict=Verdict.OK, execute=step, kept={"x": blob[2]})
        self.store.add([task(1), task(2, spec=spec), task(3, spec=spec), task(4)])
        assert set(self.store.blob_digests()) == {blob[0].digest}
        self.store.apply([succeeded(4, replicas=(ended(0, result),))])
        assert set(self.store.blob_digests()) == {blob[n].digest for n in (0, 1, 2)}
        self.store.purge([task_id(4), task_id(2)])
        assert set(self.store.blob_digests()) == {blob[0].digest}
        self.store.apply([task(3)])  # no longer names it
        assert set(self.store.blob_digests()) == set()

    # -- close ---------------------------------------------------------------------------

    def test_close_may_be_called_twice_and_ends_feeds(self) -> None:
        feed = self.store.feed()
        answer = in_background(lambda: list(feed.next(60)))
        self.clock.wait_for_waiters(1)
        self.store.close()
        self.store.close()
        assert answer() == []


class DurableStoreSuite(StoreSuite):
    """What holds besides for a store that outlives the process. ``open_store`` opens the same
    store again within one test.
    """

    def reopen(self) -> None:
        """Close the store and open it again."""
        self.store.close()
        self.store = self.open_store(self.clock, SMALL_FEED)

    def test_everything_is_there_after_it_was_closed(self) -> None:
        changed = task(1, replicas=(running(), Replica(number=1)), transition_time=START + 5)
        self.store.add([task(1, key="k", labels={"a": "b"}, transition_time=START), task(2)])
        self.store.apply([msgspec.structs.replace(changed, key="k", labels={"a": "b"})])
        self.store.put_executor(executor(), None)
        self.store.touch({ExecutorName("e1"): START + 7})
        self.store.put_reliability([(a_record(checked=3), None)])
        self.store.add_credit(Credit(users={"alice": 1.5}, owners={"lab": 0.5}))
        self.store.put_token(_token("a"), User(name=UserName("alice")))
        self.store.append_output([_chunk(1, b"hello")])
        self.store.put_running([_note(1, Phase.COMPILING)])
        self.store.put_batch(batch(key="k", closed=START))
        members = [task(3, batch=batch_id(1)), succeeded(4, batch=batch_id(1))]
        self.store.add_to_batch(batch(key="k", closed=START), members)
        self.store.put_batch(batch(2, closed=START))
        before = self._everything()
        self.reopen()
        assert self._everything() == before
        assert self.store.add([task(9, key="k")])[0].id == task_id(1)
        assert self.store.put_batch(batch(9, key="k")).id == batch_id(1)

    def _everything(self) -> list[object]:
        store = self.store
        return [
            store.get([task_id(1), task_id(2)]),
            store.search(Query()),
            store.search(Query(labels={"a": "b"})),
            store.search(Query(status=(Status.COMPILING,))),
            store.counts(),
            store.waiting_classes(),
            store.claimable(store.waiting_classes(), 9),
            store.held_by(ExecutorName("e1")),
            store.next_due(),
            store.executors(),
            store.reliability(),
            store.credit(),
            store.tokens(),
            store.output(task_id(1), 0, "stdout", 0, 99),
            store.running(task_id(1)),
            store.search_batches(BatchQuery()),
            store.due_batches(9),
            store.batch_tasks(batch_id(1)),
            store.search(Query(batch=batch_id(1))),
        ]

    def test_what_is_kept_is_there_after_it_was_closed(self) -> None:
        self.store.keep("a", b"first")
        self.reopen()
        assert self.store.keep("a", b"second") == b"first"

    def test_two_that_open_it_and_keep_a_value_at_once_are_told_the_same(self) -> None:
        other = self.open_store(self.clock, SMALL_FEED)
        try:
            for name in "abcdef":
                calls = [partial(s.keep, name, v) for s, v in ((self.store, b"1"), (other, b"2"))]
                first, second = together(calls)
                assert first == second
                assert self.store.keep(name, b"later") == other.keep(name, b"later") == first
        finally:
            other.close()

    def test_what_was_accepted_before_the_close_is_finished(self) -> None:
        calls = [partial(_added, self.store, task(n)) for n in range(1, 30)]
        answers = together([*calls, partial(_closed, self.store)])
        self.store = self.open_store(self.clock, SMALL_FEED)
        there = self.store.get([task_id(n) for n in range(1, 30)])
        acknowledged = {task_id(n) for n, ok in enumerate(answers[:-1], start=1) if ok}
        assert set(there) == acknowledged


def _added(store: Store, item: Task) -> bool:
    return not _raises(lambda: store.add([item]))


def _closed(store: Store) -> bool:
    store.close()
    return True


def _raises(call: Callable[[], object]) -> bool:
    try:
        call()
    except Exception:  # noqa: BLE001  # a store may say in its own way what it cannot hold
        return True
    return False


def _note(task_number: int, phase: Phase = Phase.RUNNING, number: int = 0) -> Running:
    return Running(
        task=task_id(task_number), number=number, session=SessionId("s1"), phase=phase, since=1.5
    )


def _chunk(
    task_number: int, data: bytes, offset: int = 0, number: int = 0, stream: str = "stdout"
) -> Chunk:
    return Chunk(task=task_id(task_number), number=number, stream=stream, offset=offset, data=data)


def _token(id_: str, created: float = 1.0) -> Token:
    return Token(
        id=TokenId(id_),
        user=UserName("alice"),
        role=Role.SUBMITTER,
        hash=f"hash-{id_}",
        created=created,
    )
