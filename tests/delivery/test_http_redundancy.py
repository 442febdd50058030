"""Redundancy over HTTP: what may be asked for, what reads back, and what each replica left."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.core.task import Files, Program, Redundancy
from tests.builders import a_result, a_step_result
from tests.delivery.site import Executor, Site
from tests.delivery.test_http_archives import a_zip

TASKS = "/api/v1/tasks"
BATCHES = "/api/v1/batches"
SOUND: dict[str, Any] = {"execute": {"command": "true"}, "outputs": ["**"]}
JUDGE: dict[str, Any] = {"type": "program", "language": "python", "source": "print()"}


def asked(**redundancy: Any) -> dict[str, Any]:
    """A task with that redundancy."""
    return {**SOUND, "redundancy": redundancy}


def told(site: Site, **redundancy: Any) -> dict[str, Any]:
    """How redundancy reads back."""
    made = site.submit(**asked(**redundancy))
    assert site.get(made["links"]["self"]).json == made
    found: dict[str, Any] = made["spec"]["redundancy"]
    return found


# -- what may be asked for -------------------------------------------------------------------

COMPARATORS: list[tuple[Any, dict[str, Any]]] = [
    (None, {"type": "default"}),
    *((name, {"type": name}) for name in ("default", "exact", "lines", "tokens", "json")),
    *(({"type": name}, {"type": name}) for name in ("exact", "lines", "tokens", "json")),
    ("numbers", {"type": "numbers", "abs": 0.0, "rel": 0.0}),
    ({"type": "numbers", "rel": 1e-9}, {"type": "numbers", "abs": 0.0, "rel": 1e-9}),
    ({"type": "numbers", "abs": 2}, {"type": "numbers", "abs": 2.0, "rel": 0.0}),
    ({"type": "files", "paths": ["a", "b/c"]}, {"type": "files", "paths": ["a", "b/c"]}),
]


@pytest.mark.parametrize(("given_", "read"), COMPARATORS, ids=str)
def test_a_comparator_reads_back(shared: Site, given_: Any, read: dict[str, Any]) -> None:
    assert told(shared, min_quorum=2, comparator=given_)["comparator"] == read


tolerances = st.floats(min_value=0, allow_nan=False, allow_infinity=False, max_value=1e17)
paths = st.lists(
    st.from_regex(r"[a-z]{1,8}(/[a-zé ]{1,8}[a-z])?", fullmatch=True), min_size=1, max_size=5
)
simple = st.sampled_from(["default", "exact", "lines", "tokens", "json"])
comparators = st.one_of(
    simple.map(lambda name: {"type": name}),
    st.builds(lambda a, r: {"type": "numbers", "abs": a, "rel": r}, tolerances, tolerances),
    st.builds(lambda p: {"type": "files", "paths": p}, paths),
)


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """A whole policy, as it reads back."""
    counts = sorted(draw(st.lists(st.integers(1, 20), min_size=4, max_size=4)))
    names = ("min_quorum", "target_replicas", "max_success_replicas", "max_total_replicas")
    return {
        **dict(zip(names, counts, strict=True)),
        "max_error_replicas": draw(st.integers(1, counts[-1])),
        "max_lost_replicas": draw(st.integers(1, 100)),
        "delay_bound": draw(st.none() | st.floats(60, 86400)),
        "distinct": draw(st.sampled_from(["executor", "owner", "none"])),
        "comparator": draw(comparators),
        "homogeneous": draw(st.sampled_from(["none", "os", "os+cpu"])),
        "adaptive": counts[0] > 1 and draw(st.booleans()),
    }


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(policy=policies())
def test_any_policy_reads_back_whole(shared: Site, policy: dict[str, Any]) -> None:
    assert told(shared, **policy) == policy


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
contents = st.one_of(
    words.map(lambda text: (text, text.encode())),
    st.binary(max_size=50).map(lambda b: ({"base64": base64.b64encode(b).decode()}, b)),
)
steps = st.fixed_dictionaries(
    {
        "command": st.one_of(
            words.filter(lambda w: bool(w.strip())),
            st.tuples(st.just("judge"), words).map(list),
        ),
        "args": st.lists(words, max_size=3),
        "env": st.dictionaries(st.from_regex(r"[A-Z]{1,5}", fullmatch=True), words, max_size=2),
        "stdin": st.none() | contents,
    }
)


def step_asked(step: dict[str, Any]) -> dict[str, Any]:
    """A step as it is submitted."""
    return {**step, "stdin": step["stdin"] and step["stdin"][0]}


def is_step(read: dict[str, Any], step: dict[str, Any]) -> bool:
    """Whether a step reads back as it was asked for."""
    same = all(read[name] == step[name] for name in ("command", "args", "env"))
    return same and read["stdin"] == (step["stdin"] and told_of(step["stdin"][1]))


def told_of(data: bytes) -> dict[str, Any]:
    """How contents are told."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    execute=steps,
    compile_=st.none() | steps,
    files=st.dictionaries(st.from_regex(r"[a-z]{1,9}", fullmatch=True), contents, max_size=3),
)
def test_any_program_that_compares_reads_back(
    shared: Site,
    execute: dict[str, Any],
    compile_: dict[str, Any] | None,
    files: dict[str, tuple[Any, bytes]],
) -> None:
    judge = {
        "type": "program",
        "execute": step_asked(execute),
        "compile": compile_ and step_asked(compile_),
        "source": {"files": {path: data[0] for path, data in files.items()}},
    }
    read = told(shared, min_quorum=2, comparator=judge)["comparator"]
    assert (read["type"], read["language"]) == ("program", None)
    assert read["source"]["files"] == {path: told_of(data[1]) for path, data in files.items()}
    assert is_step(read["execute"], execute)
    assert read["compile"] is None if compile_ is None else is_step(read["compile"], compile_)


