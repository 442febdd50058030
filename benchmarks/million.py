"""A batch of a million: ``python -m benchmarks.million [--tasks N]``.

Two platforms stand side by side, one with the million waiting and one with a thousand. Measured are
the intake of the million as one stream of JSON lines with the judicator's memory before and after,
pages of its batch over HTTP, and claims over Thrift, alternating between the two, so that drift of the
machine falls on both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

from accord.client import Client
from benchmarks.echo import control
from benchmarks.simulated import Served, Simulated, platform

TASKS = 1_000_000
FEW = 1_000
ROUNDS = 5
CLAIMS = 100
"""Polls of one round on each side, each for VACANT tasks."""
VACANT = 10


def specs(count: int) -> Iterator[bytes]:
    """So many tasks, a line each."""
    for number in range(count):
        yield json.dumps({"execute": {"command": ["/bin/echo", str(number)]}}).encode() + b"\n"


def intake(served: Served, count: int) -> str:
    """Send them all as one stream; the batch's id."""
    before = served.resident("judicator")
    with Client(served.url, timeout=3600) as client:
        began = time.perf_counter()
        batch = client.stream_batch(specs(count))
        took = time.perf_counter() - began
    after = served.resident("judicator")
    print(
        f"{batch.total:,} tasks taken in within {took:.0f} s ({count / took:.0f}/s); resident memory of "
        f"the judicator {before:.0f} MiB before, {after:.0f} MiB after (+{after - before:.0f}), gateway "
        f"{served.resident('gateway'):.0f} MiB",
        flush=True,
    )
    assert batch.total == count
    return str(batch.id)


def milliseconds(call: Callable[[], object], times: int = 9) -> float:
    """What a call takes, the median."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - began))
    return statistics.median(found)


def pages(served: Served, id_: str) -> None:
    """Pages of the batch and of its list of tasks, by API and site."""
    import httpx

    somewhere = httpx.get(f"{served.url}/api/v1/batches/{id_}/tasks?limit=1&order=newest").json()
    cursor = somewhere["items"][0]["id"][:-4] + "0000"
    with httpx.Client(base_url=served.url, timeout=60) as http:
        for path in (
            f"/api/v1/batches/{id_}",
            f"/api/v1/batches/{id_}/tasks?limit=50",
            f"/api/v1/batches/{id_}/tasks?limit=50&cursor={cursor}",
            f"/api/v1/batches/{id_}/tasks?limit=50&status=pending",
            "/api/v1/batches",
            f"/batches/{id_}",
        ):
            answer = http.get(path)
            assert answer.status_code == 200, answer.text
            took = milliseconds(partial(http.get, path))
            print(f"{took:6.1f} ms  {path.replace(id_, 'ID').partition('cursor=')[0]}", flush=True)


def claim(executor: Simulated) -> float:
    """Milliseconds of one poll that claims VACANT tasks; they are reported as done after it."""
    began = time.perf_counter()
    given = executor.claim(VACANT)
    took = 1000 * (time.perf_counter() - began)
    assert len(given) == VACANT
    executor.finish(given)
    return took


def compared(few: Simulated, many: Simulated) -> tuple[float, float]:
    """The medians of a round, in which the two take turns."""
    pairs = [(claim(few), claim(many)) for _ in range(CLAIMS)]
    small, large = (statistics.median(column) for column in zip(*pairs, strict=True))
    return small, large


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--where", help="a directory on the disk to measure")
    options = parser.parse_args()
    print(f"control {control():.0f} spawns/s", flush=True)
    with platform(options.where) as many, platform(options.where) as few:
        id_ = intake(many, options.tasks)
        pages(many, id_)
        with Client(few.url) as client:
            client.stream_batch(specs(FEW))
        one, other = (Simulated(p.judicator, "measured", 256) for p in (many, few))
        ratios = []
        for number in range(-1, ROUNDS):
            with Client(few.url) as client:
                client.stream_batch(specs(CLAIMS * VACANT))
            small, large = compared(other, one)
            if number < 0:
                continue  # to warm up
            ratios.append(large / small)
            print(
                f"round {number + 1}: a claim of {VACANT} takes {small:.2f} ms with {FEW:,} waiting, "
                f"{large:.2f} ms with {options.tasks:,} (ratio {ratios[-1]:.2f})",
                flush=True,
            )
        print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
