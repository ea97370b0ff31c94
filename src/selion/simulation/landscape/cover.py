"""From the plan to the ground: what lies at each point, which field it is, how high it stands.

Cultivated parcels and managed (mown or sown) grass are fields.  Rough and natural grassland,
verges, gardens, orchards of single trees and woods are not.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numba import njit

from selion.cores import usable_cores
from selion.simulation.landscape.features import (
    M_BUSH,
    M_EARTH,
    M_FIELD,
    M_LAWN,
    M_MARGIN,
    M_ROUGH,
    M_SAND,
    M_TREE,
    M_WATER,
    built_up,
    contour,
    crown,
    grove,
    homestead,
    on_cut,
    tank,
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
    GROVE,
    HALF_LENGTH,
    HALF_WIDTH,
    HEDGE,
    KIND,
    LANE,
    LEAF_COLUMNS,
    NOTHING,
    PIVOT,
    PLOT,
    POND,
    RAIL,
    ROAD,
    STYLE,
    THETA,
    TRACK,
    VERGE,
    WOOD,
    WORKS,
    ParcelTree,
)
from selion.simulation.landscape.styles import BANKS, PONDS, YARDS, Style

SUBS = 64
"""Parts a leaf can have: ``key = leaf * SUBS + part + 1``."""
# Columns that the survey appends to the leaves, so that the kernels take one array for three.
_GROUP, _WOODED = LEAF_COLUMNS, LEAF_COLUMNS + 1
_WOOD_ABOVE = len(fields(Style))
"""Column that the survey appends to the table of styles: its wood thresholds."""


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


# The kernels' scalars travel in named tuples, which cost nothing in compiled code.  Arrays do not:
# taking one out of a tuple for every pixel would cost more than the pixel, for reference counts are
# atomic.


class _Setting(NamedTuple):
    """Numbers that hold for a whole landscape: see LandscapeCover."""

    salt: np.uint64
    step: float
    """Size of a fine pixel in metres."""
    warp: float
    bend: float
    river: float
    streams: float
    pixel_wood: float
    ox: float
    oy: float
    trees: float


class _Position(NamedTuple):
    """A point in metres: from the view's upper left corner, and in the noise."""

    px: float
    py: float
    x: float
    y: float


class _Parcel(NamedTuple):
    """The leaf that a point lies in."""

    leaf: int
    kind: int
    style: int
    own: np.uint64
    """The leaf's randomness."""
    key: np.uint64
    """That of the field it is farmed with."""


class _Point(NamedTuple):
    """A point in its parcel: metres along and across it, place in the noise, raggedness."""

    s: float
    t: float
    x: float
    y: float
    ragged: float


# Compiled: called for each leaf and each fine pixel.
@njit(nogil=True, cache=True, error_model="numpy")
def _wood_noise(smooth: np.ndarray, rough: np.ndarray, x: float, y: float) -> float:
    return 0.75 * sample(
        smooth, (0.8 * x + 0.6 * y) / 33.0, (0.8 * y - 0.6 * x) / 33.0
    ) + 0.66 * sample(rough, (0.6 * x - 0.8 * y) / 9.0, (0.6 * y + 0.8 * x) / 9.0)


# Compiled: one loop over up to 100,000 leaves with two look-ups in a texture each.
@njit(nogil=True, cache=True, error_model="numpy")
def wood_at_leaves(
    leaves: np.ndarray, smooth: np.ndarray, rough: np.ndarray, ox: float, oy: float
) -> np.ndarray:
    """Evaluate the wood noise at the centre of each leaf, (leaf,) float32."""
    out = np.empty(len(leaves), np.float32)
    for k in range(len(leaves)):
        out[k] = _wood_noise(smooth, rough, leaves[k, 0] + ox, leaves[k, 1] + oy)
    return out


# This and what follows down to _at is one kernel, compiled into _survey for each fine pixel and cut
# into functions to be read.
@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _part(
    parcel: _Parcel, point: _Point, leaves: np.ndarray, table: np.ndarray, smooth: np.ndarray
) -> int:
    """Return the part of a field at a point: pivots have sectors, contour farming has strips.

    -1 is a pivot's corner.
    """
    leaf, style, key = parcel.leaf, parcel.style, parcel.key
    s, t = point.s, point.t
    if parcel.kind == PIVOT:
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
        x, y = point.x + 900 * uniform(key, 305), point.y + 900 * uniform(key, 306)
        f = sample(smooth, x / 7.0, y / 7.0)
        return int(np.floor(f / 0.42)) + 16
    return 0


