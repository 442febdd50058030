"""A secret of the environment reaches the program, and is shown nowhere."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from accord.cli.failure import Failure
from accord.cli.options import secrets
from accord.core.task import Step
from tests.builders import a_result
from tests.delivery.site import Site, a_site

VALUE = "hush-4711"
ENV = {"TOKEN": {"secret": VALUE}, "SEED": "7"}
TASK: dict[str, Any] = {
    "execute": {"command": "make use", "env": ENV},
    "compile": {"command": "make", "env": ENV},
}


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    with a_site(tmp_path) as made:
        yield made


@pytest.fixture(autouse=True)
def log(caplog) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged meanwhile, which must not tell it either."""
    caplog.set_level(logging.DEBUG)
    yield caplog
    assert VALUE not in caplog.text
    assert VALUE not in "".join(str(vars(record)) for record in caplog.records)


def shown(site: Site, path: str, **options: Any) -> str:
    with site.get(path, **options) as response:
        assert response.status_code < 500, path
        assert VALUE.encode() not in response.data, path
        return bytes(response.data).decode(errors="replace")


def of_task(id_: str) -> list[str]:
    task = f"/api/v1/tasks/{id_}"
    below = ("", "/explain", "/files", "/files/source", "/certificate")
    return [*(task + path for path in below), f"/tasks/{id_}", "/api/v1/tasks", "/tasks"]


def look_around(site: Site, *paths: str) -> str:
    return "".join(shown(site, path, headers={"Accept": kind}) for path in paths for kind in KINDS)


KINDS = ("application/json", "text/html")


def has_it(step: Step | None) -> bool:
    return step is not None and step.env == {"TOKEN": VALUE, "SEED": "7"}


def test_a_task_s_secret_goes_to_the_program_alone(site):
    response = site.post("/api/v1/tasks", json=TASK)
    assert (response.status_code, VALUE in response.text) == (201, False)
    made = response.json
    assert made["spec"]["execute"]["env"] == {"TOKEN": "***", "SEED": "7"}
    assert made["spec"]["compile"]["env"] == {"TOKEN": "***", "SEED": "7"}
    look_around(site, *of_task(made["id"]))
    job = site.executor.take()
    assert has_it(job.task.spec.execute)
    assert has_it(job.task.spec.compile)
    look_around(site, *of_task(made["id"]))
    site.executor.finish(job, a_result())
    events = f"/api/v1/tasks/{made['id']}/events"
    assert '"***"' in look_around(site, events, *of_task(made["id"]))


def test_a_retry_has_the_secret_too(site):
    made = site.submit(**TASK)
    site.executor.finish(site.executor.take(), a_result())
    again = site.post(f"/api/v1/tasks/{made['id']}/retry")
    assert (again.status_code, VALUE in again.text) == (201, False)
    job = site.executor.take()
    assert job.task.id == again.json["id"]
    assert has_it(job.task.spec.execute)


def test_the_short_form_and_programs_that_compare_have_secrets(site):
    judge = {"type": "program", "language": "python", "source": "1", "env": ENV}
    made = site.submit(
        language="python",
        source="print(1)",
        env=ENV,
        redundancy={"min_quorum": 2, "comparator": judge},
    )
    assert VALUE not in json.dumps(made)
    assert made["spec"]["redundancy"]["comparator"]["execute"]["env"]["TOKEN"] == "***"
    look_around(site, *of_task(made["id"]))
    assert has_it(site.executor.take().task.spec.execute)


def test_batches_show_no_secret(site):
    template = {"execute": {"command": "use {n}", "env": {"TOKEN": {"secret": VALUE + "{n}"}}}}
    document = {"template": template, "parameters": {"n": {"range": [0, 2]}}, "finish": TASK}
    made = site.post("/api/v1/batches", json=document)
    assert (made.status_code, VALUE in made.text) == (201, False)
    job = site.executor.take()
    assert job.task.spec.execute.env == {"TOKEN": VALUE + "{n}"}, "a secret is taken as it is"
    site.executor.finish(job, a_result())
    batch = f"/api/v1/batches/{made.json['id']}"
    pages = ("/api/v1/batches", batch, f"{batch}/results", f"{batch}/tasks")
    look_around(site, *pages, f"/batches/{made.json['id']}", "/batches", *of_task(job.task.id))


def test_a_stream_of_lines_takes_secrets(site):
    lines = "\n".join(json.dumps(TASK) for _ in range(2))
    made = site.post("/api/v1/batches", data=lines, content_type="application/x-ndjson")
    assert (made.status_code, VALUE in made.text) == (201, False)
    assert has_it(site.executor.take().task.spec.execute)


@pytest.mark.parametrize(
    "env",
    [
        {"TOKEN": {"secret": VALUE, "more": 1}},
        {"TOKEN": {"secret": VALUE + "\0"}},
        {"TOKEN": {"secret": [VALUE]}},
        {"TO KEN": {"secret": VALUE}},
        {"TOKEN": {"secret": VALUE * 9_000}},
    ],
)
def test_what_is_refused_does_not_repeat_it(site, env):
    refused = site.post("/api/v1/tasks", json={"execute": {"command": "x", "env": env}})
    assert refused.status_code == 422
    assert VALUE not in refused.text


def test_the_command_line_takes_it_from_its_own_environment(monkeypatch):
    monkeypatch.setenv("TOKEN", VALUE)
    assert secrets(["TOKEN"]) == {"TOKEN": {"secret": VALUE}}
    assert secrets(None) == {}
    with pytest.raises(Failure, match="NOT_THERE is not set"):
        secrets(["NOT_THERE"])
