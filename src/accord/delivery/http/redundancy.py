"""Redundancy as it is submitted.

What is left out makes room for what is given: a quorum of eight alone is a whole policy. What
is given and contradicts itself is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from accord.core.task import (
    Comparator,
    Default,
    Exact,
    Files,
    Json,
    Lines,
    Numbers,
    Program,
    Redundancy,
    Tokens,
)
from accord.core.transition import check_adaptive, check_policy
from accord.delivery.http.submissions import ComparatorIn, RedundancyIn

_USUAL = Redundancy()
_MOST = 100


def policy_of(asked: RedundancyIn) -> Redundancy:
    """What was asked for; a comparator that is a program is put in its place by ``comparing``.

    Raises Invalid where it contradicts itself.
    """
    target = asked.target_replicas or asked.min_quorum
    successes, total = _rooms(asked, target)
    policy = Redundancy(
        min_quorum=asked.min_quorum,
        target_replicas=target,
        max_error_replicas=asked.max_error_replicas or min(_USUAL.max_error_replicas, total),
        max_total_replicas=total,
        max_success_replicas=successes,
        max_lost_replicas=asked.max_lost_replicas,
        delay_bound=asked.delay_bound,
        distinct=asked.distinct,
        comparator=_comparator_of(asked.comparator),
        homogeneous=asked.homogeneous,
        adaptive=asked.adaptive,
    )
    check_policy(policy)
    check_adaptive(policy)
    return policy


def _rooms(asked: RedundancyIn, target: int) -> tuple[int, int]:
    """How many successes and how many replicas there may be. Where they are not given: twice as
    many successes as are begun with, and four more replicas than those, but no fewer than usual.
    """
    successes, total = asked.max_success_replicas, asked.max_total_replicas
    if successes is None:
        successes = max(_USUAL.max_success_replicas, 2 * target)
        successes = max(target, min(successes, total or _MOST))
    if total is None:
        beside = _USUAL.max_total_replicas - _USUAL.max_success_replicas
        total = min(_MOST, max(_USUAL.max_total_replicas, successes + beside))
        total = max(total, min(_MOST, asked.max_error_replicas or 0))
    return successes, total


def comparing(policy: Redundancy, program: Program) -> Redundancy:
    """The policy, by which that program compares results."""
    return msgspec.structs.replace(policy, comparator=program)


_MADE: Mapping[str, Callable[[Any], Comparator]] = {
    "default": lambda _: Default(),
    "exact": lambda _: Exact(),
    "lines": lambda _: Lines(),
    "tokens": lambda _: Tokens(),
    "numbers": lambda given: Numbers(abs=given.abs, rel=given.rel),
    "json": lambda _: Json(),
    "files": lambda given: Files(paths=tuple(given.paths)),
    "program": lambda _: Default(),
}


def _comparator_of(given: ComparatorIn | None) -> Comparator:
    return _MADE[given.type](given) if given else Default()
