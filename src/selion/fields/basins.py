"""Draining a probability map into basins.

Also what each basin and each pass between two basins is like; compiled.

Notes
-----
A watershed by flooding is not local: who reaches a pixel first may depend on the far end of the
raster.  Here every pixel drains to the lowest of its four neighbours under the total order (relief,
row-major index), which its own surroundings decide.  Basins are then the trees of that forest, *the
same whatever block they are computed in*, and all that is not local, which basins belong together,
is decided afterwards on a small table of basins and passes (:mod:`selion.fields.seams`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

NOTHING, OUTSIDE = 0, 255
"""Classes of pixels that are no object: background, and beyond the image (nodata)."""
EAST, SOUTH, WEST, NORTH, STAYS = 0, 1, 2, 3, 4
"""Where a pixel drains to."""


# Compiled: four results in one pass; with arrays each comparison would be a pass over the block and
# a temporary of its size.  Pixels do not depend on each other.
@njit(cache=True, nogil=True)
def weigh(shares, valid, things, boundary, wide, threshold):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN201
    """Decide what each pixel is and how surely.

    Parameters
    ----------
    shares : (class, y, x) uint16 ndarray
        Probabilities times 65535.
    valid : (y, x) bool ndarray
    things : (k,) int64 ndarray
        The classes that come as objects.
    boundary : int
        The class that parts objects; -1 if there is none.
    wide : bool
        Whether the boundary is part of the object.
    threshold : int
        Least share, times 65535, that an object's pixel needs.

    Returns
    -------
    kind : (y, x) uint8 ndarray
        1 + position in ``things``, NOTHING or OUTSIDE.
    inner : (y, x) uint16 ndarray
        Share of the best thing alone.
    sure : (y, x) uint16 ndarray
        Share of the best thing, with the boundary if ``wide``.
    line : (y, x) bool ndarray
        Whether the boundary is at least as likely as the thing.
    """
    classes, height, width = shares.shape
    kind = np.empty((height, width), np.uint8)
    inner, sure = np.empty((height, width), np.uint16), np.empty((height, width), np.uint16)
    line = np.empty((height, width), np.bool_)
    is_stuff = np.ones(classes, np.bool_)
    for k in range(things.size):
        is_stuff[things[k]] = False
    if boundary >= 0:
        is_stuff[boundary] = False
    for i in range(height):
        for j in range(width):
            best = 0
            for k in range(1, things.size):
                if shares[things[k], i, j] > shares[things[best], i, j]:
                    best = k
            p = np.int64(shares[things[best], i, j])
            edge = np.int64(shares[boundary, i, j]) if boundary >= 0 else np.int64(0)
            stuff = np.int64(0)
            for k in range(classes):
                if is_stuff[k]:
                    stuff = max(stuff, np.int64(shares[k, i, j]))
            whole = min(p + edge, 65535) if wide else p
            rival = stuff if wide else max(stuff, edge)
            inner[i, j], sure[i, j], line[i, j] = (
                p,
                whole,
                edge >= p if boundary >= 0 else p < 32768,
            )
            kind[i, j] = best + 1 if whole >= threshold and whole > rival else NOTHING  # type: ignore[operator]
            if not valid[i, j]:
                kind[i, j] = OUTSIDE
    return kind, inner, sure, line


# Compiled, with rounding after each direction (+ 2, then a shift by 2).  uint32, because the sum of
# four uint16 needs 18 bits.
@njit(cache=True, nogil=True)
def smooth(values, passes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Smooth (y, x) uint16 values by the kernel (1 2 1)/4 in both directions.

    It is done ``passes`` times (variance passes/2 px2), in whole numbers.

    Whole numbers, so that a pixel's value does not depend on the block it is computed in.  Beyond
    the array its edge goes on.
    """
    height, width = values.shape
    now = values.copy()
    for _ in range(passes):
        middle = np.empty_like(now)
        for i in range(height):
            up, down = max(i - 1, 0), min(i + 1, height - 1)
            for j in range(width):
                middle[i, j] = (
                    np.uint32(now[up, j]) + 2 * np.uint32(now[i, j]) + np.uint32(now[down, j]) + 2
                ) >> 2
        for i in range(height):
            for j in range(width):
                left, right = max(j - 1, 0), min(j + 1, width - 1)
                now[i, j] = (
                    np.uint32(middle[i, left])
                    + 2 * np.uint32(middle[i, j])
                    + np.uint32(middle[i, right])
                    + 2
                ) >> 2
    return now


