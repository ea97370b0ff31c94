"""What the page of a review is told of a field: outline in pixels, neighbours, words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import fields
from selion.fields.schema import confidences_of
from selion.review import rings
from selion.review.log import ReviewLog
from selion.review.order import Ranking
from selion.review.state import Field
from selion.web.answers import JSON, whole_number
from selion.web.review_frame import Frame

if TYPE_CHECKING:
    import geopandas

NEAR = 300
"""Neighbours that are drawn at most."""
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
    sample: str = ""
    """Of what the map is a sample (:data:`~selion.review.verdicts.VERDICTS`); empty: it is none."""
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


def aspect_of(parameters: Mapping[str, Any]) -> float:
    """Return how many times as wide as high the page's view is; 1 where it does not say."""
    try:
        value = float(parameters.get("aspect", 1))
    except (TypeError, ValueError, OverflowError):
        return 1.0
    return min(max(value, 0.4), 2.5) if math.isfinite(value) else 1.0


def shown(session: ReviewSession, name: str, view: ReviewView) -> JSON | None:
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
        shape, about = one.shape, about_of(session, one)
    box = session.frame.box_of(
        session.frame.to_pixels(shapely.get_coordinates(shape)), view.wide, view.aspect
    )
    around = _around(session, name, shape, box)
    outline = rings.noded(
        shape, [other.shape for other in around if other.there], session.log.mapped.reach
    )
    near = _neighbours(session, shape, around)
    about["place"] = session.frame.degrees(shape.bounds)
    return {
        **about,
        "box": box,
        "parts": pixels_of(session, outline),
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
        parts = pixels_of(session, one.shape)
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
    return [pixels_of(session, session.against.geometries[row]) for row in rows]


def pixels_of(session: ReviewSession, shape: Any) -> list[list[list[list[float]]]]:
    """Return the rings of a shape in pixels: part, ring, point, (x, y)."""
    return [
        [np.round(session.frame.to_pixels(ring), 4).tolist() for ring in part]
        for part in rings.rings_of(shape)
    ]


def about_of(session: ReviewSession, one: Field) -> dict[str, Any]:
    """Return what is known of a field: who said what, how large it is, how sure the model was."""
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
