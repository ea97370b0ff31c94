"""burn: polygons onto a grid, for comparing a table with a raster and for making masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox


def burn(
    geometries: Sequence[Any], values: Iterable[int], grid: GeoBox, *, all_touched: bool = False
) -> np.ndarray:
    """Burn polygons into a raster of ids; a pixel belongs to the polygon that holds its centre.

    Parameters
    ----------
    geometries : sequence
        Polygons in the grid's CRS (anything with ``__geo_interface__``).
    values : iterable of int
        One positive id per polygon.
    grid : GeoBox
        Where.
    all_touched : bool
        Whether every pixel counts that a geometry touches, and not only those whose centre it
        holds: for lines.

    Returns
    -------
    (y, x) int32 ndarray
        0 is no polygon; where polygons overlap, the later one stands.
    """
    from rasterio.features import rasterize

    # one without a point covers no pixel, and rasterio would warn of it
    shapes = [
        (shape, value)
        for shape, value in zip(geometries, values, strict=True)
        if not getattr(shape, "is_empty", False)
    ]
    if not shapes:
        return np.zeros(tuple(grid.shape), np.int32)
    burnt: np.ndarray = rasterize(
        shapes,
        out_shape=tuple(grid.shape),
        transform=grid.transform,
        dtype=np.int32,
        all_touched=all_touched,
    )
    return burnt
