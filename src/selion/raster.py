"""Raster: bands of pixels on a grid; Source: anything that a Raster can be read from.

Sink: anything that one can be written to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import BadInput, BandMismatch, GridMismatch
from selion.grid import Roi, ground_sampling_distance

RECOGNISED, DOUBT = "recognised", "doubt"
"""Tags with a sentence on what a product is, and on what may make a map of it wrong."""
PALETTE = "palette"
"""A tag with the colours that the numbers of an image of one band stand for: red, green and blue
of each number from 0 on, two hexadecimal digits each."""
NEGATIVE = "white_is_zero"
"""A tag of a file of bytes whose 0 is white and whose largest number is black."""
SCALES, OFFSETS = "scales", "offsets"
"""Tags with one number for each band, with commas, where a file says that what it shows is number *
scale + offset."""
LONGEST_PIXEL = 4.1e7
"""Metres around the Earth: no pixel is longer."""
MASKED = "masked"
"""A tag of what has a mask, which leaves out clouds."""
STATED = "stated"
"""A tag with the bands, with commas, whose numbers are digital numbers of reflectance (10000 is a
reflectance of 1) by what a product's own metadata say: nothing is concluded from their values."""


@dataclass(frozen=True, eq=False, slots=True)
class Raster:
    """Pixels with their place.  A photograph, a composite and a probability map are all this."""

    values: np.ndarray
    """(band, y, x), any number type."""
    grid: GeoBox
    """Where; ``grid.crs is None`` means a photograph."""
    bands: tuple[str, ...]
    """One name per band: ``"planting:red"`` ..., or class names."""
    valid: np.ndarray | None = None
    """(y, x) bool; None means that every pixel is valid."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What is said about the pixels besides, as a file's own tags say it."""

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.values.shape[1:] != tuple(self.grid.shape):
            raise GridMismatch(
                f"Values of shape {self.values.shape} do not fit a grid of "
                f"{tuple(self.grid.shape)}: wanted (band, y, x)."
            )
        if len(self.bands) != self.values.shape[0]:
            raise BandMismatch(
                f"{len(self.bands)} band names were given for {self.values.shape[0]} bands: give "
                "one name per band."
            )
        if self.valid is not None and self.valid.shape != self.values.shape[1:]:
            raise GridMismatch(
                f"A valid mask of shape {self.valid.shape} does not fit values of shape "
                f"{self.values.shape}."
            )

    def __repr__(self) -> str:
        height, width = self.grid.shape
        return (
            f"<Raster {len(self.bands)} x {height} x {width} {self.dtype}, "
            f"{', '.join(self.bands)}, {self.grid.crs or 'a photograph'}>"
        )

    @property
    def dtype(self) -> np.dtype:
        """Number type of the values."""
        return self.values.dtype

    def read(self, roi: Roi) -> Raster:
        """Cut out a region, so that a Raster is its own Source.  No copy is made."""
        valid = None if self.valid is None else self.valid[roi]
        return Raster(self.values[:, *roi], self.grid[roi], self.bands, valid, self.tags)


def colour_bands(names: tuple[str, ...]) -> tuple[int, int, int]:
    """Return the indexes of red, green and blue among band names.

    The first three bands where the names do not say.
    """
    found = []
    for colour in ("red", "green", "blue"):
        matches = [
            k
            for k, name in enumerate(names)
            if name.lower().rpartition(":")[2] in (colour, colour[0])
            or name.lower().startswith(f"{colour[0]}_")
        ]
        found.append(matches[0] if matches else -1)
    if -1 in found:
        return (0, 1, 2) if len(names) >= 3 else (0, 0, 0)
    return found[0], found[1], found[2]


@runtime_checkable
class Source(Protocol):
    """A COG, a Zarr array, a photo on disk, a Raster: read by region, never whole."""

    @property
    def grid(self) -> GeoBox:
        """The whole grid."""
        ...

    @property
    def bands(self) -> tuple[str, ...]:
        """Band names."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Number type of the values that ``read`` returns."""
        ...

    @property
    def tags(self) -> Mapping[str, str]:
        """What the file says of itself: when it was taken, what its bands mean; may be empty."""
        ...

    def read(self, roi: Roi) -> Raster:
        """Read a region that lies inside the grid."""
        ...


@dataclass(frozen=True, eq=False)
class DerivedSource:
    """A Source made of another one, and as that one in all that a subclass does not say."""

    source: Source

    @property
    def grid(self) -> GeoBox:
        """The source's grid."""
        return self.source.grid

    @property
    def bands(self) -> tuple[str, ...]:
        """The source's bands."""
        return self.source.bands

    @property
    def dtype(self) -> np.dtype:
        """The source's number type."""
        return self.source.dtype

    @property
    def tags(self) -> Mapping[str, str]:
        """The source's tags."""
        return self.source.tags


@runtime_checkable
class NodataSource(Protocol):
    """A source that says which number of each band means that nothing was seen."""

    @property
    def nodatas(self) -> tuple[float | None, ...]:
        """One per band."""
        ...


def nodatas_of(source: Source) -> tuple[float | None, ...]:
    """Return the number that stands for nothing, band by band; None where there is none."""
    return source.nodatas if isinstance(source, NodataSource) else (None,) * len(source.bands)


def nodatas_of_all(sources: Sequence[Source]) -> tuple[float | None, ...]:
    """Return those of sources whose bands stand one after the other."""
    return tuple(one for source in sources for one in nodatas_of(source))


def converted_nodatas(
    nodatas: Sequence[float | None], gains: Sequence[float], shifts: Sequence[float]
) -> tuple[float | None, ...]:
    """Return what numbers that stand for nothing become where pixels become float32.

    Pixels become ``number * gain + shift``; the same arithmetic gives the same number.
    """
    return tuple(
        None if one is None else float(np.float32(one) * np.float32(gain) + np.float32(shift))
        for one, gain, shift in zip(nodatas, gains, shifts, strict=True)
    )


@runtime_checkable
class FileSource(Protocol):
    """A source that reads one file, or one address."""

    @property
    def path(self) -> Path | str:
        """Where it lies."""
        ...


@runtime_checkable
class CountingSource(Protocol):
    """Probabilities that lie in bytes: whole numbers of them cost less than floats."""

    def read_counts(self, roi: Roi) -> Raster:
        """Read a region as uint16, probabilities times 65535: what ``read`` gives, rounded."""
        ...


@runtime_checkable
class CachingSource(Protocol):
    """A source that keeps in memory what it read."""

    def rest(self) -> None:
        """Let go of it; the next read loads it again."""
        ...


def image_gsd(source: Source) -> float | None:
    """Return the ground sampling distance, in metres, of the image behind a source.

    Probabilities may lie on a finer grid than the image that they were made from; their tag
    ``image_gsd`` says what its pixels were.  Without the tag it is that of the source's own grid,
    and None for a photograph.
    """
    noted = source.tags.get("image_gsd")
    if not noted:
        return ground_sampling_distance(source.grid)
    try:
        metres = float(noted)
    except ValueError:
        metres = 0.0
    if not 0 < metres < LONGEST_PIXEL:
        raise BadInput(
            f"The tag image_gsd of a raster is {noted!r}; wanted are metres: make the raster again."
        )
    return metres


class Sink(Protocol):
    """A raster that is being written block by block.

    Regions may come in any order; each pixel is written once.
    """

    def write(self, roi: Roi, values: np.ndarray) -> None:
        """Write (band, y, x) values at a region."""
        ...


_: type[Source] = Raster
