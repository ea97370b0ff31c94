"""Where the tiles of each scene lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from selion.simulation.published.nouns import PIXEL, CopiedTile, CopyOptions
from selion.simulation.published.plan import LONLAT, plane, transformer

Box = tuple[float, float, float, float]
"""West, south, east, north."""


@dataclass(frozen=True, slots=True)
class Place:
    """The ground of a scene."""

    centre: tuple[float, float]
    """Longitude and latitude of the origin of the plane, where seams cross."""
    tiles: tuple[CopiedTile, ...]
    area: Box
    """What a user would ask for, in the plane."""
    planted: Box
    """Where fields are, in the plane."""


def make_place(options: CopyOptions) -> Place:
    """Return the ground of a scene."""
    return {
        "plain": _plain,
        "seam": _seam,
        "zones": _zones,
        "equator": _equator,
        "norway": _norway,
        "strip": _strip,
    }[options.scene](options)


def _tile(
    options: CopyOptions, key: str, epsg: int, west: float, south: float, *, above: float = 0.25
) -> CopiedTile:
    """Return the tile whose square begins at a corner.

    ``above`` is the share of the overlap that its pixels reach beyond the square's northern edge;
    the rest is in the south, and all of it in the east.
    """
    step, north = options.step, south + options.step + above * options.overlap_m
    grid = GeoBox(
        (options.tile, options.tile),
        Affine(PIXEL, 0, west, 0, -PIXEL, north),
        f"EPSG:{epsg}",
    )
    return CopiedTile(key, grid, (west, south, west + step, south + step))


def _placed(epsg: int, lonlat: tuple[float, float]) -> tuple[float, float]:
    """Return easting and northing, on whole multiples of 20 m."""
    x, y = transformer(LONLAT, f"EPSG:{epsg}").transform(*lonlat)
    return round(x / 20) * 20.0, round(y / 20) * 20.0


def _lonlat(epsg: int, x: float, y: float) -> tuple[float, float]:
    found = transformer(f"EPSG:{epsg}", LONLAT).transform(x, y)
    return float(found[0]), float(found[1])


def _grown(box: Box, by: float) -> Box:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def _plain(options: CopyOptions) -> Place:
    x, y = _placed(32633, (13.2, 51.4))
    step = options.step
    tile = _tile(options, "33UUS_0_0", 32633, x, y)
    centre = _lonlat(32633, x + step / 2, y + step / 2)
    area = _grown((0, 0, 0, 0), 0.4 * step)
    return Place(centre, (tile,), area, _grown(area, 0.2 * step))


def _seam(options: CopyOptions) -> Place:
    x, y = _placed(32632, (10.5, 48.0))
    step = options.step
    keys = ("32UPU_0_0", "32UQU_0_0", "32TPT_0_0", "32TQT_0_0")
    corners = ((x - step, y), (x, y), (x - step, y - step), (x, y - step))
    tiles = tuple(
        _tile(options, key, 32632, *corner) for key, corner in zip(keys, corners, strict=True)
    )
    area = (-0.9 * step, -0.9 * step, 1.3 * step, 0.9 * step)
    return Place(_lonlat(32632, x, y), tiles, area, _grown(area, 0.15 * step))


def _beside(
    options: CopyOptions, keys: tuple[str, str], zones: tuple[int, int], latitude: float
) -> Place:
    """Return two tiles on either side of the border of two zones, each reaching over it."""
    centre = 6.0 * (zones[1] - 31), latitude
    if zones == (31, 32) and 56 <= latitude < 64:
        centre = 3.0, latitude
    step, over = options.step, 20 * round(0.15 * options.step / 20)
    x, y = _placed(32600 + zones[0], centre)
    west = _tile(options, keys[0], 32600 + zones[0], x - step + over, y - step / 2)
    x, y = _placed(32600 + zones[1], centre)
    east = _tile(options, keys[1], 32600 + zones[1], x - over, y - step / 2)
    area = (-0.75 * step, -0.4 * step, 0.75 * step, 0.4 * step)
    return Place(centre, (west, east), area, _grown(area, 0.2 * step))


def _zones(options: CopyOptions) -> Place:
    return _beside(options, ("32UQU_0_0", "33UTP_0_0"), (32, 33), 48.2)


def _norway(options: CopyOptions) -> Place:
    return _beside(options, ("31VEG_0_0", "32VKM_0_0"), (31, 32), 60.4)


def _equator(options: CopyOptions) -> Place:
    x, step = _placed(32630, (-1.5, 0.0))[0], options.step
    north = _tile(options, "30NXF_0_0", 32630, x - step / 2, 0.0)
    south = _tile(options, "30MXE_0_0", 32730, x - step / 2, 1e7 - step)
    area = (-0.4 * step, -0.85 * step, 0.4 * step, 0.85 * step)
    return Place(_lonlat(32630, x, 0.0), (north, south), area, _grown(area, 0.1 * step))


def _strip(options: CopyOptions) -> Place:
    """Return two tiles whose pixels abut, and whose squares do so a strip further north."""
    x, y = _placed(32759, (172.5, -42.0))
    step, strip = options.step, options.overlap_m
    # The pixels begin at y; the squares part at y + strip.
    north = _tile(options, "59GQQ_0_0", 32759, x - step / 2, y + strip, above=0.0)
    south = _tile(options, "59GQQ_0_1", 32759, x - step / 2, y + strip - step, above=-1.0)
    area = (-0.4 * step, -0.85 * step, 0.4 * step, 0.85 * step)
    return Place(_lonlat(32759, x, y), (north, south), area, _grown(area, 0.1 * step))


def lonlat_box(box: Box, crs: str) -> Box:
    """Return the box in degrees round a box in metres."""
    found = transformer(crs, LONLAT).transform_bounds(*box, densify_pts=9)
    return tuple(float(side) for side in found)  # type: ignore[return-value]


def area_box(place: Place) -> Box:
    """Return the box in degrees that lies within the area: it is not to reach beyond it."""
    west, south, east, north = place.area
    to = transformer(plane(place.centre), LONLAT)
    along, up = np.linspace(west, east, 9), np.linspace(south, north, 9)
    sides = (
        to.transform(np.full(9, west), up)[0].max(),
        to.transform(along, np.full(9, south))[1].max(),
        to.transform(np.full(9, east), up)[0].min(),
        to.transform(along, np.full(9, north))[1].min(),
    )
    return tuple(math.trunc(side * 1e6) / 1e6 for side in sides)
