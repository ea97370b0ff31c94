"""Whether the image's numbers can be what the model was trained on.

Digital numbers, bytes and reflectances are easily mistaken.
"""

from __future__ import annotations

import numpy as np

from selion.errors import BadInput
from selion.raster import Raster
from selion.segmenter import Scaling

TINY, HUGE = 0.002, 20.0
"""Networks see numbers around 1.  Below the first (99th percentile) or above the second (median) no
image of the right scale lies."""
BYTES = 1000.0
"""A model that divides by this or more was not trained on bytes."""


def check_numbers(part: Raster, bands: tuple[int, ...], scaling: Scaling) -> bool:
    """Refuse an image whose numbers cannot have been meant for a scaling.

    Only clear cases are refused.

    Parameters
    ----------
    part : Raster
        Any part of the image, (band, y, x).
    bands : tuple of int
        Bands in the model's order.
    scaling : Scaling
        The model's; one that does nothing is not checked.

    Returns
    -------
    bool
        Whether there was a valid pixel to judge by.

    Raises
    ------
    BadInput
        If the numbers are off by orders of magnitude.
    """
    if scaling == Scaling():
        return True
    thin = part.values[list(bands), ::7, ::7]  # a 49th is enough, and is all that is copied
    known = np.isfinite(thin)
    known &= True if part.valid is None else part.valid[::7, ::7]
    pixels = thin[known]
    if not pixels.size:
        return False
    scaled = np.abs(Scaling(scaling.divide, scaling.subtract)(thin))[known]
    high, middle = float(np.percentile(scaled, 99)), float(np.median(scaled))
    low, top = (float(v) for v in np.percentile(pixels, [2, 98]))
    if high < TINY or middle > HUGE or (part.dtype == np.uint8 and min(scaling.divide) >= BYTES):
        divisor = ", ".join(f"{v:g}" for v in dict.fromkeys(scaling.divide))
        raise BadInput(
            f"The image's numbers ({part.dtype}, mostly {low:.4g} to {top:.4g}) are not on the "
            f"scale that the model was trained on (it divides by {divisor}): rescale the image, "
            "or choose a model for such numbers."
        )
    return True
