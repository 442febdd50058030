"""The parts of the sandbox by themselves: filter, frames, patterns, accounting, and a host that
faces an init which lies.
"""

from __future__ import annotations

import _socket
import os
import platform
import socket
import struct
import subprocess
import tempfile
import threading
import zipfile
from pathlib import Path
from random import Random  # noqa: TID251 - seeded: the same cuts in every run

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.adapters.sandbox import archive, cgroup, paths, seccomp, wire
from accord.adapters.sandbox.bwrap import BwrapBox, BwrapSandbox, choose_accounting
from accord.adapters.sandbox.cell import Cell
from accord.adapters.sandbox.launch import Started
from accord.adapters.sandbox.polling import Polling
from accord.adapters.sandbox.wire import Broken, Wire
from accord.adapters.system import SystemClock
from accord.config import SandboxSettings
from accord.core.errors import SandboxError
from accord.core.globs import matcher
from accord.core.limits import MIB, Limits
from accord.ports.sandbox import Command
from accord.testing.archives import zipped

# -- the filter ------------------------------------------------------------------------------

ALLOW, EPERM, ENOSYS, EAFNOSUPPORT, KILL = 0x7FFF0000, 0x50001, 0x50026, 0x50061, 0x80000000


def judged(program, audit, number, *args):
    """What the filter answers, by a machine for its instructions."""
    data = struct.pack(
        "<iIQ6Q", number, audit, 0, *(arg % (1 << 64) for arg in (*args, *[0] * (6 - len(args))))
    )
    code = list(struct.iter_unpack("<HBBI", program))
    at = accumulator = 0
    while True:
        operation, yes, no, value = code[at]
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif operation == 0x06:
            return value
        else:
            test = {
                0x15: accumulator == value,
                0x35: accumulator >= value,
                0x45: accumulator & value,
            }
            at += yes if test[operation] else no


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request):
    return seccomp.ARCHITECTURES[request.param]


def test_ordinary_calls_pass_the_filter(machine):
    program = seccomp.program(machine)
    special = {machine.clone, machine.socket, machine.socketpair, machine.prlimit64, machine.ioctl}
    refused = {*machine.refused, *special, 435}
    for number in range(460):
        answer = judged(program, machine.audit, number)
        assert (answer == ALLOW) == (
            number not in refused - {machine.clone, machine.prlimit64, machine.ioctl}
        ), number


def test_what_depends_on_arguments_is_judged_by_them(machine):
    program, audit = seccomp.program(machine), machine.audit
    assert judged(program, audit, machine.clone, 0x3D0F00) == ALLOW  # what threads are made with
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert judged(program, audit, machine.clone, flag | 17) == EPERM
    assert judged(program, audit, machine.prlimit64, 0) == ALLOW
    assert judged(program, audit, machine.prlimit64, 1) == EPERM
    assert judged(program, audit, machine.ioctl, 0, 0x5401) == ALLOW
    assert judged(program, audit, machine.ioctl, 0, 0x5412) == EPERM
    for family in (1, 2, 10):
        assert judged(program, audit, machine.socket, family) == ALLOW
    for family in (0, 3, 16, 17, 38, 40, 44):
        assert judged(program, audit, machine.socket, family) == EAFNOSUPPORT
        assert judged(program, audit, machine.socketpair, family) == EAFNOSUPPORT
    assert judged(program, audit, 435) == ENOSYS


def test_foreign_architectures_are_killed(machine):
    program = seccomp.program(machine)
    assert judged(program, 0x40000003, 1) == KILL  # 32-bit x86
    if machine.x32:
        assert judged(program, machine.audit, 0x40000000 | 1) == KILL


def test_memory_that_nobody_counts_is_refused_only_without_a_cgroup(machine):
    for number in (machine.memfd_create, machine.shmget):
        assert judged(seccomp.program(machine), machine.audit, number) == ALLOW
        strict = seccomp.program(machine, uncounted_memory=False)
        assert judged(strict, machine.audit, number) == ENOSYS


# -- frames ----------------------------------------------------------------------------------


