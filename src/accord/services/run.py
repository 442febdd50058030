"""One replica from its assignment to its end: fetch, compile, run, collect, empty the box.

Three outcomes are kept apart: the box ran the programs to a verdict (a Result, however they ended),
the run could not be done (a Failure, tried again elsewhere save for bad input), or it was stopped
from outside. The box is seen empty before any of them is told.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from accord import logs
from accord.config import SandboxSettings
from accord.core.errors import Corrupt, Invalid, NotFound, SandboxError
from accord.core.ids import Digest
from accord.core.judging import is_judging
from accord.core.replica import (
    EMPTY,
    Content,
    ErrorClass,
    Failure,
    Phase,
    Result,
    StepResult,
    Verdict,
)
from accord.core.task import Step
from accord.core.user import AUDITOR
from accord.ports.judicator import Assignment, Finished
from accord.ports.sandbox import Box, Command, Kept, Ran, Sandbox
from accord.services.capture import Capture
from accord.services.compiles import Compiles
from accord.services.flights import Flight, Stopped
from accord.services.holdings import Holdings, Job, Why, without_result
from accord.services.inputs import Inputs
from accord.services.spool import Spool
from accord.services.toolchains import Toolchain, Toolchains, environment

STOPPED = "The executor was stopped while the task ran; it is tried again elsewhere."

NAMES = 128 << 10
"""Bytes of the names of output files, kept or passed over: they lie in the task's document. What
comes after that is passed over, which ``…`` says.
"""

_BY_LIMIT = {
    "wall": Verdict.TIME_LIMIT,
    "cpu": Verdict.TIME_LIMIT,
    "memory": Verdict.MEMORY_LIMIT,
    "output": Verdict.OUTPUT_LIMIT,
    "file": Verdict.DISK_LIMIT,
    "disk": Verdict.DISK_LIMIT,
}
_SHORT_OF = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN}
)

_log = logs.get("executor.run")


def judge(ran: Ran, failed: Verdict) -> Verdict:
    """The verdict of a step; ``failed`` is what an exit code or signal of its own means.

    A limit goes first: a program whose children were killed for memory may well exit 0. Limits
    on processes and open files only explain how the program came to fail.
    """
    if ran.limit in _BY_LIMIT:
        return _BY_LIMIT[ran.limit]
    return Verdict.OK if ran.exit_code == 0 else failed


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """What every run of an executor works with."""

    sandbox: Sandbox
    inputs: Inputs
    compiles: Compiles
    spool: Spool
    toolchains: Toolchains
    holdings: Holdings
    settings: SandboxSettings


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended."""

    finished: Finished
    files: dict[Digest, Path] = {}
    """What holds the blobs of a result."""
    reusable: bool = True
    """False where the box could not be emptied: the slot must not be used again."""


