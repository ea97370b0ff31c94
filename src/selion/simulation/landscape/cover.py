"""From the plan to the ground: what lies at each point, which field it is, how high it stands.

Cultivated parcels and managed (mown or sown) grass are fields.  Rough and natural grassland,
verges, gardens, orchards of single trees and woods are not.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit

from selion.simulation.landscape.features import (
    M_BUSH,
    M_FIELD,
    M_LAWN,
    M_MARGIN,
    M_ROUGH,
    M_TREE,
    M_WATER,
    built_up,
    contour,
    crown,
    on_cut,
    tree_at,
)
from selion.simulation.landscape.noise import Textures, sample, uniform
from selion.simulation.landscape.parcels import (
    AREA,
    CX,
    CY,
    FARM_SIZE,
    FARM_U,
    FARM_V,
    FIELD,
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

SUBS = 64
"""Parts a leaf can have: ``key = leaf * SUBS + part + 1``."""
# Numbers that rule a landscape: see World.
_WARP, _BEND, _RIVER, _STREAMS, _PIXEL_WOOD, _OX, _OY, _TREES = range(8)


@dataclass(frozen=True, eq=False, slots=True)
class Ground:
    """The landscape on the fine grid, before any light falls on it."""

    keys: np.ndarray
    """(y, x) int32: which part of which leaf (see SUBS); negative where the point does not belong
    to a field."""
    materials: np.ndarray
    """(y, x) uint8: M_ROUGH ... M_SAND."""
    heights: np.ndarray
    """(y, x) uint8: half metres above the ground."""
    rims: np.ndarray
    """(y, x) uint8: distance to the parcel's boundary in half metres, at most 255."""
    lines: np.ndarray
    """(y, x) uint8: a line that takes part of the pixel, its material * 16 plus its share in
    fifteenths; 0 is none."""
    step: float
    """Size of a fine pixel in metres."""


@dataclass(frozen=True, eq=False, slots=True)
class LandscapeCover:
    """All that decides a landscape."""

    tree: ParcelTree
    table: np.ndarray
    textures: Textures
    numbers: np.ndarray
    """(8,) float64: large and small warp, river width, stream width, ragged share of wood edges,
    offsets, density of trees."""
    salt: np.uint64
    wooded: np.ndarray
    """(leaf,) float32: wood noise at the centre of each leaf."""


@njit(nogil=True, cache=True, error_model="numpy")
def _wood_noise(smooth: np.ndarray, rough: np.ndarray, x: float, y: float) -> float:
    return 0.75 * sample(
        smooth, (0.8 * x + 0.6 * y) / 33.0, (0.8 * y - 0.6 * x) / 33.0
    ) + 0.66 * sample(rough, (0.6 * x - 0.8 * y) / 9.0, (0.6 * y + 0.8 * x) / 9.0)


