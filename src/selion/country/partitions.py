"""The folder of a merged map.

``cell=u28/part.parquet`` ..., each a valid fiboa GeoParquet file of its own, and ``_selion.json``,
which says what is where.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.country.row_groups import RowGroupWriter
from selion.errors import UnreadableFile
from selion.fields.fiboa import collection_metadata
from selion.fields.schema import Origin, check_columns
from selion.grid import is_lonlat
from selion.store.address import Place, RemotePath, locate, open_bytes, place_state
from selion.store.covering import covering_column
from selion.store.former import is_ours, take_over
from selion.store.geoparquet import make_native
from selion.store.parquet import (
    SIDES,
    TablePart,
    find_parts,
    indexed_parts,
    is_index,
    not_found,
    parquet_file,
    parquet_metadata,
    parquet_schema,
)
from selion.store.vectors import (
    Bbox,
    box_around,
    crs_text,
    file_box,
    read_metadata,
)

if TYPE_CHECKING:
    import pyarrow as pa

INDEX = "_selion.json"
"""Begins with an underscore: pyarrow, Spark and DuckDB do not take it for data."""
PART = "part.parquet"
FARTHEST = 400.0
"""Degrees beyond which nothing lies, whatever its turn around the globe."""
KIND = "selion maps 1"
OPENED = 8
"""Tables of a folder that are looked at at once: a server takes its time."""


def part_writer(
    path: Path, schema: pa.Schema, origin: Origin, box: Bbox, kinds: list[str]
) -> RowGroupWriter:
    """Return what writes one partition.

    Parameters
    ----------
    path : path
        A name that the caller makes final.
    schema : pa.Schema
        Of the merged map.
    origin : Origin
    box : (west, south, east, north)
        Around all fields.
    kinds : list of str
        Types of their geometry.
    """
    options = {"compression_level": 6, "use_dictionary": ["class"]}
    about = _part_metadata(schema, origin, box, kinds)
    return RowGroupWriter(path, schema.with_metadata(about), options)


def _part_metadata(
    schema: pa.Schema, origin: Origin, box: Bbox, kinds: list[str]
) -> dict[str, str]:
    from pyproj import CRS

    column = {
        "encoding": "WKB",
        "geometry_types": kinds,
        "crs": CRS("OGC:CRS84").to_json_dict(),
        "orientation": "counterclockwise",
        "covering": {"bbox": {side: ["bbox", side] for side in SIDES}},
        "bbox": box,
    }
    return {
        "geo": json.dumps(
            {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
        ),
        "collection": json.dumps(collection_metadata(origin, schema)),
    }


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition."""

    name: str
    path: Place
    rows: int
    box: Bbox
    """Longitude and latitude around its fields, which may reach out of its cell."""
    bytes: int
    area: float
    """m2 of its fields."""


@dataclass(frozen=True, eq=False)
class Maps:
    """A map of one table or many, on disk or on a server."""

    folder: Place
    level: int
    """Characters of a partition's name, which are the first ones of its fields' ids."""
    parts: tuple[Partition, ...]
    """By name."""
    facts: dict[str, Any]
    """What the merge said."""

    @property
    def rows(self) -> int:
        """Number of fields."""
        return sum(part.rows for part in self.parts)

    @property
    def box(self) -> Bbox | None:
        """Longitude and latitude around all fields."""
        return box_around(np.array([part.box for part in self.parts])) if self.parts else None


def write_index(folder: Path, level: int, parts: list[Partition], facts: dict[str, Any]) -> None:
    """Write ``_selion.json`` into the folder of a map that is not final yet."""
    cells = {
        part.name: {
            "rows": part.rows,
            "bbox": list(part.box),
            "bytes": part.bytes,
            "area_m2": part.area,
        }
        for part in parts
    }
    table = {
        "kind": KIND,
        "level": level,
        "rows": sum(part.rows for part in parts),
        "cells": cells,
        "facts": facts,
    }
    (folder / INDEX).write_text(json.dumps(table, indent=1), "utf-8")


def make_maps_native(folder: Path) -> None:
    """Rewrite the partitions of a map that is not final yet as GeoParquet 2.0."""
    table = json.loads((folder / INDEX).read_text("utf-8"))
    for name, told in table["cells"].items():
        path = folder / f"cell={name}" / PART
        make_native(path)
        told["bytes"] = path.stat().st_size
    (folder / INDEX).write_text(json.dumps(table, indent=1), "utf-8")


