"""The access log: one line a request, written here so that no code can get into it.

A line holds the route's pattern and ids, never the query, the body or a path that matched no
route: programs to run travel in all three.
"""

from __future__ import annotations

from flask import Flask, Response, g, request

from accord import logs
from accord.delivery.http.access import Caller
from accord.delivery.http.context import gateway

_log = logs.get("access")


def install(app: Flask) -> None:
    """Write a line for every request of this application."""
    app.before_request(_start)
    app.after_request(_write)


def _start() -> None:
    g.started = gateway().clock.monotonic()


def _write(response: Response) -> Response:
    rule = request.url_rule
    who = g.get("caller")
    _log.info(
        "A request was answered",
        extra={
            "action": "request",
            "method": request.method,
            "route": rule.rule if rule else None,
            "task": (request.view_args or {}).get("task_id")
            if response.status_code < 400
            else None,
            "user": who.user if isinstance(who, Caller) else None,
            "status": response.status_code,
            "ms": round((gateway().clock.monotonic() - g.started) * 1000, 1),
        },
    )
    return response
