"""What an example folder holds: programs, how they are to be run, and how they must end.

``accord examples`` runs them; this module only reads, and makes of each what a client submits.
"""

from __future__ import annotations

import io
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from accord.cli.failure import Failure
from accord.client import spec


class Expect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a program must end."""

    status: str
    verdict: str
    first_line: str | None = None
    agree: str | None = None
    """How many of its results agree, as in ``2 of 2``."""


class ExpectBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a batch must end."""

    status: str
    counts: dict[str, int]
    """Of its tasks by status."""
    finish: str
    """The status of its finishing task."""
    first_line: str | None = None
    """Of what the finishing task prints."""
    kept: tuple[str, ...] = ()
    """Files that the finishing task must keep."""


class Program(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A program, and how it is run."""

    language: str | None = None
    source: str | None = None
    archive: tuple[str, ...] = ()
    compile: str | tuple[str, ...] | None = None
    execute: str | tuple[str, ...] | None = None
    args: tuple[str, ...] = ()
    stdin: str | None = None
    outputs: tuple[str, ...] = ()
    limits: dict[str, float | int] = {}
    redundancy: dict[str, Any] = {}
    """As the API has it: how often it runs, and when results agree."""

    def asked(self, folder: Path) -> dict[str, Any]:
        """What a client submits for it: its files lie in ``folder``."""
        fields: dict[str, Any] = {
            "language": self.language,
            "compile": self.compile,
            "execute": self.execute,
            "args": self.args,
            "outputs": self.outputs,
            "limits": self.limits,
            "redundancy": self.redundancy,
        }
        if self.source:
            fields["source"] = (folder / self.source).read_bytes()
        if self.archive:
            fields["archive"] = zipped(folder, self.archive)
        if self.stdin:
            fields["stdin"] = (folder / self.stdin).read_bytes()
        return fields


class Example(Program, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ``example.toml`` of one program; see the README beside the examples."""

    title: str
    expect: Expect


class Sweep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A batch: a template, what it varies in, and what is made of the results."""

    template: Program
    parameters: dict[str, dict[str, list[float | int | str]]]
    finish: Program

    def asked(self, folder: Path) -> dict[str, Any]:
        """What a client submits for it."""
        return {
            "template": spec(**self.template.asked(folder)),
            "parameters": self.parameters,
            "finish": spec(**self.finish.asked(folder)),
        }


class BatchExample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ``example.toml`` of a batch."""

    title: str
    batch: Sweep
    expect: ExpectBatch


AnyExample = Example | BatchExample


def load_examples(folder: Path) -> dict[str, AnyExample]:
    """The examples below ``folder``, by name. Raises Failure, naming the file to correct."""
    found = {path.parent.name: _load(path) for path in sorted(folder.glob("*/example.toml"))}
    if not found:
        raise Failure(f"There are no examples in {folder}.")
    return found


def _load(path: Path) -> AnyExample:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        kind: type[AnyExample] = BatchExample if "batch" in document else Example
        return msgspec.convert(document, kind)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Failure(f"{path}: {error}") from error


def zipped(folder: Path, names: Sequence[str]) -> bytes:
    """Those files as a zip."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(folder / name, name)
    return packed.getvalue()
