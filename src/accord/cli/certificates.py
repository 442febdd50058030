"""Certificates from the command line: fetched from a platform, and checked without one."""

from __future__ import annotations

import datetime
import hashlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from accord.cli.failure import USAGE, Failure
from accord.cli.options import TaskId, Token, Url
from accord.cli.output import printable
from accord.cli.target import connect
from accord.core.certificate import (
    MOST,
    Piece,
    Refused,
    Statement,
    Unreadable,
    check,
    parse,
    spelled,
)
from accord.core.cluster_key import from_pem
from accord.core.errors import Invalid

_HOW = (
    "Get the cluster's key once, over a way that you trust: accord key > cluster.pem. Then give it "
    "with --key cluster.pem, or name that file in ACCORD_CLUSTER_KEY."
)


def certificate(
    task_id: TaskId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write. Default: stdout.")
    ] = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """Get a certificate of a task's result: who ran it, who agreed, signed by the cluster.

    Example: accord certificate ID -o result.certificate.json
    """
    with connect(url, token) as client:
        data = client.certificate(task_id)
    if output is None:
        sys.stdout.buffer.write(data)
    else:
        output.write_bytes(data)


def key(url: Url = None, token: Token = None) -> None:
    """Print the cluster's public key, by which certificates are checked.

    Example: accord key > cluster.pem
    """
    with connect(url, token) as client:
        print(client.cluster_key(), end="")


def verify(
    file: Annotated[str, typer.Argument(help="The certificate, or - for standard input.")],
    key: Annotated[
        Path | None,
        typer.Option(
            envvar="ACCORD_CLUSTER_KEY",
            help="The cluster's key, as 'accord key' printed it.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="A file that must be the certified standard output.")
    ] = None,
) -> None:
    """Check a certificate, offline: exit code 0 where the cluster signed exactly this.

    Exit code 1 where it is refused, 2 where it cannot be checked.

    Example: accord verify result.certificate.json --key cluster.pem --output result.txt
    """
    from accord.adapters import signing  # it loads a large library

    name = "The certificate" if file == "-" else file
    data = _certificate(file)
    try:
        if key is None:
            parse(data)  # what is no certificate needs no key
            raise Failure(f"By which key? The one in the file proves nothing. {_HOW}", USAGE)
        statement = check(data, _key(key), signing.verify)
    except Unreadable as error:
        raise Failure(f"{name}: {error.message}", USAGE) from error
    except Refused as error:
        raise Failure(f"{name} is refused. {error.message}") from error
    if output is not None:
        _compare(output, statement.stdout)
    _tell(statement, output)


def _certificate(file: str) -> bytes:
    try:
        if file == "-":
            return sys.stdin.buffer.read(MOST + 1)
        with Path(file).open("rb") as source:
            return source.read(MOST + 1)
    except OSError as error:
        raise _unread(file, error) from error


def _key(file: Path) -> bytes:
    try:
        return from_pem(file.read_text(encoding="ascii", errors="replace"))
    except OSError as error:
        raise _unread(str(file), error) from error
    except Invalid as error:
        raise Failure(f"{file}: {error.message} {_HOW}", USAGE) from error


def _unread(file: str, error: OSError) -> Failure:
    return Failure(f"{file} cannot be read: {error.strerror}. Name the file that is meant.", USAGE)


def _compare(file: Path, certified: Piece | None) -> None:
    """Raise Failure where the file is not what the task put out."""
    if certified is None:
        raise Failure(f"{file} is refused: by the certificate the program was not run.")
    try:
        with file.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise _unread(str(file), error) from error
    if digest != certified.digest:
        raise Failure(
            f"{file} is refused: its SHA-256 is {digest}, that of the certified output "
            f"({certified.size} bytes) {certified.digest}."
        )


def _tell(statement: Statement, output: Path | None) -> None:
    """What it says, for a person."""
    print("Valid: the cluster signed exactly this.")
    for name, value in _facts(statement):
        if value:
            print(f"{name:11} {printable(value)}")
    for path, piece in statement.kept.items():
        print(f"{'kept':11} {printable(path)}: {_sum(piece)}")
    if output is not None:
        print(f"{'compared':11} {printable(str(output))} is that standard output")


def _facts(statement: Statement) -> list[tuple[str, str]]:
    executors = dict.fromkeys(run.executor for run in statement.agreeing if run.executor)
    return [
        ("task", statement.task),
        ("name", statement.name),
        ("user", statement.user),
        ("verdict", statement.verdict),
        ("agreed", _agreed(statement)),
        ("executors", ", ".join(executors)),
        ("compared by", spelled(statement.comparator) if statement.agreed > 1 else ""),
        ("judged by", statement.judged_by or ""),
        ("disputed by", f"audit {statement.disputed_by}" if statement.disputed_by else ""),
        ("added", _moment(statement.added)),
        ("decided", _moment(statement.decided)),
        ("issued", _moment(statement.issued)),
        ("asked", f"sha256 {statement.spec}"),
        ("result", f"sha256 {statement.result}"),
        ("stdout", _sum(statement.stdout) if statement.stdout else ""),
        ("key", statement.cluster),
    ]


def _agreed(statement: Statement) -> str:
    if statement.agreed == 1:
        return "1: nobody confirmed it"
    return f"{statement.agreed} of {len(statement.runs)} runs, where {statement.majority} had to"


def _sum(piece: Piece) -> str:
    return f"sha256 {piece.digest}, {piece.size} bytes"


def _moment(time: float | None) -> str:
    if time is None:
        return ""
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
