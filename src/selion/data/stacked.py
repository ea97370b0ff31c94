"""Sources made of others: bands of several files side by side, a piece of a larger image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import BandMismatch
from selion.grid import Roi, same_grid
from selion.raster import (
    OFFSETS,
    SCALES,
    STATED,
    DerivedSource,
    Raster,
    Source,
    nodatas_of,
    nodatas_of_all,
)


@dataclass(frozen=True, eq=False)
class Stacked:
    """Bands of several sources on one grid, one after the other."""

    sources: tuple[Source, ...]
    bands: tuple[str, ...]

    @property
    def grid(self) -> GeoBox:
        """That of the first source."""
        return self.sources[0].grid

    @property
    def dtype(self) -> np.dtype:
        """The number type that holds all of them."""
        return np.result_type(*(source.dtype for source in self.sources))

    @property
    def tags(self) -> Mapping[str, str]:
        """What the sources say of their numbers, band by band, as maps of the same files have it.

        Where one says a scale, the bands of another that says none are digital numbers (10000 is a
        reflectance of 1).
        """
        told: dict[str, str] = {}
        if any(SCALES in source.tags for source in self.sources):
            for tag, usual in ((SCALES, "0.0001"), (OFFSETS, "0")):
                none = [",".join(usual for _ in one.bands) for one in self.sources]
                pairs = zip(self.sources, none, strict=True)
                told[tag] = ",".join(one.tags.get(tag) or said for one, said in pairs)
        before = (
            band in source.tags.get(STATED, "").split(",")
            for source in self.sources
            for band in source.bands
        )
        stated = [name for name, known in zip(self.bands, before, strict=True) if known]
        return told | ({STATED: ",".join(stated)} if stated else {})

    @property
    def nodatas(self) -> tuple[float | None, ...]:
        """Those of all sources."""
        return nodatas_of_all(self.sources)

    def read(self, roi: Roi) -> Raster:
        """Read a region of all bands; a pixel is valid where it is in every source."""
        parts = [source.read(roi) for source in self.sources]
        masks = [part.valid for part in parts if part.valid is not None]
        valid = np.logical_and.reduce(masks) if masks else None
        values = (
            parts[0].values if len(parts) == 1 else np.concatenate([part.values for part in parts])
        )
        return Raster(values, parts[0].grid, self.bands, valid)


def stack(sources: Sequence[Source], names: Sequence[str], what: str = "the image") -> Stacked:
    """Put sources on the same grid side by side.

    Parameters
    ----------
    sources : sequence of Source
    names : sequence of str
        One name per band.
    what : str
        What it is, for messages.

    Raises
    ------
    GridMismatch, BandMismatch
        If the grids differ, or the number of bands.
    """
    for other in sources[1:]:
        same_grid(sources[0].grid, other.grid, (f"the first part of {what}", "the next"))
    count = sum(len(source.bands) for source in sources)
    if count != len(names):
        raise BandMismatch(
            f"{what} has {count} bands; wanted are {len(names)}: {', '.join(names)}."
        )
    return Stacked(tuple(sources), tuple(names))


@dataclass(frozen=True, eq=False)
class BandSubset(DerivedSource):
    """Some bands of a source, under names of their own."""

    indexes: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def bands(self) -> tuple[str, ...]:
        """The names given."""
        return self.names

    @property
    def tags(self) -> Mapping[str, str]:
        """The source's tags, those of its numbers as the chosen bands have them."""
        told = dict(self.source.tags)
        for tag in (SCALES, OFFSETS):
            if tag in told:
                each = told[tag].split(",")
                told[tag] = ",".join(each[k] for k in self.indexes)
        if STATED in told:
            stated, before = told[STATED].split(","), self.source.bands
            pairs = zip(self.names, self.indexes, strict=True)
            told[STATED] = ",".join(name for name, k in pairs if before[k] in stated)
        return told

    @property
    def nodatas(self) -> tuple[float | None, ...]:
        """Those of the chosen bands."""
        held = nodatas_of(self.source)
        return tuple(held[index] for index in self.indexes)

    def read(self, roi: Roi) -> Raster:
        """Read a region of the chosen bands."""
        raster = self.source.read(roi)
        return Raster(raster.values[list(self.indexes)], raster.grid, self.bands, raster.valid)


@dataclass(frozen=True, eq=False)
class Cut(DerivedSource):
    """A piece of a source."""

    roi: Roi

    @property
    def grid(self) -> GeoBox:
        """The piece's grid."""
        return self.source.grid[self.roi]

    @property
    def nodatas(self) -> tuple[float | None, ...]:
        """The source's."""
        return nodatas_of(self.source)

    def read(self, roi: Roi) -> Raster:
        """Read a region of the piece."""
        rows, columns = roi
        top, left = self.roi[0].start, self.roi[1].start
        return self.source.read(
            (
                slice(top + rows.start, top + rows.stop),
                slice(left + columns.start, left + columns.stop),
            )
        )


_: tuple[type[Source], ...] = (Stacked, BandSubset, Cut)
