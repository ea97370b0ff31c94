"""Where the pixels of the mosaic's grid lie on a composite.

Exact on a lattice that the grid fixes, linear in between.

Notes
-----
PROJ takes half a microsecond for a point, ten times what resampling it takes.  So nodes on every
``step``-th pixel of the *mosaic's* grid are transformed exactly, and the positions between four
nodes are interpolated.  ``step`` is a power of two, chosen for the composite as a whole so that the
error stays below :data:`TOLERANCE`, and an interpolated position depends on its four nodes and its
own index only: a block sees the very positions that the whole sees.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from selion.errors import GridMismatch
from selion.grid import Roi, overlap, whole
from selion.imagery.target import period

TOLERANCE = 0.01
"""Pixels of the composite."""
STEPS = (64, 32, 16, 8, 4, 2, 1)
"""Pixels of the mosaic between two nodes; 64 err by 0.002 px between UTM zones at 60 degrees of
latitude."""
SHIFT = 1e-3
"""Pixels; a mapping that is this close to a shift by whole pixels everywhere is one: UTM north and
south, or the zone of the tile itself."""
WIDER = 1.2
"""Pixels of the mosaic that are larger than this many of the composite's are averaged."""
EDGE_POINTS = 64
"""Of each edge of a composite, to see where it lies."""
PROBES = 6
"""Along each axis of what mosaic and composite share, to see how they lie to each other."""
_transformers = threading.local()


