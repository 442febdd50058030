"""SIGTERM and SIGINT, taken outside the handler.

A Python handler runs between any two lines of the main thread, perhaps while it holds the very
lock that a callback would take. So the handler only writes a byte to a pipe, and a thread that
reads it calls back: the first signal, and then each further one.
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
        thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        thread.start()
        for number in NUMBERS:
            self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        os.close(self._writer)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        os.write(self._writer, bytes([number]))

    def _listen(self) -> None:
        calls = 0
        while os.read(self._reader, 1):
            (self._again if calls else self._first)()
            calls += 1
        os.close(self._reader)
