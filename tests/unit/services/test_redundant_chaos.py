"""Redundant tasks among executors that vanish, come back, hand back and lie, over a store that is
lost to its judicators at random writes: everything ends, and what is told as agreed was agreed.
"""

from __future__ import annotations

import contextlib
import json
import random  # noqa: TID251 - seeded by number
from pathlib import Path
from typing import Any

import pytest

from accord.adapters.memory.store import MemoryStore
from accord.core.errors import AccordError, Unavailable
from accord.core.replica import ErrorClass, Failure, Outcome, Result, StepResult, Verdict, content
from accord.core.status import Status
from accord.core.task import Comparator, Default, Numbers, Redundancy, Task, quorum_of
from accord.core.view import status_of
from accord.ports.judicator import Assignment
from accord.testing.judicator_parts import Machine, a_new
from tests.unit.services.judicator_world import World

TRUTH = b"1.0 " * 2100
"""More than core reads by itself, so that what differs by blanks is for a judging run."""
EXECUTORS = 6
COMPARATORS: list[Comparator] = [Default(), Numbers(rel=1e-6)]


class Dying(MemoryStore):
    """Lost to its judicator at a random write of tasks, before or after it was made."""

    chance: random.Random | None = None

    def _die(self) -> None:
        if self.chance is not None and self.chance.random() < 0.1:
            raise Unavailable("killed")

    def apply(self, changed: Any) -> list[bool]:
        self._die()
        won = super().apply(changed)
        self._die()
        return won