def open_maps(path: Path | RemotePath | str) -> Maps:
    """Open a merged map.

    One table of fields in longitude and latitude opens as a map of one partition; a hive folder of
    such tables (``vector/2025/`` with ``zone=10/utm10.parquet`` in it) and an index that lists
    their addresses open as one map too.

    Parameters
    ----------
    path : path or address

    Raises
    ------
    UnreadableFile
        If it is none of these.
    FetchFailed
        If a server fails.
    """
    path = locate(path).expanduser()
    if path.is_file() if isinstance(path, Path) else not path.is_dir():
        return _one_file(path)
    index = path / INDEX if isinstance(path, RemotePath) else take_over(path / INDEX)
    if not index.is_file():
        return _many_files(path)
    try:
        with open_bytes(index) as file:
            table = json.loads(file.read())
        if not is_ours(table["kind"], KIND, Path(index.name)):
            raise UnreadableFile(
                f"{index} says it is {table['kind']!r}; this selion reads {KIND!r}: merge again, "
                "or update selion."
            )
        parts = tuple(_partition(path, name, cell) for name, cell in sorted(table["cells"].items()))
        return Maps(path, int(table["level"]), parts, dict(table["facts"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableFile(f"{index} cannot be read ({error!r}): merge again.") from error


def _partition(folder: Place, name: str, cell: dict[str, Any]) -> Partition:
    """Return a partition as an index has it.

    Raises
    ------
    ValueError, TypeError, KeyError
        If its name leads elsewhere, or a number is none.
    """
    if "/" in name or "\\" in name:
        raise ValueError(f"{name!r} is no name of a partition")
    box = tuple(map(_number, cell["bbox"]))
    if len(box) != 4 or max(map(abs, box)) > FARTHEST:
        raise ValueError(f"{cell['bbox']!r} is no box in degrees")
    rows, size, area = (_number(cell[key]) for key in ("rows", "bytes", "area_m2"))
    if min(rows, size, area) < 0:
        raise ValueError(f"partition {name} has less than nothing")
    place = folder / f"cell={name}" / PART
    return Partition(name, place, int(rows), (box[0], box[1], box[2], box[3]), int(size), area)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    try:
        number = float(value)
    except OverflowError as error:
        raise ValueError("a number is too large") from error
    if not isfinite(number):
        raise ValueError(f"{value!r} is no number")
    return number


def _one_file(path: Place) -> Maps:
    import pyarrow as pa

    with suppress(OSError, pa.ArrowInvalid), parquet_file(path) as file:  # said better below
        if is_index(file.schema_arrow):
            return _of_parts(path, indexed_parts(path))
    return Maps(path, 0, tuple(part for part in [_opened(path)] if part), {})


def _many_files(folder: Place) -> Maps:
    """Open the tables of a hive folder."""
    parts = find_parts(folder)
    if not parts:
        raise UnreadableFile(
            f"{not_found(folder)}."
            if isinstance(folder, RemotePath)
            else f"{folder} is not a merged map (it has no {INDEX}) and no hive folder of tables: "
            "give a folder that 'selion merge' wrote, or a GeoParquet file."
        )
    return _of_parts(folder, parts)


def _of_parts(place: Place, parts: tuple[TablePart, ...]) -> Maps:
    """Open many tables as one map; what an index says of one is not asked again."""

    def open_one(part: TablePart) -> Partition | None:
        if part.box is None or part.rows is None or part.bytes is None:
            return _opened(part.place)
        return Partition("", part.place, part.rows, part.box, part.bytes, float("nan"))

    with ThreadPoolExecutor(OPENED) as pool:
        found = [part for part in pool.map(open_one, parts) if part is not None]
    return Maps(place, 0, tuple(found), {})


def _opened(path: Place) -> Partition | None:
    """Look at one table; None if it is empty."""
    check_table(path, read_metadata(path)["geo"]["columns"]["geometry"])
    rows, box = parquet_metadata(path).num_rows, file_box(path)
    if not rows or box is None:
        return None
    return Partition("", path, rows, box, place_state(path)[0], float("nan"))


def check_table(path: Place, geometry: Mapping[str, Any]) -> None:
    """Check that a table can be looked things up in.

    Parameters
    ----------
    path : Place
    geometry : mapping
        What its GeoParquet metadata say of its geometry.

    Raises
    ------
    UnreadableFile
        If it is not in longitude and latitude, or has no column of boxes.
    BadInput
        If a column of ours holds something else than it should.
    """
    schema = parquet_schema(path)
    check_columns(schema, str(path))
    crs = crs_text(geometry, str(path))
    if crs is None or not is_lonlat(crs):
        raise UnreadableFile(
            f"{path} is not in longitude and latitude: write it as GeoParquet without --crs, or "
            "merge it first with 'selion merge'."
        )
    if covering_column(geometry, schema) != "bbox":
        raise UnreadableFile(
            f"{path} has no bbox column to look things up by: merge it first with 'selion merge'."
        )
