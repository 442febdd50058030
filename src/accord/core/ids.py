"""Names of things, as distinct types, so that one cannot be passed for another."""

from __future__ import annotations

import re
from typing import NewType

from accord.core.errors import Invalid

TaskId = NewType("TaskId", str)
"""A ULID, 26 characters: ids sort by the time at which they were made."""
BatchId = NewType("BatchId", str)
"""A ULID too. The tasks of a batch share its first 19 characters, see ``member``."""
ExecutorName = NewType("ExecutorName", str)
SessionId = NewType("SessionId", str)
"""One life of an executor's process; made anew at each start."""
UserName = NewType("UserName", str)
TokenId = NewType("TokenId", str)
Digest = NewType("Digest", str)
"""SHA-256 of some bytes, 64 lower-case hexadecimal digits."""

MOST_MEMBERS = 1 << 28
"""Places in a batch; the last one is its finishing task's."""
MOST_ATTEMPTS = 1 << 7
"""Tasks that may take one place of a batch, one after the other."""

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_OWN = 19
"""Characters that the tasks of a batch share with it: 48 bits of time, 45 bits of chance."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")


def digest(text: str) -> Digest:
    """Check that ``text`` is a digest. Raises Invalid."""
    if not _DIGEST.fullmatch(text):
        raise Invalid("A digest is 64 lower-case hexadecimal digits.", field="digest")
    return Digest(text)


def name(text: str, field: str = "name") -> str:
    """Check the name of a user, executor or the like. Raises Invalid."""
    if not _NAME.fullmatch(text):
        raise Invalid(
            f"{field} must be 1 to 64 letters, digits or . _ @ - and begin with a letter or digit.",
            field=field,
        )
    return text


def task_id(text: str) -> TaskId | None:
    """The task id that ``text`` spells in any case, or None where it spells none.

    >>> task_id("01arz3ndektsv4rrffq69g5fav")
    '01ARZ3NDEKTSV4RRFFQ69G5FAV'
    >>> task_id("../etc") is None
    True
    """
    upper = text.upper()
    return TaskId(upper) if _ULID.fullmatch(upper) else None


def member(batch: BatchId, index: int, attempt: int = 0) -> TaskId:
    """The id of the task in place ``index`` of a batch; ``attempt`` counts its retries from 0.

    The ids of a batch sort by their places. That they follow from the place is what makes a
    repeated addition find the task that is there instead of making another.

    >>> member(BatchId("01ARZ3NDEKTSV4RRFFQ69G5FAV"), 5)
    '01ARZ3NDEKTSV4RRFFQ00000M0'
    """
    number = index * MOST_ATTEMPTS + attempt
    digits = [_DIGITS[(number >> shift) & 31] for shift in range(30, -1, -5)]
    return TaskId(batch[:_OWN] + "".join(digits))


def finisher(batch: BatchId, attempt: int) -> TaskId:
    """The id of a finishing task of a batch; ``attempt`` counts them from 0."""
    return member(batch, MOST_MEMBERS - 1, attempt)


def place(task: TaskId) -> tuple[int, int]:
    """The place and the attempt that the id of a task of a batch spells.

    >>> place(member(BatchId("01ARZ3NDEKTSV4RRFFQ69G5FAV"), 777, 3))
    (777, 3)
    """
    number = 0
    for digit in task[_OWN:]:
        number = number * 32 + _DIGITS.index(digit)
    return divmod(number, MOST_ATTEMPTS)
