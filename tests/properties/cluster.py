"""A cluster in miniature: a compare-and-set dictionary, a few executors, and a wire that fails.

It performs what the core decides, as the services do, but in one thread and with every failure at
the caller's wish: a write that is dropped after it was decided, effects and answers that are lost
after a write, messages that are repeated, come out of order or come very late, executors that
vanish, restart or are cut off. Whatever is wrong is noticed at once, in ``_look``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeGuard

import msgspec

from accord.core import lifecycle
from accord.core.assignment import occupied
from accord.core.ids import ExecutorName, SessionId, TaskId
from accord.core.invariants import check_invariants
from accord.core.judging import Judgement, Judging, JudgingState, ready
from accord.core.lifecycle import Decision, Event, Policy
from accord.core.replica import ErrorClass, Outcome, Replica, ReplicaState, Result, Validity
from accord.core.status import Status
from accord.core.task import NEVER, ErrorMask, Spec, Stage, Task, quorum_of
from accord.core.view import status_of
from tests.builders import NOW, a_failure, a_new_task, a_result, a_task_id
from tests.properties.oracle import missed, naive_status

BEFORE, AFTER = "before the write", "after the write"

Key = tuple[TaskId, int]


@dataclass
class Run:
    """A replica that an executor knows of and that has not ended."""

    session: SessionId
    started: bool = False


End = lifecycle.Reported | lifecycle.Killed | lifecycle.HandedBack
JudgingEnd = lifecycle.Judged | lifecycle.JudgingReturned
OSES = ("Linux", "Linux", "Windows")


@dataclass
class Message:
    """The end of a replica or a judging run, repeated until it is acknowledged."""

    task: TaskId
    event: End | JudgingEnd


@dataclass
class Host:
    """An executor. Its spool survives its process."""

    name: ExecutorName
    life: int = 0
    alive: bool = True
    runs: dict[Key, Run] = field(default_factory=dict)
    judgings: dict[TaskId, tuple[int, SessionId]] = field(default_factory=dict)
    os: str = "Linux"
    trusted: bool = False
    spool: list[Message] = field(default_factory=list)

    @property
    def session(self) -> SessionId:
        return SessionId(f"{self.name}.{self.life}")

    def spooled(self, key: Key) -> bool:
        ends = [m for m in self.spool if isinstance(m.event, End)]
        return any((m.task, m.event.number) == key for m in ends)

    def spooled_judging(self, id_: TaskId) -> bool:
        return any(m.task == id_ and isinstance(m.event, JudgingEnd) for m in self.spool)


class Cluster:
    def __init__(self, hosts: int = 3, crash_at: int = -1, crash: str = "") -> None:
        self.now = NOW
        self.policy = Policy()
        self.store: dict[TaskId, Task] = {}
        self.hosts = [
            Host(ExecutorName(f"e{i}"), os=OSES[i % 3], trusted=i == 0) for i in range(hosts)
        ]
        self.history: list[Message] = []
        self.writes = 0
        self.finished: dict[TaskId, int] = {}
        self._crash_at, self._crash = crash_at, crash
        self._ends: dict[TaskId, tuple[Status, float | None]] = {}
        self._results: dict[Key, Result] = {}
        self._sent: dict[Key, tuple[object, object]] = {}
        self._lost: set[Key] = set()

    # -- the judicator -------------------------------------------------------------------

    def submit(self, spec: Spec) -> TaskId:
        id_ = a_task_id(len(self.store) + 1)
        task = lifecycle.submitted(a_new_task(spec=spec), id_, self.now, self.policy)
        self.store[id_] = task
        self._look(None, task)
        return id_

    def decide(self, id_: TaskId, event: Event) -> Decision:
        if isinstance(event, lifecycle.Lost):
            held = self.store[id_].replicas
            self._lost |= {(id_, r.number) for r in held if r.executor == event.executor}
        if isinstance(event, lifecycle.CancelRequested):
            event = lifecycle.CancelRequested(
                alive=frozenset((host.name, host.session) for host in self.hosts)
            )
        return lifecycle.decide(self.store[id_], event, self.now, self.policy)

    def write(self, decision: Decision, fault: str = "") -> bool:
        """Compare and set, then pass the effects on. False where the race or the process died."""
        task = decision.task
        before = self.store[task.id]
        if before.version != task.version:
            return False
        if task is not before:
            self.writes += 1
            fault = self._crash if self.writes == self._crash_at else fault
            if fault == BEFORE:
                return False
            task = msgspec.structs.replace(task, version=task.version + 1)
            self.store[task.id] = task
            self._look(before, task)
        if any(isinstance(e, lifecycle.Finished) for e in decision.effects):
            self.finished[task.id] = self.finished.get(task.id, 0) + 1
        if fault == AFTER:
            return False
        for effect in decision.effects:
            if isinstance(effect, lifecycle.StopRun):
                self._stop(effect)
        return True

    def step(self, id_: TaskId, event: Event, fault: str = "") -> bool:
        """Decide and write. True where the caller may be told that it is stored or refused."""
        decision = self.decide(id_, event)
        if not decision.refused and not isinstance(event, lifecycle.Claimed):
            self._look_again(decision.task)
        return self.write(decision, fault)

    def _stop(self, order: lifecycle.StopRun) -> None:
        for host in self.hosts:
            if host.name == order.executor and host.session == order.session and host.alive:
                if order.judging:
                    self._kill_judging(host, order.task)
                else:
                    self._kill(host, (order.task, order.number))

    # -- what could happen next ----------------------------------------------------------

    def claimable(self) -> list[tuple[Host, TaskId]]:
        waiting = [t.id for t in self.store.values() if any(map(_ready, t.replicas))]
        return [(host, id_) for host in self.hosts if host.alive for id_ in waiting]

    def runs(self) -> list[tuple[Host, Key]]:
        return [(host, key) for host in self.hosts for key in host.runs]

    def messages(self) -> list[tuple[Host, Message]]:
        return [(host, message) for host in self.hosts if host.alive for message in host.spool]

    def gone(self) -> list[Host]:
        return [host for host in self.hosts if not host.alive]

    def busy(self) -> list[Host]:
        """Executors that hold something, or are thought to."""
        tasks = self.store.values()
        return [h for h in self.hosts if h.runs or h.judgings or any(_held(t, h) for t in tasks)]

    def judgeable(self) -> list[tuple[Host, TaskId]]:
        waiting = [t.id for t in self.store.values() if ready(t.judging, self.now)]
        return [(host, id_) for host in self.hosts if host.alive for id_ in waiting]

    def judgings(self) -> list[tuple[Host, TaskId]]:
        return [(host, id_) for host in self.hosts for id_ in host.judgings]

    def due(self) -> bool:
        return any(
            t.transition_time <= self.now or t.assimilate_state is Stage.READY
            for t in self.store.values()
        )

    def open(self) -> list[TaskId]:
        return [id_ for id_, task in self.store.items() if task.assimilate_state is not Stage.DONE]

    # -- the executors -------------------------------------------------------------------

    def claim(self, host: Host, id_: TaskId, fault: str = "", *, arrives: bool = True) -> None:
        ready = [r for r in self.store[id_].replicas if _ready(r)]
        if not host.alive or not ready:
            return
        number = ready[0].number
        decision = self.decide(id_, self.claimed(host, number))
        if not decision.refused and self.write(decision, fault) and arrives:
            host.runs[(id_, number)] = Run(host.session)

    def claimed(self, host: Host, number: int) -> lifecycle.Claimed:
        return lifecycle.Claimed(
            number=number,
            executor=host.name,
            session=host.session,
            os=host.os,
            trusted=host.trusted,
        )

    def claim_judging(
        self, host: Host, id_: TaskId, fault: str = "", *, arrives: bool = True
    ) -> None:
        event = lifecycle.JudgingClaimed(executor=host.name, session=host.session)
        decision = self.decide(id_, event)
        run = decision.task.judging
        if not decision.refused and self.write(decision, fault) and arrives and run:
            host.judgings[id_] = (run.number, host.session)

    def end_judging(self, host: Host, id_: TaskId, how: str) -> None:
        """A judging run ends; b and c are the same to it."""
        number, session = host.judgings.pop(id_)
        who: dict[str, Any] = {"number": number, "executor": host.name, "session": session}
        if how == "hand back":
            host.spool.append(Message(id_, lifecycle.JudgingReturned(**who)))
        elif how == "answer":
            end = _judgement(self.store[id_])
            host.spool.append(Message(id_, lifecycle.Judged(**who, end=end)))
        else:
            host.spool.append(Message(id_, lifecycle.Judged(**who, end=a_failure())))

    def _kill_judging(self, host: Host, id_: TaskId) -> None:
        if id_ in host.judgings:
            self.end_judging(host, id_, "hand back")

    def start(self, host: Host, key: Key) -> None:
        host.runs[key].started = True

    def end(self, host: Host, key: Key, how: str, stdout: bytes = b"a") -> None:
        """A run ends; the message about it goes to the spool."""
        run = host.runs.pop(key)
        run.started = run.started or how == "result"
        how = "internal_fail" if how == "hand back" and run.started else how
        who = lifecycle.HandedBack(number=key[1], executor=host.name, session=run.session)
        host.spool.append(Message(key[0], self.ended(who, how, stdout, started=run.started)))

    def ended(
        self, of: End, how: str, stdout: bytes, *, started: bool = False
    ) -> lifecycle.Reported | lifecycle.HandedBack:
        """Another end of the replica that ``of`` speaks of."""
        who: dict[str, Any] = {
            "number": of.number,
            "executor": of.executor,
            "session": of.session,
        }
        if how == "hand back":
            return lifecycle.HandedBack(**who)
        if how == "result":
            return lifecycle.Reported(**who, end=a_result(stdout))
        return lifecycle.Reported(**who, end=a_failure(ErrorClass(how), started=started))

    def _kill(self, host: Host, key: Key) -> None:
        run = host.runs.pop(key, None)
        if run is not None:
            event = lifecycle.Killed(
                number=key[1], executor=host.name, session=run.session, started=run.started
            )
            host.spool.append(Message(key[0], event))

    def deliver(self, host: Host, message: Message, fault: str = "") -> None:
        """One message arrives; where that is acknowledged it leaves the spool."""
        self.history.append(message)
        if self.step(message.task, message.event, fault) and message in host.spool:
            host.spool.remove(message)

    def poll(self, host: Host) -> None:
        """An executor names all that it knows of, and is told what differs from the store."""
        if not host.alive:
            return
        for id_ in list(self.store):
            for replica in self.store[id_].replicas:
                if replica.executor == host.name and replica.state is ReplicaState.IN_PROGRESS:
                    self._reconcile(host, id_, replica)
            self._reconcile_judging(host, self.store[id_])
        for key in list(host.runs):
            if not self._wanted(host, key):
                self._kill(host, key)
        for id_, (number, session) in list(host.judgings.items()):
            run = self.store[id_].judging
            known = _is_out(run, host) and (run.number, run.session) == (number, session)
            if not known or self.store[id_].error_mask:
                self._kill_judging(host, id_)

    def _reconcile_judging(self, host: Host, task: Task) -> None:
        run = task.judging
        if not _is_out(run, host) or host.spooled_judging(task.id) or task.id in host.judgings:
            return
        if run.session != host.session:
            lost = lifecycle.Lost(
                executor=host.name, session=run.session, numbers=(), detached=True, judging=True
            )
            self.step(task.id, lost)
        else:
            host.judgings[task.id] = (run.number, host.session)

    def _reconcile(self, host: Host, id_: TaskId, replica: Replica) -> None:
        key = (id_, replica.number)
        if host.spooled(key) or (key in host.runs and self._wanted(host, key)):
            return
        if replica.session != host.session:
            lost = lifecycle.Lost(
                executor=host.name,
                session=replica.session,
                numbers=(replica.number,),
                detached=True,
            )
            self.step(id_, lost)
        else:
            host.runs.setdefault(key, Run(host.session))  # it never arrived: it is sent again

    def _wanted(self, host: Host, key: Key) -> bool:
        task = self.store[key[0]]
        replica = task.replica(key[1])
        return (
            replica is not None
            and replica.state is ReplicaState.IN_PROGRESS
            and replica.session == host.runs[key].session
            and not task.error_mask
            and task.canonical is None
        )

    def restart(self, host: Host) -> None:
        host.life += 1
        host.alive = True
        host.runs.clear()
        host.judgings.clear()

    def vanish(self, host: Host) -> None:
        host.alive = False
        host.runs.clear()
        host.judgings.clear()

    def expire(self, host: Host, fault: str = "") -> None:
        """Its lease is over, whether it is gone or only cut off."""
        for id_ in list(self.store):
            if _held(self.store[id_], host):
                self.step(id_, lifecycle.Lost(executor=host.name), fault)

    # -- the leader's duties -------------------------------------------------------------

    def sweep(self) -> None:
        for id_ in list(self.store):
            if self.store[id_].transition_time <= self.now:
                self.step(id_, lifecycle.Tick())

    def assimilate(self) -> None:
        for id_ in list(self.store):
            if self.store[id_].assimilate_state is Stage.READY:
                self.step(id_, lifecycle.Assimilated())

    # -- the end of all trouble ----------------------------------------------------------

    def heal(self, rounds: int = 60) -> None:
        """From here on everybody is honest and everything arrives: each task must end."""
        for host in self.hosts:
            if not host.alive:
                self.restart(host)
        for _ in range(rounds):
            self._honest_round()
            if not self.open():
                self._look_back()
                return
        told = [msgspec.to_builtins(self.store[id_]) for id_ in self.open()]
        raise AssertionError(f"after {rounds} honest rounds these have not ended: {told}")

    def _honest_round(self) -> None:
        self.sweep()
        for host in self.hosts:
            self.poll(host)
            for id_ in list(self.store):
                self.claim(host, id_)
                self.claim_judging(host, id_)
            for id_ in list(host.judgings):
                self.end_judging(host, id_, "answer")
            for key in list(host.runs):
                self.start(host, key)
                self.end(host, key, "result")
            for message in list(host.spool):
                self.deliver(host, message)
        self.assimilate()
        for id_ in [t.id for t in self.store.values() if ready(t.judging, self.now)]:
            self.step(id_, lifecycle.Unsendable(judging=True))  # refused where it is too early
        for id_ in {id_ for _, id_ in self.claimable()}:
            if all(occupied(self.store[id_], host.name) for host in self.hosts):
                self.step(id_, lifecycle.Unsendable())
        times = [t.transition_time for t in self.store.values() if t.transition_time < NEVER]
        self.now = max(self.now + 1.0, min(times, default=0.0))

    # -- what must never happen ----------------------------------------------------------

    def _look(self, before: Task | None, task: Task) -> None:
        """Called with every write."""
        check_invariants(task)
        assert status_of(task) == naive_status(task)
        assert not missed(task), f"it is looked at too late for {missed(task)}"
        if before is not None and before.done_time is not None:
            assert status_of(task) == status_of(before), "a final status changed"
        if task.done_time is not None:
            end = (status_of(task), task.done_time)
            assert self._ends.setdefault(task.id, end) == end, "the end changed"
        for replica in task.replicas:
            self._look_at(task.id, replica)
        self._look_at_agreement(task)
        if (
            status_of(task) is Status.CANCELLED
            and before is not None
            and not status_of(before).done
        ):
            self._look_for_proof(task)

    def _look_again(self, task: Task) -> None:
        """Whoever looks once more at the same moment finds nothing left to do.

        But for T9 where several replicas are wanted: the last that there was room for may run.
        """
        again = lifecycle.decide(task, lifecycle.Tick(), self.now, self.policy).task
        no_room = again.error_mask & ErrorMask.TOO_MANY_REPLICAS and task.target_replicas > 1
        assert again is task or no_room, "something was left undone"

    def _look_at(self, id_: TaskId, replica: Replica) -> None:
        key = (id_, replica.number)
        if replica.result is not None:
            first = self._results.setdefault(key, replica.result)
            assert first is replica.result, "two results were accepted for one replica"
        if replica.sent_time is not None:
            sent = (replica.executor, replica.sent_time)
            assert self._sent.setdefault(key, sent) == sent, "a number was sent twice"
        elif replica.state is ReplicaState.UNSENT:
            assert key not in self._sent, "a number that was sent waits to be sent"

    def _look_at_agreement(self, task: Task) -> None:
        """A result has the majority of its quorum, from as many executors, of one platform."""
        redundancy = task.spec.redundancy
        there = [r for r in task.replicas if r.outcome is Outcome.SUCCESS]
        if redundancy.distinct == "executor":
            assert len({r.executor for r in there}) == len(there)
        if redundancy.homogeneous == "os":
            on = [r for r in task.replicas if r in there or r.state is ReplicaState.IN_PROGRESS]
            oses = {h.os for h in self.hosts for r in on if r.executor == h.name}
            assert len(oses) <= 1, oses
        if task.canonical is not None:
            valid = [r for r in there if r.validity is Validity.VALID]
            assert len(valid) > quorum_of(task) // 2
            alone = quorum_of(task) < redundancy.min_quorum
            assert not alone or valid[0].executor == self.hosts[0].name, "it was not trusted"

    def _look_for_proof(self, task: Task) -> None:
        """Nothing of a cancelled task runs, save on an executor that was held for lost."""
        for host, (id_, number) in self.runs():
            replica = task.replica(number)
            if id_ != task.id or replica is None or replica.killed_at is not None:
                continue
            known_lost = (id_, number) in self._lost
            assert known_lost, f"cancelled while {number} runs on {host.name}"
        assert task.judging is None or task.judging.state != "in_progress"

    def _look_back(self) -> None:
        """Once all have ended."""
        for id_, task in self.store.items():
            assert status_of(task).done
            assert self.finished.get(id_) == 1, "the end was told not once"
            sent = [r for r in task.replicas if r.sent_time and r.outcome is not Outcome.DIDNT_NEED]
            assert len(sent) <= task.spec.redundancy.max_total_replicas
            if task.canonical is not None:
                assert (id_, task.canonical) in self._results


def _ready(replica: Replica) -> bool:
    return replica.state is ReplicaState.UNSENT and not replica.not_before


def _is_out(run: Judging | None, host: Host) -> TypeGuard[Judging]:
    """Whether the store says that the host has that judging run."""
    return run is not None and run.state is JudgingState.IN_PROGRESS and run.executor == host.name


def _judgement(task: Task) -> Judgement:
    assert task.judging is not None
    groups: dict[bool, list[int]] = {}
    for number in task.judging.candidates:
        replica = task.replica(number)
        assert replica is not None
        assert replica.result is not None
        assert replica.result.execute is not None
        groups.setdefault(replica.result.execute.stdout.inline == b"a", []).append(number)
    return Judgement(groups=tuple(tuple(g) for g in groups.values()))


def _held(task: Task, host: Host) -> bool:
    return _is_out(task.judging, host) or any(
        r.executor == host.name and r.state is ReplicaState.IN_PROGRESS for r in task.replicas
    )
