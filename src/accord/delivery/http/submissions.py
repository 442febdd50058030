"""What a submitter may write: the JSON of a task, short form and long form, as one model.

The short form (``language``, ``source``, ``stdin``, ``args``, ``env``, ``limits`` at the top)
and the long form (``source.files``, ``compile``, ``execute``) mix freely as long as nothing is
said twice; so they do for a program that compares results. Fields of later versions are known here
so that they are refused as "not yet", not as misspelled.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from accord.core.errors import Invalid, NotYet
from accord.core.executor import ISOLATION_LEVELS
from accord.core.limits import FLOORS

MOST_FILES = 256
"""Files of a source that come as JSON; more of them travel better in a zip."""
_LONGEST_STEP = 32 * 1024
"""Bytes of a command with its arguments and environment: they lie in the document."""

Word = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
"""What becomes part of an argv or environment: it cannot hold a NUL."""
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=200)]
LabelValue = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=128)]
LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$")]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]


class Strict(BaseModel):
    """What was not asked for is refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _decodable(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(
            "This is no base64. Encode the bytes by RFC 4648, without breaks"
        ) from error
    return text


class Encoded(Strict):
    """Bytes that are not text."""

    base64: Annotated[str, AfterValidator(_decodable)]


Bytes = str | Encoded


def raw(value: Bytes) -> bytes:
    """The bytes that were meant."""
    if isinstance(value, str):
        return value.encode("utf-8")
    return base64.b64decode(value.base64)


class LimitsIn(Strict):
    """The bounds of one step; what is left out has its default."""

    wall: float | None = Field(default=None, ge=FLOORS.wall, description="Seconds on the clock.")
    cpu: float | None = Field(default=None, ge=FLOORS.cpu, description="Seconds of processor time.")
    memory: int | None = Field(default=None, ge=FLOORS.memory, description="Bytes.")
    processes: int | None = Field(default=None, ge=FLOORS.processes)
    output: int | None = Field(
        default=None, ge=FLOORS.output, description="Bytes of stdout and stderr."
    )
    file: int | None = Field(default=None, ge=FLOORS.file, description="Bytes of the largest file.")
    disk: int | None = Field(default=None, ge=FLOORS.disk, description="Bytes written in all.")
    open_files: int | None = Field(default=None, ge=FLOORS.open_files)


class SecretIn(Strict):
    """A value that is for the program alone and reads back as ``***``."""

    secret: Word


Env = dict[EnvName, Word | SecretIn]


class StepIn(Strict):
    """One command. A string is a script for bash; a list is an argv without a shell."""

    command: Word | list[Word] | None = Field(
        default=None, description="From the language where absent."
    )
    args: list[Word] = []
    env: Env = {}
    stdin: Bytes | None = None
    limits: LimitsIn | None = None


class SourceIn(Strict):
    """What the program is made of: files by relative path, or one zip archive."""

    files: dict[str, Bytes] | None = Field(default=None, max_length=MOST_FILES)
    zip: Encoded | None = None


class RequiresIn(Strict):
    """What an executor must offer."""

    tags: list[Line] = Field(default=[], max_length=32)
    cpus: int = Field(default=1, ge=1, le=1024)
    memory: int = Field(default=0, ge=0, le=1 << 50)
    language_version: Annotated[str, StringConstraints(max_length=100)] = Field(
        default="", description="As far as it matters: 3.11 takes 3.11.2."
    )
    isolation: Literal["", *ISOLATION_LEVELS] = ""  # type: ignore[valid-type]  # made from the core's list


class Runnable(Strict):
    """A program and how it is run."""

    language: str | None = Field(default=None, description="A preset that fills the commands.")
    source: Bytes | SourceIn | None = Field(
        default=None, description="A text, files by path, or a zip."
    )
    stdin: Bytes | None = None
    args: list[Word] | None = None
    env: Env | None = None
    limits: LimitsIn | None = Field(default=None, description="Of the execute step.")
    compile: StepIn | None = None
    execute: StepIn | None = None


class DefaultIn(Strict):
    """Standard output and all kept files, byte for byte."""

    type: Literal["default"]


class ExactIn(Strict):
    """Standard output, byte for byte."""

    type: Literal["exact"]


class LinesIn(Strict):
    """Lines of standard output, but for blanks at their ends and empty lines at the end."""

    type: Literal["lines"]


class TokensIn(Strict):
    """Words of standard output, however they are spaced."""

    type: Literal["tokens"]


class NumbersIn(Strict):
    """Words of standard output; numbers may differ."""

    type: Literal["numbers"]
    abs: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="By so much.")
    rel: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="Or by so much times the larger."
    )


class JsonIn(Strict):
    """Standard output as one JSON value."""

    type: Literal["json"]


class FilesIn(Strict):
    """Kept files, byte for byte."""

    type: Literal["files"]
    paths: list[Word] = Field(min_length=1, max_length=100)


class ProgramIn(Runnable):
    """A program of the submitter's decides, in a box of its own."""

    type: Literal["program"]


_COMPARATORS: Mapping[str, type[Strict]] = {
    "default": DefaultIn,
    "exact": ExactIn,
    "lines": LinesIn,
    "tokens": TokensIn,
    "numbers": NumbersIn,
    "json": JsonIn,
    "files": FilesIn,
    "program": ProgramIn,
}
_AnyComparator = Annotated[
    DefaultIn | ExactIn | LinesIn | TokensIn | NumbersIn | JsonIn | FilesIn | ProgramIn,
    Field(discriminator="type"),
]


