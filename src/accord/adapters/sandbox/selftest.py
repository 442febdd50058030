"""Tries to break out of a box before strangers do.

Each attack runs twice: inside, where it must fail, and outside as the same host uid, where it must
succeed; one that fails outside too proves nothing and is reported as not run. One that succeeds
inside means that this machine's box does not hold, and nothing is run in it.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import os
import select
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from accord.adapters.sandbox.launch import Child, Spawner
from accord.adapters.sandbox.shipping import PACKAGE
from accord.core.errors import SandboxError
from accord.core.limits import MIB, Limits
from accord.ports.sandbox import Box, Command

_TIMEOUT = 10.0
"""Seconds for the whole of one side; it takes a twentieth of one."""
_PROCESSES = 8
_WANTED = 24
_LIMITS = Limits(wall=_TIMEOUT, cpu=5.0, memory=128 * MIB, processes=_PROCESSES, disk=MIB)
_NOBODY = (1 << 22) - 1
"""The highest pid that a kernel may give, which it hardly ever has."""
_SHM = "/dev/shm"  # noqa: S108 - of the host, where it may be the only place that all may enter


class Attack(msgspec.Struct, frozen=True, kw_only=True):
    """One way out."""

    kind: str
    inside: tuple[object, ...] = ()
    outside: tuple[object, ...] = ()
    root: bool = False
    """Its control needs root."""


class SelfTest:
    """See the module's docstring."""

    def __init__(self, spawner: Spawner, interpreter: str, uid: int) -> None:
        self._spawner = spawner
        self._interpreter = interpreter
        self._uid = uid
        self._source = importlib.resources.files(PACKAGE).joinpath("attacks.py").read_text()

    def run(self, box: Box) -> dict[str, str]:
        """What became of each attack: ``held``, or ``not run: …``. Raises SandboxError where one
        succeeded.
        """
        with contextlib.ExitStack() as stack:
            bait = _Bait(stack, self)
            attacks = bait.attacks()
            inside = self._inside(box, attacks)
            if bait.spared_is_dead():
                inside["kill"] = ""
            outside = self._outside(attacks)
        return _judged(attacks, inside, outside)

    def _inside(self, box: Box, attacks: Mapping[str, Attack]) -> dict[str, str]:
        orders = {name: (attack.kind, attack.inside) for name, attack in attacks.items()}
        box.write("attacks.py", [self._source.encode()])
        argv = (self._interpreter, "-I", "-S", "attacks.py", json.dumps(orders))
        said: list[bytes] = []
        command = Command(argv=argv, env={}, limits=_LIMITS)
        ran = box.run(command, said.append, said.append, threading.Event())
        if ran.exit_code != 0:
            text = b"".join(said).decode("utf-8", "replace").strip()[-300:]
            raise SandboxError(
                f"The self-test did not run in the box (limit {ran.limit}, exit code "
                f"{ran.exit_code}, signal {ran.signal}): {text}"
            )
        found = _parsed(b"".join(said))
        if set(found) != set(attacks):
            raise SandboxError("The self-test gave no sensible answer from inside the box.")
        return found

    def _outside(self, attacks: Mapping[str, Attack]) -> dict[str, str]:
        """The controls, as the slot's uid; as root those that need it."""
        found: dict[str, str] = {}
        uids = {False: self._uid, True: os.geteuid()}
        for root, uid in uids.items():
            orders = {
                name: (attack.kind, attack.outside)
                for name, attack in attacks.items()
                if attack.root == root
            }
            found |= self._control(uid, json.dumps(orders))
        return found

    def _control(self, uid: int, orders: str) -> dict[str, str]:
        reading, writing = os.pipe()
        argv = [self._interpreter, "-I", "-S", "-c", self._source, orders]
        try:
            os.close(self._spawner.spawn(uid, uid, argv, [writing]).pidfd)
        finally:
            os.close(writing)
        try:
            return _parsed(_all_of(reading))
        finally:
            os.close(reading)

    @contextlib.contextmanager
    def victim(self) -> Iterator[Child | None]:
        """A process of the slot's uid, outside; None where that uid cannot run the interpreter."""
        reading, writing = os.pipe()
        argv = [self._interpreter, "-I", "-S", "-c", VICTIM]
        try:
            child = self._spawner.spawn(self._uid, self._uid, argv, [writing])
        finally:
            os.close(writing)
        try:
            up = _wait(reading) and os.read(reading, 1) == b"!"
            yield child if up else None
        finally:
            os.close(reading)
            _end(child.pidfd)


