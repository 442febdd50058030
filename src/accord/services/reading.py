"""Reading one task, now or when it changes: ``get`` with a wait, and ``follow``."""

from __future__ import annotations

import base64
import binascii

import msgspec

from accord.core.errors import Invalid, NotFound
from accord.core.ids import TaskId
from accord.core.replica import Content, Phase, Replica, ReplicaState
from accord.core.task import Task
from accord.core.view import shown_replica, status_of
from accord.ports.blobs import Blobs
from accord.ports.judicator import News, TaskView
from accord.ports.store import Chunk, Store
from accord.services.watch import Watchers
from accord.services.weight import streams

LONGEST_WAIT = 60.0
"""Seconds for which a reader is held at most."""
PIECE = 64 * 1024
"""Bytes of one stream in one News at most."""
STREAMS = ("compile_stdout", "compile_stderr", "stdout", "stderr")


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """How far a follower has come. Travels as text that says nothing to its bearer."""

    version: int = 0
    """Of the task, as it was shown last."""
    progress: str = ""
    """What its replicas were at, as it was shown last."""
    number: int = -1
    """The replica whose output was given."""
    offsets: dict[str, int] = {}
    """How much of each stream was given."""

    def text(self) -> str:
        """The cursor as it travels."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode()

    @staticmethod
    def parse(text: str) -> Cursor:
        """The cursor that a text spells; of nothing given where it is empty. Raises Invalid.

        >>> Cursor.parse(Cursor(version=3, offsets={"stdout": 7}).text()).offsets
        {'stdout': 7}
        >>> Cursor.parse("").number
        -1
        """
        if not text:
            return Cursor()
        try:
            cursor = msgspec.json.decode(base64.urlsafe_b64decode(text), type=Cursor)
        except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
            raise Invalid("The cursor is not one that was given out.", field="cursor") from error
        if any(offset < 0 for offset in cursor.offsets.values()):
            raise Invalid("The cursor is not one that was given out.", field="cursor")
        return cursor


class Reading:
    """See the module's docstring."""

    def __init__(self, store: Store, blobs: Blobs, watchers: Watchers) -> None:
        self._store = store
        self._blobs = blobs
        self._watchers = watchers

    # -- get -----------------------------------------------------------------------------

    def task(self, id_: TaskId) -> Task:
        """The document. NotFound."""
        found = self._store.get([id_]).get(id_)
        if found is None:
            raise NotFound(f"There is no task {id_}.", id=id_)
        return found

    def view(self, task: Task) -> TaskView:
        """The task with what its replicas in progress are at."""
        phases = self._phases(task)
        return TaskView(task=task, status=status_of(task, phases), phases=phases)

    def _phases(self, task: Task) -> dict[int, Phase]:
        running = {
            r.number: r.session for r in task.replicas if r.state is ReplicaState.IN_PROGRESS
        }
        if not running:
            return {}
        notes = self._store.running(task.id)
        return {
            n: note.phase for n, note in sorted(notes.items()) if running.get(n) == note.session
        }

    def get(self, id_: TaskId, wait: float) -> TaskView:
        """The task, as soon as it is done or after that many seconds. NotFound."""
        if wait <= 0:
            return self.view(self.task(id_))
        with self._watchers.watch(id_, min(wait, LONGEST_WAIT)) as watch:
            while True:
                task = self.task(id_)
                if status_of(task).done or not watch.wait():
                    return self.view(task)

    # -- follow --------------------------------------------------------------------------

    def follow(self, id_: TaskId, cursor: str, wait: float) -> News:
        """What happened since the cursor, or an empty News after that many seconds. NotFound."""
        since = Cursor.parse(cursor)
        with self._watchers.watch(id_, min(max(wait, 0.0), LONGEST_WAIT)) as watch:
            while True:
                news = self._news(self.task(id_), since)
                if news.view or news.chunks or news.done or not watch.wait():
                    return news

    def _news(self, task: Task, since: Cursor) -> News:
        view = self.view(task)
        shown = shown_replica(task)
        number = shown.number if shown else since.number
        given = dict(since.offsets) if number == since.number else {}
        chunks = self._chunks(task, shown, given) if shown else []
        final = view.status.done and not chunks
        progress = " ".join(f"{n}:{phase}" for n, phase in view.phases.items())
        changed = (task.version, progress) != (since.version, since.progress)
        # The final view comes when all output was given, so that whoever stops at it missed none.
        show = changed and (final or not view.status.done)
        for chunk in chunks:
            given[chunk.stream] = chunk.offset + len(chunk.data)
        after = Cursor(
            version=task.version if show else since.version,
            progress=progress if show else since.progress,
            number=number,
            offsets=given,
        )
        return News(
            view=view if show else None, chunks=tuple(chunks), cursor=after.text(), done=final
        )

    def _chunks(self, task: Task, shown: Replica, given: dict[str, int]) -> list[Chunk]:
        """The next piece of each stream. Once there is a result it holds the streams, whole:
        whatever of the live output came late or not at all is read from there.
        """
        stored = streams(shown.result) if shown.result else None
        sizes = {} if stored is not None else self._store.output_sizes(task.id, shown.number)
        chunks = []
        for stream in STREAMS:
            offset = given.get(stream, 0)
            if stored is not None:
                data = self._read(stored.get(stream), offset)
            elif sizes.get(stream, 0) > offset:
                data = self._store.output(task.id, shown.number, stream, offset, PIECE)
            else:
                data = b""
            if data:
                chunks.append(
                    Chunk(
                        task=task.id, number=shown.number, stream=stream, offset=offset, data=data
                    )
                )
        return chunks

    def _read(self, found: Content | None, offset: int) -> bytes:
        if found is None or offset >= found.size:
            return b""
        if found.inline is not None:
            return found.inline[offset : offset + PIECE]
        try:
            return b"".join(self._blobs.read(found.digest, offset, PIECE))
        except NotFound:  # deleted by its age: a follower gets the state without it
            return b""
