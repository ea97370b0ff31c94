"""A year later.

Fields are merged, parted, given up, built over and newly broken, and boundaries between two of them
move.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from selion.simulation.landscape.parcels import (
    AREA,
    CX,
    CY,
    FARM_SIZE,
    FIELD,
    HALF_LENGTH,
    HALF_WIDTH,
    KIND,
    NOTHING,
    NX,
    NY,
    OFFSET,
    ROUGH,
    THETA,
    WIDTH,
    WORKS,
    ParcelTree,
)
from selion.simulation.landscape.season import uniforms

_MERGED, _PARTED, _ABANDONED, _BUILT, _BROKEN, _MOVED = 0.07, 0.05, 0.025, 0.010, 0.15, 0.06
"""Shares, about, of fields that a year merges, parts, gives up and builds over, of rough parcels
that it breaks, and of fields whose boundary it moves; no statistic stands behind them."""
_SAME = 0.97
"""Intersection over union of one field in two true maps below which its boundary has moved: without
a cause they are equal to the pixel."""


def next_plan(tree: ParcelTree) -> ParcelTree:
    """Return the plan of the next year; leaves keep their numbers, new ones are appended."""
    leaves, cuts, groups = tree.leaves.copy(), tree.cuts.copy(), tree.groups.copy()
    touched = _merge(tree, cuts, groups)
    draw = uniforms(tree.keys, 700)
    touched |= _move(tree, cuts, touched)
    farmed = (leaves[:, KIND] == FIELD) & ~touched & (leaves[:, FARM_SIZE] == 0)
    leaves[farmed & (draw < _ABANDONED), KIND] = ROUGH
    leaves[farmed & (draw > 1 - _BUILT) & (leaves[:, AREA] < 1e5), KIND] = WORKS
    wild = (leaves[:, KIND] == ROUGH) & (tree.leaves[:, KIND] == ROUGH) & (leaves[:, AREA] > 1500)
    leaves[wild & (draw < _BROKEN), KIND] = FIELD
    parted = np.flatnonzero(
        farmed
        & (leaves[:, KIND] == FIELD)
        & (draw > 0.5)
        & (draw < 0.5 + _PARTED)
        & (leaves[:, AREA] > 6000)
    )
    return _part(tree, leaves, cuts, groups, parted)


def _neighbours(tree: ParcelTree) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the cuts that made two leaves, these leaves, and whether both are plain fields."""
    low, high = tree.children[:, 0], tree.children[:, 1]
    pairs = np.flatnonzero((low < 0) & (high < 0))
    one, two = -low[pairs] - 1, -high[pairs] - 1
    plain = (tree.leaves[:, KIND] == FIELD) & (tree.leaves[:, FARM_SIZE] == 0)
    return pairs, one, two, plain[one] & plain[two]


def _move(tree: ParcelTree, cuts: np.ndarray, touched: np.ndarray) -> np.ndarray:
    """Move the boundary between some pairs of fields by a tenth to a quarter of the width of one.

    Return which leaves are concerned.
    """
    pairs, one, two, plain = _neighbours(tree)
    draw = uniforms(tree.keys[one], 702)
    chosen = plain & ~touched[one] & ~touched[two] & (draw < _MOVED / 0.6)
    share = 0.2 + 0.3 * draw[chosen] / (_MOVED / 0.6)
    at, into = (
        pairs[chosen],
        np.where(uniforms(tree.keys[one[chosen]], 703) < 0.5, one[chosen], two[chosen]),
    )
    inside = (
        cuts[at, NX] * tree.leaves[into, CX]
        + cuts[at, NY] * tree.leaves[into, CY]
        - cuts[at, OFFSET]
    )
    cuts[at, OFFSET] += share * inside
    moved = np.zeros(len(tree.leaves), bool)
    moved[one[chosen]] = moved[two[chosen]] = True
    return moved


