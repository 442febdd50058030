"""How many wrong results are accepted, and what it costs: ``python -m benchmarks.integrity``.

A hundred thousand tasks over a thousand simulated executors, some of which err, lie together or
vanish, under several policies of redundancy. Every task lives by ``accord.core.lifecycle``, trust
by ``accord.core.reliability`` and ``accord.core.audit``; simulated are only the executors, the
choice among those that are idle, and time. The docs (explanation/trust.md) say what is assumed.

Figures are of the tasks of the last half, and over all seeds; the whole run stands beside them.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from accord.core import audit, holding, lifecycle, reliability
from accord.core.assignment import occupied
from accord.core.audit import Audit, AuditPolicy
from accord.core.ids import ExecutorName, SessionId, TaskId, UserName
from accord.core.limits import EXECUTE_DEFAULTS
from accord.core.policy import Policy
from accord.core.reliability import Kind, Lesson, Reliability, TrustPolicy
from accord.core.replica import ReplicaState, Result, StepResult, Verdict, content
from accord.core.task import NewTask, Redundancy, Spec, Step, Task

EXECUTORS = 1000
RATE = 4.0
"""Tasks submitted a second, at random: a quarter of what the executors could do."""
RUN = 60.0
"""Seconds of a run, the mean; log-normal with sigma 0.5."""
DELAY_BOUND = 600.0
VANISH = 0.05
"""How often one that vanishes now and then does so, by runs."""
WARY_AFTER = 120.0
"""Seconds after which wary colluders no longer lie on a task that one of them was given."""
SESSION = SessionId("s")

alter = msgspec.structs.replace


def generator(seed: str) -> random.Random:
    """Chance that is the same for the same seed, in every process."""
    return random.Random(seed)  # noqa: S311  # a simulation keeps no secrets


# -- the executors ------------------------------------------------------------------------


@dataclass
class Worker:
    """A simulated executor: it answers rightly, and is always there."""

    name: ExecutorName
    owner: str
    chance: random.Random
    runs: int = 0
    pinned: deque[tuple[TaskId, int]] = field(default_factory=deque)
    """Replicas that only it is to be given."""

    def answer(self, question: int, now: float) -> str | None:
        """What it answers to that question; None if it vanishes with it."""
        self.runs += 1
        return self.say(question, now)

    def say(self, question: int, _now: float) -> str | None:
        return f"right {question}"

    def wrong(self) -> str:
        """A wrong answer that nobody else gives."""
        return f"wrong {self.chance.random()}"


class AlwaysWrong(Worker):
    def say(self, _question: int, _now: float) -> str | None:
        return self.wrong()


class SometimesWrong(Worker):
    def say(self, question: int, now: float) -> str | None:
        return self.wrong() if self.chance.random() < 0.05 else super().say(question, now)


class Vanishing(Worker):
    def say(self, question: int, now: float) -> str | None:
        return None if self.chance.random() < VANISH else super().say(question, now)


@dataclass
class Plot:
    """What colluders have agreed on, and know of each other."""

    share: float
    """Of tasks, on which they lie."""
    honest_first: int
    """Runs that each does honestly."""
    alone: bool
    """Whether each chooses by itself when to give the common lie."""
    wary: bool
    """Whether they tell the truth where one of them was given the task some time ago."""
    first_given: dict[int, float] = field(default_factory=dict)

    def lies(self, worker: Worker, question: int, now: float) -> bool:
        given = self.first_given.setdefault(question, now)
        if worker.runs <= self.honest_first or (self.wary and now > given + WARY_AFTER):
            return False
        chance = worker.chance if self.alone else generator(f"chosen {question}")
        return chance.random() < self.share


@dataclass
class Colluder(Worker):
    """Gives the lie on which all have agreed, where the plot says so."""

    plot: Plot | None = None

    def say(self, question: int, now: float) -> str | None:
        assert self.plot is not None
        if self.plot.lies(self, question, now):
            return f"the lie of {question}"
        return super().say(question, now)


@dataclass(frozen=True)
class World:
    """Who is there besides the honest."""

    name: str = ""
    colluders: int = 20
    share: float = 0.1
    honest_first: int = 50
    alone: bool = False
    wary: bool = False
    common_owner: bool = False
    """Whether the colluders are of one owner, and known to be."""

    def workers(self, seed: int) -> list[Worker]:
        kinds: list[type[Worker]] = [AlwaysWrong] * 10 + [SometimesWrong] * 10
        kinds += [Colluder] * self.colluders + [Vanishing] * 50
        kinds += [Worker] * (EXECUTORS - len(kinds))
        plot = Plot(self.share, self.honest_first, self.alone, self.wary)
        return [self.worker(kind, number, seed, plot) for number, kind in enumerate(kinds)]

    def worker(self, kind: type[Worker], number: int, seed: int, plot: Plot) -> Worker:
        colludes = kind is Colluder
        owner = "them" if self.common_owner and colludes else f"o{number}"
        chance = generator(f"worker {number} of {seed}")
        worker = kind(ExecutorName(f"e{number}"), owner, chance)
        if isinstance(worker, Colluder):
            worker.plot = plot
        return worker


# -- the policies -------------------------------------------------------------------------


@dataclass(frozen=True)
class Scheme:
    """A policy of redundancy: a fixed quorum."""

    name: str
    quorum: int = 2
    distinct: str = "executor"
    trust: TrustPolicy = TrustPolicy(rest=0.0, hold=0.0)
    audits: AuditPolicy | None = None

    adaptive = False

    def needed(self, _record: Reliability, _draw: float) -> int:
        """The quorum of a task of which that executor is to be sent the first replica (S3)."""
        return self.quorum

    def stands(self, _record: Reliability) -> bool:
        """Whether a result of that executor may still stand alone when it arrives."""
        return True

    def bars(self, _record: Reliability) -> bool:
        """Whether that executor is given no work any more."""
        return False


class Adaptive(Scheme):
    """BOINC's adaptive replication."""

    adaptive = True

    def needed(self, record: Reliability, draw: float) -> int:
        return 1 if reliability.trusted(record, self.trust, draw) else 2


