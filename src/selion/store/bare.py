"""Files of which GDAL takes a band for alpha that is none: red, green, blue and near infrared.

GDAL calls the fourth of four bands of bytes alpha unless it is told otherwise, and whatever reads
with masks then sees the ground only where it is brightest in the infrared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import from_bounds
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window

from selion.store.geotiff import alpha_band

FINER = 2
"""Pixels of the file that are read for one of what is warped, along an edge, at most."""
MARGIN = 2
"""Pixels of the file around what is warped."""
Box = tuple[float, float, float, float]


def is_bare(dataset: Any) -> bool:
    """Say whether what GDAL calls alpha in an open dataset is a band like the others."""
    return (
        ColorInterp.alpha in dataset.colorinterp
        and dataset.nodata is None
        and alpha_band(dataset, dataset.descriptions) is None
    )


def read_bare(dataset: Any, bands: Sequence[int], window: Any, shape: Any) -> np.ndarray:
    """Read (band, y, x) values of a window, of all where there is none, in a shape."""
    place = None if window is None else Window.from_slices(*window)
    return np.asarray(dataset.read(list(bands), window=place, out_shape=(len(bands), *shape)))


def warp_bare(
    dataset: Any, bands: Sequence[int], crs: str, box: Box, shape: tuple[int, int], *, smooth: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Warp what lies in a box of a CRS.

    Returns
    -------
    values : (band, y, x) ndarray
    valid : (y, x) bool ndarray
        Where the file lies.
    """
    values, known = np.zeros((len(bands), *shape), dataset.dtypes[0]), np.zeros(shape, np.uint8)
    west, south, east, north = transform_bounds(crs, dataset.crs, *box, densify_pts=21)
    corners = [~dataset.transform * (x, y) for x in (west, east) for y in (south, north)]
    (left, right), (top, bottom) = (
        (max(math.floor(min(at)) - MARGIN, 0), min(math.ceil(max(at)) + MARGIN, size))
        for at, size in zip(zip(*corners, strict=True), dataset.shape[::-1], strict=True)
    )
    width, height = right - left, bottom - top
    if min(width, height) < 1:
        return values, known > 0
    step = max(1.0, width / (FINER * shape[1]), height / (FINER * shape[0]))
    size = math.ceil(height / step), math.ceil(width / step)
    window = Window(left, top, width, height)
    near = dataset.read(list(bands), window=window, out_shape=(len(bands), *size))
    place = dataset.window_transform(window) * Affine.scale(width / size[1], height / size[0])
    how = Resampling.bilinear if smooth else Resampling.nearest
    for source, target, way in (
        (near, values, how),
        (np.ones(size, np.uint8), known, Resampling.nearest),
    ):
        reproject(
            source,
            target,
            src_transform=place,
            src_crs=dataset.crs,
            dst_transform=from_bounds(*box, shape[1], shape[0]),
            dst_crs=crs,
            resampling=way,
        )
    return values, known > 0
