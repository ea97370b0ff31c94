"""From the plan to the ground: what lies at each point, which field it is, how high it stands.

Cultivated parcels and managed (mown or sown) grass are fields.  Rough and natural grassland, verges, gardens, orchards of single trees
and woods are not.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit

from tilth.data.landscape.noise import Textures, cell_key, mix, sample, uniform
from tilth.data.landscape.parcels import (
    DITCH,
    FARM_SIZE,
    FARM_U,
    FARM_V,
    FIELD,
    GRASS,
    GREEN,
    HALF_LENGTH,
    HALF_WIDTH,
    HEDGE,
    KIND,
    LANE,
    NOTHING,
    PIVOT,
    PLOT,
    POND,
    RAIL,
    ROAD,
    STYLE,
    THETA,
    TRACK,
    WOOD,
    WORKS,
    ParcelTree,
)

# What a point is made of.
M_ROUGH, M_FIELD, M_TREE, M_BUSH, M_WATER, M_ASPHALT, M_GRAVEL, M_ROOF, M_PAVED, M_LAWN, M_MARGIN, M_SAND = range(12)
SUBS = 64
"""Parts a leaf can have: ``key = leaf * SUBS + part + 1``."""
# Numbers that rule a landscape: see World.
_WARP, _BEND, _RIVER, _STREAMS, _PIXEL_WOOD, _OX, _OY, _TREES = range(8)


@dataclass(frozen=True, eq=False, slots=True)
class Ground:
    """The landscape on the fine grid, before any light falls on it."""

    keys: np.ndarray
    """(y, x) int32: which part of which leaf (see SUBS); negative where the point does not belong to a field."""
    materials: np.ndarray
    """(y, x) uint8: M_ROUGH ... M_SAND."""
    heights: np.ndarray
    """(y, x) uint8: half metres above the ground."""
    rims: np.ndarray
    """(y, x) uint8: distance to the parcel's boundary in half metres, at most 255."""
    lines: np.ndarray
    """(y, x) uint8: a line that takes part of the pixel, its material * 16 plus its share in fifteenths; 0 is none."""
    step: float
    """Size of a fine pixel in metres."""


@dataclass(frozen=True, eq=False, slots=True)
class World:
    """All that decides a landscape."""

    tree: ParcelTree
    table: np.ndarray
    textures: Textures
    numbers: np.ndarray
    """(8,) float64: large and small warp, river width, stream width, ragged share of wood edges, offsets, density of trees."""
    salt: np.uint64
    wooded: np.ndarray
    """(leaf,) float32: wood noise at the centre of each leaf."""


@njit(nogil=True, cache=True, inline="always")
def _wood_noise(smooth: np.ndarray, rough: np.ndarray, x: float, y: float) -> float:
    return 0.75 * sample(smooth, (0.8 * x + 0.6 * y) / 33.0, (0.8 * y - 0.6 * x) / 33.0) + 0.66 * sample(rough, (0.6 * x - 0.8 * y) / 9.0, (0.6 * y + 0.8 * x) / 9.0)


@njit(nogil=True, cache=True)
def wood_at_leaves(leaves: np.ndarray, smooth: np.ndarray, rough: np.ndarray, ox: float, oy: float) -> np.ndarray:
    """Evaluate the wood noise at the centre of each leaf, (leaf,) float32."""
    out = np.empty(len(leaves), np.float32)
    for k in range(len(leaves)):
        out[k] = _wood_noise(smooth, rough, leaves[k, 0] + ox, leaves[k, 1] + oy)
    return out


