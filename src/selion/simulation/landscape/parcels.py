"""Parcels by recursive subdivision: regions, blocks between roads, furlongs, parcels.

A landscape is a binary tree of straight cuts in a plane that is bent afterwards (see
:mod:`selion.simulation.landscape.cover`).  Each cut knows what lies on it: nothing, a grass margin,
a hedge, a track, a road.  Every random number is a hash of the path to its node, so a region looks
the same whatever is built around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from selion.simulation.landscape.noise import mix, normal, uniform
from selion.simulation.landscape.styles import GROVES, HECTARE, PONDS

# What lies on a cut.
NOTHING, GRASS, HEDGE, TRACK, DITCH, LANE, ROAD, RAIL = range(8)
# What a leaf is.
VOID, FIELD, ROUGH, WOOD, PLOT, POND, WORKS, PIVOT, GREEN, GROVE = range(10)
# Columns of the leaves.
(
    CX,
    CY,
    THETA,
    HALF_LENGTH,
    HALF_WIDTH,
    AREA,
    STYLE,
    KIND,
    FARM_U,
    FARM_V,
    FARM_SIZE,
    LEAF_COLUMNS,
) = range(12)
# Columns of the cuts.
NX, NY, OFFSET, WIDTH, ON_CUT, VERGE, CUT_COLUMNS = range(7)

_SECTION = 1609.344
"""Metres of a mile: the side of a section of surveyed land."""
_VERTICES = 28
"""A convex parcel has at most so many: the room of its array."""
_DEPTH = 256
"""Pieces of land that wait to be cut at most: the room of the stack."""


@dataclass(frozen=True, eq=False, slots=True)
class ParcelTree:
    """The plan of a landscape, in metres from the upper left corner of the view.

    x goes to the east, y to the south.
    """

    cuts: np.ndarray
    """(cut, 6) float64: unit normal, offset, width in metres, what lies on it, metres of grass
    beside it."""
    children: np.ndarray
    """(cut, 2) int32: next cut on the low and the high side; a leaf ``k`` is written ``-k - 1``."""
    leaves: np.ndarray
    """(leaf, 11) float64: centre, direction, half length and width, area in m2, style, kind,
    farmstead."""
    keys: np.ndarray
    """(leaf,) uint64: the randomness of each leaf."""
    groups: np.ndarray
    """(leaf,) int32: leaves of one group are farmed as one field."""


# Compiled, as all of this file: called at every node while land is cut up.  Invariant: the polygon
# stays convex, so a cut adds one vertex at most.
@njit(nogil=True, cache=True, error_model="numpy")
def _clip(
    poly: np.ndarray, count: int, nx: float, ny: float, offset: float, out: np.ndarray
) -> int:
    """Keep the part of a convex polygon where n . p <= offset."""
    kept = 0
    for i in range(count):
        j = (i + 1) % count
        a = nx * poly[i, 0] + ny * poly[i, 1] - offset
        b = nx * poly[j, 0] + ny * poly[j, 1] - offset
        if kept > _VERTICES - 3:
            break
        if a <= 0:
            out[kept, 0], out[kept, 1] = poly[i, 0], poly[i, 1]
            kept += 1
        if a * b < 0:
            t = a / (a - b)
            out[kept, 0] = poly[i, 0] + t * (poly[j, 0] - poly[i, 0])
            out[kept, 1] = poly[i, 1] + t * (poly[j, 1] - poly[i, 1])
            kept += 1
    return kept


# One pass for area and both extents.
@njit(nogil=True, cache=True, error_model="numpy")
def _measure(
    poly: np.ndarray, count: int, theta: float
) -> tuple[float, float, float, float, float]:
    """Return area and the extent along and across the direction.

    (area, low_a, high_a, low_b, high_b).
    """
    c, s = np.cos(theta), np.sin(theta)
    area = 0.0
    low_a = low_b = 1e18
    high_a = high_b = -1e18
    for i in range(count):
        j = (i + 1) % count
        area += poly[i, 0] * poly[j, 1] - poly[j, 0] * poly[i, 1]
        a = c * poly[i, 0] + s * poly[i, 1]
        b = -s * poly[i, 0] + c * poly[i, 1]
        low_a, high_a = min(low_a, a), max(high_a, a)
        low_b, high_b = min(low_b, b), max(high_b, b)
    return abs(area) / 2, low_a, high_a, low_b, high_b


# Bounding boxes only: cheap, and in doubt the parcel is kept.
@njit(nogil=True, cache=True, error_model="numpy")
def _outside(poly: np.ndarray, count: int, view: np.ndarray) -> bool:
    left = top = 1e18
    right = bottom = -1e18
    for i in range(count):
        left, right = min(left, poly[i, 0]), max(right, poly[i, 0])
        top, bottom = min(top, poly[i, 1]), max(bottom, poly[i, 1])
    return right < view[0] or left > view[2] or bottom < view[1] or top > view[3]


# The radius of a village is below a cell and its centre in it, so nine cells hold the nearest.
@njit(nogil=True, cache=True, error_model="numpy")
def near_village(
    x: float, y: float, salt: np.uint64, density: float, cell: float, size: float
) -> float:
    """Return the distance to the rim of the nearest village in metres (negative inside).

    Each cell of ``cell`` metres holds one at most; of ``size`` 1 they are 90 to 510 m in radius.
    """
    best = 1e9
    ci, cj = int(np.floor(y / cell)), int(np.floor(x / cell))
    for di in range(-1, 2):
        for dj in range(-1, 2):
            key = mix(mix(salt, ci + di + 5000), cj + dj + 5000)
            if uniform(key, 0) < density * 0.4:
                vx, vy = (cj + dj + uniform(key, 1)) * cell, (ci + di + uniform(key, 2)) * cell
                radius = (90 + 420 * uniform(key, 3) ** 2.2) * size
                turn = np.arctan2(y - vy, x - vx)
                radius *= (
                    1
                    + 0.35 * np.sin(2 * turn + 6 * uniform(key, 4))
                    + 0.2 * np.sin(3 * turn + 6 * uniform(key, 5))
                )
                best = min(best, np.hypot(x - vx, y - vy) - radius)
    return best


# A hash of the parcel's key: what lies on its edge does not depend on the order of the cuts.
@njit(nogil=True, cache=True, error_model="numpy")
def _draw_edge(style: np.ndarray, key: np.uint64) -> tuple[float, float]:
    """Return (what, width) of a boundary between two parcels."""
    u = uniform(key, 31)
    w = style[13] * np.exp(0.45 * normal(key, 32))
    total = 0.0
    for what in range(5):
        total += style[8 + what]
        if u < total:
            break
    if what == NOTHING:
        # Half of them show a furrow or a bund, thinner than any pixel.
        return NOTHING, 0.8 * (uniform(key, 33) < 0.5)
    if what == HEDGE:
        return HEDGE, max(2.5, 1.25 * w)
    if what == TRACK:
        return TRACK, 2.2 + 1.6 * uniform(key, 33)
    return what, max(0.8, w)


# As _draw_edge, from other salts.
@njit(nogil=True, cache=True, error_model="numpy")
def _draw_road(stage: int, key: np.uint64) -> tuple[float, float]:
    """Return (what, width) of a cut between regions (stage 0) or between blocks (stage 1)."""
    u = uniform(key, 41)
    if stage == 0:
        if u < 0.16:
            return RAIL, 9.0
        return ROAD, 6.0 + 7.0 * uniform(key, 42) ** 2
    if u < 0.52:
        return LANE, 3.8 + 2.2 * uniform(key, 42)
    if u < 0.86:
        return TRACK, 2.5 + 1.8 * uniform(key, 42)
    return DITCH, 3.0 + 3.0 * uniform(key, 42)


# Never nearer to an end than 0.2 of the extent, 0.12 for a survey line: no slivers.
@njit(nogil=True, cache=True, error_model="numpy")
def _cut_at(low: float, high: float, pieces: float, survey: bool, key: np.uint64) -> float:
    """Return where to cut an extent that wants to become about ``pieces`` pieces."""
    extent = high - low
    if survey:
        for step in (_SECTION, _SECTION / 2, _SECTION / 4):
            if extent > 1.25 * step:
                line = np.round((low + extent * (0.4 + 0.2 * uniform(key, 51))) / step) * step
                if low + 0.12 * extent < line < high - 0.12 * extent:
                    return line
    wanted = max(2.0, np.round(pieces))
    k = np.floor(wanted / 2 + (uniform(key, 52) if wanted % 2 else 0.0))
    spread = 0.16 if pieces < 3 else 0.5 / wanted
    share = k / wanted + spread * (uniform(key, 53) - 0.5) * 1.6
    return low + extent * min(max(share, 0.2), 0.8)


# Each leaf from its own key and shape: no leaf has to know its neighbours.
@njit(nogil=True, cache=True, error_model="numpy")
def _kind(
    style: np.ndarray, area: float, slender: float, narrow: float, wild: float, key: np.uint64
) -> int:
    """Return what a finished parcel is."""
    u = uniform(key, 61)
    small = wild * (2.0 if area < 0.15 * style[2] * HECTARE else 1.0)
    kind = FIELD
    if uniform(key, 62) < style[19] and 25 * HECTARE < area < 110 * HECTARE and slender < 1.5:
        kind = PIVOT
    elif narrow < 4 or u < style[15] * small:
        kind = ROUGH
    elif u < (style[15] + 0.12 * style[14]) * small:
        kind = WOOD
    elif uniform(key, 63) < style[GROVES]:
        kind = GROVE
    elif u > 0.992 - style[PONDS] and area < 4 * HECTARE:
        kind = POND
    elif u > 0.987 - style[PONDS] and area < 8 * HECTARE:
        kind = WORKS
    return kind
