"""What starts programs for the init: compiled from ``starter.c`` where there is a C compiler.

It saves the init a fork of its interpreter, about half of what a run costs. It travels into the box
as a descriptor, from which the init loads it, and no program ever gets hold of that.
"""

from __future__ import annotations

import fcntl
import functools
import importlib.resources
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from accord import logs
from accord.adapters.sandbox.shipping import PACKAGE

_TIMEOUT = 60.0
_FLAGS = ("-O2", "-shared", "-fPIC", "-s", "-x", "c", "-")
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

_log = logs.get("sandbox.starter")


def starter() -> int | None:
    """A descriptor of the library, which cannot be changed any more; None where it cannot be
    made. The caller closes it.
    """
    program = _compiled(shutil.which("cc"))
    if program is None:
        return None
    fd = os.memfd_create("starter", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(program)
    os.fchmod(fd, 0o555)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd


@functools.cache
def _compiled(compiler: str | None) -> bytes | None:
    if compiler is None:
        return None
    try:
        with tempfile.TemporaryDirectory(prefix="accord-starter-") as folder:
            return _compiled_in(compiler, Path(folder, "starter"))
    except (OSError, subprocess.SubprocessError) as error:
        _log.info(
            "Programs are started the slow way, since the C compiler here is of no use for it",
            extra={"action": "no_starter", "why": str(error)},
        )
        return None


def _compiled_in(compiler: str, target: Path) -> bytes:
    source = importlib.resources.files(PACKAGE).joinpath("starter.c").read_bytes()
    argv = [compiler, "-o", str(target), *_FLAGS]
    subprocess.run(argv, input=source, capture_output=True, check=True, timeout=_TIMEOUT)
    return target.read_bytes()
