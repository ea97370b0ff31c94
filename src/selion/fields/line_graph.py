"""The lines between objects as a graph: where they meet, and each one once.

A line (arc) runs from node to node, points where three or more lines meet; one that meets no other
goes round.  Both its sides' rings hold the same points, so what is done to an arc is done to both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from selion.fields.polygonise import Rings


@dataclass(frozen=True, eq=False)
class LineGraph:
    """Arcs of rings on the pixel lattice."""

    codes: np.ndarray
    """(k,) int64 lattice points that arcs use, ascending: y times ``width``, plus x."""
    width: int
    points: np.ndarray
    """(n,) int64 of the arcs' points, one arc after the other: their places in ``codes``; an arc
    that goes round ends where it begins."""
    offsets: np.ndarray
    """(arcs + 1,) int64 first point of each arc."""
    nodes: np.ndarray
    """(k,) bool: where lines meet."""
    owners: np.ndarray
    """(m, 2) int64 pairs of an arc and a polygon that it belongs to."""

    @property
    def places(self) -> np.ndarray:
        """(k, 2) float64 lattice coordinates (x, y) of the points."""
        return np.array([self.codes % self.width, self.codes // self.width], np.float64).T.copy()


def lattice_codes(points: np.ndarray, width: int) -> np.ndarray:
    """Return one number for each of (n, 2) lattice points (x, y)."""
    return np.asarray(points[:, 1].astype(np.int64) * width + points[:, 0])


def find_arcs(rings: Rings, width: int) -> LineGraph:
    """Take rings apart into arcs.

    Parameters
    ----------
    rings : Rings
        With all nodes on both sides of each line (:func:`selion.fields.polygonise.outline` with
        ``nodes``).
    width : int
        Greater than any x.
    """
    index, following, ring = _in_order(rings)
    codes, at = np.unique(lattice_codes(rings.points[index], width), return_inverse=True)
    to = at[following]
    edges = np.minimum(at, to) * len(codes) + np.maximum(at, to)
    unique, edge = np.unique(edges, return_inverse=True)
    degree = np.bincount(unique // len(codes), minlength=len(codes)) + np.bincount(
        unique % len(codes), minlength=len(codes)
    )
    nodes = degree > 2
    # rings are turned so that each begins at a node, where it has one
    begins, sizes = _ring_starts(ring)
    order = _turned(nodes[at], begins, sizes)
    at, edge, ring = at[order], edge[order], ring[order]
    first = nodes[at]
    first[begins] = True
    starts = np.flatnonzero(first)
    name = np.minimum.reduceat(edge, starts)
    lengths = np.diff([*starts, len(at)])
    # the least edge belongs to one arc, whoever walks along it
    _, chosen, which = np.unique(name, return_index=True, return_inverse=True)
    ends = _ends(ring, begins, starts, lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths[chosen] + 1)]).astype(np.int64)
    points = np.empty(offsets[-1], np.int64)
    inner = np.ones(len(points), bool)
    inner[offsets[1:] - 1] = False
    points[inner] = at[_ranges(starts[chosen], lengths[chosen])]
    points[~inner] = at[ends[chosen]]
    _turn_loops(points, offsets, np.stack([codes % width, codes // width], axis=1), nodes)
    polygon = np.repeat(np.arange(len(rings.ids)), np.diff(rings.exteriors))
    owners = np.unique(np.stack([which, polygon[ring[starts]]], axis=1), axis=0)
    return LineGraph(codes, width, points, offsets, nodes, owners)


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the numbers from each start on, as many as each length says."""
    ends = np.cumsum(lengths)
    count = int(ends[-1]) if len(ends) else 0
    return np.asarray(np.arange(count) - np.repeat(ends - lengths - starts, lengths))


