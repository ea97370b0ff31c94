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

import numpy as np

from selion.errors import BadInput, SelionError
from selion.extras import require
from selion.labelling.mask_editor import MaskEditor, MaskItem
from selion.labelling.mask_edits import read_edit
from selion.store.append_log import now
from selion.web.answers import FRESH, JSON, reading, writing
from selion.web.pictures import jpeg_bytes, read_photo
from selion.web.screening import check_batch, check_person
from selion.web.server import PageModule

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

SHOWN = ("image/jpeg", "image/png", "image/webp")
"""What every browser shows; other photographs are sent as JPEG."""
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
    """Address of the page that one came from, relative to this one; one goes back there when the
    mask that was asked for is done."""
    begin: Callable[[str], MaskItem] | None = None
    """Finds the one mask that an address asks for; None: all are shown, one after the other."""
    folder: str = ""
    """What a browser keeps unsent strokes under; empty: the names of the masks."""


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
    session: MaskSession, answer: Callable[[MaskSession, MaskItem, str], Response]
) -> Callable[[Request], Response]:
    from starlette.responses import Response as Plain

    def endpoint(request: Request) -> Response:
        try:
            item = session.editor.item(request.path_params["item"])
            return answer(session, item, request.query_params.get("since", ""))
        except (SelionError, OSError) as error:
            return Plain(str(error), 404, FRESH, "text/plain; charset=utf-8")

    return endpoint


def _image(session: MaskSession, item: MaskItem, since: str) -> Response:  # noqa: ARG001  # as _mask
    from starlette.responses import Response

    kind = mimetypes.guess_type(item.image.name)[0] or ""
    if kind in SHOWN:
        return Response(item.image.read_bytes(), 200, FRESH, kind)
    # of the photograph's own size, as its mask is
    return Response(jpeg_bytes(read_photo(item.image, max(item.shape))), 200, FRESH, SHOWN[0])


def _mask(session: MaskSession, item: MaskItem, since: str) -> Response:
    """Return one byte a pixel, row by row: exact in every browser, unlike colours.

    Where the page says which version it shows, and that is remembered, only the box is sent in
    which something has changed since, with its place.
    """
    from starlette.responses import Response

    session.editor.sync()
    with session.editor.lock:
        ids, version = session.editor.mask(item.id), session.editor.history(item.id).version
        before = session.editor.remembered(item.id, since)
    head = {**FRESH, "content-encoding": "gzip", "x-version": version}
    if before is not None:
        box = _changed(before, ids)
        head["x-box"] = ",".join(str(edge) for edge in box)
        ids = ids[box[0] : box[2], box[1] : box[3]]
    body = gzip.compress(ids.tobytes(), 1, mtime=0)
    return Response(body, 200, head, "application/octet-stream")


def _changed(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of what differs between two masks; zeros: nothing."""
    different = before != after
    rows, columns = np.flatnonzero(different.any(1)), np.flatnonzero(different.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def state(session: MaskSession, parameters: Mapping[str, str]) -> JSON:
    """Return what the page needs to begin."""
    editor = session.editor
    editor.sync()
    if session.begin is None:
        items = list(editor.items.values())
    else:
        items = [session.begin(parameters.get("item", ""))]
    kept = session.folder or "\n".join(editor.items)
    folder = hashlib.blake2b(kept.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
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
        "items": [_shown(session, item) for item in items],
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
