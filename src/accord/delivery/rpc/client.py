"""A judicator that is elsewhere: ``ports.judicator.Judicator`` over Thrift.

What is sent again by itself where a connection fails under way, and why that is safe:

========================================== =====================================================
ping search counts get explain follow      they change nothing
batch batches results executors judicators credit
authenticate tokens read_blob blob_size
add                                        where every task has a key, which is answered with
                                           the task that is there
create_batch                               where it has a key, alike
extend_batch                               where it names the place, or only closes
cancel cancel_batch retry_batch steer      the second time finds what the first one did
put_token
report                                     results are taken once, and its sequence number is
                                           answered again
write_blob                                 its offset says what was sent before
========================================== =====================================================

``retry``, ``purge``, ``purge_batch``, ``commit_blob``, and what has neither key nor place are not: they
fail with Unavailable, which then says that it may have been done. All calls are tried elsewhere, or
again, where no connection could be made at all.
"""

# Results have the types of the port's annotations, by which their shapes were made.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from accord.core.batch import Batch, BatchPage, BatchQuery, BatchView, NewBatch
from accord.core.errors import TooLarge, Unavailable
from accord.core.executor import Executor
from accord.core.ids import BatchId, Digest, ExecutorName, TaskId
from accord.core.search import Page, Query
from accord.core.standing import Credit
from accord.core.status import Status
from accord.core.task import NewTask, Task
from accord.core.user import Token
from accord.delivery.rpc.methods import METHODS
from accord.delivery.rpc.pool import Broken, Dial, Pool, Unreached, dial
from accord.ports.judicator import News, Orders, Pong, Report, Results, TaskView

CONNECT = 2.0
"""Seconds to open a connection."""
PATIENCE = 10.0
"""Seconds for an answer, beyond those for which the call asked to be held."""
KEEP = 8
"""Idle connections that are kept for each judicator."""
_LONGEST = 60.0
"""Seconds for which a judicator holds any call at most."""
_replace = msgspec.structs.replace


