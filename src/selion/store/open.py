"""open_raster: whatever lies there, as a Source."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from selion.errors import BadInput, SelionError, UnreadableFile

if TYPE_CHECKING:
    from selion.store.cube import CubeSource
    from selion.store.geotiff import GeoTiffSource
    from selion.store.photo import PhotoSource
    from selion.store.products.source import ProductSource
    from selion.store.retry import RetryPolicy

PHOTO_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp")


def open_raster(
    path: str | os.PathLike[str],
    *,
    coarse: float | None = None,
    retry: RetryPolicy | None = None,
) -> GeoTiffSource | PhotoSource | CubeSource | ProductSource:
    """Open an image, whatever it is.

    Parameters
    ----------
    path : str or path
        A GeoTIFF, COG, VRT, GTI or JPEG 2000 file, a ``.zarr`` folder (version 3), a photograph
        (JPEG, PNG), a product as its agency delivers it (:mod:`selion.store.products`), or the
        ``https://``, ``s3://``, ``gs://`` or ``az://`` address of a raster.
    coarse : float, optional
        Edge of a pixel, in units of the CRS, that is fine enough: a GeoTIFF is read from its
        smallest overview whose pixels are not larger, and ``grid`` is that overview's.  Photographs
        and cubes have none and come at full resolution.
    retry : RetryPolicy, optional
        How long a server is waited for and how often it is asked again.

    Returns
    -------
    Source
        With ``path``, ``nodata``, ``tags`` and ``descriptions``.  An image without georeference has
        ``grid.crs`` None, and is turned as its EXIF orientation says.

    Raises
    ------
    UnreadableFile
        If it is missing, truncated or of no known format.
    GridMismatch
        If its grid is rotated.
    """
    from selion.store.urls import SCHEMES, plain_name, remote_scheme, shown

    if not isinstance(path, str | os.PathLike):
        raise BadInput(
            f"A {type(path).__name__} was given, and wanted is the path of an image: arrays of "
            "numpy and xarray are taken by selion.as_raster, or by selion.map_fields as they are."
        )
    path = plain_name(os.fspath(path))
    scheme = remote_scheme(path)
    if path.startswith("/vsi"):
        raise UnreadableFile(
            f"{shown(path)} is GDAL's name of a place that is not read: give a path, or an address "
            "with http, https, s3, gs or az; unpack an archive first."
        )
    if scheme is None:
        return _open_local(Path(path).expanduser(), coarse)
    if scheme is not None and scheme not in SCHEMES:
        raise UnreadableFile(
            f"{shown(path)} has the unknown scheme {scheme}://; known: "
            f"{', '.join(f'{known}://' for known in SCHEMES)}."
        )
    return _open_remote(path, coarse, retry)


def _open_local(
    path: Path, coarse: float | None
) -> GeoTiffSource | PhotoSource | CubeSource | ProductSource:
    if not path.exists():
        raise UnreadableFile(_missing(path))
    if (path / "zarr.json").is_file():
        return _open_folder(path)
    if not os.access(path, os.R_OK):
        raise UnreadableFile(f"{path} cannot be read: there is no permission.")
    from selion.store.products.open import open_product

    product = open_product(path, coarse)
    if product is not None:
        return product
    if path.is_dir():
        return _open_folder(path)
    return _open_file(path, coarse)


def _open_file(path: Path, coarse: float | None) -> GeoTiffSource | PhotoSource:
    """Open a raster or a photograph; a TIFF that has a place is opened once, and is no photograph.

    Whoever looks first whether it has one opens it twice, at a millisecond each.
    """
    from selion.store.geotiff import GeoTiffSource
    from selion.store.photo import PhotoSource, is_photo, is_tiff

    opened = None
    if is_tiff(path):
        with suppress(SelionError):  # said below, unless it is a photograph
            opened = GeoTiffSource.open(path, coarse=coarse)
            if opened.grid.crs is not None:
                return opened
    if is_photo(path):
        return PhotoSource.open(path)
    return opened or GeoTiffSource.open(path, coarse=coarse)


def _open_folder(path: Path) -> CubeSource:
    from selion.store.products.open import WANTED

    if not (path / "zarr.json").is_file():
        old = (
            (path / ".zarray").is_file()
            or (path / ".zgroup").is_file()
            or (path / ".zattrs").is_file()
        )
        what = (
            "a Zarr of version 2: rewrite it as version 3"
            if old
            else f"a folder{_images_in(path)}: give one image, a .zarr folder, or {WANTED}"
        )
        raise UnreadableFile(f"{path} is {what}.")
    from selion.store.cube import CubeSource

    return CubeSource.open(path)


def _images_in(folder: Path) -> str:
    """Say how many images lie in a folder, and how all of them are given."""
    found = sorted(one.name for one in folder.iterdir() if one.suffix.lower() in (".tif", ".tiff"))
    if not found:
        return ""
    ending = Path(found[0]).suffix
    several = f"{folder}/*{ending} gives all, where several are taken"
    return f" of {len(found):,} images ({found[0]} ...; {several})"


def _open_remote(path: str, coarse: float | None, retry: RetryPolicy | None) -> GeoTiffSource:
    from selion.store.geotiff import GeoTiffSource
    from selion.store.urls import shown

    source = GeoTiffSource.open(path, coarse=coarse, retry=retry)
    if source.grid.crs is None and shown(path).lower().endswith(PHOTO_ENDINGS):
        raise UnreadableFile(
            f"{shown(path)} is a photograph, which has to be turned as its EXIF says: download it "
            "first and give the file."
        )
    return source


def _missing(path: Path) -> str:
    import difflib

    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.7)
    hint = f"did you mean {path.with_name(near[0])}?" if near else "check the name."
    return f"{path} does not exist: {hint}"
