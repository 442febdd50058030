"""What every sandbox promises: the contract of ``ports.sandbox`` as checks that can be run.

``PROMISES`` maps the promise to a function that takes a sandbox and raises AssertionError. They
need no test runner, so that they can also be run as another user, by ``run_all``. Inside they use
bash and python3.
"""

# ruff: noqa: D103 - the name of each function is its promise

from __future__ import annotations

import contextlib
import os
import threading
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from accord.core.errors import AccordError, Invalid, SandboxError
from accord.core.executor import Isolation
from accord.core.limits import MIB, Limits
from accord.ports.sandbox import Box, Command, Kept, Mount, Ran, Sandbox
from accord.testing.archives import Unseekable, entry, hostile_archives, zipped

Promise = Callable[[Sandbox], None]
PROMISES: dict[str, Promise] = {}

PATH = "/usr/local/bin:/usr/bin:/bin"
DISK = 16 * MIB
LIMITS = Limits(wall=20.0, cpu=10.0, memory=256 * MIB, disk=DISK)
_STUCK = 10.0
"""Seconds after which a thing that should happen at once has failed."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a command did, with all its output."""

    ran: Ran
    out: bytes
    err: bytes


def promise(check: Promise) -> Promise:
    """Put a check among the promises, under its name in words."""
    PROMISES[check.__name__.replace("_", " ")] = check
    return check


class Reused:
    """A sandbox of which every box is opened for one and the same user, so that boxes come back."""

    def __init__(self, sandbox: Sandbox, user: str = "suite") -> None:
        self._sandbox = sandbox
        self._user = user

    def isolation(self) -> Isolation:
        """That of the sandbox."""
        return self._sandbox.isolation()

    def open(
        self,
        slot: int,
        disk: int,
        mounts: Sequence[Mount] = (),
        user: str = "",
        *,
        network: bool = False,
    ) -> Box:
        """A box of the one user."""
        return self._sandbox.open(slot, disk, mounts, user or self._user, network=network)

    def close(self) -> None:
        """Close the sandbox."""
        self._sandbox.close()


@contextlib.contextmanager
def opened(sandbox: Sandbox, disk: int = DISK) -> Iterator[Box]:
    """A box, closed at the end."""
    box = sandbox.open(0, disk)
    try:
        yield box
    finally:
        box.close()


def execute(
    box: Box,
    *argv: str,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    **limits: float,
) -> Outcome:
    """Run a command to its end."""
    out, err = bytearray(), bytearray()
    with _readable(stdin) as fd:
        command = Command(
            argv=argv,
            env=env if env is not None else {"PATH": PATH, "HOME": "/box"},
            limits=msgspec.structs.replace(LIMITS, **limits),
            stdin=fd,
        )
        ran = box.run(command, out.extend, err.extend, threading.Event())
    assert (ran.exit_code is None) != (ran.signal is None), ran
    return Outcome(ran=ran, out=bytes(out), err=bytes(err))


def bash(box: Box, script: str, stdin: bytes | None = None, **limits: float) -> Outcome:
    """Run a shell script."""
    return execute(box, "bash", "-c", script, env=None, stdin=stdin, **limits)


def python(box: Box, program: str, stdin: bytes | None = None, **limits: float) -> Outcome:
    """Run a Python program."""
    return execute(box, "python3", "-c", program, env=None, stdin=stdin, **limits)


@contextlib.contextmanager
def _readable(data: bytes | None) -> Iterator[int | None]:
    if data is None:
        yield None
        return
    fd = os.memfd_create("stdin")
    try:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


def refused(error: type[AccordError], call: Callable[[], object], words: str = "") -> None:
    """That a call raises such an error, whose message holds those words."""
    try:
        call()
    except error as raised:
        said = raised.message
    else:
        raise AssertionError(f"{error.__name__} was expected")
    assert words in said, said


# -- files in --------------------------------------------------------------------------------


@promise
def what_is_written_is_read_inside_with_its_mode(sandbox: Sandbox) -> None:
    data = bytes(range(256)) * 1000
    with opened(sandbox) as box:
        box.write("deep/er/täst file", [data[:7], b"", data[7:]])
        box.write("run.sh", [b"#!/bin/sh\necho ran"], mode=0o755)
        assert bash(box, "cat 'deep/er/täst file'").out == data
        assert execute(box, "./run.sh").out == b"ran\n"
        assert bash(box, "stat -c %a run.sh 'deep/er/täst file'").out == b"755\n644\n"


