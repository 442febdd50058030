"""Logs are JSON lines with their fields, and a log file is bounded."""

import json
import logging

import pytest

from accord import logs


@pytest.fixture
def restored():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    yield
    logs.quiet()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_what_came_by_extra_stands_beside_the_message(tmp_path, restored):
    logs.set_up("boot", "info", tmp_path / "boot.log")
    logs.get("boot").info("A service is ready", extra={"action": "ready", "which": "gateway"})
    line = json.loads((tmp_path / "boot.log").read_text(encoding="utf-8"))
    assert (line["service"], line["level"], line["message"]) == (
        "boot",
        "info",
        "A service is ready",
    )
    assert (line["action"], line["which"]) == ("ready", "gateway")


def test_a_log_file_that_is_full_is_set_aside(tmp_path, restored, monkeypatch):
    monkeypatch.setattr(logs, "_LARGEST", 2000)
    logs.set_up("boot", "info", tmp_path / "boot.log")
    for number in range(200):
        logs.get("boot").info("A line", extra={"number": number})
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["boot.log", "boot.log.1", "boot.log.2", "boot.log.3"]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    assert '"number": 199' in (tmp_path / "boot.log").read_text(encoding="utf-8")
