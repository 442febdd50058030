"""A look at names and archives before they are taken: what is unsafe is refused at the door.

Nothing is unpacked here; that happens inside the box, which checks again.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
from collections.abc import Iterable
from typing import IO

from accord.config import SandboxSettings
from accord.core.errors import Invalid

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_END = b"PK\x05\x06"
_END_SIZE = 22
_LOCATOR64 = b"PK\x06\x07"
_LOCATOR64_SIZE = 20
_LONGEST_COMMENT = 0xFFFF
_LONGEST_DIRECTORY = 8 << 20
"""Bytes of a central directory that are read at most; some 100 bytes an entry are usual."""
_LONGEST_PATH = 1024
_LONGEST_NAME = 255
_DEEPEST = 32
"""Folders; the box takes no more."""
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_UNREADABLE = (
    zipfile.BadZipFile,
    NotImplementedError,
    ValueError,
    struct.error,
    EOFError,
    OverflowError,
    IndexError,
)
"""What ``zipfile`` raises at malformed archives."""


def check_path(path: str, field: str) -> str:
    """Check a relative path that stays below where it begins. Raises Invalid.

    >>> check_path("lib/util.c", "source")
    'lib/util.c'
    >>> check_path("../etc/passwd", "source")
    Traceback (most recent call last):
    ...
    accord.core.errors.Invalid: The path '../etc/passwd' leaves its directory. ...
    """
    if _CONTROL.search(path):
        raise Invalid(
            "A path holds a NUL or another control character. Rename the file.", field=field
        )
    shown = path[:100]
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or "\\" in path:
        raise Invalid(
            f"The path {shown!r} leaves its directory. Use a relative one with / and without ..",
            field=field,
        )
    if not all(parts) or "." in parts:
        raise Invalid(f"The path {shown!r} has an empty part. Name every part.", field=field)
    sizes = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    if max(sizes) > _LONGEST_NAME or sum(sizes) + len(sizes) > _LONGEST_PATH:
        raise Invalid(f"The path {shown!r} is too long. Shorten it.", field=field)
    return path


def check_paths(paths: Iterable[str], field: str) -> None:
    """Check paths that are to lie beside each other. Raises Invalid."""
    files = {check_path(path, field) for path in paths}
    for path in files:
        parents = path.split("/")[:-1]
        for depth in range(1, len(parents) + 1):
            if "/".join(parents[:depth]) in files:
                raise Invalid(
                    f"{'/'.join(parents[:depth])!r} is both a file and a folder. Rename one.",
                    field=field,
                )


def looks_like_zip(stream: IO[bytes]) -> bool:
    """Whether the bytes begin as those of a zip archive do."""
    start = stream.read(4)
    stream.seek(0)
    return start in {b"PK\x03\x04", _END}


def check_zip(stream: IO[bytes], caps: SandboxSettings, field: str) -> None:
    """Check that ``stream`` is a zip with a readable directory and safe entries.

    Leaves the stream at its beginning. Raises Invalid with what is wrong.
    """
    count, directory = _check_end(stream, field)
    try:
        with zipfile.ZipFile(stream) as archive:
            entries = archive.infolist()
    except _UNREADABLE as error:
        raise Invalid(
            "The archive is malformed: its directory cannot be read. Make the zip anew.",
            field=field,
        ) from error
    finally:
        stream.seek(0)
    if len(entries) != count or any(entry.header_offset >= directory for entry in entries):
        raise Invalid(
            "The archive's directory is not that of its entries. Make the zip anew.", field=field
        )
    _check_size(entries, caps, field)
    for entry in entries:
        _check_entry(entry, field)
    names = [entry.filename.removesuffix("/") for entry in entries]
    if len(set(names)) < len(names):
        raise Invalid("Two entries of the archive have one name. Make the zip anew.", field=field)
    check_paths((e.filename for e in entries if not e.is_dir()), field)


def _check_end(stream: IO[bytes], field: str) -> tuple[int, int]:
    """Bound the directory before anything reads it: zipfile takes it whole into memory.

    Returns how many entries it claims, and where it begins.
    """
    size = stream.seek(0, 2)
    stream.seek(max(0, size - _LONGEST_COMMENT - _END_SIZE - _LOCATOR64_SIZE))
    tail = stream.read()
    stream.seek(0)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        raise Invalid("This is no zip archive. Send a zip.", field=field)
    count, length, offset = struct.unpack_from("<HLL", tail, at + 10)
    if tail[max(0, at - _LOCATOR64_SIZE) :].startswith(_LOCATOR64) or 0xFFFFFFFF in {
        length,
        offset,
    }:
        raise Invalid("The archive is in the zip64 format. Make it without zip64.", field=field)
    end = size - len(tail) + at
    if length > _LONGEST_DIRECTORY or count * 46 > length or offset + length != end:
        raise Invalid(
            "The archive's directory is too large, or malformed. Make the zip anew.", field=field
        )
    return count, offset


def _check_size(entries: list[zipfile.ZipInfo], caps: SandboxSettings, field: str) -> None:
    if len(entries) > caps.archive_entries:
        raise Invalid(
            f"The archive has {len(entries)} entries; {caps.archive_entries} are allowed.",
            field=field,
        )
    total = sum(entry.file_size for entry in entries)
    if total > caps.archive_bytes:
        raise Invalid(
            f"The archive unpacks to {total} bytes; {caps.archive_bytes} are allowed.", field=field
        )


def _check_entry(entry: zipfile.ZipInfo, field: str) -> None:
    # zipfile cuts names at a NUL; the name as it was stands in orig_filename.
    path = check_path(entry.orig_filename.removesuffix("/"), field)
    if path.count("/") >= _DEEPEST:
        raise Invalid(f"{path[:100]!r} is over {_DEEPEST} folders deep. Flatten it.", field=field)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise Invalid(
            f"{entry.filename[:100]!r} in the archive is a link or device. Leave it out.",
            field=field,
        )
    if entry.flag_bits & 0x1:
        raise Invalid("The archive is encrypted. Make it without a password.", field=field)
    if entry.compress_type not in _METHODS:
        raise Invalid(
            f"{entry.filename[:100]!r} is packed by an unusual method. Use deflate, or store it.",
            field=field,
        )
