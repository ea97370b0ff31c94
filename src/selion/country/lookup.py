"""``selion query``: the fields of an area out of a map of any size, reading only what lies near."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import fields, imagery
from selion.country.other_tables import opened_maps
from selion.country.partitions import Maps, Partition, check_table, open_maps
from selion.country.seams import polygons_only
from selion.country.sorted_runs import boxes_of
from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.grid import LONLAT
from selion.store.address import Place, RemotePath
from selion.store.covering import group_box
from selion.store.parquet import parquet_file
from selion.store.table_room import check_held
from selion.store.vectors import (
    decoded,
    pandas_type,
    read_metadata,
    touching,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from geopandas import GeoDataFrame
    from pyarrow.parquet import ParquetFile

    from selion.imagery import Area

Box = tuple[float, float, float, float]


@dataclass
class Reading:
    """How much of a map was touched."""

    parts: int = 0
    groups: int = 0
    """Row groups that were read."""
    of_groups: int = 0
    """Row groups of the partitions that were opened."""
    bytes: int = 0
    """Compressed bytes of the columns that were read."""
    of_bytes: int = 0
    """Bytes of the whole map."""
    rows: int = 0
    """Rows that were decoded."""

    def facts(self) -> dict[str, int]:
        """Return what is printed."""
        return {
            "parts_read": self.parts,
            "row_groups_read": self.groups,
            "bytes_read": self.bytes,
            "bytes_of_map": self.of_bytes,
        }


@dataclass(frozen=True, eq=False)
class QueryResult:
    """The fields of an area."""

    frame: GeoDataFrame
    """Longitude and latitude."""
    reading: Reading = field(default_factory=Reading)


def query(
    maps: Maps | Path | RemotePath | str,
    area: imagery.AreaLike | imagery.Area,
    columns: Sequence[str] | None = None,
    *,
    clip: bool = False,
) -> QueryResult:
    """Cut an area out of a map.

    Parameters
    ----------
    maps : Maps, path or address
        A folder of ``selion merge``, one table of fields (GeoParquet, of which only what lies near
        is read; GeoPackage, GeoJSON and FlatGeobuf are read whole), or a hive folder of tables.
    area : path, bounding box, GeoJSON or Area
        See :func:`selion.imagery.read_area`.
    columns : sequence of str, optional
        Columns to take; id and geometry always come.  None: all.
    clip : bool
        Whether fields are cut at the area's edge, and measured anew, or come whole.

    Returns
    -------
    QueryResult
        Fields that share more than an edge with the area, in the map's order.

    Raises
    ------
    UnreadableFile, BadInput
        If map or area cannot be read.
    UnknownName
        If there is no such column.
    """
    if not isinstance(maps, Maps):
        with opened_maps(maps) as opened_one:
            return query(opened_one, area, columns, clip=clip)
    area = area if isinstance(area, imagery.Area) else imagery.read_area(area)
    reading = Reading(of_bytes=sum(part.bytes for part in maps.parts))
    found = map(to_frame, scan(maps, area.boxes, columns, reading))
    frame = _stacked([part[inside(part, area)] for part in found], maps, columns)
    return QueryResult(cut(frame, area) if clip else frame, reading)


def _stacked(frames: list[GeoDataFrame], maps: Maps, columns: Sequence[str] | None) -> GeoDataFrame:
    import geopandas
    import pandas as pd

    if frames:
        return geopandas.GeoDataFrame(pd.concat(frames, ignore_index=True), crs=LONLAT)
    if not maps.parts:
        return geopandas.GeoDataFrame({"id": pd.array([], dtype="string")}, geometry=[], crs=LONLAT)
    with opened(maps.parts[0]) as file:
        return to_frame(
            file.read_row_groups([], wanted(file.schema_arrow.names, columns, maps.parts[0].path))
        )


def inside(frame: GeoDataFrame, area: Area) -> np.ndarray:
    """Return which fields share more than an edge with an area, (n,) bool."""
    import shapely

    shapely.prepare(area.geometry)
    shapes = frame.geometry.to_numpy()
    try:
        shares: np.ndarray = shapely.intersects(area.geometry, shapes)
        return shares & ~shapely.touches(area.geometry, shapes)
    except shapely.errors.GEOSException as error:
        raise BadInput(
            f"The map holds a field that no area can be compared with ({error}): repair it, or "
            "leave it out."
        ) from error


def cut(frame: GeoDataFrame, area: Area) -> GeoDataFrame:
    """Cut fields at the edge of an area, and measure those anew that it cuts."""
    import shapely

    shapes = frame.geometry.to_numpy().copy()
    across = ~shapely.covers(area.geometry, shapes)
    shapes[across] = shapely.orient_polygons(
        polygons_only(shapely.intersection(shapes[across], area.geometry))
    )
    frame = frame.set_geometry(shapes, crs=frame.crs)
    size = fields.measure(shapes, LONLAT)
    for name, values in zip(("metrics:area", "metrics:perimeter"), size, strict=True):
        if name in frame:
            frame[name] = np.where(across, values, frame[name]).astype(np.float32)
    return frame[~frame.geometry.is_empty & (size[0] > 0)]


def to_frame(table: pa.Table) -> GeoDataFrame:
    """Turn rows of a map into a table of fields."""
    import geopandas

    check_held(table, "The map")
    shapes = decoded(table["geometry"].to_numpy(), "The map")
    plain = table.drop_columns(
        [name for name in ("geometry", "bbox") if name in table.column_names]
    )
    return geopandas.GeoDataFrame(
        plain.to_pandas(types_mapper=pandas_type),
        geometry=shapes,
        crs=LONLAT,
    )


def scan(
    maps: Maps,
    boxes: Sequence[Box] | None = None,
    columns: Sequence[str] | None = None,
    reading: Reading | None = None,
) -> Iterator[pa.Table]:
    """Read a map row group by row group.

    Parameters
    ----------
    maps : Maps
    boxes : sequence of (west, south, east, north), optional
        Only rows whose box touches one of these; row groups that have none are not read.  None:
        all.
    columns : sequence of str, optional
    reading : Reading, optional
        Is counted up.

    Returns
    -------
    iterator of Table
        With id, bbox and geometry, in the map's order; none is empty.
    """
    reading = reading or Reading()
    for part in _parts_near(maps, boxes):
        yield from _scan_part(part, boxes, columns, reading)


def rows_near(maps: Maps, boxes: Sequence[Box]) -> int:
    """Count the rows of the row groups that :func:`scan` would read; only footers are looked at."""
    found = 0
    for part in _parts_near(maps, boxes):
        with opened(part) as file:
            groups = _groups_near(file, boxes)
            found += sum(file.metadata.row_group(group).num_rows for group in groups)
    return found


def _parts_near(maps: Maps, boxes: Sequence[Box] | None) -> list[Partition]:
    return [part for part in maps.parts if _is_near(part.box, boxes)]


def _groups_near(file: ParquetFile, boxes: Sequence[Box] | None) -> list[int]:
    around = (group_box(file.metadata, group, "bbox") for group in range(file.num_row_groups))
    return [group for group, box in enumerate(around) if _is_near(box, boxes)]


def _is_near(own: Box, boxes: Sequence[Box] | None) -> bool:
    return boxes is None or any(touching(np.array([own]), box)[0] for box in boxes)


@contextmanager
def opened(part: Partition) -> Iterator[ParquetFile]:
    """Open a partition's file.

    Raises
    ------
    UnreadableFile
        If it is gone or damaged, also where that shows within the block only.
    """
    import pyarrow as pa

    try:
        with parquet_file(part.path) as file:
            yield file
    except (OSError, pa.ArrowInvalid) as error:
        raise UnreadableFile(f"{part.path} cannot be read ({error}): merge again.") from error


def _scan_part(
    part: Partition, boxes: Sequence[Box] | None, columns: Sequence[str] | None, reading: Reading
) -> Iterator[pa.Table]:
    import pyarrow as pa

    with opened(part) as file:
        if not part.name:  # nobody has looked at what only an index names
            check_table(part.path, read_metadata(part.path)["geo"]["columns"]["geometry"])
        names = wanted(file.schema_arrow.names, columns, part.path)
        # what other programs write has no collection, and its sizes may be of former outlines
        is_ours = b"collection" in (file.metadata.metadata or {})
        reading.parts += 1
        reading.of_groups += file.num_row_groups
        for group in _groups_near(file, boxes):
            data = file.metadata.row_group(group)
            table = file.read_row_group(group, names)
            reading.groups += 1
            reading.rows += len(table)
            reading.bytes += sum(
                column.total_compressed_size
                for k in range(data.num_columns)
                if _root(column := data.column(k)) in names
            )
            if boxes is not None:
                here = boxes_of(table)
                table = table.filter(
                    pa.array(np.any([touching(here, box) for box in boxes], axis=0))
                )
            if len(table):
                yield table if is_ours else _measured(table)


def _measured(table: pa.Table) -> pa.Table:
    """Return rows with the sizes that they have of their outlines as they are drawn now.

    Who redraws a field leaves its columns as they are.
    """
    import pyarrow as pa
    import shapely

    sizes = fields.measure(shapely.from_wkb(table["geometry"].to_numpy()), LONLAT)
    for name, values in zip(("metrics:area", "metrics:perimeter"), sizes, strict=True):
        if name in table.column_names:
            column = table.schema.field(name)
            number = table.column_names.index(name)
            table = table.set_column(number, column, pa.array(values).cast(column.type, safe=False))
    return table


def wanted(there: Sequence[str], columns: Sequence[str] | None, path: Place) -> list[str]:
    """Return those of a table's columns that are taken.

    Raises
    ------
    BadInput, UnknownName
        If it has no id, or none of a name that is asked for.
    """
    if "id" not in there:
        raise BadInput(
            f"{path} has no column 'id': write it with 'selion map', or give its fields unique ids."
        )
    if columns is None:
        return list(there)
    for name in columns:
        if name not in there:
            raise UnknownName.among(f"column in {path.name}", name, there)
    return [name for name in there if name in {*columns, "id", "bbox", "geometry"}]


def _root(column: Any) -> str:
    return str(column.path_in_schema).partition(".")[0]


def find_field(maps: Maps | Path | RemotePath | str, name: str) -> GeoDataFrame:
    """Return the field of an id, as a table of one row; the id says in which partition it lies.

    Raises
    ------
    BadInput
        If there is no field of that id.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    maps = maps if isinstance(maps, Maps) else open_maps(maps)
    for part in maps.parts:
        if part.name != name[: maps.level]:
            continue
        for table in _scan_part(part, None, None, Reading()):
            found = table.filter(pc.equal(table["id"], pa.scalar(name)))
            if len(found):
                return to_frame(found)
    raise BadInput(
        f"There is no field {name!r} in {maps.folder}: an id has twelve letters and digits, as "
        "the column id holds them."
    )
