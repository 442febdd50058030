"""Programs as they are submitted: a task's own, and one that compares results.

A program is checked whole before the first byte of it goes to a judicator.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from typing import IO

import msgspec

from accord.config import SandboxSettings, Settings
from accord.core.errors import Invalid
from accord.core.languages import preset
from accord.core.limits import COMPILE_DEFAULTS, EXECUTE_DEFAULTS, Limits, resolve
from accord.core.replica import Content
from accord.core.task import Program, Source, Step
from accord.delivery.http.archives import check_path, check_paths, check_zip
from accord.delivery.http.submissions import (
    Encoded,
    Runnable,
    SourceIn,
    StepIn,
    check_step,
    execute_of,
    raw,
    secrets_of,
    values_of,
    wishes,
)
from accord.delivery.http.uploads import Uploads


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Streams that came beside the document, each at its beginning."""

    source: IO[bytes] | None = None
    source_name: str = ""
    """The name of a source that is one file; empty for an archive, or the language's own."""
    source_is_zip: bool = False
    data: IO[bytes] | None = None
    stdin: IO[bytes] | None = None


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A program that may be run; nothing of it was uploaded."""

    wish: Runnable
    execute: StepIn
    """With what the short form says of it."""
    parts: Parts
    compile_limits: Limits
    execute_limits: Limits

    def made(self, put: Uploads) -> Program:
        """The program, its contents uploaded. Raises what uploads raise."""
        return Program(
            language=self.wish.language,
            source=self._source(put),
            compile=self._compile_step(put),
            execute=self._execute_step(put),
        )

    def _source(self, put: Uploads) -> Source | None:
        wish, parts = self.wish, self.parts
        if parts.source is not None:
            content = put.put_stream(parts.source)
            if parts.source_is_zip:
                return Source(archive=content)
            return Source(files={_single_name(wish, parts.source_name): content})
        if isinstance(wish.source, SourceIn):
            files = wish.source.files or {}
            return Source(files={path: put.put(raw(data)) for path, data in files.items()})
        if wish.source is not None:
            return Source(files={_single_name(wish, ""): put.put(raw(wish.source))})
        return None

    def _compile_step(self, put: Uploads) -> Step | None:
        given = self.wish.compile or StepIn()
        command = _command(given)
        if command is None and self.wish.language is not None:
            command = preset(self.wish.language).compile or None
        if command is None:
            return None
        return Step(
            command=command,
            args=tuple(given.args),
            env=values_of(given.env),
            secrets=secrets_of(given.env),
            stdin=_stdin(given, put),
            limits=self.compile_limits,
        )

    def _execute_step(self, put: Uploads) -> Step:
        given, parts = self.execute, self.parts
        command = _command(given)
        if command is None:
            command = preset(self.wish.language or "").run
        return Step(
            command=command,
            args=tuple(given.args),
            env=values_of(given.env),
            secrets=secrets_of(given.env),
            stdin=put.put_stream(parts.stdin) if parts.stdin else _stdin(given, put),
            limits=self.execute_limits,
        )


def checked(wish: Runnable, parts: Parts, settings: Settings) -> Checked:
    """Check a program with the files that came beside it. Raises Invalid."""
    execute = execute_of(wish)
    if parts.stdin is not None and execute.stdin is not None:
        raise Invalid("stdin came twice: as a field and as a file. Send it once.", field="stdin")
    compile_limits, execute_limits = _check_steps(wish, execute, settings.caps)
    wish, parts = _zip_to_stream(wish, parts)
    _check_files(wish, parts, settings.sandbox)
    return Checked(
        wish=wish,
        execute=execute,
        parts=parts,
        compile_limits=compile_limits,
        execute_limits=execute_limits,
    )


def decoded(value: Encoded) -> IO[bytes]:
    """Bytes that came in the document, as if they had come as a file."""
    return io.BytesIO(raw(value))


# -- checks ----------------------------------------------------------------------------------


def _check_steps(wish: Runnable, execute: StepIn, caps: Limits) -> tuple[Limits, Limits]:
    chosen = preset(wish.language) if wish.language is not None else None
    check_step(execute, "execute")
    if execute.command is None and chosen is None:
        raise Invalid("Give a language, or execute.command.", field="execute.command")
    compiling = wish.compile or StepIn()
    check_step(compiling, "compile")
    if wish.compile is not None and compiling.command is None and not (chosen and chosen.compile):
        raise Invalid(
            "There is no compile command. Give compile.command, or leave compile out.",
            field="compile.command",
        )
    place = "execute." if wish.limits is None else ""
    return (
        _resolve(compiling, COMPILE_DEFAULTS, caps, "compile."),
        _resolve(execute, EXECUTE_DEFAULTS, caps, place),
    )


@functools.lru_cache
def _usual(defaults: Limits, caps: Limits) -> Limits:
    return resolve({}, defaults, caps)


def _resolve(step: StepIn, defaults: Limits, caps: Limits, place: str) -> Limits:
    if step.limits is None:
        return _usual(defaults, caps)
    try:
        return resolve(wishes(step.limits), defaults, caps)
    except Invalid as error:
        inner = str(error.fields.get("field", "limits"))
        raise Invalid(error.message, field=f"{place}{inner}") from error


def _zip_to_stream(wish: Runnable, parts: Parts) -> tuple[Runnable, Parts]:
    """An archive that came as base64, as if it had come as a file."""
    if parts.source is not None and wish.source is not None:
        raise Invalid("source came twice: as a field and as a file. Send it once.", field="source")
    if not isinstance(wish.source, SourceIn):
        return wish, parts
    if (wish.source.zip is None) == (wish.source.files is None):
        raise Invalid("Give source.files or source.zip, one of them.", field="source")
    if wish.source.zip is None:
        return wish, parts
    stream = decoded(wish.source.zip)
    wish = wish.model_copy(update={"source": None})
    return wish, msgspec.structs.replace(parts, source=stream, source_is_zip=True)


def _check_files(wish: Runnable, parts: Parts, caps: SandboxSettings) -> None:
    if parts.source is not None and parts.source_is_zip:
        check_zip(parts.source, caps, "source")
    if isinstance(wish.source, SourceIn):
        check_paths(wish.source.files or {}, "source.files")
        _check_preset_file(wish, wish.source.files or {})
    elif wish.source is not None or (parts.source is not None and not parts.source_is_zip):
        check_path(_single_name(wish, parts.source_name), "source")
    elif parts.source is None and _uses_preset_file(wish):
        raise Invalid("There is nothing to run. Give the source.", field="source")


def _uses_preset_file(wish: Runnable) -> bool:
    """Whether a command that the language fills in reads the file that it names."""
    if wish.language is None:
        return False
    step = wish.compile if preset(wish.language).compile else wish.execute
    return step is None or step.command is None


def _check_preset_file(wish: Runnable, files: Mapping[str, object]) -> None:
    if not _uses_preset_file(wish) or preset(wish.language or "").file in files:
        return
    raise Invalid(
        f"The language {wish.language} wants {preset(wish.language or '').file}, which is not "
        "among the files. Name it so, or give your own commands.",
        field="source.files",
    )


# -- pieces ----------------------------------------------------------------------------------


def _single_name(wish: Runnable, name: str) -> str:
    if wish.language is not None:
        return preset(wish.language).file
    if not name:
        raise Invalid(
            "A source that is one text needs a language, or a name: source.files.", field="source"
        )
    return name


def _command(given: StepIn) -> str | tuple[str, ...] | None:
    return tuple(given.command) if isinstance(given.command, list) else given.command


def _stdin(given: StepIn, put: Uploads) -> Content | None:
    return put.put(raw(given.stdin)) if given.stdin is not None else None
