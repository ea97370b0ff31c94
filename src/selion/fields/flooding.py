"""The compiled middle of BoundaryVote: the flood from its seeds, how far it is known, its lines.

A flood is not local: who reaches a pixel first may have been decided far away.  Here it is worked
out on a window, and beside it what the pixels beyond the window could have changed: where that is
nothing, the window's answer is the whole raster's.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from selion.fields.seeding import UNKNOWN

BARE, MISSING = -1, -2
"""Labels: foreground without a region, and no data."""


# Compiled: a queue for each of the 256 levels; nodes in one pool, used again.  Invariants: pixels
# leave in the order of level and then of arrival; ``labels`` is above 0 where decided, and minus
# the label that waits for the pixel where not; ``mask`` is 1 where water may go, 2 on a line.
@njit(cache=True, nogil=True)
def flood_levels(level, labels, mask):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, C901, PLR0912
    """Flood from the seeds, and leave a line where two floods meet.

    Parameters
    ----------
    level : (y, x) uint8 ndarray
        Low floods first.
    labels : (y, x) int32 ndarray
        The seeds, 1 .. n; what they flood is written here, BARE where it is nobody's.
    mask : (y, x) uint8 ndarray
        1 where water may go, never on the array's rim; lines become 2.

    Returns
    -------
    (y, x) uint8 ndarray
        The level at which each pixel was decided; 255 where it was not.

    Notes
    -----
    The rule of ``fbp.core.fast_morph`` (ftw-fbp 0.2.0), which is that of scikit-image's watershed
    with ``watershed_line=True`` but for seeds of one level, which start in row-major order.  A
    pixel is pushed only once for the same label: later ones would do what the first did.  A pixel
    between two floods becomes a line, and passes on what reaches it.
    """
    width = level.shape[1]
    cost, out, go = level.ravel(), labels.ravel(), mask.ravel()
    when = np.full(cost.size, 255, np.uint8)
    pool, room = np.empty((1024, 3), np.int32), np.zeros(2, np.int64)
    room[1] = -1
    ends = np.full((256, 2), -1, np.int32)
    steps = (-width, -1, 1, width)
    for p in range(cost.size):
        mine = out[p]
        if mine <= 0:
            continue
        when[p] = cost[p]
        idle = True
        for step in steps:
            if go[p + step] == 1 and out[p + step] != mine:
                idle = False
        if not idle:
            if room[0] == len(pool):
                pool = _roomier(pool)
            _push(pool, room, ends, cost[p], p, -mine)
    for now in range(256):
        while ends[now, 0] >= 0:
            node = ends[now, 0]
            p, mine, ends[now, 0] = pool[node, 0], pool[node, 1], pool[node, 2]
            pool[node, 2], room[1] = room[1], node
            seed = mine < 0
            mine = abs(mine)
            if out[p] > 0 and not seed:
                continue
            if go[p] == 1:
                when[p] = now
                if _meets(out, go, p, mine, width):
                    go[p] = 2
                else:
                    out[p] = mine
            if room[0] + 4 > len(pool):
                pool = _roomier(pool)
            for step in steps:
                q = p + step
                if go[q] == 1 and out[q] <= 0 and out[q] != -mine:
                    _push(pool, room, ends, max(now, np.int64(cost[q])), q, mine)
                    out[q] = -mine
    for p in range(cost.size):
        if out[p] <= 0:
            out[p] = BARE if go[p] else 0
    return when.reshape(level.shape)


@njit(cache=True, nogil=True)
def _meets(out, go, p, mine, width):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Say whether a pixel touches another flood."""
    for step in (-width, -1, 1, width):
        q = p + step
        if go[q] == 1 and out[q] > 0 and out[q] != mine:
            return True
    return False