# Inlined like _part.
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
        grass = cuts[node, VERGE]
        verge = verge or ((kind >= LANE or grass > 0) and ad < half + 2.2 + 0.35 * ragged + grass)
        rim = min(rim, ad - half)
        node = children[node, 0 if d <= 0 else 1]
    return -node - 1, what, share, on, verge, rim


# Inlined like _part.
@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _bent(
    at: _Position, fine: bool, setting: _Setting, smooth: np.ndarray, rough: np.ndarray
) -> tuple[float, float]:
    """Return where a point of the view lies in the plane of straight cuts.

    The smallest bends matter only to fine pixels.
    """
    x, y, warp, bend = at.x, at.y, setting.warp, setting.bend
    u = at.px + warp * sample(smooth, x / 55.0, y / 55.0) + bend * sample(smooth, y / 9.0, x / 9.0)
    v = (
        at.py
        + warp * sample(smooth, 200 + y / 61.0, x / 61.0)
        + bend * sample(smooth, x / 8.0 + 77, y / 8.0)
    )
    if fine:
        u += 0.4 * sample(rough, x / 1.3, y / 1.3)
        v += 0.4 * sample(rough, y / 1.3, x / 1.3 + 99)
    return u, v


# Inlined like _part.
@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _wetness(at: _Position, setting: _Setting, smooth: np.ndarray, rough: np.ndarray) -> float:
    """Return the distance to the nearest shore of a river or stream in metres.

    It is negative in the water.
    """
    x, y, wet = at.x, at.y, 1e9
    if setting.river > 0:
        wet = contour(smooth, x + 4000 + 30 * sample(rough, x / 30, y / 30), y, 130.0, 400.0)
        if wet < 1e8:
            wet -= setting.river * (1 + 0.25 * sample(smooth, x / 7, y / 7))
    if setting.streams > 0 and sample(smooth, x / 21 + 50, y / 21) > -0.45:
        meander = 7 * sample(rough, x / 2.5, y / 2.5)
        wet = min(wet, contour(smooth, x + meander, y - meander, 24.0, 90.0) - setting.streams)
    return wet


# Inlined like _part.
@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _woodiness(
    at: _Position,
    ragged: float,
    base: float,
    threshold: float,
    setting: _Setting,
    smooth: np.ndarray,
    rough: np.ndarray,
    grain: np.ndarray,
) -> float:
    """Return the wood noise at a point: the leaf's own, and to some share the point's."""
    x, y, share = at.x, at.y, setting.pixel_wood
    wood = (1 - share) * base + share * _wood_noise(smooth, rough, x, y) + 0.06 * ragged
    if not setting.step < 2.5 or abs(wood - threshold) > 0.2:
        return wood
    # Seen closely, a wood ends with whole crowns.
    dome, _, _, wx, wy = crown(x, y, setting.salt, 7.5)
    if dome <= 0.15:
        return -9.0
    return (
        (1 - share) * base
        + share * _wood_noise(smooth, rough, wx, wy)
        + 0.03 * sample(grain, wx / 1.1, wy / 1.1)
    )


# Inlined like _part.
@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _on_field(
    parcel: _Parcel,
    point: _Point,
    setting: _Setting,
    leaves: np.ndarray,
    table: np.ndarray,
    smooth: np.ndarray,
    rough: np.ndarray,
) -> tuple[int, int, float, bool]:
    """Return what is at a point of a farmed parcel.

    That is (material, part, height, whether it belongs to the field).
    """
    leaf, style, key, salt = parcel.leaf, parcel.style, parcel.key, setting.salt
    s, t, x, y = point.s, point.t, point.x, point.y
    farm = leaves[leaf, FARM_SIZE]
    if farm > 0 and abs(s - leaves[leaf, FARM_U]) < farm and abs(t - leaves[leaf, FARM_V]) < farm:
        fs, ft = s - leaves[leaf, FARM_U], t - leaves[leaf, FARM_V]
        material, part, height = (
            homestead(-1, fs, ft, farm, farm, parcel.own, x, y, salt)
            if table[style, YARDS] > 0
            else built_up(-1, fs, ft, farm, farm, parcel.own, x, y, salt)
        )
        return material, part, height, False
    part = _part(parcel, point, leaves, table, smooth)
    if part < 0:
        return M_ROUGH, 0, 0.0, False
    if table[style, YARDS] > 0 and contour(smooth, x + 9000, y + 40 * point.ragged, 9.0, 6.0) < 0.7:
        return M_EARTH, part, 0.0, False  # a footpath
    # Shade is worth more than the corn it costs where yards are of earth.
    dense = setting.trees * 0.02 / max(table[style, 2], 0.4) * (1.0 + 5.0 * table[style, YARDS])
    tree = tree_at(x, y, salt, 60.0, dense, 2.0, 6.5)
    if tree > 0:
        return M_TREE, part, tree, True
    # Grass waterways follow the hollows of large fields on the plains.
    hollow = (
        table[style, 7] > 0.5
        and leaves[leaf, AREA] > 5e4
        and uniform(key, 310) < 0.3
        and sample(rough, x / 9 + 31, y / 9) > 0.25
    )
    bed = x + 1.2 * point.ragged
    if hollow and contour(smooth, bed, y, 9.0, 12.0) < 2.5 + 3 * uniform(key, 311):
        return M_MARGIN, part, 0.0, False
    return M_FIELD, part, 0.0, True


