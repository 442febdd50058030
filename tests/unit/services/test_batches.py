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
from accord.core.errors import AlreadyDone, Invalid, Unavailable
from accord.core.ids import MOST_ATTEMPTS, UserName, member, place
from accord.core.parameters import Range, Rows, Values
from accord.core.replica import Verdict, content
from accord.core.search import Query
from accord.core.status import Status
from accord.core.task import Assimilation, Redundancy, Stage, Task
from accord.ports.assimilator import Ending
from accord.services.duties import assimilate
from accord.services.finishing import Archive
from accord.testing.batch_suite import a_batch, a_sweep
from accord.testing.judicator_parts import Machine, a_new, a_result, a_step
from tests.unit.services.judicator_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


BAD = a_result(verdict=Verdict.RUNTIME_ERROR)


def later(world: World, machine: Machine) -> None:
    """A second passes; the machine is alive."""
    world.clock.advance(1)
    machine.report(poll=False)


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


def test_a_batch_that_cannot_go_on_does_not_keep_the_others_waiting(world: World) -> None:
    short = Rows(names=("n",), rows=content(b'["a"]\n'), size=3)
    bad = world.judicator.create_batch(a_sweep(axes=(short,)))
    good = world.judicator.create_batch(a_sweep(1200))
    machine = world.machine()
    assert len(work_off(world, machine)) == 1200
    assert world.judicator.batch(good.id).status is BatchStatus.DONE
    assert world.judicator.batch(bad.id).status is BatchStatus.RUNNING
    failures = world.judicator.batch_duties.counters["batches"].failures
    assert failures == 0