# Called for each pixel.  Invariant: a node is (pixel, label, next); of the free ones ``room[1]`` is
# the first, and from ``room[0]`` on none was ever used.
@njit(cache=True, nogil=True)
def _push(pool, room, ends, level, pixel, name):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Append a node to the queue of a level."""
    node = room[1]
    if node >= 0:
        room[1] = pool[node, 2]
    else:
        node = room[0]
        room[0] += 1
    pool[node, 0], pool[node, 1], pool[node, 2] = pixel, name, -1
    if ends[level, 0] < 0:
        ends[level, 0] = node
    else:
        pool[ends[level, 1], 2] = node
    ends[level, 1] = node


# By the number, as below: to put arrays together takes numba seconds to compile.
@njit(cache=True, nogil=True)
def _roomier(pool):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return a pool of nodes twice as long that begins with these."""
    more = np.empty((2 * pool.shape[0], 3), np.int32)
    for node in range(pool.shape[0]):
        for k in range(3):
            more[node, k] = pool[node, k]
    return more


@njit(cache=True, nogil=True)
def _longer(values):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return a list twice as long that begins with these values."""
    more = np.empty(2 * values.size, np.int64)
    for k in range(values.size):
        more[k] = values[k]
    return more


# Compiled: as the flood.  Invariant: what is pushed first comes from the lowest level.
@njit(cache=True, nogil=True)
def doubt(level, mask, when, seeds, sides):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, C901
    """Find the pixels that what lies beyond the window could have changed.

    Parameters
    ----------
    level, mask, when : (y, x) uint8 ndarrays
        As given to and returned by :func:`flood_levels`.
    seeds : (y, x) uint8 ndarray
        As returned by :func:`selion.fields.seeding.find_seeds`.
    sides : (4,) bool ndarray
        As there.

    Returns
    -------
    (y, x) uint8 ndarray
        1 where in doubt.

    Notes
    -----
    What differs beyond the window reaches a pixel over a neighbour that it changed, not before the
    flood stands at the pixel's own level, and too late if the pixel was decided at a lower one.  By
    induction over the events of both floods: where neither a neighbour in doubt can come in time,
    both floods do the same.  So doubt climbs uphill only, and ends at the first ridge or top.
    """
    height, width = level.shape
    cost, go, time, kind = level.ravel(), mask.ravel(), when.ravel(), seeds.ravel()
    out = np.zeros(cost.size, np.uint8)
    head = np.full(256, -1, np.int64)
    place, after, used = np.empty(1024, np.int64), np.empty(1024, np.int64), 0
    for i in range(1, height - 1):
        across = (sides[0] and i == 1) or (sides[1] and i == height - 2)
        for p in range(i * width + 1, (i + 1) * width - 1):
            if not (
                across
                or kind[p] == UNKNOWN
                or (sides[2] and p == i * width + 1)
                or (sides[3] and p == (i + 1) * width - 2)
            ):
                continue
            if go[p]:
                if used == place.size:
                    place, after = _longer(place), _longer(after)
                place[used], after[used] = p, head[cost[p]]
                head[cost[p]] = used
                out[p] = 1
                used += 1
    for now in range(256):
        while head[now] >= 0:
            p = place[head[now]]
            head[now] = after[head[now]]
            for step in (-width, -1, 1, width):
                q = p + step
                if not go[q] or out[q]:
                    continue
                v = max(cost[q], np.uint8(now))
                if v <= time[q]:
                    if used == place.size:
                        place, after = _longer(place), _longer(after)
                    place[used], after[used] = q, head[v]
                    head[v] = used
                    out[q] = 1
                    used += 1
    return out.reshape(level.shape)


# Compiled: two looks around each pixel of a line.
@njit(cache=True, nogil=True)
def fill_lines(labels, groups, fallback):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Say which pixels belong to objects once regions are joined.

    A pixel of a line does where all regions that it touches are now one, there are two of them, and
    no such pixel beside it belongs to another.

    Parameters
    ----------
    labels : (y + 4, x + 4) int32 ndarray
        Regions of a block and two pixels around it; BARE, MISSING, 0.
    groups : (n + 1,) int32 ndarray
        What each region became part of.
    fallback : bool
        There is no seed in all the raster: what touches is one.

    Returns
    -------
    (y, x) uint8 ndarray
        1 for an object, 0 for none, 255 for no data.
    """
    height, width = labels.shape[0] - 4, labels.shape[1] - 4
    out = np.zeros((height, width), np.uint8)
    for i in range(height):
        for j in range(width):
            mine = labels[i + 2, j + 2]
            if mine == MISSING:
                out[i, j] = 255
            elif mine > 0 or (fallback and mine == BARE):
                out[i, j] = 1
            elif mine == BARE:
                group = _candidate(labels, groups, i + 2, j + 2)
                if group == 0:
                    continue
                alone = True
                for k in range(4):
                    y, x = i + 2 + (k == 1) - (k == 0), j + 2 + (k == 3) - (k == 2)
                    if labels[y, x] == BARE:
                        other = _candidate(labels, groups, y, x)
                        if other not in (0, group):
                            alone = False
                out[i, j] = alone
    return out


