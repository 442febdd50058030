"""A sandbox that plays scripts in place of programs: the outside world of an executor's tests.

``ScriptedSandbox({"./main": Act(stdout=b"hi")})`` answers a command whose first word is ``./main``
(for a shell command: whose script is that text). Nothing is run, and no path is touched: a box keeps
its files in memory, so that a test can look at what was written.
"""

from __future__ import annotations

import io
import os
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch

import msgspec

from accord.core.errors import Invalid, SandboxError
from accord.core.executor import Isolation
from accord.ports.sandbox import Command, Kept, Mount, Ran, Sink

SIGKILL = 9


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """What a scripted program does."""

    stdout: bytes = b""
    stderr: bytes = b""
    echo_stdin: bool = False
    exit_code: int | None = 0
    signal: int | None = None
    limit: str | None = None
    wall_time: float = 0.01
    files: Mapping[str, bytes] = {}
    """What it leaves in the work directory."""
    modes: Mapping[str, int] = {}
    """The permission bits of these files, where they are not 0o644."""
    folders: tuple[str, ...] = ()
    """Empty folders that it leaves."""
    until: threading.Event | None = None
    """Goes on until this is set, the run is stopped, or the box is killed."""
    pieces: Callable[[], Iterable[bytes]] | None = None
    """More stdout, asked for piece by piece; the maker may wait between them."""
    fails: Exception | None = None
    """The box fails instead."""


class ScriptedBox:
    """One box (port ``Box``)."""

    def __init__(
        self, sandbox: ScriptedSandbox, slot: int, disk: int, user: str, *, network: bool = False
    ) -> None:
        self.slot = slot
        self.disk = disk
        self.user = user
        self.network = network
        self.files: dict[str, bytes] = {}
        self.modes: dict[str, int] = {}
        self.folders: list[str] = []
        self.commands: list[Command] = []
        self.closed = False
        self.kills = 0
        self._sandbox = sandbox
        self._killed = threading.Event()

    def write(self, path: str, chunks: Iterable[bytes], mode: int = 0o644) -> None:
        """Keep the file in memory; Invalid for a path that leaves the work directory."""
        self.files[_inside(path)] = b"".join(chunks)
        self.modes[path] = mode

    def unpack(self, archive: Iterable[bytes], into: str = "") -> None:
        """Unpack into memory; Invalid for what is no zip or leaves the directory."""
        try:
            with zipfile.ZipFile(io.BytesIO(b"".join(archive))) as opened:
                for name in opened.namelist():
                    self.files[_inside(f"{into}/{name}".lstrip("/"))] = opened.read(name)
        except zipfile.BadZipFile as error:
            raise Invalid(f"The archive is no zip: {error}.", field="source") from error

    def run(self, command: Command, stdout: Sink, stderr: Sink, stop: threading.Event) -> Ran:
        """Play the act of the command."""
        self.commands.append(command)
        act = self._sandbox.act(command)
        if act.fails is not None:
            raise act.fails
        _emit(act, command, stdout, stderr)
        killed = self._wait(act.until, stop) or stop.is_set()
        self.files.update(act.files)
        self.modes.update(act.modes)
        self.folders += act.folders
        if killed:
            return Ran(signal=SIGKILL, wall_time=0.0, cpu_time=0.0, peak_memory=0, killed=True)
        return Ran(
            exit_code=None if act.signal is not None else act.exit_code,
            signal=act.signal,
            wall_time=act.wall_time,
            cpu_time=act.wall_time,
            peak_memory=1 << 20,
            limit=act.limit,
        )

    def collect(
        self, globs: Sequence[str], max_files: int, max_bytes: int, *, folders: bool = False
    ) -> Iterator[Kept | str]:
        """Files of memory that match; those over the caps, and folders, by name only."""
        if folders:
            yield from self.folders
        files, size = 0, 0
        for path, data in sorted(self.files.items()):
            if not any(fnmatch(path, glob) for glob in globs):
                continue
            files, size = files + 1, size + len(data)
            if files > max_files or size > max_bytes:
                yield path
            else:
                mode = self.modes.get(path, 0o644)
                yield Kept(path=path, size=len(data), chunks=iter([data]), mode=mode)

    def kill(self) -> None:
        """End the act that is being played."""
        self.kills += 1
        self._killed.set()
        self._sandbox.wake()

    def close(self) -> None:
        """Close it; raises what the sandbox was told that closing raises."""
        self._killed.set()
        self.closed = True
        self._sandbox.on_close()

    def _wait(self, until: threading.Event | None, stop: threading.Event) -> bool:
        if until is None:
            return self._killed.is_set()
        while not (until.is_set() or stop.is_set() or self._killed.is_set()):
            self._sandbox.pause()
        return self._killed.is_set()


