"""The page of ``selion label screen``: what it asks for and what it sends.

All under ``/TOKEN/screen/``.  Reading: ``api/state``, ``api/sheet``, ``api/fine``,
``image/ID/KIND``.  Writing: ``api/commit``, ``api/undo``; both may be sent again after a lost
answer, because the page names what it sends.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from selion.errors import BadInput, UnknownName
from selion.extras import require
from selion.labelling.queue import Item
from selion.labelling.screen import Page, Screening, Word, is_conflict, restat, version
from selion.web.answers import JSON, reading, whole_number, writing
from selion.web.gallery import FOLDER, Gallery
from selion.web.pictures import EDGE, sign
from selion.web.server import PageModule

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

STATIC = ("screen.html", "screen.css", "main.js", "link.js", "coarse.js", "fine.js", "marks.js")
SMALL, LARGE = ("overlay", "photo"), ("large", "shade", "outline")
LARGE_EDGES = (1200, 1600, 2400, 4096)
SIZES = (24, 40, 60)
AHEAD = 2
"""Sheets beyond the one asked for whose pictures are made meanwhile."""
BATCH = re.compile(r"[A-Za-z0-9_-]{6,64}")


@dataclass(frozen=True)
class ScreeningSession:
    """What the routes work on."""

    screening: Screening
    gallery: Gallery
    person: str
    """Name that the page begins with."""
    corrects: bool = False
    """Whether masks can be corrected, on the page of masks of the same server."""


def screening_page(
    photos: Path,
    pseudo: Path,
    person: str = "",
    repeats: float = 0.02,
    threads: int | None = None,
    *,
    corrects: bool = False,
) -> tuple[PageModule, Screening]:
    """Set up the page for two folders.

    Raises
    ------
    MissingExtra
        If Starlette is not installed.
    BadInput, UnreadableFile, OutputFailed
        If the folders cannot be used.
    """
    require("starlette", "web")
    from starlette.routing import Route

    gallery = Gallery(pseudo / FOLDER, threads)
    screening = Screening(photos, pseudo, repeats, gallery.hashes)
    session = ScreeningSession(screening, gallery, person, corrects)
    routes = [
        Route("/api/state", reading(session, state)),
        Route("/api/sheet", reading(session, sheet)),
        Route("/api/fine", reading(session, fine)),
        Route("/api/commit", writing(session, commit), methods=["POST"]),
        Route("/api/undo", writing(session, undo), methods=["POST"]),
        Route("/image/{item}/{kind}", _picture(session)),
    ]
    return PageModule("screen", routes, STATIC), screening


def _picture(session: ScreeningSession) -> Callable[[Request], Response]:
    from starlette.responses import Response

    def endpoint(request: Request) -> Response:
        asked, kind = request.path_params["item"], request.path_params["kind"]
        if kind not in (*SMALL, *LARGE):
            return Response(
                f"There is no kind of picture {kind[:20]!r}.",
                404,
                {"cache-control": "no-store"},
                "text/plain; charset=utf-8",
            )
        try:
            item = restat(session.screening.item(asked))
            data, kept = (
                _drawn(session.gallery, item, kind, request.query_params.get("edge", "")),
                request.query_params.get("v") == version(item),
            )
        except (UnknownName, OSError):
            # taken away since the sheet was made: the page goes on, and what is decided about it is
            # not written
            return Response(
                sign(EDGE, "This image is gone: its photograph or its mask is no longer there."),
                200,
                {"cache-control": "no-store"},
                "image/jpeg",
            )
        # an address with the version names the bytes
        cache = "private, max-age=31536000, immutable" if kept else "no-store"
        return Response(
            data,
            headers={"cache-control": cache},
            media_type="image/png" if kind in ("shade", "outline") else "image/jpeg",
        )

    return endpoint


def _drawn(gallery: Gallery, item: Item, kind: str, edge: str) -> bytes:
    if kind in SMALL:
        made = gallery.small(item)
        return made.overlay if kind == "overlay" else made.photo
    wanted = int(edge) if edge.isascii() and edge.isdigit() and len(edge) < 6 else LARGE_EDGES[1]
    large = gallery.large(
        item, min((e for e in LARGE_EDGES if e >= wanted), default=LARGE_EDGES[-1])
    )
    return {"large": large.photo, "shade": large.shade, "outline": large.outline}[kind]


def state(session: ScreeningSession, parameters: Mapping[str, str]) -> JSON:
    """Return what the page needs to begin: names, numbers, notes.

    The folders are looked at again when it is loaded.
    """
    if parameters.get("fresh"):
        session.screening.refresh(older_than=5)
    screening = session.screening
    folder = hashlib.blake2b(
        str(screening.pseudo.resolve()).encode("utf-8", "surrogatepass"), digest_size=6
    ).hexdigest()
    rated = sum(item.quality is not None for item in screening.listing.items)
    return {
        "folder": folder, "title": screening.pseudo.resolve().name, "person": session.person,
        "sizes": SIZES, "rated": rated, "notes": screening.listing.notes,
        "counts": screening.counts(), "people": _people(screening), "corrects": session.corrects,
    }  # fmt: skip


def _people(screening: Screening) -> list[str]:
    names = {
        decisions[0].person
        for batch, decisions in list(screening.journal.history.batches.items())
        if batch not in screening.journal.history.undone
    }
    return sorted(names)


def sheet(session: ScreeningSession, parameters: Mapping[str, str]) -> JSON:
    """Return the next contact sheet and begin to draw it and those after it."""
    person, size = check_person(parameters.get("person")), whole_number(parameters.get("size"), 40)
    order, after = parameters.get("order", "best"), whole_number(parameters.get("after"), 0)
    found = session.screening.sheet(person, size, order, after)
    session.gallery.ahead([*found.items, *session.screening.peek(order, found.after, AHEAD * size)])
    return {
        "items": [_shown(session, item) for item in found.items],
        "after": found.after,
        "held": found.held,
        "counts": session.screening.counts(),
    }


def fine(session: ScreeningSession, parameters: Mapping[str, str]) -> JSON:
    """Return the next images of the fine pass."""
    found = session.screening.fine(
        check_person(parameters.get("person")),
        parameters.get("scope", "kept"),
        whole_number(parameters.get("size"), 6),
        whole_number(parameters.get("after"), 0),
    )
    return {
        "items": [_shown(session, item) for item in found.items],
        "after": found.after,
        "held": found.held,
        "counts": session.screening.counts(),
    }


def _shown(session: ScreeningSession, item: Item) -> JSON:
    words = session.screening.words(item)
    said = [
        {
            "person": word.person,
            "decision": word.decision,
            "pass": "corrected" if word.before else word.stage,
        }
        for word in words[-6:]
    ]
    quality = None if item.quality is None else round(item.quality, 3)
    return {
        "id": item.id, "key": item.key, "version": version(item), "quality": quality,
        "routed": item.routed, "why": item.why, "words": said, "conflict": is_conflict(words),
    }  # fmt: skip


def commit(session: ScreeningSession, parameters: JSON) -> JSON:
    """Write a page of decisions: answered when they are on the disk."""
    words = parameters.get("items")
    if not isinstance(words, list) or not all(isinstance(w, dict) for w in words):
        raise BadInput("A page of decisions has a list of items.")
    said = tuple(
        Word(_name(w.get("id")), _name(w.get("decision")), _name(w.get("version"))) for w in words
    )
    page = Page(
        check_batch(parameters.get("batch")),
        check_person(parameters.get("person")),
        _name(parameters.get("pass")),
        check_seconds(parameters.get("seconds")),
        said,
    )
    done = session.screening.commit(page)
    return {
        "written": done.written,
        "known": done.known,
        "stale": done.stale,
        "counts": session.screening.counts(),
    }


def undo(session: ScreeningSession, parameters: JSON) -> JSON:
    """Take back the latest page of a person and return it, so that it can be shown again."""
    stages = ("coarse",) if parameters.get("pass") == "coarse" else ("fine", "settle")
    decisions = session.screening.undo(
        check_batch(parameters.get("id")), check_person(parameters.get("person")), stages
    )
    found = [(session.screening.keyed(decision.key), decision.decision) for decision in decisions]
    items = [
        {**_shown(session, restat(item)), "decision": said}
        for item, said in found
        if item is not None
    ]
    return {"items": items, "counts": session.screening.counts()}


def check_person(value: object) -> str:
    """Return a name.

    Raises
    ------
    BadInput
        If it is none.
    """
    name = value.strip() if isinstance(value, str) else ""
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise BadInput("The reviewer's name must have 1 to 64 printable characters.")
    return name


def check_batch(value: object) -> str:
    """Return the name of a batch.

    Raises
    ------
    BadInput
        If it is none.
    """
    if not isinstance(value, str) or not BATCH.fullmatch(value):
        raise BadInput("A batch is named by 6 to 64 letters, digits, - and _.")
    return value


def check_seconds(value: object) -> float:
    """Return a time that a page can have taken; longer ones are cut to an hour.

    Raises
    ------
    BadInput
        If it is no number, or negative.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise BadInput("The seconds of a page are a number, 0 or more.")
    return float(min(value, 3600.0))


def _name(value: object) -> str:
    if not isinstance(value, str) or len(value) > 200:
        raise BadInput("Ids, decisions, versions and passes are short texts.")
    return value
