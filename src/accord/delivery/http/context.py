"""What every view needs, handed to the application once and found again from any request."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from flask import Flask, current_app

from accord.config import Settings
from accord.core.user import Token
from accord.ports.clock import Clock, Ids
from accord.ports.judicator import Judicator


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """The services of one gateway."""

    judicator: Judicator
    settings: Settings
    clock: Clock
    ids: Ids
    token_of: Callable[[str], Token | None]
    """The live token with that SHA-256; a judicator's answer, perhaps two seconds old."""


def install(app: Flask, gateway: Gateway) -> None:
    """Make ``gateway`` the one of this application."""
    app.extensions["accord"] = gateway


def gateway() -> Gateway:
    """The services of the application that handles the current request."""
    found = current_app.extensions["accord"]
    if not isinstance(found, Gateway):
        raise TypeError("This application was not made by make_app.")
    return found
