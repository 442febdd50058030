"""The manager's path, embedded: ``python -m benchmarks.manager [--tasks N]``.

Batches of at most 100 tasks, whose commands differ, come in over HTTP; simulated executors in other
processes claim them over Thrift and report a result for each; every step is durable before it is
acknowledged. What counts are the tasks that the batches read back as done, from the first submission
to the last end.
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from accord.client import Client
from benchmarks.echo import control
from benchmarks.simulated import Served, executors, platform

ROUNDS = 3
TASKS = 20_000
PORTION = 100
CLIENTS = 6
PROCESSES = 2
EACH = 2
VACANT = 100


def submit(client: Client, first: int) -> str:
    """One batch."""
    tasks = [{"execute": {"command": ["/bin/echo", str(n)]}} for n in range(first, first + PORTION)]
    return client.create_batch(tasks=tasks).id


def rate(served: Served, tasks: int) -> tuple[float, float, dict[str, float]]:
    """Tasks a second through all, and through the submission alone; processor time a task in µs."""
    clients = [Client(served.url) for _ in range(CLIENTS)]
    before = served.processor()
    with ThreadPoolExecutor(CLIENTS) as pool:
        began = time.perf_counter()
        firsts = range(0, tasks, PORTION)
        ids = list(pool.map(lambda n: submit(clients[n // PORTION % CLIENTS], n), firsts))
        submitted = time.perf_counter() - began
        done = sum(clients[0].wait_batch(id_).counts["success"] for id_ in ids)
        took = time.perf_counter() - began
    assert done == tasks
    for client in clients:
        client.close()
    used = {s: 1e6 * (v - before[s]) / tasks for s, v in served.processor().items()}
    return tasks / took, tasks / submitted, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    rates, ratios = [], []
    for number in range(options.rounds):
        before = control()
        with platform() as served, executors(served.judicator, PROCESSES, EACH, VACANT):
            rate(served, 2000)
            through, submitted, used = rate(served, options.tasks)
        rates.append(through)
        ratios.append(through / before)
        spent = ", ".join(f"{service} {micros:.0f} µs" for service, micros in used.items())
        print(
            f"round {number + 1}: control {before:.0f}/s, {through:.0f} tasks/s "
            f"(ratio {ratios[-1]:.2f}), taken in at {submitted:.0f}/s; processor time a task: {spent}",
            flush=True,
        )
    print(f"median: {statistics.median(rates):.0f} tasks/s, ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
