"""Following the cracks between pixels: rings of a label raster, compiled.

A crack is the edge between two neighbouring pixels of different labels; its ends lie on the lattice
of pixel corners.  Rings are walked with the object on the right hand, in (x, y) lattice coordinates
with y down: exteriors run clockwise on the screen.

Notes
-----
Where an object meets itself diagonally there are two ways to pair the four cracks of that corner.
An object that is 4-connected closes a loop around one of the two other pixels, so those two lie in
different parts of its complement; pairing the cracks by the pixel of the *complement* therefore
gives two simple rings that touch in a point (an exterior and a hole, or two holes), which is what
OGC simple features ask for and what GDAL's polygoniser writes.  Pairing by the object's own pixel
would give one ring that touches itself: not valid.
"""

from __future__ import annotations

import numpy as np
from numba import njit

NONE, CORNER, ANCHOR, REMOVED = 0, 1, 2, 3
"""What a lattice point is: nothing; a corner of one line; a point that stays (a node of three or
more lines, or pinned); simplified away."""

_DX = np.array([1, 0, -1, 0])  # directions: east, south, west, north
_DY = np.array([0, 1, 0, -1])


# Compiled: several comparisons at every lattice point; with arrays each is a temporary of the
# tile's size.  Points do not depend on each other.
@njit(cache=True, nogil=True)
def lattice_kinds(ids, top, left, bottom, right, nodes):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN201
    """Classify the lattice points of a tile.

    Parameters
    ----------
    ids : (y + 2, x + 2) integer ndarray
        Labels of the tile with one true pixel of its surroundings on each side (0 beyond the
        raster).
    top, left, bottom, right : bool
        Whether points with a crack on that side of the tile are pinned.
    nodes : bool
        Whether points where three or more lines meet are kept, turn or not.

    Returns
    -------
    (y + 1, x + 1) uint8 ndarray
        NONE, CORNER or ANCHOR.
    """
    height, width = ids.shape[0] - 1, ids.shape[1] - 1
    kinds = np.zeros((height, width), np.uint8)
    for i in range(height):
        edge_row = (top and i == 0) or (bottom and i == height - 1)
        for j in range(width):
            nw, ne, sw, se = ids[i, j], ids[i, j + 1], ids[i + 1, j], ids[i + 1, j + 1]
            if nw == ne and nw == sw and nw == se:
                continue
            north, east, south, west = nw != ne, ne != se, sw != se, nw != sw
            degree = int(north) + int(east) + int(south) + int(west)
            pinned = edge_row or (left and j == 0) or (right and j == width - 1)
            if pinned or (nodes and degree > 2):
                kinds[i, j] = ANCHOR
            elif degree > 2 or north != south:
                kinds[i, j] = CORNER
    return kinds


# Doubling, so that appending costs a constant time on the whole.  By the number: to assign a slice
# takes numba seconds to compile, for each type of array anew.
@njit(cache=True, nogil=True)
def _grown(array):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    more = np.empty((2 * array.shape[0], array.shape[1]), array.dtype)
    for row in range(array.shape[0]):
        for column in range(array.shape[1]):
            more[row, column] = array[row, column]
    return more


