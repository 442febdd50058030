"""Structured logs: one JSON object a line, a constant message, an ``action`` and ids as fields.

Log with ``logs.get("executor").info("A slot is ready", extra={"action": "slot_ready", "slot": 3})``.
User code, tokens and program output never go into a log.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """A record as one JSON object; whatever came by ``extra`` stands beside it."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, object] = {
            "time": round(record.created, 6),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({k: v for k, v in vars(record).items() if k not in _STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def get(name: str) -> logging.Logger:
    """The logger of one part of Accord."""
    return logging.getLogger(f"accord.{name}")


def set_up(service: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Send all logs of this process to ``stream`` (stderr) as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def quiet() -> None:
    """Send logs nowhere: what a library has to say is not for a command line's reader."""
    logging.getLogger().handlers[:] = [logging.NullHandler()]
