"""The client: one method for each thing that the API does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote

from accord.client.batches import Batches
from accord.client.errors import AccordClientError
from accord.client.events import parse_events
from accord.client.model import Event, Executor, Judicator, Task
from accord.client.specs import EnvValue, Source, body
from accord.client.transport import HELD, Transport, fresh_key, listed

DEFAULT_URL = "http://127.0.0.1:7000"


class Client(Batches):
    """Speaks to a gateway. Use it as a context manager, or close it when done.

    ``url`` and ``token`` default to ``ACCORD_URL`` (else a platform on this machine) and
    ``ACCORD_TOKEN``. ``timeout`` is for one answer, in seconds.
    """

    def __init__(
        self, url: str | None = None, token: str | None = None, *, timeout: float = 30.0
    ) -> None:
        url = url or os.environ.get("ACCORD_URL") or DEFAULT_URL
        token = token or os.environ.get("ACCORD_TOKEN") or None
        self.url = url.rstrip("/")
        self._http = Transport(url, token, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; may be called twice."""
        self._http.close()

    # -- tasks -----------------------------------------------------------------------------

    def submit(
        self,
        source: Source | None = None,
        *,
        language: str | None = None,
        archive: bytes | None = None,
        data: bytes | None = None,
        stdin: str | bytes | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, EnvValue] | None = None,
        compile: str | Sequence[str] | None = None,  # noqa: A002  # the API's name
        execute: str | Sequence[str] | None = None,
        limits: Mapping[str, float] | None = None,
        name: str = "",
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
        outputs: Sequence[str] = (),
        redundancy: Mapping[str, Any] | None = None,
        key: str | None = None,
        **more: Any,
    ) -> Task:
        """Submit a task and return it, usually still pending.

        ``source`` is one file's text or several files by path; ``archive`` a zip instead.
        ``language`` fills in the commands; else ``execute`` (and ``compile``) say what to run: a
        string is a script for bash, a list a program with its arguments. ``limits`` are those of
        the execute step. A value of ``env`` may be ``{"secret": value}``: it is for the program alone, and
        reads back masked. ``redundancy`` has it run more than once and the results compared, as by
        ``{"min_quorum": 2, "comparator": "lines"}``. ``key`` makes a repeated submission the same
        task; where none is given a fresh one is made, so that a lost answer does not make two
        tasks. Raises Invalid, naming the field, Unreachable and the other errors of this package.
        """
        document = body(
            source,
            language=language,
            args=args,
            env=env,
            compile=compile,
            execute=execute,
            limits=limits,
            name=name,
            labels=labels,
            priority=priority,
            outputs=outputs,
            redundancy=redundancy,
            **more,
        )
        parts = {
            "source": ("source.zip", archive, "application/zip"),
            "data": ("data.zip", data, "application/zip"),
            "stdin": ("stdin", _as_bytes(stdin), "application/octet-stream"),
        }
        return self._submit(document, {k: v for k, v in parts.items() if v[1] is not None}, key)

    def _submit(self, document: dict[str, Any], parts: dict[str, Any], key: str | None) -> Task:
        options: dict[str, Any] = {"json": document}
        if parts:
            options = {"data": {"task": json.dumps(document)}, "files": parts}
        headers = {"Idempotency-Key": key or fresh_key()}
        return Task.from_json(
            self._http.json("POST", "/api/v1/tasks", repeat=True, headers=headers, **options)
        )

    def run(
        self,
        source: Source | None = None,
        *,
        timeout: float | None = None,
        **options: Any,
    ) -> Task:
        """Submit and wait for the end; takes what ``submit`` takes."""
        return self.wait(self.submit(source, **options).id, timeout)

    def get(self, id_: str, wait: float = 0.0) -> Task:
        """The task as it is; with ``wait``, as soon as it is done or after that many seconds."""
        path = _path(id_) + (f"?wait={wait:g}" if wait > 0 else "")
        return Task.from_json(self._http.json("GET", path, repeat=True, extra_time=wait))

    def wait(self, id_: str, timeout: float | None = None) -> Task:
        """The task once it is done. Raises TimeoutError after ``timeout`` seconds."""
        left = timeout
        while True:
            held = HELD if left is None else max(0.0, min(HELD, left))
            task = self.get(id_, held)
            if task.done:
                return task
            if left is not None:
                left -= held
                if left <= 0:
                    raise TimeoutError(f"Task {id_} is still {task.status}.")

    def cancel(self, id_: str) -> Task:
        """Ask for its end. The answer is cancelling, or cancelled. Conflict where it is done."""
        return Task.from_json(self._http.json("DELETE", _path(id_), repeat=True))

    def retry(self, id_: str) -> Task:
        """A new task of the same content."""
        return Task.from_json(self._http.json("POST", _path(id_) + "/retry"))

    def purge(self, id_: str) -> None:
        """Remove a done task for good."""
        self._http.request("POST", _path(id_) + "/purge", repeat=False)

    def explain(self, id_: str) -> str:
        """Why it is in its state, and what happens next."""
        return str(self._http.json("GET", _path(id_) + "/explain", repeat=True)["explanation"])

    def certificate(self, id_: str) -> bytes:
        """A certificate of its result, freshly signed; keep the exact bytes as a file.

        Conflict while it is open, and where it ended without a result that was agreed on.
        """
        return self._http.request("GET", _path(id_) + "/certificate", repeat=True).content

    def file(self, id_: str, name: str, start: int = 0, replica: int | None = None) -> bytes:
        """The exact bytes of source, stdin, stdout, stderr, … or ``outputs/PATH``.

        Unlike the task's ``stdout``, nothing is cut or replaced. They are the task's result;
        ``replica`` names the run whose output is wanted instead.
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        of = "" if replica is None else f"?replica={replica}"
        path = f"{_path(id_)}/files/{quote(name)}{of}"
        try:
            return self._http.request("GET", path, repeat=True, headers=headers).content
        except AccordClientError as error:
            if start and error.status == 416:  # nothing lies beyond its end
                return b""
            raise

    def events(self, id_: str, after: str = "") -> Iterator[Event]:
        """Changes of state and live output as they come, until the task is done.

        A connection that breaks is made anew and goes on where it stopped.
        """
        last = after

        def go_on() -> Iterator[Event]:
            nonlocal last
            for event in self._events_once(id_, last):
                last = event.id or last
                yield event

        yield from self._http.lasting(go_on, lambda event: event.kind == "done")

    def _events_once(self, id_: str, after: str) -> Iterator[Event]:
        headers = {"Accept": "text/event-stream"}
        if after:
            headers["Last-Event-ID"] = after
        with self._http.stream(_path(id_) + "/events", headers=headers) as response:
            yield from parse_events(response.iter_lines())

    def list(self, *, limit: int | None = None, **filters: Any) -> Iterator[Task]:
        """Tasks, newest first, fetched page by page. Filters are those of the API:

        ``status``, ``user``, ``batch``, ``label``, ``since``, ``until``, ``text``, ``order``.
        """
        for item in listed(self._http, "/api/v1/tasks", limit, filters):
            yield Task.from_json(item)

    # -- the platform ----------------------------------------------------------------------

    def executors(self) -> Sequence[Executor]:
        """All executors that are known."""
        page = self._http.json("GET", "/api/v1/executors", repeat=True)
        return [Executor.from_json(item) for item in page["items"]]

    def credit(self) -> Mapping[str, Mapping[str, float]]:
        """What was granted in all: ``users``, what they had computed for them, and ``owners``,
        what their executors earned.
        """
        answer = self._http.json("GET", "/api/v1/credit", repeat=True)
        return answer if isinstance(answer, Mapping) else {}

    def judicators(self) -> Sequence[Judicator]:
        """All judicators, with what each says of itself."""
        page = self._http.json("GET", "/api/v1/judicators", repeat=True)
        return [Judicator.from_json(item) for item in page["items"]]

    def steer(self, executor: str, verb: str) -> Executor:
        """``drain``, ``quarantine``, ``release`` or ``forget`` an executor."""
        path = f"/api/v1/executors/{quote(executor, safe='')}/{quote(verb, safe='')}"
        return Executor.from_json(self._http.json("POST", path))

    def cluster_key(self) -> str:
        """The public key that certificates are checked by, as PEM. It stays the same."""
        return self._http.request("GET", "/api/v1/key", repeat=True).text

    def health(self) -> Mapping[str, Any]:
        """What the gateway says of itself and its judicators; asked once, without repeats."""
        answer = self._http.json("GET", "/api/v1/health")
        return answer if isinstance(answer, Mapping) else {}


def _path(id_: str) -> str:
    return f"/api/v1/tasks/{quote(id_, safe='')}"


def _as_bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
