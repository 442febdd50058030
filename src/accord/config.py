"""Settings: one group per concern, each field with its unit, default and reason.

A file (TOML), the environment (``ACCORD_GROUP_FIELD``) and the command line say the same things;
the later wins. ``load`` merges them and checks the whole once.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from accord.core.audit import MOST_ASKED, AuditPolicy
from accord.core.errors import Invalid
from accord.core.executor import FASTEST, ISOLATION_LEVELS
from accord.core.languages import PRESETS
from accord.core.lifecycle import Policy
from accord.core.limits import CAPS, Limits
from accord.core.reliability import TrustPolicy
from accord.core.versions import base_of
from accord.ports.sandbox import Mount

_TOOLCHAIN = re.compile(r"[a-z]+@[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


class JudicatorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The judicator's process."""

    name: str = "judicator"
    """How it is called in the registry."""
    host: str = "127.0.0.1"
    """Where its Thrift service listens. Plain text, so loopback only in embedded mode."""
    port: int = 7001
    """Where it listens; 0 takes a free one."""
    lease: float = 15.0
    """Seconds without a report after which an executor is lost."""
    reconnect: float = 3.0
    """Seconds after which an executor is lost where both its connections broke."""
    term: float = 10.0
    """Seconds of a leader's term; renewed each third of it."""
    sweep: float = 1.0
    """The longest pause, in seconds, between two passes of a leader's duty."""
    finish_bytes: int = 256 << 20
    """The most bytes of results that a finishing task is given as its data."""
    blob_grace: float = 3600.0
    """Seconds for which a blob that no task names is kept."""
    weakest_isolation: str = "bwrap+poll"
    """The lowest isolation level of an executor that gets tasks which name none."""


class LanguageSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One more toolchain of a language, beside the one that the preset finds."""

    name: str
    """The preset's name, ``@``, and what tells it from others: ``python@3.12``."""
    mounts: tuple[str, ...] = ()
    """Directories of the host that its tasks see, instead of the preset's; programs in them, or in
    their ``bin``, come first on PATH. ``~`` is the executor's home."""
    env: Mapping[str, str] = {}
    """More environment, over the preset's."""
    probe: tuple[str, ...] = ()
    """The command whose first line tells the version; empty: the preset's."""


class ExecutorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The executor's process."""

    name: str = ""
    """Unique in the cluster; empty: the host's name."""
    owner: str = ""
    """Whose machine it is; tasks may ask for replicas of different owners."""
    slots: int = 0
    """Replicas that run at once; 0: as many as there are cores."""
    tags: tuple[str, ...] = ()
    """What tasks may require by name."""
    poll: float = 5.0
    """Seconds for which a poll is held when there is no work."""
    drain: float = 30.0
    """Seconds that running replicas get to finish on SIGTERM before they are handed back."""
    first_uid: int = 200_000
    """Slot n runs as this host uid plus n, where the executor is root."""
    lease: float = 15.0
    """Seconds; a push goes out at least each third of it. As the judicator's."""
    cache_bytes: int = 1 << 30
    """Bytes on disk for inputs and compiled programs that are kept for other tasks; what was used
    longest ago goes first. 0: nothing is kept."""
    languages: tuple[LanguageSettings, ...] = ()
    """More toolchains of languages; see docs/howto/toolchains.md."""
    benchmark: float = 0.0
    """How fast one core is, for credit; a typical one is 1. 0: it is measured at the start."""


class SandboxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The box."""

    kind: str = "bwrap"
    """How programs are boxed. There is ``bwrap``; a machine that cannot have it runs nothing."""
    bwrap: str = ""
    """Path of bubblewrap; empty: on PATH, else the one that came with the package."""
    mounts: tuple[Mount, ...] = ()
    """More of the host to show in every box: toolchains, data, a shared directory."""
    network: bool = False
    """Whether tasks that ask for the network get it here (``policy.network_allowed`` lets them ask).
    The executor starts only where a firewall keeps such boxes from the platform itself."""
    network_unguarded: bool = False
    """Start even so; a program with network can then take over the platform."""
    cgroup: str = "auto"
    """``auto``, ``v2``, ``v1`` or ``poll``."""
    archive_bytes: int = 512 << 20
    """The most that a zip may unpack to."""
    archive_entries: int = 20_000
    """The most files and folders in a zip."""
    kept_files: int = 1_000
    """The most output files that are kept of one replica."""
    kept_bytes: int = 256 << 20
    """The most bytes of all kept files of one replica."""


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's process."""

    host: str = "127.0.0.1"
    """Where the website and the API listen. Anything but loopback needs tokens."""
    port: int = 7000
    """The port of website and API."""
    processes: int = 1
    """Worker processes."""
    concurrency: int = 500
    """Requests that one process handles at once (gevent)."""
    tokens: bool = False
    """Whether a token is needed. Always true where the host is not loopback."""
    largest_body: int = 64 << 20
    """Bytes; more is answered with 413."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    data: str = ""
    """The directory that holds everything; empty: ``$XDG_DATA_HOME/accord``."""
    log_level: str = "info"
    """``debug``, ``info``, ``warning`` or ``error``."""
    judicator: JudicatorSettings = JudicatorSettings()
    executor: ExecutorSettings = ExecutorSettings()
    sandbox: SandboxSettings = SandboxSettings()
    gateway: GatewaySettings = GatewaySettings()
    caps: Limits = CAPS
    """What tasks may ask for at most."""
    policy: Policy = Policy()
    trust: TrustPolicy = TrustPolicy()
    """Which executors get work, and whose results stand alone."""
    audits: AuditPolicy = AuditPolicy()
    """How those are found who err together."""


def load(path: Path | None, env: Mapping[str, str], overrides: Mapping[str, Any]) -> Settings:
    """Merge file, environment and overrides (``{"gateway": {"port": 7100}}``); check the whole.

    Raises Invalid, naming the setting and where it came from.
    """
    layers = [("the environment", _from_env(env)), ("the command line", overrides)]
    if path is not None:
        layers.insert(0, (str(path), _read(path)))
    values: dict[str, Any] = {}
    for source, layer in layers:
        _check(source, layer)
        _merge(values, layer)
    settings = msgspec.convert(values, Settings, strict=False)
    if settings.judicator.weakest_isolation not in ISOLATION_LEVELS:
        known = ", ".join(ISOLATION_LEVELS)
        raise Invalid(f"judicator.weakest_isolation must be one of {known}.", field="configuration")
    if settings.executor.lease > settings.judicator.lease:
        raise Invalid(
            f"executor.lease ({settings.executor.lease:g}) must not be more than judicator.lease "
            f"({settings.judicator.lease:g}), else executors are lost between two signs of life.",
            field="configuration",
        )
    _check_trust(settings)
    _check_languages(settings.executor.languages)
    return settings


def _check_languages(given: Sequence[LanguageSettings]) -> None:
    names = [one.name for one in given]
    for name in names:
        if not _TOOLCHAIN.fullmatch(name) or base_of(name) not in PRESETS:
            raise Invalid(
                f"executor.languages: {name!r} must be a language, @, and letters, digits or dots, "
                "such as python@3.12.",
                field="configuration",
            )
        if names.count(name) > 1:
            raise Invalid(f"executor.languages has {name} twice.", field="configuration")


def _check_trust(settings: Settings) -> None:
    trust, benchmark = settings.trust, settings.executor.benchmark
    for name in ("daily_quota", "quarantine_after"):
        if getattr(trust, name) < 1:
            raise Invalid(f"trust.{name} must be at least 1.", field="configuration")
    if not 0 <= trust.check_floor <= 1:
        raise Invalid("trust.check_floor must lie between 0 and 1.", field="configuration")
    if not 0 <= settings.audits.sample <= MOST_ASKED:
        raise Invalid(f"audits.sample must lie between 0 and {MOST_ASKED}.", field="configuration")
    if not 0 <= benchmark <= FASTEST:
        raise Invalid(
            f"executor.benchmark must lie between 0 and {FASTEST:g}.", field="configuration"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens at ``host``.

    >>> [is_loopback(h) for h in ("127.0.0.1", "[::1]", "localhost", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def dump(settings: Settings) -> str:
    """The settings as JSON, for the file that Boot writes for a service."""
    return msgspec.json.format(msgspec.json.encode(settings), indent=2).decode()


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        parsed = msgspec.json.decode(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise Invalid(f"Cannot read {path}: {error.strerror}.", field="configuration") from error
    except (tomllib.TOMLDecodeError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} cannot be parsed: {error}.", field="configuration") from error
    if not isinstance(parsed, dict):
        raise Invalid(f"{path} must hold a table.", field="configuration")
    return parsed


def _check(source: str, layer: Mapping[str, Any]) -> None:
    """Raise Invalid where a setting is unknown or has a wrong value; every setting may be absent."""
    unknown = _unknown(layer, Settings)
    if unknown:
        message = f"There is no setting {unknown}, which is in {source}."
        raise Invalid(message, field="configuration")
    try:
        msgspec.convert(layer, Settings, strict=False)
    except msgspec.ValidationError as error:
        message = f"The configuration in {source} is not valid: {error}."
        raise Invalid(message, field="configuration") from error


def _unknown(values: Mapping[str, Any], kind: type[msgspec.Struct]) -> str | None:
    """The first name in ``values`` that ``kind`` does not have, None where it has them all."""
    known = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for name, value in values.items():
        if name not in known:
            return name
        if isinstance(value, Mapping) and _is_group(known[name]):
            below = _unknown(value, known[name])
            if below:
                return f"{name}.{below}"
    return None


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _from_env(env: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        prefix = f"ACCORD_{field.name.upper()}"
        if not _is_group(field.type):
            if prefix in env:
                found[field.name] = env[prefix]
            continue
        for name, value in env.items():
            if name.startswith(prefix + "_"):
                found.setdefault(field.name, {})[name[len(prefix) + 1 :].lower()] = value
    return found


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value