# Compiled: running sums, so the time does not depend on the radius.  Invariant: ``total`` (and
# ``totals``) is the sum over the window of the pixel that is written next.
@njit(cache=True, nogil=True)
def blur(values, radius):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Take the mean of (y, x) uint16 values over squares of ``2 radius + 1`` px, in whole numbers.

    Beyond the array its edge goes on.
    """
    height, width = values.shape
    size = 2 * radius + 1
    across, out = np.empty_like(values), np.empty_like(values)
    for i in range(height):
        total = np.int64(0)
        for j in range(-radius, radius + 1):
            total += values[i, min(max(j, 0), width - 1)]
        for j in range(width):
            across[i, j] = (total + radius) // size
            total += np.int64(values[i, min(j + radius + 1, width - 1)]) - np.int64(
                values[i, max(j - radius, 0)]
            )
    totals = np.zeros(width, np.int64)
    for i in range(-radius, radius + 1):
        for j in range(width):  # by the number: sums of rows take numba longer to compile
            totals[j] += across[min(max(i, 0), height - 1), j]
    for i in range(height):
        enters, leaves = min(i + radius + 1, height - 1), max(i - radius, 0)
        for j in range(width):
            out[i, j] = (totals[j] + radius) // size
            totals[j] += np.int64(across[enters, j]) - np.int64(across[leaves, j])
    return out


# Called per pixel.
@njit(cache=True, nogil=True)
def find(parent, k):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return the root of ``k``, halving the path on the way."""
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


# Compiled: a forest over pixels, in which only those of height 0 have to be united.  Invariant: the
# flow goes down in the order (relief, index) or stays, so there is no circle, and each tree of the
# forest is a basin.
@njit(cache=True, nogil=True)
def drain(kind, relief):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, C901, PLR0912
    """Cut a block into basins.

    Parameters
    ----------
    kind : (y + 2, x + 2) uint8 ndarray
        Classes of the block and one pixel around it (OUTSIDE beyond the raster).
    relief : (y + 2, x + 2) uint16 ndarray
        Height; water never flows between classes.  Pixels of height 0 stay, and all that touch (4
        neighbours) are one basin.

    Returns
    -------
    labels : (y, x) int32 ndarray
        Basins of this block, 1 .. n in the order of their first pixels.
    flow : (y, x) uint8 ndarray
        Where each pixel drains to; out of the block, too.
    count : int
        n.
    """
    height, width = kind.shape[0] - 2, kind.shape[1] - 2
    parent = np.empty(height * width, np.int32)
    flow = np.empty((height, width), np.uint8)
    for i in range(height):
        for j in range(width):
            mine, level, here = kind[i + 1, j + 1], relief[i + 1, j + 1], i * width + j
            parent[here] = here
            if level == 0:
                flow[i, j] = STAYS
                if j > 0 and kind[i + 1, j] == mine and relief[i + 1, j] == 0:
                    _unite(parent, here, here - 1)
                if i > 0 and kind[i, j + 1] == mine and relief[i, j + 1] == 0:
                    _unite(parent, here, here - width)
                continue
            # North and west come earlier in row-major order, so they win a draw; east and south
            # must be truly lower.
            to, low = STAYS, level
            if kind[i, j + 1] == mine and relief[i, j + 1] <= low:
                to, low = NORTH, relief[i, j + 1]
            if kind[i + 1, j] == mine and (
                relief[i + 1, j] < low or (to == STAYS and relief[i + 1, j] == low)
            ):
                to, low = WEST, relief[i + 1, j]
            if kind[i + 1, j + 2] == mine and relief[i + 1, j + 2] < low:
                to, low = EAST, relief[i + 1, j + 2]
            if kind[i + 2, j + 1] == mine and relief[i + 2, j + 1] < low:
                to, low = SOUTH, relief[i + 2, j + 1]
            flow[i, j] = to
            if to == NORTH and i > 0:
                parent[here] = here - width
            elif to == WEST and j > 0:
                parent[here] = here - 1
            elif to == EAST and j < width - 1:
                parent[here] = here + 1
            elif to == SOUTH and i < height - 1:
                parent[here] = here + width
    labels = np.empty((height, width), np.int32)
    name = np.zeros(height * width, np.int32)
    count = 0
    for i in range(height):
        for j in range(width):
            root = find(parent, i * width + j)
            if name[root] == 0:
                count += 1
                name[root] = count
            labels[i, j] = name[root]
    return labels, flow, count


# The smaller root wins: a basin's root is its first pixel in row-major order.
@njit(cache=True, nogil=True)
def _unite(parent, one, other):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    one, other = find(parent, one), find(parent, other)
    if one < other:
        parent[other] = one
    else:
        parent[one] = other


