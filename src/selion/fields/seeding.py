"""Compiled for BoundaryVote: probabilities as levels, the seeds among them, what touches."""

from __future__ import annotations

import numpy as np
from numba import njit

from selion.fields.basins import find

UNKNOWN = 2
"""A seed that pixels beyond the window could undo."""


# Compiled: one pass instead of a dozen over arrays of the block's size.
@njit(cache=True, nogil=True)
def quantise(shares, valid, thing, boundary):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN201
    """Round probabilities to 255ths, and say which class is the likeliest.

    Parameters
    ----------
    shares : (class, y, x) uint16 ndarray
        Probabilities times 65535.
    valid : (y, x) bool ndarray
    thing, boundary : int
        The two classes that count; of all others the likeliest is background.

    Returns
    -------
    field, edge : (y, x) uint8 ndarrays
        0 to 255.  65535 = 257 * 255, so rounding twice is rounding once.
    likeliest : (y, x) uint8 ndarray
        0 background, 1 thing, 2 boundary, 3 no data; of equals the first.
    """
    classes, height, width = shares.shape
    field, edge = np.empty((height, width), np.uint8), np.empty((height, width), np.uint8)
    likeliest = np.empty((height, width), np.uint8)
    for i in range(height):
        for j in range(width):
            f, b = shares[thing, i, j], shares[boundary, i, j]
            stuff = np.uint16(0)
            for k in range(classes):
                if k != thing and k != boundary:  # noqa: PLR1714  numba: keep it scalar
                    stuff = max(stuff, shares[k, i, j])
            if not valid[i, j]:
                f, b, best = np.uint16(0), np.uint16(0), 3
            elif f > stuff and f >= b:
                best = 1
            elif b > stuff:
                best = 2
            else:
                best = 0
            field[i, j], edge[i, j] = (f + 128) // 257, (b + 128) // 257
            likeliest[i, j] = best
    return field, edge, likeliest


# Compiled: a queue.  Invariant: ``low`` never falls and never passes ``image``.
@njit(cache=True, nogil=True)
def _raise_to(image, low, queue, count, width):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Let what is queued lift its neighbours until nothing moves; return the queue's array."""
    first = 0
    while count > 0:
        p = queue[first]
        first = first + 1 if first + 1 < queue.size else 0
        count -= 1
        level = low[p]
        for step in (-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1):
            q = p + step
            if low[q] < level and low[q] < image[q]:
                low[q] = min(level, image[q])
                if count == queue.size:
                    longer = np.empty(2 * count, np.int32)
                    for k in range(count):
                        longer[k] = queue[(first + k) % count]
                    queue, first = longer, 0
                queue[(first + count) % queue.size] = q
                count += 1
    return queue


# Compiled: two scans and a queue (Vincent 1993).
@njit(cache=True, nogil=True)
def find_seeds(image, lift, sides):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, C901, PLR0912
    """Find the tops that rise at least ``lift`` above every way to a higher one.

    Parameters
    ----------
    image : (y + 2, x + 2) uint8 or uint16 ndarray
        Heights, with a rim of 0.
    lift : int
        At least 1.
    sides : (4,) bool ndarray
        Whether the raster goes on beyond the top, bottom, left and right of the window.

    Returns
    -------
    (y + 2, x + 2) uint8 ndarray
        1 for a seed, UNKNOWN for one that depends on what lies beyond the window.

    Notes
    -----
    Greyscale reconstruction by dilation (8 neighbours) of ``image - lift`` under ``image``: L.
    Vincent, Morphological grayscale reconstruction in image analysis, IEEE TIP 2 (1993), the hybrid
    algorithm.  Beyond the window nothing can lift a pixel further than a rim raised to ``image``
    does, so a seed that stays one then is one whatever lies there.
    """
    height, width = image.shape
    top = image.ravel()
    low = np.zeros(top.size, image.dtype)
    for p in range(top.size):
        if top[p] > lift:
            low[p] = top[p] - lift
    for i in range(1, height - 1):
        for p in range(i * width + 1, (i + 1) * width - 1):
            level = max(low[p], low[p - 1], low[p - width - 1], low[p - width], low[p - width + 1])
            low[p] = min(level, top[p])
    queue, count = np.empty(1 << 14, np.int32), 0
    for i in range(height - 2, 0, -1):
        for p in range((i + 1) * width - 2, i * width, -1):
            level = max(low[p], low[p + 1], low[p + width - 1], low[p + width], low[p + width + 1])
            level = min(level, top[p])
            low[p] = level
            for step in (1, width - 1, width, width + 1):
                q = p + step
                if low[q] < level and low[q] < top[q]:
                    if count == queue.size:
                        longer = np.empty(2 * count, np.int32)
                        for k in range(count):  # to assign a slice takes numba seconds to compile
                            longer[k] = queue[k]
                        queue = longer
                    queue[count] = p
                    count += 1
                    break
    queue = _raise_to(top, low, queue, count, width)
    seeds = np.zeros(top.size, np.uint8)
    for p in range(top.size):
        if top[p] >= lift and top[p] - low[p] >= lift:
            seeds[p] = 1
    count = 0
    for i in range(1, height - 1):
        for j in range(1, width - 1):
            rim = (
                (sides[0] and i == 1)
                or (sides[1] and i == height - 2)
                or (sides[2] and j == 1)
                or (sides[3] and j == width - 2)
            )
            p = i * width + j
            if rim and low[p] < top[p]:
                if count == queue.size:
                    longer = np.empty(2 * count, np.int32)
                    for k in range(count):  # to assign a slice takes numba seconds to compile
                        longer[k] = queue[k]
                    queue = longer
                low[p] = top[p]
                queue[count] = p
                count += 1
    if count:
        _raise_to(top, low, queue, count, width)
        for p in range(top.size):
            if seeds[p] and top[p] - low[p] < lift:
                seeds[p] = UNKNOWN
    return seeds.reshape(image.shape)


