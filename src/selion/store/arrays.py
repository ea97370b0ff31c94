"""Arrays that others hold in memory, as rasters: numpy's, and xarray's with their coordinates.

xarray is asked by the names of its attributes and not imported.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS
from pyproj.exceptions import CRSError

from selion.errors import BadInput
from selion.grid import photo_grid, whole
from selion.raster import OFFSETS, SCALES, FileSource, Raster, Source
from selion.store.gdal import turned_north_up
from selion.store.identity import fingerprint
from selion.store.open import open_raster
from selion.store.products.source import ProductSource
from selion.store.valid import valid_pixels

IN_MEMORY = "an array in memory"
"""What an image without a name is called."""
COLOURS = ("red", "green", "blue")
"""What three bands of bytes are, as in a file that does not say."""
MOST_BANDS = 64
"""An edge of an array that is as short as this may be its bands."""
ROWS = ("y", "lat", "latitude", "northing", "row")
COLUMNS = ("x", "lon", "longitude", "easting", "column")
SAMPLE = 256
"""Pixels along an edge that are looked at, at least."""
EVEN = 1e-3
"""Share of a pixel by which coordinates may stray from an even grid."""


@runtime_checkable
class LabelledArray(Protocol):
    """An ``xarray.DataArray``, by what is read of it."""

    @property
    def dims(self) -> tuple[Any, ...]:
        """Names of the axes."""
        ...

    @property
    def coords(self) -> Any:
        """Coordinates by name."""
        ...

    @property
    def attrs(self) -> dict[Any, Any]:
        """What is said of it."""
        ...

    @property
    def values(self) -> Any:
        """The numbers."""
        ...


ImageArray = np.ndarray | LabelledArray
"""Pixels in memory."""


def as_raster(
    image: ImageArray,
    *,
    bands: Sequence[str] | None = None,
    crs: str | None = None,
    transform: Affine | Sequence[float] | None = None,
    nodata: float | None = None,
) -> Raster:
    """Take an array as a raster, which all functions here take.

    Parameters
    ----------
    image : ndarray or xarray.DataArray
        (y, x) or (band, y, x) of any number type; a photograph may be (y, x, band), where that is
        plain from the sizes.  Of a DataArray the axes' names tell, and their coordinates,
        ``spatial_ref`` (as rioxarray and odc-geo write it), ``long_name``, ``_FillValue``,
        ``scale_factor`` and ``add_offset`` say the rest.
    bands : sequence of str, optional
        One name per band; None: what the array says, else red, green, blue for three bands of
        bytes, else ``band1`` ...
    crs : str, optional
        Anything that pyproj understands; None: what the array says, else it is a photograph.
    transform : affine.Affine or six floats, optional
        Of ``affine.Affine`` or rasterio: (x, y) of pixel corners, from column and row.
    nodata : float, optional
        Value of pixels that say nothing; numbers that are not finite never do.

    Returns
    -------
    Raster
        Its values are the array's own where they need not be turned.

    Raises
    ------
    BadInput
        If the axes cannot be told, the grid is not even, or CRS and transform are not both known.
    BandMismatch
        If there are other than one name per band.

    Examples
    --------
    >>> import numpy as np
    >>> as_raster(np.zeros((3, 40, 50), np.uint8))
    <Raster 3 x 40 x 50 uint8, red, green, blue, a photograph>
    >>> place = dict(crs="EPSG:32633", transform=(10, 0, 3e5, 0, -10, 5.4e6))
    >>> as_raster(np.zeros((2, 40, 50)), bands=("red", "nir"), **place)
    <Raster 2 x 40 x 50 float64, red, nir, EPSG:32633>
    """
    said: dict[str, Any] = {}
    if isinstance(image, np.ndarray):
        values = _bands_first(image)
    elif isinstance(image, LabelledArray):
        values, said = _labelled(image)
    else:
        raise BadInput(
            f"{type(image).__name__} was given; wanted is a numpy array or an xarray.DataArray."
        )
    if values.dtype.kind not in "uif":
        raise BadInput(f"An array of {values.dtype} was given; wanted are numbers.")
    crs = crs if crs is not None else said.get("crs")
    placed = Affine(*tuple(transform)[:6]) if transform is not None else said.get("transform")
    grid = _grid((values.shape[1], values.shape[2]), crs, placed)
    if grid.crs is not None and grid.transform.e > 0:
        values, grid = values[:, ::-1], turned_north_up(grid)
    names = tuple(bands or said.get("bands") or _usual_names(values))
    missing = nodata if nodata is not None else said.get("nodata")
    valid = (
        valid_pixels(values, names, [missing] * len(values)) if len(names) == len(values) else None
    )
    return Raster(values, grid, names, valid, said.get("tags", {}))


def known_image(image: Path | str | Source) -> tuple[Path | str, Source, str]:
    """Open an image, unless it is open.

    Parameters
    ----------
    image : path, URL or Source

    Returns
    -------
    (path or str, Source, str)
        Its name, the image, and what says which content it has: :func:`selion.store.fingerprint`,
        or of one in memory a hash of all of its pixels.

    Raises
    ------
    UnreadableFile
        If it cannot be read.
    """
    if isinstance(image, str | os.PathLike):
        opened = open_raster(image)
        return image, opened, _state(opened, image)
    if isinstance(image, FileSource):
        return image.path, image, _state(image, image.path)
    raster = image.read(whole(image.grid))
    state = hashlib.blake2b(repr((raster.values.dtype.str, raster.bands)).encode(), digest_size=16)
    for part in (raster.values, raster.valid):
        if part is not None:
            state.update(np.ascontiguousarray(part).data)
    return IN_MEMORY, image, state.hexdigest()


def _state(source: Source, path: str | os.PathLike[str]) -> str:
    """Return the fingerprint of what a source reads: of a product all files that are read."""
    if not isinstance(source, ProductSource):
        return fingerprint(path)
    files = source.more if source.state else source.files
    states = [*filter(None, [source.state]), *(fingerprint(one) for one in files)]
    told = hashlib.sha256("".join(states).encode()).hexdigest()[:32]
    return states[0] if len(states) == 1 else told


def to_dict(raster: Raster) -> dict[str, Any]:
    """Return a raster as the dictionary that ``xarray.DataArray.from_dict`` takes.

    Parameters
    ----------
    raster : Raster

    Returns
    -------
    dict
        (band, y, x) with coordinates of pixel centres and ``spatial_ref``, which rioxarray and
        odc-geo read; pixels that are not valid are NaN where the numbers are floats.
    """
    height, width = raster.grid.shape
    step = raster.grid.transform
    values = raster.values
    if raster.valid is not None and values.dtype.kind == "f":
        values = np.where(raster.valid, values, np.nan)
    place: dict[str, Any] = {"GeoTransform": " ".join(map(repr, map(float, step.to_gdal())))}
    if raster.grid.crs is not None:
        wkt = raster.grid.crs.to_wkt()
        place |= {"crs_wkt": wkt, "spatial_ref": wkt}
    return {
        "dims": ("band", "y", "x"),
        "data": values,
        "attrs": {"long_name": raster.bands},
        "coords": {
            "band": {"dims": ("band",), "data": list(raster.bands), "attrs": {}},
            "y": {"dims": ("y",), "data": step.f + step.e * (np.arange(height) + 0.5), "attrs": {}},
            "x": {"dims": ("x",), "data": step.c + step.a * (np.arange(width) + 0.5), "attrs": {}},
            "spatial_ref": {"dims": (), "data": 0, "attrs": place},
        },
    }


def _bands_first(image: np.ndarray) -> np.ndarray:
    """Return (band, y, x); the shortest edge of a photograph is its bands."""
    if image.ndim == 2:
        return image[None]
    if image.ndim != 3 or 0 in image.shape:
        raise BadInput(
            f"An array of shape {image.shape} was given; wanted is (band, y, x), (y, x) or, of a "
            "photograph, (y, x, band)."
        )
    first, last = image.shape[0] <= MOST_BANDS, image.shape[2] <= 4
    if first and last and image.shape[0] > 4:
        raise BadInput(
            f"An array of shape {image.shape} may be (band, y, x) or (y, x, band): give the "
            "former, for example numpy.moveaxis(image, -1, 0)."
        )
    return np.moveaxis(image, -1, 0) if last and not first else image


def _usual_names(values: np.ndarray) -> tuple[str, ...]:
    if len(values) == 3 and values.dtype == np.uint8:
        return COLOURS
    return tuple(f"band{k + 1}" for k in range(len(values)))


def _grid(shape: tuple[int, int], crs: Any, transform: Affine | None) -> GeoBox:
    if crs is None and transform is None:
        return photo_grid(shape)
    if crs is None or transform is None:
        raise BadInput(
            f"The array has {'a CRS' if transform is None else 'a transform'} and no "
            f"{'transform' if transform is None else 'CRS'}: give both, or neither for a "
            "photograph."
        )
    if transform.b or transform.d:
        raise BadInput(f"The transform {tuple(transform)[:6]} is rotated: resample the image.")
    try:
        found = CRS.from_user_input(crs)
    except (CRSError, ValueError) as error:
        raise BadInput(
            f"{crs!r} is no CRS that PROJ knows: give for example EPSG:32633."
        ) from error
    authority = found.to_authority(min_confidence=100)
    return GeoBox(shape, transform, ":".join(authority) if authority else found.to_wkt())


def _labelled(image: LabelledArray) -> tuple[np.ndarray, dict[str, Any]]:
    """Return (band, y, x) of a DataArray, and what it says of itself."""
    rows = next((k for k, name in enumerate(image.dims) if str(name).lower() in ROWS), None)
    columns = next((k for k, name in enumerate(image.dims) if str(name).lower() in COLUMNS), None)
    rest = [k for k in range(len(image.dims)) if k not in (rows, columns)]
    if rows is None or columns is None or len(rest) > 1:
        raise BadInput(
            f"An array with the axes {', '.join(map(str, image.dims))} was given; wanted are y and "
            "x and at most one more, the bands: choose a date, or stack them as bands."
        )
    values = np.transpose(np.asarray(image.values), [*rest, rows, columns])
    values = values[None] if values.ndim == 2 else values
    spatial = _spatial(image)
    said: dict[str, Any] = {
        "crs": spatial.get("crs_wkt") or spatial.get("spatial_ref") or image.attrs.get("crs"),
        "transform": _from_coordinates(image, image.dims[rows], image.dims[columns]),
        "bands": _band_names(image, image.dims[rest[0]] if rest else None, len(values)),
        "nodata": image.attrs.get("_FillValue", image.attrs.get("nodata")),
        "tags": _scales(image.attrs, len(values)) if _is_stored(values) else {},
    }
    if said["crs"] is None:
        said["transform"] = None  # numbers of pixels
    return values, said


def _is_stored(values: np.ndarray) -> bool:
    """Say whether numbers are as a file stores them: whole.

    Those that somebody has scaled may say the scale still.
    """
    steps = [max(size // SAMPLE, 1) for size in values.shape[1:]]
    sample = values[:, :: steps[0], :: steps[1]]
    sample = sample[np.isfinite(sample)]
    return bool((sample == np.rint(sample)).all())


def _scales(attrs: Mapping[Any, Any], count: int) -> dict[str, str]:
    """Return the tags of scale and offset, as a file that says the same has them."""
    said = [
        attrs.get(names, [attrs.get(name, usual)] * count)
        for name, names, usual in (("scale_factor", "scales", 1.0), ("add_offset", "offsets", 0.0))
    ]
    try:
        scales, offsets = (np.asarray(one, np.float64).reshape(count) for one in said)
    except (TypeError, ValueError):
        return {}
    if not np.isfinite([scales, offsets]).all() or (scales == 0).any():
        return {}
    if (scales == 1).all() and (offsets == 0).all():
        return {}
    told = (",".join(f"{number:.12g}" for number in one) for one in (scales, offsets))
    return dict(zip((SCALES, OFFSETS), told, strict=True))


def _spatial(image: LabelledArray) -> Mapping[str, Any]:
    named = getattr(image, "encoding", {}).get("grid_mapping", image.attrs.get("grid_mapping"))
    for name in (named, "spatial_ref", "crs"):
        if name is not None and name in image.coords:
            return dict(image.coords[name].attrs)
    return {}


def _from_coordinates(image: LabelledArray, rows: Any, columns: Any) -> Affine | None:
    """Return the transform that the centres of pixels tell."""
    if rows not in image.coords or columns not in image.coords:
        return None
    y, step_y = _even(np.asarray(image.coords[rows].values, float), rows)
    x, step_x = _even(np.asarray(image.coords[columns].values, float), columns)
    return Affine(step_x, 0, x - step_x / 2, 0, step_y, y - step_y / 2)


def _even(centres: np.ndarray, name: Any) -> tuple[float, float]:
    """Return the first coordinate and the step of an even axis."""
    if len(centres) < 2:
        raise BadInput(f"{name} has one coordinate, which tells no pixel size: give a transform.")
    step = float(centres[-1] - centres[0]) / (len(centres) - 1)
    even = centres[0] + step * np.arange(len(centres))
    if not step or np.abs(centres - even).max() > EVEN * abs(step):
        raise BadInput(f"The coordinates {name} are not evenly spaced: resample the image first.")
    return float(centres[0]), step


def _band_names(image: LabelledArray, axis: Any, count: int) -> tuple[str, ...] | None:
    """Return names that the array has for its bands, if it has one for each."""
    named = image.attrs.get("long_name")
    if isinstance(named, str) and count == 1:
        return (named,)
    if isinstance(named, tuple | list) and len(named) == count:
        return tuple(map(str, named))
    if axis is not None and axis in image.coords:
        values = np.asarray(image.coords[axis].values)
        if values.dtype.kind in "UO":
            return tuple(map(str, values))
    return None
