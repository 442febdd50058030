"""What executors report of their replicas: ends, phases, live output.

All ends of one report are stored in one call; those that lose a race are decided again. An end is
acknowledged when it is durable, or when it can never be taken; one that the store failed on is
not, and comes again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from accord import logs
from accord.core.errors import Unavailable
from accord.core.ids import ExecutorName, TaskId
from accord.core.judging import is_judging
from accord.core.judging_spec import answer_of
from accord.core.lifecycle import Event, HandedBack, Judged, JudgingReturned, Killed, Reported
from accord.core.replica import ErrorClass, Failure, Result
from accord.ports.judicator import Finished, Held, Report
from accord.ports.store import Chunk, Running, Store
from accord.services.changes import Changes
from accord.services.sessions import Key, Line
from accord.services.watch import Watchers

_log = logs.get("judicator")


class Results:
    """See the module's docstring."""

    def __init__(
        self,
        store: Store,
        changes: Changes,
        watchers: Watchers,
        ended: Callable[[TaskId, int, float], None],
        hold: float,
        cores: Callable[[ExecutorName], int],
    ) -> None:
        self._cores = cores
        """How many an executor says that it has."""
        self._hold = hold
        """Seconds for which results that stand alone are held."""
        self._ended = ended
        """Told of each replica whose live output is no longer needed, with the time."""
        self._store = store
        self._changes = changes
        self._watchers = watchers

    def take(self, report: Report, line: Line, now: float) -> tuple[tuple[Key, ...], bool]:
        """Take what the report brings; what of it is stored, and whether its output is."""
        self._progress(report.progress, now)
        output = self._output(report.output, line)
        stored = self._ends(report.executor, report.complete)
        for finished in report.complete:
            if (finished.task, finished.number) in stored and isinstance(finished.end, Result):
                self._ended(finished.task, finished.number, now)
        return stored, output

    def _ends(self, executor: ExecutorName, complete: Sequence[Finished]) -> tuple[Key, ...]:
        events: dict[TaskId, list[Event]] = {}
        for finished in complete:
            events.setdefault(finished.task, []).append(self._event(executor, finished))
        if not events:
            return ()
        changed = self._changes.many(events)
        for id_, outcome in changed.items():
            for why in outcome.refused:
                extra = {"action": "report_refused", "task": id_, "executor": executor, "why": why}
                _log.info("The end of a replica was not taken", extra=extra)
        return tuple((f.task, f.number) for f in complete if f.task in changed)

    def _event(self, executor: ExecutorName, finished: Finished) -> Event:
        number, session = finished.number, finished.session
        if is_judging(number):
            return _judging_event(executor, finished)
        if finished.end is not None:
            return Reported(
                number=number,
                executor=executor,
                session=session,
                end=finished.end,
                hold=self._hold,
                cores=self._cores(executor),
            )
        if finished.killed:
            return Killed(
                number=number, executor=executor, session=session, started=finished.started
            )
        if not finished.started:
            return HandedBack(number=number, executor=executor, session=session)
        return Reported(number=number, executor=executor, session=session, end=_WITHOUT_RESULT)

    def _progress(self, progress: Sequence[Held], now: float) -> None:
        running = [
            Running(task=h.task, number=h.number, session=h.session, phase=h.phase, since=now)
            for h in progress
            if h.phase is not None
        ]
        if running:
            self._store.put_running(running)
            self._watchers.wake(note.task for note in running)

    def _output(self, chunks: Sequence[Chunk], line: Line) -> bool:
        """Keep live output; a failure must not keep the ends of the same report from being taken,
        and the executor repeats the output.
        """
        wanted = self._wanted(chunks, line) if chunks else []
        if not wanted:
            return True
        try:
            self._store.append_output(wanted)
        except Unavailable as error:
            extra = {"action": "output_not_stored", "executor": line.name}
            _log.warning("Live output could not be stored", extra=extra, exc_info=error)
            return False
        self._watchers.wake(chunk.task for chunk in wanted)
        return True

    def _wanted(self, chunks: Sequence[Chunk], line: Line) -> list[Chunk]:
        """The chunks of replicas that this executor holds, as the last poll saw it or as the
        store says: nobody writes into another's output, or into that of a task that is gone.
        """
        strange = {c.task for c in chunks if (c.task, c.number) not in line.holding}
        found = self._store.get(list(strange)) if strange else {}
        held = {
            (task.id, r.number)
            for task in found.values()
            for r in task.replicas
            if r.executor == line.name and r.result is None
        }
        return [c for c in chunks if (c.task, c.number) in line.holding or _key(c) in held]


def _key(chunk: Chunk) -> Key:
    return chunk.task, chunk.number


def _judging_event(executor: ExecutorName, finished: Finished) -> Event:
    number, session = -finished.number, finished.session
    if finished.end is None and (finished.killed or not finished.started):
        return JudgingReturned(number=number, executor=executor, session=session)
    end = answer_of(finished.end or _WITHOUT_RESULT)
    return Judged(number=number, executor=executor, session=session, end=end)


_WITHOUT_RESULT = Failure(
    error_class=ErrorClass.INTERNAL_FAIL,
    message="The executor reported the end of a run without a result.",
    started=True,
)