# Compiled: a walk with a step per crack.  Invariant: the object is on the right; ``seen`` holds the
# pixels below each eastward crack that was walked, and every ring has an eastward crack, so each is
# walked once.
@njit(cache=True, nogil=True)
def trace(labels, kinds, use_kinds):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, C901, PLR0912, PLR0915
    """Walk all rings of a label raster.

    Parameters
    ----------
    labels : (y + 2, x + 2) int32 ndarray
        Labels, each one 4-connected, framed by zeros; 0 is no object.
    kinds : (y + 1, x + 1) uint8 ndarray
        Lattice points as :func:`lattice_kinds` gives them; not looked at unless ``use_kinds``.
    use_kinds : bool
        Emit the points that ``kinds`` keeps; otherwise every turn.

    Returns
    -------
    points : (n, 2) int32 ndarray
        (x, y) lattice points of all rings, one after the other, not closed; each ring starts at its
        first point in (y, x) order.
    rings : (m, 5) int64 ndarray
        Per ring: start in ``points``, number of points, label, twice the signed area of its pixels
        (negative for holes), and the place of one pixel of the object in ``labels.ravel()``.
    """
    height, width = labels.shape
    seen = np.zeros((height, width), np.uint8)
    points = np.empty((max(1024, height * width // 16), 2), np.int32)
    rings = np.empty((256, 5), np.int64)
    # int64: numba compiles what is called with a literal for each of them anew
    used, count = np.int64(0), 0
    for r in range(1, height - 1):
        for c in range(1, width - 1):
            label = labels[r, c]
            if label == 0 or labels[r - 1, c] == label or seen[r, c]:
                continue
            begin, area, first = used, 0, np.int64(-1)
            y, x, d = r - 1, c - 1, 0
            while not (d == 0 and seen[y + 1, x + 1]):
                if d == 0:
                    seen[y + 1, x + 1] = 1
                x0, y0 = x, y
                x += 1 if d == 0 else (-1 if d == 2 else 0)
                y += 1 if d == 1 else (-1 if d == 3 else 0)
                area += x0 * y - x * y0
                if d == 0:
                    ahead_left, ahead_right = (
                        labels[y, x + 1] == label,
                        labels[y + 1, x + 1] == label,
                    )
                elif d == 1:
                    ahead_left, ahead_right = (
                        labels[y + 1, x + 1] == label,
                        labels[y + 1, x] == label,
                    )
                elif d == 2:
                    ahead_left, ahead_right = labels[y + 1, x] == label, labels[y, x] == label
                else:
                    ahead_left, ahead_right = labels[y, x] == label, labels[y, x + 1] == label
                turned = True
                if ahead_left:
                    d = (d + 3) % 4  # also at a diagonal: see the module's notes
                elif not ahead_right:
                    d = (d + 1) % 4
                else:
                    turned = False
                if use_kinds:
                    kind = kinds[y, x]
                    keep = kind in (CORNER, ANCHOR) or (turned and kind == NONE)
                else:
                    keep = turned
                if keep:
                    if used == points.shape[0]:
                        points = _grown(points)
                    points[used, 0], points[used, 1] = x, y
                    if (
                        first < 0
                        or y < points[first, 1]
                        or (y == points[first, 1] and x < points[first, 0])
                    ):
                        first = used
                    used += 1
            if used > begin:
                _rotate(points, begin, used, first)
                if count == rings.shape[0]:
                    rings = _grown(rings)
                rings[count, 0], rings[count, 1], rings[count, 2], rings[count, 3] = (
                    begin,
                    used - begin,
                    label,
                    area,
                )
                rings[count, 4] = r * width + c
                count += 1
    return points[:used], rings[:count]


# In place, because the ring lies in the middle of the array of all points.
@njit(cache=True, nogil=True)
def _rotate(points, begin, end, first):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Turn a ring so that it starts at ``first``: three reversals, in place."""
    if first == begin:
        return
    _reverse(points, begin, first)
    _reverse(points, first, end)
    _reverse(points, begin, end)


# Compiled for _rotate, point by point: a numpy view reversed in place would need a copy.
@njit(cache=True, nogil=True)
def _reverse(points, begin, end):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    end -= 1
    while begin < end:
        for k in range(2):
            points[begin, k], points[end, k] = points[end, k], points[begin, k]
        begin += 1
        end -= 1


# Compiled: rings differ in length, and a numpy call for each would cost more than its points.  ``a
# * e > 0`` is a mapping that keeps the orientation; else rings are read backwards.
@njit(cache=True, nogil=True)
def close_rings(points, starts, lengths, a, c, e, f):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Copy rings in the order given, close each one, and map it.

    ``x' = a x + c``, ``y' = e y + f``.

    Exteriors come out counter-clockwise in the coordinates they are mapped to, holes clockwise.

    Returns
    -------
    coordinates : (n, 2) float64 ndarray
    offsets : (m + 1,) int64 ndarray
        Where each ring starts.
    """
    offsets = np.zeros(starts.size + 1, np.int64)
    for k in range(starts.size):
        offsets[k + 1] = offsets[k] + lengths[k] + 1
    coordinates = np.empty((offsets[-1], 2), np.float64)
    keeps = a * e > 0
    for k in range(starts.size):
        at = offsets[k]
        for i in range(lengths[k] + 1):
            j = starts[k] + (i if keeps else lengths[k] - i) % lengths[k]
            coordinates[at + i, 0] = a * points[j, 0] + c
            coordinates[at + i, 1] = e * points[j, 1] + f
    return coordinates, offsets


# Compiled as close_rings.
@njit(cache=True, nogil=True)
def tidy_rings(coordinates, offsets, straighten):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Bring closed rings on the lattice to the form that :func:`trace` gives.

    First point in (y, x) order first.

    Parameters
    ----------
    coordinates : (n, 2) float64 ndarray
        (x, y) lattice points of closed rings.
    offsets : (m + 1,) integer ndarray
        Where each ring starts.
    straighten : bool
        Drop points in the middle of straight lines.

    Returns
    -------
    points : (n, 2) int32 ndarray
        Open rings.
    starts, lengths : (m,) int64 ndarray
    """
    points = np.empty((coordinates.shape[0], 2), np.int32)
    starts, lengths = np.empty(offsets.size - 1, np.int64), np.empty(offsets.size - 1, np.int64)
    used = np.int64(0)
    for k in range(offsets.size - 1):
        begin, size = offsets[k], offsets[k + 1] - offsets[k] - 1
        first, at = np.int64(-1), used
        for i in range(size):
            x, y = coordinates[begin + i, 0], coordinates[begin + i, 1]
            before, after = begin + (i - 1) % size, begin + (i + 1) % size
            cross = (x - coordinates[before, 0]) * (coordinates[after, 1] - y) - (
                y - coordinates[before, 1]
            ) * (coordinates[after, 0] - x)
            if straighten and cross == 0:
                continue
            points[used, 0], points[used, 1] = round(x), round(y)
            if (
                first < 0
                or y < points[first, 1]
                or (y == points[first, 1] and x < points[first, 0])
            ):
                first = used
            used += 1
        _rotate(points, at, used, first)
        starts[k], lengths[k] = at, used - at
    return points[:used], starts, lengths


# Compiled: one pass over millions of short rings.  Sums are taken from the polygon's first point,
# so that large coordinates (UTM) do not eat the digits of small areas.
@njit(cache=True, nogil=True)
def moments(coordinates, offsets, exteriors):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Measure polygons in their own coordinates.

    Parameters
    ----------
    coordinates : (n, 2) float64 ndarray
        Closed rings, one after the other.
    offsets : (m + 1,) integer ndarray
        Where each ring starts.
    exteriors : (p + 1,) integer ndarray
        The ring that is each polygon's exterior.

    Returns
    -------
    (p, 7) float64 ndarray
        Area (holes taken away), centre x and y, bounds x0, y0, x1, y1.
    """
    out = np.zeros((exteriors.size - 1, 7), np.float64)
    for k in range(out.shape[0]):
        start = offsets[exteriors[k]]
        ox, oy = coordinates[start, 0], coordinates[start, 1]
        area, mx, my = 0.0, 0.0, 0.0
        x0, y0, x1, y1 = ox, oy, ox, oy
        for ring in range(exteriors[k], exteriors[k + 1]):
            for i in range(offsets[ring], offsets[ring + 1] - 1):
                ax, ay = coordinates[i, 0] - ox, coordinates[i, 1] - oy
                bx, by = coordinates[i + 1, 0] - ox, coordinates[i + 1, 1] - oy
                cross = ax * by - bx * ay
                area += cross
                mx += cross * (ax + bx)
                my += cross * (ay + by)
                x0, x1 = min(x0, ax + ox), max(x1, ax + ox)
                y0, y1 = min(y0, ay + oy), max(y1, ay + oy)
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
        if area != 0:
            cx, cy = ox + mx / (3 * area), oy + my / (3 * area)
        out[k, 0], out[k, 1], out[k, 2], out[k, 3], out[k, 4], out[k, 5], out[k, 6] = (
            abs(area) / 2,
            cx,
            cy,
            x0,
            y0,
            x1,
            y1,
        )
    return out


# Compiled as moments.
@njit(cache=True, nogil=True)
def lengths(coordinates, offsets, exteriors, metric):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return (p,) float64 perimeters, holes included, each in the (p, 2, 2) metric of its polygon.

    Other parameters as for :func:`moments`.
    """
    out = np.zeros(exteriors.size - 1, np.float64)
    for k in range(out.size):
        for ring in range(exteriors[k], exteriors[k + 1]):
            for i in range(offsets[ring], offsets[ring + 1] - 1):
                dx, dy = (
                    coordinates[i + 1, 0] - coordinates[i, 0],
                    coordinates[i + 1, 1] - coordinates[i, 1],
                )
                out[k] += np.hypot(
                    metric[k, 0, 0] * dx + metric[k, 0, 1] * dy,
                    metric[k, 1, 0] * dx + metric[k, 1, 1] * dy,
                )
    return out


# Compiled: adds into an array that is kept over all blocks; bincount would make one as long as the
# largest id for each block.
@njit(cache=True, nogil=True)
def count_ids(ids, counts):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Count the pixels of each id of (y, x) whole numbers from 0.

    They are added to (k,) float64 ``counts``, in place.
    """
    for i in range(ids.shape[0]):
        for j in range(ids.shape[1]):
            counts[ids[i, j]] += 1.0
