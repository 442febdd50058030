"""Toy services: small real processes that Boot keeps, each steered through files."""

from __future__ import annotations

import sys
from pathlib import Path

from accord.boot.service import Service

_PROGRAM = """
import os, pathlib, signal, sys, threading
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
end = threading.Event()
if not (folder / (name + ".deaf")).exists():
    signal.signal(signal.SIGTERM, lambda *_: end.set())
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with (folder / "story").open("a") as story:
    story.write(f"{name} started\\n")
if (folder / (name + ".broken")).exists():
    print("I cannot work", flush=True)
    sys.exit(3)
print('{"message": "I speak JSON"}', "I do not", sep="\\n", flush=True)
(folder / (name + ".up")).write_text(str(os.getpid()))
end.wait()
with (folder / "story").open("a") as story:
    story.write(f"{name} stopped\\n")
"""


def toy(
    name: str, folder: Path, needs: tuple[str, ...] = (), *, stop_timeout: float = 10.0
) -> Service:
    """A service that is ready when it has written its file."""
    up = folder / f"{name}.up"
    return Service(
        name=name,
        argv=(sys.executable, "-c", _PROGRAM, name, str(folder)),
        env={},
        cwd=folder,
        ready=up.exists,
        prepare=lambda: up.unlink(missing_ok=True),
        needs=needs,
        stop_timeout=stop_timeout,
    )


def pid(name: str, folder: Path) -> int:
    """The pid of a toy that is up."""
    return int((folder / f"{name}.up").read_text())


def story(folder: Path) -> list[str]:
    """What the toys did, in order."""
    return (folder / "story").read_text().splitlines()
