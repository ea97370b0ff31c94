"""Tiles of a GeoTIFF, cut by rio-tiler when they are asked for.

Never is more of the file read than a tile is worth.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
from affine import Affine

from selion.errors import BadInput, GridMismatch, UnreadableFile
from selion.extras import require
from selion.store.address import Place, RemotePath, open_bytes
from selion.store.bare import is_bare, read_bare, warp_bare
from selion.store.gdal import GDAL_ERRORS, gdal_settings, open_quietly, wavelengths_of
from selion.store.pointers import check_overviews
from selion.store.urls import gdal_name, unsigned
from selion.web.view.paint import empty, paint
from selion.web.view.parquet_footers import in_short
from selion.web.view.place import (
    DEEPEST,
    EARTH,
    PIXEL,
    Box,
    WebTile,
    around,
    projection,
    sides_of,
)
from selion.web.view.renderings import RasterHeader, Rendering, renderings_of

EDGE = 512
"""Pixels along the edge of a tile."""
MOST_READ = 12 << 20
"""Pixels of a band that one tile may need; from farther away a raster without overviews is not
drawn."""
LARGEST_BLOCK = 128 << 20
"""Bytes of one block of a file; larger ones are refused."""
MOST_BANDS = 256
SAMPLE = 512
"""Edge in pixels of the picture that brightness is judged from."""
NUMBERS = {
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float32",
    "float64",
}
DOTS = 8
"""Pixels of a tile along the edge of a raster up to which it is not warped."""
MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


@dataclass(frozen=True, eq=False)
class RasterFile:
    """A raster, by its header."""

    path: Place
    header: RasterHeader
    renderings: tuple[Rendering, ...]
    sides: tuple[Box, ...]
    """Metres of web mercator: a box, or one on either side of the antimeridian, the eastern end of
    the map first."""
    shape: tuple[int, int]
    crs: str | None
    minzoom: int
    maxzoom: int
    block: tuple[int, int]
    factor: int
    """How much smaller the smallest overview is."""
    _stretches: dict[str, np.ndarray] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock)

    @property
    def box(self) -> Box:
        """Around all of it."""
        box = around(np.array(self.sides))
        if box is None:
            raise AssertionError("a raster lies somewhere")
        return box

    @property
    def pixel(self) -> float:
        """Width of a pixel in metres of web mercator, about."""
        return pixel_of(self.sides, self.shape)

    def rendering(self, name: str) -> Rendering:
        """Return a rendering.

        Raises
        ------
        BadInput
            If there is none of that name.
        """
        found = next((rendering for rendering in self.renderings if rendering.name == name), None)
        if found is None:
            raise BadInput(f"{self.path.name} has no rendering {name[:40]!r}: load the page again.")
        return found

    def stretch(self, rendering: Rendering) -> np.ndarray:
        """Return (band, 2).

        The 2nd and 98th percentile of the smallest overview, or of windows where there is none.

        Raises
        ------
        UnreadableFile
            If the file is corrupt.
        """
        if rendering.kind not in ("colour", "number"):
            return np.zeros((1, 2))
        with self._lock:
            if rendering.name not in self._stretches:
                self._stretches[rendering.name] = self._measured(rendering)
            return self._stretches[rendering.name]

    def _measured(self, rendering: Rendering) -> np.ndarray:
        samples = []
        with opened(self.path) as dataset:
            for window in self._windows():
                values, valid = read_window(dataset, rendering.bands, window)
                samples.append(values[:, valid & np.isfinite(values).all(0)])
        known = np.concatenate(samples, axis=1)
        if not known.size:
            return np.tile([0.0, 1.0], (len(rendering.bands), 1))
        return np.asarray(np.percentile(known.astype(np.float64), [2, 98], axis=1).T)

    def _windows(self) -> list[tuple[tuple[int, int], tuple[int, int]] | None]:
        height, width = self.shape
        if height * width / self.factor**2 <= MOST_READ:
            return [None]
        edge = 256
        rows, columns = (
            np.linspace(0, size - min(edge, size), 3).astype(int).tolist()
            for size in (height, width)
        )
        return [
            ((r, min(r + edge, height)), (c, min(c + edge, width))) for r in rows for c in columns
        ]

    def tile(self, rendering: Rendering, tile: WebTile) -> tuple[bytes, str]:
        """Draw a tile.

        One that the raster does not touch, or that would need too much of it, is empty.

        Raises
        ------
        UnreadableFile
            If the file is corrupt there.
        """
        sides = [side for side in self.sides if meets(side, tile.box)]
        if tile.z < self.minzoom or not sides:
            return empty(), "image/png"
        stretch = self.stretch(rendering)
        smooth = rendering.kind in ("colour", "number", "share") and tile.z < self.maxzoom - 1
        with opened(self.path) as dataset:
            values, valid = (
                self._flat(dataset, rendering, tile)
                if self.crs is None
                else self._placed(dataset, rendering, tile, sides, smooth=smooth)
            )
        return paint(rendering, values, valid, stretch) if valid.any() else (empty(), "image/png")

    def _placed(
        self, dataset: Any, rendering: Rendering, tile: WebTile, sides: list[Box], *, smooth: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read the parts of a tile that the raster lies in."""
        values, valid = self._part(dataset, rendering, tile, sides[0], smooth=smooth)
        for side in sides[1:]:
            others, known = self._part(dataset, rendering, tile, side, smooth=smooth)
            values, valid = np.where(known, others, values), valid | known
        return values, valid

    def _part(
        self, dataset: Any, rendering: Rendering, tile: WebTile, side: Box, *, smooth: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read the part of a tile in which one side of the raster lies.

        Of the whole tile GDAL would be asked for pixels far outside the raster, and rasterio's
        reading beyond the edge takes minutes where a tile is thousands of times larger than the
        raster.
        """
        west, _, _, north = tile.box
        unit = tile.edge / EDGE
        first, last = (math.floor((edge - west) / unit) for edge in (side[0], side[2]))
        top, bottom = (math.floor((north - edge) / unit) for edge in (side[3], side[1]))
        columns, rows = (max(first, 0), min(last + 1, EDGE)), (max(top, 0), min(bottom + 1, EDGE))
        part = (
            west + columns[0] * unit,
            north - rows[1] * unit,
            west + columns[1] * unit,
            north - rows[0] * unit,
        )
        shape = (rows[1] - rows[0], columns[1] - columns[0])
        if max(shape) <= DOTS:  # its edge would lie far within a pixel
            seen, known = read_window(
                dataset, rendering.bands, ((0, self.shape[0]), (0, self.shape[1])), shape
            )
        else:
            seen, known = read_warped(dataset, rendering.bands, part, shape, smooth)
        values, valid = (
            np.zeros((len(rendering.bands), EDGE, EDGE), seen.dtype),
            np.zeros((EDGE, EDGE), bool),
        )
        values[:, slice(*rows), slice(*columns)], valid[slice(*rows), slice(*columns)] = seen, known
        return values, valid

    def _flat(
        self, dataset: Any, rendering: Rendering, tile: WebTile
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read a tile of an image without a place: its pixels, as they are."""
        west, south, east, north = tile.box
        height, width = self.shape
        edges = [(-north / PIXEL, -south / PIXEL, height), (west / PIXEL, east / PIXEL, width)]
        inside = [
            (max(0, math.floor(low)), min(size, math.ceil(high))) for low, high, size in edges
        ]
        if any(low >= high for low, high in inside):
            return np.zeros((len(rendering.bands), 1, 1)), np.zeros((1, 1), bool)
        step = max(1.0, (edges[0][1] - edges[0][0]) / EDGE)
        shape = tuple(max(1, round((high - low) / step)) for low, high in inside)
        values, valid = read_window(
            dataset, rendering.bands, (inside[0], inside[1]), (shape[0], shape[1])
        )
        places = [low + (np.arange(EDGE) + 0.5) * ((high - low) / EDGE) for low, high, _ in edges]
        at = [
            np.floor((p - low) * (n / (high - low))).astype(int)
            for p, (low, high), n in zip(places, inside, shape, strict=True)
        ]
        rows, columns = (np.clip(k, 0, n - 1) for k, n in zip(at, shape, strict=True))
        held = [(k >= 0) & (k < n) for k, n in zip(at, shape, strict=True)]
        return values[:, rows[:, None], columns], valid[rows[:, None], columns] & held[0][
            :, None
        ] & held[1]


@contextmanager
def opened(path: Place) -> Iterator[Any]:
    """Open a TIFF with the driver for TIFF only.

    Whatever a file says that it is, no other file is opened through it.

    Raises
    ------
    UnreadableFile
        If it is none, or corrupt.
    """
    remote = isinstance(path, RemotePath)
    name = gdal_name(os.fspath(path))
    only = name if remote else ""
    try:
        with (
            gdal_settings(remote=remote, reach=only, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
            open_quietly(name, driver="GTiff") as dataset,
        ):
            check_overviews(dataset, path.name)
            yield dataset
    except (*GDAL_ERRORS, OSError, ValueError, OverflowError, MemoryError) as error:
        cure = (
            "check the address and the network"
            if remote
            else "it is truncated or corrupt; copy it again"
        )
        raise UnreadableFile(
            f"{path.name} cannot be read ({unsigned(in_short(error))}): {cure}."
        ) from error


def read_warped(
    dataset: Any, bands: tuple[int, ...], box: Box, shape: tuple[int, int], smooth: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Warp what lies in a box of web mercator: (band, y, x) values and (y, x) valid."""
    from rio_tiler.constants import WEB_MERCATOR_CRS
    from rio_tiler.errors import RioTilerError
    from rio_tiler.reader import part

    if is_bare(dataset):
        return warp_bare(dataset, bands, "EPSG:3857", box, shape, smooth=smooth)
    how: Any = "bilinear" if smooth else "nearest"
    place: dict[str, Any] = {"dst_crs": WEB_MERCATOR_CRS, "bounds_crs": WEB_MERCATOR_CRS}
    try:
        read = part(
            dataset,
            box,
            *shape,
            indexes=bands,
            resampling_method=how,
            reproject_method=how,
            vrt_options=_turned(dataset, (box[0] + box[2]) / 2),
            **place,
        )
    except RioTilerError as error:
        raise ValueError(str(error)) from error
    return read.array.data, known_of(read.array, dataset.nodata)


def _turned(dataset: Any, x: float) -> dict[str, Any]:
    """Return how columns that run on beyond the antimeridian are read at x of web mercator.

    They are moved by whole turns, so that those of 181 to 360 degrees lie at -179 to 0.
    """
    if not dataset.crs.is_geographic:
        return {}
    west, _, east, _ = dataset.bounds
    degrees = x * 180 / EARTH
    turns = math.floor((degrees - west) / 360)
    if turns == 0 or degrees - 360 * turns > east:
        return {}
    return {"src_transform": Affine.translation(360 * turns, 0) * dataset.transform}


def read_window(
    dataset: Any, bands: tuple[int, ...], window: Any, shape: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read a window, or all of it small: (band, y, x) values and (y, x) valid."""
    from rio_tiler.reader import read

    if is_bare(dataset):
        wanted = shape or shape_of(dataset, window)
        return read_bare(dataset, bands, window, wanted), np.ones(wanted, bool)
    size: dict[str, Any] = (
        {"height": shape[0], "width": shape[1]} if shape else {} if window else {"max_size": SAMPLE}
    )
    found = read(dataset, indexes=bands, window=window, **size)
    return found.array.data, known_of(found.array, dataset.nodata)


def known_of(values: np.ma.MaskedArray, nodata: float | None) -> np.ndarray:
    """Return (y, x) bool: where no band is masked, nor a number that is none.

    Shadow and snow reach 0 and 255 in one band, so that of these all bands have to be masked, as
    for a map (:mod:`selion.store.valid`).
    """
    masked = np.ma.getmaskarray(values)
    reached = nodata == 0 or (nodata == 255 and values.dtype == np.uint8)
    known = ~(masked.all(0) if reached else masked.any(0))
    return np.asarray(known & np.isfinite(values.data).all(0))


def shape_of(dataset: Any, window: Any) -> tuple[int, int]:
    """Return the pixels that a window is read in; without one, of all, no more than a sample."""
    if window is not None:
        (top, bottom), (left, right) = window
        return bottom - top, right - left
    shrunk = max(1.0, max(dataset.shape) / SAMPLE)
    height, width = (max(1, round(edge / shrunk)) for edge in dataset.shape)
    return height, width


def open_geotiff(path: Place) -> RasterFile:
    """Open a raster by its header.

    Raises
    ------
    UnreadableFile
        If it is no TIFF, or one whose header cannot be true.
    GridMismatch
        If its grid is rotated.
    """
    # it takes a second to import, and the first tile is time enough
    if find_spec("rio_tiler") is None:
        require("rio_tiler", "web")
    with open_bytes(path) as file:
        if file.read(4) not in MAGIC:
            raise UnreadableFile(
                f"{path.name} does not begin like a TIFF: write it again as GeoTIFF or COG."
            )
    with opened(path) as dataset:
        check_head(dataset, path)
        crs = dataset.crs.to_wkt() if dataset.crs else None
        flat = crs is None
        bounds = (
            (0.0, float(dataset.height), float(dataset.width), 0.0)
            if flat
            else tuple(dataset.bounds)
        )
        names = tuple(d or f"band{k}" for k, d in enumerate(named(dataset), 1))
        header = RasterHeader(
            names, str(dataset.dtypes[0]), dict(dataset.tags()), colour_table(dataset)
        )
        factor = max([1, *dataset.overviews(1)])
        shape, block = dataset.shape, dataset.block_shapes[0]
    sides = sides_of(bounds, projection(crs))
    if any(west >= east or south >= north for west, south, east, north in sides) or not sides:
        raise GridMismatch(
            f"{path.name} cannot be placed on the map: its georeferencing or its CRS is wrong."
        )
    low, high = zooms(pixel_of(sides, shape), shape, factor)
    seen = renderings_of(header, lambda: glimpse(path, len(names), shape))
    return RasterFile(path, header, seen, sides, shape, crs, low, high, block, factor)


def glimpse(path: Place, count: int, shape: tuple[int, int]) -> np.ndarray:
    """Read (band, pixel) float values of the middle of a raster; (band, 0) where none is known."""
    rows, columns = (
        (max(0, size // 2 - SAMPLE // 2), min(size, size // 2 + SAMPLE // 2)) for size in shape
    )
    with opened(path) as dataset:
        values, valid = read_window(dataset, tuple(range(1, count + 1)), (rows, columns))
    return values[:, valid & np.isfinite(values).all(0)].astype(np.float64)


def meets(box: Box, other: Box) -> bool:
    """Say whether two boxes share more than an edge."""
    return box[0] < other[2] and box[2] > other[0] and box[1] < other[3] and box[3] > other[1]


def pixel_of(sides: tuple[Box, ...], shape: tuple[int, int]) -> float:
    """Return the width of a pixel in metres of web mercator, about."""
    return max(sum(east - west for west, _, east, _ in sides) / shape[1], 1e-9)


def check_head(dataset: Any, path: Place) -> None:
    """Refuse what would not be drawn well, or at all.

    Raises
    ------
    UnreadableFile, GridMismatch
        If it is such a file.
    """
    transform = dataset.transform
    if dataset.crs and (transform.b or transform.d):
        raise GridMismatch(f"{path.name} is rotated: warp it first, for example with gdalwarp.")
    rows, columns = dataset.block_shapes[0]
    deep = dataset.count if str(dataset.interleaving).lower().endswith("pixel") else 1
    held = (
        rows * columns * deep * max(np.dtype(kind).itemsize for kind in dataset.dtypes)
        if set(dataset.dtypes) <= NUMBERS
        else 0
    )
    if not 1 <= dataset.count <= MOST_BANDS or not 0 < held <= LARGEST_BLOCK:
        raise UnreadableFile(
            f"{path.name} has {dataset.count:,} bands of {dataset.dtypes[0]} in blocks of {rows:,} "
            f"x {columns:,} pixels: write it again as COG."
        )


def named(dataset: Any) -> tuple[str | None, ...]:
    """Return what the bands are called: by the file, their wavelengths, else their colours."""
    if any(dataset.descriptions):
        return tuple(dataset.descriptions)
    lengths = wavelengths_of(dataset)
    if any(lengths):
        return tuple(None if length is None else f"{length:g} nm" for length in lengths)
    colours = [interpretation.name for interpretation in dataset.colorinterp]
    return tuple(
        colour if colour in ("red", "green", "blue", "nir") else None for colour in colours
    )


def colour_table(dataset: Any) -> dict[int, tuple[int, ...]]:
    """Return the colour table of the first band; empty where there is none."""
    try:
        return dict(dataset.colormap(1))
    except ValueError:
        return {}


def zooms(pixel: float, shape: tuple[int, int], factor: int) -> tuple[int, int]:
    """Return the least and the largest zoom at which a raster is drawn.

    From the first on it can be drawn, and beyond the second there is nothing new to see.
    """
    native = math.log2(2 * EARTH / EDGE / pixel)
    if shape[0] * shape[1] / factor**2 <= MOST_READ:
        return 0, int(np.clip(math.ceil(native) + 1, 1, DEEPEST))
    far = native - math.log2(factor) - math.log2(math.sqrt(MOST_READ) / EDGE)
    return int(np.clip(math.ceil(far), 0, DEEPEST)), int(np.clip(math.ceil(native) + 1, 1, DEEPEST))
