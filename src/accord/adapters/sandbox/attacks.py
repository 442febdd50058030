"""Attacks on the host, tried by the self-test inside a box and, as a control, outside of it.

Runs as a program under ``python3 -I -S`` with its orders as JSON in argv: a map of attack to
arguments. Writes a JSON map of attack to "" (it succeeded) or why it failed to stderr.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import socket
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_PTRACE_SEIZE, _PTRACE_DETACH = 0x4206, 17
_IO_URING_SETUP = 425


def read_file(path: str) -> None:
    """Read a file of the host, or what /proc shows of another process."""
    with Path(path).open("rb") as file:
        file.read(1)


def connect_tcp(port: int) -> None:
    """Reach a service on the host's loopback."""
    socket.create_connection(("127.0.0.1", port), timeout=1).close()


def connect_unix(name: str) -> None:
    """Reach an abstract socket of the host."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(1)
        sock.connect("\0" + name)


def kill(pid: int) -> None:
    """Kill a process of the same uid outside."""
    os.kill(pid, 9)


def ptrace(pid: int) -> None:
    """Trace a process of the same uid outside."""
    _checked(_libc().ptrace(_PTRACE_SEIZE, pid, None, None))
    os.kill(pid, 0)


def become_root() -> None:
    """Take uid 0."""
    os.setresuid(0, 0, 0)


def new_user_namespace() -> None:
    """Get all capabilities, in a namespace of one's own."""
    pid = os.fork()
    if pid == 0:
        os._exit(ctypes.get_errno() if _libc().unshare(_CLONE_NEWUSER) != 0 else 0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))


def write_sysctl(path: str) -> None:
    """Have the kernel run a program of ours as root. Opened for writing, never written."""
    os.close(os.open(path, os.O_WRONLY))


def fork_many(wanted: int) -> None:
    """Have more processes than allowed."""
    reading, writing = os.pipe()
    pids = []
    try:
        for _ in range(wanted):
            pid = os.fork()
            if pid == 0:
                os.close(writing)
                os.read(reading, 1)
                os._exit(0)
            pids.append(pid)
    finally:
        os.close(writing)
        for pid in pids:
            os.waitpid(pid, 0)


def open_socket(family: int, kind: int) -> None:
    """Speak to parts of the kernel, or of the hypervisor, that no namespace hides."""
    socket.socket(family, kind).close()


def prlimit(pid: int) -> None:
    """Change the limits of another process: those of the init would spoil later commands."""
    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))


def io_uring() -> None:
    """Have the kernel make calls that no filter sees."""
    parameters = ctypes.create_string_buffer(120)
    fd = _libc().syscall(_IO_URING_SETUP, 1, parameters)
    _checked(fd)
    os.close(fd)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(value: int) -> None:
    if value < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


_KINDS = (
    *(read_file, connect_tcp, connect_unix, kill, ptrace, become_root, new_user_namespace),
    *(write_sysctl, fork_many, open_socket, prlimit, io_uring),
)


def main(orders: str) -> None:
    """Try them all, in the order given."""
    found = {}
    kinds = {attack.__name__: attack for attack in _KINDS}
    for name, (kind, arguments) in json.loads(orders).items():
        try:
            kinds[kind](*arguments)
        except (OSError, ValueError) as error:
            found[name] = str(error) or type(error).__name__
        else:
            found[name] = ""
    os.write(2, json.dumps(found).encode())


if __name__ == "__main__":
    main(sys.argv[1])
