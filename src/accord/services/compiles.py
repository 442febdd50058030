"""Compile steps that were run before: what they left in the work directory is used again.

The key is everything that the step can see and that an executor knows: whose task it is, the source,
the command with its arguments, environment, input and limits, the toolchains' versions, and what the
box shows. So nobody is ever handed what another user's compiler made. The entry is the step's
result and the whole work directory after it, as one item of the cache. Files come out of the box and
go into it by its own hands, as bytes; their paths mean nothing out here.

A thousand tasks of one program compile once, also those that start at one moment: the first one
compiles, and the others wait for it.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import msgspec

from accord import __version__
from accord.core import documents
from accord.core.errors import Corrupt
from accord.core.replica import EMPTY, Content, StepResult, Verdict
from accord.core.task import Step, Task
from accord.ports.clock import Clock
from accord.ports.sandbox import Box
from accord.services.cache import Cache, pieces
from accord.services.capture import Capture
from accord.services.flights import Flight, Flights
from accord.services.toolchains import Toolchains

MOST_FILES = 1_000
MOST_BYTES = 64 << 20
"""Of a work directory that is kept."""
_REMEMBERED = 1_000
"""Keys of steps whose work directory could not be kept, so that nobody waits for them again."""

_FORMAT = 1
_WHOLE = ("**",)
_LENGTH = 4
"""Bytes of the number before each document of an item."""


class _Unfit(Exception):
    """The work directory holds what cannot be kept."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What stands at the beginning of an item. Then come the streams, then the files, each with
    its own head.
    """

    verdict: Verdict
    step: StepResult
    """Without its streams."""
    streams: tuple[int, int]
    """Bytes of stdout and stderr."""

    @property
    def lasting(self) -> bool:
        """Whether another run would end alike. One that hit a limit, or that something killed,
        may do better the next time; it only counts for those who waited for it.
        """
        told = self.step.signal is None and self.step.limit is None
        return self.verdict is Verdict.OK or (self.verdict is Verdict.COMPILE_ERROR and told)


class _File(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    size: int
    mode: int


class Before:
    """A compile step that was run before, to be read from first to last."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.entry = documents.decode(_document(fd), Entry)

    def streams(self) -> Iterator[Iterator[bytes]]:
        """What it printed: stdout, then stderr. Each is to be read before the next."""
        for size in self.entry.streams:
            yield pieces(self._fd, size)

    def place(self, box: Box) -> None:
        """Write what it left into a fresh box. Raises Invalid where it does not fit."""
        while head := _document(self._fd):
            file = documents.decode(head, _File)
            box.write(file.path, pieces(self._fd, file.size), file.mode)


class Compiles:
    """The compile steps that an executor remembers; safe from any thread."""

    def __init__(self, cache: Cache, clock: Clock, toolchains: Toolchains) -> None:
        self._cache = cache
        self._flights = Flights(clock)
        self._toolchains = toolchains
        self._lock = threading.Lock()
        self._unfit: OrderedDict[str, None] = OrderedDict()

    def key(self, task: Task, disk: int) -> str | None:
        """The name of the task's compile step in a box of that size; None where it is not to be
        remembered.
        """
        spec, shown = task.spec, self._toolchains.shown
        toolchain = self._toolchains.for_task(spec)
        mounts = (*toolchain.mounts, *shown)
        shared = spec.network or any(m.writable for m in mounts)  # it may come out otherwise
        if spec.compile is None or not self._cache.largest or shared:
            return None
        seen = {
            "format": _FORMAT,
            "accord": __version__,
            "user": task.user,
            "source": _source(task),
            "step": _step(spec.compile),
            "language": spec.language,
            "versions": self._toolchains.versions,
            "mounts": mounts,
            "env": toolchain.env,
            "disk": disk,
        }
        text = msgspec.json.encode(seen, order="deterministic")
        name = "compile-" + hashlib.sha256(text).hexdigest()
        with self._lock:
            return None if name in self._unfit else name

    def join(self, name: str, stop: threading.Event) -> AbstractContextManager[Flight]:
        """As ``Flights.join``; whoever is the first asks ``before``, else compiles and ``keep``s."""
        return self._flights.join(name, stop)

    @contextmanager
    def before(self, name: str, *, waited: bool) -> Iterator[Before | None]:
        """What is remembered of that step, if anything; ``waited`` says that the caller waited
        for it, and so gets whatever it came to.
        """
        fd = self._cache.open(name)
        if fd is None:
            yield None
            return
        try:
            found = self._read(name, fd)
            yield found if found and (waited or found.entry.lasting) else None
        finally:
            os.close(fd)

    def keep(
        self,
        name: str,
        box: Box,
        verdict: Verdict,
        step: StepResult,
        streams: tuple[Capture, Capture],
    ) -> bool:
        """Remember a step that was run just now in that box; whether that could be done."""
        entry = Entry(
            verdict=verdict,
            step=msgspec.structs.replace(step, stdout=EMPTY, stderr=EMPTY),
            streams=(streams[0].size, streams[1].size),
        )
        try:
            return self._cache.add(name, self._item(entry, box, streams))
        except _Unfit:
            with self._lock:
                self._unfit[name] = None
                while len(self._unfit) > _REMEMBERED:
                    self._unfit.popitem(last=False)
            return False

    def _item(self, entry: Entry, box: Box, streams: tuple[Capture, Capture]) -> Iterator[bytes]:
        yield _framed(entry)
        for stream in streams:
            yield from stream.pieces()
        if entry.verdict is not Verdict.OK:
            return
        most = min(MOST_BYTES, self._cache.largest)
        for item in box.collect(_WHOLE, MOST_FILES, most, folders=True):
            if isinstance(item, str):
                raise _Unfit
            yield _framed(_File(path=item.path, size=item.size, mode=item.mode))
            yield from item.chunks

    def _read(self, name: str, fd: int) -> Before | None:
        try:
            return Before(fd)
        except Corrupt:  # of another version
            self._cache.drop(name)
            return None


def _framed(value: Entry | _File) -> bytes:
    data = documents.encode(value)
    return len(data).to_bytes(_LENGTH, "big") + data


def _document(fd: int) -> bytes:
    """The next document of an item; empty at its end."""
    length = int.from_bytes(os.read(fd, _LENGTH), "big")
    return b"".join(pieces(fd, length))


def _source(task: Task) -> object:
    source = task.spec.source
    if source is None:
        return None
    files = {path: content.digest for path, content in source.files.items()}
    return [source.archive.digest if source.archive else None, files]


def _step(step: Step) -> object:
    stdin: Content | None = step.stdin
    return [step.command, step.args, step.env, stdin.digest if stdin else None, step.limits]
