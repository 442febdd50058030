"""Transition and validation of tasks in any state, beside a dumb second telling of the rules.

The states are drawn without regard to what can come about: several outcomes mixed, a canonical
replica that failed, masks beside results.
"""

from __future__ import annotations

import random  # noqa: TID251 - seeded, and the seed is told
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core import transition, validation
from accord.core.invariants import check_invariants
from accord.core.lifecycle import Tick, decide
from accord.core.policy import Policy
from accord.core.replica import Replica, Stage
from accord.core.task import NEVER, Files, Json, Numbers, Program, Task
from accord.core.validation import Reading
from tests.builders import CODES, NOW, a_coded_replica, a_step, a_task_of, spelled_all
from tests.properties import rules

SUCCESSES = ("S", "S", "S", "SV", "SI", "SC", "SN", "SL")
REST = tuple(code for code in CODES if not code.startswith("S"))
POLICIES: dict[str, tuple[Any, ...]] = {
    "min_quorum": (1, 2, 2, 3),
    "max_error_replicas": (1, 3),
    "max_total_replicas": (2, 4, 6, 9),
    "max_success_replicas": (1, 2, 4, 6),
    "max_lost_replicas": (1, 100),
    "delay_bound": (100.0, 1e6),
}
FIELDS: dict[str, tuple[Any, ...]] = {
    "target_replicas": (1, 2, 3, 5),
    "error_mask": (0, 0, 0, 0, 1, 2, 4, 8, 16, 10),
    "need_validate": (True, True, False),
    "assimilate_state": tuple(Stage),
    "file_delete_state": tuple(Stage),
    "transition_time": (NOW - 9, NOW, NOW + 50, NOW + 9e4, NEVER),
    "hr_class": ("", "linux"),
}
CLUSTER: dict[str, tuple[Any, ...]] = {
    "delete_delay": (0.0, 30.0),
    "priority_on_over": (0, 10),
    "priority_on_over_except_error": (0, 5),
}
TIMES: dict[str, tuple[Any, ...]] = {
    "report_deadline": (NOW - 1, NOW, NOW + 100),
    "received_time": (NOW - 100, NOW - 10, NOW),
    "file_delete_state": (Stage.INIT, Stage.INIT, Stage.INIT, Stage.READY, Stage.DONE),
}


A_PROGRAM = Program(execute=a_step())


class Chance:
    """Draws from tuples: by hypothesis, which shrinks, or by a seed, which is fast."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def of(self, choices: Any) -> Any:
        if isinstance(self._source, random.Random):
            return self._source.choice(choices)
        return self._source(st.sampled_from(choices))

    def each(self, choices: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
        return {name: self.of(some) for name, some in choices.items()}


def a_replica_of_any_state(chance: Chance, number: int) -> Replica:
    code = chance.of(SUCCESSES) if chance.of((True, False)) else chance.of(REST)
    if code == "VE":
        code = "VE=1"
    if code.startswith("S"):
        code += chance.of(("=1", "=1", "=2", "=3", "=4", "!", "=~"))
    facts = chance.each(TIMES)
    if code in ("U", "I"):
        return a_coded_replica(number, code, not_before=chance.of((0.0, NOW - 1, NOW + 7)))
    if code == "P":
        return a_coded_replica(number, code, report_deadline=facts["report_deadline"])
    if code in ("CS", "D"):
        facts = {"file_delete_state": facts["file_delete_state"]}
    return a_coded_replica(number, code, **facts)


def a_task_of_any_state(chance: Chance) -> Task:
    count = chance.of(range(7))
    replicas = tuple(a_replica_of_any_state(chance, n) for n in range(count))
    fields = {**chance.each(POLICIES), **chance.each(FIELDS)}
    canonical = chance.of((None, None, None, *range(count), 99))
    return a_task_of("", replicas=replicas, canonical=canonical, **fields)


class ByDigits:
    """The comparison that the dumb one makes."""

    def read(self, replica: Replica) -> Reading:
        text = rules._plain_replica(replica)["text"]
        return {"!": Reading.UNREADABLE, "~": Reading.LATER}.get(text, Reading.GOOD)

    def agree(self, one: Replica, other: Replica) -> bool | None:
        texts = [rules._plain_replica(r)["text"] for r in (one, other)]
        return "~" not in texts and "!" not in texts and rules.agree(*texts)


def compare(task: Task, cluster: Policy) -> None:
    """Both passes, of both tellings."""
    expected = rules.plain(task)
    rules.transition(expected, NOW, cluster)
    after = transition.transition(task, NOW, cluster)
    assert rules.plain(after) == expected, spelled_all(task)
    expected = rules.plain(task)
    rules.validate(expected, NOW)
    after = validation.validate(task, NOW, cluster, ByDigits())
    assert rules.plain(after) == expected, spelled_all(task)


@settings(max_examples=1500, deadline=None)
@given(st.data())
def test_the_rules_say_the_same_twice(data: Any) -> None:
    chance = Chance(data.draw)
    compare(a_task_of_any_state(chance), Policy(**chance.each(CLUSTER)))


def test_they_do_on_very_many_states() -> None:
    """Without shrinking, but far more of them."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    chance = Chance(random.Random(seed))
    for _ in range(20_000):
        compare(a_task_of_any_state(chance), Policy(**chance.each(CLUSTER)))


@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_no_state_of_a_task_is_refused(data: Any) -> None:
    """By the policy's own comparators, and with judging runs to be asked for."""
    chance = Chance(data.draw)
    task = a_task_of_any_state(chance)
    comparator = chance.of((Numbers(abs=1.0), Json(), Files(paths=("a",)), A_PROGRAM))
    policy = transition.replace(task.spec.redundancy, comparator=comparator)
    task = transition.replace(task, spec=transition.replace(task.spec, redundancy=policy))
    for one_pass in (validation.validate, transition.transition):
        task = one_pass(task, NOW, Policy())
    assert validation.validate(task, NOW, Policy()).id == task.id


SETTLED = 4
"""Looks after which nothing is left to do, however odd the state was."""


@pytest.mark.parametrize("code", ["S S", "S=1 S=2 P", "E E", "N S", "SC SC S=1", "U U", "H U"])
def test_what_is_decided_stays_so(code: str) -> None:
    task = a_task_of(code)
    for _ in range(SETTLED):
        task = decide(task, Tick(), NOW, Policy()).task
    check_invariants(task)
    assert decide(task, Tick(), NOW, Policy()).task is task
