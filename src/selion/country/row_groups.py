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
HELD = 5
"""Row groups that are held back until the end is known: from 51,200 rows on the rest is shared out
among groups of 10,240 to 12,288 rows, and none is small."""


@dataclass
class RowGroupWriter:
    """Write a table of fields, :data:`ROWS` rows at a time or a few more.

    The last group is no smaller than the others, except in a table of fewer rows.  The name is one
    that the caller makes final; rows must come in their final order.
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
        count = max(1, rows // ROWS)
        return [(rows + k) // count for k in range(count)] if rows else []
