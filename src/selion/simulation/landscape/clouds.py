"""Clouds, their shadows, and the scene classification that marks them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# Scene classification of Sentinel-2 level 2A.
(
    SCL_SHADOW,
    SCL_VEGETATION,
    SCL_BARE,
    SCL_WATER,
    SCL_UNCLASSIFIED,
    SCL_MEDIUM,
    SCL_HIGH,
    SCL_CIRRUS,
) = 3, 4, 5, 6, 7, 8, 9, 10
_WHITE = np.array([0.58, 0.59, 0.61, 0.60], np.float32)


def _fractal(
    shape: tuple[int, int], gsd: float, rng: np.random.Generator, largest: float
) -> np.ndarray:
    """Return fractal noise of zero mean and unit deviation, (y, x) float32.

    Its largest waves are ``largest`` metres long.
    """
    field = np.zeros(shape, np.float32)
    rows, columns = (
        np.arange(shape[0], dtype=np.float32) * gsd,
        np.arange(shape[1], dtype=np.float32) * gsd,
    )
    wave, weight = largest, 1.0
    while wave > 2.5 * gsd:
        lattice = rng.standard_normal(
            (int(shape[0] * gsd / wave) + 5, int(shape[1] * gsd / wave) + 5)
        ).astype(np.float32)
        field += weight * _stretch(lattice, rows / wave + 1.5, columns / wave + 1.5)
        wave, weight = wave / 2.1, weight * 0.55
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def _stretch(lattice: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Interpolate a lattice at the outer product of rows and columns.

    It is done separably, with a smooth step.
    """
    for axis, at in ((0, rows), (1, columns)):
        first = at.astype(int)
        t = at - first
        t = (t * t * (3 - 2 * t)).astype(np.float32)
        t = t[:, None] if axis == 0 else t[None, :]
        lattice = np.take(lattice, first, axis) * (1 - t) + np.take(lattice, first + 1, axis) * t
    return lattice


def add_clouds(
    bands: np.ndarray, gsd: float, share: float, sun: tuple[float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Put clouds and their shadows over an image.

    Parameters
    ----------
    bands : (4 or 3, y, x) float32 ndarray
        Reflectance at red, green, blue(, near infrared).
    gsd : float
        Ground sampling distance in metres.
    share : float
        Share of the image that clouds cover, 0 to 1.
    sun : tuple of float
        Azimuth and elevation, radian.
    rng : numpy.random.Generator

    Returns
    -------
    bands : (4 or 3, y, x) float32 ndarray
    scl : (y, x) uint8 ndarray
        Scene classification: 3 shadow, 4 vegetation, 5 bare, 6 water, 7 unclassified, 8 and 9
        cloud, 10 cirrus.
    """
    scl = clear_scl(bands)
    if share <= 0:
        return bands, scl
    field = _fractal(bands.shape[1:], gsd, rng, 2500.0)
    edge = np.quantile(field, 1 - share)
    thickness = np.clip((field - edge) / 0.45, 0, 1) ** 0.7 * 0.97
    thickness = thickness.astype(np.float32)
    veil = 0.28 * np.clip(_fractal(bands.shape[1:], gsd, rng, 6000.0) - 1.4, 0, 1).astype(
        np.float32
    )
    reach = rng.uniform(700, 1800) / np.tan(sun[1]) / gsd
    moved = (-reach * -np.cos(sun[0]), -reach * np.sin(sun[0]))
    shadow = ndimage.shift(thickness, moved, order=1, mode="constant")
    lit = bands * (1 - 0.62 * shadow * (1 - thickness))
    cover = np.maximum(thickness, veil)
    bright = (
        _WHITE[: len(bands), None, None]
        * (0.8 + 0.45 * thickness)
        * np.float32(rng.uniform(0.85, 1.15))
    )
    clouded = lit * (1 - cover) + bright * cover
    scl[veil > 0.06] = SCL_CIRRUS
    scl[(shadow > 0.3)] = SCL_SHADOW
    scl[thickness > 0.02] = SCL_MEDIUM
    scl[thickness > 0.55] = SCL_HIGH
    return clouded.astype(np.float32), scl


def clear_scl(bands: np.ndarray) -> np.ndarray:
    """Classify a clear image by NDVI and brightness, (y, x) uint8."""
    if len(bands) < 4:
        return np.full(bands.shape[1:], SCL_UNCLASSIFIED, np.uint8)
    ndvi = (bands[3] - bands[0]) / np.maximum(bands[3] + bands[0], 1e-4)
    scl = np.full(bands.shape[1:], SCL_UNCLASSIFIED, np.uint8)
    scl[ndvi > 0.35] = SCL_VEGETATION
    scl[(ndvi <= 0.25) & (bands[3] > 0.12)] = SCL_BARE
    scl[(ndvi < 0.0) & (bands[3] < 0.12)] = SCL_WATER
    return scl
