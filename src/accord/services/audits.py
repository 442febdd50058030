"""Audits: finding those who err together, by the task on which one of them was caught.

Where a proven executor's result of an adaptive task turns out wrong, the same program is given to
others: an *audit*, a task like any other, of a user of its own, whose end comes here as to its
assimilator. What the answers say is ``core.audit``'s to tell; what it means for executors goes
to ``reputation``. A first round asks some; where two of them gave the same wrong answer, round
follows round until everybody has been asked.

Who was caught is remembered by this judicator until the audit is stored, seconds at most: a crash
in between loses that audit, and the next of those who err that is caught is the next chance.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence, Set

import msgspec

from accord import logs
from accord.core import audit, comparators
from accord.core.assignment import requirement_class, satisfies, takes_work
from accord.core.audit import Audit, AuditPolicy
from accord.core.errors import Invalid
from accord.core.executor import Executor
from accord.core.holding import is_held
from accord.core.ids import ExecutorName, TaskId
from accord.core.lifecycle import Disputed, Doubted, submitted
from accord.core.policy import Policy
from accord.core.reliability import task_class
from accord.core.replica import Result, Stage, Validity
from accord.core.task import Assimilation, Comparator, NewTask, Redundancy, Task
from accord.core.transition import delay_bound
from accord.core.user import AUDITOR
from accord.ports.assimilator import AUDIT, Ending
from accord.ports.clock import Ids
from accord.ports.store import Store
from accord.services.changes import Changes
from accord.services.reputation import Caught, Reputation
from accord.services.roster import Roster

PRIORITY = 100
"""An audit goes before whatever waits: until it is over, wrong results may be accepted."""
QUEUE = 300.0
"""Seconds that an audit may wait for slots, beside twice what one run of it may take."""
MOST_HELD = 1000
"""Tasks that are looked through for held results when an executor is caught."""
PAUSE = 3600.0
"""Seconds before the next audit of a class of tasks of which one was not deterministic."""

_log = logs.get("audits")


class Audits:
    """See the module's docstring. A duty of every judicator, and an assimilator."""

    name = "audits"
    every = 0.0

    def __init__(
        self,
        store: Store,
        changes: Changes,
        roster: Roster,
        reputation: Reputation,
        ids: Ids,
        policy: Policy,
        audits: AuditPolicy,
        weakest: str,
    ) -> None:
        self._store = store
        self._changes = changes
        self._roster = roster
        self._reputation = reputation
        self._ids = ids
        self._policy = policy
        self._audits = audits
        self._weakest = weakest
        self._lock = threading.Lock()
        self._not_before: dict[str, float] = {}
        """Of classes of tasks that turned out not to be deterministic."""

    # -- the beginning -------------------------------------------------------------------

    def run(self, now: float) -> int:
        """Open an audit for each executor that was caught; how many."""
        caught = self._reputation.caught()
        if caught and self._reputation.policy.hold:
            self._doubt({one.executor for one in caught}, now)
        if not caught or not self._audits.sample:
            return 0
        found = self._store.get([one.task for one in caught])
        opened = 0
        for one in caught:
            task = found.get(one.task)
            if task is not None and self._worth_it(task, now):
                opened += self._open(task, task, _options(one, task.id, 1), now)
        return opened

    def _doubt(self, names: Set[ExecutorName], now: float) -> None:
        """Have results of those confirmed that are still held; what is not found here is, at the
        end of its hold.
        """
        soon = self._store.due(now + self._reputation.policy.hold, MOST_HELD)
        held = [task for task in soon if is_held(task) and _makers(task) & names]
        if held:
            self._changes.many_of(held, {task.id: (Doubted(),) for task in held})

    def _worth_it(self, task: Task, now: float) -> bool:
        """Not where its files are gone, where its like has shown to be of no use, nor where only
        judging runs can tell what agrees: too few would be left to judge what all have made.
        """
        with self._lock:
            waits = now < self._not_before.get(task_class(task), 0.0)
        try:
            _answers(task)
        except _Untold:
            return False
        return task.file_delete_state is Stage.INIT and not waits

    def _open(self, task: Task, last: Task, options: Mapping[str, str], now: float) -> bool:
        """Ask the next round: those who have neither answered ``last`` nor been barred from it."""
        answered = (r.executor for r in last.replicas if r.executor and r.result)
        barred = tuple(sorted({*last.barred, *answered}))
        others = self._able(msgspec.structs.replace(task, barred=barred))
        if not others:
            return False
        deadline = 2 * delay_bound(task, self._policy) + QUEUE
        new = _new(task, min(len(others), self._audits.sample), deadline, options)
        opened = submitted(new, self._ids.task(now), now, self._policy)
        opened = msgspec.structs.replace(opened, barred=barred, hr_class=task.hr_class)
        (stored,) = self._store.add([opened])
        if stored.id == opened.id:
            extra = {"action": "audit_opened", "task": task.id, "audit": opened.id, **options}
            _log.info(
                "A task is given to others, since an executor was caught with it", extra=extra
            )
        return stored.id == opened.id

    def _able(self, task: Task) -> list[Executor]:
        """Those who could be asked."""
        needs = requirement_class(task)
        return [
            e for e in self._roster.all() if takes_work(e) and satisfies(e, needs, self._weakest)
        ]

    # -- the end -------------------------------------------------------------------------

    def check(self, options: Mapping[str, str]) -> None:  # noqa: ARG002  # of no task's own
        """Refuse: audits are not submitted."""
        raise Invalid(f"The assimilator {AUDIT!r} is Accord's own.", field="assimilate.handler")

    def assimilate(self, ending: Ending) -> None:
        """Take what a round has found: who passes, who is caught, and whether to ask on."""
        round_, now = ending.task, self._store.now()
        task = self._store.get([TaskId(ending.options["of"])]).get(TaskId(ending.options["of"]))
        if task is None:
            return  # purged meanwhile: there is nothing to hold the answers against
        try:
            answers = _answers(task, round_)
        except _Untold:
            extra = {"action": "audit_untold", "task": task.id, "audit": round_.id}
            _log.warning("An audit ended with answers that cannot be compared", extra=extra)
            return
        found = audit.findings(Audit(task=task.id, answers=answers), self._audits)
        class_ = task_class(task)
        caught = ExecutorName(ending.options["caught"])
        if found.truth is None:
            with self._lock:
                self._not_before[class_] = now + PAUSE
        many = len(answers) >= self._audits.many  # of few it is not known whether they are right
        if caught in found.right or (found.truth is None and many):
            self._reputation.acquit(caught, class_, int(ending.options["checked"]))
        self._judge(task, found, class_, caught)
        self._tell(task, round_, found)
        together = audit.erred_together(Audit(task=task.id, answers=answers), self._audits)
        if found.truth is not None:
            self._go_on(task, round_, ending.options, now, together=together)

    def _judge(
        self,
        task: Task,
        found: audit.Findings,
        class_: str,
        caught: ExecutorName,
    ) -> None:
        """Those who were wrong are caught, also if they had outvoted an honest one. Who was right
        has passed a check already, as any task with several results is one.
        """
        known = {r.executor for r in task.replicas if r.validity is Validity.INVALID} | {caught}
        for name in sorted(found.wrong - known):
            self._reputation.failed(name, class_)

    def _tell(self, task: Task, round_: Task, found: audit.Findings) -> None:
        canonical = None if task.canonical is None else task.replica(task.canonical)
        extra = {
            "action": "audit_ended",
            "task": task.id,
            "audit": round_.id,
            "right": len(found.right),
            "wrong": sorted(found.wrong),
        }
        if canonical is not None and canonical.executor in found.wrong:
            _log.error("An audit found that the result of a task is wrong", extra=extra)
            self._changes.one(task.id, Disputed(by=round_.id))
        elif found.truth is None:
            _log.warning("An audit found that a task is not deterministic", extra=extra)
        else:
            _log.info("An audit has ended", extra=extra)

    def _go_on(
        self,
        task: Task,
        round_: Task,
        options: Mapping[str, str],
        now: float,
        *,
        together: bool,
    ) -> None:
        """Once two gave the same wrong answer all are asked, round by round."""
        number = int(options["round"])
        if together or number > 1:
            self._open(task, round_, {**options, "round": str(number + 1)}, now)


