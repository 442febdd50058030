"""Files below a folder that strangers' programs have had in their hands.

Every component is opened by itself, from the descriptor of the one before, and never through a
symbolic link: what a program planted there cannot lead out (CVE-2024-28185 and its kin).
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST = 128
"""Folders; a program may nest them deeper, we then pass over what is below."""
_LONGEST = 4095
"""Bytes of a path, as PATH_MAX allows."""


class BadPath(Exception):
    """A path that cannot be used; the message goes on from the path: "… leaves the folder"."""


def parts_of(path: bytes) -> list[bytes]:
    """The components of a relative path. Raises BadPath."""
    if not path:
        raise BadPath("has no name")
    if path.startswith(b"/"):
        raise BadPath("is absolute; give a path below the work directory")
    if b"\0" in path:
        raise BadPath("holds a NUL byte")
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if not parts:
        raise BadPath("has no name")
    if b".." in parts:
        raise BadPath("leaves the folder by ..")
    if len(path) > _LONGEST or any(len(part) > 255 for part in parts):
        raise BadPath("is too long")
    return parts


class Folder:
    """A folder, by its descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def make(self, parts: list[bytes]) -> int:
        """A descriptor of a folder, made with those above it; what is there already stays."""
        return self._enter(parts, make=True)

    def create(self, parts: list[bytes], mode: int) -> int:
        """A descriptor of a new, empty regular file; what had the name is replaced, a folder
        excepted. Raises BadPath, OSError.
        """
        above = self._enter(parts[:-1], make=True)
        try:
            _make_way(parts[-1], above)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(parts[-1], flags, 0o600, dir_fd=above)
            os.fchmod(fd, mode & 0o777)
            return fd
        finally:
            os.close(above)

    def open(self, parts: list[bytes]) -> tuple[int, int]:
        """A descriptor for reading a regular file, and its size. Raises BadPath."""
        above = self._enter(parts[:-1], make=False)
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            fd = os.open(parts[-1], flags, dir_fd=above)
        except OSError as error:
            raise BadPath(f"cannot be opened: {error.strerror}") from error
        finally:
            os.close(above)
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            os.close(fd)
            raise BadPath("is not a regular file")
        return fd, about.st_size

    def walk(self, most: int) -> Iterator[tuple[bytes, int, int]]:
        """Everything below by path, with its size (-1: no regular file) and mode. Stops after
        ``most`` entries; what is in folders that cannot be read is passed over.
        """
        waiting: list[list[bytes]] = [[]]
        while waiting:
            above = waiting.pop()
            try:
                fd = self._enter(above, make=False)
            except BadPath:
                continue
            try:
                with os.scandir(fd) as entries:
                    for entry in entries:
                        most -= 1
                        if most < 0:
                            return
                        parts = [*above, os.fsencode(entry.name)]
                        try:
                            about = entry.stat(follow_symlinks=False)
                        except OSError:  # the folder may be read, but not entered
                            continue
                        size = about.st_size if stat.S_ISREG(about.st_mode) else -1
                        yield b"/".join(parts), size, about.st_mode
                        if stat.S_ISDIR(about.st_mode) and len(parts) <= _DEEPEST:
                            waiting.append(parts)
            finally:
                os.close(fd)

    def _enter(self, parts: list[bytes], *, make: bool) -> int:
        fd = os.dup(self.fd)
        for part in parts:
            try:
                below = _step(fd, part, make=make)
            finally:
                os.close(fd)
            fd = below
        return fd


def _make(fd: int, part: bytes) -> None:
    try:
        os.mkdir(part, 0o755, dir_fd=fd)
    except FileExistsError:
        return


def _step(fd: int, part: bytes, *, make: bool) -> int:
    if make:
        _make(fd, part)
    try:
        return os.open(part, _FOLDER, dir_fd=fd)
    except OSError as error:
        shown = part.decode("utf-8", "replace")
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise BadPath(f"goes through {shown!r}, which is no folder") from error
        raise BadPath(f"goes through {shown!r}: {error.strerror}") from error


def _make_way(name: bytes, above: int) -> None:
    """Unlink what has the name in that folder, where anything has. Raises BadPath, OSError."""
    try:
        os.unlink(name, dir_fd=above)
    except FileNotFoundError:
        return
    except IsADirectoryError as error:
        raise BadPath("is a folder") from error
