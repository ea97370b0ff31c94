"""One time of a published Zarr v3 array (time, band, y, x), read by chunk where it lies."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj.exceptions import CRSError

from selion.cores import check_memory
from selion.errors import BadInput, FetchFailed, UnreadableFile
from selion.grid import Roi, check_north_up
from selion.raster import Raster, Source
from selion.store.announced import MOST_BANDS
from selion.store.cube import MOST_PIXELS, bounded, read_planes
from selion.store.object_store import ObjectFolder
from selion.store.regions import checked_region
from selion.store.urls import remote_scheme, shown
from selion.store.valid import valid_pixels

ARRAY = "variables"
"""Name of the array in a group that does not say what it holds."""
DIMENSIONS = ("time", "band", "y", "x")
UNITS = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}


@dataclass(frozen=True, eq=False)
class StackSource:
    """The (band, y, x) pixels of one year of a stack; picklable and thread-safe."""

    path: str
    year: int
    grid: GeoBox
    bands: tuple[str, ...]
    dtype: np.dtype
    nodata: float | None
    tags: Mapping[str, str]
    chunk_bytes: int
    """Bytes of a chunk before compression."""
    chunk: tuple[int, int]
    """Rows and columns of what is read at once."""
    _index: int
    _array: Any = field(repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str], year: int) -> StackSource:
        """Open a stack at the first of its times that lies in a year.

        Raises
        ------
        BadInput
            If it has no such year; the sentence names those that it has.
        UnreadableFile
            If there is no Zarr v3 group with an array (time, band, y, x) and its coordinates.
        FetchFailed
            If a server does not answer.
        """
        path = os.fspath(path)
        group, array, name = _opened(path)
        try:
            _check_sizes(path, array)
            with bounded():
                along = {name: _coordinates(group, array, name) for name in DIMENSIONS[:2]}
            years = _years(along["time"])
            bands = tuple(str(one) for one in np.asarray(along["band"][:]).tolist())
            grid = _grid(group, array)
        except (KeyError, ValueError, IndexError, TypeError, ArithmeticError, CRSError) as error:
            raise UnreadableFile(
                f"{shown(path)} does not say where or when its pixels lie ({error}): wanted are "
                "the coordinates time, band, y and x."
            ) from error
        check_north_up(grid, shown(path))
        if year not in years:
            raise BadInput(
                f"{shown(path)} has no {year}: it has {', '.join(str(one) for one in years)}."
            )
        fill = array.fill_value
        chunk = tuple(int(edge) for edge in array.chunks[2:])
        return cls(
            path=path,
            year=year,
            grid=grid,
            bands=bands,
            dtype=np.dtype(array.dtype),
            nodata=None if fill is None else float(fill),
            tags={"array": name},
            chunk_bytes=int(np.prod(array.chunks)) * np.dtype(array.dtype).itemsize,
            chunk=(chunk[0], chunk[1]),
            _index=years.index(year),
            _array=array,
        )

    def read(self, roi: Roi) -> Raster:
        """Read a region; a pixel is valid where its numbers are finite and not the fill value.

        Raises
        ------
        UnreadableFile
            If a chunk cannot be read.
        """
        roi = checked_region(roi, self.grid, shown(self.path))
        cure = "check the network, and run it again"
        values = read_planes(self._array, (self._index,), roi, shown(self.path), cure)
        valid = valid_pixels(values, self.bands, (self.nodata,) * len(self.bands))
        return Raster(values, self.grid[roi], self.bands, valid, self.tags)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_array"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _array=_opened(state["path"])[1])


def _opened(path: str) -> tuple[Any, Any, str]:
    """Return the group, its array, and that one's name."""
    import zarr
    from obstore.exceptions import BaseError
    from zarr.storage import LocalStore, ObjectStore

    remote = remote_scheme(path) is not None
    if not remote and not (Path(path) / "zarr.json").is_file():
        raise UnreadableFile(f"There is no Zarr of version 3 at {path}: check the address.")
    try:
        place: Any = (
            ObjectStore(ObjectFolder(path).client, read_only=True)
            if remote
            else LocalStore(path, read_only=True)
        )
        group = zarr.open_group(place, mode="r", zarr_format=3)
        with bounded():
            array = group[ARRAY]
    except (FileNotFoundError, KeyError) as error:
        raise UnreadableFile(
            f"There is no Zarr of version 3 with an array {ARRAY!r} at {shown(path)}: check the "
            "address."
        ) from error
    except (BaseError, OSError, ValueError, TypeError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise FetchFailed(
            f"{shown(path)} cannot be read ({said}): check address, network and credentials, then "
            "run the same command again."
        ) from error
    if getattr(array, "ndim", 0) != len(DIMENSIONS):
        raise UnreadableFile(f"{shown(path)} is no stack of {', '.join(DIMENSIONS)}.")
    return group, array, ARRAY


def _check_sizes(path: str, array: Any) -> None:
    """Refuse more times and bands than there are, and chunks that memory cannot hold."""
    times, bands, height, width = array.shape
    if max(times, bands) > MOST_BANDS or max(height, width) > MOST_PIXELS:
        raise UnreadableFile(
            f"{shown(path)} announces {width:,} x {height:,} pixels in {bands:,} bands and "
            f"{times:,} times, more than any image has: write it again."
        )
    check_memory(
        float(math.prod(array.chunks) * np.dtype(array.dtype).itemsize),
        f"{shown(path)} has chunks of {' x '.join(f'{edge:,}' for edge in array.chunks)} numbers, "
        "and reading one",
        "write it with smaller ones",
    )


def _coordinates(group: Any, array: Any, name: str) -> Any:
    """Return a coordinate of a stack, which is as long as its dimension."""
    found = group[name]
    if tuple(found.shape) != (array.shape[DIMENSIONS.index(name)],):
        raise ValueError(f"{name} has the shape {found.shape}")
    return found


def _years(times: Any) -> list[int]:
    """Return the year of each time, CF's "days since ..."."""
    unit, _, since = str(dict(times.attrs).get("units", "")).partition(" since ")
    values = np.asarray(times[:])
    if values.dtype.kind == "M":
        return [int(one) for one in values.astype("datetime64[Y]").astype(int) + 1970]
    if unit not in UNITS:
        raise ValueError(f"time in {unit or 'no unit'}")
    begin = datetime.fromisoformat(since.strip())
    begin = begin if begin.tzinfo else begin.replace(tzinfo=UTC)
    return [(begin + timedelta(seconds=UNITS[unit] * float(one))).year for one in values]


def _grid(group: Any, array: Any) -> GeoBox:
    """Return the grid: as attributes say it, else from the first and last coordinates."""
    said = {**dict(group.attrs), **dict(array.attrs)}
    height, width = (int(edge) for edge in array.shape[2:])
    crs = CRS(said.get("proj:code") or said.get("proj:wkt2") or "EPSG:4326")
    at = said.get("spatial:transform")
    if at is not None and len(at) >= 6:
        return GeoBox((height, width), Affine(*at[:6]), crs)
    with bounded():
        x, y = group["x"], group["y"]
    (x0, x1), (y0, y1) = ((float(one[0]), float(one[-1])) for one in (x, y))
    step_x, step_y = (x1 - x0) / (width - 1), (y1 - y0) / (height - 1)
    transform = Affine(step_x, 0, x0 - step_x / 2, 0, step_y, y0 - step_y / 2)
    return GeoBox((height, width), transform, crs)


_: type[Source] = StackSource
