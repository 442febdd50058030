"""Kept files shown as pictures.

Whatever a program keeps is a stranger's. A picture is served as such only where its first bytes
are those of a raster format that a page can do nothing by, and then under exactly that type,
unsniffed and in a sandbox; an SVG could bring scripts and links, and stays a download.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from flask import Blueprint, Response

from accord.core.errors import NotFound
from accord.core.replica import Content
from accord.core.task import Task
from accord.core.view import result_of
from accord.delivery.http.context import gateway
from accord.delivery.http.documents import beginning_of, read_content
from accord.delivery.http.files import Piece, send
from accord.delivery.http.tasks import read

MOST_PICTURES = 12
"""Pictures on one page; the others are in the list of files."""
LARGEST = 32 << 20
"""Bytes of a picture."""
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
_HEAD = 8
"""Bytes of the longest signature."""
_ENDINGS = (".png", ".jpg", ".jpeg", ".gif")

blueprint = Blueprint("pictures", __name__)


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A kept file that is a picture."""

    task: str
    path: str
    """As the program named it."""


def media_of(head: bytes) -> str | None:
    r"""The type of the picture that begins so, or None where it is none.

    >>> media_of(b"\x89PNG\r\n\x1a\n..."), media_of(b"<svg onload=alert(1)>")
    ('image/png', None)
    """
    return next((media for sign, media in _SIGNATURES.items() if head.startswith(sign)), None)


def pictures_of(task: Task) -> list[Picture]:
    """The pictures that a task kept, by name; those that only pretend to be some are left out."""
    found: list[Picture] = []
    for path, content in _candidates(task):
        if _media(content) is not None:
            found.append(Picture(task=task.id, path=path))
        if len(found) == MOST_PICTURES:
            break
    return found


def _candidates(task: Task) -> Iterator[tuple[str, Content]]:
    """At most twice as many as are shown: each is looked into."""
    named = [item for item in sorted(_kept(task).items()) if item[0].lower().endswith(_ENDINGS)]
    yield from named[: 2 * MOST_PICTURES]


def _kept(task: Task) -> Mapping[str, Content]:
    result = result_of(task)
    return result.kept if result else {}


def _media(content: Content) -> str | None:
    if content.size > LARGEST:
        return None
    return media_of(beginning_of(gateway().judicator, content, _HEAD))


@blueprint.get("/tasks/<task_id>/pictures/<path:name>")
def picture(task_id: str, name: str) -> Response:
    """A kept file as a picture. NotFound where it is none."""
    content = _kept(read(task_id).task).get(name)
    media = _media(content) if content else None
    if content is None or media is None:
        raise NotFound("The task kept no such picture. Its page lists the files that it kept.")
    return send(_piece(name, content, media))


def _piece(name: str, content: Content, media: str) -> Piece:
    judicator = gateway().judicator
    return Piece(
        name=name.rpartition("/")[2],
        size=content.size,
        tag=content.digest,
        read=lambda start, size: read_content(judicator, content, start, size),
        media=media,
    )
