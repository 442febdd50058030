"""The first process in a box: pid 1 of its namespace, and the executor's hands inside.

It is sent into the box as code and runs under ``python3 -I -S``, so it imports only built-in
modules and what travels with it. It writes files, unpacks archives, runs one command at a time,
and hands out regular files. The program is never pid 1 (abort and SIGTERM would mean something
else there), cannot trace, read or stop this process, and nothing that it started outlives it.

Verbs in, answers out (see wire.py): ``write path mode``, ``data``…, ``end`` → ``ok | bad | fail``;
``unpack into bytes entries depth`` with the archive's descriptor → the same; ``run`` with its three
descriptors → ``ready`` with a pidfd of the program, then ``go`` if it was asked to wait for one,
then ``done``; ``list most`` → ``file``…, ``end``; ``open path`` → ``ok size`` with a descriptor, or
``bad``; ``wipe`` → ``clean``, or ``dirty why``. ``starter``, where there is one, is the descriptor of
the library that starts programs without a copy of this process (see starter.py).
"""

from __future__ import annotations

import _ctypes
import _signal  # type: ignore[import-not-found]  # built in; signal itself costs 5 ms
import _socket
import errno
import os
import resource

from accord.adapters.sandbox.archive import BadArchive, Caps, unpack
from accord.adapters.sandbox.paths import BadPath, Folder, parts_of
from accord.adapters.sandbox.wipe import Dirty, Wiper
from accord.adapters.sandbox.wire import Broken, Frame, Wire

_PR_SET_DUMPABLE = 4
_PR_GET_DUMPABLE = 3
_BUSY_TRIES = 50
_PIDFD_OPEN = 434
_SIGACTION = {"x86_64": 13, "aarch64": 134}
"""rt_sigaction's number. All zero is the default, on every architecture."""
_CHANGED = (_signal.SIGPIPE, _signal.SIGXFSZ, _signal.SIGINT)
"""Signals that Python or we treat otherwise than programs expect."""


def serve(fd: int, work: bytes, starter: int) -> None:
    """Answer the executor until it is gone."""
    libc = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # the process itself
    _hide(libc)
    _forget_internal_signals(libc)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - pathlib is slow to import
        _keep_from_programs(int(name))
    wire = Wire(_socket.socket(fileno=fd))
    roots = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (work, b"/tmp", b"/dev/shm")]
    folder = Folder(roots[0])
    runner = _Runner(wire, libc, folder, Folder(roots[1]), starter)
    wiper = Wiper(roots)
    wire.send(b"hello", b"1", fds=roots)
    verbs = {b"write": _write, b"unpack": _unpack, b"list": _list, b"open": _open}
    while True:
        frame = wire.recv()
        verb = verbs.get(frame.verb)
        if frame.verb == b"run":
            runner.run(frame)
        elif frame.verb == b"wipe":
            _wipe(wire, wiper)
        elif verb is not None:  # a "go" that nobody waited for any more is passed over
            verb(wire, folder, frame)
        frame.close()


def _hide(handle: int) -> None:
    """Let nobody in the box trace this process or read its memory, environment or descriptors."""
    prctl = _ctypes.dlsym(handle, "prctl")
    _ctypes.call_function(prctl, (_PR_SET_DUMPABLE, 0, 0, 0, 0))
    if _ctypes.call_function(prctl, (_PR_GET_DUMPABLE, 0, 0, 0, 0)) != 0:
        raise SystemExit("the init cannot hide itself")
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # which pid 1 ignores; Python's would raise


def _forget_internal_signals(handle: int) -> None:
    """The C library's posix_spawn, by which somebody above us was started (``make`` does so), leaves
    its two own signals ignored, and lets nobody change that but by the bare system call.
    """
    number = _SIGACTION.get(os.uname().machine)
    if number is None:
        return
    syscall = _ctypes.dlsym(handle, "syscall")
    for internal in (32, 33):
        _ctypes.call_function(syscall, (number, internal, bytes(64), None, 8))


def _keep_from_programs(fd: int) -> None:
    try:
        os.set_inheritable(fd, False)
    except OSError:  # it was the listing's own
        return


# -- files in --------------------------------------------------------------------------------


