"""An image as the set of its dates: what is not there is NaN, and bytes become numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import BadInput
from selion.grid import Roi
from selion.prediction.bands_of_dates import MISSING, DateBands
from selion.prediction.resample import Resampled, resampled
from selion.prediction.value_range import BYTES
from selion.raster import DerivedSource, Raster, Source
from selion.segmenter import InputSpec
from selion.store.valid import valid_pixels

BYTE = 255
"""The largest byte."""
REFLECTANCE = 2.0
"""Numbers that are not whole and not above this may be reflectances, or colours from 0 to 1."""
PLACES, EDGE = 5, 64
"""Along each axis so many places, of so many pixels, are looked at for a number above a byte's."""


@dataclass(frozen=True)
class Dates:
    """The dates of an image, decided."""

    indexes: tuple[tuple[int, ...], ...]
    """See :class:`selion.prediction.bands_of_dates.DateBands`."""
    gains: tuple[float, ...]
    """One per band of a date: what brings the image's numbers to those of the model's scaling."""
    names: tuple[str, ...]
    """Of all bands, as the model sees them: ``1:red``."""
    optional: tuple[bool, ...]
    """One per band of a date: whether it may be missing alone."""
    nodatas: tuple[float | None, ...]
    """The number that stands for nothing, one per band of the image."""


@dataclass(frozen=True)
class DateStack(DerivedSource):
    """A source as a model of any number of dates sees it, on its working grid; itself a source.

    (dates x bands, y, x) float32.  A pixel is missing from one date alone where that date's bands
    say so, and then NaN in all of them; where a band that may be missing is, it alone is.  A pixel
    is valid where any date is there.  Each date is resampled by itself: see
    :class:`selion.prediction.resample.Resampled`.  A region read alone equals the same region of
    the whole, bit for bit.
    """

    dates: Dates
    scale: tuple[float, float] | None = None
    """(y, x) factors to the working grid; None: it is the source's."""

    @cached_property
    def grid(self) -> GeoBox:
        """The working grid."""
        return self.source.grid if self.scale is None else self._resampled.grid

    @property
    def bands(self) -> tuple[str, ...]:
        """Those of the first date, then of the second."""
        return self.dates.names

    @property
    def dtype(self) -> np.dtype:
        """Always float32."""
        return np.dtype(np.float32)

    @cached_property
    def _resampled(self) -> Resampled:
        return Resampled(self.source, self.scale or (1.0, 1.0))

    def read(self, roi: Roi) -> Raster:
        """Read a region of the working grid; (dates x bands, y, x) float32, NaN: not there."""
        frame, steps = (roi, None) if self.scale is None else self._resampled.frame(roi)
        part = self.source.read(frame)
        grid = self.grid[roi]
        values = np.full((len(self.bands), *grid.shape), np.nan, np.float32)
        for channels, indexes, seen in self._groups(part):
            planes, known = _numbers(part.values[indexes]), seen
            planes *= self._gains[channels]
            if steps is not None:
                planes, known = resampled(planes, seen, steps)
            values[channels] = planes if known is None else np.where(known, planes, np.nan)
        valid = np.asarray(np.isfinite(values).any(0))
        return Raster(values, grid, self.bands, None if valid.all() else valid, self.tags)

    @cached_property
    def _gains(self) -> np.ndarray:
        gains = np.array(self.dates.gains * len(self.dates.indexes), np.float32)
        return gains[:, None, None]

    def _groups(self, part: Raster) -> Iterator[tuple[list[int], list[int], np.ndarray | None]]:
        """Yield channels, their indexes into the image's bands, and where they are there.

        One group for the bands that a date must have, and one for each that may be missing.
        """
        hidden = self._hidden(part)
        for date, indexes in enumerate(self.dates.indexes):
            first = date * len(indexes)
            there = [k for k, index in enumerate(indexes) if index != MISSING]
            must = [k for k in there if not self.dates.optional[k]]
            alone = self._known(part, [indexes[k] for k in must])
            seen = alone
            for k in set(there) - set(must):
                both = self._known(part, [*(indexes[m] for m in must), indexes[k]])
                seen = None if seen is None or both is None else seen | both
                yield [first + k], [indexes[k]], _without(both, hidden)
            yield [first + k for k in must], [indexes[k] for k in must], _without(seen, hidden)

    def _known(self, part: Raster, indexes: list[int]) -> np.ndarray | None:
        """Return where bands of one date are seen together; None: everywhere."""
        nodatas = [self.dates.nodatas[k] for k in indexes]
        return valid_pixels(part.values[indexes], [""] * len(indexes), nodatas)

    def _hidden(self, part: Raster) -> np.ndarray | None:
        """Return the pixels that a mask hides though no band says so: they are of no date."""
        if part.valid is None:
            return None
        hidden: np.ndarray = ~part.valid
        told = [valid_pixels(part.values, part.bands, self.dates.nodatas)]
        # not all names say of which date a band is
        told += [self._known(part, [k for k in one if k != MISSING]) for one in self.dates.indexes]
        for said in told:
            if said is not None:
                hidden &= said
        return hidden if hidden.any() else None


