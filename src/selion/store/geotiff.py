"""Whatever GDAL reads, by window.

GeoTIFF, COG, VRT, GTI, JPEG 2000, from disk, http(s) and object stores.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from selion.errors import BadInput, UnreadableFile
from selion.grid import Roi
from selion.raster import NEGATIVE, OFFSETS, PALETTE, SCALES, Raster, Source
from selion.store.announced import check_announced
from selion.store.gdal import (
    GDAL_ERRORS,
    forget,
    gdal_settings,
    grid_of,
    open_quietly,
    said_of,
    turned_north_up,
    wavelengths_of,
)
from selion.store.pointers import check_opened, drivers_of, is_list
from selion.store.regions import checked_region
from selion.store.retry import RetryPolicy
from selion.store.urls import gdal_name, remote_scheme, shown
from selion.store.valid import combine, valid_pixels

ALPHA_SAMPLE = 256
"""Edge in pixels of the central window that shows whether an alpha band is one."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which of the file's bands are what."""

    indexes: tuple[int, ...]
    """GDAL's numbers, from 1, of the bands that are pixels."""
    alpha: int | None
    """GDAL's number of the alpha band, which becomes ``valid`` and is no band."""
    masked: bool
    """Whether the file has a mask band."""
    flipped: bool
    """Whether rows run northwards in the file."""
    overview: int | None = None
    """GDAL's number, from 0, of the overview that is read instead of the full image."""
    driver: str | None = None
    """GDAL's name of what opened it, and opens it again."""


REFUSED = "response code"
"""What GDAL says where a server answers otherwise than with what was asked for."""


