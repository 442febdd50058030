"""The built-in judging program, and that it says what core says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.core import texts
from accord.core.comparators import agree
from accord.core.judging_spec import program_of
from accord.core.task import Comparator, Json, Lines, Numbers, Tokens
from tests.builders import a_result

COMPARATORS: list[Comparator] = [Lines(), Tokens(), Numbers(abs=0.5, rel=0.1), Json()]
WORDS = st.sampled_from(
    [b"1", b"1.0", b"1.4", b"-2", b"nan", b"inf", b"x", b" ", b"\n", b"\t", b"[", b"]", b",", b"{}"]
)
TEXTS = st.lists(WORDS, max_size=6).map(b"".join)


def run_in(folder: Path, comparator: Comparator, outputs: dict[int, bytes]) -> dict[str, object]:
    """Run the very file that is sent to boxes, by itself."""
    for number, output in outputs.items():
        (folder / "results" / str(number)).mkdir(parents=True)
        (folder / "results" / str(number) / "stdout").write_bytes(output)
    (folder / "judge.py").write_bytes(Path(texts.__file__).read_bytes())
    command = program_of(comparator).execute.command[1:]
    argv = [sys.executable, "-I", "-S", *command, *(str(n) for n in outputs)]
    said = subprocess.run(argv, cwd=folder, capture_output=True, check=True, text=True)
    found: dict[str, object] = json.loads(said.stdout)
    return found


def test_the_program_groups_what_is_equal(tmp_path: Path) -> None:
    found = run_in(tmp_path, Numbers(rel=0.01), {0: b"1 x", 2: b"2 x", 5: b" 1.001 x\n"})
    assert found == {"groups": [[0, 5], [2]], "unreadable": []}


def test_the_program_names_what_it_cannot_read(tmp_path: Path) -> None:
    found = run_in(tmp_path, Json(), {0: b"[1]", 1: b"[1", 2: b"[1.0]"})
    assert found == {"groups": [[0, 2]], "unreadable": [1]}


@pytest.mark.parametrize("comparator", COMPARATORS, ids=lambda c: type(c).__name__)
@given(one=TEXTS, other=TEXTS)
def test_it_says_what_core_says(comparator: Comparator, one: bytes, other: bytes) -> None:
    command = program_of(comparator).execute.command
    type_, options = command[2], command[3]
    found = texts.judged(type_, json.loads(options), {0: one, 1: other})
    both_readable = not found["unreadable"]
    expected = agree(comparator, a_result(one), a_result(other))
    if both_readable:
        assert (found["groups"] == [[0, 1]]) is expected
    else:
        assert isinstance(comparator, Json)


def test_a_text_of_many_megabytes_is_compared_without_taking_it_apart() -> None:
    one = b"1.5 " * 500_000
    assert texts.same_numbers(one, one + b"\n", 0.0, 0.0)
    assert not texts.same_numbers(one, one + b"2", 0.0, 0.0)


def test_nesting_without_end_is_not_json() -> None:
    assert texts.parsed(b"[" * 100_000) is texts.NOT_JSON
    assert texts.parsed(b'"\xff"') is texts.NOT_JSON


def test_json_numbers_of_any_length_are_numbers(tmp_path: Path) -> None:
    one, other = b'{"n": -%s}' % (b"7" * 5000), b'{"n":-%s8}' % (b"7" * 4999)
    assert texts.same_json(one, one + b"\n")
    assert not texts.same_json(one, other)
    assert not texts.same_json(one, b'{"n": "-%s"}' % (b"7" * 5000))
    assert not texts.same_json(b"1" * 700, b"true")
    found = run_in(tmp_path, Json(), {0: one, 1: other, 2: one + b" "})
    assert found == {"groups": [[0, 2], [1]], "unreadable": []}
