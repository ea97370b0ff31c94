"""One STAC item as an image: a file, or an address.

Its bands are found by what it says of them; what the numbers of Sentinel-2 mean is decided as for
the scenes of a search.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from selion import store
from selion.errors import UnreadableFile
from selion.grid import whole
from selion.imagery.cut import TilePart, fine_enough, overview_grid
from selion.imagery.items import BrokenItem, scene_of, time_of
from selion.imagery.overview import OverviewSource, check_scene
from selion.imagery.providers import Provider, find_provider, known_providers
from selion.imagery.reading import open_band
from selion.imagery.scene import Scene
from selion.imagery.sensors import find_sensor
from selion.imagery.signing import Signer, make_signer
from selion.raster import DOUBT, RECOGNISED, STATED, Source
from selion.store.products.source import (
    ProductBand,
    ProductMask,
    ProductSource,
    checked_product,
)
from selion.store.urls import remote_scheme, shown

COLOURS = ("red", "green", "blue", "nir")
CALLED = {"red": "red", "green": "green", "blue": "blue", "nir": "nir", "nir08": "nir"}
"""Common name -> colour."""
SPANS = {"blue": (0.44, 0.535), "green": (0.52, 0.6), "red": (0.62, 0.7), "nir": (0.76, 0.92)}
"""Colour -> micrometres of its centre, where there is no common name."""
SEEN_ONLY = re.compile(r"visual|thumbnail|overview|preview|tci|true.?colou?r", re.IGNORECASE)
"""Assets that are there to be looked at."""
ITEM = re.compile(r"/items/[^/?#]+/?$")
LONGEST = 16 * 2**20
"""Bytes of an item."""
QA = 0b11111
"""Bits of Landsat's qa_pixel: fill, dilated cloud, cirrus, cloud, shadow of a cloud."""


@dataclass(frozen=True, slots=True)
class _Asset:
    """A band of an asset."""

    href: str
    index: int
    bands: int
    gsd: float
    scale: float | None
    offset: float | None
    exact: bool
    """Whether a common name says the colour."""

    @property
    def rank(self) -> tuple[float, bool, int, str]:
        """The better ones first."""
        return self.gsd, not self.exact, self.bands, self.href


def is_item(given: object) -> bool:
    """Whether a path is that of a STAC item, by what is in it, or an address, by its name.

    Examples
    --------
    >>> is_item("https://stac.example.org/v1/collections/s2/items/S2A_33UUP"), is_item("a.tif")
    (True, False)
    """
    if not isinstance(given, str | os.PathLike):
        return False
    text = os.fspath(given)
    if remote_scheme(text) in ("http", "https"):
        path = urlsplit(text).path
        return path.endswith((".json", ".geojson")) or bool(ITEM.search(path))
    place = Path(text).expanduser()
    if place.suffix.lower() not in (".json", ".geojson") or not place.is_file():
        return False
    with place.open("rb") as file:
        return b'"stac_version"' in file.read(LONGEST)


def open_item(address: str | os.PathLike[str]) -> ProductSource:
    """Open an item: red, green, blue and near infrared as reflectances.

    Parameters
    ----------
    address : str or path
        See :func:`is_item`.

    Raises
    ------
    UnreadableFile
        If it is no item, or has no bands of these colours.
    SearchFailed
        If a server does not answer.
    """
    from selion.imagery.catalogue import read_item

    address = os.fspath(address)
    item = read_item(address)
    provider = _provider(item, address)
    signer = make_signer(provider)
    scene = _sentinel2(item, provider)
    if scene is None:
        return _other(item, provider, signer, address)
    return _of_sentinel2(scene, provider, signer, address)


