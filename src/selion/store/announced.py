"""What the head of a raster announces, held against what its file can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from selion.cores import check_memory
from selion.errors import UnreadableFile
from selion.store.urls import shown

SMALL = 2**30
"""Bytes of pixels that any file may announce."""
DENSEST = 20_000
"""Bytes of pixels for each byte of a file, above which nearly all of its blocks are missing: what
is seen of land packs to a half or a tenth, one value everywhere to a thousandth by deflate."""
MOST_BANDS = 5_000
"""GDAL's time for a pixel of all bands grows with the square of their number: 5,000 take 4 s."""


def check_announced(dataset: Any, path: str) -> None:
    """Refuse a raster that cannot be read in bounded time and memory.

    A GeoTIFF of this machine that announces far more pixels than it can hold, and any raster with
    more bands than anybody looks at, or with a block, which is read whole, that does not fit into
    memory.

    Raises
    ------
    UnreadableFile, BadInput
        With what it announces, and what to do.
    """
    if dataset.count > MOST_BANDS:
        raise UnreadableFile(
            f"{shown(path)} has {dataset.count:,} bands, and at most {MOST_BANDS:,} are read: "
            "write those that are wanted into another file (gdal_translate -b)."
        )
    height, width = dataset.shape
    name = dataset.dtypes[0]
    item = 16 if name.startswith("complex") else np.dtype(name).itemsize
    if dataset.driver == "GTiff" and Path(path).is_file():
        size, told = Path(path).stat().st_size, height * width * dataset.count * item
        if told > max(SMALL, DENSEST * size):
            raise UnreadableFile(
                f"{path} announces {width:,} x {height:,} pixels in {dataset.count:,} bands "
                f"({told / 1e9:,.1f} GB), and is a file of {size:,} bytes: nearly all of its "
                "blocks are missing. Copy it again, or cut out the part that it holds (gdal_"
                "translate -srcwin)."
            )
    rows, columns = dataset.block_shapes[0]
    apart = dataset.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE", "PIXEL") != "PIXEL"
    check_memory(
        rows * columns * item * (1 if apart else dataset.count),
        f"{shown(path)} has blocks of {columns:,} x {rows:,} pixels, and reading one",
        "write it with smaller ones, as COG",
    )
