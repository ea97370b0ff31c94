"""The bands of a product as one image: reflectances, and what its mask hides is not there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import GridMismatch
from selion.grid import Roi
from selion.raster import DOUBT, MASKED, RECOGNISED, FileSource, Raster, Source
from selion.store.regions import checked_region
from selion.store.valid import combine, valid_pixels


@runtime_checkable
class Closing(Protocol):
    """A source that holds a file open."""

    def close(self) -> None:
        """Close it; the next read opens it again."""


@dataclass(frozen=True)
class ProductBand:
    """A band of a product."""

    name: str
    """Its colour."""
    source: Source
    index: int = 0
    """Of the file's bands."""
    gain: float = 1.0
    """Digital number = number * gain + shift, where 10000 is a reflectance of 1."""
    shift: float = 0.0


@dataclass(frozen=True)
class ProductMask:
    """The band of a product that says which pixels show the ground."""

    source: Source
    codes: frozenset[int] = frozenset()
    """Hidden are pixels that have one of these numbers,"""
    bits: int = 0
    """or one of these bits."""
    shown: frozenset[int] = frozenset()
    """If there are some: hidden are pixels that have none of these numbers."""

    def hidden(self, roi: Roi, times: int) -> np.ndarray:
        """Return (y, x) bool of a region whose pixels are so many times finer."""
        rows, columns = roi
        coarse = (
            slice(rows.start // times, -(-rows.stop // times)),
            slice(columns.start // times, -(-columns.stop // times)),
        )
        codes = self.source.read(coarse).values[0]
        found = np.isin(codes, sorted(self.codes))
        if self.bits:
            found |= (codes.astype(np.int64) & self.bits) != 0
        if self.shown:
            found |= ~np.isin(codes, sorted(self.shown))
        fine = found.repeat(times, axis=0).repeat(times, axis=1)
        top, left = coarse[0].start * times, coarse[1].start * times
        whole: np.ndarray = fine[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        return whole


@dataclass(frozen=True, eq=False)
class ProductSource:
    """A product as a source of reflectances: (band, y, x), 10000 is a reflectance of 1.

    float32 where its numbers had to be converted.  Picklable and thread-safe.
    """

    path: str
    """As given: a folder, an archive, or a file."""
    parts: tuple[ProductBand, ...]
    """On one grid."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """``datetime``, ``product``; sentences under
    :data:`selion.raster.RECOGNISED` and ``DOUBT``."""
    mask: ProductMask | None = None
    missing: float | None = 0.0
    """The number that stands for nothing."""
    more: tuple[str, ...] = ()
    """Files beside ``path`` that decide what is read."""
    state: str = ""
    """What its content is known by, where ``path`` does not tell."""

    @property
    def grid(self) -> GeoBox:
        """That of its bands."""
        return self.parts[0].source.grid

    @property
    def bands(self) -> tuple[str, ...]:
        """Colours."""
        return tuple(part.name for part in self.parts)

    @property
    def dtype(self) -> np.dtype:
        """float32, or the files' own where nothing is converted."""
        if any((part.gain, part.shift) != (1.0, 0.0) for part in self.parts):
            return np.dtype(np.float32)
        return np.result_type(*(part.source.dtype for part in self.parts))

    @property
    def nodata(self) -> None:
        """Nothing: what is missing is told by ``valid``."""
        return

    @property
    def files(self) -> tuple[str, ...]:
        """What is read: of a folder the files of bands, mask and metadata, and no others."""
        if not os.path.isdir(self.path):  # noqa: PTH112  # it may be an address
            return (self.path, *self.more)
        rasters = [part.source for part in self.parts]
        rasters += [] if self.mask is None else [self.mask.source]
        paths = (one.path for one in rasters if isinstance(one, FileSource))
        return (*dict.fromkeys(map(str, paths)), *self.more)

    @property
    def descriptions(self) -> tuple[str, ...]:
        """Colours."""
        return self.bands

    def read(self, roi: Roi) -> Raster:
        """Read a region.

        Raises
        ------
        UnreadableFile
            If a file of it ends too early.
        """
        roi = checked_region(roi, self.grid, self.path)
        values, valid = self._numbers(roi)
        nothing = (self.missing,) * len(self.parts)
        valid = combine(valid, valid_pixels(values, self.bands, nothing))
        if self.mask is not None:
            times = round(self.mask.source.grid.transform.a / self.grid.transform.a)
            hidden = self.mask.hidden(roi, max(times, 1))
            valid = combine(valid, ~hidden if hidden.any() else None)
        if self.dtype != values.dtype:
            gains, shifts = (
                np.array(some, np.float32)[:, None, None]
                for some in zip(*((part.gain, part.shift) for part in self.parts), strict=True)
            )
            values = values.astype(np.float32) * gains + shifts
        return Raster(values, self.grid[roi], self.bands, valid, self.tags)

    def _numbers(self, roi: Roi) -> tuple[np.ndarray, np.ndarray | None]:
        """Read each file once; (band, y, x) as they are in it, and what it says is valid."""
        files = {id(part.source): part.source for part in self.parts}
        read = {key: source.read(roi) for key, source in files.items()}
        valid = None
        for raster in read.values():
            valid = combine(valid, raster.valid)
        planes = [read[id(part.source)].values[part.index] for part in self.parts]
        return np.stack(planes), valid

    def close(self) -> None:
        """Close this thread's files; the next read opens them again."""
        for part in self.parts:
            if isinstance(part.source, Closing):
                part.source.close()


def checked_product(source: ProductSource, masked: str) -> ProductSource:
    """Return a product whose bands lie on one grid, and whose mask fits it.

    Parameters
    ----------
    source : ProductSource
    masked : str
        What is said of it where a mask hides some of its pixels.

    Raises
    ------
    GridMismatch
        If its bands do not.
    """
    for part in source.parts:
        if part.source.grid != source.grid:
            raise GridMismatch(
                f"The bands of {source.path} do not lie on one grid ({part.name}: "
                f"{part.source.grid.shape}, not {source.grid.shape}): the product is incomplete; "
                "fetch it again."
            )
    if source.mask is None:
        return source
    over, own = source.mask.source.grid, source.grid
    times = round(over.transform.a / own.transform.a)
    fits = (
        times >= 1
        and over.crs == own.crs
        and abs(over.transform.c - own.transform.c) < 0.01
        and abs(over.transform.f - own.transform.f) < 0.01
        and all(
            -(-size // times) <= coarse for size, coarse in zip(own.shape, over.shape, strict=True)
        )
    )
    if fits:
        said = f"{source.tags.get(RECOGNISED, '')} {masked}"
        return replace(source, tags={**source.tags, RECOGNISED: said, MASKED: "yes"})
    doubt = "Its mask does not lie on its bands, so clouds are not left out."
    told = " ".join(filter(None, (source.tags.get(DOUBT, ""), doubt)))
    return replace(source, mask=None, tags={**source.tags, DOUBT: told})


_: type[Source] = ProductSource
