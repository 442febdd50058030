"""Marks by folder, so that none is forgotten, and the running platform that several folders use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from accord.core.certificate import Verify
    from tests.acceptance.platforms import RunningPlatform

_MARKED = {"acceptance", "faults"}
_TESTS = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--update`` lets the stories say what the cluster says now."""
    parser.addoption("--update", action="store_true", help="rewrite tests/stories/*.txt")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test in ``tests/acceptance`` is marked ``acceptance``, and so on."""
    for item in items:
        if item.path.is_relative_to(_TESTS):
            folder = item.path.relative_to(_TESTS).parts[0]
            if folder in _MARKED:
                item.add_marker(folder)


@pytest.fixture
def verify() -> Verify:
    """By which the judicators' suite checks signatures."""
    from accord.adapters import signing

    return signing.verify


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """``accord up`` in a directory of its own, shared by the tests of a module."""
    from tests.acceptance.platforms import RunningPlatform

    running = RunningPlatform(tmp_path_factory.mktemp("platform") / "data")
    running.start()
    yield running
    running.stop()
