"""Where a land cover lies: files, folders of tiles, and the published one by its name.

``worldcover`` is ESA WorldCover 2021 v200, 10 m, CC-BY-4.0 (Zanaga et al. 2022, doi
10.5281/zenodo.7254221), in an open bucket: tiles of 3 degrees, named after their south-western
corner.  ``worldcover@ADDRESS`` is a copy of some of its tiles in a folder or at an address.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from selion import store
from selion.errors import BadInput, GridMismatch, UnreadableFile
from selion.grid import LONLAT
from selion.raster import Source
from selion.store.address import Place

Box = tuple[float, float, float, float]
WORLDCOVER = "worldcover"
BUCKET = "https://esa-worldcover.s3.eu-central-1.amazonaws.com/v200/2021/map"
TILE = "ESA_WorldCover_10m_2021_v200_{}_Map.tif"
DEGREES = 3
"""Edge of a tile."""
CROPS = frozenset({40})
"""Codes of WorldCover that are crops."""
NOTICE = (
    "ESA WorldCover project 2021, CC-BY-4.0; contains modified Copernicus Sentinel data (2021) "
    "processed by ESA WorldCover consortium"
)
ENDINGS = (".tif", ".tiff", ".vrt")
MOST = 2000
"""Tiles of the published land cover at most: a run over more is a mistake."""


def is_worldcover(given: Path | str) -> bool:
    """Tell whether the published land cover is meant."""
    return str(given).partition("@")[0] == WORLDCOVER


def check_cover(given: Path | str) -> None:
    """Refuse now what could not be read after hours.

    Raises
    ------
    UnreadableFile, GridMismatch, FetchFailed
        If a file is no raster, or has no CRS, or a folder has no raster.
    """
    if is_worldcover(given):
        address = str(given).partition("@")[2]
        place = store.locate(address) if address else None
        if isinstance(place, Path) and not any(place.glob(TILE.format("*"))):
            raise UnreadableFile(
                f"{place} has no tile of ESA WorldCover ({TILE.format('N48E012')} is the name of "
                "one): give the folder that holds them, or 'worldcover' alone to have them read "
                "where they are published."
            )
        return
    for path in _files(given):
        _opened(path)


def covers_near(given: Sequence[Path | str], boxes: Sequence[Box]) -> list[tuple[Place, Source]]:
    """Open the rasters of a land cover that lie near places.

    Parameters
    ----------
    given : sequence
        Files, folders whose rasters are tiles, ``worldcover`` or ``worldcover@ADDRESS``.
    boxes : sequence of (west, south, east, north)
        In degrees.

    Returns
    -------
    list of (Place, Source)
        What lies elsewhere is not opened again; tiles of the published land cover that are not
        there are sea.

    Raises
    ------
    UnreadableFile, GridMismatch, FetchFailed
        If one cannot be read.
    BadInput
        If that many tiles would be needed that it must be a mistake.
    """
    found: list[tuple[Place, Source]] = []
    for one in given:
        if is_worldcover(one):
            found += [(path, _opened(path)) for path in _tiles(str(one), boxes)]
            continue
        files = _files(one)
        opened = [(path, _opened(path)) for path in files]
        found += [
            (path, source)
            for path, source in opened
            if len(files) == 1 or any(_touches(source, box) for box in boxes)
        ]
    return found


def _tiles(given: str, boxes: Sequence[Box]) -> list[Place]:
    """Return the tiles of the published land cover that are there."""
    folder = store.locate(given.partition("@")[2] or BUCKET)
    names = sorted(set().union(*(tile_names(box) for box in boxes)))
    if len(names) > MOST:
        raise BadInput(
            f"{len(names):,} tiles of ESA WorldCover lie in this area, at most {MOST:,} are read: "
            "take a smaller area."
        )
    places = [folder / TILE.format(name) for name in names]
    return [place for place in places if place.is_file()]


def tile_names(box: Box) -> set[str]:
    """Return the names of the tiles that a box touches.

    Examples
    --------
    >>> sorted(tile_names((11.9, -0.1, 12.1, 0.1)))
    ['N00E009', 'N00E012', 'S03E009', 'S03E012']
    """
    west, south, east, north = (
        np.floor(side / DEGREES).astype(int) * DEGREES for side in (*box[:2], *box[2:])
    )
    return {
        f"{'N' if lat >= 0 else 'S'}{abs(lat):02d}{'E' if lon >= 0 else 'W'}{abs(lon):03d}"
        for lat in range(max(south, -90), min(north, 87) + 1, DEGREES)
        for lon in range(max(west, -180), min(east, 177) + 1, DEGREES)
    }


def _files(given: Path | str) -> list[Place]:
    place = store.locate(given)
    if not isinstance(place, Path) or not place.is_dir():
        return [place]
    files: list[Place] = [
        path for path in sorted(place.iterdir()) if path.suffix.lower() in ENDINGS
    ]
    if not files:
        raise UnreadableFile(
            f"{place} is a folder without a raster ({', '.join(ENDINGS)}): give the rasters of the "
            "land cover, or the folder that holds them."
        )
    return files


def _opened(path: Place) -> Source:
    source = store.open_raster(path)
    if source.grid.crs is None:
        raise GridMismatch(
            f"{path} has no CRS: fields and land cover cannot be laid over each other."
        )
    return source


def crs_text(source: Source) -> str:
    """Return the CRS of a raster that is known to have one."""
    crs = source.grid.crs
    assert crs is not None
    return str(crs.to_wkt())


def _touches(source: Source, box: Box) -> bool:
    from pyproj import Transformer

    transformer = Transformer.from_crs(crs_text(source), LONLAT, always_xy=True)
    bounds = source.grid.extent.boundingbox
    left, bottom, right, top = transformer.transform_bounds(*bounds.bbox)
    west, south, east, north = box
    beside = left <= right and (left > east or right < west)  # left > right: around 180 degrees
    return not beside and bool(bottom <= north and top >= south)
