"""A box that passes from one task to the next of the same user: nothing of the first is left for the
second. Each thing that a program tries to leave is first seen to be found where nobody wipes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from pathlib import Path

import msgspec
import pytest

from accord.adapters.sandbox import polling, shipping, starter
from accord.adapters.sandbox.bwrap import BwrapSandbox
from accord.adapters.sandbox.cell import gone
from accord.adapters.sandbox.meter import Total
from accord.adapters.system import SystemClock
from accord.core.errors import SandboxError
from accord.core.limits import MIB
from accord.ports.sandbox import Command, Mount
from accord.testing.sandbox_suite import (
    DISK,
    LIMITS,
    PATH,
    PROMISES,
    Reused,
    bash,
    execute,
    opened,
    python,
)
from tests.contract.test_sandbox import SETTINGS, remains

pytestmark = [pytest.mark.box, pytest.mark.timeout(300)]

FIRST_UID = 230_000
USER = "ann"


def make(cgroup="auto"):
    return BwrapSandbox(msgspec.structs.replace(SETTINGS, cgroup=cgroup), SystemClock(), FIRST_UID)


@pytest.fixture(scope="module", params=["auto", "poll"])
def sandbox(request):
    made = make(request.param)
    yield made
    made.close()


@pytest.fixture
def own():
    made = make()
    yield made
    made.close()


# -- every promise, in a box that others had before ------------------------------------------


@pytest.fixture(scope="module", params=["v2", "v1", "poll"])
def reused(request):
    try:
        made = make(request.param)
    except SandboxError as error:
        pytest.skip(error.message)
    yield Reused(made)
    made.close()


@pytest.mark.parametrize("promise", PROMISES)
def test_a_reused_box_promises_that(promise, reused):
    with opened(reused) as box:
        bash(box, "echo x > x; echo y > /tmp/y; sleep 60 & echo z > /dev/shm/z")
    PROMISES[promise](reused)


# -- what may be left ------------------------------------------------------------------------

LOOK = """
import os
found = []
for top in ("/box", "/tmp", "/dev/shm", "/dev/mqueue"):
    about = os.stat(top)
    found += [oct(about.st_mode), about.st_mtime > 1e9, os.listxattr(top)]
    found += sorted(os.listdir(top))
for kind in ("shm", "sem", "msg"):
    found.append(open("/proc/sysvipc/" + kind).read().count("\\n"))
found.append(sum(name.isdigit() for name in os.listdir("/proc")))
for kind in ("tcp", "tcp6", "udp", "udp6", "unix"):
    found += open("/proc/net/" + kind).read().splitlines()[1:]