@pytest.fixture
def ends():
    pair = [Wire(_socket.socket(fileno=end.detach())) for end in socket.socketpair()]
    for end in pair:
        end.socket.settimeout(5.0)
    yield pair
    for end in pair:
        end.socket.close()


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_frames_arrive_as_they_were_sent(fields):
    ours, theirs = (Wire(_socket.socket(fileno=end.detach())) for end in socket.socketpair())
    try:
        ours.send(b"verb", *fields)
        frame = theirs.recv()
        assert (frame.verb, frame.fields) == (b"verb", fields)
    finally:
        ours.socket.close()
        theirs.socket.close()


@given(st.binary(max_size=64))
def test_nonsense_is_broken_and_nothing_else(data):
    ours, theirs = (Wire(_socket.socket(fileno=end.detach())) for end in socket.socketpair())
    try:
        ours.socket.sendall(data)
        ours.socket.close()
        for _ in range(20):
            theirs.recv()
        raise AssertionError
    except Broken:
        pass
    finally:
        theirs.socket.close()


def test_a_huge_length_takes_no_memory(ends):
    ends[0].socket.sendall(b"\xff\xff\xff\xff")
    with pytest.raises(Broken, match="4294967295"):
        ends[1].recv()


def test_silence_ends_by_time(ends):
    ends[1].socket.settimeout(0.05)
    with pytest.raises(Broken, match="timed out"):
        ends[1].recv()


def test_descriptors_are_not_inherited(ends):
    with tempfile.TemporaryFile() as file:
        ends[0].send(b"take", fds=[file.fileno()])
        frame = ends[1].recv()
        assert [os.get_inheritable(fd) for fd in frame.fds] == [False]
        frame.close()


# -- archives and patterns -------------------------------------------------------------------


def test_archives_that_were_cut_or_changed_anywhere_do_no_harm(tmp_path):
    chance = Random(1)
    good = zipped({"a/b.txt": b"hello " * 50, "c": b"x", "d/e/f": bytes(200)})
    folder = paths.Folder(os.open(tmp_path, os.O_RDONLY))
    caps = archive.Caps(MIB, 20, 8)
    ended = {"unpacked": 0, "refused": 0}
    for _ in range(3000):
        raw = bytearray(good[: chance.choice([len(good), chance.randrange(len(good))])])
        for _ in range(chance.randrange(4)):
            raw[chance.randrange(len(raw) or 1) : 1] = bytes([chance.randrange(256)])
            if raw:
                raw[chance.randrange(len(raw))] = chance.randrange(256)
        with tempfile.TemporaryFile() as file:
            file.write(raw)
            file.flush()
            try:
                archive.unpack(file.fileno(), folder, caps)
                ended["unpacked"] += 1
            except archive.BadArchive:
                ended["refused"] += 1
    os.close(folder.fd)
    assert ended["refused"] > 1000


def test_only_regular_files_are_opened_and_never_through_a_link(tmp_path):
    (tmp_path / "good").write_bytes(b"12")
    (tmp_path / "link").symlink_to(tmp_path / "good")
    (tmp_path / "folder").mkdir()
    (tmp_path / "round").symlink_to(tmp_path / "folder")
    (tmp_path / "folder" / "inner").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    folder = paths.Folder(os.open(tmp_path, os.O_RDONLY))
    try:
        fd, size = folder.open([b"good"])
        os.close(fd)
        assert size == 2
        for name in (b"link", b"folder", b"pipe", b"missing", b"round/inner"):
            with pytest.raises(paths.BadPath):
                folder.open(name.split(b"/"))
    finally:
        os.close(folder.fd)


