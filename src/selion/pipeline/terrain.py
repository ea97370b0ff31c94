"""Elevation and slope of fields, from an elevation model that the user names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selion import store
from selion.errors import GridMismatch
from selion.fields.projecting import onto
from selion.grid import Roi, metres_per_unit, pad_roi, tiles
from selion.pipeline.land_cover import burn_fields
from selion.progress import OnStep, silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geopandas import GeoDataFrame

    from selion.raster import Source

ELEVATION, SLOPE, STEEP = "elev_mean", "slope_mean", "frac_slope_gt30"
"""Columns: mean elevation in the model's unit, mean slope in degrees, share steeper than 30."""
STEEP_DEGREES = 30.0
BLOCK = 2048


def terrain_of(
    frame: GeoDataFrame, rasters: Sequence[Path | str], on_step: OnStep = silent
) -> dict[str, np.ndarray]:
    """Measure the ground under fields.

    Parameters
    ----------
    frame : GeoDataFrame
        Fields in any CRS.
    rasters : sequence of path
        Elevations in metres, all tiles; where two overlap, both count.
    on_step : callable, optional

    Returns
    -------
    dict
        (n,) float64 ndarrays under :data:`ELEVATION`, :data:`SLOPE` and :data:`STEEP`; NaN where no
        raster has data.  A field in which no pixel has its centre has those of the pixel under a
        point of it.

    Raises
    ------
    GridMismatch
        If fields or a raster have no CRS.

    Notes
    -----
    Slope by Horn, "Hill shading and the reflectance map", Proc. IEEE 69, 1981, with pixels measured
    on the ellipsoid at each row; at the edge of the data a missing neighbour is taken to be as high
    as the pixel itself.
    """
    sums = np.zeros((4, len(frame)))
    for number, path in enumerate(rasters, 1):
        source = store.open_raster(path)
        if source.grid.crs is None or frame.crs is None:
            raise GridMismatch(
                f"{path if source.grid.crs is None else 'The table of fields'} has no CRS: fields "
                "and elevations cannot be laid over each other."
            )
        geometry = onto(frame.geometry, source.grid)
        for roi in tiles((int(source.grid.shape[0]), int(source.grid.shape[1])), BLOCK):
            burnt = burn_fields(geometry, source.grid[roi])
            if not len(burnt.near):
                continue
            height, slope = read_slope(source, roi)
            known = np.isfinite(height)
            for row, values in enumerate((known, height, slope, slope > STEEP_DEGREES)):
                sums[row, burnt.near] += burnt.sums(np.where(known, values, 0))
        on_step("elevation", number, len(rasters), str(path))
    count = np.where(sums[0] > 0, sums[0], np.nan)
    return {name: sums[row] / count for row, name in enumerate((ELEVATION, SLOPE, STEEP), 1)}


def read_slope(source: Source, roi: Roi) -> tuple[np.ndarray, np.ndarray]:
    """Read elevation, NaN where there is none, and slope in degrees: (y, x) float64 each."""
    wide = pad_roi(roi, 1, (int(source.grid.shape[0]), int(source.grid.shape[1])))
    part = source.read(wide)
    height = part.values[0].astype(np.float64)
    if part.valid is not None:
        height[~part.valid] = np.nan
    # one pixel more on each side, also where the raster ends
    missing = [
        (1 - (inner.start - outer.start), 1 - (outer.stop - inner.stop))
        for inner, outer in zip(roi, wide, strict=True)
    ]
    padded = np.pad(height, missing, constant_values=np.nan)
    centre = padded[1:-1, 1:-1]
    rows, columns = centre.shape
    around = {
        (y, x): np.where(
            np.isnan(cell := padded[1 + y : 1 + y + rows, 1 + x : 1 + x + columns]), centre, cell
        )
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
    }
    edge_y, edge_x = _edges(source, roi)
    east = sum(around[y, 1] * weight - around[y, -1] * weight for y, weight in WEIGHTS) / 8 / edge_x
    south = (
        sum(around[1, x] * weight - around[-1, x] * weight for x, weight in WEIGHTS) / 8 / edge_y
    )
    slope = np.degrees(np.arctan(np.hypot(east, south)))
    return centre, np.where(np.isnan(centre), 0.0, slope)


WEIGHTS = ((-1, 1.0), (0, 2.0), (1, 1.0))


def _edges(source: Source, roi: Roi) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges of pixels in metres, (y, 1) each: at each row, in the raster's middle."""
    a, _, c, _, e, f = source.grid.transform[:6]
    y = f + e * (np.arange(roi[0].start, roi[0].stop) + 0.5)
    x = np.full(len(y), c + a * source.grid.shape[1] / 2)
    steps = metres_per_unit(str(source.grid.crs), x, y) @ np.array([[a, 0], [0, e]])
    edges = np.hypot(steps[:, 0], steps[:, 1])
    return edges[:, 1:], edges[:, :1]
