"""Where a pass saw a tile: the outline in longitude and latitude, cut at the antimeridian."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import shapely
from odc.geo.geobox import GeoBox

from selion.simulation.archive.tiling import transformer
from selion.simulation.archive.world import World

_BEYOND = 1e7
"""World pixels; farther than any tile."""


def seen_outline(
    world: World, tile: GeoBox, swath: tuple[float, float, float, float]
) -> shapely.Polygon:
    """Return the part of a tile that a swath (direction in x and y, from, to) covers.

    It is in pixel coordinates of the world, and may be empty.
    """
    left, bottom, right, top = tile.boundingbox
    edge = shapely.segmentize(shapely.box(left, bottom, right, top), (right - left) / 8)
    x, y = transformer(str(tile.crs), str(world.grid.crs)).transform(
        *shapely.get_coordinates(edge).T
    )
    # Swaths are told in coordinates of pixels' centres, outlines in those of their corners.
    outline = shapely.Polygon(world.pixels(np.asarray(x), np.asarray(y)).T - 0.5)
    east, south, low, up = swath
    low, up = max(low, -_BEYOND), min(up, _BEYOND)
    strip = shapely.Polygon(
        [
            (east * u - south * v, south * u + east * v)
            for u, v in ((low, -_BEYOND), (up, -_BEYOND), (up, _BEYOND), (low, _BEYOND))
        ]
    )
    return outline.intersection(strip)


def to_geojson(world: World, outline: shapely.Polygon) -> tuple[dict[str, Any], list[float]]:
    """Return GeoJSON geometry and bounding box of an outline in world pixels."""
    fine = shapely.segmentize(outline, max(shapely.length(outline) / 40, 1.0))
    longitude, latitude = world.lonlat(*(shapely.get_coordinates(fine).T + 0.5))
    return cut(np.stack([longitude, latitude], 1))


def cut(ring: np.ndarray) -> tuple[dict[str, Any], list[float]]:
    """Make a GeoJSON geometry of a (point, 2) ring in degrees, as RFC 7946 wants it.

    Two polygons, and west > east, across the antimeridian.
    """
    turned = ring.copy()
    crosses = np.ptp(ring[:, 0]) > 180
    if crosses:
        turned[turned[:, 0] < 0, 0] += 360
    shape = shapely.Polygon(np.round(turned, 7))
    parts = [shape]
    if crosses:
        beyond = shapely.transform(
            shape.intersection(shapely.box(180, -90, 540, 90)),
            lambda xy: xy - np.array([360.0, 0.0]),
        )
        parts = [
            part
            for part in (shape.intersection(shapely.box(-180, -90, 180, 90)), beyond)
            if part.area > 0
        ]
    west, south, east, north = shape.bounds
    box = [west, south, east - 360 if east > 180 else east, north]
    whole = shapely.orient_polygons(parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts))
    return json.loads(shapely.to_geojson(whole)), box
