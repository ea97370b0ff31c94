"""The page on which masks are drawn and corrected: what it asks for and what it sends.

All under ``/TOKEN/masks/``.  Reading: ``api/state``, ``image/ITEM``, ``mask/ITEM``.  Writing:
``api/act``, which may be sent again after a lost answer, because the page names what it sends, and
``api/finish``.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

from selion.errors import BadInput, SelionError
from selion.extras import require
from selion.labelling.mask_editor import MaskEditor, MaskItem
from selion.labelling.mask_edits import read_edit
from selion.store.append_log import now
from selion.web.answers import FRESH, JSON, reading, writing
from selion.web.screening import check_batch, check_person
from selion.web.server import PageModule

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

STATIC = (
    "masks/masks.html", "masks/masks.css", "masks/begin.js", "masks/canvas.js", "masks/tools.js",
    "screen.css", "link.js", "marks.js",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class MaskSession:
    """What the routes work on."""

    editor: MaskEditor
    title: str
    person: str = ""
    ending: str = ""
    """What the button says that ends the drawing; empty: there is none."""
    finished: Event = field(default_factory=Event)
    """Set when the person said so."""
    back: str = ""
    """Address of the page that one came from, relative to this one."""


def masks_page(session: MaskSession) -> PageModule:
    """Set up the page.

    Raises
    ------
    MissingExtra
        If Starlette is not installed.
    """
    require("starlette", "web")
    from starlette.routing import Route

    lock = session.editor.lock
    routes = [
        Route("/api/state", reading(session, state, lock)),
        Route("/api/act", writing(session, act, lock), methods=["POST"]),
        Route("/api/finish", writing(session, finish, lock), methods=["POST"]),
        Route("/image/{item}", _bytes(session, _image)),
        Route("/mask/{item}", _bytes(session, _mask)),
    ]
    return PageModule("masks", routes, STATIC)


def _bytes(
    session: MaskSession, answer: Callable[[MaskSession, MaskItem], Response]
) -> Callable[[Request], Response]:
    from starlette.responses import Response as Plain

    def endpoint(request: Request) -> Response:
        try:
            return answer(session, session.editor.item(request.path_params["item"]))
        except (SelionError, OSError) as error:
            return Plain(str(error), 404, FRESH, "text/plain; charset=utf-8")

    return endpoint


def _image(session: MaskSession, item: MaskItem) -> Response:  # noqa: ARG001  # as _mask
    from starlette.responses import Response

    kind = mimetypes.guess_type(item.image.name)[0] or "application/octet-stream"
    if kind not in ("image/png", "image/jpeg", "image/webp"):
        raise BadInput(f"{item.name} is no PNG, JPEG or WebP, which browsers show.")
    return Response(item.image.read_bytes(), 200, FRESH, kind)


def _mask(session: MaskSession, item: MaskItem) -> Response:
    """Return one byte a pixel, row by row: exact in every browser, unlike colours."""
    from starlette.responses import Response

    with session.editor.lock:
        ids, version = session.editor.mask(item.id), session.editor.history(item.id).version
    body = gzip.compress(ids.tobytes(), 1, mtime=0)
    head = {**FRESH, "content-encoding": "gzip", "x-version": version}
    return Response(body, 200, head, "application/octet-stream")


def state(session: MaskSession, parameters: Mapping[str, str]) -> JSON:  # noqa: ARG001
    """Return what the page needs to begin."""
    editor = session.editor
    folder = hashlib.blake2b(
        "\n".join(editor.items).encode("utf-8", "surrogatepass"), digest_size=6
    ).hexdigest()
    scheme = editor.classes
    classes = [
        {"id": k, "name": name, "colour": scheme.colours[k] if scheme.colours else ""}
        for k, name in enumerate(scheme.names)
    ]
    return {
        "folder": folder,
        "title": session.title,
        "person": session.person,
        "ending": session.ending,
        "back": session.back,
        "click": editor.click is not None,
        "classes": classes,
        "items": [_shown(session, item) for item in editor.items.values()],
        "counts": editor.counts(),
    }


def _shown(session: MaskSession, item: MaskItem) -> JSON:
    history = session.editor.history(item.id)
    return {
        "id": item.id,
        "name": item.name,
        "about": item.about,
        "height": item.shape[0],
        "width": item.shape[1],
        "starts": list(item.starts),
        "status": history.status,
        "version": history.version,
        "undo": len(history.done),
        "redo": len(history.undone),
    }


def act(session: MaskSession, parameters: JSON) -> JSON:
    """Do what a person did: answered when it is on the disk."""
    table = {
        **parameters,
        "id": check_batch(parameters.get("id")),
        "person": check_person(parameters.get("person")),
        "time": now(),
        "runs": [],
    }
    edit = read_edit(table)
    session.editor.act(edit)
    return {
        "item": _shown(session, session.editor.item(edit.item)),
        "counts": session.editor.counts(),
    }


def finish(session: MaskSession, parameters: JSON) -> JSON:  # noqa: ARG001
    """End the drawing; the command that opened the page goes on."""
    if not session.ending:
        raise BadInput("This page is ended with Ctrl-C where it was started.")
    if not session.editor.counts()["done"]:
        raise BadInput("No mask is done yet: draw one, and press Done.")
    session.finished.set()
    return {"finished": True}
