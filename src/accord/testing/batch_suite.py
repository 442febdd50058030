"""What every implementation of ``ports.judicator`` must do about batches; part of ``JudicatorSuite``."""

from __future__ import annotations

import io
import json
import zipfile
from functools import partial
from typing import Any

import pytest

from accord.core.batch import BatchQuery, BatchSource, BatchStatus, NewBatch
from accord.core.errors import AlreadyDone, Invalid, KeyReused, NotDone, NotFound
from accord.core.ids import BatchId, UserName, place
from accord.core.parameters import Range, Rows, Values
from accord.core.replica import Result, StepResult, Verdict, content
from accord.core.search import Query
from accord.core.status import Status
from accord.core.task import Assimilation, Redundancy, Spec
from accord.ports.judicator import Assignment, Judicator
from accord.testing.judicator_parts import NOBODY, Call, Machine, a_new, a_result, a_step

NO_BATCH = BatchId(NOBODY)
HELD = 7.5
"""Seconds for which polls and readers are held in these tests; the fake clock does not pass them."""


_CONTRADICTION = Redundancy(min_quorum=3, target_replicas=2)


def a_batch(source: BatchSource = BatchSource.LIST, **changes: Any) -> NewBatch:
    """A batch to create."""
    return NewBatch(**{"user": UserName("alice"), "source": source, **changes})


def a_sweep(count: int = 3, **changes: Any) -> NewBatch:
    """A template that is filled with the numbers from 0."""
    fields: dict[str, Any] = {
        "template": a_new(name="n={n}", execute=a_step(command=("/bin/echo", "{n}"))),
        "axes": (Range(name="n", start=0, stop=count),),
    }
    return a_batch(BatchSource.TEMPLATE, **fields | changes)


def taken(machine: Machine, count: int) -> list[Assignment]:
    """So many assignments, waited for."""
    found: list[Assignment] = []
    while left := count - len(found):
        found += Call(partial(machine.poll, left, HELD)).answer().assign
    return found


def until_done(judicator: Judicator, id_: BatchId) -> Any:
    """The batch once it is done."""
    view = Call(lambda: judicator.batch(id_, HELD)).answer()
    assert view.status.done
    return view


def lines(judicator: Judicator, id_: BatchId, limit: int = 100) -> list[dict[str, Any]]:
    """All lines of its results."""
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        piece = judicator.results(id_, cursor, limit)
        found += map(json.loads, piece.lines)
        cursor = piece.next
    return found


def full(judicator: Judicator, count: int = 3, **changes: Any) -> BatchId:
    """A closed batch of so many tasks."""
    batch = judicator.create_batch(a_batch(**changes))
    judicator.extend_batch(batch.id, 0, [a_new(name=str(n)) for n in range(count)], True)
    return batch.id


