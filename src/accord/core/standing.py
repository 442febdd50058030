"""How an executor stands with one class of tasks: what is known of it, for people to read."""

from __future__ import annotations

import msgspec

from accord.core import reliability
from accord.core.reliability import DAY, Reliability, TrustPolicy


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A record of reliability, and what follows from it at a moment."""

    task_class: str
    consecutive_valid: int = 0
    checked: int = 0
    caught: int = 0
    error_rate: float = 0.0
    turnaround: float = 0.0
    """Mean seconds from sending to the report."""
    quota: int = 0
    """Replicas that it may begin today, on all slots."""
    sent_today: int = 0
    failures: int = 0
    """Infrastructure failures in a row."""
    quarantined_until: float = 0.0
    rests_until: float = 0.0
    trusted: bool = False
    """Whether a result of its own may stand alone where a task is adaptive."""
    reliable: bool = False
    """Whether retries are given to it first."""
    credit: float = 0.0
    note: str = ""
    """Why it gets no work of the class, or but one task; empty where nothing is against it."""


class Credit(msgspec.Struct, frozen=True, kw_only=True):
    """Who was granted credit: seconds of a processor of benchmark 1."""

    users: dict[str, float] = {}
    """By user: what was granted for replicas of tasks of theirs, that is what they had computed."""
    owners: dict[str, float] = {}
    """By owner: what their executors earned."""


def standing(record: Reliability, policy: TrustPolicy, slots: int, now: float) -> Standing:
    """How the executor of a record stands now."""
    return Standing(
        task_class=record.task_class,
        consecutive_valid=record.consecutive_valid,
        checked=record.checked,
        caught=record.caught,
        error_rate=record.error_rate,
        turnaround=record.turnaround.mean,
        quota=reliability.limit(record, slots, policy),
        sent_today=reliability.begun_today(record, now),
        failures=record.failures,
        quarantined_until=record.quarantined_until,
        rests_until=record.rests_until,
        trusted=reliability.proven(record, policy),
        reliable=reliability.reliable(record, policy),
        credit=record.credit,
        note=_note(record, policy, slots, now),
    )


def _note(record: Reliability, policy: TrustPolicy, slots: int, now: float) -> str:
    class_ = record.task_class
    if now < record.rests_until:
        until = moment(record.rests_until, now)
        return f"rests from {class_} until {until}, since a result of its was wrong"
    if reliability.quarantined(record, policy, now):
        until = moment(record.quarantined_until, now)
        return (
            f"quarantined for {class_} until {until} after {record.failures} failures in a row;"
            " then it gets one task as a probe"
        )
    if reliability.probing(record, policy):
        return f"gets one task of {class_} as a probe, after {record.failures} failures in a row"
    most = reliability.limit(record, slots, policy)
    if reliability.begun_today(record, now) >= most:
        until = moment((record.day + 1) * DAY - reliability.shift(record.executor), now)
        return f"has begun its {most} of {class_} for the day, which ends at {until}"
    return ""


def moment(time: float, now: float) -> str:
    """A time for a person; with the days until then where it is not within one.

    >>> moment(43380.0, 0.0), moment(172800.0, 0.0)
    ('12:03 UTC', '00:00 UTC in 2 days')
    """
    hour, minute = divmod(int(time % DAY) // 60, 60)
    days = int((time - now) // DAY)
    later = f" in {days} day{'s' if days > 1 else ''}" if days > 0 else ""
    return f"{hour:02}:{minute:02} UTC{later}"
