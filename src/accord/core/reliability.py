"""How far an executor is to be trusted, by class of tasks, and what it has earned.

A judicator that knows who has been right may run most tasks once instead of twice. This module
keeps that knowledge as one small document per executor and task class, and says what follows from
it: the day's quota, quarantine, whether an executor is reliable, and whether a result of its own
may stand alone. ``audit`` finds those who err together; ``lifecycle`` knows nothing of either: it
is told the quorum.

The numbers are BOINC's (its ``host_app_version``, its adaptive replication) where the docstrings
say so. Chance is an argument, never drawn here; times are store time.
"""

from __future__ import annotations

import enum
import functools
import math
import statistics
import zlib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from accord.core.ids import ExecutorName
from accord.core.languages import PRESETS
from accord.core.replica import ErrorClass, Outcome, Replica, ReplicaState, Validity
from accord.core.task import Task

DAY = 86400.0
TOGETHER = 30.0
"""Seconds within which losses of one executor are one."""

replace = msgspec.structs.replace


class TrustPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the administrator decides about trust. Seconds, unless said otherwise."""

    daily_quota: int = 500
    """Replicas a day, class and slot that an executor may begin; at least 1 (BOINC's number)."""
    trusted_after: int = 10
    """Consecutive valid results before a result may stand alone (BOINC's number)."""
    reliable_turnaround: float = 3600.0
    """The longest mean turnaround of a reliable executor."""
    reliable_priority: int = 10
    """From this priority on a replica goes to reliable executors only."""
    reliable_delay: float = 0.5
    """What part of its delay bound such a replica gets, since it waited already."""
    quarantine_after: int = 5
    """Infrastructure failures in a row after which an executor is quarantined. Hosts that are
    well fail singly; one with a full disk fails every time, and fast."""
    quarantine_first: float = 60.0
    """How long before the first probe; doubles with each probe that fails."""
    quarantine_most: float = 3600.0
    """The longest time between probes."""
    probation: int = 50
    """Checked results before an audited executor's result may stand alone; doubles each time
    that it is caught. One that errs in s of its results passes with (1 - s)**probation."""
    probation_doublings: int = 6
    """After so many the probation grows no more."""
    check_floor: float = 0.08
    """What part q of a proven executor's tasks is checked all the same, for ever. One that turns
    has about (1 - q) / 2q wrong results accepted until it is caught, however seldom it errs."""
    rest: float = 600.0
    """How long an audited executor gets no work after it was caught; doubles each time."""
    hold: float = 0.0
    """How long a result that stands alone is held before it is final, so that it can still be
    checked if its executor is caught; 0 accepts at once."""


class Average(msgspec.Struct, frozen=True, kw_only=True):
    """A mean and variance that follow what is recent (BOINC's AVERAGE_VAR)."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0
    squares: float = 0.0
    """Sum of squared deviations while there are few samples."""


def averaged(
    average: Average, x: float, threshold: int = 20, weight: float = 0.01, limit: float = 10.0
) -> Average:
    """The average after another sample (BOINC's update rule).

    A plain mean of fewer than ``threshold`` samples, then an exponential one of that ``weight``. A
    sample counts as at most ``limit`` times the mean, a negative one not at all.

    >>> averaged(averaged(Average(), 1.0), 3.0).mean
    2.0
    >>> averaged(Average(count=1, mean=1.0), 99.0).mean  # counts as 10
    5.5
    """
    if x < 0:
        return average
    if average.count and average.mean:
        x = min(x, limit * average.mean)
    count, delta = average.count + 1, x - average.mean
    if count >= threshold:
        variance = average.variance + weight * (delta * delta - average.variance)
        mean = average.mean + weight * delta
        return replace(average, count=count, mean=mean, variance=variance)
    mean = average.mean + delta / count
    squares = average.squares + delta * (x - mean)
    return Average(count=count, mean=mean, variance=squares / count, squares=squares)


class Reliability(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one executor and one class of tasks. One document in the store."""

    executor: ExecutorName
    task_class: str
    consecutive_valid: int = 0
    """Valid results of replicated tasks without an invalid one, error or time-out between."""
    checked: int = 0
    """Results that others confirmed since it was last caught; silence does not reset it."""
    caught: int = 0
    """How often a result of its own was found invalid."""
    error_rate: float = 0.1
    """Share of its replicas that came to nothing or were invalid, of late; begins at 0.1."""
    turnaround: Average = Average()
    """Seconds from sending to the report."""
    quota: int = 0
    """Replicas a day and slot; 0 where nothing has changed it yet: the policy's."""
    sent_today: int = 0
    day: int = 0
    """The day that ``sent_today`` is of, counted from the epoch, shifted by executor."""
    failures: int = 0
    """Infrastructure failures in a row."""
    quarantined_until: float = 0.0
    """While it fails in a row: when it gets one replica as a probe."""
    rests_until: float = 0.0
    """After it was caught with a task that went by trust: until when it gets no work."""
    lost_at: float = 0.0
    """When a replica was last lost with it; what goes with it at once is one failure."""
    credit: float = 0.0
    """What its valid replicas earned."""


CLASSES = 200
"""Classes of tasks that are remembered of one executor; further ones count as ``ANY``, so that
labels cannot fill a store."""
ANY = "any"


def task_class(task: Task) -> str:
    """The class of a task: its label ``app``, else its language, else ``any``.

    A label is anybody's to choose, so it gets no class that tasks without one are in:
    ``python`` is then ``app:python``.
    """
    app = task.labels.get("app")
    if app:
        return f"app:{app}" if app in PRESETS or app == ANY else app
    return task.spec.language or ANY


# -- the daily quota: linear decay, recovery by doubling (BOINC's numbers) ----------------


def limit(record: Reliability, slots: int, policy: TrustPolicy) -> int:
    """How many replicas it may begin today: its quota by slots; a quota of one is one in all."""
    quota = _quota(record, policy)
    return 1 if quota == 1 else quota * slots


def begun_today(record: Reliability, now: float) -> int:
    """How many it has begun on the day that now is in."""
    return record.sent_today if record.day == _day(record.executor, now) else 0


def after_sent(record: Reliability, now: float, count: int = 1) -> Reliability:
    """So many replicas were sent to it (S4). Not for one that is only sent again."""
    day = _day(record.executor, now)
    begun = record.sent_today if record.day == day else 0
    return replace(record, sent_today=begun + count, day=day)


@functools.lru_cache(maxsize=16384)
def shift(executor: ExecutorName) -> float:
    """Seconds by which its days begin before midnight UTC: not all are to ask for work then."""
    return float(zlib.crc32(executor.encode()) % int(DAY))


def _day(executor: ExecutorName, now: float) -> int:
    return int((now + shift(executor)) // DAY)


def _quota(record: Reliability, policy: TrustPolicy) -> int:
    return record.quota or policy.daily_quota


# -- what is learnt ----------------------------------------------------------------------


def after_success(record: Reliability, policy: TrustPolicy) -> Reliability:
    """It reported a verdict: a quarantine is over, and the quota recovers by doubling; from the
    policy's on it grows by one.

    BOINC lets only a valid result raise it. Here thousands of results an hour may wait for a
    second one, and the quota is against those that waste what they are sent.
    """
    quota = _quota(record, policy)
    quota = min(2 * quota, policy.daily_quota) if quota < policy.daily_quota else quota + 1
    return replace(record, quota=quota, failures=0, quarantined_until=0.0)


def after_valid(record: Reliability, *, turnaround: float, replicated: bool) -> Reliability:
    """Its result was valid. A result that nobody else confirmed proves nothing."""
    return replace(
        record,
        consecutive_valid=record.consecutive_valid + replicated,
        checked=record.checked + replicated,
        error_rate=_rate(record, bad=False),
        turnaround=averaged(record.turnaround, turnaround),
    )


def after_invalid(
    record: Reliability, policy: TrustPolicy, now: float, *, rests: bool = True
) -> Reliability:
    """Its result was invalid: whatever trust there was is gone.

    It ``rests`` where it was trusted and its trust was asked for. A result that merely lost a vote
    does no harm, and may be a program's fault, whose output is another on every run.
    """
    quota = _quota(record, policy)
    pause = policy.rest * 2.0 ** min(record.caught, 16)
    return replace(
        record,
        consecutive_valid=0,
        checked=0,
        caught=record.caught + 1,
        error_rate=_rate(record, bad=True),
        quota=quota - 1 if quota > policy.daily_quota else quota,
        rests_until=now + pause if rests else record.rests_until,
    )


def after_error(record: Reliability, policy: TrustPolicy, now: float) -> Reliability:
    """It could not run a replica: the quota decays by one, and a run of these quarantines it.

    Not for what was aborted on the task's own behalf, nor for input that nobody could run. A quota
    that had grown falls back to the policy's, and the successes by which it grew no longer count
    as begun: else one error after thousands of them would be the end of the day.
    """
    quota = _quota(record, policy)
    grown = max(0, quota - policy.daily_quota)
    failures = record.failures + 1
    return replace(
        record,
        consecutive_valid=0,
        error_rate=_rate(record, bad=True),
        quota=max(1, min(quota, policy.daily_quota) - 1),
        sent_today=max(0, record.sent_today - grown),
        failures=failures,
        quarantined_until=_next_probe(failures, policy, now),
    )


def after_timeout(
    record: Reliability, policy: TrustPolicy, now: float, *, delay_bound: float
) -> Reliability:
    """It did not report in time: an error, and the time it had counts as its turnaround.

    Whatever is lost within ``TOGETHER`` counts as one failure in a row: a power cut takes the
    replicas of all slots at once, and says no more than the loss of one.
    """
    after = after_error(record, policy, now)
    if record.lost_at and now < record.lost_at + TOGETHER:
        same = {"failures": record.failures, "quarantined_until": record.quarantined_until}
        after = replace(after, **same)
    else:
        after = replace(after, lost_at=now)
    return replace(after, turnaround=averaged(record.turnaround, delay_bound))


def released(record: Reliability) -> Reliability:
    """A person says that it is well: its quarantine and its rest end."""
    return replace(record, failures=0, quarantined_until=0.0, rests_until=0.0)


def acquitted(record: Reliability, checked: int) -> Reliability:
    """It had been right after all: its ``checked`` of before is given back, and its rest ends."""
    return replace(
        record,
        caught=max(0, record.caught - 1),
        checked=max(record.checked, checked),
        rests_until=0.0,
    )


def _rate(record: Reliability, *, bad: bool) -> float:
    """BOINC's error rate: a twentieth of the old gives way to the new."""
    return 0.95 * record.error_rate + 0.05 * bad


# -- quarantine --------------------------------------------------------------------------


def quarantined(record: Reliability, policy: TrustPolicy, now: float) -> bool:
    """Whether it fails in a row, and its next probe is not due."""
    return record.failures >= policy.quarantine_after and now < record.quarantined_until


def probing(record: Reliability, policy: TrustPolicy) -> bool:
    """Whether it is to have one replica at a time, until one of them succeeds."""
    return record.failures >= policy.quarantine_after


def room(record: Reliability, policy: TrustPolicy, now: float, *, slots: int, running: int) -> int:
    """How many more replicas of the class may be sent to it now, ``running`` being there."""
    if now < record.rests_until or quarantined(record, policy, now):
        return 0
    if probing(record, policy):
        return max(0, 1 - running)
    left = limit(record, slots, policy) - begun_today(record, now)
    return max(0, min(left, slots - running))


def _next_probe(failures: int, policy: TrustPolicy, now: float) -> float:
    excess = failures - policy.quarantine_after
    if excess < 0:
        return 0.0
    return now + min(policy.quarantine_most, policy.quarantine_first * 2.0 ** min(excess, 64))


# -- reliable executors ------------------------------------------------------------------


def reliable(record: Reliability, policy: TrustPolicy) -> bool:
    """Whether retries may be given to it: it is right, at hand, and quick (BOINC's rule)."""
    quick = record.turnaround.count <= 10 or record.turnaround.mean <= policy.reliable_turnaround
    at_hand = _quota(record, policy) >= policy.daily_quota
    return quick and at_hand and record.consecutive_valid >= policy.trusted_after


def wants_reliable(priority: int, policy: TrustPolicy) -> bool:
    """Whether a replica of that priority goes to reliable executors only; retries get there by
    the bump of their priority (T11).
    """
    return priority >= policy.reliable_priority


def reduced_delay_bound(full: float, estimate: float, policy: TrustPolicy) -> float:
    """The delay bound of a replica that only reliable executors get (BOINC's rule).

    A part of the full one; or twice the ``estimate`` of the run where that is longer, but shorter
    than the full bound and than twice the part.

    >>> [reduced_delay_bound(100.0, e, TrustPolicy()) for e in (10.0, 30.0, 60.0)]
    [50.0, 60.0, 50.0]
    """
    part = full * policy.reliable_delay
    wanted = 2 * estimate
    return wanted if part < wanted < min(full, 2 * part) else part


# -- whether a result may stand alone ----------------------------------------------------


def trusted(record: Reliability, policy: TrustPolicy, draw: float) -> bool:
    """Adaptive replication (BOINC's rule): enough valid in a row, and not drawn for a check.

    ``draw`` is uniform in [0, 1), drawn anew for each request for work.

    >>> known = Reliability(executor="e1", task_class="any", consecutive_valid=100)
    >>> trusted(known, TrustPolicy(), 0.5), trusted(known, TrustPolicy(), 0.01)
    (True, False)
    """
    run = record.consecutive_valid
    return run >= policy.trusted_after and draw > 1 / run


def probation(record: Reliability, policy: TrustPolicy) -> int:
    """How many checked results it takes until a result of its own may stand alone."""
    return policy.probation << min(record.caught, policy.probation_doublings)


def proven(record: Reliability, policy: TrustPolicy) -> bool:
    """Whether its probation is over (audited trust)."""
    return record.checked >= probation(record, policy)


def spared(record: Reliability, policy: TrustPolicy, draw: float) -> bool:
    """Audited trust: its probation is over, and this task is not drawn for a check."""
    return proven(record, policy) and draw >= max(policy.check_floor, 1 / max(record.checked, 1))


# -- credibility (Sarmenta 2002: Sabotage-tolerance mechanisms for volunteer computing) ---


def credibility(passed: int, faulty: float) -> float:
    """The least probability that a result is right, of one who passed that many checks.

    ``faulty`` is the share of executors that err at all, and whoever is caught is barred. The
    bound holds for any rate at which it errs, as long as that rate does not change.

    >>> credibility(0, 0.04), round(credibility(153, 0.04), 5)
    (0.96, 0.9999)
    """
    if not passed:
        return 1 - faulty
    return 1 - min(faulty, faulty / ((1 - faulty) * passed * math.e))


def group_credibility(groups: Sequence[Sequence[float]]) -> list[float]:
    """For each group of equal results, the probability that it is the right one.

    A group is the credibilities of its members, who err independently of each other.

    >>> [round(p, 4) for p in group_credibility([[0.96, 0.96], [0.96]])]
    [0.9584, 0.0399]
    """
    good = [math.prod(group) for group in groups]
    bad = [math.prod(1 - c for c in group) for group in groups]
    alone = [g * _without(bad, at) for at, g in enumerate(good)]
    total = sum(alone) + math.prod(bad)
    return [a / total if total else 0.0 for a in alone]


def _without(factors: Sequence[float], at: int) -> float:
    return math.prod(f for index, f in enumerate(factors) if index != at)


# -- what a change of a task teaches -----------------------------------------------------


class Kind(enum.StrEnum):
    """What an executor is remembered for."""

    SUCCESS = "success"
    """It reported a verdict."""
    VALID = "valid"
    INVALID = "invalid"
    ERROR = "error"
    TIMEOUT = "timeout"
    SENT = "sent"
    """A replica was sent to it."""
    ACQUITTED = "acquitted"
    """It was found invalid, and an audit says that it was right."""
    RELEASED = "released"
    """A person let it go on."""
    RENEWED = "renewed"
    """Another installation has its name: nothing is known of that one."""


class Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a change of a task says of an executor."""

    executor: ExecutorName
    kind: Kind
    number: int
    """The replica."""
    turnaround: float = 0.0
    """Seconds from sending to the report; with a time-out, what it had."""
    replicated: bool = False
    """Whether others could have contradicted it."""
    adaptive: bool = False
    """Whether the task went by trust."""
    credit: float = 0.0
    """What it earned by being valid."""
    owner: str = ""
    """Whose executor it is."""
    count: int = 1
    """How many replicas were sent; of one that is acquitted, what it had ``checked`` before."""


def lessons(before: Task, after: Task) -> tuple[Lesson, ...]:
    """What the change from ``before`` to ``after`` says of executors, each thing once."""
    if len(after.replicas) == 1 and len(before.replicas) == 1:  # thousands of these a second
        return _between(after, before.replicas[0], after.replicas[0])
    was = {r.number: r for r in before.replicas}
    found: list[Lesson] = []
    for replica in after.replicas:
        found += _between(after, was.get(replica.number), replica)
    return tuple(found + _unreadable(before, after))


def _between(task: Task, earlier: Replica | None, replica: Replica) -> tuple[Lesson, ...]:
    """What became of one replica of the task."""
    if earlier is replica or replica.state is not ReplicaState.OVER or replica.executor is None:
        return ()
    return tuple([_lesson(task, replica, kind) for kind in _kinds(task, earlier, replica)])


def _unreadable(before: Task, after: Task) -> list[Lesson]:
    """What could not be read was wrong as soon as another result of the task is right. Until then
    it may be what the program prints, which is no fault of an executor.
    """
    if after.canonical is None or not _proves(after):
        return []
    known = _validate_errors(before) if before.canonical is not None else frozenset()
    fresh = _validate_errors(after) - known
    return [_lesson(after, r, Kind.INVALID) for r in after.replicas if r.number in fresh]


def _validate_errors(task: Task) -> frozenset[int]:
    return frozenset(
        r.number for r in task.replicas if r.outcome is Outcome.VALIDATE_ERROR and r.executor
    )


def _proves(task: Task) -> bool:
    """Whether its results say whom to trust. Where an executor may confirm itself they do not."""
    return task.spec.redundancy.distinct != "none"


def learnt(record: Reliability, lesson: Lesson, policy: TrustPolicy, now: float) -> Reliability:
    """The record after that lesson."""
    if lesson.kind is Kind.SENT:  # thousands of these a second
        return after_sent(record, now, lesson.count)
    if lesson.kind is Kind.SUCCESS:  # and of these
        return after_success(record, policy)
    return _LEARNT[lesson.kind](record, lesson, policy, now)


def _invalid(record: Reliability, lesson: Lesson, policy: TrustPolicy, now: float) -> Reliability:
    """Of who was not proven no result stands alone: there is no harm that a rest could end."""
    rests = lesson.adaptive and proven(record, policy)
    return after_invalid(record, policy, now, rests=rests)


def _valid(record: Reliability, lesson: Lesson, _policy: TrustPolicy, _now: float) -> Reliability:
    after = after_valid(record, turnaround=lesson.turnaround, replicated=lesson.replicated)
    return replace(after, credit=record.credit + lesson.credit) if lesson.credit else after


_LEARNT: Mapping[Kind, Callable[[Reliability, Lesson, TrustPolicy, float], Reliability]] = {
    Kind.VALID: _valid,
    Kind.INVALID: _invalid,
    Kind.ERROR: lambda record, _lesson, policy, now: after_error(record, policy, now),
    Kind.TIMEOUT: lambda record, lesson, policy, now: after_timeout(
        record, policy, now, delay_bound=lesson.turnaround
    ),
    Kind.ACQUITTED: lambda record, lesson, _policy, _now: acquitted(record, lesson.count),
    Kind.RELEASED: lambda record, _lesson, _policy, _now: released(record),
    Kind.RENEWED: lambda record, _lesson, _policy, _now: Reliability(
        executor=record.executor, task_class=record.task_class
    ),
}


def _kinds(task: Task, earlier: Replica | None, replica: Replica) -> list[Kind]:
    """A program's own end is no fault of its executor, nor is what was aborted or handed back."""
    kinds = []
    if earlier is None or earlier.outcome is not replica.outcome:
        if replica.outcome is Outcome.SUCCESS:
            kinds.append(Kind.SUCCESS)
        elif replica.outcome is Outcome.NO_REPLY:
            kinds.append(Kind.TIMEOUT)
        elif _is_error(replica):
            kinds.append(Kind.ERROR)
    news = earlier is None or earlier.validity is not replica.validity
    if news and replica.outcome is Outcome.SUCCESS:
        if replica.validity is Validity.VALID:
            kinds.append(Kind.VALID)
        elif replica.validity is Validity.INVALID and _proves(task):
            kinds.append(Kind.INVALID)
    return kinds


def _is_error(replica: Replica) -> bool:
    return (
        replica.outcome is Outcome.CLIENT_ERROR and replica.error_class is not ErrorClass.BAD_INPUT
    )


def _lesson(task: Task, replica: Replica, kind: Kind) -> Lesson:
    if kind is Kind.SUCCESS:  # thousands of these a second, and nothing more is learnt of them
        executor = replica.executor or ExecutorName("")
        return Lesson(executor=executor, kind=kind, number=replica.number)
    ended = replica.received_time if kind is not Kind.TIMEOUT else replica.report_deadline
    took = (ended or 0.0) - (replica.sent_time or 0.0)
    return Lesson(
        executor=replica.executor or ExecutorName(""),
        kind=kind,
        number=replica.number,
        turnaround=max(0.0, took),
        replicated=task.target_replicas > 1 and _proves(task),
        adaptive=task.spec.redundancy.adaptive,
        credit=replica.credit if kind is Kind.VALID else 0.0,
        owner=replica.owner,
    )


# -- credit ------------------------------------------------------------------------------


def claimed_credit(replica: Replica, benchmark: float) -> float:
    """What a replica's work is worth by itself: CPU seconds times its executor's benchmark.
    A compile step that was not run again earns nothing.
    """
    if replica.result is None:
        return 0.0
    compiled, executed = replica.result.compile, replica.result.execute
    seconds = executed.cpu_time if executed else 0.0
    if compiled and not compiled.cached:
        seconds += compiled.cpu_time
    return benchmark * seconds


def granted(task: Task, benchmarks: Mapping[ExecutorName, float]) -> Task:
    """The task with the credit of its valid replicas: the median of their claims, for each alike.

    An equal share leaves nothing to gain by a long claim; the median, little by two. Who is valid
    later gets what the others got (V1). An executor without a benchmark counts as 1.
    """
    if len(task.replicas) == 1:  # thousands of these a second
        return _paid(task, task.replicas[0], benchmarks)
    valid = [r for r in task.replicas if r.validity is Validity.VALID]
    if not valid:
        return task
    credit = max(r.credit for r in valid) or _median(
        [claimed_credit(r, benchmarks.get(r.executor, 1.0) if r.executor else 1.0) for r in valid]
    )
    if all(r.credit == credit for r in valid):
        return task
    paid = {r.number: replace(r, credit=credit) for r in valid}
    return replace(task, replicas=tuple(paid.get(r.number, r) for r in task.replicas))


def _paid(task: Task, replica: Replica, benchmarks: Mapping[ExecutorName, float]) -> Task:
    """With what its only replica claims."""
    if replica.validity is not Validity.VALID or replica.credit:
        return task
    benchmark = benchmarks.get(replica.executor, 1.0) if replica.executor else 1.0
    credit = claimed_credit(replica, benchmark)
    return replace(task, replicas=(replace(replica, credit=credit),)) if credit else task


def _median(claims: Sequence[float]) -> float:
    return claims[0] if len(claims) == 1 else statistics.median(claims)
