"""Held results: vouched for, doubted, or checked where nobody says either."""

from __future__ import annotations

from typing import Any

import pytest

from accord.core import holding, lifecycle
from accord.core.ids import ExecutorName, SessionId
from accord.core.policy import Policy
from accord.core.replica import Outcome, ReplicaState, Validity
from tests.builders import NOW, a_new_task, a_result, a_spec, a_task_id

POLICY = Policy()
UNTIL = NOW + 1000
WHO: dict[str, Any] = {"number": 0, "executor": ExecutorName("e1"), "session": SessionId("s1")}


def decide(task, event, now):
    return lifecycle.decide(task, event, now, POLICY).task


def running():
    """An adaptive task that a trusted executor runs."""
    spec = a_spec(min_quorum=2, target_replicas=2, adaptive=True)
    task = lifecycle.submitted(a_new_task(spec=spec), a_task_id(), NOW, POLICY)
    return decide(task, lifecycle.Claimed(**WHO, trusted=True), NOW)


def a_held_task():
    report = lifecycle.Reported(**WHO, end=a_result())
    return decide(holding.held(running(), UNTIL), report, NOW + 1)


def test_a_held_result_is_not_final_and_nothing_is_sent():
    task = a_held_task()
    assert holding.is_held(task)
    assert task.canonical is None
    assert [r.state for r in task.replicas] == [ReplicaState.OVER, ReplicaState.UNSENT]
    looked_at = decide(task, lifecycle.Tick(), task.transition_time)
    assert task.transition_time < looked_at.transition_time == UNTIL


def test_what_is_vouched_for_stands_alone():
    task = decide(holding.vouched(a_held_task()), lifecycle.Tick(), UNTIL)
    assert task.canonical == 0
    assert task.replicas[0].validity is Validity.VALID
    assert task.replicas[1].outcome is Outcome.DIDNT_NEED


def test_what_is_doubted_is_checked_at_once():
    task = decide(holding.doubted(a_held_task(), NOW + 5), lifecycle.Tick(), NOW + 5)
    assert task.canonical is None
    assert holding.vouched(task) is task
    assert task.replicas[1].not_before == 0.0
    second: dict[str, Any] = {
        "number": 1,
        "executor": ExecutorName("e2"),
        "session": SessionId("s1"),
    }
    task = decide(task, lifecycle.Claimed(**second), NOW + 6)
    other = lifecycle.Reported(**second, end=a_result(b"something else\n"))
    task = decide(task, other, NOW + 7)
    assert task.canonical is None
    assert [r.number for r in task.replicas] == [0, 1, 2]


def test_where_nobody_vouches_it_is_checked_when_the_hold_ends():
    task = decide(a_held_task(), lifecycle.Tick(), UNTIL)
    assert task.canonical is None
    second: dict[str, Any] = {
        "number": 1,
        "executor": ExecutorName("e2"),
        "session": SessionId("s1"),
    }
    sent = decide(task, lifecycle.Claimed(**second), UNTIL)
    assert sent.replicas[1].state is ReplicaState.IN_PROGRESS
    assert holding.vouched(sent) is sent


def test_only_what_stands_alone_is_held():
    task = lifecycle.submitted(
        a_new_task(spec=a_spec(min_quorum=2, target_replicas=2)), a_task_id(), NOW, POLICY
    )
    assert holding.held(task, UNTIL) is task


@pytest.mark.parametrize("change", [holding.vouched, lambda t: holding.doubted(t, NOW)])
def test_what_is_not_held_is_neither_vouched_for_nor_doubted(change):
    task = running()
    assert change(task) is task


def test_a_back_off_is_no_hold():
    """One of two is lost and its successor waits; the other has brought a result."""
    spec = a_spec(min_quorum=2, target_replicas=2, adaptive=True)
    task = lifecycle.submitted(a_new_task(spec=spec), a_task_id(), NOW, POLICY)
    task = decide(task, lifecycle.Claimed(**WHO), NOW)
    other: dict[str, Any] = {
        "number": 1,
        "executor": ExecutorName("e2"),
        "session": SessionId("s1"),
    }
    task = decide(task, lifecycle.Claimed(**other), NOW)
    task = decide(task, lifecycle.Lost(executor=ExecutorName("e2")), NOW + 1)
    task = decide(task, lifecycle.Reported(**WHO, end=a_result()), NOW + 1)
    assert [r.not_before > 0 for r in task.replicas] == [False, False, True]
    assert not holding.is_held(task)
    assert holding.vouched(task) is task


def test_a_quorum_of_three_holds_two():
    spec = a_spec(min_quorum=3, target_replicas=3, adaptive=True)
    task = lifecycle.submitted(a_new_task(spec=spec), a_task_id(), NOW, POLICY)
    task = decide(task, lifecycle.Claimed(**WHO, trusted=True), NOW)
    task = decide(holding.held(task, UNTIL), lifecycle.Reported(**WHO, end=a_result()), NOW + 1)
    assert [r.not_before for r in task.replicas[1:]] == [UNTIL, UNTIL]
