"""What a person may do to outlines, and what is refused.

Lines must cross, outlines must not, shared edges stay shared.

All coordinates are in the CRS of the map's file.  ``reach`` is how near two points count as one,
see :func:`reach_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from selion.errors import BadInput
from selion.review import rings as r

SMALLEST = 16
"""A part of a field is no smaller than so many times the square of ``reach`` ..."""
THINNEST = 0.002
"""... and than this share of the field."""
OVERLAP = 1e-6
"""Share of the smaller of two fields by which they may lie over each other more than before:
rounding, no more."""
BLUNT = 0.01
"""Share of a brush's reach by which its rounded ends may be cut short."""
Shapes = Mapping[str, Any]
"""Field id -> Polygon or MultiPolygon."""


def reach_of(geographic: bool) -> float:
    """Return how near two points count as one.

    About a centimetre, in degrees or in metres (a hundredth of a pixel in a photograph).
    """
    return 1e-7 if geographic else 0.01


def worked_out(make: Callable[[], Any]) -> Any:
    """Return what a function makes of outlines; as they were mapped, some may cross themselves.

    Raises
    ------
    BadInput
        If GEOS cannot tell what such an outline holds.
    """
    from shapely.errors import GEOSException

    try:
        return make()
    except GEOSException as error:
        raise BadInput(
            "An outline here crosses itself, so that this cannot be worked out: draw that field's "
            "outline anew (o) first."
        ) from error


def sound(outlines: np.ndarray) -> np.ndarray:
    """Return outlines as land: as they were mapped, some may cross themselves."""
    import shapely

    broken = ~shapely.is_valid(outlines)
    if not broken.any():
        return outlines
    made = outlines.copy()
    made[broken] = shapely.make_valid(outlines[broken])
    return made


def common(one: Any, other: Any) -> float:
    """Return the area that two outlines share."""
    import shapely

    first, second = sound(np.array([one, other], object))
    return float(shapely.intersection(first, second).area)


def split(shape: Any, line: np.ndarray, reach: float) -> list[Any]:
    """Cut a polygon along a line.

    Parameters
    ----------
    shape : Polygon or MultiPolygon
    line : (n, 2) float64 ndarray
        Must begin and end outside and cross the polygon.

    Returns
    -------
    list of Polygon
        Two or more, the largest first.

    Raises
    ------
    BadInput
        If the line does not cut it into parts that are worth the name.
    """
    import shapely
    from shapely.ops import split as cut

    drawn = shapely.LineString(line)
    if not drawn.is_simple:
        raise BadInput("The line crosses itself: draw it again.")
    parts = [piece for part in shapely.get_parts(shape) for piece in cut(part, drawn).geoms]
    if len(parts) <= shapely.get_num_geometries(shape):
        raise BadInput(
            "The line does not cut the field: begin outside of it, go across, and end outside."
        )
    parts.sort(key=lambda part: (-part.area, part.bounds))
    if parts[-1].area < max(SMALLEST * reach**2, THINNEST * parts[0].area):
        raise BadInput(
            "The line cuts off a sliver only: draw it farther inside, or move a vertex instead."
        )
    return [_sound(part, "A part") for part in parts]


def merge(one: Any, other: Any, reach: float) -> Any:
    """Unite two polygons that share an edge.

    Raises
    ------
    BadInput
        If they do not touch along a line.
    """
    import shapely

    one = r.noded(one, [other], reach)
    other = r.noded(other, [one], reach)
    common = shapely.length(shapely.intersection(shapely.boundary(one), shapely.boundary(other)))
    if (
        common <= 2 * reach
        and shapely.area(shapely.intersection(one, other)) <= SMALLEST * reach**2
    ):
        raise BadInput(
            "The two fields do not touch along an edge: reshape one until it reaches the other, or "
            "leave them apart."
        )
    united = shapely.union(one, other)
    if shapely.get_num_geometries(united) >= shapely.get_num_geometries(
        one
    ) + shapely.get_num_geometries(other):
        raise BadInput("The two fields do not touch: choose a neighbour.")
    return _sound(united, "The united field")


