"""The hierarchy of basins: neighbours joined, those with the weakest border between them first.

A binary partition tree (Salembier and Garrido, IEEE TIP 9, 2000) over the table of basins.  It
works on whole numbers that were summed over pixels, and draws are decided by the basins' first
pixels, so it does not depend on the blocks that the basins were found in.
"""

from __future__ import annotations

import numpy as np
from numba import njit


# Compiled: open addressing over a power of two places, called for every border that moves.
@njit(cache=True, nogil=True)
def _slot(keys, key):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return where a key lies in a hash table, or the free place for it."""
    mask = keys.size - 1
    at = ((key * 0x9E3779B97F4A7C1) >> 20) & mask
    while keys[at] != -1 and keys[at] != key:
        at = (at + 1) & mask
    return at


@njit(cache=True, nogil=True)
def _drop(keys, held, key):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Take an entry out and close the gap, so that no search ends too early."""
    mask = keys.size - 1
    gap = _slot(keys, key)
    keys[gap] = -1
    at = (gap + 1) & mask
    while keys[at] != -1:
        home = ((keys[at] * 0x9E3779B97F4A7C1) >> 20) & mask
        if ((at - home) & mask) >= ((at - gap) & mask):
            keys[gap], held[gap] = keys[at], held[at]
            keys[at] = -1
            gap = at
        at = (at + 1) & mask