def _write(wire: Wire, folder: Folder, frame: Frame) -> None:
    path, mode = frame.fields
    target = -1
    answer = [b"ok"]
    try:
        target = folder.create(parts_of(path), int(mode))
    except (BadPath, OSError) as error:
        answer = _refusal(error)
    answer = _receive(wire, target, answer)
    if target >= 0:
        os.close(target)
    wire.send(*answer)


def _receive(wire: Wire, target: int, answer: list[bytes]) -> list[bytes]:
    """Take what is sent up to its end, also where it can no longer be kept."""
    while True:
        frame = wire.recv()
        frame.close()
        if frame.verb == b"end":
            return answer
        if frame.verb != b"data":
            raise Broken("data was expected")
        if answer[0] == b"ok":
            answer = _append(target, frame.fields[0])


def _append(target: int, data: bytes) -> list[bytes]:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(target, view) :]
    except OSError as error:
        return _refusal(error)
    return [b"ok"]


def _refusal(error: Exception) -> list[bytes]:
    if isinstance(error, (BadPath, BadArchive)):
        return [b"bad", str(error).encode("utf-8", "replace")]
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return [b"full"]
    if isinstance(error, PermissionError):  # all was ours until an earlier step shut it
        return [b"bad", b"goes through a folder that an earlier step has shut"]
    return [b"fail", str(error).encode("utf-8", "replace")]


def _unpack(wire: Wire, folder: Folder, frame: Frame) -> None:
    into, *caps = frame.fields
    answer = [b"ok"]
    try:
        below = Folder(folder.make(parts_of(into) if into else []))
        try:
            unpack(frame.fds[0], below, Caps(*map(int, caps)))
        finally:
            os.close(below.fd)
    except (BadPath, BadArchive, OSError) as error:
        answer = _refusal(error)
    wire.send(*answer)


# -- files out -------------------------------------------------------------------------------


def _list(wire: Wire, folder: Folder, frame: Frame) -> None:
    for path, size, mode in folder.walk(int(frame.fields[0])):
        wire.send(b"file", path, b"%d" % size, b"%d" % mode)
    wire.send(b"end")


def _open(wire: Wire, folder: Folder, frame: Frame) -> None:
    try:
        fd, size = folder.open(parts_of(frame.fields[0]))
    except BadPath as error:
        wire.send(b"bad", str(error).encode("utf-8", "replace"))
        return
    wire.send(b"ok", b"%d" % size, fds=[fd])
    os.close(fd)


# -- running ---------------------------------------------------------------------------------


class _Request:
    def __init__(self, frame: Frame, folder: Folder) -> None:
        counts, rest = frame.fields[0].split(b" "), frame.fields[1:]
        argc, envc = int(counts[0]), int(counts[1])
        self.waits = counts[2] == b"1"
        self.argv = rest[:argc]
        self.envc = envc
        self.words = b"\0".join(rest[: argc + envc]) + b"\0"
        self.env = dict(pair.split(b"=", 1) for pair in rest[argc : argc + envc])
        self.rlimits = [tuple(map(int, item.split(b" "))) for item in rest[argc + envc :]]
        self.fds = frame.fds
        self.folder = folder


class _Runner:
    def __init__(self, wire: Wire, libc: int, folder: Folder, tmp: Folder, starter: int) -> None:
        self._wire = wire
        self._start = _loaded(starter)
        self._folder = folder
        self._tmp = tmp
        self._syscall = _ctypes.dlsym(libc, "syscall")

    def run(self, frame: Frame) -> None:
        request = _Request(frame, self._folder)
        pid = self._started(request)
        frame.close()
        pidfd = _ctypes.call_function(
            self._syscall, (_PIDFD_OPEN, pid, 0)
        )  # Python 3.8 has no call
        self._wire.send(b"ready", fds=[pidfd])
        os.close(pidfd)
        used = _Used()
        status = used.reap(pid)
        _kill_the_rest()
        used.reap(-1)
        largest = _largest((self._folder, self._tmp)) if status else 0
        numbers = [status, int(used.cpu * 1e6), used.rss, largest]
        self._wire.send(b"done", *[b"%d" % number for number in numbers])

    def _started(self, request: _Request) -> int:
        pid = -1
        if self._start and not request.waits:
            pid = _spawned(self._start, request)
        if pid < 0:
            pid = os.fork()
            if pid == 0:
                _child(self._wire, request)
        return pid


