"""What an executor is on its machine: one key, one lock, one name."""

from __future__ import annotations

import stat

import pytest

from accord.config import ExecutorSettings
from accord.core.errors import Corrupt, Invalid, NameTaken
from accord.core.executor import Isolation
from accord.core.ids import SessionId
from accord.services import machine
from accord.testing.clock import FakeIds


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path):
    ids = FakeIds()
    first = machine.instance_key(tmp_path, ids)
    assert machine.instance_key(tmp_path, ids) == first
    assert stat.S_IMODE((tmp_path / "instance_key").stat().st_mode) == 0o600


def test_a_crash_while_the_key_was_made_leaves_no_half_of_it(tmp_path):
    (tmp_path / "instance_key.new").write_text("ha")
    assert machine.instance_key(tmp_path, FakeIds()) != "ha"


def test_an_empty_key_is_told_with_what_to_do(tmp_path):
    (tmp_path / "instance_key").write_text("")
    with pytest.raises(Corrupt, match="Remove it"):
        machine.instance_key(tmp_path, FakeIds())


def test_a_directory_serves_one_process_at_a_time(tmp_path):
    first, second = machine.DirectoryLock(tmp_path), machine.DirectoryLock(tmp_path)
    first.acquire()
    with pytest.raises(NameTaken, match="Another executor runs on"):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_the_name_is_the_configured_one_else_the_host_s(monkeypatch):
    assert machine.executor_name(ExecutorSettings(name="one")) == "one"
    monkeypatch.setattr("socket.gethostname", lambda: "host-7")
    assert machine.executor_name(ExecutorSettings()) == "host-7"
    monkeypatch.setattr("socket.gethostname", lambda: "_bad name_")
    assert machine.executor_name(ExecutorSettings()) == "executor"
    with pytest.raises(Invalid, match=r"executor\.name"):
        machine.executor_name(ExecutorSettings(name="no good"))


def test_the_benchmark_is_the_configured_one_else_measured_once():
    def told(**settings):
        return machine.executor_info(
            ExecutorSettings(name="one", **settings),
            key="k",
            session=SessionId("s"),
            languages={},
            isolation=Isolation(level="bwrap+cgv2"),
        ).benchmark

    assert told(benchmark=3.5) == 3.5
    assert 0.01 < told() < 100
    assert told() == told() == machine.measured()


def test_what_it_says_of_itself_is_of_this_machine():
    info = machine.executor_info(
        ExecutorSettings(name="one", slots=3, tags=("gpu",), owner="me"),
        key="k",
        session=SessionId("s"),
        languages={"c": "gcc 12"},
        isolation=Isolation(level="bwrap+cgv2"),
    )
    assert (info.name, info.slots, info.tags, info.owner) == ("one", 3, ("gpu",), "me")
    assert info.cores >= 1
    assert info.memory > 64 << 20
    assert "Linux" in info.os
    assert info.cpu
    assert info.version
    assert machine.slots(ExecutorSettings()) == machine.cores()
