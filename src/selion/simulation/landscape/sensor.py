"""The instrument: point-spread, misregistration, haze, noise, and the numbers a file holds."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def spread(bands: np.ndarray, sigma: float, shift: tuple[float, float]) -> np.ndarray:
    """Blur each band of (band, y, x) float32 with a Gaussian of ``sigma`` pixels.

    Its centre is moved by ``shift`` (y, x) pixels.
    """
    offsets = np.arange(-3, 4)
    kernels = [np.exp(-((offsets - s) ** 2) / (2 * sigma**2)) for s in shift]
    rows, columns = ((k / k.sum()).astype(np.float32) for k in kernels)
    return np.stack(
        [
            ndimage.correlate1d(
                ndimage.correlate1d(band, rows, axis=0, mode="nearest"),
                columns,
                axis=1,
                mode="nearest",
            )
            for band in bands
        ]
    )


def air(bands: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Add the haze that is left after correction and the gain of a date.

    (4 or 3, y, x), red, green, blue(, near infrared).
    """
    haze = strength * np.array([0.010, 0.014, 0.022, 0.004], np.float32)[: len(bands)]
    gain = np.exp(rng.normal(0, 0.06)) * np.exp(rng.normal(0, 0.025, len(bands)))
    return (bands * gain[:, None, None].astype(np.float32) + haze[:, None, None]).astype(np.float32)


def noise(bands: np.ndarray, rng: np.random.Generator, share: float, floor: float) -> np.ndarray:
    """Add sensor noise.

    ``share`` of the signal and ``floor`` in reflectance, one standard deviation.
    """
    return bands + rng.standard_normal(bands.shape, np.float32) * (
        np.float32(share) * bands + np.float32(floor)
    )


def to_sentinel(bands: np.ndarray) -> np.ndarray:
    """Reflectance to uint16, x 10000; 0 is kept for nodata."""
    return np.clip(np.rint(bands * 10_000), 1, 16_000).astype(np.uint16)


def to_aerial(bands: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Reflectance to uint8 as an aerial photograph shows it: exposure, tone curve, colour cast.

    (3, y, x).
    """
    gamma = rng.uniform(1.65, 2.2)
    # Exposure follows the scene, but not all the way: a photograph is toned together with its
    # neighbours.
    gain = rng.uniform(2.0, 3.0) * float(
        np.clip((0.085 / max(float(np.median(bands[1])), 1e-3)) ** 0.5, 0.6, 1.7)
    )
    cast = np.exp(rng.normal(0, 0.09, 3))
    lift = rng.uniform(0.004, 0.03) * np.array([0.9, 1.0, 1.25])
    exposed = np.clip(
        bands * (gain * cast)[:, None, None].astype(np.float32)
        + lift[:, None, None].astype(np.float32),
        0,
        None,
    )
    bent = exposed ** np.float32(1 / gamma)
    # The shoulder of the tone curve keeps roofs and roads from burning out.
    bent = np.where(bent > 0.8, 0.8 + 0.2 * np.tanh((bent - 0.8) / 0.2), bent)
    return np.clip(np.rint(bent * 255), 1, 255).astype(np.uint8)
