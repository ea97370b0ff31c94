"""What a person may do to outlines, and what is refused.

Lines must cross, outlines must not, shared edges stay shared.

All coordinates are in the CRS of the map's file.  ``reach`` is how near two points count as one,
see :func:`reach_of`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
Shapes = Mapping[str, Any]
"""Field id -> Polygon or MultiPolygon."""


def reach_of(geographic: bool) -> float:
    """Return how near two points count as one.

    About a centimetre, in degrees or in metres (a hundredth of a pixel in a photograph).
    """
    return 1e-7 if geographic else 0.01


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


def drawn(points: np.ndarray, others: Sequence[Any], reach: float) -> Any:
    """Make a polygon of an outline that was drawn, without the land of other fields.

    Parameters
    ----------
    points : (n, 2) float64 ndarray
        The ring, open or closed.
    others : sequence of Polygon
        Fields that keep their land.

    Raises
    ------
    BadInput
        If the outline crosses itself, or nothing is left of it.
    """
    import shapely

    ring = (
        points[:-1] if len(points) > 1 and np.hypot(*(points[0] - points[-1])) <= reach else points
    )
    if len(ring) < 3:
        raise BadInput(f"An outline of {len(ring)} points was drawn: wanted are three or more.")
    shape = _sound(shapely.Polygon(ring), "The outline")
    near = [other for other in others if shapely.intersects(shape, other)]
    if not near:
        return shape
    left = shapely.get_parts(shapely.difference(shape, shapely.union_all(near)))
    kept = [part for part in left if part.area > max(SMALLEST * reach**2, THINNEST * shape.area)]
    if not kept or max(part.area for part in kept) < 0.01 * shape.area:
        raise BadInput("Another field lies there already: nothing is left of the outline.")
    return _sound(
        max(kept, key=lambda part: (part.area, part.bounds)), "What is left of the outline"
    )


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
