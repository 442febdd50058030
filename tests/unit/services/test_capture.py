"""A stream is kept exactly, whatever its length, and can be read while it grows."""

from __future__ import annotations

import errno
import hashlib
import os

import pytest

from accord.core.task import INLINE_STREAM
from accord.services import capture as module
from accord.services.capture import IN_MEMORY, Capture


def filled(path, data: bytes, piece: int = 1000) -> Capture:
    stream = Capture(path.parent, path.name, lambda: None)
    for at in range(0, len(data), piece):
        stream.append(data[at : at + piece])
    return stream


@pytest.mark.parametrize(
    "size", [0, 1, INLINE_STREAM, INLINE_STREAM + 1, IN_MEMORY, IN_MEMORY + 1, 3 * IN_MEMORY + 7]
)
def test_all_bytes_come_out_in_order(tmp_path, size):
    data = bytes(i * 31 % 251 for i in range(size))
    stream = filled(tmp_path / "sub" / "out", data)
    assert stream.read(0, size + 1) == data
    assert stream.read(size // 2, 10) == data[size // 2 : size // 2 + 10]
    content, path = stream.finish()
    assert (content.size, content.digest) == (size, hashlib.sha256(data).hexdigest())
    if size <= INLINE_STREAM:
        assert (content.inline, path) == (data, None)
    else:
        assert content.inline is None
        assert path is not None
        assert path.read_bytes() == data
    stream.close()
    stream.close()


def test_a_long_stream_does_not_stay_in_memory(tmp_path):
    stream = filled(tmp_path / "out", b"x" * (8 << 20), piece=1 << 16)
    assert len(stream._memory) == 0
    stream.close()


def test_whoever_waits_is_told_after_the_bytes_are_there(tmp_path):
    seen = []
    stream = Capture(tmp_path, "out", lambda: seen.append(stream.size))
    stream.append(b"abc")
    stream.append(b"de")
    assert seen == [3, 5]


def test_a_full_disk_is_told_at_the_end_and_not_to_the_box(tmp_path, monkeypatch):
    def full(fd: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "_write_all", full)
    stream = filled(tmp_path / "out", b"x" * (IN_MEMORY + 1))
    with pytest.raises(OSError, match="No space left"):
        stream.finish()
    stream.close()
