"""Outlines of objects: from ids on a grid to polygons, tile by tile, exact at the seams."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import BadInput
from selion.grid import Roi, check_north_up, pad_roi, roi_shape, tiles
from selion.labels import Instances

TILE = 2048
"""Edge in pixels of the tiles in which outlines are made.  Fixed, because simplified lines keep a
point where they cross a tile's border."""

SMALL = 0.05
"""No corner goes whose triangle is larger than this share of one of the two objects that meet
there: small fields keep their shape."""

Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""``map``, or the ``map`` of an executor; results in the order of what was given."""


class Ids(Protocol):
    """Object ids by region: Instances, or an InstanceMap on disk."""

    @property
    def grid(self) -> GeoBox:
        """The whole grid."""
        ...

    @property
    def min_area(self) -> float:
        """Area of the smallest object that was looked for, in m2; px2 for a photograph."""
        ...

    def read(self, roi: Roi) -> Instances:
        """Read a region."""
        ...


@dataclass(frozen=True, eq=False)
class Rings:
    """Polygons on the pixel lattice, as rings one after the other.

    An object's exterior, then its holes.
    """

    points: np.ndarray
    """(n, 2) int32 (x, y) lattice points; rings are not closed."""
    starts: np.ndarray
    """(m,) int64 first point of each ring."""
    lengths: np.ndarray
    """(m,) int64 points of each ring."""
    exteriors: np.ndarray
    """(p + 1,) int64 the ring that is each polygon's exterior; the last entry is m."""
    ids: np.ndarray
    """(p,) int64 object of each polygon."""

    def polygons(self, grid: GeoBox | None = None) -> np.ndarray:
        """Return (p,) shapely polygons, in the CRS of ``grid`` or on the lattice."""
        import shapely

        coordinates, offsets, exteriors = self.ragged(grid)
        polygons: np.ndarray = shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, coordinates, (offsets, exteriors)
        )
        return polygons

    def part(self, rows: slice) -> Rings:
        """Return some of the polygons."""
        exteriors = self.exteriors[rows.start : rows.stop + 1]
        rings = slice(exteriors[0], exteriors[-1])
        return Rings(
            self.points,
            self.starts[rings],
            self.lengths[rings],
            exteriors - exteriors[0],
            self.ids[rows],
        )

    def ragged(self, grid: GeoBox | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (n, 2) coordinates of closed rings, and where they are.

        That is where each ring starts, and the ring that is each polygon's exterior.
        """
        from selion.fields.cracks import close_rings

        a, c, e, f = (
            (1.0, 0.0, 1.0, 0.0)
            if grid is None
            else (grid.transform.a, grid.transform.c, grid.transform.e, grid.transform.f)
        )
        return (*close_rings(self.points, self.starts, self.lengths, a, c, e, f), self.exteriors)


def polygonise(
    instances: Ids, *, simplify: float = 0.0, nodes: bool = False, run: Run = map
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the outline of each object.

    Parameters
    ----------
    instances : Instances or InstanceMap
        (y, x) ids; 0 is no object.
    simplify : float
        Corners whose triangle is smaller than this many pixels, squared, go; neighbours keep one
        shared edge.  0 keeps the pixels' outlines.
    nodes : bool
        Whether points where three or more lines meet are points of every ring through them, so that
        the polygons stay a coverage (neighbours have the same points on a shared edge) in any
        projection.  Always so when ``simplify`` is not 0.
    run : callable
        ``map`` or an executor's; tiles are independent.

    Returns
    -------
    ids : (n,) int64 ndarray
        Ascending; an object of several 4-connected parts has several polygons, in the order of
        their first points.
    polygons : (n,) object ndarray
        Valid shapely polygons in the grid's CRS, exteriors counter-clockwise on a north-up map.

    Raises
    ------
    GridMismatch
        If the grid is rotated.
    BadInput
        If ``simplify`` is negative.

    Notes
    -----
    Without ``simplify`` and ``nodes`` the rings are those of GDAL's polygoniser with
    4-connectedness.
    """
    rings = outline(instances, simplify=simplify, nodes=nodes, run=run)
    return rings.ids, rings.polygons(instances.grid)


def outline(
    instances: Ids,
    *,
    simplify: float = 0.0,
    nodes: bool = False,
    run: Run = map,
    counts: np.ndarray | None = None,
) -> Rings:
    """Do the work of :func:`polygonise` on the pixel lattice; same parameters and errors.

    ``counts`` are :func:`pixel_counts`, where the caller has them.
    """
    check_north_up(instances.grid, "the grid of the objects")
    if not simplify >= 0:
        raise BadInput(
            f"A simplification of {simplify} px was given; wanted is a number from 0 up."
        )
    shape = (int(instances.grid.shape[0]), int(instances.grid.shape[1]))
    nodes = nodes or simplify > 0
    caps = np.empty(0)
    if simplify > 0:
        caps = 2 * SMALL * (pixel_counts(instances) if counts is None else counts)
    drawn = list(
        run(
            partial(
                _outline_tile, instances, shape=shape, limit=2 * simplify**2, caps=caps, nodes=nodes
            ),
            tiles(shape, TILE),
        )
    )
    done, cut = [one for one, _ in drawn], [other for _, other in drawn if len(other.ids)]
    if cut:
        done.append(_across_seams(cut))
    rings = _joined(done)
    return rings if nodes or len(drawn) == 1 else _straightened(rings)


def pixel_counts(instances: Ids) -> np.ndarray:
    """Return (k,) float64 pixels of each id, from the table if it knows them.

    Infinitely many for 0, which is no object.
    """
    from selion.fields.cracks import count_ids

    table = instances.read((slice(0, 0), slice(0, 0))).table
    if "pixels" in table:
        counts = np.zeros(int(table["id"].max() if len(table) else 0) + 1)
        counts[table["id"].to_numpy(np.int64)] = table["pixels"]
    else:
        counts = np.zeros(1)
        for roi in tiles((int(instances.grid.shape[0]), int(instances.grid.shape[1])), TILE):
            found = instances.read(roi).ids
            counts = np.pad(counts, (0, max(int(found.max(initial=0)) + 1 - len(counts), 0)))
            count_ids(found, counts)
    counts[0] = np.inf
    return counts


def _outline_tile(
    instances: Ids, roi: Roi, *, shape: tuple[int, int], limit: float, caps: np.ndarray, nodes: bool
) -> tuple[Rings, Rings]:
    """Outline one tile.

    Return the polygons that are whole, and the pieces of those that a seam cuts.
    """
    import cc3d

    from selion.fields import arcs, cracks

    ids = _with_surroundings(instances, roi, shape)
    height, width = roi_shape(roi)
    rows, columns = roi
    labels = np.zeros(ids.shape, np.int32)
    labels[1:-1, 1:-1] = cc3d.connected_components(
        np.ascontiguousarray(ids[1:-1, 1:-1]), connectivity=4
    )
    pins = (rows.start > 0, columns.start > 0, rows.stop < shape[0], columns.stop < shape[1])
    use_kinds = nodes or any(pins)
    kinds = np.zeros((1, 1), np.uint8)
    if use_kinds:
        kinds = cracks.lattice_kinds(ids, *pins, nodes)
    if limit > 0:
        arcs.simplify_lines(ids, kinds, limit, caps)
    points, rings = cracks.trace(labels, kinds, use_kinds)
    first = points[rings[:, 0]] if len(rings) else np.empty((0, 2), np.int32)
    exterior = rings[:, 3] > 0
    order = np.lexsort((first[:, 0], first[:, 1], ~exterior, rings[:, 2]))
    rings, exterior = rings[order], exterior[order]
    across = np.zeros(int(rings[:, 2].max(initial=0)) + 1, bool)
    for rim, inner, outer in _rims(labels, ids, (height, width)):
        across[rim[(inner == outer) & (inner > 0)]] = True
    points += np.array([columns.start, rows.start], np.int32)
    marks = across[rings[:, 2]]
    owner = ids.ravel()[rings[:, 4]]
    return _selected(points, rings[~marks], exterior[~marks], owner[~marks]), _selected(
        points, rings[marks], exterior[marks], owner[marks]
    )


def _with_surroundings(instances: Ids, roi: Roi, shape: tuple[int, int]) -> np.ndarray:
    """Read a tile and one pixel around it; 0 beyond the raster."""
    wide = pad_roi(roi, 1, shape)
    height, width = roi_shape(roi)
    out = np.zeros((height + 2, width + 2), np.int32)
    top, left = wide[0].start - roi[0].start + 1, wide[1].start - roi[1].start + 1
    found = instances.read(wide).ids
    out[top : top + found.shape[0], left : left + found.shape[1]] = found
    return out


def _rims(
    labels: np.ndarray, ids: np.ndarray, size: tuple[int, int]
) -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Along each side of a tile: labels just inside, ids just inside, ids just outside."""
    height, width = size
    for at, beyond in ((1, 0), (height, height + 1)):
        yield labels[at], ids[at], ids[beyond]
    for at, beyond in ((1, 0), (width, width + 1)):
        yield labels[:, at], ids[:, at], ids[:, beyond]


def _selected(
    points: np.ndarray, rings: np.ndarray, exterior: np.ndarray, owner: np.ndarray
) -> Rings:
    exteriors = np.append(np.flatnonzero(exterior), len(rings)).astype(np.int64)
    return Rings(
        points, rings[:, 0].copy(), rings[:, 1].copy(), exteriors, owner[exterior].astype(np.int64)
    )


def _across_seams(pieces: list[Rings]) -> Rings:
    """Join the pieces of objects that seams cut.

    Both sides of a seam have the same points, so edges cancel exactly.
    """
    import shapely

    ids = np.concatenate([one.ids for one in pieces])
    polygons = np.concatenate([one.polygons() for one in pieces])
    order = np.argsort(ids, kind="stable")
    ids, polygons = ids[order], polygons[order]
    names, starts, counts = np.unique(ids, return_index=True, return_counts=True)
    whole: list[np.ndarray] = []
    owner: list[np.ndarray] = []
    for count in np.unique(counts):  # all objects of as many pieces in one call
        at = np.flatnonzero(counts == count)
        joined = shapely.coverage_union_all(
            polygons[starts[at][:, None] + np.arange(count)], axis=1
        )
        parts, part_of = shapely.get_parts(joined, return_index=True)
        whole.append(parts)
        owner.append(names[at][part_of])
    return _rings_of(np.concatenate(whole), np.concatenate(owner), straighten=False)


def _rings_of(polygons: np.ndarray, ids: np.ndarray, *, straighten: bool) -> Rings:
    """Take lattice polygons apart again, in the order and orientation of the tracer."""
    import shapely

    from selion.fields.cracks import tidy_rings

    # lattice y points down, and the tracer keeps the object on the right: counter-clockwise here
    polygons = shapely.orient_polygons(polygons)
    _, coordinates, offsets = shapely.to_ragged_array(polygons)
    points, starts, lengths = tidy_rings(coordinates, offsets[0].astype(np.int64), straighten)
    exteriors = offsets[1].astype(np.int64)
    return _ordered(Rings(points, starts, lengths, exteriors, ids))


def _ordered(rings: Rings) -> Rings:
    """Sort holes within each polygon by their first points."""
    polygon = np.repeat(np.arange(len(rings.ids)), np.diff(rings.exteriors))
    hole = np.ones(len(polygon), bool)
    hole[rings.exteriors[:-1]] = False
    first = rings.points[rings.starts]
    order = np.lexsort((first[:, 0], first[:, 1], hole, polygon))
    return Rings(
        rings.points, rings.starts[order], rings.lengths[order], rings.exteriors, rings.ids
    )


def _joined(parts: list[Rings]) -> Rings:
    """Bring the polygons of all tiles together, sorted by object and first point."""
    shift = np.cumsum([0, *(len(one.points) for one in parts)])
    points = np.concatenate([one.points for one in parts])
    starts = np.concatenate([one.starts + at for one, at in zip(parts, shift, strict=False)])
    lengths = np.concatenate([one.lengths for one in parts])
    ids = np.concatenate([one.ids for one in parts])
    counts = np.concatenate([np.diff(one.exteriors) for one in parts])
    begins = np.cumsum(counts) - counts
    first = points[starts[begins]] if len(ids) else np.empty((0, 2), np.int32)
    order = np.lexsort((first[:, 0], first[:, 1], ids))
    exteriors = np.concatenate([[0], np.cumsum(counts[order])]).astype(np.int64)
    ring = np.repeat(begins[order] - exteriors[:-1], counts[order]) + np.arange(exteriors[-1])
    return Rings(points, starts[ring], lengths[ring], exteriors, ids[order])


def _straightened(rings: Rings) -> Rings:
    """Drop the points that tiles left in the middle of straight edges."""
    from selion.fields.cracks import close_rings, tidy_rings

    coordinates, offsets = close_rings(
        rings.points, rings.starts, rings.lengths, 1.0, 0.0, 1.0, 0.0
    )
    points, starts, lengths = tidy_rings(coordinates, offsets, True)
    return _joined([_ordered(Rings(points, starts, lengths, rings.exteriors, rings.ids))])
