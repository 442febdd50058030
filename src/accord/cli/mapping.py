"""``accord map``: one command on many arguments, in the habit of GNU parallel.

The jobs are the tasks of an open batch, added while there is room in flight, so that neither the
arguments nor the results are ever all in memory. Which of them have ended is learned by waiting
for the oldest one, whose answer is needed anyway; only while that one keeps us waiting, and the
batch's counters say that others ended, the tasks in flight are listed.
"""

from __future__ import annotations

import collections
import enum
import os
import select
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, BinaryIO

import msgspec
import typer

from accord.adapters.system import SystemClock
from accord.cli.batch import named
from accord.cli.failure import INTERRUPTED, USAGE, Failure, complain
from accord.cli.options import (
    Cpu,
    Disk,
    Labels,
    Memory,
    Output,
    Processes,
    Quiet,
    Token,
    Url,
    Wall,
    labels,
)
from accord.cli.progress import Display, State, display
from accord.cli.redundancy import (
    Adaptive,
    Alike,
    Comparator,
    Distinctly,
    Quorum,
    Target,
    redundancy,
)
from accord.cli.run import Language, described, limits
from accord.cli.target import connect
from accord.cli.templates import template
from accord.client import AccordClientError, Batch, Client, Task, fresh_key
from accord.client.model import OPEN
from accord.core.ids import BatchId, member
from accord.ports.clock import Clock

WINDOW = 1000
"""Jobs in flight where nothing else is asked for."""
PORTION = 100
"""Jobs that are added by one call, at most."""
SPAN = 10_000
"""Jobs that may have been begun since the first one that is not written yet."""
MANY_FAILED = 101
"""The exit code for more than 100 failed jobs."""
BROKEN = 255
"""The exit code where something else went wrong than jobs, as parallel has it."""
SHORTEST_WAIT = 0.05
LONGEST_WAIT = 1.0
"""Seconds for which the oldest job is waited for before the others are looked at."""
INPUT_WAIT = 0.25
"""Seconds for which it is waited for where arguments may come meanwhile."""
WAIT_PER_JOB = 0.0005
"""Seconds more, for each job in flight."""
PATIENCE = 15.0
"""Seconds that a cancellation may take."""
_PIECE = 64 * 1024
"""Bytes of arguments that are read at once."""
_REPLACED = "\ufffd"
"""What stands in a text for bytes that are none."""
_SHOWN = 60
"""Characters of an argument that a complaint shows."""


class Halt(enum.StrEnum):
    """What the first failure does to the other jobs."""

    NOW = "now"
    SOON = "soon"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One argument's turn."""

    number: int
    """From 1, as {#} has it."""
    argument: str


