"""Assimilators that come with Accord, and those that other packages register.

``keep`` is not here: it calls nobody.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO

import msgspec

from accord import logs
from accord.core import ids
from accord.core.errors import Invalid
from accord.ports.assimilator import Assimilator, Ending

GROUP = "accord.assimilators"

_log = logs.get("judicator")


class Append:
    """Appends the line of results of each task to a file of JSON lines of its user.

    The option ``file`` names it; without it there is one file for each batch, and one for all
    tasks without. A line carries the ``token`` of its task's end: of two lines with the same token,
    which a crash can leave, one is to be passed over. Likewise one that is no JSON, being torn.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def check(self, options: Mapping[str, str]) -> None:
        """Raise Invalid for another option, or a name that could lead elsewhere."""
        for option in options:
            if option != "file":
                raise Invalid(
                    f"The assimilator append has no option {option!r}; there is 'file'.",
                    field="assimilate.options",
                )
        if "file" in options:
            ids.name(options["file"], "assimilate.options.file")

    def assimilate(self, ending: Ending) -> None:
        """Append the line; durable on return."""
        line = msgspec.json.encode({"token": ending.token, **ending.result}) + b"\n"
        path = self._path(ending)
        with self._lock:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a+b") as file:
                file.write(b"\n" + line if _is_torn(file) else line)
                file.flush()
                os.fsync(file.fileno())

    def _path(self, ending: Ending) -> Path:
        task = ending.task
        name = ending.options.get("file") or task.batch or task.finishes or "tasks"
        return self._folder / task.user / f"{name}.jsonl"


def _is_torn(file: IO[bytes]) -> bool:
    """Whether the last line has no end, as when the disk was full or the machine died."""
    if not file.seek(0, os.SEEK_END):
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def assimilators(folder: Path) -> dict[str, Assimilator]:
    """All that there are, by name; ``folder`` is where ours keep what they write.

    One that cannot be loaded is left out and said so: the others must go on.
    """
    found: dict[str, Assimilator] = {"append": Append(folder)}
    for entry in entry_points(group=GROUP):
        try:
            found[entry.name] = entry.load()()
        except Exception:  # noqa: BLE001  # a stranger's package may fail in any way
            extra = {"action": "assimilator_missing", "name_": entry.name, "from": entry.value}
            _log.exception("An assimilator could not be loaded", extra=extra)
    return found
