"""Audits: who erred together, who by chance, and tasks that have no one answer."""

from __future__ import annotations

from typing import Any

import pytest

from accord.core import audit
from accord.core.audit import Audit, AuditPolicy
from accord.core.documents import decode, encode
from accord.core.ids import ExecutorName
from tests.builders import a_task_id

POLICY = AuditPolicy(sample=5)
NAMES = [ExecutorName(f"e{n}") for n in range(40)]
CAUGHT, HONEST = ExecutorName("caught"), [ExecutorName("h1"), ExecutorName("h2")]


def opened(**answers):
    first: dict[Any, Any] = {CAUGHT: "lie", HONEST[0]: "truth", HONEST[1]: "truth"}
    return Audit(task=a_task_id(), answers=first | answers)


def round_of(found, answers, default="truth"):
    """All who wait answer, in turn."""
    for name in sorted(found.waiting):
        found = audit.answered(found, name, answers.get(name, default))
    return found


def test_an_audit_is_a_document():
    found = audit.ask(opened(), NAMES, POLICY)
    assert decode(encode(found), Audit) == found


def test_the_first_round_asks_a_sample_in_the_given_order():
    found = audit.ask(opened(), [*HONEST, *NAMES], POLICY)
    assert found.asked == found.waiting == frozenset(NAMES[:5])


def test_an_error_by_chance_ends_with_the_first_round():
    found = round_of(audit.ask(opened(), NAMES, POLICY), {NAMES[0]: "another mistake"})
    assert not audit.to_spread(found, POLICY)
    assert audit.findings(found, POLICY).wrong == {CAUGHT, NAMES[0]}


def test_the_same_wrong_answer_spreads_the_audit_to_all():
    found = round_of(audit.ask(opened(), NAMES, POLICY), {NAMES[3]: "lie"})
    assert audit.to_spread(found, POLICY)
    found = audit.ask(audit.replace(found, spread=True), NAMES, POLICY)
    assert found.asked == frozenset(NAMES)
    found = round_of(found, {NAMES[20]: "lie", NAMES[21]: "lie"})
    assert audit.findings(found, POLICY).wrong == {CAUGHT, NAMES[3], NAMES[20], NAMES[21]}
    assert not audit.to_spread(found, POLICY)


def test_nothing_spreads_while_answers_are_awaited():
    found = audit.ask(opened(), NAMES, POLICY)
    for name, said in zip(NAMES, ("lie", "truth", "truth", "truth"), strict=False):
        found = audit.answered(found, name, said)
    assert audit.erred_together(found, POLICY)
    assert not audit.to_spread(found, POLICY)


def test_two_who_outvoted_an_honest_one_are_found_out():
    honest = ExecutorName("honest")
    first = {honest: "truth", HONEST[0]: "lie", HONEST[1]: "lie"}
    found = Audit(task=a_task_id(), answers=first)
    found = round_of(audit.ask(found, NAMES, POLICY), {})
    assert audit.findings(found, POLICY).wrong == set(HONEST)
    assert honest in audit.findings(found, POLICY).right
    assert audit.to_spread(found, POLICY)


def test_where_many_differ_the_task_is_to_blame_and_nobody_else():
    answers = {name: f"{n % 2}" for n, name in enumerate(NAMES)}
    found = round_of(audit.ask(opened(), NAMES, AuditPolicy(sample=40)), answers)
    result = audit.findings(found, POLICY)
    assert (result.truth, result.right, result.wrong) == (None, frozenset(), frozenset())
    assert not audit.to_spread(found, POLICY)


def test_few_answers_are_settled_by_majority():
    assert audit.findings(opened(), POLICY).wrong == {CAUGHT}


def test_who_is_lost_neither_passes_nor_fails_and_is_waited_for_no_more():
    found = audit.ask(opened(), NAMES[:1], POLICY)
    found = audit.answered(found, NAMES[0], None)
    result = audit.findings(found, POLICY)
    assert not found.waiting
    assert NAMES[0] not in result.right | result.wrong


def test_who_was_lost_is_not_asked_again():
    found = audit.answered(audit.ask(opened(), NAMES[:1], POLICY), NAMES[0], None)
    assert audit.ask(found, NAMES[:1], POLICY) == found


def test_an_answer_that_was_not_asked_for_or_comes_twice_changes_nothing():
    found = audit.ask(opened(), NAMES[:1], POLICY)
    assert audit.answered(found, NAMES[9], "lie") is found
    once = audit.answered(found, NAMES[0], "truth")
    assert audit.answered(once, NAMES[0], "lie") is once


def test_without_answers_nothing_is_found():
    assert audit.findings(Audit(task=a_task_id()), POLICY).truth is None


@pytest.mark.parametrize(
    ("said", "truth"),
    [("ll tt", None), ("l tt", "t"), ("lll tttt", None), ("lll tttttt", "t"), ("a b c d", None)],
)
def test_of_few_answers_at_most_a_third_may_differ(said: str, truth: str | None) -> None:
    answers = {ExecutorName(f"x{n}"): letter for n, letter in enumerate(said.replace(" ", ""))}
    assert audit.findings(Audit(task=a_task_id(), answers=answers), POLICY).truth == truth
