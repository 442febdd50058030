"""What a Boot that was killed left running is stopped before anything is started.

Children end by themselves when their Boot dies; this one makes sure of it, waits for those that
are still finishing, and says which they were.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable

from accord import logs
from accord.boot import pids
from accord.boot.layout import Layout
from accord.boot.pids import Identity

GRACE = 3.0
"""Seconds that a leftover gets to end. An executor would let its programs finish, but nothing serves
meanwhile, and none of the services loses anything when it is killed."""

_log = logs.get("boot")


def stop_leftovers(layout: Layout, services: Iterable[str]) -> dict[str, int]:
    """Stop what still runs of these services; returns their names and pids."""
    found: dict[str, Identity] = {}
    for name in services:
        running = layout.pid_file(name).running()
        if running:
            found[name] = running
            pids.send(running, signal.SIGTERM)
    for name, identity in found.items():
        _finish(identity)
        _log.warning(
            "A service of a former Boot was stopped",
            extra={"action": "leftover", "kept": name, "pid": identity.pid},
        )
    for name in services:
        layout.pid_file(name).clear()
    return {name: identity.pid for name, identity in found.items()}


def _finish(identity: Identity) -> None:
    if pids.wait_gone(identity, GRACE):
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(identity.pid, signal.SIGKILL)  # each service leads a process group
    pids.wait_gone(identity, GRACE)
