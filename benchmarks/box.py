"""What a warm box costs: a whole task in one, beside a bare spawn of the same program.

In pairs, one after the other, so that the machine's drift hits both: ``subprocess.run`` with two
pipes, then open, run and close of a box that the same user had before.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import threading
import time

from accord.adapters.sandbox.bwrap import BwrapSandbox
from accord.adapters.system import SystemClock
from accord.config import SandboxSettings
from accord.core.limits import MIB, Limits
from accord.ports.sandbox import Command

PAIRS = 1000
DISK = 256 * MIB
ARGV = ("/bin/echo", "1")
PARTS = ("open", "run", "close")


def bare() -> float:
    start = time.perf_counter()
    assert subprocess.run(ARGV, capture_output=True, check=True).stdout == b"1\n"
    return time.perf_counter() - start


def boxed(sandbox: BwrapSandbox, user: str) -> list[float]:
    """Seconds of each part."""
    said: list[bytes] = []
    command = Command(argv=ARGV, env={"PATH": "/usr/bin:/bin"}, limits=Limits())
    moments = [time.perf_counter()]
    box = sandbox.open(0, DISK, user=user)
    moments.append(time.perf_counter())
    ran = box.run(command, said.append, said.append, threading.Event())
    moments.append(time.perf_counter())
    box.close()
    moments.append(time.perf_counter())
    assert (ran.exit_code, said) == (0, [b"1\n"]), ran
    return [after - before for before, after in itertools.pairwise(moments)]


def row(name: str, seconds: list[float]) -> None:
    ordered = sorted(1000 * value for value in seconds)
    p90 = ordered[int(len(ordered) * 0.9)]
    print(f"{name:24} median {statistics.median(ordered):6.2f} ms, p90 {p90:6.2f} ms")


def measure(sandbox: BwrapSandbox, user: str, pairs: int) -> None:
    spawns, tasks = [], []
    for _ in range(pairs):
        spawns.append(bare())
        tasks.append(boxed(sandbox, user))
    over = [sum(task) - spawn for task, spawn in zip(tasks, spawns, strict=True)]
    row("bare spawn", spawns)
    for index, part in enumerate(PARTS):
        row(f"  {part}", [task[index] for task in tasks])
    row("task in a box", [sum(task) for task in tasks])
    row("over the bare spawn", over)


def main() -> None:
    sandbox = BwrapSandbox(SandboxSettings(), SystemClock())
    try:
        print(sandbox.isolation().level)
        boxed(sandbox, "ann")
        print("-- warm")
        measure(sandbox, "ann", PAIRS)
        print("-- fresh for each task")
        measure(sandbox, "", PAIRS // 20)
    finally:
        sandbox.close()


if __name__ == "__main__":
    main()