class ScriptedSandbox:
    """Makes scripted boxes (port ``Sandbox``). ``boxes`` are all that it made."""

    def __init__(
        self,
        acts: Mapping[str, Act | Callable[[Command], Act]],
        isolation: Isolation | None = None,
    ) -> None:
        self.acts = dict(acts)
        self.boxes: list[ScriptedBox] = []
        self.open_fails: Exception | None = None
        self.close_fails: SandboxError | None = None
        self.closed = False
        self._isolation = isolation or Isolation(level="bwrap+cgv2")
        self._changed = threading.Condition()

    def isolation(self) -> Isolation:
        """What was given."""
        return self._isolation

    def open(
        self,
        slot: int,
        disk: int,
        mounts: Sequence[Mount] = (),  # noqa: ARG002  # of the port
        user: str = "",
        *,
        network: bool = False,
    ) -> ScriptedBox:
        """A new box; raises ``open_fails`` where it is set."""
        if self.open_fails is not None:
            raise self.open_fails
        with self._changed:
            if any(box.slot == slot and not box.closed for box in self.boxes):
                raise SandboxError(f"Slot {slot} has a box already.")
            box = ScriptedBox(self, slot, disk, user, network=network)
            self.boxes.append(box)
            self._changed.notify_all()
        return box

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    # -- for boxes and tests -------------------------------------------------------------

    def act(self, command: Command) -> Act:
        """The act of a command; SandboxError where none was given, which fails the test."""
        shell = command.argv[:2] == ("bash", "-c")
        found = self.acts.get(command.argv[2] if shell else command.argv[0])
        if found is None:
            raise SandboxError(f"No act for {command.argv}.")
        with self._changed:
            self._changed.notify_all()
        return found if isinstance(found, Act) else found(command)

    def on_close(self) -> None:
        """A box is being closed."""
        self.wake()
        if self.close_fails is not None:
            raise self.close_fails

    def wake(self) -> None:
        """Something changed for whoever waits."""
        with self._changed:
            self._changed.notify_all()

    def pause(self) -> None:
        """Wait a moment for a change."""
        with self._changed:
            self._changed.wait(0.01)

    def wait_for(self, true: Callable[[ScriptedSandbox], bool], patience: float = 30.0) -> None:
        """Return once ``true`` of this sandbox. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: true(self), patience):
                raise TimeoutError("The boxes did not come to what was waited for.")

    @property
    def runs(self) -> list[tuple[str, ...]]:
        """The argv of every command that was run, box by box."""
        return [command.argv for box in self.boxes for command in box.commands]


def _emit(act: Act, command: Command, stdout: Sink, stderr: Sink) -> None:
    if act.stdout:
        stdout(act.stdout)
    if act.stderr:
        stderr(act.stderr)
    if act.echo_stdin and command.stdin is not None:
        while piece := os.read(command.stdin, 65536):
            stdout(piece)
    for piece in act.pieces() if act.pieces else ():
        stdout(piece)


def _inside(path: str) -> str:
    if not path or path.startswith("/") or ".." in path.split("/"):
        raise Invalid(f"{path!r} leaves the work directory.", field="source")
    return path
