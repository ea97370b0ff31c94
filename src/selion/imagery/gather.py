"""Resample a piece of one composite and blend it in: the inner loops.

It comes onto the mosaic's pixels, into what other composites gave.

Every step of a pixel depends on its own position and on the composite's pixels alone, and
composites come in one fixed order, so the bits of a pixel are the same in every block.  The blend
is a running mean, ``value += (new - value) * w / (sum of w)``: the first composite's value is taken
as it is.

Work goes row by row, one simple loop after the other over buffers of a row: positions, what kind of
work a pixel is, its bands, its weight, the blend.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from selion.imagery.feather import FAR

NEAREST, BILINEAR, CUBIC = 0, 1, 2
KINDS = {"nearest": NEAREST, "bilinear": BILINEAR, "cubic": CUBIC}
"""Ways to resample; cubic is Catmull-Rom's (a = -1/2), which is GDAL's."""
NOT_SEEN, PLAIN, MIXED = 0, 1, 2
"""What is to be done for a pixel: nothing; all of its kernel was seen; some of it was not, or the
kernel is wide."""
FAINT = np.float32(1e-6)
"""Least weight of a pixel that was seen: alone it is taken whole, beside another it does not
count."""
LEAST = np.float32(1)
"""Least value of a pixel that was seen: 0 means that it was not."""
ONE, HALF = np.float32(1), np.float32(0.5)


class CompositeWindow(NamedTuple):
    """A piece of a composite."""

    window: np.ndarray
    """(band, h, w) uint16; the last band is the count of views if the block counts them."""
    depth: np.ndarray
    """(h, w) uint8: :func:`selion.imagery.feather.seen_depth` of the window."""
    gaps: bool
    """Whether there is a 0 in ``depth``."""
    origin: tuple[int, int]
    """Row and column of the window's first pixel in the composite."""
    size: tuple[float, float]
    """Rows and columns of the composite."""


class NodeGrid(NamedTuple):
    """Where the mosaic's lattice around a block lies in a composite."""

    nodes: np.ndarray
    """(2, a, b) float64: columns and rows in the composite of the nodes."""
    first: tuple[int, int]
    """Lattice row and column of the first node."""
    step: int
    """Pixels of the mosaic between nodes."""


class Kernel(NamedTuple):
    """How to resample."""

    kind: int
    """NEAREST, BILINEAR or CUBIC."""
    reach: float
    """Pixels of the composite along an edge of one of the mosaic's, if that is to be averaged over;
    else 1."""


class MosaicBlock(NamedTuple):
    """One season of a block while composites are blended into it."""

    value: np.ndarray
    """(band, y, x) float32."""
    weight: np.ndarray
    """(y, x) float32, 0 = not seen."""
    views: np.ndarray
    """(y, x) uint16, the largest count of views so far, or (0, 0)."""


# Compiled: what a pixel needs (its kernel, its gaps, its weight) depends on where it falls in the
# composite, and arrays of the steps between would be many times the block.  The tuples are unpacked
# once per block: 1.03 of the time of fifteen arguments (blocks of 560 x 560).
@njit(cache=True, nogil=True)
def add(
    piece: CompositeWindow,
    lattice: NodeGrid,
    start: tuple[int, int],
    kernel: Kernel,
    ramp: tuple[float, float],
    block: MosaicBlock,
) -> None:
    """Blend a composite into a block.

    Parameters
    ----------
    piece : CompositeWindow
    lattice : NodeGrid
    start : (int, int)
        Row and column of the block's first pixel in the mosaic.
    kernel : Kernel
    ramp : (float, float)
        Share of the full weight that a pixel gains with each row, and with each column, from the
        composite's edge; (0, 0) if weights do not matter.
    block : MosaicBlock
        The block so far, changed in place.
    """
    window, depth, gaps, origin, size = piece
    nodes, first, step = lattice
    kind, reach = kernel
    value, weight, count = block
    bands, height, width = value.shape
    us, vs = np.empty(width, np.float64), np.empty(width, np.float64)
    sample, work, weights = (
        np.empty((bands, width), np.float32),
        np.empty(width, np.uint8),
        np.ones(width, np.float32),
    )
    corners, across, down = (
        np.empty((2, width), np.int32),
        np.zeros(width, np.float32),
        np.zeros(width, np.float32),
    )
    taps = np.empty((2, 2 * math.ceil(2 * reach) + 2), np.float64)
    for i in range(height):
        _positions(nodes, start[0] + i, start[1], first, step, us, vs)
        if not _judge(depth, gaps, origin, us, vs, kind, reach, work):
            continue
        _corners(origin, us, vs, 0.0 if kind == NEAREST else 0.5, work, corners, across, down)
        if kind == NEAREST:
            _nearest(window, corners, work, sample)
        elif kind == BILINEAR:
            _bilinear(window, corners, across, down, work, sample)
        else:
            _cubic(window, corners, across, down, work, sample)
        _mixed(window, depth, origin, us, vs, kind, reach, taps, work, sample)
        if ramp[0] > 0:
            _weigh(depth, origin, size, us, vs, ramp, work, weights)
        _blend(sample, weights, work, value[:, i], weight[i])
        if count.size:
            _most(window[bands], origin, us, vs, work, count[i])