def _makers(task: Task) -> set[ExecutorName]:
    return {r.executor for r in task.replicas if r.executor and r.result}


def _options(caught: Caught, of: TaskId, round_: int) -> Mapping[str, str]:
    return {
        "of": of,
        "caught": caught.executor,
        "checked": str(caught.checked),
        "round": str(round_),
    }


def _new(task: Task, count: int, deadline: float, options: Mapping[str, str]) -> NewTask:
    """The task that asks so many, and waits for all: who errs must not be spared for being slow.
    Where some vanish, or too few agree, it ends by its deadline, with what answers there are.
    """
    asks = Redundancy(
        min_quorum=count,
        target_replicas=count,
        max_error_replicas=count,
        max_total_replicas=2 * count,
        max_success_replicas=count,
        max_lost_replicas=count,
        distinct="executor",
        comparator=task.spec.redundancy.comparator,
        homogeneous=task.spec.redundancy.homogeneous,
        delay_bound=task.spec.redundancy.delay_bound,
    )
    spec = msgspec.structs.replace(
        task.spec,
        redundancy=asks,
        deadline=deadline,
        assimilate=Assimilation(handler=AUDIT, options=options),
    )
    return NewTask(
        user=AUDITOR,
        spec=spec,
        name=f"audit of {task.id}, round {options['round']}",
        labels=task.labels,
        priority=PRIORITY,
        key=f"{task.id} {options['round']}",
    )


class _Untold(Exception):
    """Whether two results agree only a judging run could tell."""


def _answers(task: Task, round_: Task | None = None) -> dict[ExecutorName, str]:
    """What each executor answered: the same text for results that agree. Raises _Untold."""
    comparator = task.spec.redundancy.comparator
    replicas = [*task.replicas, *(round_.replicas if round_ else ())]
    found: dict[ExecutorName, str] = {}
    firsts: list[Result] = []
    for replica in replicas:
        if replica.executor is None or replica.result is None:
            continue
        like = _like(comparator, firsts, replica.result)
        if like == len(firsts):
            firsts.append(replica.result)
        found[replica.executor] = str(like)
    return found


def _like(comparator: Comparator, firsts: Sequence[Result], result: Result) -> int:
    """The place of the first result with which one agrees; the next place where with none."""
    for place, first in enumerate(firsts):
        same = comparators.agree(comparator, first, result)
        if same is None:
            raise _Untold
        if same:
            return place
    return len(firsts)
