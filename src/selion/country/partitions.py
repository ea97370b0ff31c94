"""The folder of a merged map.

``cell=u28/part.parquet`` ..., each a valid fiboa GeoParquet file of its own, and ``_selion.json``,
which says what is where.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from selion.errors import UnreadableFile
from selion.fields.schema import Origin
from selion.grid import is_lonlat
from selion.store.former import is_ours, take_over
from selion.store.vectors import SIDES, Bbox, box_around, file_box, file_crs, read_metadata

if TYPE_CHECKING:
    import pyarrow as pa

INDEX = "_selion.json"
"""Begins with an underscore: pyarrow, Spark and DuckDB do not take it for data."""
PART = "part.parquet"
KIND = "selion maps 1"
ROWS = 8192
"""Rows per row group: what a reader fetches at least."""


@dataclass
class PartWriter:
    """Write one partition, :data:`ROWS` rows at a time, under a name that its caller makes final.

    Rows must come in their final order; box and types of geometry are those of all of them, for
    readers want these in front.
    """

    path: Path
    schema: pa.Schema
    origin: Origin
    box: Bbox
    kinds: list[str]
    waiting: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    area: float = 0.0

    def __enter__(self) -> Self:
        import pyarrow.parquet as pq

        options: dict[str, Any] = {
            "compression": "zstd",
            "compression_level": 6,
            "use_dictionary": ["class"],
            "write_page_index": True,
        }
        self.writer = pq.ParquetWriter(
            self.path, self.schema.with_metadata(self._metadata()), **options
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush(1)
        finally:
            self.writer.close()

    def add(self, table: pa.Table) -> None:
        """Take rows."""
        if len(table):
            self.waiting.append(table.select(self.schema.names))
            self.rows += len(table)
            self.area += float(np.nansum(table["metrics:area"].to_numpy().astype(np.float64)))
            self._flush(ROWS)

    def _flush(self, least: int) -> None:
        import pyarrow as pa

        if sum(map(len, self.waiting)) < least:
            return
        table = pa.concat_tables(self.waiting)
        stop = len(table) if least == 1 else len(table) // ROWS * ROWS
        for start in range(0, stop, ROWS):
            rows = table.slice(start, min(ROWS, stop - start)).combine_chunks()
            self.writer.write_table(rows, row_group_size=ROWS)
        self.waiting[:] = [table.slice(stop).combine_chunks()] if stop < len(table) else []

    def _metadata(self) -> dict[str, str]:
        from pyproj import CRS

        column = {
            "encoding": "WKB",
            "geometry_types": self.kinds,
            "crs": CRS("OGC:CRS84").to_json_dict(),
            "orientation": "counterclockwise",
            "covering": {"bbox": {side: ["bbox", side] for side in SIDES}},
            "bbox": self.box,
        }
        collection = {
            name: value
            for name, value in self.origin.to_dict().items()
            if name not in self.schema.names
        }
        return {
            "geo": json.dumps(
                {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
            ),
            "collection": json.dumps(collection),
        }


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition."""

    name: str
    path: Path
    rows: int
    box: Bbox
    """Longitude and latitude around its fields, which may reach out of its cell."""
    bytes: int
    area: float
    """m2 of its fields."""


@dataclass(frozen=True, eq=False)
class Maps:
    """A merged map on disk."""

    folder: Path
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


def open_maps(path: Path | str) -> Maps:
    """Open a merged map.

    One table of fields in longitude and latitude opens as a map of one partition.

    Raises
    ------
    UnreadableFile
        If it is neither.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return _one_file(path)
    index = take_over(path / INDEX)
    if not index.is_file():
        raise UnreadableFile(
            f"{path} is not a merged map (it has no {INDEX}): give a folder that 'selion merge' "
            "wrote, or a GeoParquet file."
        )
    try:
        table = json.loads(index.read_text("utf-8"))
        if not is_ours(table["kind"], KIND, index):
            raise UnreadableFile(
                f"{index} says it is {table['kind']!r}; this selion reads {KIND!r}: merge again, "
                "or update selion."
            )
        parts = tuple(
            Partition(
                name,
                path / f"cell={name}" / PART,
                cell["rows"],
                tuple(cell["bbox"]),
                cell["bytes"],
                cell["area_m2"],
            )
            for name, cell in sorted(table["cells"].items())
        )
        return Maps(path, int(table["level"]), parts, table["facts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFile(f"{index} cannot be read ({error!r}): merge again.") from error


def _one_file(path: Path) -> Maps:
    crs = file_crs(path)
    if crs is None or not is_lonlat(crs):
        raise UnreadableFile(
            f"{path} is not in longitude and latitude: write it as GeoParquet without --crs, or "
            "merge it first with 'selion merge'."
        )
    import pyarrow.parquet as pq

    data = pq.read_metadata(path)
    geo = read_metadata(path)["geo"]["columns"]["geometry"]
    if "covering" not in geo:
        raise UnreadableFile(
            f"{path} has no bbox column to look things up by: merge it first with 'selion merge'."
        )
    box = file_box(path)
    parts = (
        (Partition("", path, data.num_rows, box, path.stat().st_size, float("nan")),)
        if data.num_rows and box is not None
        else ()
    )
    return Maps(path, 0, parts, {})
