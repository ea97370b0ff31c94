"""Which product a folder, an archive or a file is."""

from __future__ import annotations

from pathlib import Path

from selion.errors import UnreadableFile
from selion.store.products.folder import PACKED, ProductFolder
from selion.store.products.landsat import METADATA as LANDSAT
from selion.store.products.landsat import is_landsat, open_landsat
from selion.store.products.planet import open_planet
from selion.store.products.sentinel2 import METADATA, is_sentinel2, open_sentinel2
from selion.store.products.source import ProductSource

ARCHIVES = (".zip", ".tar")
WANTED = "a Sentinel-2 .SAFE folder or its .zip, or a Landsat level 2 folder or .tar"


def open_product(path: Path, coarse: float | None = None) -> ProductSource | None:
    """Open a product, given by its folder, its archive, or the text that explains it.

    Parameters
    ----------
    path : path
    coarse : float, optional
        Edge of a pixel that is fine enough, see :func:`selion.store.open_raster`.

    Returns
    -------
    ProductSource or None
        None if it is another file or folder.

    Raises
    ------
    UnreadableFile
        If it is a broken product, or an archive of something else.
    """
    if path.name in METADATA:
        return open_product(path.absolute().parent, coarse)
    if path.is_file() and path.suffix.lower() not in ARCHIVES:
        if path.suffix.lower() in PACKED:
            raise UnreadableFile(
                f"{path} is packed, and would have to be unpacked for each of its pixels: unpack "
                "it, and give the folder or the .tar that is in it."
            )
        if LANDSAT.fullmatch(path.name):
            parent = path.absolute().parent
            scene = path.name.rpartition("_MTL")[0]
            return open_landsat(ProductFolder(parent), str(parent), coarse, scene)
        return open_planet(path, coarse)
    folder = ProductFolder(path)
    if is_sentinel2(folder):
        return open_sentinel2(folder, str(path), coarse)
    if is_landsat(folder):
        return open_landsat(folder, str(path), coarse)
    if path.is_dir():
        return None
    shown = ", ".join(list(folder.sizes)[:3]) or "nothing"
    raise UnreadableFile(
        f"{path} is no product that is known ({shown} ...): wanted is {WANTED}; unpack it and "
        "give one image."
    )