def _comparator(given: object) -> object:
    """The model of its type, so that errors name the field without the type in its path."""
    if isinstance(given, str):
        given = {"type": given}
    if not isinstance(given, Mapping):
        return given
    model = _COMPARATORS.get(str(given.get("type")))
    if model is None:
        known = ", ".join(_COMPARATORS)
        raise ValueError(f"There is no such comparator. There are: {known}")
    return model.model_validate(given)


ComparatorIn = Annotated[
    _AnyComparator,
    BeforeValidator(
        _comparator,
        json_schema_input_type=_AnyComparator
        | Literal["default", "exact", "lines", "tokens", "numbers", "json"],
    ),
]
"""A type alone stands for that type with its defaults."""

_Count = Annotated[int, Field(ge=1, le=100)]


class RedundancyIn(Strict):
    """How many runs, and when their results are one."""

    min_quorum: _Count = Field(default=1, description="Results of which a majority must agree.")
    target_replicas: _Count | None = Field(
        default=None, description="Runs to begin with; by default min_quorum."
    )
    max_error_replicas: _Count | None = Field(default=None, description="By default 3.")
    max_total_replicas: _Count | None = Field(
        default=None, description="By default 10, or more where more are begun with."
    )
    max_success_replicas: _Count | None = Field(
        default=None, description="By default 6, or twice target_replicas if that is more."
    )
    max_lost_replicas: _Count = 3
    delay_bound: float | None = Field(default=None, gt=0, le=30 * 86400, description="Seconds.")
    distinct: Literal["executor", "owner", "none"] = Field(
        default="executor", description="Runs are on different executors, or owners' executors."
    )
    comparator: ComparatorIn | None = Field(default=None, description="When two results agree.")
    homogeneous: Literal["none", "os", "os+cpu"] = Field(
        default="none", description="Runs are on one kind of platform."
    )
    adaptive: bool = Field(
        default=False, description="One run suffices where its executor is trusted."
    )


class AssimilateIn(Strict):
    """Who is told of the task's end, and what it is to know."""

    handler: Line
    options: dict[Line, Line] = Field(default={}, max_length=32)


class Submission(Runnable):
    """A task as it is submitted."""

    data: Encoded | None = Field(default=None, description="A zip, unpacked to data/.")
    outputs: list[Word] = Field(default=[], max_length=100, description="Globs of files to keep.")
    name: Line = ""
    labels: dict[LabelKey, LabelValue] = Field(default={}, max_length=32)
    priority: int = Field(default=0, ge=-100, le=100)
    requires: RequiresIn | None = None
    redundancy: RedundancyIn | None = None
    deadline: float | None = Field(
        default=None, gt=0, le=365 * 86400, description="Seconds from now."
    )
    assimilate: Line | AssimilateIn | None = Field(
        default=None, description="A registered handler that is told of the end."
    )
    network: bool = Field(
        default=False, description="Whether it may use the network, where tasks may."
    )
    check: Any = None
    expected: Any = None
    after: Any = None
    on_finish: Any = None
    retry: Any = None
    cases: Any = None


_LATER = ("check", "expected", "after", "on_finish", "retry", "cases")


def check_available(task: Submission) -> None:
    """Refuse what this version does not do. Raises NotYet, naming the field."""
    asked = [name for name in _LATER if getattr(task, name) is not None]
    if asked:
        raise NotYet(
            f"This version of Accord does not do {asked[0]!r} yet. Leave the field out.",
            field=asked[0],
        )


def execute_of(task: Runnable) -> StepIn:
    """The execute step with the short form's fields in it. Raises Invalid."""
    given = task.execute or StepIn()
    short = {name: getattr(task, name) for name in ("args", "env", "stdin", "limits")}
    short = {name: value for name, value in short.items() if value is not None}
    for name in short:
        if name in given.model_fields_set:
            raise Invalid(
                f"{name} stands both at the top and in execute. Give it once.", field=name
            )
    return given.model_copy(update=short)


def values_of(env: Mapping[str, str | SecretIn]) -> dict[str, str]:
    """The variables as the program gets them."""
    return {name: v.secret if isinstance(v, SecretIn) else v for name, v in env.items()}


def secrets_of(env: Mapping[str, str | SecretIn]) -> tuple[str, ...]:
    """The names of those that are secret."""
    return tuple(name for name, value in env.items() if isinstance(value, SecretIn))


def check_step(step: StepIn, field: str) -> None:
    """Check what a model cannot say. Raises Invalid."""
    words = [step.command] if isinstance(step.command, str) else list(step.command or [])
    if step.command is not None and (not words or not words[0].strip()):
        raise Invalid("The command is empty. Name a program.", field=f"{field}.command")
    words += [*step.args, *step.env, *values_of(step.env).values()]
    if sum(len(word.encode("utf-8")) + 1 for word in words) > _LONGEST_STEP:
        raise Invalid(
            f"Command, arguments and environment are longer than {_LONGEST_STEP} bytes together. "
            "Send the rest as stdin or as files.",
            field=field,
        )


def wishes(limits: LimitsIn | None) -> dict[str, object]:
    """The limits that were given."""
    return limits.model_dump(exclude_none=True) if limits else {}