class Credible(Scheme):
    """Sarmenta's: as many results as make the group credible; who is caught is barred."""

    adaptive = True
    faulty = 0.04
    wanted = 0.9999

    def needed(self, record: Reliability, _draw: float) -> int:
        one = reliability.credibility(record.checked, self.faulty)
        for quorum in (1, 2):
            if reliability.group_credibility([[one] * quorum])[0] >= self.wanted:
                return quorum
        return self.quorum

    def bars(self, record: Reliability) -> bool:
        return record.caught > 0


class Audited(Scheme):
    """Probation, a floor of checks, audits, and (where results are held) correction."""

    adaptive = True

    def needed(self, record: Reliability, draw: float) -> int:
        return 1 if reliability.spared(record, self.trust, draw) else 2

    def stands(self, record: Reliability) -> bool:
        return reliability.proven(record, self.trust)


# -- one run ------------------------------------------------------------------------------


@dataclass
class Job:
    """What the simulation knows of a task beside the document."""

    task: Task
    question: int
    submitted: float
    audit: TaskId | None = None
    """The task that it is asked again for, where it is a question of an audit."""
    offered: set[int] = field(default_factory=set)
    held_until: float = 0.0


@dataclass
class Portion:
    """Counts of a range of tasks."""

    tasks: int = 0
    wrong: int = 0
    failed: int = 0
    replicas: int = 0
    delays: list[float] = field(default_factory=list)


