"""Grow the tree of cuts: the compiled loop behind :func:`grow`."""

from __future__ import annotations

import numpy as np
from numba import njit

from selion.simulation.landscape.noise import mix, normal, uniform
from selion.simulation.landscape.parcels import (
    _DEPTH,
    _VERTICES,
    AREA,
    CUT_COLUMNS,
    CX,
    CY,
    FARM_SIZE,
    FARM_U,
    FARM_V,
    FIELD,
    GREEN,
    HALF_LENGTH,
    HALF_WIDTH,
    KIND,
    LANE,
    LEAF_COLUMNS,
    NOTHING,
    PLOT,
    STYLE,
    THETA,
    VERGE,
    VOID,
    ParcelTree,
    _clip,
    _cut_at,
    _draw_edge,
    _draw_road,
    _kind,
    _measure,
    _outside,
    near_village,
)
from selion.simulation.landscape.styles import HECTARE, MIXED, VERGES, VILLAGE_CELL, YARDS

# What a node carries down the tree.
_DIRECTION, _STAGE, _STYLE, _LONG, _WIDE, _PARENT, _SIDE, _WILD, _STATE = range(9)
_REGION, _BLOCK, _FURLONG, _PARCEL, _STREET, _HOUSE = range(6)
_FULL = -1


def grow(
    seed_key: int, table: np.ndarray, style: int, size: tuple[float, float], margin: float
) -> ParcelTree:
    """Subdivide the plane around a view.

    Parameters
    ----------
    seed_key : int
        64-bit salt of the landscape.
    table : (style, parameter) float64 ndarray
        See :func:`selion.simulation.landscape.styles.style_table`.
    style : int
        Row of the table, -1 for one per region.
    size : tuple of float
        (y, x) size of the view in metres.
    margin : float
        How far beyond the view parcels are needed, in metres.

    Returns
    -------
    ParcelTree
    """
    view = np.array([-margin, -margin, size[1] + margin, size[0] + margin])
    key = np.uint64(seed_key)
    pads = 2500 + 3500 * np.array([uniform(key, k) for k in range(1, 5)])
    root = np.array(
        [
            [-pads[0], -pads[1]],
            [size[1] + pads[2], -pads[1]],
            [size[1] + pads[2], size[0] + pads[3]],
            [-pads[0], size[0] + pads[3]],
        ]
    )
    smallest = table[:MIXED, 2].min() if style < 0 else table[style, 2]
    capacity = 4000 + int(6 * (view[2] - view[0]) * (view[3] - view[1]) / (smallest * HECTARE))
    while True:
        cuts = np.zeros((capacity, CUT_COLUMNS))
        children = np.zeros((capacity, 2), np.int32)
        leaves = np.zeros((capacity, LEAF_COLUMNS))
        keys = np.zeros(capacity, np.uint64)
        plan = (cuts, children, leaves, keys)
        # Made here: numba compiles np.zeros once more for each shape of constants.
        stack = (
            np.zeros((_DEPTH, _VERTICES, 2)),
            np.zeros(_DEPTH, np.int64),
            np.zeros((_DEPTH, _STATE)),
            np.zeros(_DEPTH, np.uint64),
        )
        one = np.zeros((_VERTICES, 2)), np.zeros(_STATE)
        n_cuts, n_leaves = _grow(key, table, style, root, view, plan, stack, one)
        if n_cuts != _FULL:
            break
        capacity *= 2
    return ParcelTree(
        cuts[:n_cuts].copy(),
        children[:n_cuts].copy(),
        leaves[:n_leaves].copy(),
        keys[:n_leaves].copy(),
        np.arange(n_leaves, dtype=np.int32),
    )


# _grow is compiled because it visits each piece of land in turn, 100,000 and more, and what it does
# to one depends on what it did to its parent.  So is all that it calls, here and in parcels.
@njit(nogil=True, cache=True, error_model="numpy")
def _pick_style(fixed: int, key: np.uint64) -> int:
    if fixed >= 0:
        return fixed
    u = uniform(key, 11)
    return 1 if u < 0.42 else 0 if u < 0.58 else 2 if u < 0.76 else 4 if u < 0.9 else 3


