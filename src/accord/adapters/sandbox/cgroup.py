"""Control groups: memory, processes and CPU time of a whole process tree, counted by the kernel.

In version 2 each command gets a fresh one, so that peaks are its own, and its first process is inside
before the program's first instruction. In version 1, where the kernel may take 20 ms to move a
process, the init of a box lives in the box's groups, which its programs inherit: what it uses is
taken off, and counters are read by difference. The hard memory limit leaves room for the files of
the box, which are memory too; what the program may have beside them is judged by samples.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from accord.adapters.sandbox.meter import Account, Meter, Sample, Total, Written
from accord.core.errors import SandboxError
from accord.core.limits import MIB, Limits
from accord.ports.clock import Clock

PREFIX = "accord-"
_SLACK = 64 * MIB
"""How far files of the box may be over the disk limit before a sample sees it."""
_UNLIMITED = 1 << 62
_INIT = 1
"""The init itself, which version 1 counts as well."""
_REMOVE_TRIES = 100
_REMOVE_PAUSE = 0.005
_V1 = ("memory", "pids", "cpuacct")


class Unusable(Exception):
    """This kind of control groups cannot be used here; the message says why."""


class _Group:
    """A directory of a cgroup file system, with its files kept open between samples."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: dict[str, int] = {}
        path.mkdir()

    def write(self, name: str, value: str) -> None:
        (self.path / name).write_text(value)

    def reset(self, name: str) -> None:
        """Set a counter to zero, as often as commands begin."""
        fd = self._open.get(f"{name} for writing")
        if fd is None:
            fd = os.open(self.path / name, os.O_WRONLY | os.O_CLOEXEC)
            self._open[f"{name} for writing"] = fd
        os.pwrite(fd, b"0", 0)

    def write_if_there(self, name: str, value: str) -> None:
        """Write a file that kernels without swap, or of another age, do not have."""
        if (self.path / name).exists():
            self.write(name, value)

    def read(self, name: str) -> str:
        fd = self._open.get(name)
        if fd is None:
            fd = self._open[name] = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(fd, 65536, 0).decode()

    def number(self, name: str, missing: int = 0) -> int:
        """A file that holds one number; ``missing`` where this kernel has no such file."""
        try:
            return int(self.read(name))
        except (FileNotFoundError, ValueError):
            return missing

    def field(self, name: str, key: str) -> int:
        """A number of a file of keys and numbers; 0 where there is none."""
        try:
            text = self.read(name)
        except FileNotFoundError:
            return 0
        for line in text.splitlines():
            word, _, value = line.partition(" ")
            if word == key:
                return int(value)
        return 0

    def close(self) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()


class Cgroups:
    """What v1 and v2 have in common: making groups, and removing them, also a dead one's."""

    level = ""
    why = ""
    counts_all_memory = True

    def __init__(self, clock: Clock, bases: Sequence[Path], owner: str) -> None:
        self._clock = clock
        self._bases = bases
        self._owner = owner
        self._pause = threading.Condition()
        for group in self._leftovers():
            _end_all(group)
            self._remove(group)

    def _leftovers(self) -> Iterator[Path]:
        for base in self._bases:
            for group in base.glob(f"{PREFIX}{_pid_namespace()}-*-*-*"):
                pid, started = group.name.split("-")[2:4]
                if start_time(int(pid) if pid.isdigit() else 0) != started:
                    yield group

    def groups(self, name: str) -> list[_Group]:
        """One fresh group under each base."""
        made: list[_Group] = []
        try:
            for base in self._bases:
                made.append(_Group(base / f"{PREFIX}{self._owner}-{name}"))
        except OSError as error:
            self.remove(made)
            raise SandboxError(f"Cannot make a control group: {error.strerror}.") from error
        return made

    def remove(self, groups: Sequence[_Group]) -> None:
        """Remove them; the kernel may need a moment to see that they are empty."""
        for group in groups:
            group.close()
            self._remove(group.path)

    def _remove(self, path: Path) -> None:
        for _ in range(_REMOVE_TRIES):
            try:
                path.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                with self._pause:
                    self._clock.wait(self._pause, _REMOVE_PAUSE)
            else:
                return
        # It stays until the next start, which looks for such.

    def close(self) -> None:
        """Accounts remove their own."""


class V1(Cgroups):
    """Version 1: one hierarchy for each of memory, pids and cpuacct."""

    level = "bwrap+cgv1"
    why = "this machine has its controllers in version 1 of control groups"

    def __init__(self, clock: Clock, mounts: str, own: str) -> None:
        bases = [_v1_base(controller, mounts, own) for controller in _V1]
        super().__init__(clock, bases, owner_name())

    def account(self, name: str, init: int) -> Account:
        """See meter.Accounting."""
        return _V1Account(self, self.groups(name), init)


