"""GeoParquet written one row group at a time, of rows that come in their final order."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 8192
"""Rows per row group: what a reader fetches at least."""


@dataclass
class RowGroupWriter:
    """Write a table of fields, :data:`ROWS` rows at a time.

    The name is one that the caller makes final; rows must come in their final order.
    """

    path: Path
    schema: pa.Schema
    """Columns, and metadata of the file: box and types of geometry are those of all rows, for
    readers want these in front."""
    options: dict[str, Any]
    """Of compression, for ``pyarrow.parquet.ParquetWriter``."""
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
                self._flush(1)
        finally:
            self.writer.close()

    def add(self, table: pa.Table) -> None:
        """Take rows; of their columns those of the schema."""
        if len(table):
            self.waiting.append(table.select(self.schema.names))
            self.rows += len(table)
            if "metrics:area" in table.column_names:
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
