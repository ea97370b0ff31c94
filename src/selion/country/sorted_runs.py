"""Sorted runs on disk.

Rows in the order of the Hilbert curve, a row group per fine cell, so that a whole country is sorted
in the memory of one cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import store
from selion.country.cells import SHIFT, degrees, fine_cell, hilbert, places_of, steps
from selion.country.job_tables import with_column
from selion.errors import BadInput
from selion.fields.table import geohash
from selion.store.parquet import SIDES
from selion.store.vectors import Bbox, box_around

if TYPE_CHECKING:
    import pyarrow as pa

KEY, KIND = "hilbert", "kind"
"""Columns of a run before those of the table: place on the curve, type of the geometry."""
CHUNK = 150_000
"""Rows that are sorted at once."""
KINDS = {3: "Polygon", 6: "MultiPolygon"}
NEAR = 1e-6
"""Degrees by which a point inside may seem to lie outside of a box, because an id names a step of 4
cm."""


def boxes_of(table: pa.Table) -> np.ndarray:
    """Return the (n, 4) float64 boxes of a table: west, south, east, north.

    Raises
    ------
    BadInput
        If its column ``bbox`` holds something else.
    """
    import pyarrow as pa

    at = table.schema.get_field_index("bbox")
    kind: Any = table.schema.field(at).type if at >= 0 else "nothing"
    if at < 0 or not pa.types.is_struct(kind) or not set(SIDES) <= {field.name for field in kind}:
        raise BadInput(
            f"The column bbox of a table holds {kind}; wanted are {', '.join(SIDES)}: write the "
            "table again with 'selion map' or 'selion merge'."
        )
    boxes = table["bbox"].combine_chunks()
    return np.stack([boxes.field(side).to_numpy(zero_copy_only=False) for side in SIDES], axis=-1)


def place(table: pa.Table) -> pa.Table:
    """Put the columns :data:`KEY` and :data:`KIND` in front of a table.

    Ids that do not name a place inside their field become ids that do.

    An id of ours is never changed, for it is the geohash of a point inside.
    """
    import pyarrow as pa

    x, y, known = places_of(table["id"].to_pylist())
    lon, lat = degrees(x, y)
    west, south, east, north = boxes_of(table).T
    right = (
        known
        & (lon >= west - NEAR)
        & (lon <= east + NEAR)
        & (lat >= south - NEAR)
        & (lat <= north + NEAR)
    )
    if not right.all():
        wrong = np.flatnonzero(~right)
        ids = np.array(table["id"].to_pylist(), object)
        ids[wrong], x[wrong], y[wrong] = _named(table["geometry"].take(pa.array(wrong)))
        table = with_column(table, "id", ids)
    table = table.add_column(
        0, pa.field(KIND, pa.int32()), pa.array(wkb_kinds(table["geometry"]).astype(np.int32))
    )
    return table.add_column(0, pa.field(KEY, pa.int64()), pa.array(hilbert(x, y)))


def wkb_kinds(geometry: pa.ChunkedArray) -> np.ndarray:
    """Return the type of (n,) geometries from their little-endian WKB.

    3 polygon, 6 multipolygon.
    """
    heads = b"".join(value[:5] for value in geometry.to_pylist())
    return np.frombuffer(heads, np.dtype([("order", "u1"), ("kind", "<u4")]))["kind"]


def _named(geometry: pa.ChunkedArray) -> tuple[list[str], np.ndarray, np.ndarray]:
    import shapely

    lon, lat = shapely.get_coordinates(
        shapely.point_on_surface(shapely.from_wkb(geometry.to_numpy()))
    ).T
    return (geohash(lon, lat), *steps(lon, lat))


@dataclass
class RunWriter:
    """Sort rows into files ``0000.parquet``, ``0001.parquet`` ... of a folder."""

    folder: Path
    chunk: int = CHUNK
    waiting: list[pa.Table] = field(default_factory=list)
    count: int = 0
    rows: int = 0

    def add(self, table: pa.Table) -> None:
        """Take rows that :func:`place` has seen."""
        if len(table):
            self.waiting.append(table)
            self.rows += len(table)
        if sum(map(len, self.waiting)) >= self.chunk:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self.waiting:
            return
        table = pa.concat_tables(self.waiting).combine_chunks()
        self.waiting.clear()
        table = table.take(pa.array(np.argsort(table[KEY].to_numpy(), kind="stable")))
        cells = fine_cell(table[KEY].to_numpy())
        starts = [*np.flatnonzero(np.diff(cells, prepend=-1)).tolist(), len(cells)]
        with (
            store.atomic_write(self.folder / f"{self.count:04}.parquet", force=True) as temporary,
            pq.ParquetWriter(
                temporary, table.schema, compression="lz4", use_dictionary=["class"]
            ) as writer,
        ):
            for start, stop in pairwise(starts):
                writer.write_table(table.slice(start, stop - start), row_group_size=stop - start)
        self.count += 1


@dataclass(frozen=True, eq=False)
class Runs:
    """Where each fine cell lies in the runs of a country."""

    paths: tuple[Path, ...]
    cells: np.ndarray
    """(n,) int64 fine cell of each row group, ascending."""
    run: np.ndarray
    """(n,) int64 the file it lies in."""
    group: np.ndarray
    """(n,) int64 and which row group of it."""
    names: tuple[str, ...]
    """Geohash of each fine cell."""
    boxes: np.ndarray
    """(n, 4) float64 box around the rows."""
    kinds: np.ndarray
    """(n, 2) int64 lowest and highest type of geometry."""

    def around(self, cells: list[int]) -> tuple[Bbox, list[str]]:
        """Return the box and the types of geometry of some fine cells."""
        here = np.isin(self.cells, cells)
        return box_around(self.boxes[here]), [
            KINDS[code] for code in np.unique(self.kinds[here]).tolist()
        ]

    def read(self, cell: int) -> pa.Table:
        """Read all rows of a fine cell."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        tables = []
        for k in range(*np.searchsorted(self.cells, [cell, cell + 1])):
            with pq.ParquetFile(self.paths[self.run[k]]) as file:
                tables.append(file.read_row_group(int(self.group[k])))
        return pa.concat_tables(tables).combine_chunks()


def open_runs(folders: Iterator[Path] | list[Path]) -> Runs:
    """Look into the runs of some folders."""
    import pyarrow.parquet as pq

    paths = [path for folder in folders for path in sorted(folder.glob("[0-9]*.parquet"))]
    rows: list[tuple[int, int, int, str, list[float], list[int]]] = []
    for run, path in enumerate(paths):
        data = pq.read_metadata(path)
        for k in range(data.num_row_groups):
            known = {
                (column := data.row_group(k).column(number)).path_in_schema: column.statistics
                for number in range(data.num_columns)
            }
            box = [
                known["bbox.xmin"].min,
                known["bbox.ymin"].min,
                known["bbox.xmax"].max,
                known["bbox.ymax"].max,
            ]
            rows.append(
                (
                    known[KEY].min >> SHIFT,
                    run,
                    k,
                    known["id"].min[:4],
                    box,
                    [known[KIND].min, known[KIND].max],
                )
            )
    rows.sort()
    table = np.array([row[:3] for row in rows], np.int64).reshape(-1, 3)
    boxes, kinds = (
        np.array([row[4] for row in rows]).reshape(-1, 4),
        np.array([row[5] for row in rows], np.int64).reshape(-1, 2),
    )
    return Runs(
        tuple(paths),
        table[:, 0],
        table[:, 1],
        table[:, 2],
        tuple(row[3] for row in rows),
        boxes,
        kinds,
    )
