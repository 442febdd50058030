"""Whatever goes wrong, no task is lost, none has two results for one replica, and each ends.

Hypothesis plays the trouble: every rule below is something that goes on, or goes wrong, in a
cluster. After each run the trouble stops, and every task must come to an end within a bounded
number of honest rounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from accord.core import lifecycle
from accord.core.ids import ExecutorName, TaskId
from accord.core.lifecycle import Decision, Event
from accord.core.status import Reason
from accord.core.task import Spec
from accord.core.view import reason_of, status_of
from tests.builders import NOW, a_spec
from tests.properties.cluster import AFTER, BEFORE, Cluster

RUNS, STEPS = 4500, 50
COUNTED: Counter[str] = Counter()

faults = st.sampled_from(["", "", "", BEFORE, AFTER])
choices = st.integers(0, 5)
pauses = st.sampled_from([2.0, 8.0, 121.0, 3600.0, 20 * 86400.0])
ends = st.sampled_from(["result", "internal_fail", "hand back", "network_fail", "bad_input"])
outputs = st.sampled_from([b"a", b"b", b"c"])


policies = st.fixed_dictionaries(
    {},
    optional={
        "max_error_replicas": st.integers(1, 3),
        "max_lost_replicas": st.integers(1, 2),
        "max_total_replicas": st.integers(3, 5),
        "delay_bound": st.just(10.0),
        "deadline": st.sampled_from([60.0, 50_000.0]),
    },
)


def spec_of(quorum: int, **policy: Any) -> Spec:
    """Where results must agree, all hosts may be needed more than once: not distinct then."""
    distinct = "executor" if quorum == 1 else "none"
    policy = {"max_success_replicas": quorum, **policy}
    return a_spec(min_quorum=quorum, target_replicas=quorum, distinct=distinct, **policy)


class Trouble(RuleBasedStateMachine):
    """See the module's docstring."""

    quorum = 1

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster(hosts=3)
        self.slow: list[Decision] = []
        self.cancels = 0
        self.steps = 0

    @initialize(policy=policies)
    def first(self, policy: dict[str, Any]) -> None:
        self.cluster.submit(spec_of(self.quorum, **policy))

    # -- what goes on ----------------------------------------------------------------------

    @precondition(lambda self: len(self.cluster.open()) < 3)
    @rule(policy=policies)
    def submit(self, policy: dict[str, Any]) -> None:
        self.cluster.submit(spec_of(self.quorum, **policy))

    @precondition(lambda self: self.cluster.claimable())
    @rule(which=choices, fault=faults, arrives=st.sampled_from([True, True, False]))
    def claim(self, which: int, fault: str, *, arrives: bool) -> None:
        host, task = pick(self.cluster.claimable(), which)
        self.cluster.claim(host, task, fault, arrives=arrives)

    @precondition(lambda self: self.cluster.runs())
    @rule(which=choices)
    def start(self, which: int) -> None:
        self.cluster.start(*pick(self.cluster.runs(), which))

    @precondition(lambda self: self.cluster.runs())
    @rule(which=choices, how=ends, stdout=outputs)
    def end(self, which: int, how: str, stdout: bytes) -> None:
        self.cluster.end(*pick(self.cluster.runs(), which), how, stdout)

    @precondition(lambda self: self.cluster.messages())
    @rule(which=choices, fault=faults)
    def deliver(self, which: int, fault: str) -> None:
        self.cluster.deliver(*pick(self.cluster.messages(), which), fault)

    @precondition(lambda self: self.cluster.busy())
    @rule(which=choices)
    def poll(self, which: int) -> None:
        self.cluster.poll(pick(self.cluster.busy(), which))

    @precondition(lambda self: self.cluster.claimable())
    @rule(which=choices, how=ends, stdout=outputs, fault=faults)
    def one_runs_its_course(self, which: int, how: str, stdout: bytes, fault: str) -> None:
        host, task = pick(self.cluster.claimable(), which)
        self.cluster.claim(host, task)
        if host.runs:
            self.cluster.end(host, list(host.runs)[-1], how, stdout)
            self.cluster.deliver(host, host.spool[-1], fault)

    @precondition(lambda self: self.cluster.due())
    @rule()
    def duties(self) -> None:
        self.cluster.sweep()
        self.cluster.assimilate()

    @rule(seconds=pauses, swept=st.booleans())
    def time_passes(self, seconds: float, *, swept: bool) -> None:
        self.cluster.now += seconds
        if swept:
            self.cluster.sweep()

    @precondition(lambda self: self.cancels < len(self.cluster.store) // 2)
    @rule(task=choices, fault=faults)
    def cancel(self, task: int, fault: str) -> None:
        self.cancels += 1
        self.cluster.step(self.task(task), lifecycle.CancelRequested(), fault)

    # -- what goes wrong -------------------------------------------------------------------

    @precondition(lambda self: self.cluster.history)
    @rule(which=st.integers(0, 50))
    def an_old_message_comes_again(self, which: int) -> None:
        again = pick(self.cluster.history[::-1], which)
        self.cluster.step(again.task, again.event)

    @precondition(lambda self: self.cluster.busy() or self.cluster.gone())
    @rule(which=choices)
    def restart(self, which: int) -> None:
        self.cluster.restart(pick(self.cluster.gone() or self.cluster.busy(), which))

    @precondition(lambda self: self.cluster.busy() and len(self.cluster.gone()) < 2)
    @rule(which=choices)
    def vanish(self, which: int) -> None:
        self.cluster.vanish(pick(self.cluster.busy(), which))

    @precondition(lambda self: self.cluster.busy())
    @rule(which=choices, fault=faults)
    def expire(self, which: int, fault: str) -> None:
        self.cluster.expire(pick(self.cluster.busy(), which), fault)

    @precondition(lambda self: self.cluster.claimable() and self.cluster.now > NOW + 3600)
    @rule(which=choices)
    def nobody_can_take_it(self, which: int) -> None:
        self.cluster.step(pick(self.cluster.claimable(), which)[1], lifecycle.Unsendable())

    @precondition(lambda self: len(self.slow) < 3)
    @rule(task=choices, what=st.sampled_from(["tick", "cancel", "lost", "message"]))
    def a_slow_judicator_decides(self, task: int, what: str) -> None:
        """Its write comes later, or never."""
        id_, event = self.task(task), SLOW[what]
        if what == "message" and (messages := self.cluster.messages()):
            message = pick(messages, task)[1]
            id_, event = message.task, message.event
        self.slow.append(self.cluster.decide(id_, event))

    @precondition(lambda self: self.slow)
    @rule(which=choices)
    def the_slow_judicator_writes(self, which: int) -> None:
        self.cluster.write(self.slow.pop(which % len(self.slow)))

    @invariant()
    def counted(self) -> None:
        self.steps += 1

    # -- and in the end --------------------------------------------------------------------

    def teardown(self) -> None:
        if not self.cluster.store:
            return
        self.cluster.heal()
        COUNTED["writes"] += self.cluster.writes
        COUNTED["runs of 40 steps"] += self.steps >= 40
        for task in self.cluster.store.values():
            COUNTED[reason_of(task) or status_of(task)] += 1

    def task(self, which: int) -> TaskId:
        return pick(list(self.cluster.store), which)


SLOW: dict[str, Event] = {
    "tick": lifecycle.Tick(),
    "message": lifecycle.Tick(),
    "cancel": lifecycle.CancelRequested(),
    "lost": lifecycle.Lost(executor=ExecutorName("e0")),
}

T = TypeVar("T")


def pick(items: Sequence[T], which: int) -> T:
    return items[which % len(items)]


class TroubleOfTwo(Trouble):
    """The same where two results must agree: more than can be asked for today."""

    quorum = 2


def run(machine: type[Trouble], runs: int) -> None:
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
    run(Trouble, RUNS)
    assert COUNTED["runs of 40 steps"] >= 2000, COUNTED
    for end in ("success", "cancelled", *Reason):  # it is no proof of what it never met
        assert end is Reason.NO_CONSENSUS or COUNTED[end] >= 10, COUNTED


@pytest.mark.timeout(300)
def test_the_same_holds_where_two_results_must_agree() -> None:
    run(TroubleOfTwo, RUNS // 8)
    assert COUNTED["success"] >= 10, COUNTED
    assert COUNTED[Reason.NO_CONSENSUS] >= 1, COUNTED
