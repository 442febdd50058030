"""Everything that goes on, or goes wrong, in a cluster, each by a name and plain choices.

So that hypothesis can play it and shrink what it finds, and a random walk can play far more of it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from accord.core import lifecycle
from accord.core.ids import ExecutorName, TaskId
from accord.core.lifecycle import Decision, Event
from accord.core.task import Lines, Program, Spec
from accord.core.view import reason_of, status_of
from tests.builders import a_spec, a_step
from tests.properties.cluster import AFTER, BEFORE, Cluster, End

POLICIES: Sequence[dict[str, Any]] = (
    {},
    {"max_error_replicas": 1},
    {"max_lost_replicas": 1},
    {"max_total_replicas": 3},
    {"delay_bound": 10.0},
    {"deadline": 60.0},
    {"deadline": 50_000.0, "max_lost_replicas": 2},
    {"max_total_replicas": 4, "delay_bound": 10.0},
    {"comparator": Program(execute=a_step()), "max_success_replicas": 4},
    {"comparator": Program(execute=a_step()), "distinct": "executor", "deadline": 5000.0},
    {"distinct": "executor"},
    {"homogeneous": "os", "max_total_replicas": 6},
    {"adaptive": True},
    {"adaptive": True, "comparator": Lines(), "distinct": "executor", "max_success_replicas": 3},
)

_WHICH = {"which": range(6)}
_FAULT = {"fault": ("", "", "", BEFORE, AFTER)}
_END = {
    "how": ("result", "internal_fail", "hand back", "network_fail", "bad_input"),
    "stdout": (b"a", b"b", b"c"),
}

HAPPENINGS: Sequence[tuple[int, str, Mapping[str, Sequence[Any]]]] = (
    # how often, what, and the choices
    (3, "submit", {"policy": POLICIES}),
    (5, "claim", {**_WHICH, **_FAULT, "arrives": (True, True, False)}),
    (1, "start", _WHICH),
    (4, "end", {**_WHICH, **_END}),
    (5, "deliver", {**_WHICH, **_FAULT}),
    (2, "one_runs_its_course", {**_WHICH, **_END, **_FAULT}),
    (3, "judge", {**_WHICH, **_FAULT, "arrives": (True, True, False)}),
    (3, "judged", {**_WHICH, "how": ("answer", "answer", "fail", "hand back")}),
    (1, "nobody_can_judge", _WHICH),
    (1, "doubt", _WHICH),
    (3, "poll", _WHICH),
    (2, "duties", {}),
    (
        3,
        "time_passes",
        {"seconds": (2.0, 8.0, 121.0, 3600.0, 20 * 86400.0), "swept": (False, True)},
    ),
    (1, "cancel", {**_WHICH, "fault": ("", BEFORE, AFTER)}),
    (1, "an_old_message_comes_again", {"which": range(30)}),
    (1, "a_clone_reports", {"which": range(30), **_END}),
    (1, "a_number_is_claimed_that_was_seen_before", {**_WHICH, "number": range(4)}),
    (1, "restart", _WHICH),
    (1, "vanish", _WHICH),
    (1, "expire", {**_WHICH, **_FAULT}),
    (1, "nobody_can_take_it", _WHICH),
    (1, "a_slow_judicator_decides", {**_WHICH, "what": ("tick", "cancel", "lost", "message")}),
    (1, "the_slow_judicator_writes", _WHICH),
)

T = TypeVar("T")


class NothingToPick(Exception):
    """What is to happen cannot, as there is nothing to which it could."""


def pick(items: Sequence[T], which: int) -> T:
    if not items:
        raise NothingToPick
    return items[which % len(items)]


def spec_of(quorum: int, **policy: Any) -> Spec:
    """Where results must agree, all hosts may be needed more than once: not distinct then."""
    distinct = "executor" if quorum == 1 else "none"
    policy = {"max_success_replicas": quorum, "distinct": distinct, **policy}
    return a_spec(min_quorum=quorum, target_replicas=quorum, **policy)


SLOW: dict[str, Event] = {
    "tick": lifecycle.Tick(),
    "message": lifecycle.Tick(),
    "cancel": lifecycle.CancelRequested(),
    "lost": lifecycle.Lost(executor=ExecutorName("e0")),
}


class Trouble:
    """One run. See the module's docstring."""

    def __init__(self, quorum: int = 1) -> None:
        self.quorum = quorum
        self.cluster = Cluster(hosts=3)
        self.slow: list[Decision] = []
        self.steps = 0
        self.broken = False

    def happens(self, what: str, args: dict[str, Any]) -> None:
        self.steps += 1
        self.broken = True  # until this has gone well
        with contextlib.suppress(NothingToPick):
            getattr(self, what)(**args)
        self.broken = False

    # -- what goes on ----------------------------------------------------------------------

    def submit(self, policy: dict[str, Any]) -> None:
        if len(self.cluster.open()) < 3:
            self.cluster.submit(spec_of(self.quorum, **policy))

    def claim(self, which: int, fault: str, *, arrives: bool) -> None:
        host, task = pick(self.cluster.claimable(), which)
        self.cluster.claim(host, task, fault, arrives=arrives)

    def start(self, which: int) -> None:
        self.cluster.start(*pick(self.cluster.runs(), which))

    def end(self, which: int, how: str, stdout: bytes) -> None:
        self.cluster.end(*pick(self.cluster.runs(), which), how, stdout)

    def deliver(self, which: int, fault: str) -> None:
        self.cluster.deliver(*pick(self.cluster.messages(), which), fault)

    def poll(self, which: int) -> None:
        self.cluster.poll(pick(self.cluster.busy(), which))

    def one_runs_its_course(self, which: int, how: str, stdout: bytes, fault: str) -> None:
        host, task = pick(self.cluster.claimable(), which)
        self.cluster.claim(host, task)
        if host.runs:
            self.cluster.end(host, list(host.runs)[-1], how, stdout)
            self.cluster.deliver(host, host.spool[-1], fault)

    def judge(self, which: int, fault: str, *, arrives: bool) -> None:
        host, task = pick(self.cluster.judgeable(), which)
        self.cluster.claim_judging(host, task, fault, arrives=arrives)

    def judged(self, which: int, how: str) -> None:
        self.cluster.end_judging(*pick(self.cluster.judgings(), which), how)

    def nobody_can_judge(self, which: int) -> None:
        _, task = pick(self.cluster.judgeable(), which)
        self.cluster.step(task, lifecycle.Unsendable(judging=True))

    def doubt(self, which: int) -> None:
        self.cluster.step(self.task(which), lifecycle.Doubted())

    def duties(self) -> None:
        self.cluster.sweep()
        self.cluster.assimilate()

    def time_passes(self, seconds: float, *, swept: bool) -> None:
        self.cluster.now += seconds
        if swept:
            self.cluster.sweep()

    def cancel(self, which: int, fault: str) -> None:
        self.cluster.step(pick(self.cluster.open(), which), lifecycle.CancelRequested(), fault)

    # -- what goes wrong -------------------------------------------------------------------

    def an_old_message_comes_again(self, which: int) -> None:
        again = pick(self.cluster.history[::-1], which)
        self.cluster.step(again.task, again.event)

    def a_clone_reports(self, which: int, how: str, stdout: bytes) -> None:
        """What was reported comes again, in the same name and with other contents."""
        heard = [m for m in self.cluster.history[::-1] if isinstance(m.event, End)]
        again = pick(heard, which)
        assert isinstance(again.event, End)
        self.cluster.step(again.task, self.cluster.ended(again.event, how, stdout))

    def a_number_is_claimed_that_was_seen_before(self, which: int, number: int) -> None:
        """A judicator goes by a list of what waits that is not of now."""
        host = pick([h for h in self.cluster.hosts if h.alive], which)
        self.cluster.step(self.task(which), self.cluster.claimed(host, number))

    def restart(self, which: int) -> None:
        self.cluster.restart(pick(self.cluster.gone() or self.cluster.busy(), which))

    def vanish(self, which: int) -> None:
        if len(self.cluster.gone()) < 2:
            self.cluster.vanish(pick(self.cluster.busy(), which))

    def expire(self, which: int, fault: str) -> None:
        self.cluster.expire(pick(self.cluster.busy(), which), fault)

    def nobody_can_take_it(self, which: int) -> None:
        if which == 0:  # as seldom
            self.cluster.step(pick(self.cluster.claimable(), 0)[1], lifecycle.Unsendable())

    def a_slow_judicator_decides(self, which: int, what: str) -> None:
        """Its write comes later, or never."""
        id_, event = self.task(which), SLOW[what]
        if what == "message":
            message = pick(self.cluster.messages(), which)[1]
            id_, event = message.task, message.event
        self.slow.append(self.cluster.decide(id_, event))

    def the_slow_judicator_writes(self, which: int) -> None:
        decision = pick(self.slow, which)
        self.slow.remove(decision)
        self.cluster.write(decision)

    # -- and in the end --------------------------------------------------------------------

    def ends(self, counted: Counter[str]) -> None:
        """The trouble stops, and all must come to an end; counted is what this run met."""
        if self.broken:
            return  # what was found is enough
        self.cluster.heal()
        counted["runs of 40 steps"] += self.steps >= 40
        counted["writes"] += self.cluster.writes
        counted["judging runs"] += sum(
            t.judging.number for t in self.cluster.store.values() if t.judging
        )
        for task in self.cluster.store.values():
            counted[reason_of(task) or status_of(task)] += 1

    def task(self, which: int) -> TaskId:
        return pick(list(self.cluster.store), which)