class Chaos:
    """The world, and what happens in it by chance."""

    def __init__(self, spool: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.world = World(spool, Dying)
        self.sessions = 0
        self.machines = [self._machine(n) for n in range(EXECUTORS)]
        self.given: dict[str, list[Assignment]] = {m.info.name: [] for m in self.machines}
        self.world.judicator.leadership.step()

    def _machine(self, number: int) -> Machine:
        self.sessions += 1
        owner = f"owner {number // 2}" if number < 4 else ""
        return self.world.machine(f"e{number}", f"s{self.sessions}", owner=owner)

    def add(self) -> Task:
        """A task of any policy."""
        quorum = self.chance.choice([1, 2, 2, 3])
        policy = Redundancy(
            min_quorum=quorum,
            target_replicas=quorum + self.chance.choice([0, 0, 1]),
            distinct=self.chance.choice(["executor", "owner", "none"]),
            comparator=self.chance.choice(COMPARATORS),
            adaptive=quorum > 1 and self.chance.random() < 0.2,
            max_error_replicas=20,
            max_total_replicas=40,
            max_success_replicas=20,
            max_lost_replicas=20,
        )
        return self.world.judicator.add([a_new(redundancy=policy)])[0]

    def turn(self) -> None:
        """One thing happens to one machine, or to a judicator, or to nobody."""
        number = self.chance.randrange(EXECUTORS)
        machine = self.machines[number]
        what = self.chance.random()
        with contextlib.suppress(AccordError):  # the store was lost, or the session is: as it comes
            if what < 0.45:
                self._poll(machine)
            elif what < 0.85:
                self._end_one(machine)
            elif what < 0.89:
                self._return(number)
            elif what < 0.93:
                self._successor()
            else:
                self.world.pass_time(self.chance.choice([0.5, 20.0]), *self._alive())

    def _poll(self, machine: Machine) -> None:
        orders = machine.poll(vacant=2)
        for id_, n in orders.cancel:
            for given in self.given[machine.info.name]:
                if (given.task.id, given.number) == (id_, n):
                    self._deliver(machine, given, killed=True)
                    break
        if self.chance.random() < 0.9:  # else the answer was lost on its way
            self.given[machine.info.name] += orders.assign
        else:
            for given in orders.assign:
                machine.held.pop((given.task.id, given.number), None)

    def _end_one(self, machine: Machine) -> None:
        here = self.given[machine.info.name]
        if not here:
            return
        given = self.chance.choice(here)
        kind = self.chance.random()
        if kind < 0.08:
            self._deliver(machine, given, started=False)
        elif kind < 0.14:
            failure = Failure(error_class=ErrorClass.RESOURCE_FAIL, message="full", started=True)
            self._deliver(machine, given, end=failure)
        else:
            self._deliver(machine, given, end=self.result(machine, given))

    def _deliver(self, machine: Machine, given: Assignment, **end: Any) -> None:
        machine.finish(given, **end)
        self.given[machine.info.name].remove(given)

    def result(self, machine: Machine, given: Assignment) -> Result:
        """An honest answer, but that e0 now and then makes one up."""
        if given.number < 0:
            return self._judged(given)
        lie = machine.info.name == "e0" and self.chance.random() < 0.3
        output = str(self.chance.random()).encode() if lie else TRUTH + b" " * machine.info.slots
        return self._with(output + b" " * self.chance.randrange(2))

    def _with(self, output: bytes) -> Result:
        return Result(verdict=Verdict.OK, execute=StepResult(exit_code=0, stdout=content(output)))

    def _judged(self, given: Assignment) -> Result:
        source = given.task.spec.source
        assert source is not None
        groups: dict[bytes, list[int]] = {}
        for word in given.task.spec.execute.args:
            found = source.files[f"results/{word}/stdout"]
            data = found.inline
            if data is None:
                data = b"".join(self.world.blobs.read(found.digest))
            groups.setdefault(data.strip(), []).append(int(word))
        return self._with(json.dumps({"groups": [*groups.values()]}).encode())

    def _return(self, number: int) -> None:
        """It restarts, knowing nothing."""
        self.given[f"e{number}"] = []
        self.machines[number] = self._machine(number)

    def _successor(self) -> None:
        """The judicator dies; another takes over, which knows what is stored."""
        judicator = self.world.new_judicator()
        for number, machine in enumerate(self.machines):
            self.machines[number] = replacement = Machine(
                judicator, machine.info.name, machine.info.session, owner=machine.info.owner
            )
            replacement.held = machine.held
        judicator.leadership.step()

    def _alive(self) -> list[Machine]:
        return [m for m in self.machines if self.chance.random() < 0.8]

    def drain(self) -> None:
        """Everybody is well again, and works until nothing is left."""
        self.world.store.chance = None
        for _ in range(700):
            for number, machine in enumerate(self.machines):
                try:
                    self._poll(machine)
                except AccordError:
                    self.machines[number] = self._machine(number)
                    self.given[machine.info.name] = []
                    continue
                for given in list(self.given[machine.info.name]):
                    self._deliver(machine, given, end=self.result(machine, given))
            self.world.pass_time(2.0, *self.machines)
            self.world.clock.advance(6.0)  # a judging run for which nobody is left waits an hour
            if not self.world.store.counts().keys() - _ENDED:
                return
        left = [t for t in self.world.store.due(1e18, 99) if not status_of(t).done]
        raise AssertionError([self.world.judicator.explain(task.id) for task in left])


_ENDED = {status for status in Status if status.done}


@pytest.mark.parametrize("seed", range(25))
def test_what_is_told_as_agreed_was_agreed_by_those_who_may(tmp_path: Path, seed: int) -> None:
    chaos = Chaos(tmp_path, seed)
    tasks = [chaos.add() for _ in range(12)]
    chaos.world.store.chance = chaos.chance
    for _ in range(250):
        chaos.turn()
    chaos.drain()
    stored = chaos.world.store.get([task.id for task in tasks])
    assert len(stored) == len(tasks)
    for task in stored.values():
        check(task)


def check(task: Task) -> None:
    """Of a success more than half of the quorum is valid, on executors that are apart."""
    if status_of(task) is not Status.SUCCESS:
        assert status_of(task) is Status.FAILED  # by chance, too much may go wrong
        return
    results = [r for r in task.replicas if r.outcome is Outcome.SUCCESS]
    valid = [r for r in results if r.validity.value == "valid"]
    assert len(results) >= quorum_of(task)
    assert len(valid) > quorum_of(task) // 2
    assert task.canonical in [r.number for r in valid]
    distinct = task.spec.redundancy.distinct
    if distinct != "none":
        assert len({r.executor for r in results}) == len(results)
    owners = [r.owner for r in results if r.owner]
    if distinct == "owner":
        assert len(set(owners)) == len(owners)
    if quorum_of(task) > 1:
        canonical = task.replica(task.canonical or 0)
        assert canonical is not None
        assert canonical.result is not None
        assert canonical.result.execute is not None
        assert canonical.result.execute.stdout.size >= len(TRUTH), "a lie was accepted"
