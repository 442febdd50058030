"""Whether boxes with network are kept from what listens on this machine, and from the judicator.

The judicator's port knows no passwords, and a gateway on the loopback may need no token: a program
that reached either could do anything to the platform. A box with network shares the machine's, so
only a firewall that knows the boxes by their uids can keep it off. Whether there is one is tried,
from such a box, at the executor's start.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence

from accord.config import is_loopback
from accord.core.errors import SandboxError
from accord.core.limits import MIB, Limits
from accord.ports.sandbox import Command, Sandbox
from accord.services.toolchains import environment

PATIENCE = 3.0
"""Seconds for a connection: a firewall may just drop what it does not let through."""
_LIMITS = Limits(wall=120.0, memory=512 * MIB)
_PROGRAM = """
import socket, sys
for address in sys.argv[2:]:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), float(sys.argv[1])).close()
    except OSError:
        continue
    print(address)
print("tried")
"""


def check_guarded(sandbox: Sandbox, judicators: Sequence[str], uids: range) -> None:
    """Raises SandboxError where a program with network would reach the loopback of this machine or
    one of the judicators (``host:port``), and where that cannot be found out. ``uids`` are those
    that boxes have.
    """
    remote = [a for a in judicators if not is_loopback(a.rpartition(":")[0])]
    for address in remote:
        _check_there(address)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        loopback = f"127.0.0.1:{listener.getsockname()[1]}"
        found = _reached(sandbox, [loopback, *remote])
    if found:
        what = "this machine's loopback" if found[0] == loopback else f"the judicator at {found[0]}"
        raise SandboxError(
            f"sandbox.network is on, but programs with network could reach {what}, and so take over "
            f"the platform. {_advice(uids)} Where you trust every user, sandbox.network_unguarded "
            "lets the executor start all the same."
        )


def _advice(uids: range) -> str:
    if os.geteuid() != 0:
        return (
            "Run the executor as root: as an ordinary user its boxes have its own uid, so that no "
            "firewall can tell them apart."
        )
    return f"Let a firewall refuse what the uids {uids[0]} to {uids[-1]} send there."


def _check_there(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except OSError as error:
        raise SandboxError(
            f"Whether programs with network are kept from the judicator at {address} cannot be "
            f"tried while it is away: {error}."
        ) from error


def _reached(sandbox: Sandbox, addresses: Sequence[str]) -> list[str]:
    """Which of these a box with network reaches."""
    said = bytearray()
    argv = ("python3", "-c", _PROGRAM, str(PATIENCE), *addresses)
    command = Command(argv=argv, env=environment(), limits=_LIMITS)
    box = sandbox.open(0, 16 * MIB, network=True)
    try:
        box.run(command, said.extend, lambda _: None, threading.Event())
    finally:
        box.close()
    *found, end = said.decode(errors="replace").split() or [""]
    if end != "tried":
        raise SandboxError("What programs with network reach could not be tried: no python3 ran.")
    return found
