"""One replica's run: every way in which a program, its inputs, the box or the host may end it."""

from __future__ import annotations

import errno
import io
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from accord.config import SandboxSettings
from accord.core.errors import Invalid, NotFound, SandboxError, Unavailable
from accord.core.ids import Digest, SessionId, UserName
from accord.core.limits import Limits
from accord.core.replica import Content, ErrorClass, Failure, Phase, Result, Verdict, content
from accord.core.task import Source
from accord.core.user import AUDITOR
from accord.ports.judicator import Assignment, Finished
from accord.ports.sandbox import Command, Ran
from accord.services.cache import Cache
from accord.services.compiles import Compiles
from accord.services.holdings import Holdings, Job
from accord.services.inputs import Inputs
from accord.services.run import Ended, Run, Tools, judge
from accord.services.spool import Spool
from accord.services.toolchains import Toolchains
from accord.testing.clock import FakeClock, FakeIds
from accord.testing.scripted_sandbox import Act, ScriptedBox, ScriptedSandbox
from tests.builders import a_compile_step, a_spec, a_step, a_task, a_task_id

ACTS: dict[str, Act | Callable[[Command], Act]] = {
    "/bin/echo": Act(stdout=b"hello\n"),
    "gcc": Act(stderr=b"warning\n"),
    "cat": Act(echo_stdin=True),
}


class Blobs:
    """Serves blobs as a judicator does; ``away`` times it cannot be reached."""

    def __init__(self) -> None:
        self.data: dict[Digest, bytes] = {}
        self.away = 0
        self.reads = 0
        self.asked = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def put(self, data: bytes) -> Content:
        kept = content(data)
        self.data[kept.digest] = data
        return msgspec.structs.replace(kept, inline=None)

    def read_blob(self, digest: Digest, offset: int, size: int) -> bytes:
        if self.away:
            self.away -= 1
            raise Unavailable
        self.reads += 1
        self.asked.set()
        self.gate.wait()
        if digest not in self.data:
            raise NotFound
        return self.data[digest][offset : offset + min(size, 1000)]


class Bench:
    """A run's surroundings."""

    user = UserName("alice")

    def __init__(self, root: Path) -> None:
        self.clock = FakeClock()
        self.blobs = Blobs()
        self.sandbox = ScriptedSandbox(ACTS)
        self.holdings = Holdings(self.clock, 1)
        self.spool = Spool(root / "spool")
        self.cache = Cache(root / "cache", 1 << 20)
        toolchains = Toolchains((), root)
        scratch = root / "spool"
        self.tools = Tools(
            sandbox=self.sandbox,
            inputs=Inputs(self.blobs, scratch, self.cache, self.clock, FakeIds()),  # type: ignore[arg-type]  # it only reads blobs
            compiles=Compiles(self.cache, self.clock, toolchains),
            spool=self.spool,
            toolchains=toolchains,
            holdings=self.holdings,
            settings=SandboxSettings(kept_files=3, kept_bytes=1 << 20),
        )
        self.tasks = 0
        self.job: Job | None = None

    def assign(self, **spec: Any) -> Job:
        self.tasks += 1
        task = a_task(id=a_task_id(self.tasks), spec=a_spec(**spec), user=self.user)
        self.holdings.assign([Assignment(task=task, number=0, session=SessionId("s1"))])
        job = self.holdings.take()
        assert job is not None
        self.job = job
        return job

    def run(self, **spec: Any) -> Ended:
        job = self.assign(**spec)
        return Run(self.tools, 0, job, job.work).end()

    @property
    def box(self) -> ScriptedBox:
        return self.sandbox.boxes[-1]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def result(ended: Ended) -> Result:
    assert isinstance(ended.finished.end, Result), ended.finished.end
    return ended.finished.end


def failure(ended: Ended) -> Failure:
    assert isinstance(ended.finished.end, Failure), ended.finished.end
    return ended.finished.end


