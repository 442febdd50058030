"""Boxes by bubblewrap: the default sandbox."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from accord.adapters.sandbox import cgroup, wire
from accord.adapters.sandbox.archive import write_all
from accord.adapters.sandbox.cell import Cell
from accord.adapters.sandbox.launch import Launcher, Spawner, find_bwrap
from accord.adapters.sandbox.layout import Features
from accord.adapters.sandbox.meter import Accounting
from accord.adapters.sandbox.polling import Polling
from accord.adapters.sandbox.pool import Kind, Pool, kind_of
from accord.adapters.sandbox.run import Gone, Run
from accord.adapters.sandbox.selftest import SelfTest
from accord.adapters.sandbox.wire import Broken, Frame
from accord.config import SandboxSettings
from accord.core.errors import Invalid, SandboxError
from accord.core.executor import Isolation
from accord.core.globs import Matcher, matcher
from accord.ports.clock import Clock
from accord.ports.sandbox import Box, Command, Kept, Mount, Ran, Sink

_ANSWER_TIMEOUT = 120.0
"""Seconds for the init to write, unpack or list: it moves a few hundred megabytes at most."""
_TEST_DISK = 16 << 20
_DEEPEST_ARCHIVE = 32
_MOST_LISTED = 100_000
_LONGEST_COMMAND = 6 << 20
"""Bytes of argv and environment: more than that no Linux takes."""
_LONGEST_PATH = 64 << 10
_NAMES = itertools.count()
"""One for all sandboxes of this process: control groups are told apart by it."""


class BwrapSandbox:
    """See ports.sandbox.Sandbox. ``first_uid`` plus the slot is a box's host uid where the
    executor is root; else a box has the executor's.
    """

    def __init__(self, settings: SandboxSettings, clock: Clock, first_uid: int = 200_000) -> None:
        if settings.kind != "bwrap":
            raise SandboxError(f"sandbox.kind is {settings.kind!r}, but there is only 'bwrap'.")
        if first_uid <= 0:
            raise SandboxError("executor.first_uid must be above 0: no program runs as root.")
        self._settings = settings
        self._clock = clock
        self._first_uid = first_uid
        self._accounting = choose_accounting(settings.cgroup, clock)
        self._spawner = Spawner()
        self._launcher = Launcher(
            find_bwrap(settings.bwrap),
            self._spawner,
            uncounted_memory=self._accounting.counts_all_memory,
        )
        self._pool = Pool(self._made, clock)
        self._lock = threading.Lock()
        self._isolation: Isolation | None = None

    def isolation(self) -> Isolation:
        """See ports.sandbox.Sandbox. Raises SandboxError where a box cannot be made, or does not
        hold.
        """
        with self._lock:
            if self._isolation is None:
                self._isolation = self._tested()
            return self._isolation

    def _tested(self) -> Isolation:
        """Prove the box; without ``--disable-userns`` where the kernel refuses that, since the
        filter forbids new user namespaces as well.
        """
        notes = [self._accounting.why] if self._accounting.why else []
        try:
            checks = self._attacked()
        except SandboxError as error:
            if "userns" not in error.message or "Unknown option" in error.message:
                raise
            self._launcher.features = Features(disable_userns=False)
            notes.append("new user namespaces are forbidden by the filter alone")
            checks = self._attacked()
        return Isolation(level=self._accounting.level, why="; ".join(notes), checks=checks)

    def _attacked(self) -> dict[str, str]:
        box = self._open(0, _TEST_DISK, (), "")
        try:
            return SelfTest(self._spawner, self._launcher.interpreter, self._uid(0)).run(box)
        finally:
            box.close()

    def open(
        self,
        slot: int,
        disk: int,
        mounts: Sequence[Mount] = (),
        user: str = "",
        *,
        network: bool = False,
    ) -> Box:
        """See ports.sandbox.Sandbox."""
        self.isolation()
        return self._open(slot, disk, mounts, user, network=network)

    def _open(
        self, slot: int, disk: int, mounts: Sequence[Mount], user: str, *, network: bool = False
    ) -> BwrapBox:
        kind = kind_of(slot, disk, (*self._settings.mounts, *mounts), network=network)
        cell = self._pool.take(kind, user)
        keep = partial(self._pool.keep, cell, kind, user)
        return BwrapBox(cell, keep, self._settings, self._clock, counted=self._counted)

    @property
    def _counted(self) -> bool:
        return self._accounting.counts_all_memory

    def _made(self, kind: Kind) -> Cell:
        started = self._launcher.start(
            self._uid(kind.slot), kind.disk, kind.mounts, network=kind.network
        )
        return Cell(started, f"{kind.slot}-{next(_NAMES)}", self._accounting)

    def _uid(self, slot: int) -> int:
        return self._first_uid + slot if os.geteuid() == 0 else os.geteuid()

    def close(self) -> None:
        """See ports.sandbox.Sandbox."""
        with self._lock:
            self._pool.close()
            self._spawner.close()
            self._launcher.close()
            self._accounting.close()


class BwrapBox:
    """See ports.sandbox.Box. A task's hold on a cell: ``keep`` takes the cell back, where it can
    be made as new.
    """

    def __init__(
        self,
        cell: Cell,
        keep: Callable[[], bool],
        settings: SandboxSettings,
        clock: Clock,
        *,
        counted: bool,
    ) -> None:
        self._cell = cell
        self._box = cell.box
        self._keep = keep
        self._settings = settings
        self._clock = clock
        self._counted = counted
        self._lock = threading.Lock()
        self._killed = False
        self._left = False
        """Whether the cell is no longer ours to kill."""
        self._closed = False

    # -- files in ------------------------------------------------------------------------

    def write(self, path: str, chunks: Iterable[bytes], mode: int = 0o644) -> None:
        """See ports.sandbox.Box."""
        answer = self._send((b"write", _encoded(path), b"%d" % mode), chunks)
        self._check(answer, f"The path {path!r}")

    def unpack(self, archive: Iterable[bytes], into: str = "") -> None:
        """See ports.sandbox.Box."""
        caps = (self._settings.archive_bytes, self._settings.archive_entries, _DEEPEST_ARCHIVE)
        head = (b"unpack", _encoded(into), *(b"%d" % cap for cap in caps))
        with _spooled(archive, self._settings.archive_bytes) as fd, self._talking():
            self._box.wire.send(*head, fds=[fd])
            answer = self._box.wire.recv()
            answer.close()
        if answer.verb == b"full":
            raise Invalid("The archive unpacks to more than the limit disk allows.", field="data")
        if answer.verb == b"bad":
            raise Invalid(f"The archive cannot be unpacked: {_text(answer)}.", field="data")
        self._check(answer, "The archive")

    def _send(self, head: Sequence[bytes], chunks: Iterable[bytes]) -> Frame:
        with self._talking():
            self._box.wire.send(*head)
            try:
                for chunk in chunks:
                    for at in range(0, len(chunk), wire.LARGEST_CHUNK):
                        self._box.wire.send(b"data", chunk[at : at + wire.LARGEST_CHUNK])
            finally:
                self._box.wire.send(b"end")
                answer = self._box.wire.recv()
            answer.close()
            return answer

    def _check(self, answer: Frame, what: str) -> None:
        if answer.verb == b"bad":
            raise Invalid(f"{what} cannot be used: it {_text(answer)}.", field="path")
        if answer.verb == b"full":
            raise Invalid(f"{what} does not fit into the limit disk.", field="limits.disk")
        if answer.verb != b"ok":
            raise SandboxError(f"{what} cannot be written in the box: {_text(answer)}.")

    # -- running -------------------------------------------------------------------------

    def run(self, command: Command, stdout: Sink, stderr: Sink, stop: threading.Event) -> Ran:
        """See ports.sandbox.Box."""
        _check_command(command)
        self._usable()
        account = self._cell.account
        meter = account.meter(command.limits)
        began = self._clock.monotonic()
        run = Run(
            self._box,
            meter,
            self._clock,
            command,
            counted=self._counted,
            attaches=account.attaches,
        )
        try:
            return run(stdout, stderr, stop)
        except Gone as error:
            killed = self._killed
            self._end()
            total = meter.finish()
            if not killed and not total.out_of_memory:
                raise SandboxError("The init of the box has ended while it ran.") from error
            return Ran(
                signal=signal.SIGKILL,
                wall_time=self._clock.monotonic() - began,
                cpu_time=total.cpu or 0.0,
                peak_memory=total.peak_memory,
                limit=None if killed else "memory",  # the kernel chose the init among the others
                killed=killed,
            )
        except BaseException:
            self._end()
            meter.finish()
            raise

    # -- files out -----------------------------------------------------------------------

    def collect(
        self, globs: Sequence[str], max_files: int, max_bytes: int, *, folders: bool = False
    ) -> Iterator[Kept | str]:
        """See ports.sandbox.Box."""
        for path, size in self._listed(matcher(globs), folders=folders):
            fits = max_files > 0 and size <= max_bytes
            opened = self._opened(path, size) if size >= 0 and fits else None
            if opened is None:
                yield os.fsencode(path).decode("utf-8", "replace")
                continue
            max_files -= 1
            max_bytes -= size
            try:
                mode = stat.S_IMODE(os.fstat(opened).st_mode)
                yield Kept(path=path, size=size, chunks=_chunks(opened, size), mode=mode)
            finally:
                os.close(opened)

    def _listed(self, matches: Matcher, *, folders: bool) -> list[tuple[str, int]]:
        found: list[tuple[str, int, int]] = []
        with self._talking():
            self._box.wire.send(b"list", b"%d" % _MOST_LISTED)
            for _ in range(_MOST_LISTED + 1):
                frame = self._box.wire.recv()
                frame.close()
                if frame.verb == b"end":
                    break
                found.append(_listed_file(frame))
        filled = {path.rpartition("/")[0] for path, _, _ in found} if folders else set()
        return sorted(
            (path, size)
            for path, size, mode in found
            if matches(path) and (not stat.S_ISDIR(mode) or (folders and _odd(path, mode, filled)))
        )

    def _opened(self, path: str, size: int) -> int | None:
        """A descriptor of a regular file of that size; None where it is not one (any more)."""
        try:
            path.encode()
        except UnicodeEncodeError:
            return None
        with self._talking():
            self._box.wire.send(b"open", _encoded(path))
            frame = self._box.wire.recv()
        about = os.fstat(frame.fds[0]) if frame.verb == b"ok" and frame.fds else None
        if about is None or not stat.S_ISREG(about.st_mode) or about.st_size != size:
            frame.close()
            return None
        fd = frame.fds.pop()
        frame.close()
        return fd

    # -- the end -------------------------------------------------------------------------

    def kill(self) -> None:
        """See ports.sandbox.Box."""
        with self._lock:
            if not self._left:
                self._killed = True
                self._cell.kill()

    def close(self) -> None:
        """See ports.sandbox.Box."""
        if self._closed:
            return
        with self._lock:
            self._left = not self._killed
        if self._left and self._keep():
            self._closed = True
            return
        self._cell.destroy()
        with self._lock:
            self._left = self._closed = True
            self._cell.end()

    def _end(self) -> None:
        """Kill everything, and see that it is gone."""
        self.kill()
        self._cell.destroy()

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        self._usable()
        self._box.wire.socket.settimeout(_ANSWER_TIMEOUT)
        try:
            yield
        except (Broken, ValueError) as error:
            self.kill()
            raise SandboxError(f"The init of the box does not answer: {error}.") from error

    def _usable(self) -> None:
        if self._killed or self._closed:
            raise SandboxError("The box has been closed.")


def choose_accounting(kind: str, clock: Clock) -> Accounting:
    """The best accounting that this machine allows, or the one that was asked for.

    Raises SandboxError where that one cannot be had.
    """
    if kind == "poll":
        return Polling("sandbox.cgroup is set to poll")
    reasons = []
    for name, opened in (("v2", cgroup.open_v2), ("v1", cgroup.open_v1)):
        if kind not in ("auto", name):
            continue
        try:
            return opened(clock)
        except cgroup.Unusable as error:
            reasons.append(str(error))
    if kind != "auto":
        why = reasons[0] if reasons else "it must be auto, v2, v1 or poll"
        raise SandboxError(f"sandbox.cgroup is {kind!r}, but {why}.")
    return Polling("; ".join(reasons))


def _check_command(command: Command) -> None:
    words = (*command.argv, *command.env, *command.env.values())
    if not command.argv or any("\0" in word for word in words):
        raise Invalid("A command needs a program, and no NUL anywhere.", field="command")
    if sum(len(os.fsencode(word)) + 8 for word in words) > _LONGEST_COMMAND:
        raise Invalid("Arguments and environment are too long; use stdin.", field="command")
    if any("=" in name or not name for name in command.env):
        raise Invalid("The name of a variable must not be empty nor hold '='.", field="env")


@contextlib.contextmanager
def _spooled(chunks: Iterable[bytes], most: int) -> Iterator[int]:
    """A descriptor of those bytes, in which one can go back and forth."""
    fd = os.memfd_create("archive", os.MFD_CLOEXEC)
    try:
        for chunk in chunks:
            most -= len(chunk)
            if most < 0:
                raise Invalid("The archive is larger than what it may unpack to.", field="data")
            write_all(fd, chunk)
        yield fd
    finally:
        os.close(fd)


def _encoded(path: str) -> bytes:
    try:
        return path.encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"The path {path!r} is not valid Unicode.", field="path") from error


def _text(answer: Frame) -> str:
    """What the init says, which a stranger's program may have had a hand in."""
    return b" ".join(answer.fields)[:1000].decode("utf-8", "replace")


def _listed_file(frame: Frame) -> tuple[str, int, int]:
    """A path, its size and mode, as the init tells them. Raises Broken where that makes no sense."""
    if frame.verb != b"file" or len(frame.fields) != 3 or len(frame.fields[0]) > _LONGEST_PATH:
        raise Broken("no list of files")
    return os.fsdecode(frame.fields[0]), int(frame.fields[1]), int(frame.fields[2])


def _odd(path: str, mode: int, filled: set[str]) -> bool:
    """Whether a folder is other than one that comes about when files are written below it."""
    return path not in filled or stat.S_IMODE(mode) != 0o755


def _chunks(fd: int, size: int) -> Iterator[bytes]:
    at = 0
    while at < size:
        chunk = os.pread(fd, min(1 << 20, size - at), at)
        if not chunk:
            return
        at += len(chunk)
        yield chunk
