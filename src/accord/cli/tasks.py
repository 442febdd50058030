"""Tasks from the command line: submit, list, show, logs, cancel, retry."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli.failure import Failure, complain
from accord.cli.options import (
    Cpu,
    Disk,
    Json,
    Labels,
    Memory,
    Network,
    Output,
    Processes,
    SecretEnv,
    TaskId,
    Token,
    Url,
    Wait,
    Wall,
    labels,
    secrets,
)
from accord.cli.output import amount, duration, print_json, print_json_lines, print_table, printable
from accord.cli.redundancy import (
    COLUMNS,
    Adaptive,
    Alike,
    Comparator,
    Distinctly,
    Quorum,
    Target,
    agreement,
    redundancy,
    rows,
)
from accord.cli.run import Args, Copy, Language, Stdin, in_language, limits, program
from accord.cli.target import connect
from accord.client import Client, Task


def submit(
    file: Annotated[str, typer.Argument(help="A source file, a .zip of a project, or -.")],
    language: Language = None,
    stdin: Stdin = None,
    arg: Args = None,
    secret_env: SecretEnv = None,
    compile_: Annotated[
        str | None, typer.Option("--compile", help="A script that builds the program.")
    ] = None,
    execute: Annotated[
        str | None, typer.Option(help="A script that runs it, where the language does not say.")
    ] = None,
    name: Annotated[str, typer.Option(help="For you to find it again.")] = "",
    label: Labels = None,
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Higher goes first.")] = 0,
    keep: Annotated[
        list[str] | None, typer.Option(help="A glob of output files to keep; repeatable.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: a repeat is the same task.")
    ] = None,
    wall: Wall = None,
    cpu: Cpu = None,
    memory: Memory = None,
    processes: Processes = None,
    output: Output = None,
    disk: Disk = None,
    network: Network = False,
    quorum: Quorum = None,
    target: Target = None,
    comparator: Comparator = None,
    distinct: Distinctly = None,
    homogeneous: Alike = None,
    adaptive: Adaptive = False,
    wait: Wait = False,
    json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Submit a task and print its id.

    Examples:
      accord submit main.py --name first-try

      accord submit project.zip --compile 'make' --execute './main' --keep 'out/*'
    """
    policy = redundancy(quorum, target, comparator, distinct, homogeneous, adaptive)
    fields = _fields(file, language, stdin, arg, compile_, execute)
    fields["name"] = name or fields.get("name", "")
    with connect(url, token) as client:
        task = client.submit(
            limits=limits(wall, cpu, memory, processes, output, disk),
            labels=labels(label),
            priority=priority,
            outputs=keep or (),
            redundancy=policy,
            env=secrets(secret_env),
            key=key,
            network=network or None,
            **fields,
        )
        if wait:
            task = await_(client, task.id)
    if json:
        print_json(task.raw)
    else:
        print(f"{task.id} {task.status}" if wait else task.id)


def await_(client: Client, id_: str) -> Task:
    """The task when it is done; whoever interrupts that is told its id."""
    try:
        return client.wait(id_)
    except KeyboardInterrupt:
        complain(f"task {id_} goes on; end it with: accord cancel {id_}")
        raise


def _fields(
    file: str,
    language: str | None,
    stdin: str | None,
    args: list[str] | None,
    compile_: str | None,
    execute: str | None,
) -> dict[str, Any]:
    commands = {"compile": compile_, "execute": execute}
    given = {k: v for k, v in commands.items() if v is not None}
    if Path(file).suffix.lower() != ".zip":
        return {**program(file, language, stdin, args), **given}
    if execute is None and language is None:
        raise Failure("How is this archive run? Say it with --execute, or with --language.")
    found = {**given, "archive": Path(file).read_bytes()}
    found |= in_language(language) if language else {}
    if stdin is not None:
        found["stdin"] = sys.stdin.buffer.read() if stdin == "-" else Path(stdin).read_bytes()
    return {**found, "args": args or (), "name": Path(file).name}