def _without(known: np.ndarray | None, hidden: np.ndarray | None) -> np.ndarray | None:
    if hidden is None:
        return known
    return ~hidden if known is None else known & ~hidden


def decide_dates(
    source: Source, inputs: InputSpec, found: DateBands, nodatas: tuple[float | None, ...]
) -> tuple[Dates, str]:
    """Decide what brings an image's numbers to those that a model was trained on.

    A few small places of the image are read where its number type does not tell, until a colour is
    above what a byte holds.

    Returns
    -------
    Dates, str
        And a sentence on the numbers.

    Raises
    ------
    BadInput
        If the numbers are on neither of the model's scales.
    """
    optional = tuple(name in inputs.optional for name in inputs.bands)
    names = tuple(f"{k + 1}:{name}" for k in range(len(found.dates)) for name in inputs.bands)
    plain = Dates(found.dates, (1.0,) * len(inputs.bands), names, optional, nodatas)
    colours, others = _kinds(DateStack(source, plain), inputs)
    divide = np.broadcast_to(np.asarray(inputs.scaling.divide), (len(inputs.bands),))
    gains = tuple(
        float(number / (inputs.byte_divide or number)) if byte else 1.0
        for number, byte in zip(divide, (others if k else colours for k in optional), strict=True)
    )
    note = _sentence(source, inputs, colours=colours, others=others)
    return replace(plain, gains=gains), note


def _numbers(values: np.ndarray) -> np.ndarray:
    """Return float32 numbers; what no float32 can hold is not there."""
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    if values.dtype.kind == "f":
        numbers[np.isinf(numbers)] = np.nan
    return numbers


def _kinds(stack: DateStack, inputs: InputSpec) -> tuple[bool, bool]:
    """Say whether colours, and whether bands that may be missing, are bytes."""
    dtype = stack.source.dtype
    if inputs.byte_divide is None:
        if dtype == np.uint8 and min(inputs.scaling.divide) >= BYTES:
            raise BadInput(
                "The image's numbers are bytes, and the model was trained on others (it divides by "
                f"{min(inputs.scaling.divide):g}): rescale the image, or choose a model for bytes."
            )
        return False, False
    if dtype == np.uint8:
        return True, True
    alone = np.array(stack.dates.optional * len(stack.dates.indexes))
    most = [-np.inf, -np.inf]
    height, width = stack.grid.shape
    for roi in _places((height, width)):
        values = stack.read(roi).values
        for k, planes in enumerate((values[~alone], values[alone])):
            most[k] = max(most[k], float(np.nanmax(planes, initial=-np.inf)))
        if most[0] > BYTE:
            return False, False
    if not np.isfinite(most[0]):
        return False, False  # nothing was seen: the number type is all that is known
    if np.issubdtype(dtype, np.floating) and most[0] <= REFLECTANCE:
        raise BadInput(
            f"The image's numbers ({dtype}, at most {most[0]:.3g}) are neither bytes nor "
            f"digital numbers, which the model divides by {inputs.byte_divide:g} and "
            f"{min(inputs.scaling.divide):g}: multiply reflectances by 10000, or colours from 0 to "
            "1 by 255."
        )
    return True, most[1] <= BYTE


def _places(shape: tuple[int, int]) -> Iterator[Roi]:
    """Yield small regions spread over an image, the middle one first."""
    axes = []
    for size in shape:
        starts = np.linspace(0, max(size - EDGE, 0), PLACES).astype(int).tolist()
        axes.append([slice(start, min(start + EDGE, size)) for start in starts])
    spots = [(row, column) for row in range(PLACES) for column in range(PLACES)]
    half = PLACES // 2
    for row, column in sorted(spots, key=lambda at: abs(at[0] - half) + abs(at[1] - half)):
        yield axes[0][row], axes[1][column]


def _sentence(source: Source, inputs: InputSpec, *, colours: bool, others: bool) -> str:
    if inputs.byte_divide is None:
        return ""
    number, byte = f"{min(inputs.scaling.divide):g}", f"{inputs.byte_divide:g}"
    if colours and others:
        return f"The image's numbers ({source.dtype}) are taken as bytes: divided by {byte}."
    if colours:
        return (
            f"The image's colours ({source.dtype}) are taken as bytes: divided by {byte}; "
            f"{', '.join(inputs.optional)} as digital numbers: divided by {number}."
        )
    return f"The image's numbers ({source.dtype}) are taken as digital: divided by {number}."


_: type[Source] = DateStack