class _V1Account:
    attaches = False

    def __init__(self, home: Cgroups, groups: list[_Group], init: int) -> None:
        self._home = home
        self._init = init
        self._groups = groups
        self._memory, self._pids, _ = groups
        self._hard = _UNLIMITED
        self._most = _UNLIMITED
        try:
            self._memory.write_if_there("memory.swappiness", "0")
            _attach(groups, init)
        except (OSError, SandboxError) as error:
            home.remove(groups)
            why = error.message if isinstance(error, SandboxError) else error.strerror
            raise SandboxError(f"Cannot set up a control group: {why}.") from error

    def meter(self, limits: Limits) -> Meter:
        try:
            self._limit_memory(limits.memory + limits.disk + _SLACK)
            if self._most != limits.processes:
                self._pids.write("pids.max", str(limits.processes + _INIT))
                self._most = limits.processes
            self._memory.reset("memory.max_usage_in_bytes")
        except OSError as error:
            raise SandboxError(f"Cannot set up a control group: {error.strerror}.") from error
        return _V1Meter(self._groups, Written(self._init))

    def _limit_memory(self, hard: int) -> None:
        if hard == self._hard:
            return
        writes = [self._memory.write, self._memory.write_if_there]
        names = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
        steps = list(zip(writes, names, strict=True))
        for write, name in steps if hard < self._hard else reversed(steps):
            write(name, str(hard))  # the one without swap is never to be above the one with
        self._hard = hard

    def close(self) -> None:
        groups, self._groups = self._groups, []
        self._home.remove(groups)


class _V1Meter:
    """Of a command in groups that were used before, and in which the init is too."""

    def __init__(self, groups: list[_Group], written: Written) -> None:
        self._written = written
        self._memory, self._pids, self._cpu = groups
        self._peak = 0
        self._most = _INIT
        self._cpu_before = self._cpu.number("cpuacct.usage")
        self._held_before = self._held()[0]
        self._kills_before = self._kills()
        self._refused_before = self._refused()
        self._most_before = self._pids.number("pids.peak")

    def attach(self, pid: int) -> None:
        """Where the init is, there are its children."""

    def sample(self, files: int, shared: int) -> Sample:  # noqa: ARG002 - shmem has it
        anonymous, shmem = self._held()
        memory = _charged(max(0, anonymous - self._held_before), shmem, files)
        self._peak = max(self._peak, memory)
        count = self._pids.number("pids.current")
        self._most = max(self._most, count)
        return Sample(
            cpu=self._used(),
            memory=memory,
            processes=count - _INIT,
            out_of_memory=self._kills() > self._kills_before,
        )

    def finish(self) -> Total:
        left = self._memory.number("memory.usage_in_bytes")
        most = self._memory.number("memory.max_usage_in_bytes")
        return Total(
            cpu=self._used(),
            peak_memory=max(self._peak, most - left),
            processes=max(1, self._processes() - _INIT),
            out_of_memory=self._kills() > self._kills_before,
            refused_forks=self._refused() > self._refused_before,
            written=self._written.bytes(),
        )

    def _used(self) -> float:
        return (self._cpu.number("cpuacct.usage") - self._cpu_before) / 1e9

    def _held(self) -> tuple[int, int]:
        """Bytes of anonymous memory, and of files in memory."""
        stat = dict(line.split(" ") for line in self._memory.read("memory.stat").splitlines())
        return int(stat["rss"]), int(stat.get("shmem", 0))

    def _kills(self) -> int:
        return self._memory.field("memory.oom_control", "oom_kill")

    def _refused(self) -> int:
        return self._pids.field("pids.events", "max")

    def _processes(self) -> int:
        """The kernel's peak is of the group's whole life: where it has not grown, an earlier
        command had as many, and what was sampled must do.
        """
        most = self._pids.number("pids.peak")
        return most if most > self._most_before else self._most


class V2(Cgroups):
    """Version 2: one hierarchy, as root or in a delegated subtree."""

    level = "bwrap+cgv2"

    def __init__(self, clock: Clock, base: Path) -> None:
        base = _v2_base(base)
        super().__init__(clock, [base], owner_name())

    def account(self, name: str, init: int) -> Account:
        """See meter.Accounting."""
        return _V2Account(self, name, init)


class _V2Account:
    attaches = True

    def __init__(self, home: Cgroups, name: str, init: int) -> None:
        self._home = home
        self._init = init
        self._name = name
        self._commands = itertools.count()

    def meter(self, limits: Limits) -> Meter:
        groups = self._home.groups(f"{self._name}-{next(self._commands)}")
        return _V2Meter(self._home, groups, limits, Written(self._init))

    def close(self) -> None:
        """Each command's group went with its meter."""


