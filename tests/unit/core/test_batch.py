"""What is due about a batch, and what its user sees."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.core.batch import (
    ALWAYS,
    Batch,
    BatchSource,
    BatchStatus,
    Counters,
    Step,
    marks_of,
    next_step,
    status_of_batch,
)
from accord.core.errors import Invalid
from accord.core.ids import MOST_ATTEMPTS, MOST_MEMBERS, BatchId, TaskId, UserName, member, place
from accord.core.parameters import (
    Axis,
    Range,
    Rows,
    Values,
    at,
    check_axes,
    fill,
    filler,
    grid_size,
)
from accord.core.replica import content
from accord.core.status import Status
from accord.core.task import Source
from accord.testing.judicator_parts import a_new, a_step

BATCH = BatchId("01ARZ3NDEKTSV4RRFFQ69G5FAV")


def a_batch(**changes):
    fields: dict[str, Any] = {
        "id": BATCH,
        "user": UserName("alice"),
        "source": BatchSource.LIST,
        "created": 1.0,
        "closed": 1.0,
        "total": 3,
        "taken": 3,
    }
    return Batch(**fields | changes)


def counters(**counts):
    return Counters(counts={Status(k): n for k, n in counts.items()})


FINISH = a_new()

STEPS = [
    (a_batch(), counters(pending=1, success=2), False, Step.NOTHING, BatchStatus.RUNNING),
    (a_batch(), counters(success=3), False, Step.CONCLUDE, BatchStatus.RUNNING),
    (a_batch(), counters(), False, Step.CONCLUDE, BatchStatus.RUNNING),
    (a_batch(closed=None), counters(success=3), False, Step.NOTHING, BatchStatus.RECEIVING),
    (a_batch(finish=FINISH), counters(success=3), False, Step.FINISH, BatchStatus.FINISHING),
    (
        a_batch(finish=FINISH, finish_task=TaskId("t")),
        counters(success=3),
        False,
        Step.NOTHING,
        BatchStatus.FINISHING,
    ),
    (
        a_batch(finish=FINISH, finish_task=TaskId("t")),
        counters(success=3),
        True,
        Step.CONCLUDE,
        BatchStatus.FINISHING,
    ),
    (a_batch(done=2.0), counters(success=3), False, Step.NOTHING, BatchStatus.DONE),
    (
        a_batch(total=9, cushion=4),
        counters(pending=2, running=1),
        False,
        Step.GENERATE,
        BatchStatus.RUNNING,
    ),
    (
        a_batch(total=9, cushion=4),
        counters(pending=2, retrying=1),
        False,
        Step.NOTHING,
        BatchStatus.RUNNING,
    ),
    (a_batch(total=9), counters(success=3), False, Step.GENERATE, BatchStatus.RUNNING),
    (
        a_batch(cancel_requested_at=2.0, total=9),
        counters(cancelling=1),
        False,
        Step.CANCEL,
        BatchStatus.CANCELLING,
    ),
    (
        a_batch(cancel_requested_at=2.0, total=9),
        counters(cancelled=3),
        False,
        Step.CONCLUDE,
        BatchStatus.CANCELLING,
    ),
    (
        a_batch(cancel_requested_at=2.0, finish=FINISH, finish_task=TaskId("t")),
        counters(success=3),
        False,
        Step.CANCEL,
        BatchStatus.CANCELLING,
    ),
    (
        a_batch(cancel_requested_at=2.0, done=3.0),
        counters(cancelled=3),
        False,
        Step.NOTHING,
        BatchStatus.CANCELLED,
    ),
    (a_batch(retry_before=2.0), counters(failed=3), False, Step.RETRY, BatchStatus.RUNNING),
    (a_batch(done=2.0, purging=True), counters(), False, Step.PURGE, BatchStatus.DONE),
]


@pytest.mark.parametrize(("batch", "counts", "finished", "step", "status"), STEPS)
def test_what_is_due_and_what_is_shown(batch, counts, finished, step, status):
    assert next_step(batch, counts, finished=finished) is step
    assert status_of_batch(batch, counts) is status


@pytest.mark.parametrize(("batch", "counts", "finished", "step", "status"), STEPS)
def test_whatever_is_due_is_found(batch, counts, finished, step, status):
    marks = marks_of(batch)
    found = counts.open <= marks.open or counts.waiting <= marks.waiting
    assert found or step is Step.NOTHING


def test_what_waits_for_tasks_alone_is_not_looked_at_meanwhile():
    assert marks_of(a_batch()).open == 0
    assert marks_of(a_batch(closed=None)).open < 0
    assert marks_of(a_batch(done=2.0)).open < 0
    assert marks_of(a_batch(cancel_requested_at=2.0)).open == ALWAYS


@given(st.integers(0, MOST_MEMBERS - 1), st.integers(0, MOST_ATTEMPTS - 1))
def test_a_place_is_read_back_from_its_id(index, attempt):
    id_ = member(BATCH, index, attempt)
    assert place(id_) == (index, attempt)
    assert len(id_) == 26
    assert id_[:19] == BATCH[:19]


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 9)), min_size=2))
def test_ids_sort_by_place_then_attempt(places):
    assert [place(i) for i in sorted(member(BATCH, *p) for p in places)] == sorted(places)


axes = st.lists(
    st.one_of(
        st.builds(
            lambda start, size, step: (start, start + size * step, step),
            st.integers(-5, 5),
            st.integers(1, 4),
            st.sampled_from([1, 2, -3, 0.25]),
        ),
        st.lists(st.sampled_from(["a", "b", 1.5, True]), min_size=1, max_size=3),
    ),
    max_size=3,
)


@given(axes)
def test_a_grid_is_the_product_of_its_axes_last_one_fastest(described):
    made: list[Axis] = []
    expected: list[dict[str, Any]] = [{}]
    for number, axis in enumerate(described):
        name = f"p{number}"
        if isinstance(axis, tuple):
            start, stop, step = axis
            made.append(Range(name=name, start=start, stop=stop, step=step))
            values = [start + i * step for i in range(round((stop - start) / step))]
        else:
            made.append(Values(name=name, values=tuple(axis)))
            values = axis
        expected = [{**row, name: value} for row in expected for value in values]
    check_axes(made)
    assert grid_size(made) == len(expected)
    assert [at(made, n) for n in range(len(expected))] == expected


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{n}", "5"),
        ("{n}{n}", "55"),
        ("${n}", "${n}"),
        ("{{n}}", "{n}"),
        ("{m} {} { n }", "{m} {} { n }"),
        ('{"n": {n}}', '{"n": 5}'),
        ("{c}", "{n}"),
    ],
)
def test_a_placeholder_is_filled_once(text, filled):
    assert filler({"n": 5, "c": "{n}"})(text) == filled


def test_every_place_that_may_hold_a_placeholder_is_filled():
    step = a_step(command=("{n}", "x"), args=("{n}",), env={"K": "{n}"}, stdin=content(b"{n}\xff"))
    template = a_new(
        name="{n}",
        labels={"l": "{n}"},
        execute=step,
        compile=a_step(command="make {n}"),
        source=Source(files={"{n}.txt": content(b"{n}")}),
        outputs=("{n}/*",),
    )
    made = fill(template, {"n": "v"})
    spec = made.spec
    assert (made.name, made.labels, spec.outputs) == ("v", {"l": "v"}, ("v/*",))
    assert spec.execute.command == ("v", "x")
    assert (spec.execute.args, spec.execute.env) == (("v",), {"K": "v"})
    assert spec.execute.stdin == content(b"v\xff")
    assert spec.compile
    assert spec.compile.command == "make v"
    assert spec.source
    assert spec.source.files == {"v.txt": content(b"{n}")}


def test_two_files_that_come_to_have_one_name_are_refused():
    template = a_new(source=Source(files={"{n}": content(b"a"), "x": content(b"b")}))
    with pytest.raises(Invalid):
        fill(template, {"n": "x"})


def test_a_table_comes_first():
    rows = Rows(names=("a",), rows=content(b'["1"]\n'), size=1)
    check_axes([rows, Values(name="b", values=(1,))])
    with pytest.raises(Invalid):
        check_axes([Values(name="b", values=(1,)), rows])


def test_counters_add_up():
    found = Counters().changed({Status.PENDING: 3}, 0, 5.0)
    found = found.changed({Status.PENDING: -2, Status.SUCCESS: 2}, 2, 15.0)
    found = found.changed({Status.PENDING: -1, Status.FAILED: 1}, 1, 25.0)
    assert found.counts == {Status.SUCCESS: 2, Status.FAILED: 1}
    assert (found.open, found.waiting, found.done) == (0, 0, 3)
    assert found.ended == {1: 2, 2: 1}
    assert found.rate(30.0) == 3 / 20
    assert found.rate(1000.0) == 0.0
    later = found.changed({}, 1, 10_000.0)
    assert later.ended == {1000: 1}


def test_values_fill_in_no_more_than_a_task_may_hold() -> None:
    few_bytes = a_new(execute=a_step(args=("{x}" * 200,)))
    assert fill(few_bytes, {"x": "y" * 600}).spec.execute.args == ("y" * 120_000,)
    with pytest.raises(Invalid, match="128 KiB"):
        fill(few_bytes, {"x": "y" * 1000})


def test_a_template_has_a_bounded_number_of_parameters() -> None:
    names = tuple(f"p{n}" for n in range(64))
    check_axes([Rows(names=names, rows=content(b""), size=1)])
    with pytest.raises(Invalid, match="65 parameters"):
        check_axes([Rows(names=(*names, "more"), rows=content(b""), size=1)])
