"""The first edition's probabilities: one array of the world in degrees, read by chunk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import BadInput
from selion.grid import Roi, overlap, pad_roi, whole
from selion.imagery import Area
from selion.imagery.globe import Box
from selion.imagery.mosaic import MosaicLayer
from selion.prediction.scores import PUBLISHED_BANDS
from selion.raster import DerivedSource, Raster
from selion.store.stack import StackSource
from selion.store.urls import shown
from selion.world.editions import Edition

PLACE = ("predictions", "zarr", "alpha", "global.zarr")
BANDS = ("field", "field_boundaries")
"""Of the array, in the order of :data:`PUBLISHED_BANDS`; the background is the third."""
AROUND = 64
"""Pixels around an area that are at hand for resampling."""
SEASON = "published"


@dataclass(frozen=True, eq=False)
class FirstScores(DerivedSource):
    """A part of the array: field + 1 and boundary + 1 of 255 (uint16), 0 where nothing is."""

    frame: Roi
    """Of the array."""

    @property
    def grid(self) -> GeoBox:
        """Of the part."""
        return self.source.grid[self.frame]

    @property
    def bands(self) -> tuple[str, ...]:
        """Field and boundary."""
        return PUBLISHED_BANDS

    @property
    def dtype(self) -> np.dtype:
        """Always uint16."""
        return np.dtype(np.uint16)

    def read(self, roi: Roi) -> Raster:
        """Read a region of the part."""
        rows, columns = self.frame
        there = (
            slice(roi[0].start + rows.start, roi[0].stop + rows.start),
            slice(roi[1].start + columns.start, roi[1].stop + columns.start),
        )
        part = self.source.read(there)
        chosen = part.values[[self.source.bands.index(name) for name in BANDS]]
        share = chosen.astype(np.float32) / (255 if chosen.dtype.kind in "ui" else 1)
        valid = np.isfinite(share).all(0)
        if part.valid is not None:
            valid &= part.valid
        stored = np.rint(np.where(valid, share, 0).clip(0, 1) * 255).astype(np.uint16) + 1
        return Raster(np.where(valid, stored, 0).astype(np.uint16), self.grid[roi], self.bands)


def open_part(path: str, year: int, frame: Roi) -> FirstScores:
    """Open a part of the array; of ``path`` what follows ``#`` only tells parts apart."""
    return FirstScores(StackSource.open(path_of_part(path) or path, year), frame)


def path_of_part(path: str) -> str | None:
    """Return the array's own path of ``PATH#NUMBER``, a part of it; None if it is none.

    Examples
    --------
    >>> path_of_part("https://host/a.zarr?sig=key#0"), path_of_part("32UPU.tif")
    ('https://host/a.zarr?sig=key', None)
    """
    found = re.fullmatch(r"(.+\.zarr(?:\?[^#]*)?)#\d+", path, flags=re.DOTALL)
    return None if found is None else found[1]


def first_layers(edition: Edition, area: Area, year: int) -> list[MosaicLayer]:
    """Return the array's parts around an area: one, or two over the antimeridian.

    Raises
    ------
    BadInput
        If the array has not that year, or not those bands.
    UnreadableFile, FetchFailed
        If it cannot be read.
    """
    path = edition.place(*PLACE) if not edition.address.endswith(".zarr") else edition.address
    source = StackSource.open(path, year)
    missing = [name for name in BANDS if name not in source.bands]
    if missing:
        raise BadInput(
            f"{shown(path)} has the bands {', '.join(source.bands)}; wanted are {', '.join(BANDS)}."
        )
    layers = []
    for number, box in enumerate(area.boxes):
        frame = _frame(source.grid, box)
        if frame is None:
            continue
        layers.append(
            MosaicLayer(
                f"{path}#{number}",
                source.grid[frame],
                f"{PLACE[-1]} {number}",
                SEASON,
                (0, 1),
                names=PUBLISHED_BANDS,
                opener=partial(open_part, year=year, frame=frame),
            )
        )
    return layers


def _frame(grid: GeoBox, box: Box) -> Roi | None:
    """Return the region of the array around a box of degrees; None if it lies beside it."""
    west, south, east, north = box
    back = ~grid.transform
    (left, top), (right, bottom) = back * (west, north), back * (east, south)
    rows = slice(max(int(np.floor(top)), 0), max(int(np.ceil(bottom)), 0))
    columns = slice(max(int(np.floor(left)), 0), max(int(np.ceil(right)), 0))
    found = overlap((rows, columns), whole(grid))
    return None if found is None else pad_roi(found, AROUND, (grid.shape[0], grid.shape[1]))
