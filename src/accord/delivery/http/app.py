"""The gateway's WSGI application, put together.

Nothing connects, starts a thread or reads a clock when this module is imported or ``make_app``
is called: under uWSGI the judicator's client makes its connections in the worker, on first use.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Response, request
from flask_bootstrap import Bootstrap5
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from pydantic import ValidationError
from werkzeug.routing import PathConverter

from accord import __version__
from accord.config import Settings
from accord.delivery import web
from accord.delivery.http import (
    access,
    batch_streams,
    batches,
    certificates,
    context,
    events,
    execute,
    files,
    journal,
    nodes,
    problems,
    requests,
    tasks,
)
from accord.delivery.http.batch_intake import BatchIn, TasksIn
from accord.delivery.http.submissions import Submission
from accord.delivery.web import pages
from accord.ports.clock import Clock, Ids
from accord.ports.judicator import Judicator

_FORM_MEMORY = 16 << 20
"""Bytes of form fields that are held in memory; file parts go to disk beyond half a mebibyte."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{style}; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": with it browsers send our own forms with "Origin: null".
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class _AnyPath(PathConverter):
    """A path with whatever a program may name a file by, line ends included."""

    regex = r"[^/][\s\S]*?"


class Gateway(OpenAPI):
    """The application: a Flask one whose requests are read strictly."""

    request_class = requests.Request


def make_app(judicator: Judicator, settings: Settings, clock: Clock, ids: Ids) -> Gateway:
    """The application that speaks for ``judicator``."""
    app = _bare(settings)
    context.install(
        app,
        context.Gateway(
            judicator=judicator,
            settings=settings,
            clock=clock,
            ids=ids,
            token_of=access.TokenCache(judicator.authenticate, clock),
        ),
    )
    journal.install(app)
    app.before_request(_admit)
    app.after_request(_secure)
    problems.install(app)
    for module in (tasks, files, certificates, events, batches, batch_streams, execute, nodes):
        app.register_api(module.api)
    app.register_blueprint(pages.blueprint)
    app.wsgi_app = requests.WholeRequests(  # type: ignore[method-assign]  # Flask's own way
        app.wsgi_app, chunk_reader(), settings.gateway.largest_body
    )
    return app


def _bare(settings: Settings) -> Gateway:
    folder = Path(web.__file__).parent
    app = Gateway(
        __name__,
        info=Info(title="Accord", version=__version__),
        security_schemes={"token": {"type": "http", "scheme": "bearer"}},
        doc_prefix="/api",
        validation_error_model=problems.Problem,
        validation_error_callback=_refuse,
        template_folder=str(folder / "templates"),
        static_folder=str(folder / "static"),
    )
    app.config.update(
        MAX_CONTENT_LENGTH=settings.gateway.largest_body,
        MAX_FORM_MEMORY_SIZE=_FORM_MEMORY,
        BOOTSTRAP_SERVE_LOCAL=True,
        SEND_FILE_MAX_AGE_DEFAULT=300,
        OPENAPI_HTML_STRING=web.API_HOME,
        SWAGGER_HTML_STRING=web.API_BROWSER,
    )
    app.url_map.converters["path"] = _AnyPath
    app.url_map.merge_slashes = False  # an id of dots and slashes is unknown, not elsewhere
    app.components_schemas.update(_schemas())
    Bootstrap5(app)
    return app


def _schemas() -> dict[str, Any]:
    """The schemas of what is read by hand and so is not found by itself."""
    found: dict[str, Any] = {}
    for model in (Submission, BatchIn, TasksIn):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        found |= schema.pop("$defs")
        found.setdefault(model.__name__, schema)
    return found


def chunk_reader() -> Callable[[], bytes] | None:
    """How chunked bodies are read here: by uWSGI's own call where this runs under uWSGI."""
    try:
        read: Callable[[], bytes] = importlib.import_module("uwsgi").chunked_read
    except (ImportError, AttributeError):
        return None
    return read


def _refuse(error: ValidationError) -> Response:
    raise error


def _admit() -> None:
    access.admit()
    requests.check_length(request)
    requests.check_query(request)


def _secure(response: Response) -> Response:
    # Swagger's page styles its elements inline; it shows nothing that a user has written.
    style = " 'unsafe-inline'" if request.blueprint == "swagger" else ""
    response.headers.setdefault("Content-Security-Policy", _POLICY.format(style=style))
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if not (request.endpoint or "").endswith("static"):
        response.headers.setdefault("Cache-Control", "no-store")
    return response
