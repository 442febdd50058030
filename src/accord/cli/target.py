"""Which platform a command speaks to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from accord.cli.failure import UNREACHABLE, Failure
from accord.client import DEFAULT_URL, Client, Unreachable


@contextmanager
def connect(url: str | None, token: str | None) -> Iterator[Client]:
    """The platform named, else one on this machine's default port."""
    with Client(url, token) as client:
        _check(client, url)
        yield client


@contextmanager
def connect_or_start(url: str | None, token: str | None) -> Iterator[Client]:
    """The platform named, else one on the default port, else a private one for the moment."""
    if url is not None:
        with Client(url, token) as client:
            _check(client, url)
            yield client
        return
    with Client(DEFAULT_URL, token) as client:
        if _answers(client):
            yield client
            return
    from accord.cli.platform import private_platform

    with private_platform() as own, Client(own) as client:
        yield client


def _check(client: Client, url: str | None) -> None:
    """Raise Failure at once where nothing is there; later, a platform may be away for a while."""
    if not _answers(client):
        other = "Start one with: accord up, or name one" if url is None else "Name another"
        message = f"No platform answers at {client.url}. {other} with --url or ACCORD_URL."
        raise Failure(message, UNREACHABLE)


def _answers(client: Client) -> bool:
    """Whether a platform is there, asked once; one that refuses us is there too."""
    from accord.client import AccordClientError

    try:
        client.health()
    except Unreachable:
        return False
    except AccordClientError:
        return True
    return True