def drawn(
    points: np.ndarray,
    others: Sequence[Any],
    reach: float,
    sizes: Sequence[Sequence[int]] = (),
) -> Any:
    """Make a polygon of an outline that was drawn, without the land of other fields.

    Parameters
    ----------
    points : (n, 2) float64 ndarray
        The ring, open or closed; or several rings.
    others : sequence of Polygon
        Fields that keep their land.
    sizes : sequence of sequence of int
        Where there are several rings: of each part how many points each ring has.

    Raises
    ------
    BadInput
        If the outline crosses itself, or nothing is left of it.
    """
    import shapely

    parts = [[_opened(ring, reach) for ring in part] for part in r.parts_of(points, sizes)]
    few = min(len(ring) for part in parts for ring in part)
    if few < 3:
        raise BadInput(f"An outline of {few} points was drawn: wanted are three or more.")
    shape = _sound(r.shape_of(parts), "The outline")
    near = [other for other in others if shapely.intersects(shape, other)]
    if not near:
        return shape
    kept = _worthy(shapely.difference(shape, shapely.union_all(near)), shape.area, reach)
    if not kept or max(part.area for part in kept) < 0.01 * shape.area:
        raise BadInput("Another field lies there already: nothing is left of the outline.")
    kept.sort(key=lambda part: (-part.area, part.bounds))
    return _sound(_united(kept[: len(parts)]), "What is left of the outline")


def _opened(ring: np.ndarray, reach: float) -> np.ndarray:
    return ring[:-1] if len(ring) > 1 and np.hypot(*(ring[0] - ring[-1])) <= reach else ring


def _worthy(shape: Any, of: float, reach: float) -> list[Any]:
    """Return the parts of a shape that are no slivers beside an area."""
    import shapely

    least = max(SMALLEST * reach**2, THINNEST * of)
    return [
        part
        for part in shapely.get_parts(shape)
        if shapely.get_type_id(part) == 3 and part.area > least
    ]


def _united(parts: Sequence[Any]) -> Any:
    import shapely

    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def stroke(points: np.ndarray, width: Sequence[float]) -> Any:
    """Return the land under the stroke of a brush.

    Parameters
    ----------
    points : (n, 2) float64 ndarray
        Where its middle went.
    width : (float, float)
        Its reach along x and along y.
    """
    import shapely

    scale = np.asarray(width, np.float64)
    way = points / scale
    line = shapely.Point(way[0]) if len(way) == 1 else shapely.LineString(way)
    round_one = shapely.simplify(shapely.buffer(line, 1.0, quad_segs=8), BLUNT)
    return shapely.transform(round_one, lambda xy: xy * scale)


def painted(shape: Any, under: Any, others: Sequence[Any], reach: float) -> Any:
    """Give a field the land under a brush, but for that of other fields.

    Raises
    ------
    BadInput
        If the brush did not touch the field, or nothing new was under it.
    """
    import shapely

    if not shapely.intersects(shape, under):
        raise BadInput("The brush did not touch the field: begin on it.")
    near = [other for other in others if shapely.intersects(under, other)]
    land = shapely.difference(under, shapely.union_all(near)) if near else under
    made = _filled(shapely.union(shape, land), shape, reach)
    kept = [part for part in shapely.get_parts(made) if shapely.intersection(part, shape).area > 0]
    if sum(part.area for part in kept) - shape.area <= SMALLEST * reach**2:
        raise BadInput("Nothing new was under the brush: that land is this field's, or another's.")
    return _sound(_united(kept), "The outline")


def erased(shape: Any, under: Any, reach: float) -> Any:
    """Take the land under a brush from a field.

    Raises
    ------
    BadInput
        If the brush did not touch the field, or nothing is left of it.
    """
    import shapely

    if shapely.intersection(shape, under).area <= SMALLEST * reach**2:
        raise BadInput("The brush did not touch the field: nothing was taken away.")
    parts = _worthy(shapely.difference(shape, under), shape.area, reach)
    if not parts:
        raise BadInput("Nothing would be left of the field: say that it is none (r) instead.")
    return _sound(_united(parts), "What is left of the field")


def _filled(shape: Any, old: Any, reach: float) -> Any:
    """Fill holes that the brush has left by mistake: those that are slivers."""
    import shapely

    least = max(SMALLEST * reach**2, THINNEST * old.area)
    made = []
    for part in shapely.get_parts(shape):
        holes = [ring for ring in part.interiors if shapely.Polygon(ring).area > least]
        made.append(shapely.Polygon(part.exterior, holes))
    return shapely.union_all(made)


