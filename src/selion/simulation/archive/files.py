"""The archive as files.

A static STAC catalogue with relative links, and a note of its truth from which it is read again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

import selion
from selion.errors import UnreadableFile
from selion.simulation.archive.layouts import Layout, layout_of
from selion.simulation.archive.nouns import Archive, ArchiveOptions, ArchiveSeason, Truth, moved

NOTE = "truth/archive.json"
"""Beside the truth, not beside the catalogue, where programs look for STAC documents."""
AREA = "area.geojson"
"""What ``selion map`` takes as the area of the archive."""


def write_catalogue(archive: Archive) -> None:
    """Write ``catalog.json``, ``collection.json``, ``items/*.json``, the area and the note."""
    layout = layout_of(archive.options.layout)
    folder = archive.folder
    (folder / "items").mkdir()
    for item in archive.items:
        _write(folder / "items" / f"{item['id']}.json", _linked(item))
    _write(folder / "collection.json", _collection(archive, layout))
    _write(folder / "catalog.json", _catalogue(archive, layout))
    _write(folder / AREA, archive.area)
    _write(folder / NOTE, _note(archive))


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _link(rel: str, href: str, kind: str = "application/json") -> dict[str, str]:
    return {"rel": rel, "href": href, "type": kind}


def _linked(item: dict[str, Any]) -> dict[str, Any]:
    links = [
        _link("root", "../catalog.json"),
        _link("parent", "../collection.json"),
        _link("collection", "../collection.json"),
    ]
    return {**moved(item, ".."), "links": links}


def _catalogue(archive: Archive, layout: Layout) -> dict[str, Any]:
    links = [_link("root", "./catalog.json"), _link("child", "./collection.json")]
    said = {
        "type": "Catalog",
        "id": f"selion-simulated-{archive.options.seed}",
        "stac_version": layout.stac_version,
    }
    return {
        **said,
        "title": "A simulated archive",
        "description": "A countryside that does not exist, as Sentinel-2 would see it.",
        "links": links,
    }


def _collection(archive: Archive, layout: Layout) -> dict[str, Any]:
    boxes = [item["bbox"] for item in archive.items if item.get("bbox")]
    # Footprints reach beyond the area; across the antimeridian the area's own box is the one that
    # is told.
    across = archive.bbox[0] > archive.bbox[2] or any(box[0] > box[2] for box in boxes)
    box = (
        list(archive.bbox)
        if across
        else [*np.min(boxes, 0)[:2].tolist(), *np.max(boxes, 0)[2:].tolist()]
    )
    times = sorted(
        item["properties"]["datetime"]
        for item in archive.items
        if item["properties"].get("datetime")
    )
    links = [_link("root", "./catalog.json"), _link("parent", "./catalog.json")]
    links += [
        _link("item", f"./items/{item['id']}.json", "application/geo+json")
        for item in archive.items
    ]
    return {
        "type": "Collection",
        "id": layout.collection,
        "stac_version": layout.stac_version,
        "stac_extensions": [],
        "title": "Sentinel-2 Level-2A, simulated",
        "description": (
            f"Written by selion {selion.__version__} in the manner of {archive.options.layout}; it "
            "shows no real place."
        ),
        "license": "CC0-1.0",
        "extent": {"spatial": {"bbox": [box]}, "temporal": {"interval": [[times[0], times[-1]]]}},
        "links": links,
    }


def make_item(
    layout: Layout,
    name: str,
    properties: dict[str, Any],
    geometry: tuple[dict[str, Any], list[float]],
    assets: dict[str, Any],
) -> dict[str, Any]:
    """Put an item together; hrefs are relative to the archive's folder."""
    outline, box = geometry
    return {
        "type": "Feature",
        "stac_version": layout.stac_version,
        "stac_extensions": list(layout.extensions),
        "id": name,
        "collection": layout.collection,
        "geometry": outline,
        "bbox": box,
        "properties": properties,
        "links": [],
        "assets": assets,
    }


# the note


def _grid_to_list(grid: GeoBox) -> list[Any]:
    return [str(grid.crs), list(grid.shape), list(grid.transform[:6])]


def _grid_of(plain: Sequence[Any]) -> GeoBox:
    return GeoBox(tuple(plain[1]), Affine(*plain[2]), plain[0])


def _season_to_dict(season: ArchiveSeason) -> dict[str, str]:
    return {"name": season.name, "start": season.start.isoformat(), "end": season.end.isoformat()}


def _season_of(plain: Mapping[str, str]) -> ArchiveSeason:
    return ArchiveSeason(
        plain["name"], date.fromisoformat(plain["start"]), date.fromisoformat(plain["end"])
    )


def _note(archive: Archive) -> dict[str, Any]:
    def place(path: Path) -> str:
        return path.relative_to(archive.folder).as_posix()

    truth, options = (
        archive.truth,
        {item.name: getattr(archive.options, item.name) for item in fields(ArchiveOptions)},
    )
    options["seasons"] = [
        _season_to_dict(season) for season in archive.options.seasons or ()
    ] or None
    options["dates"] = {
        name: [day.isoformat() for day in days]
        for name, days in (archive.options.dates or {}).items()
    } or None
    return {
        "selion": selion.__version__,
        "options": options,
        "centre": archive.centre,
        "area": archive.area,
        "bbox": archive.bbox,
        "seasons": [_season_to_dict(season) for season in archive.seasons],
        "tiles": {name: _grid_to_list(grid) for name, grid in archive.tiles.items()},
        "world": _grid_to_list(archive.world),
        "truth": {
            "seasons": {name: place(path) for name, path in truth.seasons.items()},
            "instances": place(truth.instances),
            "cover": place(truth.cover),
            "fields": place(truth.fields) if truth.fields else None,
            "tiles": [[*key, place(path)] for key, path in truth.tiles.items()],
            "clear": [[*key, place(path)] for key, path in truth.clear.items()],
        },
        "items": [item["id"] for item in archive.items],
        "broken": dict(archive.broken),
        "offsets": dict(archive.offsets),
    }


def _options_of(plain: dict[str, Any]) -> ArchiveOptions:
    read: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()
    }
    read["seasons"] = (
        tuple(_season_of(season) for season in plain["seasons"]) if plain["seasons"] else None
    )
    read["dates"] = (
        {
            name: tuple(date.fromisoformat(day) for day in days)
            for name, days in plain["dates"].items()
        }
        if plain["dates"]
        else None
    )
    return ArchiveOptions(**read)


def _truth_of(folder: Path, plain: Mapping[str, Any]) -> Truth:
    return Truth(
        {name: folder / path for name, path in plain["seasons"].items()},
        folder / plain["instances"],
        folder / plain["cover"],
        folder / plain["fields"] if plain["fields"] else None,
        {(tile, season): folder / path for tile, season, path in plain["tiles"]},
        {(tile, season): folder / path for tile, season, path in plain["clear"]},
    )


def _item_of(folder: Path, name: str) -> dict[str, Any]:
    item = json.loads((folder / "items" / f"{name}.json").read_text(encoding="utf-8"))
    assets = {
        key: {**asset, "href": asset["href"].removeprefix("../")}
        for key, asset in item["assets"].items()
    }
    return {**item, "assets": assets, "links": []}


def read_archive(folder: str | os.PathLike[str]) -> Archive:
    """Read an archive that :func:`selion.simulation.archive.simulate_archive` wrote.

    Raises
    ------
    UnreadableFile
        If the folder holds none, or one of another version.
    """
    folder = Path(folder)
    try:
        plain = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        return Archive(
            folder,
            _options_of(plain["options"]),
            tuple(plain["centre"]),
            plain["area"],
            tuple(plain["bbox"]),
            tuple(_season_of(season) for season in plain["seasons"]),
            layout_of(plain["options"]["layout"]).collection,
            {name: _grid_of(grid) for name, grid in plain["tiles"].items()},
            _grid_of(plain["world"]),
            _truth_of(folder, plain["truth"]),
            tuple(_item_of(folder, name) for name in plain["items"]),
            plain["broken"],
            plain["offsets"],
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnreadableFile(
            f"{folder} holds no simulated archive that can be read ({error!r}): write one with "
            "selion simulate --archive."
        ) from error


def moved_to(archive: Archive, folder: Path) -> Archive:
    """Return an archive whose files have been moved to another folder."""
    truth = archive.truth

    def there(path: Path) -> Path:
        return folder / path.relative_to(archive.folder)

    paths = {
        name: {key: there(path) for key, path in getattr(truth, name).items()}
        for name in ("seasons", "tiles", "clear")
    }
    single = {
        "instances": there(truth.instances),
        "cover": there(truth.cover),
        "fields": there(truth.fields) if truth.fields else None,
    }
    return replace(archive, folder=folder, truth=Truth(**paths, **single))  # type: ignore[arg-type]