def test_a_machine_without_a_filter_runs_nothing(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(SandboxError, match="riscv64"):
        BwrapSandbox(SandboxSettings(), SystemClock())


def test_what_zipfile_writes_is_read(tmp_path):
    target = tmp_path / "x.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a/b", b"1" * 1000)
        made.mkdir("empty")
    out = tmp_path / "out"
    out.mkdir()
    folder = paths.Folder(os.open(out, os.O_RDONLY))
    with target.open("rb") as file:
        archive.unpack(file.fileno(), folder, archive.Caps(MIB, 10, 8))
    os.close(folder.fd)
    assert (out / "a" / "b").read_bytes() == b"1" * 1000
    assert (out / "empty").is_dir()


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*.txt", ["a.txt", ".txt"], ["a/b.txt", "a.txt2"]),
        ("**", ["a", "a/b/c"], []),
        ("out/**", ["out/a", "out/a/b"], ["a"]),
        ("**/x", ["x", "a/x", "a/b/x"], ["ax"]),
        ("a/**/b", ["a/b", "a/x/y/b"], ["b"]),
        ("?[0-9]", ["a1"], ["a", "1a", "a12"]),
        ("[!a-c]*", ["dx", "d"], ["ax"]),
        ("[]x]", ["]", "x"], ["y"]),
        ("[a", ["[a"], ["a"]),
        ("./a//b", ["a/b"], ["a"]),
        ("*a*b*", ["ab", "xaxbx"], ["ba"]),
        ("", [], ["a"]),
    ],
)
def test_patterns(glob, yes, no):
    matches = matcher([glob])
    assert [path for path in yes if not matches(path)] == []
    assert [path for path in no if matches(path)] == []


# -- accounting ------------------------------------------------------------------------------


@pytest.fixture
def version2(tmp_path, monkeypatch):
    """A folder that looks like a delegated group of version 2; the kernel's part is played by
    files that this test writes.
    """
    base = tmp_path / "user.slice"
    base.mkdir()
    (base / "cgroup.controllers").write_text("cpu memory pids\n")
    (base / "cgroup.type").write_text("domain\n")
    (base / "cgroup.procs").write_text("12\n34\n")
    (base / "cgroup.subtree_control").write_text("")
    monkeypatch.setattr(cgroup.Cgroups, "_remove", lambda _, path: None)
    return base