def _merge(tree: ParcelTree, cuts: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Take the boundary away between some pairs of fields that one cut made.

    Return which leaves are concerned.
    """
    pairs, one, two, plain = _neighbours(tree)
    chosen = plain & (uniforms(tree.keys[one], 701) < _MERGED / 0.6)
    cuts[pairs[chosen], WIDTH] = 0.0
    groups[two[chosen]] = groups[one[chosen]]
    touched = np.zeros(len(groups), bool)
    touched[one[chosen]] = touched[two[chosen]] = True
    return touched


def _part(
    tree: ParcelTree, leaves: np.ndarray, cuts: np.ndarray, groups: np.ndarray, parted: np.ndarray
) -> ParcelTree:
    """Cut some fields in two across their longer side."""
    count = len(parted)
    theta = leaves[parted, THETA] + np.where(
        leaves[parted, HALF_LENGTH] >= leaves[parted, HALF_WIDTH], 0.0, np.pi / 2
    )
    new_cuts = np.zeros((count, cuts.shape[1]))
    new_cuts[:, 0], new_cuts[:, 1] = np.cos(theta), np.sin(theta)
    new_cuts[:, 2] = new_cuts[:, 0] * leaves[parted, CX] + new_cuts[:, 1] * leaves[parted, CY]
    new_cuts[:, 3], new_cuts[:, 4] = 0.8, NOTHING
    new_leaves = np.arange(len(leaves), len(leaves) + count, dtype=np.int32)
    children = np.concatenate(
        [tree.children, np.stack([-parted - 1, -new_leaves - 1], 1).astype(np.int32)]
    )
    where = {
        int(child): (row, side)
        for side in range(2)
        for row, child in enumerate(tree.children[:, side])
        if child < 0
    }
    for k, leaf in enumerate(parted):
        children[where[-int(leaf) - 1]] = len(cuts) + k
    with np.errstate(over="ignore"):
        new_keys = tree.keys[parted] * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)
    return ParcelTree(
        np.concatenate([cuts, new_cuts]),
        children,
        np.concatenate([leaves, leaves[parted]]),
        np.concatenate([tree.keys, new_keys]),
        np.concatenate([groups, new_leaves]),
    )


def compare_years(before: np.ndarray, after: np.ndarray) -> pd.DataFrame:
    """Tell from two id rasters what became of each field.

    Parameters
    ----------
    before, after : (y, x) int32 ndarray
        Field ids of two years on one grid, 0 is none.

    Returns
    -------
    pandas.DataFrame
        ``before, after, change``: one row per pair of fields that share at least a third of the
        smaller one, with change ``same``, ``moved`` (one field with another outline), ``merged``
        (several became one), ``split`` (one became several) or ``redrawn`` (both); and one per
        field without a partner, ``gone`` (after is 0) or ``new`` (before is 0).
    """
    shared = (
        sparse.coo_array(
            (np.ones(before.size, np.int64), (before.ravel(), after.ravel())),
            shape=(before.max() + 1, after.max() + 1),
        )
        .tocsr()
        .tocoo()
    )
    size_before, size_after = np.bincount(before.ravel()), np.bincount(after.ravel())
    one, two = shared.coords
    pair = (
        (one > 0) & (two > 0) & (3 * shared.data >= np.minimum(size_before[one], size_after[two]))
    )
    one, two, common = one[pair], two[pair], shared.data[pair]
    heirs, parents = (
        np.bincount(one, minlength=len(size_before)),
        np.bincount(two, minlength=len(size_after)),
    )
    many, several = heirs[one] > 1, parents[two] > 1
    moved = common < _SAME * (size_before[one] + size_after[two] - common)
    change = np.select(
        [many & several, many, several, moved], ["redrawn", "split", "merged", "moved"], "same"
    )
    gone = np.flatnonzero((heirs == 0) & (size_before > 0) & (np.arange(len(heirs)) > 0))
    new = np.flatnonzero((parents == 0) & (size_after > 0) & (np.arange(len(parents)) > 0))
    return pd.DataFrame(
        {
            "before": np.concatenate([one, gone, np.zeros(len(new), np.int64)]).astype(np.int64),
            "after": np.concatenate([two, np.zeros(len(gone), np.int64), new]).astype(np.int64),
            "change": pd.array(
                [*change, *["gone"] * len(gone), *["new"] * len(new)], dtype="string"
            ),
        }
    )
