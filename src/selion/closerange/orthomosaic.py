"""An orthomosaic as photographs are: bytes of red, green and blue, and where nothing is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from selion import store
from selion.errors import BadInput
from selion.grid import Roi, check_place, photo_grid, roi_shape, tiles, whole
from selion.raster import DerivedSource, Raster, Source, colour_bands
from selion.store import GeoTiffSource

BANDS = ("red", "green", "blue")
TILE, TILES = 256, 64
"""An orthomosaic is sampled by so many tiles of so many pixels along a side."""


@dataclass(frozen=True, eq=False)
class Orthomosaic(DerivedSource):
    """The colours of an image with a place."""

    colours: tuple[int, int, int]
    """Its bands of red, green and blue."""
    name: str
    fingerprint: str
    black: bool
    """Whether black is where nothing is: the file does not say it in any other way."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Red, green, blue."""
        return BANDS

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how it is read."""
        said = "The orthomosaic has neither nodata nor transparency: black is taken for no data."
        return (said,) if self.black else ()

    def read(self, roi: Roi) -> Raster:
        """Read a region."""
        read = self.source.read(roi)
        values = np.ascontiguousarray(read.values[list(self.colours)])
        valid: np.ndarray | None = values.any(axis=0) if self.black else read.valid  # type: ignore[assignment]
        return Raster(values, read.grid, BANDS, valid, read.tags)


def open_orthomosaic(path: Path | str) -> Orthomosaic:
    """Open an orthomosaic.

    Raises
    ------
    BadInput
        If it has no CRS, fewer than three bands, or numbers that are not bytes.
    UnreadableFile, GridMismatch
        If it cannot be opened, or has no place that can be used.
    """
    source: Source = store.open_raster(path)
    name = store.shown(str(path))
    if source.grid.crs is None:
        raise BadInput(
            f"{name} has no CRS, so plots have no place in it; wanted is an orthomosaic with one. "
            "Photographs are measured by: selion crops FOLDER -o OUT."
        )
    check_place(source.grid, name)
    if len(source.bands) < 3:
        raise BadInput(f"{name} has {len(source.bands)} bands; wanted are red, green and blue.")
    if source.dtype != np.uint8:
        raise BadInput(
            f"{name} holds {source.dtype} numbers; wanted are bytes, 0 to 255: convert it with "
            "gdal_translate -ot Byte -scale."
        )
    return Orthomosaic(
        source,
        colour_bands(source.bands),
        name,
        store.fingerprint(path),
        black=isinstance(source, GeoTiffSource) and not source.says_what_is_valid,
    )


def sample(ground: Orthomosaic) -> Raster:
    """Return tiles from all over an orthomosaic, one below the other, as one photograph."""
    read = [ground.read(roi) for roi in spread(ground.grid)]
    whole = [one for one in read if one.values.shape[1:] == read[0].values.shape[1:]]
    values = np.concatenate([one.values for one in whole], 1)
    valid = np.concatenate(
        [np.ones(one.values.shape[1:], bool) if one.valid is None else one.valid for one in whole]
    )
    return Raster(values, photo_grid((values.shape[1], values.shape[2])), BANDS, valid)


def spread(grid: GeoBox) -> list[Roi]:
    """Return tiles spread evenly over a grid."""
    every = tiles(roi_shape(whole(grid)), TILE)
    return every[:: max(1, len(every) // TILES)]


def colours_on(ground: Orthomosaic, grid: GeoBox, roi: Roi) -> np.ndarray:
    """Return the colours of a region of another grid over the same ground.

    Parameters
    ----------
    ground : Orthomosaic
    grid : GeoBox
        Finer or coarser pixels of the same ground.
    roi : (slice, slice)
        Of that grid.

    Returns
    -------
    (3, y, x) uint8 ndarray
        Of the nearest pixel.
    """
    if grid == ground.grid:
        return ground.read(roi).values
    height, width = ground.grid.shape
    y, x = (have / size for have, size in zip((height, width), grid.shape, strict=True))
    rows, columns = (
        np.clip(((np.arange(span.start, span.stop) + 0.5) * step).astype(int), 0, size - 1)
        for span, step, size in zip(roi, (y, x), (height, width), strict=True)
    )
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    values = ground.read(box).values
    found: np.ndarray = values[:, rows - rows[0]][:, :, columns - columns[0]]
    return found