def _provider(item: Mapping[str, Any], address: str) -> Provider:
    """Return the catalogue that an item is of, by its links, its assets and its words."""
    assets = [one for one in item["assets"].values() if isinstance(one, Mapping)]
    links = [one for one in item.get("links") or () if isinstance(one, Mapping)]
    hosts = {urlsplit(str(one.get("href"))).hostname or "" for one in (*links, *assets)}
    hosts.add(urlsplit(address).hostname or "")
    words = " ".join(item["properties"])
    for name in known_providers():
        known = find_provider(name)
        if urlsplit(known.url).hostname in hosts or any(
            host.endswith(known.signed_hosts) for host in hosts if known.signed_hosts
        ):
            return known
        if name == "earth-search" and "earthsearch:" in words:
            return known
    return find_provider(address)


def _sentinel2(item: Mapping[str, Any], provider: Provider) -> Scene | None:
    """Return the scene of a Sentinel-2 item at the ground; None if it is of another sensor."""
    said = item["properties"]
    words = [item.get("collection"), said.get("platform"), said.get("constellation"), item["id"]]
    text = " ".join(str(word) for word in words).lower().replace("_", "-")
    if not re.search(r"sentinel-?2|\bs2[a-d]-", text) or "l1c" in text:
        return None
    try:
        return scene_of(item, provider)
    except BrokenItem:
        return None


def _of_sentinel2(scene: Scene, provider: Provider, signer: Signer, address: str) -> ProductSource:
    archive = OverviewSource({provider.name: signer}, {provider.name: provider})
    full = archive.open(scene, "red").grid
    overview = overview_grid(full, fine_enough(full))
    part = TilePart(scene.tile, full, whole(full), overview, np.ones(overview.shape, bool))
    radiometry, _ = check_scene(scene, part, archive)
    gain = radiometry.scale * 10_000
    parts = tuple(
        ProductBand(colour, open_band(scene, colour, signer), 0, gain, radiometry.offset * gain)
        for colour in COLOURS
    )
    sensor = find_sensor(scene.sensor)
    mask = ProductMask(open_band(scene, sensor.mask.band, signer), sensor.mask.excluded - {7})
    doubt = (
        f"What the numbers of {scene.id} mean is not sure: {radiometry.doubt}."
        if radiometry.doubt
        else ""
    )
    tags = {
        "product": "Sentinel-2 L2A",
        "datetime": scene.time.isoformat(),
        RECOGNISED: f"A STAC item of Sentinel-2, {scene.id}, {scene.time.date()}: reflectance = "
        f"(number {radiometry.offset:+g}) * {radiometry.scale:g}, because {radiometry.why}.",
        DOUBT: doubt,
        STATED: "" if doubt else ",".join(COLOURS),
    }
    state = _state([scene.id, dict(scene.hrefs), parts[0].shift, parts[0].gain])
    masked = (
        "What its scene classification calls cloud, shadow of a cloud or defective is left out."
    )
    return checked_product(
        ProductSource(address, parts, tags, mask, more=_local(scene.hrefs), state=state), masked
    )


