"""The generator and what else is done about batches, step by step."""

from __future__ import annotations

import io
import json
import random  # noqa: TID251 - seeded by number
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from accord.adapters.assimilators import Append
from accord.adapters.memory.batches import Folding
from accord.adapters.memory.store import MemoryStore
from accord.core.batch import SILENCE, Batch, BatchQuery, BatchStatus
from accord.core.errors import Invalid, Unavailable
from accord.core.ids import UserName, member, place
from accord.core.parameters import Range, Rows
from accord.core.replica import Verdict, content
from accord.core.search import Query
from accord.core.status import Status
from accord.core.task import Assimilation, Stage, Task
from accord.ports.assimilator import Ending
from accord.services.finishing import Archive
from accord.testing.batch_suite import a_batch, a_sweep
from accord.testing.judicator_parts import Machine, a_new, a_result, a_step
from tests.unit.services.judicator_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def counts(world: World, batch: Batch) -> dict[Status, int]:
    return dict(world.judicator.batch(batch.id).counters.counts)


def work_off(world: World, machine: Machine, **end: Any) -> list[Task]:
    """Run all that there is to run; what was run."""
    found = []
    world.work()
    while given := machine.poll(vacant=50).assign:
        machine.finish(*given, **end)
        found += [g.task for g in given]
        world.work()
    return found


# -- the generator -----------------------------------------------------------------------


def test_no_more_than_the_cushion_waits_in_the_store(world: World) -> None:
    batch = world.judicator.create_batch(a_sweep(1_000_000, cushion=100))
    world.work()
    assert counts(world, batch) == {Status.PENDING: 100}
    machine = world.machine()
    machine.poll(vacant=49)
    world.work()
    assert counts(world, batch) == {Status.PENDING: 51, Status.RUNNING: 49}
    machine.poll(vacant=1)
    world.work()
    assert counts(world, batch)[Status.PENDING] == 100
    assert world.judicator.batch(batch.id).batch.taken == 150


def test_a_sweep_makes_each_task_once_and_in_order(world: World) -> None:
    batch = world.judicator.create_batch(a_sweep(250, cushion=20))
    tasks = work_off(world, world.machine())
    assert [task.parameters["n"] for task in tasks] == list(range(250))
    assert world.judicator.batch(batch.id).status is BatchStatus.DONE


class Dying(MemoryStore):
    """A store that is lost to its judicator at a random write, before or after it was made."""

    chance: random.Random | None = None

    def _die(self) -> None:
        if self.chance is not None and self.chance.random() < 0.2:
            raise Unavailable("killed")

    def add_to_batch(self, batch: Batch, tasks: Any) -> bool:
        self._die()
        stored = super().add_to_batch(batch, tasks)
        self._die()
        return stored

    def apply_batches(self, changed: Any) -> list[bool]:
        self._die()
        won = super().apply_batches(changed)
        self._die()
        return won

    def add(self, tasks: Any) -> list[Task]:
        stored = super().add(tasks)
        self._die()
        return stored


@pytest.mark.parametrize("seed", range(20))
def test_a_generator_that_is_killed_at_random_makes_no_task_twice_and_leaves_none_out(
    tmp_path: Path, seed: int
) -> None:
    world = World(tmp_path, Dying)
    rows = "".join(f'["r{n}"]\n' for n in range(40)).encode()
    axes = (
        Rows(names=("row",), rows=content(rows), size=40),
        Range(name="n", start=0, stop=7),
    )
    sweep = a_sweep(axes=axes, cushion=13, finish=a_new(name="last"))
    batch = world.judicator.create_batch(sweep)
    world.store.chance = random.Random(seed)
    machine = world.machine()
    ran: list[Any] = []
    while world.judicator.batch(batch.id).batch.done is None:
        world.new_judicator()  # a process that knows nothing but what was stored
        machine = world.machine(session=f"s{len(ran)}")
        world.judicator.leadership.step()
        for _ in range(3):
            world.judicator.batch_duties.step()
            world.judicator.slow_duties.step()
            world.clock.advance(10)
        given = machine.poll(vacant=9).assign
        machine.finish(*given)
        ran += [tuple(g.task.parameters.values()) or g.task.name for g in given]
    assert ran[-1] == "last"
    assert ran[:-1] == [(f"r{row}", n) for row in range(40) for n in range(7)]
    assert counts(world, batch) == {Status.SUCCESS: 280}


