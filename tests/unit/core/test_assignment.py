"""Which replica may go to which executor."""

from __future__ import annotations

from typing import Any

import pytest

from accord.core.assignment import (
    PATIENCE,
    RequirementClass,
    avoids,
    lacks,
    requirement_class,
    satisfies,
    takes_work,
)
from accord.core.executor import ExecutorState, Isolation
from accord.core.ids import ExecutorName
from accord.core.limits import MIB, Limits
from accord.core.replica import Outcome, Replica
from accord.core.task import Requires
from tests.builders import NOW, a_compile_step, a_replica, a_spec, a_step, a_task, an_executor, sent
from tests.builders import over as over_on_e1

WEAKEST = "bwrap+poll"
E1, E2, E3 = ExecutorName("e1"), ExecutorName("e2"), ExecutorName("e3")


def over(number: int, outcome: Outcome, executor: ExecutorName = E1) -> Replica:
    return over_on_e1(number, outcome, executor=executor)


def test_after_a_fault_another_executor_that_is_online_is_tried_first() -> None:
    task = a_task(replicas=(over(0, Outcome.CLIENT_ERROR), a_replica(1)))
    assert avoids(task, E1, [E2], NOW)
    assert not avoids(task, E2, [E1], NOW)


def test_where_there_is_no_other_executor_the_same_is_taken() -> None:
    task = a_task(replicas=(over(0, Outcome.CLIENT_ERROR), a_replica(1)))
    assert not avoids(task, E1, [], NOW)
    assert not avoids(task, E1, [E1], NOW)


def test_where_all_have_failed_one_is_always_taken() -> None:
    """Else two executors would leave a task to each other for ever."""
    faults = (over(0, Outcome.CLIENT_ERROR), over(1, Outcome.NO_REPLY, E2))
    even = a_task(replicas=(*faults, a_replica(2)))
    assert not avoids(even, E1, [E2], NOW)
    assert not avoids(even, E2, [E1], NOW)
    odd = a_task(replicas=(*faults, over(2, Outcome.CLIENT_ERROR, E2), a_replica(3)))
    assert not avoids(odd, E1, [E2], NOW)
    assert avoids(odd, E2, [E1], NOW)


def test_a_better_executor_is_not_waited_for_without_end() -> None:
    task = a_task(replicas=(over(0, Outcome.CLIENT_ERROR), a_replica(1)))
    assert avoids(task, E1, [E2], NOW + PATIENCE - 1)
    assert not avoids(task, E1, [E2], NOW + PATIENCE)


@pytest.mark.parametrize("outcome", [Outcome.DIDNT_NEED, Outcome.COULDNT_SEND])
def test_what_was_no_attempt_is_held_against_nobody(outcome: Outcome) -> None:
    assert not avoids(a_task(replicas=(over(0, outcome), a_replica(1))), E1, [E2], NOW)


@pytest.mark.parametrize("there", [sent(0), over(0, Outcome.SUCCESS)])
@pytest.mark.parametrize(("distinct", "avoided"), [("executor", True), ("none", False)])
def test_never_two_replicas_on_one_executor_where_they_must_be_distinct(
    there: Replica, distinct: str, avoided: bool
) -> None:
    task = a_task(replicas=(there, a_replica(1)), distinct=distinct)
    assert avoids(task, E1, [], NOW) is avoided
    assert not avoids(task, E2, [E1], NOW)


def needs(**spec: Any) -> RequirementClass:
    return requirement_class(a_task(spec=a_spec(**spec)))


def test_few_classes_exist_however_many_tasks() -> None:
    limits = [Limits(memory=m * MIB) for m in (4, 100, 512)]
    keys = {needs(execute=a_step(limits=limit)).key for limit in limits}
    assert len(keys) == 1
    assert needs(execute=a_step(limits=Limits(memory=513 * MIB))).memory == 1024 * MIB


def test_a_class_is_what_the_hungrier_step_needs() -> None:
    assert needs(compile=a_compile_step()).memory == 2048 * MIB
    assert needs(requires=Requires(memory=3000 * MIB)).memory == 4096 * MIB


def test_a_key_reads_back_as_the_class_that_it_spells() -> None:
    class_ = needs(language="cpp", requires=Requires(tags=("b", "a", "a"), cpus=2))
    assert RequirementClass.parse(class_.key) == class_
    assert class_.tags == ("a", "b")


@pytest.mark.parametrize(
    ("spec", "missing"),
    [
        ({"language": "go"}, ["language go"]),
        ({"requires": Requires(tags=("gpu",))}, ["tag gpu"]),
        ({"requires": Requires(cpus=9)}, ["9 cores"]),
        ({"requires": Requires(memory=8192 * MIB)}, ["8192 MiB of memory"]),
        ({"language": "cpp"}, []),
    ],
)
def test_what_an_executor_lacks_is_told_in_words(spec: dict[str, Any], missing: list[str]) -> None:
    assert lacks(an_executor(), needs(**spec), WEAKEST) == missing
    assert satisfies(an_executor(), needs(**spec), WEAKEST) is (not missing)


@pytest.mark.parametrize(
    ("level", "required", "enough"),
    [
        ("bwrap+cgv1", "bwrap+cgv1", True),
        ("bwrap+poll", "bwrap+cgv1", False),
        ("bwrap+poll", "", True),
        ("none", "", False),
        ("none", "none", True),
    ],
)
def test_a_weaker_box_than_asked_for_runs_nothing(level: str, required: str, enough: bool) -> None:
    executor = an_executor(isolation=Isolation(level=level))
    assert satisfies(executor, needs(requires=Requires(isolation=required)), WEAKEST) is enough


@pytest.mark.parametrize("state", list(ExecutorState))
def test_only_an_executor_that_is_online_is_sent_work(state: ExecutorState) -> None:
    assert takes_work(an_executor(state=state)) is (state is ExecutorState.ONLINE)
