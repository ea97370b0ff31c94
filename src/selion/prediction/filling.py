"""What is missing in a quarterly mosaic, made up from what was seen near by or at other times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from selion.grid import Roi, inside, pad_roi
from selion.raster import DerivedSource, Raster, Source

REACH = 15
"""Pixels to each side whose mean may stand for a missing one."""
ENOUGH = 0.30
"""Share of that square that must have been seen, what lies beyond the image counted as not seen."""


def quarters_of(bands: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """Return the indexes of the bands that show the same at other times.

    Examples
    --------
    >>> quarters_of(("Q1_B04", "Q1_B08", "Q2_B04", "Q2_B08"))
    ((0, 2), (1, 3))
    """
    kinds: dict[str, list[int]] = {}
    for index, name in enumerate(bands):
        kinds.setdefault(name.rpartition("_")[2], []).append(index)
    return tuple(tuple(indexes) for indexes in kinds.values())


@dataclass(frozen=True)
class QuarterFilled(DerivedSource):
    """Quarterly mosaics without holes; it is itself a source, of the same number type.

    A number that is missing in one band of one quarter becomes

    1. the mean of the same band and quarter over a square of 31 x 31 pixels, where at least 30 % of
       it was seen,
    2. else the mean of the other quarters at that pixel,
    3. else it stays missing.

    Whole numbers stay whole (rounded).  A pixel is valid where all its bands are seen or filled.  A
    region read alone equals the same region of the whole, bit for bit.

    Notes
    -----
    The rule of the second edition of the global field boundaries of Fields of The World, but for
    its last step: there a pixel that no rule reaches gets the median of its tile, and is mapped
    like any other; here it has no answer.
    """

    nodatas: tuple[float | None, ...] = ()
    """The number that stands for nothing, one per band of the source."""
    quarters: tuple[tuple[int, ...], ...] = field(default=())
    """Bands that show the same at other times, see :func:`quarters_of`."""

    def read(self, roi: Roi) -> Raster:
        """Read a region; (band, y, x) in the source's number type."""
        frame = pad_roi(roi, REACH, (self.grid.shape[0], self.grid.shape[1]))
        part = self.source.read(frame)
        seen = self._seen(part)
        place = inside(roi, frame)
        if seen.all():
            return part.read(place)
        values = part.values[:, *place].copy()
        known = seen[:, *place].copy()
        for same in self.quarters:
            missing = [k for k in same if not known[k].all()]
            if missing:
                found = _fillings(part.values, seen, same, missing, place)
                for k, (numbers, reached) in found.items():
                    holes = reached & ~known[k]
                    values[k][holes] = _as(numbers[holes], values.dtype)
                    known[k] |= holes
        valid = np.asarray(known.all(axis=0))
        return Raster(values, part.grid[place], part.bands, valid, part.tags)

    def _seen(self, part: Raster) -> np.ndarray:
        """Return the (band, y, x) bool mask of the numbers that were seen."""
        seen = np.ones(part.values.shape, bool)
        if np.issubdtype(part.dtype, np.floating):
            seen &= np.isfinite(part.values)
        for k, nothing in enumerate(self.nodatas):
            if nothing is not None and not np.isnan(nothing):
                seen[k] &= part.values[k] != nothing
        if part.valid is not None:  # a mask that no band explains hides all bands
            seen &= part.valid | ~seen.all(axis=0)
        return seen


def _fillings(
    values: np.ndarray,
    seen: np.ndarray,
    same: tuple[int, ...],
    missing: list[int],
    place: Roi,
) -> Mapping[int, tuple[np.ndarray, np.ndarray]]:
    """Return band -> what stands for its missing numbers, and where that is known."""
    numbers = {k: np.where(seen[k], values[k], 0).astype(np.float64) for k in same}
    total = np.zeros(seen.shape[1:])
    count = np.zeros(seen.shape[1:], np.int64)
    for k in same:
        total += numbers[k]
        count += seen[k]
    found = {}
    for k in missing:
        near = _square_sums(seen[k].astype(np.float64), place)
        mean = _square_sums(numbers[k], place) / np.maximum(near, 1)
        others = (count - seen[k])[place]
        other = (total - numbers[k])[place] / np.maximum(others, 1)
        enough = near / (2 * REACH + 1) ** 2 >= ENOUGH
        found[k] = np.where(enough, mean, other), enough | (others > 0)
    return found


def _square_sums(plane: np.ndarray, place: Roi) -> np.ndarray:
    """Sum a (y, x) plane over the square around each pixel of a place; nothing lies beyond it.

    The terms are added in an order that knows no position, so that a place alone has the same sums.
    """
    for axis, part in enumerate(place):
        length = part.stop - part.start
        pads = [(0, 0), (0, 0)]
        pads[axis] = (REACH, REACH)
        padded = np.pad(plane, pads)
        total = np.zeros((length, plane.shape[1]) if axis == 0 else (plane.shape[0], length))
        for step in range(2 * REACH + 1):
            along = slice(part.start + step, part.start + step + length)
            total += padded[along] if axis == 0 else padded[:, along]
        plane = total
    return plane


def _as(numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        numbers = np.rint(numbers).clip(limits.min, limits.max)
    chosen: np.ndarray = numbers.astype(dtype)
    return chosen


_: type[Source] = QuarterFilled