@njit(nogil=True, cache=True, inline="always")
def _tree_at(x: float, y: float, salt: np.uint64, cell: float, chance: float, low: float, high: float) -> float:
    """Return the height in metres of a lone tree's crown at (x, y), 0 where there is none.  Trees stay inside their cell."""
    i, j = int(np.floor(y / cell)), int(np.floor(x / cell))
    key = cell_key(salt, i, j)
    if uniform(key, 0) >= chance:
        return 0.0
    radius = min(low + (high - low) * uniform(key, 1) ** 2, 0.48 * cell)
    cx = (j * cell) + radius + (cell - 2 * radius) * uniform(key, 2)
    cy = (i * cell) + radius + (cell - 2 * radius) * uniform(key, 3)
    d2 = ((x - cx) ** 2 + (y - cy) ** 2) / (radius * radius)
    return 0.0 if d2 >= 1 else (1.2 + 1.6 * radius) * np.sqrt(1 - 0.75 * d2)


@njit(nogil=True, cache=True)
def crown(x: float, y: float, salt: np.uint64, cell: float) -> tuple[float, float, float, float, float]:
    """Return (dome 0..1, offset east, offset south in radii, east and south of the centre) of the nearest crown in a closed canopy."""
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


@njit(nogil=True, cache=True)
def _contour(texture: np.ndarray, x: float, y: float, scale: float, limit: float) -> float:
    """Return the distance in metres to the zero line of a noise, or 1e9 where it is certainly further than ``limit``."""
    f = sample(texture, x / scale, y / scale)
    if abs(f) > limit * 0.16 / scale:
        return 1e9
    fx = sample(texture, (x + scale) / scale, y / scale) - f
    fy = sample(texture, x / scale, (y + scale) / scale) - f
    slope = np.hypot(fx, fy)
    # Around a summit the zero line would be a small ring, which no stream is.
    return abs(f) * scale / slope if slope > 0.016 else 1e9


@njit(nogil=True, cache=True)
def _building(s: float, t: float, half_s: float, half_t: float, key: np.uint64, count: int, size: float) -> tuple[int, float]:
    """Return (index, height) of the building at frame coordinates (s, t) of a plot, or (-1, 0)."""
    for b in range(count):
        bs, bt = size * (0.7 + 0.6 * uniform(key, 200 + b)), size * (0.45 + 0.35 * uniform(key, 210 + b))
        if uniform(key, 220 + b) < 0.5:
            bs, bt = bt, bs
        bs, bt = min(bs, 0.8 * half_s), min(bt, 0.8 * half_t)
        cs = (2 * uniform(key, 230 + b) - 1) * max(half_s - bs - 2, 0.0)
        ct = (2 * uniform(key, 240 + b) - 1) * max(half_t - bt - 2, 0.0)
        if abs(s - cs) < bs and abs(t - ct) < bt:
            ridge = min(bs - abs(s - cs), bt - abs(t - ct)) / min(bs, bt)
            return b, 3.5 + 2.0 * uniform(key, 250 + b) + 2.5 * ridge
    return -1, 0.0


