"""What strangers' programs try, and what becomes of it. Each attack that must fail here was seen to
succeed where its guard is taken away; the self-test does the same at each executor's start.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import msgspec
import pytest

from accord.adapters.sandbox import layout, seccomp, selftest, shipping
from accord.adapters.sandbox.bwrap import BwrapSandbox
from accord.adapters.system import SystemClock
from accord.config import SandboxSettings
from accord.core.errors import Invalid, SandboxError
from accord.core.limits import MIB
from accord.ports.sandbox import Command
from accord.testing.sandbox_suite import (
    LIMITS,
    PATH,
    Reused,
    bash,
    contents,
    execute,
    opened,
    python,
)
from tests.contract import ordinary

pytestmark = [pytest.mark.box, pytest.mark.timeout(300)]

FIRST_UID = 220_000


def make(cgroup="auto"):
    return BwrapSandbox(SandboxSettings(cgroup=cgroup), SystemClock(), FIRST_UID)


@pytest.fixture(scope="module", params=["auto", "poll"])
def sandbox(request):
    made = make(request.param)
    yield made
    made.close()


@pytest.fixture(params=["fresh", "reused"])
def box(sandbox, request):
    if request.param == "reused":
        sandbox = Reused(sandbox)
        with opened(sandbox) as before:
            bash(before, "echo x > x")
    with opened(sandbox) as box:
        yield box


# -- the self-test ---------------------------------------------------------------------------


def test_every_attack_of_the_self_test_fails_inside(sandbox):
    checks = sandbox.isolation().checks
    assert len(checks) >= 14
    assert all(result == "held" or result.startswith("not run: ") for result in checks.values())
    if os.geteuid() == 0:
        assert set(checks.values()) == {"held"}


def with_network(features):
    arguments = layout_isolation(features)
    at = arguments.index("--unshare-all")
    return [*arguments[: at + 1], "--share-net", *arguments[at + 1 :]]


def nothing_filtered(machine, *, uncounted_memory=True):
    return bytes.fromhex("06000000" + "0000ff7f")


def not_hidden(module):
    return shipping_source(module).replace("    _hide(libc)\n", "")


def shared_memory_of_the_host(disk):
    return [*layout_scratch(disk), "--ro-bind", "/dev/shm", "/dev/shm"]


layout_isolation, layout_scratch = layout.isolation, layout.scratch
shipping_source = shipping._source


@pytest.mark.parametrize(
    ("module", "name", "broken", "found"),
    [
        (layout, "isolation", with_network, ["tcp", "abstract_unix"]),
        (seccomp, "program", nothing_filtered, ["netlink", "init_limits"]),
        (shipping, "_source", not_hidden, ["init_environ"]),
        (layout, "scratch", shared_memory_of_the_host, ["host_file"]),
        (
            selftest,
            "_LIMITS",
            msgspec.structs.replace(selftest._LIMITS, processes=60),
            ["fork_bomb"],
        ),
    ],
    ids=["network", "filter", "init", "files", "processes"],
)
def test_a_box_with_a_hole_is_found_and_runs_nothing(module, name, broken, found, monkeypatch):
    monkeypatch.setattr(module, name, broken)
    monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
    made = make()
    try:
        with pytest.raises(SandboxError, match="does not hold") as raised:
            made.open(0, MIB)
        for attack in found:
            assert attack in raised.value.message
    finally:
        made.close()


# -- the init --------------------------------------------------------------------------------


def test_signals_do_not_touch_the_init(box):
    program = "import os\nfor n in range(1, 65):\n  os.kill(1, n)\nprint('sent')"
    assert python(box, program).out == b"sent\n"
    assert execute(box, "echo", "usable").out == b"usable\n"


def test_stopping_everything_stops_no_limit(box):
    ran = python(
        box, "import os; os.fork(); os.kill(-1, 19); os.kill(os.getpid(), 19)", wall=0.3
    ).ran
    assert ran.limit == "wall"
    assert execute(box, "echo", "usable").out == b"usable\n"


@pytest.mark.parametrize("name", ["environ", "mem", "maps", "fd", "root", "cwd", "exe", "stack"])
def test_the_init_shows_nothing_of_itself(name, box):
    program = f"""
import os
for look in (lambda p: open(p, 'rb').read(1), os.listdir, os.readlink):
    try: print(look('/proc/1/{name}'))
    except OSError as error: assert error.errno in (1, 13, 20, 22, 3), error
"""
    assert python(box, program).out == b""


def test_the_init_cannot_be_made_the_first_to_be_killed(box):
    ran = bash(box, "echo 1000 > /proc/1/oom_score_adj")
    assert ran.ran.exit_code != 0
    assert b"Permission denied" in ran.err


def test_the_limits_of_the_init_cannot_be_changed(box):
    program = "import resource as r; r.prlimit(1, r.RLIMIT_NPROC, (3, 3))"
    assert b"PermissionError" in python(box, program).err
    assert bash(box, "for i in 1 2 3 4 5 6; do sleep 0.01 & done; wait; echo ok").out == b"ok\n"


def test_a_name_that_looks_like_numbers_confuses_no_measurement(box):
    program = """