@pytest.mark.parametrize("part", ["template", "finish"])
@pytest.mark.parametrize(
    "changes",
    [{"redundancy": Redundancy(max_error_replicas=20)}, {"key": "k"}, {"user": UserName("bob")}],
)
def test_what_no_task_could_be_made_of_is_refused_at_once(
    world: World, part: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(Invalid):
        world.judicator.create_batch(a_sweep(3, **{part: a_new(**changes)}))


def test_long_values_are_cut_in_lists_and_whole_in_tasks(world: World) -> None:
    long = "y" * 60_000
    batch = world.judicator.create_batch(a_sweep(axes=(Values(name="n", values=(long,)),)))
    world.work()
    (item,) = world.judicator.search(Query(batch=batch.id)).items
    assert len(str(item.parameters["n"])) <= 1024
    assert world.judicator.get(item.id).task.parameters == {"n": long}


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


def test_a_retry_begins_at_the_first_task_though_a_former_one_was_broken_off(
    world: World,
) -> None:
    batch = world.judicator.create_batch(a_sweep(1200, cushion=2000))
    machine = world.machine()
    work_off(world, machine, end=BAD)
    later(world, machine)
    world.judicator.retry_batch(batch.id)
    world.judicator.batch_duties.step()  # one portion of three
    world.judicator.cancel_batch(batch.id)
    world.work()
    assert world.judicator.batch(batch.id).status is BatchStatus.CANCELLED
    later(world, machine)
    world.judicator.retry_batch(batch.id)
    work_off(world, machine)
    assert counts(world, batch) == {Status.SUCCESS: 1200}


# -- purging -----------------------------------------------------------------------------


def test_purging_removes_every_task(world: World) -> None:
    batch = world.judicator.create_batch(a_sweep(30, finish=a_new()))
    work_off(world, world.machine())
    world.judicator.purge_batch(batch.id)
    world.work()
    assert world.judicator.counts() == {}
    assert world.store.batches([batch.id]) == {}
    assert world.store.search_batches(BatchQuery()) == []


def test_purging_removes_what_a_retry_replaced(world: World) -> None:
    batch = world.judicator.create_batch(a_sweep(3, finish=a_new()))
    other = world.add()
    machine = world.machine()
    work_off(world, machine, end=BAD)
    later(world, machine)
    world.judicator.retry_batch(batch.id)
    work_off(world, machine)
    assert sum(world.judicator.counts().values()) == 9
    world.judicator.purge_batch(batch.id)
    world.work()
    assert world.judicator.counts() == {Status.RUN_FAILED: 1}
    assert world.status(other) is Status.RUN_FAILED


def test_the_key_of_a_batch_that_is_being_purged_is_not_answered_with_it(world: World) -> None:
    new = a_sweep(1, key="k", fingerprint="f")
    batch = world.judicator.create_batch(new)
    work_off(world, world.machine())
    world.judicator.purge_batch(batch.id)
    with pytest.raises(Unavailable):
        world.judicator.create_batch(new)
    world.work()
    assert world.judicator.create_batch(new).id != batch.id


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


@pytest.mark.parametrize("size", [10_000, 30_000, 60_000])
def test_lines_and_files_together_stay_within_the_room(world: World, size: int) -> None:
    batch = world.judicator.create_batch(a_sweep(20))
    kept = {f"f{n}": content(b"x" * (1 << n)) for n in range(12)}
    work_off(world, world.machine(), end=a_result(b"y" * 400, kept=kept))
    archive, omitted = archive_of(world, batch, size)
    told = [i.file_size for i in archive.infolist() if i.filename != "omitted.json"]
    assert omitted
    assert size // 3 < sum(told) <= size


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


class Gathering(MemoryStore):
    """A store in which something happens once while results are gathered."""

    meanwhile: Any = None

    def batch_tasks(self, batch: Any, *args: Any) -> list[Task]:
        happens, self.meanwhile = self.meanwhile, None
        found = super().batch_tasks(batch, *args)
        if happens:
            happens()
        return found


def gathering(tmp_path: Path) -> tuple[World, Machine, Batch]:
    """A batch with a failed task, whose results are to be gathered in the next pass."""
    world = World(tmp_path, Gathering)
    batch = world.judicator.create_batch(a_sweep(2, finish=a_new(name="last")))
    machine = world.machine()
    world.work()
    one, two = machine.take(2)
    machine.finish(one)
    machine.finish(two, end=BAD)
    later(world, machine)
    return world, machine, batch


def test_a_retry_while_results_are_gathered_is_finished_with_the_new_ones(tmp_path: Path) -> None:
    world, machine, batch = gathering(tmp_path)
    world.store.meanwhile = lambda: world.judicator.retry_batch(batch.id)
    world.judicator.slow_duties.step()
    assert [t.name for t in work_off(world, machine)] == ["n=1", "last"]
    id_ = world.judicator.batch(batch.id).batch.finish_task
    assert id_ is not None
    last = world.judicator.get(id_).task
    assert last.spec.data is not None
    data = b"".join(world.blobs.read(last.spec.data.digest))
    told = zipfile.ZipFile(io.BytesIO(data)).read("results.jsonl").splitlines()
    assert [json.loads(line)["status"] for line in told] == ["success", "success"]


def test_nothing_runs_of_a_batch_that_is_cancelled_while_results_are_gathered(
    tmp_path: Path,
) -> None:
    world, machine, batch = gathering(tmp_path)
    world.store.meanwhile = lambda: world.judicator.cancel_batch(batch.id)
    world.judicator.slow_duties.step()
    assert work_off(world, machine) == []
    assert world.judicator.batch(batch.id).status is BatchStatus.CANCELLED


def test_a_retry_stops_the_finishing_task_that_still_runs(world: World) -> None:
    batch = world.judicator.create_batch(a_sweep(1, finish=a_new()))
    machine = world.machine()
    world.work()
    machine.finish(*machine.take(), end=BAD)
    later(world, machine)
    world.work()
    (running,) = machine.take()
    world.judicator.retry_batch(batch.id)
    world.work()
    assert world.status(running.task) is Status.CANCELLING


def test_a_batch_finishes_no_more_often_than_there_are_ids(world: World) -> None:
    batch = world.judicator.create_batch(a_sweep(1, finish=a_new()))
    machine = world.machine()
    work_off(world, machine)
    there = world.store.batches([batch.id])[batch.id][0]
    many = msgspec.structs.replace(there, finish_round=MOST_ATTEMPTS - 1, done=None)
    many = msgspec.structs.replace(many, finish_task=None)
    assert world.store.apply_batches([many]) == [True]
    work_off(world, machine, end=BAD)
    last = world.judicator.batch(batch.id).batch.finish_task
    assert last == member(batch.id, (1 << 28) - 1, MOST_ATTEMPTS - 1)
    with pytest.raises(AlreadyDone):
        world.judicator.retry_batch(batch.id)


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


def test_tasks_whose_handlers_keep_raising_keep_no_others_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assimilate, "BATCH", 3)
    notes = world.handlers["notes"] = Notes()
    good = world.handlers["good"] = Notes()
    world.new_judicator()
    notes.raises = 1000
    for _ in range(10):
        world.add(assimilate=Assimilation(handler="notes"))
    last = world.add(assimilate=Assimilation(handler="good"))
    machine = world.machine()
    machine.finish(*machine.take(11))
    world.pass_time(3, machine)
    assert [ending.token for ending in good.told] == [last.id]


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


def test_append_begins_a_new_line_behind_one_that_is_torn(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.handlers["append"] = Append(tmp_path / "out")
    world.new_judicator()
    machine = world.machine()
    path = tmp_path / "out" / "alice" / "tasks.jsonl"
    for _ in range(2):
        world.add(assimilate=Assimilation(handler="append"))
        machine.finish(*machine.take())
        world.work()
        with path.open("ab") as file:
            file.write(b'{"tok')
    first, torn, second, _ = path.read_bytes().split(b"\n")
    assert torn == b'{"tok'
    assert json.loads(first)["token"] < json.loads(second)["token"]


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


def test_results_whose_files_were_deleted_by_their_age_still_read(world: World) -> None:
    batch = world.judicator.create_batch(a_sweep(2))
    long = a_result(b"x" * 20_000)
    work_off(world, world.machine(), end=long)
    line = json.loads(world.judicator.results(batch.id, "", 10).lines[0])
    assert len(line["stdout"]) == 20_000
    world.blobs.sweep([], 1e12, 0)  # as once nothing names them any more
    lines = [json.loads(found) for found in world.judicator.results(batch.id, "", 10).lines]
    assert [(found["status"], found["stdout"], found["stdout_truncated"]) for found in lines] == [
        ("success", "", True)
    ] * 2
