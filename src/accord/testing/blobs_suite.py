"""What every blob store must do: one test for each sentence of ``ports.blobs.Blobs``.

Subclass ``BlobsSuite`` and say in ``open_blobs`` how a new, empty one is made.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from functools import partial

from accord.core.errors import Invalid, NotFound
from accord.core.ids import Digest
from accord.ports.blobs import Blobs
from accord.ports.clock import Clock
from accord.testing.clock import FakeClock
from accord.testing.together import in_background, together

MIB = 1 << 20
GRACE = 3600.0


def digest_of(data: bytes) -> Digest:
    """The digest that a blob of these bytes has."""
    return Digest(hashlib.sha256(data).hexdigest())


class BlobsSuite:
    """See the module's docstring."""

    clock: FakeClock
    blobs: Blobs

    def open_blobs(self, clock: Clock) -> Blobs:
        """A new, empty blob store."""
        raise NotImplementedError(f"{type(self).__name__} must say how a blob store is made")

    def setup_method(self) -> None:
        """Open a blob store for each test."""
        self.clock = FakeClock()
        self.blobs = self.open_blobs(self.clock)

    def put(self, data: bytes) -> Digest:
        """Store some bytes; their digest."""
        return self.blobs.put([data])[0]

    def is_there(self, digest: Digest) -> bool:
        """Whether there is such a blob."""
        return self.blobs.size(digest) is not None

    # -- put and read --------------------------------------------------------------------

    def test_put_returns_digest_and_size(self) -> None:
        assert self.blobs.put([b"hel", b"", b"lo"]) == (digest_of(b"hello"), 5)
        assert self.blobs.put([]) == (digest_of(b""), 0)

    def test_what_was_put_is_read(self) -> None:
        assert b"".join(self.blobs.read(self.put(b"\x00\xffhello"))) == b"\x00\xffhello"
        assert b"".join(self.blobs.read(self.put(b""))) == b""

    def test_put_takes_an_iterator_of_any_length(self) -> None:
        pieces = (bytes([n % 256]) * 1000 for n in range(3000))
        digest, size = self.blobs.put(pieces)
        assert size == 3_000_000
        assert digest_of(b"".join(self.blobs.read(digest))) == digest

    def test_read_gives_a_part(self) -> None:
        digest = self.put(b"0123456789")
        parts = [(2, 3), (8, 9), (10, 1), (99, 1), (3, 0), (7, None)]
        read = [b"".join(self.blobs.read(digest, start, size)) for start, size in parts]
        assert read == [b"234", b"89", b"", b"", b"", b"789"]

    def test_read_gives_chunks_of_at_most_a_mebibyte(self) -> None:
        data = b"ab" * (3 * MIB // 2) + b"c"
        chunks = list(self.blobs.read(self.put(data)))
        assert max(map(len, chunks)) <= MIB
        assert b"".join(chunks) == data

    def test_a_read_that_is_not_finished_does_no_harm(self) -> None:
        digest = self.put(b"x" * (2 * MIB))
        assert next(iter(self.blobs.read(digest)))[:1] == b"x"
        self.blobs.read(digest)
        assert self.is_there(digest)

    def test_read_raises_not_found_at_the_call(self) -> None:
        assert _raised(NotFound, partial(self.blobs.read, digest_of(b"never")))

    def test_size_is_that_of_the_blob_or_none(self) -> None:
        assert self.blobs.size(self.put(b"hello")) == 5
        assert self.blobs.size(digest_of(b"never")) is None

    def test_what_is_no_digest_is_refused(self) -> None:
        for name in ("", "../../etc/passwd", "a" * 63, "A" * 64, "a" * 64 + "\n", "g" * 64):
            assert _raised(Invalid, partial(self.blobs.read, Digest(name)))
            assert _raised(Invalid, partial(self.blobs.size, Digest(name)))

    def test_where_the_iterator_raises_nothing_is_left_behind(self) -> None:
        def broken() -> Iterator[bytes]:
            yield b"hello"
            raise InterruptedError("the upload broke off")

        assert _raised(InterruptedError, lambda: self.blobs.put(broken()))
        assert not self.is_there(digest_of(b"hello"))
        assert self.blobs.sweep([], self.clock.now() + 9 * GRACE, GRACE) == 0

    def test_storing_what_is_there_already_changes_nothing(self) -> None:
        assert self.blobs.put([b"hello"]) == self.blobs.put([b"he", b"llo"])
        assert b"".join(self.blobs.read(digest_of(b"hello"))) == b"hello"

    def test_many_put_the_same_and_others_at_once(self) -> None:
        datas = [b"same"] * 6 + [b"other %d" % n for n in range(6)]
        assert together([partial(self.put, d) for d in datas]) == [digest_of(d) for d in datas]
        assert [b"".join(self.blobs.read(digest_of(d))) for d in datas] == datas

    # -- sweep ---------------------------------------------------------------------------

    def test_sweep_removes_what_is_old_and_not_marked(self) -> None:
        marked, unmarked = self.put(b"marked"), self.put(b"unmarked")
        self.clock.advance(GRACE + 1)
        young = self.put(b"young")
        assert self.blobs.sweep([marked], self.clock.now(), GRACE) == 1
        assert [self.is_there(d) for d in (marked, unmarked, young)] == [True, False, True]
        assert _raised(NotFound, partial(self.blobs.read, unmarked))
        assert self.blobs.sweep([marked], self.clock.now(), GRACE) == 0

    def test_sweep_keeps_what_is_exactly_as_old_as_the_grace(self) -> None:
        digest = self.put(b"hello")
        self.clock.advance(GRACE)
        assert self.blobs.sweep([], self.clock.now(), GRACE) == 0
        assert self.is_there(digest)

    def test_putting_again_renews_the_grace(self) -> None:
        digest = self.put(b"hello")
        self.clock.advance(GRACE)
        self.put(b"hello")
        self.clock.advance(GRACE)
        assert self.blobs.sweep([], self.clock.now(), GRACE) == 0
        self.clock.advance(1)
        assert self.blobs.sweep([], self.clock.now(), GRACE) == 1
        assert not self.is_there(digest)

    def test_what_was_swept_can_be_put_again(self) -> None:
        digest = self.put(b"hello")
        self.clock.advance(GRACE + 1)
        self.blobs.sweep([], self.clock.now(), GRACE)
        assert self.put(b"hello") == digest
        assert b"".join(self.blobs.read(digest)) == b"hello"

    def test_marks_are_read_wholly_before_anything_is_removed(self) -> None:
        first, last = self.put(b"first"), self.put(b"last")
        self.clock.advance(GRACE + 1)

        def marks() -> Iterator[Digest]:
            yield first
            assert self.is_there(last)
            yield last

        assert self.blobs.sweep(marks(), self.clock.now(), GRACE) == 0

    def test_where_reading_the_marks_fails_nothing_is_removed(self) -> None:
        digest = self.put(b"hello")
        self.clock.advance(GRACE + 1)

        def marks() -> Iterator[Digest]:
            yield digest_of(b"other")
            raise InterruptedError("the store is gone")

        sweep = partial(self.blobs.sweep, marks(), self.clock.now(), GRACE)
        assert _raised(InterruptedError, sweep)
        assert self.is_there(digest)

    def test_a_put_that_ends_during_the_sweep_is_kept(self) -> None:
        old = self.put(b"old")
        self.clock.advance(GRACE + 1)

        def marks() -> Iterator[Digest]:
            self.put(b"old")
            self.put(b"new")
            yield digest_of(b"other")

        assert self.blobs.sweep(marks(), self.clock.now(), GRACE) == 0
        assert self.is_there(old)
        assert self.is_there(digest_of(b"new"))

    def test_a_put_that_is_under_way_is_not_swept(self) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def chunks() -> Iterator[bytes]:
            yield b"slow "
            begun.set()
            go_on.wait()
            yield b"upload"

        upload = in_background(lambda: self.blobs.put(chunks()))
        begun.wait()
        self.clock.advance(100 * GRACE)
        self.blobs.sweep([], self.clock.now(), GRACE)
        go_on.set()
        digest, _ = upload()
        assert b"".join(self.blobs.read(digest)) == b"slow upload"
        assert self.blobs.sweep([], self.clock.now(), GRACE) == 0

    def test_what_is_put_while_sweeps_run_is_there(self) -> None:
        """An old blob is put again and swept at the same time, often: it must be there after."""
        for n in range(30):
            data = b"blob %d" % n
            self.put(data)
            self.clock.advance(GRACE + 1)
            sweep: Callable[[], object] = partial(self.blobs.sweep, [], self.clock.now(), GRACE)
            put: Callable[[], object] = partial(self.put, data)
            together([sweep, put, put, sweep])
            assert b"".join(self.blobs.read(digest_of(data))) == data


def _raised(kind: type[BaseException], call: Callable[[], object]) -> bool:
    try:
        call()
    except kind:
        return True
    return False
