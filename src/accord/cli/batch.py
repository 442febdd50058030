"""``accord batch``: many tasks as one thing, from its submission to its results."""

from __future__ import annotations

import csv as tables
import enum
import json as jsons
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from accord.adapters.system import SystemClock
from accord.cli import templates
from accord.cli.failure import FAILED, UNREACHABLE, USAGE, Failure, complain
from accord.cli.options import (
    BatchId,
    Cpu,
    Disk,
    Json,
    Labels,
    Memory,
    Output,
    Processes,
    Quiet,
    SecretEnv,
    Token,
    Url,
    Wait,
    Wall,
    labels,
    secrets,
)
from accord.cli.output import print_json, print_json_lines, print_table, printable
from accord.cli.progress import display, lasting, speed, state_of
from accord.cli.redundancy import (
    Adaptive,
    Alike,
    Comparator,
    Distinctly,
    Quorum,
    Target,
    redundancy,
)
from accord.cli.run import Args, Language, Stdin, limits
from accord.cli.target import connect
from accord.client import AccordClientError, Batch, Client, Unreachable, fresh_key

_STREAMS = frozenset({".ndjson", ".jsonl"})
_LONGEST_NAME = 200
_COLUMNS = (
    "name", "status", "reason", "verdict", "exit_code", "signal", "wall_time", "cpu_time",
    "peak_memory", "executor", "stdout", "stdout_truncated", "files",
)  # fmt: skip

app = typer.Typer(help="Submit many tasks as one, and look after them.", no_args_is_help=True)

BatchIds = Annotated[list[str], typer.Argument(help="The batches' ids.")]


class Format(enum.StrEnum):
    """How results are written."""

    JSONL = "jsonl"
    CSV = "csv"


@app.command()
def submit(
    file: Annotated[
        str | None,
        typer.Argument(help="A .json with tasks or a template; .ndjson, .jsonl or - for a stream."),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(help="A command, a source file, or a .json with a task; {n} is filled in."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(help="n=1..1000, x=0..1..0.1 or c=a,b,c; repeatable, for their grid."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="A table of parameters, with a header line.")
    ] = None,
    language: Language = None,
    arg: Args = None,
    secret_env: SecretEnv = None,
    stdin: Stdin = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="A glob of output files that the template's tasks keep; repeatable."),
    ] = None,
    name: Annotated[str, typer.Option(help="For you to find it again.")] = "",
    label: Labels = None,
    finish: Annotated[
        str | None,
        typer.Option(help="The finishing task: a source file, or a .json with a task."),
    ] = None,
    finish_keep: Annotated[
        list[str] | None,
        typer.Option(help="A glob of output files that the finishing task keeps; repeatable."),
    ] = None,
    cushion: Annotated[
        int | None, typer.Option(min=1, help="Unsent tasks of a template that are kept ready.")
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Let tasks be added until it is closed.")
    ] = False,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: a repeat is the same batch.")
    ] = None,
    wall: Wall = None,
    cpu: Cpu = None,
    memory: Memory = None,
    processes: Processes = None,
    output: Output = None,
    disk: Disk = None,
    quorum: Quorum = None,
    target: Target = None,
    comparator: Comparator = None,
    distinct: Distinctly = None,
    homogeneous: Alike = None,
    adaptive: Adaptive = False,
    wait: Wait = False,
    quiet: Quiet = False,
    json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    r"""Submit a batch and print its id.

    With --wait, exits with 0 only if all of its tasks succeeded.

    Examples:
      accord batch submit --template 'echo {n}' --param n=1..1000 --wait

      accord batch submit --template tile.cpp -a '{x}' -a '{y}' --keep '*.ppm' \
        --param x=0..7 --param y=0..7 --finish join.py --finish-keep '*.png'

      generate-tasks | accord batch submit - --name night --finish report.py
    """
    if (file is None) == (template is None):
        raise Failure("Give a file with tasks, or a --template with its --param.", USAGE)
    sizes = (wall, cpu, memory, processes, output, disk)
    policy = redundancy(quorum, target, comparator, distinct, homogeneous, adaptive)
    if template is None and any(
        value is not None for value in (language, arg, secret_env, stdin, keep, policy, *sizes)
    ):
        raise Failure(
            "Arguments, input, limits, quorum and kept files of tasks stand in the file.", USAGE
        )
    head = {
        "name": name or None,
        "labels": labels(label) or None,
        "finish": templates.keeping(templates.finishing(finish), finish_keep, "--finish-keep"),
        "open": open_ or None,
        "key": key or fresh_key(),
    }
    sweep: dict[str, Any] = {
        "parameters": templates.parameters(param or ()) or None,
        "csv": _text(csv),
        "cushion": cushion,
    }
    if template is not None:
        head["name"] = name or named(template)
        filled = templates.template(template, language, arg or (), stdin, limits(*sizes))
        kept = templates.keeping(filled, keep, "--keep")
        shared = templates.with_secrets(kept, secrets(secret_env))
        sweep["template"] = templates.redundant(template, shared, policy)
    with connect(url, token) as client:
        batch = _submit(client, file, head, sweep)
        if not json:
            print(batch.id, flush=True)
        elif not wait:
            print_json(batch.raw)
        if wait:
            batch = _followed(client, batch.id, quiet)
            if json:
                print_json(batch.raw)
            _exit(batch)


