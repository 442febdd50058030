"""Tokens: made, listed and revoked in the data directory itself.

Whoever can write to that directory is its administrator anyway, so this needs no running platform
and no token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from accord.cli.failure import Failure
from accord.cli.options import Config, Data, Json, seconds
from accord.cli.output import print_json, print_table
from accord.core.user import Role, Token
from accord.ports.store import Store

app = typer.Typer(no_args_is_help=True, help="Tokens, by which the platform knows people.")


@contextmanager
def _store(config: Path | None, data: Path | None, *, make: bool = False) -> Iterator[Store]:
    """The store of the data directory; where there is none, made or a Failure."""
    from accord import wiring
    from accord.cli.platform import load_settings

    settings = load_settings(config, data, {})
    if not (make or wiring.store_path(settings).exists()):
        raise Failure(f"There is no platform in {settings.data}. Name its directory with --data.")
    store = wiring.open_store(settings)
    try:
        yield store
    finally:
        store.close()


@app.command()
def create(
    user: Annotated[str, typer.Option(help="Whose tasks they are.")],
    role: Annotated[Role, typer.Option(help="What it may do.")] = Role.SUBMITTER,
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
    expires: Annotated[
        float | None, typer.Option(parser=seconds, metavar="TIME", help="Such as 90d.")
    ] = None,
    json: Json = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Make a token and print its secret, this once.

    Example: accord token create --user ada --role admin --expires 90d
    """
    from accord.adapters.system import SystemIds
    from accord.core import ids
    from accord.core.user import User

    name = ids.UserName(ids.name(user, "user"))
    id_, secret = SystemIds().token()
    with _store(config, data, make=True) as store:
        now = store.now()
        token = Token(
            id=id_,
            user=name,
            role=role,
            hash=hashlib.sha256(secret.encode()).hexdigest(),
            created=now,
            expires=now + expires if expires else None,
            note=note,
        )
        store.put_token(token, User(name=name, created=now))
    if json:
        print_json({"id": id_, "user": name, "role": role, "token": secret})
    else:
        print(secret)


@app.command(name="list")
def list_(json: Json = False, data: Data = None, config: Config = None) -> None:
    """List tokens; their secrets are nowhere kept."""
    with _store(config, data) as store:
        now = store.now()
        found = store.tokens()
    rows = [(t.id, t.user, t.role, _state(t, now), t.note) for t in found]
    columns = ("id", "user", "role", "state", "note")
    if json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows)


def _state(token: Token, now: float) -> str:
    if token.revoked is not None:
        return "revoked"
    if not token.alive(now):
        return "expired"
    if token.expires is None:
        return "valid"
    return f"valid for {(token.expires - now) / 86400:.0f} more days"


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(help="The token's id, as list shows it.")],
    data: Data = None,
    config: Config = None,
) -> None:
    """End a token; it stops working within seconds."""
    from accord.core.ids import TokenId
    from accord.core.user import User

    with _store(config, data) as store:
        token = store.token_by_id(TokenId(token_id))
        if token is None:
            raise Failure(f"There is no token {token_id}. See: accord token list")
        if token.revoked is None:
            ended = msgspec.structs.replace(token, revoked=store.now())
            store.put_token(ended, User(name=token.user, created=ended.created))
    print(f"{token_id} revoked")
