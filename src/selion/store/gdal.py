"""How we speak to GDAL: its settings, its grids, its paths."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import rasterio
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError

from selion.errors import GridMismatch
from selion.grid import check_north_up, check_place
from selion.store.clouds import gdal_clouds
from selion.store.retry import RetryPolicy
from selion.store.urls import gdal_name, remote_scheme, shown, unsigned

LOCAL: Mapping[str, str | int] = {
    # bytes; the default is a share of the machine, which is not "a few blocks"
    "GDAL_CACHEMAX": 64 * 2**20,
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",  # otherwise a truncated JPEG is read as grey
    # otherwise a truncated PNG is read as what lay in memory
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
}
REMOTE: Mapping[str, str] = {
    # no listing, no guessing of sidecar files: one request opens a COG
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "CPL_VSIL_CURL_CACHE_SIZE": "67108864",
    "VSI_CACHE": "TRUE",
    # bytes per handle, beside the cache of all: the default of 25 MB is a lot for 40 files in 8
    # threads
    "VSI_CACHE_SIZE": "4194304",
}


READING = RetryPolicy(connect=15.0)
"""Unless somebody says otherwise."""
GDAL_ERRORS = (RasterioError, CPLE_BaseError)
"""What rasterio raises: mostly its own errors, but GDAL's as they are while it copies a file."""
_filters = threading.RLock()


@contextmanager
def gdal_settings(
    *, remote: bool, retry: RetryPolicy | None = None, reach: str | None = "", **more: str | int
) -> Iterator[None]:
    """Hold our settings for GDAL in this thread.

    What the user set in the process' environment wins.

    Parameters
    ----------
    remote : bool
        Whether something of a server is read.
    retry : RetryPolicy, optional
        With a server.
    reach : str or None
        GDAL's name of the only file of any server that it may open, whatever a file says (the
        overviews of a TIFF may be "elsewhere"); empty: none; None: all, for a list of files that
        was looked through.
    more : str or int
        Others.
    """
    settings = {
        **LOCAL,
        **({**REMOTE, **gdal_clouds(), **(retry or READING).gdal()} if remote else {}),
        **({} if reach is None else {"CPL_VSIL_CURL_ALLOWED_FILENAME": reach or "nothing"}),
        **more,
    }
    with rasterio.Env(**{key: value for key, value in settings.items() if key not in os.environ}):
        yield


@contextmanager
def quiet(category: type[Warning] = Warning) -> Iterator[None]:
    """Hold warnings back.

    The filters belong to the whole process, hence one lock for all who do so.
    """
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


def open_quietly(name: str, mode: str = "r", **options: Any) -> Any:
    """Open a dataset.

    An image without georeference is no reason for a warning, for us it is a photograph.

    Raises
    ------
    rasterio.errors.RasterioError
        If it cannot be opened, also where a text in it is no UTF-8.
    """
    with quiet(NotGeoreferencedWarning):
        try:
            return rasterio.open(name, mode, **options)
        except UnicodeDecodeError as error:
            raise RasterioIOError(f"a text in it is damaged ({error.reason})") from error


def forget(path: str) -> None:
    """Let GDAL forget what it has cached of a file of a server: half an answer would stay.

    It does so when it closes a file that is not to be cached, also if it is no GeoTIFF.
    """
    name = gdal_name(path)
    with rasterio.Env(CPL_VSIL_CURL_NON_CACHED=name), suppress(*GDAL_ERRORS):
        open_quietly(name, driver="GTiff").close()  # no driver that would follow what it names


def grid_of(dataset: Any, name: str) -> GeoBox:
    """Return the grid of an open dataset as it lies in the file.

    Raises
    ------
    GridMismatch
        If it is rotated, mirrored, placed by ground control points only, or has a CRS that PROJ
        does not know.
    """
    if dataset.transform.is_identity and dataset.gcps[0]:
        raise GridMismatch(
            f"{name} is placed by {len(dataset.gcps[0])} ground control points: warp it first, for "
            "example with gdalwarp."
        )
    grid = GeoBox((dataset.height, dataset.width), dataset.transform, _crs_of(dataset, name))
    check_north_up(grid, name)
    check_place(grid, name)
    if dataset.transform.a <= 0 or dataset.transform.e == 0:
        raise GridMismatch(
            f"{name} has a mirrored or empty geotransform ({tuple(dataset.transform[:6])}): warp "
            "it first, for example with gdalwarp."
        )
    return grid


def turned_north_up(grid: GeoBox) -> GeoBox:
    """Return the grid whose first row is the northernmost, for a grid whose rows run northwards."""
    transform = grid.transform
    return GeoBox(
        grid.shape,
        Affine(
            transform.a, 0, transform.c, 0, -transform.e, transform.f + transform.e * grid.shape[0]
        ),
        grid.crs,
    )


def last_word(error: Exception) -> str:
    """Return what GDAL said first about a failure, in one line."""
    return str(error.__cause__ or error).strip().partition("\n")[0].rstrip(".")


def said_of(path: str, error: Exception) -> str:
    """Return what GDAL said about a path or URL.

    Its own name of it and what must not be printed are left out.
    """
    said = last_word(error)
    if remote_scheme(path) is None:
        return said.replace(gdal_name(path), path)
    return unsigned(said).replace(gdal_name(shown(path)), shown(path))


def _crs_of(dataset: Any, name: str) -> CRS | None:
    from pyproj.exceptions import ProjError

    if not dataset.crs:
        return None
    try:
        epsg = dataset.crs.to_epsg(confidence_threshold=100)
        return CRS(f"EPSG:{epsg}" if epsg else dataset.crs.to_wkt())
    except (ProjError, ValueError) as error:
        raise GridMismatch(
            f"{name} has a CRS that PROJ cannot read ({dataset.crs.to_string()[:80]}): assign the "
            "right one with gdal_edit or gdal_translate -a_srs."
        ) from error


def wavelengths_of(dataset: Any) -> list[float | None]:
    """Return the nanometres in the middle of each band, as GDAL or ENVI's header say them."""
    return [_wavelength(dataset, k) for k in dataset.indexes]


def _wavelength(dataset: Any, band: int) -> float | None:
    said = {key.lower(): value for key, value in dataset.tags(band).items()}
    said |= {k.lower(): v for k, v in dataset.tags(band, ns="IMAGERY").items()}
    micrometres = said.get("central_wavelength_um")
    unit = said.get("wavelength_units", "").lower()
    try:
        if micrometres is not None:
            return float(micrometres) * 1000
        length = float(said["wavelength"])
    except (KeyError, ValueError):
        return None
    if unit.startswith("micro") or unit in ("um", "µm"):
        return length * 1000
    return length if unit.startswith("nano") or unit == "nm" or length > 100 else length * 1000


def gdal_version() -> str:
    """Return the version of the GDAL that rasterio brought."""
    from rasterio import __gdal_version__

    version: str = __gdal_version__
    return version
