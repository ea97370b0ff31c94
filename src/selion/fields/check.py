"""A checker of fiboa files, for tables that another program wrote or a person edited.

What the official validator asks, on every row and without network, and that outlines are sound.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from selion.fields.schema import COLUMNS, FIBOA, METHODS, VECOREL, Column
from selion.store.parquet import SIDES
from selion.store.vectors import read_metadata, readable_shapes


def check_fiboa(path: str | os.PathLike[str]) -> list[str]:
    """Check a fiboa GeoParquet file.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of str
        One sentence per fault; empty if there is none.

    Raises
    ------
    UnreadableFile
        If it is no GeoParquet file.
    """
    import pyarrow.parquet as pq

    metadata = read_metadata(Path(path))
    table = pq.read_table(path)
    return [
        *_collection(metadata["collection"], table),
        *_geoparquet(metadata["geo"], table),
        *_columns(table),
        *_outlines(table),
    ]


def _collection(collection: dict[str, Any], table: Any) -> Iterator[str]:
    schemas = collection.get("schemas")
    name = collection.get("collection")
    if "collection" not in table.column_names and not name:
        yield "There is no collection, neither as a column nor in the metadata."
    if not isinstance(schemas, dict) or not schemas:
        yield "The metadata has no schemas."
    else:
        for owner, links in schemas.items():
            for wanted in (VECOREL, FIBOA):
                if wanted not in links:
                    yield f"The schemas of collection {owner!r} lack {wanted}."
        if name and name not in schemas:
            yield f"Collection {name!r} has no schemas."
    method = collection.get("determination:method", "unknown")
    if method not in METHODS:
        yield f"determination:method is {method!r}; wanted is one of {', '.join(METHODS)}."
    for key in ("id", "geometry", "bbox", "metrics:area", "metrics:perimeter"):
        if key in collection:
            yield f"{key} stands in the metadata of the collection; it must be a column."


def _geoparquet(geo: dict[str, Any], table: Any) -> Iterator[str]:
    if geo.get("version") not in ("1.0.0", "1.1.0", "2.0.0"):
        yield f"GeoParquet version {geo.get('version')!r}; wanted is 1.0.0, 1.1.0 or 2.0.0."
    column = geo["columns"]["geometry"]
    if column.get("encoding") != "WKB":
        yield f"Geometry encoding {column.get('encoding')!r}; wanted is WKB."
    if not {"Polygon", "MultiPolygon"} >= set(column.get("geometry_types", ())):
        yield f"Geometry types {column.get('geometry_types')}; wanted are polygons."
    if "covering" in column and "bbox" not in table.column_names:
        yield "The metadata promises a bbox column that is not there."


def _columns(table: Any) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in ("id", "geometry"):
        if name not in table.column_names:
            yield f"Column {name} is missing."
        elif table.schema.field(name).nullable:
            yield f"Column {name} may be null."
    for column in COLUMNS:
        if column.name in table.column_names:
            yield from _values(column, table[column.name])
    if "id" in table.column_names:
        if (bad := len(table) - len(pc.unique(table["id"]))) > 0:
            yield f"{bad} values of id occur more than once."
        if pc.any(pc.equal(pc.utf8_length(table["id"].cast(pa.string())), 0)).as_py():
            yield "Some values of id are empty."


def _values(column: Column, values: Any) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds = {
        "string": (pa.string(), pa.large_string()),
        "float": (pa.float32(),),
        "time": (pa.timestamp("ms", tz="UTC"),),
    }
    if values.type not in kinds[column.kind]:
        yield f"Column {column.name} is {values.type}; wanted is {column.kind}."
        return
    if column.required and values.null_count:
        yield f"Column {column.name} has {values.null_count} empty values."
    if column.above is not None and (bad := pc.sum(pc.less_equal(values, column.above)).as_py()):
        yield f"Column {column.name} has {bad} values that are not greater than {column.above}."
    if column.upto is not None and (bad := pc.sum(pc.greater(values, column.upto)).as_py()):
        yield f"Column {column.name} has {bad} values greater than {column.upto:g}."


def _outlines(table: Any) -> Iterator[str]:
    import shapely

    if "geometry" not in table.column_names or not len(table):
        return
    geometries = readable_shapes(table["geometry"].to_numpy())
    missing = shapely.is_missing(geometries) | shapely.is_empty(geometries)
    if missing.any():
        yield f"{missing.sum()} geometries are empty or cannot be read."
    geometries = geometries[~missing]
    if (bad := (~np.isin(shapely.get_type_id(geometries), (3, 6))).sum()) > 0:
        yield f"{bad} geometries are no polygons."
    if (bad := (~shapely.is_valid(geometries)).sum()) > 0:
        yield f"{bad} geometries are not valid."
    polygons = shapely.get_parts(geometries[np.isin(shapely.get_type_id(geometries), (3, 6))])
    if (bad := (~shapely.is_ccw(shapely.get_exterior_ring(polygons))).sum()) > 0:
        yield f"{bad} exteriors do not run counter-clockwise."
    if "bbox" in table.column_names:
        boxes = np.stack(
            [table["bbox"].combine_chunks().field(side).to_numpy() for side in SIDES], axis=-1
        )[~missing]
        if (
            bad := (
                ~np.isclose(boxes, shapely.bounds(geometries), rtol=1e-6, atol=1e-6).all(axis=1)
            ).sum()
        ) > 0:
            yield f"{bad} values of bbox are not the bounds of their geometry."
