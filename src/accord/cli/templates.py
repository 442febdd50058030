"""What a template, its parameters and a finishing task are written as on a command line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any

from accord.cli.failure import Failure
from accord.cli.run import by_suffix, program, read
from accord.client import spec

_NUMBER = r"-?\d+(?:\.\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:\.\.({_NUMBER}))?")
_PADDED = re.compile(r"(?:^|[ -])0\d")
_MOST_PADDED = 10_000

Number = int | float


def parameters(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The parameters that ``NAME=VALUES`` spell, in order. Raises Failure.

    >>> parameters(["n=1..1000", "c=a,b"])
    {'n': {'range': [1, 1001]}, 'c': {'list': ['a', 'b']}}
    """
    found: dict[str, dict[str, Any]] = {}
    for text in given:
        name, sign, values = text.partition("=")
        if not name or not sign or not values:
            raise Failure(f"{text!r}: write a parameter as n=1..1000, n=0..1..0.1 or c=a,b,c.")
        if name in found:
            raise Failure(f"The parameter {name} is given twice. Rename one.")
        found[name] = _axis(text, values)
    return found


def _axis(text: str, values: str) -> dict[str, Any]:
    match = _RANGE.fullmatch(values)
    if match:
        return _range(text, match[1], match[2], match[3])
    if re.fullmatch(r"[^,/]+\.\.[^,/]*", values):
        raise Failure(f"{text!r} is no range; write it like 1..1000, 10..1 or 0..1..0.1.")
    return {"list": [value_of(value) for value in values.split(",")]}


def _range(text: str, first: str, last: str, step: str | None) -> dict[str, Any]:
    """As bash has it: the end is included, a range may go down, zeros in front are kept."""
    begin, end, stride = Decimal(first), Decimal(last), abs(Decimal(step or "1"))
    if not stride:
        raise Failure(f"{text!r}: a step of 0 leads nowhere. Write it like 0..1..0.1.")
    if end < begin:
        stride = -stride
    size = int(((end - begin) / stride).to_integral_value(ROUND_FLOOR)) + 1
    if _PADDED.search(f"{first} {last}") and "." not in f"{first}{last}{step}":
        return {"list": _padded(text, first, last, stride, size)}
    stop = begin + size * stride
    numbers = [begin, stop] if stride == 1 else [begin, stop, stride]
    return {"range": [_number(number) for number in numbers]}


def _padded(text: str, first: str, last: str, stride: Decimal, size: int) -> list[str]:
    if size > _MOST_PADDED:
        raise Failure(
            f"{text!r}: at most {_MOST_PADDED} numbers with zeros in front. "
            "Leave the zeros out, and let the command put them in, as by printf %05d {n}."
        )
    width = max(len(first), len(last))
    return [f"{int(first) + number * int(stride):0{width}d}" for number in range(size)]


def _number(value: Decimal) -> Number:
    return int(value) if value.as_tuple().exponent == 0 else float(value)


def value_of(text: str) -> str | Number:
    """A number where it would be written back just so, else text.

    >>> value_of("7"), value_of("0.5"), value_of("007"), value_of("1.50"), value_of("a")
    (7, 0.5, '007', '1.50', 'a')
    """
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if str(number) == text and text not in {"inf", "-inf", "nan"}:
            return number
    return text


def template(
    what: str,
    language: str | None = None,
    args: Sequence[str] = (),
    stdin: str | None = None,
    limits: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The spec that ``what`` stands for: a JSON file with one, the source of a program, or a
    command for the shell. Raises Failure.
    """
    limits = dict(limits or {})
    if what.endswith(".json") and language is None and not _is_command(what):
        return _from_json(what, args, stdin, limits)
    if language is not None or (by_suffix(what) and not _is_command(what)):
        found = program(what, language, stdin, list(args))
        return spec(limits=limits, **{**found, "name": ""})
    given = _stdin(stdin)
    return spec(execute=what, args=args, limits=limits, **given)


def _is_command(what: str) -> bool:
    """Whether it is no file's name: one with spaces is one only where there is such a file."""
    return bool(re.search(r"\s", what)) and not Path(what).is_file()


def _from_json(
    file: str, args: Sequence[str], stdin: str | None, limits: Mapping[str, float]
) -> dict[str, Any]:
    found = document(file)
    given = spec(args=args, **_stdin(stdin))
    for name in given.keys() & found.keys():
        raise Failure(f"{file} says {name} already. Say it there, or on the command line.")
    wishes = {**found.get("limits", {}), **limits}
    return {**found, **given, **({"limits": wishes} if wishes else {})}


def _stdin(stdin: str | None) -> dict[str, bytes]:
    return {} if stdin is None else {"stdin": read(stdin)}


def document(file: str) -> dict[str, Any]:
    """The JSON object in a file. Raises Failure."""
    try:
        found = json.loads(Path(file).read_bytes())
    except ValueError as error:
        raise Failure(f"{file} holds no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise Failure(f"{file} must hold a JSON object, {{…}}.")
    return found


def finishing(file: str | None) -> dict[str, Any] | None:
    """The finishing task in a file: its spec as JSON, or the source of a program."""
    if file is None:
        return None
    if file.endswith(".json"):
        return document(file)
    return spec(**program(file, None, None, None))


def redundant(
    what: str, task: dict[str, Any] | None, policy: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """The task with that redundancy. Raises Failure where it says another."""
    if task is None or policy is None:
        return task
    if "redundancy" in task:
        raise Failure(f"{what} says redundancy already. Say it there, or on the command line.")
    return {**task, "redundancy": dict(policy)}


def with_secrets(
    task: dict[str, Any] | None, env: Mapping[str, Mapping[str, str]]
) -> dict[str, Any] | None:
    """The task with these variables beside those that it has.

    >>> with_secrets({"env": {"A": "1"}}, {"T": {"secret": "x"}})
    {'env': {'A': '1', 'T': {'secret': 'x'}}}
    """
    if task is None or not env:
        return task
    if "env" in task:
        return {**task, "env": {**task["env"], **env}}
    step = task.get("execute") or {}
    return {**task, "execute": {**step, "env": {**step.get("env", {}), **env}}}


def keeping(
    task: dict[str, Any] | None, globs: Sequence[str] | None, option: str
) -> dict[str, Any] | None:
    """The task, keeping the output files of these globs as well. Raises Failure where there is none.

    >>> keeping({"outputs": ["a"]}, ["b"], "--keep")
    {'outputs': ['a', 'b']}
    """
    if not globs:
        return task
    if task is None:
        raise Failure(f"{option} says what a task keeps, and there is none. Give it as well.")
    return {**task, "outputs": [*task.get("outputs", ()), *globs]}
