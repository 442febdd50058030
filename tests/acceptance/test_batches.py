"""Batches by the command line, on a real platform: sweeps, streams, results, map."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys

import pytest

from accord.client import Client, spec

from .platforms import clean_env
from .test_cli import accord
from .waiting import until

FINISH = """
import json, pathlib
lines = [json.loads(line) for line in pathlib.Path("data/results.jsonl").open()]
kept = [pathlib.Path("data", f["path"]).read_text() for l in lines for f in l["files"].values()]
print(len(lines), sum(int(line["stdout"]) for line in lines), sorted(map(int, kept)))
"""


@pytest.fixture
def client(platform):
    with Client(platform.url) as found:
        yield found


def started(platform, *argv):
    """The command line as a process with pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "accord", *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_env(ACCORD_URL=platform.url),
    )


def newest(client):
    """The batch that was made last; None where there is none."""
    return next(client.batches(limit=1), None)


def lines_of(*commands):
    return b"".join(json.dumps(spec(execute=c)).encode() + b"\n" for c in commands)


# -- submit ----------------------------------------------------------------------------------


def test_a_sweep_runs_over_its_grid_and_reads_back_as_lines_and_as_a_table(platform):
    done = accord(
        platform, "batch", "submit", "--template", "echo {n} {c} $((10 * {n}))",
        "--param", "n=1..3", "--param", "c=x y,z", "--wait", "--label", "set:sweep",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    id_ = done.stdout.decode().strip()
    told = done.stderr.decode().splitlines()
    assert re_ended(told[-1]) == (6, 6)
    lines = accord(platform, "batch", "results", id_).stdout.splitlines()
    results = [json.loads(line) for line in lines]
    assert [r["parameters"] for r in results] == [
        {"n": n, "c": c} for n in (1, 2, 3) for c in ("x y", "z")
    ]
    assert [r["stdout"] for r in results][:2] == ["1 x y 10\n", "1 z 10\n"]
    assert {r["status"] for r in results} == {"success"}
    table = accord(platform, "batch", "results", id_, "--format", "csv").stdout.decode()
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [(row["index"], row["n"], row["c"]) for row in rows][:3] == [
        ("0", "1", "x y"), ("1", "1", "z"), ("2", "2", "x y"),
    ]  # fmt: skip
    assert [row["stdout"] for row in rows] == [r["stdout"] for r in results]
    listed = accord(platform, "batch", "list", "--label", "set:sweep", "--json").stdout
    assert [json.loads(line)["id"] for line in listed.splitlines()] == [id_]


def re_ended(line):
    """How many of how many a line of progress says are done."""
    words = line.split(": ")[-1].split()
    assert words[1] == "of"
    return int(words[0]), int(words[2])


def test_results_go_to_a_file_and_a_missing_batch_leaves_none(platform, tmp_path):
    id_ = accord(platform, "batch", "submit", "--template", "echo {n}", "--param", "n=1..3", "-wq")
    path = tmp_path / "out.jsonl"
    wrong = accord(platform, "batch", "results", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "-o", str(path))
    assert (wrong.returncode, wrong.stdout, path.exists()) == (1, b"", False)
    done = accord(platform, "batch", "results", id_.stdout.decode().strip(), "-o", str(path))
    assert (done.returncode, done.stdout) == (0, b"")
    assert [json.loads(line)["stdout"] for line in path.read_text().splitlines()] == [
        "1\n",
        "2\n",
        "3\n",
    ]


def test_a_program_in_a_language_is_swept_over_the_rows_of_a_table(platform, tmp_path):
    (tmp_path / "prog.py").write_text("import sys; print(int(sys.argv[1]) + int(sys.argv[2]))")
    (tmp_path / "rows.csv").write_text("a,b\n1,10\n2,20\n")
    done = accord(
        platform, "batch", "submit", "--template", str(tmp_path / "prog.py"), "-a", "{a}",
        "-a", "{b}", "--csv", str(tmp_path / "rows.csv"), "--wall", "20", "--wait", "-q",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    found = accord(platform, "batch", "results", done.stdout.decode().strip()).stdout.splitlines()
    assert [json.loads(line)["stdout"] for line in found] == ["11\n", "22\n"]


def test_waiting_exits_with_1_where_one_task_did_not_succeed_and_retry_goes_on(platform, tmp_path):
    done = accord(
        platform, "batch", "submit", "--template", "exit $(( {n} == 2 ))", "--param", "n=1..3", "-w"
    )
    assert done.returncode == 1
    id_ = done.stdout.decode().strip()
    told = done.stderr.decode().splitlines()
    assert "1 failed" in told[-2]
    assert told[-1].startswith(f"accord: batch {id_}: ")
    again = accord(platform, "batch", "retry", id_, "--wait", "-q")
    assert (again.returncode, again.stdout.decode()) == (1, f"{id_} done\n")
    assert accord(platform, "batch", "wait", id_, "-q").returncode == 1
    assert b"2 success, 1 run_failed" in sorted_counts(accord(platform, "batch", "status", id_))


def sorted_counts(done):
    return done.stdout.replace(b"1 run_failed, 2 success", b"2 success, 1 run_failed")


def test_a_stream_is_finished_by_a_task_that_sees_all_results(platform, tmp_path, client):
    (tmp_path / "finish.py").write_text(FINISH)
    tasks = [spec(execute=f"echo {n}; echo {n * n} > f.txt", outputs=["*.txt"]) for n in range(9)]
    (tmp_path / "tasks.ndjson").write_text("".join(json.dumps(t) + "\n" for t in tasks))
    done = accord(
        platform, "batch", "submit", str(tmp_path / "tasks.ndjson"), "--finish",
        str(tmp_path / "finish.py"), "--wait", "--quiet", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    batch = json.loads(done.stdout)
    assert (batch["source"], batch["total"], batch["name"]) == ("stream", 9, "tasks.ndjson")
    squares = sorted(n * n for n in range(9))
    assert client.get(batch["finish_task"]).stdout == f"9 36 {squares}\n"


def test_a_repeated_key_is_the_same_batch(platform):
    argv = ("batch", "submit", "-", "--key", "once-and-again")
    first = accord(platform, *argv, stdin=lines_of("echo 1", "echo 2"))
    again = accord(platform, *argv, stdin=lines_of("echo 1", "echo 2"))
    assert first.returncode == again.returncode == 0
    assert first.stdout == again.stdout
    shown = accord(platform, "batch", "wait", first.stdout.decode().strip(), "--json").stdout
    assert json.loads(shown)["total"] == 2


def test_tasks_are_added_to_an_open_batch_until_it_is_closed(platform, tmp_path):
    (tmp_path / "more.json").write_text(json.dumps({"tasks": [spec(execute="echo 2")]}))
    opened = accord(platform, "batch", "submit", "-", "--open", stdin=lines_of("echo 1"))
    id_ = opened.stdout.decode().strip()
    added = accord(platform, "batch", "add", id_, str(tmp_path / "more.json"))
    assert added.stdout.decode() == f"{id_} receiving\n"
    last = accord(platform, "batch", "add", id_, "-", "--close", stdin=lines_of("echo 3"))
    assert last.returncode == 0, last.stderr
    assert accord(platform, "batch", "close", id_).returncode == 0
    assert accord(platform, "batch", "wait", id_, "-q").returncode == 0
    found = accord(platform, "batch", "results", id_).stdout.splitlines()
    assert [json.loads(line)["stdout"] for line in found] == ["1\n", "2\n", "3\n"]
    late = accord(platform, "batch", "add", id_, "-", stdin=lines_of("echo 4"))
    assert late.returncode == 1
    assert b"closed" in late.stderr


def test_a_batch_is_cancelled_and_purged(platform, client):
    id_ = accord(
        platform, "batch", "submit", "--template", "sleep 300", "--param", "n=1..5"
    ).stdout.decode()
    refused = accord(platform, "batch", "purge", id_.strip())
    assert refused.returncode == 1
    done = accord(platform, "batch", "cancel", id_.strip(), "--wait")
    assert done.stdout.decode() == f"{id_.strip()} cancelled\n"
    assert {task.status for task in client.list(batch=id_.strip())} == {"cancelled"}
    assert accord(platform, "batch", "purge", id_.strip()).returncode == 0
    gone = accord(platform, "batch", "status", id_.strip())
    assert (gone.returncode, gone.stdout) == (1, b"")


def test_whoever_stops_waiting_is_told_how_to_go_on(platform, client):
    process = started(
        platform, "batch", "submit", "--template", "sleep 300", "--param", "n=1", "-w"
    )
    with process:
        id_ = process.stdout.readline().decode().strip()
        process.stderr.readline()  # the first line of progress: it waits
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.decode().endswith(
        f"batch {id_} goes on; end it with: accord batch cancel {id_}\n"
    )
    assert not client.batch(id_).done
    client.cancel_batch(id_)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("batch", "submit"), b"--template"),
        (("batch", "submit", "x.txt"), b".ndjson"),
        (("batch", "submit", "/does/not/exist.json"), b"/does/not/exist.json"),
        (("batch", "submit", "/does/not/exist.ndjson"), b"/does/not/exist.ndjson"),
        (("batch", "submit", "--template", "true", "--param", "n"), b"n=1..1000"),
        (("batch", "submit", "--template", "true", "--csv", "/does/not/exist"), b"exist"),
        (("batch", "submit", "--template", "true", "--param", "a b=1,2"), b"a b"),
        (("batch", "submit", "-", "--param", "n=1..2"), b"template"),
        (("batch", "submit", "-", "--wall", "3"), b"file"),
        (("batch", "status", "nonsense"), b"id"),
        (("batch", "results", "01ARZ3NDEKTSV4RRFFQ69G5FAV"), b"no batch"),
        (("batch", "list", "--label", "x"), b"key:value"),
        (("map", "true", "a", "-j", "0"), b"-j"),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(platform, argv, says):
    done = accord(platform, *argv)
    assert done.returncode in (1, 2)
    assert done.stdout == b""
    assert done.stderr.startswith(b"accord: ")
    assert done.stderr.count(b"\n") == 1
    assert says in done.stderr


# -- map -------------------------------------------------------------------------------------


def test_map_writes_in_order_of_the_arguments_however_they_end(platform):
    script = "test {} = 1 && sleep 1.5; echo {} {#}"
    done = accord(
        platform, "map", "-q", "-j", "6", script, stdin=b"".join(b"%d\n" % n for n in range(1, 31))
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"".join(b"%d %d\n" % (n, n) for n in range(1, 31))


def test_map_can_write_as_it_comes(platform):
    script = "test {} = 1 && sleep 2; echo {}"
    argv = ("map", "-q", "--as-it-comes", "-j", "2", script)
    done = accord(platform, *argv, *map(str, range(1, 9)))
    found = done.stdout.split()
    assert sorted(found) == [b"%d" % n for n in range(1, 9)]
    assert found[-1] == b"1"


def test_map_gives_each_argument_whole_and_output_byte_for_byte(platform):
    odd = ["a b", "$HOME", "it's", '"', "é*"]
    done = accord(platform, "map", "-q", "printf '%s\\0\\377' {}; echo {#} >&2", *odd)
    assert done.returncode == 0
    assert done.stdout == b"".join(word.encode() + b"\0\xff" for word in odd)
    assert done.stderr == b"1\n2\n3\n4\n5\n"


def test_map_copies_output_that_is_longer_than_what_a_task_shows(platform):
    done = accord(platform, "map", "-q", "head -c {} /dev/zero | tr '\\0' x", "300000", "65536")
    assert done.stdout == b"x" * 365536


def test_map_exits_with_the_number_of_failures_and_says_which_were_killed(platform):
    script = "case {} in 2|5) exit 7;; 7) kill -9 $$;; esac; echo {}"
    done = accord(platform, "map", "-q", "--tag", script, *map(str, range(1, 9)))
    assert done.returncode == 3
    assert done.stdout == b"".join(b"%d\t%d\n" % (n, n) for n in (1, 3, 4, 6, 8))
    assert done.stderr == b"accord: job 7 (7): the program was killed by SIGKILL\n"


def test_map_shows_plain_lines_of_progress_where_there_is_no_terminal(platform):
    done = accord(platform, "map", "true", "a", "b", "c")
    told = done.stderr.decode().splitlines()
    assert re_ended(told[-1]) == (3, 3)
    assert 1 <= len(told) <= 2


def test_map_of_nothing_does_nothing(platform, client):
    before = [batch.id for batch in client.batches()]
    done = accord(platform, "map", "echo {}")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert [batch.id for batch in client.batches()] == before


def test_map_runs_a_program_on_each_argument(platform, tmp_path):
    (tmp_path / "double.py").write_text("import sys; print(2 * sys.argv[1])")
    done = accord(platform, "map", "-q", str(tmp_path / "double.py"), "a b", "c", "--wall", "20")
    assert (done.returncode, done.stdout) == (0, b"a ba b\ncc\n")


@pytest.mark.parametrize("way", ["now", "soon"])
def test_map_halts_at_the_first_failure(platform, client, way):
    script = "test {} = 2 && exit 1; test {} = 1 && exit 0; sleep 1; echo {}"
    done = accord(platform, "map", "-q", "-j", "3", "--halt", way, script, *map(str, range(1, 99)))
    assert done.returncode == 1
    batch = newest(client)
    assert batch.total < 20
    assert batch.status == ("cancelled" if way == "now" else "done")
    assert batch.counts.get("success", 0) == 1 + done.stdout.count(b"\n")


def test_ctrl_c_cancels_all_that_map_has_in_flight(platform, client):
    process = started(
        platform, "map", "-q", "-j", "4", "echo {}; test {} = 1 || sleep 300", "1", "2", "3"
    )
    with process:
        assert process.stdout.readline() == b"1\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    batch = newest(client)
    assert process.returncode == 130
    assert output == b""
    assert errors.decode().startswith(f"accord: cancelled batch {batch.id}")
    assert batch.status == "cancelled"
    assert batch.counts == {"success": 1, "cancelled": 2}


def test_ctrl_c_ends_map_also_while_more_arguments_may_come(platform, client):
    process = started(platform, "map", "-q", "echo {}; sleep 300")
    with process:
        process.stdin.write(b"waiting\n")
        process.stdin.flush()
        until(lambda: any(b.counts.get("running") for b in client.batches(limit=1)))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read().count(b"\n") == 1
    assert newest(client).status == "cancelled"


def test_map_takes_arguments_while_they_come_and_no_more_than_there_is_room_for(platform, client):
    process = started(platform, "map", "-q", "-j", "2", "echo {}")
    with process:
        assert process.stdin is not None
        for n in range(3):
            process.stdin.write(b"%d\n" % n)
            process.stdin.flush()
            assert process.stdout.readline() == b"%d\n" % n
        process.stdin.close()
        process.stdin = None
        assert process.wait(30) == 0
    assert newest(client).counts == {"success": 3}


def test_map_bounds_what_is_in_flight(platform, client):
    argv = ("map", "-q", "-j", "3", "--name", "bounded", "sleep 300", *map(str, range(50)))
    process = started(platform, *argv)
    with process:
        batch = until(
            lambda: next((b for b in client.batches(text="bounded") if b.total > 2), None)
        )
        batch = client.batch(batch.id, wait=2)
        assert batch.total == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
    assert client.batch(batch.id).status == "cancelled"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("/does/not/exist.py", "a"), b"accord: /does/not/exist.py: No such file or directory\n"),
        (("echo", "a", "--url", "http://127.0.0.1:1"), b"No platform answers"),
        (("echo", "a", "--label", "x"), b"KEY:VALUE"),
        (("", "a"), b"accord: The command is empty. Name a program.\n"),
    ],
)
def test_map_takes_nothing_else_for_a_number_of_failed_jobs(platform, client, argv, says):
    before = {batch.id for batch in client.batches()}
    done = accord(platform, "map", "-q", *argv)
    assert done.returncode == 255
    assert says in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert {batch.id for batch in client.batches()} == before


