"""What happens between a look and a wait, between a read and a write, and on a failing store."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from accord.adapters.memory.store import MemoryStore
from accord.core.errors import AlreadyDone, Superseded, Unavailable, UnknownSession
from accord.core.executor import ExecutorState
from accord.core.ids import TaskId
from accord.core.replica import ErrorClass, Failure
from accord.core.status import Status
from accord.core.task import INLINE_DOCUMENT, INLINE_STREAM, Task
from accord.ports.judicator import Finished, Orders
from accord.ports.store import Chunk
from accord.services.changes import ATTEMPTS
from accord.testing.judicator_parts import LONG, Call, Machine, a_new, a_result
from tests.unit.services.judicator_world import World


class Hooked(MemoryStore):
    """A store in which a test may stand between two calls."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.after: dict[str, Callable[[], None]] = {}
        self.before: dict[str, Callable[[], None]] = {}
        self.gets = 0
        self.losing = 0
        self.applied: list[int] = []

    def _pass(self, hooks: dict[str, Callable[[], None]], name: str) -> None:
        hook = hooks.pop(name, None)
        if hook is not None:
            hook()

    def waiting_classes(self) -> list[str]:
        found = super().waiting_classes()
        self._pass(self.after, "waiting_classes")
        return found

    def claimable(
        self, classes: Sequence[str], limit: int, skip: Sequence[TaskId] = ()
    ) -> list[Task]:
        found = super().claimable(classes, limit, skip)
        self._pass(self.after, "claimable")
        return found

    def get(self, ids: Sequence[TaskId]) -> dict[TaskId, Task]:
        self.gets += 1
        found = super().get(ids)
        self._pass(self.after, "get")
        return found

    def apply(self, changed: Sequence[Task]) -> list[bool]:
        self._pass(self.before, "apply")
        self.applied.append(len(changed))
        if self.losing and changed:
            self.losing -= 1
            return [False] * len(changed)
        return super().apply(changed)

    def append_output(self, chunks: Sequence[Chunk]) -> None:
        self._pass(self.before, "append_output")
        super().append_output(chunks)


def away() -> None:
    raise Unavailable


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "uploads", Hooked)
    world.judicator.start()
    yield world
    world.judicator.stop()


# -- no wake-up is lost ------------------------------------------------------------------


def test_work_that_comes_after_a_poll_looked_and_before_it_waits_is_given(world: World) -> None:
    machine = world.machine()
    world.store.after["waiting_classes"] = world.add
    poll = Call(partial(machine.poll, vacant=1, wait=LONG))
    assert len(poll.answer().assign) == 1


def test_a_cancellation_that_comes_after_a_poll_looked_is_told(world: World) -> None:
    machine = world.machine()
    task = world.add()
    machine.take()
    # A poll looks for work after it has compared what both sides hold.
    world.store.after["waiting_classes"] = partial(world.judicator.cancel, task.id)
    poll = Call(partial(machine.poll, vacant=1, wait=LONG))
    assert poll.answer().cancel == ((task.id, 0),)


def test_an_end_that_comes_after_a_reader_looked_and_before_it_waits_is_told(
    world: World,
) -> None:
    machine = world.machine()
    task = world.add()
    (given,) = machine.take()
    world.store.after["get"] = partial(machine.finish, given)
    reader = Call(partial(world.judicator.get, task.id, LONG))
    assert reader.answer().status is Status.SUCCESS


def test_where_notices_were_dropped_everybody_looks(world: World, tmp_path: Path) -> None:
    class Small(Hooked):
        def __init__(self, clock: Any) -> None:
            super().__init__(clock)
            self._feeds._capacity = 1  # every second notice is one too many

    small = World(tmp_path / "small", Small)
    small.judicator.start()
    machine = small.machine()
    poll = Call(partial(machine.poll, vacant=3, wait=LONG))
    small.clock.wait_for_wait(LONG)
    small.judicator.add([a_new() for _ in range(3)])
    assert len(poll.answer().assign) == 3
    small.judicator.stop()


# -- who is woken ------------------------------------------------------------------------


