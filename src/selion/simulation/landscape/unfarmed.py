"""What lies outside fields: rough land, groves, ponds, yards, and the banks of rivers and streams.

Compiled into the kernel of :mod:`selion.simulation.landscape.cover` for each fine pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from selion.simulation.landscape.features import (
    M_BUSH,
    M_EARTH,
    M_LAWN,
    M_MARGIN,
    M_ROUGH,
    M_SAND,
    M_TREE,
    M_WATER,
    built_up,
    grove,
    homestead,
    tank,
    tree_at,
)
from selion.simulation.landscape.noise import sample, uniform
from selion.simulation.landscape.parcels import (
    GREEN,
    GROVE,
    HALF_LENGTH,
    HALF_WIDTH,
    PLOT,
    POND,
    WOOD,
    WORKS,
)
from selion.simulation.landscape.styles import PONDS, YARDS

if TYPE_CHECKING:
    from selion.simulation.landscape.points import Leaf, Point, Position, Setting


# Inlined like all of this file, for it is called for every fine pixel.
@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _wild(point: Point, salt: np.uint64, yards: float, rough: np.ndarray) -> tuple[int, float]:
    """Return (material, height) on rough land."""
    x, y = point.x, point.y
    height = tree_at(x, y, salt, 12.0, 0.10 + 0.22 * sample(rough, x / 7, y / 7), 1.0, 5.5)
    if height > 0:
        return (M_TREE if height > 4 else M_BUSH), height
    bare = yards > 0 and sample(rough, x / 5 + 60, y / 5) + 0.4 * point.ragged > 1.2
    return (M_EARTH if bare else M_ROUGH), 0.0


# Inlined like _wild.
@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def off_field(
    parcel: Leaf,
    point: Point,
    setting: Setting,
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


# Inlined like _wild.
@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def on_bank(
    at: Position, banks: float, wet: float, ragged: float, yards: float, rough: np.ndarray
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