class Run:
    """The run of one job on one slot; ``end`` is called once, and never raises."""

    def __init__(self, tools: Tools, slot: int, job: Job, assignment: Assignment) -> None:
        self._tools = tools
        self._slot = slot
        self._job = job
        self._assignment = assignment
        self._task = assignment.task
        self._spec = assignment.task.spec
        self._toolchain: Toolchain = tools.toolchains.for_task(self._spec)
        steps = [s for s in (self._spec.compile, self._spec.execute) if s]
        self._disk = max(step.limits.disk for step in steps)
        self._started = False
        self._folder = tools.spool.folder(job.key)
        self._files: dict[Digest, Path] = {}

    def end(self) -> Ended:
        """Run it."""
        box: Box | None = None
        end: Result | Failure
        try:
            box = self._open()
            end = self._steps(box)
        except Exception as error:  # noqa: BLE001 - the one place where a run's faults become its end
            end = self._failure(error)
        emptied = self._emptied(box)
        return self._ended(end, emptied)

    # -- the stages ----------------------------------------------------------------------

    def _open(self) -> Box:
        self._check_room()
        network = self._spec.network
        if network and not self._tools.settings.network:
            raise SandboxError("The task asks for the network, which is off on this executor.")
        sandbox, mounts = self._tools.sandbox, self._toolchain.mounts
        # audits run anybody's programs, so their boxes are not for one another
        user = "" if self._task.user == AUDITOR else self._task.user
        box = sandbox.open(self._slot, self._disk, mounts, user, network=network)
        self._tools.holdings.attach(self._job, box)
        return box

    def _check_room(self) -> None:
        files = self._spec.source.files if self._spec.source else {}
        if sum(content.size for content in files.values()) > self._disk:
            raise Invalid("The task's files are larger than its disk limit.", field="limits.disk")

    def _steps(self, box: Box) -> Result:
        compiled = None
        if self._spec.compile is None:
            self._place(box)
        else:
            compiled, verdict = self._compiled(box, self._spec.compile)
            if verdict is not Verdict.OK:
                return Result(verdict=verdict, compile=compiled)
        if self._spec.data is not None:
            box.unpack(self._chunks(self._spec.data), "data")
        phase = Phase.JUDGING if is_judging(self._assignment.number) else Phase.RUNNING
        executed, verdict = self._step(box, self._spec.execute, phase, "")
        kept, dropped = self._collect(box)
        return Result(
            verdict=verdict,
            compile=compiled,
            execute=executed,
            kept=kept,
            kept_dropped=dropped,
        )

    def _compiled(self, box: Box, step: Step) -> tuple[StepResult, Verdict]:
        """Compile, or do as if where the same was compiled before or is just now."""
        compiles = self._tools.compiles
        name = compiles.key(self._task, self._disk)
        if name is None:
            return self._compile(box, step)
        if (found := self._again(box, name, waited=False)) is not None:
            return found
        with compiles.join(name, self._job.stop) as flight:
            if flight.first:
                return self._first(box, step, name, flight)
        found = self._again(box, name, waited=True) if flight.done else None
        return found or self._compile(box, step)

    def _first(self, box: Box, step: Step, name: str, flight: Flight) -> tuple[StepResult, Verdict]:
        if (found := self._again(box, name, waited=False)) is not None:
            flight.done = True  # it came between the two looks
            return found
        result, verdict = self._compile(box, step)
        streams = self._job.streams
        printed = (streams["compile_stdout"], streams["compile_stderr"])
        flight.done = self._tools.compiles.keep(name, box, verdict, result, printed)
        return result, verdict

    def _compile(self, box: Box, step: Step) -> tuple[StepResult, Verdict]:
        self._place(box)
        return self._step(box, step, Phase.COMPILING, "compile_")

    def _again(self, box: Box, name: str, *, waited: bool) -> tuple[StepResult, Verdict] | None:
        """What that step came to before, with all that it left; None where nobody knows."""
        with self._tools.compiles.before(name, waited=waited) as before:
            if before is None:
                return None
            self._tools.holdings.enter(self._job, Phase.COMPILING)
            streams = [self._capture("compile_" + name) for name in ("stdout", "stderr")]
            for capture, printed in zip(streams, before.streams(), strict=True):
                for piece in printed:
                    capture.append(piece)
            before.place(box)
            stdout, stderr = (self._stored(capture) for capture in streams)
            step = msgspec.structs.replace(
                before.entry.step, stdout=stdout, stderr=stderr, cached=True
            )
            return step, before.entry.verdict

    def _place(self, box: Box) -> None:
        source = self._spec.source
        if source is None:
            return
        if source.archive is not None:
            box.unpack(self._chunks(source.archive))
        for path, content in source.files.items():
            self._check_stop()
            box.write(path, self._chunks(content))

    def _step(self, box: Box, step: Step, phase: Phase, prefix: str) -> tuple[StepResult, Verdict]:
        streams = [self._capture(prefix + name) for name in ("stdout", "stderr")]
        with self._tools.inputs.stdin(step.stdin, self._job) as stdin:
            self._check_stop()
            self._tools.holdings.enter(self._job, phase)
            self._started = True
            command = self._command(step, stdin)
            ran = box.run(command, streams[0].append, streams[1].append, self._job.stop)
        if ran.killed:
            self._check_stop()
            raise SandboxError("The run was killed from outside without a request.")
        compiling = phase is Phase.COMPILING
        verdict = judge(ran, Verdict.COMPILE_ERROR if compiling else Verdict.RUNTIME_ERROR)
        return _step_result(ran, self._stored(streams[0]), self._stored(streams[1])), verdict

    def _command(self, step: Step, stdin: int | None) -> Command:
        if isinstance(step.command, str):
            argv = ("bash", "-c", step.command, "accord", *step.args)
        else:
            argv = (*step.command, *step.args)
        own = {"ACCORD_TASK": self._task.id, "ACCORD_REPLICA": str(self._assignment.number)}
        env = environment(self._toolchain.env, own, step.env)
        return Command(argv=argv, env=env, limits=step.limits, stdin=stdin)

    # -- outputs -------------------------------------------------------------------------

    def _capture(self, name: str) -> Capture:
        capture = Capture(self._folder, name, lambda: self._tools.holdings.noticed(self._job))
        self._job.streams[name] = capture
        return capture

    def _stored(self, capture: Capture) -> Content:
        content, path = capture.finish()
        if path is not None:
            self._files[content.digest] = path
        return content

    def _collect(self, box: Box) -> tuple[dict[str, Content], tuple[str, ...]]:
        kept: dict[str, Content] = {}
        dropped: list[str] = []
        if not self._spec.outputs:
            return kept, ()
        names = NAMES
        caps = self._tools.settings
        found = box.collect(self._spec.outputs, caps.kept_files, caps.kept_bytes)
        for number, item in enumerate(found):
            self._check_stop()
            path = item.path if isinstance(item, Kept) else item
            names -= len(path.encode(errors="replace"))
            if names < 0:
                dropped.append("…")
                break
            if isinstance(item, Kept):
                kept[path] = self._keep(item, number)
            else:
                dropped.append(path)
        return kept, tuple(dropped)

    def _keep(self, item: Kept, number: int) -> Content:
        folder = self._folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = _save(item.chunks, folder / f"kept-{number}")
        if not content.size:
            return EMPTY
        self._files[content.digest] = folder / f"kept-{number}"
        return content

    def _chunks(self, content: Content) -> Iterator[bytes]:
        return self._tools.inputs.chunks(content, self._job)

    # -- the end -------------------------------------------------------------------------

    def _check_stop(self) -> None:
        if self._job.stop.is_set():
            raise Stopped

    def _failure(self, error: Exception) -> Failure:
        error_class, message = _classified(error)
        if error_class is ErrorClass.INTERNAL_FAIL and not self._job.stop.is_set():
            _log.error(
                "A replica could not be run",
                extra={"action": "run_failed", "task": self._task.id, "slot": self._slot},
                exc_info=error,
            )
        return Failure(error_class=error_class, message=message, started=self._started)

    def _emptied(self, box: Box | None) -> str | None:
        """Close the box; why it could not be emptied, None where it could."""
        self._tools.holdings.attach(self._job, None)
        if box is None:
            return None
        try:
            box.close()
        except Exception as error:  # noqa: BLE001 - whatever it is, processes may be left in the box
            _log.exception(
                "A box could not be emptied; its slot is out of service until a restart",
                extra={"action": "slot_lost", "task": self._task.id, "slot": self._slot},
            )
            return f"The box could not be emptied: {error}"
        return None

    def _ended(self, end: Result | Failure, stuck: str | None) -> Ended:
        if stuck is not None:
            failure = Failure(
                error_class=ErrorClass.INTERNAL_FAIL, message=stuck, started=self._started
            )
            return Ended(finished=self._finished(failure), reusable=False)
        if self._job.why is Why.CANCELLED:
            return Ended(finished=self._finished(None))
        if self._job.why is Why.STOPPING and not isinstance(end, Result):
            if not self._started:
                return Ended(finished=without_result(self._job, killed=False))
            end = Failure(error_class=ErrorClass.INTERNAL_FAIL, message=STOPPED, started=True)
        files = self._files if isinstance(end, Result) else {}
        return Ended(finished=self._finished(end), files=files)

    def _finished(self, end: Result | Failure | None) -> Finished:
        return Finished(
            task=self._task.id,
            number=self._assignment.number,
            session=self._assignment.session,
            end=end,
            killed=end is None,
            started=self._started or isinstance(end, Result),
        )


