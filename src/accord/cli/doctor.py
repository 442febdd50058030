"""``accord doctor``: what this machine can do, what is missing, and what to do about it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import typer

from accord.cli.options import Config, Data, Json
from accord.cli.output import amount, print_json, printable

if TYPE_CHECKING:
    from accord.config import Settings

LITTLE_SPACE = 1 << 30
_SIGNS = {"ok": "✓", "missing": "·", "bad": "✗"}
_COLOURS = {"ok": "green", "missing": "yellow", "bad": "red"}

_PACKAGES = {
    "c": "gcc libc6-dev",
    "cpp": "g++",
    "python": "python3",
    "javascript": "nodejs",
    "java": "default-jdk-headless",
    "go": "golang-go",
    "rust": "rustc",
    "ruby": "ruby",
    "perl": "perl",
    "bash": "bash",
}
"""Debian's packages for the languages."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    subject: str
    state: Literal["ok", "missing", "bad"]
    """``missing``: Accord works without it; ``bad``: it does not."""
    detail: str
    remedy: str = ""


def doctor(json: Json = False, data: Data = None, config: Config = None) -> None:
    """Say what this machine can do, what is missing, and what to do about it.

    Exits with 1 where the platform could not run here.
    """
    found = []
    for finding in examine(config, data):
        found.append(finding)
        if not json:
            _print(finding)
    if json:
        print_json([msgspec.to_builtins(finding) for finding in found])
    raise typer.Exit(1 if any(f.state == "bad" for f in found) else 0)


def _print(finding: Finding) -> None:
    sign = _SIGNS[finding.state]
    if sys.stdout.isatty():
        sign = typer.style(sign, fg=_COLOURS[finding.state])
    print(f"{sign} {finding.subject:12} {printable(finding.detail)}")
    if finding.remedy:
        print(f"  {'':12} → {finding.remedy}", flush=True)


def examine(config: Path | None, data: Path | None) -> Iterator[Finding]:
    """Look at everything, cheapest first. Raises Invalid for a bad configuration."""
    from accord.cli.platform import load_settings

    settings = load_settings(config, data, {})
    yield _python()
    yield _disk(Path(settings.data))
    yield _port(settings.gateway.host, settings.gateway.port, "site")
    yield _port(settings.judicator.host, settings.judicator.port, "judicator")
    yield from _box(settings)


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.platform != "linux":
        detail = f"this is {sys.platform}"
        return Finding(
            subject="system", state="bad", detail=detail, remedy="Accord runs on Linux only."
        )
    return Finding(subject="python", state="ok", detail=f"{version} on Linux {os.uname().release}")


def _disk(data: Path) -> Finding:
    there = next(path for path in (data, *data.parents) if os.access(path, os.F_OK))
    if not os.access(there, os.W_OK):
        return Finding(
            subject="disk",
            state="bad",
            detail=f"{there} cannot be written",
            remedy="Choose another directory with --data.",
        )
    free = shutil.disk_usage(there).free
    if free < LITTLE_SPACE:
        return Finding(
            subject="disk",
            state="missing",
            detail=f"only {amount(free)} free for {data}",
            remedy="Make room, or choose another directory with --data.",
        )
    return Finding(subject="disk", state="ok", detail=f"{amount(free)} free for {data}")


def _port(host: str, port: int, what: str) -> Finding:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Finding(
                subject="port",
                state="missing",
                detail=f"{port} for the {what}: {error.strerror}",
                remedy="Perhaps Accord runs already; else choose another: accord up --port 7100",
            )
    return Finding(subject="port", state="ok", detail=f"{port} for the {what} is free")


def _box(settings: Settings) -> Iterator[Finding]:
    """The sandbox by its own findings, then, where it works, each language in a box."""
    from accord import wiring

    works = True
    for found in wiring.diagnose_sandbox(settings):
        works = works and found.ok
        yield Finding(
            subject=found.what,
            state="ok" if found.ok else "bad",
            detail=found.detail,
            remedy=found.remedy,
        )
    if works:
        yield from _languages(settings)


def _languages(settings: Settings) -> Iterator[Finding]:
    from accord import wiring
    from accord.core.languages import PRESETS

    versions, absent = wiring.probe_languages(settings)
    for name in (*PRESETS, *(one.name for one in settings.executor.languages)):
        if name in versions:
            yield Finding(subject=name, state="ok", detail=versions[name])
        else:
            yield Finding(
                subject=name,
                state="missing",
                detail=absent.get(name, "its probe did not answer"),
                remedy=f"On Debian: apt-get install {_PACKAGES[name]}" if name in _PACKAGES else "",
            )
