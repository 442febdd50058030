"""One command in a box, from its first instruction to the death of its last process.

A loop over the command's pipes and the init's answer; between events it looks at the clock, at
``stop`` and at what the meter says, and kills what is over a limit. Whatever the init answers after
a stranger's program has run is believed only within bounds.
"""

from __future__ import annotations

import math
import os
import resource
import select
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from accord.adapters.sandbox.launch import Started
from accord.adapters.sandbox.meter import Meter, Total
from accord.adapters.sandbox.wire import Broken, Frame
from accord.core.errors import SandboxError
from accord.core.limits import MIB, Limits
from accord.ports.clock import Clock
from accord.ports.sandbox import Command, Ran, Sink

_TICK = 0.005
"""Seconds between two looks at ``stop`` and the clock."""
_SAMPLES = (0.005, 0.02)
"""Seconds between two samples, at the beginning and for commands that last."""
_START_TIMEOUT = 30.0
_DEATH_TIMEOUT = 10.0
"""Seconds for a killed program to be gone; the box is then given up."""
_CHUNK = 64 << 10
_LARGEST_STACK = 256 * MIB
_INODE = 1024
"""Bytes of kernel memory that a file of a tmpfs takes besides its content."""
_INIT_PROCESSES = 1
_SPARE_PROCESSES = 16
"""By how much RLIMIT_NPROC lies above the limit where a cgroup counts: the latter tells us."""


class Gone(Exception):
    """The init has ended: the box was killed, or has failed."""