def test_a_program_that_compares_is_filled_by_its_language_as_a_task_is(shared: Site) -> None:
    judge = {
        "type": "program",
        "language": "cpp",
        "source": "int main(){}",
        "args": ["--strict"],
        "env": {"A": "b"},
        "stdin": "in",
        "limits": {"wall": 7},
        "compile": {"limits": {"cpu": 3}},
    }
    read = told(shared, min_quorum=2, comparator=judge)["comparator"]
    assert (read["type"], read["language"]) == ("program", "cpp")
    assert read["source"]["files"]["main.cpp"]["size"] == 12
    assert (read["compile"]["command"][0], read["compile"]["limits"]["cpu"]) == ("g++", 3.0)
    execute = read["execute"]
    assert (execute["command"], execute["args"]) == (["./main"], ["--strict"])
    assert (execute["env"], execute["stdin"]["size"]) == ({"A": "b"}, 2)
    assert execute["limits"]["wall"] == 7.0


def test_a_program_that_compares_is_taken_in_the_long_form(site: Site) -> None:
    files = {"judge.py": "print()", "odd": {"base64": "/w=="}}
    execute = {"command": ["python3", "judge.py"], "stdin": "x" * 20_000}
    judge = {"type": "program", "source": {"files": files}, "execute": execute}
    read = told(site, min_quorum=2, distinct="none", comparator=judge)["comparator"]
    assert set(read["source"]["files"]) == {"judge.py", "odd"}
    kept = site.executor.take().task.spec.redundancy.comparator
    assert isinstance(kept, Program)
    assert kept.source is not None
    assert kept.source.files["odd"].inline == b"\xff"
    assert kept.execute.stdin is not None
    assert kept.execute.stdin.inline is None  # it is large, so it is a blob that was sent
    assert site.judicator.read_blob(kept.execute.stdin.digest, 0, 3) == b"xxx"


@pytest.mark.parametrize(
    ("given_", "read"),
    [
        ({}, (1, 1, 3, 10, 6)),
        ({"min_quorum": 2}, (2, 2, 3, 10, 6)),
        ({"min_quorum": 3}, (3, 3, 3, 10, 6)),
        ({"min_quorum": 8}, (8, 8, 3, 20, 16)),
        ({"min_quorum": 2, "target_replicas": 9}, (2, 9, 3, 22, 18)),
        ({"min_quorum": 60}, (60, 60, 3, 100, 100)),
        ({"min_quorum": 100}, (100, 100, 3, 100, 100)),
        ({"min_quorum": 2, "max_total_replicas": 4}, (2, 2, 3, 4, 4)),
        ({"min_quorum": 2, "max_total_replicas": 2}, (2, 2, 2, 2, 2)),
        ({"min_quorum": 2, "max_success_replicas": 20}, (2, 2, 3, 24, 20)),
        ({"min_quorum": 2, "max_error_replicas": 30}, (2, 2, 30, 30, 6)),
    ],
    ids=str,
)
def test_what_is_left_out_makes_room_for_what_is_given(
    shared: Site, given_: dict[str, int], read: tuple[int, ...]
) -> None:
    found = told(shared, **given_)
    names = ("min_quorum", "target_replicas", "max_error_replicas", "max_total_replicas")
    assert tuple(found[n] for n in (*names, "max_success_replicas")) == read