class _V2Meter:
    def __init__(
        self, home: Cgroups, groups: list[_Group], limits: Limits, written: Written
    ) -> None:
        self._home = home
        self._written = written
        self._groups = groups
        self._group = groups[0]
        self._peak = 0
        try:
            self._group.write("memory.max", str(limits.memory + limits.disk + _SLACK))
            self._group.write_if_there("memory.swap.max", "0")
            self._group.write("memory.oom.group", "1")
            self._group.write("pids.max", str(limits.processes))
        except OSError as error:
            home.remove(groups)
            raise SandboxError(f"Cannot set up a control group: {error.strerror}.") from error

    def attach(self, pid: int) -> None:
        _attach(self._groups, pid)

    def sample(self, files: int, shared: int) -> Sample:  # noqa: ARG002 - shmem has it
        stat = dict(line.split(" ") for line in self._group.read("memory.stat").splitlines())
        memory = _charged(int(stat["anon"]), int(stat["shmem"]), files)
        self._peak = max(self._peak, memory)
        return Sample(
            cpu=self._group.field("cpu.stat", "usage_usec") / 1e6,
            memory=memory,
            processes=self._group.number("pids.current"),
            out_of_memory=self._killed(),
        )

    def _killed(self) -> bool:
        return self._group.field("memory.events", "oom_kill") > 0

    def finish(self) -> Total:
        left = self._group.number("memory.current")
        most = self._group.number("memory.peak")
        total = Total(
            cpu=self._group.field("cpu.stat", "usage_usec") / 1e6,
            peak_memory=max(self._peak, most - left),
            processes=self._group.number("pids.peak"),
            out_of_memory=self._killed(),
            refused_forks=self._group.field("pids.events", "max") > 0,
            written=self._written.bytes(),
        )
        self._home.remove(self._groups)
        return total


def _charged(anonymous: int, shared: int, files: int) -> int:
    """Anonymous memory, and shared memory that is not a file of the box."""
    return anonymous + max(0, shared - files)


def _attach(groups: Sequence[_Group], pid: int) -> None:
    try:
        for group in groups:
            group.write("cgroup.procs", str(pid))
    except OSError as error:
        raise SandboxError(f"Cannot put a process into its group: {error.strerror}.") from error


# -- where they are --------------------------------------------------------------------------


def open_v1(clock: Clock) -> V1:
    """Version 1 on this machine. Raises Unusable."""
    return V1(clock, Path("/proc/self/mounts").read_text(), Path("/proc/self/cgroup").read_text())


def open_v2(clock: Clock) -> V2:
    """Version 2 on this machine. Raises Unusable."""
    mount = _mounted("cgroup2", "", Path("/proc/self/mounts").read_text())
    own = _own_group("", Path("/proc/self/cgroup").read_text())
    if mount is None or own is None:
        raise Unusable("control groups of version 2 are not mounted")
    return V2(clock, mount / own.lstrip("/"))


def _v1_base(controller: str, mounts: str, own: str) -> Path:
    """Our own group of that controller, else the topmost: the first in which we may make one."""
    mount = _mounted("cgroup", controller, mounts)
    if mount is None:
        raise Unusable(f"the controller {controller} of version 1 is not mounted")
    for base in (mount / (_own_group(controller, own) or "").lstrip("/"), mount):
        if _writable(base):
            return base
    raise Unusable(f"no control group of {mount} may be made by this user")


def _v2_base(own: Path) -> Path:
    """The group under which we make ours, with its controllers switched on.

    No group but the root may have both processes and controllers for its children, so the
    processes beside us move one down, as every manager of a delegated subtree does.
    """
    base = own.parent if own.name == f"{PREFIX}main" else own
    try:
        offered = (base / "cgroup.controllers").read_text().split()
        missing = {"memory", "pids"} - set(offered)
        if missing:
            names = " and ".join(sorted(missing))
            raise Unusable(f"version 2 of control groups has no controller {names} here")
        if not _writable(base):
            raise Unusable(
                f"no control group of {base} may be made by this user; start with "
                "'systemd-run --user --scope -p Delegate=yes', or as root"
            )
        is_root = not (base / "cgroup.type").exists()
        if not is_root:
            _move_down(base)
        (base / "cgroup.subtree_control").write_text("+memory +pids")
    except OSError as error:
        raise Unusable(f"the control group {base} cannot be used: {error.strerror}") from error
    return base


def _move_down(base: Path) -> None:
    main = base / f"{PREFIX}main"
    main.mkdir(exist_ok=True)
    for pid in (base / "cgroup.procs").read_text().split():
        try:
            (main / "cgroup.procs").write_text(pid)
        except ProcessLookupError:
            continue


def _writable(base: Path) -> bool:
    probe = base / f"{PREFIX}{owner_name()}-probe"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False
    return True


def _mounted(kind: str, controller: str, mounts: str) -> Path | None:
    for line in mounts.splitlines():
        fields = line.split(" ")
        if fields[2] == kind and (not controller or controller in fields[3].split(",")):
            return Path(fields[1])
    return None


def _own_group(controller: str, own: str) -> str | None:
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return None


def owner_name() -> str:
    """This process, so that no other is taken for it: pid namespace, pid and start time."""
    return f"{_pid_namespace()}-{os.getpid()}-{start_time(os.getpid())}"


def _pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def start_time(pid: int) -> str | None:
    """When a process started, in ticks since boot; None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()[19]


def _end_all(group: Path) -> None:
    try:
        for pid in (group / "cgroup.procs").read_text().split():
            os.kill(int(pid), 9)
    except OSError:  # it, or one of its processes, has gone meanwhile
        return