@njit(nogil=True, cache=True)
def _built(kind: int, s: float, t: float, hs: float, ht: float, key: np.uint64, x: float, y: float, salt: np.uint64) -> tuple[int, int, float]:
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
    tree = _tree_at(x, y, salt, 11.0, leafy, 1.5, 5.0)
    if tree > 0:
        return M_TREE, 0, tree
    if kind == PLOT:
        if abs(s - (2 * uniform(key, 260) - 1) * 0.7 * hs) < 1.8:
            return M_PAVED, 0, 0.0
        return M_LAWN, 0, 0.0
    return (M_PAVED if kind == WORKS or uniform(key, 261) < 0.5 else M_GRAVEL) if uniform(cell_key(key, int(s // 14), int(t // 14)), 3) < 0.75 else M_LAWN, 0, 0.0


@njit(nogil=True, cache=True)
def _part(leaf: np.ndarray, style: np.ndarray, key: np.uint64, s: float, t: float, x: float, y: float, smooth: np.ndarray) -> int:
    """Return the part of a field at a point: pivots have sectors, contour farming has strips; -1 is a pivot's corner."""
    if int(leaf[KIND]) == PIVOT:
        radius = 0.985 * min(leaf[HALF_LENGTH], leaf[HALF_WIDTH])
        if s * s + t * t > radius * radius:
            return -1
        u = uniform(key, 301)
        turn = np.arctan2(t, s) + np.pi
        if u < 0.6:
            return 0
        if u < 0.82:
            return int(((turn + 2 * np.pi * uniform(key, 302)) % (2 * np.pi)) // np.pi)
        return int((turn + 6 * uniform(key, 302)) % (2 * np.pi) > 0.9 + 1.2 * uniform(key, 303))
    if style[7] > 0.5 and style[19] == 0 and leaf[5] > 6e4 and uniform(key, 304) < 0.08:
        f = sample(smooth, (x + 900 * uniform(key, 305)) / 7.0, (y + 900 * uniform(key, 306)) / 7.0)
        return int(np.floor(f / 0.42)) + 16
    return 0


@njit(nogil=True, cache=True)
def _descend(cuts: np.ndarray, children: np.ndarray, u: float, v: float, ragged: float, step: float) -> tuple[int, int, float, bool, bool, float]:
    """Walk down the tree to a leaf.

    Returns (leaf, what lies on the cut here or -1, share of the fine pixel that it takes, whether the point itself is on it, whether
    the point is on a road's verge, distance to the parcel's rim).
    """
    node, what, share, on, verge, rim = 0, -1, 0.0, False, False, 1e9
    rank = -1
    while node >= 0:
        d = cuts[node, 0] * u + cuts[node, 1] * v - cuts[node, 2]
        ad = abs(d)
        half = cuts[node, 3] / 2
        kind = int(cuts[node, 4])
        if kind == HEDGE:
            half *= 1 + 0.45 * ragged
        if half > 0 and ad < half + step / 2 and kind > rank:
            what, rank = kind, kind
            share = min(1.0, (half + step / 2 - ad) / step, 2 * half / step)
            on = on or ad < half
        verge = verge or (kind >= LANE and ad < half + 2.2 + 0.35 * ragged)
        rim = min(rim, ad - half)
        node = children[node, 0 if d <= 0 else 1]
    return -node - 1, what, share, on, verge, rim


@njit(nogil=True, cache=True)
def _on_cut(what: int, x: float, y: float, salt: np.uint64, ragged: float) -> tuple[int, float]:
    """Return (material, height) of what lies on a cut."""
    if what == HEDGE:
        tree = _tree_at(x, y, salt, 9.0, 0.55, 2.0, 4.5)
        return (M_TREE, tree) if tree > 0 else (M_BUSH, max(0.5, 2.0 + ragged))
    if what == TRACK:
        return (M_GRAVEL, 0.0)
    if what == DITCH:
        return (M_MARGIN if ragged > -0.3 else M_BUSH, 0.2)
    if what in (LANE, ROAD):
        return M_ASPHALT, 0.0
    if what == RAIL:
        return M_GRAVEL, 0.3
    return M_MARGIN, 0.2


@njit(nogil=True, cache=True)
def _survey(first: int, last: int, step: float, numbers: np.ndarray, salt: np.uint64, cuts: np.ndarray, children: np.ndarray, leaves: np.ndarray,
            leaf_keys: np.ndarray, groups: np.ndarray, wooded: np.ndarray, table: np.ndarray, smooth: np.ndarray, rough: np.ndarray, grain: np.ndarray,
            thresholds: np.ndarray, keys: np.ndarray, materials: np.ndarray, heights: np.ndarray, rims: np.ndarray, lines: np.ndarray) -> None:
    """Fill the rows ``first`` to ``last`` of the five outputs."""
    width = keys.shape[1]
    ox, oy = numbers[_OX], numbers[_OY]
    detailed = step < 2.5
    tree_density = numbers[_TREES]
    for r in range(first, last):
        for c in range(width):
            px, py = (c + 0.5) * step, (r + 0.5) * step
            x, y = px + ox, py + oy
            bend = numbers[_BEND]
            u = px + numbers[_WARP] * sample(smooth, x / 55.0, y / 55.0) + bend * sample(smooth, y / 9.0, x / 9.0) + 0.4 * sample(rough, x / 1.3, y / 1.3)
            v = py + numbers[_WARP] * sample(smooth, 200 + y / 61.0, x / 61.0) + bend * sample(smooth, x / 8.0 + 77, y / 8.0) + 0.4 * sample(rough, y / 1.3, x / 1.3 + 99)
            ragged = sample(grain, x / 1.1, y / 1.1)
            leaf_id, what, cut_share, on_cut, verge, rim = _descend(cuts, children, u, v, ragged, step)
            leaf = leaves[leaf_id]
            kind = int(leaf[KIND])
            style = table[int(leaf[STYLE])]
            key = leaf_keys[groups[leaf_id]]
            own = leaf_keys[leaf_id]
            ct, st = np.cos(leaf[THETA]), np.sin(leaf[THETA])
            s = ct * (u - leaf[0]) + st * (v - leaf[1])
            t = -st * (u - leaf[0]) + ct * (v - leaf[1])
            material, part, height, inside = M_ROUGH, 0, 0.0, False
            # Water first: roads and railways cross it on bridges.
            wet = 1e9
            if numbers[_RIVER] > 0:
                wet = _contour(smooth, x + 4000 + 30 * sample(rough, x / 30, y / 30), y, 130.0, 400.0) - numbers[_RIVER] * (1 + 0.25 * sample(smooth, x / 7, y / 7))
            if numbers[_STREAMS] > 0 and sample(smooth, x / 21 + 50, y / 21) > -0.45:
                meander = 7 * sample(rough, x / 2.5, y / 2.5)
                wet = min(wet, _contour(smooth, x + meander, y - meander, 24.0, 90.0) - numbers[_STREAMS])
            built = kind in (PLOT, WORKS)
            threshold = thresholds[int(leaf[STYLE])]
            share = numbers[_PIXEL_WOOD]
            wood = (1 - share) * wooded[leaf_id] + share * _wood_noise(smooth, rough, x, y) + 0.06 * ragged
            if detailed and abs(wood - threshold) < 0.2:
                # A wood ends with whole crowns.
                dome, _, _, wx, wy = crown(x, y, salt, 7.5)
                wood = (1 - share) * wooded[leaf_id] + share * _wood_noise(smooth, rough, wx, wy) + 0.03 * sample(grain, wx / 1.1, wy / 1.1)
                wood = wood if dome > 0.15 else -9.0
            if wet < 0 and what != ROAD and what != RAIL:
                material = M_WATER
            elif wet < 7 + 12 * (sample(rough, x / 6, y / 6) + 0.3):
                material, height = (M_TREE, 9 + 3 * ragged) if sample(rough, x / 11 + 9, y / 11) + 0.5 * ragged > -0.2 else (M_MARGIN, 0.3)
            elif wood > threshold and not built:
                material, height = M_TREE, 14 + (3 if detailed else 0.5) * ragged
            elif verge:
                material = M_MARGIN
            elif built:
                material, part, height = _built(kind, s, t, leaf[HALF_LENGTH], leaf[HALF_WIDTH], own, x, y, salt)
            elif kind == WOOD:
                material, height = M_TREE, 12 + (3 if detailed else 0.5) * ragged
            elif kind == POND:
                if (s / leaf[HALF_LENGTH]) ** 2 + (t / leaf[HALF_WIDTH]) ** 2 < 0.55 + 0.2 * sample(rough, x / 4, y / 4):
                    material = M_WATER
                elif ragged > 0:
                    material, height = M_TREE, 6.0
            elif kind == GREEN:
                tree = _tree_at(x, y, salt, 13.0, 0.5, 2.0, 6.0)
                material, height = (M_TREE, tree) if tree > 0 else (M_LAWN, 0.0)
            elif kind in (FIELD, PIVOT):
                material = M_FIELD
                part = _part(leaf, style, key, s, t, x, y, smooth)
                if leaf[FARM_SIZE] > 0 and abs(s - leaf[FARM_U]) < leaf[FARM_SIZE] and abs(t - leaf[FARM_V]) < leaf[FARM_SIZE]:
                    material, part, height = _built(-1, s - leaf[FARM_U], t - leaf[FARM_V], leaf[FARM_SIZE], leaf[FARM_SIZE], own, x, y, salt)
                elif part < 0:
                    part = 0
                    material = M_ROUGH
                else:
                    tree = _tree_at(x, y, salt, 60.0, tree_density * 0.02 / max(style[2], 0.4), 2.0, 6.5)
                    if tree > 0:
                        material, height, inside = M_TREE, tree, True
                    elif style[7] > 0.5 and leaf[5] > 5e4 and uniform(key, 310) < 0.3 and sample(rough, x / 9 + 31, y / 9) > 0.25 \
                            and _contour(smooth, x + 1.2 * ragged, y, 9.0, 12.0) < 2.5 + 3 * uniform(key, 311):
                        material = M_MARGIN
            else:
                tree = _tree_at(x, y, salt, 12.0, 0.10 + 0.22 * sample(rough, x / 7, y / 7), 1.0, 5.5)
                if tree > 0:
                    material, height = M_TREE if tree > 4 else M_BUSH, tree
            line = 0
            if what >= NOTHING and (wet >= 0 or what >= ROAD) and (what > TRACK or wood <= threshold):
                over, over_height = _on_cut(what, x, y, salt, ragged)
                line = over * 16 + int(15 * cut_share + 0.5)
                if cut_share > 0.97:
                    material, height, line = over, over_height, 0
                elif on_cut:
                    height = max(over_height, 0.5 * height)
                inside = inside and not on_cut
            else:
                on_cut = False
            if material == M_TREE and height > 8 and detailed:
                dome, _, _, _, _ = crown(x, y, salt, 7.5)
                height = max(1.0, height * (0.7 + 0.3 * dome))
            code = groups[leaf_id] * SUBS + min(max(part, 0), SUBS - 2) + 1
            keys[r, c] = code if inside or (material == M_FIELD and not on_cut) else -code
            materials[r, c] = material
            heights[r, c] = min(max(height, 0.0), 120.0) * 2
            rims[r, c] = min(max(rim, 0.0), 127.0) * 2
            lines[r, c] = line


def survey(world: World, shape: tuple[int, int], step: float) -> Ground:
    """Lay the plan out on a fine grid.

    Parameters
    ----------
    world : World
    shape : tuple of int
        (y, x) size of the fine grid.
    step : float
        Size of a fine pixel in metres.

    Returns
    -------
    Ground
    """
    keys = np.empty(shape, np.int32)
    materials, heights, rims, lines = (np.empty(shape, np.uint8) for _ in range(4))
    thresholds = wood_thresholds(world)
    tree, textures = world.tree, world.textures

    def rows(first: int) -> None:
        last = min(first + 64, shape[0])
        _survey(first, last, step, world.numbers, world.salt, tree.cuts, tree.children, tree.leaves, tree.keys, tree.groups, world.wooded, world.table,
                textures.smooth, textures.rough, textures.grain, thresholds, keys, materials, heights, rims, lines)

    in_strips(rows, shape[0])
    return Ground(keys, materials, heights, rims, lines, step)


def wood_thresholds(world: World) -> np.ndarray:
    """Return, per style, the wood noise above which there is wood, from the style's share of wood."""
    from scipy.stats import norm

    return norm.ppf(1 - np.clip(world.table[:, 14], 0.01, 0.8)).astype(np.float64)


def in_strips(work: object, height: int, size: int = 64) -> None:
    """Run ``work(first_row)`` for strips of rows on all cores; the result does not depend on how many there are."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(work, range(0, height, size)))  # type: ignore[arg-type]


__all__ = ["Ground", "World", "in_strips", "mix", "survey", "wood_at_leaves"]
