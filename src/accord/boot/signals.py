"""SIGTERM and SIGINT, taken outside the handler.

A Python handler runs between any two lines of the main thread, perhaps while it holds the very
lock that a callback would take; and it does not run at all while the main thread sleeps in a lock
and the kernel gave the signal to another thread, as it does now and then where a parent with many
threads dies. So the handler does nothing: the interpreter writes the signal's number to a pipe, in
whatever thread it comes, and a thread that reads the pipe calls back: the first signal, and then
each further one.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """While entered (from the main thread), signals call ``first``, later ones ``again``."""

    def __init__(self, first: Callable[[], None], again: Callable[[], None] = lambda: None) -> None:
        self._first = first
        self._again = again
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._writer, False)
        self._former_fd = signal.set_wakeup_fd(self._writer)
        thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        thread.start()
        for number in NUMBERS:
            self._former[number] = signal.signal(number, _ignore)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._former_fd)
        os.close(self._writer)

    def _listen(self) -> None:
        calls = 0
        while number := os.read(self._reader, 1):
            if number[0] not in NUMBERS:  # a signal that is somebody else's
                continue
            (self._again if calls else self._first)()
            calls += 1
        os.close(self._reader)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """What Python runs. It must be there: a signal without a handler is not written to the pipe."""