@njit(cache=True, nogil=True)
def _name(one, other, count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return the key of a pair of basins."""
    return min(one, other) * count + max(one, other)


@njit(cache=True, nogil=True)
def _weaker(e, f, level, ends):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Say whether border ``e`` falls before ``f``; draws go to the earlier pair of basins."""
    if level[e] != level[f]:
        return level[e] < level[f]
    one, other = min(ends[e, 0], ends[e, 1]), min(ends[f, 0], ends[f, 1])
    if one != other:
        return one < other
    return max(ends[e, 0], ends[e, 1]) < max(ends[f, 0], ends[f, 1])


# A heap of borders that knows where each lies, so that one whose strength changes moves instead of
# being there twice.  Invariants: heap[place[e]] == e, and no parent is stronger than its child.
@njit(cache=True, nogil=True)
def _sink(heap, place, size, k, level, ends):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Move entry ``k`` down to where it belongs."""
    while True:
        least = k
        for child in (2 * k + 1, 2 * k + 2):
            if child < size and _weaker(heap[child], heap[least], level, ends):
                least = child
        if least == k:
            return
        heap[k], heap[least] = heap[least], heap[k]
        place[heap[k]], place[heap[least]] = k, least
        k = least


@njit(cache=True, nogil=True)
def _place(heap, place, size, k, level, ends):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Move entry ``k`` up or down to where it belongs."""
    while k > 0 and _weaker(heap[k], heap[(k - 1) // 2], level, ends):
        up = (k - 1) // 2
        heap[k], heap[up] = heap[up], heap[k]
        place[heap[k]], place[heap[up]] = k, up
        k = up
    _sink(heap, place, size, k, level, ends)


@njit(cache=True, nogil=True)
def _take(heap, place, size, e, level, ends):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Take border ``e`` off the heap."""
    k, last = place[e], size - 1
    heap[k] = heap[last]
    place[heap[k]] = k
    place[e] = -1
    if k < last:
        _place(heap, place, last, k, level, ends)


# Compiled: the borders of the smaller list move.  Returns how many are left on the heap.
@njit(cache=True, nogil=True)
def _hand_over(small, big, state, table, queue, size):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Give the borders of ``small`` to ``big``; where both touch a third node there is one then."""
    ends, first, after, degree, sums, level = state
    keys, held = table
    heap, place = queue
    count = first.size
    link = first[small]
    while link != -1:
        f, side = link // 2, link % 2
        link = after[f, side]
        if place[f] == -1:
            continue
        far = ends[f, 1 - side]
        _drop(keys, held, _name(small, far, count))
        at = _slot(keys, _name(big, far, count))
        if keys[at] == -1:
            keys[at], held[at] = _name(big, far, count), f
            ends[f, side], after[f, side], first[big] = big, first[big], 2 * f + side
            degree[big] += 1
            _place(heap, place, size, place[f], level, ends)
            continue
        g = held[at]
        for column in range(sums.shape[1]):
            sums[g, column] += sums[f, column]
        level[g] = sums[g, 1] / max(sums[g, 0], 1)
        degree[far] -= 1
        _take(heap, place, size, f, level, ends)
        size -= 1
        _place(heap, place, size, place[g], level, ends)
    return size


# Compiled: each join changes what the next one meets.  Invariant: a node is known by one of its
# basins, its borders by that basin's list, and no pair of nodes has two borders.
@njit(cache=True, nogil=True)
def agglomerate(count, one, other, sums):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Join neighbours, the weakest border first, until nothing touches.

    The strength of a border is ``sums[:, 1] / sums[:, 0]``, its mean along all that it is made of.

    Parameters
    ----------
    count : int
        Basins, in the order of their first pixels.
    one, other : (m,) int64 ndarray
        The two sides of each border; no pair twice.
    sums : (m, c) int64 ndarray
        Of each border: its length, the sum of strengths along it, and whatever else adds up.

    Returns
    -------
    children : (j, 2) int64 ndarray
        The two nodes of each join; nodes 0 .. count - 1 are basins, ``count + k`` is join ``k``.
    between : (j, c) int64 ndarray
        Sums of the border that fell.
    """
    m = one.size
    sums, ends = sums.copy(), np.empty((m, 2), np.int64)
    first, degree = np.full(count, -1), np.zeros(count, np.int64)
    after, level = np.full((m, 2), -1), np.empty(m)
    places = 16
    while places < 3 * m + 1:
        places *= 2
    keys, held = np.full(places, -1), np.empty(places, np.int64)
    for e in range(m):
        ends[e, 0], ends[e, 1] = one[e], other[e]
        for side in range(2):
            a = ends[e, side]
            after[e, side], first[a] = first[a], 2 * e + side
            degree[a] += 1
        at = _slot(keys, _name(one[e], other[e], count))
        keys[at], held[at] = _name(one[e], other[e], count), e
        level[e] = sums[e, 1] / max(sums[e, 0], 1)
    heap, place, size = np.arange(m), np.arange(m), m
    for k in range(m // 2 - 1, -1, -1):
        _sink(heap, place, size, k, level, ends)
    most = max(count - 1, 0)
    children, between = np.empty((most, 2), np.int64), np.empty((most, sums.shape[1]), np.int64)
    node, joins = np.arange(count), 0
    state, table, queue = (ends, first, after, degree, sums, level), (keys, held), (heap, place)
    while size > 0:
        e = heap[0]
        a, b = ends[e, 0], ends[e, 1]
        children[joins, 0], children[joins, 1] = min(node[a], node[b]), max(node[a], node[b])
        for column in range(sums.shape[1]):
            between[joins, column] = sums[e, column]
        _take(heap, place, size, e, level, ends)
        _drop(keys, held, _name(a, b, count))
        # the one with fewer borders hands them over
        big, small = (a, b) if degree[a] >= degree[b] else (b, a)
        degree[big] -= 1
        size = _hand_over(small, big, state, table, queue, size - 1)
        node[big] = count + joins
        joins += 1
    return children[:joins], between[:joins]


@njit(cache=True, nogil=True)
def accumulate(children, rows):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return the (count + joins, c) sums of every node from the (count, c) rows of the basins."""
    count = rows.shape[0]
    out = np.empty((count + children.shape[0], rows.shape[1]), rows.dtype)
    # by the number, here and below: sums of rows take numba seconds to compile
    for k in range(count):
        for column in range(rows.shape[1]):
            out[k, column] = rows[k, column]
    for k in range(children.shape[0]):
        for column in range(rows.shape[1]):
            out[count + k, column] = out[children[k, 0], column] + out[children[k, 1], column]
    return out


# Compiled: numpy's add.at takes ten times as long.
@njit(cache=True, nogil=True)
def surround(count, one, other, sums):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return (count, c) sums of all borders of each basin; parameters as in :func:`agglomerate`."""
    out = np.zeros((count, sums.shape[1]), np.int64)
    for e in range(one.size):
        for column in range(sums.shape[1]):
            out[one[e], column] += sums[e, column]
            out[other[e], column] += sums[e, column]
    return out


# Compiled: one pass up the tree; a node's border is that of its two parts without what parts them.
@njit(cache=True, nogil=True)
def borders(children, between, around):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Sum up the borders around and inside every node.

    Parameters
    ----------
    children, between
        Of :func:`agglomerate`.
    around : (count, c) int64 ndarray
        Sums of all borders of each basin.

    Returns
    -------
    outer, inner : (count + joins, c) int64 ndarray
    top : (count + joins,) float64 ndarray
        Strength of the strongest border that fell inside.
    """
    count = around.shape[0]
    nodes = count + children.shape[0]
    outer = np.empty((nodes, around.shape[1]), np.int64)
    inner, top = np.zeros((nodes, around.shape[1]), np.int64), np.zeros(nodes)
    for k in range(count):
        for column in range(around.shape[1]):
            outer[k, column] = around[k, column]
    for k in range(children.shape[0]):
        a, b = children[k, 0], children[k, 1]
        for column in range(around.shape[1]):
            fell = between[k, column]
            outer[count + k, column] = outer[a, column] + outer[b, column] - 2 * fell
            inner[count + k, column] = inner[a, column] + inner[b, column] + fell
        top[count + k] = max(top[a], top[b], between[k, 1] / max(between[k, 0], 1))
    return outer, inner, top


# Compiled: one pass up the tree.
@njit(cache=True, nogil=True)
def inside(children, between, pixels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Say what every node is made of.

    Parameters
    ----------
    children, between
        Of :func:`agglomerate`.
    pixels : (count + joins,) int64 ndarray

    Returns
    -------
    (count + joins, 4) float64 ndarray
        Basins; pixels of the largest of them; and over all joins inside the largest product of the
        strength that fell, and of its square, with the pixels of the smaller part.
    """
    count = pixels.size - children.shape[0]
    out = np.zeros((pixels.size, 4))
    for k in range(count):
        out[k, 0], out[k, 1] = 1, pixels[k]
    for k in range(children.shape[0]):
        a, b = children[k, 0], children[k, 1]
        fell, small = between[k, 1] / max(between[k, 0], 1), min(pixels[a], pixels[b])
        row = out[count + k]
        row[0] = out[a, 0] + out[b, 0]
        row[1] = max(out[a, 1], out[b, 1])
        row[2] = max(out[a, 2], out[b, 2], fell * small)
        row[3] = max(out[a, 3], out[b, 3], fell * fell * small)
    return out


# Compiled: two passes, up the tree and down.
@njit(cache=True, nogil=True)
def best_cut(children, worth):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Choose disjoint nodes of the largest summed worth.

    Parameters
    ----------
    children : (j, 2) int64 ndarray
        Of :func:`agglomerate`.
    worth : (count + j,) float64 ndarray
        What choosing each node brings; what is not above 0 is never chosen.  Of a node and its
        parts that bring as much together the node is chosen.

    Returns
    -------
    (count,) int64 ndarray
        The chosen node that each basin lies in; -1 for none.
    """
    count = worth.size - children.shape[0]
    best, chosen = np.maximum(worth, 0.0), np.full(worth.size, -1)
    alone = worth > 0
    for k in range(children.shape[0]):
        parts = best[children[k, 0]] + best[children[k, 1]]
        alone[count + k] = worth[count + k] > 0 and worth[count + k] >= parts
        best[count + k] = max(parts, worth[count + k])
    for k in range(worth.size - 1, -1, -1):
        if chosen[k] < 0 and alone[k]:
            chosen[k] = k
        if k >= count:
            for child in children[k - count]:
                chosen[child] = chosen[k]
    return chosen[:count]
