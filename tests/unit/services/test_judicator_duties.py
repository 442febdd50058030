"""What the leader does beside answering calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from accord.adapters.memory.store import MemoryStore
from accord.core.batch import BatchSource, NewBatch
from accord.core.errors import NotFound, Unavailable, UnknownSession
from accord.core.executor import Executor, ExecutorState, Isolation
from accord.core.ids import TaskId, UserName
from accord.core.lifecycle import submitted
from accord.core.limits import Limits
from accord.core.policy import Policy
from accord.core.replica import ErrorClass, Failure, Outcome, ReplicaState
from accord.core.search import Query
from accord.core.status import Reason, Status
from accord.core.task import Numbers, Redundancy, Requires, Stage
from accord.core.view import reason_of
from accord.ports.store import Chunk
from accord.testing.judicator_parts import Machine, a_new, a_result, a_step
from accord.testing.redundancy_suite import LARGE, large
from tests.unit.services.judicator_world import World

ALICE = UserName("alice")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class Flaky(MemoryStore):
    """A store that can be cut off."""

    down = False

    def executors(self) -> list[Executor]:
        if self.down:
            raise Unavailable
        return super().executors()


# -- leases ------------------------------------------------------------------------------


def test_an_executor_is_lost_after_a_lease_without_a_report_and_its_work_goes_on(
    world: World,
) -> None:
    machine, other = world.machine(), world.machine("e2")
    task = world.add()
    machine.take()
    world.pass_time(14.5, other)
    assert world.executor().state is ExecutorState.ONLINE
    world.pass_time(1.0, other)
    assert world.executor().state is ExecutorState.LOST
    assert world.status(task) is Status.RETRYING
    world.pass_time(2, other)
    (given,) = other.take()
    assert (given.task.id, given.number) == (task.id, 1)


def test_heartbeats_keep_an_executor(world: World) -> None:
    machine = world.machine()
    world.add()
    machine.take()
    world.pass_time(60, machine)
    assert world.executor().state is ExecutorState.ONLINE


def test_a_lost_executor_that_reports_says_hello_and_is_online_again(world: World) -> None:
    machine = world.machine()
    world.pass_time(16)
    with pytest.raises(UnknownSession):
        machine.poll()
    machine.hello()
    assert world.executor().state is ExecutorState.ONLINE
    machine.poll()


def test_the_result_of_a_lost_executor_is_taken_where_the_task_still_wants_it(
    world: World,
) -> None:
    machine = world.machine()
    task = world.add()
    (given,) = machine.take()
    world.pass_time(16)
    assert world.status(task) is Status.RETRYING
    machine.hello()
    assert machine.poll().cancel == ()  # it may run on: nobody else has taken over yet
    machine.finish(given, end=a_result(b"late"))
    assert world.status(task) is Status.SUCCESS


def test_what_another_took_over_is_to_be_stopped_where_it_was_lost(world: World) -> None:
    machine, other = world.machine(), world.machine("e2")
    task = world.add()
    (given,) = machine.take()
    world.pass_time(18, other)
    other.take()
    machine.hello()
    assert machine.poll().cancel == ((task.id, given.number),)


def test_a_judicator_that_starts_expires_nobody_before_one_lease_has_passed(world: World) -> None:
    machine = world.machine()
    task = world.add()
    machine.take()
    world.clock.advance(3600)  # all judicators were away
    judicator = world.new_judicator()
    world.pass_time(14.5)
    assert world.executor().state is ExecutorState.ONLINE
    assert world.status(task) is Status.RUNNING
    silent, machine = machine, Machine(judicator, session="s1")
    machine.held = silent.held
    machine.poll()  # it reports in time, by the session that it had
    world.pass_time(10, machine)
    assert world.executor().state is ExecutorState.ONLINE


def test_after_an_outage_of_the_store_nobody_is_expired_before_one_lease_has_passed(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, Flaky)
    world.machine()
    world.pass_time(5)
    world.store.down = True
    world.pass_time(30)
    world.store.down = False
    world.pass_time(14)
    assert world.executor().state is ExecutorState.ONLINE
    world.pass_time(7)
    assert world.executor().state is ExecutorState.LOST


def test_an_executor_whose_both_connections_broke_is_lost_sooner(world: World) -> None:
    machine = world.machine()
    world.pass_time(1, machine)
    _open(world, machine, "poll", "push")
    world.pass_time(5, machine)
    _close(world, machine, "poll", "push")
    world.pass_time(2.5)
    assert world.executor().state is ExecutorState.ONLINE
    world.pass_time(1)
    assert world.executor().state is ExecutorState.LOST


def test_one_connection_that_broke_or_was_renewed_loses_nobody(world: World) -> None:
    machine = world.machine()
    _open(world, machine, "poll", "push")
    world.pass_time(1, machine)
    _close(world, machine, "poll")
    world.pass_time(6)
    assert world.executor().state is ExecutorState.ONLINE
    _close(world, machine, "push")
    world.pass_time(1)
    machine.poll()
    _open(world, machine, "poll")
    world.pass_time(6)
    assert world.executor().state is ExecutorState.ONLINE


def _open(world: World, machine: Machine, *kinds: str) -> None:
    for kind in kinds:
        world.judicator.connection_opened(machine.info.name, machine.info.session, kind)


def _close(world: World, machine: Machine, *kinds: str) -> None:
    for kind in kinds:
        world.judicator.connection_closed(machine.info.name, machine.info.session, kind)


def test_reports_are_written_down_in_batches(world: World) -> None:
    machine = world.machine()
    before = world.store.executors()[0].last_report
    world.clock.advance(1)
    machine.report(poll=False)
    assert world.store.executors()[0].last_report == before
    assert world.executor().last_report == before + 1
    world.work()
    assert world.store.executors()[0].last_report == before + 1


def test_what_a_lost_executor_still_holds_is_found_at_every_pass(world: World) -> None:
    """A crash between declaring it lost and ending what it held leaves nothing behind."""
    machine = world.machine()
    task = world.add()
    machine.take()
    stored = world.store.executors()[0]
    lost = msgspec.structs.replace(stored, state=ExecutorState.LOST)
    assert world.store.put_executor(lost, stored)
    world.pass_time(1)
    assert world.status(task) is Status.RETRYING


SHORT = a_step(limits=Limits(wall=5.0))


def test_a_run_that_was_given_up_is_killed_before_its_task_is_cancelled(world: World) -> None:
    """Its executor is alive, and may be at it still: the deadline says nothing of its box."""
    machine = world.machine()
    task = world.add(execute=SHORT, redundancy=Redundancy(delay_bound=5.0))
    (given,) = machine.take()
    world.pass_time(17, machine)
    assert world.status(task) is Status.RETRYING
    assert world.judicator.cancel(task.id).status is Status.CANCELLING
    assert machine.poll().cancel == ((task.id, given.number),)
    machine.finish(given, killed=True)
    assert world.status(task) is Status.CANCELLED


def test_a_run_that_was_given_up_is_cancelled_once_its_executor_is_lost(world: World) -> None:
    machine = world.machine()
    task = world.add(execute=SHORT, redundancy=Redundancy(delay_bound=5.0))
    machine.take()
    world.pass_time(17, machine)
    assert world.judicator.cancel(task.id).status is Status.CANCELLING
    world.pass_time(16)
    assert world.status(task) is Status.CANCELLED


def test_a_lost_executor_can_be_forgotten(world: World) -> None:
    machine = world.machine()
    world.pass_time(16)
    world.judicator.steer(machine.info.name, "forget")
    assert world.judicator.executors() == []


# -- transition --------------------------------------------------------------------------


def test_a_retry_is_sent_when_its_back_off_is_over(world: World) -> None:
    machine = world.machine()
    world.add()
    fault = Failure(error_class=ErrorClass.INTERNAL_FAIL, message="The disk is full.")
    machine.finish(machine.take()[0], end=fault)
    assert machine.poll(vacant=1).assign == ()
    world.pass_time(1.5, machine)
    assert len(machine.poll(vacant=1).assign) == 1


def test_a_replica_past_its_report_deadline_is_given_up(world: World) -> None:
    machine = world.machine()
    task = world.add(execute=a_step())
    (given,) = machine.take()
    deadline = given.task.replicas[0].report_deadline
    assert deadline is not None
    world.pass_time(deadline - world.clock.now() + 1, machine)
    assert world.status(task) is Status.RETRYING


def test_a_task_past_its_own_deadline_fails(world: World) -> None:
    task = world.add(deadline=5.0)
    world.pass_time(6)
    view = world.judicator.get(task.id)
    assert view.status is Status.FAILED
    assert reason_of(view.task) is Reason.DEADLINE


def test_what_a_crash_left_half_way_is_found(world: World) -> None:
    """A task that was stored without any replica: the write after it never came."""
    task = submitted(a_new(), world.ids.task(world.clock.now()), world.clock.now(), world.policy)
    world.store.add([msgspec.structs.replace(task, replicas=(), transition_time=0.0)])
    world.pass_time(1)
    assert len(world.machine().poll(vacant=1).assign) == 1


def test_what_was_not_assimilated_in_the_write_of_its_result_is_found(world: World) -> None:
    machine = world.machine()
    task = world.add()
    machine.finish(machine.take()[0])
    done = world.store.get([task.id])[task.id]
    assert done.assimilate_state is Stage.DONE
    assert world.store.apply([msgspec.structs.replace(done, assimilate_state=Stage.READY)])[0]
    world.pass_time(1)
    assert world.store.get([task.id])[task.id].assimilate_state is Stage.DONE


# -- unsendable --------------------------------------------------------------------------


def test_a_task_that_nobody_can_take_fails_after_an_hour(world: World) -> None:
    machine = world.machine()
    gpu = world.add(requires=Requires(tags=("gpu",)))
    world.clock.advance(3590)
    machine.report(poll=False)
    world.pass_time(5, machine)
    assert world.status(gpu) is Status.PENDING
    world.pass_time(20, machine)
    view = world.judicator.get(gpu.id)
    assert view.status is Status.FAILED
    assert reason_of(view.task) is Reason.UNSENDABLE


def test_a_task_that_somebody_could_take_waits_for_as_long_as_it_must(world: World) -> None:
    machine = world.machine()
    task = world.add()
    for _ in range(20):
        world.clock.advance(360)
        machine.report(poll=False)
        world.work()
    assert world.status(task) is Status.PENDING


def test_a_task_does_not_fail_because_its_only_executor_was_just_lost(world: World) -> None:
    world.add()
    world.clock.advance(7200)
    world.machine()
    world.pass_time(40)
    assert world.executor().state is ExecutorState.LOST
    assert world.judicator.counts() == {Status.PENDING: 1}


def test_a_replica_made_after_an_hour_without_a_judge_waits_an_hour_of_its_own(
    world: World,
) -> None:
    there = [world.machine(name, f"of {name}") for name in ("e1", "e2")]
    wish = Redundancy(min_quorum=2, target_replicas=2, comparator=Numbers(rel=1e-3))
    task = world.add(redundancy=wish)
    for machine, blank in zip(there, (b"", b" "), strict=True):
        end = large(world.judicator, LARGE + blank)
        machine.finish(*machine.take(), end=end)

    for _ in range(2):
        assert not world.status(task).done
        world.clock.advance(3500)
        for machine in there:
            machine.report(poll=False)
        world.pass_time(50, *there)
        assert not world.status(task).done
        world.pass_time(70, *there)
    assert len(world.judicator.get(task.id).task.replicas) == 3
    assert reason_of(world.judicator.get(task.id).task) is Reason.UNSENDABLE


def test_young_tasks_of_high_priority_do_not_hide_the_old(world: World) -> None:
    machine = world.machine()
    needs = Requires(tags=("gpu",))
    old = world.add(requires=needs)
    world.clock.advance(3601)
    for _ in range(3):
        world.judicator.add([a_new(requires=needs, priority=9) for _ in range(100)])
    machine.report(poll=False)
    world.work()
    assert world.status(old) is Status.FAILED
    assert world.judicator.counts()[Status.PENDING] == 300


def test_isolation_below_the_clusters_weakest_counts_as_unable(world: World) -> None:
    machine = world.machine(isolation=Isolation(level="none"))
    task = world.add()
    assert machine.poll(vacant=1).assign == ()
    world.clock.advance(3601)
    machine.report(poll=False)
    world.work()
    assert world.status(task) is Status.FAILED


# -- blobs and output --------------------------------------------------------------------


def test_blobs_that_no_task_names_are_swept_after_their_grace(world: World) -> None:
    _, named = world.blobs.put([b"named"]), world.blobs.put([b"unnamed"])
    world.pass_time(1)
    assert world.judicator.blob_size(named[0]) is not None
    world.clock.advance(3601)
    world.work()
    assert world.judicator.blob_size(named[0]) is None


def test_blobs_that_a_result_names_stay(world: World) -> None:
    machine = world.machine()
    task = world.add()
    machine.finish(machine.take()[0], end=a_result(b"x" * 20_000))
    world.clock.advance(7200)
    world.work()
    result = world.judicator.get(task.id).task.replicas[0].result
    assert result is not None
    assert result.execute is not None
    stdout = result.execute.stdout
    assert stdout.inline is None
    assert world.judicator.read_blob(stdout.digest, 0, 1 << 20) == b"x" * 20_000


def test_live_output_goes_some_time_after_the_result_that_holds_it(world: World) -> None:
    machine = world.machine()
    task = world.add()
    (given,) = machine.take()
    chunk = Chunk(task=task.id, number=given.number, stream="stdout", offset=0, data=b"hello\n")
    machine.report(poll=False, output=(chunk,))
    machine.finish(given)
    world.pass_time(50, machine)
    assert world.store.output_sizes(task.id, given.number) == {"stdout": 6}
    world.pass_time(20, machine)
    assert world.store.output_sizes(task.id, given.number) == {}
    assert world.judicator.follow(task.id, "", 0.0).chunks == (chunk,)


# -- the loop ----------------------------------------------------------------------------


def test_only_the_leader_runs_duties(world: World) -> None:
    world.judicator.leadership.step()
    other = world.new_judicator(name="other")
    other.leadership.step()
    other.duties.step()
    assert all(c.passes == 0 for c in other.duties.counters.values())
    assert not other.leadership.leading


def test_a_duty_that_fails_backs_off_and_does_not_stop_the_others(tmp_path: Path) -> None:
    world = World(tmp_path, Flaky)
    world.store.down = True
    task = world.add(deadline=5.0)
    world.pass_time(10)
    counters = world.judicator.duties.counters
    assert 1 < counters["expire"].failures < 10
    assert world.status(task) is Status.FAILED


def test_the_loop_waits_no_longer_than_for_the_next_task_that_is_due(world: World) -> None:
    machine = world.machine()
    world.judicator.leadership.step()
    assert world.judicator.duties.step() == 1.0
    world.add()
    machine.finish(
        machine.take()[0], end=Failure(error_class=ErrorClass.INTERNAL_FAIL, message="no")
    )
    world.clock.advance(0.75)
    assert world.judicator.duties.step() == pytest.approx(0.25)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_starting_and_stopping_twice_or_out_of_order_is_safe(world: World, moment: str) -> None:
    judicator = world.judicator
    calls: dict[str, list[Callable[[], None]]] = {
        "before": [judicator.stop, judicator.start, judicator.stop],
        "after": [judicator.start, judicator.start, judicator.stop, judicator.stop],
    }
    for call in calls[moment]:
        call()
    assert not judicator.leadership.leading
    assert world.registry.judicators() == []


def test_a_stop_resigns_so_that_another_leads_at_once(world: World) -> None:
    world.judicator.start()
    world.clock.wait_for_wait(10 / 3)  # the leader's loop rests: the term is won
    assert world.judicator.leadership.leading
    world.judicator.stop()
    other = world.new_judicator(name="other")
    other.leadership.step()
    assert other.leadership.leading
    assert world.judicator.search(Query()).total == 0


def test_a_late_end_of_what_never_began_is_kept_as_lost(world: World) -> None:
    machine = world.machine()
    task = world.add()
    machine.take()
    world.pass_time(16)
    replica = world.judicator.get(task.id).task.replicas[0]
    assert (replica.state, replica.outcome) == (ReplicaState.OVER, Outcome.NO_REPLY)


# -- removal -----------------------------------------------------------------------------


def ended_long_ago(world: World, purge_after: float = 0.0) -> TaskId:
    """A task that has ended, and whose files have been deleted since."""
    world.policy = Policy(delete_delay=10.0, purge_after=purge_after)
    world.new_judicator()
    task, machine = world.add(), world.machine()
    machine.finish(*machine.take())
    world.pass_time(40, machine)
    assert world.judicator.get(task.id).task.file_delete_state is Stage.DONE
    return task.id


def test_d2_a_task_is_removed_when_its_files_are_gone_and_it_is_old_enough(world: World) -> None:
    old = ended_long_ago(world, purge_after=100.0)
    waiting = world.add()
    world.pass_time(30)
    assert world.judicator.get(old)
    world.pass_time(70)
    with pytest.raises(NotFound):
        world.judicator.get(old)
    assert world.judicator.get(waiting.id)


def test_d2_tasks_stay_for_ever_unless_the_administrator_says_otherwise(world: World) -> None:
    old = ended_long_ago(world)
    world.pass_time(200)
    assert world.judicator.get(old)


def test_d2_tasks_of_a_batch_stay_as_long_as_it_does(world: World) -> None:
    world.policy = Policy(delete_delay=10.0, purge_after=20.0)
    world.new_judicator()
    batch = world.judicator.create_batch(NewBatch(user=ALICE, source=BatchSource.LIST))
    world.judicator.extend_batch(batch.id, 0, [a_new()], True)
    machine = world.machine()
    machine.finish(*machine.take())
    world.pass_time(120, machine)
    assert world.judicator.batch(batch.id).counters.counts == {Status.SUCCESS: 1}
