"""``/execute``: run some code now, wait for it, and answer with what it printed.

The answer is 200 once the program has run, whatever its verdict: the output is the answer, and
the headers ``X-Accord-Task``, ``-Status``, ``-Verdict`` and ``-Exit-Code`` tell how it went. Text
is the exact stdout, followed by stderr (or by the compiler's output) where the verdict is not ok.
Where the wait ends first: 202 with the task's address, and the task goes on. Where the task ends
without a result: 503 with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from flask import Request, Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from flask_openapi3.types import ResponseDict
from pydantic import Field
from werkzeug.exceptions import BadRequest, MethodNotAllowed

from accord.core.errors import Invalid, TooLarge, Unavailable
from accord.core.replica import Content, Result, Verdict
from accord.core.task import Task
from accord.core.user import Role
from accord.core.view import result_of, status_of
from accord.delivery.http.access import caller
from accord.delivery.http.context import gateway
from accord.delivery.http.documents import API, read_content
from accord.delivery.http.files import pieces
from accord.delivery.http.intake import idempotency_key
from accord.delivery.http.parameters import Parameters
from accord.delivery.http.problems import PROBLEMS, problem
from accord.delivery.http.programs import Parts
from accord.delivery.http.submissions import RedundancyIn, Submission
from accord.delivery.http.tasks import LONGEST_WAIT, add, shown
from accord.ports.judicator import Judicator, TaskView

MOST_BY_GET = 48 * 1024
"""Bytes of code that fit into a request's first line with all its encoding."""
_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})

api = APIBlueprint(
    "execute",
    __name__,
    abp_tags=[Tag(name="Execute")],
    abp_responses=PROBLEMS,
)


class ExecuteFields(Parameters):
    """What to run, and how to answer. By POST these may be form fields as well."""

    code: str | None = Field(
        default=None, description="The program's text; over 48 KiB only by POST."
    )
    language: str = "python"
    stdin: str | None = None
    quorum: int = Field(default=1, ge=1, le=100, description="Results that are to be compared.")
    comparator: Literal["default", "exact", "lines", "tokens", "numbers", "json"] = Field(
        default="default", description="When two of them agree."
    )
    distinct: Literal["executor", "owner", "none"] = Field(
        default="executor", description="Runs are on different executors, or owners' executors."
    )
    wait: float = Field(default=60, ge=0, le=300, description="Seconds to wait for the end.")
    format: Literal["text", "json"] | None = Field(
        default=None,
        description="text is the output, json the whole task; else by the header Accept.",
    )


_ANSWERS: ResponseDict = {
    200: {
        "description": "The program has run: its output, or the task as JSON.",
        "content": {"text/plain": {"schema": {"type": "string"}}, "application/json": {}},
    },
    202: {
        "description": "It still runs: its address is in Location.",
        "content": {"text/plain": {"schema": {"type": "string"}}, "application/json": {}},
    },
}

_FIELDS_BODY = {
    "requestBody": {
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "code": {"type": "string"},
                        "language": {"type": "string"},
                        "stdin": {"type": "string"},
                        "quorum": {"type": "integer"},
                        "comparator": {"type": "string"},
                        "distinct": {"type": "string"},
                    },
                }
            },
            "text/plain": {"schema": {"type": "string", "description": "The code itself."}},
        }
    }
}


@api.get("/execute", responses=_ANSWERS)
def execute_get(query: ExecuteFields) -> Response:
    """Run the code in the query and answer with its output."""
    if request.method == "HEAD":  # which the framework answers by GET: it must not run code
        raise MethodNotAllowed(["GET", "POST"])
    if len((query.code or "").encode()) > MOST_BY_GET:
        raise TooLarge(
            f"Code over {MOST_BY_GET} bytes does not fit into an address. Send it by POST.",
            field="code",
        )
    return _execute(query)


@api.post("/execute", responses=_ANSWERS, openapi_extensions=_FIELDS_BODY)
def execute_post(query: ExecuteFields) -> Response:
    """Run the code in the form field 'code', or in a text/plain body, and answer alike."""
    return _execute(_posted(request, query))


def _posted(request: Request, query: ExecuteFields) -> ExecuteFields:
    given = query.model_dump(exclude_unset=True)
    fields = _body_fields(request)
    for name in fields:
        if name in given:
            raise Invalid("This stands both in the address and in the body.", field=name)
    return ExecuteFields.model_validate(given | fields)


