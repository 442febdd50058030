"""Where things lie in the data directory."""

from __future__ import annotations

from pathlib import Path

import msgspec

from accord.boot.locks import FileLock
from accord.boot.pids import PidFile


class Layout(msgspec.Struct, frozen=True):
    """The folders and files of one platform."""

    data: Path

    @property
    def run(self) -> Path:
        """Pid files, locks and generated configuration."""
        return self.data / "run"

    @property
    def logs(self) -> Path:
        """One log for each service, and Boot's own."""
        return self.data / "logs"

    def make(self) -> None:
        """Make the folders; what users submit is nobody else's to read."""
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self.run, self.logs):
            folder.mkdir(exist_ok=True, mode=0o700)

    def pid_file(self, service: str) -> PidFile:
        """Which process that service runs as."""
        return PidFile(self.run / f"{service}.pid")

    def lock(self, service: str) -> FileLock:
        """The lock that keeps the service from being started."""
        return FileLock(self.run / f"{service}.lock")

    def log(self, service: str) -> Path:
        """Its log."""
        return self.logs / f"{service}.log"

    def config(self, service: str) -> Path:
        """The settings that Boot writes for it."""
        return self.run / f"{service}.json"

    @property
    def address(self) -> Path:
        """Where the running platform's address is written."""
        return self.run / "url"