VICTIM = (
    "import os, select; os.write(2, b'!'); gone = select.poll(); gone.register(2, 0); gone.poll()"
)
"""Says that it is there, then waits until nobody reads what it says: it must not outlive an executor
that is killed in the midst of its test.
"""


def _end(pidfd: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    _wait(pidfd)
    os.close(pidfd)


class _Bait:
    """What is there to be attacked: a secret, two listeners, and two victims."""

    def __init__(self, stack: contextlib.ExitStack, test: SelfTest) -> None:
        self._secret = stack.enter_context(_secret())
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._port = tcp.getsockname()[1]
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind("")  # the kernel picks an abstract name
        unix.listen()
        self._name = unix.getsockname()[1:].decode()
        self._spared = stack.enter_context(test.victim())
        self._other = stack.enter_context(test.victim())

    def spared_is_dead(self) -> bool:
        """Whether the victim that was only attacked inside has died."""
        return self._spared is not None and _wait(self._spared.pidfd, 0)

    def attacks(self) -> dict[str, Attack]:
        """All of them, by name; the control kills its victim last."""
        core = "/proc/sys/kernel/core_pattern"
        return {
            "host_file": _same("read_file", self._secret),
            "tcp": _same("connect_tcp", self._port),
            "abstract_unix": _same("connect_unix", self._name),
            "netlink": _same("open_socket", int(socket.AF_NETLINK), int(socket.SOCK_RAW)),
            "vsock": _same("open_socket", 40, int(socket.SOCK_STREAM)),
            "io_uring": _same("io_uring"),
            "user_namespace": _same("new_user_namespace"),
            "become_root": Attack(kind="become_root", root=True),
            "core_pattern": Attack(kind="write_sysctl", inside=(core,), outside=(core,), root=True),
            "fork_bomb": _same("fork_many", _WANTED),
            **self._on_processes(),
        }

    def _on_processes(self) -> dict[str, Attack]:
        """Against the init, and against a process outside. Where there is no victim their
        controls fail, and so they prove nothing.
        """
        spared = self._spared.pid if self._spared else _NOBODY
        other = self._other.pid if self._other else _NOBODY
        theirs = f"/proc/{other}/environ"
        return {
            "init_environ": Attack(
                kind="read_file", inside=("/proc/1/environ",), outside=(theirs,)
            ),
            "init_limits": Attack(kind="prlimit", inside=(1,), outside=(other,)),
            "ptrace": Attack(kind="ptrace", inside=(spared,), outside=(other,)),
            "kill": Attack(kind="kill", inside=(spared,), outside=(other,)),
        }


def _same(kind: str, *arguments: object) -> Attack:
    return Attack(kind=kind, inside=arguments, outside=arguments)


def _judged(
    attacks: Mapping[str, Attack], inside: Mapping[str, str], outside: Mapping[str, str]
) -> dict[str, str]:
    escaped = [name for name in attacks if inside.get(name) == ""]
    if escaped:
        raise SandboxError(
            f"The box does not hold on this machine: {', '.join(escaped)} succeeded inside. "
            "No program will be run."
        )
    return {
        name: "held" if outside.get(name) == "" else _not_run(name, outside) for name in attacks
    }


def _not_run(name: str, outside: Mapping[str, str]) -> str:
    return f"not run: outside it fails too ({outside.get(name, 'no answer')})"


@contextlib.contextmanager
def _secret() -> Iterator[str]:
    """A file of the host that any uid may read."""
    for place in (tempfile.gettempdir(), "/var/tmp", _SHM):  # noqa: S108 - made by mkdtemp
        try:
            folder = Path(tempfile.mkdtemp(prefix="accord-selftest-", dir=place))
        except OSError:
            continue
        try:
            folder.chmod(0o711)
            secret = folder / "secret"
            secret.write_text("secret")
            secret.chmod(0o644)
            yield str(secret)
        finally:
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
        return
    yield "/etc/hostname"


def _parsed(said: bytes) -> dict[str, str]:
    """What the attacks wrote, which may be nonsense if one of them went well."""
    try:
        return msgspec.json.decode(said, type=dict[str, str])
    except msgspec.DecodeError:
        return {}


def _wait(fd: int, timeout: float = _TIMEOUT) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def _all_of(fd: int) -> bytes:
    parts = []
    while _wait(fd):
        part = os.read(fd, 65536)
        if not part:
            break
        parts.append(part)
    return b"".join(parts)