def _body_fields(request: Request) -> dict[str, str]:
    if request.mimetype in _FORMS:
        for name in request.files:
            raise Invalid("Send the code as a field, not as a file.", field=name)
        return {name: _once(name, request.form.getlist(name)) for name in request.form}
    if request.mimetype in {"text/plain", ""}:
        body = _text(request)
        return {"code": body} if body else {}
    raise Invalid(
        "Send the code as a form field 'code', or as a text/plain body.", field="Content-Type"
    )


def _once(name: str, values: list[str]) -> str:
    if len(values) > 1:
        raise Invalid("This field stands twice. Send it once.", field=name)
    return values[0]


def _text(request: Request) -> str:
    try:
        return request.get_data().decode("utf-8")
    except UnicodeError as error:
        raise BadRequest("The body is not valid UTF-8. Encode the code as UTF-8.") from error


def _execute(fields: ExecuteFields) -> Response:
    who = caller()
    who.need(Role.SUBMITTER)
    if not fields.code:
        raise Invalid("There is no code. Give it as 'code'.", field="code")
    redundancy = fields.model_dump(include={"comparator", "distinct"})
    wanted = Submission(
        language=fields.language,
        source=fields.code,
        stdin=fields.stdin,
        redundancy=RedundancyIn(min_quorum=fields.quorum, **redundancy),
    )
    task = add(who, wanted, Parts(), idempotency_key(request))
    view = _await(task, fields.wait)
    response = _answer(view, as_json=_as_json(fields))
    response.headers["X-Accord-Task"] = task.id
    response.headers["X-Accord-Status"] = view.status
    return response


def _as_json(fields: ExecuteFields) -> bool:
    if fields.format is not None:
        return fields.format == "json"
    accepted = request.accept_mimetypes
    return accepted["application/json"] > accepted["text/plain"]


def _await(task: Task, wait: float) -> TaskView:
    """The task at its end, or after ``wait`` seconds, or when no judicator can be asked: the
    task is safe by then, so the caller gets its address in any case.
    """
    services = gateway()
    view = TaskView(task=task, status=status_of(task))
    deadline = services.clock.monotonic() + wait
    left = wait
    while True:
        try:
            view = services.judicator.get(task.id, min(max(left, 0.0), LONGEST_WAIT))
        except Unavailable:
            return view
        left = deadline - services.clock.monotonic()
        if view.status.done or left <= 0:
            return view


def _answer(view: TaskView, *, as_json: bool) -> Response:
    task = view.task
    if not view.status.done:
        return _later(view, as_json=as_json)
    result = result_of(task)
    if result is None:
        why = gateway().judicator.explain(task.id)
        return problem(503, view.status, why, {"task": task.id})
    response = shown(view) if as_json else _output(result)
    step = result.execute or result.compile
    response.headers["X-Accord-Verdict"] = result.verdict
    if step is not None and step.exit_code is not None:
        response.headers["X-Accord-Exit-Code"] = str(step.exit_code)
    return response


def _later(view: TaskView, *, as_json: bool) -> Response:
    where = f"{API}/tasks/{view.task.id}"
    if as_json:
        response = shown(view, 202)
    else:
        text = f"Task {view.task.id} is {view.status}. Read it at {where}?wait=30\n"
        response = Response(text, 202, content_type="text/plain; charset=utf-8")
    response.headers["Location"] = where
    return response


def _output(result: Result) -> Response:
    shown_contents = [result.execute.stdout] if result.execute else []
    if result.verdict is not Verdict.OK:
        step = result.execute or result.compile
        if step is result.compile and step is not None:
            shown_contents.append(step.stdout)
        shown_contents += [step.stderr] if step else []
    response = Response(
        _bytes(gateway().judicator, shown_contents), content_type="text/plain; charset=utf-8"
    )
    response.content_length = sum(content.size for content in shown_contents)
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


def _bytes(judicator: Judicator, contents: list[Content]) -> Iterator[bytes]:
    for content in contents:
        yield from pieces(lambda s, n, c=content: read_content(judicator, c, s, n))  # type: ignore[misc]  # the default binds the loop's value
