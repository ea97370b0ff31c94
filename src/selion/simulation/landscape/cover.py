"""From the plan to the ground: what lies at each point, which field it is, how high it stands.

Cultivated parcels and managed (mown or sown) grass are fields.  Rough and natural grassland,
verges, gardens, orchards of single trees and woods are not.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
from numba import njit
from scipy import special

from selion.cores import usable_cores
from selion.simulation.landscape.features import (
    M_EARTH,
    M_FIELD,
    M_MARGIN,
    M_ROUGH,
    M_TREE,
    M_WATER,
    built_up,
    contour,
    crown,
    homestead,
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
    HALF_LENGTH,
    HALF_WIDTH,
    HEDGE,
    KIND,
    LANE,
    LEAF_COLUMNS,
    NOTHING,
    PIVOT,
    PLOT,
    RAIL,
    ROAD,
    STYLE,
    THETA,
    TRACK,
    VERGE,
    WORKS,
    ParcelTree,
)
from selion.simulation.landscape.points import Leaf, Point, Position, Setting
from selion.simulation.landscape.styles import BANKS, YARDS, Style
from selion.simulation.landscape.unfarmed import off_field, on_bank

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
    parcel: Leaf, point: Point, leaves: np.ndarray, table: np.ndarray, smooth: np.ndarray
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
    at: Position, fine: bool, setting: Setting, smooth: np.ndarray, rough: np.ndarray
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
def _wetness(at: Position, setting: Setting, smooth: np.ndarray, rough: np.ndarray) -> float:
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
    at: Position,
    ragged: float,
    base: float,
    threshold: float,
    setting: Setting,
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
    parcel: Leaf,
    point: Point,
    setting: Setting,
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
        no_plot = int(np.int64(-1))  # a literal would have numba compile both once more
        material, part, height = (
            homestead(no_plot, fs, ft, farm, farm, parcel.own, x, y, salt)
            if table[style, YARDS] > 0
            else built_up(no_plot, fs, ft, farm, farm, parcel.own, x, y, salt)
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
def _at(
    at: Position,
    setting: Setting,
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
    parcel = Leaf(leaf, kind, style, leaf_keys[leaf], leaf_keys[group])
    point = Point(s, t, x, y, ragged)
    part, inside = 0, False
    yards, banks = table[style, YARDS], table[style, BANKS]
    bank, bank_height = on_bank(at, banks, wet, ragged, yards, rough)
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
        material, part, height, inside = off_field(parcel, point, setting, leaves, table, rough)
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
    setting: Setting,
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
            at = Position(px, py, px + setting.ox, py + setting.oy)
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
    setting = Setting(world.salt, step, *world.numbers.tolist())
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
    return special.ndtri(1 - np.clip(world.table[:, 14], 0.01, 0.8)).astype(np.float64)


def in_strips(work: object, height: int, size: int = 64) -> None:
    """Run ``work(first_row)`` for strips of rows on all cores.

    The result does not depend on how many there are.
    """
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(work, range(0, height, size)))  # type: ignore[arg-type]