class RemoteJudicator:
    """See the module's docstring. Any thread may call it; each call has a connection to itself.

    Args:
        addresses: the judicators' ``host:port`` as they are known now, asked at each call.
        keep: idle connections that are kept for each of them.
        connect: seconds to open one.
        patience: seconds for an answer beyond those that the call is held.
        dial: opens a connection, TCP by default.
    """

    def __init__(
        self,
        addresses: Callable[[], Sequence[str]],
        keep: int = KEEP,
        connect: float = CONNECT,
        patience: float = PATIENCE,
        dial: Dial = dial,
    ) -> None:
        self._addresses = addresses
        self._settings = (addresses, keep, connect, patience, dial)
        self._pool = Pool(keep, connect, patience, dial)
        self._last = ""
        """The one that answered last: it is asked first."""

    def dedicated(self) -> RemoteJudicator:
        """Another one to the same judicators, that shares no connection with this."""
        return RemoteJudicator(*self._settings)

    def close(self) -> None:
        """Close idle connections; may be called twice, and a later call opens anew."""
        self._pool.close()

    def reset(self) -> None:
        """Close every connection, also under a call, which then fails or is made anew."""
        self._pool.reset()

    # -- ports.judicator.Judicator: the contracts are there ------------------------------

    def ping(self) -> Pong:
        """See the port."""
        return self._read("ping")

    def add(self, new: Sequence[NewTask]) -> list[Task]:
        """See the port. TooLarge beyond 100 tasks, 1 MiB for one, or 8 MiB in all."""
        return self._call("add", new, again=all(task.key for task in new))

    def cancel(self, id_: TaskId) -> TaskView:
        """See the port."""
        return self._call("cancel", id_, again=True)

    def retry(self, id_: TaskId) -> Task:
        """See the port."""
        return self._call("retry", id_, again=False)

    def purge(self, id_: TaskId) -> None:
        """See the port."""
        self._call("purge", id_, again=False)

    def search(self, query: Query) -> Page:
        """See the port. A page beyond 8 MiB ends early, with its cursor there."""
        return self._read("search", query)

    def create_batch(self, new: NewBatch) -> Batch:
        """See the port. TooLarge beyond 1 MiB."""
        return self._call("create_batch", new, again=new.key is not None)

    def extend_batch(self, id_: BatchId, at: int, tasks: Sequence[NewTask], close: bool) -> Batch:  # noqa: FBT001  # the port's
        """See the port. TooLarge beyond 100 tasks, 1 MiB for one, or 8 MiB in all."""
        again = at >= 0 or not tasks
        return self._call("extend_batch", id_, at, tasks, close, again=again)

    def batch(self, id_: BatchId, wait: float = 0.0) -> BatchView:
        """See the port."""
        return self._read("batch", id_, wait, wait=wait)

    def batches(self, query: BatchQuery) -> BatchPage:
        """See the port. A page beyond 8 MiB ends early, with its cursor there."""
        return self._read("batches", query)

    def cancel_batch(self, id_: BatchId) -> BatchView:
        """See the port."""
        return self._call("cancel_batch", id_, again=True)

    def retry_batch(self, id_: BatchId) -> BatchView:
        """See the port."""
        return self._call("retry_batch", id_, again=True)

    def purge_batch(self, id_: BatchId) -> None:
        """See the port."""
        self._call("purge_batch", id_, again=False)

    def results(self, id_: BatchId, cursor: str, limit: int) -> Results:
        """See the port. A piece beyond 8 MiB ends early, with its cursor there."""
        return self._read("results", id_, cursor, limit)

    def counts(self) -> dict[Status, int]:
        """See the port."""
        return self._read("counts")

    def get(self, id_: TaskId, wait: float = 0.0) -> TaskView:
        """See the port."""
        return self._read("get", id_, wait, wait=wait)

    def certificate(self, id_: TaskId) -> bytes:
        """See the port."""
        return self._read("certificate", id_)

    def public_key(self) -> bytes:
        """See the port."""
        return self._read("public_key")

    def explain(self, id_: TaskId) -> str:
        """See the port."""
        return self._read("explain", id_)

    def follow(self, id_: TaskId, cursor: str, wait: float) -> News:
        """See the port."""
        return self._read("follow", id_, cursor, wait, wait=wait)

    def report(self, report: Report) -> Orders:
        """See the port. A push that is too large goes in parts; assignments beyond 8 MiB are left
        for the next poll.
        """
        try:
            return self._call("report", report, again=True, wait=report.wait)
        except TooLarge:
            if report.poll or len(report.complete) <= 1:
                raise
        half = len(report.complete) // 2
        first = _replace(report, complete=report.complete[:half], progress=(), output=())
        return _joined(
            self.report(first), self.report(_replace(report, complete=report.complete[half:]))
        )

    def executors(self) -> list[Executor]:
        """See the port."""
        return self._read("executors")

    def credit(self) -> Credit:
        """See the port."""
        return self._read("credit")

    def steer(self, name: ExecutorName, verb: str) -> Executor:
        """See the port."""
        return self._call("steer", name, verb, again=True)

    def judicators(self) -> list[Pong]:
        """See the port."""
        return self._read("judicators")

    def authenticate(self, hash_: str) -> Token | None:
        """See the port."""
        return self._read("authenticate", hash_)

    def put_token(self, token: Token) -> None:
        """See the port."""
        self._call("put_token", token, again=True)

    def tokens(self) -> list[Token]:
        """See the port."""
        return self._read("tokens")

    def write_blob(self, upload: str, offset: int, data: bytes) -> None:
        """See the port."""
        self._call("write_blob", upload, offset, data, again=True)

    def commit_blob(self, upload: str) -> tuple[Digest, int]:
        """See the port."""
        return self._call("commit_blob", upload, again=False)

    def read_blob(self, digest: Digest, offset: int, size: int) -> bytes:
        """See the port."""
        return self._read("read_blob", digest, offset, size)

    def blob_size(self, digest: Digest) -> int | None:
        """See the port."""
        return self._read("blob_size", digest)

    # -- how -----------------------------------------------------------------------------

    def _read(self, name: str, *arguments: Any, wait: float = 0.0) -> Any:
        return self._call(name, *arguments, again=True, wait=wait)

    def _call(self, name: str, *arguments: Any, again: bool, wait: float = 0.0) -> Any:
        """Call one judicator after the other until one answers; where there is but one, once more
        if its connection broke.
        """
        method, failures = METHODS[name], []
        held = min(max(wait, 0.0), _LONGEST)
        addresses = self._candidates()
        for address in addresses:
            try:
                result = self._pool.call(address, method, arguments, held)
            except Unreached as error:
                failures.append(str(error))
            except Broken as error:
                failures.append(f"{address}: {error}")
                if not again:
                    raise _unknown(name, failures) from error
                if len(addresses) == 1 and not error.late:
                    addresses.append(address)  # it may just have been restarted
            else:
                self._last = address
                return result
        raise Unavailable(tried="; ".join(failures) or "there is no address")

    def _candidates(self) -> list[str]:
        return sorted(self._addresses(), key=lambda address: address != self._last)


def _joined(first: Orders, second: Orders) -> Orders:
    return _replace(
        second, stored=first.stored + second.stored, cancel=first.cancel + second.cancel
    )


def _unknown(name: str, failures: list[str]) -> Unavailable:
    return Unavailable(
        f"The judicator was asked to {name}, and the connection broke before it answered: it may or "
        "may not have been done. Look before you ask again.",
        tried="; ".join(failures),
        done="unknown",
    )
