"""From a request to a NewBatch: lists of tasks, and templates with what they vary in.

All is checked before the first byte goes to a judicator; of a template also the tasks that its
first and its last values make, since most mistakes show in one of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated

import msgspec
from pydantic import Field, ValidationError

from accord.config import Settings
from accord.core.batch import CUSHION, BatchSource, NewBatch
from accord.core.errors import Invalid
from accord.core.ids import UserName
from accord.core.parameters import (
    Axis,
    Range,
    Rows,
    Values,
    at,
    check_axes,
    fill,
    grid_size,
    names_in,
    spelled,
)
from accord.core.replica import EMPTY
from accord.core.task import INLINE_STREAM, Assimilation, Files, NewTask, Scalar, Step
from accord.delivery.http.archives import check_path, check_paths
from accord.delivery.http.intake import Intake
from accord.delivery.http.problems import invalid, placed, within
from accord.delivery.http.programs import Parts
from accord.delivery.http.submissions import (
    AssimilateIn,
    LabelKey,
    LabelValue,
    Line,
    StepIn,
    Strict,
    Submission,
    Word,
    check_step,
)
from accord.delivery.http.tables import Table, read_table
from accord.delivery.http.uploads import Direct, Later, Uploads
from accord.ports.clock import Ids
from accord.ports.judicator import Judicator

MOST_LISTED = 10_000
"""Tasks of one JSON list, which is whole in memory; more of them travel as NDJSON."""
MOST_TASKS = 100_000_000
"""Tasks that the parameters of a template may make."""
_LONGEST_VALUES = 64 * 1024
"""Bytes of all listed values: they lie in the batch's document."""

_Whole = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
_Real = Annotated[float, Field(allow_inf_nan=False)]
Number = _Whole | _Real
Value = bool | _Whole | _Real | Word


class AxisIn(Strict):
    """The values of one parameter."""

    range_: list[Number] | None = Field(
        default=None,
        alias="range",
        min_length=2,
        max_length=3,
        description="From, up to but without, and the step.",
    )
    list_: list[Value] | None = Field(default=None, alias="list")


class BatchHead(Strict):
    """What is said of a batch as a whole."""

    name: Line = ""
    labels: dict[LabelKey, LabelValue] = Field(default={}, max_length=32)
    finish: Submission | None = Field(
        default=None, description="A task that runs when all are done, on their results."
    )
    open: bool = Field(default=False, description="Whether more tasks will be added.")
    assimilate: Line | AssimilateIn | None = Field(
        default=None, description="For each task that names none."
    )


class BatchIn(BatchHead):
    """A batch as it is submitted: a list of tasks, or a template with its parameters."""

    tasks: list[Submission] | None = Field(default=None, max_length=MOST_LISTED)
    template: Submission | None = Field(
        default=None, description="{name} stands for a parameter's value."
    )
    parameters: dict[str, AxisIn] = Field(
        default={}, max_length=64, description="Their grid; the last one varies fastest."
    )
    csv: str | None = Field(
        default=None, description="A table of parameters that vary together, with a header."
    )
    cushion: int | None = Field(
        default=None, ge=1, le=100_000, description="Unsent tasks of a template in the store."
    )


class TasksIn(Strict):
    """Tasks that are added to an open batch."""

    tasks: list[Submission] = Field(max_length=MOST_LISTED)


