"""The report loop: what an executor brings is taken, what it is to do is answered.

A push is answered at once. A poll is held until there is an assignment or a cancellation for its
executor, or its time is over. What both sides believe is compared whole at the beginning of each
poll, and again whenever something that the executor holds was written.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from accord import logs
from accord.core.assignment import takes_work
from accord.core.errors import Superseded, UnknownSession
from accord.core.executor import Executor
from accord.core.ids import ExecutorName, SessionId
from accord.core.judging import is_judging
from accord.core.lifecycle import Event, JudgingReturned, Lost
from accord.core.task import Task
from accord.ports.clock import Clock
from accord.ports.judicator import Assignment, Orders, Report
from accord.ports.store import Store
from accord.services.changes import Changes
from accord.services.claims import ASSIGN_BYTES, Claims, Grant, assignment
from accord.services.polls import Poll, Polls
from accord.services.reconcile import Difference, compare
from accord.services.results import Results
from accord.services.roster import Roster
from accord.services.sessions import Key, Line, Sessions
from accord.services.weight import task_bytes

LONGEST_WAIT = 60.0
"""Seconds for which a poll is held at most, whatever it asks for."""
REPEAT_CANCEL = 3.0
"""Seconds before a poll is answered only to tell a cancellation that was told before. The answer
may have been lost; killing a box may also just take a while.
"""

_log = logs.get("judicator")


class Reporting:
    """See the module's docstring."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        changes: Changes,
        roster: Roster,
        sessions: Sessions,
        polls: Polls,
        claims: Claims,
        results: Results,
    ) -> None:
        self._store = store
        self._clock = clock
        self._changes = changes
        self._roster = roster
        self._sessions = sessions
        self._polls = polls
        self._claims = claims
        self._results = results

    def report(self, report: Report) -> Orders:
        """Answer a push or a poll (port ``Judicator.report``)."""
        now = self._store.now()
        line = self._sessions.admit(report, now)
        if report.hello is not None:
            # A poll of the session that was replaced must not claim any more.
            self._polls.end(line.name, Superseded(executor=line.name), but=line)
        stored, output_stored = self._results.take(report, line, now)
        orders = Orders(sequence=report.sequence, stored=stored, output_stored=output_stored)
        return self._hold(report, line, orders) if report.poll else orders

    # -- polls ---------------------------------------------------------------------------

    def _hold(self, report: Report, line: Line, orders: Orders) -> Orders:
        until = self._clock.monotonic() + min(max(report.wait, 0.0), LONGEST_WAIT)
        held = 0.0
        vacant = 0 if report.draining else max(0, report.vacant)
        named = tuple((held.task, held.number) for held in report.holds)
        poll = self._polls.enter(line, vacant, lambda class_: self._fits(line.name, class_))
        try:
            look = True
            while True:
                marked, tried = self._polls.take(poll)
                orders = self._look(poll, named, orders, look or marked, tried)
                if _says_something(orders, line, self._store.now()):
                    return self._told(orders, line, held)
                began = self._clock.monotonic()
                awaited = self._polls.wait(poll, until)
                held += self._clock.monotonic() - began
                if not awaited:
                    return self._told(orders, line, held)
                look = False
        finally:
            self._polls.leave(poll)

    def _look(
        self,
        poll: Poll,
        named: Sequence[Key],
        orders: Orders,
        compare_: bool,  # noqa: FBT001  # as marked
        tried: frozenset[ExecutorName],
    ) -> Orders:
        """Look at the store once: what the two sides disagree on, then new work."""
        line = poll.line
        executor = self._current(line)
        if compare_:
            difference = self._compare(line, named)
            orders = msgspec.structs.replace(
                orders,
                cancel=difference.stop,
                assign=_bounded(difference.again, line.session),
            )
        vacant = poll.vacant - len(orders.assign)
        grant = self._claims.claim(executor, vacant)
        self._pass_on(grant, line, tried)
        if line.gone and grant.won:
            self._give_back(grant.won, line)
        self._current(line)
        line.holding |= {(a.task.id, a.number) for a in grant.won}
        return msgspec.structs.replace(orders, assign=orders.assign + grant.won)

    def _compare(self, line: Line, named: Sequence[Key]) -> Difference:
        held = self._store.held_by(line.name)
        here = {task.id for task in held}
        elsewhere = {id_ for id_, _ in named if id_ not in here}
        others = self._store.get(list(elsewhere)) if elsewhere else {}
        difference = compare(line.name, line.session, named, held, others)
        if difference.events:
            self._changes.many_of(held, difference.events)
        line.holding = difference.holding
        return difference

    def _current(self, line: Line) -> Executor:
        executor = self._roster.get(line.name)
        if line.gone or executor is None or executor.info.session != line.session:
            raise UnknownSession(executor=line.name)
        return executor

    def _fits(self, name: ExecutorName, class_: str) -> bool:
        executor = self._roster.get(name)
        return executor is not None and takes_work(executor) and self._claims.fits(executor, class_)

    def _pass_on(self, grant: Grant, line: Line, tried: frozenset[ExecutorName]) -> None:
        for class_ in grant.passed_over:
            self._polls.offer(class_, tried | {line.name})

    def _give_back(self, won: Sequence[Assignment], line: Line) -> None:
        """The session was declared lost while it claimed: nobody will ever be sent these."""
        self._changes.many({a.task.id: (_never_sent(a, line),) for a in won})

    def _told(self, orders: Orders, line: Line, held: float) -> Orders:
        """Note what is told, and when it was first."""
        now = self._store.now()
        recent = {k: t for k, t in line.told.items() if now - t < REPEAT_CANCEL}
        line.told = {key: recent.get(key, now) for key in orders.cancel}
        return msgspec.structs.replace(orders, held=held)


def _says_something(orders: Orders, line: Line, now: float) -> bool:
    """Whether the answer is worth being given at once."""
    fresh = [k for k in orders.cancel if now - line.told.get(k, 0.0) >= REPEAT_CANCEL]
    return bool(orders.assign or orders.stored or fresh)


def _never_sent(assignment_: Assignment, line: Line) -> Event:
    number = assignment_.number
    if is_judging(number):
        return JudgingReturned(number=-number, executor=line.name, session=line.session)
    return Lost(executor=line.name, session=line.session, numbers=(number,), not_started=(number,))


def _bounded(again: Sequence[tuple[Task, int]], session: SessionId) -> tuple[Assignment, ...]:
    """As many as one answer can carry; the rest is missed by the next poll again."""
    found: list[Assignment] = []
    room = ASSIGN_BYTES
    for task, number in again:
        found.append(assignment(task, number, session))
        room -= task_bytes(found[-1].task)
        if room <= 0:
            break
    return tuple(found)
