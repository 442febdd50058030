"""Blobs on their way in are bounded and forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.adapters.memory.blobs import MemoryBlobs
from accord.core.errors import Invalid, NotFound, Unavailable
from accord.services import incoming
from accord.services.incoming import FORGOTTEN_AFTER, Uploads
from accord.testing.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def uploads(clock: FakeClock, tmp_path: Path) -> Uploads:
    uploads = Uploads(MemoryBlobs(clock), clock, tmp_path)
    uploads.start()
    return uploads


def files(tmp_path: Path) -> int:
    return len(list(tmp_path.iterdir()))


def test_what_nobody_adds_to_for_an_hour_is_forgotten(
    uploads: Uploads, clock: FakeClock, tmp_path: Path
) -> None:
    uploads.write("old", 0, b"abc")
    clock.advance(FORGOTTEN_AFTER / 2)
    uploads.write("young", 0, b"abc")
    clock.advance(FORGOTTEN_AFTER / 2)
    assert uploads.forget() == 1
    assert files(tmp_path) == 1
    with pytest.raises(NotFound):
        uploads.commit("old")
    with pytest.raises(Invalid):
        uploads.write("old", 3, b"more")
    assert uploads.commit("young")[1] == 3
    assert files(tmp_path) == 0


def test_leftovers_of_an_earlier_process_are_removed(
    uploads: Uploads, clock: FakeClock, tmp_path: Path
) -> None:
    uploads.write("u", 0, b"abc")
    Uploads(MemoryBlobs(clock), clock, tmp_path).start()
    assert files(tmp_path) == 0


def test_a_name_is_no_path(uploads: Uploads, tmp_path: Path) -> None:
    uploads.write("../../etc/passwd", 0, b"abc")
    assert files(tmp_path) == 1


def test_uploads_are_bounded_together(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MOST_BYTES", 10)
    uploads.write("a", 0, b"12345678")
    with pytest.raises(Unavailable):
        uploads.write("b", 0, b"345")
    uploads.commit("a")
    uploads.write("b", 0, b"345")  # there is room again


def test_uploads_under_way_are_bounded_in_number(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "MOST_UPLOADS", 1)
    uploads.write("a", 0, b"")
    with pytest.raises(Unavailable):
        uploads.write("b", 0, b"")
    uploads.commit("a")
    uploads.write("b", 0, b"")
