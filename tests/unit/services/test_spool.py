"""The spool keeps what was put, over a crash at any moment, and survives what it cannot read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from accord.core.errors import Corrupt, Invalid
from accord.core.ids import Digest, SessionId, TaskId
from accord.core.replica import Content
from accord.ports.judicator import Finished
from accord.services.spool import Spool, decode_entry
from tests.builders import a_result, a_step_result, a_task_id


def a_finished(number: int = 1, replica: int = 0) -> Finished:
    return Finished(task=a_task_id(number), number=replica, session=SessionId("s1"), end=a_result())


def with_file(spool: Spool, data: bytes) -> tuple[Finished, dict[Digest, Path]]:
    finished = a_finished()
    digest = Digest(hashlib.sha256(data).hexdigest())
    path = spool.folder((finished.task, 0)) / "stdout"
    path.parent.mkdir()
    path.write_bytes(data)
    step = a_step_result()
    step = type(step)(exit_code=0, stdout=Content(digest=digest, size=len(data)))
    end = type(a_result())(verdict=a_result().verdict, execute=step)
    return Finished(task=finished.task, number=0, session=finished.session, end=end), {digest: path}


def test_what_was_put_is_there_after_a_restart(tmp_path):
    spool = Spool(tmp_path / "spool")
    spool.put(a_finished(2), {})
    spool.put(a_finished(1), {})
    restored = Spool(tmp_path / "spool").restore()
    assert [entry.finished for entry in restored] == [a_finished(1), a_finished(2)]


def test_what_was_removed_is_gone(tmp_path):
    spool = Spool(tmp_path / "spool")
    finished, files = with_file(spool, b"x" * 100_000)
    entry = spool.put(finished, files)
    spool.remove(entry.key)
    spool.remove(entry.key)
    assert Spool(tmp_path / "spool").restore() == []
    assert list((tmp_path / "spool").iterdir()) == []


def test_long_outputs_are_kept_with_their_result(tmp_path):
    spool = Spool(tmp_path / "spool")
    finished, files = with_file(spool, b"y" * 100_000)
    spool.put(finished, files)
    again = Spool(tmp_path / "spool")
    (entry,) = again.restore()
    (name,) = entry.files.values()
    assert again.file(entry.key, name).read_bytes() == b"y" * 100_000


def test_every_torn_prefix_of_an_entry_is_set_aside_and_the_rest_is_delivered(tmp_path):
    spool = Spool(tmp_path / "spool")
    spool.put(a_finished(1), {})
    spool.put(a_finished(2), {})
    torn = tmp_path / "spool" / f"{a_task_id(1)}.0.result"
    whole = torn.read_bytes()
    for length in (0, 5, 40, len(whole) // 2, len(whole) - 1):
        torn.write_bytes(whole[:length])
        restored = Spool(tmp_path / "spool").restore()
        assert [entry.finished for entry in restored] == [a_finished(2)]
        assert (tmp_path / "spool" / "torn" / torn.name).read_bytes() == whole[:length]


def test_a_flipped_bit_is_noticed(tmp_path):
    spool = Spool(tmp_path / "spool")
    spool.put(a_finished(), {})
    data = bytearray((tmp_path / "spool" / f"{a_task_id(1)}.0.result").read_bytes())
    data[-3] ^= 1
    with pytest.raises(Corrupt):
        decode_entry(bytes(data))


def test_an_entry_whose_file_is_missing_is_set_aside(tmp_path):
    spool = Spool(tmp_path / "spool")
    finished, files = with_file(spool, b"z" * 100_000)
    spool.put(finished, files)
    for path in files.values():
        path.unlink()
    assert Spool(tmp_path / "spool").restore() == []


def test_what_a_killed_run_left_is_cleared(tmp_path):
    spool = Spool(tmp_path / "spool")
    folder = spool.folder((a_task_id(5), 0))
    folder.mkdir()
    (folder / "stdout").write_bytes(b"half")
    (tmp_path / "spool" / f"{a_task_id(6)}.0.new").write_bytes(b"half")
    assert Spool(tmp_path / "spool").restore() == []
    assert list((tmp_path / "spool").iterdir()) == []


def test_torn_entries_do_not_pile_up(tmp_path):
    spool = Spool(tmp_path / "spool")
    for number in range(30):
        (tmp_path / "spool" / f"{a_task_id(number)}.0.result").write_bytes(b"?")
    assert spool.restore() == []
    assert len(list((tmp_path / "spool" / "torn").iterdir())) == 20


def test_it_is_full_by_count_and_by_bytes(tmp_path):
    few = Spool(tmp_path / "few", max_entries=1)
    before = few.full
    few.put(a_finished(), {})
    assert (before, few.full) == (False, True)
    assert Spool(tmp_path / "few", max_entries=1).restore()
    small = Spool(tmp_path / "small", max_bytes=50_000)
    finished, files = with_file(small, b"x" * 60_000)
    entry = small.put(finished, files)
    before = small.full
    small.remove(entry.key)
    assert (before, small.full) == (True, False)


def test_a_restored_spool_counts_towards_the_bound(tmp_path):
    Spool(tmp_path / "spool").put(a_finished(), {})
    again = Spool(tmp_path / "spool", max_entries=1)
    again.restore()
    assert again.full


@pytest.mark.parametrize("id_", ["../../etc", "", "short", "01ARZ3NDEKTSV4RRFFQ69G5FA/"])
def test_an_id_never_names_a_path_elsewhere(tmp_path, id_):
    with pytest.raises(Invalid):
        Spool(tmp_path / "spool").folder((TaskId(id_), 0))