def _loaded(starter: int) -> int:
    """The address of the starter's one function; 0 where there is none."""
    if starter < 0:
        return 0
    try:
        library = _ctypes.dlopen(f"/proc/self/fd/{starter}", 0)
        return int(_ctypes.dlsym(library, "start"))
    except OSError:  # memory that may not be executed, say: the init forks instead
        return 0


def _spawned(start: int, request: _Request) -> int:
    """Start the program by the starter; -1 where it cannot be, for want of memory say, which the
    child of a fork can tell.
    """
    fds = [-1, *request.fds][-3:]
    limits = b"".join(b"%d:%d:%d," % item for item in request.rlimits)
    counts = len(request.argv), request.envc
    return int(
        _ctypes.call_function(start, (request.folder.fd, *fds, limits, request.words, *counts))
    )


def _wipe(wire: Wire, wiper: Wiper) -> None:
    _kill_the_rest()
    _Used().reap(-1)
    try:
        wiper.wipe()
    except (Dirty, OSError) as error:
        wire.send(b"dirty", str(error).encode("utf-8", "replace"))
    else:
        wire.send(b"clean")


class _Used:
    """What all processes of a command have used, added up as they are reaped."""

    def __init__(self) -> None:
        self.cpu = 0.0
        self.rss = 0
        """KiB, of the largest one."""

    def reap(self, wanted: int) -> int:
        """The status of that process, orphans being reaped on the way; -1: until none is left."""
        while True:
            try:
                found, status, usage = os.wait4(-1, 0)
            except ChildProcessError:
                return 0
            self.cpu += usage.ru_utime + usage.ru_stime
            self.rss = max(self.rss, usage.ru_maxrss)
            if found == wanted:
                return status


def _kill_the_rest() -> None:
    """Kill everything else in the namespace. One sweep is enough: the kernel lets no process fork
    that has a signal waiting.
    """
    try:
        os.kill(-1, _signal.SIGKILL)
    except ProcessLookupError:  # there is nothing else
        return


def _largest(roots: tuple[Folder, ...]) -> int:
    """The size of the largest file of a program that failed: some take SIGXFSZ as an error."""
    return max((size for root in roots for _, size, _ in root.walk(2000)), default=0)


def _child(wire: Wire, request: _Request) -> None:
    """Become the program. Never returns."""
    code = 126
    try:
        os.setsid()
        _take_fds(request)
        _as_a_fresh_process()
        for number, soft, hard in request.rlimits:
            hard_now = resource.getrlimit(number)[1]
            if hard_now != resource.RLIM_INFINITY:
                soft, hard = min(soft, hard_now), min(hard, hard_now)
            resource.setrlimit(number, (soft, hard))
        if request.waits:
            wire.recv()
        os.fchdir(request.folder.fd)  # fails where an earlier step has shut the folder
        code = _exec(request)
    except BaseException as error:  # noqa: BLE001 - the child of a fork has nobody to raise to
        os.write(2, f"accord: the program could not be started: {error}\n".encode())
    finally:
        os._exit(code)


def _take_fds(request: _Request) -> None:
    """stdin, stdout and stderr; the exec closes everything else, all of which was opened so."""
    # They came as higher numbers than 2, which the init itself keeps open.
    fds = list(request.fds)
    if len(fds) == 2:
        fds.insert(0, os.open(b"/dev/null", os.O_RDONLY))
    for target, fd in enumerate(fds):
        os.dup2(fd, target)


def _as_a_fresh_process() -> None:
    os.umask(0o022)
    for number in _CHANGED:
        _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])


def _exec(request: _Request) -> int:
    name = request.argv[0]
    for _ in range(_BUSY_TRIES):
        try:
            os.execvpe(name, request.argv, request.env)  # noqa: S606 - no shell is the point
        except OSError as error:
            failure = error
            if error.errno != errno.ETXTBSY:
                break
    text = f"accord: cannot run {name.decode('utf-8', 'replace')!r}: {failure.strerror}\n"
    os.write(2, text.encode())
    return 127 if failure.errno == errno.ENOENT else 126


def main(fd: int, work: bytes, starter: bytes) -> None:
    """Serve, and end in silence when the executor is gone."""
    try:
        serve(fd, work, int(starter))
    except Broken:
        os._exit(0)
