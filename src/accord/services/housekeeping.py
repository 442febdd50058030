"""What every judicator does for itself, whether or not it leads: its own memory and leftovers."""

from __future__ import annotations

import threading
from collections import deque

from accord.core.errors import UnknownSession
from accord.core.ids import TaskId
from accord.ports.store import Store
from accord.services.incoming import Uploads
from accord.services.polls import Polls
from accord.services.roster import Roster
from accord.services.sessions import Sessions

OUTPUT_KEPT = 60.0
"""Seconds for which live output stays beside a result that holds it, for readers that are at it."""


class Presence:
    """Writes down who reported, and learns what became of executors elsewhere."""

    name = "presence"
    every = 0.0

    def __init__(self, roster: Roster, sessions: Sessions, polls: Polls) -> None:
        self._roster = roster
        self._sessions = sessions
        self._polls = polls

    def run(self, now: float) -> int:  # noqa: ARG002  # part of the duty's shape
        """One pass. Never more to do at once."""
        self._sessions.flush()
        self._roster.refresh()
        for line in self._sessions.drop_strangers():
            self._polls.end(line.name, UnknownSession(executor=line.name))
        return 0


class ForgetUploads:
    """Uploads that nobody goes on with."""

    name = "forget_uploads"
    every = 60.0

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    def run(self, now: float) -> int:  # noqa: ARG002  # part of the duty's shape
        """Forget those that are old enough; how many."""
        return self._uploads.forget()


class DropOutput:
    """Live output of replicas whose result is stored: the result holds the streams.

    Replicas are noted as their results arrive here. What was noted and not dropped when this
    process ends goes with its task.
    """

    name = "drop_output"
    every = 5.0

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._noted: deque[tuple[float, TaskId, int]] = deque()

    def note(self, task: TaskId, number: int, now: float) -> None:
        """A result was stored."""
        with self._lock:
            self._noted.append((now, task, number))

    def run(self, now: float) -> int:
        """Drop what was noted long enough ago; how many replicas' output."""
        with self._lock:
            old = []
            while self._noted and self._noted[0][0] <= now - OUTPUT_KEPT:
                old.append(self._noted.popleft())
        for _, task, number in old:
            self._store.drop_output(task, number)
        return len(old)
