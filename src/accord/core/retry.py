"""When a replica that came to nothing is followed by another, and how soon.

Only the infrastructure makes another attempt by itself: what a program did, whatever it did, is a
result. How many attempts there are is bounded by the transition rules (T7, T9); here is only the
pause before the next, and where it had better not go.
"""

from __future__ import annotations

from collections.abc import Iterable

from accord.core.policy import Policy
from accord.core.replica import Outcome, Replica

FAULTS = frozenset(
    {
        Outcome.CLIENT_ERROR,
        Outcome.NO_REPLY,
        Outcome.VALIDATE_ERROR,
        Outcome.ABORTED,
        Outcome.DETACHED,
    }
)
"""Outcomes of attempts that came to nothing. An unneeded or handed-back replica was no attempt."""


def faults(replicas: Iterable[Replica]) -> int:
    """How many attempts came to nothing."""
    return sum(r.outcome in FAULTS for r in replicas)


def back_off(count: int, policy: Policy) -> float:
    """Seconds to wait before the attempt after that many faults.

    >>> [back_off(n, Policy(retry_first=1.0, retry_most=5.0)) for n in range(5)]
    [0.0, 1.0, 2.0, 4.0, 5.0]
    """
    if count == 0:
        return 0.0
    doublings = min(count - 1, 64)  # beyond it a float would overflow long after any cap
    return min(policy.retry_most, policy.retry_first * 2.0**doublings)
