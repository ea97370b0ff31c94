"""Edge agreement: learn only from pixels where the imagery itself has an edge."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from selion.classes import IGNORE

TANGENT = 13573
"""tan 22.5 degrees in 15 bits, as OpenCV has it."""


def edge_agreement(
    pixels: np.ndarray, labels: np.ndarray, low: float = 50, high: float = 150
) -> np.ndarray:
    """Turn labels into IGNORE wherever no band has an edge.

    Parameters
    ----------
    pixels : (band, y, x) ndarray
        In the source's numbers; each band is brought to 0..255 by its own least and largest value.
    labels : (y, x) uint8 ndarray
        Class ids, 255 not known.
    low, high : float
        Thresholds of :func:`canny`.

    Returns
    -------
    (y, x) uint8 ndarray

    Notes
    -----
    Facts of ftw-baselines (``scripts/add_edges_to_dataset.py``, ``trainers.py``): Canny(50, 150)
    per band, summed over bands.
    """
    edges = np.zeros(labels.shape, bool)
    for band in pixels:
        edges |= canny(_to_bytes(band), low, high)
    return np.where(edges, labels, IGNORE).astype(np.uint8)


def _to_bytes(band: np.ndarray) -> np.ndarray:
    low, high = float(band.min()), float(band.max())
    scaled = (band.astype(np.float32) - low) / max(high - low, 1e-12) * 255
    return scaled.astype(np.uint8)


def canny(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Find edges.

    The image is not smoothed first; the gradient is Sobel's 3 x 3, its size the sum of the absolute
    derivatives; ridges of it (largest along the gradient, whose direction is rounded to 45 degrees)
    above ``low`` are edges where they hang together, 8-connected, with one above ``high``.

    Parameters
    ----------
    image : (y, x) uint8 ndarray

    Returns
    -------
    (y, x) bool ndarray

    References
    ----------
    Canny, "A computational approach to edge detection", TPAMI 8, 1986; the choices are those of
    OpenCV's function at its defaults.
    """
    padded = np.pad(image.astype(np.int64), 1, mode="edge")
    dx, dy = _sobel(padded), _sobel(padded.T).T
    size = np.abs(dx) + np.abs(dy)
    ridge = _ridges(dx, dy, size) & (size > low)
    labels, count = ndimage.label(ridge, np.ones((3, 3)))
    strong = np.zeros(count + 1, bool)
    strong[labels[ridge & (size > high)]] = True
    strong[0] = False
    found: np.ndarray = strong[labels]
    return found


def _sobel(padded: np.ndarray) -> np.ndarray:
    """Return the derivative along x of an image with one pixel of padding."""
    difference = padded[:, 2:] - padded[:, :-2]
    return difference[:-2] + 2 * difference[1:-1] + difference[2:]


def _ridges(dx: np.ndarray, dy: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Mark where the gradient is largest along itself.

    It is at least as large as one step along it, and larger than one step against it.
    """
    frame = np.pad(size, 1)
    height, width = size.shape

    def at(row: int, column: int) -> np.ndarray:
        return frame[1 + row : 1 + row + height, 1 + column : 1 + column + width]

    x, y = np.abs(dx), np.abs(dy) << 15
    flat, steep = y < x * TANGENT, y > x * TANGENT + (x << 16)
    rising = (dx < 0) == (dy < 0)
    along_x = (size > at(0, -1)) & (size >= at(0, 1))
    along_y = (size > at(-1, 0)) & (size >= at(1, 0))
    down = (size > at(-1, -1)) & (size > at(1, 1))
    up = (size > at(-1, 1)) & (size > at(1, -1))
    return np.where(flat, along_x, np.where(steep, along_y, np.where(rising, down, up)))
