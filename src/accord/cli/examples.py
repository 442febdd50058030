"""``accord examples DIR``: run the example programs and compare each with how it must end.

This is ``make run``: it starts a platform, shows what became of every example, and on a terminal
keeps serving.
"""

from __future__ import annotations

import datetime
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from accord.cli.example_files import AnyExample, BatchExample, Example, load_examples
from accord.cli.options import Data
from accord.cli.output import amount, duration, print_table
from accord.cli.redundancy import agreement
from accord.client import Batch, Client, Task

LONGEST = 120.0
"""Seconds that an example may take, waiting included."""
LONGEST_BATCH = 600.0
"""The same, for a batch of many tasks."""
_COLUMNS = ("", "example", "status", "verdict", "time", "memory", "first line of output")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an example, as the table shows it."""

    name: str
    as_expected: bool
    wanted: str
    """In words, for who has to find out why it is not so."""
    status: str
    verdict: str
    seconds: float | None
    memory: int | None = None
    first_line: str = ""
    page: str = ""
    """Where on the site its result is worth a look."""


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


def _run(url: str, folder: Path, found: Mapping[str, AnyExample], ended: threading.Event) -> int:
    """Run them all and print the table; the exit code."""
    with Client(url) as client:
        waiting = [begin(client, folder / name, name, found[name]) for name in _order(found)]
        outcomes: list[Outcome] = []
        for wait in waiting:
            if ended.is_set():
                return 1
            outcomes.append(wait())
            _say(f"{len(outcomes)}/{len(found)} {outcomes[-1].name}: {outcomes[-1].status}")
    _print(url, outcomes)
    wrong = [outcome for outcome in outcomes if not outcome.as_expected]
    for outcome in wrong:
        _say(f"{outcome.name} should have ended as {outcome.wanted}")
    return 1 if wrong else 0


def _order(found: Mapping[str, AnyExample]) -> list[str]:
    """Batches last: what comes after their many tasks would wait for all of them."""
    return sorted(found, key=lambda name: (isinstance(found[name], BatchExample), name))


def begin(client: Client, folder: Path, name: str, example: AnyExample) -> Callable[[], Outcome]:
    """Submit an example; what is returned waits for its end."""
    if isinstance(example, BatchExample):
        batch = client.create_batch(name=name, **example.batch.asked(folder))
        return lambda: of_batch(client, example, client.wait_batch(batch.id, LONGEST_BATCH))
    task = client.submit(name=name, **example.asked(folder))
    return lambda: of_task(example, client.wait(task.id, LONGEST))


def of_task(example: Example, task: Task) -> Outcome:
    """What a done task means for its example."""
    wanted, line = example.expect, _first_line(task)
    agreed = agreement(task)
    ended = (task.status, task.verdict) == (wanted.status, wanted.verdict)
    agree = wanted.agree is None or agreed == f"{wanted.agree} agree"
    return Outcome(
        name=task.name,
        as_expected=ended and agree and wanted.first_line in (None, line),
        wanted=f"{wanted.status}, {wanted.verdict}{_with_agreement(wanted.agree)}"
        f"{_with_line(wanted.first_line)}",
        status=task.status,
        verdict=", ".join(word for word in (task.verdict or task.reason, agreed) if word),
        seconds=task.wall_time,
        memory=task.peak_memory,
        first_line=line,
    )


def of_batch(client: Client, example: BatchExample, batch: Batch) -> Outcome:
    """What a done batch means for its example: its finishing task counts as well."""
    wanted, finish = example.expect, client.get(batch.finish_task) if batch.finish_task else None
    line = _first_line(finish) if finish else ""
    kept = {str(file["name"]) for file in finish.outputs} if finish else set()
    ended = (batch.status, batch.counts, batch.finish_status) == (
        wanted.status,
        wanted.counts,
        wanted.finish,
    )
    whole = kept >= {f"outputs/{name}" for name in wanted.kept}
    return Outcome(
        name=batch.name,
        as_expected=ended and whole and wanted.first_line in (None, line),
        wanted=f"{wanted.status}, {_counted(wanted.counts)}, its finishing task as {wanted.finish} "
        f"with {', '.join(wanted.kept)}{_with_line(wanted.first_line)}",
        status=batch.status,
        verdict=_counted(batch.counts),
        seconds=_between(batch.created, batch.done_time),
        first_line=line,
        page=f"/batches/{batch.id}",
    )


def _first_line(task: Task) -> str:
    """Of its output, or of the compiler's where there is none."""
    shown = task.stdout or task.compile_stderr or task.stderr
    return shown.splitlines()[0] if shown else ""


def _with_agreement(agree: str | None) -> str:
    return f", {agree} agree" if agree is not None else ""


def _with_line(line: str | None) -> str:
    return f", first line {line!r}" if line is not None else ""


def _counted(counts: Mapping[str, int]) -> str:
    """Statuses with their numbers, for people.

    >>> _counted({"success": 63, "failed": 1})
    '63 success, 1 failed'
    """
    return ", ".join(f"{number} {status}" for status, number in counts.items())


def _between(begin: str, end: str) -> float | None:
    """Seconds from one ISO time to another; None where the other has not come.

    >>> _between("2026-01-31T12:00:00.500000Z", "2026-01-31T12:00:03.000000Z")
    2.5
    """
    if not end:
        return None
    first, last = (datetime.datetime.fromisoformat(time) for time in (begin, end))
    return (last - first).total_seconds()


def _print(url: str, outcomes: Sequence[Outcome]) -> None:
    rows = [
        (
            "✓" if outcome.as_expected else "✗",
            outcome.name,
            outcome.status,
            outcome.verdict,
            duration(outcome.seconds),
            amount(outcome.memory),
            outcome.first_line[:60],
        )
        for outcome in outcomes
    ]
    print()
    print_table(_COLUMNS, rows)
    pages = [outcome for outcome in outcomes if outcome.page]
    if pages:
        print()
    for outcome in pages:
        print(f"What {outcome.name} made is at {url}{outcome.page}")


def _keep_serving(ended: threading.Event) -> None:
    if sys.stdout.isatty() and sys.stdin.isatty():
        print("Press Ctrl-C to stop it.", flush=True)
        ended.wait()
