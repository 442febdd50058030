"""From a request to a NewTask: JSON or multipart in, checked and uploaded, never half.

Everything is checked before the first byte goes to a judicator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from flask import Request
from werkzeug.datastructures import FileStorage, MultiDict

from accord.config import Settings
from accord.core.errors import Invalid
from accord.core.ids import UserName
from accord.core.task import Assimilation, NewTask, Requires, Spec
from accord.delivery.http.archives import check_path, check_zip, looks_like_zip
from accord.delivery.http.problems import within
from accord.delivery.http.programs import Checked, Parts, checked, decoded
from accord.delivery.http.redundancy import comparing, policy_of
from accord.delivery.http.requests import parse_json
from accord.delivery.http.submissions import (
    AssimilateIn,
    ProgramIn,
    RedundancyIn,
    Submission,
    check_available,
)
from accord.delivery.http.uploads import Uploads

_LONGEST_KEY = 200
_FILE_PARTS = frozenset({"task", "source", "data", "stdin"})
_REPEATED = frozenset({"args", "outputs"})
_PAIRS = {"env": "=", "label": ":"}
_NUMBERS = frozenset({"priority", "deadline", "delay_bound", "abs", "rel"}) | {
    name for name in RedundancyIn.model_fields if name.endswith(("quorum", "replicas"))
}
_FLAGS = frozenset({"adaptive"})
_SPELLED_FLAGS = {"true": True, "false": False}
_ZIP_TYPES = frozenset({"application/zip", "application/x-zip-compressed"})


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
        if not name:  # the library has None for a part without one
            raise Invalid("A part of the form has no name. Give it one.", field="")
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
    at = found
    for part in path[:-1]:
        at = at.setdefault(part, {})
        if not isinstance(at, dict):
            raise Invalid("This field contradicts another one.", field=name)
    at[path[-1]] = _value(path, value, name)


def _value(path: list[str], text: str, field: str) -> object:
    if path[-1] in _NUMBERS or "limits" in path[:-1]:
        return _number(text, field)
    return _SPELLED_FLAGS.get(text, text) if path[-1] in _FLAGS else text


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
        program = checked(task, parts, self._settings)
        data = self._checked_data(task, parts)
        for glob in task.outputs:
            check_path(glob, "outputs")
        asked = task.redundancy or RedundancyIn()
        policy, judge = policy_of(asked), self._checked_judge(asked)
        made = program.made(self._uploads)
        spec = Spec(
            language=made.language,
            source=made.source,
            compile=made.compile,
            execute=made.execute,
            data=self._uploads.put_stream(data) if data else None,
            outputs=tuple(task.outputs),
            network=task.network,
            requires=_requires(task),
            redundancy=comparing(policy, judge.made(self._uploads)) if judge else policy,
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

    def _checked_data(self, task: Submission, parts: Parts) -> IO[bytes] | None:
        if task.data is not None and parts.data is not None:
            raise Invalid("data came twice. Send it once.", field="data")
        data = parts.data if task.data is None else decoded(task.data)
        if data is not None:
            check_zip(data, self._settings.sandbox, "data")
        return data

    def _checked_judge(self, asked: RedundancyIn) -> Checked | None:
        """The program that compares results, where the comparator is one."""
        wish = asked.comparator
        if not isinstance(wish, ProgramIn):
            return None
        return within("redundancy.comparator", lambda: checked(wish, Parts(), self._settings))


def _requires(task: Submission) -> Requires:
    given = task.requires
    if given is None:
        return Requires()
    return Requires(
        tags=tuple(given.tags),
        cpus=given.cpus,
        memory=given.memory,
        isolation=given.isolation,
        language_version=given.language_version,
    )


def assimilation(given: str | AssimilateIn | None) -> Assimilation | None:
    """Whom a submission names, if it names one."""
    if isinstance(given, AssimilateIn):
        return Assimilation(handler=given.handler, options=given.options)
    return Assimilation(handler=given) if given is not None else None