def test_version_2_is_set_up_and_read(version2):
    groups = cgroup.V2(SystemClock(), version2)
    assert (version2 / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert (version2 / "accord-main" / "cgroup.procs").read_text() in ("12", "34")
    meter = groups.account("0", 1).meter(Limits(memory=MIB, disk=2 * MIB, processes=5))
    (made,) = version2.glob("accord-*-0-0")
    wanted = {"memory.max": str(67 * MIB), "memory.oom.group": "1", "pids.max": "5"}
    assert {name: (made / name).read_text() for name in wanted} == wanted
    meter.attach(99)
    assert (made / "cgroup.procs").read_text() == "99"
    files = {
        "memory.stat": "anon 1000\nfile 70000\nshmem 500\n",
        "cpu.stat": "usage_usec 1500000\nuser_usec 1\n",
        "pids.current": "3\n",
        "memory.events": "low 0\noom 1\noom_kill 0\n",
        "memory.current": "70000\n",
        "memory.peak": "90000\n",
        "pids.peak": "4\n",
        "pids.events": "max 2\n",
    }
    for name, text in files.items():
        (made / name).write_text(text)
    sample = meter.sample(400, 100)
    assert (sample.cpu, sample.memory, sample.processes) == (1.5, 1100, 3)
    assert not sample.out_of_memory
    (made / "memory.events").write_text("oom_kill 2\n")
    total = meter.finish()
    assert (total.cpu, total.peak_memory, total.processes) == (1.5, 20000, 4)
    assert (total.out_of_memory, total.refused_forks) == (True, True)


def test_version_2_without_controllers_says_so(version2):
    (version2 / "cgroup.controllers").write_text("cpu\n")
    with pytest.raises(cgroup.Unusable, match="memory and pids"):
        cgroup.V2(SystemClock(), version2)


def test_in_a_group_of_ours_the_one_above_is_the_base(version2):
    main = version2 / "accord-main"
    main.mkdir()
    (main / "cgroup.procs").write_text("")
    cgroup.V2(SystemClock(), main)
    assert (version2 / "cgroup.subtree_control").read_text() == "+memory +pids"


def test_the_accounting_says_why_it_is_no_better():
    chosen = choose_accounting("auto", SystemClock())
    assert chosen.level == "bwrap+cgv2" or chosen.why
    assert choose_accounting("poll", SystemClock()).level == "bwrap+poll"


# -- an init that lies -----------------------------------------------------------------------


class Liar:
    """A box whose init is this test."""

    def __init__(self):
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(["sleep", "60"])
        self.wire = Wire(_socket.socket(fileno=theirs.detach()))
        self.wire.socket.settimeout(5.0)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        pidfd = os.pidfd_open(self.process.pid)
        started = Started(
            wire=Wire(_socket.socket(fileno=ours.detach())),
            pidfd=pidfd,
            pid=self.process.pid,
            bwrap=os.dup(pidfd),
            stderr=os.open("/dev/null", os.O_RDONLY),
            roots=tuple(os.open("/tmp", os.O_RDONLY) for _ in range(3)),
        )
        self.cell = Cell(started, "0", Polling("a test"))
        settings, clock = SandboxSettings(), SystemClock()
        self.box = BwrapBox(self.cell, lambda: False, settings, clock, counted=False)

    def answers(self, *frames, fds=()):
        """Say that, whatever is asked."""

        def lie():
            try:
                self.wire.recv()
                for frame in frames:
                    self.wire.send(*frame, fds=fds)
            except Broken:
                pass

        thread = threading.Thread(target=lie)
        thread.start()
        return thread

    def close(self):
        self.process.kill()
        self.process.wait()
        self.box.close()
        self.wire.socket.close()


@pytest.fixture
def liar():
    made = Liar()
    yield made
    made.close()


@pytest.mark.parametrize(
    "answer",
    [
        [(b"nonsense",)],
        [(b"file",)],
        [(b"file", b"a", b"many", b"33188")],
        [(b"file", b"a", b"1", b"rw")],
        [(b"file", b"a" * 100_000, b"1", b"33188")],
        [(b"done", b"0", b"0", b"0", b"0")],
    ],
)
def test_a_list_that_makes_no_sense_is_an_error(answer, liar):
    thread = liar.answers(*answer)
    with pytest.raises(SandboxError):
        list(liar.box.collect(["*"], 10, 1000))
    thread.join()


def test_only_regular_files_of_the_size_that_was_told_are_taken(liar):
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as file:
        file.write(b"12345")
        file.flush()
        for fds in ([reading], [file.fileno()], [file.fileno(), reading], []):

            def lie(fds=fds):
                liar.wire.recv()
                liar.wire.send(b"file", b"a", b"3", b"33188")
                liar.wire.send(b"end")
                liar.wire.recv()
                liar.wire.send(b"ok", b"3", fds=fds)

            thread = threading.Thread(target=lie)
            thread.start()
            before = sum(1 for _ in Path("/proc/self/fd").iterdir())
            assert list(liar.box.collect(["*"], 10, 1000)) == ["a"]
            thread.join()
            assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    "numbers",
    [
        (b"x", b"0", b"0", b"0"),
        (b"99999999999999", b"0", b"0", b"0"),
        (b"4991", b"0", b"0", b"0"),
        (b"0", b"0", b"0"),
        (b"1" * 5000, b"0", b"0", b"0"),
    ],
)
def test_numbers_that_make_no_sense_are_an_error(numbers, liar):
    command = Command(argv=("true",), env={}, limits=Limits())
    thread = liar.answers((b"ready",), (b"done", *numbers), fds=[liar.cell.box.pidfd])
    with pytest.raises(SandboxError):
        liar.box.run(command, lambda _: None, lambda _: None, threading.Event())
    thread.join()


def test_processor_time_that_cannot_be_is_bounded(liar):
    command = Command(argv=("true",), env={}, limits=Limits())
    done = (b"done", b"0", b"999999999999999", b"0", b"0")
    thread = liar.answers((b"ready",), done, fds=[liar.cell.box.pidfd])
    ran = liar.box.run(command, lambda _: None, lambda _: None, threading.Event())
    thread.join()
    assert ran.cpu_time <= (ran.wall_time + 1) * (os.cpu_count() or 1)


def test_frames_larger_than_any_request_are_not_read(liar):
    def lie():
        liar.wire.recv()
        liar.wire.socket.sendall(struct.pack("!I", wire.LARGEST_FRAME + 1))

    thread = threading.Thread(target=lie)
    thread.start()
    with pytest.raises(SandboxError):
        list(liar.box.collect(["*"], 10, 1000))
    thread.join()
