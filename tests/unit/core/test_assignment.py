"""Which replica may go to which executor."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from accord.core.assignment import (
    PATIENCE,
    RequirementClass,
    avoids,
    judging_class,
    lacks,
    may_judge,
    misfit,
    next_class,
    occupied,
    repeats,
    requirement_class,
    satisfies,
    takes_work,
    waits_since,
)
from accord.core.executor import ExecutorState, Isolation
from accord.core.ids import ExecutorName
from accord.core.judging import Judging
from accord.core.limits import MIB, Limits
from accord.core.replica import Outcome, Replica
from accord.core.task import Requires
from tests.builders import (
    NOW,
    a_compile_step,
    a_replica,
    a_result,
    a_spec,
    a_step,
    a_task,
    an_executor,
    sent,
)
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


# -- owners and platforms --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distinct", "executor", "owner", "there_already"),
    [
        ("owner", "e2", "ann", True),
        ("owner", "e2", "bob", False),
        ("owner", "e1", "bob", True),
        ("owner", "e2", "", False),
        ("executor", "e2", "ann", False),
        ("none", "e1", "ann", False),
    ],
)
def test_where_owners_must_differ_one_owner_has_one_replica(
    distinct: str, executor: str, owner: str, there_already: bool
) -> None:
    """Who names no owner is alone: only the executor itself counts then."""
    task = a_task(replicas=(sent(0, owner="ann"), a_replica(1)), distinct=distinct)
    assert occupied(task, ExecutorName(executor), owner) is there_already
    assert avoids(task, ExecutorName(executor), [], NOW, owner) is there_already


def test_two_without_an_owner_are_not_of_one_owner() -> None:
    task = a_task(replicas=(sent(0), a_replica(1)), distinct="owner")
    assert not occupied(task, E2, "")


@pytest.mark.parametrize("outcome", [Outcome.CLIENT_ERROR, Outcome.NO_REPLY, Outcome.DIDNT_NEED])
def test_what_came_to_nothing_there_does_not_keep_the_next_away(outcome: Outcome) -> None:
    assert not occupied(a_task(replicas=(over(0, outcome), a_replica(1))), E1)


def test_a_second_result_from_where_one_came_repeats_it() -> None:
    task = a_task(replicas=(over(0, Outcome.SUCCESS), sent(1), sent(2, executor=E2)))
    assert repeats(task, task.replicas[1])
    assert not repeats(task, task.replicas[2])
    assert not repeats(task, task.replicas[0])


def test_who_made_a_result_does_not_judge() -> None:
    mine = over_on_e1(0, Outcome.SUCCESS, owner="ann")
    by_owner = a_task(replicas=(mine,), distinct="owner")
    assert not may_judge(by_owner, E2, "ann")
    assert may_judge(by_owner, E2, "bob")
    by_executor = a_task(replicas=(mine,))
    assert not may_judge(by_executor, E1, "")
    assert may_judge(by_executor, E2, "ann")
    assert may_judge(a_task(replicas=(mine,), distinct="none"), E1, "ann")
    lost = a_task(replicas=(over(0, Outcome.NO_REPLY),))
    assert may_judge(lost, E1)


LINUX, WINDOWS = "Debian GNU/Linux 12, Linux 6.1, x86_64", "Windows"
INTEL, AMD = "Intel(R) Xeon(R) CPU", "AMD EPYC 7B13"


@pytest.mark.parametrize(
    ("homogeneous", "committed", "os", "cpu", "why"),
    [
        ("none", "", LINUX, "", ""),
        ("os", "", LINUX, "?", ""),
        ("os", "debian gnu/linux 12", LINUX, "?", ""),
        ("os", "debian gnu/linux 12", WINDOWS, INTEL, "committed to debian"),
        ("os", "", "", INTEL, "not known"),
        ("os+cpu", "", LINUX, "?", "not known"),
        ("os+cpu", "debian gnu/linux 12/intel", LINUX, INTEL, ""),
        ("os+cpu", "debian gnu/linux 12/intel", LINUX, AMD, "committed to debian"),
    ],
)
def test_s1_a_homogeneous_task_runs_on_one_kind_of_platform(
    homogeneous: str, committed: str, os: str, cpu: str, why: str
) -> None:
    task = a_task(homogeneous=homogeneous, hr_class=committed)
    found = misfit(task, os, cpu)
    assert why in found
    assert bool(found) is bool(why)


def test_a_committed_task_waits_in_the_class_of_its_platform() -> None:
    committed = requirement_class(a_task(homogeneous="os", hr_class="debian gnu/linux 12"))
    assert satisfies(an_executor(os=LINUX, cpu=AMD), committed, WEAKEST)
    assert lacks(an_executor(os=WINDOWS), committed, WEAKEST) == ["platform debian gnu/linux 12"]
    finer = requirement_class(a_task(homogeneous="os+cpu", hr_class="debian gnu/linux 12/amd"))
    assert satisfies(an_executor(os=LINUX, cpu=AMD), finer, WEAKEST)
    assert not satisfies(an_executor(os=LINUX, cpu=INTEL), finer, WEAKEST)


def test_a_homogeneous_task_waits_for_an_executor_whose_platform_is_known() -> None:
    needs = requirement_class(a_task(homogeneous="os+cpu"))
    assert satisfies(an_executor(os=LINUX, cpu=AMD), needs, WEAKEST)
    assert lacks(an_executor(os=LINUX, cpu=""), needs, WEAKEST) == [
        "a known operating system and CPU family"
    ]


@pytest.mark.parametrize(
    ("distinct", "name", "owner", "may"),
    [
        ("executor", "e1", "", False),
        ("executor", "e2", "lab", True),
        ("owner", "e1", "", False),
        ("owner", "e2", "lab", False),
        ("owner", "e2", "", True),
        ("none", "e1", "lab", True),
    ],
)
@pytest.mark.parametrize("of", [requirement_class, judging_class])
def test_the_class_names_those_who_must_not_run_it_again(
    of: Any, distinct: str, name: str, owner: str, may: bool
) -> None:
    made = over_on_e1(0, Outcome.SUCCESS, executor=E1, owner="lab", result=a_result())
    task = a_task(replicas=(made, a_replica(1)), distinct=distinct)
    assert satisfies(an_executor(name, owner=owner), of(task), WEAKEST) is may


def test_who_runs_it_may_judge_nothing_of_it_later_but_who_only_lost_it_may() -> None:
    task = a_task(replicas=(sent(0, executor=E1), over(1, Outcome.NO_REPLY, E2), a_replica(2)))
    assert requirement_class(task).executors == (E1,)
    assert judging_class(task).executors == ()


def test_a_judging_run_goes_before_a_replica() -> None:
    waiting = a_task(replicas=(over(0, Outcome.SUCCESS), a_replica(1)))
    assert next_class(waiting) == requirement_class(waiting)
    judging = msgspec.structs.replace(waiting, judging=Judging(candidates=(0,), since=NOW))
    assert next_class(judging) == judging_class(judging)
    held = msgspec.structs.replace(judging, judging=Judging(candidates=(0,), not_before=NOW + 1))
    assert next_class(held) == requirement_class(held)
    assert next_class(a_task(replicas=(a_replica(0, not_before=NOW + 5),))) is None


def test_what_waits_does_so_since_its_task_last_moved() -> None:
    late = over_on_e1(0, Outcome.SUCCESS, sent_time=NOW + 5, over_time=NOW + 9)
    assert waits_since(a_task(replicas=(a_replica(0),))) == NOW
    assert waits_since(a_task(replicas=(late, a_replica(1)))) == NOW + 9
    assert waits_since(a_task(replicas=(late, a_replica(1, since=NOW + 4000)))) == NOW + 4000
    asked = a_task(replicas=(late,), judging=Judging(candidates=(0,), since=NOW + 7))
    assert waits_since(asked) == NOW + 7


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
        ({"language": "python", "requires": Requires(language_version="3.11")}, []),
        (
            {"language": "python", "requires": Requires(language_version="3.12")},
            ["language python 3.12"],
        ),
        ({"language": "go", "requires": Requires(language_version="1.22")}, ["language go"]),
    ],
)
def test_what_an_executor_lacks_is_told_in_words(spec: dict[str, Any], missing: list[str]) -> None:
    assert lacks(an_executor(), needs(**spec), WEAKEST) == missing
    assert satisfies(an_executor(), needs(**spec), WEAKEST) is (not missing)


def test_a_task_with_network_goes_where_it_is_given() -> None:
    assert lacks(an_executor(network=False), needs(network=True), WEAKEST) == ["network"]
    assert satisfies(an_executor(network=True), needs(network=True), WEAKEST)
    assert satisfies(an_executor(network=True), needs(), WEAKEST)
    assert needs(network=True).key != needs().key


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


def test_who_is_barred_is_not_sent_it_though_replicas_need_not_be_apart() -> None:
    task = a_task(distinct="none", barred=(E1,))
    assert requirement_class(task).executors == (E1,)
    assert occupied(task, E1)
    assert not occupied(task, E2)
