"""What must hold of a platform's history, whatever was killed: a checker with tests of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

FINAL = {"success", "compile_failed", "run_failed", "failed", "cancelled"}


@dataclass
class History:
    """What was asked, what was answered, and what really ran."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    """Idempotency key to the id that was answered with 201."""
    unsure: set[str] = field(default_factory=set)
    """Keys that were sent but never answered."""
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What every task reads back as in the end, by id."""
    ledger: list[tuple[str, int]] = field(default_factory=list)
    """(task, replica) of each program that ran, written by the program itself."""


def violations(history: History) -> list[str]:
    """Everything that is wrong with it, in words; empty where nothing is."""
    runs = Counter(history.ledger)
    return [
        *_lost(history),
        *_added_twice(history),
        *_ran_twice(runs),
        *_unknown_runs(history, runs),
        *_results_without_a_run(history, runs),
    ]


def _lost(history: History) -> list[str]:
    found = []
    for key, id_ in history.acknowledged.items():
        task = history.tasks.get(id_)
        if task is None:
            found.append(f"lost: {id_} (key {key}) was acknowledged and is not there")
        elif task["status"] not in FINAL:
            found.append(f"stuck: {id_} is still {task['status']}")
    return found


def _added_twice(history: History) -> list[str]:
    known = set(history.acknowledged.values())
    extra = [id_ for id_ in history.tasks if id_ not in known]
    if len(extra) > len(history.unsure):
        return [
            f"added twice: {len(extra)} tasks that nobody was told of, {len(history.unsure)} unanswered"
        ]
    return []


def _ran_twice(runs: Counter[tuple[str, int]]) -> list[str]:
    return [
        f"ran twice: replica {n} of {id_} ran {count} times"
        for (id_, n), count in runs.items()
        if count > 1
    ]


def _unknown_runs(history: History, runs: Counter[tuple[str, int]]) -> list[str]:
    found = []
    for id_, number in runs:
        numbers = {r["number"] for r in history.tasks.get(id_, {}).get("replicas", [])}
        if number not in numbers:
            found.append(f"unnoticed: replica {number} of {id_} ran and is not on record")
    return found


def _results_without_a_run(history: History, runs: Counter[tuple[str, int]]) -> list[str]:
    found = []
    for id_, task in history.tasks.items():
        accepted = [r["number"] for r in task["replicas"] if r["outcome"] == "success"]
        if task["status"] == "success" and not accepted:
            found.append(f"no result: {id_} is a success without a successful replica")
        valid = [r["number"] for r in task["replicas"] if r["validity"] == "valid"]
        if len(valid) > 1:
            found.append(f"two results: replicas {valid} of {id_} both count")
        found += [
            f"invented: replica {n} of {id_} has a result and never ran"
            for n in accepted
            if (id_, n) not in runs
        ]
    return found