class Run:
    """See the module's docstring. Used once."""

    def __init__(
        self,
        box: Started,
        meter: Meter,
        clock: Clock,
        command: Command,
        *,
        counted: bool,
        attaches: bool,
    ) -> None:
        self._box = box
        self._meter = meter
        self._clock = clock
        self._command = command
        self._limits = command.limits
        self._counted = counted
        self._attaches = attaches
        self._pidfd = -1
        self._began = 0.0
        self._next_sample = 0.0
        self._killed_at: float | None = None
        self._stopped = False
        self._hit: set[str] = set()
        self._done: Frame | None = None
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[int], None]] = {}

    def __call__(self, stdout: Sink, stderr: Sink, stop: threading.Event) -> Ran:
        """Run it. Raises Gone, SandboxError."""
        pipes = _Pipes(self._command.stdin)
        try:
            self._start(pipes)
            self._began = self._clock.monotonic()
            self._next_sample = self._began + _SAMPLES[0] / 2
            if self._attaches:
                self._box.wire.send(b"go")
            output = _Output(self._limits.output, self._over_output)
            self._watch(pipes, output.stream(stdout), output.stream(stderr))
            while self._done is None:
                self._turn(stop)
            ended = self._clock.monotonic()
            self._drain(pipes)
            return self._ran(ended - self._began, output)
        except Broken as error:
            raise Gone(str(error)) from error
        finally:
            if self._pidfd >= 0:
                os.close(self._pidfd)
            pipes.close()

    def _start(self, pipes: _Pipes) -> None:
        """Have the first process made; where it must be attached, not yet running the program."""
        limits, command = self._limits, self._command
        env = [f"{key}={value}" for key, value in command.env.items()]
        fields = [
            f"{len(command.argv)} {len(env)} {self._attaches:d}",
            *command.argv,
            *env,
            *_rlimits(limits, counted=self._counted),
        ]
        wire = self._box.wire
        wire.socket.settimeout(_START_TIMEOUT)
        wire.send(b"run", *map(os.fsencode, fields), fds=pipes.theirs)
        pipes.passed()
        ready = wire.recv()
        if ready.verb != b"ready" or len(ready.fds) != 1:
            ready.close()
            raise SandboxError("The box did not start the program.")
        self._pidfd = ready.fds.pop()
        if self._attaches:
            self._meter.attach(_pid_behind(self._pidfd))

    def _watch(self, pipes: _Pipes, stdout: Sink, stderr: Sink) -> None:
        self._handle(self._box.wire.socket.fileno(), self._answered)
        self._handle(pipes.stdout, lambda fd: self._read(fd, stdout))
        self._handle(pipes.stderr, lambda fd: self._read(fd, stderr))
        if pipes.stdin >= 0:
            self._feed = _Feed(pipes, self._poll, self._handlers)
            self._feed.begin()

    def _handle(self, fd: int, handler: Callable[[int], None]) -> None:
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLIN)

    def _turn(self, stop: threading.Event) -> None:
        now = self._clock.monotonic()
        for fd, _ in self._poll.poll(max(1, math.ceil(self._pause(now) * 1000))):
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(fd)
        if self._done is None:
            self._look(self._clock.monotonic(), stop)

    def _pause(self, now: float) -> float:
        return max(0.0, min(_TICK, self._began + self._limits.wall - now, self._next_sample - now))

    def _look(self, now: float, stop: threading.Event) -> None:
        if self._killed_at is not None:
            if now - self._killed_at > _DEATH_TIMEOUT:
                raise SandboxError("A killed program did not end.")
            return
        if stop.is_set():
            self._stopped = True
            self._kill()
        elif now - self._began >= self._limits.wall:
            self._over("wall")
        elif now >= self._next_sample:
            self._sample(now)

    def _sample(self, now: float) -> None:
        pause = _SAMPLES[0] if now - self._began < _SAMPLES[1] * 10 else _SAMPLES[1]
        self._next_sample = now + pause
        files, too_many = self._files()
        shared = _used(os.fstatvfs(self._box.roots[2]))
        sample = self._meter.sample(files, shared)
        if too_many:
            self._over("disk")
        elif sample.out_of_memory or sample.memory > self._limits.memory:
            self._over("memory")
        elif sample.cpu >= self._limits.cpu:
            self._over("cpu")
        elif sample.processes > self._limits.processes:  # where nothing refuses them
            self._over("processes")

    def _files(self) -> tuple[int, bool]:
        """Bytes of the box's files, in the work directory and /tmp, and whether they are more than
        the limit. A program that fills one of the two is told so by ENOSPC, and may go on.
        """
        used = files = 0
        for root in self._box.roots[:2]:
            about = os.fstatvfs(root)
            used += _used(about)
            files += about.f_files - about.f_ffree
            if about.f_bfree == 0:
                self._hit.add("disk")
        return used, max(used, files * _INODE) > self._limits.disk

    def _over(self, limit: str) -> None:
        self._hit.add(limit)
        self._kill()

    def _over_output(self) -> None:
        self._over("output")

    def _kill(self) -> None:
        """Kill the program; the init then kills what it left, and answers."""
        if self._killed_at is None:
            self._killed_at = self._clock.monotonic()
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            except ProcessLookupError:
                return
            except OSError as error:
                raise SandboxError("The box did not say what it started.") from error

    def _read(self, fd: int, sink: Sink) -> None:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        if data:
            sink(data)
        else:
            self._forget(fd)

    def _forget(self, fd: int) -> None:
        self._poll.unregister(fd)
        del self._handlers[fd]

    def _answered(self, fd: int) -> None:
        frame = self._box.wire.recv()
        frame.close()
        if frame.verb != b"done" or len(frame.fields) != 4:
            raise SandboxError("The init of the box gave an answer that makes no sense.")
        self._done = frame
        self._forget(fd)

    def _drain(self, pipes: _Pipes) -> None:
        """What is still in the pipes, whose writers are dead. Never waits."""
        for fd in (pipes.stdout, pipes.stderr):
            handler = self._handlers.get(fd)
            while handler is not None and fd in self._handlers and _readable(fd):
                handler(fd)

    def _ran(self, wall: float, output: _Output) -> Ran:
        _, too_many = self._files()
        total = self._meter.finish()
        status, cpu, peak, largest = self._numbers(total, wall)
        code = os.waitstatus_to_exitcode(status)
        if too_many:
            self._hit.add("disk")
        elif total.out_of_memory:
            self._hit.add("memory")
        if cpu >= self._limits.cpu or code == -signal.SIGXCPU:
            self._hit.add("cpu")
        if code == -signal.SIGXFSZ or (code != 0 and largest >= self._limits.file):
            self._hit.add("file")
        if code != 0 and not self._stopped and total.refused_forks:
            self._hit.add("processes")
        return Ran(
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            wall_time=wall,
            cpu_time=cpu,
            peak_memory=peak,
            processes=total.processes,
            written=total.written,
            limit=_first(self._hit),
            killed=self._stopped,
            stdout_truncated=output.cut[0],
            stderr_truncated=output.cut[1],
        )

    def _numbers(self, total: Total, wall: float) -> tuple[int, float, int, int]:
        """The init's numbers, as far as they can be true."""
        if self._done is None:
            raise SandboxError("The init of the box did not answer.")
        try:
            status, cpu_micros, largest_rss, largest = map(int, self._done.fields)
            os.waitstatus_to_exitcode(status)
        except (ValueError, OverflowError) as error:
            raise SandboxError("The init of the box gave numbers that make no sense.") from error
        most = (wall + 1.0) * (os.cpu_count() or 1)
        cpu = total.cpu if total.cpu is not None else min(max(0.0, cpu_micros / 1e6), most)
        peak = total.peak_memory
        if (
            not self._counted or not peak
        ):  # of a program that is over at once a group may see nothing
            peak = max(peak, largest_rss * 1024)
        return status, cpu, max(0, peak), largest


