"""The API of batches: submit as a list, a stream or a template; read, extend, cancel, retry."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field, StringConstraints
from werkzeug.exceptions import BadRequest

from accord.core.batch import Batch, BatchQuery, BatchSource, BatchView, NewBatch
from accord.core.errors import AlreadyDone, Invalid, NotFound, NotYet, TooLarge
from accord.core.ids import BatchId
from accord.core.user import Role
from accord.delivery.http.access import Caller, caller
from accord.delivery.http.batch_adding import Stream, add_list, add_stream
from accord.delivery.http.batch_documents import BatchOut, BatchPageOut, batch_out, batch_page_out
from accord.delivery.http.batch_intake import (
    BatchHead,
    BatchIn,
    BatchIntake,
    TasksIn,
    check_kind,
    fingerprint_of,
)
from accord.delivery.http.context import gateway
from accord.delivery.http.documents import API, PageOut, page_out
from accord.delivery.http.intake import assimilation, idempotency_key
from accord.delivery.http.parameters import NoQuery, Parameters, labels_of, moment_of
from accord.delivery.http.portions import Portions
from accord.delivery.http.problems import PROBLEMS
from accord.delivery.http.requests import LINES, open_body, parse_json
from accord.delivery.http.tasks import (
    LONGEST_WAIT,
    TasksQuery,
    answer,
    known_id,
    tasks_query,
    user_of,
)

api = APIBlueprint(
    "batches",
    __name__,
    url_prefix=f"{API}/batches",
    abp_tags=[Tag(name="Batches")],
    abp_responses=PROBLEMS,
)


class BatchPath(BaseModel):
    """The batch that is meant."""

    batch_id: str = Field(description="The id, 26 letters and digits in any case.")


class CreateQuery(Parameters):
    """What a stream cannot say of its batch; the body of a JSON request says it itself."""

    name: str = ""
    label: list[str] = Field(default=[], description="key:value; may be repeated.")
    finish: str | None = Field(default=None, description="The finishing task, as JSON.")
    open: bool = False
    assimilate: str | None = Field(default=None, description="A handler, or JSON.")


class AddQuery(Parameters):
    """How tasks are added."""

    close: bool = Field(default=False, description="Whether these are the last ones.")
    at: int | None = Field(
        default=None,
        ge=0,
        le=1 << 40,
        description="The place of the first, which makes a repeat safe; else at the end.",
    )


class BatchReadQuery(Parameters):
    """How a batch is read."""

    wait: float = Field(
        default=0, ge=0, le=LONGEST_WAIT, description="Seconds to wait for the batch's end."
    )


class BatchListQuery(Parameters):
    """Which batches to list. All conditions hold together."""

    user: str | None = Field(
        default=None, description="Only an administrator may name somebody else."
    )
    label: list[str] = Field(default=[], description="key:value; may be repeated.")
    live: bool | None = Field(default=None, description="true: not done yet; false: done.")
    since: str | None = Field(
        default=None, description="Created at or after: ISO 8601, or epoch seconds."
    )
    until: str | None = Field(default=None, description="Created before.")
    text: Annotated[str, StringConstraints(max_length=200)] = Field(
        default="", description="A part of the name, or the beginning of the id."
    )
    limit: int = Field(default=50, ge=1, le=1000)
    cursor: str | None = Field(default=None, description="The 'next' of the page before.")


_LINES: dict[str, Any] = {"schema": {"type": "string", "description": "One task a line."}}


def _body(model: str) -> dict[str, Any]:
    return {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}},
            LINES: _LINES,
        },
    }


_CREATE: dict[str, Any] = {
    "requestBody": _body("BatchIn"),
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "A repeat with the same key goes on with the same batch, again 201.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 200},
        }
    ],
}
_ADD: dict[str, Any] = {"requestBody": _body("TasksIn")}


# -- submitting ------------------------------------------------------------------------------


@api.post("", responses={201: BatchOut}, openapi_extensions=_CREATE)
def create(query: CreateQuery) -> Response:
    """Submit a batch.

    JSON: a list of tasks, or a template with its parameters. NDJSON: a task a line, as many as
    you like; name, labels and the like stand in the query then.
    """
    batch = _create_by_stream(query) if request.mimetype == LINES else _create_by_document(query)
    response = answer(batch_out(gateway().judicator.batch(batch.id)), 201)
    response.headers["Location"] = f"{API}/batches/{batch.id}"
    return response


def _create_by_document(query: CreateQuery) -> Batch:
    for name in query.model_fields_set:
        raise Invalid(f"With a JSON body, {name} stands in it. Move it there.", field=name)
    who = _submitter()
    document = request.get_json()
    asked = BatchIn.model_validate(document)
    check_kind(asked)
    intake = _intake(who, asked)
    key, fingerprint = idempotency_key(request), fingerprint_of(document)
    if asked.template is not None:
        return gateway().judicator.create_batch(intake.sweep(asked, key, fingerprint))
    return _create_list(intake, asked, key, fingerprint)


def _submitter() -> Caller:
    who = caller()
    who.need(Role.SUBMITTER)
    return who


def _intake(who: Caller, head: BatchHead | None = None) -> BatchIntake:
    services = gateway()
    default = assimilation(head.assimilate) if head else None
    return BatchIntake(services.settings, services.judicator, services.ids, who.user, default)


def _create_list(intake: BatchIntake, asked: BatchIn, key: str | None, fingerprint: str) -> Batch:
    judicator = gateway().judicator
    tasks = intake.tasks(asked.tasks or [])
    batch = _begin(intake, intake.head(asked, BatchSource.LIST, key, fingerprint))
    if batch.closed is not None:
        return _complete(batch, len(tasks))
    portions = Portions(judicator, intake.later, batch.total, lambda: batch, own=True)
    try:
        return add_list(portions, tasks, batch.total, close=not asked.open)
    except (Invalid, NotYet, TooLarge, NotFound):
        if portions.batch is not None:
            judicator.cancel_batch(batch.id)  # what is refused does not run in part
        raise


def _begin(intake: BatchIntake, new: NewBatch) -> Batch:
    if new.finish is not None:
        intake.later.send([new.finish])
    return gateway().judicator.create_batch(new)


def _complete(batch: Batch, wanted: int) -> Batch:
    """The batch of an earlier request with the same key. AlreadyDone where it was cut short."""
    if batch.total < wanted:
        raise AlreadyDone(
            f"The batch {batch.id} of this key was closed or cancelled with {batch.total} of these "
            f"{wanted} tasks. Submit the others with another key.",
            batch=batch.id,
            taken=batch.total,
        )
    return batch


def _create_by_stream(query: CreateQuery) -> Batch:
    services = gateway()
    with open_body(request, services.clock) as read:
        who = _submitter()
        document = _head_document(query)
        head = BatchHead.model_validate(document)
        intake, key = _intake(who, head), idempotency_key(request)
        new = intake.head(head, BatchSource.STREAM, key, fingerprint_of(document))
        portions = Portions(
            services.judicator, intake.later, 0, lambda: _begin(intake, new), own=True
        )
        stream = Stream(
            read=read, make=intake.task, needed=not head.open, close=not head.open, key=key
        )
        return add_stream(portions, stream)


def _head_document(query: CreateQuery) -> dict[str, Any]:
    found: dict[str, Any] = {"name": query.name, "open": query.open}
    found["labels"] = labels_of(query.label)
    if query.finish is not None:
        found["finish"] = _json(query.finish, "finish")
    if query.assimilate is not None:
        spelled = query.assimilate.startswith("{")
        found["assimilate"] = _json(query.assimilate, "assimilate") if spelled else query.assimilate
    return found


def _json(text: str, field: str) -> object:
    try:
        return parse_json(text.encode())
    except BadRequest as error:
        raise Invalid(f"{field}: {error.description}", field=field) from error


@api.post("/<batch_id>/tasks", responses={200: BatchOut}, openapi_extensions=_ADD)
def add(path: BatchPath, query: AddQuery) -> Response:
    """Add tasks to an open batch: JSON, or NDJSON with a task a line."""
    batch = (
        _add_by_stream(path, query) if request.mimetype == LINES else _add_by_document(path, query)
    )
    return _shown(gateway().judicator.batch(batch.id))


def _add_by_document(path: BatchPath, query: AddQuery) -> Batch:
    intake, portions = _extension(path, query)
    asked = TasksIn.model_validate(request.get_json())
    return add_list(portions, intake.tasks(asked.tasks), 0, close=query.close)


def _add_by_stream(path: BatchPath, query: AddQuery) -> Batch:
    with open_body(request, gateway().clock) as read:
        intake, portions = _extension(path, query)
        stream = Stream(read=read, make=intake.task, needed=False, close=query.close)
        return add_stream(portions, stream)


def _extension(path: BatchPath, query: AddQuery) -> tuple[BatchIntake, Portions]:
    """What adds to a batch: its tasks are its owner's, whoever adds them."""
    batch = read_to_change(path.batch_id).batch
    services = gateway()
    intake = BatchIntake(services.settings, services.judicator, services.ids, batch.user)
    at = -1 if query.at is None else query.at
    return intake, Portions(services.judicator, intake.later, at, lambda: batch)


