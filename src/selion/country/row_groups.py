"""GeoParquet written one row group at a time, of rows that come in their final order."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 10_240
"""Rows of a row group at least, where the table has as many: what a reader fetches.  GeoParquet's
own recommendation is 10,000 to 200,000."""
HELD = 10
"""Row groups that are held back until the end is known: from 102,400 rows on the rest is shared out
among groups of 10,240 to 12,288 rows, and none is small; a table that ends before has its rows
parted by place."""
ALONE = 3
"""Row groups below which a table has one: the boxes of two lie over each other, and nobody who
looks for a place is spared either."""


@dataclass
class RowGroupWriter:
    """Write a table of fields, :data:`ROWS` rows at a time or a few more.

    The last group is no smaller than the others, except in a table of fewer rows.  The name is one
    that the caller makes final; rows must come in the order of a curve through their places.

    A few pieces of such a curve may each reach over all of the land, depending on where it lies on
    the globe: the rows of a table with boxes that is held whole are parted into compact groups of
    like size instead, in each of which they keep their order.
    """

    path: Path
    schema: pa.Schema
    """Columns, and metadata of the file: box and types of geometry are those of all rows, for
    readers want these in front."""
    options: dict[str, Any]
    """Of compression, for ``pyarrow.parquet.ParquetWriter``."""
    size: int | None = None
    """Rows of each group, the last one with what is left; None: see above."""
    waiting: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    area: float = 0.0
    """m2 of all fields."""
    begun: bool = False
    """Whether a row group is written."""

    def __enter__(self) -> Self:
        import pyarrow.parquet as pq

        self.writer = pq.ParquetWriter(
            self.path, self.schema, compression="zstd", write_page_index=True, **self.options
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush(last=True)
        finally:
            self.writer.close()

    def add(self, table: pa.Table) -> None:
        """Take rows; of their columns those of the schema."""
        if len(table):
            self.waiting.append(table.select(self.schema.names))
            self.rows += len(table)
            if "metrics:area" in table.column_names:
                self.area += float(np.nansum(table["metrics:area"].to_numpy().astype(np.float64)))
            self._flush(last=False)

    def _flush(self, *, last: bool) -> None:
        import pyarrow as pa

        sizes = self._sizes(sum(map(len, self.waiting)), last=last)
        if not sizes:
            return
        table, start = pa.concat_tables(self.waiting), 0
        if last and not self.begun and len(sizes) > 1 and "bbox" in table.column_names:
            table, sizes = _compact(table, len(sizes))
        self.begun = True
        for size in sizes:
            rows = table.slice(start, size).combine_chunks()
            self.writer.write_table(rows, row_group_size=size)
            start += size
        self.waiting[:] = [table.slice(start).combine_chunks()] if start < len(table) else []

    def _sizes(self, rows: int, *, last: bool) -> list[int]:
        """Return the rows of each group that can be written now."""
        if self.size is not None:
            left = [rows % self.size] if last and rows % self.size else []
            return [self.size] * (rows // self.size) + left
        if not last:
            return [ROWS] * max(0, rows // ROWS - HELD)
        count = rows // ROWS
        count = max(1, count if self.begun or count >= ALONE else 1)
        return [(rows + k) // count for k in range(count)] if rows else []


def _compact(table: pa.Table, count: int) -> tuple[pa.Table, list[int]]:
    """Part the rows of a table by place; return it in that order, and the rows of each part."""
    import pyarrow as pa

    box = table["bbox"].combine_chunks()
    west, south, east, north = (
        box.field(side).to_numpy(zero_copy_only=False) for side in ("xmin", "ymin", "xmax", "ymax")
    )
    parts = parted((west + east) / 2, (south + north) / 2, count)
    return table.take(pa.array(np.concatenate(parts))), [len(rows) for rows in parts]


def parted(lon: np.ndarray, lat: np.ndarray, count: int) -> list[np.ndarray]:
    """Part points into groups of like size, cut across the longer side again and again.

    Parameters
    ----------
    lon, lat : (n,) float ndarray
        Degrees.
    count : int

    Returns
    -------
    list of (m,) int64 ndarray
        Positions, ascending in each; the group with the first point comes first.  Sizes differ by
        ``count`` at most.
    """

    def part(rows: np.ndarray, count: int) -> list[np.ndarray]:
        if count == 1:
            return [rows]
        wide = np.ptp(lon[rows]) * np.cos(np.radians(lat[rows].mean()))
        along = lon if wide >= np.ptp(lat[rows]) else lat
        order = rows[np.argsort(along[rows], kind="stable")]
        half = count // 2
        cut = len(rows) * half // count
        return part(np.sort(order[:cut]), half) + part(np.sort(order[cut:]), count - half)

    return sorted(
        part(np.arange(len(lon)), count), key=lambda rows: int(rows[0]) if len(rows) else 0
    )
