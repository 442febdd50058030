"""A real platform for tests: ``accord up`` in a directory of its own, on free ports."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from accord.boot.layout import Layout

from .waiting import until

SERVICES = ("judicator", "executor", "gateway")
STOP = 60.0


def clean_env(**more: str) -> dict[str, str]:
    """Our environment without what would steer the command line."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ACCORD_")}
    return {**kept, **more}


class RunningPlatform:
    """``accord up`` as a process. Its data directory and logs outlive it."""

    def __init__(self, data: Path, options: Sequence[str] = (), **env: str) -> None:
        self.data = data
        """The data directory; ``data / "logs"`` tells what went wrong."""
        self.url = ""
        self._said = data.with_name(f"{data.name}.stderr")
        self._options = list(options)
        self._env = clean_env(**env)
        self._process: subprocess.Popen[str] | None = None
        self._seen: set[psutil.Process] = set()

    def start(self) -> None:
        """Start, or start again on the same data and ports; returns when it serves."""
        self._end_process()
        argv = [sys.executable, "-m", "accord", "up", "--json", "--data", str(self.data)]
        port = self.url.rpartition(":")[2] or "0"
        with self._said.open("a") as stderr:
            self._process = subprocess.Popen(
                [*argv, "--port", port, *self._options],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=self._env,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"accord up did not start: {self.said}"
        self.url = json.loads(line)["url"]
        self.note_processes()

    @property
    def said(self) -> str:
        """What ``accord up`` said on stderr so far."""
        return self._said.read_text()

    def pids(self) -> dict[str, int]:
        """Boot and the services that run now, by name."""
        layout = Layout(self.data)
        found = {name: layout.pid_file(name).running() for name in ("boot", *SERVICES)}
        return {name: identity.pid for name, identity in found.items() if identity}

    def kill(self, service: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to ``boot`` or a service; returns the pid that got it."""
        pid = until(lambda: self.pids().get(service), what=f"{service} runs")
        self.note_processes()
        os.kill(pid, number)
        if service == "boot" and number == signal.SIGKILL and self._process:
            self._process.wait()
        return pid

    def wait_replaced(self, service: str, former: int) -> int:
        """Wait until the service runs as another process; returns its pid."""

        def fresh() -> int | None:
            pid = self.pids().get(service)
            return pid if pid != former else None

        return until(fresh, what=f"{service} is started again") or 0

    def wait_healthy(self) -> None:
        """Wait until the gateway reaches a judicator."""
        until(lambda: self.get("/api/v1/health")[0] == 200, what="the platform is healthy")

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of a GET; status 0 where nothing answers."""
        return self._call("GET", path, None)

    def post(self, path: str, document: Mapping[str, Any]) -> tuple[int, Any]:
        """Status and JSON of a POST; status 0 where nothing answers."""
        return self._call("POST", path, json.dumps(document).encode())

    def _call(self, method: str, path: str, body: bytes | None) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"} if body else {}
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=70)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()

    def note_processes(self) -> None:
        """Remember every process that belongs to it by now, for ``left``."""
        for pid in self.pids().values():
            try:
                process = psutil.Process(pid)
                self._seen |= {process, *process.children(recursive=True)}
            except psutil.NoSuchProcess:
                continue

    def left(self) -> list[psutil.Process]:
        """The processes seen so far that still run."""
        return [process for process in self._seen if _runs(process)]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it and wait; the exit code. May be called twice, also after a kill of Boot."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self.note_processes()
            self._process.send_signal(number)
        try:
            code = self._process.wait(STOP)
        finally:
            self._clean_up()
        return code

    def _end_process(self) -> None:
        if self._process:
            if self._process.stdout:
                self._process.stdout.close()
            self._process.kill()
            self._process.wait()

    def _clean_up(self) -> None:
        self._end_process()
        try:
            self.wait_gone()
        finally:
            for process in self.left():
                process.kill()

    def wait_gone(self, seconds: float = 20.0) -> None:
        """Wait until every process that was seen is gone. Fails with those that stay."""
        try:
            until(lambda: not self.left(), seconds)
        except AssertionError as error:
            stay = [f"{p.pid} {p.status()} {p.cmdline()}" for p in self.left()]
            raise AssertionError(f"still there after {seconds:g} s: {stay}") from error


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
