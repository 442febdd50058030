"""Errors by class, from the problem documents of the API. ``retry`` tells whether to try again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class AccordClientError(Exception):
    """Something went wrong between this program and Accord."""

    retry: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int = 0,
        field: str | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        """The HTTP status, 0 where there was no answer."""
        self.field = field
        """The field of the request that must be changed, where one is to blame."""
        self.problem = problem or {}
        """The whole problem document; of a stream it says what of it arrived."""


class Unreachable(AccordClientError):
    """Nothing answers at that address."""

    retry = True


class Unavailable(AccordClientError):
    """The gateway answers, but no judicator can be reached at the moment."""

    retry = True


class Invalid(AccordClientError):
    """The request is not valid; ``field`` says what to change."""


class NotYet(Invalid):
    """The request asks for what this version does not do yet."""


class TooLarge(Invalid):
    """The request is larger than what is allowed."""


class NotFound(AccordClientError):
    """There is nothing by that id."""


class Conflict(AccordClientError):
    """The task's state does not allow it: already done, not done yet, or without a result; or the
    key is taken.
    """


class Unauthenticated(AccordClientError):
    """A valid token is needed."""


class Forbidden(AccordClientError):
    """The token's role does not allow it."""


_BY_CODE: dict[str, type[AccordClientError]] = {
    "invalid": Invalid,
    "not_yet": NotYet,
    "too_large": TooLarge,
    "not_found": NotFound,
    "already_done": Conflict,
    "not_done": Conflict,
    "no_result": Conflict,
    "key_reused": Conflict,
    "unauthenticated": Unauthenticated,
    "forbidden": Forbidden,
    "unavailable": Unavailable,
}

_BY_STATUS: dict[int, type[AccordClientError]] = {
    400: Invalid,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: Invalid,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def from_problem(status: int, problem: Mapping[str, Any]) -> AccordClientError:
    """The error that a problem document tells of. Total: any mapping gives one.

    >>> from_problem(404, {"code": "not_found", "detail": "There is no such task."})
    NotFound('There is no such task.')
    """
    code = str(problem.get("code", ""))
    cls = _BY_CODE.get(code) or _BY_STATUS.get(status, AccordClientError)
    message = str(problem.get("detail") or problem.get("title") or f"HTTP status {status}")
    field = problem.get("field")
    field = str(field) if field else None
    return cls(message, code=code, status=status, field=field, problem=problem)