class BatchIntake:
    """Makes what is submitted of one request; what is large waits in ``later``."""

    def __init__(
        self,
        settings: Settings,
        judicator: Judicator,
        ids: Ids,
        user: UserName,
        default: Assimilation | None = None,
    ) -> None:
        self._settings = settings
        self._user = user
        self._default = default or Assimilation()
        self._direct = Direct(judicator, ids)
        self.later = Later(self._direct)

    def task(self, task: Submission) -> NewTask:
        """One task of a list or stream. Raises Invalid, NotYet."""
        return self._new(task, self._default)

    def tasks(self, tasks: Sequence[Submission]) -> list[NewTask]:
        """The tasks of a list. Raises Invalid, NotYet, naming the place."""
        return [
            within(f"tasks.{number}", lambda one=one: self.task(one))  # type: ignore[misc]  # the default binds the loop's value
            for number, one in enumerate(tasks)
        ]

    def head(
        self, head: BatchHead, source: BatchSource, key: str | None, fingerprint: str
    ) -> NewBatch:
        """A batch without its tasks; its finishing task is checked, and sent. Raises Invalid,
        NotYet.
        """
        return NewBatch(
            user=self._user,
            source=source,
            name=head.name,
            labels=head.labels,
            key=key,
            fingerprint=fingerprint,
            finish=self._finish(head.finish) if head.finish else None,
            stays_open=head.open,
        )

    def sweep(self, asked: BatchIn, key: str | None, fingerprint: str) -> NewBatch:
        """A batch of a template, all of which is sent when this returns. Raises Invalid, NotYet,
        and what uploads raise.
        """
        with read_table(asked.csv) if asked.csv is not None else nullcontext() as table:
            axes = _axes(asked, table)
            template = self._template(asked.template or Submission(), axes, table)
            new = self.head(asked, BatchSource.TEMPLATE, key, fingerprint)
            self.later.send([one for one in (template, new.finish) if one])
            return msgspec.structs.replace(
                new,
                template=template,
                axes=self._stored(axes, table),
                cushion=asked.cushion or CUSHION,
            )

    def _template(self, wish: Submission, axes: Sequence[Axis], table: Table | None) -> NewTask:
        template = within("template", lambda: self._new(wish, self._default))
        _check_stdin(wish, template, axes)
        _check_ends(template, axes, table)
        return template

    def _stored(self, axes: tuple[Axis, ...], table: Table | None) -> tuple[Axis, ...]:
        if table is None:
            return axes
        rows = Uploads(self._direct).put_stream(table.lines)
        return (Rows(names=table.names, rows=rows, size=table.size), *axes[1:])

    def _finish(self, task: Submission) -> NewTask:
        if task.data is not None:
            raise Invalid(
                "A finishing task finds the results of the batch in its data/. Leave data out.",
                field="finish.data",
            )
        return within("finish", lambda: self._new(task, Assimilation()))

    def _new(self, task: Submission, default: Assimilation) -> NewTask:
        intake = Intake(self._settings, Uploads(self.later), default)
        return intake.new_task(task, Parts(), self._user)


def check_kind(asked: BatchIn) -> None:
    """Check that it is one kind of batch, and wholly. Raises Invalid."""
    if (asked.tasks is None) == (asked.template is None):
        raise Invalid("Give a list of tasks or a template, one of them.", field="tasks")
    if asked.template is not None and asked.open:
        raise Invalid(
            "A batch of a template is complete, so it cannot stay open. Leave open out.",
            field="open",
        )
    if asked.tasks is None:
        return
    for name in ("parameters", "csv", "cushion"):
        if name in asked.model_fields_set:
            raise Invalid(f"{name} goes with a template, not with a list of tasks.", field=name)
    if not asked.tasks and not asked.open:
        raise no_tasks()


def no_tasks() -> Invalid:
    """The error that says so."""
    return Invalid("There are no tasks. Give one at least, or open=true.", field="tasks")


def fingerprint_of(document: object) -> str:
    """SHA-256 of a request's document, however it was spelled; the order of parameters counts."""
    if isinstance(document, dict) and isinstance(document.get("parameters"), dict):
        document = {**document, "parameters": list(document["parameters"].items())}
    return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()


# -- parameters ------------------------------------------------------------------------------


