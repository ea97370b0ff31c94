"""``selion stats``: how many fields each administrative unit has and how large they are.

As in Table 3 of the paper, but on the ellipsoid.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import store as files
from selion.country.cells import degrees, places_of
from selion.country.lattice import many
from selion.country.lookup import Reading, scan
from selion.country.other_tables import opened_maps
from selion.country.partitions import Maps
from selion.country.sorted_runs import boxes_of
from selion.errors import BadInput, UnknownName
from selion.fields import measure
from selion.imagery.globe import cut, polygons_of, repaired, square_kilometres, unwrap
from selion.store.address import RemotePath
from selion.store.row_names import row_name

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = (".csv", ".json", ".md")
COLUMNS = ("metrics:area",)
NEAR = 1e-3
"""Degrees that the point of a field's id may lie outside of its box, where a seam cut it."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The fields of one unit."""

    unit: str
    land_km2: float | None
    """The unit itself, on the ellipsoid."""
    fields: int
    total_ha: float
    share: float | None
    """Fields' area over the unit's."""
    median_ha: float | None
    mean_ha: float | None
    fields_per_km2: float | None
    mercator_km2: float | None
    """The unit as published tables measure it, in Web Mercator: for comparison only."""


@dataclass(frozen=True, eq=False)
class Units:
    """Administrative units."""

    names: tuple[str, ...]
    shapes: np.ndarray
    """(n,) shapely geometries in longitude and latitude."""


def read_units(path: Path | RemotePath | str, name: str | None = None) -> Units:
    """Read administrative units from a file of polygons in any CRS.

    Parameters
    ----------
    path : path
    name : str, optional
        Column of the names; None: the first of name, NAME, id and the like that is there, else the
        row's number.

    Raises
    ------
    UnreadableFile, UnknownName, BadInput
        If it cannot be used.
    """
    import shapely

    frame = files.read_polygons(path)  # of any number of corners
    if not hasattr(frame, "to_crs") or frame.geometry.isna().all():
        raise BadInput(f"{path} holds no polygons: give a file of administrative units.")
    if frame.crs is None:
        raise BadInput(
            f"{path} has no CRS: write its CRS into it, for example with ogr2ogr -a_srs."
        )
    moved = not frame.crs.is_geographic
    rows = np.flatnonzero(frame.geometry.notna()) + 1
    frame = frame.iloc[rows - 1].to_crs("OGC:CRS84")
    shapes = np.array([_many(shape, moved=moved) for shape in frame.geometry], object)
    if shapely.is_empty(shapes).all():
        raise BadInput(f"{path} holds no polygons: give a file of administrative units.")
    if name is not None and name not in frame:
        raise UnknownName.among(
            f"column in {files.locate(path).name}", name, [str(column) for column in frame.columns]
        )
    likely = [
        column
        for column in ("name", "NAME", "shapeName", "NAME_2", "NAME_1", "NUTS_NAME", "id", "ID")
        if column in frame
    ]
    column = name or (likely[0] if likely else None)
    names = rows.tolist() if column is None else frame[column].tolist()
    return Units(tuple(row_name(name) for name in names), shapes)


def _many(shape: Any, *, moved: bool) -> Any:
    """Return a unit; one that was moved to longitude and latitude jumps at the antimeridian."""
    import shapely

    parts = polygons_of(np.array([shape], object))
    if moved:
        parts = np.array([_running_on(part) for part in parts], object)
    parts, _ = repaired(parts)
    return shapely.union_all(cut(parts)) if len(parts) else shapely.Polygon()


def _running_on(part: Any) -> Any:
    try:
        return unwrap(part)[0]
    except BadInput:  # around a pole, where no field lies: no reason to refuse all the others
        return part


def count_fields(
    maps: Maps | Path | RemotePath | str,
    units: Units | Path | RemotePath | str | None = None,
    reading: Reading | None = None,
) -> list[Unit]:
    """Count the fields of a map, by unit.

    Parameters
    ----------
    maps : Maps or path
        As for :func:`selion.country.query`.
    units : Units or path, optional
        None: the map as a whole.
    reading : Reading, optional
        Is counted up.

    Returns
    -------
    list of Unit
        In the order of the units.  A field belongs to the unit in which the point lies that its id
        names, whole: fields on a border count once.
    """
    import shapely

    if not isinstance(maps, Maps):
        with opened_maps(maps) as opened:
            return count_fields(opened, units, reading)
    units = units if isinstance(units, Units) or units is None else read_units(units)
    sizes: list[list[np.ndarray]] = [[] for _ in (units.names if units else ("all",))]
    boxes = None if units is None else [tuple(box) for box in shapely.bounds(units.shapes).tolist()]
    tree = None if units is None else shapely.STRtree(units.shapes)
    for table in scan(maps, boxes, COLUMNS, reading):
        area = _areas(table)
        if tree is None:
            sizes[0].append(area)
            continue
        unit, row = _owners(tree, table)
        for k in np.unique(unit):
            sizes[k].append(area[row[unit == k]])
    return [
        _unit(units, k, np.concatenate([np.empty(0, np.float32), *found]))
        for k, found in enumerate(sizes)
    ]