@dataclass(frozen=True, eq=False, slots=True)
class Placement:
    """Where a mosaic's pixels lie on one composite."""

    mosaic: GeoBox
    composite: GeoBox
    bounds: Roi | None
    """What of the mosaic the composite may touch; None: nothing."""
    outline: np.ndarray
    """(n, 2) x and y of the composite's edge in the mosaic's CRS."""
    step: int = STEPS[0]
    shift: tuple[int, int] | None = None
    """Rows and columns to add to an index of the mosaic, if the pixels are the same."""
    reach: float = 1.0
    """Pixels of the composite along the edge of one of the mosaic's; 1 if they are about the same
    or more."""

    def nodes(self, roi: Roi) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions of the nodes around a region of the mosaic.

        Returns
        -------
        columns, rows : (node, node) float64 ndarray
            In pixels of the composite, 0 at its outer edge.  Node ``[a, b]`` is at row
            ``(roi[0].start // step + a) * step`` of the mosaic.
        """
        rows, columns = (
            np.arange(part.start // self.step, (part.stop - 1) // self.step + 2) * self.step
            for part in roi
        )
        grid = np.meshgrid(columns.astype(np.float64), rows.astype(np.float64))
        return self._positions(*grid)

    def needed(self, nodes: tuple[np.ndarray, np.ndarray], margin: float) -> Roi | None:
        """Return the region of the composite that lies between nodes, ``margin`` pixels wider.

        None if they lie beside it.
        """
        columns, rows = nodes
        known = np.isfinite(columns) & np.isfinite(rows)
        if not known.any():
            return None
        spans = [
            (values[known].min() - margin, values[known].max() + margin)
            for values in (rows, columns)
        ]
        height, width = self.composite.shape
        if spans[0][1] <= 0 or spans[1][1] <= 0 or spans[0][0] >= height or spans[1][0] >= width:
            return None
        wanted = tuple(
            slice(max(math.floor(low), 0), max(math.ceil(high), 0)) for low, high in spans
        )
        return overlap((wanted[0], wanted[1]), whole(self.composite))

    def shifted(self, roi: Roi) -> Roi | None:
        """Return the region of the composite that is a region of the mosaic, pixel by pixel.

        None if that lies beside it, or its pixels are not the same.
        """
        if self.shift is None:
            return None
        rows, columns = (
            slice(max(part.start + by, 0), max(part.stop + by, 0))
            for part, by in zip(roi, self.shift, strict=True)
        )
        return overlap((rows, columns), whole(self.composite))

    def _positions(self, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.shift is not None:
            return columns + self.shift[1], rows + self.shift[0]
        return exact(self.mosaic, self.composite, columns, rows)


def place(mosaic: GeoBox, composite: GeoBox) -> Placement:
    """Say where a mosaic's pixels lie on a composite.

    Parameters
    ----------
    mosaic, composite : GeoBox
        Both with a CRS, both north up.
    """
    columns, rows, outline = _edge(mosaic, composite)
    bounds = _bounds(mosaic, columns, rows)
    placement = Placement(mosaic, composite, bounds, outline)
    if bounds is None:
        return placement
    probes = np.meshgrid(
        *(np.linspace(part.start, part.stop, PROBES) for part in (bounds[1], bounds[0]))
    )
    shift = _shift(mosaic, composite, *probes)
    if shift is not None:
        return Placement(mosaic, composite, bounds, outline, shift=shift)
    reach = _reach(mosaic, composite, *probes)
    step = next(
        (step for step in STEPS if _error(mosaic, composite, step, *probes) < TOLERANCE), STEPS[-1]
    )
    return Placement(
        mosaic, composite, bounds, outline, step=step, reach=reach if reach > WIDER else 1.0
    )


def exact(
    mosaic: GeoBox, composite: GeoBox, columns: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions on the composite (columns, rows) of positions on the mosaic, in pixels.

    Not finite where there are none.
    """
    x, y = _linear(mosaic, columns, rows)
    if mosaic.crs != composite.crs:
        x, y = _transformed(mosaic.crs, composite.crs, x, y)
    a, _, c, _, e, f = composite.transform[:6]
    return (x - c) / a, (y - f) / e


def _linear(grid: GeoBox, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, _, c, _, e, f = grid.transform[:6]
    return columns * a + c, rows * e + f


def _transformed(
    source: CRS | None, target: CRS | None, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Transform points; PROJ's objects belong to a thread."""
    from pyproj import Transformer

    known = _transformers.__dict__.setdefault("known", {})
    key = _definition(source), _definition(target)
    if key not in known:
        known[key] = Transformer.from_crs(key[0], key[1], always_xy=True)
    moved = known[key].transform(np.ascontiguousarray(x), np.ascontiguousarray(y))
    return moved[0], moved[1]


def _definition(crs: CRS | None) -> str:
    if crs is None:
        raise GridMismatch(
            "A grid without a CRS was given: a mosaic and its composites need to know where they "
            "lie."
        )
    return crs.to_wkt()


def _edge(mosaic: GeoBox, composite: GeoBox) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points along a composite's edge in the mosaic's pixels and in its CRS.

    Pixels are (columns, rows); x is on the turn that is nearest to the mosaic.
    """
    height, width = composite.shape
    steps = np.arange(EDGE_POINTS) / EDGE_POINTS
    columns = (
        np.concatenate([steps, np.ones(EDGE_POINTS), 1 - steps, np.zeros(EDGE_POINTS)]) * width
    )
    rows = np.concatenate([np.zeros(EDGE_POINTS), steps, np.ones(EDGE_POINTS), 1 - steps]) * height
    x, y = _linear(composite, columns, rows)
    if mosaic.crs != composite.crs:
        x, y = _transformed(composite.crs, mosaic.crs, x, y)
        around = None if mosaic.crs is None else period(mosaic.crs)
        if around is not None:
            x = _on_one_turn(x, mosaic, around)
    a, _, c, _, e, f = mosaic.transform[:6]
    return (x - c) / a, (y - f) / e, np.stack([x, y], axis=1)


def _on_one_turn(x: np.ndarray, mosaic: GeoBox, around: float) -> np.ndarray:
    """Write an outline that crosses the antimeridian without a jump.

    It is written near the middle of the mosaic.
    """
    jumps = np.round(np.diff(x, prepend=x[:1]) / around)
    x = x - around * np.cumsum(jumps)
    middle = mosaic.transform.c + mosaic.transform.a * mosaic.shape[1] / 2
    return x - around * np.round((x.mean() - middle) / around)


def _bounds(mosaic: GeoBox, columns: np.ndarray, rows: np.ndarray) -> Roi | None:
    """Return the region of the mosaic around an outline; None if there is none.

    It has a margin for what lies beside the outline's chords.
    """
    known = np.isfinite(columns) & np.isfinite(rows)
    if not known.all():
        return None
    spans = []
    for values in (rows, columns):
        margin = 2 + 0.001 * np.ptp(values)
        spans.append(
            slice(
                max(math.floor(values.min() - margin), 0), max(math.ceil(values.max() + margin), 0)
            )
        )
    return overlap((spans[0], spans[1]), whole(mosaic))


def _shift(
    mosaic: GeoBox, composite: GeoBox, columns: np.ndarray, rows: np.ndarray
) -> tuple[int, int] | None:
    x, y = exact(mosaic, composite, columns, rows)
    across, down = x - columns, y - rows
    if not (np.isfinite(across).all() and np.isfinite(down).all()):
        return None
    shift = round(float(down.flat[0])), round(float(across.flat[0]))
    return (
        shift
        if max(np.abs(down - shift[0]).max(), np.abs(across - shift[1]).max()) < SHIFT
        else None
    )


def _reach(mosaic: GeoBox, composite: GeoBox, columns: np.ndarray, rows: np.ndarray) -> float:
    """Return how many of the composite's pixels lie along the edge of one of the mosaic's.

    It is counted in the middle of what they share.
    """
    column, row = (np.array([values.mean()]) for values in (columns, rows))
    (x,), (y,) = exact(mosaic, composite, column, row)
    (x_right,), (y_right,) = exact(mosaic, composite, column + 1, row)
    (x_down,), (y_down,) = exact(mosaic, composite, column, row + 1)
    turned = (x_right - x) * (y_down - y) - (x_down - x) * (y_right - y)
    return math.sqrt(abs(turned)) if math.isfinite(turned) else 1.0


def _error(
    mosaic: GeoBox, composite: GeoBox, step: int, columns: np.ndarray, rows: np.ndarray
) -> float:
    """Return how far the middle between nodes lies from where it is interpolated to.

    It is in pixels of the composite, and the worst place of a bilinear cell.
    """
    left, top = columns - step / 2, rows - step / 2
    corners = [
        exact(mosaic, composite, left + step * across, top + step * down)
        for down in (0, 1)
        for across in (0, 1)
    ]
    middle = exact(mosaic, composite, columns, rows)
    off = [np.mean([corner[k] for corner in corners], axis=0) - middle[k] for k in (0, 1)]
    distance = np.hypot(*off)
    return float(np.max(distance)) if np.isfinite(distance).all() else math.inf
