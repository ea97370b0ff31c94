"""Fields of a file as chunks of rows that lie together: what stands in the file's foot is enough to open it, rows are read when a tile needs them."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tilth.errors import UnreadableFile
from tilth.web.view.place import EARTH, Box, Projection, around, project_boxes, projection

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MEMORY = 256 << 20
"""Bytes of rows that are kept, over all files."""
LARGEST = 1 << 30
"""Bytes that one row group may say it has; a file with larger ones is refused."""
SIDES = ("xmin", "ymin", "xmax", "ymax")
FEW = 32
"""A column of text with no more values than this in a chunk can colour fields."""
MOST_COLUMNS = 10
"""Columns that travel in tiles; the record of one field has all."""
UNSHOWN = ("metrics:perimeter",)


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
        return self.boxes.nbytes + int(self.shapes.nbytes) + sum(8 * len(column) for column in self.table.values())


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk lies in its file, as the file's foot says."""

    file: int
    group: int
    first: int
    """Number of its first row, over all files."""
    rows: int


class Fields(Protocol):
    """Fields of one or many files."""

    @property
    def places(self) -> Sequence[Place]:
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
        """Read boxes and numbers of some chunks of one file without their shapes, and keep nothing."""
        ...

    def record(self, row: int) -> dict[str, Any]:
        """Return all columns of one row, plain values, with the geometry's box."""
        ...


class Kept:
    """Chunks in memory, the least used of which go first; safe for several threads."""

    def __init__(self, memory: int = MEMORY) -> None:
        self.memory = memory
        self._lock = threading.Lock()
        self._reading: dict[tuple[str, int], threading.Lock] = {}
        self._held: OrderedDict[tuple[str, int], Chunk] = OrderedDict()

    def get(self, name: tuple[str, int], read: Any) -> Chunk:
        """Return a chunk; where two ask at once, one reads and the other waits."""
        with self._lock:
            if name in self._held:
                self._held.move_to_end(name)
                return self._held[name]
            gate = self._reading.setdefault(name, threading.Lock())
        with gate:
            with self._lock:
                if name in self._held:
                    return self._held[name]
            made: Chunk = read()
            with self._lock:
                self._held[name] = made
                self._reading.pop(name, None)
                while len(self._held) > 1 and sum(each.size for each in self._held.values()) > self.memory:
                    self._held.popitem(last=False)
            return made


KEPT = Kept()


@dataclass(frozen=True, eq=False)
class ParquetFields:
    """GeoParquet files with WKB polygons and a bbox covering; only their feet are read until a tile is asked for."""

    paths: tuple[Path, ...]
    places: tuple[Place, ...]
    boxes: np.ndarray
    project: Projection
    columns: Mapping[str, str]
    ranges: Mapping[str, tuple[float, float]]
    flat: bool
    geometry: str
    covering: str | None
    """Name of the bbox column; None where the file has none: then rows are boxed when they are read."""
    kept: Kept = field(default_factory=lambda: KEPT)

    def chunk(self, index: int) -> Chunk:
        """Read a row group.

        Raises
        ------
        UnreadableFile
            If it is not what the file's foot says.
        """
        place = self.places[index]
        return self.kept.get((str(self.paths[place.file]), place.group), lambda: self._read(place))

    def _read(self, place: Place) -> Chunk:
        path = self.paths[place.file]
        names = [*self.columns, self.geometry, *([self.covering] if self.covering else [])]
        table = read_groups(path, [place.group], names)
        shapes = table.column(self.geometry).combine_chunks()
        if table.num_rows != place.rows:
            message = f"{path.name} has {table.num_rows:,} rows where its foot says {place.rows:,}: it is corrupt; write it again."
            raise UnreadableFile(message)
        boxes = project_boxes(covered(table.column(self.covering)) if self.covering else boxed(shapes), self.project)
        return Chunk(boxes, shapes, {name: plain_column(table.column(name), kind) for name, kind in self.columns.items()})

    def light(self, begin: int, end: int) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """Read boxes and numbers of row groups of one file without their shapes.

        Raises
        ------
        UnreadableFile
            If they are corrupt.
        """
        names = [name for name, kind in self.columns.items() if kind == "number"]
        extra = self.covering or self.geometry
        table = read_groups(self.paths[self.places[begin].file], [place.group for place in self.places[begin:end]], [*names, extra])
        boxes = covered(table.column(extra)) if self.covering else boxed(table.column(extra))
        return project_boxes(boxes, self.project), {name: plain_column(table.column(name), "number") for name in names}

    def record(self, row: int) -> dict[str, Any]:
        """Return all columns of one row.

        Raises
        ------
        UnreadableFile
            If the file is corrupt there.
        """
        index = place_of(self.places, row)
        place = self.places[index]
        path = self.paths[place.file]
        names = [name for name in read_foot(path).schema.names if name not in (self.geometry, self.covering)]
        table = read_groups(path, [place.group], names)
        values = table.slice(row - place.first, 1).to_pylist()[0]
        return {name: plain(value) for name, value in values.items()} | {"box": row_box(self.chunk(index), row - place.first)}


