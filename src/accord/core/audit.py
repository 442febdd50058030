"""Audits: finding those who err together, with the task on which one of them was caught.

Executors that want their wrong results to agree must err on the same tasks. So a task on which
one of them was caught is a test that the others fail: it is given to some executors again, as if
it were an ordinary replica, and to all of them once two have given the same wrong answer. Errors
that come by chance do not agree, and cost the first round only.

An answer is a text that is equal exactly for results that agree (a digest; for comparators that
are not exact, the digest of the first result with which this one agreed).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from accord.core.ids import ExecutorName, TaskId

replace = msgspec.structs.replace


MOST_ASKED = 100
"""Executors that one round asks at most: their answers lie in one document."""


class AuditPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the administrator decides about audits."""

    sample: int = 100
    """Executors asked in one round; 0: there are no audits. Of 20 who err together among 1,000, a
    hundred hold at least one with probability 0.88; the next that is caught is the next chance."""
    unsettled: float = 0.2
    """Where more than this share of many answers differ from the most frequent, the task itself
    is not deterministic, and nobody is to blame; of few answers, more than a third."""
    many: int = 10
    """How many answers are many."""


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one audit. One document in the store, until it is complete."""

    task: TaskId
    """The task that is asked again."""
    answers: Mapping[ExecutorName, str] = {}
    """Those of its first replicas, then those of the ones who were asked."""
    waiting: frozenset[ExecutorName] = frozenset()
    """Who was asked and has neither answered nor been lost."""
    asked: frozenset[ExecutorName] = frozenset()
    spread: bool = False
    """Whether all are asked: some have erred together."""


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What the answers say so far."""

    truth: str | None
    """The right answer; None where the task is not deterministic."""
    right: frozenset[ExecutorName] = frozenset()
    wrong: frozenset[ExecutorName] = frozenset()


def ask(audit: Audit, candidates: Iterable[ExecutorName], policy: AuditPolicy) -> Audit:
    """Ask the next round: some of the candidates, or all of them where some erred together.

    The candidates stand in an order that the caller has drawn; who was asked is passed over.
    """
    new = [name for name in candidates if name not in audit.asked and name not in audit.answers]
    if not audit.spread:
        new = new[: policy.sample]
    return replace(audit, waiting=audit.waiting | set(new), asked=audit.asked | set(new))


def answered(audit: Audit, executor: ExecutorName, answer: str | None) -> Audit:
    """One who was asked has answered, or was lost (None). A repeat changes nothing."""
    if executor not in audit.waiting:
        return audit
    answers = audit.answers if answer is None else {**audit.answers, executor: answer}
    return replace(audit, answers=answers, waiting=audit.waiting - {executor})


def findings(audit: Audit, policy: AuditPolicy) -> Findings:
    """Who is right by the answers so far: those with the most frequent one."""
    counts = Counter(audit.answers.values())
    if not counts:
        return Findings(truth=None)
    truth, agree = counts.most_common(1)[0]
    total = len(audit.answers)
    share = policy.unsettled if total >= policy.many else 1 / 3
    if total - agree > share * total:
        return Findings(truth=None)
    right = frozenset(name for name, answer in audit.answers.items() if answer == truth)
    return Findings(truth=truth, right=right, wrong=frozenset(audit.answers) - right)


def erred_together(audit: Audit, policy: AuditPolicy) -> bool:
    """Whether two have given the same wrong answer."""
    found = findings(audit, policy)
    counts = Counter(audit.answers[name] for name in found.wrong)
    return any(count > 1 for count in counts.values())


def to_spread(audit: Audit, policy: AuditPolicy) -> bool:
    """Whether the first round is in, and calls for asking all."""
    return not audit.waiting and not audit.spread and erred_together(audit, policy)
