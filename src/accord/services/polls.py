"""Held polls, and who is woken by what.

Each executor has at most one held poll, with a condition of its own: what happens wakes those
polls that it concerns and no other. New work is promised to one poll after the other up to its
vacancy, so that it wakes as many as it can fill, no more. A promise is a hint: the claim itself
is decided in the store.

A poll is entered here *before* the store is looked at, and marks left on it meanwhile are found
when it comes to wait: no wake-up is lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from accord.core.errors import AccordError, Superseded
from accord.core.ids import ExecutorName
from accord.ports.clock import Clock
from accord.services.sessions import Line

ANY = ""
"""Stands for a requirement class that is not known."""
TURN = 10.0
"""Seconds for which a poll waits for its predecessor to get out of the store."""


class Poll:
    """One held poll. Its fields change under the lock of Polls."""

    def __init__(
        self, line: Line, vacant: int, fits: Callable[[str], bool], lock: threading.Lock
    ) -> None:
        self.line = line
        self.executor = line.name
        self.vacant = vacant
        self.fits = fits
        """Whether its executor can take work of a requirement class."""
        self.changed = threading.Condition(lock)
        self.promised: list[str] = []
        """The requirement classes of what it may take, one for each replica; ``ANY`` where the class
        is not known.
        """
        self.tried: frozenset[ExecutorName] = frozenset()
        """Executors that had better not take what was promised, as they found out."""
        self.look = False
        """Something that its executor holds was written."""
        self.error: AccordError | None = None
        """Why it must not go on."""
        self.left = threading.Event()

    @property
    def marked(self) -> bool:
        """Whether there is a reason to look at the store."""
        return self.look or bool(self.promised) or self.error is not None


class Polls:
    """See the module's docstring."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[ExecutorName, Poll] = {}
        self._closed = False

    # -- the poll's own thread -----------------------------------------------------------

    def enter(self, line: Line, vacant: int, fits: Callable[[str], bool]) -> Poll:
        """Hold a poll. An older one of the same executor is superseded, and has ended its last
        look at the store when this returns: what it claimed is seen by this one.
        """
        poll = Poll(line, vacant, fits, self._lock)
        with self._lock:
            older = self._held.pop(line.name, None)
            self._held[line.name] = poll
            if older is not None:
                self._end(older, Superseded(executor=line.name))
        if older is not None:
            self._clock.wait_event(older.left, TURN)
        return poll

    def leave(self, poll: Poll) -> None:
        """End holding it. What was promised to it and not looked for goes to others."""
        poll.left.set()
        with self._lock:
            if self._held.get(poll.executor) is poll:
                del self._held[poll.executor]
            for class_ in poll.promised:
                self._promise(class_, poll.tried)

    def take(self, poll: Poll) -> tuple[bool, frozenset[ExecutorName]]:
        """Take the marks off, before looking at the store: whether to look at what is held, and
        who had better not take what was promised. Raises what ended the poll.
        """
        with self._lock:
            if poll.error is not None:
                raise poll.error
            marks = poll.look, poll.tried
            poll.look, poll.promised, poll.tried = False, [], frozenset()
            return marks

    def wait(self, poll: Poll, until: float) -> bool:
        """Wait for a mark, until that monotonic time. False where time ran out, or everything
        is closing.
        """
        with self._lock:
            while not poll.marked:
                left = until - self._clock.monotonic()
                if left <= 0 or self._closed:
                    return False
                self._clock.wait(poll.changed, left)
            return True

    # -- others --------------------------------------------------------------------------

    def offer(
        self, class_: str, tried: frozenset[ExecutorName] = frozenset(), number: int = 1
    ) -> None:
        """There are so many more replicas of a class to send."""
        with self._lock:
            while number > 0 and self._promise(class_, tried):
                number -= 1

    def offer_all(self) -> None:
        """There may be work of any class."""
        with self._lock:
            for poll in self._held.values():
                if len(poll.promised) < poll.vacant:
                    self._promise_to(poll, ANY)

    def look(self, executors: Iterable[ExecutorName]) -> None:
        """Something that these hold was written."""
        with self._lock:
            for name in executors:
                poll = self._held.get(name)
                if poll is not None:
                    self._look(poll)

    def look_all(self) -> None:
        """Anything may have been written."""
        with self._lock:
            for poll in self._held.values():
                self._look(poll)

    def end(self, executor: ExecutorName, error: AccordError, but: Line | None = None) -> None:
        """End the poll of an executor that must not go on, unless it is of the line ``but``."""
        with self._lock:
            poll = self._held.get(executor)
            if poll is not None and poll.line is not but:
                self._end(poll, error)

    def close(self) -> None:
        """Let all polls be answered at once, those to come too."""
        with self._lock:
            self._closed = True
            for poll in self._held.values():
                poll.changed.notify_all()

    # -- under the lock ------------------------------------------------------------------

    def _promise(self, class_: str, tried: frozenset[ExecutorName]) -> bool:
        """Promise one to a poll that has room; whether there is such a poll."""
        for poll in self._held.values():
            free = len(poll.promised) < poll.vacant and poll.error is None
            if free and poll.executor not in tried and (class_ == ANY or poll.fits(class_)):
                self._promise_to(poll, class_)
                poll.tried |= tried
                return True
        return False

    def _promise_to(self, poll: Poll, class_: str) -> None:
        poll.promised.append(class_)
        poll.changed.notify_all()

    def _look(self, poll: Poll) -> None:
        poll.look = True
        poll.changed.notify_all()

    def _end(self, poll: Poll, error: AccordError) -> None:
        poll.error = poll.error or error
        poll.changed.notify_all()