@pytest.mark.parametrize(
    ("redundancy", "field"),
    [
        ({"min_quorum": 0}, "min_quorum"),
        ({"min_quorum": 101}, "min_quorum"),
        ({"min_quorum": "2"}, "min_quorum"),
        ({"min_quorum": 2.0}, None),
        ({"min_quorum": True}, "min_quorum"),
        ({"min_quorum": 3, "target_replicas": 2}, "min_quorum"),
        ({"min_quorum": 8, "max_success_replicas": 6}, "target_replicas"),
        ({"min_quorum": 8, "max_total_replicas": 7}, "max_success_replicas"),
        ({"max_success_replicas": 5, "max_total_replicas": 4}, "max_success_replicas"),
        ({"max_error_replicas": 5, "max_total_replicas": 4}, "max_error_replicas"),
        ({"max_lost_replicas": 0}, "max_lost_replicas"),
        ({"delay_bound": 0}, "delay_bound"),
        ({"delay_bound": 59.5}, "delay_bound"),
        ({"distinct": "planet"}, "distinct"),
        ({"homogeneous": "cpu"}, "homogeneous"),
        ({"adaptive": True}, "adaptive"),
        ({"adaptive": "yes", "min_quorum": 2}, "adaptive"),
        ({"quorum": 2}, "quorum"),
        ({"comparator": "fuzzy"}, "comparator"),
        ({"comparator": {}}, "comparator"),
        ({"comparator": {"type": ["lines"]}}, "comparator"),
        ({"comparator": 7}, "comparator"),
        ({"comparator": {"type": "lines", "abs": 1}}, "comparator.abs"),
        ({"comparator": {"type": "numbers", "abs": -1}}, "comparator.abs"),
        ({"comparator": {"type": "numbers", "rel": "1e-9"}}, "comparator.rel"),
        ({"comparator": {"type": "numbers", "rel": 1e18}}, "comparator.rel"),
        ({"comparator": "files"}, "comparator.paths"),
        ({"comparator": {"type": "files", "paths": []}}, "comparator.paths"),
        ({"comparator": {"type": "files", "paths": ["x"] * 101}}, "comparator.paths"),
        ({"comparator": {"type": "files", "paths": ["../x"]}}, "comparator.paths"),
        ({"comparator": {"type": "files", "paths": ["a\x00"]}}, "comparator.paths.0"),
        ({"comparator": "program"}, "comparator.execute.command"),
        ({"comparator": JUDGE | {"language": "cobol"}}, "comparator.language"),
        ({"comparator": JUDGE | {"source": None}}, "comparator.source"),
        ({"comparator": JUDGE | {"source": {"files": {"x.py": ""}}}}, "comparator.source.files"),
        ({"comparator": JUDGE | {"source": {"zip": {"base64": "eA=="}}}}, "comparator.source"),
        ({"comparator": JUDGE | {"limits": {"wall": 1e9}}}, "comparator.limits.wall"),
        (
            {"comparator": JUDGE | {"execute": {"limits": {"wall": 1e9}}}},
            "comparator.execute.limits.wall",
        ),
        ({"comparator": JUDGE | {"args": ["x"], "execute": {"args": ["y"]}}}, "comparator.args"),
        ({"comparator": JUDGE | {"args": ["x" * 40_000]}}, "comparator.execute"),
        ({"comparator": JUDGE | {"compile": {}}}, "comparator.compile.command"),
        ({"comparator": JUDGE | {"outputs": ["x"]}}, "comparator.outputs"),
    ],
    ids=lambda value: str(value)[:70],
)
def test_what_is_wrong_is_422_and_named(
    shared: Site, redundancy: dict[str, Any], field: str | None
) -> None:
    response = shared.post(TASKS, json=asked(**redundancy))
    problem = response.json or {}
    assert (response.status_code, problem["code"]) == (422, "invalid"), response.text
    if field is not None:
        assert problem["field"] == f"redundancy.{field}"
    assert problem["detail"]


@pytest.mark.parametrize("number", [math.inf, math.nan])
def test_a_tolerance_that_is_no_number_is_no_json(shared: Site, number: float) -> None:
    body = json.dumps(asked(comparator={"type": "numbers", "abs": number}))
    response = shared.post(TASKS, data=body, content_type="application/json")
    assert response.status_code == 400


