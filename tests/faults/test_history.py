"""The checker finds each kind of bad history: one made by hand for each."""

from typing import Any

import pytest

from tests.faults.history import History, violations


def replica(number=0, outcome="success", validity="valid") -> dict[str, Any]:
    return {"number": number, "outcome": outcome, "validity": validity}


def good() -> History:
    lost_once = [replica(0, "no_reply", "init"), replica(1)]
    return History(
        acknowledged={"a": "A", "b": "B"},
        tasks={
            "A": {"status": "success", "replicas": [replica()]},
            "B": {"status": "success", "replicas": lost_once},
        },
        ledger=[("A", 0), ("B", 0), ("B", 1)],
    )


def test_a_good_history_passes():
    assert violations(good()) == []


def lose(h: History) -> None:
    del h.tasks["A"]
    h.ledger.remove(("A", 0))


def stick(h: History) -> None:
    h.tasks["A"] = {"status": "running", "replicas": [replica(0, None, "init")]}


def add_twice(h: History) -> None:
    h.tasks["C"] = {"status": "success", "replicas": [replica()]}
    h.ledger.append(("C", 0))


def run_twice(h: History) -> None:
    h.ledger.append(("B", 1))


def run_unnoticed(h: History) -> None:
    h.ledger.append(("A", 7))


def invent(h: History) -> None:
    h.ledger.remove(("A", 0))


def accept_two(h: History) -> None:
    h.tasks["B"]["replicas"] = [replica(0), replica(1)]


def succeed_without_result(h: History) -> None:
    h.tasks["A"]["replicas"] = [replica(0, "no_reply", "init")]


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lose, "lost"),
        (stick, "stuck"),
        (add_twice, "added twice"),
        (run_twice, "ran twice"),
        (run_unnoticed, "unnoticed"),
        (invent, "invented"),
        (accept_two, "two results"),
        (succeed_without_result, "no result"),
    ],
)
def test_each_violation_is_found(spoil, word):
    history = good()
    spoil(history)
    assert any(found.startswith(word) for found in violations(history))


def test_an_unanswered_submission_may_have_been_added_once():
    history = good()
    add_twice(history)
    history.unsure.add("c")
    assert violations(history) == []
