"""ColourRule: green is crop.

A Segmenter without weights, the floor that every model must beat, and the second opinion beside
one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selion.classes import CROP, ClassScheme
from selion.data.photos import read_photo
from selion.raster import Raster
from selion.segmenter import InputSpec, Segmenter, View

WINDOW = 1024
"""Edge in pixels of the windows that the rule is asked about."""
ROWS = 64
"""Rows that are looked at at once: they stay in the processor's cache."""
ENOUGH = 500_000
"""Pixels that a threshold is taken from at most, roughly."""


@dataclass(frozen=True, slots=True)
class ColourRule:
    """Red / green < ``red``, blue / green < ``blue`` and 2 green - red - blue > ``excess``.

    With ``chromatic``, excess green alone.

    Notes
    -----
    Patrignani and Ochsner, "Canopeo: A powerful new tool for measuring fractional green canopy
    cover", Agronomy Journal 107, 2015: the three conditions and their values (0.95, 0.95, 20 of
    255).  With ``chromatic``: Woebbecke et al., "Color indices for weed identification",
    Transactions of the ASAE 38, 1995: 2 g - r - b of chromatic coordinates above a threshold, which
    Otsu (1979) takes from the photograph.

    Departure: a rule answers yes or no, and a segmenter gives probabilities.  The distance to each
    threshold is put through a logistic curve and the least of the three is the answer, so that 0.5
    is exactly the rule (:func:`selion.metrics.baselines.canopeo`).  These are not frequencies and
    were calibrated on nothing; on 142 wheat photographs (EWS) the interval of cover that follows
    from them held the truth in 130.
    """

    red: float = 0.95
    blue: float = 0.95
    excess: float = 20.0
    """Of 255."""
    chromatic: float | None = None
    """Threshold of 2 g - r - b, -1 to 2; None: the three conditions."""
    softness: tuple[float, float, float] = (0.03, 6.0, 0.03)
    """Distances at which the curve has gone from 0.5 to 0.73: of the ratios, of the excess, of the
    chromatic excess."""

    @property
    def inputs(self) -> InputSpec:
        """Red, green, blue bytes.

        A pixel knows nothing of its neighbours, so windows need no overlap.
        """
        return InputSpec(("red", "green", "blue"), window=WINDOW, overlap=0.0, multiple=1)

    @property
    def classes(self) -> ClassScheme:
        """Soil and crop."""
        return CROP

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        """Return (view, class, y, x) float32 probabilities."""
        answers = np.empty((len(views), 2, *views[0].pixels.shape[1:]), np.float32)
        for answer, view in zip(answers, views, strict=True):
            answer[1] = 1 / (1 + np.exp(-np.clip(self.distance(view.pixels), -30, 30)))
            answer[0] = 1 - answer[1]
        return answers

    def distance(self, pixels: np.ndarray) -> np.ndarray:
        """Return (y, x) float32 distances of (3, y, x) bytes to the rule: above 0 is crop."""
        red, green, blue = pixels.astype(np.float32)
        by_ratio, by_excess, by_share = (np.float32(1 / soft) for soft in self.softness)
        if self.chromatic is not None:
            return (excess_green(pixels) - np.float32(self.chromatic)) * by_share
        ratios = (
            np.minimum(self.red * green - red, self.blue * green - blue)
            / np.maximum(green, 1)
            * by_ratio
        )
        return np.minimum(ratios, (2 * green - red - blue - np.float32(self.excess)) * by_excess)

    def mask(self, pixels: np.ndarray) -> np.ndarray:
        """Return the (y, x) bool answer of the rule itself for (3, y, x) bytes.

        The ratios are looked up by green, as they are monotone in the other colour; what is looked
        up is what :meth:`distance` computes.
        """
        if self.chromatic is not None or pixels.dtype != np.uint8:
            return self.distance(pixels) > 0
        levels = np.arange(256, dtype=np.float32)
        most_red, most_blue = (
            (np.float32(times) * levels[:, None] - levels > 0).sum(1).astype(np.int16)
            for times in (self.red, self.blue)
        )
        answer = np.empty(pixels.shape[1:], bool)
        for top in range(0, len(answer), ROWS):
            rows = slice(top, top + ROWS)
            red, green, blue = pixels[:, rows]
            red, blue = red.astype(np.int16), blue.astype(np.int16)
            rest = (green.astype(np.int16) << 1) - red - blue
            found = np.greater(rest, math.floor(self.excess), out=answer[rows])
            found &= red < most_red[green]
            found &= blue < most_blue[green]
        return answer


def excess_green(pixels: np.ndarray) -> np.ndarray:
    """Return 2 g - r - b of chromatic coordinates, (y, x) float32, of (3, y, x) bytes.

    Black is 0.
    """
    colours = pixels.astype(np.float32)
    total = np.maximum(colours.sum(0), 1)
    return (3 * colours[1] - colours.sum(0)) / total


def otsu_rule(image: Raster) -> ColourRule:
    """Return the chromatic rule with Otsu's threshold of this photograph."""
    from skimage.filters import threshold_otsu

    values = image.values.reshape(3, -1) if image.valid is None else image.values[:, image.valid]
    step = 1 if values.shape[1] <= ENOUGH else values.shape[1] // ENOUGH | 1
    index = excess_green(values[:, None, ::step])
    threshold = float(threshold_otsu(index)) if index.size and float(np.ptp(index)) > 0 else 0.0
    return ColourRule(chromatic=threshold)


def rule_mask(photo: Path, *, otsu: bool) -> np.ndarray:
    """Return the (y, x) uint8 mask that a rule makes of a photograph: 1 is crop.

    Canopeo's rule, or with ``otsu`` excess green with a threshold of this photograph.
    """
    picture = read_photo(photo, gray=True).image
    rule = otsu_rule(picture) if otsu else ColourRule()
    return rule.mask(picture.values).astype(np.uint8)


_: type[Segmenter] = ColourRule
