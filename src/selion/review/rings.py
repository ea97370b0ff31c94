"""Polygons as lists of rings, so that single vertices can be changed.

Of one field, and of its neighbours along a shared edge.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

Ring = np.ndarray
"""(n, 2) float64: an open ring, the first point is not repeated."""
Rings = list[list[Ring]]
"""Parts of a polygon; of each the exterior and its holes."""


def rings_of(shape: Any) -> Rings:
    """Take a Polygon or MultiPolygon apart."""
    import shapely

    return [
        [shapely.get_coordinates(ring)[:-1] for ring in shapely.get_rings(part)]
        for part in shapely.get_parts(shape)
    ]


def shape_of(rings: Rings) -> Any:
    """Put a polygon together again; inverse of :func:`rings_of`."""
    import shapely

    parts = [shapely.Polygon(part[0], part[1:]) for part in rings]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def parts_of(points: np.ndarray, sizes: Sequence[Sequence[int]] = ()) -> Rings:
    """Cut (n, 2) points into rings; all of them are one ring where no ``sizes`` are given.

    Parameters
    ----------
    points : (n, 2) float64 ndarray
    sizes : sequence of sequence of int
        Of each part how many points its exterior and its holes have.
    """
    if not sizes:
        return [[points]]
    ends = np.cumsum([size for part in sizes for size in part])[:-1]
    rings = iter(np.split(points, ends))
    return [[next(rings) for _ in part] for part in sizes]


def find_vertex(rings: Rings, point: np.ndarray, reach: float) -> tuple[int, int, int] | None:
    """Return (part, ring, position) of the vertex at a point, the nearest within ``reach``.

    None if there is none.
    """
    best, place = reach, None
    for p, part in enumerate(rings):
        for r, ring in enumerate(part):
            away = np.hypot(*(ring - point).T)
            k = int(np.argmin(away))
            if away[k] <= best:
                best, place = float(away[k]), (p, r, k)
    return place


def _replaced(rings: Rings, place: tuple[int, int], ring: Ring) -> Rings:
    return [
        [ring if (p, r) == place else old for r, old in enumerate(part)]
        for p, part in enumerate(rings)
    ]


def move_vertex(rings: Rings, place: tuple[int, int, int], to: np.ndarray) -> Rings:
    """Put a vertex elsewhere."""
    p, r, k = place
    ring = rings[p][r].copy()
    ring[k] = to
    return _replaced(rings, (p, r), ring)


def drop_vertex(rings: Rings, place: tuple[int, int, int]) -> Rings:
    """Take a vertex out.

    Raises
    ------
    BadInput
        If the ring has only three.
    """
    p, r, k = place
    if len(rings[p][r]) <= 3:
        raise BadInput("An outline keeps three vertices at least: reject it if it is not a field.")
    return _replaced(rings, (p, r), np.delete(rings[p][r], k, axis=0))


def add_vertices(shape: Any, points: np.ndarray, reach: float) -> Any:
    """Put vertices where points lie on the outline but are none of its vertices yet.

    The area stays what it is, but for ``reach``.

    Parameters
    ----------
    shape : Polygon or MultiPolygon
    points : (n, 2) float64 ndarray
    reach : float
        How near to the outline a point lies "on" it, in units of the coordinates.
    """
    if not len(points):
        return shape
    rings = [[_with_points(ring, points, reach) for ring in part] for part in rings_of(shape)]
    return shape_of(rings)


def _with_points(ring: Ring, points: np.ndarray, reach: float) -> Ring:
    """Insert points into the edges of a ring on which they lie."""
    near = (points >= ring.min(0) - reach).all(1) & (points <= ring.max(0) + reach).all(1)
    points = points[near]
    if not len(points):
        return ring
    start, step = ring, np.roll(ring, -1, axis=0) - ring
    along, away = _on_edges(points, start, step)
    is_vertex = (np.hypot(*(points[:, None] - ring[None]).transpose(2, 0, 1)) <= reach).any(1)
    edge = np.argmin(away, axis=1)
    rows = np.flatnonzero((away[np.arange(len(points)), edge] <= reach) & ~is_vertex)
    if not len(rows):
        return ring
    order = rows[np.lexsort((along[rows, edge[rows]], edge[rows]))]
    kept = [
        order[0],
        *(b for a, b in pairwise(order) if np.hypot(*(points[b] - points[a])) > reach),
    ]
    return np.insert(ring, edge[kept] + 1, points[kept], axis=0)


def _on_edges(
    points: np.ndarray, start: np.ndarray, step: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, m) where along each edge the nearest place to each point is.

    It goes from 0 to 1; with it comes how far away the place is.
    """
    length = np.maximum((step**2).sum(1), 1e-300)
    along = np.clip(((points[:, None] - start[None]) * step[None]).sum(2) / length, 0, 1)
    nearest = start[None] + along[..., None] * step[None]
    return along, np.hypot(*(points[:, None] - nearest).transpose(2, 0, 1))


def noded(shape: Any, others: Sequence[Any], reach: float) -> Any:
    """Give an outline the vertices of its neighbours that lie on it.

    So an edge that two share has the same points on both sides.
    """
    import shapely

    points = shapely.get_coordinates(list(others))
    return add_vertices(shape, np.unique(points, axis=0), reach) if len(points) else shape


def edge_place(
    rings: Rings, a: np.ndarray, b: np.ndarray, point: np.ndarray, reach: float
) -> tuple[int, int, int] | None:
    """Return (part, ring, position) before which a new vertex goes.

    On the edge from ``a`` to ``b``, or on the piece of it that is nearest to ``point``.
    """
    best: tuple[float, tuple[int, int, int]] | None = None
    for p, part in enumerate(rings):
        for r, ring in enumerate(part):
            nearest = _on_edges(point[None], ring, np.roll(ring, -1, axis=0) - ring)[1][0]
            middle = (ring + np.roll(ring, -1, axis=0)) / 2
            along = _on_edges(np.concatenate([ring, middle]), a[None], (b - a)[None])[1][
                :, 0
            ].reshape(2, -1)
            pieces = (along[0] <= reach) & (np.roll(along[0], -1) <= reach) & (along[1] <= reach)
            for k in np.flatnonzero(pieces):
                if best is None or nearest[k] < best[0]:
                    best = (float(nearest[k]), (p, r, int(k) + 1))
    return None if best is None else best[1]
