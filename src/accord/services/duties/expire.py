"""Executors that are not heard of any more, and what they held."""

from __future__ import annotations

import msgspec

from accord import logs
from accord.core.errors import AccordError, UnknownSession
from accord.core.executor import Executor, ExecutorState
from accord.core.ids import ExecutorName
from accord.core.judging import JudgingState
from accord.core.lease import Lease, lost
from accord.core.lifecycle import Lost
from accord.core.replica import ReplicaState
from accord.core.task import Task
from accord.ports.store import Store
from accord.services.changes import Changes
from accord.services.duties.uptime import Uptime
from accord.services.polls import Polls
from accord.services.roster import Roster
from accord.services.sessions import Sessions

_log = logs.get("duties")


class Expire:
    """Declares executors lost, then ends what they held.

    The second half looks at all lost executors each time, so that a crash between the two, or a
    claim that was under way, leaves nothing held by nobody.
    """

    name = "expire"
    every = 0.0

    def __init__(
        self,
        store: Store,
        changes: Changes,
        roster: Roster,
        sessions: Sessions,
        polls: Polls,
        lease: Lease,
        uptime: Uptime,
    ) -> None:
        self._store = store
        self._changes = changes
        self._roster = roster
        self._sessions = sessions
        self._polls = polls
        self._lease = lease
        self._uptime = uptime

    def run(self, now: float) -> int:
        """Expire executors; how many were declared lost or still held something."""
        known = self._roster.refresh()
        up_since = self._uptime.seen(now)
        gone = [executor for executor in known if self._is_lost(executor, up_since, now)]
        declared = [executor for executor in gone if self._declare(executor)]
        before = [executor for executor in known if executor.state is ExecutorState.LOST]
        return len(declared) + sum(self._empty(e.name) for e in before + declared)

    def _is_lost(self, executor: Executor, up_since: float, now: float) -> bool:
        if executor.state is ExecutorState.LOST:
            return False
        return lost(self._sessions.contact(executor), self._lease, up_since, now)

    def _declare(self, executor: Executor) -> bool:
        session = executor.info.session
        try:
            self._roster.edit(executor.name, lambda there: _lost(there, executor))
        except _StillThere:
            return False
        self._sessions.lose(executor.name, session)
        self._polls.end(executor.name, UnknownSession(executor=executor.name))
        extra = {"action": "executor_lost", "executor": executor.name, "session": session}
        _log.warning("An executor was not heard of any more and is lost", extra=extra)
        return True

    def _empty(self, name: ExecutorName) -> int:
        held = self._store.held_by(name)
        if not held:
            return 0
        there = self._roster.get(name)
        if there is not None and there.state is not ExecutorState.LOST:
            return 0  # it came back: its own poll tells what it still has
        events = {task.id: (_lost_there(task, name),) for task in held}
        return len(self._changes.many_of(held, events))


def _lost_there(task: Task, name: ExecutorName) -> Lost:
    """The runs that were seen there, and no later one: it may come back at any moment."""
    numbers = tuple(
        r.number
        for r in task.replicas
        if r.executor == name and r.state is ReplicaState.IN_PROGRESS
    )
    run = task.judging
    judging = run is not None and run.executor == name and run.state is JudgingState.IN_PROGRESS
    return Lost(executor=name, numbers=numbers, judging=judging)


class _StillThere(AccordError):
    """The executor is in another session by now."""


def _lost(there: Executor | None, seen: Executor) -> Executor:
    if there is None or there.info.session != seen.info.session:
        raise _StillThere
    return msgspec.structs.replace(there, state=ExecutorState.LOST)
