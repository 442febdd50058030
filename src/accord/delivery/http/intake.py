"""From a request to a NewTask: JSON or multipart in, checked and uploaded, never half.

Everything is checked before the first byte goes to a judicator.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from typing import IO, Any

import msgspec
from flask import Request
from werkzeug.datastructures import FileStorage, MultiDict

from accord.config import Settings
from accord.core.errors import Invalid
from accord.core.ids import UserName
from accord.core.languages import preset
from accord.core.limits import COMPILE_DEFAULTS, EXECUTE_DEFAULTS, Limits, resolve
from accord.core.replica import Content
from accord.core.task import Assimilation, NewTask, Redundancy, Requires, Source, Spec, Step
from accord.delivery.http.archives import check_path, check_paths, check_zip, looks_like_zip
from accord.delivery.http.requests import parse_json
from accord.delivery.http.submissions import (
    AssimilateIn,
    Encoded,
    RedundancyIn,
    SourceIn,
    StepIn,
    Submission,
    check_available,
    check_step,
    execute_of,
    raw,
    wishes,
)
from accord.delivery.http.uploads import Uploads

_LONGEST_KEY = 200
_FILE_PARTS = frozenset({"task", "source", "data", "stdin"})
_REPEATED = frozenset({"args", "outputs"})
_PAIRS = {"env": "=", "label": ":"}
_ZIP_TYPES = frozenset({"application/zip", "application/x-zip-compressed"})


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Streams that came beside the document, each at its beginning."""

    source: IO[bytes] | None = None
    source_name: str = ""
    """The name of a source that is one file; empty for an archive, or the language's own."""
    source_is_zip: bool = False
    data: IO[bytes] | None = None
    stdin: IO[bytes] | None = None


def read_submission(request: Request) -> tuple[Submission, Parts]:
    """What a request submits. Raises BadRequest, Invalid, or pydantic's ValidationError."""
    if request.mimetype == "multipart/form-data":
        return _from_multipart(request)
    return Submission.model_validate(request.get_json()), Parts()


