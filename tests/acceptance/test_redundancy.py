"""Results that are to agree, on the whole platform: one executor, so replicas may share it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest

from accord.client import Client, Invalid, Task

from .platforms import RunningPlatform, clean_env
from .waiting import until

TOGETHER = {"min_quorum": 2, "distinct": "none"}
NUMBER = "import os\nprint('I am replica', os.environ['ACCORD_REPLICA'])\n"
SUM = """
import os
terms = [1 / n for n in range(1, 20_000)]
if int(os.environ["ACCORD_REPLICA"]) % 2:
    terms.reverse()
total = 0.0
for term in terms:
    total += term
print("sum", repr(total))
"""


@pytest.fixture
def client(platform):
    with Client(platform.url) as found:
        yield found


def accord(platform, *argv, stdin=""):
    return subprocess.run(
        [sys.executable, "-m", "accord", *argv],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=100,
        env=clean_env(ACCORD_URL=platform.url),
    )


def digests(task: Task) -> set[str | None]:
    return {replica.digest for replica in task.replicas}


def test_two_runs_of_one_program_agree(client):
    task = client.run("print(6 * 7)", language="python", redundancy=TOGETHER)
    assert (task.status, task.verdict, task.stdout) == ("success", "ok", "42\n")
    assert (task.quorum, task.agreeing, task.results) == (2, 2, 2)
    assert digests(task) == {hashlib.sha256(b"42\n").hexdigest()}
    assert [replica.canonical for replica in task.replicas].count(True) == 1


def test_two_runs_that_fail_alike_agree(client):
    task = client.run("raise SystemExit(3)", language="python", redundancy=TOGETHER)
    assert (task.status, task.verdict, task.exit_code) == ("run_failed", "runtime_error", 3)
    assert task.agreeing == 2


def test_numbers_agree_within_a_tolerance_and_not_without(client):
    close = {"type": "numbers", "rel": 1e-9}
    task = client.run(SUM, language="python", redundancy={**TOGETHER, "comparator": close})
    assert (task.status, task.agreeing, len(digests(task))) == ("success", 2, 2)
    exact = {**TOGETHER, "max_success_replicas": 2}
    task = client.run(SUM, language="python", redundancy=exact)
    assert (task.status, task.agreeing) == ("success", 2)  # the third is as the first was
    assert len(task.replicas) == 3
    assert [r.validity for r in task.replicas].count("invalid") == 1


def test_a_program_that_never_prints_the_same_has_no_result_but_shows_each(client):
    policy = {**TOGETHER, "max_success_replicas": 3, "max_total_replicas": 4}
    task = client.run(NUMBER, language="python", redundancy=policy)
    assert (task.status, task.reason, task.verdict) == ("failed", "no_consensus", None)
    assert task.stdout == ""
    for replica in task.replicas:
        printed = f"I am replica {replica.number}\n".encode()
        assert replica.digest == hashlib.sha256(printed).hexdigest()
        assert client.file(task.id, "stdout", replica=replica.number) == printed
    assert len(digests(task)) == len(task.replicas) == 4
    assert "agree" in client.explain(task.id)


LARGE_SUM = """
import os
print(("1.5 " * 5000) + repr(1 + int(os.environ["ACCORD_REPLICA"]) * 1e-12))
"""


def test_outputs_that_are_too_large_to_be_read_outside_are_compared_in_a_box(client):
    close = {"type": "numbers", "rel": 1e-9}
    task = client.run(LARGE_SUM, language="python", redundancy={**TOGETHER, "comparator": close})
    assert (task.status, task.agreeing, len(digests(task))) == ("success", 2, 2)
    assert task.raw["judging"]["state"] == "over"
    assert task.raw["judging"]["executor"] == task.replicas[0].executor
    differing = {**TOGETHER, "comparator": {"type": "numbers"}, "max_success_replicas": 2}
    task = client.run(LARGE_SUM, language="python", redundancy=differing)
    assert (task.status, task.reason) == ("failed", "no_consensus")


JUDGE = """
import json, pathlib, sys
groups = {}
for number in sys.argv[2:]:
    folder = pathlib.Path("results") / number
    kept = (folder / "outputs" / "out" / "made.txt").read_text()
    said = (folder / "stdout").read_text()
    groups.setdefault((said.split()[0], kept), []).append(int(number))