def _other(
    item: Mapping[str, Any], provider: Provider, signer: Signer, address: str
) -> ProductSource:
    """Open an item of any sensor, by what it declares."""
    found = _bands(item["assets"])
    if not {"red", "green", "blue"} <= found.keys():
        raise UnreadableFile(
            f"{shown(address)} does not say which of its assets are red, green and blue "
            f"({', '.join(sorted(item['assets'])[:12]) or 'it has none'}): give the files "
            "themselves, or an item with common names."
        )
    hrefs = {colour: one.href for colour, one in found.items()}
    quality = item["assets"].get("qa_pixel")
    if isinstance(quality, Mapping) and quality.get("href"):
        hrefs["qa_pixel"] = str(quality["href"])
    try:
        moment = time_of(item["properties"])
    except BrokenItem as error:
        raise UnreadableFile(f"{shown(address)} cannot be used: {error}.") from error
    time = moment.isoformat()
    scene = Scene(item["id"], "", moment, provider.name, hrefs, {})
    opened: dict[str, Source] = {}
    parts = []
    for colour in COLOURS:
        one = found.get(colour)
        if one is None:
            continue
        if one.bands > 1:
            source = opened.setdefault(one.href, store.open_raster(signer(one.href)))
        else:
            source = open_band(scene, colour, signer)
        gain = 1.0 if one.scale is None else one.scale * 10_000
        shift = 0.0 if one.scale is None else (one.offset or 0.0) * 10_000
        parts.append(ProductBand(colour, source, one.index, gain, shift))
    mask = (
        ProductMask(open_band(scene, "qa_pixel", signer), bits=QA) if "qa_pixel" in hrefs else None
    )
    first = found["red"]
    numbers = (
        "it declares no scale, so their values decide"
        if first.scale is None
        else f"reflectance = number * {first.scale:g} {first.offset or 0.0:+g}, as it declares"
    )
    level1 = "l1c" in f"{item.get('collection')} {item['id']}".lower()
    tags = {
        "product": f"STAC {item.get('collection') or item['id']}",
        "datetime": time,
        RECOGNISED: f"A STAC item, {item['id']}, {time[:10]}: {numbers}.",
        DOUBT: "The item is L1C, reflectances at the top of the atmosphere, where models were "
        "trained on those at the ground; L2A gives the better map."
        if level1
        else "",
    }
    state = _state([item["id"], hrefs, [(part.gain, part.shift) for part in parts]])
    source = ProductSource(
        address, tuple(parts), tags, mask, more=_local(hrefs), state=state, missing=0.0
    )
    return checked_product(source, "What its qa_pixel calls cloud or shadow is left out.")


def _local(hrefs: Mapping[str, str]) -> tuple[str, ...]:
    """Return the files of this machine."""
    return tuple(href for href in hrefs.values() if remote_scheme(href) is None)


def _state(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _bands(assets: Mapping[str, Any]) -> dict[str, _Asset]:
    """Return the best band of each colour; pictures only where there is nothing else."""
    for pictures in (False, True):
        found: dict[str, list[_Asset]] = {}
        for name, asset in assets.items():
            if not isinstance(asset, Mapping) or not asset.get("href"):
                continue
            roles = " ".join(map(str, asset.get("roles") or ()))
            if bool(SEEN_ONLY.search(f"{name} {roles}")) == pictures:
                for colour, one in _of_asset(asset):
                    found.setdefault(colour, []).append(one)
        if {"red", "green", "blue"} <= found.keys():
            return {colour: min(ones, key=lambda one: one.rank) for colour, ones in found.items()}
    return {}


def _of_asset(asset: Mapping[str, Any]) -> Iterator[tuple[str, _Asset]]:
    """Yield the bands of an asset whose colour is known: of STAC 1.0 and of 1.1."""
    bands = asset.get("eo:bands") or asset.get("bands") or [asset]
    rasters = asset.get("raster:bands")
    rasters = rasters if isinstance(rasters, list) else []
    for k, band in enumerate(bands if isinstance(bands, list) else []):
        if not isinstance(band, Mapping):
            continue
        said = band.get("common_name", band.get("eo:common_name"))
        centre = _number(band.get("center_wavelength", band.get("eo:center_wavelength")))
        colour = CALLED.get(str(said).lower()) or (
            next((c for c, (low, high) in SPANS.items() if low <= centre <= high), None)
            if said is None and centre is not None
            else None
        )
        if colour is None:
            continue
        old = rasters[k] if k < len(rasters) and isinstance(rasters[k], Mapping) else {}
        yield (
            colour,
            _Asset(
                str(asset["href"]),
                k,
                len(bands),
                _number(
                    asset.get("gsd") or band.get("gsd") or asset.get("raster:spatial_resolution")
                )
                or 1e9,
                _first(old.get("scale"), band.get("raster:scale"), asset.get("raster:scale")),
                _first(old.get("offset"), band.get("raster:offset"), asset.get("raster:offset")),
                str(said).lower() == colour,
            ),
        )


def _first(*values: object) -> float | None:
    return next((number for value in values if (number := _number(value)) is not None), None)


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isfinite(number) else None