def test_five_hundred_readers_are_not_woken_for_another_task(world: World) -> None:
    machine = world.machine()
    mine, other = world.add(), world.add()
    readers = [Call(partial(world.judicator.get, mine.id, LONG)) for _ in range(500)]
    world.clock.wait_for_waiters(500)
    (first, second) = machine.take(2)
    looks = world.store.gets
    machine.finish(second)
    assert world.judicator.get(other.id, LONG).status is Status.SUCCESS
    assert world.store.gets - looks < 20
    machine.finish(first)
    assert all(reader.answer().status is Status.SUCCESS for reader in readers)


def test_work_that_had_better_go_elsewhere_wakes_the_one_that_it_had_better_go_to(
    world: World,
) -> None:
    bad, good = world.machine("bad"), world.machine("good")
    world.add()
    fault = Failure(error_class=ErrorClass.INTERNAL_FAIL, message="The disk is full.")
    bad.finish(bad.take()[0], end=fault)
    polls = [
        Call(partial(machine.poll, vacant=1, wait=LONG + n))
        for n, machine in enumerate((bad, good))
    ]
    world.clock.wait_for_wait(LONG)
    world.clock.wait_for_wait(LONG + 1)
    world.clock.advance(1.0)  # the back-off is over: the leader's pass makes it ready
    assert len(polls[1].answer().assign) == 1
    world.clock.advance(LONG)
    assert polls[0].answer().assign == ()


# -- in the middle of a claim ------------------------------------------------------------


def test_what_a_superseded_poll_still_claims_is_sent_by_the_next(world: World) -> None:
    machine = world.machine()
    task = world.add()
    inside, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        inside.set()
        go_on.wait(30)

    world.store.after["claimable"] = pause
    older = Call(lambda: machine.report(poll=True, vacant=1, wait=LONG))
    assert inside.wait(30)
    newer = Call(lambda: machine.report(poll=True, vacant=1, wait=LONG))
    world.clock.wait_for_wait(10.0)  # it waits for its turn
    go_on.set()
    assert [a.task.id for a in newer.answer().assign] == [task.id]
    with contextlib.suppress(Superseded):  # or it answers a connection that nobody reads
        older.answer()


def test_what_is_claimed_for_an_executor_that_was_lost_meanwhile_is_given_back(
    world: World,
) -> None:
    machine = world.machine()
    task = world.add()

    def lose() -> None:
        stored = world.store.executors()[0]
        lost = msgspec.structs.replace(stored, state=ExecutorState.LOST)
        assert world.store.put_executor(lost, stored)
        world.judicator.housekeeping.step()  # this judicator learns of it

    world.store.before["apply"] = lose
    world.clock.advance(10)
    with pytest.raises(UnknownSession):
        machine.report(poll=True, vacant=1)
    assert world.status(task) is not Status.RUNNING


def test_polls_of_one_judicator_do_not_race_for_the_head_of_the_queue(world: World) -> None:
    first, second = world.machine("first"), world.machine("second")
    world.judicator.add([a_new(), a_new()])
    inside, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        inside.set()
        go_on.wait(30)

    world.store.before["apply"] = pause
    slow = Call(partial(first.poll, vacant=1))
    assert inside.wait(30)
    (quick,) = second.poll(vacant=1).assign
    go_on.set()
    (given,) = slow.answer().assign
    assert given.task.id != quick.task.id
    assert world.store.applied == [1, 1]


# -- lost races and failing stores -------------------------------------------------------


def test_a_lost_race_is_decided_again(world: World) -> None:
    task = world.add()
    world.store.losing = 5
    assert world.judicator.cancel(task.id).status is Status.CANCELLED


def test_who_loses_every_race_is_told_to_come_again(world: World) -> None:
    task = world.add()
    world.store.losing = ATTEMPTS
    with pytest.raises(Unavailable):
        world.judicator.cancel(task.id)
    assert world.status(task) is Status.PENDING


def test_a_result_that_lost_every_race_is_not_acknowledged(world: World) -> None:
    machine = world.machine()
    task = world.add()
    (given,) = machine.take()
    world.store.losing = ATTEMPTS
    assert machine.finish(given).stored == ()
    assert machine.finish(given).stored == ((task.id, 0),)


