"""The machines: executors and judicators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from accord.cli.failure import USAGE, Failure
from accord.cli.options import Json, Token, Url
from accord.cli.output import amount, print_json, print_table, printable
from accord.cli.target import connect
from accord.client import Executor


def executors(
    drain: Annotated[
        str | None, typer.Option(metavar="NAME", help="Let it finish, and send it no more work.")
    ] = None,
    quarantine: Annotated[
        str | None, typer.Option(metavar="NAME", help="Send it no work until it is released.")
    ] = None,
    release: Annotated[
        str | None, typer.Option(metavar="NAME", help="Send it work again, whatever it failed at.")
    ] = None,
    forget: Annotated[
        str | None, typer.Option(metavar="NAME", help="Remove a lost one from the list.")
    ] = None,
    json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """List the executors, or steer one.

    Example: accord executors --drain lab-3
    """
    verbs = {"drain": drain, "quarantine": quarantine, "release": release, "forget": forget}
    wanted = [(verb, name) for verb, name in verbs.items() if name is not None]
    if len(wanted) > 1:
        raise Failure("Steer one executor in one way at a time.", USAGE)
    with connect(url, token) as client:
        for verb, name in wanted:
            client.steer(name, verb)
        found = client.executors()
    if json:
        print_json([executor.raw for executor in found])
        return
    columns = ("name", "state", "slots", "memory", "isolation", "credit", "languages")
    print_table(columns, [_row(executor) for executor in found], overflow="fold")
    for line in _notes(found):
        print(line)


def _notes(found: Sequence[Executor]) -> list[str]:
    """What keeps work from executors, in words."""
    return [
        printable(f"{executor.name}: {standing['note']}.")
        for executor in found
        for standing in executor.reliability
        if standing.get("note")
    ]


def _row(executor: Executor) -> tuple[object, ...]:
    return (
        executor.name,
        executor.state,
        executor.slots,
        amount(executor.memory),
        executor.isolation,
        f"{executor.credit:.1f}",
        " ".join(sorted(executor.languages)),
    )


def judicators(json: Json = False, url: Url = None, token: Token = None) -> None:
    """List the judicators and who leads."""
    with connect(url, token) as client:
        found = client.judicators()
    if json:
        print_json([judicator.raw for judicator in found])
        return
    rows = [(j.name, j.version, "leads" if j.leader else "") for j in found]
    print_table(("name", "version", ""), rows)
