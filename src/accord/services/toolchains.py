"""Which languages this machine has, and what a box must show for each.

A language is announced only where its probe ran in a box, with the mounts and environment that its
tasks will get: what a stranger's program cannot use must not be promised.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from accord import logs
from accord.config import LanguageSettings
from accord.core.errors import SandboxError
from accord.core.languages import PRESETS, Preset
from accord.core.limits import MIB, Limits
from accord.core.task import Spec
from accord.core.versions import base_of, toolchain_for
from accord.ports.sandbox import Box, Command, Mount, Ran, Sandbox

PATH = "/usr/local/bin:/usr/bin:/bin"
_PROBE_LIMITS = Limits(wall=20.0, cpu=20.0, memory=1024 * MIB, output=64 << 10)
_VERSION_LENGTH = 200

_log = logs.get("executor.toolchains")


class Toolchain(msgspec.Struct, frozen=True, kw_only=True):
    """What the programs of a language need, beside what every box shows."""

    mounts: tuple[Mount, ...] = ()
    env: Mapping[str, str] = {}
    """PATH and the preset's own variables."""


class Toolchains:
    """The languages of this machine, by their presets.

    ``shown`` are the administrator's mounts: the sandbox shows them in every box, and programs in
    them are found on PATH.
    """

    def __init__(
        self, shown: Sequence[Mount], home: Path, presets: Mapping[str, Preset] = PRESETS
    ) -> None:
        self._shown = tuple(shown)
        self._home = home
        self._presets = presets
        self._versions: dict[str, str] = {}
        self._absent: dict[str, str] = {}

    @property
    def shown(self) -> tuple[Mount, ...]:
        """The administrator's mounts."""
        return self._shown

    @property
    def absent(self) -> Mapping[str, str]:
        """Why each of the other languages was not found; empty before ``probe``."""
        return self._absent

    @property
    def versions(self) -> Mapping[str, str]:
        """The languages that were found, with their versions; empty before ``probe``."""
        return self._versions

    def for_task(self, spec: Spec) -> Toolchain:
        """What a task gets, of its language and the version that it asks for."""
        language = spec.language or ""
        found = toolchain_for(self._versions, language, spec.requires.language_version)
        return self.of(found or language)

    def of(self, name: str | None) -> Toolchain:
        """What tasks of a toolchain get; a task may well have none."""
        preset = self._presets.get(name or "")
        if preset is None:
            return Toolchain(env={"PATH": _path(self._shown)})
        own = tuple(
            Mount(source=str(path)) for text in preset.mounts if (path := self._at(text)).is_dir()
        )
        env = {name: self._value(value) for name, value in preset.env.items()}
        return Toolchain(mounts=own, env={"PATH": _path((*own, *self._shown)), **env})

    def probe(self, sandbox: Sandbox, slots: int) -> None:
        """Try every preset in a box. What does not run is logged with the reason, and left out."""
        free = list(range(slots))
        lock = threading.Lock()

        def one(preset: Preset) -> str | None:
            with lock:
                slot = free.pop()
            try:
                return self._probed(sandbox, slot, preset)
            finally:
                with lock:
                    free.append(slot)

        presets = list(self._presets.values())
        with ThreadPoolExecutor(max_workers=slots, thread_name_prefix="probe") as pool:
            found = zip(presets, pool.map(one, presets), strict=True)
        self._versions = {preset.name: version for preset, version in found if version is not None}

    def _probed(self, sandbox: Sandbox, slot: int, preset: Preset) -> str | None:
        try:
            version, why = self._run(sandbox, slot, preset)
        except SandboxError as error:
            version, why = None, error.message
        if version is None:
            self._absent[preset.name] = why
            _log.info(
                "A language is not offered here",
                extra={"action": "language_absent", "language": preset.name, "why": why},
            )
        return version

    def _run(self, sandbox: Sandbox, slot: int, preset: Preset) -> tuple[str | None, str]:
        toolchain = self.of(preset.name)
        box = sandbox.open(slot, 16 * MIB, toolchain.mounts)
        try:
            return _ask(box, preset, environment(toolchain.env))
        finally:
            box.close()

    def _at(self, text: str) -> Path:
        return Path(self._value(text))

    def _value(self, text: str) -> str:
        return str(self._home) + text[1:] if text == "~" or text.startswith("~/") else text


def presets_with(
    more: Sequence[LanguageSettings], presets: Mapping[str, Preset] = PRESETS
) -> dict[str, Preset]:
    """The presets and the toolchains that the administrator has set beside them."""
    found = dict(presets)
    for one in more:
        if (base := presets.get(base_of(one.name))) is not None:
            found[one.name] = msgspec.structs.replace(
                base,
                name=one.name,
                mounts=one.mounts or base.mounts,
                env={**base.env, **one.env},
                probe=one.probe or base.probe,
            )
    return found


def environment(*more: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a program in a box; later maps win."""
    env = {"PATH": PATH, "HOME": "/box", "LANG": "C.UTF-8", "TMPDIR": "/tmp"}  # noqa: S108 - of the box
    for variables in more:
        env.update(variables)
    return env


def _ask(box: Box, preset: Preset, env: Mapping[str, str]) -> tuple[str | None, str]:
    said = bytearray()
    command = Command(argv=preset.probe, env=env, limits=_PROBE_LIMITS)
    ran = box.run(command, said.extend, said.extend, threading.Event())
    text = bytes(said).decode(errors="replace").strip()
    line = text.splitlines()[0][:_VERSION_LENGTH] if text else ""
    if ran.exit_code != 0 or ran.limit is not None:
        return None, f"{' '.join(preset.probe)} {_ending(ran)}: {line or 'no output'}"
    return line or "unknown", ""


def _ending(ran: Ran) -> str:
    if ran.limit is not None:
        return f"hit the limit {ran.limit}"
    if ran.signal is not None:
        return f"ended by signal {ran.signal}"
    return f"exited with {ran.exit_code}"


def _path(mounts: Sequence[Mount]) -> str:
    folders = []
    for mount in mounts:
        source, target = Path(mount.source), mount.target or mount.source
        if source.name == "bin":
            folders.append(target)
        elif (source / "bin").is_dir():
            folders.append(f"{target}/bin")
    return ":".join([*folders, PATH])
