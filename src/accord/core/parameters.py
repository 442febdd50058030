"""What the tasks of a template vary in: axes of values, their grid, and placeholders.

Nothing here holds a grid: the values of place ``n`` are worked out from ``n`` alone, so that a sweep
of a million costs no more than its description.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

import msgspec

from accord.core.errors import Invalid
from accord.core.replica import Content, content
from accord.core.task import (
    INLINE_DOCUMENT,
    Files,
    NewTask,
    Redundancy,
    Scalar,
    Source,
    Spec,
    Step,
)

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
"""How a parameter may be called."""
MOST_NAMES = 64
"""Parameters of one template."""


class Range(msgspec.Struct, frozen=True, kw_only=True, tag="range"):
    """Numbers from ``start`` up to, but without, ``stop``, as Python's range has it."""

    name: str
    start: int | float
    stop: int | float
    step: int | float = 1

    @property
    def names(self) -> tuple[str, ...]:
        """What it gives values to."""
        return (self.name,)

    @property
    def size(self) -> int:
        """How many values there are.

        >>> Range(name="x", start=0, stop=1, step=0.1).size
        10
        """
        start, stop, step = (Decimal(str(v)) for v in (self.start, self.stop, self.step))
        return max(0, math.ceil((stop - start) / step))

    def at(self, number: int) -> tuple[Scalar, ...]:
        """The values of that number. Exact in decimals:

        >>> Range(name="x", start=0, stop=1, step=0.1).at(3)
        (0.3,)
        """
        value = Decimal(str(self.start)) + number * Decimal(str(self.step))
        whole = isinstance(self.start, int) and isinstance(self.step, int)
        return (int(value) if whole else float(value),)