@njit(cache=True, nogil=True)
def _candidate(labels, groups, y, x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return the one group around a pixel of a line, 0 if there is not just one of two regions."""
    group, region, several = 0, 0, False
    for k in range(4):
        near = labels[y + (k == 1) - (k == 0), x + (k == 3) - (k == 2)]
        if near <= 0:
            continue
        if group and groups[near] != group:
            return 0
        if region and near != region:
            several = True
        group, region = groups[near], near
    return group if several else 0


# Compiled: counts runs along rows, so that the table of them is short.
@njit(cache=True, nogil=True)
def tally(one, other):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Count the pixels of each pair of values, where the first is not 0.

    Returns
    -------
    (m, 3) int64 ndarray
        Values of ``one`` and ``other`` and how many pixels in a row have them; pairs come several
        times.
    """
    height, width = one.shape
    rows = np.empty((1024, 3), np.int64)
    used = 0
    for i in range(height):
        for j in range(width):
            a, b = one[i, j], other[i, j]
            if a == 0:
                continue
            if j and used and one[i, j - 1] == a and other[i, j - 1] == b:
                rows[used - 1, 2] += 1
                continue
            if used == rows.shape[0]:
                longer = np.empty((2 * used, 3), np.int64)
                for k in range(used):  # to assign a slice takes numba seconds to compile
                    for column in range(3):
                        longer[k, column] = rows[k, column]
                rows = longer
            rows[used, 0], rows[used, 1], rows[used, 2] = a, b, 1
            used += 1
    return rows[:used].copy()


# Compiled: four looks around each pixel of a line.
@njit(cache=True, nogil=True)
def line_pairs(labels, field, edge, worth, near):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, C901
    """List the two regions beside each pixel of a line, and what it votes.

    Parameters
    ----------
    labels : (y + 2, x + 2) int32 ndarray
        As left by :func:`flood_levels`, with one pixel around the block.
    field, edge : (y, x) uint8 ndarrays
        Levels of the block.
    worth : (256, 256) int64 ndarray
        What a pixel of these levels (edge, field) votes.
    near : (y, x) uint8 ndarray
        1 where a pixel votes 1 whatever it is like, 0 where it votes nothing; (0, 0): the table
        says it.

    Returns
    -------
    (m, 5) int64 ndarray
        The two regions (of more than two those of the largest labels), 0, 1, and the vote.
    """
    height, width = field.shape
    count = 0
    for i in range(height):
        for j in range(width):
            count += labels[i + 1, j + 1] == BARE
    rows = np.zeros((count, 5), np.int64)
    used = 0
    for i in range(height):
        for j in range(width):
            if labels[i + 1, j + 1] != BARE:
                continue
            most, second = 0, 0
            for k in range(4):
                near_by = labels[i + 1 + (k == 1) - (k == 0), j + 1 + (k == 3) - (k == 2)]
                if near_by > most:
                    second, most = most, near_by
                elif second < near_by < most:
                    second = near_by
            if second <= 0:
                continue
            rows[used, 0], rows[used, 1], rows[used, 3] = second, most, 1
            if near.size:
                rows[used, 4] = worth[255, 0] if near[i, j] else 0
            else:
                rows[used, 4] = worth[edge[i, j], field[i, j]]
            used += 1
    return rows[:used].copy()
