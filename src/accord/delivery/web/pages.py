"""The pages: submit, tasks, one task, executors, and signing in; batches have a module of their own.

Forms are posted only from this site: ``access.admit`` refuses what comes from another one.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import msgspec
from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from pydantic import ValidationError
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as BaseResponse

from accord.core import certificate
from accord.core.errors import AccordError, AlreadyDone, Invalid, Unauthenticated
from accord.core.executor import Executor, ExecutorState
from accord.core.ids import ExecutorName
from accord.core.limits import EXECUTE_DEFAULTS, MIB
from accord.core.status import Status
from accord.core.task import Step, Task, quorum_of
from accord.core.user import Role
from accord.delivery.http.access import COOKIE, caller, hash_of, needs_tokens
from accord.delivery.http.context import gateway
from accord.delivery.http.documents import API, executor_out, page_out, task_out
from accord.delivery.http.nodes import languages_of
from accord.delivery.http.problems import STATUS_BY_CODE
from accord.delivery.http.programs import Parts
from accord.delivery.http.submissions import Submission
from accord.delivery.http.tasks import ListQuery, add, query_of, read, read_to_change
from accord.delivery.web import batch_pages, pictures
from accord.delivery.web.progress import ANY_FAILING, PROGRESS
from accord.delivery.web.words import FILTERS
from accord.ports.judicator import TaskView

blueprint = Blueprint("web", __name__)
for _name, _filter in {**FILTERS, **PROGRESS}.items():
    blueprint.add_app_template_filter(_filter, _name)
for _part in (batch_pages, pictures):
    blueprint.register_blueprint(_part.blueprint)

Page = str | BaseResponse | tuple[str, int]

_STEERING = {
    ExecutorState.ONLINE: ("drain", "quarantine"),
    ExecutorState.DRAINING: ("release", "quarantine"),
    ExecutorState.QUARANTINED: ("release",),
    ExecutorState.LOST: ("forget",),
}
"""What can be done with an executor in each state."""

_COMPARATORS = (
    ("", "all bytes"),
    ("exact", "output, all bytes"),
    ("lines", "lines of output"),
    ("tokens", "words of output"),
    ("numbers", "words and numbers"),
    ("json", "output as JSON"),
)
"""What the form offers; the others want more than a word."""


class Viewer(msgspec.Struct, frozen=True):
    """Who reads a page: what the frame of every page shows of them."""

    user: str
    admin: bool
    can_submit: bool
    signed_in: bool


@blueprint.app_context_processor
def _frame() -> dict[str, Any]:
    return {"viewer": _viewer()}


def _viewer() -> Viewer | None:
    try:
        who = caller()
    except AccordError:  # the error page must come out also where nobody can be asked
        return None
    signed_in = needs_tokens(gateway().settings.gateway)
    return Viewer(who.user, who.admin, who.role.may(Role.SUBMITTER), signed_in)


@blueprint.errorhandler(Unauthenticated)
def _to_sign_in(error: Unauthenticated) -> BaseResponse:  # noqa: ARG001  # the signature is Flask's
    there = request.path if request.method == "GET" else "/"
    return redirect(url_for("web.sign_in", next=there), 303)


@blueprint.get("/")
def home() -> BaseResponse:
    """The first page is the one that does something."""
    return redirect(url_for("web.submit"), 302)


# -- submitting ------------------------------------------------------------------------------


@blueprint.get("/submit")
def submit() -> Page:
    """The form for a new task."""
    caller()
    return _submit_page(MultiDict(), None)


@blueprint.post("/submit")
def submitted() -> Page:
    """Take the form in, and show the task; or the form again with what to change."""
    who = caller()
    who.need(Role.SUBMITTER)
    try:
        task = add(who, Submission.model_validate(_document(request.form)), _parts())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return _submit_page(request.form, f"{where}: {first['msg']}."), 422
    except AccordError as error:
        return _submit_page(request.form, error.message), STATUS_BY_CODE.get(error.code, 500)
    return redirect(url_for("web.task", task_id=task.id), 303)


def _submit_page(values: MultiDict[str, str], error: str | None) -> str:
    services = gateway()
    return render_template(
        "submit.html",
        languages=languages_of(services.judicator.executors()),
        values=values,
        error=error,
        defaults=EXECUTE_DEFAULTS,
        caps=services.settings.caps,
        largest=services.settings.gateway.largest_body,
        comparators=_COMPARATORS,
    )


def _document(form: MultiDict[str, str]) -> dict[str, Any]:
    """The form as a submission; fields left empty are left out."""
    found: dict[str, Any] = {name: form[name] for name in ("language", "name") if form.get(name)}
    if form.get("source"):
        found["source"] = _lines(form["source"])
    if form.get("stdin"):
        found["stdin"] = _lines(form["stdin"])
    found["args"] = [line for line in _lines(form.get("args", "")).split("\n") if line]
    for step in ("compile", "execute"):
        if form.get(step, "").strip():
            found[step] = {"command": _lines(form[step])}
    limits = {name: _number(form[name], name) for name in ("wall", "cpu") if form.get(name)}
    if form.get("memory"):
        limits["memory"] = int(_number(form["memory"], "memory") * MIB)
    return found | {"limits": limits} | _redundancy(form)


def _redundancy(form: MultiDict[str, str]) -> dict[str, Any]:
    """What the form says of running it more than once; nothing where it says nothing."""
    if not form.get("quorum"):
        return {}
    quorum = _number(form["quorum"], "quorum")
    if not quorum.is_integer():
        raise Invalid("quorum must be a whole number.", field="quorum")
    found: dict[str, Any] = {"min_quorum": int(quorum)}
    if form.get("distinct"):
        found["distinct"] = form["distinct"]
    if form.get("comparator"):
        found["comparator"] = {"type": form["comparator"]}
    if form.get("comparator") == "numbers" and form.get("tolerance"):
        found["comparator"]["rel"] = _number(form["tolerance"], "tolerance")
    return {"redundancy": found}


def _lines(text: str) -> str:
    """Text of a text area, in which browsers end lines by CR LF."""
    return text.replace("\r\n", "\n")


def _number(text: str, field: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise Invalid(f"{field} must be a number.", field=field) from error
    if not 0 <= value < 1e12:  # a NaN fails this too
        raise Invalid(f"{field} must be a positive number.", field=field)
    return value


def _parts() -> Parts:
    file = request.files.get("archive")
    if file is None or not file.filename:
        return Parts()
    return Parts(source=file.stream, source_name=file.filename, source_is_zip=True)


# -- tasks -----------------------------------------------------------------------------------


@blueprint.get("/tasks")
def tasks() -> Page:
    """The list; its filters are the API's parameters."""
    who = caller()
    given = {k: v for k, v in request.args.to_dict(flat=False).items() if any(v)}
    lists = {k: v for k, v in given.items() if k in {"status", "label"}}
    query = ListQuery.model_validate({**{k: v[0] for k, v in given.items()}, **lists})
    page = page_out(gateway().judicator.search(query_of(query, who)))
    onward = None
    if page.next:
        onward = url_for("web.tasks") + "?" + urlencode({**given, "cursor": page.next}, doseq=True)
    return render_template(
        "tasks.html",
        page=page,
        query=query,
        statuses=list(Status),
        any_failing=ANY_FAILING,
        next=onward,
    )