class Simulation:
    """One seed, one policy. Events lie in a heap; what is not in the core happens here."""

    def __init__(self, scheme: Scheme, world: World, seed: int, tasks: int) -> None:
        self.scheme, self.seed, self.tasks = scheme, seed, tasks
        self.chance = generator(f"run {seed}")
        self.policy = Policy()
        self.now = 0.0
        self.heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.count = 0
        self.workers = {w.name: w for w in world.workers(seed)}
        self.records = {name: Reliability(executor=name, task_class="any") for name in self.workers}
        self.idle = list(self.workers)
        self.where = {name: at for at, name in enumerate(self.idle)}
        self.queue: deque[tuple[TaskId, int]] = deque()
        self.jobs: dict[TaskId, Job] = {}
        self.held: dict[ExecutorName, set[TaskId]] = {}
        self.audits: dict[TaskId, Audit] = {}
        self.original: dict[TaskId, tuple[ExecutorName, int]] = {}
        self.new = new_task(redundancy_of(scheme))
        self.question = new_task(Redundancy(delay_bound=DELAY_BOUND))
        self.half = {False: Portion(), True: Portion()}
        self.submitted = 0
        self.spread_audits = self.opened_audits = 0

    def run(self) -> Outcome:
        self.at(0.0, self.arrive)
        while self.heap:
            self.now, _, action, arguments = heapq.heappop(self.heap)
            action(*arguments)
        return Outcome(
            self.scheme.name,
            self.seed,
            self.half[False],
            self.half[True],
            self.opened_audits,
            self.spread_audits,
        )

    def at(self, moment: float, action: Callable[..., None], *arguments: Any) -> None:
        self.count += 1
        heapq.heappush(self.heap, (moment, self.count, action, arguments))

    # tasks

    def arrive(self) -> None:
        self.add(self.submitted)
        self.submitted += 1
        if self.submitted < self.tasks:
            self.at(self.now + self.chance.expovariate(RATE), self.arrive)

    def add(self, question: int, asked_for: TaskId | None = None) -> Job:
        id_ = TaskId(f"t{question}" if asked_for is None else f"a{self.count}-{len(self.jobs)}")
        new = self.new if asked_for is None else self.question
        task = lifecycle.submitted(new, id_, self.now, self.policy)
        job = self.jobs[id_] = Job(task, question, self.now, asked_for)
        if asked_for is None:
            self.portion(job).tasks += 1
            self.offer_all(job)
        return job

    def portion(self, job: Job) -> Portion:
        """Replicas of audits count where they are sent, all else by the task's number."""
        number = self.submitted if job.audit is not None else job.question
        return self.half[number >= self.tasks // 2]

    def change(self, job: Job, event: lifecycle.Event) -> bool:
        """One event, by the core; then what follows from it."""
        before = job.task
        decision = lifecycle.decide(before, event, self.now, self.policy)
        if decision.refused:
            return False
        job.task = decision.task
        if job.audit is None:
            for lesson in reliability.lessons(before, job.task):
                self.learn(job, lesson)
            self.offer_all(job)
            if job.task.done_time is not None and before.done_time is None:
                self.accept(job)
        return True

    def accept(self, job: Job) -> None:
        portion, task = self.portion(job), job.task
        if task.canonical is None:
            portion.failed += 1
            return
        portion.delays.append(self.now - job.submitted)
        portion.wrong += answer_of(task, task.canonical) != f"right {job.question}"

    def offer_all(self, job: Job) -> None:
        """Find executors for replicas that may be sent; look again when a back-off ends."""
        for replica in job.task.replicas:
            if replica.state is not ReplicaState.UNSENT or replica.number in job.offered:
                continue
            if replica.not_before > self.now:
                if not job.held_until:
                    self.at(replica.not_before, self.tick, job)
                continue
            job.offered.add(replica.number)
            self.offer(job.task.id, replica.number)

    def tick(self, job: Job) -> None:
        self.change(job, lifecycle.Tick())

    # executors

    def offer(self, id_: TaskId, number: int) -> None:
        for name in self.candidates():
            if self.suits(name, id_):
                self.send(name, id_, number)
                return
        self.queue.append((id_, number))

    def candidates(self) -> Iterable[ExecutorName]:
        """Those that are idle, in a random order; the first few tries are cheap."""
        for _ in range(min(8, len(self.idle))):
            yield self.idle[int(self.chance.random() * len(self.idle))]
        yield from self.chance.sample(self.idle, len(self.idle))

    def suits(self, name: ExecutorName, id_: TaskId) -> bool:
        record, task = self.records[name], self.jobs[id_].task
        if self.scheme.bars(record) or occupied(task, name, self.workers[name].owner):
            return False
        room = reliability.room(record, self.scheme.trust, self.now, slots=1, running=0)
        return room > 0

    def send(self, name: ExecutorName, id_: TaskId, number: int) -> None:
        """S1-S4: claimed, and the quorum called for where its executor may not stand alone."""
        job, worker = self.jobs[id_], self.workers[name]
        quorum = self.quorum(job, name)
        claimed = lifecycle.Claimed(
            number=number,
            executor=name,
            session=SESSION,
            owner=worker.owner,
            trusted=quorum < self.scheme.quorum,
        )
        if not self.change(job, claimed):
            return
        self.portion(job).replicas += 1
        self.take_idle(name)
        self.records[name] = reliability.after_sent(self.records[name], self.now)
        if 1 < quorum < self.scheme.quorum:
            target = max(quorum, job.task.target_replicas)  # disagreement may have raised it
            job.task = alter(job.task, quorum=quorum, target_replicas=target)
            self.tick(job)
        answer = worker.answer(job.question, self.now)
        if answer is None:
            self.at(self.now + DELAY_BOUND + 1, self.vanished, job, name)
        else:
            took = min(DELAY_BOUND - 1, self.chance.lognormvariate(math.log(RUN) - 0.125, 0.5))
            self.at(self.now + took, self.report, job, name, number, answer)

    def quorum(self, job: Job, name: ExecutorName) -> int:
        """The quorum that the next replica calls for if that executor gets it."""
        if job.audit is not None or not holding.stands_alone(job.task):
            return self.scheme.quorum
        return self.scheme.needed(self.records[name], self.chance.random())

    def take_idle(self, name: ExecutorName) -> None:
        at, last = self.where.pop(name), self.idle.pop()
        if last != name:
            self.idle[at] = last
            self.where[last] = at

    def free(self, name: ExecutorName) -> None:
        """It asks for work: what only it can do first, then what waits longest."""
        self.where[name] = len(self.idle)
        self.idle.append(name)
        pinned = self.workers[name].pinned
        if pinned:
            self.send(name, *pinned.popleft())
            return
        for _ in range(min(20, len(self.queue))):
            id_, number = self.queue.popleft()
            if self.unsent(id_, number) and self.suits(name, id_):
                self.send(name, id_, number)
                return
            if self.unsent(id_, number):
                self.queue.append((id_, number))

    def unsent(self, id_: TaskId, number: int) -> bool:
        replica = self.jobs[id_].task.replica(number)
        return replica is not None and replica.state is ReplicaState.UNSENT

    def report(self, job: Job, name: ExecutorName, number: int, answer: str) -> None:
        self.hold(job, name)
        end = Result(
            verdict=Verdict.OK, execute=StepResult(exit_code=0, stdout=content(answer.encode()))
        )
        event = lifecycle.Reported(number=number, executor=name, session=SESSION, end=end)
        self.change(job, event)
        if job.audit is not None:
            self.answered(job.audit, name, answer)
        self.free(name)

    def vanished(self, job: Job, name: ExecutorName) -> None:
        self.tick(job)
        if job.audit is not None:
            self.answered(job.audit, name, None)
        self.free(name)

    # trust

    def learn(self, job: Job, lesson: Lesson) -> None:
        record, trust = self.records[lesson.executor], self.scheme.trust
        self.records[lesson.executor] = reliability.learnt(record, lesson, trust, self.now)
        if lesson.kind is Kind.INVALID and reliability.proven(record, trust):
            self.distrust(lesson.executor)
            self.open_audit(job, lesson.executor, record.checked)

    def hold(self, job: Job, name: ExecutorName) -> None:
        """Before a result that stands alone is reported: hold it, or doubt it."""
        if job.audit is not None or not holding.stands_alone(job.task):
            return
        if not self.scheme.stands(self.records[name]):
            job.task = holding.raised(job.task)
        elif self.scheme.trust.hold:
            self.hold_back(job, name)

    def hold_back(self, job: Job, name: ExecutorName) -> None:
        job.held_until = self.now + self.scheme.trust.hold
        job.task = holding.held(job.task, job.held_until)
        self.held.setdefault(name, set()).add(job.task.id)
        self.at(job.held_until, self.vouch, job, name)

    def vouch(self, job: Job, name: ExecutorName) -> None:
        """The hold is over and its executor was not caught: the result stands alone."""
        if not job.held_until:
            return
        self.held[name].discard(job.task.id)
        job.task = holding.vouched(job.task)
        self.tick(job)

    def distrust(self, name: ExecutorName) -> None:
        """Its results that are still held are checked now."""
        for id_ in sorted(self.held.pop(name, set())):
            job = self.jobs[id_]
            job.held_until = 0.0
            job.task = holding.doubted(job.task, self.now)
            self.tick(job)

    # audits

    def open_audit(self, job: Job, caught: ExecutorName, checked: int) -> None:
        if self.scheme.audits is None or job.task.id in self.audits:
            return
        answers = {
            r.executor: answer_of(job.task, r.number)
            for r in job.task.replicas
            if r.executor and r.result
        }
        self.opened_audits += 1
        self.original[job.task.id] = (caught, checked)
        self.audits[job.task.id] = Audit(task=job.task.id, answers=answers)
        self.ask(job.task.id)

    def ask(self, id_: TaskId) -> None:
        assert self.scheme.audits is not None
        before = self.audits[id_]
        names = self.chance.sample(list(self.workers), len(self.workers))
        rested = [n for n in names if self.records[n].rests_until <= self.now]
        after = self.audits[id_] = audit.ask(before, rested, self.scheme.audits)
        for name in sorted(after.asked - before.asked):
            question = self.add(self.jobs[id_].question, id_)
            self.pin(name, question.task.id)

    def pin(self, name: ExecutorName, id_: TaskId) -> None:
        if name in self.where:
            self.send(name, id_, 0)
        else:
            self.workers[name].pinned.append((id_, 0))

    def answered(self, id_: TaskId, name: ExecutorName, answer: str | None) -> None:
        policy = self.scheme.audits
        assert policy is not None
        now = self.audits[id_] = audit.answered(self.audits[id_], name, answer)
        if now.spread:
            self.judge(id_, [name])
        elif not now.waiting:
            self.judge(id_, now.asked)
            self.acquit(id_)
            if audit.to_spread(now, policy):
                self.spread_audits += 1
                self.audits[id_] = alter(now, spread=True)
                self.ask(id_)

    def judge(self, id_: TaskId, names: Iterable[ExecutorName]) -> None:
        """Those who were asked pass a check, or are caught."""
        assert self.scheme.audits is not None
        found = audit.findings(self.audits[id_], self.scheme.audits)
        trust = self.scheme.trust
        for name in sorted(names):
            record = self.records[name]
            if name in found.right:
                self.records[name] = reliability.after_valid(
                    record, turnaround=RUN, replicated=True
                )
            elif name in found.wrong:
                self.records[name] = reliability.after_invalid(record, trust, self.now)
                self.distrust(name)

    def acquit(self, id_: TaskId) -> None:
        """Whoever was outvoted at first, but is right by the audit, is trusted as before."""
        assert self.scheme.audits is not None
        name, checked = self.original[id_]
        found = audit.findings(self.audits[id_], self.scheme.audits)
        if name in found.right or found.truth is None:
            self.records[name] = reliability.acquitted(self.records[name], checked)


def new_task(redundancy: Redundancy) -> NewTask:
    step = Step(command=("/bin/true",), limits=EXECUTE_DEFAULTS)
    return NewTask(user=UserName("u"), spec=Spec(execute=step, redundancy=redundancy))


def redundancy_of(scheme: Scheme) -> Redundancy:
    """The policy's; the limits on what may go wrong are wide, so that no task fails for them."""
    return Redundancy(
        min_quorum=scheme.quorum,
        target_replicas=scheme.quorum,
        adaptive=scheme.adaptive,
        distinct=scheme.distinct,
        max_error_replicas=10,
        max_total_replicas=40,
        max_success_replicas=20,
        max_lost_replicas=10,
        delay_bound=DELAY_BOUND,
    )


def answer_of(task: Task, number: int) -> str:
    replica = task.replica(number)
    assert replica is not None
    assert replica.result is not None
    assert replica.result.execute is not None
    return (replica.result.execute.stdout.inline or b"").decode()


# -- figures ------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What one run gave."""

    scheme: str
    seed: int
    first: Portion
    last: Portion
    audits: int
    spread: int


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval, by Student's t over the seeds."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    quantile = _T.get(len(values) - 1, 1.96)
    return mean, quantile * statistics.stdev(values) / math.sqrt(len(values))


_T = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def poisson(count: int) -> tuple[float, float]:
    """The exact 95 % interval of an expected number, of which ``count`` were seen (Garwood)."""
    low = 0.0 if count == 0 else solve(lambda m: 1 - at_most(count - 1, m) - 0.025, count)
    return low, solve(lambda m: 0.025 - at_most(count, m), count)


def at_most(count: int, mean: float) -> float:
    if count < 0:
        return 0.0
    logs = (k * math.log(mean) - mean - math.lgamma(k + 1) for k in range(count + 1))
    return sum(math.exp(x) for x in logs)


def solve(rising: Callable[[float], float], near: float) -> float:
    """Where a rising function is zero."""
    low, high = 1e-12, 10.0 + 3 * near
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return high


def row(name: str, outcomes: Sequence[Outcome], part: str) -> list[str]:
    portions = [whole(o) if part == "all" else o.last for o in outcomes]
    wrong, tasks = sum(p.wrong for p in portions), sum(p.tasks for p in portions)
    per = 1e4 / tasks
    low, high = poisson(wrong)
    cost, cost_error = interval([p.replicas / p.tasks for p in portions])
    delay, delay_error = interval([statistics.fmean(p.delays) for p in portions])
    slow = statistics.fmean(percentile(p.delays, 0.99) for p in portions)
    return [
        name,
        f"{wrong * per:.2f} ({low * per:.2f} to {high * per:.2f})",
        f"{cost:.3f} ± {cost_error:.3f}",
        f"{delay:.0f} ± {delay_error:.0f}",
        f"{slow:.0f}",
        f"{sum(p.failed for p in portions)}",
        f"{sum(o.audits for o in outcomes)}/{sum(o.spread for o in outcomes)}",
    ]


def whole(outcome: Outcome) -> Portion:
    first, last = outcome.first, outcome.last
    return Portion(
        first.tasks + last.tasks,
        first.wrong + last.wrong,
        first.failed + last.failed,
        first.replicas + last.replicas,
        first.delays + last.delays,
    )


def percentile(values: Sequence[float], part: float) -> float:
    return sorted(values)[int(part * (len(values) - 1))]


# -- what is measured ---------------------------------------------------------------------

AS_GIVEN = World()
OWNED = World("they have one owner", common_owner=True)
OTHERS = (
    World("they lie in 1 %", share=0.01),
    World("100 colluders", colluders=100),
    World("each by itself", alone=True),
    World("wary ones", wary=True),
)
HELD = TrustPolicy(hold=1200.0)

QUORUM_2 = Scheme("quorum 2")
APART = Scheme("quorum 2, owners apart", distinct="owner")
ADAPTIVE = Adaptive("adaptive (BOINC)")
CREDIBLE = Credible("credibility 0.9999 (Sarmenta)", quorum=3)
AUDITED = Audited("audited", trust=TrustPolicy(), audits=AuditPolicy())
CORRECTED = Audited("audited, held 20 min", trust=HELD, audits=AuditPolicy())

Case = tuple[Scheme, World]

CASES: dict[str, list[Case]] = {
    "given": [
        (QUORUM_2, AS_GIVEN),
        (APART, OWNED),
        (Scheme("quorum 3", quorum=3), AS_GIVEN),
        (ADAPTIVE, AS_GIVEN),
        (CREDIBLE, AS_GIVEN),
        (Audited("audited, without audits", trust=TrustPolicy()), AS_GIVEN),
        (AUDITED, AS_GIVEN),
        (CORRECTED, AS_GIVEN),
    ],
    "others": [(s, w) for w in OTHERS for s in (QUORUM_2, ADAPTIVE, CREDIBLE, AUDITED, CORRECTED)],
}


def name_of(case: Case) -> str:
    scheme, world = case
    return f"{scheme.name}; {world.name}" if world.name else scheme.name


def play(case: Case, seed: int, tasks: int) -> Outcome:
    return Simulation(*case, seed, tasks).run()


def show(title: str, results: dict[str, list[Outcome]], part: str) -> None:
    columns = ("wrong in 10,000 (95 %)", "replicas a task", "delay, s", "p99, s", "none", "audits")
    table = Table("policy", *columns, title=title)
    for name, outcomes in results.items():
        table.add_row(*row(name, outcomes, part))
    Console(width=160).print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--world", choices=[*CASES], default="given")
    parser.add_argument("--only", default="", help="cases whose names contain this")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    cases = [case for case in CASES[options.world] if options.only in name_of(case)]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with ProcessPoolExecutor(options.processes) as pool:
        runs = {
            name_of(case): [pool.submit(play, case, s, options.tasks) for s in seeds]
            for case in cases
        }
        results = {name: [r.result() for r in some] for name, some in runs.items()}
    show("the last half of the tasks", results, "last")
    show("all tasks", results, "all")
    print(f"{options.tasks:,} tasks, {options.seeds} seeds, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
