"""The API of certificates: what a cluster signs of a task, and the key to check it by."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from flask_openapi3.types import ResponseDict

from accord.core.cluster_key import to_pem
from accord.core.user import Role
from accord.delivery.http.access import caller
from accord.delivery.http.context import gateway
from accord.delivery.http.documents import API
from accord.delivery.http.parameters import NoQuery
from accord.delivery.http.problems import PROBLEMS
from accord.delivery.http.tasks import TaskPath, read

PEM = "application/x-pem-file"

api = APIBlueprint(
    "certificates",
    __name__,
    url_prefix=API,
    abp_tags=[Tag(name="Certificates")],
    abp_responses=PROBLEMS,
)

_BASE64: dict[str, Any] = {"type": "string", "contentEncoding": "base64"}
_CERTIFICATE: ResponseDict = {
    200: {
        "description": "The certificate. Keep its exact bytes: another spelling is refused.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["key", "signature", "statement"],
                    "properties": {
                        "key": {**_BASE64, "description": "The raw Ed25519 public key."},
                        "signature": {**_BASE64, "description": "Of the statement's bytes."},
                        "statement": {"type": "object"},
                    },
                }
            }
        },
    },
}
_KEY: ResponseDict = {
    200: {
        "description": "The key as PEM, a SubjectPublicKeyInfo.",
        "content": {PEM: {"schema": {"type": "string"}}},
    },
}


@api.get("/tasks/<task_id>/certificate", responses=_CERTIFICATE)
def certificate(path: TaskPath, query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """Certify the result of a task: 409 while it is open, and where it ended without one."""
    id_ = read(path.task_id).task.id
    data = gateway().judicator.certificate(id_)
    return _download(data, "application/json", f"{id_}.certificate.json")


@api.get("/key", responses=_KEY)
def key(query: NoQuery) -> Response:  # noqa: ARG001  # refuses parameters
    """Get the public key that certificates are checked by. It stays the same: fetch it once."""
    caller().need(Role.READER)
    text = to_pem(gateway().judicator.public_key())
    return _download(text.encode(), PEM, "cluster.pem")


def _download(data: bytes, media: str, name: str) -> Response:
    response = Response(data, content_type=media)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
