"""The footers of GeoParquet files, and the reading of single row groups.

Nothing that they say is believed before it is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import UnreadableFile
from selion.store.address import Place, place_state
from selion.store.parquet import SIDES, parquet_file

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

LARGEST = 1 << 30
"""Bytes that one row group may say it has; a file with larger ones is refused."""
MOST_COLUMNS = 10
"""Columns that travel in tiles; the record of one field has all."""
UNSHOWN = ("metrics:perimeter",)


def is_binary(kind: pa.DataType) -> bool:
    """Say whether a column can hold WKB."""
    import pyarrow as pa

    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )


def crs_of(about: Mapping[str, Any], name: str) -> str | None:
    """Return the CRS of a geometry column.

    None written is longitude and latitude, null is none at all (a photograph).
    """
    if "crs" not in about:
        return "OGC:CRS84"
    crs = about["crs"]
    return json.dumps(crs) if isinstance(crs, dict) else None if crs is None else str(name and crs)


def covering_of(about: Mapping[str, Any], schema: pa.Schema) -> str | None:
    """Return the name of the bbox column.

    What the file says, else a column of that name and form.
    """
    import pyarrow as pa

    try:
        name = str(about["covering"]["bbox"]["xmin"][0])
    except (KeyError, TypeError, IndexError, AttributeError):
        name = "bbox"
    at = schema.get_field_index(name)  # two of a name are none
    kind = schema.field(at).type if at >= 0 else None
    sides = (
        [kind.field(side).type for side in SIDES if kind.get_field_index(side) >= 0]
        if kind is not None and pa.types.is_struct(kind)
        else []
    )
    sound = len(sides) == len(SIDES) and all(pa.types.is_floating(side) for side in sides)
    return name if sound else None


def columns_of(schema: pa.Schema, geometry: str, covering: str | None) -> dict[str, str]:
    """Return which columns may travel in tiles."""
    import pyarrow as pa

    found = {}
    for column in schema:
        if column.name in (geometry, covering, "id", *UNSHOWN) or len(column.name) > 80:
            continue
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind):
            found[column.name] = "number"
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            found[column.name] = "text"
    return dict(list(found.items())[:MOST_COLUMNS])


def group_rows(metadata: Any, group: int, path: Place) -> int:
    """Return the rows of a group.

    Raises
    ------
    UnreadableFile
        If the footer has more than can be.
    """
    about = metadata.row_group(group)
    if not 0 <= about.num_rows < 1 << 31 or about.total_byte_size > LARGEST:
        raise UnreadableFile(
            f"{path.name} says that a row group has {about.num_rows:,} rows and "
            f"{about.total_byte_size:,} bytes: write it again with at most 150,000 rows each."
        )
    return int(about.num_rows)


def ranges_of(metadatas: Sequence[Any], names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest number of columns, from the footers."""
    found: dict[str, tuple[float, float]] = {}
    for metadata in metadatas:
        at = (
            {metadata.row_group(0).column(k).path_in_schema: k for k in range(metadata.num_columns)}
            if metadata.num_row_groups
            else {}
        )
        for name in names:
            statistics = [
                metadata.row_group(g).column(at[name]).statistics
                for g in range(metadata.num_row_groups if name in at else 0)
            ]
            known = [
                float(v)
                for s in statistics
                if s is not None and s.has_min_max
                for v in (s.min, s.max)
                if np.isfinite(v)
            ]
            known += found.get(name, ())
            if known:
                found[name] = (min(known), max(known))
    return found


def in_short(error: BaseException) -> str:
    """Return what a library said, in one line."""
    return " ".join(str(error).split())[:160].rstrip(". ")


@dataclass(frozen=True, eq=False)
class Footer:
    """What stands at the end of a Parquet file."""

    metadata: pq.FileMetaData
    schema: pa.Schema
    geo: Mapping[str, Any]


def read_footer(path: Place) -> Footer:
    """Read the footer of a file, or find it in memory.

    Raises
    ------
    UnreadableFile
        If it is no GeoParquet.
    """
    return _footer(path, state_of(path))


def state_of(path: Place) -> str:
    """Return what changes when a file does.

    Raises
    ------
    UnreadableFile
        If it is gone.
    """
    try:
        return place_state(path)[1]
    except OSError as error:
        raise UnreadableFile(
            f"{path.name} cannot be opened ({error.strerror}): it existed when the page was opened."
        ) from error


@lru_cache(maxsize=4096)
def _footer(path: Place, _stamp: str) -> Footer:
    import pyarrow as pa

    try:
        with parquet_file(
            path, thrift_string_size_limit=64 << 20, thrift_container_size_limit=4 << 20
        ) as file:
            schema, metadata = file.schema_arrow, file.metadata
        geo = json.loads((schema.metadata or {}).get(b"geo", b"null"))
    except (OSError, pa.ArrowException, ValueError, RecursionError) as error:
        raise UnreadableFile(
            f"{path.name} cannot be read as Parquet ({in_short(error)}): it is truncated or "
            "corrupt; copy it again."
        ) from error
    if not isinstance(geo, dict) or not isinstance(geo.get("columns"), dict):
        raise UnreadableFile(
            f"{path.name} is not GeoParquet: its metadata do not describe its geometry."
        )
    return Footer(metadata, schema, geo)


def read_groups(path: Place, groups: Sequence[int], names: Sequence[str]) -> pa.Table:
    """Read columns of row groups.

    Raises
    ------
    UnreadableFile
        If they cannot be read.
    """
    import pyarrow as pa

    footer = read_footer(path)
    try:
        with parquet_file(path, metadata=footer.metadata) as file:
            return file.read_row_groups(list(groups), columns=list(names), use_threads=False)
    except (OSError, pa.ArrowException, ValueError, MemoryError) as error:
        raise UnreadableFile(
            f"{path.name} cannot be read in row group {groups[0]} ({in_short(error)}): it is "
            "corrupt; copy it again."
        ) from error
