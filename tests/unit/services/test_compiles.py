"""Compile steps that were run before: when they are used again, when not, and for whom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from accord.core.errors import SandboxError
from accord.core.ids import SessionId, UserName
from accord.core.limits import Limits
from accord.core.replica import Content, ErrorClass, Verdict, content
from accord.core.status import Status
from accord.core.task import Source
from accord.core.view import status_of
from accord.ports.judicator import Assignment
from accord.ports.sandbox import Command, Mount
from accord.services.cache import Cache
from accord.services.compiles import Compiles
from accord.services.flights import Stopped
from accord.services.holdings import Job
from accord.services.run import Run
from accord.services.toolchains import Toolchains
from accord.testing.scripted_sandbox import Act
from tests.builders import a_compile_step, a_spec, a_step, a_task, a_task_id
from tests.unit.services.platform import Platform
from tests.unit.services.test_run import Bench, a_zip, failure, result

SOURCE = Source(files={"main.c": content(b"int main")})
BUILT = Act(stderr=b"warning\n", files={"main": b"ELF", "o/x.o": b"o"}, modes={"main": 0o755})


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    made.sandbox.acts["gcc"] = BUILT
    return made


@pytest.fixture
def platform(tmp_path) -> Iterator[Platform]:
    made = Platform(tmp_path)
    yield made
    made.close()


def compiled(bench: Bench) -> int:
    return sum(argv[0] == "gcc" for argv in bench.sandbox.runs)


def run(bench: Bench, user: str = "alice", **changes: Any):
    fields: dict[str, Any] = {"source": SOURCE, "compile": a_compile_step()}
    bench.tasks += 1
    spec = a_spec(**fields | changes)
    task = a_task(id=a_task_id(bench.tasks), user=UserName(user), spec=spec)
    bench.holdings.assign([Assignment(task=task, number=0, session=SessionId("s1"))])
    job = bench.job = bench.holdings.take()
    assert job is not None
    return Run(bench.tools, 0, job, job.work).end()


def test_the_second_run_gets_what_the_first_one_s_compiler_left(bench):
    first, second = result(run(bench)), result(run(bench))
    assert compiled(bench) == 1
    assert bench.box.files == {"main.c": b"int main", "main": b"ELF", "o/x.o": b"o"}
    assert bench.box.modes["main"] == 0o755
    assert bench.box.modes["o/x.o"] == 0o644
    assert first.compile is not None
    assert not first.compile.cached
    assert second.compile == msgspec.structs.replace(first.compile, cached=True)
    assert second.verdict is Verdict.OK
    assert second.execute is not None


def test_long_compiler_output_comes_back_whole(bench):
    said = b"0123456789" * 9_000
    bench.sandbox.acts["gcc"] = Act(stdout=said, stderr=b"e" * 20_000)
    run(bench)
    ended = run(bench)
    step = result(ended).compile
    assert step is not None
    assert step.cached
    assert ended.files[step.stdout.digest].read_bytes() == said
    assert ended.files[step.stderr.digest].read_bytes() == b"e" * 20_000


def test_a_program_that_does_not_compile_is_refused_at_once(bench):
    bench.sandbox.acts["gcc"] = Act(exit_code=1, stderr=b"main.c:1: error\n")
    run(bench)
    ended = run(bench)
    assert compiled(bench) == 1
    assert ended.finished.started
    again = result(ended)
    assert (again.verdict, again.execute) == (Verdict.COMPILE_ERROR, None)
    assert again.compile is not None
    assert again.compile.cached
    assert again.compile.stderr.inline == b"main.c:1: error\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"user": "bob"},
        {"source": Source(files={"main.c": content(b"int main2")})},
        {"source": Source(files={"other.c": content(b"int main")})},
        {"source": Source(archive=content(a_zip({"main.c": b"int main"})))},
        {"compile": a_compile_step(command=("gcc", "-O3", "main.c"))},
        {"compile": a_compile_step(args=("-O3",))},
        {"compile": a_compile_step(env={"CFLAGS": "-O3"})},
        {"compile": a_compile_step(stdin=content(b"x"))},
        {"compile": a_compile_step(limits=Limits(wall=77))},
        {"language": "c"},
        {"execute": a_step(limits=Limits(disk=900 << 20))},
    ],
)
def test_what_differs_is_compiled_on_its_own(bench, changes):
    run(bench)
    result(run(bench, **changes))
    assert compiled(bench) == 2


def test_what_the_compiler_cannot_see_does_not_matter(bench):
    run(bench)
    bench.sandbox.acts["cat"] = Act(echo_stdin=True)
    run(bench, execute=a_step(command=("cat",), stdin=content(b"1")), outputs=("x",))
    run(bench, data=content(a_zip({"test": b"1"})))
    assert compiled(bench) == 1
    assert bench.box.files["data/test"] == b"1"


def test_another_toolchain_compiles_again(bench, tmp_path):
    spec = a_spec(source=SOURCE, compile=a_compile_step())
    task, tools = a_task(spec=spec), Toolchains((), tmp_path)
    compiles = Compiles(bench.cache, bench.clock, tools)
    before = compiles.key(task, 1)
    tools._versions = {"c": "gcc 13"}
    assert before != compiles.key(task, 1)
    shown = Toolchains((Mount(source="/opt/tool"),), tmp_path)
    assert Compiles(bench.cache, bench.clock, shown).key(task, 1) != before
    shared = Toolchains((Mount(source="/srv", writable=True),), tmp_path)
    assert Compiles(bench.cache, bench.clock, shared).key(task, 1) is None


@pytest.mark.parametrize(
    "act",
    [
        Act(exit_code=1, limit="wall"),
        Act(exit_code=None, signal=9),
        Act(exit_code=1, limit="processes"),
    ],
)
def test_a_failure_that_another_run_may_not_have_is_not_remembered(bench, act):
    bench.sandbox.acts["gcc"] = act
    assert result(run(bench)).verdict is not Verdict.OK
    bench.sandbox.acts["gcc"] = BUILT
    assert result(run(bench)).verdict is Verdict.OK
    assert result(run(bench)).verdict is Verdict.OK
    assert compiled(bench) == 2


def test_an_infrastructure_failure_is_never_remembered(bench):
    bench.sandbox.acts["gcc"] = Act(fails=SandboxError("The box failed."))
    assert failure(run(bench)).error_class is ErrorClass.INTERNAL_FAIL
    bench.sandbox.acts["gcc"] = BUILT
    assert result(run(bench)).verdict is Verdict.OK


@pytest.mark.parametrize(
    "act",
    [
        Act(folders=("out",)),
        Act(files={f"f{n}": b"" for n in range(1_001)}),
        Act(files={"large": bytes(1 << 19)}),
    ],
)
def test_a_work_directory_that_cannot_be_made_again_is_not_remembered(bench, act):
    bench.sandbox.acts["gcc"] = act
    for _ in range(3):
        again = result(run(bench)).compile
        assert again is not None
        assert not again.cached
    assert compiled(bench) == 3


def test_nothing_is_remembered_where_the_cache_is_off(bench):
    off = Cache(bench.spool.folder((a_task_id(1), 0)).parent / "off", 0)
    compiles = Compiles(off, bench.clock, bench.tools.toolchains)
    bench.tools = msgspec.structs.replace(bench.tools, compiles=compiles)
    run(bench)
    run(bench)
    assert compiled(bench) == 2


def test_a_damaged_entry_is_compiled_again(bench, tmp_path):
    run(bench)
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert result(run(bench)).verdict is Verdict.OK
    result(run(bench))
    assert compiled(bench) == 2


def test_it_is_remembered_over_a_restart(bench, tmp_path):
    run(bench)
    cache = Cache(tmp_path / "cache", 1 << 20)
    compiles = Compiles(cache, bench.clock, bench.tools.toolchains)
    bench.tools = msgspec.structs.replace(bench.tools, compiles=compiles)
    run(bench)
    assert compiled(bench) == 1


# -- many at once ------------------------------------------------------------------------


def at_once(platform: Platform, act: Act, release: threading.Event, count: int = 8):
    """Tasks of one program on as many slots, of which the first compiles until the release."""

    def compiler(command: Command) -> Act:
        return msgspec.structs.replace(act, until=release)

    acts: dict[str, Act | Callable[[Any], Act]] = {"gcc": compiler}
    acts["/bin/echo"] = Act(stdout=b"hello\n")
    _, sandbox = platform.executor(acts, slots=count)
    spec = a_spec(source=SOURCE, compile=a_compile_step())
    ids = [platform.add(spec=spec) for _ in range(count)]
    sandbox.wait_for(lambda s: len(s.boxes) == count)
    return sandbox, ids


def test_tasks_of_one_program_that_start_together_compile_once(platform):
    release = threading.Event()
    sandbox, ids = at_once(platform, BUILT, release)
    release.set()
    tasks = [platform.done(id_) for id_ in ids]
    assert {status_of(task) for task in tasks} == {Status.SUCCESS}
    assert sum(argv[0] == "gcc" for argv in sandbox.runs) == 1
    steps = [task.replicas[0].result.compile for task in tasks]
    assert sorted(step.cached for step in steps) == [False] + [True] * 7


def test_a_compile_step_that_hits_a_limit_tells_it_to_all_who_waited(platform):
    release = threading.Event()
    _, ids = at_once(platform, Act(exit_code=1, limit="wall"), release)
    release.set()
    tasks = [platform.done(id_) for id_ in ids]
    assert {task.replicas[0].result.verdict for task in tasks} == {Verdict.TIME_LIMIT}


def test_a_run_that_waits_for_another_s_compiler_can_be_cancelled(platform):
    release = threading.Event()
    _, ids = at_once(platform, BUILT, release, count=2)
    platform.judicator.cancel(ids[1])
    platform.judicator.cancel(ids[0])
    assert {status_of(platform.done(id_)) for id_ in ids} == {Status.CANCELLED}


def test_where_the_first_one_is_cancelled_another_compiles(platform):
    release = threading.Event()
    sandbox, ids = at_once(platform, BUILT, release, count=3)
    sandbox.wait_for(lambda s: len(s.runs) == 1)
    compiling = next(box for box in sandbox.boxes if box.commands)
    first = compiling.commands[0].env["ACCORD_TASK"]
    platform.judicator.cancel(first)
    assert status_of(platform.done(first)) is Status.CANCELLED
    release.set()
    others = [platform.done(id_) for id_ in ids if id_ != first]
    assert {status_of(task) for task in others} == {Status.SUCCESS}
    assert sum(argv[0] == "gcc" for argv in sandbox.runs) == 2


# -- inputs ------------------------------------------------------------------------------


def test_an_input_of_several_tasks_is_fetched_once(bench):
    data = bytes(range(256)) * 400
    kept = bench.blobs.put(data)
    for _ in range(3):
        result(bench.run(source=Source(files={"a": kept})))
        assert bench.box.files["a"] == data
    assert bench.blobs.reads == -(-len(data) // 1000)


def test_an_input_that_the_cache_does_not_take_goes_straight_to_the_box(bench):
    data = bytes(300_000)
    kept = bench.blobs.put(data)
    result(bench.run(source=Source(files={"a": kept})))
    assert bench.box.files["a"] == data
    assert bench.cache.size == 0


def test_a_damaged_input_is_fetched_again(bench, tmp_path):
    data = b"x" * 5000
    kept = bench.blobs.put(data)
    result(bench.run(source=Source(files={"a": kept})))
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"y")
    result(bench.run(source=Source(files={"a": kept})))
    assert bench.box.files["a"] == data
    assert bench.blobs.reads == 10


def test_an_input_that_is_not_what_its_digest_says_is_not_kept(bench):
    kept = bench.blobs.put(b"right" * 2000)
    bench.blobs.data[kept.digest] = b"wrong" * 2000
    failure(bench.run(source=Source(files={"a": kept})))
    assert bench.cache.size == 0


def fetching(bench: Bench, kept: Content, job: Job) -> tuple[threading.Thread, list[bytes]]:
    """A thread that reads the content for a job, and what it read."""
    found: list[bytes] = []

    def read() -> None:
        try:
            found.append(b"".join(bench.tools.inputs.chunks(kept, job)))
        except Stopped:
            found.append(b"stopped")

    thread = threading.Thread(target=read)
    thread.start()
    return thread, found


def a_job() -> Job:
    return Job((a_task_id(1), 0), SessionId("s1"))


def test_runs_that_want_an_input_at_once_fetch_it_once(bench):
    data = bytes(range(256)) * 40
    kept = bench.blobs.put(data)
    bench.blobs.gate.clear()
    first, found = fetching(bench, kept, a_job())
    bench.blobs.asked.wait()
    others = [fetching(bench, kept, a_job()) for _ in range(3)]
    stopped = a_job()
    last, left = fetching(bench, kept, stopped)
    bench.clock.wait_for_waiters(4)
    stopped.stop.set()
    bench.clock.advance(1)
    last.join()
    assert left == [b"stopped"]
    bench.blobs.gate.set()
    for thread, said in ((first, found), *others):
        thread.join()
        assert said == [data]
    assert bench.blobs.reads == -(-len(data) // 1000)
