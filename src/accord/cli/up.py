"""``accord up`` keeps a platform running here; ``accord maintain`` keeps Boot's hands off."""

from __future__ import annotations

import json as json_
import subprocess
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli.failure import Failure
from accord.cli.options import Config, Data

SERVICES = ("judicator", "executor", "gateway")


def up(
    host: Annotated[
        str | None, typer.Option(help="Where to listen; other than loopback needs tokens.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Of the site; 0: a free one.")
    ] = None,
    judicator_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Of the judicator. Default: the site's plus one."),
    ] = None,
    slots: Annotated[
        int | None, typer.Option(min=1, help="Tasks that run at once. Default: one a core.")
    ] = None,
    data: Data = None,
    config: Config = None,
    json: Annotated[bool, typer.Option("--json", help="Print the address as JSON.")] = False,
) -> None:
    """Run the whole platform on this machine until Ctrl-C.

    Examples:
      accord up

      accord up --port 7100 --data ./data --slots 4
    """
    from accord.boot.signals import Signals
    from accord.cli.platform import Platform, load_settings

    settings = load_settings(config, data, _overrides(host, port, judicator_port, slots, config))
    _check_tokens(settings)
    platform = Platform(settings, _tell)
    ended = threading.Event()

    def end() -> None:
        platform.ask_stop()
        ended.set()

    with platform.logging(), Signals(first=end, again=platform.hurry):
        try:
            platform.start()
            if not ended.is_set():
                _say_where(platform.url, settings.data, json=json)
            ended.wait()
            _tell("Stopping (press Ctrl-C again to hurry)")
        finally:
            platform.stop()


def _tell(sentence: str) -> None:
    print(f"{sentence}.", file=sys.stderr, flush=True)


def _say_where(url: str, data: str, *, json: bool) -> None:
    if json:
        print(json_.dumps({"url": url, "data": data}), flush=True)
    else:
        print(f"Accord is at {url}\nIts data and logs are in {data}", flush=True)


def _overrides(
    host: str | None,
    port: int | None,
    judicator_port: int | None,
    slots: int | None,
    config: Path | None,
) -> dict[str, Any]:
    from accord.cli.platform import free_ports

    wanted = _port_wishes(config)
    free = free_ports(2)
    site = free[0] if port == 0 else port
    judicator = free[1] if judicator_port == 0 else judicator_port
    if judicator is None and "judicator" not in wanted and (site or wanted.get("gateway")):
        # nobody but our own processes speaks to it, so it follows the site
        judicator = free[1] if port == 0 else (site or wanted["gateway"]) + 1
    found: dict[str, dict[str, Any]] = {
        "gateway": {"host": host, "port": site},
        "judicator": {"port": judicator},
        "executor": {"slots": slots},
    }
    return {g: {k: v for k, v in f.items() if v is not None} for g, f in found.items()}


def _port_wishes(config: Path | None) -> dict[str, int]:
    """The ports that file or environment ask for, where they differ from the defaults."""
    import os

    from accord.config import GatewaySettings, JudicatorSettings, load

    settings = load(config, os.environ, {})
    found = {}
    if settings.gateway.port != GatewaySettings().port:
        found["gateway"] = settings.gateway.port
    if settings.judicator.port != JudicatorSettings().port:
        found["judicator"] = settings.judicator.port
    return found


def _check_tokens(settings: Any) -> None:
    """Raise Failure where the platform would listen to others and no token exists."""
    from accord import wiring
    from accord.config import is_loopback

    if is_loopback(settings.gateway.host) and not settings.gateway.tokens:
        return
    database = Path(settings.data) / "store"
    if database.exists():
        store = wiring.open_store(settings)
        try:
            if any(token.alive(store.now()) for token in store.tokens()):
                return
        finally:
            store.close()
    raise Failure(
        f"Listening on {settings.gateway.host} lets others in, and there is no token yet. Make one: "
        f"accord token create --user NAME --role admin --data {settings.data}"
    )


def maintain(
    service: Annotated[str, typer.Argument(help="judicator, executor or gateway.")],
    command: Annotated[
        list[str] | None, typer.Argument(help="Run this meanwhile. Default: wait for Ctrl-C.")
    ] = None,
    stop: Annotated[
        bool, typer.Option("--stop", help="Stop the service first, and have it stay down.")
    ] = False,
    data: Data = None,
) -> None:
    """Hold a service's lock: Boot does not start it again until this command ends.

    Examples:
      accord maintain judicator --stop

      accord maintain --stop judicator -- sqlite3 data/store/accord.db .schema
    """
    from accord.boot.layout import Layout
    from accord.cli.platform import default_data

    if service not in SERVICES:
        raise Failure(f"There is no service {service!r}. There are: {', '.join(SERVICES)}.")
    layout = Layout((data or default_data()).absolute())
    if not layout.run.is_dir():
        raise Failure(f"There is no platform in {layout.data}. Name its directory with --data.")
    lock = layout.lock(service)
    if not lock.acquire():
        _tell(f"{service} is held by somebody else; waiting for it")
        lock.acquire(wait=True)
    try:
        if stop:
            _stop_service(layout, service)
        _tell(f"{service} is held; Boot will not start it")
        raise typer.Exit(_run_or_wait(command))
    finally:
        lock.release()


def _stop_service(layout: Any, service: str) -> None:
    import signal

    from accord.boot import pids

    running = layout.pid_file(service).running()
    if running:
        pids.send(running, signal.SIGTERM)
        if not pids.wait_gone(running, 60.0):
            raise Failure(f"{service} (pid {running.pid}) does not stop. See its log.")


def _run_or_wait(command: list[str] | None) -> int:
    if command:
        return subprocess.run(command, check=False).returncode
    threading.Event().wait()
    return 0
