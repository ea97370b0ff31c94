"""Fields of a file as chunks of rows that lie together.

What stands in the file's footer is enough to open it, rows are read when a tile needs them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from selion.errors import UnreadableFile
from selion.store.address import Place
from selion.store.cache import LruCache
from selion.store.covering import group_box
from selion.store.parquet import SIDES
from selion.store.vectors import readable_shapes
from selion.web.view.parquet_footers import (
    columns_of,
    covering_of,
    crs_of,
    group_rows,
    is_binary,
    ranges_of,
    read_footer,
    read_groups,
    state_of,
)
from selion.web.view.place import EARTH, Box, Projection, around, project_boxes, projection

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY = 256 << 20
"""Bytes of rows that are cached, over all files."""
OPENED = 8
"""Footers that are read at once: a server takes its time."""
FEW = 32
"""A column of text with no more values than this in a chunk can colour fields."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Rows that lie together, in memory."""

    boxes: np.ndarray
    """(row, 4) west, south, east, north in metres of web mercator; NaN where a row has none."""
    shapes: Any
    """(row,) arrow array of WKB."""
    table: Mapping[str, np.ndarray]
    """Column -> (row,) float64, or object array of text."""

    @property
    def size(self) -> int:
        """Bytes, about."""
        return (
            self.boxes.nbytes
            + int(self.shapes.nbytes)
            + sum(8 * len(column) for column in self.table.values())
        )


@dataclass(frozen=True, slots=True)
class RowGroupPlace:
    """Where a chunk lies in its file, as the file's footer says."""

    file: int
    group: int
    first: int
    """Number of its first row, over all files."""
    rows: int


class Fields(Protocol):
    """Fields of one or many files."""

    @property
    def places(self) -> Sequence[RowGroupPlace]:
        """The chunks, in order."""
        ...

    @property
    def boxes(self) -> np.ndarray:
        """(chunk, 4) metres of web mercator."""
        ...

    @property
    def project(self) -> Projection:
        """How coordinates come to web mercator."""
        ...

    @property
    def columns(self) -> Mapping[str, str]:
        """Column -> "number" or "text": what may travel in tiles."""
        ...

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Column of numbers -> lowest and highest, where the file says so."""
        ...

    @property
    def flat(self) -> bool:
        """Whether the file has no CRS, so that its units are pixels."""
        ...

    def chunk(self, index: int) -> Chunk:
        """Read a chunk, or find it in memory."""
        ...

    def light(self, begin: int, end: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Read boxes and numbers of some chunks of one file.

        Shapes are not read, and nothing is kept.
        """
        ...

    def record(self, row: int) -> dict[str, Any]:
        """Return all columns of one row, plain values, with the geometry's box."""
        ...


ROW_GROUP_CACHE: LruCache[tuple[str, int], Chunk] = LruCache(MEMORY, lambda chunk: chunk.size)


@dataclass(frozen=True, eq=False)
class ParquetFields:
    """GeoParquet files with WKB polygons and a bbox covering.

    Only their footers are read until a tile is asked for.
    """

    paths: tuple[Place, ...]
    states: tuple[str, ...]
    """What each file was when it was opened."""
    places: tuple[RowGroupPlace, ...]
    boxes: np.ndarray
    project: Projection
    columns: Mapping[str, str]
    ranges: Mapping[str, tuple[float, float]]
    flat: bool
    geometry: str
    covering: str | None
    """Name of the bbox column; None where the file has none: then rows are boxed when they are
    read."""
    cache: LruCache[tuple[str, int], Chunk] = field(default_factory=lambda: ROW_GROUP_CACHE)

    def opened(self, file: int) -> Place:
        """Return where a file lies, if it is still the one that was opened.

        Rows of another one, under the numbers of this one, would be other fields.

        Raises
        ------
        UnreadableFile
            If it was replaced, or is gone.
        """
        path = self.paths[file]
        if state_of(path) != self.states[file]:
            read_footer(path)  # one that is damaged now says so
            raise UnreadableFile(
                f"{path.name} was replaced since it was opened: stop selion view and start it "
                "again."
            )
        return path

    def chunk(self, index: int) -> Chunk:
        """Read a row group.

        Raises
        ------
        UnreadableFile
            If it is not what the file's footer says.
        """
        place = self.places[index]
        return self.cache.get(
            (os.fspath(self.paths[place.file]), place.group), lambda: self._read(place)
        )

    def _read(self, place: RowGroupPlace) -> Chunk:
        path = self.opened(place.file)
        names = [*self.columns, self.geometry, *([self.covering] if self.covering else [])]
        table = read_groups(path, [place.group], names)
        shapes = table.column(self.geometry).combine_chunks()
        if table.num_rows != place.rows:
            raise UnreadableFile(
                f"{path.name} has {table.num_rows:,} rows where its footer says {place.rows:,}: it "
                "is corrupt; write it again."
            )
        boxes = project_boxes(
            covered(table.column(self.covering)) if self.covering else boxed(shapes), self.project
        )
        return Chunk(
            boxes,
            shapes,
            {name: plain_column(table.column(name), kind) for name, kind in self.columns.items()},
        )

    def light(self, begin: int, end: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Read boxes and numbers of row groups of one file without their shapes.

        Raises
        ------
        UnreadableFile
            If they are corrupt.
        """
        names = [name for name, kind in self.columns.items() if kind == "number"]
        extra = self.covering or self.geometry
        table = read_groups(
            self.opened(self.places[begin].file),
            [place.group for place in self.places[begin:end]],
            [*names, extra],
        )
        boxes = covered(table.column(extra)) if self.covering else boxed(table.column(extra))
        return project_boxes(boxes, self.project), {
            name: plain_column(table.column(name), "number") for name in names
        }

    def record(self, row: int) -> dict[str, Any]:
        """Return all columns of one row.

        Raises
        ------
        UnreadableFile
            If the file is corrupt there.
        """
        index = place_of(self.places, row)
        place = self.places[index]
        path = self.opened(place.file)
        names = [
            name
            for name in read_footer(path).schema.names
            if name not in (self.geometry, self.covering)
        ]
        table = read_groups(path, [place.group], names)
        values = table.slice(row - place.first, 1).to_pylist()[0]
        return {name: plain(value) for name, value in values.items()} | {
            "box": row_box(self.chunk(index), row - place.first)
        }


def row_box(chunk: Chunk, row: int) -> Box | None:
    """Return the box of one row in metres of web mercator."""
    return around(chunk.boxes[row : row + 1])


def place_of(places: Sequence[RowGroupPlace], row: int) -> int:
    """Return the chunk that holds a row.

    Raises
    ------
    UnreadableFile
        If there is no such row.
    """
    index = int(np.searchsorted([place.first for place in places], row, side="right")) - 1
    if not 0 <= index < len(places) or row >= places[index].first + places[index].rows:
        raise UnreadableFile(
            f"There is no row {row:,} in this file: load the page again, the file has changed."
        )
    return index


def plain(value: Any) -> Any:
    """Return a value that JSON can hold."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [plain(each) for each in value[:100]]
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in list(value.items())[:100]}
    return str(value)[:2000]


