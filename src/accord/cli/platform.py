"""Bringing a platform up: settings, checks, Boot."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from accord import logs, wiring
from accord.adapters.system import SystemClock
from accord.boot import embedded, uwsgi
from accord.boot.layout import Layout
from accord.boot.supervisor import StartFailed, Supervisor
from accord.cli.failure import Failure
from accord.config import Settings, load


def default_data() -> Path:
    """The data directory of this user: ``$XDG_DATA_HOME/accord``."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "accord"


def load_settings(config: Path | None, data: Path | None, overrides: Mapping[str, Any]) -> Settings:
    """The settings of file, environment and options, with an absolute data directory."""
    settings = load(config, os.environ, overrides)
    chosen = data or (Path(settings.data) if settings.data else default_data())
    return msgspec.structs.replace(settings, data=str(chosen.absolute()))


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that nothing uses at the moment, one after the other.

    They lie below those that the kernel hands out to connections, so that a platform that is
    started again on its ports finds them free; where none do, they are any that are free.
    """
    span = _first_handed_out() - count - _LOWEST_PORT
    tries = (_LOWEST_PORT + int.from_bytes(os.urandom(4)) % span for _ in range(100))
    for first in tries:
        if all(_is_free(host, first + n) for n in range(count)):
            return [first + n for n in range(count)]
    with ExitStack() as held:
        found = []
        for _ in range(count):
            probe = held.enter_context(socket.socket())
            probe.bind((host, 0))
            found.append(int(probe.getsockname()[1]))
        return found


_LOWEST_PORT = 10_000


def _first_handed_out() -> int:
    """The first port that the kernel gives to connections that ask for none."""
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first = 32768
    return max(first, _LOWEST_PORT + 1000)


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def check_port(host: str, port: int, option: str) -> None:
    """Raise Failure where nothing can listen there, saying what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Failure(_cannot_listen(error, host, port, option)) from error


def _cannot_listen(error: OSError, host: str, port: int, option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use. Stop what listens there, or choose another with {option}."
    if error.errno == errno.EACCES:
        return f"Port {port} needs root. Choose one above 1023 with {option}."
    return f"Cannot listen on {host}: {error.strerror}. Choose an address of this machine."


class Platform:
    """An embedded platform on one data directory, under Boot."""

    def __init__(self, settings: Settings, notify: Callable[[str], None] = lambda _: None) -> None:
        self.settings = settings
        self.layout = Layout(Path(settings.data))
        self.url = uwsgi.url(settings.gateway)
        self._notify = notify
        self._supervisor: Supervisor | None = None
        self._clock = SystemClock()
        self._stop_asked = False

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Boot's own log goes to the data directory meanwhile."""
        self.layout.make()
        logs.set_up("boot", self.settings.log_level, self.layout.log("boot"))
        try:
            yield
        finally:
            logs.quiet()

    def start(self) -> None:
        """Start everything and return when it works. Raises BootError, Failure."""
        self._judicator = wiring.judicator_client(self.settings, patience=5.0)
        services = embedded.services(self.settings, self.layout, self._judicator)
        self._supervisor = Supervisor(
            services, self.layout, self._clock, self._notify, self._before_start
        )
        if self._stop_asked:
            return
        self._supervisor.start()
        self.layout.address.write_text(self.url + "\n", encoding="utf-8")

    def _before_start(self) -> None:
        gateway, judicator = self.settings.gateway, self.settings.judicator
        check_port(gateway.host, gateway.port, "--port")
        check_port(judicator.host, judicator.port, "--judicator-port")
        embedded.write_configuration(
            self.settings, self.layout, ["judicator", "executor", "gateway"]
        )

    def stop(self) -> None:
        """Stop everything; returns when nothing is left. May be called twice."""
        self._stop_asked = True
        if self._supervisor:
            self._supervisor.stop()
            self._judicator.close()

    def ask_stop(self) -> None:
        """Make a start that is under way return; ``stop`` is then to be called."""
        self._stop_asked = True
        if self._supervisor:
            self._supervisor.ask_stop()

    def hurry(self) -> None:
        """Wait for nothing any more."""
        if self._supervisor:
            self._supervisor.hurry()


@contextmanager
def private_platform() -> Iterator[str]:
    """A platform of our own in a temporary directory on free ports; yields its address.

    The directory goes with it, save where it did not start: then its logs are wanted.
    """
    folder = Path(tempfile.mkdtemp(prefix="accord-"))
    port, judicator_port = free_ports(2)
    chosen = {
        "gateway": {"port": port, "host": "127.0.0.1", "tokens": False},
        "judicator": {"port": judicator_port, "host": "127.0.0.1"},
        "executor": {"drain": 1.0},  # should we be killed, nobody waits for what runs
    }
    platform = Platform(load_settings(None, folder / "data", chosen))
    try:
        with platform.logging():
            try:
                platform.start()
                yield platform.url
            finally:
                platform.stop()
    except StartFailed:
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
