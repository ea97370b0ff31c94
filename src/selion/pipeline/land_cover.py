"""A land cover raster as a second opinion on fields.

Share of crop under each, and which fields it speaks against.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selion import store
from selion.errors import BadInput, GridMismatch
from selion.fields.projecting import onto, projected
from selion.grid import LONLAT, tiles
from selion.pipeline.cover_tiles import NOTICE, covers_near, is_worldcover
from selion.progress import OnStep, silent

if TYPE_CHECKING:
    from geopandas import GeoDataFrame, GeoSeries
    from odc.geo.geobox import GeoBox

    from selion.raster import Source

SHARE = "land_cover:crop_share"
"""The column that the filter adds."""
BLOCK = 2048
"""Edge in pixels of the parts in which a raster of land cover is read."""


@dataclass(frozen=True, slots=True)
class LandCover:
    """Rasters of land cover codes, and which codes are crops."""

    rasters: tuple[Path | str, ...]
    """All tiles, folders of tiles, or ``worldcover`` (:mod:`selion.pipeline.cover_tiles`); where
    two overlap, both count."""
    crops: frozenset[int]
    """Codes under which fields may lie, for example 40 in ESA WorldCover."""
    least: float = 0.5
    """Fields with a smaller share of crop are dropped; 0 drops none and only adds the column."""

    def __post_init__(self) -> None:
        if not self.rasters or not self.crops or not 0 <= self.least <= 1:
            raise BadInput(
                f"A --land-cover of {len(self.rasters)} rasters, crop codes {sorted(self.crops)} "
                f"and least share {self.least} was given; wanted are a raster, the codes of its "
                "crops (--land-cover-crops) and a share of 0 to 1."
            )


def crop_shares(frame: GeoDataFrame, cover: LandCover, on_step: OnStep = silent) -> np.ndarray:
    """Return the share of crop among the land cover pixels of each field.

    Parameters
    ----------
    frame : GeoDataFrame
        Fields in any CRS.
    cover : LandCover
    on_step : callable, optional

    Returns
    -------
    (n,) float64 ndarray
        NaN where no raster has data.  A field in which no pixel has its centre is judged by the
        pixel under a point of it.

    Raises
    ------
    GridMismatch
        If fields or a raster have no CRS.
    """
    counts = np.zeros((2, len(frame)), np.int64)
    if frame.crs is None:
        raise GridMismatch(
            "The table of fields has no CRS: fields and land cover cannot be laid over each other."
        )
    near = covers_near(cover.rasters, _boxes(frame))
    for number, (path, source) in enumerate(near, 1):
        counts += _count(onto(frame.geometry, source.grid), source, cover.crops)
        on_step("land cover", number, len(near), str(path))
    seen, crop = counts
    return np.where(seen > 0, crop / np.maximum(seen, 1), np.nan)


def _boxes(frame: GeoDataFrame) -> list[tuple[float, float, float, float]]:
    """Return a box in degrees around fields, two where they lie on both sides of 180 degrees."""
    if frame.empty:
        return []
    bounds = projected(frame.geometry, LONLAT).explode().bounds.to_numpy()
    sides = (
        [bounds]
        if np.ptp(bounds[:, 0]) <= 180
        else [bounds[bounds[:, 0] < 0], bounds[bounds[:, 0] >= 0]]
    )
    return [
        (
            float(some[:, 0].min()),
            float(some[:, 1].min()),
            float(some[:, 2].max()),
            float(some[:, 3].max()),
        )
        for some in sides
    ]


@dataclass(frozen=True, eq=False)
class BurntFields:
    """Fields on a grid."""

    near: np.ndarray
    """(k,) int64: which fields touch it, ascending."""
    ids: np.ndarray
    """(y, x) int32: 1 .. k by their order at the centres of pixels, 0 for none."""
    small: np.ndarray
    """(m,) int64: which of the k hold no pixel's centre, and have the pixel under a point of them;
    many may have the same."""
    under: np.ndarray
    """(m,) int64: the number of that pixel, row after row."""

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of (y, x) values over the pixels of each of the (k,) fields."""
        flat = np.asarray(values, np.float64).ravel()
        found = np.bincount(self.ids.ravel(), flat, len(self.near) + 1)[1:]
        found[self.small] += flat[self.under]
        return found


def burn_fields(geometry: GeoSeries, grid: GeoBox) -> BurntFields:
    """Burn the fields that touch a grid.

    Parameters
    ----------
    geometry : GeoSeries
        Outlines in the grid's CRS.
    grid : GeoBox

    Returns
    -------
    BurntFields
    """
    near = np.sort(geometry.sindex.query(grid.extent.geom))
    shapes = geometry.to_numpy()[near]
    ids = (
        store.burn(shapes, range(1, len(near) + 1), grid)
        if len(near)
        else np.zeros(tuple(grid.shape), np.int32)
    )
    return BurntFields(near, ids, *_under_points(ids, shapes, grid))


def _count(geometry: GeoSeries, source: Source, crops: frozenset[int]) -> np.ndarray:
    """Return (2, n) counts of pixels with data and of crop pixels, block by block."""
    counts = np.zeros((2, len(geometry)), np.int64)
    height, width = source.grid.shape
    for roi in tiles((height, width), BLOCK):
        burnt = burn_fields(geometry, source.grid[roi])
        if not len(burnt.near):
            continue
        part = source.read(roi)
        seen = np.ones(part.values.shape[1:], bool) if part.valid is None else part.valid
        is_crop = np.isin(part.values[0], sorted(crops)) & seen
        for row, values in enumerate((seen, is_crop)):
            counts[row, burnt.near] += burnt.sums(values).astype(np.int64)
    return counts


def _under_points(
    ids: np.ndarray, shapes: np.ndarray, grid: GeoBox
) -> tuple[np.ndarray, np.ndarray]:
    """Return the fields that hold no pixel's centre, and the pixel under a point of each."""
    missing = np.flatnonzero(np.bincount(ids.ravel(), minlength=len(shapes) + 1)[1:] == 0)
    to_pixel = ~grid.transform
    height, width = ids.shape
    found = []
    for k in missing.tolist():
        point = shapes[k].representative_point()
        column, row = (int(np.floor(v)) for v in to_pixel * (point.x, point.y))
        if 0 <= row < height and 0 <= column < width:
            found.append((k, row * width + column))
    small, under = np.array(found, np.int64).reshape(-1, 2).T
    return small, under


def keep_cropland(
    frame: GeoDataFrame, cover: LandCover, on_step: OnStep = silent
) -> tuple[GeoDataFrame, str]:
    """Drop the fields that a land cover speaks against, and say how many.

    Returns
    -------
    (GeoDataFrame, str)
        The fields that stay, with the column :data:`SHARE`, and one sentence.  Fields where the
        land cover has no data stay.
    """
    shares = crop_shares(frame, cover, on_step)
    unknown = np.isnan(shares)
    stay = unknown | (shares >= cover.least)
    source = f" ({NOTICE})" if any(map(is_worldcover, cover.rasters)) else ""
    kept = frame.assign(**{SHARE: shares.astype(np.float32)})[stay]
    dropped = int((~stay).sum())
    note = (
        f"Land cover{source}: {dropped:,} of {len(frame):,} fields dropped, less than "
        f"{cover.least:.0%} of their pixels are crop"
    )
    return kept, note + (
        f"; {int(unknown.sum()):,} fields lie where it has no data and stay."
        if unknown.any()
        else "."
    )
