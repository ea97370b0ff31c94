"""Samples as sets of dates: what is not there travels beside the pixels through all that is done.

Pixels that a date lacks are filled while a window is turned, blurred and resampled, and a plane of
1 and 0 beside the truth is moved with them; in the end they become
:data:`selion.models.dates.absent.ABSENT`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from selion.errors import BadInput
from selion.models.dates.absent import ABSENT
from selion.prediction.bands_of_dates import choose_dates
from selion.prediction.date_stack import DateStack, decide_dates
from selion.raster import Raster, Source, nodatas_of
from selion.sample import Sample
from selion.segmenter import InputSpec
from selion.training.draws import Draw
from selion.training.recipe import Absent


def as_dates(sample: Sample, inputs: InputSpec) -> Sample:
    """Return a sample whose image is the set of its dates, float32 with NaN.

    Raises
    ------
    BandMismatch, BadInput
        If bands or numbers are not those that the model wants; the message holds the sample's key.
    """
    source: Source = sample.image
    try:
        found = choose_dates(source.bands, inputs)
        dates, _ = decide_dates(source, inputs, found, nodatas_of(source))
    except BadInput as error:
        raise type(error)(f"{sample.key}: {error}") from error
    return replace(sample, image=DateStack(source, dates))


def filled_dates(part: Raster) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fill what is not there, band by band, by the mean of what is.

    Returns
    -------
    (band, y, x) float32 ndarray, (y, x) bool ndarray, (band, y, x) int32 ndarray
        Pixels without a hole; where any date is there; 1 where a number was there, else 0.
    """
    pixels = part.values.copy()
    there = np.isfinite(pixels)
    for plane, seen in zip(pixels, there, strict=True):
        plane[~seen] = plane[seen].mean(dtype=np.float64) if seen.any() else 0
    return pixels, np.asarray(there.any(0)), there.astype(np.int32)


def without_absent(
    pixels: np.ndarray, there: np.ndarray, spec: Absent, inputs: InputSpec, draw: Draw
) -> np.ndarray:
    """Put ABSENT where nothing was there, and where the recipe takes a band or a date away.

    Parameters
    ----------
    pixels : (dates x bands, y, x) float32 ndarray
        Scaled.
    there : (dates x bands, y, x) int32 ndarray
        0: not there.
    spec : Absent
    inputs : InputSpec
    draw : Draw
    """
    each = len(inputs.bands)
    gone = there == 0
    optional = [inputs.bands.index(name) for name in inputs.optional]
    if optional and draw.happens("absent band", spec.band):
        gone.reshape(-1, each, *gone.shape[1:])[:, optional] = True
    count = len(pixels) // each
    if count > 1 and spec.date > 0:
        rng = draw.rng("absent date")
        lost = rng.random(count) < spec.date
        lost[int(rng.integers(count))] = False
        gone |= np.repeat(lost, each)[:, None, None]
    kept: np.ndarray = np.where(gone, np.float32(ABSENT), np.maximum(pixels, 0))
    return kept


def padded(views: list[np.ndarray]) -> list[np.ndarray]:
    """Give (dates x bands, y, x) views of fewer dates absent ones, so that all have as many."""
    most = max(len(pixels) for pixels in views)
    return [
        np.pad(pixels, ((0, most - len(pixels)), (0, 0), (0, 0)), constant_values=ABSENT)
        if len(pixels) < most
        else pixels
        for pixels in views
    ]
