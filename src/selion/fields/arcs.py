"""Simplifying the lines between objects on the pixel lattice.

Each line is simplified once for both its sides; compiled.

A line (arc) runs between two anchors: points where three or more lines meet, or points on the
border of a tile, which stay.  Lines that go round without an anchor are loops.

Notes
-----
Visvalingam and Whyatt (1993, "Line generalisation by repeated elimination of points"): the corner
with the smallest triangle goes first.  A corner may only go if no other point of any line lies in
its triangle, edges included.  Straight edges can enter that triangle only if one of their ends lies
in it, so no removal makes two lines cross or touch.  What is left to prevent is two lines between
the same two anchors falling onto the same chord: at most one line per pair of anchors becomes a
chord, and none does along the border of a tile, where the next tile's line might do the same.
Areas of triangles are whole numbers here, and a linear change of coordinates multiplies them all
alike: the tolerance in m2 holds exactly for pixels that are not square, too.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from selion.fields.cracks import _DX, _DY, ANCHOR, CORNER, NONE, REMOVED

_SEEN = 16


# Compiled, as all of this file: called for every step along every line.  ``ids`` has a frame of one
# pixel, so lattice point (y, x) has the pixels (y, x) to (y + 1, x + 1) around it.
@njit(cache=True, nogil=True)
def _crack(ids, y, x, d):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    """Say whether a crack leaves the lattice point (y, x) in direction ``d``.

    Never out of the tile.
    """
    if d == 0:
        return x < ids.shape[1] - 2 and ids[y, x + 1] != ids[y + 1, x + 1]
    if d == 1:
        return y < ids.shape[0] - 2 and ids[y + 1, x] != ids[y + 1, x + 1]
    if d == 2:
        return x > 0 and ids[y, x] != ids[y + 1, x]
    return y > 0 and ids[y, x] != ids[y, x + 1]


# Compiled: lines are walked point by point, and each removal changes its neighbours' triangles.
# Invariant: lines with anchors come first, so every corner not seen after them lies on a loop.
@njit(cache=True, nogil=True)
def simplify_lines(ids, kinds, limit, caps):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, C901
    """Mark the corners that simplification removes.

    Parameters
    ----------
    ids : (y + 2, x + 2) integer ndarray
        Labels of the tile with one true pixel of its surroundings on each side.
    kinds : (y + 1, x + 1) uint8 ndarray
        As :func:`selion.fields.cracks.lattice_kinds` gives them with ``nodes``; corners that go
        become REMOVED, in place.
    limit : float
        Twice the area, in px2, below which a corner's triangle goes.
    caps : (k,) float64 ndarray
        The same for the lines of one object, by its id; the least of the three counts.
    """
    height, width = kinds.shape
    flags = np.zeros((height, width), np.uint8)
    corners = 0
    for i in range(height):
        for j in range(width):
            corners += int(kinds[i, j] == CORNER)
    chain = np.empty((corners + 2, 2), np.int64)
    chords = np.full(_table_size(kinds), -1, np.int64)
    room = _room(corners + 2)
    for i in range(height):
        for j in range(width):
            if kinds[i, j] != ANCHOR:
                continue
            for d in range(4):
                if flags[i, j] & (1 << d) or not _crack(ids, i, j, d):
                    continue
                length = _walk(ids, kinds, flags, chain, i, j, d)
                if length > 2:
                    _thin(
                        chain,
                        length,
                        kinds,
                        ids,
                        min(limit, _cap(ids, caps, i, j, d)),
                        chords,
                        room,
                    )
    for i in range(height):
        for j in range(width):
            if kinds[i, j] == CORNER and not flags[i, j] & _SEEN:
                d = 0 if _crack(ids, i, j, 0) else 1
                length = _walk(ids, kinds, flags, chain, i, j, d)
                _thin(chain, length, kinds, ids, min(limit, _cap(ids, caps, i, j, d)), chords, room)


# The two pixels beside the crack, as in _crack.
@njit(cache=True, nogil=True)
def _cap(ids, caps, y, x, d):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return the lesser cap of the two sides of the crack that leaves (y, x) in direction ``d``."""
    if d == 0:
        return min(caps[ids[y, x + 1]], caps[ids[y + 1, x + 1]])
    if d == 1:
        return min(caps[ids[y + 1, x]], caps[ids[y + 1, x + 1]])
    if d == 2:
        return min(caps[ids[y, x]], caps[ids[y + 1, x]])
    return min(caps[ids[y, x]], caps[ids[y, x + 1]])


