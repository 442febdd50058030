"""What every implementation of ``ports.judicator`` must do about redundant tasks; part of
``JudicatorSuite``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from accord.core.judging import JudgingState
from accord.core.judging_spec import BUILT_IN
from accord.core.limits import EXECUTE_DEFAULTS
from accord.core.replica import (
    ErrorClass,
    Failure,
    Outcome,
    ReplicaState,
    Result,
    Validity,
    Verdict,
    content,
)
from accord.core.status import Reason, Status
from accord.core.task import Json, Lines, Numbers, Program, Redundancy, Source, Step, Task
from accord.core.view import reason_of
from accord.ports.judicator import Assignment, Judicator
from accord.testing.clock import FakeClock
from accord.testing.judicator_parts import LONG, Call, Machine, a_new, a_result

LARGE = b"1.0 " * 3000
"""More than core reads by itself."""


def machines(judicator: Judicator, *names: str, **about: Any) -> list[Machine]:
    """Executors that have said hello."""
    found = [Machine(judicator, name, f"session of {name}", **about) for name in names]
    for machine in found:
        machine.hello()
    return found


def redundant(judicator: Judicator, quorum: int = 2, **policy: Any) -> Task:
    """A task that wants so many results."""
    wish = Redundancy(**{"min_quorum": quorum, "target_replicas": quorum, **policy})
    return judicator.add([a_new(redundancy=wish)])[0]


def blob(judicator: Judicator, data: bytes) -> Any:
    """Content that is not inline."""
    judicator.write_blob(f"upload of {len(data)} {data[:9].hex()}", 0, data)
    digest, size = judicator.commit_blob(f"upload of {len(data)} {data[:9].hex()}")
    return content(data).__class__(digest=digest, size=size)


def large(judicator: Judicator, data: bytes) -> Result:
    """A result whose output is too large for a document."""
    small = a_result()
    assert small.execute is not None
    step = small.execute.__class__(exit_code=0, stdout=blob(judicator, data))
    return Result(verdict=Verdict.OK, execute=step)


def answer(groups: Sequence[Sequence[int]], unreadable: Sequence[int] = ()) -> Result:
    """What a judging program prints."""
    said = json.dumps({"groups": groups, "unreadable": unreadable}).encode()
    return a_result(said)


def run_by(machine: Machine, output: bytes | Result) -> Assignment:
    """Take the one task that there is, and end it with that output."""
    (given,) = machine.take()
    machine.finish(given, end=output if isinstance(output, Result) else a_result(output))
    return given


def validities(task: Task) -> list[str]:
    """What each replica's result is worth."""
    return [r.validity.value for r in task.replicas]


def undecided(judicator: Judicator, machines_: Sequence[Machine], **policy: Any) -> Task:
    """A task of which two results are there that core cannot tell apart."""
    policy = {"comparator": Numbers(rel=1e-3), **policy}
    task = redundant(judicator, **policy)
    run_by(machines_[0], large(judicator, LARGE))
    run_by(machines_[1], large(judicator, LARGE + b" "))
    return task


