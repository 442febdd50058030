"""The three services of the embedded platform, and how Boot knows that each does its work."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from accord.boot import uwsgi
from accord.boot.layout import Layout
from accord.boot.service import Service
from accord.config import Settings, dump
from accord.core.errors import AccordError
from accord.core.executor import Executor, ExecutorState
from accord.ports.judicator import Judicator


def services(settings: Settings, layout: Layout, judicator: Judicator) -> list[Service]:
    """Judicator, executor and gateway, in the order in which they start.

    ``judicator`` is how Boot itself asks the judicator, with time-outs of a few seconds.
    """
    env = _environment(os.environ)
    return [
        _judicator(layout, judicator, env),
        _executor(settings, layout, judicator, env),
        uwsgi.service(settings.gateway, layout.run, layout.config("gateway"), env),
    ]


def write_configuration(settings: Settings, layout: Layout, names: list[str]) -> None:
    """Write each service's settings, as merged from file, environment and options."""
    for name in names:
        path = layout.config(name)
        new = path.with_suffix(".new")
        new.write_text(dump(settings), encoding="utf-8")
        new.chmod(0o600)
        new.replace(path)


def executor_name(settings: Settings) -> str:
    """What the executor of these settings is called."""
    return settings.executor.name or platform.node()


def _environment(mine: Mapping[str, str]) -> dict[str, str]:
    """Ours without what was merged into the settings already, and without a user's token."""
    return {k: v for k, v in mine.items() if not k.startswith("ACCORD_")}


def _argv(name: str, config: Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "accord", "serve", name, "--config", str(config))


def _judicator(layout: Layout, judicator: Judicator, env: Mapping[str, str]) -> Service:
    def answers() -> bool:
        return _asked(lambda: judicator.ping() is not None, otherwise=False)

    return Service(
        name="judicator",
        argv=_argv("judicator", layout.config("judicator")),
        env=env,
        cwd=layout.run,
        ready=answers,
        healthy=answers,
    )


def _executor(
    settings: Settings, layout: Layout, judicator: Judicator, env: Mapping[str, str]
) -> Service:
    watch = ExecutorWatch(judicator, executor_name(settings))
    return Service(
        name="executor",
        argv=_argv("executor", layout.config("executor")),
        env=env,
        cwd=layout.run,
        ready=watch.ready,
        healthy=watch.healthy,
        prepare=watch.note_former,
        needs=("judicator",),
        stop_timeout=settings.executor.drain + 15.0,
    )


class ExecutorWatch:
    """Knows an executor's new session from its former one, by what the judicator says of it."""

    def __init__(self, judicator: Judicator, name: str) -> None:
        self._judicator = judicator
        self._name = name
        self._former: str | None = None

    def note_former(self) -> None:
        """Note the session that is known before a start."""
        known = self._find()
        self._former = known.info.session if known else None

    def ready(self) -> bool:
        """Whether a newer session is registered and not lost."""
        known = self._find()
        return bool(
            known and known.info.session != self._former and known.state is not ExecutorState.LOST
        )

    def healthy(self) -> bool:
        """False only where the judicator answers and says that the executor is lost."""
        known = self._find()
        return known is None or known.state is not ExecutorState.LOST

    def _find(self) -> Executor | None:
        try:
            known = self._judicator.executors()
        except AccordError:
            return None
        return next((e for e in known if e.name == self._name), None)


def _asked(question: Callable[[], bool], *, otherwise: bool) -> bool:
    try:
        return question()
    except AccordError:
        return otherwise