def idempotency_key(request: Request) -> str | None:
    """The caller's key. Raises Invalid."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (
        0 < len(key) <= _LONGEST_KEY and key.isascii() and key.isprintable()
    ):
        raise Invalid(
            f"Idempotency-Key must be 1 to {_LONGEST_KEY} printable ASCII characters.",
            field="Idempotency-Key",
        )
    return key


def _from_multipart(request: Request) -> tuple[Submission, Parts]:
    for name in request.files:
        if name not in _FILE_PARTS or len(request.files.getlist(name)) > 1:
            known = ", ".join(sorted(_FILE_PARTS))
            raise Invalid(f"Unknown or repeated file part. There are: {known}.", field=name)
    document = _document(request)
    task = Submission.model_validate(document)
    return task, _parts(request.files)


def _document(request: Request) -> object:
    text: str | bytes | None = request.form.get("task")
    if text is None and "task" in request.files:
        text = request.files["task"].read()
    fields = [name for name in request.form if name != "task"]
    if text is None:
        return document_of(request.form)
    if fields:
        raise Invalid(
            "Give either a part 'task' with all in JSON, or form fields, not both.", field=fields[0]
        )
    return parse_json(text.encode() if isinstance(text, str) else text)


def document_of(form: MultiDict[str, str]) -> dict[str, Any]:
    """The document that form fields spell: ``limits.wall=2``, ``args=a``, ``label=key:value``.

    Raises Invalid.
    """
    found: dict[str, Any] = {}
    for name, values in form.lists():
        if name in _PAIRS:
            found["labels" if name == "label" else name] = _pairs(name, values)
        elif name in _REPEATED:
            found[name] = values
        elif len(values) > 1:
            raise Invalid("This field stands twice. Send it once.", field=name)
        else:
            _place(found, name, values[0])
    return found


def _pairs(name: str, values: list[str]) -> dict[str, str]:
    sign = _PAIRS[name]
    split = [value.partition(sign) for value in values]
    if not all(middle for _, middle, _ in split):
        raise Invalid(f"Write {name} as NAME{sign}VALUE.", field=name)
    return {key: value for key, _, value in split}


def _place(found: dict[str, Any], name: str, value: str) -> None:
    path = name.split(".")
    if path[-1] in {"priority", "deadline"} or "limits" in path[:-1]:
        found_value: object = _number(value, name)
    else:
        found_value = value
    at = found
    for part in path[:-1]:
        at = at.setdefault(part, {})
        if not isinstance(at, dict):
            raise Invalid("This field contradicts another one.", field=name)
    at[path[-1]] = found_value


def _number(text: str, field: str) -> int | float:
    try:
        return int(text) if text.strip().lstrip("+-").isdecimal() else float(text)
    except ValueError as error:
        raise Invalid(f"{field} must be a number.", field=field) from error


def _parts(files: Mapping[str, FileStorage]) -> Parts:
    source = files.get("source")
    return Parts(
        source=_stream(source),
        source_name=(source.filename or "").rpartition("/")[2] if source else "",
        source_is_zip=source is not None and _is_zip(source),
        data=_stream(files.get("data")),
        stdin=_stream(files.get("stdin")),
    )


def _stream(part: FileStorage | None) -> IO[bytes] | None:
    return part.stream if part is not None else None


def _is_zip(part: FileStorage) -> bool:
    named = part.mimetype in _ZIP_TYPES or (part.filename or "").lower().endswith(".zip")
    return named or looks_like_zip(part.stream)


class Intake:
    """Makes a NewTask of a submission; ``default`` is told of its end where it names nobody."""

    def __init__(
        self, settings: Settings, uploads: Uploads, default: Assimilation = Assimilation()
    ) -> None:
        self._settings = settings
        self._uploads = uploads
        self._default = default

    def new_task(
        self, task: Submission, parts: Parts, user: UserName, key: str | None = None
    ) -> NewTask:
        """Check it all, then upload what is large. Raises Invalid, NotYet, or what uploads raise."""
        check_available(task)
        execute = execute_of(task)
        if parts.stdin is not None and execute.stdin is not None:
            raise Invalid(
                "stdin came twice: as a field and as a file. Send it once.", field="stdin"
            )
        compile_limits, execute_limits = self._check_steps(task, execute)
        task, parts = _zips_to_streams(task, parts)
        self._check_files(task, parts)
        spec = Spec(
            language=task.language,
            source=self._source(task, parts),
            compile=self._compile_step(task, compile_limits),
            execute=self._execute_step(task, execute, parts, execute_limits),
            data=self._uploads.put_stream(parts.data) if parts.data else None,
            outputs=tuple(task.outputs),
            requires=_requires(task),
            redundancy=_redundancy(task.redundancy),
            deadline=task.deadline,
            assimilate=assimilation(task.assimilate) or self._default,
        )
        return NewTask(
            user=user,
            spec=spec,
            name=task.name,
            labels=task.labels,
            priority=task.priority,
            key=key,
        )

    # -- checks --------------------------------------------------------------------------

    def _check_steps(self, task: Submission, execute: StepIn) -> tuple[Limits, Limits]:
        chosen = preset(task.language) if task.language is not None else None
        check_step(execute, "execute")
        if execute.command is None and chosen is None:
            raise Invalid("Give a language, or execute.command.", field="execute.command")
        compiling = task.compile or StepIn()
        check_step(compiling, "compile")
        if (
            task.compile is not None
            and compiling.command is None
            and not (chosen and chosen.compile)
        ):
            raise Invalid(
                "There is no compile command. Give compile.command, or leave compile out.",
                field="compile.command",
            )
        caps = self._settings.caps
        return (
            _resolve(compiling, COMPILE_DEFAULTS, caps, "compile"),
            _resolve(execute, EXECUTE_DEFAULTS, caps, "execute"),
        )

    def _check_files(self, task: Submission, parts: Parts) -> None:
        caps = self._settings.sandbox
        if parts.source is not None and task.source is not None:
            raise Invalid(
                "source came twice: as a field and as a file. Send it once.", field="source"
            )
        if parts.source is not None and parts.source_is_zip:
            check_zip(parts.source, caps, "source")
        if parts.data is not None:
            check_zip(parts.data, caps, "data")
        if isinstance(task.source, SourceIn):
            check_paths(task.source.files or {}, "source.files")
        for glob in task.outputs:
            check_path(glob, "outputs")
        _check_program(task, parts)

    # -- the spec ------------------------------------------------------------------------

    def _source(self, task: Submission, parts: Parts) -> Source | None:
        put = self._uploads
        if parts.source is not None:
            content = put.put_stream(parts.source)
            if parts.source_is_zip:
                return Source(archive=content)
            return Source(files={_single_name(task, parts.source_name): content})
        if isinstance(task.source, SourceIn):
            files = task.source.files or {}
            return Source(files={path: put.put(raw(data)) for path, data in files.items()})
        if task.source is not None:
            return Source(files={_single_name(task, ""): put.put(raw(task.source))})
        return None

    def _compile_step(self, task: Submission, limits: Limits) -> Step | None:
        given = task.compile or StepIn()
        command = _command(given)
        if command is None and task.language is not None:
            command = preset(task.language).compile or None
        if command is None:
            return None
        return Step(
            command=command,
            args=tuple(given.args),
            env=given.env,
            stdin=self._stdin(given),
            limits=limits,
        )

    def _execute_step(self, task: Submission, given: StepIn, parts: Parts, limits: Limits) -> Step:
        command = _command(given)
        if command is None:
            command = preset(task.language or "").run
        stdin = self._uploads.put_stream(parts.stdin) if parts.stdin else self._stdin(given)
        return Step(
            command=command, args=tuple(given.args), env=given.env, stdin=stdin, limits=limits
        )

    def _stdin(self, given: StepIn) -> Content | None:
        return self._uploads.put(raw(given.stdin)) if given.stdin is not None else None


def _zips_to_streams(task: Submission, parts: Parts) -> tuple[Submission, Parts]:
    """Archives that came as base64, as if they had come as files."""
    if isinstance(task.source, SourceIn) and (task.source.zip is None) == (
        task.source.files is None
    ):
        raise Invalid("Give source.files or source.zip, one of them.", field="source")
    if isinstance(task.source, SourceIn) and task.source.zip is not None:
        if parts.source is not None:
            raise Invalid("source came twice. Send it once.", field="source")
        stream = _decoded(task.source.zip)
        task = task.model_copy(update={"source": None})
        parts = msgspec.structs.replace(parts, source=stream, source_is_zip=True)
    if task.data is not None:
        if parts.data is not None:
            raise Invalid("data came twice. Send it once.", field="data")
        parts = msgspec.structs.replace(parts, data=_decoded(task.data))
    return task, parts


def _decoded(value: Encoded) -> IO[bytes]:
    return io.BytesIO(raw(value))


def _uses_preset_file(task: Submission) -> bool:
    """Whether a command that the language fills in reads the file that it names."""
    if task.language is None:
        return False
    step = task.compile if preset(task.language).compile else task.execute
    return step is None or step.command is None


def _check_program(task: Submission, parts: Parts) -> None:
    if isinstance(task.source, SourceIn):
        _check_preset_file(task, task.source.files or {})
    elif task.source is not None or (parts.source is not None and not parts.source_is_zip):
        check_path(_single_name(task, parts.source_name), "source")
    elif parts.source is None and _uses_preset_file(task):
        raise Invalid("There is nothing to run. Give the source.", field="source")


def _check_preset_file(task: Submission, files: Mapping[str, object]) -> None:
    if not _uses_preset_file(task) or preset(task.language or "").file in files:
        return
    raise Invalid(
        f"The language {task.language} wants {preset(task.language or '').file}, which is not "
        "among the files. Name it so, or give your own commands.",
        field="source.files",
    )


def _single_name(task: Submission, name: str) -> str:
    if task.language is not None:
        return preset(task.language).file
    if not name:
        raise Invalid(
            "A source that is one text needs a language, or a name: source.files.", field="source"
        )
    return name


def _command(given: StepIn) -> str | tuple[str, ...] | None:
    return tuple(given.command) if isinstance(given.command, list) else given.command


@functools.lru_cache
def _usual(defaults: Limits, caps: Limits) -> Limits:
    return resolve({}, defaults, caps)


def _resolve(step: StepIn, defaults: Limits, caps: Limits, field: str) -> Limits:
    if step.limits is None:
        return _usual(defaults, caps)
    try:
        return resolve(wishes(step.limits), defaults, caps)
    except Invalid as error:
        inner = str(error.fields.get("field", "limits"))
        raise Invalid(
            error.message, field=inner if field == "execute" else f"{field}.{inner}"
        ) from error


def _requires(task: Submission) -> Requires:
    given = task.requires
    if given is None:
        return Requires()
    return Requires(
        tags=tuple(given.tags), cpus=given.cpus, memory=given.memory, isolation=given.isolation
    )


def _redundancy(given: RedundancyIn | None) -> Redundancy:
    if given is None:
        return Redundancy()
    return Redundancy(
        min_quorum=given.min_quorum,
        target_replicas=given.target_replicas or given.min_quorum,
        max_error_replicas=given.max_error_replicas,
        max_total_replicas=given.max_total_replicas,
        max_success_replicas=given.max_success_replicas,
        max_lost_replicas=given.max_lost_replicas,
        delay_bound=given.delay_bound,
        distinct=given.distinct,
    )


def assimilation(given: str | AssimilateIn | None) -> Assimilation | None:
    """Whom a submission names, if it names one."""
    if isinstance(given, AssimilateIn):
        return Assimilation(handler=given.handler, options=given.options)
    return Assimilation(handler=given) if given is not None else None
