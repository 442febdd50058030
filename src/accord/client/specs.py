"""Documents that ask for a task, made of what a program has at hand: sources, commands, bytes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

Source = str | bytes | Mapping[str, str | bytes]
"""One file's content, or several files by path."""


EnvValue = str | Mapping[str, str]
"""The value of a variable; ``{"secret": value}`` is for the program alone, and reads back masked."""


def spec(
    source: Source | None = None,
    *,
    archive: bytes | None = None,
    data: bytes | None = None,
    stdin: str | bytes | None = None,
    **options: Any,
) -> dict[str, Any]:
    """A task for a batch: takes what ``Client.submit`` takes, save for ``key``.

    >>> spec("print({n})", language="python", limits={"wall": 10})
    {'language': 'python', 'source': 'print({n})', 'limits': {'wall': 10}}
    """
    found = body(source, **options)
    if archive is not None:
        found["source"] = {"zip": _encoded(archive)}
    if data is not None:
        found["data"] = _encoded(data)
    if stdin is not None:
        found["stdin"] = _text(stdin)
    return found


def body(
    source: Source | None = None,
    *,
    language: str | None = None,
    args: Sequence[str] = (),
    env: Mapping[str, EnvValue] | None = None,
    compile: str | Sequence[str] | None = None,  # noqa: A002  # the API's name
    execute: str | Sequence[str] | None = None,
    limits: Mapping[str, float] | None = None,
    name: str = "",
    labels: Mapping[str, str] | None = None,
    priority: int = 0,
    outputs: Sequence[str] = (),
    redundancy: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The document of a submission, without what may travel beside it as files."""
    step: dict[str, Any] = {}
    if args:
        step["args"] = list(args)
    if env:
        step["env"] = dict(env)
    if execute is not None:
        step["command"] = execute if isinstance(execute, str) else list(execute)
    found: dict[str, Any] = {
        "language": language,
        "source": _source(source),
        "compile": _command(compile),
        "execute": step or None,
        "limits": dict(limits) if limits else None,
        "name": name or None,
        "labels": dict(labels) if labels else None,
        "priority": priority or None,
        "outputs": list(outputs) or None,
        "redundancy": dict(redundancy) if redundancy else None,
        **more,
    }
    return {field: value for field, value in found.items() if value is not None}


def _text(value: str | bytes) -> str | dict[str, str]:
    """Text as it is, other bytes as base64: JSON holds no bytes."""
    if isinstance(value, str):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return _encoded(value)


def _encoded(value: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(value).decode()}


def _source(source: Source | None) -> Any:
    if source is None or isinstance(source, str | bytes):
        return None if source is None else _text(source)
    return {"files": {path: _text(data) for path, data in source.items()}}


def _command(command: str | Sequence[str] | None) -> dict[str, Any] | None:
    if command is None:
        return None
    return {"command": command if isinstance(command, str) else list(command)}