def test_values_that_make_no_valid_task_are_told_of(world: World) -> None:
    template = a_new(execute=a_step(args=("{x}",)))
    rows = content(b'["a"]\n["\\u0000"]\n')
    axes = (Rows(names=("x",), rows=rows, size=2),)
    batch = world.judicator.create_batch(a_sweep(template=template, axes=axes))
    work_off(world, world.machine())
    assert counts(world, batch) == {Status.SUCCESS: 1, Status.FAILED: 1}
    bad = world.judicator.get(member(batch.id, 1)).task
    assert "execute.args" in world.judicator.explain(bad.id)
    assert bad.parameters == {"x": "\0"}


# -- the submission ----------------------------------------------------------------------


def test_a_submission_that_broke_off_is_closed_after_an_hour_of_silence(world: World) -> None:
    batch = world.judicator.create_batch(a_batch())
    world.judicator.extend_batch(batch.id, 0, [a_new()], False)
    kept = world.judicator.create_batch(a_batch(stays_open=True))
    machine = world.machine()
    work_off(world, machine)
    world.clock.advance(SILENCE - 60)
    machine.report(poll=False)
    world.work()
    assert world.judicator.batch(batch.id).status is BatchStatus.RECEIVING
    world.clock.advance(130)
    world.work()
    view = world.judicator.batch(batch.id)
    assert view.status is BatchStatus.DONE
    assert "broke off" in view.why
    assert world.judicator.batch(kept.id).status is BatchStatus.RECEIVING


# -- retries -----------------------------------------------------------------------------


def test_what_fails_again_after_a_retry_is_not_retried_by_itself(world: World) -> None:
    batch = world.judicator.create_batch(a_sweep(3))
    machine = world.machine()
    work_off(world, machine, end=a_result(verdict=Verdict.RUNTIME_ERROR))
    world.clock.advance(1)
    machine.report(poll=False)
    world.judicator.retry_batch(batch.id)
    world.clock.advance(1)
    again = work_off(world, machine, end=a_result(verdict=Verdict.RUNTIME_ERROR))
    assert [place(task.id) for task in again] == [(0, 1), (1, 1), (2, 1)]
    assert counts(world, batch) == {Status.RUN_FAILED: 3}
    assert world.judicator.batch(batch.id).status is BatchStatus.DONE


def test_a_retry_that_was_interrupted_makes_nothing_twice(tmp_path: Path) -> None:
    world = World(tmp_path, Dying)
    batch = world.judicator.create_batch(a_sweep(5))
    work_off(world, world.machine(), end=a_result(verdict=Verdict.RUNTIME_ERROR))
    world.clock.advance(1)
    world.judicator.retry_batch(batch.id)
    old = world.store.batch_tasks(batch.id)
    real = world.store.apply
    world.store.apply = lambda changed: [False for _ in changed]  # the second half never comes
    world.judicator.leadership.step()
    world.judicator.batch_duties.step()
    assert sum(counts(world, batch).values()) == 10
    world.store.apply = real
    world.new_judicator()
    world.clock.advance(11)  # the former leader's term is over
    work_off(world, world.machine(session="s2"))
    assert counts(world, batch) == {Status.SUCCESS: 5}
    replaced = world.store.get([task.id for task in old])
    assert [t.retried_by for t in replaced.values()] == [member(batch.id, n, 1) for n in range(5)]


# -- purging -----------------------------------------------------------------------------


def test_purging_removes_every_task(world: World) -> None:
    batch = world.judicator.create_batch(a_sweep(30, finish=a_new()))
    work_off(world, world.machine())
    world.judicator.purge_batch(batch.id)
    world.work()
    assert world.judicator.counts() == {}
    assert world.store.batches([batch.id]) == {}
    assert world.store.search_batches(BatchQuery()) == []


# -- the recount -------------------------------------------------------------------------


class Wrong(MemoryStore):
    """A store whose counters can be made wrong."""

    def falsify(self, batch: Batch) -> None:
        self._batches.fold(_deltas(batch), self.now())