def move(
    shapes: Shapes, field: str, at: np.ndarray, to: np.ndarray, reach: float
) -> dict[str, Any]:
    """Put a vertex elsewhere, in every field that has it.

    Parameters
    ----------
    shapes : mapping
        The field and all fields near it.
    field : str
        Whose vertex it is.
    at, to : (2,) float64 ndarray

    Returns
    -------
    dict
        The fields that changed: id -> polygon.

    Raises
    ------
    BadInput
        If there is no such vertex, or an outline would cross itself or lie over another field.
    """
    found = _with_vertex(_prepared(shapes, field, at[None], reach), field, at, reach)
    return _checked(
        shapes,
        {name: _rebuilt(r.move_vertex(lines, place, to)) for name, (lines, place) in found.items()},
        reach,
    )


def drop(shapes: Shapes, field: str, at: np.ndarray, reach: float) -> dict[str, Any]:
    """Take a vertex out of every field that has it; parameters and errors as for :func:`move`."""
    found = _with_vertex(_prepared(shapes, field, np.empty((0, 2)), reach), field, at, reach)
    return _checked(
        shapes,
        {name: _rebuilt(r.drop_vertex(lines, place)) for name, (lines, place) in found.items()},
        reach,
    )


def insert(
    shapes: Shapes, field: str, edge: np.ndarray, point: np.ndarray, reach: float
) -> dict[str, Any]:
    """Bend an edge: a new vertex between two others, in every field that has the edge.

    Parameters
    ----------
    edge : (2, 2) float64 ndarray
        The edge's ends, vertices of the field.
    point : (2,) float64 ndarray
        Where the new vertex goes.

    Raises
    ------
    BadInput
        If there is no such edge, or as for :func:`move`.
    """
    lines = _prepared(shapes, field, np.empty((0, 2)), reach)[field]
    place = r.edge_place(lines, edge[0], edge[1], point, reach)
    if place is None:
        raise BadInput("This field has no such edge (any more): load it again.")
    part, ring, k = place
    corners = lines[part][ring]
    return move(shapes, field, (corners[k - 1] + corners[k % len(corners)]) / 2, point, reach)


def _prepared(shapes: Shapes, field: str, points: np.ndarray, reach: float) -> dict[str, r.Rings]:
    """Give the field and those that touch it each other's vertices, and some more.

    Only then do both sides of a shared edge follow a change alike.
    """
    import shapely

    near = {
        name: shape
        for name, shape in shapes.items()
        if shapely.dwithin(shape, shapes[field], reach)
    }
    made = {}
    for name, shape in near.items():
        others = [other for its, other in near.items() if its != name]
        made[name] = r.rings_of(r.add_vertices(r.noded(shape, others, reach), points, reach))
    return made


def _with_vertex(
    prepared: Mapping[str, r.Rings], field: str, at: np.ndarray, reach: float
) -> dict[str, tuple[r.Rings, tuple[int, int, int]]]:
    found = {
        name: (lines, place)
        for name, lines in prepared.items()
        if (place := r.find_vertex(lines, at, reach)) is not None
    }
    if field not in found:
        raise BadInput("This field has no vertex at that place (any more): load it again.")
    return found


def _rebuilt(lines: r.Rings) -> Any:
    return _sound(r.shape_of(lines), "The outline")


def _sound(shape: Any, what: str) -> Any:
    """Refuse what is no simple area, and turn exteriors counter-clockwise."""
    import shapely

    if shape.is_empty or not shape.convex_hull.area > 0:
        raise BadInput(f"{what} holds no area: draw it again.")
    if not shapely.is_valid(shape):
        why = shapely.is_valid_reason(shape).partition("[")[0].lower()
        raise BadInput(f"{what} would cross or touch itself ({why}): draw it another way.")
    if shapely.get_type_id(shape) not in (3, 6):
        raise BadInput(f"{what} has no area: draw it again.")
    return shapely.orient_polygons(shape)


def _checked(shapes: Shapes, changed: dict[str, Any], reach: float) -> dict[str, Any]:
    """Refuse changes after which fields lie over each other more than before."""
    import shapely

    after = {**shapes, **changed}
    for name, shape in changed.items():
        for other, there in after.items():
            if other == name or not shapely.intersects(shape, there):
                continue
            more = (
                shapely.intersection(shape, there).area
                - shapely.intersection(shapes[name], shapes[other]).area
            )
            if more > max(SMALLEST * reach**2, OVERLAP * min(shape.area, there.area)):
                raise BadInput(
                    "The outline would lie over another field: move that field's edge, or unite "
                    "the two."
                )
    return changed