# Compiled for _grow: see _pick_style.
@njit(nogil=True, cache=True, error_model="numpy")
def _enter(state: np.ndarray, style: np.ndarray, stage: int, key: np.uint64) -> None:
    """Draw what a region, block or furlong has in common."""
    survey = style[7] > 0.5
    if stage == _BLOCK:
        state[_DIRECTION] = (
            0.02 * (uniform(key, 12) - 0.5)
            if survey
            else state[_DIRECTION] + 0.35 * normal(key, 12)
        )
    elif stage == _FURLONG:
        # Neglect comes in clusters: heath, wet meadows, abandoned land.
        state[_WILD] = np.exp(1.1 * normal(key, 18) - 0.5)
        state[_DIRECTION] += style[6] * 1.5 * normal(key, 13)
    elif stage == _PARCEL:
        area = style[2] * HECTARE * np.exp(style[3] * normal(key, 14))
        slender = max(1.0, style[4] * np.exp(style[5] * normal(key, 15)))
        if uniform(key, 16) < 0.12:
            slender *= 2.2
        if uniform(key, 17) < 0.5:
            state[_DIRECTION] += np.pi / 2
        state[_WIDE] = np.sqrt(area / slender)
        state[_LONG] = state[_WIDE] * slender
    elif stage == _HOUSE:
        size = 1.0 - 0.4 * style[YARDS]
        state[_WIDE] = (20.0 + 8 * uniform(key, 25)) * size
        state[_LONG] = (32.0 + 10 * uniform(key, 26)) * size


# Compiled for _grow: see _pick_style.
@njit(nogil=True, cache=True, error_model="numpy")
def _too_large(
    stage: int, style: np.ndarray, hectares: float, ratio: float, key: np.uint64
) -> bool:
    """Return whether a piece of land must be cut before its stage is done.

    Each piece draws its own limit.
    """
    if stage == _REGION:
        return hectares > 900 + 1500 * uniform(key, 20)
    if stage == _BLOCK:
        return hectares > style[0] * (0.75 + 0.6 * uniform(key, 21))
    if stage == _FURLONG:
        return hectares > style[1] * (0.6 + 0.9 * uniform(key, 22))
    if stage == _PARCEL:
        return ratio > 1.3 + 0.75 * uniform(key, 23) ** 2
    if stage == _STREET:
        return hectares > (0.7 + 0.5 * uniform(key, 24)) * (1.0 - 0.65 * style[YARDS])
    return ratio > 1.45


# Compiled for _grow: see _pick_style.
@njit(nogil=True, cache=True, error_model="numpy")
def _advance(
    state: np.ndarray, style: np.ndarray, area: float, ratio: float, rim: float, key: np.uint64
) -> bool:
    """Move to the next stage while this one is done; return whether the node must be cut.

    On entering the stages of parcels and of houses it returns False: their direction and size are
    new, so the caller measures again.
    """
    while True:
        stage = int(state[_STAGE])
        if _REGION < stage <= _FURLONG and rim < 0.4 * np.sqrt(area):
            if area > 3 * HECTARE * min(1.0, (style[VILLAGE_CELL] / 2000.0) ** 2):
                return True
            if rim < 0:
                state[_STAGE] = stage = _STREET
        if _too_large(stage, style, area / HECTARE, ratio, key):
            return True
        if stage in (_PARCEL, _HOUSE):
            return False
        state[_STAGE] = stage + 1
        _enter(state, style, stage + 1, key)
        if stage + 1 in (_PARCEL, _HOUSE):
            return False


# Compiled for _grow: see _pick_style.
@njit(nogil=True, cache=True, error_model="numpy")
def _finish_leaf(
    leaf: np.ndarray, state: np.ndarray, frame: tuple, style: np.ndarray, key: np.uint64
) -> None:
    """Write what a leaf is."""
    area, low_a, high_a, low_b, high_b = frame
    theta = state[_DIRECTION]
    a, b = (low_a + high_a) / 2, (low_b + high_b) / 2
    c, s = np.cos(theta), np.sin(theta)
    leaf[CX], leaf[CY], leaf[THETA] = c * a - s * b, s * a + c * b, theta
    leaf[HALF_LENGTH], leaf[HALF_WIDTH] = (high_a - low_a) / 2, (high_b - low_b) / 2
    leaf[AREA], leaf[STYLE] = area, state[_STYLE]
    if state[_STAGE] >= _STREET:
        u = uniform(key, 71)
        leaf[KIND] = PLOT if u < 0.9 else GREEN
        return
    long, wide = max(leaf[HALF_LENGTH], leaf[HALF_WIDTH]), min(leaf[HALF_LENGTH], leaf[HALF_WIDTH])
    leaf[KIND] = _kind(style, area, long / max(wide, 1.0), wide, state[_WILD], key)
    if leaf[KIND] == FIELD and area > 0.9 * HECTARE and uniform(key, 72) < style[17]:
        leaf[FARM_SIZE] = min(18 + 22 * uniform(key, 73), 0.55 * wide)
        leaf[FARM_U] = (1 if uniform(key, 74) < 0.5 else -1) * (
            leaf[HALF_LENGTH] - 0.9 * leaf[FARM_SIZE]
        )
        leaf[FARM_V] = (1 if uniform(key, 75) < 0.5 else -1) * (
            leaf[HALF_WIDTH] - 0.9 * leaf[FARM_SIZE]
        )


