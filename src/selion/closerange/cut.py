"""Where greenness parts plants from soil as a model says, greenness draws the outline.

A network errs at edges and on thin leaves of kinds that it has not seen; a colour rule has sharp
edges, but knows neither where to cut nor whether colour parts anything at all.  So the network says
where to cut, and whether to.
"""

from __future__ import annotations

import numpy as np

from selion.closerange.rule import ColourRule, excess_green
from selion.segmenter import View

CLEAR = 3.3
"""Difference of the mean excess green of both sides of the cut, in standard deviations of a side,
from which on greenness parts them."""
SURE = 0.05
"""Probability below which, or above one less it, the model is sure."""
WRONG, FOUND = 0.01, 0.85
"""Of what the model is sure is soil, the most that may lie above the cut; of what it is sure are
plants, the least that must."""
GREEN = 0.0
"""Least excess green of a cut: what is less green than gray is no plant by its colour."""
LIMITS = CLEAR, SURE, WRONG, FOUND, GREEN
"""What decides, for the key of a run."""
LOW, HIGH, BINS = -0.3, 1.2, 150
"""Excess green that is looked through for a cut."""
ENOUGH = 1_000_000
"""Pixels that are looked at, roughly."""


def find_cut(
    image: np.ndarray, scores: np.ndarray, valid: np.ndarray | None = None
) -> float | None:
    """Return the greenness above which are plants, where greenness says what a model says.

    Parameters
    ----------
    image : (3, y, x) uint8 ndarray
        Red, green, blue.
    scores : (2, y, x) float32 ndarray
        What the model said of soil and plants.
    valid : (y, x) bool ndarray, optional
        Pixels that count.

    Returns
    -------
    float or None
        Of 2 g - r - b; None where the model's answer stands.

    Notes
    -----
    The cut has the greatest mean of the IoU of soil and of plants with the model's probabilities
    (their sums in place of counts).  It is taken if both sides lie :data:`CLEAR` apart and the
    pixels that the model is sure of lie on their sides.  On 102 photographs of wheat, as they are,
    dark, noisy, in warm light and at half of their size, the sides lie 1.7 to 3.2 apart where more
    than a few pixels are cut off, and none is cut; of plants that are greener than their soil 3 to
    14.  The limits were set with these and with the simulated sources of ``bench/sources.py`` in
    view, so on them they are no test.
    """
    if len(scores) != 2:
        return None
    step = max(1, int(np.sqrt(image[0].size / ENOUGH)))
    thin = slice(None, None, step), slice(None, None, step)
    known = slice(None) if valid is None else valid[thin]
    index = excess_green(image[:, *thin])[known].ravel()
    plants = scores[1][thin][known].ravel()
    cut = _best_cut(index, plants)
    if cut is None or cut <= GREEN or not _parts(index, plants, cut):
        return None
    return cut


def cut_out(image: np.ndarray, scores: np.ndarray, cut: float) -> np.ndarray:
    """Return a model's (2, y, x) float32 scores with the outline that a cut of greenness draws.

    The model's own where it stands on the side of the cut; where it does not, how far the pixel's
    greenness lies from the cut.  Each pixel of the (3, y, x) uint8 image is answered by itself.
    """
    view = View(image, (slice(0, image.shape[1]), slice(0, image.shape[2])))
    answer: np.ndarray = ColourRule(chromatic=cut)([view])[0]
    stays = (answer[1] > 0.5) == (scores[1] > scores[0])
    np.copyto(answer, scores, where=stays[None])
    return answer


def _best_cut(index: np.ndarray, plants: np.ndarray) -> float | None:
    """Return the cut of (pixel,) excess green that agrees most with (pixel,) probabilities."""
    if not index.size:
        return None
    place = np.clip((index - LOW) * (BINS / (HIGH - LOW)), 0, BINS - 1).astype(np.intp)
    # of the pixels above each cut: how many, and the sum of their probabilities
    count = np.bincount(place, minlength=BINS)[::-1].cumsum()[::-1].astype(np.float64)
    inside = np.bincount(place, plants, BINS)[::-1].cumsum()[::-1]
    total = inside[0]
    crop = inside / np.maximum(total + count - inside, 1)
    soil = (index.size - count - total + inside) / np.maximum(index.size - inside, 1)
    best = int(np.argmax((crop + soil)[1:])) + 1
    return LOW + best * (HIGH - LOW) / BINS


def _parts(index: np.ndarray, plants: np.ndarray, cut: float) -> bool:
    """Say whether a cut parts plants from soil, by itself and as the model says."""
    above = index > np.float32(cut)
    green, rest = index[above].astype(np.float64), index[~above].astype(np.float64)
    if not green.size or not rest.size:
        return False
    spread = np.sqrt((green.var() + rest.var()) / 2)
    if green.mean() - rest.mean() < CLEAR * spread:
        return False
    soil, crop = plants < SURE, plants > 1 - SURE
    if not soil.any() or not crop.any():
        return False
    return bool(above[soil].mean() <= WRONG and above[crop].mean() >= FOUND)