# -- verdicts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ended", "verdict"),
    [
        ({"exit_code": 0}, Verdict.OK),
        ({"exit_code": 3}, Verdict.RUNTIME_ERROR),
        ({"exit_code": 126}, Verdict.RUNTIME_ERROR),
        ({"exit_code": 127}, Verdict.RUNTIME_ERROR),
        ({"signal": 11}, Verdict.RUNTIME_ERROR),
        ({"signal": 9, "limit": "memory"}, Verdict.MEMORY_LIMIT),
        ({"exit_code": 0, "limit": "memory"}, Verdict.MEMORY_LIMIT),
        ({"signal": 9, "limit": "cpu"}, Verdict.TIME_LIMIT),
        ({"exit_code": 0, "limit": "cpu"}, Verdict.TIME_LIMIT),
        ({"signal": 9, "limit": "wall"}, Verdict.TIME_LIMIT),
        ({"signal": 9, "limit": "output"}, Verdict.OUTPUT_LIMIT),
        ({"signal": 25, "limit": "file"}, Verdict.DISK_LIMIT),
        ({"exit_code": 1, "limit": "disk"}, Verdict.DISK_LIMIT),
        ({"exit_code": 1, "limit": "processes"}, Verdict.RUNTIME_ERROR),
        ({"exit_code": 0, "limit": "processes"}, Verdict.OK),
        ({"exit_code": 0, "limit": "open_files"}, Verdict.OK),
    ],
)
def test_the_verdict_of_each_end(ended, verdict):
    ran = Ran(wall_time=1.0, cpu_time=1.0, peak_memory=1, **ended)
    assert judge(ran, Verdict.RUNTIME_ERROR) is verdict


def test_a_program_that_ends_well(bench):
    ended = result(bench.run())
    assert ended.verdict is Verdict.OK
    assert ended.execute is not None
    assert ended.execute.stdout.inline == b"hello\n"
    assert bench.box.closed


def test_a_compile_error_keeps_what_the_compiler_said_and_runs_nothing(bench):
    bench.sandbox.acts["gcc"] = Act(exit_code=1, stderr=b"main.c:1: error\n")
    ended = result(bench.run(compile=a_compile_step()))
    assert ended.verdict is Verdict.COMPILE_ERROR
    assert ended.execute is None
    assert ended.compile is not None
    assert ended.compile.stderr.inline == b"main.c:1: error\n"
    assert bench.sandbox.runs == [("gcc", "main.c")]


def test_a_limit_in_the_compile_step_carries_its_own_verdict(bench):
    bench.sandbox.acts["gcc"] = Act(exit_code=None, signal=9, limit="memory")
    assert result(bench.run(compile=a_compile_step())).verdict is Verdict.MEMORY_LIMIT


def test_compile_output_is_kept_beside_the_program_s(bench):
    ended = result(bench.run(compile=a_compile_step()))
    assert ended.compile is not None
    assert ended.compile.stderr.inline == b"warning\n"
    assert ended.verdict is Verdict.OK


# -- what the box is given ---------------------------------------------------------------


def test_a_script_goes_to_bash_with_its_arguments(bench):
    bench.sandbox.acts["echo $1"] = Act()
    bench.run(execute=a_step(command="echo $1", args=("a b", "c")))
    assert bench.sandbox.runs == [("bash", "-c", "echo $1", "accord", "a b", "c")]


