"""``accord run``: one program, as if it ran here."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli.failure import INTERRUPTED, Failure, complain
from accord.cli.options import (
    Cpu,
    Disk,
    Memory,
    Network,
    Output,
    Processes,
    SecretEnv,
    Token,
    Url,
    Wall,
    secrets,
)
from accord.cli.redundancy import (
    Adaptive,
    Alike,
    Comparator,
    Distinctly,
    Quorum,
    Target,
    redundancy,
)
from accord.cli.target import connect_or_start
from accord.client import AccordClientError, Client, Conflict, Event, Task

COMPILE_FAILED = 65
TIME_LIMIT = 124
MEMORY_LIMIT = 137
OTHER = 1
_LIMIT_CODES: Mapping[str, int] = {"time_limit": TIME_LIMIT, "memory_limit": MEMORY_LIMIT}

Language = Annotated[
    str | None,
    typer.Option(
        "--language", "-l", help="Default: by the suffix. A version may follow: python@3.11."
    ),
]
Args = Annotated[
    list[str] | None, typer.Option("--arg", "-a", help="An argument of the program; repeatable.")
]
Stdin = Annotated[str | None, typer.Option(help="The program's input: a file, or - for ours.")]


def run(
    file: Annotated[str, typer.Argument(help="The program's source, or - to read it from stdin.")],
    language: Language = None,
    stdin: Stdin = None,
    arg: Args = None,
    secret_env: SecretEnv = None,
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
    url: Url = None,
    token: Token = None,
) -> None:
    """Run a program and be it: its output as it comes, its exit code.

    A failed compilation exits with 65, a time limit with 124, a memory limit
    with 137, any other limit with 1, a program killed by signal n with 128+n; a
    line on stderr says which. With --quorum the output comes when results agree;
    where they do not, it exits with 1. Where no platform runs on this machine, a private
    one is brought up for the moment. Ctrl-C cancels.

    Examples:
      accord run main.cpp --stdin input.txt --wall 10 --memory 256M

      echo 'print(6*7)' | accord run - -l python

      accord run main.cpp --quorum 2 --comparator lines --distinct none
    """
    policy = redundancy(quorum, target, comparator, distinct, homogeneous, adaptive)
    fields = program(file, language, stdin, arg)
    wishes = limits(wall, cpu, memory, processes, output, disk)
    with connect_or_start(url, token) as client:
        task = client.submit(
            limits=wishes,
            redundancy=policy,
            env=secrets(secret_env),
            network=network or None,
            **fields,
        )
        raise typer.Exit(follow(client, task.id))


def program(
    file: str, language: str | None, stdin: str | None, args: list[str] | None
) -> dict[str, Any]:
    """What to submit for a file, its language and its input. Raises Failure."""
    if file == "-" and stdin == "-":
        raise Failure("stdin cannot be both the source and the program's input.")
    language = language or by_suffix(file)
    if language is None:
        raise Failure(f"Which language is {file}? Say it with --language, such as -l python.")
    found: dict[str, Any] = {"source": read(file), "args": args or (), **in_language(language)}
    found["name"] = "" if file == "-" else Path(file).name
    if stdin is not None:
        found["stdin"] = read(stdin)
    return found


def in_language(language: str) -> dict[str, Any]:
    """What to submit for a language, whose version may stand after an @.

    >>> in_language("python@3.11")
    {'language': 'python', 'requires': {'language_version': '3.11'}}
    """
    name, _, version = language.partition("@")
    wish = {"requires": {"language_version": version}} if version else {}
    return {"language": name, **wish}


def limits(
    wall: float | None,
    cpu: float | None,
    memory: int | None,
    processes: int | None,
    output: int | None,
    disk: int | None,
) -> dict[str, float]:
    """The limits that were given."""
    given = {
        "wall": wall,
        "cpu": cpu,
        "memory": memory,
        "processes": processes,
        "output": output,
        "disk": disk,
    }
    return {name: value for name, value in given.items() if value is not None}


def by_suffix(file: str) -> str | None:
    """The language that a file's suffix suggests."""
    from accord.core.languages import SUFFIXES

    return SUFFIXES.get(Path(file).suffix.lower())


def read(file: str) -> bytes:
    """A file's content; - is our stdin."""
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


