"""Fixtures of the gateway's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery.site import Site, a_site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A gateway on loopback without tokens."""
    with a_site(tmp_path) as found:
        yield found


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Site]:
    """A gateway that wants tokens."""
    with a_site(tmp_path, tokens=True) as found:
        yield found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A gateway for requests that change nothing, one for a whole module."""
    with a_site(tmp_path_factory.mktemp("spool")) as found:
        yield found
