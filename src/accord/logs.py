"""Structured logs: one JSON object a line, a constant message, an ``action`` and ids as fields.

Log with ``logs.get("executor").info("A slot is ready", extra={"action": "slot_ready", "slot": 3})``.
User code, tokens and program output never go into a log.
"""

from __future__ import annotations

import json
import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

_LARGEST = 16 << 20
"""Bytes of a log file; then it becomes ``.1``, and so on."""
_KEPT = 3

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


def set_up(service: str, level: str = "info", file: Path | None = None) -> None:
    """Send all logs of this process as JSON lines to stderr, or to a file of bounded size."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if file is not None:
        handler = RotatingFileHandler(file, maxBytes=_LARGEST, backupCount=_KEPT, encoding="utf-8")
    handler.setFormatter(JsonLines(service))
    _replace_handlers(handler)
    logging.getLogger().setLevel(level.upper())


def quiet() -> None:
    """Send logs nowhere: what a library has to say is not for a command line's reader."""
    _replace_handlers(logging.NullHandler())


def _replace_handlers(handler: logging.Handler) -> None:
    root = logging.getLogger()
    former, root.handlers[:] = root.handlers[:], [handler]
    for old in former:
        old.close()
