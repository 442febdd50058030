"""How far something with many tasks has come: a live bar on a terminal, plain lines elsewhere.

Both write to stderr, so that stdout holds what was asked for and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

import msgspec

from accord.client import Batch
from accord.ports.clock import Clock

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_PAUSE = 10.0
"""Seconds that lie between two plain lines at least."""
LINE_STEPS = 10
"""Plain lines that come at most between the first and the last."""
_REDRAW = 0.1
_NARROWEST = 20


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How far it is."""

    total: int
    ended: int = 0
    failed: int = 0
    rate: float = 0.0
    """Tasks that ended a second."""
    eta: float | None = None
    """Seconds until the end."""
    whole: bool = True
    """Whether ``total`` is all: more may come otherwise."""
    word: str = ""
    """What it is at, in a word."""

    @property
    def part(self) -> float:
        """How much of it is done, from 0 to 1."""
        return self.ended / self.total if self.total else 0.0


def state_of(batch: Batch) -> State:
    """How far a batch is."""
    return State(
        total=batch.total,
        ended=batch.ended,
        failed=batch.failed,
        rate=batch.rate,
        eta=batch.eta,
        whole=not batch.open,
        word=batch.status,
    )


class Display(Protocol):
    """Shows states."""

    def show(self, state: State) -> None:
        """Show this now, or later, or not at all where the next one comes soon."""

    def hidden(self, *, open_line: bool = False) -> AbstractContextManager[None]:
        """Take it off the terminal while something else is written there. With ``open_line``
        that ends in the midst of a line, and nothing is shown until the next one.
        """

    def end(self, state: State | None) -> None:
        """The last word: how it ended, where that is known."""


class Silent:
    """Shows nothing."""

    def show(self, state: State) -> None:
        """Nothing."""

    @contextmanager
    def hidden(self, *, open_line: bool = False) -> Iterator[None]:  # noqa: ARG002  # nothing is shown
        """There is nothing to hide."""
        yield

    def end(self, state: State | None) -> None:
        """Nothing."""


class Lines(Silent):
    """Plain lines: at first, then after each 10 % or 10 seconds, whichever is longer, and last."""

    def __init__(self, clock: Clock, to: TextIO) -> None:
        self._clock = clock
        self._to = to
        self._last: State | None = None
        self._written_at = 0.0

    def show(self, state: State) -> None:
        """Write it if it is time for a line."""
        if self._last is None or self._due(state, self._last):
            self._write(state)

    def _due(self, state: State, last: State) -> bool:
        waited = self._clock.monotonic() - self._written_at >= LINE_PAUSE
        moved = state.ended - last.ended
        far = moved * LINE_STEPS >= state.total if state.whole else moved > 0
        return waited and far

    def end(self, state: State | None) -> None:
        """Write the last line, unless it is what was written last."""
        if state is not None and state != self._last:
            self._write(state)

    def _write(self, state: State) -> None:
        self._last, self._written_at = state, self._clock.monotonic()
        print(line(state), file=self._to, flush=True)


def line(state: State) -> str:
    """A state as text.

    >>> line(State(total=1500, ended=750, failed=2, rate=31.25, eta=24.0, word="running"))
    'running: 750 of 1500 done (50 %), 2 failed, 31 a second, 24 s left'
    """
    percent = f" ({state.part:.0%})".replace("%", " %") if state.whole and state.total else ""
    parts = [f"{state.ended} of {state.total}{'' if state.whole else ' so far'} done{percent}"]
    if state.failed:
        parts.append(f"{state.failed} failed")
    if state.rate:
        parts.append(speed(state.rate))
    if state.eta is not None and state.ended < state.total:
        parts.append(f"{lasting(state.eta)} left")
    return f"{state.word}: {', '.join(parts)}" if state.word else ", ".join(parts)


def speed(rate: float) -> str:
    """Tasks a second, or a minute where they are few.

    >>> speed(31.25), speed(2.5), speed(0.25)
    ('31 a second', '2.5 a second', '15 a minute')
    """
    if rate < 1:
        return f"{rate * 60:.3g} a minute"
    return f"{rate:.0f} a second" if rate >= 10 else f"{rate:.1f} a second"


def lasting(seconds: float) -> str:
    """A time that is still to come.

    >>> lasting(24.2), lasting(200), lasting(8000)
    ('24 s', '3 min 20 s', '2 h 13 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Bar:
    """A bar on the last line of the terminal, which goes away at the end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._progress = _bar()
        self._task = self._progress.add_task("", total=None)
        self._drawn_at: float | None = None
        self._open_line = False

    def show(self, state: State) -> None:
        """Draw it, ten times a second at most."""
        now = self._clock.monotonic()
        soon = self._drawn_at is not None and now - self._drawn_at < _REDRAW
        if soon or self._open_line:
            return
        self._drawn_at = now
        self._progress.console.width = _width()
        self._progress.update(
            self._task,
            total=state.total if state.whole and state.total else None,
            completed=state.ended,
            description=state.word,
            told=line(msgspec.structs.replace(state, word="")),
        )
        self._progress.start()
        self._progress.refresh()

    @contextmanager
    def hidden(self, *, open_line: bool = False) -> Iterator[None]:
        """The bar comes back with a later state."""
        self._progress.stop()
        yield
        self._open_line = open_line

    def end(self, state: State | None) -> None:
        """In the bar's place a line stays."""
        self._progress.stop()
        if state is not None:
            print("\n" * self._open_line + line(state), file=sys.stderr, flush=True)


def _width() -> int:
    """Of the bar: the ^C that a terminal writes behind it must not begin another line."""
    from rich.console import Console

    return max(_NARROWEST, Console(file=sys.stderr).width - 3)


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[told]}"),
        console=Console(file=sys.stderr),
        auto_refresh=False,
        transient=True,
        expand=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def display(clock: Clock, *, quiet: bool = False) -> Display:
    """What suits our stderr."""
    if quiet:
        return Silent()
    return Bar(clock) if sys.stderr.isatty() else Lines(clock, sys.stderr)
