"""The API of tasks: submit, list, read, wait, cancel, retry, purge, explain."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field, StringConstraints

from accord.core.errors import Forbidden, Invalid, NotFound
from accord.core.ids import BatchId, TaskId, UserName, task_id
from accord.core.search import Query
from accord.core.status import Status
from accord.core.task import Task
from accord.core.user import Role
from accord.core.view import status_of
from accord.delivery.http.access import Caller, caller
from accord.delivery.http.context import gateway
from accord.delivery.http.documents import API, PageOut, TaskOut, page_out, task_out
from accord.delivery.http.intake import Intake, idempotency_key, read_submission
from accord.delivery.http.parameters import NoQuery, Parameters, labels_of, moment_of
from accord.delivery.http.problems import PROBLEMS
from accord.delivery.http.programs import Parts
from accord.delivery.http.submissions import Submission
from accord.delivery.http.uploads import Direct, Uploads
from accord.ports.judicator import TaskView

LONGEST_WAIT = 60.0
"""Seconds for which one read is held at most."""

api = APIBlueprint(
    "tasks",
    __name__,
    url_prefix=f"{API}/tasks",
    abp_tags=[Tag(name="Tasks")],
    abp_responses=PROBLEMS,
)


class TaskPath(BaseModel):
    """The task that is meant."""

    task_id: str = Field(description="The id, 26 letters and digits in any case.")


class ReadQuery(Parameters):
    """How a task is read."""

    wait: float = Field(
        default=0, ge=0, le=LONGEST_WAIT, description="Seconds to wait for the task's end."
    )


class TasksQuery(Parameters):
    """Which tasks to list. All conditions hold together."""

    user: str | None = Field(
        default=None, description="Only an administrator may name somebody else."
    )
    status: list[str] = Field(
        default=[], description="May be repeated, or hold several with commas."
    )
    label: list[str] = Field(default=[], description="key:value; may be repeated.")
    since: str | None = Field(
        default=None, description="Added at or after: ISO 8601, or epoch seconds."
    )
    until: str | None = Field(default=None, description="Added before.")
    text: Annotated[str, StringConstraints(max_length=200)] = Field(
        default="", description="A part of the name, or the beginning of the id."
    )
    limit: int = Field(default=50, ge=1, le=1000)
    cursor: str | None = Field(default=None, description="The 'next' of the page before.")
    order: Literal["newest", "oldest", "slowest"] = Field(
        default="newest",
        description="slowest: by the wall time of the run; of one batch, on one page.",
    )


class ListQuery(TasksQuery):
    """Which tasks to list, of all."""

    batch: str | None = Field(default=None, description="Only those of that batch.")


class Explained(BaseModel):
    """Why a task is in its state."""

    id: str
    status: str
    explanation: str


_SUBMIT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/Submission"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "task": {"type": "string", "description": "The document, as JSON."},
                        "source": {"type": "string", "format": "binary"},
                        "data": {"type": "string", "format": "binary"},
                        "stdin": {"type": "string", "format": "binary"},
                    },
                },
            },
        },
    },
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "A repeat with the same key answers with the same task, again 201.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 200},
        }
    ],
}


@api.post("", responses={201: TaskOut}, openapi_extensions=_SUBMIT)
def submit(query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """Submit a task.

    JSON, short or long form; or multipart with the document as the part ``task`` (or as form
    fields) and the files ``source`` (a zip, or one file), ``data`` (a zip) and ``stdin``.
    """
    who = caller()
    who.need(Role.SUBMITTER)
    task, parts = read_submission(request)
    return created(add(who, task, parts, idempotency_key(request)))


def add(who: Caller, task: Submission, parts: Parts, key: str | None = None) -> Task:
    """Submit for somebody; the page and ``/execute`` do it by this too."""
    services = gateway()
    intake = Intake(services.settings, Uploads(Direct(services.judicator, services.ids)))
    return services.judicator.add([intake.new_task(task, parts, who.user, key)])[0]


def created(task: Task) -> Response:
    """The answer that tells of a new task."""
    response = shown(TaskView(task=task, status=status_of(task)), 201)
    response.headers["Location"] = f"{API}/tasks/{task.id}"
    return response


def shown(view: TaskView, status: int = 200) -> Response:
    """A task as JSON."""
    return answer(task_out(view, gateway().judicator), status)


def answer(body: BaseModel, status: int = 200) -> Response:
    """A document as JSON."""
    return Response(body.model_dump_json(), status, content_type="application/json")


@api.get("", responses={200: PageOut})
def search(query: ListQuery) -> Response:
    """List tasks, newest first unless asked otherwise."""
    page = gateway().judicator.search(query_of(query, caller()))
    return answer(page_out(page))


def query_of(query: ListQuery, who: Caller) -> Query:
    """The core's query of a list; others' tasks only for an administrator. Raises Invalid."""
    batch = task_id(query.batch) if query.batch else None
    if query.batch and batch is None:
        raise Invalid("batch must be a batch's id, 26 letters and digits.", field="batch")
    return tasks_query(query, who, BatchId(batch) if batch else None)


def tasks_query(query: TasksQuery, who: Caller, batch: BatchId | None) -> Query:
    """The core's query of a list, perhaps within a batch. Raises Forbidden, Invalid."""
    if query.order == "slowest" and batch is None:
        raise Invalid("The slowest are listed of one batch. Give 'batch' too.", field="order")
    return Query(
        user=user_of(query.user, who),
        batch=batch,
        status=_statuses(query.status),
        labels=labels_of(query.label),
        since=moment_of(query.since, "since"),
        until=moment_of(query.until, "until"),
        text=query.text,
        limit=query.limit,
        cursor=query.cursor or None,
        oldest_first=query.order == "oldest",
        slowest_first=query.order == "slowest",
    )