@pytest.mark.parametrize("outputs", [[], ["y", "x/*"]])
def test_files_that_are_compared_must_be_kept(shared: Site, outputs: list[str]) -> None:
    wish = {**asked(comparator={"type": "files", "paths": ["x"]}), "outputs": outputs}
    response = shared.post(TASKS, json=wish)
    assert (response.status_code, (response.json or {})["field"]) == (
        422,
        "redundancy.comparator.paths",
    )


def test_the_document_of_the_api_tells_of_every_comparator(shared: Site) -> None:
    document = shared.get("/api/openapi.json").json or {}
    schemas = document["components"]["schemas"]
    wish = json.dumps(schemas["RedundancyIn"]["properties"]["comparator"])
    for model in ("DefaultIn", "NumbersIn", "FilesIn", "ProgramIn"):
        assert f"#/components/schemas/{model}" in wish
        assert model in schemas
    assert '"lines"' in wish
    assert {"digest", "validity", "credit"} <= set(schemas["ReplicaOut"]["properties"])


# -- all ways in -----------------------------------------------------------------------------


def test_it_comes_by_multipart_as_a_document(site: Site) -> None:
    fields = {
        "source": (io.BytesIO(a_zip({"main.py": b"x"})), "p.zip"),
        "task": json.dumps({"language": "python", **asked(min_quorum=2, comparator=JUDGE)}),
    }
    made = site.post(TASKS, data=fields).json or {}
    read = made["spec"]["redundancy"]
    assert (read["min_quorum"], read["comparator"]["type"]) == (2, "program")
    assert list(read["comparator"]["source"]["files"]) == ["main.py"]


def test_it_comes_by_form_fields(site: Site) -> None:
    fields = {
        "language": "python",
        "source": "print(1)",
        "redundancy.min_quorum": "2",
        "redundancy.adaptive": "true",
        "redundancy.distinct": "none",
        "redundancy.comparator.type": "numbers",
        "redundancy.comparator.rel": "1e-9",
    }
    made = site.post(TASKS, data=fields, content_type="multipart/form-data").json or {}
    read = made["spec"]["redundancy"]
    assert (read["min_quorum"], read["adaptive"], read["distinct"]) == (2, True, "none")
    assert read["comparator"] == {"type": "numbers", "abs": 0.0, "rel": 1e-9}


def test_execute_takes_a_quorum(site: Site) -> None:
    wish = {"code": "print(1)", "quorum": "2", "comparator": "lines", "distinct": "none", "wait": 0}
    for ask in (
        lambda: site.get("/execute", query_string=wish),
        lambda: site.post("/execute", data=wish),
    ):
        response = ask()
        assert response.status_code == 202
        made = site.get(f"{TASKS}/{response.headers['X-Accord-Task']}").json or {}
        read = made["spec"]["redundancy"]
        assert (read["min_quorum"], read["comparator"]["type"]) == (2, "lines")
    response = site.get("/execute", query_string={"code": "x", "comparator": "files"})
    assert (response.status_code, (response.json or {})["field"]) == (422, "comparator")


def batch_tasks(site: Site, id_: str) -> list[dict[str, Any]]:
    items = (site.get(f"{TASKS}?batch={id_}&order=oldest").json or {})["items"]
    return [site.get(f"{TASKS}/{item['id']}").json or {} for item in items]


def test_the_tasks_of_a_list_and_its_finishing_task_are_redundant(site: Site) -> None:
    document = {"tasks": [asked(min_quorum=2, comparator="lines")], "finish": asked(min_quorum=3)}
    made = site.post(BATCHES, json=document)
    assert made.status_code == 201, made.text
    (task,) = batch_tasks(site, (made.json or {})["id"])
    assert len(task["replicas"]) == 2
    assert task["spec"]["redundancy"]["comparator"] == {"type": "lines"}
    for wish, place in (({"tasks": [asked(adaptive=True)]}, "tasks.0"), (
        {"tasks": [SOUND], "finish": asked(adaptive=True)}, "finish",
    )):  # fmt: skip
        problem = site.post(BATCHES, json=wish).json or {}
        assert problem["field"] == f"{place}.redundancy.adaptive"


def test_the_lines_of_a_stream_are_redundant(site: Site) -> None:
    lines = [asked(min_quorum=2, comparator=JUDGE), asked(min_quorum=2, comparator={"type": "x"})]
    body = "\n".join(json.dumps(line) for line in lines)
    response = site.post(BATCHES, data=body, content_type="application/x-ndjson")
    problem = response.json or {}
    assert (response.status_code, problem["field"]) == (422, "redundancy.comparator")
    assert problem["line"] == 2
    (task,) = batch_tasks(site, problem["batch"])
    assert task["spec"]["redundancy"]["comparator"]["language"] == "python"


