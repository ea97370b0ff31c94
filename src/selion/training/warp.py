"""Resampling of a window and its truth together, through one affine map, in one pass each."""

from __future__ import annotations

import math

import numba
import numpy as np

OUTSIDE = -1
"""What nearest-neighbour sampling gives where there is nothing."""


@numba.njit(cache=True, nogil=True)
def bilinear(
    pixels: np.ndarray, matrix: np.ndarray, height: int, width: int, reflect: bool
) -> np.ndarray:  # pragma: no cover  # compiled
    """Sample (band, y, x) float32 pixels.

    Parameters
    ----------
    pixels : (band, y, x) float32 ndarray
    matrix : (2, 3) float64 ndarray
        From (row, column, 1) of the result to row and column of ``pixels``; whole numbers are pixel
        centres.
    height, width : int
        Of the result.
    reflect : bool
        What lies outside: the mirrored image, or 0.

    Returns
    -------
    (band, height, width) float32 ndarray
    """
    bands, rows, columns = pixels.shape
    out = np.zeros((bands, height, width), np.float32)
    for i in range(height):
        for j in range(width):
            y = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 2]
            x = matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 2]
            if reflect:
                y, x = _mirrored(y, rows), _mirrored(x, columns)
            top, left = math.floor(y), math.floor(x)
            below, right = np.float32(y - top), np.float32(x - left)
            for k in range(4):
                row, column = top + k // 2, left + k % 2
                if 0 <= row < rows and 0 <= column < columns:
                    share = (below if k // 2 else 1 - below) * (right if k % 2 else 1 - right)
                    for band in range(bands):
                        out[band, i, j] += share * pixels[band, row, column]
    return out


# Compiled because the loops over pixels call it for each coordinate.
@numba.njit(cache=True, nogil=True)
def _mirrored(place: float, size: int) -> float:  # pragma: no cover  # compiled
    """Fold a coordinate back into an image, and clamp it to pixel centres.

    The image is mirrored at its pixels' outer edges.
    """
    period = 2.0 * size
    folded = (place + 0.5) % period
    if folded > size:
        folded = period - folded
    return min(max(folded - 0.5, 0.0), size - 1.0)


@numba.njit(cache=True, nogil=True)
def nearest(
    values: np.ndarray, matrix: np.ndarray, height: int, width: int, outside: int
) -> np.ndarray:  # pragma: no cover  # compiled
    """Sample (plane, y, x) int32 truth.

    Parameters as in :func:`bilinear`, ``outside`` is what lies outside.
    """
    planes, rows, columns = values.shape
    out = np.full((planes, height, width), outside, np.int32)
    for i in range(height):
        for j in range(width):
            row = math.floor(matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 2] + 0.5)
            column = math.floor(matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 2] + 0.5)
            if 0 <= row < rows and 0 <= column < columns:
                for plane in range(planes):
                    out[plane, i, j] = values[plane, row, column]
    return out


def turning(shape: tuple[int, int], degrees: float) -> np.ndarray:
    """Return the (2, 3) map that turns an image of ``shape`` (y, x) about its centre.

    It turns anticlockwise as one looks at it.
    """
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    centre = (np.array(shape) - 1) / 2
    return np.column_stack([turn, centre - turn @ centre])


def cutting(
    top: float, left: float, height: float, width: float, size: tuple[int, int]
) -> np.ndarray:
    """Return the (2, 3) map of a rectangle that is resized to ``size`` (y, x).

    The rectangle is in pixels from the upper left corner.
    """
    y, x = height / size[0], width / size[1]
    return np.array([[y, 0, top + y / 2 - 0.5], [0, x, left + x / 2 - 0.5]])


@numba.njit(cache=True, nogil=True)
def blend_smooth(
    pixels: np.ndarray, factor: float, clip: bool
) -> np.ndarray:  # pragma: no cover  # compiled
    """Blend (band, y, x) float32 pixels with their 3 x 3 means.

    The centre counts five times; see :func:`selion.training.augmentation.sharpen`.
    """
    bands, rows, columns = pixels.shape
    out = pixels.copy()
    keep = np.float32(factor)
    for band in range(bands):
        for i in range(1, rows - 1):
            for j in range(1, columns - 1):
                centre = pixels[band, i, j]
                total = np.float32(4) * centre
                for k in range(-1, 2):
                    total += (
                        pixels[band, i + k, j - 1]
                        + pixels[band, i + k, j]
                        + pixels[band, i + k, j + 1]
                    )
                smooth = total / np.float32(13)
                if clip:
                    smooth = min(max(smooth, np.float32(0)), np.float32(1))
                out[band, i, j] = smooth + keep * (centre - smooth)
    return out
