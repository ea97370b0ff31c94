"""Whether a photograph can be measured at all, and whether what was measured should be believed.

Numbers, and reasons in words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from selion.closerange.cover import Cover

TILE, TILES = 384, 3
"""Sharpness is measured in up to 3 x 3 tiles of 384 pixels at full resolution, so that it costs the
same for any photograph."""
BLURRED = 0.012
"""Sharpness below which a photograph is called blurred; see :func:`measure_quality` for what it was
set on."""
DARK, BRIGHT = 5, 250
"""A pixel is clipped dark if no colour is above the first, and clipped bright if one is at or above
the second (of 255)."""
MUCH_DARK, MUCH_BRIGHT = 0.25, 0.08
"""Shares of clipped pixels that are too many."""
DIM, GLARING = 35.0, 225.0
"""Mean luma of a photograph that is too dark, and too bright."""
WIDE, UNSURE = 0.3, 0.2
"""Width of the interval of cover, and share of pixels between 0.25 and 0.75, at which a model knows
too little."""
NARROW, MANIFOLD = 0.1, 3.0
"""Little cover is unsure as well where the interval is wider than the first and reaches to this
many times the cover."""
HALF, FEW, HARDLY = 0.5, 0.11, 0.1
"""A wide interval is no doubt where at least the first, of what may be plants, surely is, and at
most the second of the pixels lies between 0.25 and 0.75: it is that of many edges in a dense
canopy.  Less than the third is that of plants that were hardly seen."""
FAR, APART = 0.25, 0.5
"""A model disagrees with the colour rule where cover differs by more than the first and the masks
overlap by less than the second."""
SPECKLED, BARE = 0.25, 0.005
"""Share of the vegetation in specks that is noise rather than plants, where there is more cover
than the second."""
SMALL = 64
"""Pixels along the shorter side below which nothing can be said."""


@dataclass(frozen=True, slots=True)
class PhotoQuality:
    """What the pixels say of the photograph itself."""

    sharpness: float
    """Variance of the Laplacian of Gaussian over the variance of the brightness, the median of
    tiles; NaN if there is nothing to be sharp."""
    brightness: float
    """Mean luma, 0 to 255."""
    dark: float
    """Share of pixels that are clipped dark."""
    bright: float
    """Share of pixels that are clipped bright."""
    colourless: bool
    """Whether red, green and blue are the same almost everywhere."""


def measure_quality(
    image: np.ndarray, valid: np.ndarray | None = None, sigma: float = 1.0
) -> PhotoQuality:
    """Measure sharpness and exposure of a photograph.

    Parameters
    ----------
    image : (3, y, x) uint8 ndarray
        Red, green, blue.
    valid : (y, x) bool ndarray, optional
        Pixels that count for the exposure.
    sigma : float
        Pixels of the Gaussian before the Laplacian: keeps the sensor's noise out of the measure.

    Notes
    -----
    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative study", ICPR
    2000: the variance of the Laplacian.  It grows with contrast, so it is divided by the variance
    of the brightness, which makes it free of exposure and of a gain; and with noise, so the
    photograph is smoothed by one pixel first.  Measured on 142 wheat, 71 chilli and 20 simulated
    photographs: as they are, all but two chilli ones (one badly, one slightly out of focus) lie at
    0.0126 and above; blurred by a Gaussian of two pixels, all chilli and simulated ones and 85 % of
    the wheat ones lie below the limit of 0.012, and with noise of 3 of 255 added after the blur 99,
    95 and 74 %.  For a model that works at another scale the Gaussian grows with it and the
    Laplacian is normalised by its square (Lindeberg, "Feature detection with automatic scale
    selection", IJCV 30, 1998), which gives about the value of the photograph at that scale.
    """
    step = max(1, math.isqrt(image[0].size // 1_000_000))
    thin = image[:, ::step, ::step]
    seen = thin.reshape(3, -1) if valid is None else thin[:, valid[::step, ::step]]
    if not seen.shape[1]:
        return PhotoQuality(*(float("nan"),) * 4, colourless=False)
    top, low = seen.max(0), seen.min(0)
    return PhotoQuality(
        sharpness=sharpness(image, sigma),
        brightness=float(_luma(seen).mean(dtype=np.float64)),
        dark=float((top <= DARK).mean()),
        bright=float((top >= BRIGHT).mean()),
        colourless=bool(np.percentile(top - low, 99) <= 3),
    )


def sharpness(image: np.ndarray, sigma: float = 1.0) -> float:
    """Return the sharpness of a (3, y, x) uint8 photograph; see :func:`measure_quality`."""
    found = []
    for rows in _places(image.shape[1]):
        for columns in _places(image.shape[2]):
            gray = _luma(image[:, rows, columns])
            spread = float(gray.var(dtype=np.float64))
            if spread > 1 and min(gray.shape) >= 8:
                found.append(
                    sigma**4
                    * float(ndimage.gaussian_laplace(gray, sigma).var(dtype=np.float64))
                    / spread
                )
    return float(np.median(found)) if found else float("nan")


def _places(size: int) -> list[slice]:
    """Return up to three spans of a side, spread evenly."""
    if size <= TILE * TILES:
        edges = np.linspace(0, size, max(1, round(size / TILE)) + 1).astype(int)
        return [slice(int(a), int(b)) for a, b in pairwise(edges)]
    starts = np.linspace(0, size - TILE, TILES).astype(int)
    return [slice(int(start), int(start) + TILE) for start in starts]


def _luma(image: np.ndarray) -> np.ndarray:
    """Return float32 luma (ITU-R BT.601) of red, green, blue on the first axis."""
    red, green, blue = image.astype(np.float32)
    luma: np.ndarray = (
        np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
    )
    return luma


def appearance(image: np.ndarray, valid: np.ndarray | None = None) -> dict[str, float]:
    """Measure what tells photographs of one light and camera from those of another.

    Parameters
    ----------
    image : (3, y, x) uint8 ndarray
        Red, green, blue.
    valid : (y, x) bool ndarray, optional
        Pixels that count.

    Returns
    -------
    dict
        ``brightness``, mean luma, 0 to 255; ``red_green`` and ``blue_green``, binary logarithm of
        the ratio of the means; ``noise``, standard deviation of luma from pixel to pixel over its
        mean.  NaN if there is nothing to measure.

    Notes
    -----
    Noise: Immerkaer, "Fast noise variance estimation", Computer Vision and Image Understanding 64,
    1996, with the median of absolute values instead of their mean (Donoho and Johnstone, 1994),
    which edges of leaves do not move.  Fine texture that is sharp counts as noise.
    """
    step = max(1, math.isqrt(image[0].size // 250_000))
    thin = image[:, ::step, ::step]
    seen = thin.reshape(3, -1) if valid is None else thin[:, valid[::step, ::step]]
    names = ("brightness", "red_green", "blue_green", "noise")
    if not seen.shape[1]:
        return dict.fromkeys(names, math.nan)
    red, green, blue = np.maximum(seen.mean(1, dtype=np.float64), 0.5)
    brightness = float(_luma(seen).mean(dtype=np.float64))
    found = []
    for rows in _places(image.shape[1]):
        for columns in _places(image.shape[2]):
            gray = _luma(image[:, rows, columns])
            twice = gray[:, :-2] - 2 * gray[:, 1:-1] + gray[:, 2:]
            waves = twice[:-2] - 2 * twice[1:-1] + twice[2:]
            if waves.size:
                found.append(float(np.median(np.abs(waves))) / (6 * 0.6745))
    noise = float(np.median(found)) / max(brightness, 0.5) if found else math.nan
    values = (brightness, math.log2(red / green), math.log2(blue / green), noise)
    return dict(zip(names, values, strict=True))


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the colour rule, a second opinion, says beside the model."""

    cover: float
    overlap: float
    """Intersection over union of the two masks; 1 where both are empty."""


def compare(mask: np.ndarray, rule: np.ndarray, valid: np.ndarray | None = None) -> Opinion:
    """Compare a model's (y, x) mask with that of the colour rule."""
    ours, theirs = (mask, rule) if valid is None else (mask & valid, rule & valid)
    union = np.count_nonzero(ours | theirs)
    pixels = ours.size if valid is None else np.count_nonzero(valid)
    overlap = np.count_nonzero(ours & theirs) / union if union else 1.0
    return Opinion(np.count_nonzero(theirs) / max(pixels, 1), float(overlap))


def reasons(
    quality: PhotoQuality,
    cover: Cover,
    specks: float,
    opinion: Opinion | None,
    shape: tuple[int, int],
    window: int,
) -> list[str]:
    """Say why the numbers of a photograph should not be trusted without looking at its overlay.

    Empty if nothing speaks against them.

    Parameters
    ----------
    quality : PhotoQuality
    cover : Cover
    specks : float
        Share of the vegetation that lies in pieces too small to be counted.
    opinion : Opinion or None
        None where there is no second opinion.
    shape : (y, x)
        Of the photograph as the model saw it.
    window : int
        Edge of the model's window; 0 if it looks at single pixels.
    """
    dark = f"{_percent(quality.dark)} black, brightness {quality.brightness:.0f}"
    bright = f"{_percent(quality.bright)} clipped, brightness {quality.brightness:.0f}"
    tests = {
        f"too small ({shape[1]} x {shape[0]} px)": min(shape) < SMALL,
        f"smaller than a window of the model ({window} px)": SMALL <= min(shape) < window // 4,
        "no colour": quality.colourless,
        f"blurred (sharpness {quality.sharpness:.3f})": quality.sharpness < BLURRED,
        "nothing to see": math.isnan(quality.sharpness) and min(shape) >= SMALL,
        f"underexposed ({dark})": quality.dark > MUCH_DARK or quality.brightness < DIM,
        f"overexposed ({bright})": quality.bright > MUCH_BRIGHT or quality.brightness > GLARING,
        f"model unsure (cover {_percent(cover.low)} to {_percent(cover.high)})": is_unsure(cover),
        f"speckled ({_percent(specks)} of the plants in specks)": specks > SPECKLED
        and cover.cover > BARE,
    }
    if opinion is not None:
        words = (
            f"disagrees with the colour rule ({_percent(cover.cover)} against "
            f"{_percent(opinion.cover)})"
        )
        tests[words] = abs(cover.cover - opinion.cover) > FAR and opinion.overlap < APART
    return [words for words, true in tests.items() if true]


def is_unsure(cover: Cover) -> bool:
    """Say whether a model knows too little of the cover.

    Notes
    -----
    An interval grows with the edges of leaves, so that its width alone condemns dense canopies
    whose masks are right.  What tells them from wrong ones is the share of what may be plants
    (probability above 0.05) that surely is (above 0.95).  The limits were set on what networks of
    the kind of crops-wide answered to a trial of wheat that they had not seen, and judged on
    another network, crops-rgb; the figures are in ``docs/crops.md``.
    """
    sure = cover.low / max(cover.high, 1e-9)
    dense = sure >= HALF and cover.unsure <= FEW
    vague = sure < HARDLY or cover.high > MANIFOLD * cover.cover
    return (
        (cover.width > WIDE and not dense)
        or cover.unsure > UNSURE
        or (cover.width > NARROW and vague)
    )


def _percent(share: float) -> str:
    return "unknown" if math.isnan(share) else f"{share:.0%}"
