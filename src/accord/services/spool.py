"""Finished results on disk, from the end of a run until a judicator says that they are stored.

An entry is one file, ``TASK.NUMBER.result``: a mark, the SHA-256 of the rest, and the result. It is
written beside and renamed, after the files that it refers to (long streams, kept files) were synced
in the folder ``TASK.NUMBER/``. So an executor that dies, however it dies, leaves either a whole entry
or none. Entries themselves are not synced: a machine that loses its power may lose the results of its last
seconds, or keep a part of one, and nobody was told that they are safe. A torn entry is moved to
``torn/`` and told, and its replica, like one without an entry, runs again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from accord import logs
from accord.core import documents
from accord.core.errors import Corrupt, Invalid
from accord.core.ids import Digest, TaskId, task_id
from accord.ports.judicator import Finished

_MARK = b"ACCORD-RESULT-1\n"
_SUFFIX = ".result"
_BESIDE = ".new"
_TORN_KEPT = 20
"""Torn entries that are kept for a person to look at; the oldest go."""

Key = tuple[TaskId, int]
"""A replica: its task and its number."""

_log = logs.get("executor.spool")


class Spooled(msgspec.Struct, frozen=True, kw_only=True):
    """An entry: the result, and the names of the files that hold its blobs."""

    finished: Finished
    files: Mapping[Digest, str] = {}
    """By digest, the file's name in the replica's folder."""
    size: int = 0
    """Bytes of these files."""

    @property
    def key(self) -> Key:
        """The replica whose end this is."""
        return self.finished.task, self.finished.number


class Spool:
    """The folder of finished results. Every method may be called from any thread.

    It is bounded by ``full``: whoever asks for work must not ask for more while it is.
    """

    def __init__(self, root: Path, max_entries: int = 1_000, max_bytes: int = 2 << 30) -> None:
        self._root = root
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._sizes: dict[Key, int] = {}
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def full(self) -> bool:
        """Whether there are so many results that no more work should be taken."""
        with self._lock:
            many = len(self._sizes) >= self._max_entries
            return many or sum(self._sizes.values()) >= self._max_bytes

    def folder(self, key: Key) -> Path:
        """Where the files of a replica lie while it runs and until it is stored. Raises Invalid
        for an id that is none (it would name a path elsewhere).
        """
        return self._root / _stem(key)

    def put(self, finished: Finished, files: Mapping[Digest, Path]) -> Spooled:
        """Keep a result, through the death of this process. The files lie in the replica's folder,
        synced.

        Raises OSError where the disk does not take it.
        """
        names = {digest: path.name for digest, path in files.items()}
        size = sum(path.stat().st_size for path in files.values())
        entry = Spooled(finished=finished, files=names, size=size)
        if names:
            _sync(self.folder(entry.key))
        self._write(self._entry(entry.key), documents.encode(entry))
        with self._lock:
            self._sizes[entry.key] = size
        return entry

    def restore(self) -> list[Spooled]:
        """The entries that an earlier process left, oldest task first. What belongs to none of
        them is removed; to be called once, before anything runs.
        """
        found = [entry for path in sorted(self._root.iterdir()) if (entry := self._restored(path))]
        kept = {_stem(entry.key) for entry in found}
        for path in self._root.iterdir():
            if path.is_dir() and path.name not in kept and path.name != "torn":
                _remove_tree(path)
        with self._lock:
            self._sizes = {entry.key: entry.size for entry in found}
        return found

    def file(self, key: Key, name: str) -> Path:
        """The file of that name that a restored or kept entry refers to."""
        return self.folder(key) / Path(name).name

    def remove(self, key: Key) -> None:
        """Forget a replica and its files; nothing where there are none. Not synced: what comes
        back after a crash is told to the judicator once more, which does no harm.
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._entry(key))  # noqa: PTH108  # for each result
        self.drop_files(key)
        with self._lock:
            self._sizes.pop(key, None)

    def drop_files(self, key: Key) -> None:
        """Remove the files of a replica that will not be spooled, or was removed."""
        folder = f"{self._root}/{_stem(key)}"
        if os.path.lexists(folder):  # asked twice for each result
            _remove_tree(Path(folder))

    def set_aside(self, key: Key) -> None:
        """Move a damaged entry to ``torn/`` and forget its files."""
        self._set_aside(Path(self._entry(key)))
        self.drop_files(key)
        with self._lock:
            self._sizes.pop(key, None)

    def _entry(self, key: Key) -> str:
        return f"{self._root}/{_stem(key)}{_SUFFIX}"

    def _write(self, path: str, payload: bytes) -> None:
        beside = f"{path}{_BESIDE}"
        with open(beside, "wb") as file:  # noqa: PTH123  # pathlib's costs as much as the write
            file.write(_MARK + hashlib.sha256(payload).digest() + payload)
        os.rename(beside, path)  # noqa: PTH104  # as above

    def _restored(self, path: Path) -> Spooled | None:
        if path.name.endswith(_BESIDE):
            path.unlink(missing_ok=True)  # its rename never came, so nobody was promised anything
        if path.suffix != _SUFFIX:
            return None
        try:
            return self._read(path)
        except (Corrupt, OSError) as error:
            _log.exception(
                "A spooled result cannot be read and is set aside; its replica will run again",
                extra={"action": "spool_torn", "entry": path.name, "why": str(error)},
            )
            self._set_aside(path)
            return None

    def _read(self, path: Path) -> Spooled:
        entry = decode_entry(path.read_bytes())
        if self._entry(entry.key) != str(path):
            raise Corrupt(f"The entry is of another replica than {path.name} says.")
        for name in entry.files.values():
            if not self.file(entry.key, name).is_file():
                raise Corrupt(f"Its file {name} is missing.")
        return entry

    def _set_aside(self, path: Path) -> None:
        torn = self._root / "torn"
        try:
            torn.mkdir(mode=0o700, exist_ok=True)
            path.rename(torn / path.name)
            for old in sorted(torn.iterdir(), key=lambda p: p.stat().st_mtime)[:-_TORN_KEPT]:
                old.unlink(missing_ok=True)
        except OSError as error:
            _log.warning(
                "A torn entry could not be set aside",
                extra={"action": "spool_torn_kept", "entry": path.name, "why": str(error)},
            )


def decode_entry(data: bytes) -> Spooled:
    """The entry that a file holds. Raises Corrupt for anything but what ``put`` wrote.

    >>> decode_entry(b"")
    Traceback (most recent call last):
    accord.core.errors.Corrupt: The entry is torn: its checksum does not match.
    """
    head = len(_MARK)
    digest, payload = data[head : head + 32], data[head + 32 :]
    if data[:head] != _MARK or hashlib.sha256(payload).digest() != digest:
        raise Corrupt("The entry is torn: its checksum does not match.")
    entry = documents.decode(payload, Spooled)
    try:
        _stem(entry.key)
    except Invalid as error:
        raise Corrupt(error.message) from error
    return entry


def chunks_of(path: Path, size: int) -> Iterator[bytes]:
    """The file's bytes in pieces of ``size``. Raises OSError at the first piece."""
    with path.open("rb") as file:
        while piece := file.read(size):
            yield piece


def _stem(key: Key) -> str:
    checked = task_id(key[0])
    if checked is None:
        raise Invalid(f"{key[0]!r} is no id of a task.", field="task")
    return f"{checked}.{key[1]}"


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove_tree(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        _log.warning(
            "Files of a replica could not be removed; the next start tries again",
            extra={"action": "spool_leftover", "folder": folder.name, "why": str(error)},
        )