def _axes(asked: BatchIn, table: Table | None) -> tuple[Axis, ...]:
    """All checked; the rows of a table are put in their place when they are stored."""
    axes = [_axis(name, axis) for name, axis in asked.parameters.items()]
    if table is not None:
        axes.insert(0, Rows(names=table.names, rows=EMPTY, size=table.size))
    check_axes(axes)
    _check_values(axes)
    if grid_size(axes) > MOST_TASKS:
        raise Invalid(
            f"These parameters make more than {MOST_TASKS:,} tasks. Make several batches of them.",
            field="parameters",
        )
    return tuple(axes)


def _axis(name: str, axis: AxisIn) -> Axis:
    if (axis.range_ is None) == (axis.list_ is None):
        raise Invalid(
            f"Give the values of {name[:80]} as a range or as a list, one of them.",
            field=f"parameters.{name[:80]}",
        )
    if axis.range_ is not None:
        start, stop, *step = axis.range_
        return Range(name=name, start=start, stop=stop, step=step[0] if step else 1)
    return Values(name=name, values=tuple(axis.list_ or ()))


def _check_values(axes: Sequence[Axis]) -> None:
    size = sum(
        len(spelled(value).encode()) + 1
        for axis in axes
        if isinstance(axis, Values)
        for value in axis.values
    )
    if size > _LONGEST_VALUES:
        raise Invalid(
            f"The listed values have over {_LONGEST_VALUES} bytes together. Send them as csv.",
            field="parameters",
        )


# -- what a template makes -------------------------------------------------------------------


def _check_stdin(wish: Submission, template: NewTask, axes: Sequence[Axis]) -> None:
    """A stdin that is a blob is the same for all tasks, so it can hold no placeholders."""
    names = {name for axis in axes for name in axis.names}
    spec = template.spec
    given = {
        "stdin": (spec.execute, wish.stdin),
        "execute.stdin": (spec.execute, wish.execute.stdin if wish.execute else None),
        "compile.stdin": (spec.compile, wish.compile.stdin if wish.compile else None),
    }
    for field, (step, text) in given.items():
        if isinstance(text, str) and _is_blob(step) and not names.isdisjoint(names_in(text)):
            raise Invalid(
                f"A {field} with placeholders has at most {INLINE_STREAM} bytes, and sources "
                "leave it room beside them. Shorten it, or send large sources as a zip.",
                field=f"template.{field}",
            )


def _is_blob(step: Step | None) -> bool:
    return step is not None and step.stdin is not None and step.stdin.inline is None


def _check_ends(template: NewTask, axes: Sequence[Axis], table: Table | None) -> None:
    """Check the first and the last task as submissions. Raises Invalid, naming their values."""
    ends = {0: table.first if table else [], grid_size(axes) - 1: table.last if table else []}
    for number, row in ends.items():
        values = at(axes, number, row)
        try:
            _check_filled(fill(template, values))
        except (Invalid, ValidationError) as error:
            found = error if isinstance(error, Invalid) else invalid(error)
            told = placed(found, "template")
            told.message += f" (With {_shown(values)}.)"
            raise told from error


def _shown(values: dict[str, Scalar]) -> str:
    return ", ".join(f"{name}={spelled(value)[:40]}" for name, value in values.items())[:200]


def _check_filled(task: NewTask) -> None:
    spec = task.spec
    wish = Submission(
        name=task.name,
        labels=dict(task.labels),
        outputs=list(spec.outputs),
        compile=_step_in(spec.compile) if spec.compile else None,
        execute=_step_in(spec.execute),
    )
    check_step(_step_in(spec.execute), "execute")
    if wish.compile:
        check_step(wish.compile, "compile")
    check_paths(spec.source.files if spec.source else (), "source.files")
    for glob in spec.outputs:
        check_path(glob, "outputs")
    if isinstance(spec.redundancy.comparator, Files):
        for path in spec.redundancy.comparator.paths:
            check_path(path, "redundancy.comparator.paths")


def _step_in(step: Step) -> StepIn:
    command = step.command if isinstance(step.command, str) else list(step.command)
    return StepIn(command=command, args=list(step.args), env=dict(step.env))