import ctypes, os
for _ in range(3):
    if os.fork() == 0: break
ctypes.CDLL(None).prctl(15, b") R 1 1 (x) 9", 0, 0, 0)
while True: pass
"""
    assert python(box, program, cpu=0.4).ran.limit == "cpu"


# -- the host's files ------------------------------------------------------------------------


def test_the_hosts_files_are_not_there(box):
    here = Path(__file__).parents[2]
    paths = ["/etc/shadow", "/root", "/home", "/opt", "/srv", "/mnt", "/boot", "/sys", str(here)]
    program = f"import os; print([p for p in {paths!r} if os.path.exists(p)])"
    assert python(box, program).out == b"[]\n"


def test_nothing_of_the_system_can_be_written(box):
    places = "/ /usr /usr/bin /etc /etc/passwd /dev /run /var /proc/sys/kernel /proc /lib"
    script = (
        f'for p in {places}; do touch "$p/x" 2>/dev/null && echo "$p"; done; echo x > /etc/passwd'
    )
    ran = bash(box, script)
    assert ran.out == b""
    assert ran.ran.exit_code != 0


def test_a_file_given_as_stdin_cannot_be_changed(tmp_path, box):
    kept = tmp_path / "kept"
    kept.write_bytes(b"precious")
    kept.chmod(0o666)
    program = """
