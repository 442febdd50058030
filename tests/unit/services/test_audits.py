"""Those who err together are found by the task on which one of them was caught."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from accord.core.audit import AuditPolicy
from accord.core.errors import Invalid
from accord.core.executor import Executor
from accord.core.reliability import TrustPolicy
from accord.core.replica import Stage
from accord.core.search import Query
from accord.core.status import Status
from accord.core.task import (
    Assimilation,
    Comparator,
    Default,
    Numbers,
    Program,
    Redundancy,
    Task,
)
from accord.core.user import AUDITOR
from accord.ports.judicator import Assignment
from accord.testing.judicator_parts import Machine, a_new, a_result, a_step
from tests.unit.services.judicator_world import World

TRUST = TrustPolicy(probation=2, check_floor=0.0, trusted_after=1)

Answers = dict[str, bytes]
"""What each executor prints; whoever is not named, the truth."""


@pytest.fixture
def sample() -> int:
    """How many are asked in a round."""
    return 100


@pytest.fixture
def world(tmp_path: Path, sample: int) -> World:
    world = World(tmp_path)
    world.trust = TRUST
    world.audits = AuditPolicy(sample=sample)
    world.new_judicator()
    world.judicator.leadership.step()
    return world


def machines(world: World, count: int) -> dict[str, Machine]:
    return {f"e{n}": world.machine(f"e{n}", f"s{n}") for n in range(count)}


def prove(world: World, there: dict[str, Machine], name: str = "e0") -> None:
    """Let it pass its probation, with an honest one beside it."""
    if "honest" not in there:
        there["honest"] = world.machine("honest", "sh")
    machine, other = there[name], there["honest"]
    for _ in range(TRUST.probation):
        world.add(redundancy=Redundancy(min_quorum=2, target_replicas=2))
        for one in (machine, other):
            one.finish(*one.take())
    world.work()


def adaptive(world: World, comparator: Comparator = Default()) -> Task:
    wish = Redundancy(
        min_quorum=2,
        target_replicas=2,
        adaptive=True,
        comparator=comparator,
        max_total_replicas=20,
    )
    return world.add(redundancy=wish)


def catch(world: World, there: dict[str, Machine], comparator: Comparator = Default()) -> Task:
    """e0, proven by now, errs on a checked task; e1 and e2 tell the truth of it."""
    task = adaptive(world, comparator)
    other = there["e1"].take()
    (own,) = there["e0"].take()
    there["e0"].finish(own, end=a_result(b"wrong"))
    there["e1"].finish(*other, end=a_result(b"1.0"))
    (third,) = there["e2"].take()
    there["e2"].finish(third, end=a_result(b"1.0"))
    return task


def audits_of(world: World) -> list[Task]:
    page = world.judicator.search(Query(user=AUDITOR, oldest_first=True))
    return [world.judicator.get(item.id).task for item in page.items]


def round_(world: World, there: dict[str, Machine], answer: Callable[[str], bytes]) -> None:
    """Whoever is there takes what the audit asks and answers it."""
    world.work()
    given: list[tuple[str, Assignment]] = [
        (name, one) for name, machine in there.items() for one in machine.poll(vacant=1).assign
    ]
    for name, one in given:
        there[name].finish(one, end=a_result(answer(name)))
    world.work()


def record(world: World, name: str) -> tuple[int, int]:
    """How often it was caught, and what it has passed since."""
    (found,) = (e for e in world.judicator.executors() if e.name == name)
    standing = _standing(found)
    return standing["caught"], standing["checked"]


def _standing(executor: Executor) -> dict[str, int]:
    for found in executor.standings:
        return {"caught": found.caught, "checked": found.checked}
    return {"caught": 0, "checked": 0}


def test_the_task_on_which_a_proven_one_was_caught_is_given_to_others(world: World) -> None:
    there = machines(world, 6)
    prove(world, there)
    task = catch(world, there)
    assert not audits_of(world)
    world.work()
    (audit,) = audits_of(world)
    assert audit.name == f"audit of {task.id}, round 1"
    assert audit.spec.execute == task.spec.execute
    assert set(audit.barred) == {"e0", "e1", "e2"}
    assert audit.target_replicas == 4  # e3 to e5, and the honest one
    assert not there["e1"].poll(vacant=1).assign
    assert there["e3"].poll(vacant=1).assign


def test_who_errs_with_it_is_caught_too(world: World) -> None:
    there = machines(world, 6)
    prove(world, there)
    catch(world, there)
    round_(world, there, lambda name: b"wrong" if name == "e4" else b"1.0")
    assert [record(world, f"e{n}")[0] for n in range(6)] == [1, 0, 0, 0, 1, 0]
    assert {t.assimilate_state for t in audits_of(world)} == {Stage.DONE}


def test_one_that_was_outvoted_by_liars_is_acquitted_and_the_result_disputed(
    world: World,
) -> None:
    there = machines(world, 9)
    prove(world, there)
    task = catch(world, there)  # the "wrong" one is right here: e1 and e2 have lied
    round_(world, there, lambda _name: b"wrong")
    assert record(world, "e0") == (0, 2)
    assert record(world, "e1")[0] == 1
    assert record(world, "e2")[0] == 1
    audit = audits_of(world)[0]
    assert world.judicator.get(task.id).task.disputed_by == audit.id
    assert f"An audit (task {audit.id}) has found" in world.judicator.explain(task.id)
    assert world.status(task) is Status.SUCCESS  # what was told stays told


@pytest.mark.parametrize("sample", [3])
def test_where_two_gave_the_same_wrong_answer_everybody_is_asked(world: World) -> None:
    there = machines(world, 12)
    prove(world, there)
    catch(world, there)
    liars = {"e4", "e10"}
    asked = 0
    while len(audits_of(world)) != asked or not asked:
        asked = len(audits_of(world)) or asked
        round_(world, there, lambda name: b"wrong" if name in liars else b"1.0")
        assert asked < 9
    assert {name for name in there if record(world, name)[0]} == {"e0", *liars}
    last = audits_of(world)[-1]
    assert {*last.barred, *(r.executor for r in last.replicas)} >= set(there)


@pytest.mark.parametrize("sample", [3])
def test_errors_by_chance_end_with_the_first_round(world: World) -> None:
    there = machines(world, 12)
    prove(world, there)
    catch(world, there)
    for _ in range(3):
        round_(world, there, lambda name: b"1.0" if name != "e4" else b"another error")
    assert len(audits_of(world)) == 1


def test_where_answers_are_all_different_nobody_is_to_blame(world: World) -> None:
    there = machines(world, 14)
    prove(world, there)
    catch(world, there)
    round_(world, there, str.encode)
    world.pass_time(600, *there.values())
    assert record(world, "e0") == (0, 2)
    assert [record(world, f"e{n}")[0] for n in range(14)] == [0] * 14
    prove(world, there, "e3")
    there["e0"], there["e3"] = there["e3"], there["e0"]
    catch(world, there)
    world.work()
    assert len(audits_of(world)) == 1  # not again for an hour


def test_answers_that_agree_within_the_tolerance_are_one(world: World) -> None:
    there = machines(world, 6)
    prove(world, there)
    catch(world, there, Numbers(rel=0.1))
    round_(world, there, lambda name: b"1.00" + name[1:].encode())
    assert [record(world, f"e{n}")[0] for n in range(6)] == [1, 0, 0, 0, 0, 0]


def test_one_that_vanishes_does_not_keep_the_others_from_being_told(world: World) -> None:
    there = machines(world, 6)
    prove(world, there)
    catch(world, there)
    world.work()
    there["e3"].take()
    gone = there.pop("e3")
    round_(world, there, lambda name: b"wrong" if name == "e4" else b"1.0")
    assert record(world, "e4")[0] == 0
    world.pass_time(600, *there.values(), gone)
    assert record(world, "e4")[0] == 1
    assert record(world, "e3")[0] == 0


def test_a_tie_settles_nothing(world: World) -> None:
    there = machines(world, 4)
    prove(world, there)
    del there["honest"]
    world.pass_time(20, *there.values())
    task = catch(world, there)
    round_(world, there, lambda _name: b"wrong")
    assert [record(world, f"e{n}")[0] for n in range(4)] == [1, 0, 0, 0]
    assert world.judicator.get(task.id).task.disputed_by is None


def test_what_only_a_judging_run_can_compare_is_not_audited(world: World) -> None:
    there = machines(world, 6)
    prove(world, there)
    program = Program(execute=a_step())
    (own, *_), other = adaptive_taken(world, there, program)
    there["e0"].finish(own, end=a_result(b"wrong"))
    there["e1"].finish(*other, end=a_result(b"1.0"))
    (judging,) = there["e5"].take()
    there["e5"].finish(judging, end=a_result(b'{"groups": [[0], [1]]}'))
    (third,) = there["e2"].take()
    there["e2"].finish(third, end=a_result(b"1.00"))
    (judging,) = there["e5"].take()
    there["e5"].finish(judging, end=a_result(b'{"groups": [[1], [0, 2]]}'))
    assert record(world, "e0")[0] == 1
    world.work()
    assert not audits_of(world)


def adaptive_taken(
    world: World, there: dict[str, Machine], comparator: Comparator
) -> tuple[list[Assignment], list[Assignment]]:
    """What e0 and e1 are given of a checked task; e1's replica is the first."""
    adaptive(world, comparator)
    other = there["e1"].take()
    return there["e0"].take(), other


def test_one_that_was_not_proven_is_no_reason(world: World) -> None:
    there = machines(world, 6)
    catch(world, there)
    world.work()
    assert not audits_of(world)


@pytest.mark.parametrize("sample", [0])
def test_there_are_none_where_the_administrator_wants_none(world: World) -> None:
    there = machines(world, 6)
    prove(world, there)
    catch(world, there)
    world.work()
    assert not audits_of(world)


def test_an_audit_cannot_be_submitted(world: World) -> None:
    with pytest.raises(Invalid):
        world.judicator.add([a_new(assimilate=Assimilation(handler="audit"))])


def test_options_of_an_audit_are_text(world: World) -> None:
    there = machines(world, 4)
    prove(world, there)
    task = catch(world, there)
    world.work()
    options = audits_of(world)[0].spec.assimilate.options
    assert json.loads(json.dumps(options)) == {
        "of": task.id,
        "caught": "e0",
        "checked": "2",
        "round": "1",
    }