class RedundancySuite:
    """See the module's docstring."""

    # -- quorum --------------------------------------------------------------------------

    def test_results_that_agree_make_the_result(self, judicator: Judicator) -> None:
        first, second = machines(judicator, "e1", "e2")
        task = redundant(judicator)
        run_by(first, b"same")
        assert judicator.get(task.id).status is not Status.SUCCESS
        run_by(second, b"same")
        view = judicator.get(task.id)
        assert view.status is Status.SUCCESS
        assert validities(view.task) == ["valid", "valid"]
        assert view.task.canonical == 0
        assert {r.executor for r in view.task.replicas} == {"e1", "e2"}

    def test_replicas_of_a_task_go_to_different_executors(self, judicator: Judicator) -> None:
        (alone,) = machines(judicator, "e1")
        task = redundant(judicator)
        assert len(alone.poll(vacant=5).assign) == 1
        assert not alone.poll(vacant=5).assign
        run_by_hand = next(iter(alone.held.values()))
        assert run_by_hand.number == 0
        assert "start another executor" in judicator.explain(task.id)
        assert not alone.poll(vacant=5).assign

    def test_or_to_different_owners(self, judicator: Judicator) -> None:
        ours = machines(judicator, "e1", "e2", owner="we")
        (theirs,) = machines(judicator, "e3", owner="they")
        redundant(judicator, distinct="owner")
        ours[0].take()
        assert not ours[1].poll(vacant=1).assign
        theirs.take()

    def test_or_anywhere(self, judicator: Judicator) -> None:
        (alone,) = machines(judicator, "e1")
        task = redundant(judicator, distinct="none")
        run_by(alone, b"x")
        run_by(alone, b"x")
        assert judicator.get(task.id).status is Status.SUCCESS

    def test_what_it_has_run_does_not_keep_an_executor_from_what_is_behind(
        self, judicator: Judicator
    ) -> None:
        (first,) = machines(judicator, "e1")
        for _ in range(30):
            redundant(judicator)
            run_by(first, b"x")
        later = judicator.add([a_new(name="later")])[0]
        (given,) = first.take()
        assert given.task.id == later.id

    def test_the_second_replica_wakes_an_executor_that_may_have_it(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        first, second = machines(judicator, "e1", "e2")
        polls = []
        for number, machine in enumerate((first, second)):
            polls.append(Call(partial(machine.poll, vacant=1, wait=LONG + number)))
            clock.wait_for_wait(LONG + number)
        task = redundant(judicator)
        given = [poll.answer().assign[0] for poll in polls]
        assert {g.task.id for g in given} == {task.id}
        assert sorted(g.number for g in given) == [0, 1]

    def test_a_third_decides_where_two_differ(self, judicator: Judicator) -> None:
        first, second, third = machines(judicator, "e1", "e2", "e3")
        task = redundant(judicator)
        run_by(first, b"a")
        run_by(second, b"b")
        assert "2 results of 3 are in, too few of which agree" in judicator.explain(task.id)
        run_by(third, b"b")
        view = judicator.get(task.id)
        assert view.status is Status.SUCCESS
        assert validities(view.task) == ["invalid", "valid", "valid"]
        assert view.task.canonical == 1
        assert "2 of 3 results agree" in judicator.explain(task.id)

    def test_where_none_agree_it_fails_in_the_end(self, judicator: Judicator) -> None:
        (alone,) = machines(judicator, "e1")
        task = redundant(judicator, distinct="none", max_success_replicas=3)
        for n in range(4):
            run_by(alone, str(n).encode())
        view = judicator.get(task.id)
        assert (view.status, reason_of(view.task)) == (Status.FAILED, Reason.NO_CONSENSUS)

    def test_what_fails_alike_agrees(self, judicator: Judicator) -> None:
        first, second = machines(judicator, "e1", "e2")
        task = redundant(judicator)
        failed = a_result(b"", verdict=Verdict.RUNTIME_ERROR)
        run_by(first, failed)
        run_by(second, failed)
        assert judicator.get(task.id).status is Status.RUN_FAILED

    def test_a_tolerance_is_honoured(self, judicator: Judicator) -> None:
        first, second = machines(judicator, "e1", "e2")
        task = redundant(judicator, comparator=Numbers(abs=0.01))
        run_by(first, b"1.0")
        run_by(second, b"1.001")
        assert judicator.get(task.id).status is Status.SUCCESS

    def test_replicas_of_a_homogeneous_task_run_on_one_platform(self, judicator: Judicator) -> None:
        one, other = "Debian GNU/Linux 12, Linux 6", "Windows 11"
        (first,) = machines(judicator, "e1", os=one)
        (second,) = machines(judicator, "e2", os=other)
        (third,) = machines(judicator, "e3", os=one)
        (unknown,) = machines(judicator, "e4", os="")
        task = redundant(judicator, homogeneous="os")
        assert not unknown.poll(vacant=1).assign
        run_by(first, b"x")
        assert not second.poll(vacant=1).assign
        run_by(third, b"x")
        view = judicator.get(task.id)
        assert view.status is Status.SUCCESS
        assert view.task.hr_class == "debian gnu/linux 12"

    # -- judging runs --------------------------------------------------------------------

    def test_a_judging_run_tells_what_core_cannot(self, judicator: Judicator) -> None:
        first, second, third = machines(judicator, "e1", "e2", "e3")
        task = undecided(judicator, (first, second))
        view = judicator.get(task.id)
        assert view.status is Status.VALIDATING
        assert "A judging run on an executor that made none of them" in judicator.explain(task.id)
        assert not first.poll(vacant=1).assign
        assert not second.poll(vacant=1).assign
        (given,) = third.take()
        assert given.number == -1
        assert judicator.get(task.id).task.judging is not None
        assert "A judging run on e3 tells which agree" in judicator.explain(task.id)
        third.finish(given, end=answer([[0, 1]]))
        ended = judicator.get(task.id)
        assert ended.status is Status.SUCCESS
        assert validities(ended.task) == ["valid", "valid"]
        assert not third.held

    def test_it_is_sent_the_results_and_a_program_to_compare_them(
        self, judicator: Judicator
    ) -> None:
        first, second, third = machines(judicator, "e1", "e2", "e3")
        undecided(judicator, (first, second))
        (given,) = third.take()
        spec = given.task.spec
        assert spec.source is not None
        assert sorted(spec.source.files) == [BUILT_IN, "results/0/stdout", "results/1/stdout"]
        assert spec.source.files["results/0/stdout"].digest == content(LARGE).digest
        command, args = spec.execute.command, spec.execute.args
        assert command == ("python3", BUILT_IN, "numbers", '{"abs":0.0,"rel":0.001}')
        assert args == ("0", "1")
        assert not given.task.replicas

    def test_a_users_program_is_sent_with_its_files(self, judicator: Judicator) -> None:
        first, second, third = machines(judicator, "e1", "e2", "e3")
        program = Program(
            execute=Step(command="python3 mine.py", args=("-v",), limits=EXECUTE_DEFAULTS),
            source=Source(files={"mine.py": content(b"print()")}),
            language="python",
        )
        task = redundant(judicator, comparator=program)
        run_by(first, a_result(b"a", kept={"x/y": content(b"kept")}))
        run_by(second, b"b")
        (given,) = third.take()
        spec = given.task.spec
        assert spec.source is not None
        assert sorted(spec.source.files) == [
            "mine.py",
            "results/0/outputs/x/y",
            "results/0/stdout",
            "results/1/stdout",
        ]
        assert (spec.language, spec.execute.args) == ("python", ("-v", "0", "1"))
        third.finish(given, end=answer([[1, 0]]))
        assert judicator.get(task.id).status is Status.SUCCESS

    def test_only_executors_that_can_run_the_program_get_it(self, judicator: Judicator) -> None:
        first, second = machines(judicator, "e1", "e2")
        (plain,) = machines(judicator, "e3", languages={})
        program = Program(
            execute=Step(command="python3 mine.py", limits=EXECUTE_DEFAULTS), language="python"
        )
        redundant(judicator, comparator=program)
        run_by(first, b"a")
        run_by(second, b"b")
        assert not plain.poll(vacant=1).assign
        (able,) = machines(judicator, "e4")
        able.take()

    def test_differing_results_call_for_another(self, judicator: Judicator) -> None:
        first, second, third = machines(judicator, "e1", "e2", "e3")
        task = undecided(judicator, (first, second))
        (given,) = third.take()
        third.finish(given, end=answer([[0], [1]]))
        assert validities(judicator.get(task.id).task) == ["inconclusive", "inconclusive", "init"]
        run_by(third, large(judicator, LARGE))
        assert judicator.get(task.id).status is Status.SUCCESS

    def test_what_it_cannot_read_is_a_validate_error(self, judicator: Judicator) -> None:
        first, second, third = machines(judicator, "e1", "e2", "e3")
        task = undecided(judicator, (first, second), comparator=Json())
        (given,) = third.take()
        third.finish(given, end=answer([[1]], [0]))
        replica = judicator.get(task.id).task.replicas[0]
        assert (replica.outcome, replica.validity) == (Outcome.VALIDATE_ERROR, Validity.INVALID)

    @pytest.mark.parametrize(
        "end",
        [
            a_result(b"nonsense"),
            a_result(b'{"groups": "all"}'),
            a_result(b'{"groups": [[0]], "comment": 1}'),
            a_result(b'{"groups": [[0, 1]]}', verdict=Verdict.RUNTIME_ERROR),
            Failure(error_class=ErrorClass.RESOURCE_FAIL, message="The disk is full."),
        ],
        ids=["nonsense", "no groups", "more than asked", "failed", "not run"],
    )
    def test_one_that_tells_nothing_is_tried_again_after_a_while(
        self, judicator: Judicator, clock: FakeClock, end: Result | Failure
    ) -> None:
        first, second, third = machines(judicator, "e1", "e2", "e3")
        task = undecided(judicator, (first, second))
        (given,) = third.take()
        third.finish(given, end=end)
        view = judicator.get(task.id)
        assert validities(view.task) == ["init", "init"]
        run = view.task.judging
        assert run is not None
        assert (run.state, run.attempts) == (JudgingState.UNSENT, 1)
        assert "The next judging run is in 1 s" in judicator.explain(task.id)
        assert not third.poll(vacant=1).assign
        again = Call(lambda: third.poll(vacant=1, wait=LONG))
        clock.wait_for_wait(LONG)
        clock.advance(1.5)
        (given,) = again.answer().assign
        assert given.number == -2
        third.finish(given, end=answer([[0, 1]]))
        assert judicator.get(task.id).status is Status.SUCCESS

    def test_one_that_failed_somewhere_goes_to_another_first(
        self, judicator: Judicator, clock: FakeClock
    ) -> None:
        first, second, bad, good = machines(judicator, "e1", "e2", "e3", "e4")
        task = undecided(judicator, (first, second))
        (given,) = bad.take()
        full = Failure(error_class=ErrorClass.RESOURCE_FAIL, message="The disk is full.")
        bad.finish(given, end=full)
        again = Call(lambda: bad.poll(vacant=1, wait=LONG))
        clock.wait_for_wait(LONG)
        other = Call(lambda: good.poll(vacant=1, wait=LONG + 1))
        clock.wait_for_wait(LONG + 1)
        clock.advance(1.5)
        (given,) = other.answer().assign
        assert given.number == -2
        good.finish(given, end=answer([[0, 1]]))
        assert judicator.get(task.id).status is Status.SUCCESS
        clock.advance(LONG)
        assert again.answer().assign == ()

    def test_one_whose_answer_was_lost_is_sent_again(self, judicator: Judicator) -> None:
        first, second, third = machines(judicator, "e1", "e2", "e3")
        undecided(judicator, (first, second))
        (given,) = third.take()
        third.held.clear()  # the answer with the assignment never arrived
        assert third.poll(vacant=1).assign == (given,)

    def test_one_that_a_restarted_executor_has_forgotten_is_lost(
        self, judicator: Judicator
    ) -> None:
        first, second, third = machines(judicator, "e1", "e2", "e3")
        task = undecided(judicator, (first, second))
        third.take()
        again = Machine(judicator, "e3", "another session")
        again.hello()
        again.poll()
        run = judicator.get(task.id).task.judging
        assert run is not None
        assert (run.state, run.attempts) == (JudgingState.UNSENT, 1)

    def test_one_that_is_handed_back_goes_to_another(self, judicator: Judicator) -> None:
        first, second, third, fourth = machines(judicator, "e1", "e2", "e3", "e4")
        undecided(judicator, (first, second))
        (given,) = third.take()
        third.finish(given, started=False)
        (again,) = fourth.take()
        assert (again.task.id, again.number) == (given.task.id, -2)

    def test_its_repeated_answer_is_acknowledged_and_changes_nothing(
        self, judicator: Judicator
    ) -> None:
        first, second, third = machines(judicator, "e1", "e2", "e3")
        task = undecided(judicator, (first, second))
        (given,) = third.take()
        third.finish(given, end=answer([[0, 1]]))
        version = judicator.get(task.id).task.version
        orders = third.finish(given, end=answer([[0], [1]]))
        assert orders.stored == ((task.id, -1),)
        assert judicator.get(task.id).task.version == version

    def test_a_cancelled_task_is_so_once_the_judging_box_is_empty(
        self, judicator: Judicator
    ) -> None:
        first, second, third = machines(judicator, "e1", "e2", "e3")
        task = undecided(judicator, (first, second))
        (given,) = third.take()
        assert judicator.cancel(task.id).status is Status.CANCELLING
        assert third.poll().cancel == ((task.id, -1),)
        third.finish(given, killed=True)
        assert judicator.get(task.id).status is Status.CANCELLED

    def test_with_results_that_need_not_be_apart_anybody_may_judge(
        self, judicator: Judicator
    ) -> None:
        (alone,) = machines(judicator, "e1")
        task = undecided(judicator, (alone, alone), distinct="none", comparator=Lines())
        (given,) = alone.take()
        alone.finish(given, end=answer([[0, 1]]))
        assert judicator.get(task.id).status is Status.SUCCESS

    def test_a_result_that_comes_while_it_is_judged_is_judged_after(
        self, judicator: Judicator
    ) -> None:
        first, second, third, fourth = machines(judicator, "e1", "e2", "e3", "e4")
        task = redundant(judicator, target_replicas=3, comparator=Numbers(rel=1e-3))
        (late,) = third.take()
        run_by(first, large(judicator, LARGE))
        run_by(second, large(judicator, LARGE + b" "))
        (given,) = fourth.take()
        third.finish(late, end=large(judicator, LARGE + b"\n"))
        fourth.finish(given, end=answer([[1, 2]]))
        replicas = judicator.get(task.id).task.replicas
        assert [r.state for r in replicas] == [ReplicaState.OVER] * 3
        (given,) = fourth.take()
        assert given.task.spec.execute.args == ("0", "1", "2")
        fourth.finish(given, end=answer([[0, 1, 2]]))
        ended = judicator.get(task.id)
        assert ended.status is Status.SUCCESS
        assert validities(ended.task) == ["valid"] * 3
