"""What learning of executors adds to an ordinary task: ``python -m benchmarks.reputation [N]``.

Processor time of one thread for tasks of one replica that succeed: rations of a claim, lessons of the
claim and of the end, credit, and writing down (store in memory).
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable

import msgspec

from accord.adapters.memory.store import MemoryStore
from accord.core.executor import Executor
from accord.core.lifecycle import Claimed, Event, Reported, decide, submitted
from accord.core.policy import Policy
from accord.core.reliability import TrustPolicy, granted
from accord.core.replica import Result, StepResult, Verdict
from accord.core.task import Task
from accord.services.rations import Rations
from accord.services.reputation import Reputation
from accord.services.roster import Roster
from accord.testing.clock import FakeClock, FakeIds
from accord.testing.judicator_parts import a_new
from accord.testing.samples import executor

TASKS = 20_000
PORTION = 32
"""Tasks of one claim."""
RESULT = Result(verdict=Verdict.OK, execute=StepResult(exit_code=0, cpu_time=0.3))


class Bench:
    """Tasks at each of their steps, and one who learns from them."""

    def __init__(self, number: int) -> None:
        self.store = MemoryStore(FakeClock())
        self.now = self.store.now()
        plain = executor()
        info = msgspec.structs.replace(plain.info, slots=PORTION)
        self.executor: Executor = msgspec.structs.replace(plain, info=info)
        self.store.put_executor(self.executor, None)
        self.roster = Roster(self.store)
        self.roster.refresh()
        self.reputation = Reputation(self.store, self.roster, TrustPolicy(), lambda: None)
        ids, policy = FakeIds(), Policy()
        new = [submitted(a_new(), ids.task(self.now), self.now, policy) for _ in range(number)]
        name, session = info.name, info.session
        self.new = new
        self.claimed = self._all(new, Claimed(number=0, executor=name, session=session))
        end = Reported(number=0, executor=name, session=session, end=RESULT)
        self.ended = self._all(self.claimed, end)
        self.paid = [granted(task, self.roster.benchmarks) for task in self.ended]

    def _all(self, tasks: list[Task], event: Event) -> list[Task]:
        return [decide(task, event, self.now, Policy()).task for task in tasks]

    def claim(self) -> None:
        """The rations of each claim."""
        for at in range(0, len(self.new), PORTION):
            rations = Rations(self.store, self.reputation, self.executor, PORTION, self.now)
            for task in self.new[at : at + PORTION]:
                ration = rations.of(task)
                ration.left -= 1
                ration.sent += 1
            rations.note()

    def learn_claims(self) -> None:
        """That they were sent."""
        for before, after in zip(self.new, self.claimed, strict=True):
            self.reputation.learn(before, after, self.now)

    def pay(self) -> None:
        """The credit of each."""
        for task in self.ended:
            granted(task, self.roster.benchmarks)

    def learn_ends(self) -> None:
        """That they are over."""
        for before, after in zip(self.claimed, self.paid, strict=True):
            self.reputation.learn(before, after, self.now)


def main(number: int) -> None:
    """Measure, and print µs a task."""
    bench = Bench(number)
    steps: list[Callable[[], None]] = [
        bench.claim,
        bench.learn_claims,
        bench.pay,
        bench.learn_ends,
        bench.reputation.flush,
    ]
    total = 0.0
    for step in steps:
        gc.collect()
        gc.freeze()  # else what counts is walking over the tasks that are kept here
        began = time.thread_time()
        step()
        took = (time.thread_time() - began) / number * 1e6
        total += took
        print(f"{step.__name__:14}{took:6.2f} µs")
    print(f"{'all':14}{total:6.2f} µs a task")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else TASKS)
