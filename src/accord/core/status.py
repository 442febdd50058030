"""The status shown to users, derived from the document in this one place.

Nothing stores a status of its own: what a store keeps beside the document is this function's
answer at the moment of writing.
"""

from __future__ import annotations

import enum


class Status(enum.StrEnum):
    """What a user sees. The last eight are final."""

    PENDING = "pending"
    COMPILING = "compiling"
    RUNNING = "running"
    VALIDATING = "validating"
    RETRYING = "retrying"
    CANCELLING = "cancelling"
    SUCCESS = "success"
    COMPILE_FAILED = "compile_failed"
    RUN_FAILED = "run_failed"
    WRONG_ANSWER = "wrong_answer"
    FORMAT_ERROR = "format_error"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def done(self) -> bool:
        """Whether it is final."""
        return self not in OPEN


OPEN = frozenset(
    {
        Status.PENDING,
        Status.COMPILING,
        Status.RUNNING,
        Status.VALIDATING,
        Status.RETRYING,
        Status.CANCELLING,
    }
)


class Reason(enum.StrEnum):
    """Why a task with the status failed has no result."""

    TOO_MANY_ERRORS = "too_many_errors"
    TOO_MANY_LOST = "too_many_lost"
    TOO_MANY_REPLICAS = "too_many_replicas"
    NO_CONSENSUS = "no_consensus"
    UNSENDABLE = "unsendable"
    DEADLINE = "deadline"
    BAD_INPUT = "bad_input"
