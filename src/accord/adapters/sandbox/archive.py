"""Reads a zip that strangers made, inside the box.

The standard library's reader believes the archive: it loads the whole directory before anyone can
count it, and knows formats that we do not want. This one takes stored and deflated regular files
and folders, checks every length against what is there, and names what it refuses. Sizes and
offsets: APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib

from accord.adapters.sandbox.paths import BadPath, Folder, parts_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_CHUNK = 256 << 10
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UTF8 = 0x800


class BadArchive(Exception):
    """The archive cannot be unpacked; the message says why, for the person who sent it."""


class Caps:
    """How much an archive may unpack to."""

    def __init__(self, size: int, entries: int, depth: int) -> None:
        self.size = size
        self.entries = entries
        self.depth = depth


class _Entry:
    def __init__(self, name: bytes, parts: list[bytes], fields: tuple[int, ...]) -> None:
        self.raw = name
        self.parts = parts
        self.flags, self.method, self.crc, self.packed, self.size, self.offset, self.mode = fields
        self.folder = name.endswith(b"/") or stat.S_ISDIR(self.mode)

    @property
    def shown(self) -> str:
        return repr(self.raw.decode("utf-8", "replace"))


def unpack(fd: int, into: Folder, caps: Caps) -> None:
    """Unpack the archive behind a seekable descriptor. Raises BadArchive; OSError where the
    disk does not hold it.
    """
    size = os.fstat(fd).st_size
    left = caps.size
    seen: set[tuple[bytes, ...]] = set()
    for entry in _entries(fd, size, caps):
        if tuple(entry.parts) in seen:
            raise BadArchive(f"it holds {entry.shown} twice")
        seen.add(tuple(entry.parts))
        try:
            if entry.folder:
                os.close(into.make(entry.parts))
                continue
            left = _extract(fd, size, entry, into, left, caps)
        except BadPath as error:
            raise BadArchive(f"its entry {entry.shown} cannot be made: {error}") from error


def _entries(fd: int, size: int, caps: Caps) -> Iterator[_Entry]:
    at, length, count = _directory(fd, size)
    if count > caps.entries:
        raise BadArchive(f"it holds {count} entries, {caps.entries} are allowed")
    end, seen = at + length, 0
    start = at
    while at < end:
        if seen == caps.entries:
            raise BadArchive(f"it holds more than the {caps.entries} entries that are allowed")
        entry, at = _entry(fd, at, end, caps)
        if entry.offset >= start:
            raise BadArchive(f"its entry {entry.shown} lies outside of the archive")
        seen += 1
        yield entry
    if seen != count:
        raise BadArchive(f"it says that it holds {count} entries, but lists {seen}")


def _directory(fd: int, size: int) -> tuple[int, int, int]:
    """Where the list of entries is, how long it is, and how many entries it says there are."""
    tail_at = max(0, size - _END.size - 0xFFFF)
    tail = _read(fd, tail_at, size - tail_at)
    found = tail.rfind(b"PK\5\6")
    if found < 0 or len(tail) - found < _END.size:
        raise BadArchive("it is not a zip archive, or it is cut off")
    end_at = tail_at + found
    _, disk, first, here, count, length, at, comment = _END.unpack_from(tail, found)
    if found + _END.size + comment > len(tail):
        raise BadArchive("it is cut off")
    if count == 0xFFFF or length == 0xFFFFFFFF or at == 0xFFFFFFFF:
        end_at, disk, first, here, count, length, at = _directory64(fd, end_at)
    if disk or first or here != count:
        raise BadArchive("it is one part of several")
    if at + length > end_at:
        raise BadArchive("its list of entries lies outside of the archive")
    if at + length < end_at:
        raise BadArchive("there are bytes before its beginning or after its list of entries")
    return at, length, count


def _directory64(fd: int, end_at: int) -> tuple[int, ...]:
    at = end_at - _END64_LOCATOR.size
    if at < 0:
        raise BadArchive("it is cut off")
    magic, _, offset, _ = _END64_LOCATOR.unpack(_read(fd, at, _END64_LOCATOR.size))
    if magic != b"PK\6\7" or offset + _END64.size > at:
        raise BadArchive("its zip64 end record is not where it should be")
    fields = _END64.unpack(_read(fd, offset, _END64.size))
    if fields[0] != b"PK\6\6":
        raise BadArchive("its zip64 end record is not where it should be")
    return (offset, *fields[4:])


def _entry(fd: int, at: int, end: int, caps: Caps) -> tuple[_Entry, int]:
    if end - at < _ENTRY.size:
        raise BadArchive("its list of entries is cut off")
    fields = _ENTRY.unpack(_read(fd, at, _ENTRY.size))
    magic, _, _, flags, method, _, _, crc, packed, size = fields[:10]
    name_size, extra_size, comment_size, disk, _, attributes, offset = fields[10:]
    after = at + _ENTRY.size + name_size + extra_size + comment_size
    if magic != b"PK\1\2" or after > end:
        raise BadArchive("its list of entries is damaged")
    raw = _read(fd, at + _ENTRY.size, name_size + extra_size)
    name, extra = raw[:name_size], raw[name_size:]
    size, packed, offset, disk = _wide(extra, size, packed, offset, disk)
    mode = attributes >> 16
    parts = _name(name, flags, caps)
    entry = _Entry(name, parts, (flags, method, crc, packed, size, offset, mode))
    _refuse(entry, disk)
    return entry, after


def _wide(extra: bytes, size: int, packed: int, offset: int, disk: int) -> tuple[int, ...]:
    """The four with what the zip64 extra field says of those that do not fit."""
    values, wanted = [size, packed, offset], 0xFFFFFFFF
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        at += 4
        if tag == 1:
            inner, used = extra[at : at + length], 0
            for index, value in enumerate(values):
                if value == wanted:
                    if used + 8 > len(inner):
                        raise BadArchive("a zip64 field is cut off")
                    (values[index],) = struct.unpack_from("<Q", inner, used)
                    used += 8
            if disk == 0xFFFF and used + 4 <= len(inner):
                (disk,) = struct.unpack_from("<L", inner, used)
        at += length
    return (*values, disk)


def _name(raw: bytes, flags: int, caps: Caps) -> list[bytes]:
    shown = repr(raw.decode("utf-8", "replace"))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        if flags & _UTF8:
            raise BadArchive(f"the name {shown} is not UTF-8, though it says so") from None
        text = raw.decode("cp437")
    if "\\" in text:
        raise BadArchive(f"the name {shown} holds a backslash; part folders by /")
    try:
        parts = parts_of(text.rstrip("/").encode())
    except BadPath as error:
        raise BadArchive(f"its entry {shown} {error}") from error
    if len(parts) > caps.depth:
        raise BadArchive(f"its entry {shown} is more than {caps.depth} folders deep")
    return parts


def _refuse(entry: _Entry, disk: int) -> None:
    kind = stat.S_IFMT(entry.mode)
    if kind == stat.S_IFLNK:
        raise BadArchive(f"its entry {entry.shown} is a symbolic link; only files and folders pass")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BadArchive(f"its entry {entry.shown} is a device; only files and folders pass")
    if entry.flags & _ENCRYPTED:
        raise BadArchive(f"its entry {entry.shown} is encrypted")
    if entry.method not in (0, 8):
        raise BadArchive(
            f"its entry {entry.shown} is packed by method {entry.method}; use store or deflate"
        )
    if disk:
        raise BadArchive("it is one part of several")


def _extract(fd: int, size: int, entry: _Entry, into: Folder, left: int, caps: Caps) -> int:
    if entry.size > left:
        raise BadArchive(f"it unpacks to more than the {caps.size} bytes that are allowed")
    start = _data(fd, size, entry)
    target = into.create(entry.parts, 0o755 if entry.mode & 0o111 else 0o644)
    try:
        written, crc = 0, 0
        for chunk in _chunks(fd, start, entry):
            written += len(chunk)
            if written > entry.size:
                raise BadArchive(f"its entry {entry.shown} is larger than it says")
            crc = zlib.crc32(chunk, crc)
            write_all(target, chunk)
    finally:
        os.close(target)
    if written != entry.size:
        raise BadArchive(f"its entry {entry.shown} is smaller than it says")
    if crc != entry.crc:
        raise BadArchive(f"its entry {entry.shown} is damaged (its checksum differs)")
    return left - written


def _data(fd: int, size: int, entry: _Entry) -> int:
    """Where the entry's bytes begin, having compared its local header with the list's."""
    head = _read(fd, entry.offset, _LOCAL.size)
    if len(head) < _LOCAL.size:
        raise BadArchive(f"its entry {entry.shown} lies outside of the archive")
    magic, _, flags, method, _, _, _, _, _, name_size, extra_size = _LOCAL.unpack(head)
    name = _read(fd, entry.offset + _LOCAL.size, name_size)
    if magic != b"PK\3\4" or name != entry.raw or method != entry.method or flags & _ENCRYPTED:
        raise BadArchive(f"its entry {entry.shown} is listed otherwise than it is stored")
    start = entry.offset + _LOCAL.size + name_size + extra_size
    if start + entry.packed > size:
        raise BadArchive(f"its entry {entry.shown} is cut off")
    if entry.method == 0 and entry.packed != entry.size:
        raise BadArchive(f"its entry {entry.shown} gives two sizes")
    return int(start)


def _chunks(fd: int, at: int, entry: _Entry) -> Iterator[bytes]:
    end = at + entry.packed
    if entry.method == 0:
        while at < end:
            chunk = _read(fd, at, min(_CHUNK, end - at))
            at += len(chunk)
            yield chunk
        return
    inflater = zlib.decompressobj(-15)
    try:
        while not inflater.eof:
            packed = inflater.unconsumed_tail or _read(fd, at, min(_CHUNK, end - at))
            if not inflater.unconsumed_tail:
                at += len(packed)
            chunk = inflater.decompress(packed, _CHUNK)
            if not chunk and not packed:
                raise BadArchive(f"its entry {entry.shown} is cut off")
            yield chunk
    except zlib.error as error:
        raise BadArchive(f"its entry {entry.shown} is damaged ({error})") from error


def _read(fd: int, at: int, size: int) -> bytes:
    if size <= 0:
        return b""
    return os.pread(fd, size, at)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