# Compiled for _grow: see _pick_style.
@njit(nogil=True, cache=True, error_model="numpy")
def _plan_cut(
    cut: np.ndarray, state: np.ndarray, frame: tuple, style: np.ndarray, key: np.uint64
) -> None:
    """Choose direction, place and nature of a cut."""
    _, low_a, high_a, low_b, high_b = frame
    stage = int(state[_STAGE])
    sized = stage in (_PARCEL, _HOUSE)
    pieces_a = (high_a - low_a) / (state[_LONG] if sized else 1.0)
    pieces_b = (high_b - low_b) / (state[_WIDE] if sized else 1.0)
    along = pieces_a > pieces_b
    survey = style[7] > 0.5 and stage in (_BLOCK, _FURLONG)
    at = (
        _cut_at(low_a, high_a, pieces_a if sized else 2.0, survey, key)
        if along
        else _cut_at(low_b, high_b, pieces_b if sized else 2.0, survey, key)
    )
    wobble = (
        0.0 if stage >= _STREET else style[6] * (1.0 if stage >= _PARCEL else 1.6) * normal(key, 81)
    )
    if stage == _REGION:
        wobble = 0.25 * normal(key, 81) * (1 - style[7])
    theta = state[_DIRECTION] + (0.0 if along else np.pi / 2)
    c, s = np.cos(theta), np.sin(theta)
    middle = (low_b + high_b) / 2 if along else -(low_a + high_a) / 2
    px, py = c * at - s * middle, s * at + c * middle
    cut[0], cut[1] = np.cos(theta + wobble), np.sin(theta + wobble)
    cut[2] = cut[0] * px + cut[1] * py
    if stage <= _BLOCK:
        cut[4], cut[3] = _draw_road(stage, key)
        cut[VERGE] = style[VERGES] * 2.4 * uniform(key, 86)
    elif stage == _STREET:
        cut[4], cut[3] = LANE, 5.0 + 2 * uniform(key, 82)
    elif stage == _HOUSE:
        cut[4], cut[3] = NOTHING, 0.0
    else:
        cut[4], cut[3] = _draw_edge(style, key)
        if stage == _FURLONG and cut[4] == NOTHING and uniform(key, 83) < 0.5:
            cut[4], cut[3] = 3, 2.5 + uniform(key, 84)


# Compiled for _grow: see _pick_style.
@njit(nogil=True, cache=True, error_model="numpy")
def _settle(
    poly: np.ndarray,
    count: int,
    state: np.ndarray,
    table: np.ndarray,
    fixed: int,
    salt: np.uint64,
    key: np.uint64,
) -> bool:
    """Bring a piece of land to its stage; return whether it must be cut."""
    if state[_STAGE] == _REGION:
        state[_STYLE] = _pick_style(fixed, key)
    style = table[int(state[_STYLE])]
    x = y = 0.0
    for k in range(count):
        x, y = x + poly[k, 0] / count, y + poly[k, 1] / count
    must = False
    for _ in range(3):
        area, low_a, high_a, low_b, high_b = _measure(poly, count, state[_DIRECTION])
        size = style[VILLAGE_CELL] / 2000.0 * (1.0 + 0.35 * style[YARDS])
        rim = near_village(x, y, salt, style[16], style[VILLAGE_CELL], size) if area < 4e6 else 1e9
        ratio = max(
            (high_a - low_a) / max(state[_LONG], 1.0), (high_b - low_b) / max(state[_WIDE], 1.0)
        )
        before = state[_STAGE]
        must = _advance(state, style, area, ratio, rim, key)
        if must or before == state[_STAGE]:
            break
    # A whole quarter section may be a pivot, whatever its parcels would have been.
    if (
        must
        and state[_STAGE] == _PARCEL
        and 40 * HECTARE < area < 90 * HECTARE
        and uniform(key, 62) < style[19]
    ):
        must = max(high_a - low_a, high_b - low_b) > 1.5 * min(high_a - low_a, high_b - low_b)
    return must


