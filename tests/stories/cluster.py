"""A simulated cluster that is told what to do line by line, and says what became of it.

One judicator over a store in memory, executors that do what they are told, one clock that moves by
hand. After the answer of a command come all changes that it caused: of tasks and of executors.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from accord.core.errors import AccordError
from accord.core.ids import SessionId, TaskId
from accord.core.languages import fill
from accord.core.lifecycle import submitted
from accord.core.limits import EXECUTE_DEFAULTS
from accord.core.replica import ErrorClass, Failure, Phase, Result, StepResult, Verdict, content
from accord.core.task import Comparator, Lines, Numbers, Redundancy, Requires, Stage
from accord.core.view import reason_of
from accord.ports.judicator import Assignment, Finished, Held, Orders
from accord.ports.store import Chunk
from accord.testing.judicator_parts import Machine, a_new, a_step
from accord.testing.judicator_suite import Reader
from tests.unit.services.judicator_world import World

COMPARATORS: dict[str, Comparator] = {"lines": Lines(), "numbers": Numbers(rel=1e-6)}


class Host:
    """An executor with a spool: finished results are kept until they are acknowledged."""

    def __init__(self, name: str, **about: Any) -> None:
        self.name = name
        self.about = about
        self.life = 0
        self.assigned: dict[tuple[TaskId, int], Assignment] = {}
        self.spool: dict[tuple[TaskId, int], Finished] = {}
        self.machine: Machine | None = None

    def start(self, world: World) -> None:
        """A new session, which knows what the spool has."""
        self.life += 1
        self.machine = Machine(
            world.judicator, self.name, SessionId(f"{self.name}-{self.life}"), **self.about
        )
        self.assigned.clear()
        self.machine.held = {
            key: Held(task=f.task, number=f.number, session=f.session)
            for key, f in self.spool.items()
        }


class Cluster:
    """See the module's docstring. ``tell`` takes a line and gives the lines of its answer."""

    def __init__(self, spool: Path) -> None:
        self.world = World(spool)
        self.world.judicator.leadership.step()
        self.tasks: dict[str, TaskId] = {}
        self.hosts: dict[str, Host] = {}
        self.readers: dict[str, Reader] = {}
        self.seen: dict[str, str] = {}

    def tell(self, line: str) -> list[str]:
        """Do one command."""
        verb, *words = shlex.split(line)
        options = dict(word.split("=", 1) for word in words if "=" in word)
        plain = [word for word in words if "=" not in word]
        try:
            said = list(getattr(self, f"do_{verb}")(*plain, **options))
        except AccordError as error:
            said = [f"{error.code}: {error.message}"]
        return [*said, *self.changes()]

    def changes(self) -> Iterator[str]:
        """What is not as it was after the command before."""
        now = {name: self.status(name) for name in self.tasks}
        now |= {e.name: f"{e.state}" for e in self.world.judicator.executors()}
        for name, state in now.items():
            if self.seen.get(name) != state:
                yield f"{name} is {state}"
        self.seen = now

    def status(self, name: str) -> str:
        """A task's status, with the verdict or reason that goes with it."""
        found = self.world.store.get([self.tasks[name]])
        if not found:
            return "purged"
        view = self.world.judicator.get(self.tasks[name])
        reason = reason_of(view.task)
        return f"{view.status} ({reason})" if reason else str(view.status)

    # -- users ---------------------------------------------------------------------------

    def do_submit(self, name: str, **options: str) -> Iterator[str]:
        fields: dict[str, Any] = {"name": name, "execute": a_step()}
        if "language" in options:
            fields = {"name": name, "spec": fill(options["language"], content(b""))}
        if "priority" in options:
            fields["priority"] = int(options["priority"])
        if "deadline" in options:
            fields["deadline"] = float(options["deadline"])
        if "tag" in options:
            fields["requires"] = Requires(tags=(options["tag"],))
        if "delay_bound" in options:
            bound = float(options["delay_bound"])
            limits = msgspec.structs.replace(EXECUTE_DEFAULTS, wall=bound)
            fields["execute"] = a_step(limits=limits)
            fields["redundancy"] = Redundancy(delay_bound=bound)
        self.tasks[name] = self.world.judicator.add([a_new(**fields)])[0].id
        yield from ()

    def do_redundant(self, name: str, quorum: str, **options: str) -> Iterator[str]:
        """A task that several results must agree on. It is stored as admission would store it."""
        policy: dict[str, Any] = {"min_quorum": int(quorum), "target_replicas": int(quorum)}
        policy |= {k: int(v) for k, v in options.items() if k.startswith("max_")}
        policy["adaptive"] = options.get("adaptive") == "yes"
        if "comparator" in options:
            policy["comparator"] = COMPARATORS[options["comparator"]]
        world = self.world
        new = a_new(name=name, redundancy=Redundancy(**policy))
        now = world.store.now()
        id_ = world.ids.task(now)
        world.store.add([submitted(new, id_, now, world.policy)])
        self.tasks[name] = id_
        yield from ()

    def do_results(self, name: str) -> Iterator[str]:
        """The replicas with what validation thinks of them, and whether their files are there."""
        task = self.world.judicator.get(self.tasks[name]).task
        for r in task.replicas:
            if r.result is not None:
                files = "files gone" if r.file_delete_state is Stage.DONE else "files kept"
                chosen = ", canonical" if r.number == task.canonical else ""
                yield f"{r.number}: {r.validity} on {r.executor}, {files}{chosen}"
        inputs = "gone" if task.file_delete_state is Stage.DONE else "kept"
        yield f"inputs: {inputs}"

    def do_days(self, days: str) -> Iterator[str]:
        """Time passes, and nobody does anything but the judicator."""
        self.world.clock.advance(float(days) * 86400)
        self.world.work()
        yield from ()

    def do_cancel(self, name: str) -> Iterator[str]:
        self.world.judicator.cancel(self.tasks[name])
        yield from ()

    def do_retry(self, name: str, new: str) -> Iterator[str]:
        self.tasks[new] = self.world.judicator.retry(self.tasks[name]).id
        yield from ()

    def do_purge(self, name: str) -> Iterator[str]:
        self.world.judicator.purge(self.tasks[name])
        yield from ()

    def do_explain(self, name: str) -> Iterator[str]:
        yield self.world.judicator.explain(self.tasks[name])

    def do_follow(self, name: str) -> Iterator[str]:
        reader = self.readers.setdefault(name, Reader(self.world.judicator, self.tasks[name]))
        had, told = dict(reader.streams), len(reader.statuses)
        reader.read_all()
        for (number, stream), data in reader.streams.items():
            fresh = data[len(had.get((number, stream), b"")) :]
            if fresh:
                yield f"{stream} of {number}: {fresh.decode()!r}"
        if reader.statuses[told:]:
            yield f"told: {', '.join(reader.statuses[told:])}"
        if reader.done:
            yield "the end"

    def do_replicas(self, name: str) -> Iterator[str]:
        for r in self.world.judicator.get(self.tasks[name]).task.replicas:
            what = f"{r.state}" if r.outcome is None else f"{r.state}, {r.outcome}"
            where = f" on {r.executor} by {r.session}" if r.executor else ""
            yield f"{r.number}: {what}{where}"

    # -- executors -----------------------------------------------------------------------

    def do_executor(self, name: str, **options: str) -> Iterator[str]:
        about: dict[str, Any] = {}
        if "languages" in options:
            about["languages"] = dict.fromkeys(options["languages"].split(","), "1.0")
        if "owner" in options:
            about["owner"] = options["owner"]
        if "benchmark" in options:
            about["benchmark"] = float(options["benchmark"])
        if "tags" in options:
            about["tags"] = tuple(options["tags"].split(","))
        self.hosts[name] = Host(name, **about)
        yield from self.do_restart(name)

    def do_restart(self, name: str) -> Iterator[str]:
        host = self.hosts[name]
        host.start(self.world)
        self.machine(name).hello()
        yield from ()

    def do_hello(self, name: str) -> Iterator[str]:
        self.machine(name).hello()
        yield from ()

    def do_poll(self, name: str, *flags: str, vacant: str = "0") -> Iterator[str]:
        host, machine = self.hosts[name], self.machine(name)
        before = dict(machine.held)
        orders = machine.poll(vacant=int(vacant), draining="draining" in flags)
        if "lost" in flags:
            machine.held = before
            yield "the answer is lost"
        else:
            host.assigned |= {(a.task.id, a.number): a for a in orders.assign}
        yield from self._orders(orders)

    def do_phase(self, name: str, task: str, phase: str) -> Iterator[str]:
        given = self.given(name, task)
        held = Held(
            task=given.task.id, number=given.number, session=given.session, phase=Phase(phase)
        )
        self.machine(name).report(poll=False, progress=(held,))
        yield from ()

    def do_output(self, name: str, task: str, text: str, at: str = "0") -> Iterator[str]:
        given = self.given(name, task)
        chunk = Chunk(
            task=given.task.id,
            number=given.number,
            stream="stdout",
            offset=int(at),
            data=text.encode(),
        )
        self.machine(name).report(poll=False, output=(chunk,))
        yield from ()

    def do_finish(
        self, name: str, task: str, verdict: str, stdout: str = "", cpu: str = "0"
    ) -> Iterator[str]:
        step = StepResult(
            exit_code=0 if verdict == "ok" else 1,
            wall_time=0.5,
            cpu_time=float(cpu),
            stdout=content(stdout.encode()),
        )
        yield from self._end(name, task, end=Result(verdict=Verdict(verdict), execute=step))

    def do_fail(self, name: str, task: str, message: str) -> Iterator[str]:
        fault = Failure(error_class=ErrorClass.INTERNAL_FAIL, message=message)
        yield from self._end(name, task, end=fault)

    def do_kill(self, name: str, task: str) -> Iterator[str]:
        yield from self._end(name, task, killed=True)

    def do_hand_back(self, name: str, task: str) -> Iterator[str]:
        yield from self._end(name, task, started=False)

    def _end(self, name: str, task: str, **fields: Any) -> Iterator[str]:
        given = self.given(name, task)
        key = (given.task.id, given.number)
        self.hosts[name].spool[key] = Finished(
            task=given.task.id, number=given.number, session=given.session, **fields
        )
        yield from ()

    def do_push(self, name: str, *flags: str) -> Iterator[str]:
        host = self.hosts[name]
        orders = self.machine(name).report(poll=False, complete=tuple(host.spool.values()))
        if "lost" in flags:
            yield "the answer is lost"
        else:
            for key in orders.stored:
                host.spool.pop(key, None)
                self.machine(name).held.pop(key, None)
        yield from self._orders(orders)

    def _orders(self, orders: Orders) -> Iterator[str]:
        assigned = [(a.task.id, a.number) for a in orders.assign]
        for what, keys in (
            ("stored", orders.stored),
            ("assigned", assigned),
            ("to stop", orders.cancel),
        ):
            if keys:
                yield f"{what}: {' '.join(self._called(keys))}"

    def _called(self, keys: Sequence[tuple[TaskId, int]]) -> list[str]:
        names = {id_: name for name, id_ in self.tasks.items()}
        return [f"{names[id_]}/{number}" for id_, number in keys]

    def given(self, name: str, task: str) -> Assignment:
        """The latest assignment of a task to an executor."""
        found = [a for k, a in self.hosts[name].assigned.items() if k[0] == self.tasks[task]]
        return found[-1]

    def machine(self, name: str) -> Machine:
        machine = self.hosts[name].machine
        assert machine is not None
        return machine

    def do_known(self, name: str, **facts: str) -> Iterator[str]:
        """So much is known of the executor already."""
        known: dict[str, Any] = {key: int(value) for key, value in facts.items()}
        self.world.know(name, **known)
        yield from ()

    def do_standing(self, name: str) -> Iterator[str]:
        executor = self.world.executor(name)
        for s in executor.standings:
            yield f"{s.task_class}: {s.failures} failures, {s.checked} checked, credit {s.credit:g}"
            if s.note:
                yield f"{name}: {s.note}"

    def do_credit(self) -> Iterator[str]:
        """What is written down of it."""
        self.world.work()
        found = self.world.judicator.credit()
        for what, sums in (("user", found.users), ("owner", found.owners)):
            for name, amount in sums.items():
                yield f"{what} {name}: {amount:g}"

    # -- the cluster ---------------------------------------------------------------------

    def do_drain(self, name: str) -> Iterator[str]:
        yield from self._steer(name, "drain")

    def do_quarantine(self, name: str) -> Iterator[str]:
        yield from self._steer(name, "quarantine")

    def do_release(self, name: str) -> Iterator[str]:
        yield from self._steer(name, "release")

    def _steer(self, name: str, verb: str) -> Iterator[str]:
        self.world.judicator.steer(self.machine(name).info.name, verb)
        yield from ()

    def do_wait(self, seconds: str, *alive: str) -> Iterator[str]:
        self.world.pass_time(float(seconds), *(self.machine(name) for name in alive))
        yield from ()

    def do_crash(self, what: str, away: str = "0") -> Iterator[str]:
        """The judicator's process dies and comes back, knowing only what the store knows."""
        assert what == "judicator"
        self.world.clock.advance(float(away))
        judicator = self.world.new_judicator()
        for host in self.hosts.values():
            old = self.machine(host.name)
            fresh = Machine(judicator, host.name, old.info.session, **host.about)
            fresh.held = old.held
            host.machine = fresh
        self.readers = {
            name: _resumed(reader, Reader(judicator, self.tasks[name]))
            for name, reader in self.readers.items()
        }
        yield from ()


def _resumed(old: Reader, new: Reader) -> Reader:
    new.cursor, new.streams, new.statuses = old.cursor, old.streams, old.statuses
    return new
