"""Archives and names are looked at before they are taken, and whatever is unsafe is refused."""

from __future__ import annotations

import io
import stat
import struct
import zipfile

import pytest

from accord.config import SandboxSettings
from accord.core.errors import Invalid
from accord.delivery.http.archives import check_path, check_paths, check_zip

CAPS = SandboxSettings(archive_bytes=10_000, archive_entries=50)


def a_zip(files: dict[str, bytes], **info: int) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            for field, value in info.items():
                setattr(entry, field, value)
            archive.writestr(entry, data)
    return target.getvalue()


def check(data: bytes) -> None:
    check_zip(io.BytesIO(data), CAPS, "source")


def renamed(old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new)
    return a_zip({old.decode(): b"x"}).replace(old, new)


def test_a_sound_archive_is_taken_and_left_at_its_beginning() -> None:
    stream = io.BytesIO(a_zip({"main.c": b"int main;", "lib/": b"", "lib/é.c": b""}))
    check_zip(stream, CAPS, "source")
    assert stream.tell() == 0


SOUND = a_zip({"a.txt": b"hello" * 100, "b.txt": b"x"})
END = SOUND.rfind(b"PK\x05\x06")


def patched(at: int, form: str, value: int) -> bytes:
    data = bytearray(SOUND)
    struct.pack_into(form, data, END + at, value)
    return bytes(data)


def header(at: int, value: int) -> bytes:
    """The archive with one byte of its first directory entry changed."""
    data = bytearray(SOUND)
    data[SOUND.find(b"PK\x01\x02") + at] = value
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"PK\x03\x04" + b"\x00" * 40,
        b"this is no archive",
        SOUND[: END - 5],
        SOUND[:-3],
        SOUND[:20],
        patched(12, "<L", 0xFFFFFFFF),
        patched(12, "<L", 9 << 20),
        patched(16, "<L", 0xFFFFFFF0),
        patched(10, "<H", 60_000),
        SOUND[:END] + b"PK\x06\x07" + b"\x00" * 16 + SOUND[END:],
        a_zip({f"{n}": b"" for n in range(51)}),
        a_zip({"bomb": b"\x00" * 20_000}),
        a_zip({"/etc/passwd": b"x"}),
        a_zip({"../up": b"x"}),
        a_zip({"a/../../up": b"x"}),
        a_zip({"a\\..\\up": b"x"}),
        a_zip({"./a": b"x"}),
        a_zip({"a//b": b"x"}),
        a_zip({"a" * 300: b"x"}),
        a_zip({"a": b"x", "a/b": b"y"}),
        a_zip({"line\nbreak": b"x"}),
        a_zip({"d/" * 32 + "x": b"x"}),
        a_zip({"a": b"x", "a/": b""}),
        b"#!/bin/sh\n" + SOUND,
        SOUND + SOUND,
        patched(10, "<H", 1),
        header(45, 0x01),
        a_zip({"link": b"/etc/passwd"}, external_attr=(stat.S_IFLNK | 0o777) << 16),
        a_zip({"device": b""}, external_attr=(stat.S_IFCHR | 0o666) << 16),
        renamed(b"main.c_x", b"main\x00c_x"),
        header(6, 0xFF),
        header(8, 0x01),
        header(10, 99),
    ],
    ids=lambda data: f"{len(data)}-{hash(data) % 9973}",
)
def test_an_unsafe_or_malformed_archive_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        check(data)
    assert caught.value.fields["field"] == "source"
    assert len(caught.value.message) < 400


def test_a_second_larger_directory_of_zip64_is_not_followed() -> None:
    """A sound zip64 archive, whose other record could claim a directory of any size."""
    length, offset = struct.unpack_from("<LL", SOUND, END + 12)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, length, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, END, 1)
    data = SOUND[:END] + record + locator + SOUND[END:]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["a.txt", "b.txt"]
    with pytest.raises(Invalid, match="zip64"):
        check(data)


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(Invalid, match="one name"):
        check(a_zip({"aaaa": b"1", "bbbb": b"2"}).replace(b"bbbb", b"aaaa"))


def test_flipping_any_byte_never_crashes_the_check() -> None:
    data = a_zip({"main.c": b"int main;", "data/é": b"1"})
    for at in range(len(data)):
        for value in (0x00, 0xFF, data[at] ^ 0x80):
            broken = data[:at] + bytes([value]) + data[at + 1 :]
            try:
                check(broken)
            except Invalid:
                continue


@pytest.mark.parametrize("path", ["", "/", "a/", "..", ".", "a/./b", "\x00", "a\x7f", "é" * 128])
def test_a_bad_path_is_refused(path: str) -> None:
    with pytest.raises(Invalid):
        check_path(path, "source")


def test_a_file_that_is_also_a_folder_is_refused() -> None:
    with pytest.raises(Invalid, match="both a file and a folder"):
        check_paths(["lib", "lib/a.c"], "source")
