"""What is wrong with some items of real archives, made on purpose."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from affine import Affine
from odc.geo.geobox import GeoBox

from selion.errors import UnknownName

Item = dict[str, Any]


def _as_it_is(grid: GeoBox) -> GeoBox:
    return grid


def _shifted(grid: GeoBox) -> GeoBox:
    """Move a grid by half a pixel and a few whole ones, so that it cannot be read as the tile's."""
    return GeoBox(
        grid.shape,
        Affine.translation(3.5 * grid.transform.a, -2.5 * grid.transform.a) * grid.transform,
        grid.crs,
    )


def _elsewhere(grid: GeoBox) -> GeoBox:
    """Claim another UTM zone."""
    code = int(str(grid.crs).removeprefix("EPSG:"))
    return GeoBox(grid.shape, grid.transform, f"EPSG:{code + 1 if code % 100 < 60 else code - 1}")


def _unchanged(item: Item, _names: Mapping[str, str], _folder: Path) -> Item:
    return item


def _without_asset(item: Item, names: Mapping[str, str], folder: Path) -> Item:
    (folder / item["assets"][names["nir"]]["href"]).unlink()
    return {
        **item,
        "assets": {name: asset for name, asset in item["assets"].items() if name != names["nir"]},
    }


def _without_file(item: Item, names: Mapping[str, str], folder: Path) -> Item:
    (folder / item["assets"][names["green"]]["href"]).unlink()
    return item


def _truncated(item: Item, names: Mapping[str, str], folder: Path) -> Item:
    path = folder / item["assets"][names["red"]]["href"]
    os.truncate(path, int(path.stat().st_size * 0.4))
    return item


def _said(**changes: object) -> Callable[[Item, Mapping[str, str], Path], Item]:
    def change(item: Item, _names: Mapping[str, str], _folder: Path) -> Item:
        return {**item, "properties": {**item["properties"], **changes}}

    return change


def _without_geometry(item: Item, _names: Mapping[str, str], _folder: Path) -> Item:
    return {key: value for key, value in item.items() if key != "bbox"} | {"geometry": None}


@dataclass(frozen=True, slots=True)
class Fault:
    """How an item is broken."""

    what: str
    """One clause."""
    change: Callable[[Item, Mapping[str, str], Path], Item] = _unchanged
    """(item, our band -> its asset, folder of the hrefs) -> the broken item."""
    placed: Callable[[GeoBox], GeoBox] = _as_it_is
    """Grid of the tile -> grid that the files claim."""
    clouds: tuple[float, float] = (0.05, 0.1)


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "missing-asset": Fault("the item has no near infrared", _without_asset),
        "missing-file": Fault("the file of the green band does not exist", _without_file),
        "truncated": Fault("the file of the red band ends after two fifths", _truncated),
        "wrong-grid": Fault("the bands lie half a pixel beside the tile's grid", placed=_shifted),
        "wrong-zone": Fault("the files claim the neighbouring UTM zone", placed=_elsewhere),
        "all-cloud": Fault(
            "all is cloud, although the item says 12 percent",
            _said(**{"eo:cloud_cover": 12.0}),
            clouds=(1.0, 1.0),
        ),
        "no-datetime": Fault(
            "the item has no time", _said(datetime=None, start_datetime=None, end_datetime=None)
        ),
        "no-cloud-cover": Fault(
            "the item says nothing of clouds", _said(**{"eo:cloud_cover": None})
        ),
        "no-geometry": Fault("the item has no footprint", _without_geometry),
    }
)
"""``no-datetime`` and ``no-geometry`` are no valid STAC: pystac and pgstac refuse them."""


def check_faults(given: Sequence[str]) -> None:
    """Refuse faults that are not known.

    Raises
    ------
    UnknownName
        If there is none of that name.
    """
    for name in given:
        if name not in FAULTS:
            raise UnknownName.among("fault", name, FAULTS)
