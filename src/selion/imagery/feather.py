"""How far a pixel is from where its composite ends.

Weights that let one composite fade into the next.

A composite ends at the edge of its tile, which its position says, and where nothing was ever seen
(the edge of a swath, a cloud that never left), which only its pixels say.  The second distance is
measured up to :data:`REACH` pixels, so a block needs no more than that around it to know what the
whole knows.
"""

from __future__ import annotations

import numpy as np
from numba import njit

REACH = 64
"""Pixels over which a composite fades where it was not seen further on."""
STRAIGHT, SLANTED = 3, 4
"""Length of a step to a neighbour over an edge and over a corner, in thirds of a pixel: Borgefors'
chamfer distance, 6 % off the Euclidean at most."""
FAR = np.uint8(REACH * STRAIGHT)
"""Distances are whole numbers up to this one."""


def seen_depth(values: np.ndarray, *, feather: bool) -> tuple[np.ndarray, bool]:
    """Return how deep each pixel lies inside of what was seen.

    Parameters
    ----------
    values : (band, y, x) uint16 ndarray
        0 = not seen; a pixel is seen if all bands are.
    feather : bool
        Whether distances are measured; without, every pixel that was seen is :data:`FAR` inside.

    Returns
    -------
    depth : (y, x) uint8 ndarray
        Thirds of a pixel to the nearest pixel that was not seen, at most :data:`FAR`; 0 is not
        seen.  What lies outside of the array counts as seen.
    gaps : bool
        Whether there is a 0.

    References
    ----------
    .. [1] G. Borgefors, "Distance transformations in digital images", CVGIP 34, 1986.
    """
    depth, missing = _seen(values)
    if feather and missing:
        _chamfer(depth)
    return depth, missing


# Compiled: one byte per pixel is all that is written; ``(values > 0).all(0)`` makes a temporary of
# all bands.  Row by row, so that the inner loops have no branch.
@njit(cache=True, nogil=True)
def _seen(values):  # type: ignore[no-untyped-def]  # numba types it  # noqa: ANN001, ANN202
    """Return FAR where all bands are seen, else 0, and whether there is a 0."""
    bands, height, width = values.shape
    depth = np.empty((height, width), np.uint8)
    low = FAR
    for y in range(height):
        row = depth[y]
        row[:] = FAR
        for band in range(bands):
            line = values[band, y]
            for x in range(width):
                row[x] = row[x] if line[x] != 0 else np.uint8(0)
        for x in range(width):
            low = min(low, row[x])
    return depth, low == 0


# Compiled: each pixel depends on the one before.  Invariant: after the first pass every pixel holds
# its distance to gaps above and to the left, after the second to all of them.
@njit(cache=True, nogil=True)
def _chamfer(depth):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Turn 0 and FAR into distances, in place.

    Once down and to the right, once up and to the left.
    """
    height = depth.shape[0]
    for y in range(height):
        if y:
            _from_row(depth[y], depth[y - 1])
        _along(depth[y], 1)
    for y in range(height - 1, -1, -1):
        if y < height - 1:
            _from_row(depth[y], depth[y + 1])
        _along(depth[y], -1)


# The other row is finished already; what the row's own pixels allow is _along's.
@njit(cache=True, nogil=True)
def _from_row(row, other):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Lower a row to what the row beside it allows."""
    width = row.shape[0]
    for x in range(width):
        row[x] = min(np.int32(row[x]), np.int32(other[x]) + STRAIGHT)
    for x in range(1, width):
        row[x] = min(np.int32(row[x]), np.int32(other[x - 1]) + SLANTED)
        row[x - 1] = min(np.int32(row[x - 1]), np.int32(other[x]) + SLANTED)


# The only carried value of the two passes.
@njit(cache=True, nogil=True)
def _along(row, direction):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Lower a row to what its own pixels before (1) or after (-1) allow."""
    width = row.shape[0]
    carried = np.int32(FAR)
    for k in range(width):
        x = k if direction > 0 else width - 1 - k
        carried = min(carried + STRAIGHT, np.int32(row[x]))
        row[x] = carried
