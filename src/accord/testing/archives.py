"""Zip archives as strangers make them: what a sandbox must unpack, and what it must refuse."""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
import zipfile
from collections.abc import Mapping

from accord.core.limits import MIB


def zipped(entries: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of those files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def entry(name: str, data: bytes = b"x", mode: int = 0o100644, **fields: int) -> bytes:
    """A zip of one file with anything odd about it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.create_system = 3
        info.external_attr = mode << 16
        archive.writestr(info, data)
    raw = bytearray(buffer.getvalue())
    for field, value in fields.items():
        _patch(raw, field, value)
    return bytes(raw)


_LOCAL = {"flags": (6, "H"), "method": (8, "H"), "crc": (14, "L"), "packed": (18, "L")}
_LOCAL |= {"size": (22, "L")}
_CENTRAL = {"flags": (8, "H"), "method": (10, "H"), "crc": (16, "L"), "packed": (20, "L")}
_CENTRAL |= {"size": (24, "L"), "offset": (42, "L"), "disk": (34, "H")}
_END = {"here": (8, "H"), "count": (10, "H"), "length": (12, "L"), "start": (16, "L")}


def _patch(raw: bytearray, field: str, value: int) -> None:
    """Set a field of the first local header, the first central one, or the end, by its name;
    those that the two headers share are set in both unless prefixed by ``local_``.
    """
    local_only = field.startswith("local_")
    name = field.removeprefix("local_")
    tables = ((b"PK\3\4", _LOCAL), (b"PK\1\2", {} if local_only else _CENTRAL), (b"PK\5\6", _END))
    for magic, table in tables:
        if name in table:
            offset, kind = table[name]
            struct.pack_into("<" + kind, raw, raw.index(magic) + offset, value)


def two(first: str, second: str) -> bytes:
    """A zip of two entries, whose names may be one."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(buffer, "w") as archive:
        for name in (first, second):
            archive.writestr(zipfile.ZipInfo(name), b"" if name.endswith("/") else b"x")
    return buffer.getvalue()


def named(raw: bytes, name: bytes, instead: bytes) -> bytes:
    """The zip with a name exchanged for another of its length, everywhere."""
    assert len(name) == len(instead)
    return raw.replace(name, instead)


_LINK, _DEVICE, _FIFO = stat.S_IFLNK | 0o777, stat.S_IFCHR | 0o666, stat.S_IFIFO | 0o666


def hostile_archives() -> dict[str, tuple[bytes, str]]:
    """Archives that must be refused, by what is wrong, with a word of the reason."""
    good = zipped({"a.txt": b"hello " * 100})
    return {
        "empty": (b"", "not a zip"),
        "garbage": (b"\x93NUMPY" * 1000, "not a zip"),
        "cut off": (good[:-10], "zip"),
        "list cut off": (good[: good.index(b"PK\1\2") + 20] + good[-22:], "list"),
        "absolute": (entry("/etc/passwd"), "absolute"),
        "parent": (entry("../x"), ".."),
        "parent within": (entry("a/../../x"), ".."),
        "backslash": (named(entry("aXb"), b"aXb", b"a\\b"), "backslash"),
        "windows parent": (named(entry("..Xb"), b"..Xb", b"..\\b"), "backslash"),
        "NUL": (named(entry("aXb"), b"aXb", b"a\0b"), "NUL"),
        "no name": (named(entry("."), b"\x00\x00.", b"\x00\x00."), "name"),
        "long name": (entry("x" * 300), "long"),
        "not UTF-8": (named(entry("ä"), "ä".encode(), b"\xff\xfe"), "UTF-8"),
        "deep": (entry("d/" * 40 + "x"), "deep"),
        "symbolic link": (entry("way", b"/etc/passwd", _LINK), "link"),
        "device": (entry("null", b"", _DEVICE), "device"),
        "fifo": (entry("pipe", b"", _FIFO), "device"),
        "encrypted": (entry("a", flags=1), "encrypted"),
        "method": (entry("a", method=12), "method 12"),
        "twice": (two("a", "a"), "twice"),
        "twice otherwise written": (two("a", "./a"), "twice"),
        "file as folder": (two("a", "a/b"), "no folder"),
        "folder as file": (two("a/", "a"), "twice"),
        "says smaller": (_lying(b"x" * 1000, 10), "larger than it says"),
        "says larger": (_lying(b"x" * 1000, 100_000), "smaller than it says"),
        "stored, two sizes": (entry("a", b"xx", size=1), "two sizes"),
        "damaged": (entry("a", b"xx", crc=1), "checksum"),
        "deflate damaged": (_damaged(), "damaged"),
        "local header differs": (entry("a", local_method=8), "otherwise"),
        "beyond the end": (entry("a", offset=1 << 30), "outside"),
        "packed beyond the end": (entry("a", packed=1 << 20, size=1 << 20), "cut off"),
        "count too small": (_counted(2, 1), "lists"),
        "count too large": (_counted(2, 3), "lists"),
        "other disk": (entry("a", here=0), "several"),
        "list outside": (entry("a", start=1 << 30), "outside"),
        "bytes before": (b"#!/bin/sh\n" + good, "before"),
        "too many entries": (zipped({str(n): b"" for n in range(201)}), "entries"),
        "bomb": (zipped({"zeros": bytes(33 * MIB)}), "bytes"),
        "bomb that lies": (_lying(bytes(33 * MIB), 1000), "larger than it says"),
        "bomb in parts": (zipped({str(n): bytes(MIB) for n in range(34)}), "bytes"),
        "more than the disk": (zipped({"zeros": bytes(20 * MIB)}), "disk"),
    }


def _lying(data: bytes, size: int) -> bytes:
    raw = bytearray(zipped({"a": data}))
    _patch(raw, "size", size)
    return bytes(raw)


def _damaged() -> bytes:
    raw = bytearray(zipped({"a": os.urandom(1000)}))
    raw[40:60] = b"\xff" * 20
    return bytes(raw)


def _counted(entries: int, said: int) -> bytes:
    raw = bytearray(zipped({str(n): b"" for n in range(entries)}))
    _patch(raw, "here", said)
    _patch(raw, "count", said)
    return bytes(raw)


class Unseekable(io.RawIOBase):
    """Makes zipfile write data descriptors."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: object) -> int:
        """Keep it."""
        raw = bytes(memoryview(data))  # type: ignore[arg-type]
        self.written += raw
        return len(raw)