_ORDER = ("memory", "output", "file", "disk", "cpu", "wall", "processes")
"""Where several limits were hit, the first of these is the reason."""


def _first(hit: set[str]) -> str | None:
    return next((limit for limit in _ORDER if limit in hit), None)


def _used(about: os.statvfs_result) -> int:
    return (about.f_blocks - about.f_bfree) * about.f_frsize


def _rlimits(limits: Limits, *, counted: bool) -> list[str]:
    """``number soft hard`` of each; per process, so a net below what the meter sees."""
    seconds = math.ceil(limits.cpu)
    stack = min(limits.memory, _LARGEST_STACK)
    processes = limits.processes + _INIT_PROCESSES + (_SPARE_PROCESSES if counted else 0)
    values = {
        resource.RLIMIT_CPU: (seconds, seconds + 1),
        resource.RLIMIT_FSIZE: (limits.file, limits.file),
        resource.RLIMIT_NOFILE: (limits.open_files, limits.open_files),
        resource.RLIMIT_STACK: (stack, stack),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_NPROC: (processes, processes),
    }
    return [f"{number} {soft} {hard}" for number, (soft, hard) in values.items()]


def _pid_behind(pidfd: int) -> int:
    """The pid, here, of a process by its pidfd. Raises SandboxError where it is none."""
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        if line.startswith("Pid:") and int(line[4:]) > 0:
            return int(line[4:])
    raise SandboxError("The box did not start the program.")


def _readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


class _Output:
    """stdout and stderr together have one cap; what is beyond it is not passed on."""

    def __init__(self, most: int, over: Callable[[], None]) -> None:
        self._left = most
        self._over = over
        self.cut: list[bool] = []

    def stream(self, sink: Sink) -> Sink:
        index = len(self.cut)
        self.cut.append(False)

        def take(data: bytes) -> None:
            kept = data[: self._left]
            self._left -= len(kept)
            if kept:
                sink(kept)
            if len(kept) < len(data):
                self.cut[index] = True
                self._over()

        return take


class _Pipes:
    """The pipes of one command. stdin goes through one of ours: a file of the host that is handed
    in could be opened again inside, for writing too (/proc/self/fd/0).
    """

    def __init__(self, source: int | None) -> None:
        self.stdout, out = os.pipe()
        self.stderr, err = os.pipe()
        self.theirs = [out, err]
        self.source = -1 if source is None else source
        self.stdin = -1
        if source is not None:
            theirs, self.stdin = os.pipe()
            self.theirs.insert(0, theirs)
            os.set_blocking(self.stdin, False)
        os.set_blocking(self.stdout, False)
        os.set_blocking(self.stderr, False)

    def passed(self) -> None:
        """Our copies of the command's ends are no longer needed."""
        while self.theirs:
            os.close(self.theirs.pop())

    def end_stdin(self) -> None:
        """The command's input ends here; may be called twice. Closing a descriptor twice would
        close whatever another thread has opened under its number meanwhile.
        """
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1

    def close(self) -> None:
        self.passed()
        self.end_stdin()
        os.close(self.stdout)
        os.close(self.stderr)


class _Feed:
    """Copies the given stdin into the command's, as fast as it is read."""

    def __init__(
        self, pipes: _Pipes, poll: select.poll, handlers: dict[int, Callable[[int], None]]
    ) -> None:
        self._pipes = pipes
        self._source = pipes.source
        self._target = pipes.stdin
        self._poll = poll
        self._handlers = handlers
        self._held = b""

    def begin(self) -> None:
        self._handlers[self._source] = self._read
        self._handlers[self._target] = self._write
        self._wait_to_read()

    def _wait_to_read(self) -> None:
        self._poll.register(self._source, select.POLLIN)

    def _read(self, fd: int) -> None:
        self._held = os.read(fd, _CHUNK)
        self._poll.unregister(self._source)
        if self._held:
            self._poll.register(self._target, select.POLLOUT)
        else:
            self._end()

    def _write(self, fd: int) -> None:
        try:
            self._held = self._held[os.write(fd, self._held) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # nobody reads it any more
            self._poll.unregister(self._target)
            self._end()
            return
        if not self._held:
            self._poll.unregister(self._target)
            self._wait_to_read()

    def _end(self) -> None:
        del self._handlers[self._source], self._handlers[self._target]
        self._pipes.end_stdin()
