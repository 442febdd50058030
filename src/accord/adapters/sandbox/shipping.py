"""Brings code into processes that have no accord: the init of a box, and the spawner.

The modules travel as compiled code, so that a box does not compile a thousand lines at its start.
Compiled code belongs to one version of Python, so it is made by the interpreter that will run it.
"""

from __future__ import annotations

import importlib.resources
import marshal
import os
import subprocess

from accord.core.errors import SandboxError

PACKAGE = "accord.adapters.sandbox"
INIT = ("wire", "paths", "archive", "wipe", "init")
SPAWNER = ("wire", "spawner")

BOOT = """
import marshal, sys
with open(int(sys.argv[1]), "rb") as file:
    parts = marshal.load(file)
for name, code in parts:
    module = sys.modules[name] = type(sys)(name)
    exec(code, module.__dict__)
module.main(int(sys.argv[2]), *[item.encode() for item in sys.argv[3:]])
"""
"""What such a process runs: its arguments are the descriptor of the code, that of its connection,
and what else its ``main`` takes."""

_COMPILE = """
import marshal, sys
parts = marshal.load(sys.stdin.buffer)
compiled = [(name, compile(text, name, "exec", optimize=2)) for name, text in parts]
marshal.dump(compiled, sys.stdout.buffer)
"""


def compiled(interpreter: str, modules: tuple[str, ...]) -> int:
    """A descriptor of the modules' code for that interpreter. Raises SandboxError."""
    parts = [(f"{PACKAGE}.{name}", _source(name)) for name in modules]
    argv = [interpreter, "-I", "-S", "-c", _COMPILE]
    try:
        done = subprocess.run(
            argv, input=marshal.dumps(parts, 2), capture_output=True, check=True, env={}, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        stderr = getattr(error, "stderr", None) or b""
        last = stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [str(error)]
        raise SandboxError(
            f"The Python at {interpreter} cannot run the init of a box: {last[0]}"
        ) from error
    fd = os.memfd_create("code", os.MFD_CLOEXEC)
    os.write(fd, done.stdout)
    return fd


def reopened(fd: int) -> int:
    """Another descriptor of the same file for reading, from its beginning."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)


def _source(module: str) -> str:
    return importlib.resources.files(PACKAGE).joinpath(f"{module}.py").read_text(encoding="utf-8")
