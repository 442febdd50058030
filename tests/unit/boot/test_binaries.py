"""Which etcd and which mongod are run."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from accord.boot.binaries import ETCD, MONGOD, find
from accord.core.errors import Unavailable


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A PATH of one folder, which holds an etcd."""
    program = tmp_path / "etcd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_a_setting_wins_over_path(folder):
    assert find(ETCD, sys.executable) == folder.__class__(sys.executable)


def test_a_setting_that_is_no_program_is_told(folder):
    with pytest.raises(Unavailable, match=r"etcd\.program is .*/nothing, which is no program"):
        find(ETCD, str(folder / "nothing"))


def test_path_comes_before_the_wheel(folder):
    assert find(ETCD) == folder / "etcd"


def test_wrappers_beside_the_interpreter_are_passed_over(folder, monkeypatch):
    beside = folder / "bin"
    beside.mkdir()
    (folder / "etcd").rename(beside / "etcd")
    monkeypatch.setenv("PATH", str(beside))
    monkeypatch.setattr(sys, "prefix", str(folder))
    nowhere = msgspec.structs.replace(ETCD, module="no_such.module")
    with pytest.raises(Unavailable):
        find(nowhere)


def test_without_any_it_is_told_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    nowhere = msgspec.structs.replace(MONGOD, module="no_such_module")
    with pytest.raises(Unavailable, match=r"Install mongodb-org-server.*set mongodb\.program"):
        find(nowhere)


@pytest.mark.parametrize("program", [ETCD, MONGOD], ids=lambda program: program.name)
def test_what_is_found_here_runs(program):
    said = subprocess.run([find(program), "--version"], capture_output=True, text=True, check=True)
    assert program.name.removesuffix("od") in said.stdout.lower() or "db version" in said.stdout
