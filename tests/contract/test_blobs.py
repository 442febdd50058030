"""The blob stores keep the port's contract; then what only files can get wrong."""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from accord.adapters.embedded import FileBlobs
from accord.adapters.memory import MemoryBlobs
from accord.core.errors import Unavailable
from accord.core.ids import Digest
from accord.testing.blobs_suite import GRACE, BlobsSuite, digest_of
from accord.testing.clock import FakeClock


class TestMemoryBlobs(BlobsSuite):
    def open_blobs(self, clock):
        return MemoryBlobs(clock)


class PutFirst(FileBlobs):
    """Another puts the blob again between a sweep's look at it and its removal."""

    @contextmanager
    def _lock(self):
        FileBlobs(self._root, self._clock).put([b"hello"])
        with super()._lock():
            yield


class TestFileBlobs(BlobsSuite):
    def setup_method(self):
        self.folder = Path(tempfile.mkdtemp(prefix="accord-"))
        super().setup_method()

    def teardown_method(self):
        shutil.rmtree(self.folder)

    def open_blobs(self, clock):
        return FileBlobs(self.folder / "blobs", clock)

    def files(self):
        root = self.folder / "blobs"
        return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()} - {"lock"}

    def test_a_blob_is_one_file_in_two_levels_of_directories(self):
        digest = self.put(b"hello")
        self.put(b"hello")
        assert self.files() == {f"{digest[:2]}/{digest[2:4]}/{digest}"}

    def test_an_iterator_that_raises_leaves_no_file(self):
        def broken():
            yield b"hello"
            raise InterruptedError

        with pytest.raises(InterruptedError):
            self.blobs.put(broken())
        assert self.files() == set()

    def test_remains_of_a_dead_put_go_after_the_grace(self):
        remains = self.folder / "blobs" / "tmp" / "left"
        remains.write_bytes(b"half of it")
        os.utime(remains, (self.clock.now(), self.clock.now()))
        self.blobs.sweep([], self.clock.now() + GRACE, GRACE)
        assert self.files() == {"tmp/left"}
        self.blobs.sweep([], self.clock.now() + GRACE + 1, GRACE)
        assert self.files() == set()

    def test_a_put_under_way_keeps_its_temporary_file_however_old_it_is(self):
        def chunks():
            yield b"slow "
            for path in (self.folder / "blobs" / "tmp").iterdir():
                os.utime(path, (0, 0))
            other = FileBlobs(self.folder / "blobs", self.clock)
            assert other.sweep([], self.clock.now(), GRACE) == 0
            assert len(self.files()) == 1
            yield b"upload"

        digest, _ = self.blobs.put(chunks())
        assert self.blobs.size(digest) == len(b"slow upload")

    def test_a_blob_that_is_renewed_before_it_can_be_removed_is_kept(self):
        digest = self.put(b"hello")
        self.clock.advance(GRACE + 1)
        late = PutFirst(self.folder / "blobs", self.clock)
        assert late.sweep([], self.clock.now(), GRACE) == 0
        assert self.blobs.size(digest) == 5

    def test_strange_files_are_left_alone(self):
        strange = self.folder / "blobs" / "README"
        strange.write_bytes(b"")
        self.blobs.sweep([], self.clock.now() + 9 * GRACE, GRACE)
        assert self.files() == {"README"}

    def test_blobs_are_there_after_a_restart(self):
        digest = self.put(b"hello")
        again = FileBlobs(self.folder / "blobs", FakeClock())
        assert b"".join(again.read(digest)) == b"hello"

    def test_a_disk_that_takes_no_more_is_told_as_unavailable(self):
        code = """
import resource, signal, sys
from pathlib import Path
from accord.adapters.embedded import FileBlobs
from accord.adapters.system import SystemClock
from accord.core.errors import Unavailable
from accord.core.ids import Digest
blobs = FileBlobs(Path(sys.argv[1]), SystemClock())
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    blobs.put([b"x" * 5000])
except Unavailable as error:
    print(error)
"""
        command = [sys.executable, "-c", code, str(self.folder / "blobs")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == "The blob store cannot write: File too large.\n"
        assert self.files() == set()

    def test_errors_of_whoever_gives_the_chunks_stay_what_they_are(self):
        def unreadable():
            yield b"hello"
            raise PermissionError(13, "Permission denied")

        with pytest.raises(PermissionError):
            self.blobs.put(unreadable())
        assert not issubclass(PermissionError, Unavailable)

    def test_a_killed_writer_leaves_whole_blobs_only(self):
        code = """
import sys
from pathlib import Path
from accord.adapters.embedded import FileBlobs
from accord.adapters.system import SystemClock
blobs = FileBlobs(Path(sys.argv[1]), SystemClock())
for number in range(1_000_000):
    digest, _ = blobs.put([b"%d " % number * 1000] * 20)
    print(digest, flush=True)
"""
        command = [sys.executable, "-c", code, str(self.folder / "blobs")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout
            told = [writer.stdout.readline().strip() for _ in range(20)]
            writer.kill()
            told += writer.stdout.read().split("\n")[:-1]
        assert len(told) >= 20
        for digest in told:
            assert digest_of(b"".join(self.blobs.read(Digest(digest)))) == digest
        for path in self.files():
            if not path.startswith("tmp/"):
                data = (self.folder / "blobs" / path).read_bytes()
                assert digest_of(data) == Path(path).name