def test_the_environment_is_ours_the_preset_s_and_the_task_s(bench, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_HOST", "1")
    bench.run(execute=a_step(env={"LANG": "de_DE", "MINE": "1"}), language="go")
    env = bench.box.commands[0].env
    assert env["ACCORD_TASK"] == bench.job.key[0]
    assert env["ACCORD_REPLICA"] == "0"
    assert (env["HOME"], env["TMPDIR"], env["LANG"], env["MINE"]) == ("/box", "/tmp", "de_DE", "1")
    assert env["GOCACHE"] == "/tmp/go-build"
    assert "SECRET_OF_THE_HOST" not in env


def test_the_box_gets_the_larger_disk_limit_of_the_two_steps(bench):
    bench.run(
        compile=a_compile_step(limits=Limits(disk=300 << 20)),
        execute=a_step(limits=Limits(disk=100 << 20)),
    )
    assert bench.box.disk == 300 << 20


def test_the_box_is_the_users_of_the_task(bench):
    bench.run()
    assert bench.box.user == "alice"


def test_the_box_of_an_audit_is_nobodys(bench):
    bench.user = AUDITOR
    bench.run()
    assert bench.box.user == ""


def test_stdin_reaches_the_program_and_never_the_box_s_files(bench):
    data = b"secret input\n" * 10
    spec = {"execute": a_step(command=("cat",), stdin=content(data))}
    ended = result(bench.run(compile=a_compile_step(), **spec))
    assert ended.execute is not None
    assert ended.execute.stdout.inline == data
    assert bench.box.files == {}
    assert bench.box.commands[0].stdin is None, "the compiler must not see it"


@pytest.mark.parametrize("size", [5_000, (1 << 20) + 5])
def test_stdin_from_a_blob_is_exact_and_cannot_be_written(bench, size, tmp_path):
    data = bytes(i % 251 for i in range(size))
    ended = result(bench.run(execute=a_step(command=("cat",), stdin=bench.blobs.put(data))))
    assert ended.execute is not None
    assert ended.execute.stdout.digest == content(data).digest
    assert not list((tmp_path / "spool").glob("stdin-*"))


def test_data_is_unpacked_after_the_compile_step(bench):
    def compiler(command: Command) -> Act:
        assert not any(path.startswith("data/") for path in bench.box.files)
        return Act()

    bench.sandbox.acts["gcc"] = compiler
    result(bench.run(compile=a_compile_step(), data=content(a_zip({"test.txt": b"1"}))))
    assert bench.box.files["data/test.txt"] == b"1"


def test_sources_come_from_the_document_from_blobs_and_from_archives(bench):
    files = {"main.c": content(b"int main"), "big.h": bench.blobs.put(b"x" * 5000)}
    result(bench.run(source=Source(files=files)))
    assert bench.box.files == {"main.c": b"int main", "big.h": b"x" * 5000}
    result(bench.run(source=Source(archive=bench.blobs.put(a_zip({"a/b.c": b"2"})))))
    assert bench.box.files == {"a/b.c": b"2"}


# -- what comes out ----------------------------------------------------------------------


def test_long_streams_and_kept_files_lie_in_the_spool_folder(bench):
    long = b"0123456789" * 10_000
    bench.sandbox.acts["/bin/echo"] = Act(stdout=long, files={"out.txt": b"kept", "none": b""})
    ended = bench.run(outputs=("out.*", "none"))
    step = result(ended).execute
    assert step is not None
    assert step.stdout.inline is None
    assert ended.files[step.stdout.digest].read_bytes() == long
    kept = result(ended).kept
    assert ended.files[kept["out.txt"].digest].read_bytes() == b"kept"
    assert kept["none"].inline == b""


def test_files_over_the_caps_are_named(bench):
    bench.sandbox.acts["/bin/echo"] = Act(files={f"f{i}": b"x" for i in range(5)})
    ended = result(bench.run(outputs=("f*",)))
    assert sorted(ended.kept) == ["f0", "f1", "f2"]
    assert ended.kept_dropped == ("f3", "f4")


def test_outputs_of_a_program_that_failed_are_kept_too(bench):
    bench.sandbox.acts["/bin/echo"] = Act(exit_code=1, files={"log": b"why"})
    ended = result(bench.run(outputs=("log",)))
    assert (ended.verdict, list(ended.kept)) == (Verdict.RUNTIME_ERROR, ["log"])


# -- what cannot be run ------------------------------------------------------------------


def test_a_bad_archive_is_the_task_s_fault_with_its_message(bench):
    ended = failure(bench.run(source=Source(archive=content(b"no zip"))))
    assert ended.error_class is ErrorClass.BAD_INPUT
    assert "no zip" in ended.message
    assert not ended.started
    assert bench.box.closed


def test_an_archive_that_leaves_the_directory_is_the_task_s_fault(bench):
    ended = failure(bench.run(data=content(a_zip({"../evil": b""}))))
    assert ended.error_class is ErrorClass.BAD_INPUT


def test_sources_beyond_the_disk_limit_are_the_task_s_fault(bench):
    source = Source(files={"a": content(b"x" * 5000)})
    ended = failure(bench.run(source=source, execute=a_step(limits=Limits(disk=4096))))
    assert ended.error_class is ErrorClass.BAD_INPUT
    assert bench.sandbox.boxes == []


@pytest.mark.parametrize(
    ("error", "error_class"),
    [
        (SandboxError("no pid 1"), ErrorClass.INTERNAL_FAIL),
        (OSError(errno.ENOSPC, "No space left on device"), ErrorClass.RESOURCE_FAIL),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ErrorClass.RESOURCE_FAIL),
        (MemoryError(), ErrorClass.RESOURCE_FAIL),
        (OSError(errno.EPERM, "Operation not permitted"), ErrorClass.INTERNAL_FAIL),
        (KeyError("a fault of ours"), ErrorClass.INTERNAL_FAIL),
        (Invalid("bad path"), ErrorClass.BAD_INPUT),
    ],
)
def test_the_class_of_each_infrastructure_fault(bench, error, error_class):
    bench.sandbox.acts["/bin/echo"] = Act(fails=error)
    ended = failure(bench.run())
    assert ended.error_class is error_class
    assert ended.started
    assert bench.box.closed