@promise
def a_file_that_is_written_again_is_replaced(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        box.write("a", [b"long before"])
        box.write("a", [b"new"])
        assert bash(box, "cat a").out == b"new"


BAD_PATHS = (
    *("", "/", "/etc/x", "..", "../x", "a/../../x", "a/..", "a\0b", "x" * 256, "a/" * 3000 + "b"),
    *(".", "./.", "\ud800"),
)


@promise
def bad_paths_are_refused(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        for path in BAD_PATHS:
            refused(Invalid, lambda path=path: box.write(path, [b"x"]))  # type: ignore[misc]
        assert bash(box, "find . -type f").out == b""


@promise
def what_the_disk_does_not_hold_is_refused(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        refused(Invalid, lambda: box.write("big", [bytes(MIB)] * 20), "disk")


@promise
def writing_never_follows_a_planted_link(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        bash(box, "ln -s /tmp/elsewhere file; ln -s /tmp folder; mkfifo pipe; touch plain")
        box.write("file", [b"new"])
        box.write("pipe", [b"new"])
        assert bash(box, "test ! -L file && cat file pipe; ls /tmp").out == b"newnew"
        refused(Invalid, lambda: box.write("folder/x", [b"x"]))
        refused(Invalid, lambda: box.write("plain/x", [b"x"]))
        assert bash(box, "ls /tmp").out == b""


@promise
def a_folder_that_a_program_has_shut_is_no_fault_of_the_box(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        bash(box, "mkdir data; chmod 0 data .")
        refused(Invalid, lambda: box.write("x", [b"x"]))
        refused(Invalid, lambda: box.unpack([entry("x")], "data"))
        assert contents(box, ["**"]) == {}


# -- archives --------------------------------------------------------------------------------


@promise
def a_good_archive_is_unpacked_whole(sandbox: Sandbox) -> None:
    files = {"a": b"x" * 100_000, "über/ß.txt": b"\0\1", "empty": b"", "deep/er/b": os.urandom(999)}
    with opened(sandbox) as box:
        box.unpack([zipped(files)])
        box.unpack(iter([zipped(files, zipfile.ZIP_STORED)]), "data")
        for name, data in files.items():
            assert execute(box, "cat", name).out == data, name
            assert execute(box, "cat", f"data/{name}").out == data, name


@promise
def an_archive_keeps_the_execute_bit_and_no_other(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        box.unpack([entry("run", b"#!/bin/sh\necho ran", 0o106777)])
        assert execute(box, "./run").out == b"ran\n"
        assert bash(box, "stat -c %a run").out == b"755\n"


@promise
def an_archive_of_unknown_length_is_unpacked(sandbox: Sandbox) -> None:
    buffer = Unseekable()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"streamed")
        with archive.open("b", "w", force_zip64=True) as file:
            file.write(b"zip64")
    with opened(sandbox) as box:
        box.unpack([bytes(buffer.written)])
        assert bash(box, "cat a b").out == b"streamedzip64"


@promise
def hostile_archives_are_refused_with_the_reason(sandbox: Sandbox) -> None:
    archives = hostile_archives()
    fitting = {what: archives.pop(what) for what in list(archives) if "disk" not in what}
    _all_refused(sandbox, 64 * MIB, fitting)
    _all_refused(sandbox, DISK, archives)


def _all_refused(sandbox: Sandbox, disk: int, archives: Mapping[str, tuple[bytes, str]]) -> None:
    with opened(sandbox, disk) as box:
        for what, (raw, words) in archives.items():
            refused(Invalid, lambda raw=raw: box.unpack([raw]), words)  # type: ignore[misc]
            script = "ls -A /tmp; cat /etc/passwd | wc -l; rm -rf /box/*"
            seen = bash(box, script, disk=disk)
            assert seen.out == b"2\n", what


@promise
def an_archive_is_not_unpacked_through_a_planted_link(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        bash(box, "ln -s /tmp data; mkdir into; ln -s /tmp into/d; ln -s /tmp/x into/f")
        refused(Invalid, lambda: box.unpack([entry("x")], "data"))
        refused(Invalid, lambda: box.unpack([entry("d/x")], "into"))
        box.unpack([entry("f", b"new")], "into")
        assert bash(box, "cat into/f; ls -A /tmp").out == b"new"


# -- running ---------------------------------------------------------------------------------

_ARGV = (
    "import sys; sys.stdout.buffer.write(b'|'.join(map(__import__('os').fsencode, sys.argv[1:])))"
)


@promise
def arguments_arrive_exactly(sandbox: Sandbox) -> None:
    words = ["", " ", "a b", "'\"$(id)`\\", "*", "ünï\n", "-x", "\t", "😀", "x" * 100_000]
    with opened(sandbox) as box:
        ran = execute(box, "python3", "-c", _ARGV, *words)
        assert ran.out == "|".join(words).encode()


@promise
def the_environment_is_what_was_given_and_nothing_else(sandbox: Sandbox) -> None:
    env = {"PATH": PATH, "A": "", "B": "x=y\nz", "Ü": "ß"}
    with opened(sandbox) as box:
        found = execute(box, "env", "-0", env=env).out
    assert dict(item.split("=", 1) for item in found.decode().split("\0") if item) == env


@promise
def a_command_that_cannot_be_is_refused(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        refused(Invalid, lambda: execute(box))
        refused(Invalid, lambda: execute(box, "echo", "a\0b"))
        refused(Invalid, lambda: execute(box, "env", env={"A=B": "x"}))
        assert execute(box, "echo", "still here").out == b"still here\n"


@promise
def a_program_that_is_not_there_ends_as_in_a_shell(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        box.write("text", [b"no program"])
        missing, plain = execute(box, "no-such-program"), execute(box, "./text")
    assert (missing.ran.exit_code, plain.ran.exit_code) == (127, 126)
    assert b"no-such-program" in missing.err


@promise
def the_program_is_an_ordinary_process_in_the_work_directory(sandbox: Sandbox) -> None:
    program = "import os; print(os.getcwd(), os.getpid() > 1, os.getsid(0) == os.getpid())"
    with opened(sandbox) as box:
        assert python(box, program).out == b"/box True True\n"
        assert bash(box, "umask; ls /proc/self/fd | wc -l").out == b"0022\n4\n"


@promise
def stdin_arrives_exactly(sandbox: Sandbox) -> None:
    data = os.urandom(MIB + 1)
    with opened(sandbox) as box:
        assert execute(box, "cat", stdin=data).out == data
        assert execute(box, "cat", stdin=b"").out == b""
        assert execute(box, "cat").out == b""


@promise
def stdin_that_nobody_reads_holds_nothing_up(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        assert execute(box, "true", stdin=bytes(MIB)).ran.exit_code == 0
        assert bash(box, "exec <&-; sleep 0.05; echo x", stdin=bytes(MIB)).out == b"x\n"


@promise
def stdin_that_never_ends_holds_nothing_up(sandbox: Sandbox) -> None:
    reading, writing = os.pipe()
    try:
        with opened(sandbox) as box:
            command = Command(
                argv=("head", "-c", "2"), env={"PATH": PATH}, limits=LIMITS, stdin=reading
            )
            os.write(writing, b"abc")
            out = bytearray()
            ran = box.run(command, out.extend, out.extend, threading.Event())
            assert (ran.exit_code, bytes(out)) == (0, b"ab")
    finally:
        os.close(reading)
        os.close(writing)


@promise
def output_is_passed_on_as_it_comes(sandbox: Sandbox) -> None:
    reading, writing = os.pipe()
    seen = bytearray()

    def answer(data: bytes) -> None:
        seen.extend(data)
        if data == b"ready\n":
            os.write(writing, b"go\n")

    try:
        with opened(sandbox) as box:
            argv = ("bash", "-c", "echo ready; read line; echo got $line >&2")
            command = Command(argv=argv, env={"PATH": PATH}, limits=LIMITS, stdin=reading)
            ran = box.run(command, answer, seen.extend, threading.Event())
            assert (ran.exit_code, bytes(seen)) == (0, b"ready\ngot go\n")
    finally:
        os.close(reading)
        os.close(writing)


@promise
def exit_codes_are_kept(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        for code in (0, 1, 2, 126, 127, 128, 137, 255):
            assert bash(box, f"exit {code}").ran.exit_code == code


@promise
def signals_are_told_by_number(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        assert python(box, "import os; os.abort()").ran.signal == 6
        for number in (1, 2, 3, 8, 9, 11, 13, 15):
            ran = python(
                box,
                f"import os, signal as s; s.signal({number}, s.SIG_DFL) if {number} != 9"
                f" else 0; os.kill(os.getpid(), {number})",
            ).ran
            assert (ran.signal, ran.limit, ran.killed) == (number, None, False)


@promise
def usage_is_measured(sandbox: Sandbox) -> None:
    program = f"x = bytearray({60 * MIB}); import time\nwhile time.process_time() < 0.3: pass"
    with opened(sandbox) as box:
        ran = python(box, program).ran
    assert 0.29 < ran.cpu_time < 2.0, ran
    assert ran.wall_time >= 0.3, ran
    assert 55 * MIB < ran.peak_memory < 120 * MIB, ran


@promise
def what_is_written_is_counted_of_all_processes(sandbox: Sandbox) -> None:
    program = (
        "head -c 300000 /dev/zero > file; (head -c 200000 /dev/zero > /tmp/other) &"
        " setsid sh -c 'head -c 100000 /dev/zero > /dev/null'; wait"
    )
    with opened(sandbox) as box:
        before = bash(box, "true").ran.written
        ran = bash(box, program).ran
    if os.geteuid() == 0 or ran.written:  # the init shows nobody else what it counts
        assert before < 10_000
        assert 600_000 <= ran.written < 610_000, ran


# -- ends ------------------------------------------------------------------------------------


@promise
def stop_kills_the_program_at_once(sandbox: Sandbox) -> None:
    stop = threading.Event()
    with opened(sandbox) as box:
        command = Command(
            argv=("bash", "-c", "trap '' TERM INT; echo up; sleep 60 & sleep 60"),
            env={"PATH": PATH},
            limits=LIMITS,
        )
        ran = box.run(command, lambda _: stop.set(), lambda _: None, stop)
        assert ran.killed
        assert ran.wall_time < 2.0, ran
        assert ran.limit is None
        assert execute(box, "echo", "usable").out == b"usable\n"


@promise
def a_box_that_is_killed_ends_what_runs_in_it(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        command = Command(argv=("sleep", "60"), env={"PATH": PATH}, limits=LIMITS)
        up = Command(argv=("bash", "-c", "echo; sleep 60"), env={"PATH": PATH}, limits=LIMITS)
        ran = box.run(up, lambda _: box.kill(), lambda _: None, threading.Event())
        assert ran.killed
        assert ran.wall_time < 5.0
        box.kill()
        refused(SandboxError, lambda: box.run(command, print, print, threading.Event()))


@promise
def closing_twice_is_closing_once(sandbox: Sandbox) -> None:
    box = sandbox.open(0, DISK)
    box.close()
    box.close()
    box.kill()
    refused(SandboxError, lambda: box.write("a", [b"x"]))


_DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            time.sleep(1)
    os._exit(0)
os.wait()
print("parent ends")
"""


@promise
def nothing_outlives_its_command(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        ran = python(box, _DAEMON)
        assert (ran.ran.exit_code, ran.out) == (0, b"parent ends\n")
        assert ran.ran.wall_time < 5.0, "a daemon that holds the pipe held it up"
        ran = bash(box, "sleep 100 & (trap '' HUP TERM; sleep 100) & disown -a; echo out")
        assert ran.out == b"out\n"
        assert python(
            box, "import os; print(sum(n.isdigit() for n in os.listdir('/proc')))"
        ).out == (b"2\n")


# -- limits ----------------------------------------------------------------------------------


@promise
def the_wall_limit_ends_a_program_that_waits(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        ran = execute(box, "sleep", "60", wall=0.3).ran
    assert (ran.limit, ran.signal, ran.killed) == ("wall", 9, False)
    assert 0.3 <= ran.wall_time < 2.0


@promise
def the_cpu_limit_ends_a_program_that_spins(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        ran = bash(box, "while :; do :; done", cpu=0.4).ran
    assert ran.limit == "cpu"
    assert 0.4 <= ran.cpu_time < 2.0, ran


_FOUR = """
import os
for _ in range(4):
    if os.fork() == 0:
        while True: pass
for _ in range(4): os.wait()
"""


@promise
def the_cpu_limit_is_that_of_all_processes_together(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        ran = python(box, _FOUR, cpu=1.0).ran
    assert ran.limit == "cpu"
    assert 1.0 <= ran.cpu_time < 3.0, ran


@promise
def cpu_time_of_processes_that_ended_counts(sandbox: Sandbox) -> None:
    program = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        while time.process_time() < 0.1: pass
        os._exit(0)
    os.wait()
"""
    with opened(sandbox) as box:
        ran = python(box, program, cpu=0.5).ran
    assert ran.limit == "cpu", ran


@promise
def the_memory_limit_ends_a_program_that_takes_too_much(sandbox: Sandbox) -> None:
    hold = f"x = bytearray({300 * MIB}); import time; time.sleep(20)"
    with opened(sandbox) as box:
        ran = python(box, hold, memory=100 * MIB).ran
        assert (ran.limit, ran.exit_code) == ("memory", None), ran
        assert ran.wall_time < 10.0
        assert python(box, "print(1)", memory=100 * MIB).out == b"1\n"


_SIX = f"""
import os, time
for _ in range(6):
    if os.fork() == 0:
        x = bytearray({40 * MIB})
        for i in range(0, len(x), 4096): x[i] = 1
        time.sleep(0.5)
        os._exit(0)
for _ in range(6): os.wait()
"""


@promise
def the_memory_limit_is_that_of_all_processes_together(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        over, within = python(box, _SIX, memory=128 * MIB).ran, python(box, _SIX).ran
    assert over.limit == "memory", over
    assert (within.limit, within.exit_code) == (None, 0), within


@promise
def memory_that_forked_processes_share_counts_once(sandbox: Sandbox) -> None:
    program = f"""
import os, time
x = b"x" * {40 * MIB}
for _ in range(6):
    if os.fork() == 0:
        time.sleep(0.3); os._exit(0)
for _ in range(6): os.wait()
"""
    with opened(sandbox) as box:
        ran = python(box, program, memory=128 * MIB).ran
    assert (ran.limit, ran.exit_code) == (None, 0), ran


@promise
def files_of_the_box_are_not_its_memory(sandbox: Sandbox) -> None:
    script = "head -c 12000000 /dev/zero > a; rm a; head -c 12000000 /dev/zero > /box/b; sleep 0.1"
    with opened(sandbox) as box:
        ran = bash(box, script, memory=8 * MIB).ran
    assert (ran.limit, ran.exit_code) == (None, 0), ran


_FORKS = """
import os, sys, time
made = 0
try:
    for _ in range(60):
        if os.fork() == 0:
            time.sleep(20); os._exit(0)
        made += 1
except BlockingIOError:
    print(made, flush=True)
    time.sleep(0.1)
    sys.exit(CODE)
"""


@promise
def forks_are_refused_beyond_the_limit(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        failing = python(box, _FORKS.replace("CODE", "3"), processes=10)
        coping = python(box, _FORKS.replace("CODE", "0"), processes=10)
    assert failing.out == coping.out == b"9\n", (failing, coping)
    assert (failing.ran.limit, failing.ran.exit_code) == ("processes", 3), failing.ran
    assert (coping.ran.limit, coping.ran.exit_code) == (None, 0), coping.ran


@promise
def a_fork_bomb_harms_nobody(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        ran = bash(box, "b() { b | b & }; b; sleep 60", processes=20, wall=1.0).ran
        assert ran.limit in ("wall", "processes"), ran
        assert execute(box, "echo", "usable").out == b"usable\n"


@promise
def output_is_cut_at_the_limit_to_the_byte(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        for size in (0, 1, 4096, 100_001):
            whole = bash(box, f"head -c {size} /dev/zero", output=size)
            assert (len(whole.out), whole.ran.limit, whole.ran.exit_code) == (size, None, 0)
            assert not whole.ran.stdout_truncated
            over = bash(box, f"head -c {size + 1} /dev/zero; sleep 60", output=size)
            assert (len(over.out), over.ran.limit, over.ran.signal) == (size, "output", 9)
            assert over.ran.stdout_truncated
            assert not over.ran.stderr_truncated


@promise
def stdout_and_stderr_share_one_limit(sandbox: Sandbox) -> None:
    script = "head -c 600 /dev/zero; sleep 0.1; head -c 600 /dev/zero >&2; sleep 60"
    with opened(sandbox) as box:
        ran = bash(box, script, output=1000)
    assert (len(ran.out), len(ran.err), ran.ran.limit) == (600, 400, "output")
    assert (ran.ran.stdout_truncated, ran.ran.stderr_truncated) == (False, True)


@promise
def writing_without_end_is_ended_soon(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        ran = execute(box, "yes", output=MIB)
    assert (len(ran.out), ran.ran.limit) == (MIB, "output")
    assert ran.ran.wall_time < 5.0


@promise
def a_file_beyond_the_limit_is_named(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        killed = execute(box, "dd", "if=/dev/zero", "of=a", "bs=1000", file=MIB)
        told = python(box, f"open('b', 'wb').write(bytes({2 * MIB})) and exit(1)", file=MIB)
        within = bash(box, f"head -c {MIB} /dev/zero > c", file=MIB)
    assert (killed.ran.limit, killed.ran.signal) == ("file", 25), killed.ran
    assert (told.ran.limit, told.ran.exit_code) == ("file", 1), told
    assert (within.ran.limit, within.ran.exit_code) == (None, 0), within.ran


@promise
def a_full_disk_is_named(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        ran = bash(box, "head -c 60000000 /dev/zero > big")
        assert (ran.ran.limit, ran.ran.exit_code) == ("disk", 1), ran
        assert b"No space left" in ran.err


@promise
def the_disk_limit_is_that_of_both_places_together(sandbox: Sandbox) -> None:
    script = "head -c 10000000 /dev/zero > big; head -c 10000000 /dev/zero > /tmp/big; sleep 60"
    with opened(sandbox) as box:
        ran = bash(box, script, wall=10.0).ran
    assert ran.limit == "disk", ran


@promise
def files_without_content_fill_the_disk_too(sandbox: Sandbox) -> None:
    program = "i = 0\nwhile True:\n    open(str(i), 'w').close(); i += 1"
    with opened(sandbox, 4 * MIB) as box:
        ran = python(box, program, disk=4 * MIB).ran
    assert ran.limit == "disk", ran


@promise
def open_files_are_bounded(sandbox: Sandbox) -> None:
    program = (
        "import os\ntry:\n  while True: n = os.open('/', 0)\nexcept OSError as e: print(n, e.errno)"
    )
    with opened(sandbox) as box:
        assert python(box, program, open_files=20).out == b"19 24\n"


@promise
def no_core_is_dumped(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        assert bash(box, "ulimit -c; ulimit -Hc").out == b"0\n0\n"
        python(box, "import os; os.abort()")
        assert bash(box, "ls -A").out == b""


@promise
def after_a_limit_the_files_can_still_be_kept(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        bash(box, "echo kept > out.txt; sleep 60", wall=0.3)
        assert contents(box, ["*.txt"]) == {"out.txt": b"kept\n"}


# -- files out -------------------------------------------------------------------------------


def contents(box: Box, globs: Sequence[str], files: int = 100, size: int = MIB) -> dict[str, bytes]:
    """What is collected, with those that were passed over as empty."""
    found: dict[str, bytes] = {}
    for kept in box.collect(globs, files, size):
        if isinstance(kept, Kept):
            found[kept.path] = b"".join(kept.chunks)
            assert len(found[kept.path]) == kept.size
        else:
            found["passed over: " + kept] = b""
    return found


@promise
def files_that_match_come_out_exactly(sandbox: Sandbox) -> None:
    data = os.urandom(100_000)
    with opened(sandbox) as box:
        box.write("out/a.bin", [data])
        bash(box, "mkdir -p out/deep; echo 1 > out/deep/b.txt; echo 2 > c.txt; touch 'ä ?.txt'")
        assert contents(box, ["out/*"]) == {"out/a.bin": data}
        assert contents(box, ["**/*.txt"]) == {
            "c.txt": b"2\n",
            "out/deep/b.txt": b"1\n",
            "ä ?.txt": b"",
        }
        assert list(contents(box, ["*.txt", "out/**"])) == [
            *("c.txt", "out/a.bin", "out/deep/b.txt", "ä ?.txt")
        ]
        assert contents(box, ["nothing", "[xyz]*", "out"]) == {}


@promise
def a_work_directory_can_be_told_whole_and_made_again(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        bash(box, "mkdir -p a/b; echo 1 > a/b/run; chmod 750 a/b/run; echo 2 > .hidden")
        found = [kept for kept in _whole(box) if not isinstance(kept, str)]
        assert found == [(".hidden", b"2\n", 0o644), ("a/b/run", b"1\n", 0o750)]
    with opened(sandbox) as box:
        for path, data, mode in found:
            box.write(path, [data], mode)
        assert list(_whole(box)) == found
        assert bash(box, "stat -c %a a a/b a/b/run").out == b"755\n755\n750\n"
        bash(box, "mkdir -p a/empty own; chmod 700 own; touch own/file")
        assert [kept for kept in _whole(box) if isinstance(kept, str)] == ["a/empty", "own"]


def _whole(box: Box) -> Iterator[tuple[str, bytes, int] | str]:
    for kept in box.collect(["**"], 100, MIB, folders=True):
        if isinstance(kept, str):
            yield kept
        else:
            yield kept.path, b"".join(kept.chunks), kept.mode


@promise
def what_is_no_regular_file_is_passed_over(sandbox: Sandbox) -> None:
    script = """
ln -s /etc/passwd link; ln -s /proc/1/environ secret; ln -s . loop; mkfifo pipe; mkdir folder
ln -s /etc folder/etc; echo good > good; touch hidden; chmod 0 hidden; mkdir shut; chmod 0 shut
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")'
"""
    with opened(sandbox) as box:
        assert bash(box, script).ran.exit_code == 0
        assert contents(box, ["**"]) == {
            **{
                f"passed over: {name}": b""
                for name in ("folder/etc", "hidden", "link", "loop", "pipe", "secret", "sock")
            },
            "good": b"good\n",
        }


@promise
def folders_that_a_program_has_shut_change_nothing_of_its_end(sandbox: Sandbox) -> None:
    left = {"0 .": set(), "444 .": set(), "444 dir": {"b"}, "0 /tmp": {"b", "dir/a"}}
    for shut, names in left.items():
        with opened(sandbox) as box:
            ran = bash(box, f"mkdir dir; touch dir/a b; chmod {shut}; exit 3").ran
            assert (ran.exit_code, ran.limit) == (3, None), (shut, ran)
            assert set(contents(box, ["**"])) == names, shut


@promise
def the_caps_of_collecting_hold(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        bash(box, "for i in 1 2 3; do head -c 100 /dev/zero > $i; done; head -c 900 /dev/zero > 4")
        assert contents(box, ["*"], files=2) == {
            "1": bytes(100),
            "2": bytes(100),
            "passed over: 3": b"",
            "passed over: 4": b"",
        }
        assert contents(box, ["*"], size=250) == {
            "1": bytes(100),
            "2": bytes(100),
            "passed over: 3": b"",
            "passed over: 4": b"",
        }


@promise
def names_that_are_no_text_are_passed_over(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        bash(box, "touch $'\\xff\\xfe'; touch $'new\\nline'; touch plain")
        found = contents(box, ["*"])
    assert set(found) == {"passed over: ��", "new\nline", "plain"}


@promise
def patterns_that_are_made_to_be_slow_are_not(sandbox: Sandbox) -> None:
    with opened(sandbox) as box:
        bash(box, f"touch {'a' * 250}")
        assert contents(box, ["*a" * 100 + "b", "**/" * 100 + "*a" * 50 + "b"]) == {}


# -- without a test runner -------------------------------------------------------------------


def run_all(sandbox: Sandbox) -> dict[str, str]:
    """Check every promise; the traceback of each that is broken, by name, else empty."""
    found = {}
    for name, check in PROMISES.items():
        try:
            check(sandbox)
        except (AssertionError, AccordError, OSError):
            found[name] = traceback.format_exc()
        else:
            found[name] = ""
    return found
