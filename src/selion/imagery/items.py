"""Items of a catalogue become scenes; broken ones say what is missing.  Scenes to JSON and back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from selion.errors import BadInput
from selion.imagery.globe import normalised
from selion.imagery.scene import Scene
from selion.imagery.sensors import SENTINEL_2, Sensor, find_sensor

if TYPE_CHECKING:
    from selion.imagery.providers import Provider


class BrokenItem(Exception):  # it is caught in imagery and never reaches a user
    """An item lacks something without which it cannot be used; the message is a clause."""


def scene_of(item: Mapping[str, Any], provider: Provider) -> Scene:
    """Make a scene of a STAC item.

    Parameters
    ----------
    item : mapping
        As it came, checked here and not before.
    provider : Provider
        Whose names of assets and properties hold.

    Raises
    ------
    BrokenItem
        If there is no time, footprint, tile, or one of the sensor's assets.
    """
    said = item.get("properties")
    if not isinstance(said, Mapping) or not isinstance(item.get("id"), str):
        raise BrokenItem("it has no id or no properties")
    sensor = find_sensor(provider.sensor)
    assets = _assets(item, provider, sensor)
    first = {
        what: next((said[name] for name in names if said.get(name) is not None), None)
        for what, names in provider.properties.items()
    }
    product = (
        " ".join(str(said.get(name) or "") for name in ("s2:product_uri", "title"))
        + " "
        + item["id"]
    )
    scales, offsets = _radiometry(assets, sensor)
    more = {"collection": item.get("collection"), "scales": scales, "offsets": offsets}
    return Scene(
        id=item["id"],
        tile=_tile(first.get("tile"), said, item["id"], sensor),
        time=time_of(said),
        provider=provider.name,
        hrefs={band: asset["href"] for band, asset in assets.items()},
        footprint=_footprint(item.get("geometry")),
        cloud=_number(first.get("cloud")),
        baseline=_baseline(first.get("baseline"), product),
        orbit=_orbit(first.get("orbit"), product),
        platform=_platform(said.get("platform"), item["id"]),
        properties={**said, **more},
        sensor=sensor.name,
    )


def _assets(
    item: Mapping[str, Any], provider: Provider, sensor: Sensor
) -> dict[str, Mapping[str, Any]]:
    assets = item.get("assets")
    assets = (
        {
            name: asset
            for name, asset in assets.items()
            if isinstance(asset, Mapping) and asset.get("href")
        }
        if isinstance(assets, Mapping)
        else {}
    )
    found = {}
    for band, called in sensor.assets.items():
        names = provider.assets.get(band, ())
        name = next((name for name in names if name in assets), None) or _by_band(
            assets, band, called
        )
        if name is None:
            raise BrokenItem(
                f"it has no asset for {band} (there are: "
                f"{', '.join(sorted(assets)[:12]) or 'none'})"
            )
        found[band] = assets[name]
    return found


def _by_band(assets: Mapping[str, Mapping[str, Any]], band: str, called: str) -> str | None:
    """Find a band by what the asset says of itself: one band, of that common name or number.

    The finest pixels first.
    """
    fitting = [
        (float(asset.get("gsd") or (bands[0].get("gsd") if bands else 0) or 10), name)
        for name, asset in assets.items()
        if len(bands := _bands(asset)) == 1
        and (
            bands[0].get("common_name", bands[0].get("eo:common_name")) == band
            or str(bands[0].get("name")).upper() == called.upper()
        )
    ]
    return min(fitting)[1] if fitting else None


def _bands(asset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    bands = asset.get("eo:bands") or asset.get("bands") or []
    return [band for band in bands if isinstance(band, Mapping)] if isinstance(bands, list) else []


def _radiometry(
    assets: Mapping[str, Mapping[str, Any]], sensor: Sensor
) -> tuple[dict[str, float], dict[str, float]]:
    """Return what the assets declare.

    Factors and offsets to reflectance, by band (raster extension 1 and 2).
    """
    scales: dict[str, float] = {}
    offsets: dict[str, float] = {}
    for band in sensor.bands:
        asset = assets[band]
        rasters = asset.get("raster:bands")
        old = (
            rasters[0]
            if isinstance(rasters, list) and rasters and isinstance(rasters[0], Mapping)
            else {}
        )
        new = next(iter(_bands(asset)), {})
        for found, key in ((scales, "scale"), (offsets, "offset")):
            value = _number(
                next(
                    (
                        place[name]
                        for place, name in (
                            (old, key),
                            (asset, f"raster:{key}"),
                            (new, f"raster:{key}"),
                        )
                        if name in place
                    ),
                    None,
                )
            )
            if value is not None:
                found[band] = value
    return scales, offsets


def _tile(given: object, said: Mapping[str, Any], name: str, sensor: Sensor) -> str:
    parts = [said.get(part) for part in sensor.tile_properties]
    for text in (given, "".join(str(part) for part in parts) if all(parts) else None, name):
        found = re.search(sensor.tile, str(text or "").upper())
        if found:
            return "".join(found.groups()).zfill(sensor.tile_width)
    raise BrokenItem(f"it names no {sensor.tiling} tile")


def time_of(said: Mapping[str, Any]) -> datetime:
    """Return when an item was taken, UTC, by its properties.

    Raises
    ------
    BrokenItem
        If they do not say.
    """
    text = said.get("datetime") or said.get("start_datetime")
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise BrokenItem(f"it has no time that can be read ({text!r})") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _footprint(geometry: object) -> dict[str, object]:
    """Return the footprint cut at the antimeridian, with lists as in JSON."""
    import shapely

    try:
        polygons = list(normalised(geometry)) if geometry else []
    except (
        shapely.errors.ShapelyError,
        BadInput,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        IndexError,
        OverflowError,
        RecursionError,
    ) as error:
        raise BrokenItem(f"its footprint cannot be read ({error})") from error
    if not len(polygons):
        raise BrokenItem("it has no footprint")
    whole = polygons[0] if len(polygons) == 1 else shapely.multipolygons(polygons)
    return dict(json.loads(shapely.to_geojson(whole)))


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number == number else None  # noqa: PLR0124 - NaN


def _baseline(value: object, product: str) -> str | None:
    """Return ``05.09`` from a property or from the product's name.

    The property may also be 5.09 or ``0509``; the name has ``_N0509_``.
    """
    text = str(value) if value not in (None, "") else ""
    found = (
        re.fullmatch(r"[NV]?0?(\d)\.(\d{1,2})", text)
        or re.fullmatch(r"[NV]?0?(\d)(\d{2})", text)
        or re.search(r"_N0?(\d)(\d{2})_", product)
    )
    return f"{int(found[1]):02}.{found[2]:0<2}" if found else None


def _orbit(value: object, product: str) -> int | None:
    number = _number(value)
    found = re.search(r"_R(\d{3})_", product)
    return int(number) if number is not None else int(found[1]) if found else None


def _platform(value: object, name: str) -> str:
    found = re.match(r"S2([A-D])[_-]", name)
    return (
        str(value).lower().replace(" ", "-")
        if value
        else f"sentinel-2{found[1].lower()}"
        if found
        else ""
    )


# to JSON and back


def scene_to_dict(scene: Scene) -> dict[str, Any]:
    """Return plain values that JSON can hold."""
    plain = {item.name: getattr(scene, item.name) for item in fields(scene)}
    if scene.sensor == SENTINEL_2:  # as it was written before there were other sensors
        del plain["sensor"]
    return {
        **plain,
        "time": scene.time.isoformat(),
        "hrefs": dict(scene.hrefs),
        "footprint": dict(scene.footprint),
        "properties": dict(scene.properties),
    }


def scene_from_dict(plain: Mapping[str, Any]) -> Scene:
    """Return the scene that :func:`scene_to_dict` wrote.

    Raises
    ------
    BadInput
        If something is missing.
    """
    try:
        read = {key: dict(plain[key]) for key in ("hrefs", "footprint", "properties")}
        return Scene(**{**plain, **read, "time": datetime.fromisoformat(plain["time"])})
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"A list of scenes cannot be read ({error!r}): it was written by another version; "
            "search anew."
        ) from error
