"""The page of ``selion review``: what it asks for and what it sends.

All under ``/TOKEN/review/``.  Reading: ``api/state``, ``api/queue``, ``api/field``,
``chip/LAYER/BOX``.  Writing: ``api/act``, which may be sent again after a lost answer, because the
page names what it sends.  All coordinates on the wire are pixels of the map's image.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from selion import fields, store
from selion.errors import BadInput, SelionError
from selion.extras import require
from selion.prediction import ScoreSource, score_classes
from selion.progress import OnStep, silent
from selion.review import actions as a
from selion.review import rings
from selion.review.log import ReviewLog
from selion.review.order import by_chance, rank
from selion.review.shapes import common
from selion.review.state import DOUBTED, UNDECIDED, ReviewedMap, ReviewOutcome
from selion.review.verdicts import VERDICTS, sample_of
from selion.store.append_log import now
from selion.web.answers import JSON, reading, whole_number, writing
from selion.web.review_frame import Frame
from selion.web.review_overview import overview
from selion.web.review_shown import OTHER, ReviewSession, ReviewView, aspect_of, shown
from selion.web.screening import check_batch, check_person
from selion.web.server import PageModule

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from selion.review.opened import MapFiles
    from selion.store import Place

STATIC = (
    "review/review.html", "review/review.css", "review/begin.js", "review/stage.js",
    "review/tools.js", "review/queue.js", "review/beside.js", "review/overview.js",
    "review/snap.js", "review/sample.js", "screen.css", "link.js", "marks.js",
)  # fmt: skip
LEASE = 120.0
"""Seconds for which what one person was handed is not handed to another."""
MOST = 16
"""Fields that are handed out at once."""
SNAP = 0.5
"""Pixels within which a vertex that the page names is found."""
SAME = 1e-3
"""Pixels within which a point that was drawn is a corner that the page showed."""
HALF = 0.5
"""Doubt from which on a field stands before the outlines that only the other map has."""
SHOWS = ("undecided", "unsure", "all")
BOX = re.compile(r"(-?\d{1,9})_(-?\d{1,9})_(-?\d{1,9})_(-?\d{1,9})\.png")


def open_session(
    files: MapFiles, person: str = "", against: Place | None = None, on_step: OnStep = silent
) -> ReviewSession:
    """Read a map, order its fields and open its log.

    Raises
    ------
    BadInput, UnreadableFile, OutputFailed
        If the files cannot be used.
    """
    import shapely

    facts = files.read()
    mapped = ReviewedMap.of(facts)
    scores = None if files.scores is None else store.open_raster(files.scores)
    classes = None if scores is None else score_classes(scores, str(files.scores))
    other = None if against is None else fields.read_fields(against)
    if other is not None and facts.crs is not None and other.crs is not None:
        other = other.to_crs(facts.crs)
    sample = sample_of(files)
    if sample:
        ranking = by_chance(mapped.ids)
    else:
        ranking = rank(
            facts, None if scores is None else ScoreSource(scores), classes, other, on_step
        )
    notes = [] if files.image else ["There is no image beside the map: name one with --image."]
    if isinstance(files.table, store.RemotePath):
        notes.append(
            f"{files.table} is only read: what is done is written to {files.log.absolute()}, and "
            "the same command in the same folder goes on with it."
        )
    if ranking.missing:
        notes.append(
            f"{len(ranking.missing):,} fields are in "
            f"{against.name if against else 'the other map'} only: they are shown too, and can be "
            "taken over."
        )
    log = ReviewLog(files.log, mapped, files.table.name)
    if log.state.skipped:
        notes.append(
            f"{log.state.skipped:,} lines of {files.log.name} do not fit and are left out."
        )
    tree = None if other is None else shapely.STRtree(other.geometry.to_numpy())
    title = files.table.resolve().parent.name if files.table.stem == "fields" else files.table.stem
    return ReviewSession(
        title,
        log,
        Frame(facts, files.image, files.scores),
        ranking,
        person,
        facts,
        tree,
        sample,
        notes=tuple(notes),
    )


def review_page(session: ReviewSession, policy: str = "") -> PageModule:
    """Set up the page.

    ``policy`` is that of the view page where its map is to be shown beside the field.

    Raises
    ------
    MissingExtra
        If Starlette is not installed.
    """
    require("starlette", "web")
    from starlette.routing import Route

    # the state is one, threads are many: each answer holds the lock of the log
    routes = [
        Route("/api/state", reading(session, state, session.log.lock)),
        Route("/api/queue", reading(session, queue, session.log.lock)),
        Route("/api/field", reading(session, one_field, session.log.lock)),
        Route("/api/overview", reading(session, overview, session.log.lock)),
        Route("/api/act", writing(session, act, session.log.lock), methods=["POST"]),
        Route("/chip/{layer}/{box}", _chip(session)),
    ]
    return PageModule("review", routes, STATIC, policy)


def _chip(session: ReviewSession) -> Callable[[Request], Response]:
    from starlette.responses import Response

    def endpoint(request: Request) -> Response:
        found = BOX.fullmatch(request.path_params["box"])
        try:
            if found is None:
                raise BadInput("A chip is asked for by its box in pixels.")
            left, top, right, bottom = (int(value) for value in found.groups())
            data = session.frame.chip(request.path_params["layer"], (left, top, right, bottom))
        except SelionError as error:
            return Response(
                str(error), 400, {"cache-control": "no-store"}, "text/plain; charset=utf-8"
            )
        return Response(
            data, headers={"cache-control": "private, max-age=3600"}, media_type="image/png"
        )

    return endpoint


def state(session: ReviewSession, parameters: Mapping[str, str]) -> JSON:  # noqa: ARG001
    """Return what the page needs to begin: names, numbers, layers, notes."""
    now_ = session.log.sync()
    folder = hashlib.blake2b(
        str(session.log.path.resolve()).encode("utf-8", "surrogatepass"), digest_size=6
    ).hexdigest()
    layers = [{"name": layer.name, "title": layer.title} for layer in session.frame.layers]
    return {
        "folder": folder, "title": session.title, "person": session.person, "layers": layers,
        "notes": session.notes, "counts": now_.counts(), "pages": session.pages,
        "verdicts": [
            {name: getattr(one, name) for name in ("kind", "status", "answer", "key", "meaning")}
            for one in VERDICTS.get(session.sample, ())
        ],
    }  # fmt: skip


def queue(session: ReviewSession, parameters: Mapping[str, str]) -> JSON:
    """Hand out the next doubtful fields."""
    person, size = (
        check_person(parameters.get("person")),
        min(max(whole_number(parameters.get("size"), 6), 1), MOST),
    )
    show, after = parameters.get("show", SHOWS[0]), whole_number(parameters.get("after"), 0)
    if show not in SHOWS:
        raise BadInput(f"'{show[:20]}' cannot be shown; known: {', '.join(SHOWS)}.")
    session.log.sync()
    found, end, held = _hand(session, person, show, after, size)
    view = ReviewView(aspect=aspect_of(parameters))
    return {
        "items": [item for name in found if (item := shown(session, name, view))],
        "after": end,
        "held": held,
        "counts": session.log.state.counts(),
    }


def _hand(
    session: ReviewSession, person: str, show: str, after: int, size: int
) -> tuple[list[str], int, int]:
    """Return the next ids from a place in the queue on, and where to go on.

    With them comes how many somebody else has on the screen.
    """
    clock, found, held = time.monotonic(), [], 0
    end = len(session.ranking.missing) + len(session.ranking.order)
    first = int((session.ranking.doubt >= HALF).sum())
    for place in range(max(after, 0), end):
        name = _name(session, place, first)
        if not _due(session, name, show):
            continue
        holder, until = session.handed.get(name, ("", 0.0))
        if holder not in ("", person) and until > clock and show != "all":
            held += 1
            continue
        session.handed[name] = (person, clock + LEASE)
        found.append(name)
        if len(found) >= size:
            return found, place + 1, held
    return found, end, held


def _name(session: ReviewSession, place: int, first: int) -> str:
    """Return who stands at a place of the queue.

    Doubtful fields, then outlines that only the other map has, then all others.
    """
    missing = len(session.ranking.missing)
    if first <= place < first + missing:
        return f"{OTHER}{place - first}"
    return str(
        session.log.mapped.ids[session.ranking.order[place if place < first else place - missing]]
    )


def _due(session: ReviewSession, name: str, show: str) -> bool:
    current = session.log.state
    if name.startswith(OTHER):
        outline = session.ranking.missing[int(name.removeprefix(OTHER))]
        covered = sum(common(one.shape, outline) for one in current.near(outline))
        return show != "unsure" and covered < 0.1 * outline.area
    status = current.status(name)
    return {
        "undecided": status == UNDECIDED,
        "unsure": status == DOUBTED,
        "all": status != "merged",
    }[show]


def one_field(session: ReviewSession, parameters: Mapping[str, str]) -> JSON:
    """Return one field as it is now.

    Null for one that is not there (any more), which is what a page may well ask for after two were
    united.
    """
    session.log.sync()
    found = shown(
        session,
        parameters.get("id", "")[: a.LONGEST],
        ReviewView(min(max(whole_number(parameters.get("wide"), 1), 1), 6), aspect_of(parameters)),
    )
    return {"item": found, "counts": session.log.state.counts()}


def act(session: ReviewSession, parameters: JSON) -> JSON:
    """Do what a person did: answered when it is on the disk, or refused with the reason."""
    action = a.read_action(
        {
            **parameters,
            "id": check_batch(parameters.get("id")),
            "person": check_person(parameters.get("person")),
        },
        now(),
    )
    _check_kind(session, action.kind)
    if action.points:
        pixels = np.asarray(action.points)
        placed = _placed(session, action, pixels)
        width = _reach(session, pixels[0], action.width)
        action = replace(action, points=tuple(map(tuple, placed.tolist())), width=width)
    outcome = session.log.act(action)
    return {
        "done": outcome.done,
        "why": outcome.why,
        "fields": _after(session, action, outcome, ReviewView(aspect=aspect_of(parameters))),
        "counts": session.log.state.counts(),
    }


def _check_kind(session: ReviewSession, kind: str) -> None:
    """Refuse what a sample, or a map that is none, is not asked."""
    if not session.sample and kind in a.ANSWERS:
        raise BadInput(
            f"'{kind}' is an answer to a sample of fields (selion sample --objects), and "
            f"{session.title} is none: correct the outline instead."
        )
    known = [one.kind for one in VERDICTS.get(session.sample, ())]
    if session.sample and kind not in (*known, a.UNSURE, a.UNDO):
        words = ", ".join(f"'{one.kind}' ({one.answer})" for one in VERDICTS[session.sample])
        raise BadInput(
            f"'{kind}' cannot be said of a sample, whose outlines are what is judged: say {words} "
            f"or '{a.UNSURE}'."
        )


def _reach(session: ReviewSession, at: np.ndarray, width: tuple[float, ...]) -> tuple[float, ...]:
    """Return how far a brush of so many pixels reaches along x and along y of the map."""
    if not width:
        return ()
    angles = np.linspace(0, 2 * np.pi, 33)
    ring = at + np.column_stack([np.cos(angles), np.sin(angles)]) * np.asarray(width)
    x, y = np.ptp(session.frame.to_map(ring), axis=0) / 2
    return float(x), float(y)


def _placed(session: ReviewSession, action: a.Action, pixels: np.ndarray) -> np.ndarray:
    """Turn pixels into the map's coordinates.

    A vertex that is named becomes exactly that vertex.
    """
    import shapely

    made = session.frame.to_map(pixels)
    if action.kind in (a.RESHAPE, a.ADD):
        return _snapped(session, made, pixels)
    named = {a.MOVE: 1, a.DROP: 1, a.INSERT: 2}.get(action.kind, 0)
    one = session.log.sync().get(action.field) if named else None
    if one is None:
        return made
    around = [other.shape for other in session.log.state.near(one.shape, session.log.mapped.reach)]
    corners = shapely.get_coordinates(rings.noded(one.shape, around, session.log.mapped.reach))
    away = np.hypot(
        *(session.frame.to_pixels(corners)[None] - pixels[:named, None]).transpose(2, 0, 1)
    )
    for k in range(named):
        nearest = int(np.argmin(away[k]))
        if away[k, nearest] <= SNAP:
            made[k] = corners[nearest]
    made[named:] = _snapped(session, made[named:], pixels[named:])
    return made


def _snapped(session: ReviewSession, made: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Make points that lie on a corner of a field, as the page rounds it, that very corner."""
    import shapely

    if not len(made):
        return made
    hull = shapely.MultiPoint(made).convex_hull
    near = session.log.sync().near(hull, session.log.mapped.reach)
    corners = shapely.get_coordinates([one.shape for one in near])
    if not len(corners):
        return made
    tree = shapely.STRtree(shapely.points(session.frame.to_pixels(corners)))
    own, found = tree.query_nearest(shapely.points(pixels), max_distance=SAME, all_matches=False)
    made[own] = corners[found]
    return made


def _after(
    session: ReviewSession, action: a.Action, outcome: ReviewOutcome, view: ReviewView
) -> list[JSON]:
    """Describe the fields that changed, or that were others than the person thought.

    The one to look at first.
    """
    names = list(
        dict.fromkeys((*([action.field] if action.field else []), *outcome.changed, *outcome.stale))
    )
    names = sorted(
        names, key=lambda name: name not in outcome.changed and name not in outcome.stale
    )[:MOST]
    if action.kind in a.WORDS and outcome.done:
        said = (one for name in action.on if (one := session.log.state.get(name)) is not None)
        words = ("id", "version", "status", "person", "time")
        return [{word: getattr(one, word) for word in words} for one in said]
    if len(action.on) > 1 and action.kind in a.WORDS:
        names = list(outcome.stale)[:MOST]
    return [item for name in names if (item := shown(session, name, view)) is not None]
