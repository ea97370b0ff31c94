"""The plots of a trial: their names and polygons, brought onto the grid of an orthomosaic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import store
from selion.data.splits import read_table
from selion.errors import BadInput
from selion.grid import LONLAT, pixel_metres

if TYPE_CHECKING:
    import geopandas
    from odc.geo.geobox import GeoBox

NAMES = ("plot_id", "plot", "plotid", "plot_no", "name", "id", "fid")
"""Columns that plots are named by, the first that is there."""
TAKEN = "plot"
"""The column of names in every table that is written."""
GIVEN = "_given"
"""After the name of a column that the plots brought, where a written one is called so."""


@dataclass(frozen=True, eq=False)
class Plot:
    """A plot of a trial."""

    name: str
    outline: Any
    """Polygon in the CRS of the orthomosaic, as it was given."""
    kept: Any
    """The same without the buffer along its edge."""
    attributes: dict[str, Any]
    """Its other columns."""


def read_plots(
    path: Path | str, grid: GeoBox, name: str | None = None, buffer: float = 0.0
) -> list[Plot]:
    """Read plots, and bring them into the CRS of a grid.

    Parameters
    ----------
    path : path
        Polygons: GeoPackage, GeoJSON, shapefile, GeoParquet ...
    grid : GeoBox
        Of the orthomosaic.
    name : str, optional
        Column of the names; None: the first of :data:`NAMES`, else their numbers from 1.
    buffer : float
        Metres along the edge that are left out.

    Returns
    -------
    list of Plot
        In the order of the file.

    Raises
    ------
    UnreadableFile
        If it cannot be read.
    BadInput
        If it has no polygons or no CRS, two plots share a name, or a buffer swallows a plot.
    """
    frame = store.read_polygons(path)
    _check(frame, path)
    column = _name_column(frame, name, path)
    names = _names(frame, column, path)
    placed = frame.to_crs(str(grid.crs))
    rest = frame.drop(columns=[frame.geometry.name, *([column] if column else [])])
    rows = rest.rename(columns={TAKEN: f"{TAKEN}{GIVEN}"}).to_dict("records")
    found = [
        Plot(text, shape, _shrunk(shape, grid, buffer), {str(k): _plain(v) for k, v in row.items()})
        for text, shape, row in zip(names, placed.geometry, rows, strict=True)
    ]
    gone = [plot.name for plot in found if plot.kept.is_empty]
    if gone:
        raise BadInput(
            f"A buffer of {buffer:g} m leaves nothing of {len(gone)} plots (the first: {gone[0]}): "
            "give a smaller one."
        )
    return found


def plot_names(path: Path | str, name: str | None = None) -> frozenset[str]:
    """Return what the plots of a file are called; parameters and errors as :func:`read_plots`."""
    return frozenset(_polygon_names(path, name))


def list_plots(path: Path | str, name: str | None = None) -> list[str]:
    """Return what plots are called, in the order of their file.

    Parameters
    ----------
    path : path
        Polygons, as for :func:`read_plots`, or a ``.csv`` with a column of names.
    name : str, optional
        Column of the names; None: the first of :data:`NAMES`.

    Raises
    ------
    UnreadableFile, BadInput
        As :func:`read_plots`; BadInput also if a table has no column of names, or an empty name.
    """
    if Path(path).suffix.lower() != ".csv":
        return _polygon_names(path, name)
    rows = read_table(Path(path))
    if not rows:
        raise BadInput(f"{path} holds no plots: wanted is a line of columns and one for each plot.")
    columns = list(rows[0])
    column = _column(columns, name, path)
    if column is None:
        raise BadInput(
            f"{path} has no column of names (it has {', '.join(columns) or 'none'}): say which one "
            "it is by --name-column."
        )
    names = [row.get(column, "").strip() for row in rows]
    if "" in names:
        raise BadInput(f"Row {names.index('') + 2} of {path} names no plot in the column {column}.")
    _check_names(names, column, path)
    return names


def _polygon_names(path: Path | str, name: str | None) -> list[str]:
    frame = store.read_polygons(path)
    _check(frame, path)
    column = _name_column(frame, name, path)
    return _names(frame, column, path)


def _check(frame: geopandas.GeoDataFrame, path: Path | str) -> None:
    import shapely

    if not len(frame):
        raise BadInput(f"{path} holds no plots: wanted is at least one polygon.")
    if frame.crs is None:
        raise BadInput(
            f"{path} has no CRS, so its plots have no place: say which one it is, for example "
            "with ogr2ogr -a_srs EPSG:32632."
        )
    kinds = frame.geometry.geom_type
    other = frame.index[~kinds.isin(["Polygon", "MultiPolygon"]) | frame.geometry.is_empty]
    if len(other):
        kind = kinds[other[0]] or "empty geometry"
        raise BadInput(
            f"{len(other)} of {len(frame)} plots in {path} are no polygons (number "
            f"{frame.index.get_loc(other[0]) + 1}: {kind}): wanted are polygons only."
        )
    corners, rows = shapely.get_coordinates(frame.geometry.to_numpy(), return_index=True)
    if len(placeless := rows[~np.isfinite(corners).all(axis=1)]):
        raise BadInput(
            f"Plot {placeless[0] + 1} of {len(frame)} in {path} has corners without a place (NaN): "
            "repair it, or leave it out."
        )


def _name_column(frame: geopandas.GeoDataFrame, name: str | None, path: Path | str) -> str | None:
    columns = [str(column) for column in frame.columns if column != frame.geometry.name]
    return _column(columns, name, path)


def _column(columns: Sequence[str], name: str | None, path: Path | str) -> str | None:
    if name is not None:
        if name not in columns:
            raise BadInput(
                f"{path} has no column {name}; it has {', '.join(columns) or 'none'}: name plots "
                "by one of these."
            )
        return name
    lower = {column.lower(): column for column in reversed(columns)}
    return next((lower[known] for known in NAMES if known in lower), None)


def _names(frame: geopandas.GeoDataFrame, column: str | None, path: Path | str) -> list[str]:
    """Return what plots are called; without a column of names their numbers from 1."""
    if column is None:
        return [str(k + 1) for k in range(len(frame))]
    values = frame[column]
    names = [
        str(int(v)) if isinstance(v, float) and v.is_integer() else str(v).strip() for v in values
    ]
    nameless = np.flatnonzero(values.isna().to_numpy() | (np.array(names) == ""))
    if len(nameless):
        raise BadInput(
            f"Plot {nameless[0] + 1} of {len(frame)} in {path} has no name in the column {column}: "
            "give it one, or name plots by another column."
        )
    _check_names(names, column, path)
    return names


def _check_names(names: list[str], column: str | None, path: Path | str) -> None:
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice is not None:
        raise BadInput(
            f"Two plots in {path} are named {twice} in the column {column}: name them by another "
            "column."
        )


def _plain(value: Any) -> Any:
    """Return a value that a CSV and a GeoPackage hold alike."""
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _shrunk(shape: Any, grid: GeoBox, buffer: float) -> Any:
    """Return a polygon without a margin of so many metres, whatever the units of its CRS."""
    import shapely
    from shapely.affinity import affine_transform

    shape = shapely.make_valid(shape)
    if not buffer:
        return shape
    height, width = pixel_metres(grid) or (1.0, 1.0)
    metres = (~grid.transform).__class__.scale(width, height) * ~grid.transform
    there = affine_transform(shape, metres.to_shapely())
    back: Any = affine_transform(there.buffer(-buffer, join_style="mitre"), (~metres).to_shapely())
    return back


def find_plots(
    path: Path | str, places: Sequence[tuple[float, float]], name: str | None = None
) -> list[str]:
    """Return the name of the plot that holds each place; empty where none does.

    Parameters
    ----------
    path : path
        Polygons, as for :func:`read_plots`.
    places : sequence of (longitude, latitude)
        Degrees; NaN where it is not known.
    name : str, optional
        Column of the names.

    Raises
    ------
    UnreadableFile, BadInput
        As :func:`read_plots`.
    """
    import shapely

    frame = store.read_polygons(path)
    _check(frame, path)
    column = _name_column(frame, name, path)
    names = _names(frame, column, path)
    shapes = shapely.make_valid(frame.to_crs(LONLAT).geometry.to_numpy())
    known = [k for k, place in enumerate(places) if np.isfinite(place).all()]
    found = [""] * len(places)
    tree = shapely.STRtree(shapes)
    spots = shapely.points([places[k] for k in known]) if known else []
    for k, plot in tree.query(spots, predicate="intersects").T[::-1] if known else ():
        found[known[int(k)]] = names[int(plot)]
    return found