print(json.dumps({"groups": [*groups.values()]}))
"""
KEEPS = """
import os, pathlib
pathlib.Path("out").mkdir()
pathlib.Path("out/made.txt").write_text("kept")
print("alike", os.environ["ACCORD_REPLICA"])
"""


def judged_by(source, **more):
    program = {"type": "program", "language": "python", "source": source, **more}
    return {**TOGETHER, "comparator": program}


def test_a_program_of_ones_own_tells_which_results_agree(client):
    policy = judged_by(JUDGE, execute={"args": ["first"]})
    task = client.run(KEEPS, language="python", outputs=["out/*"], redundancy=policy)
    assert (task.status, task.agreeing, len(digests(task))) == ("success", 2, 2)


def test_a_judging_program_that_fails_is_tried_again_and_then_done_without(client):
    policy = {**judged_by("raise SystemExit(1)"), "max_success_replicas": 2}
    task = client.run(NUMBER, language="python", redundancy=policy, timeout=60)
    assert (task.status, task.reason) == ("failed", "no_consensus")
    assert "ended with runtime_error" in task.raw["judging"]["message"]


def test_a_batch_and_its_finishing_task_run_twice(client):
    task = {"execute": {"command": "echo {n}"}, "redundancy": TOGETHER}
    batch = client.create_batch(
        template=task,
        parameters={"n": {"range": [0, 2]}},
        finish={"execute": {"command": "wc -l < data/results.jsonl"}, "redundancy": TOGETHER},
    )
    batch = client.wait_batch(batch.id, 90)
    assert (batch.status, batch.counts) == ("done", {"success": 2})
    finish = client.get(batch.finish_task)
    assert (finish.status, finish.stdout.strip(), finish.agreeing) == ("success", "2", 2)


def test_on_one_executor_a_second_that_must_be_elsewhere_waits_and_says_so(client, platform):
    task = client.submit("print(1)", language="python", redundancy={"min_quorum": 2})
    task = until(
        lambda: found if (found := client.get(task.id)).results == 1 else None,
        what="the first replica is over",
    )
    assert task.status == "pending"
    why = client.explain(task.id)
    assert why
    shown = accord(platform, "show", task.id).stdout
    assert why in shown
    client.cancel(task.id)


def test_what_contradicts_itself_is_refused_with_its_field(client):
    for policy, field in (
        ({"adaptive": True}, "redundancy.adaptive"),
        ({"min_quorum": 8, "max_success_replicas": 6}, "redundancy.target_replicas"),
        (
            {"min_quorum": 2, "comparator": {"type": "numbers", "abs": -1}},
            "redundancy.comparator.abs",
        ),
    ):
        with pytest.raises(Invalid) as refused:
            client.submit("x", language="python", redundancy=policy)
        assert refused.value.field == field


# -- the command line ------------------------------------------------------------------------

RUN = ("run", "-", "-l", "python", "--quorum", "2", "--distinct", "none")


def test_run_writes_the_result_on_which_runs_agree_once(platform):
    done = accord(platform, *RUN, stdin="print('once')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\n", "")
    done = accord(platform, *RUN, "--comparator", "lines", stdin="raise SystemExit(5)")
    assert done.returncode == 5


def test_run_of_what_never_agrees_exits_1_and_says_why(platform):
    source = "import uuid\nprint(uuid.uuid4())\n"
    done = accord(platform, *RUN, stdin=source)
    assert (done.returncode, done.stdout) == (1, "")
    assert "agree" in done.stderr
    assert done.stderr.count("\n") == 1


def test_show_lists_the_replicas_and_the_agreement(platform):
    comparator = json.dumps({"type": "numbers", "rel": 1e-9})
    options = ("--quorum", "2", "--distinct", "none", "--comparator", comparator)
    made = accord(platform, "submit", "-", "-l", "python", *options, "--wait", stdin=SUM)
    id_, status = made.stdout.split()
    assert status == "success"
    shown = accord(platform, "show", id_).stdout
    assert "agreement  2 of 2 agree\n" in shown
    rows = [line for line in shown.splitlines() if "agrees" in line]
    assert len(rows) == 2
    assert sum(" * " in row for row in rows) == 1
    task = json.loads(accord(platform, "show", id_, "--json").stdout)
    assert all(replica["digest"][:12] in shown for replica in task["replicas"])


def test_map_and_batches_take_a_quorum(platform):
    together = ("--quorum", "2", "--distinct", "none")
    mapped = accord(platform, "map", "-q", *together, "echo {}", "a", "b")
    assert (mapped.returncode, mapped.stdout) == (0, "a\nb\n")
    made = accord(
        platform, "batch", "submit", "--template", "echo {n}", "--param", "n=1..2",
        *together, "--wait", "-q",
    )  # fmt: skip
    assert made.returncode == 0
    with Client(platform.url) as client:
        tasks = [client.get(task.id) for task in client.list(batch=made.stdout.strip())]
    assert [task.agreeing for task in tasks] == [2, 2]


# -- the program that compares ---------------------------------------------------------------


def test_a_comparator_of_ones_own_is_taken_and_reads_back(platform: RunningPlatform, tmp_path):
    judge = {"type": "program", "language": "python", "source": "print('{\"groups\": []}')"}
    file = tmp_path / "judge.json"
    file.write_text(json.dumps(judge))
    made = accord(
        platform, "submit", "-", "-l", "bash", "--quorum", "2", "--distinct", "none",
        "--comparator", str(file), stdin="echo same",
    )  # fmt: skip
    with Client(platform.url) as client:
        task = client.wait(made.stdout.strip(), 60)
    assert (task.status, task.agreeing) == ("success", 2)  # the same bytes need no judge
    read = task.raw["spec"]["redundancy"]["comparator"]
    assert (read["type"], read["execute"]["command"]) == ("program", ["python3", "main.py"])
