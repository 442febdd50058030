"""What every implementation of ``ports.judicator`` must do: the service itself, and the same service
behind any wire.

Subclass ``JudicatorSuite`` under a name that pytest collects, and give it three fixtures:
``judicator``, fresh for each test and started, ``clock``, the FakeClock by which the service
behind it waits, and ``verify``, by which its signatures are checked.
"""

from __future__ import annotations

import hashlib
import math
from functools import partial
from typing import Any

import msgspec
import pytest

from accord.core.certificate import Piece, Verify, check, statement_of
from accord.core.errors import (
    AlreadyDone,
    Invalid,
    KeyReused,
    NameTaken,
    NoResult,
    NotDone,
    NotFound,
    Superseded,
    TooLarge,
    UnknownSession,
)
from accord.core.executor import ExecutorState, Isolation
from accord.core.ids import Digest, ExecutorName, SessionId, TaskId, TokenId, UserName
from accord.core.languages import fill
from accord.core.limits import EXECUTE_DEFAULTS, MIB
from accord.core.replica import (
    Content,
    ErrorClass,
    Failure,
    Phase,
    Result,
    StepResult,
    Verdict,
    content,
)
from accord.core.search import Query
from accord.core.standing import Credit
from accord.core.status import Status
from accord.core.task import (
    Comparator,
    Exact,
    Files,
    Json,
    Lines,
    Numbers,
    Program,
    Redundancy,
    Requires,
    Source,
    Tokens,
)
from accord.core.user import Role, Token
from accord.ports.judicator import Assignment, Finished, Held, Judicator, Orders
from accord.ports.store import Chunk
from accord.testing.batch_suite import BatchSuite
from accord.testing.clock import FakeClock
from accord.testing.judicator_parts import (
    LONG,
    NOBODY,
    Call,
    Machine,
    a_new,
    a_result,
    a_step,
    names,
)
from accord.testing.redundancy_suite import RedundancySuite


def _redundant(**policy: Any) -> dict[str, Any]:
    """The fields of a task that two results of are to agree."""
    fields = {"min_quorum": 2, "target_replicas": 2, **policy}
    return {"redundancy": Redundancy(**fields)}


def _compared(comparator: Comparator, **changes: Any) -> dict[str, Any]:
    """The same, by that comparator; it keeps files."""
    return {"outputs": ("**",), **_redundant(comparator=comparator), **changes}


def _judge(**step: Any) -> Program:
    """A program that compares results."""
    return Program(execute=a_step(**step))


