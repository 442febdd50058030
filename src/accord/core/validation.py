"""The validator: rules V1-V7. Which result is the task's, and what the others are worth.

``validate`` is one pass, of any task in any state. How two results compare is asked of a
``Comparison``: the policy's comparator where none is given. It may find a result unreadable (for
good, or for now), and it may not be able to tell without a judging run: then nothing is decided,
the wish for validation stays, and ``task.judging`` says what is to be found out.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from accord.core import comparators, judging, retention
from accord.core.policy import Policy
from accord.core.replica import Outcome, Replica, ReplicaState, Stage, Validity
from accord.core.task import NEVER, ErrorMask, Task, quorum_of
from accord.core.transition import drop_unsent, replace_replicas

_UNCHECKED = (Validity.INIT, Validity.INCONCLUSIVE)

replace = msgspec.structs.replace


class Reading(enum.StrEnum):
    """Whether a result can be compared (V3)."""

    GOOD = "good"
    UNREADABLE = "unreadable"
    """And never will be: a validate error."""
    LATER = "later"
    """Not now; it is tried again after ``Policy.revalidate_after``."""


class Comparison(Protocol):
    """How results compare. Both questions are of replicas that succeeded."""

    def read(self, replica: Replica) -> Reading:
        """Whether its result can be compared."""

    def agree(self, one: Replica, other: Replica) -> bool | None:
        """Whether two results are one, ``one`` being the candidate or the canonical one; None
        where a judging run must tell. Not asked of a result and itself.
        """


class Undecided(Exception):
    """Two results cannot be compared without a judging run."""


_FEW = 8
"""Results so few are never too many to be compared each with each."""
_NOTHING = -1


class ByPolicy:
    """The comparison that a task's policy asks for, with the answer of its judging run if any.

    A result is only unreadable where it has to be read: where another is not the same byte for
    byte. So programs that fail to write what they should, alike, agree. The canonical one is what
    others are held against, whatever it is.
    """

    def __init__(self, task: Task) -> None:
        self._comparator = task.spec.redundancy.comparator
        self._canonical = task.canonical
        self._run = task.judging
        self._peers = viable(task)
        self._most = comparators.PARSE_MOST
        """Bytes that are interpreted here."""
        if len(self._peers) > _FEW and task.canonical is None:
            results = [r.result for r in self._peers if r.result]
            self._most = _NOTHING if comparators.too_many(results) else self._most

    def read(self, replica: Replica) -> Reading:
        """See Comparison."""
        if replica.result is None or self._found_unreadable(replica.number):
            return Reading.UNREADABLE
        sound = not comparators.unreadable(self._comparator, replica.result)
        if sound or replica.number == self._canonical:
            return Reading.GOOD
        others = [r for r in self._peers if r.number != replica.number]
        alike = all(self._by_core(replica, other) for other in others)
        return Reading.GOOD if alike else Reading.UNREADABLE

    def agree(self, one: Replica, other: Replica) -> bool | None:
        """See Comparison."""
        found = self._by_core(one, other)
        return judging.same(self._run, one.number, other.number) if found is None else found

    def _by_core(self, one: Replica, other: Replica) -> bool | None:
        if one.result is None or other.result is None:
            return False
        return comparators.agree(self._comparator, one.result, other.result, self._most)

    def _found_unreadable(self, number: int) -> bool:
        answer = self._run.answer if self._run else None
        return answer is not None and number in answer.unreadable


def validate(task: Task, now: float, policy: Policy, comparison: Comparison | None = None) -> Task:
    """V1-V7 for a task that wants validation. Raises nothing, whatever state it is in.

    Afterwards the task wants none (V7), but for two cases: a judging run is to tell, or the
    canonical replica is not in the document.
    """
    if not task.need_validate:
        return task
    comparison = comparison or ByPolicy(task)
    if task.canonical is not None:
        return _judge_late(task, comparison, now, policy)
    found = viable(task)
    if len(found) < quorum_of(task):
        return replace(task, need_validate=False)  # V2
    return _choose(task, found, comparison, now, policy)


def viable(task: Task) -> list[Replica]:
    """V2: the successes that are not invalid."""
    return [
        r
        for r in task.replicas
        if r.state is ReplicaState.OVER
        and r.outcome is Outcome.SUCCESS
        and r.validity is not Validity.INVALID
    ]


def find_canonical(
    good: Sequence[Replica], quorum: int, comparison: Comparison, *, final: bool = False
) -> Replica | None:
    """V4: the first result with which more than half of ``quorum`` agree, itself included.

    The majority is of the quorum, not of what has arrived. Raises Undecided where it depends on
    what a judging run must tell; where it is ``final`` that none will, what is not known to agree
    does not.
    """
    needed = quorum // 2 + 1
    for candidate in good:
        answers = _answers(candidate, good, comparison, len(good) - needed, final=final)
        if None in answers:
            raise Undecided
        if answers:
            return candidate
    return None


def _answers(
    candidate: Replica,
    good: Sequence[Replica],
    comparison: Comparison,
    spare: int,
    *,
    final: bool,
) -> set[bool | None]:
    """What is said of the candidate and each other one; nothing as soon as more than ``spare``
    differ from it. Where it is ``final`` None is said of nobody: it counts as different.
    """
    answers: set[bool | None] = set()
    differ = 0
    for other in good:
        answer = _agrees(candidate, other, comparison)
        answer = False if final and answer is None else answer
        differ += answer is False
        if differ > spare:
            return set()
        answers.add(answer)
    return answers


def _agrees(one: Replica, other: Replica, comparison: Comparison) -> bool | None:
    return True if one.number == other.number else comparison.agree(one, other)


# -- no canonical result yet -------------------------------------------------------------


def _choose(
    task: Task, found: Sequence[Replica], comparison: Comparison, now: float, policy: Policy
) -> Task:
    """V3-V6."""
    readings = {r.number: comparison.read(r) for r in found}
    good = [r for r in found if readings[r.number] is Reading.GOOD]
    bad = [r for r in found if readings[r.number] is Reading.UNREADABLE]
    later = [r for r in found if readings[r.number] is Reading.LATER]
    final = judging.given_up(task.judging, policy)
    try:
        enough = len(good) >= quorum_of(task)
        canonical = (
            find_canonical(good, quorum_of(task), comparison, final=final) if enough else None
        )
    except Undecided:
        return _ask(_discard(task, bad), good, now)
    task = _discard(task, bad)
    if canonical is not None:
        return _agreed(task, good, canonical, comparison, now)
    return _disagreed(task, good, bad, later, now, policy)


def _discard(task: Task, bad: Iterable[Replica]) -> Task:
    """V3: what cannot be read is a validate error. Its result stays for whoever asks why."""
    return replace_replicas(task, [replace(r, **_UNREADABLE) for r in bad])


_UNREADABLE = {
    "outcome": Outcome.VALIDATE_ERROR,
    "validity": Validity.INVALID,
    "message": "Its result could not be read, and so not be compared.",
}


def _ask(task: Task, candidates: Sequence[Replica], now: float) -> Task:
    """A judging run is to tell; until then nothing changes (V3, Q3)."""
    numbers = tuple(dict.fromkeys(r.number for r in candidates))
    run = judging.asked(task.judging, numbers, now)
    return task if run is task.judging else replace(task, judging=run, transition_time=now)


def _agreed(
    task: Task, good: Sequence[Replica], canonical: Replica, comparison: Comparison, now: float
) -> Task:
    """V4, V5: the canonical result is known, and each is valid that agrees with it."""
    judged = [_judged(r, _agrees(canonical, r, comparison)) for r in good]
    task = replace(
        replace_replicas(task, judged),
        canonical=canonical.number,
        judged_by=task.judging.executor if task.judging and task.judging.answer else None,
        need_validate=False,
        assimilate_state=Stage.READY,
        transition_time=NEVER,
    )
    return drop_unsent(task, now)


def _disagreed(
    task: Task,
    good: Sequence[Replica],
    bad: Sequence[Replica],
    later: Sequence[Replica],
    now: float,
    policy: Policy,
) -> Task:
    """V6: more results are wanted, until there were too many. What could not be read for now
    stays as it is, so that something calls for the next look (Q3).
    """
    there = len(good) + len(later)
    mask, target, when = task.error_mask, task.target_replicas, task.transition_time
    if later:
        when = min(when, now + policy.revalidate_after)
    if there > task.spec.redundancy.max_success_replicas:
        mask, when = int(mask | ErrorMask.TOO_MANY_SUCCESSES), now
    if there >= target:
        target, when = there + 1, now
    undecided = [
        replace(r, validity=Validity.INCONCLUSIVE) for r in good if r.validity is Validity.INIT
    ]
    return replace(
        replace_replicas(task, undecided),
        error_mask=mask,
        target_replicas=target,
        need_validate=False,
        transition_time=now if bad else when,
    )


# -- a canonical result is known ---------------------------------------------------------


def _judge_late(task: Task, comparison: Comparison, now: float, policy: Policy) -> Task:
    """V1: what arrives after the canonical result is held against it.

    Where the canonical replica is not in the document nothing can be judged: the wish stays, for
    a person to see.
    """
    canonical = task.replica(task.canonical if task.canonical is not None else -1)
    if canonical is None:
        return task
    late = [r for r in viable(task) if r.validity in _UNCHECKED]
    if retention.canonical_gone(task):  # Q7
        return _late_done(task, [replace(r, validity=Validity.TOO_LATE) for r in late], now)
    judged: list[Replica] = []
    for replica in late:
        reading = _read_both(replica, canonical, comparison)
        if reading is Reading.LATER:
            return _later(replace_replicas(task, judged), now, policy)
        agrees = reading is Reading.GOOD and _agrees(canonical, replica, comparison)
        if agrees is None and not judging.given_up(task.judging, policy):
            waiting = [canonical, *late[len(judged) :]]
            return _ask(replace_replicas(task, judged), waiting, now)
        judged.append(_held_against(replica, canonical, reading, agrees))
    return _late_done(task, judged, now)


def _read_both(replica: Replica, canonical: Replica, comparison: Comparison) -> Reading:
    """Whether one can be held against the other."""
    reading = comparison.read(replica)
    return reading if reading is not Reading.GOOD else comparison.read(canonical)


def _held_against(
    replica: Replica,
    canonical: Replica,
    reading: Reading,
    agrees: bool | None,  # noqa: FBT001  # what a Comparison answered
) -> Replica:
    """A valid one gets the credit that the canonical one got."""
    if reading is Reading.UNREADABLE:
        return replace(replica, **_UNREADABLE)
    judged = _judged(replica, agrees)
    return replace(judged, credit=canonical.credit) if agrees else judged


def _late_done(task: Task, judged: Sequence[Replica], now: float) -> Task:
    """V1, V7. The last result may have been among them: then files may go."""
    task = replace(task, need_validate=False)
    return replace(replace_replicas(task, judged), transition_time=now) if judged else task


def _later(task: Task, now: float, policy: Policy) -> Task:
    when = min(task.transition_time, now + policy.revalidate_after)
    return replace(task, need_validate=False, transition_time=when)


def _judged(replica: Replica, agrees: bool | None) -> Replica:  # noqa: FBT001  # as above
    """What a result is worth. One of which nobody could tell is held against nobody."""
    return replace(replica, validity=_WORTH[agrees])


_WORTH = {True: Validity.VALID, False: Validity.INVALID, None: Validity.NO_CHECK}
