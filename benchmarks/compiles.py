"""A batch of C++ tasks of one source: with the executor's cache, and as a control without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from accord.client import Client, spec

TASKS = 1000
CONTROL = 40
SOURCE = """#include <algorithm>
#include <iostream>
#include <map>
#include <string>
#include <vector>
int main() {
  std::vector<int> v; int n; std::cin >> n;
  for (int i = 0; i < n; ++i) v.push_back(i * 7 % 13);
  std::sort(v.begin(), v.end());
  std::map<int, std::string> m; for (int x : v) m[x] += std::to_string(x);
  std::cout << n << " " << m.size() << std::endl;
}
"""


@contextmanager
def platform(cache_bytes: int) -> Iterator[str]:
    """A platform of its own with such a cache: its address."""
    with tempfile.TemporaryDirectory() as data:
        argv = [sys.executable, "-m", "accord", "up", "--json", "--port", "0", "--data", data]
        env = {**os.environ, "ACCORD_EXECUTOR_CACHE_BYTES": str(cache_bytes)}
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=env)
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()
            process.wait()


def seconds(url: str, count: int) -> tuple[float, int]:
    """How long a batch takes from its submission to its end, and how many tasks compiled."""
    made = [spec(language="cpp", source=SOURCE, stdin=f"{n}\n") for n in range(count)]
    with Client(url) as client:
        start = time.perf_counter()
        batch = client.create_batch(tasks=made)
        client.wait_batch(batch.id, timeout=3600)
        took = time.perf_counter() - start
        tasks = list(client.list(batch=batch.id))
        assert len(tasks) == count, len(tasks)
        assert all(task.status == "success" for task in tasks)
        return took, sum(not client.get(task.id).compile_cached for task in tasks)


def main() -> None:
    with platform(0) as url:
        took, compiled = seconds(url, CONTROL)
    print(
        f"control, cache off: {CONTROL} tasks in {took:.1f} s, {CONTROL / took:.2f}/s, {compiled} compiled"
    )
    with platform(1 << 30) as url:
        again, once = seconds(url, TASKS)
    print(f"cache on: {TASKS} tasks in {again:.1f} s, {TASKS / again:.2f}/s, {once} compiled")
    print(f"ratio {TASKS / again / (CONTROL / took):.1f}")


if __name__ == "__main__":
    main()
