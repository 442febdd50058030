"""The validator: rules V1-V7. Which result is the task's, and what the others are worth.

V3 speaks of outputs that cannot be read; here they lie in the document or under a digest that is
compared without reading, so nothing can fail.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from accord.core import comparators
from accord.core.comparators import Comparator
from accord.core.errors import InvalidTransition
from accord.core.policy import Policy
from accord.core.replica import Outcome, Replica, Result, Validity
from accord.core.task import ErrorMask, Task
from accord.core.transition import replace_replicas

_UNCHECKED = (Validity.INIT, Validity.INCONCLUSIVE)

replace = msgspec.structs.replace


def validate(task: Task, _now: float, _policy: Policy) -> Task:
    """V1-V7 for a task that wants validation; afterwards it wants none (V7)."""
    if not task.need_validate:
        return task
    task = replace(task, need_validate=False)
    if task.canonical is not None:
        return _judge_late(task, comparators.default)
    viable = [
        r
        for r in task.replicas
        if r.outcome is Outcome.SUCCESS and r.validity is not Validity.INVALID
    ]
    if len(viable) < task.spec.redundancy.min_quorum:
        return task  # V2
    results = [_result(r) for r in viable]
    found = find_canonical(results, task.spec.redundancy.min_quorum, comparators.default)
    if found is None:
        return _disagree(task, viable)
    return _agree(task, viable, found, comparators.default)


def find_canonical(results: Sequence[Result], quorum: int, agree: Comparator) -> int | None:
    """V4: the index of the first result with which more than half of ``quorum`` agree.

    The majority is of the quorum, not of what has arrived, and a result agrees with itself.
    """
    needed = quorum // 2 + 1
    for index, candidate in enumerate(results):
        if sum(agree(candidate, other) for other in results) >= needed:
            return index
    return None


def _judge_late(task: Task, agree: Comparator) -> Task:
    """V1: what arrives after the canonical result is held against it."""
    canonical = task.replica(task.canonical if task.canonical is not None else -1)
    if canonical is None:
        raise InvalidTransition("The canonical replica is not there.", task=task.id)
    late = [r for r in task.replicas if r.outcome is Outcome.SUCCESS and r.validity in _UNCHECKED]
    return replace_replicas(task, [_judged(r, canonical, agree) for r in late])


def _agree(task: Task, viable: Sequence[Replica], found: int, agree: Comparator) -> Task:
    """V4, V5: the canonical result is known, and each is valid that agrees with it."""
    canonical = viable[found]
    judged = [_judged(r, canonical, agree) for r in viable]
    return replace_replicas(replace(task, canonical=canonical.number), judged)


def _disagree(task: Task, viable: Sequence[Replica]) -> Task:
    """V6: more results are wanted, until there were too many."""
    mask, target = task.error_mask, task.target_replicas
    if len(viable) > task.spec.redundancy.max_success_replicas:
        mask |= int(ErrorMask.TOO_MANY_SUCCESSES)
    if len(viable) >= target:
        target = len(viable) + 1
    undecided = [
        replace(r, validity=Validity.INCONCLUSIVE) for r in viable if r.validity is Validity.INIT
    ]
    return replace_replicas(replace(task, error_mask=mask, target_replicas=target), undecided)


def _judged(replica: Replica, canonical: Replica, agree: Comparator) -> Replica:
    valid = agree(_result(canonical), _result(replica))
    return replace(replica, validity=Validity.VALID if valid else Validity.INVALID)


def _result(replica: Replica) -> Result:
    if replica.result is None:
        raise InvalidTransition("A successful replica has no result.", number=replica.number)
    return replica.result