class Values(msgspec.Struct, frozen=True, kw_only=True, tag="values"):
    """A list."""

    name: str
    values: tuple[Scalar, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What it gives values to."""
        return (self.name,)

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.values)

    def at(self, number: int) -> tuple[Scalar, ...]:
        """The values of that number."""
        return (self.values[number],)


class Rows(msgspec.Struct, frozen=True, kw_only=True, tag="rows"):
    """A table: names that vary together. Only the first axis, the slowest, may be one, so that
    its rows are read one after the other.
    """

    names: tuple[str, ...]
    rows: Content
    """JSON lines, each a list of as many values as there are names."""
    size: int


Axis = Range | Values | Rows


def grid_size(axes: Sequence[Axis]) -> int:
    """How many tasks a grid makes: the product of its axes.

    >>> grid_size([Range(name="n", start=0, stop=3), Values(name="c", values=("a", "b"))])
    6
    """
    return math.prod(axis.size for axis in axes)


def inner_size(axes: Sequence[Axis]) -> int:
    """How many tasks one value of the first axis makes."""
    return grid_size(axes[1:])


def at(axes: Sequence[Axis], number: int, row: Sequence[Scalar] = ()) -> dict[str, Scalar]:
    """The parameters of place ``number``: the last axis varies fastest. ``row`` is that of a table.

    >>> at([Range(name="n", start=0, stop=3), Values(name="c", values=("a", "b"))], 3)
    {'n': 1, 'c': 'b'}
    """
    found: list[tuple[str, Scalar]] = []
    for axis in reversed(axes):
        number, here = divmod(number, axis.size)
        values = row if isinstance(axis, Rows) else axis.at(here)
        found[:0] = zip(axis.names, values, strict=True)
    return dict(found)


def spelled(value: Scalar) -> str:
    """A value as it stands in a command.

    >>> spelled(5), spelled(0.5), spelled(True), spelled("a b")
    ('5', '0.5', 'true', 'a b')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def filler(values: Mapping[str, Scalar]) -> Callable[[str], str]:
    r"""What puts values in the place of ``{name}``.

    ``{{name}}`` stands for the text ``{name}``. ``${name}`` is the shell's and stays, as does
    whatever else stands in braces. Raises Invalid where all that one filler puts in is more than a
    task may hold: few bytes of placeholders could stand for any number of bytes.

    >>> filler({"n": 5})("f {n} {{n}} ${n} {m} {'a': {n}}")
    "f 5 {n} ${n} {m} {'a': 5}"
    """
    if not values:
        return lambda text: text
    known = "|".join(map(re.escape, values))
    pattern = re.compile(rf"\{{\{{({known})\}}\}}|(?<!\$)\{{({known})\}}")

    room = INLINE_DOCUMENT

    def put(match: re.Match[str]) -> str:
        nonlocal room
        literal, name = match.groups()
        text = f"{{{literal}}}" if literal else spelled(values[name])
        room -= len(text)
        if room < 0:
            raise Invalid(
                f"The values fill in more than {INLINE_DOCUMENT // 1024} KiB. Shorten them, or let "
                "the program read them from a file.",
                field="spec",
            )
        return text

    return lambda text: pattern.sub(put, text) if "{" in text else text


def names_in(text: str) -> list[str]:
    """What may be placeholders in a text.

    >>> names_in("a {n} ${x} {{c}} {1}")
    ['n', 'c']
    """
    return re.findall(rf"(?<!\$)\{{({NAME.pattern})\}}", text)


def fill(template: NewTask, values: Mapping[str, Scalar]) -> NewTask:
    """The task that a template makes of these values.

    Filled are its name, its labels' values, commands, arguments, environment, stdin, and the names
    of source and output files, those that are compared included. Contents of source files are the
    same for all, and so are secrets and a program that compares. Raises Invalid where two files come
    to have one name, or the values take more room than a task has.
    """
    put = filler(values)
    labels = {key: put(value) for key, value in template.labels.items()}
    return msgspec.structs.replace(
        template, name=put(template.name), labels=labels, spec=_filled(template.spec, put)
    )


def _filled(spec: Spec, put: Callable[[str], str]) -> Spec:
    return msgspec.structs.replace(
        spec,
        source=_filled_source(spec.source, put),
        compile=_filled_step(spec.compile, put) if spec.compile else None,
        execute=_filled_step(spec.execute, put),
        outputs=tuple(map(put, spec.outputs)),
        redundancy=_filled_redundancy(spec.redundancy, put),
    )


def _filled_redundancy(policy: Redundancy, put: Callable[[str], str]) -> Redundancy:
    """The names of files that are compared, as they are those of output files."""
    if not isinstance(policy.comparator, Files):
        return policy
    paths = tuple(map(put, policy.comparator.paths))
    return msgspec.structs.replace(policy, comparator=Files(paths=paths))


def _filled_source(source: Source | None, put: Callable[[str], str]) -> Source | None:
    if source is None or not source.files:
        return source
    files = {put(path): found for path, found in source.files.items()}
    if len(files) < len(source.files):
        raise Invalid("Two source files have the same name.", field="source.files")
    return msgspec.structs.replace(source, files=files)


def _filled_step(step: Step, put: Callable[[str], str]) -> Step:
    command = step.command
    return msgspec.structs.replace(
        step,
        command=put(command) if isinstance(command, str) else tuple(map(put, command)),
        args=tuple(map(put, step.args)),
        env={
            name: value if name in step.secrets else put(value) for name, value in step.env.items()
        },
        stdin=_filled_content(step.stdin, put) if step.stdin else None,
    )


def _filled_content(found: Content, put: Callable[[str], str]) -> Content:
    """Bytes that are no UTF-8 pass as they are."""
    if found.inline is None or b"{" not in found.inline:
        return found
    text = put(found.inline.decode("utf-8", "surrogateescape"))
    return content(text.encode("utf-8", "surrogateescape"))


def check_axes(axes: Sequence[Axis]) -> None:
    """Raises Invalid where they contradict each other or have no values."""
    names = list(itertools.chain.from_iterable(axis.names for axis in axes))
    if len(names) > MOST_NAMES:
        raise Invalid(
            f"There are {len(names)} parameters. Take at most {MOST_NAMES}.", field="parameters"
        )
    for name in names:
        if not NAME.fullmatch(name):
            raise Invalid(
                f"A parameter cannot be called {name[:80]!r}. Take letters, digits and _, at most 64.",
                field="parameters",
            )
        if names.count(name) > 1:
            raise Invalid(f"The parameter {name} is given twice. Rename one.", field="parameters")
    for number, axis in enumerate(axes):
        if isinstance(axis, Rows) and number > 0:
            raise Invalid("A table of rows comes before other parameters.", field="parameters")
        _check_axis(axis)


def _check_axis(axis: Axis) -> None:
    name = " and ".join(axis.names)
    if isinstance(axis, Range):
        numbers = (axis.start, axis.stop, axis.step)
        if not all(math.isfinite(n) for n in numbers) or axis.step == 0:
            raise Invalid(
                f"The range of {name} wants finite numbers and a step that is not 0.",
                field=f"parameters.{name}",
            )
    if axis.size < 1:
        raise Invalid(
            f"{name} has no values. A range stops before its end, as in [0, 10] for 0 to 9.",
            field=f"parameters.{name}",
        )
