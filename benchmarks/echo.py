"""Sandboxed echo tasks, end to end: the rate of a batch, and the latency of one task.

Everything counts: HTTP, Thrift, the durable store, a box as new for each task. Each rate stands
beside a control taken just before it: bare spawns of /bin/true by two processes.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager

from accord.client import Client

ROUNDS = 3
TASKS = 300
CLIENTS = 16
SINGLES = 50
BATCH = 2000


def spawn(_: int) -> None:
    subprocess.run(["/bin/true"], check=True)


def control(count: int = 1000) -> float:
    """Bare spawns a second by two processes."""
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(spawn, range(10)))
        start = time.perf_counter()
        list(pool.map(spawn, range(count), chunksize=20))
        return count / (time.perf_counter() - start)


@contextmanager
def platform() -> Iterator[tuple[str, float]]:
    """A platform of its own: its address, and the seconds until it served."""
    with tempfile.TemporaryDirectory() as data:
        argv = [sys.executable, "-m", "accord", "up", "--json", "--port", "0", "--data", data]
        start = time.perf_counter()
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"], time.perf_counter() - start
        finally:
            process.terminate()
            process.wait()


def echo(client: Client, number: int) -> None:
    task = client.run(execute=["/bin/echo", str(number)])
    assert task.stdout == f"{number}\n", task


def rate(url: str) -> float:
    """Tasks a second, each submitted and awaited over HTTP by one of many clients."""
    clients = [Client(url) for _ in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        start = time.perf_counter()
        list(pool.map(lambda n: echo(clients[n % CLIENTS], n), range(TASKS)))
        took = time.perf_counter() - start
    for client in clients:
        client.close()
    return TASKS / took


def batch_rate(url: str) -> float:
    """Tasks a second of one batch: from its submission until the output of all was read."""
    with Client(url) as client:
        start = time.perf_counter()
        tasks = [{"execute": {"command": ["/bin/echo", str(number)]}} for number in range(BATCH)]
        batch = client.wait_batch(client.create_batch(tasks=tasks).id)
        said = [line["stdout"] for line in client.batch_results(batch.id)]
        took = time.perf_counter() - start
    assert said == [f"{number}\n" for number in range(BATCH)], batch
    return BATCH / took


def latencies(url: str) -> list[float]:
    """Milliseconds from submission to the result at the client, one task at a time."""
    found = []
    with Client(url) as client:
        for number in range(SINGLES):
            start = time.perf_counter()
            echo(client, number)
            found.append(1000 * (time.perf_counter() - start))
    return sorted(found)


def main() -> None:
    ratios, batches, p50, p99, starts = [], [], [], [], []
    for number in range(ROUNDS):
        before = control()
        with platform() as (url, ready):
            with Client(url) as client:
                echo(client, 0)
            achieved = rate(url)
            together = batch_rate(url)
            single = latencies(url)
        ratios.append(achieved / before)
        batches.append(together / before)
        p50.append(statistics.median(single))
        p99.append(single[int(len(single) * 0.99) - 1])
        starts.append(ready)
        print(
            f"round {number + 1}: control {before:.0f}/s, echo {achieved:.1f}/s "
            f"(ratio {ratios[-1]:.3f}), in a batch {together:.0f}/s (ratio {batches[-1]:.3f}), "
            f"latency p50 {p50[-1]:.0f} ms, p99 {p99[-1]:.0f} ms, up after {ready:.1f} s"
        )
    print(
        f"median: ratio {statistics.median(ratios):.3f}, "
        f"in a batch {statistics.median(batches):.3f}, p50 {statistics.median(p50):.0f} ms, "
        f"p99 {statistics.median(p99):.0f} ms, up after {statistics.median(starts):.1f} s"
    )


if __name__ == "__main__":
    main()
