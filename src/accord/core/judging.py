"""Judging runs: when core cannot see by itself whether results agree.

Large outputs, and whatever a user's own program is to compare, are interpreted in a box, on an
executor that made none of the results. The task document carries the run: which results are to be
told apart, where the run is, and in the end its answer, by which ``validation`` decides. While it
is out ``need_validate`` stays set and no result changes (V3, and the fix Q3).

    unsent → in_progress → over (answered)
      ↑            │
      └── lost, failed ──→ over (given up, after Policy.judging_attempts)

What runs in the box is the comparator's own program (``task.Program``), or else the built-in one
(``texts``); ``judging_spec`` makes of it what an executor is sent. Among the runs of a task a judging
run goes by a negative number, so that executors need to know nothing more of it: -1 is the first
sending, -2 the second.
"""

from __future__ import annotations

import enum

import msgspec

from accord.core import retry
from accord.core.ids import ExecutorName, SessionId
from accord.core.policy import Policy

replace = msgspec.structs.replace


class JudgingState(enum.StrEnum):
    """unsent → in_progress → over, and back to unsent where a run is lost or fails."""

    UNSENT = "unsent"
    IN_PROGRESS = "in_progress"
    OVER = "over"


class Judgement(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a judging run answers: the candidates in groups of equal results.

    A candidate that it could not read is in ``unreadable`` and in no group. One that is named
    nowhere is alone; one that is named twice belongs to the first.
    """

    groups: tuple[tuple[int, ...], ...] = ()
    unreadable: tuple[int, ...] = ()


class Judging(msgspec.Struct, frozen=True, kw_only=True):
    """A judging run of a task. There is one at a time; the next takes its place."""

    number: int = 0
    """Rises with each sending, so that no answer is taken for another's."""
    candidates: tuple[int, ...] = ()
    """The numbers of the replicas whose results are to be told apart, the canonical one first
    where there is one."""
    state: JudgingState = JudgingState.UNSENT
    since: float = 0.0
    """When it was asked for."""
    attempts: int = 0
    """How many runs for this task have been lost or have failed."""
    not_before: float = 0.0
    """While unsent: the back-off's end; 0 when it may be sent at once."""
    executor: ExecutorName | None = None
    session: SessionId | None = None
    sent_time: float | None = None
    deadline: float | None = None
    answer: Judgement | None = None
    """Set exactly when it is over and was answered."""
    message: str = ""
    """Why the last run gave no answer."""
    failed_on: tuple[ExecutorName, ...] = ()
    """Where runs for this task were lost or failed: others are tried first for a while."""
    failed_at: float = 0.0
    """When the last of them was."""

    @property
    def pending(self) -> bool:
        """Whether an answer is still to be had."""
        return self.state is not JudgingState.OVER

    @property
    def sendable(self) -> bool:
        """Whether it may be sent at once, no back-off holding it."""
        return self.state is JudgingState.UNSENT and not self.not_before


def run_number(run: Judging) -> int:
    """The number of its sending among the runs of its task: -1, -2, …"""
    return -run.number


def is_judging(number: int) -> bool:
    """Whether a run of that number is a judging run."""
    return number < 0


def asked(former: Judging | None, candidates: tuple[int, ...], now: float) -> Judging:
    """The judging run of these candidates: the former one where it is still to be sent or out,
    else another.
    """
    if former is None:
        return Judging(candidates=candidates, since=now)
    if former.state is JudgingState.IN_PROGRESS:
        return former  # what came meanwhile is judged after it
    if former.state is JudgingState.UNSENT:
        return former if former.candidates == candidates else replace(former, candidates=candidates)
    return Judging(
        number=former.number,
        candidates=candidates,
        since=now,
        attempts=former.attempts,
        message=former.message,
        failed_on=former.failed_on,
        failed_at=former.failed_at,
    )


def sent(
    run: Judging, executor: ExecutorName, session: SessionId, now: float, policy: Policy
) -> Judging:
    """It goes to that executor."""
    return replace(
        run,
        number=run.number + 1,
        state=JudgingState.IN_PROGRESS,
        not_before=0.0,
        executor=executor,
        session=session,
        sent_time=now,
        deadline=now + policy.judging_bound,
    )


def answered(run: Judging, answer: Judgement) -> Judging:
    """It was answered. Who answered stays on record."""
    left = set(run.candidates)
    groups = []
    for group in answer.groups:
        mine = tuple(dict.fromkeys(n for n in group if n in left))
        left.difference_update(mine)
        groups += [mine] if mine else []
    unreadable = tuple(n for n in run.candidates if n in left and n in answer.unreadable)
    kept = Judgement(groups=tuple(groups), unreadable=unreadable)
    return replace(run, state=JudgingState.OVER, deadline=None, answer=kept)


def failed(run: Judging, message: str, now: float, policy: Policy) -> Judging:
    """It was lost or failed: another after the back-off, as long as there may be."""
    attempts = run.attempts + 1
    if run.executor is not None:
        run = replace(run, failed_on=(*run.failed_on, run.executor), failed_at=now)
    if attempts >= policy.judging_attempts:
        return abandoned(run, message, policy)
    delay = retry.back_off(attempts, policy)
    return replace(returned(run), attempts=attempts, not_before=now + delay, message=message)


def abandoned(run: Judging, message: str, policy: Policy) -> Judging:
    """No more runs are made for the task."""
    return replace(
        dropped(run), attempts=max(run.attempts, policy.judging_attempts), message=message
    )


def dropped(run: Judging) -> Judging:
    """It is not needed any more."""
    return replace(returned(run), state=JudgingState.OVER, not_before=0.0)


def returned(run: Judging) -> Judging:
    """It did not begin: it may be sent again at once, and that was no attempt."""
    return replace(
        run,
        state=JudgingState.UNSENT,
        executor=None,
        session=None,
        sent_time=None,
        deadline=None,
    )


def same(run: Judging | None, one: int, other: int) -> bool | None:
    """What the answer says of two results; None where there is none, or not of these.

    >>> answer = Judgement(groups=((0, 2), (1,)))
    >>> run = Judging(candidates=(0, 1, 2), state=JudgingState.OVER, answer=answer)
    >>> same(run, 0, 2), same(run, 0, 1), same(run, 0, 3)
    (True, False, None)
    """
    if run is None or run.answer is None:
        return None
    if one not in run.candidates or other not in run.candidates:
        return None
    return one == other or any(one in group and other in group for group in run.answer.groups)


def expired(run: Judging | None, now: float) -> bool:
    """Whether it is out, and its deadline lies before now."""
    return run is not None and run.state is JudgingState.IN_PROGRESS and (run.deadline or 0.0) < now


def ready(run: Judging | None, now: float) -> bool:
    """Whether it may be sent now."""
    return run is not None and run.state is JudgingState.UNSENT and run.not_before <= now


def given_up(run: Judging | None, policy: Policy) -> bool:
    """Whether no more runs are made for the task."""
    return run is not None and not run.pending and run.attempts >= policy.judging_attempts
