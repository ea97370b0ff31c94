"""Neighbours along borders get the same points on their common edge, to the last bit.

Clipping and joining make points that only one of two neighbours has, or that both have but not in
the same last digits.  Points that were in an outline before stay what they were, for neighbours
away from borders have them too; new ones lie on a grid of a tenth of a millimetre; and where a
point of one field lies on an edge of another, that edge goes through it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selion.country.job_tables import with_shapes
from selion.country.sorted_runs import RunWriter, boxes_of, open_runs
from selion.store.vectors import box_around, touching

SNAP = 1e-9
"""Degrees, a tenth of a millimetre: points of two pieces on their common border that are nearer
than this are one."""
REACH = 1.5 * SNAP
"""Degrees from an edge at which a point lies on it: new points were moved by 0.7 steps of the grid
at most."""


def settled(shapes: np.ndarray, sources: list[np.ndarray]) -> np.ndarray:
    """Put points that are new on the grid, and those that are not back where they were.

    Parameters
    ----------
    shapes : (n,) object ndarray
        Outlines that clipping or joining has made, in degrees.
    sources : list of (k, 2) float64 ndarray
        Of each the points that were in an outline before.

    Returns
    -------
    (n,) object ndarray
        A shape that would not be valid so stays as it is.
    """
    import shapely

    coordinates, owner = shapely.get_coordinates(shapes, return_index=True)
    starts = np.searchsorted(owner, np.arange(len(shapes) + 1))
    out = _on_grid(coordinates) * SNAP
    for k, known in enumerate(sources):
        here = slice(starts[k], starts[k + 1])
        old = _complex(_on_grid(known))
        old, first = np.unique(old, return_index=True)
        if not len(old):
            continue
        asked = _complex(_on_grid(coordinates[here]))
        at = np.minimum(np.searchsorted(old, asked), len(old) - 1)
        same = old[at] == asked
        out[here][same] = known[first[at[same]]]
    moved = shapely.set_coordinates(shapes.copy(), out)
    return np.where(shapely.is_valid(moved), moved, shapes)


def _on_grid(coordinates: np.ndarray) -> np.ndarray:
    """Return (n, 2) coordinates in whole steps of the grid, as GEOS rounds."""
    return np.floor(coordinates / SNAP + 0.5)


def _complex(points: np.ndarray) -> np.ndarray:
    """Return (n, 2) points as (n,) numbers that can be sorted and compared."""
    return np.ascontiguousarray(points, np.float64).view(np.complex128).ravel()


def kept_points(piece: object, outlines: list[object]) -> np.ndarray:
    """Return (k, 2) points of a piece that are points of outlines that it was cut from or by."""
    import shapely

    points = shapely.get_coordinates(piece)
    same = np.isin(_complex(points), _complex(shapely.get_coordinates(outlines)))
    return np.asarray(points[same])


def noded(shapes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Lead edges through the points of other outlines that lie on them.

    Parameters
    ----------
    shapes : (n,) object ndarray
        Polygons and multipolygons in degrees.
    others : (m,) object ndarray
        These and all outlines that touch them.

    Returns
    -------
    (n,) object ndarray
    """
    import shapely

    points = np.unique(_complex(shapely.get_coordinates(others)))
    if not (len(shapes) and len(points)):
        return shapes
    better = _one_each(points)
    shapes, points = _renamed(shapes, points, better), np.unique(better)
    parts, owner = shapely.get_parts(shapes, return_index=True)
    _, coordinates, (rings, polygons) = shapely.to_ragged_array(parts)
    edge, point = _on_edges(coordinates, rings, points)
    holder = np.searchsorted(rings[polygons], edge, side="right") - 1
    fresh = ~_has(coordinates, rings[polygons], holder, points[point])
    edge, point, holder = edge[fresh], point[fresh], holder[fresh]
    if not len(edge):
        return shapes
    found = points[point].view(np.float64).reshape(-1, 2)
    along = np.einsum(
        "ni,ni->n", found - coordinates[edge], coordinates[edge + 1] - coordinates[edge]
    )
    order = np.lexsort((along, edge))
    edge, found = edge[order], found[order]
    more = np.insert(coordinates, edge + 1, found, axis=0)
    moved_rings = rings + np.searchsorted(edge, rings)
    new = shapely.from_ragged_array(shapely.GeometryType.POLYGON, more, (moved_rings, polygons))
    out = shapes.copy()
    for k in np.unique(owner[holder]):
        mine = new[owner == k]
        whole = mine[0] if shapely.get_type_id(shapes[k]) == 3 else shapely.multipolygons(mine)
        out[k] = whole
    return _sound(out, shapes)


