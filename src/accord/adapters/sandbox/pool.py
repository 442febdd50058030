"""Boxes kept between tasks: for each slot one that was wiped, for its last user, and a fresh spare.

A box passes from one task to the next only within the same user, the same mounts and the same
disk limit. The spare is there for when the user changes. Both are let go after a while without
use. A thread, started when the first box is kept, makes spares and ends what is no longer wanted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

import msgspec

from accord import logs
from accord.adapters.sandbox.cell import Cell
from accord.core.errors import SandboxError
from accord.ports.clock import Clock
from accord.ports.sandbox import Mount

IDLE = 120.0
"""Seconds that a box is kept without being used."""

_log = logs.get("sandbox.pool")


class Kind(msgspec.Struct, frozen=True):
    """All that a box was made for, save its user: only its equal can stand in for it."""

    slot: int
    disk: int
    mounts: tuple[Mount, ...]
    identities: tuple[tuple[int, int] | None, ...]
    """Of the mounts' sources: a folder that was replaced is another one."""
    network: bool = False


def kind_of(slot: int, disk: int, mounts: Sequence[Mount], *, network: bool) -> Kind:
    """The kind of box that is wanted, as the host's files are now."""
    identities = tuple(_identity(mount.source) for mount in mounts)
    return Kind(slot, disk, tuple(mounts), identities, network)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        about = os.stat(path)  # noqa: PTH116 - as often as tasks, and pathlib is slower
    except OSError:
        return None  # which starting the box explains
    return about.st_dev, about.st_ino


class _Kept(msgspec.Struct, frozen=True):
    cell: Cell
    kind: Kind
    user: str
    """Empty: nobody's yet."""
    since: float


class Pool:
    """See the module's docstring. Thread-safe; one task at a time has a slot."""

    def __init__(self, make: Callable[[Kind], Cell], clock: Clock, idle: float = IDLE) -> None:
        self._make = make
        self._clock = clock
        self._idle = idle
        self._changed = threading.Condition()
        self._used: dict[int, _Kept] = {}
        self._spares: dict[int, _Kept] = {}
        self._wanted: dict[int, Kind] = {}
        self._unwanted: list[Cell] = []
        self._worker: threading.Thread | None = None
        self._closed = False
        self.reused = 0
        """How many tasks got a box that another had before."""

    def take(self, kind: Kind, user: str) -> Cell:
        """A box as new: the user's own of before, the spare, or one that is made now. Raises
        SandboxError.
        """
        with self._changed:
            used = self._used.pop(kind.slot, None)
            if used is not None and user and (used.kind, used.user) == (kind, user):
                self.reused += 1
                return used.cell
            if used is not None:
                self._unwanted.append(used.cell)
            spare = self._spares.pop(kind.slot, None)
            if spare is not None and spare.kind != kind:
                self._unwanted.append(spare.cell)
                spare = None
            if user and not self._closed:
                self._wanted[kind.slot] = kind
            self._wake()
        return spare.cell if spare is not None else self._make(kind)

    def keep(self, cell: Cell, kind: Kind, user: str) -> bool:
        """Wipe a box whose task has ended and keep it for the next one of that user; whether it
        could be. Where not, it is only fit to be ended.
        """
        if not user or not cell.wipe():
            return False
        with self._changed:
            if self._closed:
                return False
            self._used[kind.slot] = _Kept(cell, kind, user, self._clock.monotonic())
            self._wake()
        return True

    def close(self) -> None:
        """End all that is kept; may be called twice. Raises SandboxError where one does not end."""
        with self._changed:
            self._closed = True
            self._wanted.clear()
            self._changed.notify_all()
            worker = self._worker
        if worker is not None:
            worker.join()
        with self._changed:
            left = [*self._unwanted, *(kept.cell for kept in self._all())]
            self._unwanted = []
            self._used.clear()
            self._spares.clear()
        for cell in left:
            cell.end()

    def _all(self) -> list[_Kept]:
        return [*self._used.values(), *self._spares.values()]

    # -- the worker ----------------------------------------------------------------------

    def _wake(self) -> None:
        """Have the worker look, where there is something to do or to keep."""
        if self._closed or not (self._unwanted or self._wanted or self._used):
            return
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="boxes", daemon=True)
            self._worker.start()
        if self._unwanted or self._wanted:
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._wait()
                if self._closed:
                    return
                self._let_go()
                unwanted, self._unwanted = self._unwanted, []
                wanted, self._wanted = self._wanted, {}
            for kind in wanted.values():
                self._prepare(kind)
            for cell in unwanted:
                _end(cell)

    def _wait(self) -> None:
        while not (self._closed or self._unwanted or self._wanted or self._stale()):
            kept = self._all()
            now = self._clock.monotonic()
            first = min((item.since for item in kept), default=now)
            self._clock.wait(self._changed, max(0.0, first + self._idle - now))

    def _stale(self) -> list[_Kept]:
        before = self._clock.monotonic() - self._idle
        return [kept for kept in self._all() if kept.since <= before]

    def _let_go(self) -> None:
        for kept in self._stale():
            for places in (self._used, self._spares):
                if places.get(kept.kind.slot) is kept:
                    del places[kept.kind.slot]
            self._unwanted.append(kept.cell)

    def _prepare(self, kind: Kind) -> None:
        with self._changed:
            if self._closed or kind.slot in self._spares:
                return
        try:
            cell = self._make(kind)
        except (SandboxError, OSError) as error:  # the next task will meet it, and tell
            _log.warning(
                "A spare box could not be made",
                extra={"action": "spare_failed", "slot": kind.slot, "why": str(error)},
            )
            return
        with self._changed:
            self._spares[kind.slot] = _Kept(cell, kind, "", self._clock.monotonic())
            self._changed.notify_all()


def _end(cell: Cell) -> None:
    """End a box that nobody has, and in which nothing runs but its init."""
    try:
        cell.end()
    except SandboxError as error:
        _log.error(
            "A box that was kept could not be ended",
            extra={"action": "box_stuck", "why": error.message},
        )
