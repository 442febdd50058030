"""A slot: one long-lived thread that runs one replica at a time, from its assignment to its end."""

from __future__ import annotations

from collections.abc import Callable

from accord import logs
from accord.core.replica import ErrorClass, Failure, Result
from accord.ports.judicator import Finished
from accord.services.holdings import Job
from accord.services.run import Ended, Run, Tools, unforeseen
from accord.services.spool import Spooled

_log = logs.get("executor.slots")


class Slot:
    """See the module's docstring. ``run`` is the body of its thread.

    ``exhausted`` is called when the last slot goes out of service.
    """

    def __init__(self, number: int, tools: Tools, exhausted: Callable[[], None]) -> None:
        self._number = number
        self._tools = tools
        self._exhausted = exhausted

    def run(self) -> None:
        """Serve until the holdings are closed, or the slot's box cannot be emptied."""
        while (job := self._tools.holdings.take()) is not None:
            if not self._serve(job):
                break
        else:
            return
        if self._tools.holdings.slots == 0:
            self._exhausted()

    def _serve(self, job: Job) -> bool:
        ended = self._run(job)
        finished, spooled = self._spooled(job, ended)
        self._tools.holdings.finish(job, finished, spooled, reusable=ended.reusable)
        for stream in list(job.streams.values()):
            stream.close()
        return ended.reusable

    def _run(self, job: Job) -> Ended:
        try:
            return Run(self._tools, self._number, job, job.work).end()
        except Exception as error:  # noqa: BLE001 - the slot's supervised place
            return Ended(finished=self._failed(job, error))

    def _failed(self, job: Job, error: Exception) -> Finished:
        _log.exception(
            "A slot failed; the replica is reported and the slot goes on",
            extra={"action": "slot_failed", "task": job.key[0], "slot": self._number},
        )
        return unforeseen(job, error)

    def _spooled(self, job: Job, ended: Ended) -> tuple[Finished, Spooled | None]:
        finished = ended.finished
        try:
            if not ended.files:
                self._tools.spool.drop_files(job.key)
            if finished.end is None:
                return finished, None  # the end of this session would say as much
            return finished, self._tools.spool.put(finished, ended.files)
        except OSError as error:
            _log.exception(
                "A result could not be spooled; it is kept in memory",
                extra={"action": "spool_failed", "task": job.key[0], "why": error.strerror},
            )
            return _without_files(ended, error), None
        except Exception as error:  # noqa: BLE001 - else the slot would be busy for ever
            return self._failed(job, error), None


def _without_files(ended: Ended, error: OSError) -> Finished:
    finished = ended.finished
    if not ended.files or not isinstance(finished.end, Result):
        return finished
    failure = Failure(
        error_class=ErrorClass.RESOURCE_FAIL,
        message=f"The executor could not keep the output on its disk: {error.strerror}.",
        started=True,
    )
    return Finished(
        task=finished.task, number=finished.number, session=finished.session, end=failure
    )