def row_box(chunk: Chunk, row: int) -> Box | None:
    """Return the box of one row in metres of web mercator."""
    return around(chunk.boxes[row : row + 1])


def place_of(places: Sequence[Place], row: int) -> int:
    """Return the chunk that holds a row.

    Raises
    ------
    UnreadableFile
        If there is no such row.
    """
    index = int(np.searchsorted([place.first for place in places], row, side="right")) - 1
    if not 0 <= index < len(places) or row >= places[index].first + places[index].rows:
        message = f"There is no row {row:,} in this file: load the page again, the file has changed."
        raise UnreadableFile(message)
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
    """Return a column for tiles: numbers as float64; text as objects, all None where there are too many different ones."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == "number":
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
    return np.full(len(column), None, object) if len(pc.unique(column)) > FEW else np.asarray(column.to_numpy(zero_copy_only=False), object)


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
        return np.asarray(shapely.bounds(shapely.from_wkb(shapes.to_numpy(zero_copy_only=False), on_invalid="ignore")))


def open_parquet(paths: Sequence[Path]) -> ParquetFields:
    """Open files with the same columns, by their feet.

    Raises
    ------
    UnreadableFile
        If one is no GeoParquet with WKB polygons.
    """
    feet = [read_foot(path) for path in paths]
    geo, schema = feet[0].geo, feet[0].schema
    name = str(geo.get("primary_column", "geometry"))
    about = geo.get("columns", {}).get(name, {})
    if name not in schema.names or about.get("encoding", "WKB") != "WKB":
        message = f"{paths[0].name} holds no WKB geometry: write it as GeoParquet 1.1, for example with tilth."
        raise UnreadableFile(message)
    crs = crs_of(about, name)
    project = projection(crs)
    covering = covering_of(about, schema)
    places, boxes, first = [], [], 0
    for k, foot in enumerate(feet):
        if foot.schema.names != schema.names:
            message = f"{paths[k].name} has other columns than {paths[0].name}: open them one by one."
            raise UnreadableFile(message)
        for group in range(foot.metadata.num_row_groups):
            rows = group_rows(foot.metadata, group, paths[k])
            places.append(Place(k, group, first, rows))
            boxes.append(group_box(foot.metadata, group, covering))
            first += rows
    found = np.array(boxes, float).reshape(-1, 4)
    known = project_boxes(found, project)
    known[~np.isfinite(known).all(1)] = (-EARTH, -EARTH, EARTH, EARTH)  # without statistics a group may lie anywhere
    columns = columns_of(schema, name, covering)
    ranges = ranges_of([foot.metadata for foot in feet], [column for column, kind in columns.items() if kind == "number"])
    return ParquetFields(tuple(paths), tuple(places), known, project, columns, ranges, crs is None, name, covering)


def crs_of(about: Mapping[str, Any], name: str) -> str | None:
    """Return the CRS of a geometry column: none written is longitude and latitude, null is none at all (a photograph)."""
    if "crs" not in about:
        return "OGC:CRS84"
    given = about["crs"]
    return json.dumps(given) if isinstance(given, dict) else None if given is None else str(name and given)


def covering_of(about: Mapping[str, Any], schema: pa.Schema) -> str | None:
    """Return the name of the bbox column: what the file says, else a column of that name and form."""
    import pyarrow as pa

    try:
        name = str(about["covering"]["bbox"]["xmin"][0])
    except (KeyError, TypeError, IndexError):
        name = "bbox"
    kind = schema.field(name).type if name in schema.names else None
    sound = kind is not None and pa.types.is_struct(kind) and all(kind.get_field_index(side) >= 0 for side in SIDES)
    return name if sound else None


def columns_of(schema: pa.Schema, geometry: str, covering: str | None) -> dict[str, str]:
    """Return which columns may travel in tiles."""
    import pyarrow as pa

    found = {}
    for column in schema:
        if column.name in (geometry, covering, "id", *UNSHOWN) or len(column.name) > 80:
            continue
        if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
            found[column.name] = "number"
        elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            found[column.name] = "text"
    return dict(list(found.items())[:MOST_COLUMNS])


def group_rows(metadata: Any, group: int, path: Path) -> int:
    """Return the rows of a group.

    Raises
    ------
    UnreadableFile
        If the foot tells of more than can be.
    """
    about = metadata.row_group(group)
    if not 0 <= about.num_rows < 1 << 31 or about.total_byte_size > LARGEST:
        message = (
            f"{path.name} says that a row group has {about.num_rows:,} rows and {about.total_byte_size:,} bytes: write it again with at most 150,000 rows each."
        )
        raise UnreadableFile(message)
    return int(about.num_rows)


def group_box(metadata: Any, group: int, covering: str | None) -> list[float]:
    """Return the box of a row group from the statistics of its bbox column; everywhere where it has none."""
    about, sides = metadata.row_group(group), {}
    for k in range(about.num_columns if covering else 0):
        column = about.column(k)
        name, _, side = column.path_in_schema.rpartition(".")
        if name == covering and side in SIDES and column.statistics is not None and column.statistics.has_min_max:
            sides[side] = float(column.statistics.min if side.endswith("min") else column.statistics.max)
    return [sides.get(side, -np.inf if side.endswith("min") else np.inf) for side in SIDES]


def ranges_of(metadatas: Sequence[Any], names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest number of columns, from the feet."""
    found: dict[str, tuple[float, float]] = {}
    for metadata in metadatas:
        at = {metadata.row_group(0).column(k).path_in_schema: k for k in range(metadata.num_columns)} if metadata.num_row_groups else {}
        for name in names:
            told = [metadata.row_group(g).column(at[name]).statistics for g in range(metadata.num_row_groups if name in at else 0)]
            known = [float(v) for s in told if s is not None and s.has_min_max for v in (s.min, s.max) if np.isfinite(v)]
            known += found.get(name, ())
            if known:
                found[name] = (min(known), max(known))
    return found


