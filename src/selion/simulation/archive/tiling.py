"""Tiles as Sentinel-2 has them.

Squares of a UTM zone's lattice, each longer than its step, so that neighbours and neighbouring
zones overlap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from selion.errors import BadInput

LONLAT = "EPSG:4326"
COLUMNS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
ROWS = "ABCDEFGHJKLMNPQRSTUV"
LATITUDES = "CDEFGHJKLMNPQRSTUVWX"
STEP, EDGE = 100_000.0, 109_800.0
"""Metres from tile to tile, and across a tile."""
Place = tuple[int, bool, int, int]
"""UTM zone, whether it is counted from the north, column and row of the lattice; rows are counted
from the equator."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A square of the lattice with its grid."""

    name: str
    """MGRS, ``33UUP``; real only when the tile has the real size."""
    epsg: int
    grid: GeoBox


@dataclass(frozen=True, slots=True)
class TileLattice:
    """Tiles of one size; the real ones shrunk or grown."""

    tile_px: int
    gsd: float

    def __post_init__(self) -> None:
        if self.tile_px < 48 or self.tile_px % 2:
            raise BadInput(
                f"Tiles of {self.tile_px} px were asked for; wanted is an even number from 48 on, "
                "so that 20 m pixels are whole."
            )

    @property
    def edge(self) -> float:
        """Metres across a tile."""
        return self.tile_px * self.gsd

    @property
    def step(self) -> float:
        """Metres from tile to tile."""
        return self.edge * STEP / EDGE

    def tile(self, place: Place) -> Tile:
        """Return the tile of a place.

        The upper left corner lies on the multiples of 60 m (6 px) at or beyond the square's, as
        ESA's tiles do.
        """
        zone, north, column, row = place
        quantum = 6 * self.gsd
        left = math.floor(column * self.step / quantum + 1e-9) * quantum
        top = math.ceil((row + 1) * self.step / quantum - 1e-9) * quantum + (
            0 if north else 10_000_000
        )
        grid = GeoBox(
            (self.tile_px, self.tile_px),
            Affine(self.gsd, 0, left, 0, -self.gsd, top),
            utm(zone, north),
        )
        return Tile(self.name(place), int(utm(zone, north).removeprefix("EPSG:")), grid)

    def name(self, place: Place) -> str:
        """Return the MGRS name.

        The column's letter depends on the zone by three, the row's on the zone by two.
        """
        zone, north, column, row = place
        middle = (row + 0.5) * self.step + (0 if north else 10_000_000)
        to_lonlat = transformer(utm(zone, north), LONLAT)
        latitude = to_lonlat.transform((column + 0.5) * self.step, middle)[1]
        band = LATITUDES[min(max(math.floor((latitude + 80) / 8), 0), 19)]
        letter = COLUMNS[(column - 1 + 8 * ((zone - 1) % 3)) % 24]
        return f"{zone:02}{band}{letter}{ROWS[(row + (0 if zone % 2 else 5)) % 20]}"


def utm(zone: int, north: bool) -> str:
    """Return the CRS of a zone."""
    return f"EPSG:{(32600 if north else 32700) + zone}"


@cache
def transformer(source: str, target: str) -> Transformer:
    """Return a transformation with x before y.

    To find one takes longer than to use it, and pyproj's may be shared by threads.
    """
    return Transformer.from_crs(source, target, always_xy=True)


def zones_of(longitudes: np.ndarray) -> np.ndarray:
    """Return the UTM zone of each longitude, 1 to 60."""
    return np.floor((longitudes + 180) % 360 / 6).astype(int) % 60 + 1


def tiles_of(
    lattice: TileLattice, longitudes: np.ndarray, latitudes: np.ndarray
) -> tuple[Tile, ...]:
    """Return the tiles in whose squares some of the given points lie.

    Each point is in its own zone; the tiles are in the order of their names.

    Parameters
    ----------
    longitudes, latitudes : (point,) float ndarray
        Closer to each other than half a tile.

    Raises
    ------
    BadInput
        If two of them would have one name: an area of more than 20 tiles across, of tiles that are
        not of the real size.
    """
    places: set[Place] = set()
    zones, northern = zones_of(longitudes), latitudes >= 0
    for zone in np.unique(zones):
        for north in (True, False):
            here = (zones == zone) & (northern == north)
            if here.any():
                to_utm = transformer(LONLAT, utm(int(zone), north))
                x, y = to_utm.transform(longitudes[here], latitudes[here])
                columns, rows = (
                    np.floor(x / lattice.step),
                    np.floor((y - (0 if north else 10_000_000)) / lattice.step),
                )
                places |= {
                    (int(zone), north, int(c), int(r)) for c, r in zip(columns, rows, strict=True)
                }
    tiles = sorted((lattice.tile(place) for place in places), key=lambda tile: tile.name)
    if len({tile.name for tile in tiles}) < len(tiles):
        raise BadInput(
            f"An area of {len(tiles)} tiles of {lattice.tile_px} px has two of one name: ask for "
            "larger tiles or a smaller area."
        )
    return tuple(tiles)


def corner_of(lattice: TileLattice, centre: tuple[float, float]) -> tuple[float, float]:
    """Return the longitude and latitude of the corner of four tiles next to a point.

    Beside the edge of a zone, the meridian stays.
    """
    longitude, latitude = centre
    zone, north = int(zones_of(np.array([longitude]))[0]), latitude >= 0
    base = 0 if north else 10_000_000
    x, y = transformer(LONLAT, utm(zone, north)).transform(longitude, latitude)
    to_lonlat = transformer(utm(zone, north), LONLAT)
    top = round((y - base) / lattice.step) * lattice.step + base
    corner = to_lonlat.transform(round(x / lattice.step) * lattice.step, top)
    sides = to_lonlat.transform([x - lattice.edge, x + lattice.edge], [y, y])[0]
    if len(set(zones_of(np.array([*sides, longitude])).tolist())) > 1:
        corner = longitude, to_lonlat.transform(x, top)[1]
    return float(corner[0]), float(corner[1])
