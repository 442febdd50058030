"""``accord examples DIR``: run the example programs and compare each with how it must end.

This is ``make run``: it starts a platform, shows what became of every example, and on a terminal
keeps serving.
"""

from __future__ import annotations

import io
import socket
import sys
import threading
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from accord.cli.failure import Failure
from accord.cli.options import Data
from accord.cli.output import amount, duration, print_table
from accord.client import Client, Task

LONGEST = 120.0
"""Seconds that an example may take, waiting included."""


class Expect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an example must end."""

    status: str
    verdict: str
    first_line: str | None = None


class Example(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ``example.toml``; see the README beside the examples."""

    title: str
    expect: Expect
    language: str | None = None
    source: str | None = None
    archive: tuple[str, ...] = ()
    compile: str | tuple[str, ...] | None = None
    execute: str | tuple[str, ...] | None = None
    stdin: str | None = None
    limits: dict[str, float | int] = {}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an example."""

    name: str
    example: Example
    task: Task

    @property
    def first_line(self) -> str:
        """Of its output, or of the compiler's where there is none."""
        shown = self.task.stdout or self.task.compile_stderr or self.task.stderr
        return shown.splitlines()[0] if shown else ""

    @property
    def as_expected(self) -> bool:
        """Whether it ended as it must."""
        wanted = self.example.expect
        return (self.task.status, self.task.verdict) == (
            wanted.status,
            wanted.verdict,
        ) and wanted.first_line in (None, self.first_line)


def examples(
    folder: Annotated[Path, typer.Argument(help="Where the examples are.")],
    data: Data = None,
    port: Annotated[int, typer.Option(help="Of the site; a free one where it is taken.")] = 7000,
) -> None:
    """Start a platform, run the examples on it and show what became of each."""
    from accord.boot.signals import Signals
    from accord.cli.platform import Platform

    found = load_examples(folder)
    platform = Platform(_settings(data or Path("data"), port), _say)
    ended = threading.Event()

    def end() -> None:
        ended.set()
        platform.ask_stop()

    with platform.logging(), Signals(first=end, again=platform.hurry):
        try:
            _say(f"Starting Accord in {platform.layout.data}")
            platform.start()
            code = 1 if ended.is_set() else _run(platform.url, folder, found, ended)
            if not ended.is_set():
                print(f"\nThe website is at {platform.url}", flush=True)
                _keep_serving(ended)
        finally:
            platform.stop()
    raise typer.Exit(code)


def _settings(data: Path, port: int) -> Any:
    from accord.cli.platform import free_ports, load_settings

    first, second = free_ports(2)
    if _taken(port) or _taken(port + 1):
        _say(f"Port {port} or {port + 1} is taken; using {first} and {second}")
    else:
        first, second = port, port + 1
    return load_settings(None, data, {"gateway": {"port": first}, "judicator": {"port": second}})


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _say(sentence: str) -> None:
    print(f"{sentence}.", file=sys.stderr, flush=True)


def load_examples(folder: Path) -> dict[str, Example]:
    """The examples below ``folder``, by name. Raises Failure, naming the file to correct."""
    found: dict[str, Example] = {}
    for path in sorted(folder.glob("*/example.toml")):
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
            found[path.parent.name] = msgspec.convert(document, Example)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise Failure(f"{path}: {error}") from error
    if not found:
        raise Failure(f"There are no examples in {folder}.")
    return found


def _run(url: str, folder: Path, found: dict[str, Example], ended: threading.Event) -> int:
    """Run them all and print the table; the exit code."""
    with Client(url) as client:
        waiting = {
            name: submit(client, folder / name, name, example) for name, example in found.items()
        }
        outcomes = []
        for name, task in waiting.items():
            if ended.is_set():
                return 1
            done = client.wait(task.id, LONGEST)
            outcomes.append(Outcome(name=name, example=found[name], task=done))
            _say(f"{len(outcomes)}/{len(found)} {name}: {done.status}")
    _print(outcomes)
    wrong = [outcome for outcome in outcomes if not outcome.as_expected]
    for outcome in wrong:
        wanted = outcome.example.expect
        line = f", first line {wanted.first_line!r}" if wanted.first_line is not None else ""
        _say(f"{outcome.name} should have ended as {wanted.status}, {wanted.verdict}{line}")
    return 1 if wrong else 0


def submit(client: Client, folder: Path, name: str, example: Example) -> Task:
    """Submit one example."""
    fields: dict[str, Any] = {"language": example.language, "limits": example.limits}
    if example.source:
        fields["source"] = (folder / example.source).read_bytes()
    if example.archive:
        fields["archive"] = zipped(folder, example.archive)
    if example.stdin:
        fields["stdin"] = (folder / example.stdin).read_bytes()
    return client.submit(compile=example.compile, execute=example.execute, name=name, **fields)


def zipped(folder: Path, names: Sequence[str]) -> bytes:
    """Those files as a zip."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(folder / name, name)
    return packed.getvalue()


def _print(outcomes: Sequence[Outcome]) -> None:
    columns = ("", "example", "status", "verdict", "time", "memory", "first line of output")
    rows = [
        (
            "✓" if outcome.as_expected else "✗",
            outcome.name,
            outcome.task.status,
            outcome.task.verdict or outcome.task.reason or "",
            duration(outcome.task.wall_time),
            amount(outcome.task.peak_memory),
            outcome.first_line[:60],
        )
        for outcome in outcomes
    ]
    print()
    print_table(columns, rows)


def _keep_serving(ended: threading.Event) -> None:
    if sys.stdout.isatty() and sys.stdin.isatty():
        print("Press Ctrl-C to stop it.", flush=True)
        ended.wait()