@blueprint.get("/tasks/<task_id>")
def task(task_id: str) -> Page:
    """One task, live while it runs."""
    view = read(task_id)
    judicator = gateway().judicator
    return render_template(
        "task.html",
        task=task_out(view, judicator),
        limits=_step_told(view).limits,
        why=judicator.explain(view.task.id),
        pictures=pictures.pictures_of(view.task),
        certified=_certified(view.task),
    )


class Certified(msgspec.Struct, frozen=True):
    """What the page of a task says of its certificate."""

    agreed: int
    runs: int
    majority: int
    executors: tuple[str, ...]
    comparator: str
    judged_by: str | None
    href: str


def _certified(task: Task) -> Certified | None:
    """None where there is nothing to certify."""
    agreed = certificate.agreed_by(task)
    if not agreed:
        return None
    return Certified(
        agreed=len(agreed),
        runs=sum(r.sent_time is not None for r in task.replicas),
        majority=quorum_of(task) // 2 + 1,
        executors=tuple(dict.fromkeys(r.executor for r in agreed if r.executor)),
        comparator=certificate.spelled(certificate.told(task.spec.redundancy.comparator)),
        judged_by=task.judged_by,
        href=f"{API}/tasks/{task.id}/certificate",
    )


def _step_told(view: TaskView) -> Step:
    """The step whose usage a task shows: the one that ended it."""
    spec = view.task.spec
    if spec.compile and view.status is Status.COMPILE_FAILED:
        return spec.compile
    return spec.execute