class BatchSuite:
    """See the module's docstring."""

    # -- creating and extending ----------------------------------------------------------

    def test_tasks_of_a_list_are_added_closed_and_counted(self, judicator: Judicator) -> None:
        batch = judicator.create_batch(a_batch(name="mine", labels={"a": "b"}))
        assert judicator.batch(batch.id).status is BatchStatus.RECEIVING
        batch = judicator.extend_batch(batch.id, 0, [a_new(name="x"), a_new(name="y")], False)
        assert (batch.total, batch.closed) == (2, None)
        batch = judicator.extend_batch(batch.id, 2, [a_new(name="z")], True)
        assert batch.total == 3
        assert batch.closed is not None
        view = judicator.batch(batch.id)
        assert view.batch == batch
        assert view.counters.counts == {Status.PENDING: 3}
        assert view.status is BatchStatus.RUNNING
        assert "0 of 3" in view.why

    def test_its_tasks_are_listed_by_their_places(self, judicator: Judicator) -> None:
        id_ = full(judicator, 5)
        page = judicator.search(Query(batch=id_, oldest_first=True, limit=3))
        assert [item.name for item in page.items] == ["0", "1", "2"]
        assert (page.total, page.items[0].batch) == (5, id_)
        rest = judicator.search(Query(batch=id_, oldest_first=True, cursor=page.next))
        assert [place(item.id) for item in rest.items] == [(3, 0), (4, 0)]

    def test_a_repeated_addition_adds_nothing(self, judicator: Judicator) -> None:
        batch = judicator.create_batch(a_batch())
        tasks = [a_new(name=str(n)) for n in range(4)]
        judicator.extend_batch(batch.id, 0, tasks[:3], False)
        assert judicator.extend_batch(batch.id, 0, tasks, True).total == 4
        assert judicator.extend_batch(batch.id, 2, tasks[2:], True).total == 4
        assert judicator.batch(batch.id).counters.counts == {Status.PENDING: 4}

    def test_other_tasks_in_places_that_are_taken_are_refused(self, judicator: Judicator) -> None:
        id_ = full(judicator, 2)
        with pytest.raises(KeyReused):
            judicator.extend_batch(id_, 0, [a_new(name="other")], True)

    def test_a_gap_is_refused(self, judicator: Judicator) -> None:
        batch = judicator.create_batch(a_batch())
        with pytest.raises(Invalid, match="place 0"):
            judicator.extend_batch(batch.id, 1, [a_new()], True)

    def test_the_end_is_wherever_it_is(self, judicator: Judicator) -> None:
        batch = judicator.create_batch(a_batch(stays_open=True))
        for name in ("x", "y"):
            judicator.extend_batch(batch.id, -1, [a_new(name=name)], False)
        assert judicator.extend_batch(batch.id, -1, [], True).total == 2
        assert judicator.extend_batch(batch.id, -1, [], True).closed is not None

    def test_a_closed_batch_takes_no_more(self, judicator: Judicator) -> None:
        id_ = full(judicator)
        with pytest.raises(AlreadyDone, match="closed"):
            judicator.extend_batch(id_, -1, [a_new()], False)

    def test_all_tasks_of_a_call_are_added_or_none(self, judicator: Judicator) -> None:
        batch = judicator.create_batch(a_batch())
        with pytest.raises(Invalid) as refused:
            judicator.extend_batch(batch.id, 0, [a_new(), a_new(priority=500)], True)
        assert refused.value.fields["index"] == 1
        with pytest.raises(Invalid):
            judicator.extend_batch(batch.id, 0, [a_new()] * 101, True)
        with pytest.raises(Invalid, match="key"):
            judicator.extend_batch(batch.id, 0, [a_new(key="k")], True)
        with pytest.raises(Invalid, match="owner"):
            judicator.extend_batch(batch.id, 0, [a_new(user=UserName("bob"))], True)
        assert judicator.batch(batch.id).batch.total == 0

    def test_the_same_key_with_the_same_content_gives_the_same_batch(
        self, judicator: Judicator
    ) -> None:
        new = a_batch(key="k", fingerprint="f")
        first = judicator.create_batch(new)
        assert judicator.create_batch(new) == first
        with pytest.raises(KeyReused):
            judicator.create_batch(a_batch(key="k", fingerprint="other"))
        assert judicator.create_batch(a_batch(key="k", user=UserName("bob"))).id != first.id

    @pytest.mark.parametrize(
        ("new", "field"),
        [
            (a_batch(name="a\nb"), "name"),
            (a_batch(labels={"": "x"}), "labels"),
            (a_batch(key=""), "key"),
            (a_batch(BatchSource.TEMPLATE), "template"),
            (a_sweep(cushion=0), "cushion"),
            (a_sweep(0), "parameters.n"),
            (a_sweep(axes=(Range(name="n", start=0, stop=1, step=0),)), "parameters.n"),
            (a_sweep(axes=(Values(name="n", values=()),)), "parameters.n"),
            (a_sweep(axes=(Values(name="1", values=(1,)),)), "parameters"),
            (a_sweep(axes=(Values(name="n", values=(1,)),) * 2), "parameters"),
            (a_sweep(200_000_000), "parameters"),
            (a_sweep(template=a_new(priority=500)), "priority"),
            (a_batch(finish=a_new(data=content(b""))), "finish.data"),
            (a_batch(finish=a_new(outputs=("../*",))), "outputs"),
            (a_sweep(template=a_new(redundancy=_CONTRADICTION)), "redundancy.min_quorum"),
            (a_batch(finish=a_new(redundancy=_CONTRADICTION)), "redundancy.min_quorum"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_a_batch_that_is_not_valid_is_refused_with_the_field(
        self, judicator: Judicator, new: NewBatch, field: str
    ) -> None:
        with pytest.raises(Invalid) as refused:
            judicator.create_batch(new)
        assert refused.value.fields["field"] == field
        assert judicator.batches(BatchQuery()).items == ()

    def test_an_assimilator_that_is_not_there_is_refused(self, judicator: Judicator) -> None:
        with pytest.raises(Invalid, match="There are: keep"):
            judicator.add([a_new(assimilate=Assimilation(handler="nobody"))])

    # -- templates -----------------------------------------------------------------------

    def test_a_template_makes_a_task_of_each_combination(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        axes = (Range(name="n", start=0, stop=2), Values(name="c", values=("a b", 0.5)))
        template = a_new(
            name="{n}{c}", execute=a_step(command="echo {n} ${n}", args=("{c}",), env={"X": "{n}"})
        )
        batch = judicator.create_batch(a_sweep(template=template, axes=axes))
        assert (batch.total, batch.closed is None) == (4, False)
        given = sorted(taken(machine, 4), key=lambda a: a.task.id)
        assert [g.task.parameters for g in given] == [
            {"n": 0, "c": "a b"},
            {"n": 0, "c": 0.5},
            {"n": 1, "c": "a b"},
            {"n": 1, "c": 0.5},
        ]
        step = given[3].task.spec.execute
        assert (step.command, step.args, step.env) == ("echo 1 ${n}", ("0.5",), {"X": "1"})
        machine.finish(*given)
        assert until_done(judicator, batch.id).counters.counts == {Status.SUCCESS: 4}

    def test_the_rows_of_a_table_vary_together(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        rows = Rows(names=("n", "m"), rows=content(b'["1","x"]\n["2","y"]\n'), size=2)
        batch = judicator.create_batch(a_sweep(axes=(rows, Range(name="k", start=0, stop=2))))
        given = sorted(taken(machine, 4), key=lambda a: a.task.id)
        assert [tuple(g.task.parameters.values()) for g in given] == [
            ("1", "x", 0),
            ("1", "x", 1),
            ("2", "y", 0),
            ("2", "y", 1),
        ]
        assert batch.total == 4

    def test_a_combination_that_gives_no_valid_task_fails_alone(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        template = a_new(outputs=("{p}",))
        axes = (Values(name="p", values=("fine", "../bad")),)
        batch = judicator.create_batch(a_sweep(template=template, axes=axes))
        machine.finish(*taken(machine, 1))
        view = until_done(judicator, batch.id)
        assert view.counters.counts == {Status.SUCCESS: 1, Status.FAILED: 1}
        (bad,) = judicator.search(Query(batch=batch.id, status=(Status.FAILED,))).items
        assert "outputs" in judicator.explain(bad.id)

    # -- the end -------------------------------------------------------------------------

    def test_a_batch_is_done_when_all_of_its_tasks_are(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        id_ = full(judicator, 2)
        waiting = Call(lambda: judicator.batch(id_, HELD))
        machine.finish(*taken(machine, 2))
        view = waiting.answer()
        assert view.status is BatchStatus.DONE
        assert view.batch.done is not None
        assert view.counters.counts == {Status.SUCCESS: 2}

    def test_an_open_batch_is_not_done(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        batch = judicator.create_batch(a_batch(stays_open=True))
        judicator.extend_batch(batch.id, 0, [a_new()], False)
        machine.finish(*taken(machine, 1))
        assert judicator.batch(batch.id).status is BatchStatus.RECEIVING
        judicator.extend_batch(batch.id, -1, [], True)
        assert until_done(judicator, batch.id).status is BatchStatus.DONE

    def test_the_finishing_task_gets_the_results_as_its_data(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        finish = a_new(name="sum up")
        batch = judicator.create_batch(a_sweep(2, finish=finish))
        given = sorted(taken(machine, 2), key=lambda a: a.task.id)
        kept = {"out/a.txt": content(b"kept")}
        machine.finish(given[0], end=a_result(b"zero\n", kept=kept))
        machine.finish(given[1], end=a_result(b"", verdict=Verdict.RUNTIME_ERROR))
        (last,) = taken(machine, 1)
        assert last.task.name == "sum up"
        assert last.task.finishes == batch.id
        assert judicator.batch(batch.id).status is BatchStatus.FINISHING
        archive = _data(judicator, last.task.spec)
        found = [json.loads(line) for line in archive.read("results.jsonl").splitlines()]
        assert [(line["index"], line["parameters"], line["status"]) for line in found] == [
            (0, {"n": 0}, "success"),
            (1, {"n": 1}, "run_failed"),
        ]
        assert found[0]["stdout"] == "zero\n"
        where = found[0]["files"]["out/a.txt"]["path"]
        assert (where, archive.read(where)) == ("files/0/out/a.txt", b"kept")
        machine.finish(last)
        view = until_done(judicator, batch.id)
        assert (view.batch.finish_task, view.finish_status) == (last.task.id, Status.SUCCESS)
        assert view.counters.counts == {Status.SUCCESS: 1, Status.RUN_FAILED: 1}
        (listed,) = judicator.batches(BatchQuery()).items
        assert (listed.finish_status, listed.why) == (view.finish_status, view.why)

    def test_the_results_of_all_are_read_in_order(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        id_ = full(judicator, 5)
        first = min(taken(machine, 5), key=lambda a: a.task.id)
        machine.finish(first, end=a_result(b"first"))
        found = lines(judicator, id_, limit=2)
        assert [(line["index"], line["name"]) for line in found] == [(n, str(n)) for n in range(5)]
        assert (found[0]["stdout"], found[0]["exit_code"]) == ("first", 0)
        assert found[1]["status"] == "running"
        with pytest.raises(Invalid):
            judicator.results(id_, "nonsense", 2)

    def test_the_slowest_are_listed_first(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        id_ = full(judicator, 3)
        for seconds, given in zip((2.0, 9.0, 4.0), taken(machine, 3), strict=True):
            machine.finish(given, end=_lasting(seconds))
        page = judicator.search(Query(batch=id_, slowest_first=True, limit=2))
        assert [item.wall_time for item in page.items] == [9.0, 4.0]
        with pytest.raises(Invalid):
            judicator.search(Query(slowest_first=True))

    # -- cancel, retry, purge ------------------------------------------------------------

    def test_cancelling_ends_all_of_its_tasks(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        batch = judicator.create_batch(a_sweep(4, cushion=2))
        (running,) = taken(machine, 1)
        view = judicator.cancel_batch(batch.id)
        assert view.status is BatchStatus.CANCELLING
        orders = Call(lambda: machine.poll(wait=HELD)).answer()
        assert orders.cancel == ((running.task.id, 0),)
        machine.finish(running, killed=True)
        view = until_done(judicator, batch.id)
        assert view.status is BatchStatus.CANCELLED
        assert set(view.counters.counts) == {Status.CANCELLED}
        assert judicator.cancel_batch(batch.id).status is BatchStatus.CANCELLED

    def test_a_done_batch_cannot_be_cancelled(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        id_ = full(judicator, 1)
        machine.finish(*taken(machine, 1))
        until_done(judicator, id_)
        with pytest.raises(AlreadyDone):
            judicator.cancel_batch(id_)

    def test_what_failed_is_retried_in_its_place(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        batch = judicator.create_batch(a_sweep(3, finish=a_new()))
        given = sorted(taken(machine, 3), key=lambda a: a.task.id)
        machine.finish(given[0], given[2])
        machine.finish(given[1], end=a_result(verdict=Verdict.RUNTIME_ERROR))
        machine.finish(*taken(machine, 1))
        until_done(judicator, batch.id)
        view = judicator.retry_batch(batch.id)
        assert view.status is BatchStatus.RUNNING
        (again,) = taken(machine, 1)
        assert (again.task.retry_of, again.task.parameters) == (given[1].task.id, {"n": 1})
        assert place(again.task.id) == (1, 1)
        machine.finish(again)
        (last,) = taken(machine, 1)
        assert last.task.finishes == batch.id
        machine.finish(last)
        view = until_done(judicator, batch.id)
        assert view.counters.counts == {Status.SUCCESS: 3}
        assert [line["status"] for line in lines(judicator, batch.id)] == ["success"] * 3
        assert judicator.get(given[1].task.id).task.retried_by == again.task.id

    def test_a_retry_of_a_batch_without_failures_changes_nothing(
        self, judicator: Judicator
    ) -> None:
        id_ = full(judicator, 1)
        before = judicator.batch(id_).batch
        assert judicator.retry_batch(id_).batch == before

    def test_a_cancelled_sweep_goes_on_by_a_retry(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        batch = judicator.create_batch(a_sweep(6, cushion=2))
        judicator.cancel_batch(batch.id)
        until_done(judicator, batch.id)
        judicator.retry_batch(batch.id)
        machine.finish(*taken(machine, 6))
        assert until_done(judicator, batch.id).counters.counts == {Status.SUCCESS: 6}

    def test_a_done_batch_is_purged_with_its_tasks(self, judicator: Judicator) -> None:
        machine = Machine(judicator)
        machine.hello()
        id_ = full(judicator, 2)
        with pytest.raises(NotDone):
            judicator.purge_batch(id_)
        machine.finish(*taken(machine, 2))
        until_done(judicator, id_)
        judicator.purge_batch(id_)
        with pytest.raises(NotFound):
            judicator.batch(id_)
        assert judicator.batches(BatchQuery()).items == ()

    # -- lists ---------------------------------------------------------------------------

    def test_batches_are_listed_newest_first_page_by_page(self, judicator: Judicator) -> None:
        made = [judicator.create_batch(a_batch(name=f"b{n}")).id for n in range(3)]
        page = judicator.batches(BatchQuery(limit=2))
        assert [view.batch.id for view in page.items] == made[:0:-1]
        rest = judicator.batches(BatchQuery(limit=2, cursor=page.next))
        assert ([view.batch.id for view in rest.items], rest.next) == (made[:1], None)
        found = judicator.batches(BatchQuery(text="B1"))
        assert [view.batch.name for view in found.items] == ["b1"]
        for query in (BatchQuery(limit=0), BatchQuery(cursor="x")):
            with pytest.raises(Invalid):
                judicator.batches(query)

    def test_no_batch_by_that_id(self, judicator: Judicator) -> None:
        for call in (
            lambda: judicator.batch(NO_BATCH),
            lambda: judicator.batch(NO_BATCH, HELD),
            lambda: judicator.extend_batch(NO_BATCH, 0, [a_new()], True),
            lambda: judicator.cancel_batch(NO_BATCH),
            lambda: judicator.retry_batch(NO_BATCH),
            lambda: judicator.purge_batch(NO_BATCH),
            lambda: judicator.results(NO_BATCH, "", 10),
        ):
            with pytest.raises(NotFound):
                call()


def _lasting(seconds: float) -> Result:
    return Result(verdict=Verdict.OK, execute=StepResult(exit_code=0, wall_time=seconds))


def _data(judicator: Judicator, spec: Spec) -> zipfile.ZipFile:
    found = spec.data
    assert found is not None
    data = b""
    while piece := judicator.read_blob(found.digest, len(data), 1 << 20):
        data += piece
    assert len(data) == found.size
    return zipfile.ZipFile(io.BytesIO(data))