# Compiled: seven sums in one pass, those of a run in one row at a time; bincount would need a pass
# and an array of floats for each.
# Invariant: the first pixel that is met is the first in row-major order.
@njit(cache=True, nogil=True)
def measure(labels, count, kind, relief, sure, areas, cell, top, left, shape):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Sum up what each basin is like.

    Parameters
    ----------
    labels : (y, x) int32 ndarray
        1 .. count.
    kind, relief, sure : (y, x) ndarrays
        Class, height and share of each pixel.
    areas : (Y, X) int64 ndarray
        Area of a pixel in each cell of ``cell`` px of the whole raster.
    top, left : int
        Where the block lies in the raster.
    shape : (int, int)
        The raster's size (y, x).

    Returns
    -------
    (count, 7) int64 ndarray
        Class, lowest height, pixels, area, sum of shares, row-major index of the first pixel,
        whether it touches the raster's edge.
    """
    rows = np.zeros((count, 7), np.int64)
    for k in range(count):  # by the number: slices take numba longer to compile
        rows[k, 1], rows[k, 5] = 65535, -1
    height, width = labels.shape
    pixel = np.empty(width, np.int64)
    for i in range(height):
        y, j = np.int64(top + i), 0
        if i == 0 or y % cell == 0:
            for x in range(width):
                pixel[x] = areas[y // cell, (left + x) // cell]
        border = y == 0 or y == shape[0] - 1
        while j < width:
            here, began, area, shares = labels[i, j], j, np.int64(0), np.int64(0)
            low = np.int64(65535)
            while j < width and labels[i, j] == here:
                low = min(low, np.int64(relief[i, j]))
                area += pixel[j]
                shares += np.int64(sure[i, j])
                j += 1
            row = rows[here - 1]
            row[0] = kind[i, began]
            row[1] = min(row[1], low)
            row[2] += j - began
            row[3] += area
            row[4] += shares
            if row[5] < 0:
                row[5] = y * shape[1] + left + began
            if border or left + began == 0 or left + j == shape[1]:
                row[6] = 1
    return rows


PLACE = 46
"""Bits of a pass that say where it is."""


# Called for every pass; a tuple could not be sorted by numpy as fast as one whole number.
@njit(cache=True, nogil=True)
def name_pass(height, pixel, down):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return one whole number for the way from a pixel to a neighbour.

    The pixel is a row-major index in the raster, the neighbour its eastern or, with ``down`` 1,
    southern one.

    Passes sort by height and then by place, so no two are alike and their order is the same
    whatever blocks they were found in.
    """
    return (height << PLACE) | (2 * pixel + down)


# Compiled: counts first and fills then, because the list is a small and unknown share of the
# pixels.
@njit(cache=True, nogil=True)
def passes(labels, kind, relief, line, top, left, across):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """List every pair of neighbouring pixels that lie in different basins.

    Parameters
    ----------
    labels, kind, relief, line : (y, x) ndarrays
        Of one block.
    top, left : int
        Where the block lies in the raster.
    across : int
        Width of the raster.

    Returns
    -------
    (n, 4) int64 ndarray
        The two basins (smaller first), the pass (:func:`name_pass`; height 65535 between classes),
        and 1 if the higher pixel is on a line.
    """
    height, width = labels.shape
    count = 0
    for i in range(height):
        for j in range(width):
            count += int(j + 1 < width and labels[i, j] != labels[i, j + 1])
            count += int(i + 1 < height and labels[i, j] != labels[i + 1, j])
    found = np.empty((count, 4), np.int64)
    count = 0
    for i in range(height):
        for j in range(width):
            for down in range(2):
                y, x = i + down, j + 1 - down
                if y < height and x < width and labels[i, j] != labels[y, x]:
                    a, b = labels[i, j], labels[y, x]
                    found[count, 0], found[count, 1] = min(a, b), max(a, b)
                    upper = line[i, j] if relief[i, j] >= relief[y, x] else line[y, x]
                    rise = np.int64(max(relief[i, j], relief[y, x]))
                    if kind[i, j] != kind[y, x]:
                        rise, upper = np.int64(65535), True
                    found[count, 2], found[count, 3] = (
                        name_pass(rise, (np.int64(top) + i) * across + left + j, down),
                        upper,
                    )
                    count += 1
    return found