def test_a_template_fills_the_paths_that_are_compared(site: Site) -> None:
    template = {
        "execute": {"command": "touch out{n}"},
        "outputs": ["out{n}"],
        "redundancy": {"min_quorum": 2, "comparator": {"type": "files", "paths": ["out{n}"]}},
    }
    document = {"template": template, "parameters": {"n": {"range": [3, 5]}}}
    made = site.post(BATCHES, json=document)
    assert made.status_code == 201, made.text
    job = site.executor.take()
    assert job.task.spec.redundancy.comparator == Files(paths=("out3",))
    document["parameters"] = {"n": {"list": ["/../x"]}}
    response = site.post(BATCHES, json=document)
    assert (response.status_code, (response.json or {})["code"]) == (422, "invalid")


# -- what reads back -------------------------------------------------------------------------


def test_two_of_two_agree_and_each_shows_what_it_left(site: Site) -> None:
    made = site.submit(**asked(min_quorum=2, comparator="lines"))
    assert (made["quorum"], made["target_replicas"], made["judging"]) == (2, 2, None)
    assert [r["state"] for r in made["replicas"]] == ["unsent", "unsent"]
    other = Executor(site.judicator, "box2")
    for executor, stdout in ((site.executor, b"same\n"), (other, b"same  \n\n")):
        executor.finish(executor.take(), a_result(stdout, kept={"f": a_step_result().stdout}))
    task = site.get(f"{made['links']['self']}?wait=20").json or {}
    assert (task["status"], task["stdout"]) == ("success", "same\n")
    first, second = task["replicas"]
    assert {first["executor"], second["executor"]} == {"box1", "box2"}
    for replica in (first, second):
        assert (replica["state"], replica["outcome"], replica["verdict"], replica["validity"]) == (
            "over", "success", "ok", "valid",
        )  # fmt: skip
        assert replica["kept"] == {"f": a_step_result().stdout.digest}
        assert (replica["exit_code"], replica["owner"], replica["credit"]) == (0, "", 0.25)
        assert replica["over_time"].endswith("Z")
    assert first["digest"] == a_result(b"same\n").execute.stdout.digest  # type: ignore[union-attr]  # it has one
    assert first["digest"] != second["digest"]
    assert (first["canonical"], second["canonical"]) == (True, False)
    files = made["links"]["files"]
    assert site.get(f"{files}/stdout?replica=1").data == b"same  \n\n"


def test_where_they_differ_there_is_no_result_but_what_each_left_is_there(site: Site) -> None:
    made = site.submit(**asked(min_quorum=2, max_success_replicas=2, distinct="none"))
    for _ in range(3):
        job = site.executor.take()
        site.executor.finish(job, a_result(f"I am {job.number}\n".encode()))
    task = site.get(f"{made['links']['self']}?wait=20").json or {}
    assert (task["status"], task["reason"]) == ("failed", "no_consensus")
    shown = ("verdict", "exit_code", "stdout", "wall_time")
    assert [task[name] for name in shown] == [None] * 4
    assert len({replica["digest"] for replica in task["replicas"]}) == 3
    assert {replica["validity"] for replica in task["replicas"]} == {"no_check"}
    files = made["links"]["files"]
    for number in (0, 1, 2):
        found = site.get(f"{files}/stdout?replica={number}")
        assert found.data == f"I am {number}\n".encode()
    missing = site.get(f"{files}/stdout")
    assert missing.status_code == 404
    assert "replica=" in (missing.json or {})["detail"]
    assert site.get(f"{files}/stdout?replica=9").status_code == 404
    (item,) = (site.get(f"{TASKS}?status=failed").json or {})["items"]
    assert (item["verdict"], item["reason"], item["attempts"]) == (None, "no_consensus", 3)


def test_a_judging_run_is_seen(site: Site) -> None:
    made = site.submit(**asked(min_quorum=2, distinct="none", comparator=JUDGE))
    for _ in range(2):
        job = site.executor.take()
        site.executor.finish(job, a_result(f"{job.number}\n".encode()))
    task = site.get(made["links"]["self"]).json or {}
    assert (task["status"], task["need_validate"]) == ("validating", True)
    judging = task["judging"]
    assert judging["candidates"] == [0, 1]
    assert {"state", "executor", "attempts", "message"} < set(judging)


def test_a_policy_of_one_is_what_it_was(site: Site) -> None:
    site.submit(**asked())
    assert site.executor.take().task.spec.redundancy == Redundancy()