import os
for flags in (os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
    try:
        fd = os.open('/proc/self/fd/0', flags)
        os.ftruncate(fd, 0)
    except OSError: pass
try: os.ftruncate(0, 0); os.pwrite(0, b'spoilt', 0)
except OSError: pass
"""
    with kept.open("rb") as file:
        command = Command(
            argv=("python3", "-c", program), env={"PATH": PATH}, limits=LIMITS, stdin=file.fileno()
        )
        box.run(command, lambda _: None, lambda _: None, threading.Event())
    assert kept.read_bytes() == b"precious"


STDIN_AS_A_USER = """
import json, os, tempfile, threading
from accord.adapters.sandbox.bwrap import BwrapSandbox
from accord.adapters.system import SystemClock
from accord.config import SandboxSettings
from accord.core.limits import Limits
from accord.ports.sandbox import Command
made = BwrapSandbox(SandboxSettings(), SystemClock())
box = made.open(0, 1 << 20)
with tempfile.TemporaryFile() as file:
    file.write(b"precious"); file.flush(); file.seek(0)
    argv = ("bash", "-c", "echo spoilt 1<> /proc/self/fd/0; echo spoilt >> /dev/stdin")
    command = Command(argv=argv, env={"PATH": "/usr/bin:/bin"}, limits=Limits(), stdin=file.fileno())
    box.run(command, lambda _: None, lambda _: None, threading.Event())
    file.seek(0)
    print(json.dumps(file.read().decode()))
box.close()
made.close()
"""


def test_a_file_of_the_same_user_given_as_stdin_cannot_be_changed():
    with ordinary.installed() as folder:
        assert ordinary.run(folder, STDIN_AS_A_USER) == "precious"


def test_programs_with_the_setuid_bit_give_nothing(box):
    script = "find / -xdev -perm -4000 2>/dev/null | head -1; mount -t tmpfs x /mnt; su -c id"
    assert b"uid=0" not in bash(box, script).out


# -- the kernel ------------------------------------------------------------------------------

CALLS = """
import ctypes, errno, json, platform
libc = ctypes.CDLL(None, use_errno=True)
found = {}
for name, (number, *args) in json.loads(ORDERS).items():
    ctypes.set_errno(0)
    result = libc.syscall(number, *args)
    found[name] = errno.errorcode.get(ctypes.get_errno(), 'ok') if result < 0 else 'ok'
print(json.dumps(found))
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
def test_calls_that_no_program_needs_are_refused(box):
    new_user, vsock, netlink, tiocsti = 0x10000000, 40, 16, 0x5412
    orders = {
        "unshare": (272, new_user),
        "clone": (56, new_user | 17, 0, 0, 0, 0),
        "clone3": (435, 0, 0),
        "keyctl": (250, 0, -3, 0),
        "add_key": (248, 0, 0, 0, 0, 0),
        "bpf": (321, 0, 0, 0),
        "perf_event_open": (298, 0, 0, 0, 0, 0),
        "userfaultfd": (323, 0),
        "io_uring_setup": (425, 1, 0),
        "ptrace": (101, 0, 0, 0, 0),
        "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
        "mount": (165, 0, 0, 0, 0, 0),
        "open_tree": (428, -100, 0, 0),
        "setns": (308, 0, 0),
        "open_by_handle_at": (304, 0, 0, 0),
        "prlimit64 of another": (302, 1, 0, 0, 0),
        "sched_setaffinity": (203, 0, 0, 0),
        "ioctl TIOCSTI": (16, 0, tiocsti, 0),
        "socket vsock": (41, vsock, 1, 0),
        "socket netlink": (41, netlink, 3, 0),
        "socketpair netlink": (53, netlink, 3, 0, 0),
        "socket unix": (41, 1, 1, 0),
        "socket inet6": (41, 10, 2, 0),
        "prlimit64 of itself": (302, 0, 7, 0, 0),
    }
    program = CALLS.replace("ORDERS", repr(msgspec.json.encode(orders).decode()))
    found = msgspec.json.decode(python(box, program).out)
    wanted = dict.fromkeys(orders, "EPERM") | {
        "clone3": "ENOSYS",
        "socket vsock": "EAFNOSUPPORT",
        "socket netlink": "EAFNOSUPPORT",
        "socketpair netlink": "EAFNOSUPPORT",
        "socket unix": "ok",
        "socket inet6": "ok",
        "prlimit64 of itself": "ok",
    }
    assert found == wanted


def test_the_network_is_off_but_the_loopback_is_on(box):
    program = """
import socket
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
print(sorted(name for _, name in socket.if_nameindex()) if 0 else "loopback")
try: socket.create_connection(("192.0.2.1", 80), timeout=2)
except OSError as error: print(error.errno)
"""
    assert python(box, program).out == b"loopback\n101\n"


# -- memory that hides -----------------------------------------------------------------------


def memory_limited(outcome):
    return outcome.ran.limit == "memory" or b"refused" in outcome.out


def test_memory_behind_descriptors_is_counted_or_refused(box):
    program = """
import os, time
try:
    fds = [os.memfd_create(str(n)) for n in range(20)]
except OSError:
    print("refused"); raise SystemExit
for fd in fds:
    os.write(fd, bytes(8 << 20))
time.sleep(5)
"""
    assert memory_limited(python(box, program, memory=64 * MIB))


def test_shared_memory_of_system_v_is_counted_or_refused(box):
    program = f"""
import ctypes, time
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
number = libc.shmget(0, {200 * MIB}, 0o1600)
if number < 0:
    print("refused"); raise SystemExit
ctypes.memset(libc.shmat(number, None, 0), 1, {200 * MIB})
time.sleep(5)
"""
    assert memory_limited(python(box, program, memory=64 * MIB))


def test_shared_memory_files_are_memory(sandbox):
    with opened(sandbox, 200 * MIB) as box:
        script = "head -c 150000000 /dev/zero > /dev/shm/x; sleep 5"
        ran = bash(box, script, memory=64 * MIB, disk=200 * MIB, file=200 * MIB).ran
    assert ran.limit == "memory", ran


def test_shared_memory_files_are_bounded(box):
    ran = bash(box, "head -c 60000000 /dev/zero > /dev/shm/x; echo $?")
    assert ran.out == b"1\n"


# -- what is left for the next command -------------------------------------------------------


def test_a_folder_that_was_shut_spoils_the_box_alone(box):
    bash(box, "chmod 0 /box")
    with pytest.raises(Invalid, match="shut"):
        box.write("a", [b"x"])
    assert execute(box, "true").ran.exit_code in (0, 126)
    assert contents(box, ["**"]) == {}


def test_folders_without_end_are_passed_over(box):
    program = """
import os
for _ in range(3000):
    os.mkdir("d"); os.chdir("d")
open("deep", "w").close()
os.chdir("/box"); open("plain", "w").close()
"""
    assert python(box, program).ran.exit_code == 0
    assert contents(box, ["**/deep", "plain"]) == {"plain": b""}


def test_ten_thousand_files_are_listed_and_capped(box):
    program = "for n in range(10000): open(f'{n:05}', 'w').close()"
    assert python(box, program).ran.exit_code == 0
    found = contents(box, ["*"], files=5)
    assert len(found) == 10_000
    assert [name for name in found if not name.startswith("passed over")] == [
        f"{n:05}" for n in range(5)
    ]


def test_arguments_without_end_are_refused_like_in_a_shell(box):
    ran = execute(box, "echo", "x" * 200_000)
    assert ran.ran.exit_code == 126
    assert b"too long" in ran.err
    with pytest.raises(Invalid, match="too long"):
        execute(box, "echo", *(["x" * 100_000] * 100))
    assert len(execute(box, "echo", *(["x" * 100_000] * 30)).out) == 3_000_030


def test_a_victim_of_the_self_test_ends_with_its_executor():
    victim = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", selftest.VICTIM], stderr=subprocess.PIPE
    )
    assert victim.stderr is not None
    assert victim.stderr.read(1) == b"!"
    assert victim.poll() is None
    victim.stderr.close()  # as the kernel does for an executor that was killed
    assert victim.wait(30) == 0