def map_(
    command: Annotated[
        str,
        typer.Argument(help="{} is replaced by the argument, quoted, {#} by the job's number."),
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="The arguments; - or none: lines of stdin.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="At most so many in flight.")
    ] = None,
    keep_order: Annotated[
        bool,
        typer.Option(
            "--keep-order/--as-it-comes", "-k", help="Write output in order of the arguments."
        ),
    ] = True,
    tag: Annotated[
        bool, typer.Option("--tag", help="Begin each line of output with the argument.")
    ] = False,
    halt: Annotated[
        Halt | None,
        typer.Option(help="At the first failure: end all jobs, or begin no more of them."),
    ] = None,
    language: Language = None,
    name: Annotated[str, typer.Option(help="Of the batch, for you to find it again.")] = "",
    label: Labels = None,
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
    quiet: Quiet = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Run a command, or the source of a program, on each argument.

    What each job writes comes to our stdout and stderr byte for byte, one job
    after the other. Exits with the number of jobs that failed, 101 for more than
    100, and 255 where something else went wrong. Ctrl-C cancels.

    Examples:
      accord map 'echo {} | rev' one two three

      seq 1000 | accord map --jobs 50 'factor {}'

      accord map main.cpp 10 20 30 --wall 10
    """
    wishes = limits(wall, cpu, memory, processes, output, disk)
    clock = SystemClock()
    with no_count():
        policy = redundancy(quorum, target, comparator, distinct, homogeneous, adaptive)
        make = maker(command, language, wishes, policy)
        source = Arguments(_given(arguments or []))
        about = {"name": name or named(command), "labels": labels(label)}
    with no_count(), connect(url, token) as client:
        shown = display(clock, quiet=quiet)
        flight = Flight(client, make, about)
        writer = Writer(client, tag=tag, shown=shown)
        window = jobs or WINDOW
        course = Course(flight, writer, clock, window=window, keep_order=keep_order, halt=halt)
        raise typer.Exit(guarded(course, flight, source, shown))


@contextmanager
def no_count() -> Iterator[None]:
    """Whatever fails in here is not taken for a number of failed jobs, save for a wrong command
    line. Raises Failure.
    """
    try:
        yield
    except Failure as error:
        code = USAGE if error.exit_code == USAGE else BROKEN
        raise Failure(str(error), code) from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise Failure(f"{error.filename}: {error.strerror}", BROKEN) from error


def _given(arguments: list[str]) -> list[str] | None:
    """The arguments; None where they are to be read from stdin. Raises Failure."""
    if arguments[:1] == [":::"]:
        return arguments[1:]
    if arguments == ["-"]:
        return None
    if not arguments and sys.stdin.isatty():
        raise Failure("Give arguments after the command, or lines of them on stdin.", USAGE)
    return arguments or None


# -- what a job runs -------------------------------------------------------------------------


def maker(
    command: str,
    language: str | None,
    wishes: dict[str, float],
    policy: Mapping[str, Any] | None = None,
) -> Callable[[Job], dict[str, Any]]:
    """What makes a job's spec: of a shell command, or of a program that gets the argument."""
    if not command.strip():
        raise Failure("The command is empty. Name a program.")
    found = template(command, language, (), None, wishes)
    found |= {"redundancy": dict(policy)} if policy else {}
    if "source" in found:
        return lambda job: {**found, "execute": {"args": [job.argument]}}
    if found.get("execute") != {"command": command}:
        raise Failure("Give a command, or the source of a program.", USAGE)
    return lambda job: {**found, "execute": {"command": filled(command, job)}}


def filled(command: str, job: Job) -> str:
    """The command with the argument in its place, or at its end where it has none.

    >>> filled("wc -c {} > {#}", Job(number=3, argument="a b"))
    "wc -c 'a b' > 3"
    >>> filled("echo", Job(number=1, argument="$HOME"))
    "echo '$HOME'"
    """
    quoted = shlex.quote(job.argument)
    if "{}" not in command and "{#}" not in command:
        return f"{command} {quoted}"
    parts = [part.replace("{#}", str(job.number)) for part in command.split("{}")]
    return quoted.join(parts)


# -- arguments -------------------------------------------------------------------------------


class Arguments:
    """Arguments as jobs: those given, else the lines of a file, taken as they come."""

    def __init__(self, given: Sequence[str] | None, file: int = 0) -> None:
        self.total = None if given is None else len(given)
        """How many there are, where that is known."""
        self.number = 0
        """How many were taken."""
        self._source: Iterator[str] | Lines = Lines(file) if given is None else iter(given)

    @property
    def over(self) -> bool:
        """Whether no more will come."""
        if isinstance(self._source, Lines):
            return self._source.over
        return self.number == self.total

    @property
    def ready(self) -> bool:
        """Whether there is one to take."""
        return self._source.wait(0.0) if isinstance(self._source, Lines) else not self.over

    def take(self, most: int, patience: float) -> list[Job]:
        """At most so many that are there by now; waits only for the first, so many seconds."""
        found: list[Job] = []
        while len(found) < most:
            argument = self._next(0.0 if found else patience)
            if argument is None:
                break
            self.number += 1
            found.append(Job(number=self.number, argument=argument))
        return found

    def _next(self, patience: float) -> str | None:
        if not isinstance(self._source, Lines):
            return next(self._source, None)
        line = self._source.take(patience)
        try:
            return None if line is None else line.decode()
        except UnicodeDecodeError as error:
            raise Failure(f"Line {self.number + 1} of stdin is no UTF-8. Encode it so.") from error


class Lines:
    """Lines of a file that may keep us waiting: read no sooner than they are wanted.

    A thread that reads would be simpler, but Python cannot end while one waits for stdin.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._lines: collections.deque[bytes] = collections.deque()
        self._rest = b""
        self._ended = False

    @property
    def over(self) -> bool:
        """Whether there are no more."""
        return self._ended and not self._lines

    def take(self, patience: float) -> bytes | None:
        """The next line without its end, if it comes within so many seconds."""
        return self._lines.popleft() if self.wait(patience) else None

    def wait(self, patience: float) -> bool:
        """Whether there is one, at once or within so many seconds."""
        while not self._lines and not self._ended:
            if not select.select([self._file], [], [], patience)[0]:
                return False
            self._read()
        return bool(self._lines)

    def _read(self) -> None:
        data = os.read(self._file, _PIECE)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(lines)
        if not data:
            self._ended = True
            self._lines.extend([self._rest] if self._rest else [])


# -- jobs in flight --------------------------------------------------------------------------


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A job that has ended."""

    job: Job
    id: str
    task: Task | None = None
    """Its task, where it was read already."""


class Flight:
    """The jobs of a batch that were begun and are not known to have ended."""

    def __init__(
        self,
        client: Client,
        make: Callable[[Job], dict[str, Any]],
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._client = client
        self._make = make
        self._creation: dict[str, Any] = {"open": True, "key": fresh_key(), **(about or {})}
        self._batch: Batch | None = None
        self._jobs: dict[str, Job] = {}
        self._wait = 0.0
        self.begun = 0
        self.ended = 0
        self.failed = 0
        """As far as the batch's counters were asked."""

    def __len__(self) -> int:
        return len(self._jobs)

    def begin(self, jobs: Sequence[Job]) -> None:
        """Submit these; the first ones make the batch."""
        specs = [self._make(job) for job in jobs]
        if self._batch is None:
            self._creation["tasks"] = specs
            self._batch = self._client.create_batch(**self._creation)
        else:
            self._client.extend_batch(self._batch.id, specs, at=self.begun)
        for place, job in enumerate(jobs, self.begun):
            self._jobs[member(BatchId(self._batch.id), place)] = job
        self.begun += len(jobs)

    def landed(self, longest: float) -> Iterator[Ended]:
        """Those that have ended since; waits at most so many seconds for one."""
        before = self.ended
        yield from self._oldest(min(max(self._wait, self._pace()), longest))
        if self.ended == before and self._jobs and longest > 0:
            yield from self._others()
        moved = self.ended > before
        self._wait = 0.0 if moved else min(2 * max(self._wait, SHORTEST_WAIT), LONGEST_WAIT)

    def _pace(self) -> float:
        """To list many is dear, and of many it matters less when the end of one is seen."""
        return max(SHORTEST_WAIT, len(self._jobs) * WAIT_PER_JOB)

    def _oldest(self, wait: float) -> Iterator[Ended]:
        """The oldest ones, up to the first that has not ended; waits for one of them only."""
        while self._jobs:
            id_ = next(iter(self._jobs))
            task = self._client.get(id_, wait)
            if not task.done:
                return
            yield self._land(id_, task)
            wait = 0.0

    def _others(self) -> Iterator[Ended]:
        """Those that a list of what has not ended lacks."""
        if self._batch is None:
            return
        batch = self._client.batch(self._batch.id)
        self.failed = batch.failed
        if batch.ended <= self.ended:
            return
        live = self._client.list(batch=batch.id, status=sorted(OPEN), order="oldest")
        there = {task.id for task in live}
        for id_ in [id_ for id_ in self._jobs if id_ not in there]:
            yield self._land(id_)

    def _land(self, id_: str, task: Task | None = None) -> Ended:
        self.ended += 1
        return Ended(job=self._jobs.pop(id_), id=id_, task=task)

    def close(self) -> None:
        """All was begun: the batch ends with its last task."""
        if self._batch is not None:
            self._client.close_batch(self._batch.id)

    def cancel(self) -> str:
        """Kill what is in flight; returns what became of that, in a sentence."""
        if "tasks" not in self._creation:
            return "cancelled before the first job"
        try:
            # With its key this finds the batch also where we were interrupted while making it.
            batch = self._batch or self._client.create_batch(**self._creation)
            self._client.cancel_batch(batch.id)
            batch = self._client.wait_batch(batch.id, PATIENCE)
        except (AccordClientError, TimeoutError) as error:
            return f"jobs may still run: {error}"
        before = batch.ended - batch.counts.get("cancelled", 0)
        return f"cancelled batch {batch.id}; jobs that had ended before: {before}"


# -- what comes of them ----------------------------------------------------------------------


class Writer:
    """Writes what jobs wrote, and counts those that failed."""

    def __init__(self, client: Client, *, tag: bool, shown: Display) -> None:
        self._client = client
        self._tag = tag
        self._shown = shown
        self.failed = 0

    def write(self, ended: Ended) -> None:
        """Write its output to ours, byte for byte, and a line about an end that is no exit."""
        task = ended.task or self._client.wait(ended.id)
        streams = [("stdout", sys.stdout.buffer), ("stderr", sys.stderr.buffer)]
        if task.status == "compile_failed":
            streams = [(name, sys.stderr.buffer) for name in ("compile_stdout", "compile_stderr")]
        for name, to in streams:
            data = self._exact(task, name)
            if data:
                self._copy(tagged(data, ended.job.argument) if self._tag else data, to)
        if not task.ok:
            self.failed += 1
            self._tell(ended.job, task)

    def _copy(self, data: bytes, to: BinaryIO) -> None:
        with self._shown.hidden(open_line=to.isatty() and not data.endswith(b"\n")):
            to.write(data)
            to.flush()

    def _exact(self, task: Task, stream: str) -> bytes:
        """The bytes of a stream: from the task where its text tells them, else asked for."""
        text = str(getattr(task, stream))
        if task.raw.get(f"{stream}_truncated") or _REPLACED in text:
            return self._client.file(task.id, stream)
        return text.encode()

    def _tell(self, job: Job, task: Task) -> None:
        said = described(task, self._client)
        if said:
            with self._shown.hidden():
                complain(f"job {job.number} ({job.argument[:_SHOWN]}): {said}")


def tagged(data: bytes, argument: str) -> bytes:
    r"""Output with the argument and a tab before each line.

    >>> tagged(b"one\ntwo", "x")
    b'x\tone\nx\ttwo'
    """
    prefix = argument.encode() + b"\t"
    return b"".join(prefix + line for line in data.splitlines(keepends=True))


class Course:
    """Begins jobs while there is room, and has their output written in the order asked for."""

    def __init__(
        self,
        flight: Flight,
        writer: Writer,
        clock: Clock,
        *,
        window: int = WINDOW,
        keep_order: bool = True,
        halt: Halt | None = None,
    ) -> None:
        self._flight = flight
        self._writer = writer
        self._clock = clock
        self._window = window
        self._portion = max(1, min(PORTION, window // 4))
        self._keep_order = keep_order
        self._halt = halt
        self._kept: dict[int, Ended] = {}
        """Those that ended before their turn to be written, by their numbers."""
        self._turn = 1
        self._began = clock.monotonic()

    @property
    def failed(self) -> int:
        """Jobs that failed, as far as is known."""
        return max(self._writer.failed, self._flight.failed)

    @property
    def _halted(self) -> bool:
        return self._halt is not None and self.failed > 0

    def run(self, source: Arguments, shown: Display) -> int:
        """Run all jobs; returns how many failed."""
        while True:
            self._begin(source)
            if not self._flight and (source.over or self._halted):
                break
            for ended in self._flight.landed(self._patience(source)):
                self._take(ended)
                shown.show(self.state(source))
            if self._halted and self._halt is Halt.NOW:
                return self._stop()
            shown.show(self.state(source))
        self._flight.close()
        return self.failed

    def _begin(self, source: Arguments) -> None:
        """A portion of jobs, where there is room for one; waits for one where none is in flight."""
        room = min(self._window - len(self._flight), SPAN - len(self._kept))
        if source.over or self._halted or room < self._portion:
            return
        jobs = source.take(min(room, PORTION), 0.0 if self._flight else LONGEST_WAIT)
        if jobs:
            self._flight.begin(jobs)

    def _patience(self, source: Arguments) -> float:
        """How long to wait for an end: not at all where more can be begun, little where more
        arguments may come.
        """
        if source.over or self._halted or self._window - len(self._flight) < self._portion:
            return LONGEST_WAIT
        return 0.0 if source.ready else INPUT_WAIT

    def _take(self, ended: Ended) -> None:
        if not self._keep_order:
            self._writer.write(ended)
            return
        self._kept[ended.job.number] = ended
        while self._turn in self._kept:
            self._writer.write(self._kept.pop(self._turn))
            self._turn += 1

    def _stop(self) -> int:
        """Kill what runs; what had ended before is still written."""
        complain(f"a job failed; {self._flight.cancel()}")
        for number in sorted(self._kept):
            self._writer.write(self._kept.pop(number))
        return self.failed

    def state(self, source: Arguments) -> State:
        """How far all is."""
        flight = self._flight
        total = flight.begun if source.total is None else source.total
        seconds = self._clock.monotonic() - self._began
        rate = flight.ended / seconds if seconds else 0.0
        whole = source.total is not None or source.over
        return State(
            total=total,
            ended=flight.ended,
            failed=self.failed,
            rate=rate,
            eta=(total - flight.ended) / rate if rate and whole else None,
            whole=whole,
        )


def guarded(course: Course, flight: Flight, source: Arguments, shown: Display) -> int:
    """The exit code; whatever breaks off the course, nothing goes on running."""
    try:
        failed = course.run(source, shown)
        shown.end(course.state(source) if source.number else None)
        return min(failed, MANY_FAILED)
    except (KeyboardInterrupt, BrokenPipeError) as error:
        shown.end(None)
        complain(flight.cancel())
        if isinstance(error, BrokenPipeError):
            raise
        return INTERRUPTED
    except (AccordClientError, Failure, OSError) as error:
        shown.end(None)
        raise Failure(f"{error}{_left(flight, error)}", BROKEN) from error


def _left(flight: Flight, error: Exception) -> str:
    """What becomes of the jobs that were begun, as a sentence; nothing where none can have been."""
    refused = isinstance(error, AccordClientError) and not error.retry
    if not flight.begun and (refused or isinstance(error, Failure)):
        return ""
    return f" Of what was begun: {flight.cancel().rstrip('.')}."
