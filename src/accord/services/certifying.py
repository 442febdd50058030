"""Issuing certificates: what was agreed on about a task, signed with the cluster's key."""

from __future__ import annotations

from accord.core.certificate import MOST, canonical, statement_of, written
from accord.core.errors import TooLarge
from accord.core.ids import TaskId
from accord.ports.signer import Signer
from accord.ports.store import Store
from accord.services.reading import Reading


class Certifying:
    """See the module's docstring."""

    def __init__(self, store: Store, reading: Reading, signer: Signer) -> None:
        self._store = store
        self._reading = reading
        self._signer = signer

    def public_key(self) -> bytes:
        """The raw public key."""
        return self._signer.public_key

    def certificate(self, id_: TaskId) -> bytes:
        """A certificate as a file. NotFound, NotDone, NoResult, TooLarge."""
        task = self._reading.task(id_)
        key = self._signer.public_key
        statement = statement_of(task, key, self._store.now())
        data = written(statement, key, self._signer.sign(canonical(statement)))
        if len(data) > MOST:
            raise TooLarge(
                f"The certificate of the task would have {len(data)} bytes; at most {MOST} are "
                "allowed. Compare or keep fewer files.",
                bound=MOST,
            )
        return data
