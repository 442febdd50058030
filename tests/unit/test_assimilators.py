"""Assimilators of other packages are found by their entry point."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.adapters.assimilators import Append, assimilators

MODULE = """
class Handler:
    def check(self, options):
        pass

    def assimilate(self, ending):
        pass


class Broken:
    def __init__(self):
        raise RuntimeError("no")
"""
ENTRIES = """[accord.assimilators]
theirs = some_package:Handler
broken = some_package:Broken
missing = some_package:Nothing
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package with three handlers, of which one works."""
    (tmp_path / "some_package.py").write_text(MODULE, encoding="utf-8")
    about = tmp_path / "some_package-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: some_package\nVersion: 1\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(ENTRIES, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("some_package", None)


def test_what_packages_register_is_there_and_what_fails_is_left_out(
    package: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = assimilators(package / "out")
    assert set(found) == {"append", "theirs"}
    assert isinstance(found["append"], Append)
    assert caplog.text.count("An assimilator could not be loaded") == 2