found += [line for line in open("/proc/net/dev") if "lo:" in line]
found += [os.popen("umask; ulimit -a; cat /proc/self/oom_score_adj; pwd; env; nice").read()]
found += [[os.statvfs(top).f_ffree, os.statvfs(top).f_bfree] for top in ("/box", "/tmp", "/dev/shm")]
import ctypes, struct
flags = ctypes.c_long()
import fcntl
flags = fcntl.ioctl(os.open("/box", os.O_RDONLY), 0x80086601, struct.pack("l", 0))
found.append(flags)
print(found)
"""

LEFT = {
    "a file": "open('/box/left', 'w')",
    "a file in /tmp": "open('/tmp/left', 'w')",
    "shared memory": "open('/dev/shm/left', 'w').write('x')",
    "a hidden name": "open('/box/...', 'w'); open(b'/tmp/\\xff\\n', 'w'); open('/tmp/' + 'a' * 255, 'w')",
    "links": "os.symlink('/etc', '/box/l'); os.link('/box/l', '/tmp/l') if 0 else 0; os.mkfifo('/tmp/f')",
    "a link out of the box's places": "os.mkdir('/box/d'); os.symlink('/usr', '/box/d/usr')",
    "a shut tree": "os.makedirs('/box/a/b/c'); open('/box/a/b/f', 'w'); os.chmod('/box/a/b', 0);"
    " os.chmod('/box/a', 0)",
    "read-only files": "open('/box/f', 'w'); os.chmod('/box/f', 0); os.mkdir('/box/r', 0o500)",
    "a deep tree": "[(os.mkdir('d'), os.chdir('d')) for _ in range(2000)]",
    "many files": "[os.close(os.open('/tmp/' + str(n), 64)) for n in range(2000)]",
    "very many files": "[os.close(os.open('/box/' + str(n), 64)) for n in range(15000)]",
    "a full disk": "open('/box/full', 'wb').write(bytes(15 << 20))",
    "a socket": "socket.socket(socket.AF_UNIX).bind('/tmp/socket')",
    "modes of the roots": "[os.chmod(p, 0) for p in ('/box', '/tmp', '/dev/shm')]",
    "times of a root": "os.utime('/box', (5, 5))",
    "attributes of a root": "os.setxattr('/box', 'user.left', b'x')",
    "an access list of a root": "os.setxattr('/tmp', 'system.posix_acl_default', bytes.fromhex("
    "'0200000001000700ffffffff04000700ffffffff20000700ffffffff'))",
    "flags of a root": "fcntl.ioctl(os.open('/box', 0), 0x40086602, struct.pack('l', 0x40))",
    "a message queue": "assert libc.mq_open(b'/left', 66, 0o600, None) >= 0",
    "a message queue of System V": "assert libc.msgget(7, 0o1600) >= 0",
    "semaphores of System V": "assert libc.semget(7, 3, 0o1600) >= 0",
    "shared memory of System V": "assert libc.shmget(7, 4096, 0o1600) >= 0",
    "a connection": "s = socket.create_server(('127.0.0.1', 8080));"
    " c = socket.create_connection(('127.0.0.1', 8080)); s.accept()[0].close(); c.close()",
    "a datagram": "socket.socket(2, 2).sendto(b'x', ('127.0.0.1', 9))",
}
"""Programs by what they leave, and whether they can without the wipe."""
THROWN_AWAY = {
    *("a deep tree", "very many files", "a connection", "a datagram", "a message queue"),
    *("a message queue of System V", "semaphores of System V", "shared memory of System V"),
}
"""What costs the box."""
OF_A_CGROUP = {"shared memory of System V"}
"""What is refused where no control group counts it."""

PREFIX = """
import ctypes, fcntl, os, socket, struct
libc = ctypes.CDLL('librt.so.1')
"""


def seen(box):
    found = python(box, LOOK)
    assert found.ran.exit_code == 0 or found.err, found
    return found.out or found.err


@pytest.fixture(scope="module")
def as_new(sandbox):
    with opened(sandbox) as box:
        return seen(box)


@pytest.mark.parametrize("what", LEFT)
def test_without_the_wipe_the_next_program_finds(what, sandbox, as_new):
    if what in OF_A_CGROUP and sandbox.isolation().level == "bwrap+poll":
        pytest.skip("without control groups the filter refuses to make it, so nothing can be left")
    with opened(sandbox) as box:
        ran = python(box, PREFIX + LEFT[what])
        assert ran.ran.exit_code == 0, ran.err
        assert seen(box) != as_new


@pytest.mark.parametrize("what", LEFT)
def test_the_next_task_does_not_find(what, sandbox, as_new):
    reused = Reused(sandbox)
    with opened(reused) as box:
        python(box, PREFIX + LEFT[what])
    with opened(reused) as box:
        assert seen(box) == as_new


PROCESSES = {
    "a daemon": "os.fork() or (os.setsid(), os.fork() or time.sleep(60))",
    "a stopped process": "os.fork() or os.kill(os.getpid(), 19)",
    "one that ignores all signals": "[signal.signal(n, signal.SIG_IGN) for n in range(1, 32)"
    " if n not in (9, 19)]; os.fork() or time.sleep(60)",
    "a bomb": "[os.fork() or time.sleep(60) for _ in range(6)]",
    "a zombie": "os.fork() or os._exit(0)",
    "threads": "[threading.Thread(target=time.sleep, args=(60,), daemon=True).start() for _ in '123']",
    "a queue of signals": "[os.kill(1, n) for n in range(1, 65)]; libc.sigqueue(1, 40, 0)",
    "timers": "signal.setitimer(signal.ITIMER_REAL, 60); libc.inotify_init(); libc.timerfd_create(0, 0)",
    "locks": "fcntl.flock(os.open('/usr/bin/env', 0), 6)",
    "files in flight": "a, b = socket.socketpair(); socket.send_fds(a, [b'x'],"
    " [a.fileno(), b.fileno(), os.memfd_create('x') if 0 else os.open('/box', 0)])",
}


@pytest.mark.parametrize("what", PROCESSES)
def test_no_process_and_nothing_of_one_is_left(what, sandbox, as_new):
    program = PREFIX + "import signal, threading, time\n" + PROCESSES[what]
    reused = Reused(sandbox)
    with opened(reused) as box:
        python(box, program)
    with opened(reused) as box:
        assert seen(box) == as_new


def test_a_program_cannot_spoil_the_limits_of_the_next(sandbox, as_new):
    program = """