def _areas(table: pa.Table) -> np.ndarray:
    """Return the (n,) float32 m2 of fields; those that nobody measured, drawn by hand, are now."""
    import shapely

    area = table["metrics:area"].to_numpy().astype(np.float32)
    missing = ~np.isfinite(area)
    if missing.any():
        area = area.copy()
        area[missing] = measure(
            shapely.from_wkb(table["geometry"].to_numpy()[missing]), "OGC:CRS84"
        )[0]
    return area


def _owners(tree: Any, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of unit and row."""
    import shapely

    x, y, known = places_of(table["id"].to_pylist())
    lon, lat = degrees(x, y)
    points, boxes = shapely.points(lon, lat), boxes_of(table)
    # a table that was never merged may have ids of its own, and some of these look like ours
    known &= (lon >= boxes[:, 0] - NEAR) & (lon <= boxes[:, 2] + NEAR)
    known &= (lat >= boxes[:, 1] - NEAR) & (lat <= boxes[:, 3] + NEAR)
    if not known.all():
        points[~known] = shapely.point_on_surface(
            shapely.from_wkb(table["geometry"].to_numpy()[~known])
        )
    row, unit = tree.query(points, predicate="intersects")
    return unit, row


def _unit(units: Units | None, number: int, area: np.ndarray) -> Unit:
    area = area[np.isfinite(area)].astype(np.float64)
    total, count = float(area.sum()), len(area)
    shape = None if units is None else units.shapes[number]
    land = None if shape is None else square_kilometres(many(shape))
    return Unit(
        unit="all" if units is None else units.names[number],
        land_km2=None if land is None else round(land, 3),
        fields=count,
        total_ha=round(total / 1e4, 3),
        share=None if not land else round(total / 1e6 / land, 5),
        median_ha=round(float(np.median(area)) / 1e4, 4) if count else None,
        mean_ha=round(total / count / 1e4, 4) if count else None,
        fields_per_km2=None if not land else round(count / land, 3),
        mercator_km2=None if shape is None else round(mercator_km2(shape), 3),
    )


def mercator_km2(shape: Any) -> float:
    """Return the area that a shape in longitude and latitude has in Web Mercator (EPSG:3857).

    Too large by 1 / cos(latitude) squared.
    """
    import shapely
    from pyproj import Transformer

    mover = Transformer.from_crs("OGC:CRS84", "EPSG:3857", always_xy=True)
    fine = shapely.segmentize(shape, 0.05)
    return float(shapely.transform(fine, mover.transform, interleaved=False).area) / 1e6


def write_units(rows: Sequence[Unit], path: Path, *, force: bool = False) -> Path:
    """Write the table as ``.csv``, ``.json`` or ``.md``.

    Raises
    ------
    UnknownName
        If the ending is another one.
    """
    if path.suffix.lower() not in FORMATS:
        raise UnknownName.among("format of a table", path.suffix or "(no ending)", FORMATS)
    with files.atomic_write(path, force) as temporary:
        temporary.write_text(shown(rows, path.suffix.lower()), "utf-8")
    return path


def shown(rows: Sequence[Unit], ending: str) -> str:
    """Return the table as text: ".csv", ".json" or ".md"."""
    names = [column.name for column in fields(Unit)]
    lines = [
        ["" if (value := getattr(row, name)) is None else str(value) for name in names]
        for row in rows
    ]
    if ending == ".json":
        return json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False) + "\n"
    if ending == ".csv":
        import csv
        import io

        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([names, *lines])
        return out.getvalue()
    heads = [name.replace("_", " ") for name in names]
    body = [f"| {' | '.join(value.replace('|', '/') for value in line)} |" for line in lines]
    return "\n".join([f"| {' | '.join(heads)} |", "|" + "---|" * len(names), *body]) + "\n"