def user_of(asked: str | None, who: Caller) -> UserName | None:
    """Whose things to list: of a caller who is no administrator, their own. Raises Forbidden."""
    user = asked or None
    if not who.admin:
        if user not in {None, who.user}:
            raise Forbidden("You may list your own only. Leave 'user' out.")
        user = who.user
    return UserName(user) if user else None


def _statuses(given: list[str]) -> tuple[Status, ...]:
    names = [name for part in given for name in part.split(",") if name]
    try:
        return tuple(Status(name) for name in names)
    except ValueError as error:
        known = ", ".join(Status)
        raise Invalid(f"{error}. There are: {known}.", field="status") from error


def known_id(text: str) -> TaskId:
    """The task id that a path names. Raises NotFound."""
    found = task_id(text)
    if found is None:
        raise NotFound
    return found


def read(text: str, wait: float = 0.0) -> TaskView:
    """A task that the caller may see, at its end or after 'wait' seconds. Raises NotFound."""
    who = caller()
    id_ = known_id(text)
    judicator = gateway().judicator
    if who.admin:
        return judicator.get(id_, wait)
    view = judicator.get(id_)
    who.check_owner(view.task)
    return judicator.get(id_, wait) if wait and not view.status.done else view


def read_to_change(text: str) -> TaskView:
    """A task that the caller may change. Raises NotFound, Forbidden."""
    view = read(text)
    caller().need(Role.SUBMITTER)
    return view


@api.get("/<task_id>", responses={200: TaskOut})
def get(path: TaskPath, query: ReadQuery) -> Response:
    """Read a task; with 'wait' at its end, or after that many seconds."""
    return shown(read(path.task_id, query.wait))


@api.delete("/<task_id>", responses={200: TaskOut, 202: TaskOut})
def cancel(path: TaskPath, query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """Cancel a task: 202 while its runs are being killed, 200 once that is proved."""
    view = gateway().judicator.cancel(read_to_change(path.task_id).task.id)
    return shown(view, 200 if view.status.done else 202)


@api.post("/<task_id>/retry", responses={201: TaskOut})
def retry(path: TaskPath, query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """Make a new task of the same content."""
    return created(gateway().judicator.retry(read_to_change(path.task_id).task.id))


@api.post("/<task_id>/purge", responses={204: None})
def purge(path: TaskPath, query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """Remove a done task and its files for good."""
    gateway().judicator.purge(read_to_change(path.task_id).task.id)
    return Response(status=204)


@api.get("/<task_id>/explain", responses={200: Explained})
def explain(path: TaskPath, query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """Say why the task is in its state, and what happens next."""
    view = read(path.task_id)
    text = gateway().judicator.explain(view.task.id)
    return answer(Explained(id=view.task.id, status=view.status, explanation=text))
