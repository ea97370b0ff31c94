"""What an annotator would draw: cover classes and field ids on the image grid."""

from __future__ import annotations

import numpy as np
from numba import njit

from selion.classes import ClassScheme
from selion.simulation.landscape.cover import Ground, in_strips
from selion.simulation.landscape.features import M_FIELD

COVER = ClassScheme(
    ("rough", "field", "tree", "water", "built", "road", "bare"),
    ("field", "water"),
    None,
    ("#b0a35a", "#5ac85a", "#1b6e2c", "#2e86de", "#c0392b", "#555555", "#e0c890"),
)
"""Land cover: rough is natural grass, verges, gardens' lawns are built; field is cropland and
managed grass."""
_ROUGH, _FIELD, _TREE, _WATER, _BUILT, _ROAD, _BARE = range(7)
# Cover of each material, M_ROUGH ... M_EARTH.
_COVER_OF = np.array(
    [
        _ROUGH,
        _FIELD,
        _TREE,
        _TREE,
        _WATER,
        _ROAD,
        _ROAD,
        _BUILT,
        _BUILT,
        _BUILT,
        _ROUGH,
        _BARE,
        _BARE,
    ],
    np.uint8,
)


# Compiled: the mode of a few numbers per pixel, for which arrays would have to be sorted.  Pixels
# do not depend on each other, so rows are shared among threads.
@njit(nogil=True, cache=True, error_model="numpy")
def _vote(
    first: int,
    last: int,
    fold: int,
    keys: np.ndarray,
    materials: np.ndarray,
    lines: np.ndarray,
    cover_of: np.ndarray,
    ids: np.ndarray,
    cover: np.ndarray,
) -> None:
    """Let the fine pixels of each image pixel vote.

    They vote for a field key (0 is none) and a cover class.
    """
    votes = np.zeros(8, np.int64)
    for r in range(first, last):
        for c in range(ids.shape[1]):
            votes[:] = 0
            farmed = 0
            best, best_count = 0, 0
            for i in range(fold):
                for j in range(fold):
                    key = keys[r * fold + i, c * fold + j]
                    if key > 0:
                        farmed += 1
                        count = 0
                        for k in range(fold * fold):
                            count += keys[r * fold + k // fold, c * fold + k % fold] == key
                        if count > best_count:
                            best, best_count = key, count
                    else:
                        material = materials[r * fold + i, c * fold + j]
                        # A furrow or track thinner than the fine pixel lies in cropland; the vote
                        # is the line's.
                        votes[
                            cover_of[
                                lines[r * fold + i, c * fold + j] >> 4
                                if material == M_FIELD
                                else material
                            ]
                        ] += 1
            if 2 * farmed > fold * fold or (2 * farmed == fold * fold and best_count == farmed):
                ids[r, c], cover[r, c] = best, _FIELD
            else:
                ids[r, c], cover[r, c] = 0, np.argmax(votes)


# Union-find, as in label_equal.
@njit(nogil=True, cache=True, error_model="numpy")
def _root(parent: np.ndarray, k: int) -> int:
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


# Compiled: scipy labels one value at a time.  Invariant: the smaller index is the root, so numbers
# come in raster order.
@njit(nogil=True, cache=True, error_model="numpy")
def label_equal(keys: np.ndarray, smallest: int) -> tuple[np.ndarray, np.ndarray]:
    """Give numbers to the 4-connected regions of equal positive keys, in raster order.

    Parameters
    ----------
    keys : (y, x) int32 ndarray
    smallest : int
        Regions of fewer pixels are dropped.

    Returns
    -------
    ids : (y, x) int32 ndarray
        1, 2, ... without gaps; 0 where the key is 0 or the region too small.
    key_of : (region + 1,) int32 ndarray
        The key of each id; entry 0 is 0.
    """
    rows, columns = keys.shape
    flat = keys.ravel()
    parent = np.arange(flat.size)
    for k in range(flat.size):
        if flat[k] <= 0:
            continue
        if k % columns and flat[k - 1] == flat[k]:
            parent[k] = _root(parent, k - 1)
        if k >= columns and flat[k - columns] == flat[k]:
            a, b = _root(parent, k), _root(parent, k - columns)
            parent[max(a, b)] = min(a, b)
    sizes = np.zeros(flat.size, np.int32)
    for k in range(flat.size):
        parent[k] = _root(parent, k)
        sizes[parent[k]] += 1
    ids = np.zeros(flat.size, np.int32)
    key_of = [0]
    for k in range(flat.size):
        if flat[k] > 0 and sizes[parent[k]] >= smallest:
            if parent[k] == k:
                key_of.append(flat[k])
                ids[k] = len(key_of) - 1
            else:
                ids[k] = ids[parent[k]]
    return ids.reshape(rows, columns), np.array(key_of).astype(np.int32)


def _without_scraps(ids: np.ndarray, key_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop small pieces that a wood or stream has cut off a field.

    Those are less than an eighth of it; nobody would draw them.
    """
    sizes = np.bincount(ids.ravel(), minlength=len(key_of))
    sizes[0] = 0
    _, where = np.unique(key_of, return_inverse=True)
    whole = np.bincount(where, sizes)[where]
    keep = 8 * sizes >= whole
    keep[0] = True
    number = np.where(keep, np.cumsum(keep) - 1, 0).astype(np.int32)
    return number[ids], key_of[keep]


def find_truth(
    ground: Ground, fold: int, smallest: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return field ids, the key of each id, and cover on the image grid.

    They are (y, x) int32, (id,) int32 and (y, x) uint8.
    """
    shape = ground.keys.shape[0] // fold, ground.keys.shape[1] // fold
    voted, cover = np.zeros(shape, np.int32), np.zeros(shape, np.uint8)

    def rows(first: int) -> None:
        _vote(
            first,
            min(first + 64, shape[0]),
            fold,
            ground.keys,
            ground.materials,
            ground.lines,
            _COVER_OF,
            voted,
            cover,
        )

    in_strips(rows, shape[0])
    ids, key_of = _without_scraps(*label_equal(voted, smallest))
    cover[(voted > 0) & (ids == 0)] = _ROUGH
    return ids, key_of, cover
