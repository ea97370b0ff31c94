"""Landsat, collection 2, level 2, as USGS delivers it: a folder or a .tar of surface reflectances.

Reference: Landsat 8-9 Collection 2 Level 2 Science Product Guide (LSDS-1619), version 5:
reflectance = number * 0.0000275 - 0.2, which the metadata (MTL, as text, JSON or XML) repeat.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from selion.errors import UnreadableFile
from selion.raster import RECOGNISED, STATED
from selion.store.geotiff import GeoTiffSource
from selion.store.markup import parsed_xml, plain_tag
from selion.store.products.folder import ProductFolder
from selion.store.products.source import (
    ProductBand,
    ProductMask,
    ProductSource,
    checked_product,
)

MULTIPLIED, ADDED = 2.75e-5, -0.2
"""Of all surface reflectances of collection 2, where no metadata are there."""
COLOURS = ("red", "green", "blue", "nir")
NEW, OLD = (4, 3, 2, 5), (3, 2, 1, 4)
"""Numbers of red, green, blue and near infrared of Landsat 8 and 9, and of 4, 5 and 7."""
HIDDEN = 0b11111
"""Bits of QA_PIXEL: fill, dilated cloud, cirrus, cloud, shadow of a cloud."""
FILE = re.compile(
    r"(?:^|/)(L[COTE]0(\d)_(L\w\w\w)_(\d{6})_(\d{8})_\d{8}_02_\w\w)_"
    r"(SR_B\d|QA_PIXEL|MTL|B\d+)\.(TIF|tif|txt|json|xml)$"
)
METADATA = re.compile(r"L[COTE]0\d_L\w+_MTL\.(?:txt|json|xml)$")
GROUP = "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"

Facts = Mapping[str, Mapping[str, str]]
"""Group of the metadata -> name -> value."""


def is_landsat(folder: ProductFolder) -> bool:
    """Whether a folder or archive holds such a scene."""
    return any(FILE.search(name) for name in folder.sizes)


def open_landsat(
    folder: ProductFolder, path: str, coarse: float | None, scene: str = ""
) -> ProductSource:
    """Open a scene; ``scene`` is its name where a folder holds several.

    Raises
    ------
    UnreadableFile
        If it is incomplete, of level 1, or several.
    """
    found: dict[str, dict[str, str]] = {}
    parts: dict[str, re.Match[str]] = {}
    for name in folder.sizes:
        of = FILE.search(name)
        if of is not None and (not scene or of[1] == scene):
            ending = f".{of[7]}" if of[6] == "MTL" else ""
            found.setdefault(of[1], {})[of[6] + ending] = name
            parts[of[1]] = of
    if len(found) > 1:
        raise UnreadableFile(
            f"{path} holds {len(found)} scenes: give the _MTL file of each as its own date, as in "
            f"{' '.join(f'{one}_MTL.txt' for one in sorted(found)[:2])}."
        )
    scene, files = next(iter(found.items()))
    about = parts[scene]
    numbers = NEW if about[2] in "89" else OLD
    lacking = [f"SR_B{k}" for k in numbers if f"SR_B{k}" not in files]
    if lacking and about[3].startswith("L1"):
        raise UnreadableFile(
            f"{path} is of level 1 ({about[3]}), not corrected for the atmosphere: order the same "
            "scene of level 2 (L2SP), whose files are called SR_B."
        )
    if lacking:
        raise UnreadableFile(
            f"{path} lacks {', '.join(lacking)} of {scene}: the product is incomplete; fetch it "
            "again."
        )
    said = _facts(folder, files)
    bands = [
        ProductBand(
            colour,
            GeoTiffSource.open(folder.raster(files[f"SR_B{number}"]), coarse=coarse),
            0,
            _number(said, f"REFLECTANCE_MULT_BAND_{number}", MULTIPLIED, path) * 10_000,
            _number(said, f"REFLECTANCE_ADD_BAND_{number}", ADDED, path) * 10_000,
        )
        for colour, number in zip(COLOURS, numbers, strict=True)
    ]
    mask = None
    if "QA_PIXEL" in files:
        opened = GeoTiffSource.open(folder.raster(files["QA_PIXEL"]), coarse=coarse)
        mask = ProductMask(opened, bits=HIDDEN)
    tags = _tags(said, about, bands[0])
    masked = "What its QA_PIXEL calls cloud, cirrus or shadow of a cloud is left out."
    told = folder.texts(*(name for kind, name in files.items() if kind.startswith("MTL")))
    return checked_product(ProductSource(path, tuple(bands), tags, mask, more=told), masked)


def _tags(said: Facts, about: re.Match[str], band: ProductBand) -> dict[str, str]:
    day = f"{about[5][:4]}-{about[5][4:6]}-{about[5][6:]}"
    attributes = said.get("IMAGE_ATTRIBUTES", {})
    clock = attributes.get("SCENE_CENTER_TIME", "").strip('"')[:8]
    by = "" if said else " (no metadata are there: as in all of collection 2)"
    return {
        "product": f"Landsat {about[2]} {about[3]}",
        "datetime": f"{attributes.get('DATE_ACQUIRED', day)}T{clock or '00:00:00'}Z",
        RECOGNISED: f"A Landsat {about[2]} product, {about[3]}, path and row {about[4]}, {day}: "
        f"reflectance = number * {band.gain / 10_000:g} {band.shift / 10_000:+g}{by}.",
        STATED: ",".join(COLOURS),
    }


def _number(said: Facts, name: str, usual: float, path: str) -> float:
    text = said.get(GROUP, {}).get(name)
    try:
        return usual if text is None else float(text)
    except ValueError as error:
        raise UnreadableFile(
            f"The metadata of {path} have {text!r} for {name}, which is no number: fetch the "
            "product again."
        ) from error


def _facts(folder: ProductFolder, files: Mapping[str, str]) -> Facts:
    """Read the metadata in whichever of their three forms is there."""
    for ending in ("json", "xml", "txt"):
        name = files.get(f"MTL.{ending}")
        if name is None:
            continue
        text = folder.text(name)
        try:
            return {"json": _of_json, "xml": _of_xml, "txt": _of_text}[ending](text, name)
        except (ValueError, KeyError, AttributeError) as error:
            raise UnreadableFile(
                f"{name} cannot be read ({error}): it is truncated; fetch it again."
            ) from error
    return {}


def _of_json(text: bytes, name: str) -> Facts:  # noqa: ARG001  # as the others
    groups = json.loads(text)["LANDSAT_METADATA_FILE"]
    return {group: dict(values.items()) for group, values in groups.items()}


def _of_xml(text: bytes, name: str) -> Facts:
    return {
        plain_tag(group): {plain_tag(one): one.text or "" for one in group}
        for group in parsed_xml(text, name)
    }


def _of_text(text: bytes, name: str) -> Facts:
    found: dict[str, dict[str, str]] = {}
    group = ""
    for line in text.decode("utf-8", "replace").splitlines():
        key, mark, value = (part.strip() for part in line.partition("="))
        if key == "GROUP":
            group = value
        elif mark and key != "END_GROUP":
            found.setdefault(group, {})[key] = value.strip('"')
    if not found:
        raise UnreadableFile(f"{name} says nothing: fetch it again.")
    return found
