"""Sentinel-2 as ESA delivers it: a ``.SAFE`` folder, or its zip; L2A and L1C.

Reference: Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD), version 15:
reflectance = (number + offset) / quantification value, with one offset a band since processing
baseline 04.00.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from selion.errors import UnreadableFile
from selion.raster import DOUBT, RECOGNISED, STATED
from selion.store.geotiff import GeoTiffSource
from selion.store.markup import named, parsed_xml, text_of
from selion.store.products.folder import ProductFolder, find_root
from selion.store.products.source import (
    ProductBand,
    ProductMask,
    ProductSource,
    checked_product,
)

METADATA = ("MTD_MSIL2A.xml", "MTD_MSIL1C.xml")
BANDS = {10: ("B04", "B03", "B02", "B08"), 20: ("B04", "B03", "B02", "B8A")}
"""Metres -> red, green, blue and near infrared."""
COLOURS = ("red", "green", "blue", "nir")
IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Bands by their ``band_id``."""
HIDDEN = frozenset({0, 1, 3, 8, 9, 10})
"""Classes of the scene classification: nothing, defective, shadow of a cloud, cloud, cirrus."""
IMAGE = re.compile(
    r"GRANULE/([^/]+)/IMG_DATA/(?:R(\d\d)m/)?[^/]*_(B\d[\dA]|SCL)(?:_\d\dm)?\.(jp2|tiff?)$"
)


@dataclass(frozen=True)
class _Facts:
    """What the metadata say."""

    level: str
    baseline: str
    time: str
    tile: str
    cloud: str
    quantification: float
    offsets: Mapping[str, float]
    """Band -> what is added to its numbers."""


def is_sentinel2(folder: ProductFolder) -> bool:
    """Whether a folder or archive is, or holds, such a product."""
    return any(name.endswith(METADATA) for name in folder.sizes)


def open_sentinel2(folder: ProductFolder, path: str, coarse: float | None) -> ProductSource:
    """Open a product: red, green, blue and near infrared at its finest pixels.

    Raises
    ------
    UnreadableFile
        If it is incomplete, or several.
    """
    root = find_root(folder, METADATA)
    name = next(root + one for one in METADATA if root + one in folder.sizes)
    facts = _facts(parsed_xml(folder.text(name), f"{path}: {name}"), name, path)
    metres, images = _images(folder, root, path)
    parts = []
    for colour, band in zip(COLOURS, BANDS[metres], strict=True):
        source = GeoTiffSource.open(folder.raster(images[band]), coarse=coarse)
        gain = 10_000 / facts.quantification
        parts.append(ProductBand(colour, source, 0, gain, facts.offsets.get(band, 0.0) * gain))
    mask = None
    if "SCL" in images:
        opened = GeoTiffSource.open(folder.raster(images["SCL"]), coarse=coarse)
        mask = ProductMask(opened, HIDDEN)
    cloud = f" ({float(facts.cloud):.0f} % cloud)" if _is_number(facts.cloud) else ""
    masked = (
        "What its scene classification calls cloud, shadow of a cloud or defective is left out"
        f"{cloud}."
    )
    tags, told = _tags(facts, metres), folder.texts(name)
    return checked_product(ProductSource(path, tuple(parts), tags, mask, more=told), masked)


def _facts(root: ET.Element, name: str, path: str) -> _Facts:
    level = "L1C" if name.endswith("L1C.xml") else "L2A"
    said = text_of(
        root, "BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE"
    )
    try:
        quantification = float(said)
        offsets = {
            IDS[int(element.attrib["band_id"])]: float(element.text or "")
            for tag in ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")
            for element in named(root, tag)
        }
    except (ValueError, KeyError, IndexError) as error:
        raise UnreadableFile(
            f"{path}: {name} does not say how its numbers become reflectances ({error}): fetch "
            "the product again."
        ) from error
    if not quantification > 0:
        raise UnreadableFile(f"{path}: {name} has a quantification value of {said}.")
    product = text_of(root, "PRODUCT_URI", "PRODUCT_URI_2A", "PRODUCT_URI_1C") or path
    tile = re.search(r"_T(\d\d[A-Z]{3})(?=[_.]|$)", product)
    return _Facts(
        level,
        text_of(root, "PROCESSING_BASELINE"),
        text_of(root, "DATATAKE_SENSING_START", "PRODUCT_START_TIME"),
        tile[1] if tile else "",
        text_of(root, "Cloud_Coverage_Assessment"),
        quantification,
        offsets,
    )


def _images(folder: ProductFolder, root: str, path: str) -> tuple[int, dict[str, str]]:
    """Return the metres of the finest pixels, and band -> name of its file; the mask too."""
    found: dict[tuple[int, str], str] = {}
    granules = set()
    for name in folder.sizes:
        image = IMAGE.search(name) if name.startswith(root) else None
        if image is None:
            continue
        granules.add(image[1])
        own = 20 if image[3] == "SCL" else 10
        found.setdefault((int(image[2] or own), image[3]), name)
    if len(granules) > 1:
        raise UnreadableFile(
            f"{path} holds {len(granules)} granules, as before December 2016: give the bands of "
            "one tile as a GeoTIFF or VRT."
        )
    masks = [name for (_, band), name in sorted(found.items()) if band == "SCL"]
    for metres, bands in BANDS.items():
        if all((metres, band) in found for band in bands):
            images = {band: found[metres, band] for band in bands}
            if masks:
                images["SCL"] = masks[0]
            return metres, images
    lacking = [band for band in BANDS[10] if (10, band) not in found]
    raise UnreadableFile(
        f"{path} lacks the images of {', '.join(lacking)}: the product is incomplete; fetch it "
        "again, with its GRANULE folder."
    )


def _tags(facts: _Facts, metres: int) -> dict[str, str]:
    offsets = sorted({facts.offsets.get(band, 0.0) for band in BANDS[metres]})
    numbers = f"reflectance = (number{f' {offsets[0]:+g}' if offsets != [0.0] else ''})"
    if len(offsets) > 1:
        numbers = "reflectance = (number + an offset of each band)"
    tile = f", tile {facts.tile}" if facts.tile else ""
    said = (
        f"A Sentinel-2 product, {facts.level}, processing baseline {facts.baseline or 'unknown'}"
        f"{tile}, {facts.time[:10]}: {numbers} / {facts.quantification:g}."
    )
    doubts = []
    if facts.level == "L1C":
        doubts.append(
            "The product is L1C: reflectances at the top of the atmosphere, with its haze, where "
            "models were trained on L2A, at the ground; L2A gives the better map."
        )
    if metres > 10:
        doubts.append(f"The product has no bands at 10 m: those at {metres} m are taken.")
    return {
        "product": f"Sentinel-2 {facts.level}",
        "datetime": facts.time,
        RECOGNISED: said,
        DOUBT: " ".join(doubts),
        STATED: ",".join(COLOURS),
    }


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
