"""The box in which strangers' programs run.

A sandbox makes boxes; a box serves one task (its compile step, then its execute step) and is then
closed. Nothing outside ever opens a path inside a box: files go in and come out as bytes, by way
of the box's own init. How boxes are kept warm or reused is the implementation's affair.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from accord.core.executor import Isolation
from accord.core.limits import Limits

Sink = Callable[[bytes], None]
"""Takes output as it comes. Called from one thread at a time; must not block for long."""


class Mount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A path of the host that is seen inside, read-only unless said otherwise."""

    source: str
    target: str = ""
    """Empty: the same path."""
    writable: bool = False


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What to run in a box."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    limits: Limits
    stdin: int | None = None
    """A descriptor open for reading, which the caller closes; None: empty."""


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What a command did. Exactly one of exit_code and signal is set."""

    exit_code: int | None = None
    signal: int | None = None
    wall_time: float
    cpu_time: float
    peak_memory: int
    processes: int = 0
    written: int = 0
    """Bytes that its processes handed to ``write`` and its like; 0 where nothing counts them."""
    limit: str | None = None
    """The field of Limits that was hit: the first by the order of docs/reference/limits.md."""
    killed: bool = False
    """Ended because ``stop`` was set."""
    stdout_truncated: bool = False
    stderr_truncated: bool = False


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A file that came out of a box. The chunks must be read before the next file is asked for."""

    path: str
    size: int
    chunks: Iterator[bytes]
    mode: int = 0o644
    """Permission bits."""


class Box(Protocol):
    """One box. Not thread-safe, save ``kill``."""

    def write(self, path: str, chunks: Iterable[bytes], mode: int = 0o644) -> None:
        """Write a file below the work directory, making its folders.

        ``path`` is relative and checked again inside. Raises Invalid for a bad path, and where
        the disk limit does not hold it.
        """

    def unpack(self, archive: Iterable[bytes], into: str = "") -> None:
        """Unpack a zip inside the box, below the work directory.

        Raises Invalid, with what is wrong, for a malformed archive, an entry that is absolute,
        leaves the directory, is a link or device, or for more bytes, entries or depth than the
        caps allow.
        """

    def run(self, command: Command, stdout: Sink, stderr: Sink, stop: threading.Event) -> Ran:
        """Run a command in the work directory until it ends, hits a limit, or ``stop`` is set.

        When it returns, every process that it started is gone. Output beyond the limit is not
        passed on. Raises SandboxError where the box itself failed (never for what the program
        did); the box is then only fit to be closed.
        """

    def collect(
        self, globs: Sequence[str], max_files: int, max_bytes: int, *, folders: bool = False
    ) -> Iterator[Kept | str]:
        """Regular files that match, by path; a str is the path of one that was passed over
        (not a regular file, or over the caps). With ``folders`` also the path of each folder that
        would not come about by writing these files: an empty one, or with permissions of its own.
        """

    def kill(self) -> None:
        """Kill everything in the box; from any thread, at any time, as often as liked."""

    def close(self) -> None:
        """Kill everything, and return once the box is seen to be empty and its remains are gone
        (save its own init, where the box is kept). May be called twice. Raises SandboxError where
        it could not be emptied.
        """


class Sandbox(Protocol):
    """Makes boxes."""

    def isolation(self) -> Isolation:
        """The level reached on this machine, with the self-test's findings; cached."""

    def open(
        self,
        slot: int,
        disk: int,
        mounts: Sequence[Mount] = (),
        user: str = "",
        *,
        network: bool = False,
    ) -> Box:
        """A box as new for a task on a slot (0 to slots-1; one box of a slot at a time), with
        ``disk`` bytes of work directory, and with the machine's ``network`` or none. A box that was
        wiped may come back for the same user, never for another; ``user`` empty: never at all.
        Raises SandboxError.
        """

    def close(self) -> None:
        """Close what is kept warm, and release everything; may be called twice."""
