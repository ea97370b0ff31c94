"""Cloud-optimised GeoTIFF, written block by block."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio.shutil
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from selion.errors import BadInput, OutputFailed
from selion.grid import Roi, roi_shape, whole
from selion.raster import Sink
from selion.store.atomic import atomic_write
from selion.store.gdal import GDAL_ERRORS, gdal_settings, last_word, open_quietly
from selion.store.regions import checked_bands, checked_block, checked_nodata, checked_region
from selion.store.tiles import TileFile
from selion.store.vrt import vrt_of

COPY_CACHE = 32 * 2**20
"""Bytes; a larger cache makes the copy no faster, but peak memory grow with the raster (measured at
5490 and 10980 rows)."""
FEW_TILES = 16
"""A raster of no more is copied by one thread: starting others takes longer than its work (22 ms of
processor for 264 px with overviews, by one thread 14)."""
ZSTD_LEVEL = "1"
"""GDAL's default 9 takes three times the processor time for files that are 8 % smaller (smooth
uint8 scores)."""
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


class CogSink:
    """Takes (band, y, x) blocks in any order, from any thread.

    They may be aligned with the file's tiles or not; each pixel comes once.
    """

    def __init__(self, path: Path, tiles: TileFile, grid: GeoBox, bands: tuple[str, ...]) -> None:
        self.path = path
        self.grid = grid
        self.bands = bands
        self.dtype = tiles.dtype
        self._tiles = tiles

    def write(self, roi: Roi, values: np.ndarray) -> None:
        """Write (band, y, x) values at a region.

        Raises
        ------
        GridMismatch, BandMismatch, BadInput
            If region, bands or number type do not fit.
        OSError
            If the disk is full; :func:`create_cog` makes OutputFailed of it.
        """
        roi = checked_region(roi, self.grid, str(self.path))
        self._tiles.write(roi, checked_block(roi, values, self.bands, self.dtype, str(self.path)))


@contextmanager
def create_cog(
    path: str | os.PathLike[str],
    grid: GeoBox,
    bands: Sequence[str],
    dtype: np.dtype | type | str,
    *,
    nodata: float | None = None,
    tags: Mapping[str, str] | None = None,
    colours: Sequence[str] | None = None,
    overviews: Literal["nearest", "average", "mode"] = "nearest",
    levels: Sequence[int] = (),
    scale: float | None = None,
    block: int = 512,
    force: bool = False,
) -> Iterator[CogSink]:
    """Write a cloud-optimised GeoTIFF block by block.

    It appears under its name when the block of code ends well.

    Blocks go to a plain tiled file beside the target, which is then copied in the order of a COG
    with its overviews.  Memory is a block and, while copying, GDAL's cache (32 MB), never the
    raster; the disk holds the raster once more, not compressed, until it is done.

    Parameters
    ----------
    path : str or path
        Final name; its folder is made.
    grid : GeoBox
        Where; without a CRS the file gets none.
    bands : sequence of str
        Band names, written as descriptions.
    dtype : number type
        uint8 ... int32, float32 or float64.
    nodata : float, optional
        Also what pixels hold that are never written (0 without it).
    tags : mapping of str to str, optional
        Tags of the whole file, for example the classes as JSON.
    colours : sequence of str, optional
        One ``#rrggbb`` per value from 0 on, for a single uint8 band; nodata becomes transparent.
    overviews : "nearest", "average" or "mode"
        Nearest for ids and labels, average for scores and images.
    levels : sequence of int
        Factors of the overviews, ascending; empty: 2, 4, 8 and so on until one tile holds it all.
    scale : float, optional
        What a stored number is to be multiplied by, said in the file; the numbers stay.
    block : int
        Edge of a tile in pixels, a multiple of 16.
    force : bool
        Whether an existing file is replaced.

    Raises
    ------
    OutputExists, OutputFailed
        If it may not, or cannot, be written.
    BadInput
        If number type, nodata or colours cannot be written.
    """
    path = Path(path).expanduser()
    bands, dtype = checked_bands(grid, bands, str(path)), np.dtype(dtype)
    _check(str(path), bands, dtype, nodata, colours)
    palette = _palette(colours, nodata) if colours else {}
    with atomic_write(path, force) as temporary:
        plain = temporary.with_name("tiles")
        with TileFile(plain, (len(bands), *roi_shape(whole(grid))), dtype, nodata, block) as tiles:
            yield CogSink(path, tiles, grid, bands)
        described = temporary.with_name("described.vrt")
        described.write_text(
            vrt_of(
                plain,
                grid,
                bands,
                dtype,
                nodata=nodata,
                tags=tags or {},
                palette=palette,
                scale=scale,
                overviews=(overviews, levels),
            ),
            "utf-8",
        )
        few = prod(-(-edge // block) for edge in roi_shape(whole(grid))) <= FEW_TILES
        _copy(path, described, temporary, overviews, block, given=bool(levels), few=few)
    for stale in (".aux.xml", ".ovr", ".msk"):  # what belonged to the file that was replaced
        Path(f"{path}{stale}").unlink(missing_ok=True)


def _check(
    path: str,
    bands: tuple[str, ...],
    dtype: np.dtype,
    nodata: float | None,
    colours: Sequence[str] | None,
) -> None:
    if dtype.name not in DTYPES:
        raise BadInput(
            f"{path} was to hold {dtype}; a GeoTIFF holds {', '.join(DTYPES)}: convert to one of "
            "them."
        )
    checked_nodata(nodata, dtype, path)
    if colours and (dtype != np.uint8 or len(bands) != 1):
        raise BadInput(
            f"{path} was to have colours for {len(bands)} bands of {dtype}: colours go with a "
            "single band of uint8."
        )


def _palette(colours: Sequence[str], nodata: float | None) -> dict[int, tuple[int, int, int, int]]:
    palette = {value: _rgba(colour) for value, colour in enumerate(colours)}
    return palette if nodata is None else palette | {int(nodata): (0, 0, 0, 0)}


def _rgba(colour: str) -> tuple[int, int, int, int]:
    digits = colour.removeprefix("#")
    if len(digits) != 6 or not set(digits.lower()) <= set("0123456789abcdef"):
        raise BadInput(f"The colour {colour!r} was given; wanted is #rrggbb.")
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16), 255


def _copy(
    path: Path,
    described: Path,
    temporary: Path,
    overviews: str,
    block: int,
    *,
    given: bool,
    few: bool,
) -> None:
    options = {
        "COMPRESS": "ZSTD",
        "LEVEL": ZSTD_LEVEL,
        "PREDICTOR": "YES",
        "BLOCKSIZE": str(block),
        "BIGTIFF": "IF_SAFER",
        "OVERVIEW_RESAMPLING": overviews.upper(),
        "OVERVIEWS": "FORCE_USE_EXISTING" if given else "AUTO",
    }
    try:
        with gdal_settings(
            remote=False,
            GDAL_PAM_ENABLED="NO",
            GDAL_NUM_THREADS="1" if few else "ALL_CPUS",
            GDAL_CACHEMAX=COPY_CACHE,
        ):
            rasterio.shutil.copy(str(described), str(temporary), driver="COG", **options)
            # a full disk cuts the end off, where a COG has its last full-size tile
            with open_quietly(str(temporary)) as dataset:
                dataset.read(window=Window(dataset.width - 1, dataset.height - 1, 1, 1))
    except GDAL_ERRORS as error:
        raise OutputFailed(
            f"{path} was not written (GDAL says: {last_word(error)}): free some disk space, or "
            "choose another place."
        ) from error


_: type[Sink] = CogSink
