"""Options that several commands share, and the values that they are written as."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from accord.cli.failure import Failure

_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_TIMES = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def size(text: str) -> int:
    """Bytes.

    >>> size("256M"), size("1GiB"), size("4096")
    (268435456, 1073741824, 4096)
    """
    match = re.fullmatch(r"(\d+)\s*([KMG]?)(i?B)?", text, re.IGNORECASE)
    if not match:
        raise typer.BadParameter(f"{text!r} is no size; write it like 256M or 1G.")
    return int(match[1]) * _SIZES[match[2].upper()]


def seconds(text: str) -> float:
    """Seconds.

    >>> seconds("1.5"), seconds("500ms"), seconds("2m"), seconds("90d")
    (1.5, 0.5, 120.0, 7776000.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)", text)
    if not match:
        raise typer.BadParameter(f"{text!r} is no time; write it like 10, 1.5 or 2m.")
    return float(match[1]) * _TIMES[match[2]]


def labels(given: list[str] | None) -> dict[str, str]:
    """What KEY:VALUE say.

    >>> labels(["app:sweep", "when:10:30"])
    {'app': 'sweep', 'when': '10:30'}
    """
    split = [label.partition(":") for label in given or ()]
    if not all(key and colon for key, colon, _ in split):
        raise Failure("Write a label as KEY:VALUE.")
    return {key: value for key, _, value in split}


def secrets(names: list[str] | None) -> dict[str, dict[str, str]]:
    """These variables of our own environment, as secrets. Raises Failure where one is not set."""
    missing = [name for name in names or () if name not in os.environ]
    if missing:
        raise Failure(f"The variable {missing[0]} is not set here. Export it, then say its name.")
    return {name: {"secret": os.environ[name]} for name in names or ()}


Url = Annotated[
    str | None,
    typer.Option(envvar="ACCORD_URL", help="The platform's address.", show_default=False),
]
Token = Annotated[
    str | None,
    typer.Option(envvar="ACCORD_TOKEN", help="Your token, where one is needed."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]
Data = Annotated[
    Path | None,
    typer.Option(
        envvar="ACCORD_DATA",
        help="The data directory. Default: $XDG_DATA_HOME/accord.",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", envvar="ACCORD_CONFIG_FILE", help="Settings, as TOML."),
]
TaskId = Annotated[str, typer.Argument(help="The task's id.")]
BatchId = Annotated[str, typer.Argument(help="The batch's id.")]
Labels = Annotated[list[str] | None, typer.Option(help="KEY:VALUE; repeatable.")]
SecretEnv = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="A variable of yours that the program gets and nobody sees; repeatable.",
    ),
]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Wait for the end.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Wall = Annotated[
    float | None,
    typer.Option(parser=seconds, metavar="TIME", help="Time by the clock: 10, 500ms, 2m."),
]
Cpu = Annotated[
    float | None, typer.Option(parser=seconds, metavar="TIME", help="Processor time, such as 10.")
]
Memory = Annotated[
    int | None,
    typer.Option(parser=size, metavar="SIZE", help="Of all its processes, such as 256M."),
]
Processes = Annotated[int | None, typer.Option(min=1, help="At once, threads included.")]
Output = Annotated[
    int | None,
    typer.Option(parser=size, metavar="SIZE", help="Of stdout and stderr together."),
]
Network = Annotated[
    bool, typer.Option("--network", help="Let it use the network, where tasks may.")
]
Disk = Annotated[
    int | None, typer.Option(parser=size, metavar="SIZE", help="Written to its directory.")
]