# Compiled: a hash table finds the row of a pair; sorting all pairs of pixels first takes several
# times as long and another copy of the largest table that there is.
@njit(cache=True, nogil=True)
def add_up(found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Bring the rows of the same two basins together.

    Parameters
    ----------
    found : (m, c) int64 ndarray
        Two basins in any order, a number of which the lowest counts, and numbers that add up; rows
        within one basin count for nothing.

    Returns
    -------
    (n, c) int64 ndarray
        One row per pair, the smaller basin first, in the order in which they were met.
    """
    places = 1 << 10
    place, used = np.full(places, -1), 0
    out = np.empty((min(found.shape[0], places), found.shape[1]), np.int64)
    for k in range(found.shape[0]):
        one, other = min(found[k, 0], found[k, 1]), max(found[k, 0], found[k, 1])
        if one == other:
            continue
        at = find_row(place, out, one, other)
        row = place[at]
        if row >= 0:
            out[row, 2] = min(out[row, 2], found[k, 2])
            for column in range(3, found.shape[1]):
                out[row, column] += found[k, column]
            continue
        if used == out.shape[0]:
            out = more_rows(out, min(2 * used, found.shape[0]))
        for column in range(2, found.shape[1]):
            out[used, column] = found[k, column]
        out[used, 0], out[used, 1], place[at] = one, other, used
        used += 1
        if 2 * used > places:
            places *= 2
            place = np.full(places, -1)
            for row in range(used):
                place[find_row(place, out, out[row, 0], out[row, 1])] = row
    return out[:used]


# By the number: to assign a slice takes numba two seconds more to compile.
@njit(cache=True, nogil=True)
def more_rows(rows, count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return (count, c) int64 rows: those of a shorter (n, c) int64 ndarray, and zeros."""
    longer = np.zeros((count, rows.shape[1]), np.int64)
    for row in range(rows.shape[0]):
        for column in range(rows.shape[1]):
            longer[row, column] = rows[row, column]
    return longer


# Called for every pair; the table has a power of two places, at most half of which are taken.
@njit(cache=True, nogil=True)
def find_row(place, rows, one, other):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return where a hash table notes the row of a pair of basins, or may: -1 stands there then.

    Parameters
    ----------
    place : (p,) int64 ndarray
        Places of rows, or -1.
    rows : (n, c) int64 ndarray
        Its first two columns are the pairs.
    one, other : int
    """
    at = _bucket(one, other) & (place.size - 1)
    while place[at] >= 0 and not (rows[place[at], 0] == one and rows[place[at], 1] == other):
        at = (at + 1) & (place.size - 1)
    return at


@njit(cache=True, nogil=True)
def _bucket(one, other):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return a number that pairs rarely share."""
    return ((one * 0x9E3779B97F4A7C1) ^ (other * 0x2545F4914F6CDD1D)) >> 17


# Compiled: union-find is a chain of dependent steps that arrays cannot do.  The order of the pairs
# does not matter, for the smallest member is the root.
@njit(cache=True, nogil=True)
def unite_pairs(count, one, other):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Return for each of ``count`` things the smallest member of its group.

    Groups are joined by the pairs (one, other).
    """
    parent = np.arange(count)
    for k in range(one.size):
        a, b = find(parent, one[k]), find(parent, other[k])
        if a < b:
            parent[b] = a
        else:
            parent[a] = b
    for k in range(count):
        parent[k] = find(parent, k)
    return parent


# Compiled: each union changes what the next pass meets.  Invariant: ``low`` and ``area`` at a root
# are those of its whole group, and passes come in ascending order, so all that lies below a pass is
# known when it is met.
@njit(cache=True, nogil=True)
def flood(low, area, shut, one, other, way, depth, small, absorb):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Let the water rise over all passes, lowest first, and join what is not worth parting.

    Two lakes that meet join if the shallower is less than ``depth`` deep, or if one is smaller than
    ``small`` and the pass lower than ``absorb``.

    Parameters
    ----------
    low, area : (n,) int64 ndarrays
        Lowest height and area of each basin.
    shut : (n,) bool ndarray
        Whether all of a basin and of its passes is known.  What is not can take part in no
        decision, nor, from the first pass on that leads to such a one, can what is joined to it;
        what was decided before is what would have been decided with all known.
    one, other, way : (m,) int64 ndarrays
        Passes, sorted by ``way`` (:func:`name_pass`).

    Returns
    -------
    (n,) int64 ndarray
        The smallest member of each basin's group.
    """
    parent, low, area, shut = np.arange(low.size), low.copy(), area.copy(), shut.copy()
    for k in range(one.size):
        a, b = find(parent, one[k]), find(parent, other[k])
        if a == b:
            continue
        if not (shut[a] and shut[b]):
            shut[a] = shut[b] = False
            continue
        height = way[k] >> PLACE
        shallow = height - max(low[a], low[b]) < depth
        tiny = height < absorb and min(area[a], area[b]) < small
        if shallow or tiny:
            a, b = min(a, b), max(a, b)
            parent[b] = a
            low[a] = min(low[a], low[b])
            area[a] += area[b]
    for k in range(parent.size):
        parent[k] = find(parent, k)
    return parent