@dataclass(frozen=True, eq=False)
class GeoTiffSource:
    """A raster that GDAL reads, as a Source.

    Picklable, and safe to read from many threads and processes at once.

    Every thread of every process opens its own handle at its first read.  A grid whose rows run
    northwards is turned; an alpha band is no band but tells which pixels are valid.
    """

    path: str
    """As given: a path or a URL."""
    grid: GeoBox
    bands: tuple[str, ...]
    """The file's descriptions, else its colours (red, green, blue, nir ...), else ``band1`` ..."""
    dtype: np.dtype
    nodata: float | None
    """Of the first band."""
    tags: Mapping[str, str]
    descriptions: tuple[str | None, ...]
    """As they are in the file, one per band."""
    nodatas: tuple[float | None, ...]
    """One per band."""
    layout: _Layout
    retry: RetryPolicy | None = None
    """With a server; None means the usual."""
    _handles: threading.local = field(default_factory=threading.local, repr=False)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        coarse: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> GeoTiffSource:
        """Open a raster, or one of its overviews, and read what stands in its head.

        Parameters
        ----------
        path : str or path
            File or URL.
        coarse : float, optional
            Edge of a pixel, in units of the CRS, that is fine enough: the smallest overview is
            taken whose pixels are not larger (1 % is let pass, because an overview of 5490 pixels
            by 16 has pixels of 320.1 m); without such an overview the full image is.
        retry : RetryPolicy, optional
            With a server.

        Raises
        ------
        UnreadableFile
            If GDAL cannot open it, or it holds no bands of plain numbers.
        GridMismatch
            If its grid is rotated or it has none.
        """
        path = os.fspath(path)
        with _settings(path, retry):
            try:
                with _opened(path) as dataset:
                    level = None if coarse is None else _overview(dataset, coarse)
                    full = _described(cls, path, dataset, retry=retry)
                    if level is None:
                        return full
                    with open_quietly(
                        gdal_name(path), driver=full.layout.driver, overview_level=level
                    ) as overview:
                        coarser = _described(cls, path, overview, level, retry)
                    # an overview is not told what its bands are called
                    return replace(
                        coarser,
                        bands=full.bands,
                        descriptions=full.descriptions,
                        tags=full.tags,
                    )
            except GDAL_ERRORS as error:
                raise UnreadableFile(_why_not(path, error)) from error

    @property
    def says_what_is_valid(self) -> bool:
        """Whether the file has nodata, an alpha band or a mask band."""
        layout = self.layout
        marked = any(missing is not None for missing in self.nodatas)
        return marked or layout.alpha is not None or layout.masked

    def read(self, roi: Roi) -> Raster:
        """Read a region.

        Parameters
        ----------
        roi : Roi
            Inside the grid.

        Returns
        -------
        Raster
            (band, y, x) values in the file's type, and ``valid`` from nodata, mask band, alpha and
            numbers that are not finite.

        Raises
        ------
        UnreadableFile
            If the file ends too early, or a server does not answer.
        """
        roi = checked_region(roi, self.grid, shown(self.path))
        with _settings(self.path, self.retry):
            try:
                values, mask = self._read_again(roi)
            except GDAL_ERRORS as error:
                raise UnreadableFile(
                    (
                        f"{shown(self.path)} cannot be read at rows {roi[0].start}:{roi[0].stop}, "
                        f"columns {roi[1].start}:{roi[1].stop}"
                    )
                    + _cure(self.path, error)
                ) from error
        valid = combine(mask, valid_pixels(values, self.bands, self.nodatas))
        return Raster(values, self.grid[roi], self.bands, valid, self.tags)

    def _read_again(self, roi: Roi) -> tuple[np.ndarray, np.ndarray | None]:
        """Read a region; from a server a second time, without what came cut off the first time."""
        try:
            return self._pixels(self._handle(), roi)
        except GDAL_ERRORS as error:
            if remote_scheme(self.path) is None or REFUSED in str(error):
                raise
            self.close()
            forget(self.path)
            return self._pixels(self._handle(), roi)

    def _pixels(self, dataset: Any, roi: Roi) -> tuple[np.ndarray, np.ndarray | None]:
        rows, columns = roi
        top = self.grid.shape[0] - rows.stop if self.layout.flipped else rows.start
        window = Window(columns.start, top, columns.stop - columns.start, rows.stop - rows.start)
        types = dataset.dtypes
        if len({types[k - 1] for k in self.layout.indexes}) > 1:
            values = np.stack(
                [dataset.read(k, window=window).astype(self.dtype) for k in self.layout.indexes]
            )
        else:
            values = dataset.read(list(self.layout.indexes), window=window)
        mask = None
        if self.layout.alpha:
            mask = dataset.read(self.layout.alpha, window=window) > 0
        elif self.layout.masked:
            mask = dataset.read_masks(self.layout.indexes[0], window=window) > 0
        if mask is not None and mask.all():
            mask = None
        if self.layout.flipped:
            values, mask = values[:, ::-1], mask if mask is None else mask[::-1]
        return values, mask

    def stored_bytes(self, rois: Iterable[Roi]) -> int:
        """Return how many bytes of the file hold the pixels of some regions, without reading them.

        Parameters
        ----------
        rois : iterable of Roi
            Inside the grid; what several of them need counts once.

        Returns
        -------
        int
            Compressed bytes of the file's blocks, as its head tells; 0 for a format that does not.
        """
        with _settings(self.path, self.retry):
            dataset = self._handle()
            height, width = dataset.block_shapes[self.layout.indexes[0] - 1]
            wanted = {
                (row, column)
                for rows, columns in rois
                for row in range(rows.start // height, -(-rows.stop // height))
                for column in range(columns.start // width, -(-columns.stop // width))
            }
            apart = str(dataset.profile.get("interleave", "pixel")).lower() == "band"
            bands = self.layout.indexes if apart else self.layout.indexes[:1]
            return sum(
                int(dataset.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=band) or 0)
                for row, column in wanted
                for band in bands
            )

    def _handle(self) -> Any:
        # GDAL handles do not survive a fork
        if getattr(self._handles, "process", None) != os.getpid():
            options: dict[str, Any] = (
                {} if self.layout.overview is None else {"overview_level": self.layout.overview}
            )
            self._handles.dataset = open_quietly(
                gdal_name(self.path), driver=self.layout.driver, **options
            )
            self._handles.process = os.getpid()
        return self._handles.dataset

    def close(self) -> None:
        """Close this thread's file; the next read opens it again.

        It holds the tile that was read last and its share of GDAL's cache.
        """
        if getattr(self._handles, "process", None) == os.getpid():
            self._handles.dataset.close()
        self._handles.__dict__.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_handles"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _handles=threading.local())


def _settings(path: str, retry: RetryPolicy | None) -> AbstractContextManager[None]:
    """Hold the settings for a raster, which reaches only itself unless it is a list of others."""
    remote = remote_scheme(path) is not None
    return gdal_settings(
        remote=remote,
        retry=retry,
        reach=None if is_list(path) else gdal_name(path) if remote else "",
    )


def _opened(path: str) -> Any:
    """Open a raster; from a server a second time, without what came cut off the first time."""
    try:
        return _opened_once(path)
    except GDAL_ERRORS as error:
        if remote_scheme(path) is None or REFUSED in str(error):
            raise
        forget(path)
        return _opened_once(path)


def _opened_once(path: str) -> Any:
    """Open a raster with a driver that may open it; raises what GDAL does, and UnreadableFile."""
    first: Exception | None = None
    for driver in drivers_of(path):
        try:
            dataset = open_quietly(gdal_name(path), driver=driver)
        except GDAL_ERRORS as error:
            first = first or error
            if driver is None or "not recognized" not in str(error):
                raise
            continue
        try:
            check_opened(dataset, path)
        except UnreadableFile:
            dataset.close()
            raise
        return dataset
    raise first or UnreadableFile(shown(path))


def _overview(dataset: Any, coarse: float) -> int | None:
    """Return the number of the smallest overview with pixels up to ``coarse``.

    None if only the full image is fine enough.
    """
    factors = dataset.overviews(1) if dataset.count else []
    fitting = [
        (factor, level)
        for level, factor in enumerate(factors)
        if factor * max(abs(dataset.transform.a), abs(dataset.transform.e)) <= 1.01 * coarse
    ]
    return max(fitting)[1] if fitting else None


def _described(
    cls: type[GeoTiffSource],
    path: str,
    dataset: Any,
    overview: int | None = None,
    retry: RetryPolicy | None = None,
) -> GeoTiffSource:
    if dataset.count == 0:
        inner = f" (it holds {', '.join(dataset.subdatasets[:4])})" if dataset.subdatasets else ""
        raise UnreadableFile(
            f"{shown(path)} holds no bands of its own{inner}: give the one that is meant, or "
            "convert it to GeoTIFF."
        )
    check_announced(dataset, path)
    grid = grid_of(dataset, shown(path))
    flipped = grid.crs is not None and grid.transform.e > 0
    types, missing, texts = dataset.dtypes, dataset.nodatavals, _texts(dataset, path)
    alpha = alpha_band(dataset, texts)
    indexes = tuple(k for k in dataset.indexes if k != alpha)
    dtype = np.result_type(*{_dtype(shown(path), types[k - 1]) for k in indexes})
    nodatas = tuple(missing[k - 1] for k in indexes)
    masked = MaskFlags.per_dataset in dataset.mask_flag_enums[indexes[0] - 1] and alpha is None
    return cls(
        path=path,
        grid=turned_north_up(grid) if flipped else grid,
        bands=_names(dataset, texts, indexes),
        dtype=dtype,
        nodata=nodatas[0],
        tags=dict(dataset.tags())
        | _wavelengths(dataset, indexes)
        | _palette(dataset)
        | _scales(dataset, indexes),
        descriptions=tuple(texts[k - 1] for k in indexes),
        nodatas=nodatas,
        layout=_Layout(indexes, alpha, masked, flipped, overview, dataset.driver),
        retry=retry,
    )


def _dtype(path: str, name: str) -> np.dtype:
    if name.startswith("complex"):
        raise BadInput(
            f"{path} holds complex numbers ({name}): give an image of amplitudes or intensities."
        )
    return np.dtype(name)


def alpha_band(dataset: Any, texts: Sequence[str | None]) -> int | None:
    """Return the number of the alpha band, if there is one.

    GDAL calls the fourth of four uint8 bands alpha unless it is told otherwise, so many
    red-green-blue-infrared files lie about it: a band with another description, or whose values at
    the centre of the image are mostly shades, is an image band.
    """
    found = [
        k
        for k, colour in zip(dataset.indexes, dataset.colorinterp, strict=True)
        if colour == ColorInterp.alpha
    ]
    if not found and dataset.count == 4 and set(dataset.dtypes) == {"uint8"}:
        return 4 if _is_shapeless(dataset, texts) else None
    if len(found) != 1 or dataset.count == 1:
        return None
    description = texts[found[0] - 1]
    if description and description.lower() not in ("alpha", "mask"):
        return None
    sample = _centre(dataset, found[0])
    shades = (sample != 0) & (sample != sample.max())
    return None if shades.mean() > 0.5 else found[0]


def _is_shapeless(dataset: Any, texts: Sequence[str | None]) -> bool:
    """Say whether the fourth of four bands of bytes is an alpha that is not called so.

    It has no other name, and at the centre of the image it is 255, or 0 and 255.
    """
    description = texts[3]
    if description and description.lower() not in ("alpha", "mask"):
        return False
    sample = _centre(dataset, 4)
    return bool(sample.max() == 255 and ((sample == 0) | (sample == 255)).all())


def _centre(dataset: Any, band: int) -> np.ndarray:
    """Read the middle of a band."""
    height, width = dataset.shape
    window = Window(
        max(width - ALPHA_SAMPLE, 0) // 2,
        max(height - ALPHA_SAMPLE, 0) // 2,
        min(width, ALPHA_SAMPLE),
        min(height, ALPHA_SAMPLE),
    )
    sample: np.ndarray = dataset.read(band, window=window)
    return sample


def _texts(dataset: Any, path: str) -> tuple[str | None, ...]:
    """Return what the bands are called in the file."""
    try:
        return tuple(dataset.descriptions)
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            f"{shown(path)} has a band whose name is no UTF-8 ({error.object!r}): write the names "
            "of its bands again, or copy it again."
        ) from error