# Inlined like _part.
@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _wild(point: _Point, salt: np.uint64, yards: float, rough: np.ndarray) -> tuple[int, float]:
    """Return (material, height) on rough land."""
    x, y = point.x, point.y
    height = tree_at(x, y, salt, 12.0, 0.10 + 0.22 * sample(rough, x / 7, y / 7), 1.0, 5.5)
    if height > 0:
        return (M_TREE if height > 4 else M_BUSH), height
    bare = yards > 0 and sample(rough, x / 5 + 60, y / 5) + 0.4 * point.ragged > 1.2
    return (M_EARTH if bare else M_ROUGH), 0.0


# Inlined like _part.
@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _elsewhere(
    parcel: _Parcel,
    point: _Point,
    setting: _Setting,
    leaves: np.ndarray,
    table: np.ndarray,
    rough: np.ndarray,
) -> tuple[int, int, float, bool]:
    """Return (material, part, height, False) at a point of a parcel that is not farmed."""
    leaf, kind, salt = parcel.leaf, parcel.kind, setting.salt
    s, t, x, y, ragged = point.s, point.t, point.x, point.y, point.ragged
    hs, ht = leaves[leaf, HALF_LENGTH], leaves[leaf, HALF_WIDTH]
    yards, ponds = table[parcel.style, YARDS], table[parcel.style, PONDS]
    if kind in (PLOT, WORKS):
        material, part, height = (
            homestead(kind, s, t, hs, ht, parcel.own, x, y, salt)
            if yards > 0
            else built_up(kind, s, t, hs, ht, parcel.own, x, y, salt)
        )
        return material, part, height, False
    material, height = M_ROUGH, 0.0
    if kind == WOOD:
        material, height = M_TREE, 12 + ragged
    elif kind == GROVE:
        material, height = grove(s, t, parcel.own, yards)
    elif kind == POND and ponds > 0 and uniform(parcel.own, 313) < 0.7:
        material, height = tank(min(hs - abs(s), ht - abs(t)) + 0.3 * ragged, x, y, salt)
    elif kind == POND:
        if (s / hs) ** 2 + (t / ht) ** 2 < 0.55 + 0.2 * sample(rough, x / 4, y / 4):
            material = M_WATER
        elif ragged > 0:
            material, height = M_TREE, 6.0
    elif kind == GREEN:
        height = tree_at(x, y, salt, 13.0, 0.5, 2.0, 6.0)
        material = M_TREE if height > 0 else M_LAWN
    else:
        material, height = _wild(point, salt, yards, rough)
    return material, 0, height, False


# Inlined like _part.
@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _on_bank(
    at: _Position, banks: float, wet: float, ragged: float, yards: float, rough: np.ndarray
) -> tuple[int, float]:
    """Return (material, height) on the bank of a river or stream; material -1 beyond it."""
    x, y = at.x, at.y
    if wet < banks * (0.7 + 0.6 * sample(rough, x / 9 + 77, y / 9)):
        grown = sample(rough, x / 6 + 40, y / 6) + 0.4 * ragged
        if grown > 0.8:
            return (M_TREE, 6 + 2 * ragged) if grown > 1.1 else (M_BUSH, 1.5)
        if yards > 0 and grown < 0.1:
            return (M_SAND if wet < 0.35 * banks else M_EARTH), 0.0
        return (M_ROUGH if grown > -0.6 else M_MARGIN), 0.2
    if wet < 7 + 12 * (sample(rough, x / 6, y / 6) + 0.3):
        wooded = sample(rough, x / 11 + 9, y / 11) + 0.5 * ragged > -0.2
        return (M_TREE, 9 + 3 * ragged) if wooded else (M_MARGIN, 0.3)
    return -1, 0.0