def test_a_host_fault_behind_a_box_s_fault_is_named_by_its_cause(bench):
    error = SandboxError("The box could not be opened.")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    bench.sandbox.open_fails = error
    ended = failure(bench.run())
    assert (ended.error_class, ended.started) == (ErrorClass.RESOURCE_FAIL, False)


def test_an_input_that_is_gone_or_damaged_is_never_run_on(bench):
    lost = msgspec.structs.replace(content(b"x" * 9000), inline=None)
    assert failure(bench.run(source=Source(files={"a": lost}))).error_class is (
        ErrorClass.INTERNAL_FAIL
    )
    kept = bench.blobs.put(b"right" * 2000)
    bench.blobs.data[kept.digest] = b"wrong" * 2000
    assert failure(bench.run(source=Source(files={"a": kept}))).error_class is (
        ErrorClass.INTERNAL_FAIL
    )
    assert bench.sandbox.runs == []


def test_a_judicator_that_is_away_for_a_moment_delays_the_inputs_only(bench):
    kept = bench.blobs.put(b"x" * 3000)
    bench.blobs.away = 3
    job = bench.assign(source=Source(files={"a": kept}))
    ended: list[Ended] = []
    thread = threading.Thread(target=lambda: ended.append(Run(bench.tools, 0, job, job.work).end()))
    thread.start()
    for _ in range(3):
        bench.clock.wait_for_waiters(1)
        bench.clock.advance(5)
    thread.join()
    assert result(ended[0]).verdict is Verdict.OK
    assert bench.box.files["a"] == b"x" * 3000


# -- being stopped -----------------------------------------------------------------------


def cancelled(bench: Bench) -> None:
    assert bench.job is not None
    bench.holdings.cancel([bench.job.key], SessionId("s1"))


def test_a_cancel_between_compile_and_execute_runs_nothing_more(bench):
    def compiler(command: Command) -> Act:
        cancelled(bench)
        return Act()

    bench.sandbox.acts["gcc"] = compiler
    ended = bench.run(compile=a_compile_step())
    assert ended.finished == Finished(
        task=bench.job.key[0], number=0, session=SessionId("s1"), end=None, killed=True
    )
    assert [argv[0] for argv in bench.sandbox.runs] == ["gcc"]
    assert bench.box.closed
    assert bench.box.kills == 1


def test_a_cancel_before_the_box_is_there_starts_nothing(bench):
    job = bench.assign(source=Source(files={"a": content(b"1")}))
    cancelled(bench)
    ended = Run(bench.tools, 0, job, job.work).end()
    assert ended.finished.killed
    assert ended.finished.end is None
    assert not ended.finished.started
    assert bench.sandbox.runs == []


def test_a_box_that_cannot_be_emptied_is_no_proof_of_a_cancel(bench):
    bench.sandbox.close_fails = SandboxError("A process does not die.")
    job = bench.assign()
    cancelled(bench)
    ended = Run(bench.tools, 0, job, job.work).end()
    assert not ended.reusable
    assert failure(ended).error_class is ErrorClass.INTERNAL_FAIL
    assert not ended.finished.killed


def test_the_end_of_the_executor_hands_back_what_has_not_begun(bench):
    job = bench.assign()
    bench.holdings.stop_all()
    ended = Run(bench.tools, 0, job, job.work).end()
    assert ended.finished == Finished(
        task=job.key[0], number=0, session=SessionId("s1"), end=None, killed=False, started=False
    )


def test_the_end_of_the_executor_makes_a_run_be_tried_again(bench):
    def program(command: Command) -> Act:
        bench.holdings.stop_all()
        return Act()

    bench.sandbox.acts["/bin/echo"] = program
    ended = failure(bench.run())
    assert (ended.error_class, ended.started) == (ErrorClass.INTERNAL_FAIL, True)


def test_the_phases_are_told_in_order(bench):
    seen: list[Phase | None] = []

    def noted(command: Command) -> Act:
        assert bench.job is not None
        seen.append(bench.job.phase)
        return Act()

    bench.sandbox.acts |= {"gcc": noted, "/bin/echo": noted}
    job = bench.assign(compile=a_compile_step())
    seen.append(job.phase)
    Run(bench.tools, 0, job, job.work).end()
    assert seen == [Phase.FETCHING, Phase.COMPILING, Phase.RUNNING]


def a_zip(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()