class _Adding:
    def test_a_ping_is_answered_with_the_stores_time(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        clock.advance(3)
        assert judicator.ping().now == pytest.approx(clock.now())

    def test_a_new_task_is_pending_and_reads_back_as_it_was_sent(
        self, judicator: Judicator
    ) -> None:
        new = a_new(
            name="first",
            labels={"app": "x"},
            priority=7,
            source=Source(files={"src/main.py": content(b"\xff\x00bytes")}),
            execute=a_step(command="cat", args=("-n",), env={"A": "1"}, stdin=content(b"in")),
        )
        (task,) = judicator.add([new])
        view = judicator.get(task.id)
        assert view.status is Status.PENDING
        assert view.task == task
        assert (task.user, task.name, task.labels, task.priority, task.spec) == (
            new.user,
            new.name,
            new.labels,
            new.priority,
            new.spec,
        )

    def test_tasks_are_added_in_order_with_rising_ids(self, judicator: Judicator) -> None:
        tasks = judicator.add([a_new(name=str(i)) for i in range(100)])
        assert names(tasks) == [str(i) for i in range(100)]
        assert [t.id for t in tasks] == sorted({t.id for t in tasks})

    def test_no_task_is_a_fine_number_to_add_and_101_is_not(self, judicator: Judicator) -> None:
        assert judicator.add([]) == []
        with pytest.raises(Invalid):
            judicator.add([a_new()] * 101)

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"user": ""}, "user"),
            ({"user": "../x"}, "user"),
            ({"name": "line\nbreak"}, "name"),
            ({"name": "x" * 257}, "name"),
            ({"priority": 101}, "priority"),
            ({"priority": -101}, "priority"),
            ({"labels": {str(i): "" for i in range(33)}}, "labels"),
            ({"labels": {"k" * 129: ""}}, "labels"),
            ({"labels": {"k": "v" * 129}}, "labels"),
            ({"key": ""}, "key"),
            ({"language": "cobol"}, "language"),
            ({"execute": a_step(command=())}, "execute.command"),
            ({"execute": a_step(command="")}, "execute.command"),
            ({"execute": a_step(args=("a\0b",))}, "execute.args"),
            ({"execute": a_step(env={"A=B": ""})}, "execute.env"),
            (
                {
                    "execute": a_step(
                        limits=msgspec.structs.replace(EXECUTE_DEFAULTS, wall=float("nan"))
                    )
                },
                "execute.limits.wall",
            ),
            (
                {
                    "execute": a_step(
                        limits=msgspec.structs.replace(EXECUTE_DEFAULTS, memory=1 << 50)
                    )
                },
                "execute.limits.memory",
            ),
            ({"compile": a_step(command="")}, "compile.command"),
            ({"source": Source(files={"../x": content(b"")})}, "source.files"),
            ({"source": Source(files={"/etc/x": content(b"")})}, "source.files"),
            ({"source": Source(files={"a//b": content(b"")})}, "source.files"),
            ({"source": Source(files={"a\0b": content(b"")})}, "source.files"),
            ({"source": Source(files={"a": content(b""), "a/b": content(b"")})}, "source.files"),
            ({"source": Source(files={str(i): content(b"") for i in range(1001)})}, "source.files"),
            ({"outputs": ("../*",)}, "outputs"),
            ({"requires": Requires(isolation="magic")}, "requires.isolation"),
            ({"requires": Requires(cpus=0)}, "requires.cpus"),
            ({"requires": Requires(language_version="3")}, "requires.language_version"),
            (
                {"language": "python", "requires": Requires(language_version=">=3")},
                "requires.language_version",
            ),
            ({"execute": a_step(env={"A": ""}, secrets=("B",))}, "execute.secrets"),
            ({"deadline": -1.0}, "deadline"),
            ({"redundancy": Redundancy(distinct="planet")}, "redundancy.distinct"),
            ({"redundancy": Redundancy(max_error_replicas=0)}, "redundancy.max_error_replicas"),
            (_redundant(min_quorum=3), "redundancy.min_quorum"),
            (_redundant(target_replicas=7), "redundancy.target_replicas"),
            (_redundant(max_success_replicas=11), "redundancy.max_success_replicas"),
            (_redundant(max_error_replicas=11), "redundancy.max_error_replicas"),
            (_redundant(max_total_replicas=101), "redundancy.max_total_replicas"),
            (_redundant(max_lost_replicas=101), "redundancy.max_lost_replicas"),
            (_redundant(delay_bound=math.inf), "redundancy.delay_bound"),
            (_redundant(delay_bound=0.0), "redundancy.delay_bound"),
            (_redundant(delay_bound=59.5), "redundancy.delay_bound"),
            ({**_redundant(delay_bound=119.5), "compile": a_step()}, "redundancy.delay_bound"),
            (_redundant(homogeneous="planet"), "redundancy.homogeneous"),
            (_redundant(min_quorum=1, adaptive=True), "redundancy.adaptive"),
            (_compared(Numbers(abs=-1.0)), "redundancy.comparator.abs"),
            (_compared(Numbers(rel=math.nan)), "redundancy.comparator.rel"),
            (_compared(Numbers(rel=math.inf)), "redundancy.comparator.rel"),
            (_compared(Files(paths=())), "redundancy.comparator.paths"),
            (_compared(Files(paths=("../x",))), "redundancy.comparator.paths"),
            (_compared(Files(paths=("x",) * 101)), "redundancy.comparator.paths"),
            (_compared(Files(paths=("x",)), outputs=()), "redundancy.comparator.paths"),
            (_compared(Files(paths=("a/x",)), outputs=("*",)), "redundancy.comparator.paths"),
            (_compared(_judge(command="")), "redundancy.comparator.execute.command"),
            (_compared(_judge(env={"A=": ""})), "redundancy.comparator.execute.env"),
            (
                _compared(_judge(limits=msgspec.structs.replace(EXECUTE_DEFAULTS, wall=1e9))),
                "redundancy.comparator.execute.limits.wall",
            ),
            (
                _compared(Program(execute=a_step(), compile=a_step(command=()))),
                "redundancy.comparator.compile.command",
            ),
            (
                _compared(
                    Program(
                        execute=a_step(),
                        source=Source(files={"results/0/stdout": content(b"mine")}),
                    )
                ),
                "redundancy.comparator.source.files",
            ),
            (
                _compared(Program(execute=a_step(), language="cobol")),
                "redundancy.comparator.language",
            ),
            (
                _compared(Program(execute=a_step(), source=Source(files={"/x": content(b"")}))),
                "redundancy.comparator.source.files",
            ),
            (
                _compared(
                    _judge(stdin=Content(digest=Digest("0" * 64), size=1, inline=b"x")),
                ),
                "redundancy.comparator.execute.stdin",
            ),
            (_compared(_judge(stdin=content(b"x" * 200_000))), "spec"),
            (_compared(_judge(args=("x" * 200_000,))), "spec"),
            ({"execute": a_step(stdin=content(b"x" * 200_000))}, "spec"),
            (
                {"execute": a_step(stdin=Content(digest=Digest("0" * 64), size=1, inline=b"x"))},
                "execute.stdin",
            ),
        ],
    )
    def test_what_is_not_valid_is_refused_with_the_field(
        self, judicator: Judicator, changes: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(Invalid) as refused:
            judicator.add([a_new(**changes)])
        assert refused.value.fields["field"] == field
        assert judicator.counts() == {}

    @pytest.mark.parametrize(
        "comparator",
        [
            Exact(),
            Lines(),
            Tokens(),
            Numbers(abs=0.0, rel=1e-9),
            Json(),
            Files(paths=("out/a", "b")),
            Program(
                language="python",
                source=Source(files={"main.py": content(b"\xff")}),
                compile=a_step(command="true"),
                execute=a_step(command=("python3", "main.py"), stdin=content(b"in")),
            ),
        ],
        ids=lambda comparator: type(comparator).__name__,
    )
    def test_redundancy_reads_back_as_it_was_sent_with_its_replicas_made(
        self, judicator: Judicator, comparator: Comparator
    ) -> None:
        wish = _compared(comparator, **_redundant(
            comparator=comparator, target_replicas=3, distinct="none", homogeneous="os+cpu",
            delay_bound=60.0,
        ))  # fmt: skip
        (task,) = judicator.add([a_new(**wish)])
        assert judicator.get(task.id).task == task
        assert task.spec.redundancy == wish["redundancy"]
        assert [replica.number for replica in task.replicas] == [0, 1, 2]

    def test_a_language_that_no_executor_has_is_taken_and_explained(
        self, judicator: Judicator
    ) -> None:
        Machine(judicator).hello()
        (task,) = judicator.add([a_new(language="rust")])
        assert "rust" in judicator.explain(task.id)

    def test_a_blob_that_was_never_put_is_named(self, judicator: Judicator) -> None:
        missing = Digest(hashlib.sha256(b"missing").hexdigest())
        with pytest.raises(NotFound, match=missing):
            judicator.add([a_new(data=Content(digest=missing, size=7))])
        reads = a_step(stdin=Content(digest=missing, size=7))
        judges = {
            "execute": Program(execute=reads),
            "compile": Program(execute=a_step(), compile=reads),
        }
        for step, judge in judges.items():
            with pytest.raises(NotFound) as refused:
                judicator.add([a_new(**_compared(judge))])
            assert refused.value.fields["field"] == f"redundancy.comparator.{step}.stdin"

    def test_all_are_added_or_none(self, judicator: Judicator) -> None:
        with pytest.raises(Invalid) as refused:
            judicator.add([a_new(), a_new(priority=500)])
        assert refused.value.fields["index"] == 1
        assert judicator.counts() == {}

    def test_the_same_key_with_the_same_content_gives_the_same_task(
        self, judicator: Judicator
    ) -> None:
        (first,) = judicator.add([a_new(key="k")])
        (again,) = judicator.add([a_new(key="k")])
        (another,) = judicator.add([a_new(key="k", user=UserName("bob"))])
        assert again == first
        assert another.id != first.id

    def test_the_same_key_with_other_content_is_refused_and_nothing_added(
        self, judicator: Judicator
    ) -> None:
        judicator.add([a_new(key="k")])
        with pytest.raises(KeyReused):
            judicator.add([a_new(), a_new(key="k", name="other")])
        with pytest.raises(KeyReused):
            judicator.add([a_new(key="new"), a_new(key="new", name="other")])
        assert sum(judicator.counts().values()) == 1


class _Listing:
    def test_nothing_by_that_id(self, judicator: Judicator) -> None:
        for call in (
            lambda: judicator.get(NOBODY),
            lambda: judicator.get(NOBODY, 1.0),
            lambda: judicator.cancel(NOBODY),
            lambda: judicator.retry(NOBODY),
            lambda: judicator.purge(NOBODY),
            lambda: judicator.explain(NOBODY),
            lambda: judicator.follow(NOBODY, "", 0.0),
        ):
            with pytest.raises(NotFound):
                call()

    def test_tasks_are_listed_newest_first_in_pages(self, judicator: Judicator) -> None:
        judicator.add([a_new(name=str(i)) for i in range(5)])
        first = judicator.search(Query(limit=3))
        rest = judicator.search(Query(limit=3, cursor=first.next))
        assert [s.name for s in first.items] == ["4", "3", "2"]
        assert [s.name for s in rest.items] == ["1", "0"]
        assert (first.total, rest.next) == (5, None)

    @pytest.mark.parametrize("query", [Query(limit=0), Query(limit=1001), Query(cursor="x")])
    def test_a_bad_limit_or_cursor_is_refused(self, judicator: Judicator, query: Query) -> None:
        with pytest.raises(Invalid):
            judicator.search(query)

    def test_counts_are_by_status(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        judicator.add([a_new() for _ in range(3)])
        machine.finish(machine.take()[0])
        machine.take()
        assert judicator.counts() == {Status.SUCCESS: 1, Status.RUNNING: 1, Status.PENDING: 1}

    def test_retry_makes_a_new_task_of_the_same_content(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new(name="n", key="k", labels={"a": "b"})])
        with pytest.raises(NotDone):
            judicator.retry(task.id)
        machine.finish(machine.take()[0])
        again = judicator.retry(task.id)
        assert again.id != task.id
        assert (again.retry_of, again.name, again.spec, again.labels, again.key) == (
            task.id,
            "n",
            task.spec,
            {"a": "b"},
            None,
        )
        assert judicator.get(again.id).status is Status.PENDING

    def test_purge_removes_a_done_task_for_good(self, judicator: Judicator) -> None:
        (task,) = judicator.add([a_new()])
        with pytest.raises(NotDone):
            judicator.purge(task.id)
        judicator.cancel(task.id)
        judicator.purge(task.id)
        with pytest.raises(NotFound):
            judicator.get(task.id)


class _Working:
    def test_a_task_goes_from_pending_by_its_phases_to_its_result(
        self, judicator: Judicator
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        (given,) = machine.take()
        assert (given.task.id, given.task.spec, given.session) == (task.id, task.spec, "s1")
        assert judicator.get(task.id).status is Status.RUNNING
        held = Held(task=task.id, number=given.number, session=given.session)
        for phase, status in (
            (Phase.COMPILING, Status.COMPILING),
            (Phase.RUNNING, Status.RUNNING),
        ):
            machine.report(poll=False, progress=(msgspec.structs.replace(held, phase=phase),))
            view = judicator.get(task.id)
            assert (view.status, view.phases) == (status, {given.number: phase})
        orders = machine.finish(given, end=a_result(b"out"))
        assert orders.stored == ((task.id, given.number),)
        view = judicator.get(task.id)
        assert view.status is Status.SUCCESS
        replica = view.task.replica(given.number)
        assert replica is not None
        assert replica.result == a_result(b"out")

    def test_higher_priority_first_then_the_oldest(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
            judicator.add([a_new(name=name, priority=priority)])
        assert [machine.take()[0].task.name for _ in range(4)] == ["b", "d", "a", "c"]

    def test_an_executor_gets_no_more_than_its_vacancy(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        judicator.add([a_new() for _ in range(5)])
        assert len(machine.poll(vacant=2).assign) == 2
        assert len(machine.poll(vacant=0).assign) == 0
        assert len(machine.poll(vacant=9).assign) == 3

    def test_only_work_whose_requirements_are_met_is_given(self, judicator: Judicator) -> None:
        weak = Machine(judicator, "weak", isolation=Isolation(level="none"))
        tagged = Machine(judicator, "tagged", tags=("gpu",))
        weak.hello()
        tagged.hello()
        judicator.add([a_new(requires=Requires(tags=("gpu",)))])
        judicator.add([a_new(spec=fill("python", content(b"1")))])
        judicator.add([a_new(requires=Requires(isolation="none"), name="anywhere")])
        assert [a.task.name for a in weak.poll(vacant=9).assign] == ["anywhere"]
        assert len(tagged.poll(vacant=9).assign) == 2

    def test_a_version_of_a_language_is_asked_for(self, judicator: Judicator) -> None:
        old = Machine(judicator, "old", languages={"python": "Python 3.9.2"})
        both = {"python": "Python 3.11.2", "python@3.12": "Python 3.12.1"}
        new = Machine(judicator, "new", languages=both)
        old.hello()
        new.hello()
        for version in ("3.12", "3.9", "3.1"):
            wish = Requires(language_version=version)
            judicator.add([a_new(language="python", requires=wish, name=version)])
        assert [a.task.name for a in old.poll(vacant=9).assign] == ["3.9"]
        assert [a.task.name for a in new.poll(vacant=9).assign] == ["3.12"]

    def test_no_replica_is_given_twice(self, judicator: Judicator) -> None:
        machines = [Machine(judicator, f"e{i}") for i in range(4)]
        for machine in machines:
            machine.hello()
        added = judicator.add([a_new() for _ in range(40)])
        calls = [Call(partial(machine.poll, vacant=40)) for machine in machines]
        given = [a.task.id for call in calls for a in call.answer().assign]
        left = [a.task.id for machine in machines for a in machine.poll(vacant=40).assign]
        assert sorted(given + left) == sorted(t.id for t in added)

    def test_an_infrastructure_fault_makes_another_attempt(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        (given,) = machine.take()
        fault = Failure(error_class=ErrorClass.INTERNAL_FAIL, message="The disk is full.")
        machine.finish(given, end=fault)
        assert judicator.get(task.id).status is Status.RETRYING
        assert "The disk is full" in judicator.explain(task.id)

    def test_a_program_that_fails_is_a_result(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        step = StepResult(exit_code=1)
        machine.finish(machine.take()[0], end=Result(verdict=Verdict.RUNTIME_ERROR, execute=step))
        assert judicator.get(task.id).status is Status.RUN_FAILED

    def test_what_is_handed_back_is_sent_again_at_once(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        other = Machine(judicator, "e2")
        machine.hello()
        other.hello()
        (task,) = judicator.add([a_new()])
        machine.finish(machine.take()[0], started=False)
        assert other.take()[0].task.id == task.id


class _Holding:
    def test_a_held_poll_is_answered_as_soon_as_there_is_work(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        poll = Call(lambda: machine.poll(vacant=1, wait=LONG))
        clock.wait_for_wait(LONG)
        (task,) = judicator.add([a_new()])
        assert [a.task.id for a in poll.answer().assign] == [task.id]

    def test_a_held_poll_is_answered_empty_when_its_time_is_over(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        poll = Call(lambda: machine.poll(vacant=1, wait=LONG))
        clock.wait_for_wait(LONG)
        clock.advance(LONG)
        assert poll.answer() == Orders(sequence=2, held=LONG)

    def test_what_is_answered_at_once_was_not_held_and_may_be_asked_ahead_of_slots(
        self, judicator: Judicator
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        judicator.add([a_new() for _ in range(5)])
        orders = machine.poll(vacant=2 * machine.info.slots)
        assert len(orders.assign) == 2 * machine.info.slots
        assert orders.held < LONG / 2

    def test_new_work_wakes_only_as_many_polls_as_it_can_fill(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        machines = [Machine(judicator, f"e{i}") for i in range(3)]
        calls = []
        for number, machine in enumerate(machines):
            machine.hello()
            calls.append(Call(partial(machine.poll, vacant=2, wait=LONG + number)))
            clock.wait_for_wait(LONG + number)
        judicator.add([a_new(), a_new()])
        assert len(calls[0].answer().assign) == 2
        judicator.add([a_new()])
        assert len(calls[1].answer().assign) == 1
        clock.wait_for_wait(LONG + 2)
        clock.advance(LONG + 2)
        assert calls[2].answer().assign == ()

    def test_a_newer_poll_supersedes_the_older_which_claims_nothing_any_more(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        older = Call(lambda: machine.poll(vacant=1, wait=LONG))
        clock.wait_for_wait(LONG)
        newer = Call(lambda: machine.poll(vacant=1, wait=LONG + 1))
        with pytest.raises(Superseded):
            older.answer()
        judicator.add([a_new()])
        assert len(newer.answer().assign) == 1

    def test_a_held_poll_is_answered_as_soon_as_something_is_cancelled(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        (given,) = machine.take()
        poll = Call(lambda: machine.poll(wait=LONG))
        clock.wait_for_wait(LONG)
        assert judicator.cancel(task.id).status is Status.CANCELLING
        assert poll.answer().cancel == ((task.id, given.number),)

    def test_a_cancellation_that_was_told_does_not_answer_every_poll_at_once(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        (given,) = machine.take()
        judicator.cancel(task.id)
        assert machine.poll().cancel == ((task.id, given.number),)
        poll = Call(lambda: machine.poll(wait=LONG))
        clock.wait_for_wait(LONG)
        clock.advance(LONG)
        assert poll.answer().cancel == ((task.id, given.number),)


class _Cancelling:
    def test_what_was_not_sent_is_cancelled_at_once(self, judicator: Judicator) -> None:
        (task,) = judicator.add([a_new()])
        assert judicator.cancel(task.id).status is Status.CANCELLED
        assert judicator.cancel(task.id).status is Status.CANCELLED
        machine = Machine(judicator)
        machine.hello()
        assert machine.poll(vacant=1).assign == ()

    def test_what_runs_is_cancelled_when_its_box_is_empty(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        (given,) = machine.take()
        assert judicator.cancel(task.id).status is Status.CANCELLING
        assert judicator.cancel(task.id).status is Status.CANCELLING
        assert machine.poll().cancel == ((task.id, given.number),)
        assert machine.finish(given, killed=True).stored == ((task.id, given.number),)
        assert judicator.get(task.id).status is Status.CANCELLED
        assert machine.poll().cancel == ()

    def test_what_ended_otherwise_cannot_be_cancelled(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        machine.finish(machine.take()[0])
        with pytest.raises(AlreadyDone):
            judicator.cancel(task.id)

    def test_what_never_arrived_is_cancelled_without_a_kill(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        machine.take()
        judicator.cancel(task.id)
        machine.held.clear()  # the answer was lost on its way
        assert machine.poll().cancel == ()
        assert judicator.get(task.id).status is Status.CANCELLED

    def test_what_was_purged_is_to_be_forgotten_and_its_result_needs_no_repeating(
        self, judicator: Judicator
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        (given,) = machine.take()
        judicator.cancel(task.id)
        machine.finish(given, killed=True)
        judicator.purge(task.id)
        key = (task.id, given.number)
        machine.held[key] = Held(task=task.id, number=given.number, session=given.session)
        assert machine.poll().cancel == (key,)
        assert machine.finish(given).stored == (key,)


class _Repeating:
    def test_an_assignment_whose_answer_was_lost_is_sent_again(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        judicator.add([a_new()])
        (given,) = machine.take()
        machine.held.clear()
        (again,) = machine.poll(vacant=1).assign
        assert (again.task.id, again.number) == (given.task.id, given.number)
        assert machine.poll(vacant=1).assign == ()

    def test_a_result_is_taken_once_and_its_repeat_answered_alike(
        self, judicator: Judicator
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        (given,) = machine.take()
        first = machine.finish(given, end=a_result(b"first"))
        second = machine.finish(given, end=a_result(b"second"))
        assert first.stored == second.stored == ((task.id, given.number),)
        replica = judicator.get(task.id).task.replica(given.number)
        assert replica is not None
        assert replica.result == a_result(b"first")

    def test_the_same_result_in_two_reports_at_once_is_taken_once(
        self, judicator: Judicator
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        judicator.add([a_new() for _ in range(20)])
        given = machine.take(20)
        calls = [
            Call(partial(machine.finish, *given, end=a_result(str(number).encode())))
            for number in range(4)
        ]
        keys = {(g.task.id, g.number) for g in given}
        answers = []
        for call in calls:
            try:
                answers.append(call.answer())
            except Superseded:  # a push that was overtaken on the way
                continue
        assert answers
        assert all(set(answer.stored) == keys for answer in answers)
        for g in given:
            view = judicator.get(g.task.id)
            assert view.status is Status.SUCCESS
            assert [r.number for r in view.task.replicas] == [g.number]

    def test_a_result_of_an_unknown_task_needs_no_repeating(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        finished = Finished(task=NOBODY, number=0, session=SessionId("s1"), end=a_result())
        assert machine.report(poll=False, complete=(finished,)).stored == ((NOBODY, 0),)

    def test_nobody_delivers_for_another(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        other = Machine(judicator, "e2")
        machine.hello()
        other.hello()
        (task,) = judicator.add([a_new()])
        (given,) = machine.take()
        other.finish(given, end=a_result(b"forged"))
        assert judicator.get(task.id).status is Status.RUNNING
        chunk = Chunk(task=task.id, number=given.number, stream="stdout", offset=0, data=b"forged")
        other.report(poll=False, output=(chunk,))
        assert judicator.follow(task.id, "", 0.0).chunks == ()

    def test_a_restarted_executor_delivers_what_its_spool_has_and_loses_the_rest_at_once(
        self, judicator: Judicator
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        judicator.add([a_new(), a_new()])
        spooled, gone = machine.take(2)
        restarted = Machine(judicator, session="s2")
        key = (spooled.task.id, spooled.number)
        restarted.held[key] = machine.held[key]
        restarted.hello()
        assert restarted.poll().cancel == ()
        assert judicator.get(gone.task.id).status is Status.RETRYING
        assert judicator.get(spooled.task.id).status is Status.RUNNING
        assert restarted.finish(spooled).stored == (key,)
        assert judicator.get(spooled.task.id).status is Status.SUCCESS


class _Fencing:
    def test_a_session_that_nobody_knows_must_say_hello(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        with pytest.raises(UnknownSession):
            machine.poll()
        machine.hello()
        machine.poll()
        assert [e.info for e in judicator.executors()] == [machine.info]

    def test_a_hello_may_come_on_a_poll_and_work_with_its_answer(
        self, judicator: Judicator
    ) -> None:
        machine = Machine(judicator)
        judicator.add([a_new()])
        assert len(machine.poll(vacant=1, hello=machine.info).assign) == 1

    def test_another_executor_of_the_name_is_refused_while_the_first_is_alive(
        self, judicator: Judicator
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        clone = Machine(judicator, session="s2", instance_key="another")
        with pytest.raises(NameTaken):
            clone.hello()
        machine.poll()

    def test_another_executor_of_the_name_is_taken_once_the_first_is_silent_for_a_lease(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        Machine(judicator).hello()
        clock.advance(15)
        Machine(judicator, session="s2", instance_key="another").hello()
        assert [e.info.instance_key for e in judicator.executors()] == ["another"]

    def test_the_same_instance_replaces_its_own_session_at_once(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        held = Call(lambda: machine.poll(vacant=1, wait=LONG))
        clock.wait_for_wait(LONG)
        restarted = Machine(judicator, session="s2")
        restarted.hello()
        with pytest.raises((Superseded, UnknownSession)):
            held.answer()
        with pytest.raises(UnknownSession):
            machine.poll()
        restarted.poll()

    def test_a_call_that_was_overtaken_is_refused(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello(sequence=10)
        machine.report(poll=False, sequence=11)
        with pytest.raises(Superseded):
            machine.report(poll=False, sequence=10)
        machine.report(poll=True, sequence=5)  # the other kind of connection counts by itself

    @pytest.mark.parametrize(
        "about", [{"name": "no/slash"}, {"instance_key": ""}, {"isolation": Isolation(level="?")}]
    )
    def test_a_hello_that_makes_no_sense_is_refused(
        self, judicator: Judicator, about: dict[str, Any]
    ) -> None:
        with pytest.raises(Invalid):
            Machine(judicator, **about).hello()


class _Steering:
    def test_a_drained_executor_gets_no_work_and_its_results_are_taken(
        self, judicator: Judicator
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        (first, _) = judicator.add([a_new(), a_new()])
        (given,) = machine.take()
        assert judicator.steer(machine.info.name, "drain").state is ExecutorState.DRAINING
        assert machine.poll(vacant=5).assign == ()
        machine.finish(given)
        assert judicator.get(first.id).status is Status.SUCCESS
        judicator.steer(machine.info.name, "release")
        assert len(machine.poll(vacant=5).assign) == 1

    def test_an_executor_that_drains_itself_gets_no_work(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        judicator.add([a_new()])
        assert machine.poll(vacant=1, draining=True).assign == ()
        assert [e.state for e in judicator.executors()] == [ExecutorState.DRAINING]
        restarted = Machine(judicator, session="s2")
        assert len(restarted.poll(vacant=1, hello=restarted.info).assign) == 1

    def test_a_quarantine_outlives_a_restart_until_it_is_released(
        self, judicator: Judicator
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        judicator.add([a_new()])
        assert judicator.steer(machine.info.name, "quarantine").held
        restarted = Machine(judicator, session="s2")
        assert restarted.poll(vacant=1, hello=restarted.info).assign == ()
        judicator.steer(machine.info.name, "release")
        assert len(restarted.poll(vacant=1).assign) == 1

    def test_releasing_gives_work_to_a_poll_that_is_held(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        judicator.steer(machine.info.name, "quarantine")
        judicator.add([a_new()])
        poll = Call(lambda: machine.poll(vacant=1, wait=LONG))
        clock.wait_for_wait(LONG)
        judicator.steer(machine.info.name, "release")
        assert len(poll.answer().assign) == 1

    def test_a_draining_held_poll_claims_nothing_any_more(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        poll = Call(lambda: machine.poll(vacant=1, wait=LONG))
        clock.wait_for_wait(LONG)
        judicator.steer(machine.info.name, "drain")
        judicator.add([a_new()])
        clock.wait_for_wait(LONG)
        clock.advance(LONG)
        assert poll.answer().assign == ()

    def test_bad_steering_is_refused(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        with pytest.raises(NotFound):
            judicator.steer(ExecutorName("nobody"), "drain")
        with pytest.raises(Invalid):
            judicator.steer(machine.info.name, "fly")
        with pytest.raises(Invalid):
            judicator.steer(machine.info.name, "forget")

    def test_the_judicators_are_listed(self, judicator: Judicator) -> None:
        assert [pong.name for pong in judicator.judicators()] == [judicator.ping().name]


class _Trusting:
    def test_executors_tell_how_they_stand_with_each_class(self, judicator: Judicator) -> None:
        machine = Machine(judicator, benchmark=2.0, owner="lab")
        machine.hello()
        judicator.add([a_new(labels={"app": "seti"}), a_new(spec=fill("c", content(b"")))])
        one, other = machine.take(2)
        machine.finish(one, end=_spent(1.5))
        machine.finish(other, end=Failure(error_class=ErrorClass.INTERNAL_FAIL, message="no"))
        (executor,) = judicator.executors()
        c, seti = executor.standings
        assert (c.task_class, c.failures, c.sent_today, c.credit) == ("c", 1, 1, 0.0)
        assert (seti.task_class, seti.failures, seti.credit) == ("seti", 0, 3.0)
        assert (executor.credit, executor.info.benchmark) == (3.0, 2.0)
        assert seti.quota > c.quota

    def test_five_failures_in_a_row_quarantine_for_the_class_until_release(
        self, judicator: Judicator
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        for _ in range(5):
            judicator.add([a_new()])
            (sent,) = machine.take()
            machine.finish(sent, end=Failure(error_class=ErrorClass.INTERNAL_FAIL, message="no"))
            judicator.cancel(sent.task.id)
        judicator.add([a_new(name="next"), a_new(name="c", spec=fill("c", content(b"")))])
        assert names([a.task for a in machine.poll(vacant=2).assign]) == ["c"]
        assert judicator.executors()[0].standings[0].note.startswith("quarantined for any until")
        released = judicator.steer(machine.info.name, "release")
        assert [s.note for s in released.standings] == ["", ""]
        assert names([a.task for a in machine.poll(vacant=1).assign]) == ["next"]

    def test_what_waits_for_a_quarantined_executor_goes_to_another_that_waits(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        bad, good = Machine(judicator, "e1"), Machine(judicator, "e2")
        for machine in (bad, good):
            machine.hello()
        for _ in range(5):
            judicator.add([a_new()])
            (sent,) = bad.take()
            bad.finish(sent, end=Failure(error_class=ErrorClass.INTERNAL_FAIL, message="no"))
            judicator.cancel(sent.task.id)
        first = Call(partial(bad.poll, vacant=1, wait=LONG))
        clock.wait_for_wait(LONG)
        second = Call(partial(good.poll, vacant=1, wait=LONG + 1))
        clock.wait_for_wait(LONG + 1)
        judicator.add([a_new(name="next")])
        assert names([a.task for a in second.answer().assign]) == ["next"]
        clock.wait_for_wait(LONG)
        clock.advance(LONG)
        assert first.answer().assign == ()

    def test_a_benchmark_that_nobody_believes_is_refused(self, judicator: Judicator) -> None:
        for benchmark in (0.0, -1.0, 1e9):
            with pytest.raises(Invalid, match="benchmark"):
                Machine(judicator, benchmark=benchmark).hello()

    def test_credit_is_told_by_user_and_owner(self, judicator: Judicator) -> None:
        assert judicator.credit() == Credit()
        machine = Machine(judicator, owner="lab")
        machine.hello()
        judicator.add([a_new()])
        machine.finish(*machine.take(), end=_spent(1.5))
        judicator.steer(machine.info.name, "release")  # writes down what was learnt
        assert judicator.credit() == Credit(users={"alice": 1.5}, owners={"lab": 1.5})

    def test_credit_is_for_no_more_than_the_limits_and_cores_allow(
        self, judicator: Judicator
    ) -> None:
        machine = Machine(judicator, cores=2)
        machine.hello()
        (task,) = judicator.add([a_new()])
        (given,) = machine.take()
        step = StepResult(exit_code=0, wall_time=1e300, cpu_time=1e300)
        machine.finish(given, end=Result(verdict=Verdict.OK, execute=step))
        (replica,) = judicator.get(task.id).task.replicas
        assert replica.credit == 32.0  # a limit of 30 s, and a second of each core
        assert replica.result
        assert replica.result.execute
        assert replica.result.execute.wall_time < 100


def _spent(seconds: float) -> Result:
    step = StepResult(exit_code=0, cpu_time=seconds)
    return Result(verdict=Verdict.OK, execute=step)


class _Waiting:
    def test_a_get_waits_for_the_end(self, judicator: Judicator, clock: FakeClock) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        waiting = Call(lambda: judicator.get(task.id, LONG))
        clock.wait_for_wait(LONG)
        machine.finish(machine.take()[0])
        assert waiting.answer().status is Status.SUCCESS
        assert judicator.get(task.id, LONG).status is Status.SUCCESS

    def test_a_get_answers_what_there_is_when_its_time_is_over(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        (task,) = judicator.add([a_new()])
        waiting = Call(lambda: judicator.get(task.id, LONG))
        clock.wait_for_wait(LONG)
        clock.advance(LONG)
        assert waiting.answer().status is Status.PENDING

    def test_a_get_notices_a_purge(self, judicator: Judicator, clock: FakeClock) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        follow = Call(lambda: judicator.follow(task.id, self._cursor(judicator, task.id), LONG))
        clock.wait_for_wait(LONG)
        judicator.cancel(task.id)
        assert follow.answer().done

    def _cursor(self, judicator: Judicator, id_: TaskId) -> str:
        return judicator.follow(id_, "", 0.0).cursor


class Reader:
    """Follows a task as a client would, and keeps what it is told."""

    def __init__(self, judicator: Judicator, id_: TaskId) -> None:
        self.streams: dict[tuple[int, str], bytes] = {}
        self.statuses: list[Status] = []
        self.cursor = ""
        self.done = False
        self._judicator = judicator
        self._id = id_

    def read(self, wait: float = 0.0) -> bool:
        """Take the next news; whether there was any."""
        news = self._judicator.follow(self._id, self.cursor, wait)
        for chunk in news.chunks:
            key = (chunk.number, chunk.stream)
            assert chunk.offset == len(self.streams.get(key, b"")), "each byte once, in order"
            self.streams[key] = self.streams.get(key, b"") + chunk.data
        if news.view is not None:
            assert news.done or not news.view.status.done, "the final view comes last"
            self.statuses.append(news.view.status)
        self.cursor, self.done = news.cursor, news.done
        return bool(news.chunks or news.view or news.done)

    def read_all(self) -> None:
        """Take what there is."""
        while self.read() and not self.done:
            pass


class _Following:
    def test_a_follower_sees_states_and_output_as_they_come(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        reader = Reader(judicator, task.id)
        reader.read_all()
        assert reader.statuses == [Status.PENDING]
        (given,) = machine.take()
        waiting = Call(lambda: reader.read(LONG))
        assert waiting.answer()
        waiting = Call(lambda: reader.read(LONG))
        clock.wait_for_wait(LONG)
        machine.report(poll=False, output=(self._chunk(given, 0, b"one "),))
        assert waiting.answer()
        assert reader.streams == {(0, "stdout"): b"one "}
        waiting = Call(lambda: reader.read(LONG))
        clock.wait_for_wait(LONG)
        held = Held(task=task.id, number=given.number, session=given.session, phase=Phase.COMPILING)
        machine.report(poll=False, progress=(held,))
        assert waiting.answer()
        assert reader.statuses == [Status.PENDING, Status.RUNNING, Status.COMPILING]
        machine.finish(given, end=a_result(b"one two"))
        reader.read_all()
        assert reader.done
        assert reader.streams == {(0, "stdout"): b"one two"}
        assert reader.statuses[-1] is Status.SUCCESS

    def test_a_follower_who_comes_late_gets_everything(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        machine.finish(machine.take()[0], end=a_result(b"all of it"))
        reader = Reader(judicator, task.id)
        reader.read_all()
        assert reader.done
        assert reader.streams == {(0, "stdout"): b"all of it"}
        assert reader.statuses == [Status.SUCCESS]

    def test_output_beyond_one_answer_comes_whole_before_the_end(
        self, judicator: Judicator
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        whole = bytes(range(256)) * 4096
        digest = self._upload(judicator, whole)
        step = StepResult(exit_code=0, stdout=Content(digest=digest, size=len(whole)))
        machine.finish(machine.take()[0], end=Result(verdict=Verdict.OK, execute=step))
        reader = Reader(judicator, task.id)
        reader.read_all()
        assert reader.done
        assert reader.streams == {(0, "stdout"): whole}
        assert reader.statuses == [Status.SUCCESS]

    def test_a_repeated_or_overlapping_piece_is_read_once(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        (given,) = machine.take()
        for offset, data in ((0, b"abc"), (0, b"abc"), (2, b"cdef")):
            machine.report(poll=False, output=(self._chunk(given, offset, data),))
        reader = Reader(judicator, task.id)
        reader.read_all()
        assert reader.streams == {(0, "stdout"): b"abcdef"}

    def test_a_cursor_outlives_its_reader(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        (given,) = machine.take()
        machine.report(poll=False, output=(self._chunk(given, 0, b"first"),))
        reader = Reader(judicator, task.id)
        reader.read_all()
        machine.finish(given, end=a_result(b"first second"))
        resumed = judicator.follow(task.id, reader.cursor, 0.0)
        assert [(c.offset, c.data) for c in resumed.chunks] == [(5, b" second")]

    def test_a_cursor_that_was_not_given_out_is_refused(self, judicator: Judicator) -> None:
        (task,) = judicator.add([a_new()])
        with pytest.raises(Invalid):
            judicator.follow(task.id, "nonsense", 0.0)

    def test_a_cancelled_task_ends_its_followers_with_what_was_put_out(
        self, judicator: Judicator
    ) -> None:
        machine = Machine(judicator)
        machine.hello()
        (task,) = judicator.add([a_new()])
        (given,) = machine.take()
        machine.report(poll=False, output=(self._chunk(given, 0, b"so far"),))
        judicator.cancel(task.id)
        machine.finish(given, killed=True)
        reader = Reader(judicator, task.id)
        reader.read_all()
        assert reader.done
        assert reader.streams == {(0, "stdout"): b"so far"}
        assert reader.statuses == [Status.CANCELLED]

    def _chunk(self, given: Assignment, offset: int, data: bytes) -> Chunk:
        return Chunk(
            task=given.task.id, number=given.number, stream="stdout", offset=offset, data=data
        )

    def _upload(self, judicator: Judicator, data: bytes) -> Digest:
        for offset in range(0, len(data), MIB):
            judicator.write_blob("an upload", offset, data[offset : offset + MIB])
        return judicator.commit_blob("an upload")[0]


class _Blobs:
    def test_an_upload_in_pieces_becomes_a_blob(self, judicator: Judicator) -> None:
        judicator.write_blob("u", 0, b"one ")
        judicator.write_blob("u", 4, b"two")
        judicator.write_blob("u", 4, b"two")  # the answer was lost: the last piece is repeated
        digest, size = judicator.commit_blob("u")
        assert (digest, size) == (hashlib.sha256(b"one two").hexdigest(), 7)
        assert judicator.commit_blob("u") == (digest, size)
        assert judicator.blob_size(digest) == 7
        assert judicator.read_blob(digest, 4, 100) == b"two"
        assert judicator.read_blob(digest, 7, 100) == b""

    def test_an_empty_upload_is_a_blob_too(self, judicator: Judicator) -> None:
        judicator.write_blob("u", 0, b"")
        assert judicator.commit_blob("u")[1] == 0

    def test_a_piece_that_does_not_fit_is_refused(self, judicator: Judicator) -> None:
        with pytest.raises(Invalid):
            judicator.write_blob("u", 5, b"gap")
        judicator.write_blob("u", 0, b"abc")
        with pytest.raises(Invalid):
            judicator.write_blob("u", 1, b"overlap")
        with pytest.raises(Invalid):
            judicator.write_blob("u", 0, b"abd")
        with pytest.raises(TooLarge):
            judicator.write_blob("u", 3, bytes(MIB + 1))
        assert judicator.commit_blob("u")[1] == 3

    def test_what_is_not_there_is_not_found(self, judicator: Judicator) -> None:
        missing = Digest("0" * 64)
        with pytest.raises(NotFound):
            judicator.commit_blob("never begun")
        with pytest.raises(NotFound):
            judicator.read_blob(missing, 0, 1)
        assert judicator.blob_size(missing) is None
        with pytest.raises(Invalid):
            judicator.read_blob(Digest("../etc/passwd"), 0, 1)


class _Tokens:
    def test_a_token_is_known_by_its_hash_while_it_lives(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        hash_ = hashlib.sha256(b"secret").hexdigest()
        token = Token(
            id=TokenId("t1"),
            user=UserName("alice"),
            role=Role.SUBMITTER,
            hash=hash_,
            created=clock.now(),
            expires=clock.now() + 10,
        )
        judicator.put_token(token)
        assert judicator.tokens() == [token]
        assert judicator.authenticate(hash_) == token
        assert judicator.authenticate("0" * 64) is None
        clock.advance(10)
        assert judicator.authenticate(hash_) is None

    def test_a_revoked_token_is_refused(self, judicator: Judicator, clock: FakeClock) -> None:
        token = Token(
            id=TokenId("t1"),
            user=UserName("alice"),
            role=Role.ADMIN,
            hash=hashlib.sha256(b"secret").hexdigest(),
            created=clock.now(),
        )
        judicator.put_token(token)
        judicator.put_token(msgspec.structs.replace(token, revoked=clock.now()))
        assert judicator.authenticate(token.hash) is None


class _Certifying:
    def _done(self, judicator: Judicator, end: Result | Failure) -> TaskId:
        machine = Machine(judicator, owner="lab")
        machine.hello()
        judicator.add([a_new(name="sum")])
        (given,) = machine.take()
        machine.finish(given, end=end)
        return given.task.id

    def test_a_result_is_certified_by_the_key_of_the_cluster(
        self, judicator: Judicator, clock: FakeClock, verify: Verify
    ) -> None:
        id_ = self._done(judicator, a_result(b"42\n"))
        clock.advance(5)
        key = judicator.public_key()
        statement = check(judicator.certificate(id_), key, verify)
        task = judicator.get(id_).task
        assert statement == statement_of(task, key, clock.now())
        assert (statement.task, statement.name, statement.agreed) == (id_, "sum", 1)
        assert [(run.executor, run.owner) for run in statement.runs] == [("e1", "lab")]
        assert statement.stdout == Piece(digest=content(b"42\n").digest, size=3)

    def test_the_key_stays_the_same(self, judicator: Judicator) -> None:
        assert len(judicator.public_key()) == 32
        assert judicator.public_key() == judicator.public_key()

    def test_a_program_that_failed_has_a_result_to_certify(
        self, judicator: Judicator, verify: Verify
    ) -> None:
        end = a_result(verdict=Verdict.RUNTIME_ERROR, execute=StepResult(exit_code=3))
        data = judicator.certificate(self._done(judicator, end))
        assert check(data, judicator.public_key(), verify).verdict is Verdict.RUNTIME_ERROR

    def test_what_has_no_result_is_not_certified(self, judicator: Judicator) -> None:
        with pytest.raises(NotFound):
            judicator.certificate(NOBODY)
        with pytest.raises(NotFound):
            judicator.certificate(TaskId("../etc/passwd"))
        (task,) = judicator.add([a_new()])
        with pytest.raises(NotDone, match="pending"):
            judicator.certificate(task.id)
        judicator.cancel(task.id)
        with pytest.raises(NoResult, match="cancelled"):
            judicator.certificate(task.id)
        bad = Failure(error_class=ErrorClass.BAD_INPUT, message="no zip")
        with pytest.raises(NoResult, match="failed"):
            judicator.certificate(self._done(judicator, bad))


class JudicatorSuite(
    BatchSuite,
    RedundancySuite,
    _Adding,
    _Listing,
    _Working,
    _Holding,
    _Cancelling,
    _Repeating,
    _Fencing,
    _Steering,
    _Trusting,
    _Waiting,
    _Following,
    _Blobs,
    _Tokens,
    _Certifying,
):
    """All of it. See the module's docstring."""
