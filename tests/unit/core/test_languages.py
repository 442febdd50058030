"""A language preset fills in the commands of a program."""

from __future__ import annotations

import pytest

from accord.core.errors import Invalid
from accord.core.languages import PRESETS, fill, steps_for
from accord.core.limits import CAPS, COMPILE_DEFAULTS, EXECUTE_DEFAULTS, Limits
from accord.core.replica import content
from accord.core.task import Source

HELLO = content(b"hello")


@pytest.mark.parametrize("language", sorted(PRESETS))
def test_every_preset_fills_a_spec_that_names_its_file(language: str) -> None:
    preset = PRESETS[language]
    spec = fill(language, HELLO)
    assert spec.source is not None
    assert spec.source.files == {preset.file: HELLO}
    assert spec.execute.command == preset.run
    assert (spec.compile.command if spec.compile else ()) == preset.compile
    assert spec.language == language


def test_limits_are_wishes_over_each_steps_own_defaults() -> None:
    compiled, run = steps_for("cpp", limits={"cpu": 1}, compile_limits={"wall": 9})
    assert compiled is not None
    assert (compiled.limits.wall, compiled.limits.memory) == (9.0, COMPILE_DEFAULTS.memory)
    assert (run.limits.cpu, run.limits.wall) == (1.0, EXECUTE_DEFAULTS.wall)


def test_args_env_and_stdin_go_to_the_execute_step_alone() -> None:
    compiled, run = steps_for("c", args=("-n",), env={"A": "1"}, stdin=HELLO)
    assert compiled is not None
    assert (run.args, run.env, run.stdin) == (("-n",), {"A": "1"}, HELLO)
    assert (compiled.args, compiled.env, compiled.stdin) == ((), {}, None)


def test_a_source_of_many_files_is_taken_as_it_is() -> None:
    source = Source(files={"main.py": HELLO, "lib/util.py": HELLO})
    assert fill("python", source).source is source


def test_an_unknown_language_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(Invalid, match=r"cobol.*bash, c, cpp") as refused:
        fill("cobol", HELLO)
    assert refused.value.fields["field"] == "language"


def test_the_administrators_caps_hold() -> None:
    caps = Limits(**{name: getattr(CAPS, name) for name in Limits.__struct_fields__} | {"wall": 5})
    with pytest.raises(Invalid, match=r"limits\.wall"):
        fill("python", HELLO, limits={"wall": 6}, caps=caps)
    assert fill("python", HELLO, caps=caps).execute.limits.wall == 5