@blueprint.post("/tasks/<task_id>/cancel")
def cancel(task_id: str) -> Page:
    """Cancel, and show the task."""
    id_ = read_to_change(task_id).task.id
    with suppress(AlreadyDone):  # it ended while the reader reached for the button: show that
        gateway().judicator.cancel(id_)
    return redirect(url_for("web.task", task_id=id_), 303)


@blueprint.post("/tasks/<task_id>/retry")
def retry(task_id: str) -> Page:
    """Make a new task of it, and show that."""
    fresh = gateway().judicator.retry(read_to_change(task_id).task.id)
    return redirect(url_for("web.task", task_id=fresh.id), 303)


# -- executors -------------------------------------------------------------------------------


@blueprint.get("/executors")
def executors() -> Page:
    """The machines that run programs."""
    caller().need(Role.READER)
    judicator = gateway().judicator
    found = [(executor_out(e), e.last_report, _verbs(e)) for e in judicator.executors()]
    return render_template("executors.html", executors=found, now=judicator.ping().now)


def _verbs(executor: Executor) -> tuple[str, ...]:
    verbs = _STEERING[executor.state]
    kept = executor.state is ExecutorState.ONLINE and any(s.note for s in executor.standings)
    return ("release", *verbs) if kept else verbs


@blueprint.post("/executors/<name>/<verb>")
def steer(name: str, verb: str) -> Page:
    """Drain, quarantine, release or forget an executor."""
    caller().need(Role.ADMIN)
    gateway().judicator.steer(ExecutorName(name), verb)
    return redirect(url_for("web.executors"), 303)


# -- signing in ------------------------------------------------------------------------------


@blueprint.get("/sign-in")
def sign_in() -> Page:
    """The form that takes a token."""
    return render_template("sign_in.html", next=_local(request.args.get("next")), error=None)


@blueprint.post("/sign-in")
def signed_in() -> Page:
    """Keep the token in a cookie that scripts and other sites cannot use."""
    secret = request.form.get("token", "").strip()
    there = _local(request.form.get("next"))
    if not secret or gateway().token_of(hash_of(secret)) is None:
        message = "This token is not valid, or no longer. Ask an administrator for another."
        return render_template("sign_in.html", next=there, error=message), 401
    response = redirect(there, 303)
    response.set_cookie(
        COOKIE, secret, httponly=True, samesite="Strict", secure=request.is_secure, path="/"
    )
    return response


@blueprint.post("/sign-out")
def sign_out() -> Page:
    """Forget the token."""
    response: Response = make_response(redirect(url_for("web.sign_in"), 303))
    response.delete_cookie(COOKIE, httponly=True, samesite="Strict", path="/")
    return response


def _local(target: str | None) -> str:
    """``target`` where it is a path of this site, else the first page.

    >>> _local("/tasks"), _local("//evil.example"), _local("https://evil.example")
    ('/tasks', '/', '/')
    """
    safe = target and target.startswith("/") and target[1:2] not in {"/", "\\"}
    return target if target and safe and target.isprintable() else "/"
