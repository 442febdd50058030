"""The way in: runs a command, and turns whatever goes wrong into one line and an exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from accord.cli.failure import FAILED, INTERRUPTED, UNREACHABLE, Failure, complain


def main() -> NoReturn:
    """Run the command line of this process."""
    if sys.argv[1:2] == ["serve"]:  # Boot's children: nothing of the command line is imported
        from accord.cli.serve import serve

        sys.exit(serve(sys.argv[2:]))
    from accord.cli.app import run

    sys.exit(guarded(run))


def guarded(command: Callable[[], int]) -> int:
    """The command's exit code; errors become one line on stderr."""
    _fill_streams()
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGHUP, _interrupt)
        code = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        _forget_stdout()
        return 128 + signal.SIGPIPE
    except Exception as error:  # noqa: BLE001  # the one place where every fault becomes a line
        return report(error)
    return code


def _fill_streams() -> None:
    """Where our caller closed a standard stream, its place is taken before a file takes it.

    What the caller's encoding lacks is written as an escape.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            taken = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115  # stays open
            setattr(sys, name, taken)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _forget_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def report(error: Exception) -> int:
    """Say in one line what went wrong; returns the exit code."""
    from accord.boot.supervisor import BootError
    from accord.client import AccordClientError, Unauthenticated, Unavailable, Unreachable
    from accord.core.errors import AccordError

    if isinstance(error, Unauthenticated):
        complain("This platform wants a valid token. Give it by ACCORD_TOKEN or --token.")
        return FAILED
    if isinstance(error, AccordClientError):
        complain(error.message)
        return UNREACHABLE if isinstance(error, Unreachable | Unavailable) else FAILED
    if isinstance(error, AccordError | BootError | Failure):
        complain(str(error))
        return error.exit_code if isinstance(error, Failure) else FAILED
    if isinstance(error, OSError) and error.strerror:
        complain(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
        return FAILED
    complain(f"Unexpected {type(error).__name__}: {error}. The details are in {_keep(error)}")
    return FAILED


def _keep(error: Exception) -> Path:
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    path = state / "accord" / "cli.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return Path("nowhere, since that file cannot be written") / path.name
    return path
