"""What stands on the ground.

Trees and crowns, streams, buildings, and what grows or lies between parcels.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from selion.simulation.landscape.noise import cell_key, sample, uniform
from selion.simulation.landscape.parcels import (
    DITCH,
    HEDGE,
    LANE,
    PLOT,
    RAIL,
    ROAD,
    TRACK,
    WORKS,
)

# What a point is made of.
(
    M_ROUGH,
    M_FIELD,
    M_TREE,
    M_BUSH,
    M_WATER,
    M_ASPHALT,
    M_GRAVEL,
    M_ROOF,
    M_PAVED,
    M_LAWN,
    M_MARGIN,
    M_SAND,
    M_EARTH,
) = range(13)
HUT = 16
"""Roofs of this part and above are those of small houses in yards of earth."""


# Compiled, as all of this file: called for every fine pixel.  Everything is a hash of a lattice
# cell, so a point shows the same whatever block it is rendered in.
@njit(nogil=True, cache=True, error_model="numpy")
def tree_at(
    x: float, y: float, salt: np.uint64, cell: float, chance: float, low: float, high: float
) -> float:
    """Return the height in metres of a lone tree's crown at (x, y), 0 where there is none.

    Trees stay inside their cell.
    """
    i, j = int(np.floor(y / cell)), int(np.floor(x / cell))
    key = cell_key(salt, i, j)
    if uniform(key, 0) >= chance:
        return 0.0
    radius = min(low + (high - low) * uniform(key, 1) ** 2, 0.48 * cell)
    cx = (j * cell) + radius + (cell - 2 * radius) * uniform(key, 2)
    cy = (i * cell) + radius + (cell - 2 * radius) * uniform(key, 3)
    d2 = ((x - cx) ** 2 + (y - cy) ** 2) / (radius * radius)
    return 0.0 if d2 >= 1 else (1.2 + 1.6 * radius) * np.sqrt(1 - 0.75 * d2)


# A crown is wider than its cell, so the nearest is looked for among nine cells.
@njit(nogil=True, cache=True, error_model="numpy")
def crown(
    x: float, y: float, salt: np.uint64, cell: float
) -> tuple[float, float, float, float, float]:
    """Return where a point lies in the nearest crown of a closed canopy.

    That is (dome 0..1, offset east, offset south in radii, east and south of the centre).
    """
    i, j = int(np.floor(y / cell)), int(np.floor(x / cell))
    best, bx, by, radius_best = 1e9, 0.0, 0.0, 1.0
    for di in range(-1, 2):
        for dj in range(-1, 2):
            key = cell_key(salt, i + di, j + dj)
            cx, cy = (j + dj + uniform(key, 2)) * cell, (i + di + uniform(key, 3)) * cell
            radius = cell * (0.45 + 0.4 * uniform(key, 1))
            d = ((x - cx) ** 2 + (y - cy) ** 2) / (radius * radius)
            if d < best:
                best, bx, by, radius_best = d, (x - cx) / radius, (y - cy) / radius, radius
    return max(0.0, 1.0 - 0.8 * best), bx, by, x - bx * radius_best, y - by * radius_best


@njit(nogil=True, cache=True, error_model="numpy")
def contour(texture: np.ndarray, x: float, y: float, scale: float, limit: float) -> float:
    """Return the distance in metres to the zero line of a noise.

    It is 1e9 where the line is certainly further than ``limit``.
    """
    f = sample(texture, x / scale, y / scale)
    if abs(f) > limit * 0.16 / scale:
        return 1e9
    fx = sample(texture, (x + scale) / scale, y / scale) - f
    fy = sample(texture, x / scale, (y + scale) / scale) - f
    slope = np.hypot(fx, fy)
    # Around a summit the zero line would be a small ring, which no stream is.
    return abs(f) * scale / slope if slope > 0.016 else 1e9


# Buildings lie inside of their plot, so a point asks its own plot only.
@njit(nogil=True, cache=True, error_model="numpy")
def _building(
    s: float, t: float, half_s: float, half_t: float, key: np.uint64, count: int, size: float
) -> tuple[int, float]:
    """Return (index, height) of the building at frame coordinates (s, t) of a plot, or (-1, 0)."""
    for b in range(count):
        bs, bt = (
            size * (0.7 + 0.6 * uniform(key, 200 + b)),
            size * (0.45 + 0.35 * uniform(key, 210 + b)),
        )
        if uniform(key, 220 + b) < 0.5:
            bs, bt = bt, bs
        bs, bt = min(bs, 0.8 * half_s), min(bt, 0.8 * half_t)
        cs = (2 * uniform(key, 230 + b) - 1) * max(half_s - bs - 2, 0.0)
        ct = (2 * uniform(key, 240 + b) - 1) * max(half_t - bt - 2, 0.0)
        if abs(s - cs) < bs and abs(t - ct) < bt:
            ridge = min(bs - abs(s - cs), bt - abs(t - ct)) / min(bs, bt)
            return b, 3.5 + 2.0 * uniform(key, 250 + b) + 2.5 * ridge
    return -1, 0.0


# First hit wins: building, tree, path, ground.
@njit(nogil=True, cache=True, error_model="numpy")
def built_up(
    kind: int,
    s: float,
    t: float,
    hs: float,
    ht: float,
    key: np.uint64,
    x: float,
    y: float,
    salt: np.uint64,
) -> tuple[int, int, float]:
    """Return (material, part, height in metres) on plots, works and farmsteads."""
    if kind == PLOT:
        b, h = _building(s, t, hs, ht, key, 1 + (uniform(key, 199) < 0.6), 8.0)
    elif kind == WORKS:
        b, h = _building(s, t, hs, ht, key, 1 + int(6 * uniform(key, 199)), 34.0)
    else:
        b, h = _building(s, t, hs, ht, key, 2 + int(4 * uniform(key, 199)), 0.42 * hs)
    if b >= 0:
        return M_ROOF, b, h
    leafy = 0.42 if kind == PLOT else 0.12
    tree = tree_at(x, y, salt, 11.0, leafy, 1.5, 5.0)
    if tree > 0:
        return M_TREE, 0, tree
    if kind == PLOT:
        if abs(s - (2 * uniform(key, 260) - 1) * 0.7 * hs) < 1.8:
            return M_PAVED, 0, 0.0
        return M_LAWN, 0, 0.0
    return (
        (M_PAVED if kind == WORKS or uniform(key, 261) < 0.5 else M_GRAVEL)
        if uniform(cell_key(key, int(s // 14), int(t // 14)), 3) < 0.75
        else M_LAWN,
        0,
        0.0,
    )


# Called by homestead.
@njit(nogil=True, cache=True, error_model="numpy")
def _threshing_floor(
    a: float, b: float, key: np.uint64, x: float, y: float, salt: np.uint64
) -> tuple[int, int, float]:
    """Return (material, 0, height): trodden earth with heaps of straw, scrub around it."""
    if a * a + b * b > 0.5 + 0.3 * uniform(key, 270):
        return M_ROUGH, 0, 0.0
    heap = tree_at(x, y, salt, 14.0, 0.5 * uniform(key, 271), 1.5, 5.0)
    return (M_SAND, 0, 0.7 * heap) if heap > 0 else (M_EARTH, 0, 0.0)


# As built_up: building, tree, wall, garden bed, ground.
@njit(nogil=True, cache=True, error_model="numpy")
def homestead(
    kind: int,
    s: float,
    t: float,
    hs: float,
    ht: float,
    key: np.uint64,
    x: float,
    y: float,
    salt: np.uint64,
) -> tuple[int, int, float]:
    """Return (material, part, height in metres) where yards are of earth.

    Plots of small houses, threshing floors (works), farmsteads.
    """
    near = 1 - max(abs(s) / hs, abs(t) / ht)
    if kind == WORKS:
        return _threshing_floor(s / hs, t / ht, key, x, y, salt)
    size = 3.2 + 2.6 * uniform(key, 272)
    b, h = _building(s, t, hs, ht, key, 1 + int(3.4 * uniform(key, 199)), size)
    if b >= 0:
        return M_ROOF, HUT + b, 0.8 * h
    tree = tree_at(x, y, salt, 8.0, 0.10 + 0.45 * uniform(key, 273), 1.2, 4.0)
    if tree > 0:
        return M_TREE, 0, tree
    if near * min(hs, ht) < 0.7 and uniform(key, 274) < 0.45:
        return (M_BUSH, 0, 1.8) if uniform(key, 275) < 0.6 else (M_PAVED, 0, 1.6)
    if uniform(key, 276) < 0.4 and t * (1 if uniform(key, 277) < 0.5 else -1) > 0.25 * ht:
        bed = int(np.floor(s / (1.0 + 1.5 * uniform(key, 278))))
        return (M_LAWN, 0, 0.0) if uniform(cell_key(key, bed, 0), 5) < 0.55 else (M_EARTH, 0, 0.0)
    return (M_LAWN if uniform(key, 279) < 0.12 else M_EARTH), 0, 0.0


# Crowns stand inside of their cell of the grid, so a point asks one.
@njit(nogil=True, cache=True, error_model="numpy")
def grove(s: float, t: float, key: np.uint64, yards: float) -> tuple[int, float]:
    """Return (material, height) under rows of trees."""
    along, across = 4.5 + 4 * uniform(key, 280), 5.0 + 4 * uniform(key, 281)
    i, j = int(np.floor(t / across)), int(np.floor(s / along))
    own = cell_key(key, i, j)
    radius = min(along, across) * (0.30 + 0.16 * uniform(own, 1))
    cs = (j + 0.5) * along + 0.3 * (uniform(own, 2) - 0.5)
    ct = (i + 0.5) * across + 0.3 * (uniform(own, 3) - 0.5)
    d2 = ((s - cs) ** 2 + (t - ct) ** 2) / (radius * radius)
    if d2 < 1 and uniform(own, 0) > 0.1:
        return M_TREE, (1.2 + 1.3 * radius) * np.sqrt(1 - 0.75 * d2)
    return (M_EARTH if uniform(key, 312) < 0.5 * yards else M_ROUGH), 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def tank(rim: float, x: float, y: float, salt: np.uint64) -> tuple[int, float]:
    """Return (material, height) ``rim`` metres inside of a pond with straight banks of earth."""
    if rim > 3.0:
        return M_WATER, 0.0
    tree = tree_at(x, y, salt, 9.0, 0.12, 1.5, 3.5)
    if tree > 0:
        return M_TREE, tree
    return (M_EARTH if rim > 0.8 else M_MARGIN), 0.0


# Compiled because the survey asks it for every fine pixel on a cut.
@njit(nogil=True, cache=True, error_model="numpy")
def on_cut(
    what: int, x: float, y: float, salt: np.uint64, ragged: float, earthen: bool
) -> tuple[int, float]:
    """Return (material, height) of what lies on a cut."""
    if what == HEDGE:
        tree = tree_at(x, y, salt, 9.0, 0.55, 2.0, 4.5)
        return (M_TREE, tree) if tree > 0 else (M_BUSH, max(0.5, 2.0 + ragged))
    if what == TRACK:
        return (M_EARTH if earthen else M_GRAVEL), 0.0
    if what == DITCH:
        return (M_MARGIN if ragged > -0.3 else M_BUSH, 0.2)
    if what in (LANE, ROAD):
        return (M_EARTH if earthen and what == LANE else M_ASPHALT), 0.0
    if what == RAIL:
        return M_GRAVEL, 0.3
    return M_MARGIN, 0.2
