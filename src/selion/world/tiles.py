"""Which tiles of an edition touch an area, as its index says; never as their names may suggest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selion.errors import BadInput, UnreadableFile
from selion.imagery import Area, AreaLike, read_area
from selion.store.address import locate
from selion.store.parquet import SIDES, parquet_file
from selion.store.urls import shown
from selion.store.vectors import Bbox
from selion.world.editions import Edition, wanted_edition

if TYPE_CHECKING:
    import pyarrow as pa

INDEX = ("index", "raster-lite.parquet")
COLUMNS = ("year", "tile_key", "epsg", *SIDES)
"""Of the index that are read."""


@dataclass(frozen=True, slots=True)
class PublishedTile:
    """One raster of an edition."""

    key: str
    """Its publisher's name; it says where the file lies, and nothing of where the tile does."""
    year: int
    epsg: int
    """EPSG code of its CRS."""
    box: Bbox
    """Around it, longitudes and latitudes, rounded outward; west > east over the antimeridian."""
    href: str
    """Where it is."""


def find_tiles(
    edition: Edition | str, area: AreaLike | Area, year: int
) -> tuple[PublishedTile, ...]:
    """Return the tiles of an edition that may touch an area.

    Parameters
    ----------
    edition : Edition or str
        Of probabilities in tiles: ``ftw-2e``, or ``ftw-2e@ADDRESS``.
    area : path, bbox, GeoJSON or Area
        See :func:`selion.imagery.read_area`; its polygons decide, not the box around them, and it
        may lie on both sides of the antimeridian.
    year : int

    Returns
    -------
    tuple of PublishedTile
        Sorted by CRS and key; empty where nothing was published.

    Raises
    ------
    BadInput
        If the edition has no tiles, or not that year.
    UnreadableFile, FetchFailed
        If its index cannot be read.

    Notes
    -----
    The index is read once, 110 kB for the world, and kept until it changes.  Its boxes are rounded
    outward, so a tile may be named that misses the area by some metres.
    """
    edition = wanted_edition(edition, "probabilities")
    if edition.name != "ftw-2e":
        raise BadInput(f"{edition.name} is one array without tiles: read it with its own address.")
    edition.check_year(year)
    area = area if isinstance(area, Area) else read_area(area)
    table = _index(edition)
    years = table["year"].to_numpy()
    if not (years == year).any():
        found = ", ".join(str(one) for one in sorted(set(years.tolist()))) or "nothing"
        raise BadInput(f"The index of {shown(edition.address)} has no {year}: it has {found}.")
    rows = table.filter(years == year)
    boxes = np.stack([rows[side].to_numpy() for side in SIDES], axis=1).astype(np.float64)
    near = np.flatnonzero(_touching(boxes, area))
    found_tiles = [
        PublishedTile(
            key := str(rows["tile_key"][k].as_py()),
            year,
            int(rows["epsg"][k].as_py()),
            _box(boxes[k]),
            tile_address(edition, key, year),
        )
        for k in near.tolist()
    ]
    return tuple(sorted(found_tiles, key=lambda tile: (tile.epsg, tile.key)))


def tile_address(edition: Edition, key: str, year: int) -> str:
    """Return where the raster of a tile lies.

    Examples
    --------
    >>> from selion.world import find_edition
    >>> tile_address(find_edition("ftw-2e@copy"), "10SFH_0_0", 2017)
    'copy/raster/2017/zone=10/gzd=10S/10SFH_0_0/10SFH_0_0.tif'
    """
    return edition.place(
        "raster", str(year), f"zone={key[:2]}", f"gzd={key[:3]}", key, f"{key}.tif"
    )


def _index(edition: Edition) -> pa.Table:
    import pyarrow as pa

    address = edition.place(*INDEX)
    place = locate(address)
    if isinstance(place, Path) and not place.is_file():
        raise UnreadableFile(
            f"There is no file {address}: {edition.address} holds no copy of {edition.name}."
        )
    try:
        with parquet_file(place) as file:
            return file.read(columns=list(COLUMNS))
    except (OSError, pa.ArrowException) as error:
        said = str(error).strip().partition("\n")[0]
        raise UnreadableFile(
            f"{shown(address)} is no index of {edition.name} ({said}): wanted is Parquet with "
            f"{', '.join(COLUMNS)}."
        ) from error


def _box(box: np.ndarray) -> Bbox:
    west, south, east, north = (float(side) for side in box)
    return west, south, east, north


def _touching(boxes: np.ndarray, area: Area) -> np.ndarray:
    """Say which (n, 4) boxes an area's polygons touch; boxes may pass the antimeridian."""
    import shapely

    west, south, east, north = boxes.T
    over = west > east
    shapely.prepare(area.geometry)
    touched = np.zeros(len(boxes), bool)
    for turn in (-360.0, 0.0, 360.0):
        drawn = shapely.box(west + turn, south, np.where(over, east + 360, east) + turn, north)
        touched |= shapely.intersects(area.geometry, drawn)
    return touched
