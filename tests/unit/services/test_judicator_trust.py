"""What executors are given, by what is known of them; what they earn; what people are told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from accord.adapters.memory.store import MemoryStore
from accord.core.audit import AuditPolicy
from accord.core.errors import Invalid
from accord.core.languages import fill
from accord.core.lifecycle import submitted
from accord.core.reliability import Average, Reliability, TrustPolicy
from accord.core.replica import ErrorClass, Failure, Outcome, Validity, content
from accord.core.standing import Credit
from accord.core.status import Status
from accord.core.task import Json, Redundancy, Task
from accord.ports.judicator import Assignment
from accord.testing.judicator_parts import Machine, a_new, a_result, names
from tests.unit.services.judicator_world import World

BROKEN = Failure(error_class=ErrorClass.INTERNAL_FAIL, message="the disk is full")
RETRY = {"redundancy": Redundancy(max_error_replicas=9)}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def put(world: World, redundancy: Redundancy, **changes: Any) -> Task:
    """Store a task as admission would store it."""
    now = world.store.now()
    new = a_new(redundancy=redundancy, **changes)
    task = submitted(new, world.ids.task(now), now, world.policy)
    world.store.add([task])
    return task


def given(machine: Machine, vacant: int = 2) -> list[str]:
    """The names of the tasks that a poll gives."""
    return names([a.task for a in machine.poll(vacant=vacant).assign])


def spent(seconds: float, stdout: bytes = b"hello\n") -> Any:
    """A result that took that much CPU time."""
    result = a_result(stdout)
    assert result.execute
    return msgspec.structs.replace(
        result, execute=msgspec.structs.replace(result.execute, cpu_time=seconds)
    )


def fail(world: World, machine: Machine, times: int, class_: str = "any") -> None:
    """Let it fail at so many tasks, one after the other; they are cancelled."""
    for _ in range(times):
        task = world.add(name="bad", labels={} if class_ == "any" else {"app": class_})
        (sent,) = machine.take()
        machine.finish(sent, end=BROKEN)
        world.judicator.cancel(task.id)


# -- quarantine --------------------------------------------------------------------------


def test_an_executor_that_fails_in_a_row_gets_one_probe_after_a_minute(world: World) -> None:
    machine = world.machine()
    fail(world, machine, 5)
    for name in "abc":
        world.add(name=name)
    assert given(machine) == []
    world.pass_time(59.5, machine)
    assert given(machine) == []
    world.pass_time(0.5, machine)
    (probe,) = machine.poll(vacant=2).assign
    assert machine.poll(vacant=1).assign == ()
    machine.finish(probe)
    assert given(machine) == ["b", "c"]


def test_a_probe_that_fails_doubles_the_pause(world: World) -> None:
    machine = world.machine()
    fail(world, machine, 5)
    world.pass_time(60, machine)
    fail(world, machine, 1)
    world.add(name="next")
    world.pass_time(119.5, machine)
    assert given(machine) == []
    world.pass_time(0.5, machine)
    assert given(machine) == ["next"]


def test_the_quarantine_of_one_class_keeps_no_other_work_away(world: World) -> None:
    machine = world.machine()
    fail(world, machine, 5, "seti")
    for number in range(100):
        world.add(name=f"seti {number}", labels={"app": "seti"}, priority=5)
    world.add(name="python", spec=_python())
    assert given(machine, 1) == ["python"]


def test_nor_other_work_that_needs_the_same(world: World) -> None:
    machine = world.machine()
    fail(world, machine, 5, "seti")
    for number in range(30):
        world.add(name=f"seti {number}", labels={"app": "seti"}, priority=5)
    for name in "abc":
        world.add(name=name)
    assert given(machine, 2) == ["a", "b"]


def _python() -> Any:
    return fill("python", content(b"1"))


def test_what_one_does_not_get_another_is_given(world: World) -> None:
    bad, good = world.machine(), world.machine("e2")
    fail(world, bad, 5)
    world.add(name="a")
    assert given(bad) == []
    assert given(good) == ["a"]


def test_a_power_cut_is_one_failure(world: World) -> None:
    machine = world.machine(slots=8)
    other = world.machine("e2")
    for _ in range(8):
        world.add()
    machine.take(8)
    world.pass_time(16, other)
    machine.hello()
    (standing,) = world.executor().standings
    assert (standing.failures, standing.note) == (1, "")


def test_release_ends_a_quarantine(world: World) -> None:
    machine = world.machine()
    fail(world, machine, 5)
    world.add(name="a")
    assert given(machine) == []
    (standing,) = world.judicator.steer(machine.info.name, "release").standings
    assert standing.note == ""
    assert given(machine) == ["a"]
    assert world.store.reliability()[0].failures == 0


def test_another_judicator_knows_of_a_quarantine_from_the_store(world: World) -> None:
    fail(world, world.machine(), 5)
    world.judicator.housekeeping.step()
    world.add(name="a")
    world.new_judicator().housekeeping.step()
    assert given(world.machine(session="s2")) == []


def test_another_installation_of_the_name_is_not_blamed(world: World) -> None:
    fail(world, world.machine(), 5)
    world.add(name="a")
    world.pass_time(20)
    assert given(world.machine(session="s2", instance_key="another")) == ["a"]


# -- the day's quota ---------------------------------------------------------------------


def test_who_has_begun_its_quota_waits_for_the_next_day(world: World) -> None:
    machine = world.machine()
    world.know("e1", quota=1)
    world.add(name="a")
    world.add(name="b")
    assert given(machine, 2) == ["a"]
    assert given(machine, 1) == []
    assert "has begun its 1 of any for the day" in world.executor().standings[0].note
    world.pass_time(1)
    world.clock.advance(86400)
    machine.report(poll=False)
    assert given(machine, 1) == ["b"]


def test_success_lets_it_have_more(world: World) -> None:
    machine = world.machine()
    world.know("e1", quota=1)
    for _ in range(3):
        world.add()
    (sent,) = machine.take()
    assert given(machine, 1) == []
    machine.finish(sent)
    assert len(given(machine, 2)) == 2


# -- trust -------------------------------------------------------------------------------

ADAPTIVE = Redundancy(min_quorum=2, target_replicas=2, adaptive=True)


def test_who_is_not_trusted_calls_for_the_whole_quorum(world: World) -> None:
    machine, other = world.machine(), world.machine("e2")
    task = put(world, ADAPTIVE)
    machine.finish(*machine.take())
    assert world.status(task) is not Status.SUCCESS
    other.finish(*other.take())
    assert world.status(task) is Status.SUCCESS
    found = world.judicator.get(task.id).task
    assert [r.validity for r in found.replicas] == [Validity.VALID] * 2
    assert world.store.reliability() == []
    world.work()
    assert [(r.executor, r.checked) for r in world.store.reliability()] == [("e1", 1), ("e2", 1)]


def test_the_result_of_who_is_trusted_stands_alone(world: World) -> None:
    machine = world.machine()
    world.know("e1", checked=50)
    assert world.executor().standings[0].trusted
    task = put(world, ADAPTIVE)
    machine.finish(*machine.take())
    assert world.status(task) is Status.SUCCESS
    assert len(world.judicator.get(task.id).task.replicas) == 1


def held_world(world: World) -> tuple[Machine, Machine, Task]:
    """A result of a trusted executor that is held for ten minutes."""
    world.trust = msgspec.structs.replace(world.trust, hold=600.0)
    world.new_judicator()
    machine, other = world.machine(), world.machine("e2")
    world.know("e1", checked=50)
    task = put(world, ADAPTIVE)
    machine.finish(*machine.take())
    assert not world.status(task).done
    assert "stands alone, as e1 is trusted, and is held for another 10 min" in (
        world.judicator.explain(task.id)
    )
    assert given(other) == []
    return machine, other, task


def test_a_result_that_is_held_stands_alone_after_a_while(world: World) -> None:
    machine, other, task = held_world(world)
    world.pass_time(599, machine, other)
    assert not world.status(task).done
    world.pass_time(2, machine, other)
    assert world.status(task) is Status.SUCCESS
    assert [r.outcome for r in world.judicator.get(task.id).task.replicas] == [
        Outcome.SUCCESS,
        Outcome.DIDNT_NEED,
    ]


def test_and_is_confirmed_by_others_if_its_executor_was_caught_meanwhile(world: World) -> None:
    machine, other, task = held_world(world)
    world.know("e1", checked=0, caught=1)
    world.pass_time(601, machine, other)
    assert not world.status(task).done
    other.finish(*other.take())
    assert world.status(task) is Status.SUCCESS
    assert [r.validity for r in world.judicator.get(task.id).task.replicas] == [Validity.VALID] * 2


def test_and_at_once_if_it_is_caught(world: World) -> None:
    machine, other, task = held_world(world)
    third = world.machine("e3")
    put(world, Redundancy(min_quorum=3, target_replicas=3, adaptive=True))
    world.ids = type(world.ids)(jitter=0.0)
    taken = [one.take()[0] for one in (other, third, machine)]
    for one, given_, said in zip((other, third, machine), taken, (b"1", b"1", b"2"), strict=True):
        one.finish(given_, end=a_result(said))
    world.work()
    assert "is trusted" not in world.judicator.explain(task.id)
    other.finish(*other.take())
    assert world.status(task) is Status.SUCCESS


def test_a_result_is_not_held_past_the_tasks_deadline(world: World) -> None:
    world.trust = msgspec.structs.replace(world.trust, hold=1200.0)
    world.new_judicator()
    machine = world.machine()
    world.know("e1", checked=50)
    (task,) = world.judicator.add([a_new(redundancy=ADAPTIVE, deadline=300.0)])
    machine.finish(*machine.take())
    assert world.status(task) is Status.SUCCESS


def test_a_result_is_not_held_where_nobody_could_confirm_it(world: World) -> None:
    world.trust = msgspec.structs.replace(world.trust, hold=1200.0)
    world.new_judicator()
    machine = world.machine()
    world.know("e1", checked=50)
    most = msgspec.structs.replace(
        ADAPTIVE, max_total_replicas=2, max_success_replicas=2, max_error_replicas=2
    )
    (task,) = world.judicator.add([a_new(redundancy=most)])
    machine.finish(*machine.take(), end=BROKEN)
    world.pass_time(65, machine)
    machine.finish(*machine.take())
    assert world.status(task) is Status.SUCCESS


def test_a_task_that_is_drawn_for_a_check_is_run_twice(world: World) -> None:
    world.ids = type(world.ids)(jitter=0.07)
    world.new_judicator()
    machine = world.machine()
    world.know("e1", checked=1000)
    task = put(world, ADAPTIVE)
    machine.finish(*machine.take())
    assert len(world.judicator.get(task.id).task.replicas) == 2


def test_who_was_caught_rests_and_its_probation_begins_anew(world: World) -> None:
    world.trust, world.audits = TrustPolicy(check_floor=1.0), AuditPolicy(sample=0)
    world.new_judicator()
    world.judicator.leadership.step()
    liar, one, other = (world.machine(name) for name in ("e1", "e2", "e3"))
    world.know("e1", checked=world.trust.probation)
    put(world, Redundancy(min_quorum=3, target_replicas=3, adaptive=True))
    for machine, said in ((liar, b"no"), (one, b"yes"), (other, b"yes")):
        machine.finish(*machine.take(), end=a_result(said))
    world.add(name="next")
    assert given(liar) == []
    (standing,) = world.executor().standings
    assert (standing.caught, standing.trusted) == (1, False)
    assert standing.note.startswith("rests from any until")
    world.pass_time(600, liar, one)
    assert given(liar) == ["next"]


def _contradict(world: World, there: Sequence[Machine], outputs: Sequence[bytes]) -> None:
    """Let each take what there is and print its own."""
    for machine, said in zip(there, outputs, strict=True):
        for assignment in machine.poll(vacant=1).assign:
            machine.finish(assignment, end=a_result(said))
    world.work()


def test_a_program_of_chance_keeps_nobody_from_work(world: World) -> None:
    there = [world.machine(name) for name in ("e1", "e2", "e3")]
    for _ in range(6):
        world.add(labels={"app": "python"}, redundancy=ADAPTIVE)
        for outputs in ((b"0", b"1", b"1"), (b"1", b"0", b"0")):
            _contradict(world, there, outputs)
    mine = world.add(user="bob", name="mine", language="python")
    assert [given(machine) for machine in there] == [["mine"], [], []]
    (standing,) = [s for s in world.executor().standings if s.task_class == "app:python"]
    assert standing.caught
    assert not standing.note
    assert mine.user == "bob"


def test_what_programs_print_quarantines_nobody(world: World) -> None:
    machine = world.machine(slots=20)
    wish = Redundancy(
        min_quorum=6,
        target_replicas=6,
        max_success_replicas=8,
        max_total_replicas=20,
        distinct="none",
        comparator=Json(),
    )
    task = world.add(redundancy=wish)
    sent = [assignment for _ in range(6) for assignment in machine.take()]
    for number, assignment in enumerate(sent):
        machine.finish(assignment, end=a_result(b"no json %d" % number))
    outcomes = {r.outcome for r in world.judicator.get(task.id).task.replicas}
    assert Outcome.VALIDATE_ERROR in outcomes
    (standing,) = world.executor().standings
    assert (standing.failures, standing.caught, standing.note) == (0, 0, "")


# -- retries and reliable executors ------------------------------------------------------

GOOD: dict[str, Any] = {"consecutive_valid": 10, "turnaround": Average(count=20, mean=30.0)}


def with_bump(world: World, bump: int = 20) -> None:
    """Let retries have a higher priority."""
    world.policy = msgspec.structs.replace(world.policy, priority_on_over=bump)
    world.new_judicator()


def failed_once(world: World, first: Machine, **changes: Any) -> Task:
    """A task that failed on that executor, its next replica ready to be sent."""
    task = world.add(**RETRY, **changes)
    first.finish(*first.take(), end=BROKEN)
    world.pass_time(1.5, first)
    return task


def test_a_retry_goes_before_others_by_its_bump(world: World) -> None:
    with_bump(world, 5)
    first, other = world.machine(), world.machine("e2")
    failed_once(world, first, name="retry")
    world.add(name="early", priority=4)
    assert given(other) == ["retry", "early"]


def test_a_retry_waits_a_minute_for_a_reliable_executor(world: World) -> None:
    with_bump(world)
    first, plain, good = (world.machine(name) for name in ("e1", "e2", "e3"))
    world.know("e3", **GOOD)
    assert world.executor("e3").standings[0].reliable
    failed_once(world, first)
    assert given(plain) == []
    world.pass_time(58, first, plain, good)
    assert given(plain) == []
    world.pass_time(2, first, plain, good)
    assert len(given(plain)) == 1


def test_a_reliable_executor_gets_it_at_once_with_less_time(world: World) -> None:
    with_bump(world)
    first, good = world.machine(), world.machine("e3")
    world.know("e3", **GOOD)
    task = failed_once(world, first)
    (sent,) = good.take()
    replica = sent.task.replicas[0]
    assert replica.report_deadline is not None
    assert replica.sent_time is not None
    full = _full(world, task)
    assert replica.report_deadline - replica.sent_time == pytest.approx(full / 2)


def _full(world: World, task: Task) -> float:
    return task.spec.execute.limits.wall + world.policy.grace


def test_where_nobody_is_reliable_a_retry_waits_for_nobody(world: World) -> None:
    with_bump(world)
    first, plain = world.machine(), world.machine("e2")
    failed_once(world, first)
    assert len(given(plain)) == 1


# -- credit ------------------------------------------------------------------------------


def test_all_valid_replicas_earn_alike_and_users_and_owners_are_told(world: World) -> None:
    fast = world.machine(benchmark=2.0, owner="lab")
    slow = world.machine("e2", benchmark=1.0, owner="home")
    task = put(world, Redundancy(min_quorum=2, target_replicas=2))
    fast.finish(*fast.take(), end=spent(3.0))
    slow.finish(*slow.take(), end=spent(4.0))
    assert [r.credit for r in world.judicator.get(task.id).task.replicas] == [5.0, 5.0]
    assert [world.executor(name).credit for name in ("e1", "e2")] == [5.0, 5.0]
    world.work()
    owners = {"home": 5.0, "lab": 5.0}
    assert world.judicator.credit() == Credit(users={"alice": 10.0}, owners=owners)


def test_who_is_valid_later_earns_the_same(world: World) -> None:
    machines = [world.machine(name) for name in ("e1", "e2", "e3")]
    task = put(world, Redundancy(min_quorum=2, target_replicas=3))
    sent = [machine.take()[0] for machine in machines]
    for machine, one, seconds in zip(machines, sent, (2.0, 4.0, 99.0), strict=True):
        machine.finish(one, end=spent(seconds))
    assert [r.credit for r in world.judicator.get(task.id).task.replicas] == [3.0] * 3
    world.work()
    assert world.judicator.credit().users == {"alice": 9.0}


def test_who_is_wrong_earns_nothing(world: World) -> None:
    machines = [world.machine(name) for name in ("e1", "e2", "e3")]
    put(world, Redundancy(min_quorum=3, target_replicas=3))
    for machine, said in zip(machines, (b"no", b"yes", b"yes"), strict=True):
        machine.finish(*machine.take(), end=spent(2.0, said))
    assert [world.executor(name).credit for name in ("e1", "e2", "e3")] == [0.0, 2.0, 2.0]


@pytest.mark.parametrize("benchmark", [0.0, -1.0, 1001.0, float("inf")])
def test_a_benchmark_beyond_belief_is_refused(world: World, benchmark: float) -> None:
    with pytest.raises(Invalid, match="benchmark"):
        world.machine(benchmark=benchmark)


# -- what people are told ----------------------------------------------------------------


def test_a_waiting_task_says_that_executors_are_kept_from_it(world: World) -> None:
    machine = world.machine()
    task = world.add(name="a", labels={"app": "seti"})
    before = world.judicator.explain(task.id)
    world.judicator.cancel(task.id)
    fail(world, machine, 5, "seti")
    waiting = world.add(name="b", labels={"app": "seti"})
    assert world.judicator.explain(waiting.id) == (
        f"{before} Not now on e1 (quarantined for seti until 22:14 UTC after 5 failures in a row;"
        " then it gets one task as a probe)."
    )
    other = world.add(name="c")
    assert "Not now" not in world.judicator.explain(other.id)


def test_lessons_are_written_at_the_end(world: World) -> None:
    machine = world.machine()
    world.judicator.start()
    world.add()
    machine.finish(*machine.take())
    world.judicator.stop()
    (record,) = world.store.reliability()
    assert (record.sent_today, record.quota) == (1, world.trust.daily_quota + 1)


def test_the_same_report_twice_teaches_once(world: World) -> None:
    machine = world.machine()
    world.add()
    (sent,) = machine.take()
    _deliver_twice(machine, sent)
    assert world.executor().standings[0].failures == 1


def _deliver_twice(machine: Machine, sent: Assignment) -> None:
    machine.finish(sent, end=BROKEN)
    machine.finish(sent, end=BROKEN)


class Racing(MemoryStore):
    """A store in which somebody else is sometimes first."""

    losing = 0

    def apply(self, changed: Sequence[Task]) -> list[bool]:
        if self.losing and changed:
            self.losing -= 1
            return [False] * len(changed)
        return super().apply(changed)


def test_what_lost_its_race_teaches_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, store=Racing)
    machine = world.machine()
    world.add()
    world.store.losing = 1
    assert given(machine, 1) == []
    (sent,) = machine.take()
    world.store.losing = 3
    machine.finish(sent, end=BROKEN)
    (standing,) = world.executor().standings
    assert (standing.failures, standing.sent_today) == (1, 1)


def test_of_who_was_forgotten_nothing_is_known(world: World) -> None:
    machine = world.machine()
    fail(world, machine, 5)
    world.pass_time(16)
    world.judicator.steer(machine.info.name, "forget")
    world.add(name="a")
    assert given(world.machine(session="s2")) == ["a"]


def test_a_store_that_knows_of_an_executor_is_asked_at_the_start(world: World) -> None:
    machine = world.machine()
    record = Reliability(executor=machine.info.name, task_class="any", checked=7)
    world.store.put_reliability([(record, None)])
    judicator = world.new_judicator()
    judicator.start()
    assert world.executor().standings[0].checked == 7
    judicator.stop()
