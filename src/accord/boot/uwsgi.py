"""The gateway's service: uWSGI with gevent, as it proved to work.

Each option is here for a reason that was seen: without ``lazy-apps`` a worker sometimes accepts
and never answers; ``gevent`` alone does not patch, and its patch comes after the application is
loaded, so the application patches by itself, first; ``need-app`` makes a broken application end
instead of answering errors for ever; with ``no-orphans`` no worker survives its master; the
default buffer drops longer URLs silently; each connection is closed after one answer, and a client
that is not told so finds the one that it kept reset. Since only an answer proves that it works,
Boot waits for one, not for an open port.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from accord.boot.service import Service
from accord.config import GatewaySettings

APPLICATION = "accord.wiring:gateway_application()"
CONFIG = "ACCORD_CONFIG"
"""In uWSGI's environment: the settings file that the application reads."""
RELOAD = "gateway.reload"
"""Touching this file, beside the ini, replaces the workers without losing a request."""
_LARGEST_CHUNK = 1 << 20
"""Beyond what is allowed, so that a body sent in one chunk is refused by the application."""
RUN = ("-c", "import sys, pyuwsgi; pyuwsgi.run(sys.argv[1:])")


def addresses(host: str, port: int) -> list[str]:
    """What to listen on. ``localhost`` means both families, where the machine has them.

    >>> addresses("::1", 7000)
    ['[::1]:7000']
    """
    if host == "localhost":
        return ["127.0.0.1:" + str(port)] + ([f"[::1]:{port}"] if _has_ipv6() else [])
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def reachable(host: str) -> str:
    """The host by which this machine reaches what listens on ``host``.

    >>> reachable("0.0.0.0"), reachable("::"), reachable("10.1.2.3")
    ('127.0.0.1', '::1', '10.1.2.3')
    """
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}.get(host, host)  # noqa: S104  # compared, not bound


def url(settings: GatewaySettings) -> str:
    """Where the site is, for a person and for the client on this machine."""
    host = reachable(settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def ini(settings: GatewaySettings) -> str:
    """What uWSGI is told. It holds no path, since uWSGI would expand ``%`` and ``$(…)``."""
    lines = [
        "[uwsgi]",
        "master = true",
        "single-interpreter = true",
        *(f"http-socket = {address}" for address in addresses(settings.host, settings.port)),
        f"listen = {_backlog()}",
        f"processes = {settings.processes}",
        f"gevent = {settings.concurrency}",
        "gevent-monkey-patch = true",
        "lazy-apps = true",
        "need-app = true",
        f"module = {APPLICATION}",
        "die-on-term = true",
        "no-orphans = true",
        "buffer-size = 65535",
        f"chunked-input-limit = {settings.largest_body + _LARGEST_CHUNK}",
        "disable-logging = true",
        "add-header = Connection: close",
        "worker-reload-mercy = 5",
        f"touch-chain-reload = {RELOAD}",
    ]
    return "\n".join(lines) + "\n"


def _backlog(wanted: int = 1024) -> int:
    """The connections that may wait; uWSGI does not start with more than the kernel allows."""
    allowed = int(Path("/proc/sys/net/core/somaxconn").read_text(encoding="ascii"))
    return min(wanted, allowed)


def service(settings: GatewaySettings, run: Path, config: Path, env: Mapping[str, str]) -> Service:
    """The gateway under uWSGI, configured by files in ``run``."""

    def prepare() -> None:
        (run / "gateway.ini").write_text(ini(settings), encoding="ascii")
        (run / RELOAD).touch()

    # where uWSGI runs itself anew it must find its own module and ours
    path = os.pathsep.join(p for p in sys.path if p)
    return Service(
        name="gateway",
        argv=(sys.executable, "-m", "accord", "serve", "gateway", "--config", str(config)),
        env={**env, CONFIG: str(config), "PYTHONPATH": path},
        cwd=run,
        ready=lambda: answers(settings),
        healthy=lambda: answers(settings),
        prepare=prepare,
        needs=("judicator",),
        stop_timeout=12.0,
    )


def answers(settings: GatewaySettings, timeout: float = 5.0) -> bool:
    """Whether the gateway answers HTTP at all; what it says of the judicators is its affair."""
    connection = http.client.HTTPConnection(
        reachable(settings.host), settings.port, timeout=timeout
    )
    try:
        connection.request("GET", "/api/v1/health")
        return connection.getresponse().status > 0
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
