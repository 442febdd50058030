"""The data of a finishing task: a zip of the results of all, streamed into the blob store.

It holds ``results.jsonl``, one line a task, and below ``files/INDEX/`` what each task kept. What has
no room is left out, and ``omitted.json`` says how much that was. Nothing of it is ever whole in
memory, save the names of the files that go in.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import IO

import msgspec

from accord.core.batch import Batch
from accord.core.errors import NotFound
from accord.core.ids import TaskId, place
from accord.core.replica import Content
from accord.core.task import Task
from accord.core.view import result_of
from accord.ports.blobs import Blobs
from accord.ports.store import Store
from accord.services.lines import encoded, line_of, read

MOST_FILES = 10_000
"""Kept files in the archive; an executor takes no more than twice that many."""
PAGE = 100
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip can hold, so that the same results make the same bytes."""


class _Drain(io.RawIOBase):
    """A file that can only be written, of which what was written is taken away."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: object) -> int:
        """Take bytes in."""
        piece = bytes(data)  # type: ignore[call-overload]  # any buffer, as the base class has it
        self._pieces.append(piece)
        return len(piece)

    def taken(self) -> bytes:
        """What was written since the last call."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class Archive:
    """The archive of one batch; ``chunks`` is iterated once, ``omitted`` is right after that."""

    def __init__(self, store: Store, blobs: Blobs, batch: Batch, room: int) -> None:
        self._store = store
        self._blobs = blobs
        self._batch = batch
        self._room_for_lines = room // 2
        self._room = room - self._room_for_lines
        """Bytes of files that may still go in. Lines have their own half, whatever comes first."""
        self._files: list[tuple[str, Content]] = []
        self.omitted = 0

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the archive."""
        drain = _Drain()
        with zipfile.ZipFile(drain, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            with archive.open(_entry("results.jsonl"), "w") as lines:
                yield from self._write_lines(lines, drain)
            for name, content in self._files:
                with archive.open(_entry(name), "w") as file:
                    yield from self._copy(content, file, drain)
            if self.omitted:
                told = msgspec.json.encode({"omitted": self.omitted})
                archive.writestr(_entry("omitted.json"), told)
        yield drain.taken()

    def _write_lines(self, lines: IO[bytes], drain: _Drain) -> Iterator[bytes]:
        for task in self._tasks():
            places = self._take_files(task)
            line = encoded(line_of(task, self._blobs, places)) + b"\n"
            if self._room_for_lines < len(line):
                self.omitted += 1
                continue
            self._room_for_lines -= len(line)
            lines.write(line)
            if piece := drain.taken():
                yield piece

    def _tasks(self) -> Iterator[Task]:
        after: TaskId | None = None
        while found := self._store.batch_tasks(self._batch.id, (), after, PAGE):
            yield from found
            after = found[-1].id

    def _take_files(self, task: Task) -> dict[str, str]:
        """Choose what of a task's kept files goes in; where it will lie."""
        result = result_of(task)
        kept = result.kept if result else {}
        places: dict[str, str] = {}
        for path, content in kept.items():
            if len(self._files) >= MOST_FILES or content.size > self._room:
                self.omitted += 1
                continue
            self._room -= content.size
            places[path] = f"files/{place(task.id)[0]}/{path}"
            self._files.append((places[path], content))
        return places

    def _copy(self, content: Content, file: IO[bytes], drain: _Drain) -> Iterator[bytes]:
        try:
            for chunk in read(content, self._blobs):
                file.write(chunk)
                if piece := drain.taken():
                    yield piece
        except NotFound:  # purged since: the archive names it, and it is empty
            self.omitted += 1


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
