"""The countryside on one grid, equal-area round the centre.

Also where the pixels of a tile lie on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from selion.errors import BadInput
from selion.simulation.archive.tiling import LONLAT, Tile, transformer
from selion.simulation.landscape import Landscape, simulate

if TYPE_CHECKING:
    import pandas as pd

    from selion.simulation.archive.nouns import ArchiveOptions

CELL = 32
"""Pixels from one exactly projected point to the next; between them, coordinates are interpolated,
which is exact to 0.1 mm at 10 m."""


@dataclass(frozen=True, eq=False)
class World:
    """The landscape, and the grid that holds all tiles.

    Where the grid is larger, the landscape is mirrored.
    """

    grid: GeoBox
    landscape: Landscape
    """Its upper left corner is that of the grid."""
    changes: pd.DataFrame | None = None
    """What became of the fields of the year before; None for a first year."""

    @cached_property
    def seasons(self) -> tuple[np.ndarray, ...]:
        """(4, y, x) uint16 for each date, the earlier first."""
        values = self.landscape.image.values
        return tuple(
            np.ascontiguousarray(values[4 * k : 4 * k + 4])
            for k in np.argsort(self.landscape.dates)
        )

    @property
    def mirrored(self) -> bool:
        """Whether the landscape is smaller than the grid."""
        return tuple(self.landscape.image.grid.shape) != tuple(self.grid.shape)

    def lattice(self, tile: GeoBox, first: int, last: int) -> np.ndarray:
        """Return where rows ``first`` to ``last`` of a tile lie.

        (2, y, x) float64, column and row of the world's grid.

        One point per :data:`CELL` pixels, at the pixels' centres, and one beyond the last.
        """
        rows = first + CELL * np.arange(math.ceil((last - first) / CELL) + 1) + 0.5
        columns = CELL * np.arange(math.ceil(tile.shape[1] / CELL) + 1) + 0.5
        there = tile.transform
        easting, northing = np.meshgrid(there.c + there.a * columns, there.f + there.e * rows)
        return (
            self.pixels(
                *transformer(str(tile.crs), str(self.grid.crs)).transform(easting, northing)
            )
            - 0.5
        )

    def pixels(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return pixel coordinates (corners, not centres) of points in metres, (2, ...).

        Columns and rows.
        """
        there = self.grid.transform
        return np.stack([(x - there.c) / there.a, (y - there.f) / there.e])

    def lonlat(self, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return longitude and latitude of pixel coordinates (corners, not centres)."""
        there = self.grid.transform
        longitude, latitude = transformer(str(self.grid.crs), LONLAT).transform(
            there.c + there.a * columns, there.f + there.e * rows
        )
        return np.asarray(longitude), np.asarray(latitude)


def equal_area(centre: tuple[float, float]) -> str:
    """Return Lambert's azimuthal equal-area projection round a point."""
    return (
        f"+proj=laea +lat_0={centre[1]:.6f} +lon_0={centre[0]:.6f} +x_0=0 +y_0=0 +datum=WGS84 "
        "+units=m +no_defs"
    )


def area_points(
    centre: tuple[float, float], size: tuple[float, float], step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return longitudes and latitudes of points over a rectangle, (point,) each.

    It is of ``size`` (north-south, east-west) metres; edges are included.
    """
    north, east = (
        np.linspace(-edge / 2, edge / 2, max(math.ceil(edge / step) + 1, 3)) for edge in size
    )
    x, y = np.meshgrid(east, north)
    longitude, latitude = transformer(equal_area(centre), LONLAT).transform(x.ravel(), y.ravel())
    return np.asarray(longitude), np.asarray(latitude)


def world_grid(centre: tuple[float, float], tiles: tuple[Tile, ...], gsd: float) -> GeoBox:
    """Return the smallest grid, of even size, that holds all tiles and a margin of 4 px.

    Raises
    ------
    BadInput
        If they lie more than a few hundred kilometres apart, where one plane does not serve.
    """
    crs = equal_area(centre)
    corners = []
    for tile in tiles:
        left, bottom, right, top = tile.grid.boundingbox
        x, y = np.linspace(left, right, 9), np.linspace(bottom, top, 9)
        edge = np.concatenate(
            [
                [(v, bottom) for v in x],
                [(v, top) for v in x],
                [(left, v) for v in y],
                [(right, v) for v in y],
            ]
        )
        corners.append(
            np.stack(transformer(str(tile.grid.crs), crs).transform(edge[:, 0], edge[:, 1]))
        )
    points = np.concatenate(corners, 1)
    if not np.abs(points).max() < 1e6:
        raise BadInput(
            f"The tiles lie up to {np.abs(points).max() / 1000:.0f} km from the centre: ask for an "
            "area of less than 1000 km."
        )
    low, high = np.floor(points.min(1) / gsd) - 4, np.ceil(points.max(1) / gsd) + 4
    width, height = (int(v) + int(v) % 2 for v in high - low)
    return GeoBox((height, width), Affine(gsd, 0, low[0] * gsd, 0, -gsd, high[1] * gsd), crs)


def make_world(grid: GeoBox, options: ArchiveOptions) -> World:
    """Simulate the landscape of a grid, ``patch_px`` at most in each direction."""
    shape = min(grid.shape[0], options.patch_px), min(grid.shape[1], options.patch_px)
    origin, years = grid.transform * (0, 0), 2 if options.changed else 1
    scene = simulate(
        options.seed,
        shape,
        options.gsd,
        options.style,
        crs=str(grid.crs),
        origin=origin,
        years=years,
    )
    if scene.next_year is None:
        return World(grid, scene)
    return World(grid, scene.next_year, scene.changes)
