"""A piece of a GeoTIFF as a GeoTIFF, with all that the file says of itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from selion.errors import OutputFailed, UnreadableFile
from selion.grid import Roi
from selion.store.address import Place
from selion.store.gdal import GDAL_ERRORS, gdal_settings, open_quietly, said_of
from selion.store.urls import gdal_name, remote_scheme

EDGE = 512
"""Pixels along the edge of the blocks that are copied at once."""


def copy_window(path: Place, place: Roi, out: Path) -> None:
    """Write the pixels of a window, bit for bit, with band names, tags, scales and no-data value.

    Parameters
    ----------
    path : path or address
        A GeoTIFF.
    place : (slice, slice)
        Rows and columns of the file as it lies, within it.
    out : path
        What is there is replaced.

    Raises
    ------
    UnreadableFile
        If the file cannot be read there.
    OutputFailed
        If it cannot be written.
    """
    import rasterio

    name, (rows, columns) = os.fspath(path), place
    whole = rasterio.windows.Window.from_slices(rows, columns)
    settings = gdal_settings(remote=remote_scheme(name) is not None)
    try:
        with settings, open_quietly(gdal_name(name), driver="GTiff") as source:
            form = _form(source, whole)
            try:
                copy = rasterio.open(out, "w", **form)
            except GDAL_ERRORS as error:
                raise OutputFailed(f"{out} cannot be written: {error}") from error
            with copy:
                _say(source, copy)
                for _, window in copy.block_windows(1):
                    there = rasterio.windows.Window(
                        window.col_off + columns.start,
                        window.row_off + rows.start,
                        window.width,
                        window.height,
                    )
                    copy.write(source.read(window=there), window=window)
                    if _masked(source):
                        copy.write_mask(source.read_masks(1, window=there), window=window)
    except GDAL_ERRORS as error:
        raise UnreadableFile(said_of(name, error)) from error


def _form(source: Any, window: Any) -> dict[str, Any]:
    height, width = int(window.height), int(window.width)
    return {
        "driver": "GTiff", "height": height, "width": width, "count": source.count,
        "dtype": source.dtypes[0], "crs": source.crs, "nodata": source.nodata,
        "transform": source.window_transform(window), "tiled": True, "blockxsize": EDGE,
        "blockysize": EDGE, "compress": "deflate", "BIGTIFF": "IF_SAFER",
    }  # fmt: skip


def _say(source: Any, copy: Any) -> None:
    """Repeat what the file says of its bands."""
    copy.update_tags(**source.tags())
    copy.descriptions = source.descriptions
    copy.scales, copy.offsets, copy.units = source.scales, source.offsets, source.units
    copy.colorinterp = source.colorinterp
    for band in range(1, source.count + 1):
        copy.update_tags(band, **source.tags(band))
        if imagery := source.tags(band, ns="IMAGERY"):  # wavelengths, by which bands are known
            copy.update_tags(band, ns="IMAGERY", **imagery)


def _masked(source: Any) -> bool:
    from rasterio.enums import MaskFlags

    return MaskFlags.per_dataset in source.mask_flag_enums[0] and (
        MaskFlags.alpha not in source.mask_flag_enums[0]
    )