import os, resource
for number in range(16):
    for pid in (1, 0):
        try: resource.prlimit(pid, number, (3, 3))
        except (OSError, ValueError): pass
os.umask(0o777)
try: os.nice(19)
except OSError: pass
for path in ("oom_score_adj", "autogroup", "timerslack_ns", "coredump_filter", "comm", "clear_refs"):
    try: open("/proc/1/" + path, "w").write("5")
    except OSError: pass
"""
    reused = Reused(sandbox)
    with opened(reused) as box:
        python(box, program)
    with opened(reused) as box:
        assert seen(box) == as_new
        assert bash(box, "for i in 1 2 3 4 5 6; do sleep 0.01 & done; wait; echo ok").out == b"ok\n"


# -- when a box is not used again ------------------------------------------------------------


def first_and_next(sandbox, between=lambda box: None, **other):
    """The inits of two boxes in a row."""
    wanted = {"slot": 0, "disk": DISK, "mounts": (), "user": USER}
    pids = []
    for more in ({}, other):
        box = sandbox.open(**{**wanted, **more})
        pids.append((box._box.pid, box._box.pidfd))
        between(box)
        box.close()
    return pids[0][0], pids[1][0]


def test_it_is_used_again_by_the_same_user(own):
    first, following = first_and_next(own)
    assert first == following


@pytest.mark.parametrize(
    "other",
    [
        {"user": "bob"},
        {"user": ""},
        {"disk": 2 * DISK},
        {"slot": 1},
        {"mounts": (Mount(source="/usr", target="/opt/usr"),)},
    ],
    ids=["another user", "nobody", "another disk", "another slot", "another mount"],
)
def test_it_is_not_used_again_by(other, own):
    first, following = first_and_next(own, **other)
    assert first != following


def test_nobodys_box_is_not_used_again(own):
    pids = []
    for _ in range(2):
        box = own.open(0, DISK)
        pids.append(box._box.pid)
        box.close()
    assert pids[0] != pids[1]


def test_a_mount_that_was_replaced_ends_the_reuse(own, tmp_path):
    said = []
    for text in ("before", "after"):
        folder = tmp_path / "tools"
        if folder.exists():
            folder.rename(tmp_path / "old")
        folder.mkdir()
        tmp_path.chmod(0o755)
        (folder / "text").write_text(text)
        box = own.open(0, DISK, [Mount(source=str(folder), target="/opt/t")], user=USER)
        said.append(bash(box, "cat /opt/t/text").out)
        box.close()
    assert said == [b"before", b"after"]


def test_a_killed_box_is_not_used_again(own):
    first, following = first_and_next(own, lambda box: box.kill())
    assert first != following


def test_a_box_whose_sink_failed_is_not_used_again(own):
    def fail(data):
        raise ValueError(data)

    def run(box):
        with pytest.raises(ValueError, match="x"):
            execute_into(box, fail)

    first, following = first_and_next(own, run)
    assert first != following


def execute_into(box, sink):
    command = Command(argv=("echo", "x"), env={"PATH": PATH}, limits=LIMITS)
    return box.run(command, sink, sink, threading.Event())


@pytest.mark.parametrize("what", sorted(THROWN_AWAY - {"very many files"}))
def test_a_box_that_cannot_be_made_as_new_is_thrown_away(what, own):
    if what in OF_A_CGROUP and own.isolation().level == "bwrap+poll":
        pytest.skip("without control groups the filter refuses to make it, so nothing can be left")
    first, following = first_and_next(own, lambda box: python(box, PREFIX + LEFT[what]))
    assert first != following


def test_a_box_that_takes_long_to_empty_is_thrown_away(monkeypatch):
    whole = shipping._source
    monkeypatch.setattr(
        shipping, "_source", lambda name: whole(name).replace("_PATIENCE = 0.05", "_PATIENCE = 0")
    )
    made = make()
    try:
        first, following = first_and_next(made, lambda box: bash(box, "touch {1..50}"))
        assert first == following  # too few for a look at the clock
        first, following = first_and_next(made, lambda box: bash(box, "touch {1..500}"))
        assert first != following
    finally:
        made.close()


@pytest.mark.parametrize("what", [what for what in LEFT if what not in THROWN_AWAY])
def test_a_box_that_can_be_emptied_is_kept(what, own):
    first, following = first_and_next(own, lambda box: python(box, PREFIX + LEFT[what]))
    assert first == following


def test_a_file_that_hides_is_found_by_its_count(own):
    box = own.open(0, DISK, user=USER)
    bash(box, "echo secret > hidden")
    files = box.collect(["hidden"], 1, 100)
    next(files)  # whose descriptor keeps the file
    pid = box._box.pid
    box.close()
    files.close()
    box = own.open(0, DISK, user=USER)
    assert box._box.pid != pid
    box.close()


def test_an_init_that_says_it_is_clean_is_not_believed(own, monkeypatch):
    box = own.open(0, DISK, user=USER)
    monkeypatch.setattr(box._cell, "_new", [(0, 0)] * 3)
    pid = box._box.pid
    box.close()
    box = own.open(0, DISK, user=USER)
    assert box._box.pid != pid
    box.close()


def test_killing_a_closed_box_does_not_touch_the_next_task(own):
    before = own.open(0, DISK, user=USER)
    before.close()
    now = own.open(0, DISK, user=USER)
    before.kill()
    before.close()
    assert execute(now, "echo", "lives").out == b"lives\n"
    now.close()


def test_a_stopped_or_timed_out_program_leaves_a_box_that_is_used_again(own):
    first, following = first_and_next(own, lambda box: bash(box, "sleep 60", wall=0.1))
    assert first == following


# -- the spare, and the end ------------------------------------------------------------------


def spare_of(sandbox, slot=0):
    """Wait until the slot has its spare."""
    found = sandbox._pool
    with found._changed:
        assert found._changed.wait_for(lambda: slot in found._spares, 10.0)
        return found._spares[slot].cell


def test_a_spare_is_made_for_the_next_user(own):
    own.open(0, DISK, user=USER).close()
    spare = spare_of(own)
    box = own.open(0, DISK, user="bob")
    assert box._cell is spare
    assert seen(box)
    box.close()
    assert spare_of(own) is not spare


def test_boxes_are_let_go_after_a_while():
    made = make()
    made._pool._idle = 0.2
    try:
        box = made.open(0, DISK, user=USER)
        pidfd = os.dup(box._box.pidfd)
        spare = os.dup(spare_of(made).box.pidfd)
        box.close()
        assert gone(pidfd, 10.0)
        assert gone(spare, 10.0)
        os.close(pidfd)
        os.close(spare)
    finally:
        made.close()


def test_two_hundred_tasks_leave_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = make()
    try:
        with opened(Reused(made, USER)) as box:
            bash(box, "sleep 0.1")  # long enough for a sample, which opens its files
        spare_of(made)
        before = remains(made)
        for number in range(200):
            box = made.open(0, DISK, user=USER)
            box.write("a", [b"x"])
            bash(box, "setsid sleep 60 & echo up > b" if number % 2 else "true")
            box.close()
        assert remains(made) == before
    finally:
        made.close()


def test_the_end_ends_every_box():
    made = make()
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    kept = made.open(0, DISK, user=USER)
    pidfds = [os.dup(kept._box.pidfd)]
    kept.close()
    pidfds.append(os.dup(spare_of(made).box.pidfd))
    made.close()
    assert all(gone(fd, 10.0) for fd in pidfds)
    for fd in pidfds:
        os.close(fd)
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) < before
    assert not made._pool._worker.is_alive()


def test_a_spare_that_cannot_be_made_is_no_fault_of_the_task(own, monkeypatch):
    own.open(0, DISK, user=USER).close()
    spare_of(own)
    started, failed = own._launcher.start, threading.Event()

    def fail(uid, disk, mounts, *, network):
        if threading.current_thread().name == "boxes":
            failed.set()
            raise OSError(24, "Too many open files")
        return started(uid, disk, mounts, network=network)

    monkeypatch.setattr(own._launcher, "start", fail)
    own.open(0, DISK, user="bob").close()
    assert failed.wait(10.0)
    box = own.open(0, DISK, user="eve")
    assert execute(box, "echo", "runs").out == b"runs\n"
    box.close()
    assert own._pool._worker.is_alive()


# -- how a program is started ----------------------------------------------------------------


def test_a_program_waits_where_it_must_first_be_attached(own, monkeypatch):
    attached = []

    def attach(meter, pid):
        status = Path(f"/proc/{pid}/status").read_text()
        attached.append(f"PPid:\t{meter._init}\n" in status)

    made = make("poll")
    monkeypatch.setattr(polling._TreeAccount, "attaches", True)
    monkeypatch.setattr(polling._TreeMeter, "attach", attach)
    try:
        for _ in range(2):
            with opened(Reused(made)) as box:
                assert execute(box, "echo", "runs").out == b"runs\n"
    finally:
        made.close()
    assert attached[-2:] == [True, True]
    assert len(attached) == 3  # the self-test's is the first


@pytest.mark.parametrize("compiler", [None, "/bin/false", "/no/such/cc"])
def test_without_a_compiler_of_use_there_is_no_starter(compiler, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: compiler)
    assert starter.starter() is None


def test_nobody_can_change_the_starter():
    fd = starter.starter()
    if fd is None:
        pytest.skip("there is no compiler here")
    with pytest.raises(PermissionError):
        os.write(fd, b"x")
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)
    os.close(fd)


def test_the_program_has_nothing_of_the_inits(sandbox):
    program = """
