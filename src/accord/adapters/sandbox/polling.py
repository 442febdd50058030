"""Accounting where no control group may be made: by looking at /proc every few milliseconds.

Memory is the sum of what processes hold for themselves, and where that passes the limit the
proportional share, which does not count twice what forked processes still have in common. Spikes
shorter than a sample stay unseen, which is why a box's isolation level tells of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from accord.adapters.sandbox.meter import Account, Meter, Sample, Total, Written
from accord.core.limits import Limits

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGESIZE")


class Polling:
    """See the module's docstring."""

    level = "bwrap+poll"
    counts_all_memory = False

    def __init__(self, why: str) -> None:
        self.why = why

    def account(self, name: str, init: int) -> Account:  # noqa: ARG002 - of the port
        """See meter.Accounting."""
        return _TreeAccount(init)

    def close(self) -> None:
        """There is nothing to remove."""


class _TreeAccount:
    attaches = False

    def __init__(self, init: int) -> None:
        self._init = init

    def meter(self, limits: Limits) -> Meter:
        return _TreeMeter(limits, self._init)

    def close(self) -> None:
        """There is nothing to forget."""


class _TreeMeter:
    def __init__(self, limits: Limits, init: int) -> None:
        self._limits = limits
        self._init = init
        self._reaped_before = self._reaped()
        self._written = Written(init)
        self._peak = 0
        self._most = 0

    def attach(self, pid: int) -> None:
        """Everything below the init is the command's."""

    def sample(self, files: int, shared: int) -> Sample:  # noqa: ARG002 - files are not in what is counted
        cpu = self._reaped() - self._reaped_before
        memory = count = 0
        pids = list(descendants(self._init))
        for pid in pids:
            used = _times(pid)
            if used is not None:
                cpu += used[0]
                count += used[1]
                memory += _private(pid)
        if memory > self._limits.memory:
            memory = sum(map(_proportional, pids))
        memory += shared
        self._peak = max(self._peak, memory)
        self._most = max(self._most, count)
        return Sample(cpu=cpu, memory=memory, processes=count)

    def finish(self) -> Total:
        return Total(
            cpu=None,
            peak_memory=self._peak,
            processes=self._most,
            out_of_memory=False,
            refused_forks=self._most >= self._limits.processes,
            written=self._written.bytes(),
        )

    def _reaped(self) -> float:
        fields = _stat(self._init)
        return (int(fields[13]) + int(fields[14])) / _TICKS if fields else 0.0


def descendants(pid: int) -> Iterator[int]:
    """All descendants: orphans too, since the init of their namespace inherits them."""
    waiting = [pid]
    while waiting:
        above = waiting.pop()
        try:
            for task in Path(f"/proc/{above}/task").iterdir():
                found = [int(word) for word in (task / "children").read_text().split()]
                waiting.extend(found)
                yield from found
        except OSError:  # it has ended meanwhile
            continue


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/pid/stat that follow the name: number 0 is the state."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _times(pid: int) -> tuple[float, int] | None:
    """CPU seconds of a process and of the children that it reaped; its threads."""
    fields = _stat(pid)
    if fields is None:
        return None
    return sum(int(field) for field in fields[11:15]) / _TICKS, int(fields[17])


def _private(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * _PAGE


def _proportional(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return _private(pid)
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name == "Pss_Anon":
            return int(rest.split()[0]) * 1024
    return _private(pid)