def _deltas(batch: Batch) -> Folding:
    folding = Folding()
    folding.deltas[batch.id, Status.PENDING] = 7
    return folding


def test_counters_that_were_wrong_are_put_right(tmp_path: Path) -> None:
    world = World(tmp_path, Wrong)
    batch = world.judicator.create_batch(a_sweep(3))
    work_off(world, world.machine())
    assert not world.store.recount(batch.id)
    world.store.falsify(batch)
    assert counts(world, batch) == {Status.SUCCESS: 3, Status.PENDING: 7}
    world.clock.advance(31)
    world.work()
    assert counts(world, batch) == {Status.SUCCESS: 3}


# -- finishing tasks ---------------------------------------------------------------------


def archive_of(world: World, batch: Batch, room: int = 1 << 20) -> tuple[zipfile.ZipFile, int]:
    archive = Archive(world.store, world.blobs, batch, room)
    data = b"".join(archive.chunks())
    return zipfile.ZipFile(io.BytesIO(data)), archive.omitted


def test_results_that_have_no_room_are_left_out_and_counted(world: World) -> None:
    batch = world.judicator.create_batch(a_sweep(4))
    kept = {"big": content(b"x" * 5000), "small": content(b"y")}
    work_off(world, world.machine(), end=a_result(kept=kept))
    whole, omitted = archive_of(world, batch)
    assert (len(whole.namelist()), omitted) == (9, 0)
    capped, omitted = archive_of(world, batch, room=14_000)
    found = [json.loads(line) for line in capped.read("results.jsonl").splitlines()]
    assert len(found) == 4
    lying = [f["path"] for line in found for f in line["files"].values() if "path" in f]
    assert sorted(lying) == sorted(n for n in capped.namelist() if n.startswith("files/"))
    assert json.loads(capped.read("omitted.json")) == {"omitted": omitted}
    assert 0 < omitted < 8
    assert archive_of(world, batch, room=100)[1] == 8


def test_the_same_results_make_the_same_archive(world: World) -> None:
    batch = world.judicator.create_batch(a_sweep(3))
    work_off(world, world.machine())
    first, second = (
        b"".join(Archive(world.store, world.blobs, batch, 1 << 20).chunks()) for _ in range(2)
    )
    assert first == second


def test_a_failed_finishing_task_is_run_again_by_a_retry(world: World) -> None:
    batch = world.judicator.create_batch(a_sweep(1, finish=a_new()))
    machine = world.machine()
    world.work()
    machine.finish(*machine.take())
    world.work()
    machine.finish(*machine.take(), end=a_result(verdict=Verdict.RUNTIME_ERROR))
    world.work()
    view = world.judicator.batch(batch.id)
    assert (view.status, view.finish_status) == (BatchStatus.DONE, Status.RUN_FAILED)
    world.judicator.retry_batch(batch.id)
    work_off(world, machine)
    again = world.judicator.batch(batch.id)
    assert again.finish_status is Status.SUCCESS
    assert again.batch.finish_task != view.batch.finish_task


def test_cancelling_while_it_finishes_cancels_the_finishing_task(world: World) -> None:
    batch = world.judicator.create_batch(a_sweep(1, finish=a_new()))
    machine = world.machine()
    world.work()
    machine.finish(*machine.take())
    world.work()
    world.judicator.cancel_batch(batch.id)
    world.work()
    view = world.judicator.batch(batch.id)
    assert (view.status, view.finish_status) == (BatchStatus.CANCELLED, Status.CANCELLED)


# -- assimilators ------------------------------------------------------------------------


class Notes:
    """A handler that notes what it is told, and raises as often as it is told to."""

    def __init__(self) -> None:
        self.told: list[Ending] = []
        self.raises = 0

    def check(self, options: Any) -> None:
        if "bad" in options:
            raise Invalid("no", field="assimilate.options")

    def assimilate(self, ending: Ending) -> None:
        self.told.append(ending)
        if self.raises:
            self.raises -= 1
            raise RuntimeError("not now")