import os
print(len(os.listdir("/proc/self/fd")))
print(os.getsid(0) == os.getpid(), os.getppid())
"""
    with opened(Reused(sandbox)) as box:
        out = execute(box, "python3", "-c", program).out.decode().splitlines()
        lists = execute(box, "grep", "Sig[IB]", "/proc/self/status").out
    assert out == ["4", "True 1"]
    assert lists == b"SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"


def test_arguments_that_are_too_long_are_told(sandbox):
    with opened(Reused(sandbox)) as box:
        ran = execute(box, "echo", "x" * (1 << 18))
        assert ran.ran.exit_code == 126
        assert b"Argument list too long" in ran.err
        assert execute(box, "echo", "usable").out == b"usable\n"


def test_an_init_that_is_killed_for_memory_is_a_memory_limit(own, monkeypatch):
    """The kernel chooses whom it kills, and may choose the smallest of a group."""
    total = Total(cpu=0.1, peak_memory=MIB, processes=1, out_of_memory=True, refused_forks=False)
    box = own.open(0, DISK, user=USER)
    meter = type(box._cell.account.meter(LIMITS))
    monkeypatch.setattr(meter, "finish", lambda _: total)
    command = Command(argv=("bash", "-c", "echo; sleep 60"), env={"PATH": PATH}, limits=LIMITS)
    ran = box.run(command, lambda _: box._cell.kill(), lambda _: None, threading.Event())
    assert (ran.limit, ran.signal, ran.killed) == ("memory", 9, False)
    box.close()
