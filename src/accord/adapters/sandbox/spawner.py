"""A small process beside the executor that starts bubblewrap for it.

The executor is large and full of threads: forking it costs tens of milliseconds, and the kernel's
"die with parent" means the parent's *thread*. This process is small, has one thread and lives as
long as the executor; when its connection closes it ends, and all boxes with it. Running as root,
it gives each box its own host uid before bubblewrap starts, and shows it what lies below folders
that this uid may not enter, in a tmpfs that only its own mount namespace has.

Verbs: ``bind name path`` and ``copy name path`` → ``ok path`` | ``fail why``; ``spawn uid gid
argv…`` with descriptors → ``ok pid`` with a pidfd | ``fail why``. In argv, ``@0``, ``@1``… stand
for the descriptors that came along.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # built in; signal itself costs 5 ms
import _socket
import ctypes
import os

from accord.adapters.sandbox.wire import Broken, Frame, Wire

_CLONE_NEWNS = 0x20000
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x80000
_CHANGED = (_signal.SIGPIPE, _signal.SIGXFSZ, _signal.SIGCHLD, _signal.SIGINT)
"""Signals that Python or we treat otherwise than programs expect."""
_STAGES = (b"/sys/fs", b"/mnt", b"/media", b"/srv")
"""Where staged paths are shown, in this process's mount namespace only: the first that exists."""


class _Spawner:
    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.stage_at: bytes | None = None

    def serve(self) -> None:
        while True:
            frame = self.wire.recv()
            try:
                verbs = {b"bind": self._bind, b"copy": self._copy, b"spawn": self._spawn}
                verbs[frame.verb](frame)
            except OSError as error:
                self.wire.send(b"fail", (error.strerror or str(error)).encode())
            finally:
                frame.close()

    def _bind(self, frame: Frame) -> None:
        name, path = frame.fields
        target = self._target(name)
        if os.path.isdir(path):  # noqa: PTH112 - pathlib takes no bytes
            os.mkdir(target, 0o755)  # noqa: PTH102
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
        self._mount(path, target, None, _MS_BIND | _MS_REC)
        self.wire.send(b"ok", target)

    def _copy(self, frame: Frame) -> None:
        """A program or its library, which need not even be for others to read."""
        name, path = frame.fields
        target = self._target(name)
        with open(path, "rb") as source, open(target, "xb") as copy:  # noqa: PTH123
            copy.write(source.read())
            os.fchmod(copy.fileno(), 0o755)
        self.wire.send(b"ok", target)

    def _target(self, name: bytes) -> bytes:
        if self.stage_at is None:
            self.stage_at = self._private()
        target = self.stage_at + b"/" + name
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)  # noqa: PTH103, PTH120
        return target

    def _private(self) -> bytes:
        """A mount namespace of our own, still told of what the host mounts, with an empty place
        in it that every uid may enter.
        """
        if self.libc.unshare(_CLONE_NEWNS) != 0:
            raise self._error("unshare")
        self._mount(b"none", b"/", None, _MS_REC | _MS_SLAVE)
        for place in _STAGES:
            if os.path.isdir(place):  # noqa: PTH112
                self._mount(b"accord", place, b"tmpfs", 0)
                os.chmod(place, 0o755)  # noqa: PTH101, S103 - an empty tmpfs that boxes must enter
                return place
        raise FileNotFoundError(2, "there is no place to stage mounts at")

    def _mount(self, source: bytes, target: bytes, kind: bytes | None, flags: int) -> None:
        if self.libc.mount(source, target, kind, ctypes.c_ulong(flags), None) != 0:
            raise self._error("mount")

    def _error(self, what: str) -> OSError:
        number = ctypes.get_errno()
        return OSError(number, f"{what}: {os.strerror(number)}")

    def _spawn(self, frame: Frame) -> None:
        uid, gid = int(frame.fields[0]), int(frame.fields[1])
        argv = list(frame.fields[2:])
        pid = os.fork()
        if pid == 0:
            self._child(frame, uid, gid, argv)
        pidfd = os.pidfd_open(pid)
        self.wire.send(b"ok", b"%d" % pid, fds=[pidfd])
        os.close(pidfd)

    def _child(self, frame: Frame, uid: int, gid: int, argv: list[bytes]) -> None:
        """Become bubblewrap, with nothing of the executor's but what was sent. Never returns."""
        try:
            os.setsid()
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)
            numbers = _arrange(frame.fds)
            argv = [b"%d" % numbers[int(item[1:])] if item[:1] == b"@" else item for item in argv]
            for number in _CHANGED:
                _signal.signal(number, _signal.SIG_DFL)
            os.execve(argv[0], argv, {b"PATH": b"/usr/bin:/bin"})  # noqa: S606
        except OSError as error:
            os.write(2, f"{argv[0].decode()}: {error.strerror}\n".encode())
        finally:
            os._exit(127)


def _arrange(fds: list[int]) -> list[int]:
    """Take the first descriptor as stderr, /dev/null as the other two, and let the rest pass."""
    null = os.open(b"/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(fds[0], 2)
    for fd in fds[1:]:
        os.set_inheritable(fd, True)
    return fds


def main(fd: int) -> None:
    """Serve until the executor is gone; the kernel then ends every box."""
    os.set_inheritable(fd, False)
    os.umask(0o022)  # whatever the executor's is
    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)  # which also reaps
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    try:
        _Spawner(Wire(_socket.socket(fileno=fd))).serve()
    except Broken:
        os._exit(0)
