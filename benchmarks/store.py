"""How fast the embedded store is: ``python benchmarks/store.py [WAITING ...]``.

Prints, for each number of waiting tasks: the rates of claims (find, then apply), of results and
of adds, in tasks a second, all durable, by threads of one process as in a judicator; and what
one query takes, in milliseconds. The control is how often a second a small write is synced to
the same disk.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from accord.adapters.embedded import SqliteStore
from accord.adapters.system import SystemClock, SystemIds
from accord.core.ids import ExecutorName
from accord.core.search import Query
from accord.core.status import Status
from accord.core.task import NEVER, Task
from accord.testing.samples import ended, running, task

ROUNDS = 3
SAMPLE = 4_000
"""Tasks that each rate is measured on; a quarter of those that wait where these are fewer."""


class Bench:
    """A filled store and what is measured on it."""

    def __init__(self, store: SqliteStore, threads: int, batch: int, sample: int) -> None:
        self.store = store
        self.sample = sample
        self.threads = threads
        self.batch = batch
        self.ids = SystemIds()

    def new(self, count: int) -> list[Task]:
        now = time.time()
        return [
            task(id=self.ids.task(now), add_time=now, transition_time=now + 1e6, name=f"task {n}")
            for n in range(count)
        ]

    def fill(self, count: int) -> float:
        """Add tasks; how many a second, by one thread in calls of 1,000."""
        began = time.perf_counter()
        for at in range(0, count, 1000):
            self.store.add(self.new(min(1000, count - at)))
        return count / (time.perf_counter() - began)

    def rate(self, work: Callable[[], int], total: int) -> float:
        """Call ``work``, which says how many it did, from all threads until the total is done."""
        done, lock = 0, threading.Lock()

        def loop() -> None:
            nonlocal done
            while done < total:
                some = work()
                with lock:
                    done += some

        began = time.perf_counter()
        threads = [threading.Thread(target=loop) for _ in range(self.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return done / (time.perf_counter() - began)

    def claims(self) -> tuple[float, list[Task]]:
        """Claims a second, and what was claimed. Each thread skips what others look at, as the
        judicator does by handing out work under a lock.
        """
        classes = self.store.waiting_classes()
        won: list[Task] = []
        lock = threading.Lock()
        looked_at: set[str] = set()

        def claim() -> int:
            with lock:
                found = self.store.claimable(classes, self.batch, [*looked_at])  # type: ignore[list-item]  # ids
                looked_at.update(t.id for t in found)
            replica = running("e1")
            claimed = [msgspec.structs.replace(t, replicas=(replica,)) for t in found]
            taken = self.store.apply(claimed)
            with lock:
                looked_at.difference_update(t.id for t in found)
                won.extend(t for t, ok in zip(claimed, taken, strict=True) if ok)
            return sum(taken)

        return self.rate(claim, self.sample), won

    def results(self, claimed: Sequence[Task]) -> float:
        replica = ended()
        done = [
            msgspec.structs.replace(
                t, version=t.version + 1, replicas=(replica,), canonical=0, transition_time=NEVER
            )
            for t in claimed
        ]
        portions = self.portions(done)
        lock = threading.Lock()

        def report() -> int:
            with lock:
                portion = next(portions, None)
            return sum(self.store.apply(portion)) if portion else 1

        return self.rate(report, len(done))

    def adds(self) -> float:
        portions = self.portions(self.new(self.sample))
        lock = threading.Lock()

        def add() -> int:
            with lock:
                portion = next(portions, None)
            return len(self.store.add(portion)) if portion else 1

        return self.rate(add, self.sample)

    def portions(self, tasks: list[Task]) -> Iterator[list[Task]]:
        return (tasks[at : at + self.batch] for at in range(0, len(tasks), self.batch))

    def queries(self) -> dict[str, float]:
        """Milliseconds of one call, the median of some."""
        store, now = self.store, time.time()
        classes = store.waiting_classes()
        somewhere = store.search(Query(limit=1)).items[0].id
        calls: dict[str, Callable[[], object]] = {
            "waiting_classes": store.waiting_classes,
            "claimable(1)": lambda: store.claimable(classes, 1),
            "claimable(100)": lambda: store.claimable(classes, 100),
            "due": lambda: store.due(now, 100),
            "next_due": store.next_due,
            "held_by": lambda: store.held_by(ExecutorName("e2")),
            "counts": store.counts,
            "list, newest": lambda: store.search(Query()),
            "list, by status": lambda: store.search(Query(status=(Status.PENDING,))),
            "list, by name": lambda: store.search(Query(text="task 77")),
            "list, by a name that is not": lambda: store.search(Query(text="nowhere")),
            "get": lambda: store.get([somewhere]),
        }
        return {name: self.milliseconds(call) for name, call in calls.items()}

    @staticmethod
    def milliseconds(call: Callable[[], object]) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        return statistics.median(times) * 1000


def syncs(folder: Path) -> float:
    """How often a second 4 KiB are appended and synced."""
    with (folder / "control").open("wb", buffering=0) as file:
        began = time.perf_counter()
        for _ in range(200):
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
        return 200 / (time.perf_counter() - began)


def measure(waiting: int, threads: int, batch: int, where: str | None) -> dict[str, float]:
    folder = Path(tempfile.mkdtemp(prefix="accord-bench-", dir=where))
    store = SqliteStore(folder / "accord.db", SystemClock())
    try:
        bench = Bench(store, threads, batch, min(SAMPLE, waiting // (ROUNDS + 1)))
        figures = {"control, syncs/s": syncs(folder), "fill, tasks/s": bench.fill(waiting)}
        rounds = [bench.claims() for _ in range(ROUNDS)]
        figures["claims/s"] = statistics.median(rate for rate, _ in rounds)
        figures["results/s"] = statistics.median(bench.results(won) for _, won in rounds)
        figures["adds/s"] = bench.adds()
        figures |= {f"{name}, ms": value for name, value in bench.queries().items()}
        return figures
    finally:
        store.close()
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("waiting", nargs="*", type=int, default=[20_000, 100_000])
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--batch", type=int, default=20, help="tasks of one call")
    parser.add_argument("--where", help="a directory on the disk to measure")
    options = parser.parse_args()
    columns = [measure(n, options.threads, options.batch, options.where) for n in options.waiting]
    table = Table("", *[f"{n:,} waiting" for n in options.waiting])
    for name in columns[0]:
        table.add_row(name, *[f"{column[name]:,.1f}" for column in columns])
    Console().print(table)


if __name__ == "__main__":
    main()