def _names(dataset: Any, texts: Sequence[str | None], indexes: Sequence[int]) -> tuple[str, ...]:
    descriptions = [texts[k - 1] for k in indexes]
    all_colours = dataset.colorinterp
    colours = [_colour(all_colours[k - 1], len(indexes)) for k in indexes]
    once = Counter(colours)
    return tuple(
        text or (colour if colour and once[colour] == 1 else f"band{k}")
        for k, text, colour in zip(indexes, descriptions, colours, strict=True)
    )


def _palette(dataset: Any) -> dict[str, str]:
    """Return a tag with the colours that numbers stand for, if they do."""
    said = {NEGATIVE: "yes"} if _is_negative(dataset) else {}
    if said and dataset.colorinterp != (ColorInterp.palette,):
        bits = 8 * np.dtype(dataset.dtypes[0]).itemsize
        black = (1 << int(dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", bits))) - 1
        if bits > 8:
            return {NEGATIVE: str(black)}
        greys = (255 - 255 * k // black for k in range(black + 1))
        return said | {PALETTE: "".join(f"{grey:02x}" * 3 for grey in greys)}
    if dataset.colorinterp != (ColorInterp.palette,):
        return {}
    colours = dataset.colormap(1)
    digits = (
        f"{part:02x}" for k in range(max(colours) + 1) for part in colours.get(k, (0,) * 4)[:3]
    )
    return said | {PALETTE: "".join(digits)}


def _is_negative(dataset: Any) -> bool:
    """Say whether 0 is white: GDAL gives the numbers as they are, and other readers the grey."""
    whole = dataset.count == 1 and dataset.dtypes[0] in ("uint8", "uint16")
    return whole and dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"


def _wavelengths(dataset: Any, indexes: Sequence[int]) -> dict[str, str]:
    """Return a tag with the nanometres of each band, with commas, if there are any."""
    lengths = wavelengths_of(dataset)
    told = ["" if lengths[k - 1] is None else f"{lengths[k - 1]:g}" for k in indexes]
    return {"wavelengths": ",".join(told)} if any(told) else {}


def _scales(dataset: Any, indexes: Sequence[int]) -> dict[str, str]:
    """Return tags with scale and offset of each band, where the file says any that can be used."""
    scales, offsets = ([some[k - 1] for k in indexes] for some in (dataset.scales, dataset.offsets))
    if all(pair == (1.0, 0.0) for pair in zip(scales, offsets, strict=True)):
        return {}
    if not np.isfinite([*scales, *offsets]).all() or 0.0 in scales:
        return {}
    told = (",".join(f"{one:.12g}" for one in some) for some in (scales, offsets))
    return dict(zip((SCALES, OFFSETS), told, strict=True))


def _colour(colour: ColorInterp, count: int) -> str | None:
    """Return a colour's name.

    The first of many bands is called grey by GDAL only because it had to be called something.
    """
    if colour == ColorInterp.gray:
        return "gray" if count == 1 else None
    return (
        None
        if colour in (ColorInterp.undefined, ColorInterp.palette, ColorInterp.alpha)
        else colour.name
    )


def _why_not(path: str, error: Exception) -> str:
    if Path(path).is_file() and Path(path).stat().st_size == 0:
        return f"{path} is empty (0 bytes): copy it again."
    if path.lower().endswith(".hdr"):
        return (
            f"{shown(path)} is the header of an ENVI image: give the image itself, the file of the "
            "same name without .hdr, or with .img, .dat or .bsq."
        )
    return f"{shown(path)} cannot be opened as a raster" + _cure(path, error)


def _cure(path: str, error: Exception) -> str:
    said = said_of(path, error)
    cure = (
        "check the address, the network and your credentials"
        if remote_scheme(path)
        else "it is truncated or of no known format; copy it again"
    )
    return f" (GDAL says: {said}): {cure}."


_: type[Source] = GeoTiffSource
