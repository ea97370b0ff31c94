"""A GDAL tile index (GTI) over composites.

One small file that QGIS and GDAL open as one mosaic, nothing copied.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from odc.geo.geobox import GeoBox

from selion.errors import BadInput
from selion.grid import check_north_up
from selion.imagery.mosaic import Mosaic, MosaicLayer
from selion.imagery.scene import BANDS

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

ENDING = ".gti.gpkg"


def write_index(
    composites: Sequence[str | os.PathLike[str] | MosaicLayer],
    path: str | os.PathLike[str],
    grid: GeoBox,
    *,
    force: bool = False,
) -> dict[str, Path]:
    """Write a GDAL tile index for each season of some composites.

    Parameters
    ----------
    composites : sequence of path or MosaicLayer
    path : str or path
        Ends in ``.gti.gpkg``.  With more than one season, the season is put before that ending:
        ``area.window_a.gti.gpkg``.
    grid : GeoBox
        The mosaic's: its CRS, extent and pixel become the index's.
    force : bool
        Whether existing files are replaced.

    Returns
    -------
    dict of str to Path
        Season -> file.

    Raises
    ------
    OutputExists, OutputFailed
        If a file must not, or cannot, be written.
    BadInput
        If the name has another ending.

    Notes
    -----
    Each feature is a composite: its outline in the grid's CRS, ``location`` (relative to the index
    where both lie on one disk), ``tile``, ``season`` and ``last_image``.  GDAL (3.9 or later) warps
    by nearest neighbour on reading, and where composites overlap shows the one with the latest
    image; nothing is blended: that is :class:`selion.imagery.mosaic.Mosaic`'s work.
    """
    from selion.store import check_output

    path = Path(path).expanduser()
    if not path.name.lower().endswith(ENDING):
        raise BadInput(
            f"A tile index was to be written to {path}; GDAL knows one by its ending {ENDING}."
        )
    check_north_up(grid, "The grid of the index")
    mosaic = Mosaic(composites, grid, "nearest")
    targets = {
        season: path
        if len(mosaic.seasons) == 1
        else path.with_name(f"{path.name[: -len(ENDING)]}.{season}{ENDING}")
        for season in mosaic.seasons
    }
    for target in targets.values():
        check_output(target, force)
    counted = all(len(layer.bands) > len(layer.names) for layer in mosaic.layers)
    known = tuple(name if name in BANDS else "undefined" for name in mosaic.names)
    colours = ",".join((*known, "undefined") if counted else known)
    for season, target in targets.items():
        _write(_features(mosaic, season, target), target, grid, colours, force=force)
    return targets


def _features(mosaic: Mosaic, season: str, path: Path) -> GeoDataFrame:
    """Return one row per composite that the grid touches."""
    import pandas as pd
    import shapely
    from geopandas import GeoDataFrame

    pairs = [
        (layer, at)
        for layer, at in zip(mosaic.layers, mosaic.placements, strict=True)
        if layer.season == season and at.bounds is not None
    ]
    columns = {
        "location": [_location(layer.path, path) for layer, _ in pairs],
        "tile": [layer.tile for layer, _ in pairs],
        "season": [layer.season for layer, _ in pairs],
        "last_image": pd.to_datetime(
            [layer.last.isoformat() if layer.last else "" for layer, _ in pairs],
            utc=True,
            format="ISO8601",
        ).as_unit("ms"),
    }
    return GeoDataFrame(
        columns, geometry=[shapely.Polygon(at.outline) for _, at in pairs], crs=str(mosaic.grid.crs)
    )


def _location(composite: str, index: Path) -> str:
    """Return how the index calls a composite.

    Relative to itself if it can, so that both can be moved together.
    """
    from selion.store import gdal_name

    name = gdal_name(composite)
    if name.startswith("/vsi"):
        return name
    try:
        return Path(
            os.path.relpath(Path(composite).expanduser().absolute(), index.absolute().parent)
        ).as_posix()
    except ValueError:  # another drive of Windows
        return str(Path(composite).absolute())


def _write(features: GeoDataFrame, path: Path, grid: GeoBox, colours: str, *, force: bool) -> None:
    from selion.store import atomic_write

    left, bottom, right, top = grid.boundingbox.bbox
    about = {
        "MINX": left, "MINY": bottom, "MAXX": right, "MAXY": top, "RESX": grid.transform.a,
        "RESY": -grid.transform.e, "BAND_COUNT": colours.count(",") + 1, "DATA_TYPE": "UInt16",
        "NODATA": 0, "RESAMPLING": "nearest", "COLOR_INTERPRETATION": colours,
        "LOCATION_FIELD": "location", "SORT_FIELD": "last_image", "SORT_FIELD_ASC": "YES",
    }  # fmt: skip
    metadata = {
        key: repr(value) if isinstance(value, float) else str(value) for key, value in about.items()
    }
    with atomic_write(path, force) as temporary:
        features.to_file(
            temporary, layer="composites", driver="GPKG", layer_metadata=metadata, index=False
        )