def test_a_handler_is_told_of_the_end_once_with_a_token(world: World) -> None:
    notes = world.handlers["notes"] = Notes()
    world.new_judicator()
    wish = Assimilation(handler="notes", options={"a": "b"})
    task = world.add(assimilate=wish)
    machine = world.machine()
    world.work()
    assert notes.told == []
    machine.finish(*machine.take(), end=a_result(b"said"))
    world.work()
    world.work()
    (ending,) = notes.told
    assert (ending.token, ending.options) == (task.id, {"a": "b"})
    assert (ending.result["status"], ending.result["stdout"]) == ("success", "said")
    assert world.judicator.get(task.id).task.assimilate_state is Stage.DONE


def test_a_handler_that_raises_is_called_again_with_the_same_token(world: World) -> None:
    notes = world.handlers["notes"] = Notes()
    world.new_judicator()
    notes.raises = 2
    world.add(assimilate=Assimilation(handler="notes"))
    other = world.add()
    machine = world.machine()
    machine.finish(*machine.take(2))
    for _ in range(20):
        world.pass_time(1, machine)
    assert len(notes.told) == 3
    assert len({ending.token for ending in notes.told}) == 1
    assert world.judicator.get(other.id).task.assimilate_state is Stage.DONE


def test_a_crash_between_the_call_and_its_note_repeats_the_call(tmp_path: Path) -> None:
    world = World(tmp_path)
    notes = world.handlers["notes"] = Notes()
    world.new_judicator()
    world.add(assimilate=Assimilation(handler="notes"))
    machine = world.machine()
    machine.finish(*machine.take())
    real = world.store.apply
    world.store.apply = _raising
    world.judicator.leadership.step()
    world.judicator.slow_duties.step()
    world.store.apply = real
    world.new_judicator()
    world.clock.advance(11)  # the former leader's term is over
    world.work()
    assert len(notes.told) == 2


def _raising(_: Any) -> list[bool]:
    raise Unavailable("killed")


def test_a_handler_refuses_options(world: World) -> None:
    world.handlers["notes"] = Notes()
    world.new_judicator()
    with pytest.raises(Invalid):
        world.add(assimilate=Assimilation(handler="notes", options={"bad": ""}))


def test_append_writes_a_line_for_each_task(world: World, tmp_path: Path) -> None:
    world.handlers["append"] = Append(tmp_path / "out")
    world.new_judicator()
    new = a_new(assimilate=Assimilation(handler="append"))
    batch = world.judicator.create_batch(a_sweep(3, template=new))
    named = Assimilation(handler="append", options={"file": "mine"})
    world.add(user=UserName("bob"), assimilate=named)
    work_off(world, world.machine())
    path = tmp_path / "out" / "alice" / f"{batch.id}.jsonl"
    found = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["parameters"] for line in found] == [{"n": n} for n in range(3)]
    assert len({line["token"] for line in found}) == 3
    assert (tmp_path / "out" / "bob" / "mine.jsonl").exists()


@pytest.mark.parametrize("options", [{"file": "../x"}, {"file": "a/b"}, {"path": "x"}])
def test_append_writes_nowhere_else(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        Append(tmp_path).check(options)


def test_the_lists_of_tasks_know_their_batch(world: World) -> None:
    batch = world.judicator.create_batch(a_sweep(3))
    world.add()
    world.work()
    page = world.judicator.search(Query(batch=batch.id, oldest_first=True))
    assert [item.parameters for item in page.items] == [{"n": n} for n in range(3)]
    assert page.total == 3


def test_a_batch_document_may_be_written_anew_by_any_judicator(world: World) -> None:
    batch = world.judicator.create_batch(a_sweep(3))
    stale = msgspec.structs.replace(batch, name="stale")
    world.work()
    assert world.store.apply_batches([stale]) == [False]


def test_the_explanation_tells_of_an_assimilator_that_does_not_take_it(world: World) -> None:
    notes = world.handlers["notes"] = Notes()
    world.new_judicator()
    notes.raises = 1
    task = world.add(assimilate=Assimilation(handler="notes"))
    machine = world.machine()
    machine.finish(*machine.take())
    world.work()
    assert "assimilator notes" in world.judicator.explain(task.id)
    world.pass_time(3, machine)
    assert "assimilator" not in world.judicator.explain(task.id)
