"""A platform whose executors are simulated: they claim and report over Thrift and run nothing.

What is measured with them is the manager's path alone: HTTP, Thrift, the rules, the durable store.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import psutil

from accord.client import Client


class Served:
    """A platform of its own, with its real executor drained."""

    def __init__(self, url: str, judicator: str, data: Path) -> None:
        self.url = url
        self.judicator = judicator
        self._data = data

    def pid_of(self, service: str) -> int:
        """The process of a service."""
        found: int = json.loads((self._data / "run" / f"{service}.pid").read_bytes())["pid"]
        return found

    def resident(self, service: str) -> float:
        """MiB of memory of a service's largest process: uWSGI's master is small, its worker is not."""
        process = psutil.Process(self.pid_of(service))
        family = [process, *process.children(recursive=True)]
        return max(p.memory_info().rss for p in family) / (1 << 20)

    def processor(self) -> dict[str, float]:
        """Seconds of processor time of each service so far, with what they have started."""
        found = {}
        for service in ("judicator", "gateway"):
            process = psutil.Process(self.pid_of(service))
            family = [process, *process.children(recursive=True)]
            found[service] = sum(sum(p.cpu_times()[:2]) for p in family)
        return found


@contextmanager
def platform(where: str | None = None) -> Iterator[Served]:
    """Bring one up."""
    from accord.cli.platform import free_ports

    port, judicator = free_ports(2)
    with tempfile.TemporaryDirectory(dir=where) as data:
        argv = [sys.executable, "-m", "accord", "up", "--json", "--data", data]
        argv += ["--port", str(port), "--judicator-port", str(judicator)]
        process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            with Client(url) as client:
                for executor in client.executors():
                    client.steer(executor.name, "drain")
            yield Served(url, f"127.0.0.1:{judicator}", Path(data))
        finally:
            process.terminate()
            process.wait()


@contextmanager
def executors(judicator: str, processes: int, each: int, vacant: int) -> Iterator[None]:
    """Simulated executors in processes of their own, until the end of the block."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    running = [
        context.Process(target=_serve, args=(judicator, f"sim{n}", each, vacant, stop))
        for n in range(processes)
    ]
    for process in running:
        process.start()
    try:
        yield
    finally:
        stop.set()
        for process in running:
            process.join(20)
            process.kill()


def _serve(judicator: str, name: str, each: int, vacant: int, stop: Event) -> None:
    import threading

    threads = [
        threading.Thread(target=_loop, args=(judicator, f"{name}-{n}", vacant, stop))
        for n in range(each)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _loop(judicator: str, name: str, vacant: int, stop: Event) -> None:
    """Claim as much as there is room for, report it all as done, and again."""
    executor = Simulated(judicator, name, vacant)
    while not stop.is_set():
        executor.step(1.0)
    executor.close()


class Simulated:
    """One simulated executor."""

    def __init__(self, judicator: str, name: str, vacant: int) -> None:
        from accord.core.executor import ExecutorInfo, Isolation
        from accord.core.ids import ExecutorName, SessionId
        from accord.core.replica import Result, StepResult, Verdict, content
        from accord.delivery.rpc.client import RemoteJudicator

        self._remote = RemoteJudicator(lambda: [judicator])
        self._vacant = vacant
        self._sequence = 0
        self._info = ExecutorInfo(
            name=ExecutorName(name),
            instance_key=name,
            session=SessionId(f"session of {name}"),
            languages={"cpp": "g++", "python": "3", "c": "gcc"},
            cores=64,
            memory=1 << 40,
            slots=vacant,
            isolation=Isolation(level="bwrap+cgv2"),
        )
        self._end = Result(
            verdict=Verdict.OK,
            execute=StepResult(exit_code=0, wall_time=0.001, stdout=content(b"hello\n")),
        )
        self._report(poll=False, hello=self._info)

    def step(self, wait: float) -> int:
        """Claim, then report what was claimed as done; how many that were."""
        given = self.claim(self._vacant, wait)
        self.finish(given)
        return len(given)

    def claim(self, vacant: int, wait: float = 0.0):
        """What a poll is assigned."""
        return self._report(poll=True, vacant=vacant, wait=wait).assign

    def finish(self, given) -> None:
        """Report them as done."""
        from accord.ports.judicator import Finished

        ends = tuple(
            Finished(task=a.task.id, number=a.number, session=a.session, end=self._end)
            for a in given
        )
        if ends:
            stored = self._report(poll=False, complete=ends).stored
            assert len(stored) == len(ends)

    def _report(self, **fields):
        from accord.ports.judicator import Report

        self._sequence += 1
        return self._remote.report(
            Report(
                executor=self._info.name,
                session=self._info.session,
                sequence=self._sequence,
                **fields,
            )
        )

    def close(self) -> None:
        self._remote.close()