def test_map_ends_with_255_where_the_platform_refuses(platform):
    done = accord(platform, "map", "-q", "echo {}", "fine", "x" * 40_000)
    assert done.returncode == 255
    assert done.stderr.count(b"\n") == 1


def test_tasks_and_the_finishing_task_keep_files_that_the_command_line_names(
    platform, tmp_path, client
):
    finish = tmp_path / "join.py"
    finish.write_text(
        "import pathlib\n"
        "kept = sorted(p.read_text() for p in pathlib.Path('data/files').glob('*/*.txt'))\n"
        "pathlib.Path('joined').write_text(''.join(kept))\n"
    )
    template = ["--template", "echo {n} > {n}.txt", "--param", "n=1..3", "--keep", "*.txt"]
    ending = ["--finish", str(finish), "--finish-keep", "joined"]
    done = accord(platform, "batch", "submit", *template, *ending, "--wait")
    assert done.returncode == 0, done.stderr
    last = client.batch(done.stdout.decode().split()[0]).finish_task
    assert client.file(last, "outputs/joined") == b"1\n2\n3\n"
    refused = accord(platform, "batch", "submit", *template, "--finish-keep", "joined")
    assert refused.returncode != 0
    assert b"--finish-keep" in refused.stderr


# -- one program, many tasks -----------------------------------------------------------------


def test_a_batch_of_one_program_pays_for_one_compile(client):
    source = '#include <cstdio>\nint main() { int n; scanf("%d", &n); printf("%d\\n", n * n); }'
    made = [spec(language="cpp", source=source, stdin=f"{n}") for n in range(50)]
    batch = client.wait_batch(client.create_batch(tasks=made).id, timeout=120)
    tasks = [client.get(task.id) for task in client.list(batch=batch.id)]
    assert sorted(int(task.stdout) for task in tasks) == sorted(n * n for n in range(50))
    assert [task.compile_cached for task in tasks].count(False) == 1
