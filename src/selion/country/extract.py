"""``selion query`` of more fields than are held in memory at once.

Row group after row group goes into the file as it is read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import fields, imagery, store
from selion.cores import check_memory
from selion.country.lookup import (
    QueryResult,
    Reading,
    cut,
    inside,
    query,
    rows_near,
    scan,
    to_frame,
    wanted,
)
from selion.country.partitions import Maps
from selion.country.row_groups import RowGroupWriter
from selion.grid import LONLAT
from selion.store.parquet import SIDES, parquet_schema
from selion.store.table_room import ROW
from selion.store.vectors import box_around, read_metadata

if TYPE_CHECKING:
    import pyarrow as pa
    from geopandas import GeoDataFrame

MANY = 400_000
"""Fields of a map that are held at once: some 0.6 GB."""
COUNTED = ("metrics:area", "confidence", "score")
"""Columns that are held of all fields, for what is said of them."""


def write_query(
    maps: Maps,
    area: imagery.Area,
    out: Path,
    columns: Sequence[str] | None = None,
    *,
    clip: bool = False,
    force: bool = False,
) -> QueryResult:
    """Cut an area out of a map into a file.

    Up to :data:`MANY` fields are written as :func:`selion.fields.write_fields` does; more go into
    GeoParquet as they are read, in the order of the map, and the memory of a few row groups is
    enough.

    Parameters
    ----------
    maps : Maps
    area : Area
    out : path
        Its ending says which format.
    columns, clip
        See :func:`selion.country.query`.
    force : bool
        Whether an existing file is replaced.

    Returns
    -------
    QueryResult
        Of many fields, those of the columns in :data:`COUNTED` that there are, and no outlines.

    Raises
    ------
    BadInput
        If another format is asked for and there are more fields than memory can hold; else as
        :func:`selion.country.query`.
    OutputExists, OutputFailed
        If the file cannot be written.
    """
    most = sum(part.rows for part in maps.parts)
    if most > MANY:
        most = rows_near(maps, area.boxes)
    streams = most > MANY and out.suffix.lower() == ".parquet"
    if most > MANY and not streams:
        check_memory(
            most * 2 * ROW,
            f"A {out.suffix} of the {most:,} fields that may lie in this area",
            "write .parquet, which is written as it is read, or take a smaller area",
        )
    if not streams:
        found = query(maps, area, columns, clip=clip)
        origin = fields.read_origin(maps.parts[0].path) if maps.parts else None
        fields.write_fields(found.frame, out, origin, force=force)
        return found
    store.check_output(out, force)
    with store.atomic_write(out, force) as temporary:
        return _stream(maps, area, temporary, columns, clip=clip)


def _stream(
    maps: Maps, area: imagery.Area, out: Path, columns: Sequence[str] | None, *, clip: bool
) -> QueryResult:
    reading = Reading(of_bytes=sum(part.bytes for part in maps.parts))
    counted: list[GeoDataFrame] = []
    boxes: list[tuple[float, ...]] = []
    kinds: set[str] = set()
    schema = _schema(maps, columns)
    # what is known at the end only would not be in a schema that is stored in front
    options = {"use_dictionary": ["class"], "store_schema": False}
    with RowGroupWriter(out, schema, options) as writer:
        for table in scan(maps, area.boxes, columns, reading):
            frame = to_frame(table)
            rows = inside(frame, area)
            kept, frame = table.filter(rows), frame[rows]
            if clip:
                frame, kept = _clipped(frame, kept, area)
            if len(frame):
                writer.add(_conformed(kept, schema))
                boxes.append(tuple(frame.total_bounds.tolist()))
                kinds |= set(frame.geometry.geom_type)
                counted.append(_counted(frame))
        writer.writer.add_key_value_metadata(_metadata(maps, boxes, kinds))
    return QueryResult(_stacked(counted, schema), reading)


def _schema(maps: Maps, columns: Sequence[str] | None) -> pa.Schema:
    """Return the columns of all parts."""
    import pyarrow as pa

    parts = []
    for part in maps.parts:
        there = parquet_schema(part.path).remove_metadata()
        names = wanted(there.names, columns, part.path)
        parts.append(pa.schema([there.field(name).with_nullable(True) for name in names]))
    return pa.unify_schemas(parts)


def _conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    columns = [
        table[column.name].cast(column.type)
        if column.name in table.column_names
        else pa.nulls(len(table), column.type)
        for column in schema
    ]
    return pa.table(columns, schema=schema)


def _clipped(
    frame: GeoDataFrame, table: pa.Table, area: imagery.Area
) -> tuple[GeoDataFrame, pa.Table]:
    """Cut fields at the area's edge, and put what that changes into their rows."""
    import pyarrow as pa
    import shapely

    rows = np.arange(len(frame))
    frame = cut(frame.set_axis(rows, axis=0), area)
    table = table.take(pa.array(frame.index.to_numpy()))
    shapes = frame.geometry.to_numpy()
    box = [pa.array(side) for side in shapely.bounds(shapes).T]
    changed: dict[str, Any] = {
        "geometry": pa.array(shapely.to_wkb(shapes), pa.binary()),
        "bbox": pa.StructArray.from_arrays(box, list(SIDES)),
    }
    changed |= {
        name: pa.array(frame[name].to_numpy())
        for name in ("metrics:area", "metrics:perimeter")
        if name in frame
    }
    for name, values in changed.items():
        number = table.column_names.index(name)
        table = table.set_column(number, name, values.cast(table.schema.field(name).type))
    return frame, table


def _counted(frame: GeoDataFrame) -> GeoDataFrame:
    return frame[[name for name in COUNTED if name in frame]]


def _stacked(parts: list[GeoDataFrame], schema: pa.Schema) -> GeoDataFrame:
    import geopandas
    import pandas as pd

    names = [name for name in COUNTED if name in schema.names]
    joined = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)
    return geopandas.GeoDataFrame(joined, geometry=np.full(len(joined), None), crs=LONLAT)


def _metadata(maps: Maps, boxes: list[tuple[float, ...]], kinds: set[str]) -> dict[str, str]:
    """Return what readers want of the file: those of the map's first table, with what is in it."""
    about = read_metadata(maps.parts[0].path)
    column = dict(about["geo"]["columns"]["geometry"]) | {"geometry_types": sorted(kinds)}
    column.pop("bbox", None)
    if boxes:
        column["bbox"] = list(box_around(np.array(boxes)))
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    return {"geo": json.dumps(geo), "collection": json.dumps(about["collection"])}
