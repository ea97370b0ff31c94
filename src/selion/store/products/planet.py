"""PlanetScope: one GeoTIFF whose name says which bands it holds, and its metadata beside it.

Reference: Planet Imagery Product Specifications (2024): the surface reflectance of ``_SR`` products
is number / 10000; that of radiances (``AnalyticMS`` without ``_SR``) at the top of the atmosphere
is number * reflectanceCoefficient of the metadata.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from selion.errors import UnreadableFile
from selion.raster import DOUBT, RECOGNISED, STATED
from selion.store.geotiff import GeoTiffSource
from selion.store.markup import named, parsed_xml, text_of
from selion.store.products.folder import LONGEST
from selion.store.products.source import (
    ProductBand,
    ProductMask,
    ProductSource,
    checked_product,
)

NAME = re.compile(
    r"(?P<scene>(?P<day>20\d{6})_(?P<clock>\d{6})_\w*?3B)_(?:ortho_)?Analytic(?:MS)?(?P<rest>(?:_SR|_[48]b|"
    r"_harmonized|_clip|_file_format|_reproject)*)\.tiff?",
    re.IGNORECASE,
)
ORDERS = {
    4: ("blue", "green", "red", "nir"),
    8: ("coastal", "blue", "green1", "green", "yellow", "red", "rededge", "nir"),
}
"""Number of bands -> what they are."""


def open_planet(path: Path, coarse: float | None) -> ProductSource | None:
    """Open a PlanetScope image; None if the name, or the number of bands, is another's.

    Raises
    ------
    UnreadableFile
        If it or its metadata are broken.
    """
    name = NAME.fullmatch(path.name)
    if name is None:
        return None
    source = GeoTiffSource.open(path, coarse=coarse)
    order = ORDERS.get(len(source.bands))
    if order is None:
        return None
    at_ground = "_sr" in name["rest"].lower()
    told = None if at_ground else _beside(path, name, "metadata", ".xml")
    gains = (1.0,) * len(order) if at_ground else _coefficients(path, told, len(order))
    parts = tuple(
        ProductBand(colour, source, k, gain)
        for k, (colour, gain) in enumerate(zip(order, gains or (1.0,) * len(order), strict=True))
    )
    clear = _beside(path, name, "udm2", ".tif")
    mask = (
        None
        if clear is None
        else ProductMask(GeoTiffSource.open(clear, coarse=coarse), shown=frozenset({1}))
    )
    tags = dict(source.tags) | _tags(name, order, at_ground=at_ground, known=bool(gains))
    masked = "What its usable data mask (udm2) does not call clear is left out."
    more = tuple(str(one) for one in (told, clear) if one is not None)
    return checked_product(ProductSource(str(path), parts, tags, mask, more=more), masked)


def _tags(
    name: re.Match[str], order: tuple[str, ...], *, at_ground: bool, known: bool
) -> dict[str, str]:
    time = datetime.strptime(f"{name['day']}{name['clock']}+0000", "%Y%m%d%H%M%S%z")
    what = (
        "surface reflectances" if at_ground else "radiances, by its metadata reflectances" * known
    )
    doubt = ""
    if not at_ground:
        doubt = (
            "The PlanetScope image is not corrected for the atmosphere (no _SR in its name), as "
            "the images were that models are trained on: order the surface reflectance."
            if known
            else "The PlanetScope image holds radiances, and the _metadata.xml that makes them "
            "reflectances does not lie beside it: put it there, or order the surface reflectance "
            "(_SR)."
        )
    return {
        "product": f"PlanetScope {len(order)} bands",
        "datetime": time.isoformat(),
        RECOGNISED: f"A PlanetScope image of {what or 'radiances'}, {time.date()}: its "
        f"{len(order)} bands are {', '.join(order)}.",
        DOUBT: doubt,
        STATED: ",".join(order) if at_ground or known else "",
    }


def _beside(path: Path, name: re.Match[str], what: str, ending: str) -> Path | None:
    """Return a file of the same scene that lies beside the image."""
    eight = "_8b" in name["rest"].lower()
    found = [
        one
        for one in sorted(path.parent.glob(f"{name['scene']}_*{ending}"))
        if what in one.name.lower() and ("_8b" in one.name.lower()) == (eight and ending == ".xml")
    ]
    return found[0] if found else None


def _coefficients(path: Path, beside: Path | None, count: int) -> tuple[float, ...]:
    """Return what makes a reflectance of each band's numbers; nothing if nobody says."""
    if beside is None:
        return ()
    with beside.open("rb") as file:
        root = parsed_xml(file.read(LONGEST), str(beside))
    try:
        found = {
            int(text_of(band, "bandNumber")): float(text_of(band, "reflectanceCoefficient"))
            for band in named(root, "bandSpecificMetadata")
        }
        return tuple(found[k] * 10_000 for k in range(1, count + 1))
    except (ValueError, KeyError) as error:
        raise UnreadableFile(
            f"{beside} does not say how the numbers of {path.name} become reflectances "
            f"({error}): fetch it again."
        ) from error
