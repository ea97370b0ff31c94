"""A land cover raster as a second opinion on fields.

Share of crop under each, and which fields it speaks against.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selion import store
from selion.errors import BadInput, GridMismatch
from selion.fields.projecting import onto, projected
from selion.grid import LONLAT, Roi, tiles
from selion.pipeline.cover_tiles import NOTICE, covers_near, is_worldcover
from selion.progress import OnStep, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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


def check_placed(grid: GeoBox) -> None:
    """Refuse, before there are fields, to lay a land cover over those of a photograph.

    Raises
    ------
    GridMismatch
        If the grid has no CRS.
    """
    if grid.crs is None:
        raise GridMismatch(
            "The image has no CRS (a photograph?), so that no land cover can be laid over its "
            "fields: leave --land-cover out, or give the image its CRS."
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
    sums = FieldSums(len(frame), 2)
    if frame.crs is None:
        raise GridMismatch(
            "The table of fields has no CRS: fields and land cover cannot be laid over each other."
        )
    near = covers_near(cover.rasters, _boxes(frame))
    for number, (path, source) in enumerate(near, 1):
        geometry = onto(frame.geometry, source.grid)
        for roi in tiles((int(source.grid.shape[0]), int(source.grid.shape[1])), BLOCK):
            sums.add(geometry, source.grid[roi], partial(_seen_and_crop, source, roi, cover.crops))
        on_step("land cover", number, len(near), str(path))
    seen, crop = sums.found()
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


def _seen_and_crop(source: Source, roi: Roi, crops: frozenset[int]) -> list[np.ndarray]:
    """Return where a region has data, and where it is crop."""
    part = source.read(roi)
    seen = np.ones(part.values.shape[1:], bool) if part.valid is None else part.valid
    return [seen, np.isin(part.values[0], sorted(crops)) & seen]


class FieldSums:
    """Sums over the pixels under each field, of rasters that are read block by block.

    A pixel is under all fields that hold its centre: those of a history lie on one another.  A
    field that holds the centre of no pixel with data, in any block of any raster, has the pixel
    under a point of it, whoever else has that pixel.

    Parameters
    ----------
    fields : int
    planes : int
        Numbers of a pixel that are summed; the first is 1 where it has data, else 0.
    """

    def __init__(self, fields: int, planes: int) -> None:
        self._sums = np.zeros((2, planes, fields))  # by centres and by points

    def add(
        self, geometry: GeoSeries, grid: GeoBox, read: Callable[[], Sequence[np.ndarray]]
    ) -> None:
        """Add the pixels of a block.

        Parameters
        ----------
        geometry : GeoSeries
            Outlines of all fields in the grid's CRS.
        grid : GeoBox
            Of the block.
        read : callable
            Returns its planes, (y, x) each; not called where no field lies.
        """
        near = np.sort(geometry.sindex.query(grid.extent.geom))
        if not len(near):
            return
        planes = read()
        shapes = geometry.to_numpy()[near]
        for rows, ids in _layers(shapes, grid):
            at = np.flatnonzero(ids)
            owner = ids.ravel()[at] - 1
            self._put(0, near[rows], owner, [plane.ravel()[at] for plane in planes])
            seen = np.bincount(owner, planes[0].ravel()[at], len(rows))
            owner, at = _points(shapes[rows], np.flatnonzero(seen == 0), grid)
            self._put(1, near[rows], owner, [plane.ravel()[at] for plane in planes])

    def found(self) -> np.ndarray:
        """Return the (plane, field) float64 sums."""
        centres, points = self._sums
        return np.where(centres[0] > 0, centres, points)

    def _put(
        self, kind: int, fields: np.ndarray, owner: np.ndarray, planes: Sequence[np.ndarray]
    ) -> None:
        for total, values in zip(self._sums[kind], planes, strict=True):
            total[fields] += np.bincount(owner, values, len(fields))


def _layers(shapes: np.ndarray, grid: GeoBox) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows of outlines that share no pixel, and their (y, x) ids 1 .. k, until all are done.

    Whether any share one is told by burning them the other way round: then the first stands.
    """
    drawn, numbers = shapes.tolist(), list(range(1, len(shapes) + 1))
    ids = store.burn(drawn, numbers, grid)
    if (ids == store.burn(drawn[::-1], numbers[::-1], grid)).all():
        yield np.arange(len(shapes)), ids
        return
    layer = _apart(shapes)
    for number in range(int(layer.max()) + 1):
        rows = np.flatnonzero(layer == number)
        yield rows, store.burn(shapes[rows].tolist(), range(1, len(rows) + 1), grid)


def _apart(shapes: np.ndarray) -> np.ndarray:
    """Give outlines numbers, (n,) int64, so that none of one number overlap.

    Each has the least that is free; those that only touch may have one number.
    """
    import shapely

    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    before = other < one
    one, other = one[before], other[before]
    inner = ~shapely.touches(shapes[one], shapes[other])
    one, other = one[inner], other[inner]
    layer = np.zeros(len(shapes), np.int64)
    order = np.argsort(one, kind="stable")
    later, starts = np.unique(one[order], return_index=True)
    for row, earlier in zip(later, np.split(other[order], starts[1:]), strict=True):
        taken = set(layer[earlier].tolist())
        layer[row] = next(k for k in range(len(taken) + 1) if k not in taken)
    return layer


def _points(shapes: np.ndarray, rows: np.ndarray, grid: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Return which of some outlines have a point on a grid, and the pixels (flat) under these."""
    import shapely

    rows = rows[~shapely.is_empty(shapes[rows])]
    place = shapely.get_coordinates(shapely.point_on_surface(shapes[rows])).reshape(-1, 2)
    column, row = np.floor(np.stack(~grid.transform * (place[:, 0], place[:, 1]))).astype(np.int64)
    height, width = (int(edge) for edge in grid.shape)
    here = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return rows[here], (row * width + column)[here]


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
