"""Where a map lies and how much land it shows, in words for a report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pyproj import Transformer

from selion.grid import LONLAT, pixel_metres

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

BARS = (1, 2, 5)
"""First digits of the length of a scale bar."""


def place_facts(grid: GeoBox) -> list[list[object]]:
    """Return names and facts of a grid for a table.

    Centre, extent, km2, corners, pixels and CRS; of a photograph, which has no place, pixels only.

    Raises
    ------
    GridMismatch
        If the grid cannot be placed on the globe.
    """
    height, width = (int(size) for size in grid.shape)
    size = pixel_metres(grid)
    if size is None or grid.crs is None:
        return [["pixels", f"{width:,} x {height:,}"]]
    tall, wide = height * size[0] / 1000, width * size[1] / 1000
    west, south, east, north = _degrees(grid)
    pixel = math.sqrt(size[0] * size[1])
    return [
        ["centre", f"{_side((south + north) / 2, 'NS')}, {_side(_middle(west, east), 'EW')}"],
        ["extent", f"{_rounded(wide)} km west to east, {_rounded(tall)} km north to south"],
        ["area shown", f"{_rounded(wide * tall)} km² ({wide * tall * 100:,.0f} ha)"],
        ["west, south, east, north", f"{west:.5f}, {south:.5f}, {east:.5f}, {north:.5f}"],
        ["pixels", f"{width:,} x {height:,} of {pixel:.3g} m"],
        ["coordinate system", _crs_name(grid)],
    ]


def scale_bar(grid: GeoBox) -> tuple[str, float] | None:
    """Return a round length and the share of the grid's width that it takes, a fifth or less.

    None for a photograph.
    """
    size = pixel_metres(grid)
    if size is None:
        return None
    wide = int(grid.shape[1]) * size[1]
    unit = 10 ** math.floor(math.log10(wide / 5))
    metres = max(digit * unit for digit in BARS if digit * unit <= wide / 5)
    return (f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"), metres / wide


def _degrees(grid: GeoBox) -> tuple[float, float, float, float]:
    box = grid.extent.boundingbox
    turn = Transformer.from_crs(str(grid.crs), LONLAT, always_xy=True)
    west, south, east, north = turn.transform_bounds(box.left, box.bottom, box.right, box.top)
    return west, south, east, north


def _middle(west: float, east: float) -> float:
    """Return the longitude between two, also across the antimeridian."""
    middle = (west + (east if east >= west else east + 360)) / 2
    return (middle + 180) % 360 - 180


def _side(degrees: float, names: str) -> str:
    return f"{abs(degrees):.4f}° {names[degrees < 0]}"


def _rounded(value: float) -> str:
    """Write a length or an area with three digits that count, never as a power of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _crs_name(grid: GeoBox) -> str:
    crs = grid.crs
    epsg = None if crs is None else crs.epsg
    name = "" if crs is None else str(crs.proj.name)
    return f"{name} (EPSG:{epsg})" if epsg else name