def _one_each(points: np.ndarray) -> np.ndarray:
    """Return for each of (n,) sorted points the one that stands for all that are as near as this.

    Two computations of one new point may round to neighbours on the grid.  Points that were there
    before stand for new ones, else the first; two that were there before stay two.
    """
    import shapely

    xy = points.view(np.float64).reshape(-1, 2)
    dots = shapely.points(xy)
    one, other = shapely.STRtree(dots).query(dots, predicate="dwithin", distance=REACH)
    one, other = one[one < other], other[one < other]
    better = points.copy()
    if len(one):
        new = (_on_grid(xy) * SNAP == xy).all(axis=1)
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            if new[b]:
                better[b] = better[a]
            elif new[a]:
                better[a] = better[b]
    return better


def _renamed(shapes: np.ndarray, points: np.ndarray, better: np.ndarray) -> np.ndarray:
    """Put one point for another in outlines."""
    import shapely

    if (points == better).all():
        return shapes
    coordinates, owner = shapely.get_coordinates(shapes, return_index=True)
    at = _complex(coordinates)
    now = better[np.minimum(np.searchsorted(points, at), len(points) - 1)]
    mine = np.unique(owner[now != at])
    out = shapes.copy()
    moved = shapely.remove_repeated_points(
        shapely.set_coordinates(shapes.copy(), now.view(np.float64).reshape(-1, 2))[mine]
    )
    out[mine] = moved
    return _sound(out, shapes)


def _sound(shapes: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Repair (n,) shapes in which a thin strip has closed; one that is nothing then stays."""
    import shapely

    broken = np.flatnonzero(~shapely.is_valid(shapes))
    for k in broken:
        whole = shapely.make_valid(shapes[k], method="structure", keep_collapsed=False)
        kind = shapely.get_type_id(whole)
        shapes[k] = whole if kind in (3, 6) and not shapely.is_empty(whole) else before[k]
    return shapes


def _on_edges(
    coordinates: np.ndarray, rings: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of an edge, by its first point, and a point that lies on it."""
    import shapely

    edges = np.delete(np.arange(len(coordinates)), rings[1:] - 1)
    lines = shapely.linestrings(np.stack([coordinates[edges], coordinates[edges + 1]], axis=1))
    tree = shapely.STRtree(shapely.points(points.view(np.float64).reshape(-1, 2)))
    line, point = tree.query(lines, predicate="dwithin", distance=REACH)
    edge = edges[line]
    at = _complex(coordinates)
    apart = (at[edge] != points[point]) & (at[edge + 1] != points[point])
    return edge[apart], point[apart]


def _has(
    coordinates: np.ndarray, starts: np.ndarray, holder: np.ndarray, points: np.ndarray
) -> np.ndarray:
    """Tell which (n,) points their polygons have already."""
    at = _complex(coordinates)
    out = np.zeros(len(points), bool)
    for k in np.unique(holder):
        asked = holder == k
        out[asked] = np.isin(points[asked], at[starts[k] : starts[k + 1]])
    return out


def node_runs(source: Path, target: Path) -> None:
    """Node all rows of a folder of sorted runs, cell by cell with what lies around, into another.

    In memory are the rows of a cell and its neighbours.
    """
    import pyarrow as pa
    import shapely

    runs, writer = open_runs([source]), RunWriter(target)
    cells = list(dict.fromkeys(runs.cells.tolist()))
    boxes = np.array([runs.around([cell])[0] for cell in cells]).reshape(-1, 4)
    for number, cell in enumerate(cells):
        table = runs.read(cell)
        shapes = shapely.from_wkb(table["geometry"].to_numpy())
        west, south, east, north = box_around(boxes_of(table))
        reach = (west - REACH, south - REACH, east + REACH, north + REACH)
        near = [shapes]
        for other in np.flatnonzero(touching(boxes, reach)):
            if other != number:
                beside = runs.read(cells[other])
                beside = beside.filter(pa.array(touching(boxes_of(beside), reach)))
                near.append(shapely.from_wkb(beside["geometry"].to_numpy()))
        writer.add(
            with_shapes(table, noded(shapes, np.concatenate(near))).select(table.column_names)
        )
    writer.flush()