# Compiled: one pass over the block, where arrays would take five.
@njit(cache=True, nogil=True)
def finish(value, weight, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Round a (band, y, x) float32 block to uint16, half up; 0 where nothing was seen.

    Return whether all was.
    """
    bands, height, width = value.shape
    for band in range(bands):
        for y in range(height):
            for x in range(width):
                rounded = np.uint16(min(max(value[band, y, x] + HALF, LEAST), np.float32(65535)))
                out[band, y, x] = rounded if weight[y, x] > 0 else np.uint16(0)
    return weight.min() > 0


# Compiled, as all below: a step of add for one row, with no array beside its buffers.
@njit(cache=True, nogil=True)
def _positions(nodes, row, left, first, step, us, vs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Fill the positions of a row.

    Linear between four nodes, by whole numbers of the mosaic's lattice.
    """
    a, down = row // step - first[0], (row % step + 0.5) / step
    x, y = nodes[0], nodes[1]
    right = left + us.shape[0]
    for cell in range(left // step, (right - 1) // step + 1):
        b = cell - first[1]
        u0, u1 = (
            x[a, b] + down * (x[a + 1, b] - x[a, b]),
            x[a, b + 1] + down * (x[a + 1, b + 1] - x[a, b + 1]),
        )
        v0, v1 = (
            y[a, b] + down * (y[a + 1, b] - y[a, b]),
            y[a, b + 1] + down * (y[a + 1, b + 1] - y[a, b + 1]),
        )
        for column in range(max(cell * step, left), min((cell + 1) * step, right)):
            across = (column - cell * step + 0.5) / step
            us[column - left] = u0 + across * (u1 - u0)
            vs[column - left] = v0 + across * (v1 - v0)


# Compiled: a step of add for one row.
@njit(cache=True, nogil=True)
def _judge(depth, gaps, origin, us, vs, kind, reach, work):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Say for each pixel of a row what is to be done; return whether anything is."""
    height, width = depth.shape
    # the kernel's middle: a pixel, or the corner between four
    offset = 0.0 if kind == NEAREST else 0.5
    before, after = (0, 0) if kind == NEAREST else ((0, 1) if kind == BILINEAR else (1, 2))
    some = False
    margin = reach + 1
    for j in range(us.shape[0]):
        u, v = us[j] - offset - origin[1], vs[j] - offset - origin[0]
        # also where there is no position
        if not (u > -margin and v > -margin and u < width + margin and v < height + margin):
            work[j] = NOT_SEEN
            continue
        n, m = math.floor(u), math.floor(v)
        inner = m >= before and n >= before and m + after < height and n + after < width
        if kind == NEAREST:
            work[j] = PLAIN if inner and depth[max(m, 0), max(n, 0)] > 0 else NOT_SEEN
        elif reach > 1 or not inner:
            work[j] = MIXED
        else:
            work[j] = (
                PLAIN
                if not gaps or _all_seen(depth, m - before, m + after, n - before, n + after)
                else MIXED
            )
        some = some or work[j] != NOT_SEEN
    return some


# Compiled: a step of add for one pixel.
@njit(cache=True, nogil=True)
def _all_seen(depth, top, bottom, left, right):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for m in range(top, bottom + 1):
        for n in range(left, right + 1):
            if depth[m, n] == 0:
                return False
    return True


# Compiled: a step of add for one row.
@njit(cache=True, nogil=True)
def _corners(origin, us, vs, offset, work, corners, across, down):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Fill for each pixel of a row where its kernel begins.

    That is the first pixel (row, column) of the kernel's innermost four, and how far beyond its
    middle the pixel lies.
    """
    for j in range(us.shape[0]):
        if work[j] == PLAIN:
            u, v = us[j] - offset, vs[j] - offset
            x, y = math.floor(u), math.floor(v)
            corners[0, j], corners[1, j] = int(y) - origin[0], int(x) - origin[1]
            across[j], down[j] = u - x, v - y


# Compiled: a step of add for one row.
@njit(cache=True, nogil=True)
def _nearest(window, corners, work, sample):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for band in range(sample.shape[0]):
        plane, out = window[band], sample[band]
        for j in range(work.shape[0]):
            if work[j] == PLAIN:
                out[j] = plane[corners[0, j], corners[1, j]]


# Compiled: a step of add for one row.
@njit(cache=True, nogil=True)
def _bilinear(window, corners, across, down, work, sample):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for band in range(sample.shape[0]):
        plane, out = window[band], sample[band]
        for j in range(work.shape[0]):
            if work[j] == PLAIN:
                m, n, right = np.intp(corners[0, j]), np.intp(corners[1, j]), across[j]
                a, b = np.float32(plane[m, n]), np.float32(plane[m, n + 1])
                c, d = np.float32(plane[m + 1, n]), np.float32(plane[m + 1, n + 1])
                upper, lower = a + right * (b - a), c + right * (d - c)
                out[j] = upper + down[j] * (lower - upper)


# Compiled: a step of add for one row.
@njit(cache=True, nogil=True)
def _cubic(window, corners, across, down, work, sample):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    weights = np.empty((8, work.shape[0]), np.float32)
    for k in range(4):
        for j in range(work.shape[0]):
            weights[k, j], weights[4 + k, j] = (
                _kernel(across[j] - (k - 1), CUBIC),
                _kernel(down[j] - (k - 1), CUBIC),
            )
    for band in range(sample.shape[0]):
        plane, out = window[band], sample[band]
        for j in range(work.shape[0]):
            if work[j] == PLAIN:
                m, n = np.intp(corners[0, j]) - 1, np.intp(corners[1, j]) - 1
                total = np.float32(0)
                for k in range(4):
                    line = weights[0, j] * np.float32(plane[m + k, n]) + weights[1, j] * np.float32(
                        plane[m + k, n + 1]
                    )
                    line += weights[2, j] * np.float32(plane[m + k, n + 2]) + weights[
                        3, j
                    ] * np.float32(plane[m + k, n + 3])
                    total += weights[4 + k, j] * line
                out[j] = max(total, LEAST)


# Compiled: a step of add for one row.
@njit(cache=True, nogil=True)
def _mixed(window, depth, origin, us, vs, kind, reach, taps, work, sample):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Do the pixels of a row whose kernel is wide or was not seen in part.

    Cubic if all of it was, else linear over what was, if that is half of it.
    """
    for j in range(us.shape[0]):
        if work[j] != MIXED:
            continue
        if (
            kind == CUBIC
            and reach > 1
            and _weighted(window, depth, origin, us[j], vs[j], CUBIC, reach, taps, sample, j) == 0
        ):
            for band in range(sample.shape[0]):
                sample[band, j] = max(sample[band, j], LEAST)
        elif (
            _weighted(window, depth, origin, us[j], vs[j], BILINEAR, reach, taps, sample, j)
            > 0.5 + FAINT
        ):
            work[j] = NOT_SEEN


# Compiled: a step of add for one pixel.
@njit(cache=True, nogil=True)
def _weighted(window, depth, origin, u, v, kind, reach, taps, sample, j):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Fill pixel ``j`` with the weighted mean of what was seen.

    Return which share of the weight was not.  A cubic kernel stops at the first gap.
    """
    half = (2 if kind == CUBIC else 1) * reach
    top, left = math.ceil(v - 0.5 - half), math.ceil(u - 0.5 - half)
    rows, columns = math.floor(v - 0.5 + half) - top + 1, math.floor(u - 0.5 + half) - left + 1
    for k in range(rows):
        taps[0, k] = _kernel((top + k + 0.5 - v) / reach, kind)
    for k in range(columns):
        taps[1, k] = _kernel((left + k + 0.5 - u) / reach, kind)
    total, missing = 0.0, 0.0
    for band in range(sample.shape[0]):
        sample[band, j] = 0
    for k in range(rows):
        for n in range(columns):
            w = taps[0, k] * taps[1, n]
            total += w
            if w != 0 and not _added(
                window, depth, top + k - origin[0], left + n - origin[1], w, sample, j
            ):
                if kind == CUBIC:
                    return 1.0
                missing += w
    if total > missing:
        for band in range(sample.shape[0]):
            sample[band, j] /= np.float32(total - missing)
    return missing / total


# Compiled: a step of add for one pixel.
@njit(cache=True, nogil=True)
def _added(window, depth, p, q, w, sample, j):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Add a weighted pixel of the window to pixel ``j``, if it was seen."""
    if p < 0 or q < 0 or p >= depth.shape[0] or q >= depth.shape[1] or depth[p, q] == 0:
        return False
    for band in range(sample.shape[0]):
        sample[band, j] += np.float32(w) * np.float32(window[band, p, q])
    return True


# Compiled: a step of add for one pixel.
@njit(cache=True, nogil=True)
def _kernel(distance, kind):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    t = abs(distance)
    if kind == BILINEAR:
        return max(1.0 - t, 0.0)
    if t < 1:
        return (1.5 * t - 2.5) * t * t + 1
    return ((-0.5 * t + 2.5) * t - 4) * t + 2 if t < 2 else 0.0


# Compiled: a step of add for one pixel.
@njit(cache=True, nogil=True)
def _inside(position, start, size):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return the window's pixel at a position, the nearest one if it lies outside."""
    return min(max(math.floor(position) - start, 0), size - 1)


# Compiled: a step of add for one row.
@njit(cache=True, nogil=True)
def _weigh(depth, origin, size, us, vs, ramp, work, weights):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Fill the weights of a row.

    How far each pixel is from the composite's edge, times how far from what was not seen.
    """
    height, width = depth.shape
    for j in range(us.shape[0]):
        if work[j] != NOT_SEEN:
            u, v = us[j], vs[j]
            edge = min(1.0, min(v, size[0] - v) * ramp[0], min(u, size[1] - u) * ramp[1])
            inner = depth[_inside(v, origin[0], height), _inside(u, origin[1], width)] / np.float32(
                FAR
            )
            weights[j] = max(np.float32(edge) * inner, FAINT)


# Compiled: a step of add for one row.
@njit(cache=True, nogil=True)
def _blend(sample, weights, work, value, weight):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for band in range(sample.shape[0]):
        new, old = sample[band], value[band]
        for j in range(work.shape[0]):
            if work[j] != NOT_SEEN:
                share = weights[j] / (weight[j] + weights[j])
                old[j] = new[j] if weight[j] == 0 else old[j] + (new[j] - old[j]) * share
    for j in range(work.shape[0]):
        if work[j] != NOT_SEEN:
            weight[j] += weights[j]


# Compiled: a step of add for one row.
@njit(cache=True, nogil=True)
def _most(views, origin, us, vs, work, count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Raise the counts of a row to those of a composite."""
    height, width = views.shape
    for j in range(work.shape[0]):
        if work[j] != NOT_SEEN:
            count[j] = max(
                count[j], views[_inside(vs[j], origin[0], height), _inside(us[j], origin[1], width)]
            )
