"""Zarr v3 in shards.

The working store of large rasters, written block by block and read by region.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj.exceptions import CRSError

from selion.cores import check_memory
from selion.errors import BadInput, UnreadableFile
from selion.grid import Roi, check_north_up, overlap, roi_shape
from selion.raster import Raster, Sink, Source
from selion.store.announced import MOST_BANDS
from selion.store.atomic import atomic_folder
from selion.store.links import check_links
from selion.store.regions import checked_bands, checked_block, checked_nodata, checked_region
from selion.store.replaced import ZARR
from selion.store.valid import valid_pixels

CONVENTIONS = (
    {
        "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "name": "proj:",
        "description": "Coordinate reference system",
    },
    {
        "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
        "name": "spatial:",
        "description": "Place and size of pixels",
    },
)
BROKEN = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What zarr raises at arrays that are none: its codecs and counts are made of what a file says."""
MOST_PIXELS = 2**31
"""Along an edge."""
PENDING_BYTES = 256 * 2**20
"""Shards that wait for their other blocks may take this much memory; then the oldest is written as
far as it is."""


class CubeSink:
    """Takes (band, y, x) blocks in any order and from any thread.

    Each pixel once, and one writer for the whole cube.

    A shard is one object that can only be written whole, so blocks wait in memory until their shard
    is full.  Blocks whose edge is a multiple of the shard's never wait.
    """

    def __init__(
        self, path: Path, array: Any, grid: GeoBox, bands: tuple[str, ...], shard: int
    ) -> None:
        self.path = path
        self.grid = grid
        self.bands = bands
        self.dtype = np.dtype(array.dtype)
        self._array = array
        self._shard = shard
        self._pending: dict[tuple[int, int], tuple[np.ndarray, int]] = {}
        self._spilled: set[tuple[int, int]] = set()
        self._lock = threading.Lock()

    def write(self, roi: Roi, values: np.ndarray) -> None:
        """Write (band, y, x) values at a region.

        Raises
        ------
        GridMismatch, BandMismatch, BadInput
            If region, bands or number type do not fit.
        """
        roi = checked_region(roi, self.grid, str(self.path))
        values = checked_block(roi, values, self.bands, self.dtype, str(self.path))
        rows, columns = (
            (part.start // self._shard, (part.stop - 1) // self._shard + 1) for part in roi
        )
        with self._lock:
            for row in range(*rows):
                for column in range(*columns):
                    self._put((row, column), roi, values)
            while sum(buffer.nbytes for buffer, _ in self._pending.values()) > PENDING_BYTES:
                self._write_out(next(iter(self._pending)))

    def finish(self) -> None:
        """Write what still waits."""
        with self._lock:
            for key in list(self._pending):
                self._write_out(key)

    def _put(self, key: tuple[int, int], roi: Roi, values: np.ndarray) -> None:
        place = self._place(key)
        common = overlap(place, roi)
        if common is None:
            return
        buffer, missing = self._pending.pop(key) if key in self._pending else self._begun(key)
        target = tuple(
            slice(part.start - at.start, part.stop - at.start)
            for part, at in zip(common, place, strict=True)
        )
        source = tuple(
            slice(part.start - at.start, part.stop - at.start)
            for part, at in zip(common, roi, strict=True)
        )
        buffer[:, *target] = values[:, *source]
        self._pending[key] = buffer, missing - int(np.prod(roi_shape(common)))
        if self._pending[key][1] <= 0:
            self._write_out(key)

    def _begun(self, key: tuple[int, int]) -> tuple[np.ndarray, int]:
        place = self._place(key)
        height, width = roi_shape(place)
        if key in self._spilled:
            return self._array[:, *place], height * width
        return np.full(
            (len(self.bands), height, width), self._array.fill_value, self.dtype
        ), height * width

    def _write_out(self, key: tuple[int, int]) -> None:
        buffer, missing = self._pending.pop(key)
        self._array[:, *self._place(key)] = buffer
        if missing > 0:
            self._spilled.add(key)

    def _place(self, key: tuple[int, int]) -> Roi:
        top, left = key[0] * self._shard, key[1] * self._shard
        return slice(top, min(top + self._shard, self.grid.shape[0])), slice(
            left, min(left + self._shard, self.grid.shape[1])
        )


@contextmanager
def create_cube(
    path: str | os.PathLike[str],
    grid: GeoBox,
    bands: Sequence[str],
    dtype: np.dtype | type | str,
    *,
    nodata: float | None = None,
    tags: Mapping[str, str] | None = None,
    chunk: int = 256,
    shard: int = 2048,
    force: bool = False,
) -> Iterator[CubeSink]:
    """Write a sharded Zarr v3 array (band, y, x) block by block.

    The folder appears when the block of code ends well.

    Parameters
    ----------
    path : str or path
        Final name, by habit ending in ``.zarr``.
    grid : GeoBox
        Where; north up.
    bands : sequence of str
        Band names.
    dtype : number type
        Any number type.
    nodata : float, optional
        Also what pixels hold that are never written (0 without it).
    tags : mapping of str to str, optional
        Kept with the array.
    chunk, shard : int
        Edge in pixels of what is compressed, and of what is one file; ``shard`` is a multiple of
        ``chunk``.
    force : bool
        Whether an existing folder is replaced.

    Raises
    ------
    OutputExists, OutputFailed
        If it may not, or cannot, be written.
    BadInput
        If the number type cannot hold nodata, or ``shard`` is no multiple of ``chunk``.
    """
    bands, dtype = checked_bands(grid, bands, str(path)), np.dtype(dtype)
    check_north_up(grid, str(path))
    checked_nodata(nodata, dtype, str(path))
    checked_shard(chunk, shard, str(path))
    with atomic_folder(path, force, ZARR) as temporary:
        attributes = attributes_of(grid, bands, nodata, dict(tags or {}))
        array = create_array(
            temporary,
            grid,
            dtype,
            0 if nodata is None else nodata,
            chunk=chunk,
            shard=shard,
            attributes=attributes,
        )
        sink = CubeSink(Path(path), array, grid, bands, shard)
        yield sink
        sink.finish()


def checked_shard(chunk: int, shard: int, path: str) -> None:
    """Check the edges of chunks and shards.

    Raises
    ------
    BadInput
        If ``shard`` is no multiple of ``chunk``.
    """
    if chunk < 1 or shard % chunk:
        raise BadInput(
            f"Shards of {shard} px and chunks of {chunk} px were given for {path}: shards must be "
            "a multiple of chunks."
        )


def create_array(
    path: Path,
    grid: GeoBox,
    dtype: np.dtype,
    fill: float,
    *,
    chunk: int,
    shard: int,
    attributes: dict[str, Any],
) -> Any:
    """Create an empty array (band, y, x) in a folder."""
    import zarr
    from zarr.codecs import ZstdCodec

    count = len(attributes["bands"])
    return zarr.create_array(
        store=path,
        shape=(count, *grid.shape),
        chunks=(count, chunk, chunk),
        shards=(count, shard, shard),
        dtype=dtype,
        compressors=ZstdCodec(level=1),
        fill_value=fill,
        dimension_names=("band", "y", "x"),
        attributes=attributes,
        overwrite=True,
    )


def attributes_of(
    grid: GeoBox, bands: tuple[str, ...], nodata: float | None, tags: dict[str, str]
) -> dict[str, Any]:
    """Return what an array says about its place, bands and origin."""
    place: dict[str, Any] = {
        "spatial:dimensions": ["y", "x"],
        "spatial:shape": list(grid.shape),
        "spatial:transform": list(grid.transform[:6]),
    }
    if grid.crs is not None:
        epsg = grid.crs.to_epsg()
        place |= {"proj:code": f"EPSG:{epsg}"} if epsg else {"proj:wkt2": grid.crs.to_wkt()}
    missing = nodata if nodata is None or np.isfinite(nodata) else str(nodata)
    return {
        "zarr_conventions": [dict(one) for one in CONVENTIONS],
        **place,
        "bands": list(bands),
        "nodata": missing,
        "tags": tags,
    }


@dataclass(frozen=True, eq=False)
class CubeSource:
    """A Zarr v3 array (band, y, x) as a Source; picklable and thread-safe."""

    path: str
    grid: GeoBox
    bands: tuple[str, ...]
    dtype: np.dtype
    nodata: float | None
    tags: Mapping[str, str]
    _array: Any = field(repr=False)

    @property
    def descriptions(self) -> tuple[str | None, ...]:
        """The band names."""
        return self.bands

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> CubeSource:
        """Open a cube.

        Raises
        ------
        UnreadableFile
            If it is no Zarr v3 array of (band, y, x), or says nothing about its place.
        """
        path = os.fspath(path)
        check_links(Path(path))
        array = _opened(path)
        if getattr(array, "ndim", 0) != 3:
            raise UnreadableFile(
                f"{path} is not a single array of (band, y, x): give the array inside it."
            )
        _check_sizes(path, array)
        said = _attributes(path, array)
        bands = said.get("bands") or [f"band{k + 1}" for k in range(array.shape[0])]
        if (
            not isinstance(bands, list)
            or len(bands) != array.shape[0]
            or not all(isinstance(name, str | int) for name in bands)
        ):
            raise UnreadableFile(
                f"{path} has {array.shape[0]} bands, and other names for them: write it again."
            )
        return cls(
            path=path,
            grid=_grid(path, said, array.shape[1:]),
            bands=tuple(map(str, bands)),
            dtype=np.dtype(array.dtype),
            nodata=said["nodata"],
            tags=said["tags"],
            _array=array,
        )

    def read(self, roi: Roi) -> Raster:
        """Read a region; pixels that are nodata or not finite are not valid.

        Raises
        ------
        UnreadableFile
            If a shard is damaged.
        """
        roi = checked_region(roi, self.grid, self.path)
        values = read_planes(self._array, (), roi, self.path, "write it again")
        valid = valid_pixels(values, self.bands, (self.nodata,) * len(self.bands))
        return Raster(values, self.grid[roi], self.bands, valid, self.tags)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_array"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _array=_opened(state["path"]))


def read_planes(array: Any, first: tuple[int, ...], roi: Roi, place: str, cure: str) -> np.ndarray:
    """Read the (band, y, x) values of a region of a Zarr array.

    Parameters
    ----------
    array : zarr.Array
    first : tuple of int
        Indexes along the axes before the bands', such as the time.
    roi : Roi
    place, cure : str
        What the array is called, and what to do where it cannot be read.

    Raises
    ------
    UnreadableFile
        If a chunk is damaged, or a server does not answer.
    """
    try:
        values: np.ndarray = array[(*first, slice(None), *roi)]
    except (*BROKEN, RuntimeError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UnreadableFile(
            f"{place} cannot be read at rows {roi[0].start}:{roi[0].stop}, columns "
            f"{roi[1].start}:{roi[1].stop} ({said}): {cure}."
        ) from error
    return values


def bounded() -> AbstractContextManager[None]:
    """Let the arrays that are opened within unpack no chunk to more than it may come to."""
    from selion.store.bounded_codecs import bounded_codecs

    return bounded_codecs()


def _opened(path: str) -> Any:
    import zarr

    try:
        with bounded():
            return zarr.open(path, mode="r", zarr_format=3)
    except BROKEN as error:
        raise UnreadableFile(
            f"{path} cannot be opened as a Zarr of version 3 ({error}): write it again."
        ) from error


def _attributes(path: str, array: Any) -> dict[str, Any]:
    """Return what a cube says of itself: ``tags`` are texts, ``nodata`` is a number or None."""
    try:
        said = dict(array.attrs)
        tags = {str(key): str(value) for key, value in dict(said.get("tags") or {}).items()}
        nodata = None if said.get("nodata") is None else float(said["nodata"])  # also "NaN"
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UnreadableFile(
            f"{path} says of itself what cannot be read ({error}): write it again."
        ) from error
    return said | {"tags": tags, "nodata": nodata}


def _grid(path: str, said: dict[str, Any], shape: tuple[int, ...]) -> GeoBox:
    transform = said.get("spatial:transform")
    if not (
        isinstance(transform, list | tuple)
        and len(transform) == 6
        and all(isinstance(part, int | float) and abs(part) < 1e300 for part in transform)
    ):
        raise UnreadableFile(
            f"{path} has no georeferencing: wanted is the attribute spatial:transform, six numbers."
        )
    name = said.get("proj:code") or said.get("proj:wkt2")
    grid = GeoBox(
        (shape[0], shape[1]), Affine(*transform), _known_crs(path, name) if name else None
    )
    check_north_up(grid, path)
    return grid


def _check_sizes(path: str, array: Any) -> None:
    """Refuse what announces more than there can be, and chunks that memory cannot hold."""
    if max(array.shape[1:]) > MOST_PIXELS or array.shape[0] > MOST_BANDS:
        bands, height, width = array.shape
        raise UnreadableFile(
            f"{path} announces {width:,} x {height:,} pixels in {bands:,} bands, more than any "
            "image has: write it again."
        )
    check_memory(
        float(math.prod(array.chunks) * array.dtype.itemsize),
        f"{path} has chunks of {' x '.join(f'{edge:,}' for edge in array.chunks)} numbers, and "
        "reading one",
        "write it with smaller ones",
    )


def _known_crs(path: str, name: Any) -> CRS:
    """Return the system that attributes of a Zarr name.

    Raises
    ------
    UnreadableFile
        If it is none.
    """
    try:
        return CRS(name)
    except (CRSError, TypeError, ValueError) as error:
        raise UnreadableFile(
            f"{path} has the CRS {str(name)[:80]!r}, which is none: wanted in proj:code is for "
            "example EPSG:32633."
        ) from error


_source: type[Source] = CubeSource
_sink: type[Sink] = CubeSink
