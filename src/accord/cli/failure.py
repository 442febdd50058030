"""How a command fails: an exit code, and one line on stderr that says what to do."""

from __future__ import annotations

import signal
import sys

FAILED = 1
USAGE = 2
UNREACHABLE = 69
"""As sysexits.h: a service is not available."""
INTERRUPTED = 128 + signal.SIGINT


class Failure(Exception):
    """A command cannot do what it was asked to; the message says what to do."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def complain(message: str) -> None:
    """One line on stderr."""
    print(f"accord: {' '.join(message.split())}", file=sys.stderr)
