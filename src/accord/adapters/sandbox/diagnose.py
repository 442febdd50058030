"""What this machine can do for a box, step by step, with the remedy for each thing that is missing.

``accord doctor`` prints it. Each step needs the one before, so it stops at the first that fails.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import msgspec

from accord.adapters.sandbox.bwrap import BwrapSandbox, choose_accounting
from accord.adapters.sandbox.launch import find_bwrap, find_interpreter
from accord.config import SandboxSettings
from accord.core.errors import SandboxError
from accord.core.executor import Isolation
from accord.ports.clock import Clock


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    what: str
    ok: bool
    detail: str
    remedy: str = ""


def diagnose(settings: SandboxSettings, clock: Clock, first_uid: int = 200_000) -> list[Finding]:
    """Look at everything that a box needs. Raises nothing: what fails is a finding."""
    found: list[Finding] = []
    try:
        found.extend(_steps(settings, clock, first_uid))
    except SandboxError as error:
        what = ("bubblewrap", "init", "accounting", "box")[min(len(found), 3)]
        found.append(Finding(what=what, ok=False, detail="it does not work", remedy=error.message))
    return found


def _steps(settings: SandboxSettings, clock: Clock, first_uid: int) -> Iterator[Finding]:
    bwrap = find_bwrap(settings.bwrap)
    yield Finding(what="bubblewrap", ok=True, detail=f"{_version(bwrap)} at {bwrap}")
    yield Finding(what="init", ok=True, detail=f"run by {find_interpreter()[0]}")
    accounting = choose_accounting(settings.cgroup, clock)
    accounting.close()
    yield _counted(accounting.level, accounting.why)
    sandbox = BwrapSandbox(settings, clock, first_uid)
    try:
        yield from _held(sandbox.isolation())
    finally:
        sandbox.close()
    yield _uids(first_uid)


def _version(bwrap: str) -> str:
    try:
        done = subprocess.run(
            [bwrap, "--version"], capture_output=True, check=True, timeout=30, env={}
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SandboxError(f"{bwrap} does not run: {error}. Set sandbox.bwrap.") from error
    return done.stdout.decode("utf-8", "replace").strip()


def _counted(level: str, why: str) -> Finding:
    remedy = ""
    if level == "bwrap+poll":
        remedy = (
            "Memory and processor time are sampled, not counted. Run as root, or as a user by "
            "'systemd-run --user --scope -p Delegate=yes'."
        )
    detail = f"{level} ({why})" if why else level
    return Finding(what="accounting", ok=True, detail=detail, remedy=remedy)


def _held(isolation: Isolation) -> Iterator[Finding]:
    held = [name for name, result in isolation.checks.items() if result == "held"]
    yield Finding(what="box", ok=True, detail=f"{len(held)} attacks failed in it, as they should")
    for name, result in isolation.checks.items():
        if result != "held":
            yield Finding(what=f"attack {name}", ok=True, detail=result)


def _uids(first_uid: int) -> Finding:
    if os.geteuid() == 0:
        return Finding(what="users", ok=True, detail=f"one host uid per slot, from {first_uid}")
    return Finding(what="users", ok=True, detail=f"all slots run as your own uid {os.geteuid()}")
