"""Tasks added to a batch from a request's body, and what is told where that ends early.

A list is taken whole or not at all. A stream is taken as it comes, so an error names the line, the
batch, how much of it is in there, and how to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec
from pydantic import ValidationError
from werkzeug.exceptions import BadRequest

from accord.core import documents
from accord.core.batch import Batch
from accord.core.errors import AccordError, AlreadyDone, Invalid, KeyReused, NotYet
from accord.core.task import NewTask
from accord.delivery.http.batch_intake import no_tasks
from accord.delivery.http.documents import API
from accord.delivery.http.portions import Portions
from accord.delivery.http.problems import invalid, placed
from accord.delivery.http.requests import lines_of, parse_json
from accord.delivery.http.submissions import Submission

_BESIDE = 2048
"""Bytes that a task has on the wire beside what it was submitted with, about."""
Error = TypeVar("Error", bound=AccordError)


def add_list(portions: Portions, tasks: Sequence[NewTask], first: int, *, close: bool) -> Batch:
    """Add the tasks of a list from number ``first`` on. Raises what the judicator raises, naming
    the place in the list.
    """
    try:
        for number, task in enumerate(tasks[first:], first):
            portions.add(task, len(documents.encode(task)), number)
        return portions.flush(close=close)
    except AccordError as error:
        mark = error.fields.pop("mark", None)
        found = error if mark is None else placed(error, f"tasks.{mark}")
        _withdraw(found, portions)
        raise _with_facts(found, portions, first) from error


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A body of one task a line."""

    read: Callable[[], bytes]
    """A piece of it, empty at its end."""
    make: Callable[[Submission], NewTask]
    needed: bool
    """Whether there must be a task."""
    close: bool
    """Whether the batch is closed after the last one."""
    key: str | None = None
    """With which the whole may be sent again."""


def add_stream(portions: Portions, stream: Stream) -> Batch:
    """Add the tasks of a stream. Raises Invalid, NotYet and what the judicator raises, each with
    the line, the batch and how many were taken: all before that line.
    """
    try:
        bad = _add_lines(portions, stream)
        if bad is None:
            return portions.flush(close=stream.close)
        if portions.handed:
            portions.flush()
    except AccordError as error:
        bad = _refused(error, portions)
    raise _how_to_go_on(bad, portions, stream.key)


def _refused(error: AccordError, portions: Portions) -> AccordError:
    """The judicator's error; where it means one task, those before that are added."""
    line = error.fields.pop("mark", None)
    if isinstance(line, int):
        portions.keep_before(line)
        try:
            portions.flush()
        except AccordError as other:
            return other
        error = _of_line(error, line)
    _withdraw(error, portions)
    return error


def _withdraw(error: AccordError, portions: Portions) -> None:
    """A batch of which not one task was taken is none, unless a repeat may still fill it."""
    if not error.retry:
        portions.withdraw()


def _add_lines(portions: Portions, stream: Stream) -> AccordError | None:
    """What was wrong with the line that was read last, if anything was."""
    for number, line in _lines(stream.read):
        try:
            if isinstance(line, AccordError):
                raise line
            task = stream.make(Submission.model_validate(parse_json(line)))
        except (BadRequest, ValidationError, Invalid, NotYet) as error:
            return _of_line(error, number)
        portions.add(task, len(line) + _BESIDE, number)
    return no_tasks() if stream.needed and not portions.handed else None


def _lines(read: Callable[[], bytes]) -> Iterator[tuple[int, bytes | AccordError]]:
    """The lines of a body; the last may be why there are no more."""
    number = 0
    try:
        for number, line in lines_of(read):
            yield number, line
    except Invalid as error:
        yield number + 1, error
    except BadRequest:
        yield number + 1, Invalid("The body broke off before its end. Send the rest.")


def _of_line(error: BadRequest | ValidationError | AccordError, number: int) -> AccordError:
    if isinstance(error, ValidationError):
        error = invalid(error)
    elif isinstance(error, BadRequest):
        error = Invalid(error.description)
    error.fields.setdefault("line", number)
    error.message = f"Line {error.fields['line']}: {error.message}"
    return error


def _how_to_go_on(error: AccordError, portions: Portions, key: str | None) -> AccordError:
    """The error with what is in the batch, and what the sender can do."""
    _with_facts(error, portions)
    if portions.batch is None:
        error.message += " Nothing of this request was taken."
        return error
    if isinstance(error, AlreadyDone | KeyReused):
        return error  # the batch takes nothing of this, however it is sent
    home = f"{API}/batches/{portions.batch.id}"
    where = f"?at={portions.at}&close=true" if portions.at >= 0 else "?close=true"
    again = ", send everything again with the same Idempotency-Key" if key else ""
    error.message += (
        f" Batch {portions.batch.id} has {portions.taken} of its tasks and stays as it is. POST "
        f"those that follow to {home}/tasks{where}{again}, or cancel the batch."
    )
    return error


def _with_facts(error: Error, portions: Portions, before: int = 0) -> Error:
    if portions.batch is not None:
        error.fields["batch"] = portions.batch.id
    error.fields["taken"] = before + portions.taken
    return error