def _text(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Failure(f"{path} is no UTF-8. Save it as such.") from error


def named(what: str) -> str:
    """A name for a batch whose submitter gave none: that of its file, or its command."""
    name = "" if what == "-" else Path(what).name if Path(what).is_file() else what
    return "".join(c if c.isprintable() else " " for c in name)[:_LONGEST_NAME]


def _submit(
    client: Client, file: str | None, head: Mapping[str, Any], sweep: Mapping[str, Any]
) -> Batch:
    said, varied = _said(head), _said(sweep)
    if file is None:
        return client.create_batch(**said, **varied)
    default = {"name": named(file)}
    if not _is_stream(file):
        return client.create_batch(**default | _merged(templates.document(file), said, varied))
    if varied:
        raise Failure("--param, --csv and --cushion go with a template, not with a stream.", USAGE)
    with _resumable(said["key"]):
        return client.stream_batch(_lines(file), **default | said)


def _said(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _merged(
    found: Mapping[str, Any], head: Mapping[str, Any], sweep: Mapping[str, Any]
) -> dict[str, Any]:
    """The document of a file with what the command line says beside it."""
    said = {**head, **sweep}
    if "parameters" in said:
        said["parameters"] = {**found.get("parameters", {}), **said["parameters"]}
    return {**found, **said}


def _is_stream(file: str) -> bool:
    suffix = Path(file).suffix.lower()
    if file == "-" or suffix in _STREAMS:
        return True
    if suffix == ".json":
        return False
    raise Failure(
        f"What is in {file}? Name it .json (tasks or a template) or .ndjson (a task a line); "
        "a program goes by --template.",
        USAGE,
    )


def _lines(file: str) -> Iterable[bytes]:
    if file == "-":
        return (line for line in sys.stdin.buffer if line.strip())
    Path(file).open("rb").close()  # what cannot be read is told before anything is made
    return _FileLines(file)


class _FileLines:
    """The lines of a file, as often as they are wanted."""

    def __init__(self, file: str) -> None:
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        with Path(self._file).open("rb") as lines:
            yield from (line for line in lines if line.strip())


@contextmanager
def _resumable(key: str) -> Iterator[None]:
    """Whoever is interrupted in the midst of a stream is told how to go on."""
    hint = f"To go on, send all of it again with --key {key}: nothing of it runs twice."
    try:
        yield
    except KeyboardInterrupt:
        complain(f"The stream broke off. {hint}")
        raise
    except Unreachable as error:
        raise Failure(f"{error.message} {hint}", UNREACHABLE) from error
    except AccordClientError as error:
        if "batch" not in error.problem:
            raise
        raise Failure(f"{error.message} Its key is given by --key {key}.") from error


def _followed(client: Client, id_: str, quiet: bool) -> Batch:
    """The batch once it is done, its progress shown until then."""
    shown = display(SystemClock(), quiet=quiet)
    batch: Batch | None = None
    try:
        for batch in client.batch_events(id_):
            shown.show(state_of(batch))
    except KeyboardInterrupt:
        shown.end(None)
        complain(f"batch {id_} goes on; end it with: accord batch cancel {id_}")
        raise
    except AccordClientError:
        shown.end(None)
        raise
    shown.end(state_of(batch) if batch else None)
    return client.batch(id_)


def _exit(*batches: Batch) -> None:
    """The exit code says whether all is well; a line on stderr says what is not."""
    bad = [batch for batch in batches if not batch.ok]
    for batch in bad:
        complain(f"batch {batch.id}: {batch.explanation}")
    raise typer.Exit(FAILED if bad else 0)


@app.command()
def status(batch_ids: BatchIds, json: Json = False, url: Url = None, token: Token = None) -> None:
    """Show batches: how far each is, and why it is in its state."""
    with connect(url, token) as client:
        for number, id_ in enumerate(batch_ids):
            batch = client.batch(id_)
            if json:
                print_json_lines([batch.raw])
                continue
            if number:
                print()
            for name, value in _facts(batch):
                if value:
                    print(f"{name:10} {printable(str(value))}")


def _facts(batch: Batch) -> list[tuple[str, object]]:
    counts = [f"{number} {status}" for status, number in batch.counts.items()]
    counts += [f"{batch.to_generate} to be made"] if batch.to_generate else []
    return [
        ("id", batch.id),
        ("name", batch.name),
        ("user", batch.user),
        ("labels", ", ".join(f"{key}:{value}" for key, value in batch.labels.items())),
        ("status", batch.status),
        ("why", batch.explanation),
        ("tasks", f"{batch.total}{' so far' if batch.open else ''}: {', '.join(counts)}"),
        ("speed", speed(batch.rate) if batch.rate else ""),
        ("left", lasting(batch.eta) if batch.eta is not None else ""),
        ("finish", f"{batch.finish_task} {batch.finish_status}".strip()),
        ("created", batch.created),
        ("done", batch.done_time),
    ]


@app.command(name="list")
def list_(
    live: Annotated[
        bool | None, typer.Option("--live/--done", help="Only those not done, or only done ones.")
    ] = None,
    label: Labels = None,
    user: Annotated[str | None, typer.Option(help="Only that user's batches.")] = None,
    since: Annotated[str | None, typer.Option(help="Created at or after, as ISO 8601.")] = None,
    until: Annotated[str | None, typer.Option(help="Created before, as ISO 8601.")] = None,
    text: Annotated[str, typer.Option(help="A part of the name, or the id's beginning.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """List batches, newest first.

    Example: accord batch list --live
    """
    filters = {
        "live": None if live is None else str(live).lower(),
        "label": label,
        "user": user,
        "since": since,
        "until": until,
        "text": text,
    }
    with connect(url, token) as client:
        found = client.batches(limit=limit, **{k: v for k, v in filters.items() if v})
        if json:
            print_json_lines(batch.raw for batch in found)
        else:
            columns = ("id", "name", "status", "done", "failed", "created")
            print_table(columns, [_row(batch) for batch in found], yielding=columns.index("name"))


def _row(batch: Batch) -> tuple[object, ...]:
    return (
        batch.id,
        batch.name,
        batch.status,
        f"{batch.ended}/{batch.total}",
        batch.failed or "",
        batch.created[:19].replace("T", " "),
    )


@app.command()
def wait(
    batch_ids: BatchIds,
    quiet: Quiet = False,
    json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Wait until batches are done; exits with 0 only if all of their tasks succeeded."""
    with connect(url, token) as client:
        done = [_followed(client, id_, quiet) for id_ in batch_ids]
    if json:
        print_json_lines(batch.raw for batch in done)
    _exit(*done)


@app.command()
def cancel(
    batch_ids: BatchIds,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Return when every box is proved empty.")
    ] = False,
    json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Cancel batches: whatever they run is killed, and no more is made."""
    with connect(url, token) as client:
        for id_ in batch_ids:
            batch = client.cancel_batch(id_)
            batch = client.wait_batch(id_) if wait else batch
            _tell_status(batch, json)


def _tell_status(batch: Batch, json: bool) -> None:
    if json:
        print_json_lines([batch.raw])
    else:
        print(f"{batch.id} {batch.status}")


@app.command()
def retry(
    batch_id: BatchId,
    wait: Wait = False,
    quiet: Quiet = False,
    json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Submit again what ended otherwise than with success, in the same batch.

    Of a cancelled batch, all that is not done goes on.
    """
    with connect(url, token) as client:
        batch = client.retry_batch(batch_id)
        if wait:
            batch = _followed(client, batch_id, quiet)
    _tell_status(batch, json)
    if wait:
        _exit(batch)


@app.command()
def add(
    batch_id: BatchId,
    file: Annotated[str, typer.Argument(help="A .json with tasks; .ndjson, .jsonl or - .")],
    close: Annotated[bool, typer.Option("--close", help="These are the last ones.")] = False,
    json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Add tasks to an open batch."""
    tasks = _lines(file) if _is_stream(file) else templates.document(file).get("tasks")
    if not isinstance(tasks, Iterable):
        raise Failure(f'{file} must hold {{"tasks": [...]}}.')
    with connect(url, token) as client:
        _tell_status(client.extend_batch(batch_id, tasks, close=close), json)


@app.command()
def close(batch_id: BatchId, json: Json = False, url: Url = None, token: Token = None) -> None:
    """Say of an open batch that no more tasks will be added."""
    with connect(url, token) as client:
        _tell_status(client.close_batch(batch_id), json)


@app.command()
def purge(batch_ids: BatchIds, url: Url = None, token: Token = None) -> None:
    """Remove done batches with all of their tasks for good."""
    with connect(url, token) as client:
        for id_ in batch_ids:
            client.purge_batch(id_)


@app.command()
def results(
    batch_id: BatchId,
    format_: Annotated[
        Format, typer.Option("--format", help="A JSON object a line, or a table.")
    ] = Format.JSONL,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write them. Default: stdout.")
    ] = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """Write the results of a batch, a line for each task in order of their places.

    Example: accord batch results 01J… --format csv --output sweep.csv
    """
    with connect(url, token) as client:
        found = client.batch_results(batch_id)
        first = next(found, None)  # what is wrong is told before a file is touched
        rows = _from(first, found)
        write = _write_csv if format_ is Format.CSV else _write_lines
        if output is None:
            write(rows, first, sys.stdout)
            return
        with output.open("w", encoding="utf-8", newline="") as to:
            write(rows, first, to)


Result = Mapping[str, Any]


def _from(first: Result | None, rest: Iterator[Result]) -> Iterator[Result]:
    if first is not None:
        yield first
        yield from rest


def _write_lines(rows: Iterator[Result], _: Result | None, to: TextIO) -> None:
    for row in rows:
        to.write(jsons.dumps(row, ensure_ascii=False) + "\n")


def _write_csv(rows: Iterator[Result], first: Result | None, to: TextIO) -> None:
    """A column for each parameter; one that is called like another column is marked as such."""
    names = list((first or {}).get("parameters") or {})
    taken = {"id", "index", *_COLUMNS}
    shown = [f"parameters.{name}" if name in taken else name for name in names]
    table = tables.writer(to, lineterminator="\n")
    table.writerow(["index", "id", *shown, *_COLUMNS])
    for row in rows:
        values = row.get("parameters") or {}
        table.writerow(
            [
                row["index"],
                row["id"],
                *(_cell(values.get(name)) for name in names),
                *(_cell(row.get(column)) for column in _COLUMNS),
            ]
        )


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(value) if isinstance(value, Mapping) else value
