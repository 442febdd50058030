"""The tree of errors. The docstring of a class is its default message; its code is stable.

``code`` travels over Thrift and HTTP unchanged; ``retry`` says whether the same call,
unchanged, may succeed later; ``fields`` are facts for a program, the message is for a person
and says what to do next. ``docs/reference/errors.md`` lists them all, and a test keeps the two
equal.
"""

from __future__ import annotations

from typing import ClassVar


class AccordError(Exception):
    """Something failed inside Accord. The logs of the judicator say what."""

    code: ClassVar[str] = "internal"
    retry: ClassVar[bool] = False

    def __init__(self, message: str | None = None, **fields: str | int | float | None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.fields = fields
        super().__init__(self.message)


class Invalid(AccordError):
    """The request is not valid. The field named must be changed."""

    code = "invalid"


class NotYet(AccordError):
    """This version of Accord does not do that yet."""

    code = "not_yet"


class NotFound(AccordError):
    """There is nothing by that id. List what there is, or check the id."""

    code = "not_found"


class AlreadyDone(AccordError):
    """The task is done, so this can no longer be changed. Retry makes a new task of it."""

    code = "already_done"


class NotDone(AccordError):
    """The task is not done yet. Wait for it, or cancel it first."""

    code = "not_done"


class NoResult(AccordError):
    """The task ended without a result that was agreed on. Retry makes a new task of it."""

    code = "no_result"


class KeyReused(AccordError):
    """This idempotency key was used for another task. Take a new key for a new task."""

    code = "key_reused"


class TooLarge(AccordError):
    """The request is larger than what is allowed. Send less, or ask the administrator."""

    code = "too_large"


class Unauthenticated(AccordError):
    """A valid token is needed. Send it as the header "Authorization: Bearer TOKEN"."""

    code = "unauthenticated"


class Forbidden(AccordError):
    """This token may not do that. Ask an administrator for a role that may."""

    code = "forbidden"


class NameTaken(AccordError):
    """Another executor of this name is alive. Give this one another name."""

    code = "name_taken"


class UnknownSession(AccordError):
    """The judicator does not know this session. The executor introduces itself again."""

    code = "unknown_session"
    retry = True


class Superseded(AccordError):
    """A later call of the same executor has taken this one's place."""

    code = "superseded"


class Unavailable(AccordError):
    """No judicator can be reached at the moment. Try again shortly."""

    code = "unavailable"
    retry = True


class Corrupt(AccordError):
    """Stored or sent data could not be read."""

    code = "corrupt"


class SandboxError(AccordError):
    """The box could not run the program. ``accord doctor`` says what this machine lacks."""

    code = "sandbox"
    retry = True


class InvalidTransition(AccordError):
    """An event that cannot follow the item's state. This is a fault of Accord itself."""

    code = "invalid_transition"


def all_errors() -> dict[str, type[AccordError]]:
    """Every error class that has a code of its own, by it."""
    found: dict[str, type[AccordError]] = {AccordError.code: AccordError}
    waiting = list(AccordError.__subclasses__())
    while waiting:
        cls = waiting.pop()
        if "code" in vars(cls):  # one without stands for its parent's
            found[cls.code] = cls
        waiting.extend(cls.__subclasses__())
    return found
