"""Tables of polygons, read as far as memory can hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.cores import check_memory
from selion.errors import BadInput, UnreadableFile
from selion.store.address import Place

if TYPE_CHECKING:
    import geopandas
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

ROW = 700
"""Bytes of memory that a polygon of a few points takes while a table is read."""
BARE_ROW, PARQUET_BYTE = 350, 4.5
"""The same by a row and by each of its bytes of uncompressed GeoParquet; measured: 1,160 for rows
of 154 bytes, 3,300 for rows of 477."""

CORNER, MOST_CORNERS = 16, 2_000_000
"""Bytes of a corner in WKB, and the most that the outline of a field may have: some 200 bytes of
memory each are taken while it is cut, measured or drawn."""


def check_rows(path: Place, rows: int) -> None:
    """Refuse a table that memory cannot hold, by the number of its polygons.

    Raises
    ------
    BadInput
        With what it takes.
    """
    _check(path, rows, rows * ROW)


def read_whole(path: Place, file: pq.ParquetFile) -> pa.Table:
    """Read GeoParquet if memory can hold it.

    Raises
    ------
    BadInput
        If it cannot, with what it takes.
    """
    data = file.metadata
    size = sum(data.row_group(k).total_byte_size for k in range(data.num_row_groups))
    _check(path, data.num_rows, BARE_ROW * data.num_rows + PARQUET_BYTE * size)
    return file.read()


def read_kept(
    path: Place, file: pq.ParquetFile, groups: Sequence[int], where: pc.Expression
) -> pa.Table:
    """Read the rows of some row groups that a filter keeps, as long as memory can hold them.

    Raises
    ------
    BadInput
        If it cannot, with what they take.
    """
    import pyarrow as pa

    kept, rows, size = [file.schema_arrow.empty_table()], 0, 0
    for group in groups:
        _check_kept(path, rows, size, file.metadata.row_group(group).total_byte_size)
        kept.append(file.read_row_group(group).filter(where))
        rows, size = rows + len(kept[-1]), size + kept[-1].nbytes
    _check_kept(path, rows, size)
    return pa.concat_tables(kept)


def check_held(table: pa.Table, name: str) -> None:
    """Refuse a table with what no field has: outlines without end, texts that are none.

    A column of outlines that holds none is no matter of this: who decodes them says so.

    Raises
    ------
    BadInput
        If an outline has more than :data:`MOST_CORNERS` by its bytes of WKB; ``name`` is that of
        the table.
    UnreadableFile
        If a text is no UTF-8.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for column in table.column_names:
        kind = table.schema.field(column).type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            try:
                table[column].validate(full=True)
            except pa.ArrowInvalid as error:
                raise UnreadableFile(
                    f"{name} holds a text in column {column!r} that is none ({error}): it is "
                    "damaged; write it again."
                ) from error
    kind = table.schema.field("geometry").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return
    sizes = np.nan_to_num(pc.binary_length(table["geometry"]).to_numpy()) // CORNER
    _refuse_corners(sizes, table["id"] if "id" in table.column_names else None, name)


def check_corners(frame: geopandas.GeoDataFrame, name: str) -> None:
    """Refuse fields that were read, of which one has an outline without end.

    Raises
    ------
    BadInput
        If it has more than :data:`MOST_CORNERS`; ``name`` is that of the table.
    """
    import shapely

    if not hasattr(frame, "geometry"):  # a table of numbers: who wants outlines says so
        return
    corners = shapely.get_num_coordinates(frame.geometry.to_numpy())
    _refuse_corners(corners, frame["id"].array if "id" in frame else None, name)


def _refuse_corners(corners: np.ndarray, ids: Any, name: str) -> None:
    """Refuse (BadInput) outlines, by the corners (n,) that each has."""
    if len(corners) and (most := int(corners.max())) > MOST_CORNERS:
        row = int(corners.argmax())
        known = f"of row {row}" if ids is None else str(ids[row])
        raise BadInput(
            f"{name} holds the field {known} of some {most:,} corners, and at most "
            f"{MOST_CORNERS:,} are taken: it is no field; leave it out, or simplify it."
        )


def _check_kept(path: Place, rows: int, size: int, coming: int = 0) -> None:
    """Refuse rows that are held, of so many bytes, with those of the row group that comes."""
    # their own bytes are taken already
    _check(path, rows, BARE_ROW * rows + (PARQUET_BYTE - 1) * size + coming)


def _check(path: Place, rows: int, needed: float) -> None:
    check_memory(
        needed,
        f"{path} holds {rows:,} polygons, and reading them",
        "cut a part out with 'selion query', or use a machine with more memory",
    )
