"""What a box looks like from within, as arguments of bubblewrap.

Read-only system directories, the little of /etc that programs need, own /proc and /dev, and three
bounded tmpfs: the work directory, /tmp and /dev/shm. Everything else of the host is not there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from accord.core.errors import SandboxError
from accord.ports.sandbox import Mount

WORK = "/box"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INSIDE_ID = 1000
"""The uid and gid that the program sees as its own; outside it is the slot's."""

_TOP = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")
_ETC = (
    "alternatives",
    "ld.so.cache",
    "localtime",
    "ssl/certs",
    "ssl/openssl.cnf",
    "pki",
    "ca-certificates",
    "mime.types",
    "protocols",
    "services",
)
"""What programs look up in /etc; nothing that names the host's users, secrets or network."""

FILES = {
    "/etc/passwd": f"root:x:0:0::/:/bin/sh\nbox:x:{INSIDE_ID}:{INSIDE_ID}::{WORK}:/bin/bash\n",
    "/etc/group": f"root:x:0:\nbox:x:{INSIDE_ID}:\n",
    "/etc/hosts": "127.0.0.1 localhost box\n::1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}

_FORBIDDEN = ("/proc", "/dev", WORK)


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What this bubblewrap on this kernel can do."""

    disable_userns: bool = True


def isolation(features: Features) -> list[str]:
    """The arguments that make it a box."""
    return [
        "--unshare-all",
        "--unshare-user",
        *(["--disable-userns"] if features.disable_userns else []),
        *("--die-with-parent", "--new-session", "--as-pid-1", "--clearenv"),
        *("--cap-drop", "ALL", "--hostname", "box"),
        *("--uid", str(INSIDE_ID), "--gid", str(INSIDE_ID)),
    ]


def system() -> list[str]:
    """The read-only system directories."""
    arguments = ["--dir", "/etc", "--ro-bind", "/usr", "/usr"]
    for name in _TOP:
        path = Path("/", name)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    for name in _ETC:
        if Path("/etc", name).exists():
            arguments += ["--ro-bind", f"/etc/{name}", f"/etc/{name}"]
    return arguments


def resolver() -> dict[str, str]:
    """The file by which a box with network finds names, as the machine has it now."""
    try:
        return {"/etc/resolv.conf": Path("/etc/resolv.conf").read_text()}
    except OSError:  # the machine finds names without it, or not at all
        return {}


def scratch(disk: int) -> list[str]:
    """What can be written: /box, /tmp and /dev/shm, each of at most ``disk`` bytes."""
    size = ["--size", str(disk)]
    return [
        *("--proc", "/proc", "--dev", "/dev"),
        *("--perms", "1777", *size, "--tmpfs", "/dev/shm"),  # noqa: S108 - paths in the box
        *("--mqueue", "/dev/mqueue"),  # where the init sees whether any is left
        *("--remount-ro", "/dev"),  # a tmpfs without a bound otherwise
        *("--perms", "1777", *size, "--tmpfs", "/tmp"),  # noqa: S108
        *("--perms", "0755", *size, "--tmpfs", WORK),
        *("--dir", "/var", "--symlink", "/tmp", "/var/tmp", "--dir", "/run"),  # noqa: S108
        *("--setenv", "PATH", PATH, "--setenv", "LANG", "C.UTF-8"),
    ]


def more(mounts: Sequence[Mount], reached: Callable[[str], str]) -> list[str]:
    """What the administrator shows besides. ``reached`` names where bubblewrap finds a source.

    Raises SandboxError for a mount that cannot be.
    """
    arguments: list[str] = []
    for mount in mounts:
        target = os.path.normpath(mount.target or mount.source)
        _check(mount, target)
        option = "--bind" if mount.writable else "--ro-bind"
        arguments += [option, reached(mount.source), target]
    return arguments


def _check(mount: Mount, target: str) -> None:
    if not mount.source.startswith("/") or not target.startswith("/") or target == "/":
        raise SandboxError(
            f"The mount {mount.source!r} at {target!r} must name absolute paths, and not /. "
            "Change sandbox.mounts."
        )
    own = any(PurePosixPath(target).is_relative_to(path) for path in _FORBIDDEN)
    if own or target == "/tmp":  # noqa: S108 - a path in the box
        raise SandboxError(
            f"The mount {mount.source!r} cannot be shown at {target!r}: that is the box's own. "
            "Change sandbox.mounts."
        )
    if not Path(mount.source).exists():
        raise SandboxError(
            f"The mount {mount.source!r} does not exist on this machine. Change sandbox.mounts."
        )