@api.post("/<batch_id>/close", responses={200: BatchOut})
def close(path: BatchPath, query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """Close a batch: no more tasks can be added, and it is done when all of them are."""
    id_ = read_to_change(path.batch_id).batch.id
    judicator = gateway().judicator
    judicator.extend_batch(id_, -1, [], True)  # the port's
    return _shown(judicator.batch(id_))


# -- reading ---------------------------------------------------------------------------------


@api.get("", responses={200: BatchPageOut})
def search(query: BatchListQuery) -> Response:
    """List batches, newest first."""
    page = gateway().judicator.batches(batches_query(query, caller()))
    return answer(batch_page_out(page))


def batches_query(query: BatchListQuery, who: Caller) -> BatchQuery:
    """The core's query of a list; others' batches only for an administrator. Raises Invalid,
    Forbidden.
    """
    return BatchQuery(
        user=user_of(query.user, who),
        labels=labels_of(query.label),
        live=query.live,
        since=moment_of(query.since, "since"),
        until=moment_of(query.until, "until"),
        text=query.text,
        limit=query.limit,
        cursor=query.cursor or None,
    )


def read(text: str, wait: float = 0.0) -> BatchView:
    """A batch that the caller may see, at its end or after 'wait' seconds. Raises NotFound."""
    who = caller()
    id_ = known_batch(text)
    judicator = gateway().judicator
    if who.admin:
        return judicator.batch(id_, wait)
    view = judicator.batch(id_)
    who.check_owner(view.batch)
    return judicator.batch(id_, wait) if wait and not view.status.done else view


def known_batch(text: str) -> BatchId:
    """The batch id that a path names. Raises NotFound."""
    return BatchId(known_id(text))


def read_to_change(text: str) -> BatchView:
    """A batch that the caller may change. Raises NotFound, Forbidden."""
    view = read(text)
    caller().need(Role.SUBMITTER)
    return view


def _shown(view: BatchView, status: int = 200) -> Response:
    return answer(batch_out(view), status)


@api.get("/<batch_id>", responses={200: BatchOut})
def get(path: BatchPath, query: BatchReadQuery) -> Response:
    """Read a batch; with 'wait' at its end, or after that many seconds."""
    return _shown(read(path.batch_id, query.wait))


@api.get("/<batch_id>/tasks", responses={200: PageOut})
def tasks(path: BatchPath, query: TasksQuery) -> Response:
    """List the tasks of a batch, by their places downwards unless asked otherwise."""
    id_ = read(path.batch_id).batch.id
    page = gateway().judicator.search(tasks_query(query, caller(), id_))
    return answer(page_out(page))


# -- changing --------------------------------------------------------------------------------


@api.delete("/<batch_id>", responses={200: BatchOut, 202: BatchOut})
def cancel(path: BatchPath, query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """Cancel a batch with all of its tasks: 202 while that is under way, 200 once it is proved."""
    view = gateway().judicator.cancel_batch(read_to_change(path.batch_id).batch.id)
    return _shown(view, 200 if view.status.done else 202)


@api.post("/<batch_id>/retry", responses={200: BatchOut})
def retry(path: BatchPath, query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """Submit again what ended otherwise than with success; a cancelled batch goes on."""
    return _shown(gateway().judicator.retry_batch(read_to_change(path.batch_id).batch.id))


@api.post("/<batch_id>/purge", responses={204: None})
def purge(path: BatchPath, query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """Remove a done batch with all of its tasks and files for good."""
    gateway().judicator.purge_batch(read_to_change(path.batch_id).batch.id)
    return Response(status=204)
