"""Whatever goes wrong, no task is lost, none has two results for one replica, and each ends.

``cluster`` is what it goes wrong in, and notices at once what must never happen; ``trouble`` is
what goes wrong. After each run the trouble stops, and every task must come to an end within a
bounded number of honest rounds.
"""

from __future__ import annotations

import random  # noqa: TID251 - seeded, and the seed is told
from collections import Counter
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from accord.core.status import Reason
from tests.properties.trouble import HAPPENINGS, POLICIES, Trouble

RUNS, STEPS = 2200, 50
WALKS, LONG = 1500, 120
COUNTED: Counter[str] = Counter()

policies = st.sampled_from(POLICIES)
happenings = st.one_of(
    [
        st.sampled_from(
            [(what, dict(zip(of, args, strict=True))) for args in product(*of.values())]
        )
        for often, what, of in HAPPENINGS
        for _ in range(often)
    ]
)


class Machine(RuleBasedStateMachine):
    """Trouble as hypothesis plays it."""

    quorum = 1

    def __init__(self) -> None:
        super().__init__()
        self.trouble = Trouble(self.quorum)

    @initialize(policy=policies)
    def begins(self, policy: dict[str, Any]) -> None:
        self.trouble.submit(policy)

    @rule(happening=happenings)
    def happens(self, happening: tuple[str, dict[str, Any]]) -> None:
        self.trouble.happens(*happening)

    def teardown(self) -> None:
        self.trouble.ends(COUNTED)


class MachineOfTwo(Machine):
    """The same where two results must agree."""

    quorum = 2


def play(machine: type[Machine], runs: int) -> None:
    COUNTED.clear()
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=runs,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(600)
def test_whatever_goes_wrong_nothing_is_lost_or_doubled_and_all_ends() -> None:
    play(Machine, RUNS)
    assert COUNTED["runs of 40 steps"] >= 2000, COUNTED


@pytest.mark.timeout(300)
def test_the_same_holds_where_two_results_must_agree() -> None:
    play(MachineOfTwo, RUNS // 10)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("quorum", [1, 2])
def test_the_same_holds_on_long_random_walks(quorum: int) -> None:
    """Without shrinking, but far more of it; and it meets every end that there is."""
    met: Counter[str] = Counter()
    seed = random.randrange(2**32)
    for number in range(WALKS // quorum):
        print(f"seed {seed + number}, quorum {quorum}")  # noqa: T201 - shown when it fails
        walk(seed + number, quorum, met)
    assert met["runs of 40 steps"] == WALKS // quorum
    assert quorum == 1 or met["judging runs"] >= 10
    for end in ("success", "cancelled", *Reason):  # it is no proof of what it never met
        assert met[end] >= 1 or end is Reason.NO_CONSENSUS, (end, met)  # that one is rare


def walk(seed: int, quorum: int, met: Counter[str]) -> None:
    chance = random.Random(seed)
    weights = [often for often, _, _ in HAPPENINGS]
    trouble = Trouble(quorum)
    trouble.submit(chance.choice(POLICIES))
    for _, what, choices in chance.choices(HAPPENINGS, weights, k=LONG):
        trouble.happens(what, {name: chance.choice(of) for name, of in choices.items()})
    trouble.ends(met)
