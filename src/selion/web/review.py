"""The page of ``selion review``: what it asks for and what it sends.

All under ``/TOKEN/review/``.  Reading: ``api/state``, ``api/queue``, ``api/field``,
``chip/LAYER/BOX``.  Writing: ``api/act``, which may be sent again after a lost answer, because the
page names what it sends.  All coordinates on the wire are pixels of the map's image.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import fields, store
from selion.errors import BadInput, SelionError
from selion.extras import require
from selion.fields.schema import confidences_of
from selion.prediction import ScoreSource, score_classes
from selion.progress import OnStep, silent
from selion.review import actions as a
from selion.review import rings
from selion.review.log import ReviewLog
from selion.review.order import Ranking, rank
from selion.review.state import DOUBTED, UNDECIDED, Field, ReviewedMap, ReviewOutcome
from selion.store.append_log import now
from selion.web.answers import JSON, reading, whole_number, writing
from selion.web.review_frame import Frame
from selion.web.screening import check_batch, check_person
from selion.web.server import PageModule

if TYPE_CHECKING:
    import geopandas
    from starlette.requests import Request
    from starlette.responses import Response

    from selion.review.opened import MapFiles
    from selion.store import Place

STATIC = (
    "review/review.html", "review/review.css", "review/begin.js", "review/stage.js",
    "review/tools.js", "review/queue.js", "review/beside.js", "screen.css", "link.js", "marks.js",
)  # fmt: skip
LEASE = 120.0
"""Seconds for which what one person was handed is not handed to another."""
MOST = 16
"""Fields that are handed out at once."""
NEAR = 300
"""Neighbours that are drawn at most."""
SNAP = 0.5
"""Pixels within which a vertex that the page names is found."""
HALF = 0.5
"""Doubt from which on a field stands before the outlines that only the other map has."""
SHOWS = ("undecided", "unsure", "all")
BOX = re.compile(r"(-?\d{1,9})_(-?\d{1,9})_(-?\d{1,9})_(-?\d{1,9})\.png")
OTHER = "other:"
"""Ids of outlines that only the other map has begin with this."""


@dataclass
class ReviewSession:
    """What the routes work on."""

    title: str
    log: ReviewLog
    frame: Frame
    ranking: Ranking
    person: str
    """Name that the page begins with."""
    facts: geopandas.GeoDataFrame
    """The map as it was."""
    against: Any = None
    """Tree of the other map's outlines."""
    handed: dict[str, tuple[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pages: tuple[tuple[str, str], ...] = ()
    """Name and title of the other pages of the same server; where one is "view", its map is shown
    beside the field."""


@dataclass(frozen=True, slots=True)
class ReviewView:
    """What a person wants to see around a field."""

    wide: int = 1
    """Each further one is twice as wide."""
    aspect: float = 1.0


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
    ranking = rank(facts, None if scores is None else ScoreSource(scores), classes, other, on_step)
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
    view = ReviewView(aspect=_aspect(parameters))
    return {
        "items": [item for name in found if (item := _shown(session, name, view))],
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
        covered = sum(one.shape.intersection(outline).area for one in current.near(outline))
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
    found = _shown(
        session,
        parameters.get("id", "")[: a.LONGEST],
        ReviewView(min(max(whole_number(parameters.get("wide"), 1), 1), 6), _aspect(parameters)),
    )
    return {"item": found, "counts": session.log.state.counts()}


def _aspect(parameters: Mapping[str, Any]) -> float:
    """Return how many times as wide as high the page's view is; 1 where it does not say."""
    try:
        value = float(parameters.get("aspect", 1))
    except (TypeError, ValueError, OverflowError):
        return 1.0
    return min(max(value, 0.4), 2.5) if math.isfinite(value) else 1.0


def _shown(session: ReviewSession, name: str, view: ReviewView) -> JSON | None:
    """Describe a field, or an outline that only the other map has, with what lies around it."""
    import shapely

    if name.startswith(OTHER):
        number = whole_number(name.removeprefix(OTHER), len(session.ranking.missing))
        if number >= len(session.ranking.missing):
            return None
        shape = shapely.get_parts(session.ranking.missing[number])[0]
        about: dict[str, Any] = {
            "id": name,
            "version": 0,
            "status": "other",
            "reasons": ["only the other map has a field here"],
            "doubt": None,
        }
    else:
        one = session.log.state.get(name)
        if one is None or one.status == "merged":
            return None
        shape, about = one.shape, _about(session, one)
    box = session.frame.box_of(
        session.frame.to_pixels(shapely.get_coordinates(shape)), view.wide, view.aspect
    )
    around = _around(session, name, shape, box)
    shown = rings.noded(
        shape, [other.shape for other in around if other.there], session.log.mapped.reach
    )
    near = _neighbours(session, shape, around)
    about["place"] = session.frame.degrees(shape.bounds)
    return {
        **about,
        "box": box,
        "parts": _pixels(session, shown),
        "near": near,
        "other": _other(session, box),
    }


def _neighbours(session: ReviewSession, shape: Any, around: list[Field]) -> list[JSON]:
    """Describe fields around a shape.

    Whether they touch it and so follow its vertices, and whether they share an edge and so can be
    united with it.
    """
    import shapely

    reach = session.log.mapped.reach
    band = shapely.buffer(shapely.boundary(shape), 2 * reach)
    found: list[JSON] = []
    for one in around:
        touches = one.there and bool(shapely.dwithin(one.shape, shape, reach))
        joins = (
            touches
            and shapely.length(shapely.intersection(shapely.boundary(one.shape), band)) > 20 * reach
        )
        parts = _pixels(session, one.shape)
        found.append(
            {
                "id": one.id,
                "version": one.version,
                "status": one.status,
                "touches": touches,
                "joins": bool(joins),
                "parts": parts,
            }
        )
    return found


def _around(
    session: ReviewSession, name: str, shape: Any, box: tuple[int, int, int, int]
) -> list[Field]:
    """Return the fields in a box, those that touch the shape first."""
    import shapely

    seen = _seen(session, box)
    around = [other for other in session.log.state.near(seen, rejected=True) if other.id != name]
    if len(around) > NEAR:
        away = shapely.distance(np.array([other.shape for other in around], dtype=object), shape)
        around = [around[k] for k in np.argsort(away, kind="stable")[:NEAR]]
    return around


def _seen(session: ReviewSession, box: tuple[int, int, int, int]) -> Any:
    """Return a box of pixels as a polygon in the map's coordinates."""
    import shapely

    left, top, right, bottom = box
    height, width = session.frame.grid.shape
    x, y = (
        np.clip([left, right, right, left], -width, 2 * width),
        np.clip([top, top, bottom, bottom], -height, 2 * height),
    )
    return shapely.Polygon(session.frame.to_map(np.column_stack([x, y]).astype(float)))


def _other(session: ReviewSession, box: tuple[int, int, int, int]) -> list[Any]:
    if session.against is None:
        return []
    seen = _seen(session, box)
    rows = session.against.query(seen, predicate="intersects")[:NEAR]
    return [_pixels(session, session.against.geometries[row]) for row in rows]


def _pixels(session: ReviewSession, shape: Any) -> list[list[list[list[float]]]]:
    """Return the rings of a shape in pixels: part, ring, point, (x, y)."""
    return [
        [np.round(session.frame.to_pixels(ring), 4).tolist() for ring in part]
        for part in rings.rings_of(shape)
    ]


def _about(session: ReviewSession, one: Field) -> dict[str, Any]:
    row = session.log.mapped.row(one.id)
    row = (
        row
        if row is not None
        else next(
            (r for name in one.origin if (r := session.log.mapped.row(name)) is not None), None
        )
    )
    area = fields.measure(
        np.array([one.shape], dtype=object),
        None if session.facts.crs is None else session.facts.crs.to_wkt(),
    )[0][0]
    sure = confidences_of(session.facts)
    confidence = np.nan if row is None or sure is None else float(sure[row])
    said = [
        session.log.state.applied[name].action
        for name in session.log.state.standing.get(one.id, [])[-6:]
    ]
    return {
        "id": one.id,
        "row": row if one.id in session.log.mapped.ids else None,
        "version": one.version,
        "status": one.status,
        "person": one.person,
        "time": one.time,
        "area": round(float(area), 1),
        "unit": "px2" if session.facts.crs is None else "m2",
        "confidence": None if np.isnan(confidence) else round(confidence, 3),
        "doubt": None if row is None else round(float(session.ranking.doubt[row]), 3),
        "reasons": [] if row is None else session.ranking.reasons(row),
        "said": [
            {"kind": action.kind, "person": action.person, "time": action.time} for action in said
        ],
    }


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
    if action.points:
        pixels = np.asarray(action.points)
        action = a.read_action(
            {
                **parameters,
                "person": action.person,
                "points": _placed(session, action, pixels).tolist(),
            },
            action.time,
        )
    outcome = session.log.act(action)
    return {
        "done": outcome.done,
        "why": outcome.why,
        "fields": _after(session, action, outcome, ReviewView(aspect=_aspect(parameters))),
        "counts": session.log.state.counts(),
    }


def _placed(session: ReviewSession, action: a.Action, pixels: np.ndarray) -> np.ndarray:
    """Turn pixels into the map's coordinates.

    A vertex that is named becomes exactly that vertex.
    """
    import shapely

    made = session.frame.to_map(pixels)
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
    if action.kind in (a.ACCEPT, a.REJECT, a.UNSURE) and outcome.done:
        one = session.log.state.get(action.field)
        return (
            []
            if one is None
            else [
                {
                    "id": one.id,
                    "version": one.version,
                    "status": one.status,
                    "person": one.person,
                    "time": one.time,
                }
            ]
        )
    return [item for name in names if (item := _shown(session, name, view)) is not None]