# Inlined like _part.
@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _at(
    at: _Position,
    setting: _Setting,
    cuts: np.ndarray,
    children: np.ndarray,
    leaves: np.ndarray,
    leaf_keys: np.ndarray,
    table: np.ndarray,
    smooth: np.ndarray,
    rough: np.ndarray,
    grain: np.ndarray,
) -> tuple[int, int, float, float, int]:
    """Return (key, material, height, distance to the rim, line) at a point of the view.

    See Ground.
    """
    x, y, salt, step = at.x, at.y, setting.salt, setting.step
    detailed = step < 2.5
    u, v = _bent(at, detailed, setting, smooth, rough)
    ragged = sample(grain, x / 1.1, y / 1.1)
    leaf, what, share, on, verge, rim = _descend(cuts, children, u, v, ragged, step)
    kind, style = int(leaves[leaf, KIND]), int(leaves[leaf, STYLE])
    group = int(leaves[leaf, _GROUP])
    ct, st = np.cos(leaves[leaf, THETA]), np.sin(leaves[leaf, THETA])
    s, t = (
        ct * (u - leaves[leaf, CX]) + st * (v - leaves[leaf, CY]),
        -st * (u - leaves[leaf, CX]) + ct * (v - leaves[leaf, CY]),
    )
    threshold = table[style, _WOOD_ABOVE]
    wet = _wetness(at, setting, smooth, rough)
    wood = _woodiness(at, ragged, leaves[leaf, _WOODED], threshold, setting, smooth, rough, grain)
    parcel = _Parcel(leaf, kind, style, leaf_keys[leaf], leaf_keys[group])
    point = _Point(s, t, x, y, ragged)
    part, inside = 0, False
    yards, banks = table[style, YARDS], table[style, BANKS]
    bank, bank_height = _on_bank(at, banks, wet, ragged, yards, rough)
    if wet < 0 and what not in (ROAD, RAIL):
        material, height = M_WATER, 0.0
    elif bank >= 0:
        material, height = bank, bank_height
    elif wood > threshold and kind not in (PLOT, WORKS):
        material, height = M_TREE, 14 + (3 if detailed else 0.5) * ragged
    elif verge:
        material, height = M_MARGIN, 0.0
    elif kind in (FIELD, PIVOT):
        material, part, height, inside = _on_field(
            parcel, point, setting, leaves, table, smooth, rough
        )
    else:
        material, part, height, inside = _elsewhere(parcel, point, setting, leaves, table, rough)
    line = 0
    if what >= NOTHING and (wet >= 0 or what >= ROAD) and (what > TRACK or wood <= threshold):
        over, over_height = on_cut(what, x, y, salt, ragged, yards > 0)
        line = over * 16 + int(15 * share + 0.5)
        if share > 0.97:
            material, height, line = over, over_height, 0
        elif on:
            height = max(over_height, 0.5 * height)
        inside = inside and not on
    if material == M_TREE and height > 8 and detailed:
        height = max(1.0, height * (0.7 + 0.3 * crown(x, y, salt, 7.5)[0]))
    code = group * SUBS + min(part, SUBS - 2) + 1
    return code if inside else -code, material, height, rim, line


# Compiled: some hundred operations for each fine pixel, four of which make a pixel of the image.
@njit(nogil=True, cache=True, error_model="numpy")
def _survey(
    first: int,
    last: int,
    setting: _Setting,
    plan: tuple,
    table: np.ndarray,
    noises: tuple,
    out: tuple,
) -> None:
    """Fill the rows ``first`` to ``last`` of the five outputs."""
    # Unpacked once: taking an array out of a tuple for every pixel would cost more than the pixel,
    # for reference counts are atomic.
    cuts, children, leaves, leaf_keys = plan
    smooth, rough, grain = noises
    keys, materials, heights, rims, lines = out
    step = setting.step
    for r in range(first, last):
        for c in range(keys.shape[1]):
            px, py = (c + 0.5) * step, (r + 0.5) * step
            at = _Position(px, py, px + setting.ox, py + setting.oy)
            key, material, height, rim, line = _at(
                at, setting, cuts, children, leaves, leaf_keys, table, smooth, rough, grain
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
    setting = _Setting(world.salt, step, *world.numbers.tolist())
    wooded = wood_at_leaves(tree.leaves, textures.smooth, textures.rough, setting.ox, setting.oy)
    # float64 holds both columns exactly.
    leaves = np.column_stack([tree.leaves, tree.groups, wooded])
    plan = (tree.cuts, tree.children, leaves, tree.keys)
    table = np.column_stack([world.table, wood_thresholds(world)])
    noises = (textures.smooth, textures.rough, textures.grain)
    out = (keys, materials, heights, rims, lines)

    def rows(first: int) -> None:
        _survey(first, min(first + 64, shape[0]), setting, plan, table, noises, out)

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
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(work, range(0, height, size)))  # type: ignore[arg-type]