def test_a_result_that_the_store_failed_on_is_not_acknowledged(world: World) -> None:
    machine = world.machine()
    world.add()
    (given,) = machine.take()
    world.store.before["apply"] = away
    with pytest.raises(Unavailable):
        machine.finish(given)
    assert len(machine.finish(given).stored) == 1


def test_output_that_cannot_be_stored_does_not_keep_a_result_from_being_taken(
    world: World,
) -> None:
    machine = world.machine()
    task = world.add()
    (given,) = machine.take()
    world.store.before["append_output"] = away
    chunk = Chunk(task=task.id, number=0, stream="stdout", offset=0, data=b"x")
    finished = Finished(task=task.id, number=0, session=given.session, end=a_result())
    orders = machine.report(poll=False, output=(chunk,), complete=(finished,))
    assert orders == Orders(sequence=orders.sequence, stored=((task.id, 0),), output_stored=False)


def test_of_one_report_all_ends_are_stored_in_one_call(world: World) -> None:
    machine = world.machine()
    world.judicator.add([a_new() for _ in range(50)])
    given = machine.take(50)
    world.store.applied.clear()
    assert len(machine.finish(*given).stored) == 50
    assert world.store.applied == [50]


# -- weight ------------------------------------------------------------------------------


def test_a_result_beyond_what_a_document_holds_moves_to_the_blob_store(world: World) -> None:
    machine = world.machine()
    task = world.add()
    (given,) = machine.take()
    kept = {f"out/{n:03d}": a_result(bytes([n]) * INLINE_STREAM).contents()[0] for n in range(30)}
    machine.finish(given, end=a_result(b"small", kept=kept))
    result = world.judicator.get(task.id).task.replicas[0].result
    assert result is not None
    inline = [c for c in result.contents() if c.inline is not None]
    assert sum(c.size for c in inline) <= INLINE_DOCUMENT
    assert a_result(b"small").contents()[0] in inline
    for n in range(30):
        found = result.kept[f"out/{n:03d}"]
        data = found.inline or world.judicator.read_blob(found.digest, 0, 1 << 20)
        assert data == bytes([n]) * INLINE_STREAM


# -- everything at once ------------------------------------------------------------------


def test_many_executors_and_users_at_once_lose_and_double_nothing(world: World) -> None:
    """Six executors poll, run, and repeat every push; users add and cancel meanwhile."""
    stop = threading.Event()
    accepted: list[list[TaskId]] = [[] for _ in range(6)]

    def work(number: int) -> None:
        machine = Machine(world.judicator, f"e{number}")
        machine.hello()
        while not stop.is_set():
            orders = machine.poll(vacant=3, wait=LONG)
            killed = [
                Finished(task=i, number=n, session=machine.info.session, killed=True)
                for i, n in orders.cancel
            ]
            ended = [
                Finished(task=a.task.id, number=a.number, session=a.session, end=a_result())
                for a in orders.assign
            ]
            for _ in range(2):
                done = machine.report(poll=False, complete=(*ended, *killed))
            for key in done.stored:
                machine.held.pop(key, None)
            accepted[number] += [a.task.id for a in orders.assign]

    workers = [Call(partial(work, number)) for number in range(6)]
    tasks: list[Task] = []
    for turn in range(20):
        tasks += world.judicator.add([a_new() for _ in range(10)])
        if turn % 3 == 0:
            _cancel(world, tasks[-1])
    for task in tasks:
        assert world.judicator.get(task.id, 60).status.done
    stop.set()
    world.judicator.stop()
    for worker in workers:
        worker.answer()
    runs = [id_ for ids in accepted for id_ in ids]
    assert len(runs) == len(set(runs)), "every task was given once"
    for task in tasks:
        view = world.judicator.get(task.id)
        expected = {Status.SUCCESS} if view.task.cancel_requested_at is None else {Status.CANCELLED}
        assert {view.status} == expected


def _cancel(world: World, task: Task) -> None:
    with contextlib.suppress(AlreadyDone):  # it may just have ended
        world.judicator.cancel(task.id)