@dataclass(frozen=True, eq=False)
class Foot:
    """What stands at the end of a Parquet file."""

    metadata: pq.FileMetaData
    schema: pa.Schema
    geo: Mapping[str, Any]


def read_foot(path: Path) -> Foot:
    """Read the foot of a file, or find it in memory.

    Raises
    ------
    UnreadableFile
        If it is no GeoParquet.
    """
    try:
        return _foot(path, path.stat().st_mtime_ns)
    except OSError as error:
        message = f"{path.name} cannot be opened ({error.strerror}): it was there when the page was."
        raise UnreadableFile(message) from error


@lru_cache(maxsize=4096)
def _foot(path: Path, _stamp: int) -> Foot:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, thrift_string_size_limit=64 << 20, thrift_container_size_limit=4 << 20) as file:
            schema, metadata = file.schema_arrow, file.metadata
        geo = json.loads((schema.metadata or {}).get(b"geo", b"null"))
    except (OSError, pa.ArrowException, ValueError, RecursionError) as error:
        message = f"{path.name} cannot be read as Parquet ({str(error)[:120].rstrip('.')}): it is truncated or corrupt; copy it again."
        raise UnreadableFile(message) from error
    if not isinstance(geo, dict) or not isinstance(geo.get("columns"), dict):
        message = f"{path.name} is no GeoParquet: it holds no word about its geometry."
        raise UnreadableFile(message)
    return Foot(metadata, schema, geo)


def read_groups(path: Path, groups: Sequence[int], names: Sequence[str]) -> pa.Table:
    """Read columns of row groups.

    Raises
    ------
    UnreadableFile
        If they cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    foot = read_foot(path)
    try:
        with pq.ParquetFile(path, metadata=foot.metadata) as file:
            return file.read_row_groups(list(groups), columns=list(names), use_threads=False)
    except (OSError, pa.ArrowException, ValueError, MemoryError) as error:
        message = f"{path.name} cannot be read in row group {groups[0]} ({str(error)[:120].rstrip('.')}): it is corrupt; copy it again."
        raise UnreadableFile(message) from error
