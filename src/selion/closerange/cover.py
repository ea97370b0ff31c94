"""Cover: the share of the ground that plants hide.

Also how far the model itself would let it be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SURE = 0.95
"""Low and high cover leave 5 % on either side: together a 90 % interval."""


@dataclass(frozen=True, slots=True)
class Cover:
    """Shares of the valid pixels, 0 to 1; NaN if there is none."""

    cover: float
    """Pixels whose most probable class is vegetation: the area of the mask."""
    expected: float
    """Mean probability of vegetation."""
    low: float
    high: float
    unsure: float
    """Share of pixels with a probability between 0.25 and 0.75."""

    @property
    def width(self) -> float:
        """Of the interval."""
        return self.high - self.low


def measure_cover(
    vegetation: np.ndarray, mask: np.ndarray, valid: np.ndarray | None = None
) -> Cover:
    """Measure cover and its interval.

    Parameters
    ----------
    vegetation : (y, x) float32 ndarray
        Probability of vegetation.
    mask : (y, x) bool ndarray
        Where vegetation is the most probable class.
    valid : (y, x) bool ndarray, optional
        Pixels that count.

    Returns
    -------
    Cover

    Notes
    -----
    What the interval is.  A probability map says how sure the model is of each pixel, not which
    pixels are wrong *together*, and that decides how wrong their sum is.  If errors were
    independent, those of a million pixels would cancel out and the interval would be absurdly thin;
    in truth whole leaves are missed at once.  The cautious end is taken: all pixels err together,
    as if one threshold u, uniform in 0..1, decided them all, so that the cover is the share of
    pixels with p > u.  Its mean over u is exactly the mean probability, and its central 90 % run
    from the share with p > 0.95 to the share with p > 0.05.  No other dependence with these
    probabilities has more spread (comonotone sums are the largest in convex order: Dhaene et al.,
    "The concept of comonotonicity in actuarial science and finance", Insurance: Mathematics and
    Economics 31, 2002).

    What it is not.  It is what the model admits: it holds the truth 90 times in 100 only if the
    probabilities are calibrated for photographs like this one, and a model that is surely wrong has
    a thin interval.  It knows nothing of lens, angle, leaf movement or how the photographs were
    sampled from the field.  Colour rules have no calibrated probabilities at all.
    """
    known, inside = (
        (vegetation.ravel(), mask.ravel()) if valid is None else (vegetation[valid], mask[valid])
    )
    if not known.size:
        return Cover(*(float("nan"),) * 5)

    def share(where: np.ndarray) -> float:
        return float(np.count_nonzero(where)) / known.size

    cover = share(inside)
    low, high = share(known > SURE), share(known > 1 - SURE)
    return Cover(
        cover,
        float(known.mean(dtype=np.float64)),
        min(low, cover),
        max(high, cover),
        share((known > 0.25) & (known < 0.75)),
    )
