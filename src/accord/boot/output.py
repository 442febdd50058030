"""What a child prints becomes its log: JSON lines pass as they are, others are wrapped.

Nothing is guessed from a line's text; a raw line has no level. One line is not copied whole: where
a request's variables do not fit into its packet uWSGI prints them, and they may be a program that
somebody sends, or a token.
"""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import IO

from accord.ports.clock import Clock

LARGEST_LINE = 64 * 1024
_SPILT = re.compile(rb"(unable to add [A-Z0-9_]+)=")


class RotatingLog:
    """A log of bounded size: beyond ``size`` bytes it becomes ``.1``, ``.1`` becomes ``.2``."""

    def __init__(self, path: Path, size: int = 16 << 20, keep: int = 3) -> None:
        self._path = path
        self._size = size
        self._keep = keep
        self._lock = threading.Lock()
        self._file = path.open("ab", buffering=0)

    def write(self, line: bytes) -> None:
        """Append a line, given without its end."""
        with self._lock:
            if self._file.closed:
                return
            if self._file.tell() + len(line) >= self._size:
                self._rotate()
            self._file.write(line + b"\n")

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))
        self._file = self._path.open("ab", buffering=0)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def close(self) -> None:
        """Close the file; later lines are dropped. May be called twice."""
        with self._lock:
            self._file.close()


def as_json(line: bytes, service: str, now: float) -> bytes:
    """The line itself where it is a JSON object, else one that holds it.

    >>> as_json(b'{"message": "hello"}', "gateway", 1.0)
    b'{"message": "hello"}'
    >>> as_json(b"ERROR or not", "gateway", 1.0)
    b'{"time": 1.0, "service": "gateway", "raw": "ERROR or not"}'
    """
    if _is_json_object(line):
        return line
    text = line.decode("utf-8", errors="replace")
    return json.dumps({"time": now, "service": service, "raw": text}, ensure_ascii=False).encode()


def _is_json_object(line: bytes) -> bool:
    try:
        return line.startswith(b"{") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def withhold(line: bytes) -> bytes:
    """The line without what a user sent, where it holds such.

    >>> withhold(b"[WARNING] unable to add QUERY_STRING=code=print(1) to uwsgi packet")
    b'[WARNING] unable to add QUERY_STRING'
    >>> withhold(b"ready")
    b'ready'
    """
    found = _SPILT.search(line)
    return line[: found.end(1)] if found and not line.startswith(b"{") else line


def pump(stream: IO[bytes], log: RotatingLog, service: str, clock: Clock) -> None:
    """Copy lines until the stream ends."""
    withheld = False
    while line := stream.readline(LARGEST_LINE):
        ended = line.endswith(b"\n")
        if withheld:  # the rest of a line that was too long to be read at once
            withheld = not ended
            continue
        text = line.rstrip(b"\r\n")
        if text:
            kept = withhold(text)
            withheld = kept != text and not ended
            log.write(as_json(kept, service, round(clock.now(), 6)))