def unforeseen(job: Job, error: Exception) -> Finished:
    """The end of a replica of which our own code failed."""
    message = f"The executor failed unexpectedly: {type(error).__name__}: {error}"
    failure = Failure(error_class=ErrorClass.INTERNAL_FAIL, message=message, started=True)
    return Finished(task=job.key[0], number=job.key[1], session=job.session, end=failure)


def _classified(error: Exception) -> tuple[ErrorClass, str]:
    if isinstance(error, Invalid):
        return ErrorClass.BAD_INPUT, error.message
    if isinstance(error, MemoryError):
        return ErrorClass.RESOURCE_FAIL, "The executor is short of memory."
    short = next(
        (e for e in _causes(error) if isinstance(e, OSError) and e.errno in _SHORT_OF), None
    )
    if short is not None:
        return ErrorClass.RESOURCE_FAIL, f"The executor is short of something: {short.strerror}."
    if isinstance(error, NotFound):
        return ErrorClass.INTERNAL_FAIL, "An input of the task is not stored any more."
    if isinstance(error, Stopped):
        return ErrorClass.INTERNAL_FAIL, STOPPED
    if isinstance(error, (SandboxError, Corrupt)):
        return ErrorClass.INTERNAL_FAIL, error.message
    return ErrorClass.INTERNAL_FAIL, f"The run failed: {type(error).__name__}: {error}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _step_result(ran: Ran, stdout: Content, stderr: Content) -> StepResult:
    return StepResult(
        exit_code=ran.exit_code,
        signal=ran.signal,
        wall_time=ran.wall_time,
        cpu_time=ran.cpu_time,
        peak_memory=ran.peak_memory,
        processes=ran.processes,
        written=ran.written,
        limit=ran.limit,
        stdout=stdout,
        stderr=stderr,
        stdout_truncated=ran.stdout_truncated,
        stderr_truncated=ran.stderr_truncated,
    )


def _save(chunks: Iterator[bytes], path: Path) -> Content:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return Content(digest=Digest(digest.hexdigest()), size=size)
