"""Which pixels say something: nodata values and numbers that are not finite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def valid_pixels(
    values: np.ndarray, bands: Sequence[str], nodata: Sequence[float | None]
) -> np.ndarray | None:
    """Return which pixels are valid.

    Parameters
    ----------
    values : (band, y, x) ndarray
    bands : sequence of str
        One name per band; ``planting:red`` belongs to the date ``planting``.
    nodata : sequence of float or None
        One nodata value per band.

    Returns
    -------
    (y, x) bool ndarray or None
        None if all are valid.

    Notes
    -----
    One missing band makes a pixel invalid, because a network must see all bands or none, with one
    exception: 0 (and 255 in uint8) is also what deep shadow, water or snow reach in a single band,
    so there a pixel is invalid only when all bands of one date are missing.
    """
    invalid = np.zeros(values.shape[1:], bool)
    dates: dict[str, np.ndarray] = {}
    for name, layer, missing in zip(bands, values, nodata, strict=True):
        if np.issubdtype(layer.dtype, np.floating):
            invalid |= ~np.isfinite(layer)
        marker = _as_dtype(missing, layer.dtype)
        if marker is None:
            continue
        if not _reached_by_light(marker):
            invalid |= layer == marker
            continue
        date = name.partition(":")[0] if ":" in name else ""
        dates[date] = (layer == marker) & dates[date] if date in dates else layer == marker
    for gone in dates.values():
        invalid |= gone
    return ~invalid if invalid.any() else None


def combine(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    """Return what is valid in both (y, x) bool masks; None means everywhere."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _as_dtype(nodata: float | None, dtype: np.dtype) -> np.generic | None:
    """Return nodata in the band's own type.

    None where no pixel can equal it (NaN, or -9999 in uint8).
    """
    if nodata is None or np.isnan(nodata):
        return None
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return (
            dtype.type(int(nodata))
            if limits.min <= nodata <= limits.max and nodata == int(nodata)
            else None
        )
    return dtype.type(nodata)


def _reached_by_light(marker: np.generic) -> bool:
    return bool(marker == 0) or (marker.dtype == np.uint8 and bool(marker == 255))
