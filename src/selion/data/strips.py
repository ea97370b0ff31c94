"""Splits within an image.

Strips across it, for one image or a few, where blocks of land would leave too little.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from odc.geo.geobox import GeoBox

from selion.data.splits import hashed_split
from selion.grid import Roi

if TYPE_CHECKING:
    import geopandas

GAP = 1
"""Pixels on either side of a cut that are in no split, so that chips of two splits do not touch."""
WIDE, THIN = 16, 64
"""Pixels on either side of a cut where there is room for them: at most these, and at most one in so
many of the image's side."""
PERIOD = 12
"""Chips along the image from which on there is more than one strip of each split: a large image is
not alike all over."""


@dataclass(frozen=True, slots=True)
class Strips:
    """Shares of what is outlined on each image that are kept for validation and for testing."""

    val: float = 0.2
    test: float = 0.0
    wide: bool = False
    """Whether up to :data:`WIDE` pixels on either side of a cut are in no split, instead of
    :data:`GAP`: what lies at a cut looks alike on both sides."""

    def __post_init__(self) -> None:
        hashed_split("", self.val, self.test)  # says what is wrong with the shares

    def regions(
        self, grid: GeoBox, frame: geopandas.GeoDataFrame, chip: int
    ) -> list[tuple[Roi, str]]:
        """Cut an image into strips across the longer side of what is outlined on it.

        Each strip holds its share of the outlined area (of the polygons' boxes, which is quick and
        near enough); where nothing is outlined, of the pixels.  Nothing is drawn by lot.

        Parameters
        ----------
        grid : GeoBox
            The image's.
        frame : GeoDataFrame
            Polygons in the CRS of the image.
        chip : int
            Edge of a chip in pixels.

        Returns
        -------
        list of (Roi, str)
            Strips of the image with their splits; those without a pixel are left out.
        """
        boxes = _boxes(grid, frame)
        axis = int(np.argmax(np.ptp(boxes, axis=(0, 1))))
        extent, across = int(grid.shape[axis]), slice(0, int(grid.shape[1 - axis]))
        held = _held(boxes, axis, extent)
        gap = max(GAP, min(WIDE, extent // THIN)) if self.wide else GAP
        found = []
        for start, stop, split in self._cuts(held, max(1, round(extent / (PERIOD * chip)))):
            along = slice(start + gap if start else 0, stop - gap if stop < extent else extent)
            if along.stop > along.start:
                found.append(((along, across) if axis == 0 else (across, along), split))
        return found

    def _cuts(self, held: np.ndarray, periods: int) -> Iterator[tuple[int, int, str]]:
        """Yield (start, stop, split) along one side.

        In each period training, then validation, then testing.
        """
        named = [
            (split, share)
            for split, share in (
                ("train", 1 - self.val - self.test),
                ("val", self.val),
                ("test", self.test),
            )
            if share > 1e-9
        ]
        ends = np.cumsum(np.tile([share for _, share in named], periods)) / periods
        places = np.searchsorted(held, ends) + 1
        places[-1] = len(held)
        for number, (start, stop) in enumerate(zip((0, *places[:-1]), places, strict=True)):
            yield int(start), int(stop), named[number % len(named)][0]


def _boxes(grid: GeoBox, frame: geopandas.GeoDataFrame) -> np.ndarray:
    """Return (polygon, 2, 2) first and last row and column of each polygon's box within the image.

    Of the image itself where there is none.
    """
    height, width = grid.shape
    corners = frame.bounds.to_numpy().reshape(-1, 2, 2)
    back = ~grid.transform
    x, y = corners[:, :, 0], corners[:, :, 1]
    found = np.sort(
        np.stack([back.d * x + back.e * y + back.f, back.a * x + back.b * y + back.c], axis=-1),
        axis=1,
    )
    found = np.clip(found, 0, (height, width))
    found = found[(found[:, 1] > found[:, 0]).all(1)]
    return found if len(found) else np.array([[[0.0, 0.0], [height, width]]])


def _held(boxes: np.ndarray, axis: int, extent: int) -> np.ndarray:
    """Return, for each row or column, the share of the outlined area up to its end.

    (extent,), rising to 1.
    """
    first = np.minimum(boxes[:, 0, axis].astype(int), extent - 1)
    last = np.minimum(np.maximum(np.ceil(boxes[:, 1, axis]).astype(int), first + 1), extent)
    areas = np.prod(boxes[:, 1] - boxes[:, 0], axis=1) / (last - first)
    steps = np.bincount(first, areas, extent + 1) - np.bincount(last, areas, extent + 1)
    held: np.ndarray = np.cumsum(np.maximum(np.cumsum(steps)[:extent], 0))
    return held / held[-1]
