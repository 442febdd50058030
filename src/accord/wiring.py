"""Puts adapters, services and delivery together: the one place that picks implementations.

Each main runs until its ``stop`` is set, then ends orderly. Imports are inside the functions:
a process needs one of them, and the gateway patches before it imports.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord import logs
from accord.adapters.embedded.registry import FixedRegistry
from accord.adapters.system import SystemClock, SystemIds
from accord.config import Settings, load
from accord.core.errors import SandboxError, Unavailable
from accord.ports.registry import Member, Registry

if TYPE_CHECKING:
    from accord.adapters.sandbox.diagnose import Finding
    from accord.delivery.rpc.client import RemoteJudicator
    from accord.ports.sandbox import Sandbox
    from accord.ports.store import Store
    from accord.services.executor import Executor

CONFIG = "ACCORD_CONFIG"
"""In the gateway's environment: its settings file."""


def store_path(settings: Settings) -> Path:
    """Where the embedded store is."""
    return Path(settings.data) / "store" / "accord.db"


def registry(settings: Settings, terms: Path | None = None) -> Registry:
    """The judicators, as the configuration names them."""
    chosen = settings.judicator
    host = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
    return FixedRegistry([Member(name=chosen.name, address=f"{host}:{chosen.port}")], terms)


def judicator_client(settings: Settings, **options: Any) -> RemoteJudicator:
    """The judicators as everybody else sees them."""
    from accord.delivery.rpc.client import RemoteJudicator

    known = registry(settings)
    return RemoteJudicator(lambda: [member.address for member in known.judicators()], **options)


def open_store(settings: Settings) -> Store:
    """The embedded store."""
    from accord.adapters.embedded.store import SqliteStore

    return SqliteStore(store_path(settings), SystemClock())


def make_sandbox(settings: Settings) -> Sandbox:
    """The box that the configuration asks for. Raises SandboxError."""
    from accord.adapters.sandbox.bwrap import BwrapSandbox

    return BwrapSandbox(settings.sandbox, SystemClock(), settings.executor.first_uid)


def diagnose_sandbox(settings: Settings) -> list[Finding]:
    """What ``accord doctor`` says of the box on this machine."""
    from accord.adapters.sandbox.diagnose import diagnose

    return diagnose(settings.sandbox, SystemClock(), settings.executor.first_uid)


def probe_languages(settings: Settings) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The languages whose probe answers in a box, with their versions; and why others do not.

    Raises SandboxError.
    """
    from accord.services.toolchains import Toolchains, presets_with

    sandbox = make_sandbox(settings)
    try:
        presets = presets_with(settings.executor.languages)
        toolchains = Toolchains(settings.sandbox.mounts, Path.home(), presets)
        toolchains.probe(sandbox, os.cpu_count() or 1)
    finally:
        sandbox.close()
    return toolchains.versions, toolchains.absent


def gateway_application() -> Any:
    """The gateway's WSGI application, for uWSGI; its settings are in the file ``ACCORD_CONFIG``."""
    from gevent import monkey

    monkey.patch_all()  # before anything that keeps what it would replace is imported
    from accord.delivery.http.app import make_app

    settings = load(Path(os.environ[CONFIG]), {}, {})
    logs.set_up("gateway", settings.log_level)
    return make_app(judicator_client(settings), settings, SystemClock(), SystemIds())


def run_executor(settings: Settings, stop: threading.Event) -> None:
    """The executor's process. Raises SandboxError where it cannot go on, Unavailable where that is
    because reports hang.
    """
    from accord.services.executor import Executor

    polls = judicator_client(settings)
    pushes = polls.dedicated()  # a held poll delays nothing

    def rebuild() -> None:
        polls.reset()
        pushes.reset()

    executor = Executor(
        settings,
        Path(settings.data) / "executor",
        polls=polls,
        pushes=pushes,
        sandbox=make_sandbox(settings),
        clock=SystemClock(),
        ids=SystemIds(),
        rebuild=rebuild,
        judicators=[member.address for member in registry(settings).judicators()],
    )
    try:
        executor.start()
        _stop_when_over(executor, stop)
        stop.wait()
    finally:
        executor.stop()
        polls.close()
        pushes.close()
    if executor.failure and executor.hung:
        raise Unavailable(executor.failure)
    if executor.failure:
        raise SandboxError(executor.failure)


def _stop_when_over(executor: Executor, stop: threading.Event) -> None:
    def watch() -> None:
        executor.wait()
        stop.set()

    threading.Thread(target=watch, name="watch", daemon=True).start()


def run_judicator(settings: Settings, stop: threading.Event) -> None:
    """The judicator's process. Raises Unavailable where the store or the port cannot be had."""
    from accord.adapters.assimilators import assimilators
    from accord.adapters.embedded.blobs import FileBlobs
    from accord.adapters.signing import StoreSigner
    from accord.delivery.rpc.server import Server
    from accord.services.judicator import Judicator

    clock = SystemClock()
    folder = store_path(settings).parent
    known = registry(settings, folder / "term")
    store = open_store(settings)
    judicator = Judicator(
        store=store,
        blobs=FileBlobs(folder / "blobs", clock),
        registry=known,
        clock=clock,
        ids=SystemIds(),
        signer=StoreSigner(store),
        spool=folder / "uploads",
        settings=settings.judicator,
        policy=settings.policy,
        trust=settings.trust,
        audits=settings.audits,
        caps=settings.caps,
        address=known.judicators()[0].address,
        handlers=assimilators(Path(settings.data) / "assimilated"),
    )
    server = Server(judicator, settings.judicator.host, settings.judicator.port, clock)
    try:
        judicator.start()
        server.start()
        stop.wait()
    finally:
        judicator.stop()  # answers what is held, so that the server can end
        server.stop()
        store.close()
