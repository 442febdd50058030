"""Executors as this judicator meets them: sessions, instance keys, fencing, leases, connections.

A *line* is what is remembered of the session of one executor that reports here. It holds nothing
that cannot be found again: a judicator that knows nothing of a session looks into the store, and
one that is not there either says hello.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import msgspec

from accord import logs
from accord.core.errors import Invalid, NameTaken, Superseded, UnknownSession
from accord.core.executor import FASTEST, ISOLATION_LEVELS, Executor, ExecutorInfo, ExecutorState
from accord.core.ids import ExecutorName, SessionId, TaskId, name
from accord.core.lease import Contact
from accord.ports.judicator import Report
from accord.ports.store import Store
from accord.services.roster import Roster

POLL = "poll"
PUSH = "push"
"""The two kinds of connection."""

Key = tuple[TaskId, int]
"""A replica: its task and its number."""

_log = logs.get("judicator")
_replace = msgspec.structs.replace


class Line:
    """The session of one executor. Its fields change under the lock of Sessions, save ``told``
    and ``holding``, which belong to the poll whose turn it is.
    """

    def __init__(self, name_: ExecutorName, session: SessionId) -> None:
        self.name = name_
        self.session = session
        self.last_report = 0.0
        self.sequences: dict[str, int] = {}
        self.gone = False
        self.told: dict[Key, float] = {}
        """When the executor was last told to stop a replica."""
        self.holding: frozenset[Key] = frozenset()
        """Replicas that are known to be in progress there: what live output is taken of."""


class _Links:
    """The connections of one session. They are counted apart from its line, since the server may
    tell of a connection before the report that it brought was admitted.
    """

    def __init__(self) -> None:
        self.open: Counter[str] = Counter()
        self.broken_at: float | None = None


class Sessions:
    """See the module's docstring."""

    def __init__(
        self,
        store: Store,
        roster: Roster,
        lease: float,
        renewed: Callable[[ExecutorName], None],
    ) -> None:
        self._renewed = renewed
        """Told of a name that another installation took."""
        self._store = store
        self._roster = roster
        self._lease = lease
        self._lock = threading.Lock()
        self._lines: dict[ExecutorName, Line] = {}
        self._links: dict[tuple[ExecutorName, SessionId], _Links] = {}
        self._seen: dict[ExecutorName, float] = {}

    # -- reports -------------------------------------------------------------------------

    def admit(self, report: Report, now: float) -> Line:
        """The line of a report that is to be answered.

        UnknownSession, NameTaken, Superseded, and Invalid for a hello that contradicts itself.
        """
        if report.hello is not None:
            line = self._greet(report, report.hello, now)
        else:
            line = self._known(report) or self._adopt(report)
        kind = POLL if report.poll else PUSH
        with self._lock:
            if line.gone:
                raise UnknownSession(executor=report.executor)
            if report.sequence < line.sequences.get(kind, report.sequence):
                raise Superseded(executor=report.executor)
            line.sequences[kind] = report.sequence
            line.last_report = max(line.last_report, now)
            self._seen[line.name] = line.last_report
        if report.draining:
            self._note_draining(line)
        return line

    def _known(self, report: Report) -> Line | None:
        with self._lock:
            line = self._lines.get(report.executor)
        return line if line and line.session == report.session and not line.gone else None

    def _adopt(self, report: Report) -> Line:
        """Take up a session that began at another judicator, or before this one started."""
        if not self._is_current(report.executor, report.session):
            self._roster.refresh()
            if not self._is_current(report.executor, report.session):
                raise UnknownSession(executor=report.executor)
        return self._line(report.executor, report.session)

    def _line(self, name_: ExecutorName, session: SessionId) -> Line:
        with self._lock:
            line = self._lines.get(name_)
            if line is None or line.session != session or line.gone:
                if line is not None:
                    line.gone = True
                line = self._lines[name_] = Line(name_, session)
            return line

    # -- hello ---------------------------------------------------------------------------

    def _greet(self, report: Report, info: ExecutorInfo, now: float) -> Line:
        _check(report, info)
        before, after = self._roster.edit(
            info.name, lambda there: self._introduced(there, info, report.draining, now)
        )
        if before is not None and before.info.instance_key != after.info.instance_key:
            self._renewed(info.name)
        if before is not after:
            extra = {"action": "hello", "executor": info.name, "session": info.session}
            _log.info("An executor introduced itself", extra=extra)
        return self._line(info.name, info.session)

    def _introduced(
        self,
        there: Executor | None,
        info: ExecutorInfo,
        draining: bool,  # noqa: FBT001  # as in the report
        now: float,
    ) -> Executor:
        state = ExecutorState.DRAINING if draining else ExecutorState.ONLINE
        if there is None:
            return Executor(info=info, state=state, registered=now, last_report=now)
        if there.info.instance_key != info.instance_key:
            if self._alive(there, now):
                raise NameTaken(
                    f"Another executor named {info.name} is alive. Give this one another name.",
                    executor=info.name,
                )
            # Another installation: what was known of the former one is not about this one.
            state = ExecutorState.QUARANTINED if there.held else state
            return Executor(
                info=info, state=state, registered=now, last_report=now, held=there.held
            )
        if there.info == info and there.state is not ExecutorState.LOST:
            return there
        if there.held:
            state = ExecutorState.QUARANTINED
        elif there.info.session == info.session and there.state is ExecutorState.DRAINING:
            state = ExecutorState.DRAINING
        return _replace(there, info=info, state=state, last_report=now)

    def _alive(self, there: Executor, now: float) -> bool:
        return there.state is not ExecutorState.LOST and now - self.last_report(there) < self._lease

    def _note_draining(self, line: Line) -> None:
        stored = self._roster.get(line.name)
        if stored is not None and stored.state is ExecutorState.ONLINE:
            self._roster.edit(line.name, lambda there: _draining(there, line))

    # -- leases and connections ----------------------------------------------------------

    def last_report(self, executor: Executor) -> float:
        """When it last reported, as far as the store and this judicator know."""
        with self._lock:
            line = self._lines.get(executor.name)
            seen = line.last_report if line and line.session == executor.info.session else 0.0
        return max(executor.last_report, seen)

    def flush(self) -> int:
        """Write down who reported since the last time; how many those were."""
        with self._lock:
            seen, self._seen = self._seen, {}
        if not seen:
            return 0
        try:
            self._store.touch(seen)
        except BaseException:
            with self._lock:
                self._seen = {**seen, **self._seen}
            raise
        return len(seen)

    def opened(self, name_: ExecutorName, session: SessionId, kind: str) -> None:
        """A connection of that session is there."""
        with self._lock:
            links = self._links.setdefault((name_, session), _Links())
            links.open[kind] += 1
            links.broken_at = None

    def closed(self, name_: ExecutorName, session: SessionId, kind: str, now: float) -> None:
        """A connection of that session is gone."""
        with self._lock:
            links = self._links.get((name_, session))
            if links is None or not links.open[kind]:
                return
            links.open[kind] -= 1
            if not links.open.total():
                links.broken_at = now

    def contact(self, executor: Executor) -> Contact:
        """What is known of the executor's present session."""
        last = self.last_report(executor)
        with self._lock:
            links = self._links.get((executor.name, executor.info.session))
            broken = links.broken_at if links else None
        heard_since = broken is not None and last > broken
        return Contact(last_report=last, broken_since=None if heard_since else broken)

    def lose(self, name_: ExecutorName, session: SessionId) -> None:
        """The session was declared lost: whoever still reports by it must say hello."""
        with self._lock:
            line = self._lines.get(name_)
            if line is not None and line.session == session:
                line.gone = True

    def drop_strangers(self) -> list[Line]:
        """Let go of the lines that the store, as of the last refresh, no longer knows; returns
        those.
        """
        with self._lock:
            lines = [line for line in self._lines.values() if not line.gone]
        strangers = [line for line in lines if not self._is_current(line.name, line.session)]
        for line in strangers:
            self.lose(line.name, line.session)
        self._drop_remains()
        return strangers

    def _drop_remains(self) -> None:
        """Forget sessions that are over, and their connections."""
        with self._lock:
            self._lines = {name_: line for name_, line in self._lines.items() if not line.gone}
            here = {(line.name, line.session) for line in self._lines.values()}
            over = [k for k, v in self._links.items() if k not in here and not v.open.total()]
            for key in over:
                del self._links[key]

    def _is_current(self, name_: ExecutorName, session: SessionId) -> bool:
        """Whether the store, as of the last refresh, knows the session and holds it for alive."""
        stored = self._roster.get(name_)
        return (
            stored is not None
            and stored.info.session == session
            and stored.state is not ExecutorState.LOST
        )


def _draining(there: Executor | None, line: Line) -> Executor:
    if there is None or there.info.session != line.session:
        raise UnknownSession(executor=line.name)
    if there.state is not ExecutorState.ONLINE:
        return there
    return _replace(there, state=ExecutorState.DRAINING)


def _check(report: Report, info: ExecutorInfo) -> None:
    name(info.name, "executor")
    if info.name != report.executor or info.session != report.session:
        raise Invalid("The hello names another executor or session than the report.", field="hello")
    if info.isolation.level not in ISOLATION_LEVELS:
        known = ", ".join(ISOLATION_LEVELS)
        raise Invalid(f"isolation.level must be one of {known}.", field="hello.isolation.level")
    if not info.session or not info.instance_key:
        raise Invalid("The hello needs a session and an instance key.", field="hello")
    if not 0 < info.benchmark <= FASTEST:
        raise Invalid(
            f"benchmark must lie above 0 and at most at {FASTEST:g}.", field="hello.benchmark"
        )
