"""The executor with the real box: programs as people send them, from assignment to result."""

from __future__ import annotations

import io
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from accord.adapters.sandbox.bwrap import BwrapSandbox
from accord.adapters.system import SystemClock
from accord.config import LanguageSettings, SandboxSettings
from accord.core.languages import PRESETS, fill
from accord.core.limits import Limits
from accord.core.replica import Result, Verdict, content
from accord.core.status import Status
from accord.core.task import Requires, Source, Spec, Task
from accord.core.view import status_of
from tests.builders import a_compile_step, a_spec, a_step
from tests.unit.services.platform import PATIENCE, Platform

pytestmark = pytest.mark.box


OTHER_PYTHON = """#!/bin/sh
[ "$1" = --version ] && echo Python 9.1.0 && exit
echo other $(cat "$1")
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory) -> Iterator[Platform]:
    root = tmp_path_factory.mktemp("platform")
    made = Platform(root)
    presets = {name: PRESETS[name] for name in ("c", "python", "bash")}
    sandbox = BwrapSandbox(SandboxSettings(), SystemClock())
    other = root / "python9" / "bin" / "python3"
    other.parent.mkdir(parents=True)
    other.write_text(OTHER_PYTHON)
    other.chmod(0o755)
    more = (LanguageSettings(name="python@9", mounts=(str(root / "python9"),)),)
    made.executor(sandbox, slots=2, presets=presets, languages=more)
    yield made
    made.close()


def ran(platform: Platform, spec: Spec) -> tuple[Task, Result]:
    task = platform.done(platform.add(spec=spec))
    result = task.replicas[-1].result
    assert result is not None, task.replicas
    return task, result


def out(result: Result, stream: str = "stdout") -> bytes:
    assert result.execute is not None
    kept = getattr(result.execute, stream)
    assert kept.inline is not None
    return bytes(kept.inline)


def script(text: str, **changes: Any) -> Spec:
    return a_spec(execute=a_step(command=text, **changes))


def test_a_c_program_is_compiled_and_reads_its_stdin(platform):
    code = b'#include <stdio.h>\nint main(){int a,b;scanf("%d%d",&a,&b);printf("%d\\n",a+b);}'
    task, result = ran(platform, fill("c", content(code), stdin=content(b"19 23")))
    assert status_of(task) is Status.SUCCESS
    assert out(result) == b"42\n"
    assert result.compile is not None
    assert result.execute is not None
    assert result.execute.peak_memory > 0


def test_a_program_that_does_not_compile(platform):
    task, result = ran(platform, fill("c", content(b"int main( {")))
    assert status_of(task) is Status.COMPILE_FAILED
    assert result.compile is not None
    assert b"error" in (result.compile.stderr.inline or b"")


def test_the_environment_holds_nothing_of_the_host(platform, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_HOST", "1")
    _, result = ran(platform, script("env | sort; pwd"))
    assert b"SECRET" not in out(result)
    assert b"HOME=/box" in out(result)
    assert out(result).endswith(b"/box\n")


@pytest.mark.parametrize(
    ("command", "exit_code"), [(("no-such-program",), 127), (("/etc/passwd",), 126)]
)
def test_a_command_that_cannot_be_executed_ends_as_in_a_shell(platform, command, exit_code):
    task, result = ran(platform, a_spec(execute=a_step(command=command)))
    assert status_of(task) is Status.RUN_FAILED
    assert result.execute is not None
    assert result.execute.exit_code == exit_code
    assert command[0].encode() in out(result, "stderr")


@pytest.mark.parametrize(
    ("text", "limits", "verdict"),
    [
        ("sleep 60", Limits(wall=0.3), Verdict.TIME_LIMIT),
        ("while :; do :; done", Limits(cpu=0.3), Verdict.TIME_LIMIT),
        ("yes", Limits(output=100_000), Verdict.OUTPUT_LIMIT),
        ("head -c 200m /dev/zero | tail", Limits(memory=64 << 20), Verdict.MEMORY_LIMIT),
        ("exit 3", Limits(), Verdict.RUNTIME_ERROR),
        ("kill -SEGV $$", Limits(), Verdict.RUNTIME_ERROR),
    ],
)
def test_verdicts_of_real_programs(platform, text, limits, verdict):
    _, result = ran(platform, script(text, limits=limits))
    assert result.verdict is verdict


def test_stdin_is_no_file_of_the_box_and_cannot_be_written_to(platform):
    text = "echo x >/proc/self/fd/0; ls -A /box; cat"
    _, result = ran(platform, script(text, stdin=content(b"secret\n")))
    assert out(result) == b"secret\n"
    large = b"0123456789abcdef" * (1 << 17)
    platform.judicator.write_blob("large", 0, large[: 1 << 20])
    platform.judicator.write_blob("large", 1 << 20, large[1 << 20 :])
    digest, size = platform.judicator.commit_blob("large")
    stdin = type(content(b""))(digest=digest, size=size)
    text = "printf ruined 2>/dev/null >/proc/self/fd/0; sha256sum"
    _, result = ran(platform, script(text, stdin=stdin))
    if os.geteuid() == 0:  # else the program is the file's owner
        assert out(result).startswith(digest.encode())


def test_data_and_outputs_pass_through_the_box(platform):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("in/numbers.txt", "1\n2\n3\n")
    text = "mkdir -p out; wc -l < data/in/numbers.txt > out/count; ln -s /etc/passwd out/link"
    spec = a_spec(execute=a_step(command=text), data=content(packed.getvalue()), outputs=("out/*",))
    _, result = ran(platform, spec)
    assert list(result.kept) == ["out/count"]
    assert result.kept_dropped == ("out/link",)
    kept = result.kept["out/count"]
    assert platform.judicator.read_blob(kept.digest, 0, 10) == b"3\n"


def test_a_long_output_is_exact(platform):
    text = "seq 200000"
    _, result = ran(platform, script(text))
    want = b"".join(b"%d\n" % n for n in range(1, 200_001))
    assert result.execute is not None
    assert result.execute.stdout.digest == content(want).digest


def test_a_zip_that_leaves_the_directory_fails_with_its_reason(platform):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../evil", "x")
    spec = a_spec(source=Source(archive=content(packed.getvalue())))
    task = platform.done(platform.add(spec=spec))
    assert status_of(task) is Status.FAILED
    assert "evil" in task.replicas[0].message


def test_a_cancel_ends_everything_in_the_box(platform):
    mark = f"9{threading.get_native_id()}.5"
    spec = a_spec(
        compile=a_compile_step(command=("true",)),
        execute=a_step(command=f"(setsid sleep {mark} &) ; sleep {mark}", limits=Limits(wall=90.0)),
    )
    id_ = platform.add(spec=spec)
    cursor = ""
    while not platform.judicator.get(id_).phases:
        cursor = platform.judicator.follow(id_, cursor, PATIENCE).cursor
    platform.judicator.cancel(id_)
    assert status_of(platform.done(id_)) is Status.CANCELLED
    assert not any(mark.encode() in line for line in command_lines())


def command_lines() -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue  # it ended meanwhile
    return found


def test_a_task_gets_the_toolchain_of_the_version_that_it_asks_for(platform):
    spec = fill("python", content(b"print(1)"))
    assert out(ran(platform, spec)[1]) == b"1\n"
    wish = Requires(language_version="9.1")
    asking = msgspec.structs.replace(spec, requires=wish)
    assert out(ran(platform, asking)[1]) == b"other print(1)\n"


def test_what_a_compiler_left_is_used_again_with_its_modes(platform):
    spec = fill("c", content(b"int main(void) { return 7; }"))
    first, second = (ran(platform, spec)[1] for _ in range(2))
    assert first.compile is not None
    assert second.compile is not None
    assert (first.compile.cached, second.compile.cached) == (False, True)
    assert second.execute is not None
    assert second.execute.exit_code == 7
    again = fill("c", content(b"int main( { // once"))
    for cached in (False, True):
        refused = ran(platform, again)[1].compile
        assert refused is not None
        assert refused.cached is cached
        assert b"error" in (refused.stderr.inline or b"")


def test_what_a_compile_step_leaves_beside_files_is_made_each_time(platform):
    for _ in range(2):
        compile_ = a_compile_step(command="mkdir out; ln -s out link")
        result = ran(platform, a_spec(compile=compile_, execute=a_step(command="ls -d link/")))[1]
        assert out(result) == b"link/\n"
        assert result.compile is not None
        assert not result.compile.cached
