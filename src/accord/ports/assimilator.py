"""Assimilators: what is told of the end of each task that asks for it (rule A1).

A package registers one under the entry point group ``accord.assimilators``: the name is what a
task says in ``assimilate``, the object a class without arguments that keeps this contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import msgspec

from accord.core.replica import Content
from accord.core.task import Task

KEEP = "keep"
"""The handler of tasks that name none: the result stays where it is, and nobody is called."""

AUDIT = "audit"
"""The handler of audits, which is Accord's own: no other task may name it."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a task, as its handler is told."""

    token: str
    """Names this end: a call that is repeated after a crash carries the same one."""
    task: Task
    options: Mapping[str, str]
    """What the task says to its handler."""
    result: Mapping[str, Any]
    """The fields of a line of results, see docs/reference/batches.md."""
    read: Callable[[Content], Iterator[bytes]]
    """The bytes of any content of the task, in chunks."""


class Assimilator(Protocol):
    """A handler. It runs in the leading judicator, on one thread, so it must be quick."""

    def check(self, options: Mapping[str, str]) -> None:
        """Raise ``core.errors.Invalid`` where it cannot do with these options; called when a task
        is added.
        """

    def assimilate(self, ending: Ending) -> None:
        """Do what is to be done once with the task's end. Called at least once: the call is
        repeated where a crash came before its return was noted, and with growing pauses for as
        long as it raises, whatever it raises.
        """
