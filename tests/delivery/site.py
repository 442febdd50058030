"""A gateway for tests: the real application on the real judicator, over the memory adapters.

No program runs: a test plays the executor by ``take`` and ``finish``, through the same reports
that a real one sends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from accord.adapters.assimilators import Append
from accord.adapters.memory.blobs import MemoryBlobs
from accord.adapters.memory.registry import MemoryRegistry
from accord.adapters.memory.store import MemoryStore
from accord.adapters.signing import StoreSigner
from accord.adapters.system import SystemClock, SystemIds
from accord.config import GatewaySettings, SandboxSettings, Settings
from accord.core.executor import ExecutorInfo, Isolation
from accord.core.ids import ExecutorName, SessionId, TaskId, TokenId, UserName
from accord.core.replica import Failure, Phase, Result
from accord.core.user import Role, Token
from accord.delivery.http.app import make_app
from accord.ports.judicator import Assignment, Finished, Held, Report
from accord.ports.store import Chunk
from accord.services.judicator import Judicator

BASE = "http://127.0.0.1:7000"


class Executor:
    """Plays an executor that has every language."""

    def __init__(self, judicator: Judicator, name: str = "box1") -> None:
        self._judicator = judicator
        self.name = ExecutorName(name)
        self.session = SessionId(f"session-of-{name}")
        self._sequence = 0
        self._held: dict[tuple[TaskId, int], Held] = {}

    def _report(self, **fields: Any) -> Any:
        hello = self._info() if self._sequence == 0 else None
        self._sequence += 1
        return self._judicator.report(
            Report(
                executor=self.name,
                session=self.session,
                sequence=self._sequence,
                hello=hello,
                **fields,
            )
        )

    def _info(self) -> ExecutorInfo:
        return ExecutorInfo(
            name=self.name,
            instance_key="key",
            session=self.session,
            languages={"python": "Python 3.11.2", "cpp": "g++ 12.2.0"},
            cores=2,
            memory=8 << 30,
            slots=2,
            isolation=Isolation(level="bwrap+cgv2", checks={"read_shadow": "held"}),
        )

    def take(self, wait: float = 20.0) -> Assignment:
        """The next replica to run."""
        orders = self._report(poll=True, vacant=1, wait=wait, holds=tuple(self._held.values()))
        found: Assignment = orders.assign[0]
        key = (found.task.id, found.number)
        self._held[key] = Held(task=key[0], number=key[1], session=found.session)
        return found

    def cancelled(self) -> list[tuple[TaskId, int]]:
        """What is to be killed."""
        orders = self._report(poll=True, wait=20.0, holds=tuple(self._held.values()))
        return list(orders.cancel)

    def at(self, job: Assignment, phase: Phase) -> None:
        """Report progress."""
        held = Held(task=job.task.id, number=job.number, session=job.session, phase=phase)
        self._held[(job.task.id, job.number)] = held
        self._report(poll=False, progress=(held,))

    def print(self, job: Assignment, offset: int, data: bytes, stream: str = "stdout") -> None:
        """Report live output."""
        chunk = Chunk(task=job.task.id, number=job.number, stream=stream, offset=offset, data=data)
        self._report(poll=False, output=(chunk,))

    def finish(
        self, job: Assignment, end: Result | Failure | None, *, killed: bool = False
    ) -> None:
        """Report the end."""
        done = Finished(
            task=job.task.id, number=job.number, session=job.session, end=end, killed=killed
        )
        self._held.pop((job.task.id, job.number), None)
        self._report(poll=False, complete=(done,))


class Site:
    """One gateway with its judicator."""

    def __init__(self, judicator: Judicator, settings: Settings, store: MemoryStore) -> None:
        self.judicator = judicator
        self.store = store
        self.settings = settings
        self.app = make_app(judicator, settings, SystemClock(), SystemIds())
        self.client: FlaskClient = self.app.test_client()
        self.executor = Executor(judicator)

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        """A request as a client on this machine makes it."""
        token = options.pop("token", None)
        if token:
            options["headers"] = {
                **options.get("headers", {}),
                "Authorization": f"Bearer {token}",
            }
        return self.client.open(path, method=method, base_url=BASE, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        """GET."""
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        """POST."""
        return self.call("POST", path, **options)

    def submit(self, token: str | None = None, **document: Any) -> dict[str, Any]:
        """Submit a task; by default a Python program."""
        document = document or {"language": "python", "source": "print(6*7)"}
        response = self.post("/api/v1/tasks", json=document, token=token)
        assert response.status_code == 201, response.text
        found: dict[str, Any] = response.json or {}
        return found

    def token(self, user: str, role: Role) -> str:
        """A fresh token."""
        secret = f"secret-of-{user}-{role}"
        self.judicator.put_token(
            Token(
                id=TokenId(f"{user}-{role}"),
                user=UserName(user),
                role=role,
                hash=hashlib.sha256(secret.encode()).hexdigest(),
                created=0.0,
            )
        )
        return secret


@contextmanager
def a_site(folder: Path, **gateway: Any) -> Iterator[Site]:
    """A running site; ``gateway`` overrides its settings."""
    clock = SystemClock()
    settings = Settings(
        gateway=GatewaySettings(**{"largest_body": 4 << 20, **gateway}),
        sandbox=SandboxSettings(archive_bytes=1 << 20, archive_entries=100),
    )
    store = MemoryStore(clock)
    judicator = Judicator(
        store=store,
        blobs=MemoryBlobs(clock),
        registry=MemoryRegistry(clock),
        clock=clock,
        ids=SystemIds(),
        signer=StoreSigner(store),
        spool=folder,
        handlers={"append": Append(folder / "endings")},
    )
    judicator.start()
    try:
        yield Site(judicator, settings, store)
    finally:
        judicator.stop()