# Compiled: union-find over runs.  Invariant: a root is the smallest member, so names keep the order
# of first pixels.
@njit(cache=True, nogil=True)
def name_seeds(seeds):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, C901, PLR0912
    """Give one number to seeds that touch (4 neighbours), in the order of their first pixels.

    Returns
    -------
    labels : (y, x) int32 ndarray
    first : (n + 1,) int64 ndarray
        First pixel of each, row-major, after a leading 0.
    """
    width = seeds.shape[1]
    flat, labels = seeds.ravel(), np.zeros(seeds.size, np.int32)
    count = 1
    for p in range(width, flat.size):
        if flat[p] and not flat[p - 1] and not flat[p - width]:
            count += 1
    parent, first = np.empty(count, np.int32), np.zeros(count, np.int64)
    for k in range(count):
        parent[k] = k
    count = 1
    for p in range(width, flat.size):
        if not flat[p]:
            continue
        left, up = labels[p - 1], labels[p - width]
        if left and up:
            one, other = find(parent, left), find(parent, up)
            parent[max(one, other)] = min(one, other)
            labels[p] = min(one, other)
        elif left or up:
            labels[p] = max(left, up)
        else:
            labels[p], first[count] = count, p
            count += 1
    name, kept = np.zeros(count, np.int32), 1
    for k in range(1, count):
        root = find(parent, k)
        if root == k:
            name[k], first[kept] = kept, first[k]
            kept += 1
        else:
            name[k] = name[root]
    for p in range(width, flat.size):
        if labels[p]:
            labels[p] = name[labels[p]]
    return labels.reshape(seeds.shape), first[:kept].copy()


# Compiled: as the names of seeds, where every pixel has one.
@njit(cache=True, nogil=True)
def name_pieces(kind):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, C901, PLR0912
    """Give one number to pixels that touch (4 neighbours) and are of one kind.

    Returns
    -------
    labels : (y, x) int32 ndarray
        1 .. n in the order of first pixels.
    count : int
        n.
    """
    height, width = kind.shape
    labels = np.zeros((height, width), np.int32)
    count = 1
    for i in range(height):
        for j in range(width):
            mine = kind[i, j]
            if (i == 0 or kind[i - 1, j] != mine) and (j == 0 or kind[i, j - 1] != mine):
                count += 1
    parent = np.empty(count, np.int32)
    for k in range(count):
        parent[k] = k
    count = 1
    for i in range(height):
        for j in range(width):
            mine = kind[i, j]
            up = labels[i - 1, j] if i and kind[i - 1, j] == mine else np.int32(0)
            left = labels[i, j - 1] if j and kind[i, j - 1] == mine else np.int32(0)
            if up and left and up != left:
                one, other = find(parent, up), find(parent, left)
                parent[max(one, other)] = min(one, other)
                labels[i, j] = min(one, other)
            elif up or left:
                labels[i, j] = max(up, left)
            else:
                labels[i, j] = count
                count += 1
    name, kept = np.zeros(count, np.int32), 0
    for k in range(1, count):
        root = find(parent, k)
        if root == k:
            kept += 1
            name[k] = kept
        else:
            name[k] = name[root]
    for i in range(height):
        for j in range(width):
            labels[i, j] = name[labels[i, j]]
    return labels, kept
