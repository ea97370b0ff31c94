"""GeoParquet 2.0: the same file with Parquet's own geometry type, for readers that know it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selion.errors import BadInput
from selion.store.atomic import atomic_write
from selion.store.parquet import parquet_file

if TYPE_CHECKING:
    import pyarrow as pa

VERSIONS = ("1.1", "2.0")
"""Of GeoParquet that tables are written in, the usual one first."""
NEEDED = 21
"""The first version of pyarrow that writes Parquet's type GEOMETRY."""
EXTENSION = "geoarrow.wkb"
"""Arrow's name of WKB, which pyarrow writes as GEOMETRY."""
LONLAT_NAMES = ("OGC:CRS84", "EPSG:4326")


def check_geoparquet(version: str) -> None:
    """Refuse a version of GeoParquet that cannot be written.

    Raises
    ------
    BadInput
        If it is not known, or pyarrow is too old for it.
    """
    import pyarrow as pa

    if version not in VERSIONS:
        raise BadInput(
            f"GeoParquet {version} was asked for; wanted is one of {', '.join(VERSIONS)}."
        )
    if version == "2.0" and int(pa.__version__.split(".")[0]) < NEEDED:
        raise BadInput(
            f"GeoParquet 2.0 needs pyarrow {NEEDED}.0 or later, and {pa.__version__} is installed: "
            "install a later one, or write 1.1."
        )


def make_native(path: Path) -> None:
    """Rewrite a GeoParquet 1.1 file as 2.0: the geometry as Parquet's own type, with its bounds.

    Row groups, columns and their order, compression and all other metadata stay.  Memory is a row
    group.  A file that is 2.0 already stays as it is.

    Parameters
    ----------
    path : Path
        Polygons as WKB in longitude and latitude; replaced as a whole.

    Raises
    ------
    BadInput
        If it is no GeoParquet in longitude and latitude, or pyarrow is too old.
    UnreadableFile, OutputFailed
        If it cannot be read, or written.

    References
    ----------
    GeoParquet 2.0 (geoparquet.org); Apache Parquet, LogicalTypes: GEOMETRY, whose CRS is OGC:CRS84
    where it names none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_geoparquet("2.0")
    with parquet_file(path, pre_buffer=False) as file:
        schema = file.schema_arrow
        about = dict(schema.metadata or {})
        geo = json.loads(about.get(b"geo", b"{}"))
        if geo.get("version", "").startswith("2."):
            return
        column = geo.get("columns", {}).get("geometry", {})
        if column.get("encoding") != "WKB" or _authority(column) not in LONLAT_NAMES:
            raise BadInput(
                f"{path} is no GeoParquet in longitude and latitude: write it as one first, "
                "without --crs."
            )
        geo["version"] = "2.0.0"
        about[b"geo"] = json.dumps(geo).encode()
        native, number = _native_type(), schema.get_field_index("geometry")
        named = schema.field(number)
        target = schema.set(number, pa.field("geometry", native, nullable=named.nullable))
        with (
            atomic_write(path, force=True) as temporary,
            pq.ParquetWriter(
                temporary,
                target.with_metadata(about),
                compression="zstd",
                compression_level=9,
                use_dictionary=[name for name in schema.names if name == "class"],
                write_page_index=True,
            ) as writer,
        ):
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                for rows in table.combine_chunks().to_batches():
                    shapes = pa.ExtensionArray.from_storage(native, rows["geometry"])
                    arrays = [*rows.columns[:number], shapes, *rows.columns[number + 1 :]]
                    writer.write_table(pa.Table.from_arrays(arrays, schema=writer.schema))


def _authority(column: dict[str, Any]) -> str:
    """Return the name of a column's CRS; GeoParquet's own where it says none."""
    if "crs" not in column:
        return LONLAT_NAMES[0]
    known = (column["crs"] or {}).get("id", {})
    return f"{known.get('authority')}:{known.get('code')}"


def _native_type() -> pa.ExtensionType:
    """Return Arrow's type of WKB; nobody is told of it, so that reading stays as it is."""
    import pyarrow as pa

    class Wkb(pa.ExtensionType):
        def __init__(self) -> None:
            super().__init__(pa.binary(), EXTENSION)

        def __arrow_ext_serialize__(self) -> bytes:
            return b"{}"

        @classmethod
        def __arrow_ext_deserialize__(cls, _: pa.DataType, __: bytes) -> Wkb:
            return cls()

    return Wkb()
