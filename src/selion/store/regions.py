"""Checks of what goes through the doors: regions, blocks of values, number types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import BadInput, BandMismatch, GridMismatch
from selion.grid import Roi, roi_shape


def checked_region(roi: Roi, grid: GeoBox, name: str) -> Roi:
    """Return the region in plain integers.

    Raises
    ------
    GridMismatch
        If it is empty, stepped, open-ended or not inside the grid.
    """
    for part, size in zip(roi, grid.shape, strict=True):
        if (
            part.start is None
            or part.stop is None
            or part.step not in (None, 1)
            or not 0 <= part.start < part.stop <= size
        ):
            raise GridMismatch(
                f"Region {roi} is not inside {name} ({grid.shape[0]} rows, {grid.shape[1]} "
                "columns): give explicit bounds inside it."
            )
    return slice(int(roi[0].start), int(roi[0].stop)), slice(int(roi[1].start), int(roi[1].stop))


def checked_block(
    roi: Roi, values: np.ndarray, bands: Sequence[str], dtype: np.dtype, name: str
) -> np.ndarray:
    """Return (band, y, x) values that fit a region of an output.

    Raises
    ------
    BandMismatch, GridMismatch, BadInput
        If bands, shape or number type do not fit; types are never narrowed in silence.
    """
    if values.ndim != 3 or values.shape[0] != len(bands):
        raise BandMismatch(
            f"Values of shape {values.shape} do not fit the {len(bands)} bands of {name}: wanted "
            "(band, y, x)."
        )
    if values.shape[1:] != roi_shape(roi):
        raise GridMismatch(
            f"Values of shape {values.shape} do not fit a region of {roi_shape(roi)} of {name}: "
            "wanted (band, y, x)."
        )
    if not np.can_cast(values.dtype, dtype, "safe"):
        raise BadInput(
            f"Values of type {values.dtype} were given for {name}, which holds {dtype}: scale and "
            "convert them first."
        )
    return values.astype(dtype, copy=False)


def checked_nodata(nodata: float | None, dtype: np.dtype, name: str) -> None:
    """Check that a nodata value can be written.

    Raises
    ------
    BadInput
        If the number type cannot hold it.
    """
    if nodata is None or np.issubdtype(dtype, np.floating):
        return
    limits = np.iinfo(dtype)
    if not np.isfinite(nodata) or nodata != int(nodata) or not limits.min <= nodata <= limits.max:
        raise BadInput(
            f"Nodata {nodata} was given for {name}, which holds {dtype}: wanted is a whole number "
            f"from {limits.min} to {limits.max}."
        )


def checked_bands(grid: GeoBox, bands: Sequence[str], name: str) -> tuple[str, ...]:
    """Return the band names of an output.

    Raises
    ------
    BadInput
        If there are none, or the grid has no pixels.
    """
    if not bands or isinstance(bands, str) or min(grid.shape) < 1:
        raise BadInput(
            f"{name} was to have the bands {bands!r} on a grid of {tuple(grid.shape)}: wanted are "
            "at least one name and one pixel."
        )
    return tuple(bands)