# Compiled for _grow.  Once per cut, so that the tuple of arrays costs no time (measured: 1.00).
@njit(nogil=True, cache=True, error_model="numpy")
def _push_halves(
    poly: np.ndarray,
    count: int,
    state: np.ndarray,
    cut: np.ndarray,
    number: int,
    key: np.uint64,
    top: int,
    stack: tuple,
) -> None:
    """Put the two halves of a piece of land on the stack.

    They follow the direction of the cut a little, as fields follow their road.
    """
    polys, counts, states, paths = stack
    c, s = np.cos(state[_DIRECTION]), np.sin(state[_DIRECTION])
    turn = 0.3 * np.arctan2(cut[1] * c - cut[0] * s, cut[0] * c + cut[1] * s)
    for which in range(2):
        sign = 1.0 if which == 0 else -1.0
        counts[top + which] = _clip(
            poly, count, sign * cut[0], sign * cut[1], sign * cut[2], polys[top + which]
        )
        for k in range(_STATE):
            states[top + which, k] = state[k]
        states[top + which, _DIRECTION] += turn if abs(turn) < 0.2 else 0.0
        states[top + which, _PARENT], states[top + which, _SIDE] = number, which
        paths[top + which] = mix(key, 3 + which)


# Compiled: a loop of small steps, each of which needs the last.
@njit(nogil=True, cache=True, error_model="numpy")
def _grow(
    salt: np.uint64,
    table: np.ndarray,
    fixed: int,
    root: np.ndarray,
    view: np.ndarray,
    plan: tuple,
    stack: tuple,
    one: tuple,
) -> tuple[int, int]:
    """Run the subdivision depth first, with a stack of zeros and room for one piece of it.

    Return the numbers of cuts and leaves, or (-1, -1) when an array is full.
    """
    cuts, children, leaves, keys = plan
    polys, counts, states, paths = stack
    poly, state = one
    for k in range(4):
        polys[0, k, 0], polys[0, k, 1] = root[k, 0], root[k, 1]
    counts[0], paths[0] = 4, mix(salt, 99)
    states[0, _PARENT], states[0, _STYLE] = -1, max(fixed, 0)
    states[0, _DIRECTION] = np.pi * uniform(salt, 98) if fixed < 0 or table[fixed, 7] < 0.5 else 0.0
    none = int(np.int64(0))  # numba compiles what is called with a literal for each of them anew
    top, n_cuts, n_leaves = none + 1, none, none
    while top > 0:
        top -= 1
        if n_cuts + 1 >= len(cuts) or n_leaves + 1 >= len(leaves):
            return _FULL, _FULL
        count, key = counts[top], paths[top]
        for k in range(count):
            poly[k, 0], poly[k, 1] = polys[top, k, 0], polys[top, k, 1]
        for k in range(_STATE):
            state[k] = states[top, k]
        parent, side = int(state[_PARENT]), int(state[_SIDE])
        gone = count < 3 or _outside(poly, count, view) or _measure(poly, count, 0.0)[0] < 30.0
        must = (
            not gone and top + 2 < _DEPTH and _settle(poly, count, state, table, fixed, salt, key)
        )
        frame = _measure(poly, count, state[_DIRECTION])
        style = table[int(state[_STYLE])]
        if parent >= 0:
            children[parent, side] = n_cuts if must else -n_leaves - 1
        if must:
            cut = cuts[n_cuts]
            _plan_cut(cut, state, frame, style, key)
            _push_halves(poly, count, state, cut, n_cuts, key, top, stack)
            top += 2
            n_cuts += 1
        else:
            keys[n_leaves] = mix(key, 5)
            leaves[n_leaves, KIND] = VOID
            if not gone:
                _finish_leaf(leaves[n_leaves], state, frame, style, key)
            n_leaves += 1
    return n_cuts, n_leaves