def list_(
    status: Annotated[
        list[str] | None, typer.Option(help="Only tasks of that status; repeatable.")
    ] = None,
    label: Labels = None,
    batch: Annotated[str | None, typer.Option(help="Only tasks of that batch.")] = None,
    user: Annotated[str | None, typer.Option(help="Only that user's tasks.")] = None,
    since: Annotated[str | None, typer.Option(help="Added at or after, as ISO 8601.")] = None,
    until: Annotated[str | None, typer.Option(help="Added before, as ISO 8601.")] = None,
    text: Annotated[str, typer.Option(help="A part of the name, or the id's beginning.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    oldest: Annotated[bool, typer.Option("--oldest", help="Oldest first.")] = False,
    json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """List tasks, newest first.

    Example: accord list --status pending --status running
    """
    filters = {
        "status": status,
        "label": label,
        "batch": batch,
        "user": user,
        "since": since,
        "until": until,
        "text": text,
        "order": "oldest" if oldest else None,
    }
    with connect(url, token) as client:
        found = client.list(limit=limit, **{k: v for k, v in filters.items() if v})
        if json:
            print_json_lines(task.raw for task in found)
        else:
            columns = ("id", "name", "language", "status", "verdict", "time", "memory")
            print_table(columns, [_row(task) for task in found], yielding=columns.index("name"))


def _row(task: Task) -> tuple[object, ...]:
    return (
        task.id,
        task.name,
        task.language,
        task.status,
        task.verdict or task.reason or "",
        duration(task.wall_time),
        amount(task.peak_memory),
    )


def show(
    task_id: TaskId,
    json: Json = False,
    wait: Wait = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Show a task: its state and why, its result, its output.

    Where it ran more than once, each replica is shown, and whether its result
    agrees; * marks the one whose result is the task's.
    """
    with connect(url, token) as client:
        task = client.wait(task_id) if wait else client.get(task_id)
        why = client.explain(task_id)
    if json:
        print_json({**task.raw, "explanation": why})
        return
    for name, value in _facts(task, why):
        if value not in (None, ""):
            print(f"{name:10} {printable(str(value))}")
    if len(task.replicas) > 1:
        print()
        print_table(COLUMNS, rows(task), yielding=COLUMNS.index("executor"))
        print()
    for stream in ("compile_stdout", "compile_stderr", "stdout", "stderr"):
        _show_text(stream, getattr(task, stream))


def _facts(task: Task, why: str) -> list[tuple[str, object]]:
    return [
        ("id", task.id),
        ("name", task.name),
        ("user", task.user),
        ("language", task.language),
        ("status", task.status),
        ("why", why),
        ("verdict", task.verdict),
        ("exit code", task.exit_code),
        ("signal", task.signal),
        ("compiled", "before (cached)" if task.compile_cached else None),
        ("time", duration(task.wall_time)),
        ("processor", duration(task.cpu_time)),
        ("memory", amount(task.peak_memory)),
        ("written", amount(task.written)),
        ("added", task.add_time),
        ("done", task.done_time),
        ("runs", len(task.replicas)),
        ("agreement", agreement(task)),
        ("kept", ", ".join(str(f.get("name", "")) for f in task.outputs)),
    ]


def _show_text(stream: str, text: str) -> None:
    if text:
        print(f"--- {stream}")
        print("\n".join(printable(line) for line in text.splitlines()))


def logs(
    task_id: TaskId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the end.")] = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Print a task's output so far, byte for byte, its stderr to ours; with -f until its end."""
    with connect(url, token) as client:
        copy = Copy(client, task_id)
        if follow or client.get(task_id).done:
            copy.to_the_end()
        else:
            copy.so_far()


def cancel(
    task_ids: Annotated[list[str], typer.Argument(help="The tasks' ids.")],
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Return when every box is proved empty.")
    ] = False,
    json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Cancel tasks: whatever they run is killed."""
    with connect(url, token) as client:
        for id_ in task_ids:
            task = client.cancel(id_)
            task = client.wait(id_) if wait else task
            if json:
                print_json_lines([task.raw])
            else:
                print(f"{task.id} {task.status}")


def retry(task_id: TaskId, json: Json = False, url: Url = None, token: Token = None) -> None:
    """Submit a done task's content again, as a new task; prints the new id."""
    with connect(url, token) as client:
        task = client.retry(task_id)
    if json:
        print_json(task.raw)
    else:
        print(task.id)
