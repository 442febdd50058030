"""A language is offered only where its tools ran in the box, with what its tasks will be given."""

from __future__ import annotations

import logging

import pytest

from accord.config import LanguageSettings
from accord.core.errors import SandboxError
from accord.core.languages import Preset
from accord.core.task import Requires
from accord.ports.sandbox import Command, Mount
from accord.services.toolchains import PATH, Toolchains, environment, presets_with
from accord.testing.scripted_sandbox import Act, ScriptedSandbox
from tests.builders import a_spec

PRESETS = {
    name: Preset(name=name, title=name, file="main", run=("./main",), probe=(f"{name}c", "-v"))
    for name in ("good", "absent", "broken", "slow")
}
ACTS = {
    "goodc": Act(stdout=b"goodc 1.2\nmore\n"),
    "absentc": Act(stderr=b"absentc: not found\n", exit_code=127),
    "brokenc": Act(fails=SandboxError("The box broke.")),
    "slowc": Act(exit_code=0, limit="wall"),
}


def test_only_what_runs_in_the_box_is_offered_and_the_rest_is_logged_with_why(tmp_path, caplog):
    sandbox = ScriptedSandbox(ACTS)
    toolchains = Toolchains((), tmp_path, PRESETS)
    with caplog.at_level(logging.INFO):
        toolchains.probe(sandbox, 2)
    assert toolchains.versions == {"good": "goodc 1.2"}
    why = {r.language: r.why for r in caplog.records if hasattr(r, "language")}
    assert why["absent"] == "absentc -v exited with 127: absentc: not found"
    assert why["broken"] == "The box broke."
    assert "limit wall" in why["slow"]
    assert all(box.closed for box in sandbox.boxes)


def test_a_version_on_stderr_counts(tmp_path):
    sandbox = ScriptedSandbox({**ACTS, "goodc": Act(stderr=b"javac 17\n")})
    toolchains = Toolchains((), tmp_path, {"good": PRESETS["good"]})
    toolchains.probe(sandbox, 1)
    assert toolchains.versions == {"good": "javac 17"}


@pytest.fixture
def at_home(tmp_path):
    (tmp_path / ".tool" / "bin").mkdir(parents=True)
    (tmp_path / ".other").mkdir()
    (tmp_path / ".shared" / "bin").mkdir(parents=True)
    preset = Preset(
        name="tool",
        title="Tool",
        file="main",
        run=("tool",),
        probe=("tool",),
        mounts=("~/.tool/bin", "~/.other", "~/.absent", "~"),
        env={"TOOL_HOME": "~/.tool", "CACHE": "/tmp/~x"},
    )
    shown = Mount(source=str(tmp_path / ".shared"), target="/opt/shared")
    return tmp_path, Toolchains((shown,), tmp_path, {"tool": preset})


def test_the_tilde_is_the_executor_s_home_and_what_does_not_exist_is_left_out(at_home):
    home, toolchains = at_home
    tool = toolchains.of("tool")
    sources = [mount.source for mount in tool.mounts]
    assert sources == [f"{home}/.tool/bin", f"{home}/.other", str(home)]
    assert (tool.env["TOOL_HOME"], tool.env["CACHE"]) == (f"{home}/.tool", "/tmp/~x")


def test_folders_of_programs_come_first_on_the_path(at_home):
    home, toolchains = at_home
    assert toolchains.of("tool").env["PATH"] == f"{home}/.tool/bin:/opt/shared/bin:{PATH}"


def test_a_task_without_a_language_finds_what_the_administrator_shows(at_home):
    _, toolchains = at_home
    plain = toolchains.of(None)
    assert plain.mounts == ()  # the sandbox shows them in every box
    assert plain.env == {"PATH": f"/opt/shared/bin:{PATH}"}


def test_the_probe_is_given_what_the_tasks_get(at_home):
    home, toolchains = at_home
    seen: list[Command] = []

    def tool(command: Command) -> Act:
        seen.append(command)
        return Act(stdout=b"1")

    toolchains.probe(ScriptedSandbox({"tool": tool}), 1)
    assert seen[0].env == environment(toolchains.of("tool").env)
    assert seen[0].env["TOOL_HOME"] == f"{home}/.tool"


# -- several of a language ---------------------------------------------------------------


@pytest.fixture
def side_by_side(tmp_path):
    (tmp_path / "opt" / "bin").mkdir(parents=True)
    more = LanguageSettings(
        name="good@2", mounts=(f"{tmp_path}/opt",), env={"NEW": "1"}, probe=("good2", "-v")
    )
    presets = presets_with([more], {"good": PRESETS["good"]})
    toolchains = Toolchains((), tmp_path, presets)
    toolchains.probe(ScriptedSandbox({**ACTS, "good2": Act(stdout=b"goodc 2.0.1")}), 2)
    return toolchains


def asking(version: str, language: str | None = "good"):
    return a_spec(language=language, requires=Requires(language_version=version))


def test_toolchains_of_a_language_stand_side_by_side(side_by_side, tmp_path):
    assert side_by_side.versions == {"good": "goodc 1.2", "good@2": "goodc 2.0.1"}
    for version in ("", "1", "1.2"):
        assert side_by_side.for_task(asking(version)) == side_by_side.of("good")
    new = side_by_side.for_task(asking("2.0"))
    assert new.env == {"PATH": f"{tmp_path}/opt/bin:{PATH}", "NEW": "1"}
    assert new.mounts == (Mount(source=f"{tmp_path}/opt"),)
    assert side_by_side.for_task(asking("", None)) == side_by_side.of(None)


def test_a_language_of_which_only_another_toolchain_answers_is_offered_by_that(tmp_path):
    more = LanguageSettings(name="absent@2", probe=("good2", "-v"))
    toolchains = Toolchains((), tmp_path, presets_with([more], {"absent": PRESETS["absent"]}))
    toolchains.probe(ScriptedSandbox({**ACTS, "good2": Act(stdout=b"2.0")}), 1)
    assert toolchains.versions == {"absent@2": "2.0"}
    assert toolchains.for_task(asking("", "absent")) == toolchains.of("absent@2")