class Copy:
    """Copies a task's output to ours, byte for byte, as it comes."""

    def __init__(self, client: Client, id_: str) -> None:
        self._client = client
        self._id = id_
        self._written = {"stdout": 0, "stderr": 0}
        self._attempt: int | None = None

    def so_far(self) -> None:
        """Copy what there is by now."""
        for event in self._client.events(self._id):
            self._take(event)
            if event.id:  # all that was there when we asked
                return

    def to_the_end(self) -> Task:
        """Copy until the task is done; returns it. Where results are compared, there is nothing to
        copy before.
        """
        if self._client.get(self._id).target_replicas < 2:
            for event in self._client.events(self._id):
                self._take(event)
        task = self._client.wait(self._id)
        if task.verdict is not None and _ran(task):
            self._write_rest()
        return task

    def _take(self, event: Event) -> None:
        if event.stream not in self._written:
            return
        if self._attempt not in (None, event.attempt):
            complain("the run was lost with its machine; it begins again")
            self._written = dict.fromkeys(self._written, 0)
        self._attempt = event.attempt
        have = self._written[event.stream]
        fresh = event.data[max(0, have - event.offset) :]
        if event.offset <= have and fresh:
            self._write(event.stream, fresh)

    def _write(self, stream: str, data: bytes) -> None:
        to = sys.stdout.buffer if stream == "stdout" else sys.stderr.buffer
        to.write(data)
        to.flush()
        self._written[stream] += len(data)

    def _write_rest(self) -> None:
        """What the result holds beyond the live output, which may lag or have gaps."""
        for stream, written in self._written.items():
            rest = self._client.file(self._id, stream, written)
            if rest:
                self._write(stream, rest)


def _ran(task: Task) -> bool:
    return task.status != "compile_failed"


def follow(client: Client, id_: str) -> int:
    """Be the task: its output, the exit code that tells how it ended; interrupted, cancel it."""
    try:
        return ending(Copy(client, id_).to_the_end(), client)
    except (KeyboardInterrupt, BrokenPipeError) as error:
        _cancel(client, id_)
        if isinstance(error, BrokenPipeError):
            raise
        return INTERRUPTED


def _cancel(client: Client, id_: str) -> None:
    try:
        client.cancel(id_)
        client.wait(id_, 10.0)
        complain("cancelled")
    except Conflict:
        complain("interrupted when the program had ended")
    except (AccordClientError, TimeoutError) as error:
        complain(f"interrupted; task {id_} may still run: {error}")


def ending(task: Task, client: Client) -> int:
    """The exit code of a done task; says in a line what is not the program's own exit."""
    if _not_compiled(task):
        _show_compiler(task, client)
    said = described(task, client)
    if said:
        complain(said)
    return _code(task)


def _not_compiled(task: Task) -> bool:
    return task.status == "compile_failed" and task.verdict == "compile_error"


def described(task: Task, client: Client) -> str:
    """What is to be said of how a task ended; nothing of a program that exited by itself."""
    if _not_compiled(task):
        return "the program does not compile"
    if task.status == "cancelled":
        return "the task was cancelled"
    if task.verdict is None:
        return client.explain(task.id)
    if task.verdict.endswith("_limit"):
        return _limit_hit(task)
    if task.signal is not None:
        return f"the program was killed by {_signal_name(task.signal)}"
    return ""


def _code(task: Task) -> int:
    if _not_compiled(task):
        return COMPILE_FAILED
    if task.status == "cancelled":
        return INTERRUPTED
    if task.verdict is None or task.verdict.endswith("_limit"):
        return _LIMIT_CODES.get(task.verdict or "", OTHER)
    if task.signal is not None:
        return 128 + task.signal
    return task.exit_code if task.exit_code is not None else OTHER


def _show_compiler(task: Task, client: Client) -> None:
    for stream in ("compile_stdout", "compile_stderr"):
        sys.stderr.buffer.write(client.file(task.id, stream))
    sys.stderr.buffer.flush()


def _limit_hit(task: Task) -> str:
    step = "the compiler" if task.status == "compile_failed" else "the program"
    which = f" ({task.limit})" if task.limit else ""
    return f"{step} hit the {(task.verdict or '').replace('_', ' ')}{which}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
