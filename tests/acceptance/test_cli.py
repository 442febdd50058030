"""The command line against a real platform: exit codes, exact bytes, cancellation, one-line errors."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .platforms import clean_env
from .waiting import until

EXAMPLES = Path(__file__).parents[2] / "examples"


def accord(platform, *argv, stdin=b"", **env):
    """Run the command line; stdout and stderr are bytes."""
    return subprocess.run(
        [sys.executable, "-m", "accord", *argv],
        input=stdin,
        capture_output=True,
        timeout=100,
        env=clean_env(**({"ACCORD_URL": platform.url} if platform else {}), **env),
    )


def run(platform, source, *options, language="python", **more):
    return accord(platform, "run", "-", "-l", language, *options, stdin=source.encode(), **more)


@pytest.mark.parametrize(
    ("source", "options", "code", "line"),
    [
        ("print('fine')", (), 0, b""),
        ("raise SystemExit(7)", (), 7, b""),
        ("import os; os.kill(os.getpid(), 11)", (), 139, b"SIGSEGV"),
        ("while True: pass", ("--cpu", "0.3"), 124, b"time limit"),
        ("import time; time.sleep(60)", ("--wall", "300ms"), 124, b"time limit"),
        ("x = bytearray(400 << 20); print(len(x))", ("--memory", "64M"), 137, b"memory limit"),
        ("print('x' * 5000)", ("--output", "1K"), 1, b"output limit"),
    ],
    ids=["ok", "exit code", "signal", "cpu", "wall", "memory", "output"],
)
def test_run_exits_as_the_program_did_and_says_in_a_line_what_stopped_it(
    platform, source, options, code, line
):
    done = run(platform, source, *options)
    assert done.returncode == code, done.stderr
    told = [text for text in done.stderr.splitlines() if text.startswith(b"accord:")]
    assert len(told) == (1 if line else 0)
    assert line in b"".join(told)


def test_a_program_that_does_not_compile_exits_65_with_the_compilers_words_on_stderr(platform):
    done = run(platform, "int main() { return x; }", language="c")
    assert done.returncode == 65
    assert done.stdout == b""
    assert b"main.c:1" in done.stderr
    assert done.stderr.splitlines()[-1] == b"accord: the program does not compile"


def test_output_and_errors_come_back_byte_for_byte(platform):
    odd = bytes(range(256)) * 300
    source = "\n".join(
        [
            "import sys",
            "given = sys.stdin.buffer.read()",
            "sys.stdout.buffer.write(given)",
            "sys.stderr.buffer.write(given[::-1])",
        ]
    )
    given = platform.data.parent / "odd"
    given.write_bytes(odd)
    done = run(platform, source, "--stdin", str(given))
    assert done.returncode == 0
    assert done.stdout == odd
    assert done.stderr == odd[::-1]


def test_arguments_reach_the_program_as_they_are(platform):
    source = "import sys, json; print(json.dumps(sys.argv[1:]))"
    done = run(platform, source, "-a", "a b", "-a", "--x", "-a", "ü$(id)")
    assert json.loads(done.stdout) == ["a b", "--x", "ü$(id)"]


def test_output_comes_while_the_program_runs(platform):
    source = "import time; print('first', flush=True); time.sleep(60)"
    process = start(platform, source)
    with process:
        assert process.stdout.readline() == b"first\n"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)


def start(platform, source):
    process = subprocess.Popen(
        [sys.executable, "-m", "accord", "run", "-", "-l", "python"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_env(ACCORD_URL=platform.url),
    )
    assert process.stdin is not None
    with process.stdin as stdin:
        stdin.write(source.encode())
    process.stdin = None
    return process


def test_ctrl_c_cancels_the_task(platform):
    process = start(platform, "import time; print('up', flush=True); time.sleep(300)")
    with process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == b"accord: cancelled\n"
    [newest] = platform.get("/api/v1/tasks?limit=1")[1]["items"]
    assert newest["status"] == "cancelled"


def test_run_brings_a_platform_up_where_there_is_none_and_leaves_nothing(tmp_path):
    env = {"TMPDIR": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "share")}
    done = run(None, "print(6 * 7)", **env)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"42\n", b"")
    assert list(tmp_path.iterdir()) == []


def test_submit_show_logs_list_cancel_retry(platform):
    source = str(EXAMPLES / "sum_cpp" / "main.cpp")
    given = str(EXAMPLES / "sum_cpp" / "input.txt")
    done = accord(platform, "submit", source, "--stdin", given, "--name", "adding", "--wait")
    id_, status = done.stdout.decode().split()
    assert status == "success"
    assert accord(platform, "logs", id_).stdout == b"16 numbers, sum 80, largest 9\n"
    shown = json.loads(accord(platform, "show", id_, "--json").stdout)
    assert shown["name"] == "adding"
    assert shown["explanation"]
    assert b"status     success" in accord(platform, "show", id_).stdout
    listed = accord(platform, "list", "--text", "adding", "--json").stdout
    assert [json.loads(line)["id"] for line in listed.splitlines()] == [id_]
    again = accord(platform, "retry", id_).stdout.decode().strip()
    assert again != id_
    assert json.loads(accord(platform, "show", again, "--wait", "--json").stdout)["retry_of"] == id_
    refused = accord(platform, "cancel", id_)
    assert refused.returncode == 1
    assert refused.stderr.count(b"\n") == 1


@pytest.mark.parametrize("command", ["submit", "run"])
def test_a_wish_for_the_network_that_is_not_allowed_is_one_line(platform, command):
    refused = accord(platform, command, "-", "-l", "python", "--network", stdin=b"print()")
    assert refused.returncode == 1
    assert b"may not use the network" in refused.stderr
    assert refused.stderr.count(b"\n") == 1


def test_logs_follow_a_task_to_its_end(platform):
    source = "import time\nfor n in range(3): print(n, flush=True); time.sleep(0.2)"
    id_ = accord(platform, "submit", "-", "-l", "python", stdin=source.encode()).stdout.decode()
    followed = accord(platform, "logs", "-f", id_.strip())
    assert followed.stdout == b"0\n1\n2\n"


def test_a_zip_is_submitted_as_a_project(platform, tmp_path):
    from accord.cli.example_files import zipped

    folder = EXAMPLES / "primes_make"
    archive = tmp_path / "project.zip"
    archive.write_bytes(zipped(folder, ["Makefile", "main.c", "sieve.c", "sieve.h"]))
    done = accord(
        platform, "submit", str(archive), "--compile", "make -s primes", "--execute",
        './primes "$@"', "-a", "100", "--wait", "--json",
    )  # fmt: skip
    assert json.loads(done.stdout)["stdout"] == "25 primes up to 100, the largest is 97\n"


def test_executors_and_judicators_are_listed(platform):
    [executor] = json.loads(accord(platform, "executors", "--json").stdout)
    assert executor["state"] == "online"
    shown = accord(platform, "executors").stdout
    assert executor["name"].encode() in shown
    assert b"credit" in shown
    assert executor["benchmark"] > 0
    [judicator] = json.loads(accord(platform, "judicators", "--json").stdout)
    assert judicator["leader"] is True


def test_draining_an_executor_keeps_work_waiting_until_it_is_released(platform):
    [executor] = json.loads(accord(platform, "executors", "--json").stdout)
    name = executor["name"]
    assert accord(platform, "executors", "--drain", name).returncode == 0
    try:
        id_ = accord(platform, "submit", "-", "-l", "python", stdin=b"print(1)").stdout.decode()
        status, task = platform.get(f"/api/v1/tasks/{id_.strip()}?wait=1")
        assert (status, task["status"]) == (200, "pending")
    finally:
        accord(platform, "executors", "--release", name)
    until(lambda: platform.get(f"/api/v1/tasks/{id_.strip()}?wait=5")[1]["status"] == "success")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("show", "nonsense"), b"no"),
        (("show", "01ARZ3NDEKTSV4RRFFQ69G5FAV"), b"no"),
        (("run", "/does/not/exist.py"), b"/does/not/exist.py"),
        (("run", "-"), b"--language"),
        (("run", "-", "-l", "cobol"), b"cobol"),
        (("run", "-", "-l", "python", "--memory", "lots"), b"256M"),
        (("list", "--status", "sideways"), b"sideways"),
        (("list", "--since", "yesterday"), b"since"),
        (("frobnicate",), b"frobnicate"),
        (("maintain", "kitchen"), b"judicator"),
        (("submit", "x.zip"), b"--execute"),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(platform, argv, says):
    done = accord(platform, *argv)
    assert done.returncode in (1, 2)
    assert done.stdout == b""
    assert done.stderr.startswith(b"accord: ")
    assert done.stderr.count(b"\n") == 1
    assert says in done.stderr


def test_no_platform_is_one_line_with_how_to_start_one():
    done = accord(None, "list", ACCORD_URL="http://127.0.0.1:9")
    assert done.returncode == 69
    assert done.stderr.count(b"\n") == 1
    assert b"http://127.0.0.1:9" in done.stderr


def test_a_reader_that_leaves_early_ends_the_program(platform):
    done = subprocess.run(
        f"{shlex.quote(sys.executable)} -m accord run - -l bash | head -n 1",
        shell=True,
        input=b"while echo y; do :; done",
        capture_output=True,
        timeout=60,
        env=clean_env(ACCORD_URL=platform.url),
    )
    assert done.stdout == b"y\n"
    assert b"Traceback" not in done.stderr


def test_a_result_is_certified_and_checked_without_the_platform(platform, tmp_path):
    submitted = accord(
        platform, "submit", "-", "-l", "python", "--wait", "--name", "sum", stdin=b"print(6 * 7)"
    )
    id_ = submitted.stdout.split()[0].decode()
    certificate, key = tmp_path / "sum.json", tmp_path / "cluster.pem"
    done = accord(platform, "certificate", id_, "-o", str(certificate))
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    printed = json.loads(accord(platform, "certificate", id_).stdout)
    assert printed["key"] == json.loads(certificate.read_bytes())["key"]
    key.write_bytes(accord(platform, "key").stdout)
    (tmp_path / "out").write_bytes(b"42\n")
    argv = ("verify", str(certificate), "--output", str(tmp_path / "out"))
    checked = accord(None, *argv, ACCORD_CLUSTER_KEY=str(key))
    assert checked.returncode == 0, checked.stderr
    assert b"sum" in checked.stdout
    assert b"nobody confirmed it" in checked.stdout
    certificate.write_bytes(certificate.read_bytes().replace(b'"sum"', b'"sun"'))
    assert accord(None, *argv, "--key", str(key)).returncode == 1
    refused = accord(platform, "certificate", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert (refused.returncode, refused.stdout) == (1, b"")


def test_a_secret_of_the_callers_environment_is_the_programs_alone(platform):
    source = "import os; print(len(os.environ['TOKEN']))"
    options = ("submit", "-", "-l", "python", "--secret-env", "TOKEN", "--wait", "--json")
    done = accord(platform, *options, stdin=source.encode(), TOKEN="hush-4711")
    assert done.returncode == 0, done.stderr
    task = json.loads(done.stdout)
    assert task["stdout"] == "9\n"
    for more in ((), ("--json",)):
        shown = accord(platform, "show", task["id"], *more)
        assert shown.returncode == 0
        assert b"hush" not in done.stdout + shown.stdout + shown.stderr
    again = accord(platform, "retry", task["id"]).stdout.decode().strip()
    until(lambda: platform.get(f"/api/v1/tasks/{again}")[1]["stdout"] == "9\n", what="a retry")