@njit(nogil=True, cache=True, error_model="numpy")
def wood_at_leaves(
    leaves: np.ndarray, smooth: np.ndarray, rough: np.ndarray, ox: float, oy: float
) -> np.ndarray:
    """Evaluate the wood noise at the centre of each leaf, (leaf,) float32."""
    out = np.empty(len(leaves), np.float32)
    for k in range(len(leaves)):
        out[k] = _wood_noise(smooth, rough, leaves[k, 0] + ox, leaves[k, 1] + oy)
    return out


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _part(
    leaves: np.ndarray,
    leaf: int,
    table: np.ndarray,
    style: int,
    key: np.uint64,
    s: float,
    t: float,
    x: float,
    y: float,
    smooth: np.ndarray,
) -> int:
    """Return the part of a field at a point: pivots have sectors, contour farming has strips.

    -1 is a pivot's corner.
    """
    if int(leaves[leaf, KIND]) == PIVOT:
        radius = 0.985 * min(leaves[leaf, HALF_LENGTH], leaves[leaf, HALF_WIDTH])
        if s * s + t * t > radius * radius:
            return -1
        u = uniform(key, 301)
        turn = np.arctan2(t, s) + np.pi
        if u < 0.6:
            return 0
        if u < 0.82:
            return int(((turn + 2 * np.pi * uniform(key, 302)) % (2 * np.pi)) // np.pi)
        return int((turn + 6 * uniform(key, 302)) % (2 * np.pi) > 0.9 + 1.2 * uniform(key, 303))
    if (
        table[style, 7] > 0.5
        and table[style, 19] == 0
        and leaves[leaf, 5] > 6e4
        and uniform(key, 304) < 0.08
    ):
        f = sample(smooth, (x + 900 * uniform(key, 305)) / 7.0, (y + 900 * uniform(key, 306)) / 7.0)
        return int(np.floor(f / 0.42)) + 16
    return 0


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _descend(
    cuts: np.ndarray, children: np.ndarray, u: float, v: float, ragged: float, step: float
) -> tuple[int, int, float, bool, bool, float]:
    """Walk down the tree to a leaf.

    Returns (leaf, what lies on the cut here or -1, share of the fine pixel that it takes, whether
    the point itself is on it, whether the point is on a road's verge, distance to the parcel's
    rim).
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


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _bent(
    px: float,
    py: float,
    x: float,
    y: float,
    fine: bool,
    numbers: np.ndarray,
    smooth: np.ndarray,
    rough: np.ndarray,
) -> tuple[float, float]:
    """Return where a point of the view lies in the plane of straight cuts.

    The smallest bends matter only to fine pixels.
    """
    warp, bend = numbers[_WARP], numbers[_BEND]
    u = px + warp * sample(smooth, x / 55.0, y / 55.0) + bend * sample(smooth, y / 9.0, x / 9.0)
    v = (
        py
        + warp * sample(smooth, 200 + y / 61.0, x / 61.0)
        + bend * sample(smooth, x / 8.0 + 77, y / 8.0)
    )
    if fine:
        u += 0.4 * sample(rough, x / 1.3, y / 1.3)
        v += 0.4 * sample(rough, y / 1.3, x / 1.3 + 99)
    return u, v


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _wetness(
    x: float, y: float, numbers: np.ndarray, smooth: np.ndarray, rough: np.ndarray
) -> float:
    """Return the distance to the nearest shore of a river or stream in metres.

    It is negative in the water.
    """
    wet = 1e9
    if numbers[_RIVER] > 0:
        wet = contour(smooth, x + 4000 + 30 * sample(rough, x / 30, y / 30), y, 130.0, 400.0)
        if wet < 1e8:
            wet -= numbers[_RIVER] * (1 + 0.25 * sample(smooth, x / 7, y / 7))
    if numbers[_STREAMS] > 0 and sample(smooth, x / 21 + 50, y / 21) > -0.45:
        meander = 7 * sample(rough, x / 2.5, y / 2.5)
        wet = min(wet, contour(smooth, x + meander, y - meander, 24.0, 90.0) - numbers[_STREAMS])
    return wet


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _woodiness(
    x: float,
    y: float,
    base: float,
    share: float,
    threshold: float,
    ragged: float,
    detailed: bool,
    salt: np.uint64,
    smooth: np.ndarray,
    rough: np.ndarray,
    grain: np.ndarray,
) -> float:
    """Return the wood noise at a point: the leaf's own, and to some share the point's."""
    wood = (1 - share) * base + share * _wood_noise(smooth, rough, x, y) + 0.06 * ragged
    if not detailed or abs(wood - threshold) > 0.2:
        return wood
    # Seen closely, a wood ends with whole crowns.
    dome, _, _, wx, wy = crown(x, y, salt, 7.5)
    if dome <= 0.15:
        return -9.0
    return (
        (1 - share) * base
        + share * _wood_noise(smooth, rough, wx, wy)
        + 0.03 * sample(grain, wx / 1.1, wy / 1.1)
    )


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _on_field(
    leaves: np.ndarray,
    leaf: int,
    table: np.ndarray,
    style: int,
    key: np.uint64,
    own: np.uint64,
    s: float,
    t: float,
    x: float,
    y: float,
    ragged: float,
    trees: float,
    salt: np.uint64,
    smooth: np.ndarray,
    rough: np.ndarray,
) -> tuple[int, int, float, bool]:
    """Return what is at a point of a farmed parcel.

    That is (material, part, height, whether it belongs to the field).
    """
    farm = leaves[leaf, FARM_SIZE]
    if farm > 0 and abs(s - leaves[leaf, FARM_U]) < farm and abs(t - leaves[leaf, FARM_V]) < farm:
        material, part, height = built_up(
            -1, s - leaves[leaf, FARM_U], t - leaves[leaf, FARM_V], farm, farm, own, x, y, salt
        )
        return material, part, height, False
    part = _part(leaves, leaf, table, style, key, s, t, x, y, smooth)
    if part < 0:
        return M_ROUGH, 0, 0.0, False
    tree = tree_at(x, y, salt, 60.0, trees * 0.02 / max(table[style, 2], 0.4), 2.0, 6.5)
    if tree > 0:
        return M_TREE, part, tree, True
    # Grass waterways follow the hollows of large fields on the plains.
    hollow = (
        table[style, 7] > 0.5
        and leaves[leaf, AREA] > 5e4
        and uniform(key, 310) < 0.3
        and sample(rough, x / 9 + 31, y / 9) > 0.25
    )
    if hollow and contour(smooth, x + 1.2 * ragged, y, 9.0, 12.0) < 2.5 + 3 * uniform(key, 311):
        return M_MARGIN, part, 0.0, False
    return M_FIELD, part, 0.0, True


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _elsewhere(
    kind: int,
    leaves: np.ndarray,
    leaf: int,
    own: np.uint64,
    s: float,
    t: float,
    x: float,
    y: float,
    ragged: float,
    salt: np.uint64,
    rough: np.ndarray,
) -> tuple[int, int, float, bool]:
    """Return (material, part, height, False) at a point of a parcel that is not farmed."""
    if kind in (PLOT, WORKS):
        material, part, height = built_up(
            kind, s, t, leaves[leaf, HALF_LENGTH], leaves[leaf, HALF_WIDTH], own, x, y, salt
        )
        return material, part, height, False
    material, height = M_ROUGH, 0.0
    if kind == WOOD:
        material, height = M_TREE, 12 + ragged
    elif kind == POND:
        if (s / leaves[leaf, HALF_LENGTH]) ** 2 + (
            t / leaves[leaf, HALF_WIDTH]
        ) ** 2 < 0.55 + 0.2 * sample(rough, x / 4, y / 4):
            material = M_WATER
        elif ragged > 0:
            material, height = M_TREE, 6.0
    elif kind == GREEN:
        height = tree_at(x, y, salt, 13.0, 0.5, 2.0, 6.0)
        material = M_TREE if height > 0 else M_LAWN
    else:
        height = tree_at(x, y, salt, 12.0, 0.10 + 0.22 * sample(rough, x / 7, y / 7), 1.0, 5.5)
        if height > 0:
            material = M_TREE if height > 4 else M_BUSH
    return material, 0, height, False


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _at(
    px: float,
    py: float,
    step: float,
    numbers: np.ndarray,
    salt: np.uint64,
    cuts: np.ndarray,
    children: np.ndarray,
    leaves: np.ndarray,
    leaf_keys: np.ndarray,
    groups: np.ndarray,
    wooded: np.ndarray,
    table: np.ndarray,
    smooth: np.ndarray,
    rough: np.ndarray,
    grain: np.ndarray,
    thresholds: np.ndarray,
) -> tuple[int, int, float, float, int]:
    """Return (key, material, height, distance to the rim, line) at a point of the view.

    See Ground.
    """
    x, y = px + numbers[_OX], py + numbers[_OY]
    detailed = step < 2.5
    u, v = _bent(px, py, x, y, detailed, numbers, smooth, rough)
    ragged = sample(grain, x / 1.1, y / 1.1)
    leaf, what, share, on, verge, rim = _descend(cuts, children, u, v, ragged, step)
    kind, style = int(leaves[leaf, KIND]), int(leaves[leaf, STYLE])
    ct, st = np.cos(leaves[leaf, THETA]), np.sin(leaves[leaf, THETA])
    s, t = (
        ct * (u - leaves[leaf, CX]) + st * (v - leaves[leaf, CY]),
        -st * (u - leaves[leaf, CX]) + ct * (v - leaves[leaf, CY]),
    )
    threshold = thresholds[style]
    wet = _wetness(x, y, numbers, smooth, rough)
    wood = _woodiness(
        x,
        y,
        wooded[leaf],
        numbers[_PIXEL_WOOD],
        threshold,
        ragged,
        detailed,
        salt,
        smooth,
        rough,
        grain,
    )
    part, inside = 0, False
    if wet < 0 and what not in (ROAD, RAIL):
        material, height = M_WATER, 0.0
    elif wet < 7 + 12 * (sample(rough, x / 6, y / 6) + 0.3):
        material, height = (
            (M_TREE, 9 + 3 * ragged)
            if sample(rough, x / 11 + 9, y / 11) + 0.5 * ragged > -0.2
            else (M_MARGIN, 0.3)
        )
    elif wood > threshold and kind not in (PLOT, WORKS):
        material, height = M_TREE, 14 + (3 if detailed else 0.5) * ragged
    elif verge:
        material, height = M_MARGIN, 0.0
    elif kind in (FIELD, PIVOT):
        own, key = leaf_keys[leaf], leaf_keys[groups[leaf]]
        material, part, height, inside = _on_field(
            leaves,
            leaf,
            table,
            style,
            key,
            own,
            s,
            t,
            x,
            y,
            ragged,
            numbers[_TREES],
            salt,
            smooth,
            rough,
        )
    else:
        material, part, height, inside = _elsewhere(
            kind, leaves, leaf, leaf_keys[leaf], s, t, x, y, ragged, salt, rough
        )
    line = 0
    if what >= NOTHING and (wet >= 0 or what >= ROAD) and (what > TRACK or wood <= threshold):
        over, over_height = on_cut(what, x, y, salt, ragged)
        line = over * 16 + int(15 * share + 0.5)
        if share > 0.97:
            material, height, line = over, over_height, 0
        elif on:
            height = max(over_height, 0.5 * height)
        inside = inside and not on
    if material == M_TREE and height > 8 and detailed:
        height = max(1.0, height * (0.7 + 0.3 * crown(x, y, salt, 7.5)[0]))
    code = groups[leaf] * SUBS + min(part, SUBS - 2) + 1
    return code if inside else -code, material, height, rim, line


@njit(nogil=True, cache=True, error_model="numpy")
def _survey(
    first: int,
    last: int,
    step: float,
    numbers: np.ndarray,
    salt: np.uint64,
    plan: tuple,
    maps: tuple,
    noises: tuple,
    out: tuple,
) -> None:
    """Fill the rows ``first`` to ``last`` of the five outputs."""
    # Unpacked once: taking an array out of a tuple for every pixel would cost more than the pixel,
    # for reference counts are atomic.
    cuts, children, leaves, leaf_keys, groups = plan
    wooded, table, thresholds = maps
    smooth, rough, grain = noises
    keys, materials, heights, rims, lines = out
    for r in range(first, last):
        for c in range(keys.shape[1]):
            px, py = (c + 0.5) * step, (r + 0.5) * step
            key, material, height, rim, line = _at(
                px,
                py,
                step,
                numbers,
                salt,
                cuts,
                children,
                leaves,
                leaf_keys,
                groups,
                wooded,
                table,
                smooth,
                rough,
                grain,
                thresholds,
            )
            keys[r, c], materials[r, c], lines[r, c] = key, material, line
            heights[r, c] = min(max(height, 0.0), 120.0) * 2
            rims[r, c] = min(max(rim, 0.0), 127.0) * 2


def survey(world: LandscapeCover, shape: tuple[int, int], step: float) -> Ground:
    """Lay the plan out on a fine grid.

    Parameters
    ----------
    world : LandscapeCover
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
    tree, textures = world.tree, world.textures
    plan = (tree.cuts, tree.children, tree.leaves, tree.keys, tree.groups)
    noises = (textures.smooth, textures.rough, textures.grain)
    maps, out = (
        (world.wooded, world.table, wood_thresholds(world)),
        (keys, materials, heights, rims, lines),
    )

    def rows(first: int) -> None:
        _survey(
            first,
            min(first + 64, shape[0]),
            step,
            world.numbers,
            world.salt,
            plan,
            maps,
            noises,
            out,
        )

    in_strips(rows, shape[0])
    return Ground(keys, materials, heights, rims, lines, step)


def wood_thresholds(world: LandscapeCover) -> np.ndarray:
    """Return, per style, the wood noise above which there is wood.

    It follows from the style's share of wood.
    """
    from scipy.stats import norm

    return norm.ppf(1 - np.clip(world.table[:, 14], 0.01, 0.8)).astype(np.float64)


def in_strips(work: object, height: int, size: int = 64) -> None:
    """Run ``work(first_row)`` for strips of rows on all cores.

    The result does not depend on how many there are.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(work, range(0, height, size)))  # type: ignore[arg-type]