def plain_column(column: pa.ChunkedArray, kind: str) -> np.ndarray:
    """Return a column for tiles: numbers as float64.

    Text as objects, all None where there are too many different ones.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if kind == "number":
        # not safe: the number of a cell of H3 has more digits than a float
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    return (
        np.full(len(column), None, object)
        if len(pc.unique(column)) > FEW
        else np.asarray(column.to_numpy(zero_copy_only=False), object)
    )


def covered(column: pa.ChunkedArray) -> np.ndarray:
    """Return (row, 4) boxes of a bbox column."""
    import pyarrow as pa

    struct = column.combine_chunks()
    sides = [struct.field(side).cast(pa.float64()).to_numpy(zero_copy_only=False) for side in SIDES]
    return np.column_stack(sides)


def boxed(shapes: Any) -> np.ndarray:
    """Return (row, 4) boxes of WKB; NaN where it is none."""
    import shapely

    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(shapely.bounds(readable_shapes(shapes.to_numpy(zero_copy_only=False))))


def open_parquet(paths: Sequence[Place]) -> ParquetFields:
    """Open files with the same columns, by their footers.

    Raises
    ------
    UnreadableFile
        If one is no GeoParquet with WKB polygons.
    """
    with ThreadPoolExecutor(OPENED) as pool:
        states = tuple(pool.map(state_of, paths))
        footers = list(pool.map(read_footer, paths))
    geo, schema = footers[0].geo, footers[0].schema
    name = str(geo.get("primary_column", "geometry"))
    columns = geo.get("columns")
    about = columns.get(name) if isinstance(columns, dict) else None
    if (
        not isinstance(about, dict)
        or schema.get_field_index(name) < 0
        or about.get("encoding", "WKB") != "WKB"
        or not is_binary(schema.field(name).type)
    ):
        raise UnreadableFile(
            f"{paths[0].name} holds no WKB geometry: write it as GeoParquet 1.1, for example with "
            "selion."
        )
    crs = crs_of(about, name)
    project = projection(crs)
    covering = covering_of(about, schema)
    places, boxes, first = [], [], 0
    for k, footer in enumerate(footers):
        if footer.schema.names != schema.names:
            raise UnreadableFile(
                f"{paths[k].name} has other columns than {paths[0].name}: open them one by one."
            )
        for group in range(footer.metadata.num_row_groups):
            rows = group_rows(footer.metadata, group, paths[k])
            places.append(RowGroupPlace(k, group, first, rows))
            boxes.append(group_box(footer.metadata, group, covering))
            first += rows
    found = np.array(boxes, float).reshape(-1, 4)
    known = project_boxes(found, project)
    # without statistics a group may lie anywhere
    known[~np.isfinite(known).all(1)] = (-EARTH, -EARTH, EARTH, EARTH)
    columns = columns_of(schema, name, covering)
    ranges = ranges_of(
        [footer.metadata for footer in footers],
        [column for column, kind in columns.items() if kind == "number"],
    )
    return ParquetFields(
        tuple(paths),
        states,
        tuple(places),
        known,
        project,
        columns,
        ranges,
        crs is None,
        name,
        covering,
    )
