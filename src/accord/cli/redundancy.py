"""The options by which a task asks to be run more than once, and how replicas are shown."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli.failure import USAGE, Failure
from accord.cli.output import duration
from accord.client import Replica, Task

_NAMES = ("default", "exact", "lines", "tokens", "numbers", "json")
_HINT = (
    f"Give a type ({', '.join(_NAMES)}), JSON such as "
    '\'{"type": "numbers", "rel": 1e-9}\', or a .json file.'
)
_SHOWN = 12
"""Characters of a digest."""


class Distinct(enum.StrEnum):
    """Where replicas run."""

    EXECUTOR = "executor"
    OWNER = "owner"
    NONE = "none"


class Homogeneous(enum.StrEnum):
    """What the machines of all replicas have in common."""

    NONE = "none"
    OS = "os"
    OS_CPU = "os+cpu"


Quorum = Annotated[
    int | None,
    typer.Option(min=1, max=100, help="Results of which a majority must agree, such as 2."),
]
Target = Annotated[
    int | None, typer.Option(min=1, max=100, help="Runs to begin with. Default: the quorum.")
]
Comparator = Annotated[
    str | None, typer.Option(metavar="TYPE|JSON", help="When two results agree, such as lines.")
]
Distinctly = Annotated[
    Distinct | None,
    typer.Option("--distinct", help="Run on different executors (the default), or owners'."),
]
Alike = Annotated[
    Homogeneous | None, typer.Option("--homogeneous", help="Run all on one kind of platform.")
]
Adaptive = Annotated[
    bool, typer.Option("--adaptive", help="Let one run suffice where its executor is trusted.")
]


def redundancy(
    quorum: int | None,
    target: int | None,
    comparator: str | None,
    distinct: Distinct | None,
    homogeneous: Homogeneous | None,
    adaptive: bool,
) -> dict[str, Any] | None:
    """What the options ask for; None where they ask for nothing. Raises Failure.

    >>> redundancy(2, None, "lines", Distinct.NONE, None, False)
    {'min_quorum': 2, 'comparator': {'type': 'lines'}, 'distinct': 'none'}
    """
    asked = {
        "min_quorum": quorum,
        "target_replicas": target,
        "comparator": None if comparator is None else comparator_of(comparator),
        "distinct": None if distinct is None else distinct.value,
        "homogeneous": None if homogeneous is None else homogeneous.value,
        "adaptive": adaptive or None,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    if given and quorum is None and target is None:
        raise Failure(
            "How many results are to be compared? Say it with --quorum, such as --quorum 2.", USAGE
        )
    return given or None


def comparator_of(text: str) -> dict[str, Any]:
    """The comparator that is written so: a type, JSON, or the name of a file with JSON.

    Raises Failure.

    >>> comparator_of("tokens"), comparator_of('{"type": "numbers", "abs": 1}')
    ({'type': 'tokens'}, {'type': 'numbers', 'abs': 1})
    """
    if text in _NAMES:
        return {"type": text}
    if not text.lstrip().startswith("{") and not text.endswith(".json"):
        raise Failure(f"There is no comparator {text!r}. {_HINT}", USAGE)
    written = Path(text).read_bytes() if text.endswith(".json") else text
    try:
        found = json.loads(written)
    except ValueError as error:
        raise Failure(f"--comparator is no JSON: {error}. {_HINT}", USAGE) from error
    if not isinstance(found, dict):
        raise Failure(f"--comparator must be a JSON object. {_HINT}", USAGE)
    return found


# -- how replicas are shown ------------------------------------------------------------------

COLUMNS = ("replica", "executor", "state", "verdict", "agreement", "output", "time")
_AGREEMENT = {
    "init": "not compared yet",
    "valid": "agrees",
    "invalid": "differs",
    "inconclusive": "not decided",
    "no_check": "not checked",
    "too_late": "came too late",
}


def agreement(task: Task) -> str:
    """How many results agree with the task's; nothing of a task that wants but one."""
    if task.quorum < 2:
        return ""
    if not task.agreeing:
        return f"{task.quorum // 2 + 1} of {task.quorum} must agree"
    return f"{task.agreeing} of {task.results} agree"


def rows(task: Task) -> list[tuple[object, ...]]:
    """The replicas as a table has them."""
    return [_row(replica) for replica in task.replicas]


def _row(replica: Replica) -> tuple[object, ...]:
    where = f"{replica.executor} of {replica.owner}" if replica.owner else replica.executor
    return (
        f"{replica.number}{' *' if replica.canonical else ''}",
        where,
        replica.outcome or replica.phase or replica.state,
        replica.verdict or "",
        _agreement(replica),
        (replica.digest or "")[:_SHOWN],
        duration(replica.wall_time),
    )


def _agreement(replica: Replica) -> str:
    if replica.outcome == "validate_error":
        return "cannot be read"
    known = _AGREEMENT.get(replica.validity, replica.validity)
    return known if replica.outcome == "success" else ""
