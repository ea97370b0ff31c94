"""Whether a table of polygons that is read whole fits into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selion.cores import check_memory
from selion.store.address import Place

if TYPE_CHECKING:
    import pyarrow.parquet as pq

ROW = 700
"""Bytes of memory that a polygon of a few points takes while a table is read."""
BARE_ROW, PARQUET_BYTE = 350, 4.5
"""The same by a row and by each of its bytes of uncompressed GeoParquet; measured: 1,160 for rows
of 154 bytes, 3,300 for rows of 477."""


def check_rows(path: Place, rows: int) -> None:
    """Refuse a table that memory cannot hold, by the number of its polygons.

    Raises
    ------
    BadInput
        With what it takes.
    """
    _check(path, rows, rows * ROW)


def check_groups(path: Place, metadata: pq.FileMetaData, near: list[int] | None) -> None:
    """Refuse row groups of GeoParquet (None: all) that memory cannot hold.

    Raises
    ------
    BadInput
        With what they take.
    """
    wanted = range(metadata.num_row_groups) if near is None else near
    groups = [metadata.row_group(number) for number in wanted]
    rows, size = sum(one.num_rows for one in groups), sum(one.total_byte_size for one in groups)
    _check(path, rows, BARE_ROW * rows + PARQUET_BYTE * size)


def _check(path: Place, rows: int, needed: float) -> None:
    check_memory(
        needed,
        f"{path} holds {rows:,} polygons, and reading them",
        "cut a part out with 'selion query', or use a machine with more memory",
    )
