"""Numbers of any kind brought to bytes: each band between two percentiles of the whole image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from selion.grid import Roi, tiles
from selion.raster import DerivedSource, Raster, Source

TOP = 255.0
"""What the higher percentile becomes: the numbers are then those of bytes."""
READ = 2048
"""Edge in pixels of the squares that are read to count; it decides memory only."""
_HALF = 16
"""Bits of the lower half of a number's key."""


@dataclass(frozen=True)
class Stretched(DerivedSource):
    """A source in float32 from 0 to 255, where the numbers of the whole image decide.

    In each band the lower percentile becomes 0 and the higher one 255; what lies beyond is cut.
    Percentiles are those of all valid numbers above 0, exact, and of the whole source whatever is
    read of it: they are found when the first region is read, by one or two passes over the image.

    Notes
    -----
    Lavreniuk et al., Delineate Anything (arXiv 2504.02534) and PRUE (arXiv 2603.27101), supplement
    A: from the 1st to the 99th percentile of each image.  As in the code of both, numbers of 0 and
    below do not count, and an image of bytes is left as it is (:func:`is_stretched`).
    """

    percentiles: tuple[float, float] = (1.0, 99.0)
    chosen: tuple[int, ...] = ()
    """Bands whose percentiles are found; the others stay as they are."""

    @property
    def dtype(self) -> np.dtype:
        """Always float32."""
        return np.dtype(np.float32)

    @cached_property
    def bounds(self) -> np.ndarray:
        """(band, 2) float64: what becomes 0 and what becomes 255, of each of ``chosen``."""
        return percentiles_of(self.source, self.chosen, self.percentiles)

    def read(self, roi: Roi) -> Raster:
        """Read a region; (band, y, x) float32."""
        part = self.source.read(roi)
        values = part.values.astype(np.float32)
        for band, (low, high) in zip(self.chosen, self.bounds, strict=True):
            plane = part.values[band].astype(np.float64)
            width = high - low if high > low else 1.0
            values[band] = np.clip((plane - low) * (TOP / width), 0, TOP)
        return Raster(values, part.grid, part.bands, part.valid, part.tags)


def is_stretched(source: Source, percentiles: tuple[float, float] | None) -> bool:
    """Say whether a model that wants percentiles gets them: bytes are what they are."""
    return percentiles is not None and source.dtype != np.uint8


def percentiles_of(
    source: Source, bands: tuple[int, ...], percentiles: tuple[float, float]
) -> np.ndarray:
    """Return exact percentiles of a source's valid numbers above 0, in little memory.

    Parameters
    ----------
    source : Source
        Numbers of more than 32 bits are taken as float32.
    bands : tuple of int
    percentiles : (low, high)
        From 0 to 100; between two numbers it is interpolated linearly.

    Returns
    -------
    (band, 2) float64 ndarray
        (0, 255) for a band without such a number.

    Notes
    -----
    Numbers above 0 are ordered as their bits are.  The upper halves of all are counted in a first
    pass, and in a second one the lower halves of those whose upper half is wanted.  Whole numbers
    of 16 bits or fewer have no upper half: one pass is enough.
    """
    short = np.issubdtype(source.dtype, np.integer) and source.dtype.itemsize <= 2
    shift = 0 if short else _HALF
    upper = np.zeros((len(bands), 1 << _HALF), np.int64)
    for keys in _keys(source, bands, short=short):
        for k, key in enumerate(keys):
            upper[k] += np.bincount(key >> shift, minlength=1 << _HALF)
    totals = upper.cumsum(1)
    places = [_places(int(total[-1]), percentiles) for total in totals]
    tops = [
        np.searchsorted(total, at, side="right") for total, at in zip(totals, places, strict=True)
    ]
    numbers = (
        [top.astype(np.float64) for top in tops]
        if short
        else _refined(
            source,
            bands,
            tops,
            [at - (t - u)[top] for at, t, u, top in zip(places, totals, upper, tops, strict=True)],
        )
    )
    return np.array(
        [
            _between(found, int(total[-1]), percentiles) if total[-1] else (0.0, TOP)
            for found, total in zip(numbers, totals, strict=True)
        ]
    )


def _keys(source: Source, bands: tuple[int, ...], *, short: bool) -> Iterator[list[np.ndarray]]:
    """Yield, region by region, the (n,) int64 keys of each band's valid numbers above 0."""
    height, width = source.grid.shape
    for roi in tiles((height, width), READ):
        part = source.read(roi)
        keys = []
        for band in bands:
            values = part.values[band] if part.valid is None else part.values[band][part.valid]
            if not short:
                values = values.astype(np.float32)
            values = values[np.isfinite(values) & (values > 0)]
            keys.append((values if short else values.view(np.uint32)).astype(np.int64))
        yield keys


def _places(count: int, percentiles: tuple[float, float]) -> np.ndarray:
    """Return the places (from 0) of the numbers that percentiles lie between; empty for none."""
    if not count:
        return np.zeros(0, np.int64)
    first = [int(percentile / 100 * (count - 1)) for percentile in percentiles]
    return np.array([min(at + more, count - 1) for at in first for more in (0, 1)])


def _refined(
    source: Source, bands: tuple[int, ...], tops: list[np.ndarray], rests: list[np.ndarray]
) -> list[np.ndarray]:
    """Return float64 numbers by the upper half of their keys and their place among its like."""
    lower = [{int(top): np.zeros(1 << _HALF, np.int64) for top in found} for found in tops]
    for keys in _keys(source, bands, short=False):
        for counts, key in zip(lower, keys, strict=True):
            for top in counts:
                own = key[key >> _HALF == top] & ((1 << _HALF) - 1)
                counts[top] += np.bincount(own, minlength=1 << _HALF)
    return [
        np.array(
            [
                (int(top) << _HALF)
                | int(np.searchsorted(counts[int(top)].cumsum(), rest, side="right"))
                for top, rest in zip(found, at, strict=True)
            ],
            np.uint32,
        )
        .view(np.float32)
        .astype(np.float64)
        for counts, found, at in zip(lower, tops, rests, strict=True)
    ]


def _between(
    numbers: np.ndarray, count: int, percentiles: tuple[float, float]
) -> tuple[float, float]:
    """Interpolate linearly between the numbers on both sides of each percentile."""
    parts = [percentile / 100 * (count - 1) % 1 for percentile in percentiles]
    low, high = (
        float(numbers[2 * k] + (numbers[2 * k + 1] - numbers[2 * k]) * part)
        for k, part in enumerate(parts)
    )
    return low, high