def _in_order(rings: Rings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of all points, ring after ring: where they are, which one follows, and the ring."""
    index = _ranges(rings.starts, rings.lengths)
    ends = np.cumsum(rings.lengths)
    following = np.arange(1, len(index) + 1)
    following[ends - 1] = ends - rings.lengths
    return index, following, np.repeat(np.arange(len(rings.lengths)), rings.lengths)


def _ring_starts(ring: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    begins = np.flatnonzero(np.diff(ring, prepend=-1))
    return begins, np.diff([*begins, len(ring)])


def _turned(nodes: np.ndarray, begins: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the order of points in which each ring begins at its first node."""
    at = np.where(nodes, np.arange(len(nodes)), len(nodes))
    first = np.minimum.reduceat(at, begins)
    shift = np.where(first < len(nodes), first - begins, 0)
    within = np.arange(len(nodes)) - np.repeat(begins, sizes)
    turned = (within + np.repeat(shift, sizes)) % np.repeat(sizes, sizes)
    return np.asarray(np.repeat(begins, sizes) + turned)


def _ends(
    ring: np.ndarray, begins: np.ndarray, starts: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """Return where each arc ends: the first point of the next one, or of its own ring."""
    after = starts + lengths
    rim = np.append(ring, -1)[after] != ring[starts]
    return np.asarray(np.where(rim, begins[ring[starts]], np.minimum(after, len(ring) - 1)))


def _turn_loops(
    points: np.ndarray, offsets: np.ndarray, places: np.ndarray, nodes: np.ndarray
) -> None:
    """Let each arc that goes round begin at its point farthest from the middle: at a corner."""
    for arc in np.flatnonzero(~nodes[points[offsets[:-1]]]):
        low, high = offsets[arc], offsets[arc + 1] - 1
        here = places[points[low:high]]
        away = ((here - (here.min(axis=0) + here.max(axis=0)) / 2) ** 2).sum(axis=1)
        points[low:high] = np.roll(points[low:high], -int(np.argmax(away)))
        points[high] = points[low]


# Compiled: Douglas and Peucker (1973) with a stack, for hundreds of thousands of arcs.
@njit(cache=True, nogil=True)
def find_corners(places, offsets, tolerance):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN201
    """Mark the points at which arcs turn.

    Parameters
    ----------
    places : (n, 2) float64 ndarray
        Points of all arcs.
    offsets : (arcs + 1,) int64 ndarray
    tolerance : float
        Between two marked points no point lies further from their chord.

    Returns
    -------
    (n,) bool ndarray
        The ends of arcs are marked; those that go round keep two more points at least.
    """
    marks = np.zeros(places.shape[0], np.bool_)
    stack = np.empty((places.shape[0] + 4, 2), np.int64)
    for arc in range(offsets.size - 1):
        low, high = offsets[arc], offsets[arc + 1] - 1
        marks[low] = marks[high] = True
        size = 0
        if places[low, 0] == places[high, 0] and places[low, 1] == places[high, 1]:
            far, best = low, -1.0
            for k in range(low, high):
                away = (places[k, 0] - places[low, 0]) ** 2 + (places[k, 1] - places[low, 1]) ** 2
                if away > best:
                    far, best = k, away
            marks[far] = True
            stack[0, 0], stack[0, 1] = low, far
            stack[1, 0], stack[1, 1] = far, high
            size = 2
        else:
            stack[0, 0], stack[0, 1] = low, high
            size = 1
        while size:
            size -= 1
            a, b = stack[size, 0], stack[size, 1]
            dx, dy = places[b, 0] - places[a, 0], places[b, 1] - places[a, 1]
            length = np.sqrt(dx * dx + dy * dy)
            far, best = a, tolerance
            for k in range(a + 1, b):
                ex, ey = places[k, 0] - places[a, 0], places[k, 1] - places[a, 1]
                away = abs(dx * ey - dy * ex) / length if length > 0 else np.sqrt(ex * ex + ey * ey)
                if away > best:
                    far, best = k, away
            if far > a:
                marks[far] = True
                stack[size, 0], stack[size, 1] = a, far
                stack[size + 1, 0], stack[size + 1, 1] = far, b
                size += 2
    return marks


# Compiled: a step per pixel along every line.
@njit(cache=True, nogil=True)
def measure_sides(lattice, places, lows, highs, trim):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Fit a line to each side of an arc by the middles of its cracks.

    Parameters
    ----------
    lattice, places : (n, 2) float64 ndarray
        Points of arcs on the pixel lattice, and where they are on the ground.
    lows, highs : (s,) int64 ndarray
        First and last point of each side.
    trim : int
        Cracks at each end that do not count, where there are enough others: corners are round.

    Returns
    -------
    sums : (s, 6) float64 ndarray
        Weight, and weighted sums of x, y, xx, xy and yy.
    shape : (s, 3) float64 ndarray
        Length, root mean square distance from the fitted line, and how far the middle is bowed.
    """
    count = lows.size
    sums, shape = np.zeros((count, 6)), np.zeros((count, 3))
    for s in range(count):
        cracks = 0
        for k in range(lows[s], highs[s]):
            cracks += int(
                abs(lattice[k + 1, 0] - lattice[k, 0]) + abs(lattice[k + 1, 1] - lattice[k, 1])
            )
        cut = trim if cracks >= 6 * trim else 0
        middles = np.empty((cracks, 3))
        n = 0
        for k in range(lows[s], highs[s]):
            steps = int(
                abs(lattice[k + 1, 0] - lattice[k, 0]) + abs(lattice[k + 1, 1] - lattice[k, 1])
            )
            dx = (places[k + 1, 0] - places[k, 0]) / steps
            dy = (places[k + 1, 1] - places[k, 1]) / steps
            for i in range(steps):
                middles[n, 0] = places[k, 0] + (i + 0.5) * dx
                middles[n, 1] = places[k, 1] + (i + 0.5) * dy
                middles[n, 2] = np.sqrt(dx * dx + dy * dy)
                n += 1
        for i in range(cut, cracks - cut):
            x, y, w = middles[i, 0], middles[i, 1], middles[i, 2]
            sums[s, 0] += w
            sums[s, 1] += w * x
            sums[s, 2] += w * y
            sums[s, 3] += w * x * x
            sums[s, 4] += w * x * y
            sums[s, 5] += w * y * y
        w = sums[s, 0]
        cx, cy = sums[s, 1] / w, sums[s, 2] / w
        xx = sums[s, 3] / w - cx * cx
        xy = sums[s, 4] / w - cx * cy
        yy = sums[s, 5] / w - cy * cy
        angle = 0.5 * np.arctan2(2 * xy, xx - yy)
        ux, uy = np.cos(angle), np.sin(angle)
        dx, dy = places[highs[s], 0] - places[lows[s], 0], places[highs[s], 1] - places[lows[s], 1]
        half = np.sqrt(dx * dx + dy * dy) / 4
        total, mid, mids, out, outs = 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(cut, cracks - cut):
            x, y, w = middles[i, 0] - cx, middles[i, 1] - cy, middles[i, 2]
            off = ux * y - uy * x
            total += w * off * off
            if abs(ux * x + uy * y) < half:
                mid += w * off
                mids += w
            else:
                out += w * off
                outs += w
        shape[s, 0] = 4 * half
        shape[s, 1] = np.sqrt(total / sums[s, 0])
        if mids > 0 and outs > 0:
            shape[s, 2] = 2 * abs(mid / mids - out / outs)
    return sums, shape
