"""Errors as RFC 9457 problem documents for programs, and as a page for people.

Whatever is raised in a view comes out here: errors of the core by their code, HTTP errors of the
framework, validation errors of pydantic, and what nobody expected, which is logged and told as
"internal" without its details.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flask import Flask, Response, make_response, render_template, request
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from werkzeug.exceptions import (
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
)

from accord import logs
from accord.core.errors import AccordError, Invalid, NotYet, all_errors
from accord.delivery.http.context import gateway

_log = logs.get("gateway")
T = TypeVar("T")

STATUS_BY_CODE = {
    "invalid": 422,
    "not_yet": 422,
    "not_found": 404,
    "already_done": 409,
    "not_done": 409,
    "no_result": 409,
    "key_reused": 409,
    "too_large": 413,
    "unauthenticated": 401,
    "forbidden": 403,
    "unavailable": 503,
}
"""Every other code of the tree is the platform's own fault: 500."""

_CODE_BY_STATUS = {
    400: "invalid",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    413: "too_large",
    422: "invalid",
    500: "internal",
    503: "unavailable",
}

RETRY_AFTER = 2
"""Seconds after which a caller may ask again when no judicator can be reached."""

_SHOWN_ERRORS = 20

_HINTS = {
    "extra_forbidden": "There is no such field. Remove it, or check its spelling.",
    "missing": "This field is needed. Add it.",
}


class Problem(BaseModel):
    """What went wrong, and what to change (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str


_ANSWER: dict[str, Any] = {
    "description": "A problem document that says what to change.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
PROBLEMS: ResponseDict = {"422": _ANSWER, "default": _ANSWER}
"""What every call may answer as well, for the API's document."""


def problem(
    status: int, code: str, detail: str, facts: Mapping[str, object] | None = None
) -> Response:
    """The answer that tells of an error, in the form that the caller can read."""
    title = _title(status, code)
    if wants_page():
        page = render_template("error.html", status=status, title=title, detail=detail, code=code)
        response = make_response(page, status)
    else:
        body = {
            **(facts or {}),
            "type": f"urn:accord:error:{code}",
            "title": title,
            "status": status,
            "detail": detail,
            "code": code,
        }
        response = Response(json.dumps(body), status, content_type="application/problem+json")
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="accord"'
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def wants_page() -> bool:
    """Whether the caller is a person at one of the pages."""
    if request.path.startswith("/api/") or request.path == "/execute":
        return False
    accepted = request.accept_mimetypes
    return accepted["text/html"] > accepted["application/json"]


def _title(status: int, code: str) -> str:
    error = all_errors().get(code)
    if error is not None:
        return (error.__doc__ or "").split(". ")[0].strip().rstrip(".")
    return {405: "The method is not allowed here"}.get(status, code.replace("_", " ").capitalize())


def install(app: Flask) -> None:
    """Answer every error of this application with a problem document or page."""
    app.register_error_handler(AccordError, _accord_error)
    app.register_error_handler(ValidationError, _validation_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _accord_error(error: AccordError) -> Response:
    status = STATUS_BY_CODE.get(error.code, 500)
    if status == 500:
        _log.error(
            "A call failed", extra={"action": "call_failed", "code": error.code}, exc_info=error
        )
    return problem(status, error.code, error.message, error.fields)


def _validation_error(error: ValidationError) -> Response:
    found = _all_told(error)
    return problem(
        422,
        "invalid",
        _sentence(found[0]),
        {"field": found[0]["field"], "errors": found[:_SHOWN_ERRORS]},
    )


def invalid(error: ValidationError) -> Invalid:
    """The first of what a model found wrong, as an error of the core."""
    first = _all_told(error)[0]
    return Invalid(_sentence(first), field=first["field"])


def within(place: str, make: Callable[[], T]) -> T:
    """What ``make`` gives; its errors name the field below ``place``."""
    try:
        return make()
    except (Invalid, NotYet) as error:
        raise placed(error, place) from error


def placed(error: AccordError, place: str) -> AccordError:
    """The error with its field below ``place``."""
    field = error.fields.get("field")
    fields = {**error.fields, "field": f"{place}.{field}" if field else place}
    return type(error)(f"{place}: {error.message}", **fields)


def _all_told(error: ValidationError) -> list[dict[str, str]]:
    return [_told(e) for e in error.errors(include_url=False, include_context=False)]


def _sentence(told: dict[str, str]) -> str:
    return f"{told['field']}: {told['detail']}" if told["field"] else told["detail"]


def _told(error: ErrorDetails) -> dict[str, str]:
    hint = _HINTS.get(error["type"], error["msg"].removeprefix("Value error, ") + ".")
    return {"field": ".".join(_visible(part) for part in error["loc"]), "detail": hint}


def _visible(part: str | int) -> str:
    return str(part).encode("utf-8", "backslashreplace").decode()[:100]


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    code = _CODE_BY_STATUS.get(status, error.name.lower().replace(" ", "_"))
    response = problem(status, code, _advice(error))
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def _advice(error: HTTPException) -> str:
    """What to change, where the framework's own description does not say it."""
    if isinstance(error, RequestEntityTooLarge):
        largest = gateway().settings.gateway.largest_body
        return f"The body is too large: at most {largest} bytes are taken. Send less."
    if isinstance(error, NotFound) and request.routing_exception is error:
        return "There is nothing at this address. /api/openapi.json lists what there is."
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return f"{request.method} does not work here. There are: {allowed}."
    return error.description or error.name


def _unexpected(error: Exception) -> Response:
    # The message of an unforeseen error may hold what a user sent, so only its kind and place
    # are logged.
    frames = error.__traceback__
    places = []
    while frames is not None:
        places.append(f"{frames.tb_frame.f_code.co_filename}:{frames.tb_lineno}")
        frames = frames.tb_next
    _log.error(
        "A request failed unexpectedly",
        extra={"action": "request_failed", "kind": type(error).__name__, "trace": places[-12:]},
    )
    return problem(500, "internal", "The gateway failed. Its log says where.")
