"""The mains of Boot's children: ``accord serve judicator|executor|gateway --config FILE``."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
import threading
from pathlib import Path

from accord import logs
from accord.boot import uwsgi
from accord.boot.process import PARENT
from accord.boot.signals import Signals
from accord.config import Settings, load
from accord.core.errors import AccordError, Unavailable

CANNOT_START = 78
"""As sysexits.h: something is wrong with the configuration or the machine."""
HUNG = 75
"""As sysexits.h: the executor's reports hang, and a new process may fare better."""
_PR_SET_PDEATHSIG = 1


def serve(argv: list[str]) -> int:
    """Run one service until SIGTERM; returns its exit code."""
    parser = argparse.ArgumentParser(prog="accord serve")
    parser.add_argument("service", choices=("judicator", "executor", "gateway"))
    parser.add_argument("--config", type=Path, required=True)
    chosen = parser.parse_args(argv)
    end_with_parent()
    try:
        settings = load(chosen.config, {}, {})
        logs.set_up(chosen.service, settings.log_level)
        if chosen.service == "gateway":
            _become_uwsgi()
        _run(chosen.service, settings)
    except AccordError as error:
        logs.set_up(chosen.service)
        logs.get(chosen.service).error(
            error.message, extra={"action": "cannot_start", "code": error.code}
        )
        hung = chosen.service == "executor" and isinstance(error, Unavailable)
        return HUNG if hung else CANNOT_START
    return 0


def end_with_parent() -> None:
    """Have the kernel send SIGTERM when Boot dies; end at once where it is dead already."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(0)


def _become_uwsgi() -> None:
    # exec keeps the pid that Boot knows, and the wish to end with the parent
    argv = [sys.executable, *uwsgi.RUN, "--ini", "gateway.ini"]
    os.execv(sys.executable, argv)  # noqa: S606  # there is nothing for a shell to do


def _run(service: str, settings: Settings) -> None:
    from accord import wiring

    stop = threading.Event()
    main = {"judicator": wiring.run_judicator, "executor": wiring.run_executor}[service]
    with Signals(first=stop.set):
        main(settings, stop)