# A power of two, so that _slot can mask; a line takes one entry at most and four lines meet in an
# anchor, so the table is never full.
@njit(cache=True, nogil=True)
def _table_size(kinds):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    anchors = 0
    for kind in kinds.ravel():
        anchors += int(kind == ANCHOR)
    size = 64
    while size < 8 * anchors:
        size *= 2
    return size


# Allocated once and used for all lines of a tile.
@njit(cache=True, nogil=True)
def _room(count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Work space for the longest line: neighbours before and after, current area, heap."""
    return (
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty(4 * count + 8, np.int64),
    )


# Between two turns or nodes a line goes straight, so directions change at points of ``kinds`` only.
# The bits of ``flags`` say which cracks of an anchor were walked, from either end.
@njit(cache=True, nogil=True)
def _walk(ids, kinds, flags, chain, i, j, d):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Follow a line from the point (i, j) to the next anchor, or round a loop.

    Write its points and return how many there are.
    """
    y, x, length = i, j, 1
    chain[0, 0], chain[0, 1] = x, y
    flags[y, x] |= 1 << d
    while True:
        y, x = y + _DY[d], x + _DX[d]
        kind = kinds[y, x]
        if kind == ANCHOR or (y == i and x == j):
            chain[length, 0], chain[length, 1] = x, y
            flags[y, x] |= (1 << ((d + 2) % 4)) | _SEEN
            return length + 1
        if kind != NONE:
            chain[length, 0], chain[length, 1] = x, y
            length += 1
            flags[y, x] |= _SEEN
            d = (d + 1) % 4 if _crack(ids, y, x, (d + 1) % 4) else (d + 3) % 4


@njit(cache=True, nogil=True)
def _twice_area(chain, a, b, c):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return twice the area of the triangle of three points of a line.

    By their numbers: a row taken out of an array costs more than the whole sum.
    """
    x, y = chain[a, 0], chain[a, 1]
    return abs((chain[b, 0] - x) * (chain[c, 1] - y) - (chain[c, 0] - x) * (chain[b, 1] - y))


# Invariant: ``before`` and ``after`` link the points that are left, and ``area`` is that of each
# one's triangle now, -1 if it cannot go.  Heap entries are never changed: one whose area is no
# longer the point's is passed over.  Area and index share one whole number, so ties go to the
# earlier point and the result does not depend on the heap.
@njit(cache=True, nogil=True)
def _thin(chain, length, kinds, ids, limit, chords, room):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, C901
    """Remove corners of one line, smallest triangle first."""
    before, after, area, heap = room
    first, last = (chain[0, 0], chain[0, 1]), (chain[length - 1, 0], chain[length - 1, 1])
    loop = first == last
    least = 2 if loop else int(_bound(first, last, kinds, ids, chords))
    left, size = length - 2, 0
    for k in range(length):
        before[k], after[k], area[k] = k - 1, k + 1, -1
    for k in range(1, length - 1):
        area[k] = _twice_area(chain, k - 1, k, k + 1)
        if area[k] < limit:
            size = _push(heap, size, (area[k] << 32) | k)
    while size and left > least:
        key = heap[0]
        size = _pop(heap, size)
        k = key & 0xFFFFFFFF
        if area[k] != key >> 32:
            continue
        b, a = before[k], after[k]
        # A triangle of twice the area 1 holds no lattice point but its corners (Pick).
        if (area[k] > 1 and _occupied(chain, b, k, a, kinds)) or (
            left - 1 == least and least > 0 and _flat(chain, length, k, after, loop)
        ):
            area[k] = -1  # tried; it comes up again when a neighbour goes
            continue
        kinds[chain[k, 1], chain[k, 0]] = REMOVED
        area[k], after[b], before[a] = -1, a, b
        left -= 1
        for n in (b, a):
            if 0 < n < length - 1:
                area[n] = _twice_area(chain, before[n], n, after[n])
                if area[n] < limit:
                    size = _push(heap, size, (area[n] << 32) | n)
    if left == 0:
        _remember(chords, _pair(first, last, kinds))


# Asked once per line, before anything goes: a line whose chord is bound keeps a corner.
@njit(cache=True, nogil=True)
def _bound(first, last, kinds, ids, chords):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Say whether the chord of a line is taken or may be taken.

    By another line, or along the tile's border.
    """
    height, width = kinds.shape
    if first[0] == last[0] and (first[0] == 0 or first[0] == width - 1):
        return True
    if first[1] == last[1] and (first[1] == 0 or first[1] == height - 1):
        return True
    if _known(chords, _pair(first, last, kinds)):
        return True
    if first[0] != last[0] and first[1] != last[1]:
        return False
    steps = max(abs(last[0] - first[0]), abs(last[1] - first[1]))
    along = 0 if last[0] > first[0] else 2
    d = along if first[1] == last[1] else (1 if last[1] > first[1] else 3)
    straight = True
    for k in range(steps):
        straight = straight and _crack(ids, first[1] + k * _DY[d], first[0] + k * _DX[d], d)
    return straight


@njit(cache=True, nogil=True)
def _flat(chain, length, gone, after, loop):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Say whether what would be left without ``gone`` encloses no area.

    What would be left has the least number of corners.
    """
    k = after[0]
    if k == gone:
        k = after[k]
    if not loop:
        return _twice_area(chain, 0, k, length - 1) == 0
    n = after[k]
    if n == gone:
        n = after[n]
    return _twice_area(chain, 0, k, n) == 0


# Scans the triangle row by row: triangles are small (below the tolerance), so a spatial index would
# cost more than it saves.
@njit(cache=True, nogil=True)
def _occupied(chain, a, b, c, kinds):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Say whether a point of any line lies in the closed triangle of three points of a line.

    The three are a, b and c, and they themselves do not count.
    """
    ax, ay, bx, by, cx, cy = (
        chain[a, 0],
        chain[a, 1],
        chain[b, 0],
        chain[b, 1],
        chain[c, 0],
        chain[c, 1],
    )
    for y in range(min(ay, by, cy), max(ay, by, cy) + 1):
        low, high = _span(ax, ay, bx, by, y, 1e18, -1e18)
        low, high = _span(bx, by, cx, cy, y, low, high)
        low, high = _span(cx, cy, ax, ay, y, low, high)
        for x in range(int(np.ceil(low - 1e-9)), int(np.floor(high + 1e-9)) + 1):
            kind = kinds[y, x]
            if kind in (CORNER, ANCHOR) and not (
                (x == ax and y == ay) or (x == bx and y == by) or (x == cx and y == cy)
            ):
                return True
    return False


# 1e-9 in the caller covers the rounding of the division, so points on an edge count as inside.
@njit(cache=True, nogil=True)
def _span(px, py, qx, qy, y, low, high):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Widen the stretch from ``low`` to ``high`` by what an edge has at the height ``y``."""
    if py == qy:
        if py == y:
            low, high = min(low, px, qx), max(high, px, qx)
    elif min(py, qy) <= y <= max(py, qy):
        x = px + (qx - px) * (y - py) / (qy - py)
        low, high = min(low, x), max(high, x)
    return low, high


# One number for both directions of a line: the smaller anchor first.
@njit(cache=True, nogil=True)
def _pair(first, last, kinds):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    one, other = first[1] * kinds.shape[1] + first[0], last[1] * kinds.shape[1] + last[0]
    return min(one, other) * kinds.size + max(one, other)


# A hash table with open addressing in one array.  Invariant: -1 is an empty slot, and entries are
# never removed, so probing may stop at the first one.
@njit(cache=True, nogil=True)
def _slot(chords, key):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    mask = chords.size - 1
    at = ((key ^ (key >> 21)) * 0x9E3779B1) & mask
    while chords[at] != -1 and chords[at] != key:
        at = (at + 1) & mask
    return at


@njit(cache=True, nogil=True)
def _known(chords, key):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    return chords[_slot(chords, key)] == key


@njit(cache=True, nogil=True)
def _remember(chords, key):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    chords[_slot(chords, key)] = key


# A binary heap in an array that serves all lines.  Invariant: no entry is less than its parent,
# ``(at - 1) // 2``.
@njit(cache=True, nogil=True)
def _push(heap, size, key):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    at = size
    while at > 0 and heap[(at - 1) // 2] > key:
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = key
    return size + 1


# As _push; the caller has read ``heap[0]``.
@njit(cache=True, nogil=True)
def _pop(heap, size):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    size -= 1
    key, at = heap[size], 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = key
    return size
