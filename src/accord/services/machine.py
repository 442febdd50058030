"""What this machine is: its key, its lock, and what it says of itself."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import platform
import socket
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

import psutil

from accord import __version__
from accord.config import ExecutorSettings
from accord.core import ids as names
from accord.core.errors import Corrupt, Invalid, NameTaken
from accord.core.executor import ExecutorInfo, Isolation
from accord.core.ids import ExecutorName, SessionId
from accord.ports.clock import Ids

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

_RUNS = 5
_REFERENCE = 0.014
"""Seconds of CPU time that a typical core takes for one run."""


class DirectoryLock:
    """Keeps a second process off a data directory; freed by the kernel when this process ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._fd: int | None = None

    def acquire(self) -> None:
        """Raises NameTaken where another process has it."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            message = (
                f"Another executor runs on {self._path.parent}. Stop it, or give this one a"
                " data directory and a name of its own."
            )
            raise NameTaken(message) from error
        self._fd = fd

    def release(self) -> None:
        """Let go; may be called twice."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None


def instance_key(folder: Path, ids: Ids) -> str:
    """The key that proves that two sessions are the same installation, made at the first call.

    Raises Corrupt where the file is empty.
    """
    path = folder / "instance_key"
    if not path.exists():
        beside = folder / "instance_key.new"
        beside.unlink(missing_ok=True)
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(ids.token()[1])
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
    key = path.read_text(encoding="ascii", errors="replace").strip()
    if not key:
        raise Corrupt(f"{path} is empty. Remove it; the executor makes a new one.")
    return key


def executor_name(settings: ExecutorSettings) -> ExecutorName:
    """The configured name, else the host's. Raises Invalid for a configured one that is none."""
    if settings.name:
        return ExecutorName(names.name(settings.name, "executor.name"))
    try:
        return ExecutorName(names.name(socket.gethostname()[:64]))
    except Invalid:
        return ExecutorName("executor")


def slots(settings: ExecutorSettings) -> int:
    """How many replicas run at once."""
    return settings.slots or cores()


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its cgroup's if less."""
    limits = [int(text) for path in _CGROUP_LIMITS if (text := _read(path)).isdigit()]
    return min([psutil.virtual_memory().total, *limits])


def executor_info(
    settings: ExecutorSettings,
    *,
    key: str,
    session: SessionId,
    languages: Mapping[str, str],
    isolation: Isolation,
    network: bool = False,
) -> ExecutorInfo:
    """What an executor of these settings says of itself on this machine."""
    return ExecutorInfo(
        name=executor_name(settings),
        instance_key=key,
        session=session,
        owner=settings.owner,
        address=socket.gethostname(),
        tags=settings.tags,
        languages=dict(languages),
        os=_system(),
        cpu=_cpu(),
        cores=cores(),
        memory=memory(),
        slots=slots(settings),
        isolation=isolation,
        version=__version__,
        network=network,
        benchmark=settings.benchmark or measured(),
    )


@functools.cache
def measured() -> float:
    """How fast a core is that this process may use: one of a common server gives about 1.

    The quickest of a few short runs, in CPU time, so that what else the machine does counts
    little. It takes about a tenth of a second, once.
    """
    return round(_REFERENCE / min(_run() for _ in range(_RUNS)), 3)


def _run() -> float:
    began = time.thread_time()
    data = b"accord" * 10_000
    for _ in range(4):
        data = hashlib.sha256(data).digest() + zlib.compress(data, 6) + data[:60_000]
    total = 0
    for number in range(150_000):
        total = (total * 31 + number) & 0xFFFFFFFF
    return max(time.thread_time() - began, 1e-6)


def _system() -> str:
    try:
        distribution = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        distribution = "Linux"
    return f"{distribution}, {platform.system()} {platform.release()}, {platform.machine()}"


def _cpu() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
