"""What an executor is sent as a judging run, and what is made of what it brings back.

To the executor it is a run like any other: files, an optional compile step, an execute step. The
files are the program's own and, for each candidate N, what it left: ``results/N/stdout`` and
``results/N/outputs/PATH``. The numbers of the candidates are appended to the program's arguments.
It exits with 0 after printing one JSON object on standard output,

    {"groups": [[0, 2], [1]], "unreadable": []}

the candidates in groups of equal ones; anything else is a failure of the judging run.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from accord.core.judging import Judgement, Judging
from accord.core.limits import MIB, Limits
from accord.core.replica import Content, ErrorClass, Failure, Result, Verdict
from accord.core.task import Comparator, Program, Redundancy, Requires, Source, Spec, Step, Task

BUILT_IN = "judge.py"
"""The file name of the built-in program, which is ``texts`` as it stands."""
RESULTS = "results"
"""The folder of the candidates."""
_LIMITS = Limits(wall=120.0, cpu=120.0, memory=1024 * MIB)

replace = msgspec.structs.replace


def program_of(comparator: Comparator) -> Program:
    """The program of a task's judging runs, the built-in one without its file."""
    if isinstance(comparator, Program):
        return comparator
    fields = msgspec.to_builtins(comparator)
    type_ = fields.pop("type")
    options = msgspec.json.encode(fields, order="sorted").decode()
    command = ("python3", BUILT_IN, type_, options)
    return Program(execute=Step(command=command, limits=_LIMITS))


def bare_spec(task: Task) -> Spec:
    """What a judging run of the task needs of an executor: its spec without any results."""
    program = program_of(task.spec.redundancy.comparator)
    return Spec(
        execute=program.execute,
        compile=program.compile,
        source=program.source,
        language=program.language,
        requires=Requires(isolation=task.spec.requires.isolation),
        redundancy=Redundancy(),
    )


def spec_of(task: Task, run: Judging, built_in: Content) -> Spec:
    """The spec that is sent. ``built_in`` is the file of the built-in program."""
    spec = bare_spec(task)
    own = spec.source or Source()
    files = {**own.files, **_left(task, run)}
    if not isinstance(task.spec.redundancy.comparator, Program):
        files[BUILT_IN] = built_in
    numbers = tuple(str(number) for number in _judged(task, run))
    return replace(
        spec,
        source=Source(files=files, archive=own.archive),
        execute=replace(spec.execute, args=(*spec.execute.args, *numbers)),
    )


def _judged(task: Task, run: Judging) -> list[int]:
    """The candidates that ended well: core compares the others by itself."""
    found = [task.replica(number) for number in run.candidates]
    return [r.number for r in found if r and r.result and r.result.verdict is Verdict.OK]


def _left(task: Task, run: Judging) -> Mapping[str, Content]:
    files: dict[str, Content] = {}
    for number in _judged(task, run):
        replica = task.replica(number)
        result = replica.result if replica else None
        if result is None or result.execute is None:
            continue
        files[f"{RESULTS}/{number}/stdout"] = result.execute.stdout
        files.update({f"{RESULTS}/{number}/outputs/{p}": c for p, c in result.kept.items()})
    return files


# -- the answer --------------------------------------------------------------------------


class _Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    groups: tuple[tuple[int, ...], ...]
    unreadable: tuple[int, ...] = ()


def answer_of(end: Result | Failure) -> Judgement | Failure:
    """What a judging run has found, by how it ended."""
    if isinstance(end, Failure):
        return end
    if end.verdict is not Verdict.OK or end.execute is None:
        return _failed(f"The judging program ended with {end.verdict}.")
    said = end.execute.stdout.inline
    if said is None:
        return _failed("The judging program printed more than an answer.")
    try:
        answer = msgspec.json.decode(said, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _failed(f"The answer of the judging program is not what it should be: {error}")
    return Judgement(groups=answer.groups, unreadable=answer.unreadable)


def _failed(message: str) -> Failure:
    return Failure(error_class=ErrorClass.INTERNAL_FAIL, message=message, started=True)
