"""The files of the published layout: one a UTM zone and year, and the index of them.

Names, columns and types are those of the second edition of the Fields of The World's global map
(github.com/fieldsoftheworld/ftw-global-data-catalog, 2026), so that what reads theirs reads ours.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import store
from selion.country.row_groups import RowGroupWriter
from selion.errors import BadInput
from selion.fields.schema import FIBOA, METRICS, VECOREL, Origin
from selion.store.vectors import SIDES, Bbox, box_around

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (
    "id",
    "collection",
    "geometry",
    "bbox",
    "metrics:area",
    "metrics:perimeter",
    "score",
    "determination:datetime",
    "determination:method",
)
GROUP = 8192
"""Rows per row group, as the edition has it (16,384 are allowed)."""
CRS_NAME = "EPSG:4326"
CUSTOM = "https://vecorel.org/sdl/v0.2.0/schema.json"
SCORE = "Mean probability of the field's pixels x 100, rounded (0 to 100); not calibrated."


def zone_name(zone: int) -> str:
    """Return the place of a zone's file in the folder of its year.

    Examples
    --------
    >>> zone_name(7)
    'zone=07/utm07.parquet'
    """
    return f"zone={zone:02}/utm{zone:02}.parquet"


@dataclass(frozen=True, slots=True)
class ZoneFile:
    """One file."""

    year: int
    zone: int
    bytes: int
    rows: int
    area: float
    """m2 of its fields."""
    box: Bbox
    """Longitude and latitude around its fields, which may reach out of the zone."""


def zone_schema() -> pa.Schema:
    """Return the nine columns with their types."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("collection", pa.string(), nullable=False),
            pa.field("geometry", pa.binary(), nullable=False),
            pa.field("bbox", pa.struct([pa.field(side, pa.float64()) for side in SIDES])),
            pa.field("metrics:area", pa.float32()),
            pa.field("metrics:perimeter", pa.float32()),
            pa.field("score", pa.uint8()),
            pa.field("determination:datetime", pa.timestamp("ms", tz="UTC")),
            pa.field("determination:method", pa.string()),
        ]
    )


def zone_writer(path: Path, origin: Origin, box: Bbox, kinds: list[str]) -> RowGroupWriter:
    """Return what writes the file of one zone, of rows that :func:`zone_rows` made.

    Parameters
    ----------
    path : path
        A name that the caller makes final.
    origin : Origin
    box : (west, south, east, north)
        Around all fields.
    kinds : list of str
        Types of their geometry.
    """
    options = {
        "compression_level": 9,
        "use_dictionary": ["collection", "determination:datetime", "determination:method"],
    }
    return RowGroupWriter(
        path, zone_schema().with_metadata(_zone_metadata(origin, box, kinds)), options, GROUP
    )


def zone_rows(table: pa.Table, origin: Origin, year: int, score: str | None = None) -> pa.Table:
    """Turn rows of a merge into the nine columns.

    Parameters
    ----------
    table : pa.Table
    origin : Origin
    year : int
        Where a field's own time is not known, it is the first of January of this year: so the
        second edition has it for all.
    score : str, optional
        The column that says how sure they are; None: they have no score.
    """
    import pyarrow as pa

    schema, count = zone_schema(), len(table)
    boxes = table["bbox"].combine_chunks()
    values = {
        "id": table["id"],
        "collection": pa.array([origin.collection] * count),
        "geometry": table["geometry"],
        "bbox": pa.StructArray.from_arrays(
            [boxes.field(side) for side in SIDES], fields=list(schema.field("bbox").type)
        ),
        "metrics:area": table["metrics:area"],
        "metrics:perimeter": table["metrics:perimeter"],
        "score": pa.nulls(count, pa.uint8()) if score is None else scores(table[score]),
        "determination:datetime": _times(table, schema, year),
        "determination:method": pa.array([origin.method] * count),
    }
    return pa.table(
        [column.cast(kind.type) for column, kind in zip(values.values(), schema, strict=True)],
        schema=schema,
    )


def _times(table: pa.Table, schema: pa.Schema, year: int) -> Any:
    """Return when each field was determined."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = schema.field("determination:datetime").type
    first = pa.scalar(np.datetime64(f"{year}-01-01", "ms").astype(np.int64).item(), kind)
    if "determination:datetime" not in table.column_names:
        return pa.array([first.as_py()] * len(table), kind)
    return pc.fill_null(table["determination:datetime"], first)


def _zone_metadata(origin: Origin, box: Bbox, kinds: list[str]) -> dict[str, str]:
    geo = _geo(box, kinds)
    geo["columns"]["geometry"] |= {
        "orientation": "counterclockwise",
        "covering": {"bbox": {side: ["bbox", side] for side in SIDES}},
    }
    name = origin.collection
    collection: dict[str, Any] = {
        "schemas": {name: [VECOREL, METRICS, FIBOA]},
        "collection": name,
    }
    if origin.details:
        collection["determination:details"] = origin.details
    collection["schemas:custom"] = {
        "$schema": CUSTOM,
        "properties": {"score": {"type": "uint8", "description": SCORE}},
    }
    if origin.provenance:
        collection["selion:provenance"] = dict(origin.provenance)
    return {"geo": json.dumps(geo), "collection": json.dumps(collection)}


def scores(values: pa.ChunkedArray) -> pa.Array:
    """Return (n,) shares of 0 to 1, or whole numbers of 0 to 100, as uint8; NaN is none.

    Raises
    ------
    BadInput
        If whole numbers go beyond 100.
    """
    import pyarrow as pa

    whole = pa.types.is_integer(values.type)
    found = values.to_numpy(zero_copy_only=False).astype(np.float64)
    known = np.isfinite(found)
    if whole and known.any() and not (found[known].min() >= 0 and found[known].max() <= 100):
        raise BadInput(
            f"The column score has values from {found[known].min():g} to {found[known].max():g}; "
            "wanted are whole numbers of 0 to 100."
        )
    share = np.where(known, found, 0) * (1 if whole else 100)
    rounded = np.clip(np.floor(share + 0.5), 0, 100).astype(np.uint8)
    return pa.array(rounded, mask=~known)


def _geo(box: Bbox, kinds: list[str]) -> dict[str, Any]:
    from pyproj import CRS

    column = {
        "encoding": "WKB",
        "geometry_types": kinds,
        "crs": CRS(CRS_NAME).to_json_dict(),
        "bbox": list(box),
    }
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def index_schema() -> pa.Schema:
    """Return the columns of the index."""
    import pyarrow as pa

    number, text = pa.int64(), pa.string()
    columns: list[tuple[str, pa.DataType]] = [
        ("year", number),
        ("zone", number),
        ("href", text),
        ("s3_href", text),
        ("size_bytes", number),
        ("n_parcels", number),
        ("area_km2", pa.float64()),
        *((side, pa.float64()) for side in SIDES),
        ("geometry", pa.binary()),
    ]
    return pa.schema(columns)


def read_index(path: Path) -> list[dict[str, Any]]:
    """Read the rows of an index; none where there is no file."""
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist() if path.is_file() else []


def write_zone_index(
    path: Path, others: list[dict[str, Any]], zones: list[ZoneFile], bases: dict[str, str]
) -> None:
    """Write the index: rows of other years, and those of some files.

    ``bases`` are addresses of the folder by column, ``href`` and ``s3_href``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    import shapely

    rows = list(others)
    for zone in zones:
        place = f"vector/{zone.year}/{zone_name(zone.zone)}"
        rows.append(
            {
                "year": zone.year,
                "zone": zone.zone,
                "href": bases.get("href", "") + place,
                "s3_href": bases["s3_href"] + place if "s3_href" in bases else None,
                "size_bytes": zone.bytes,
                "n_parcels": zone.rows,
                "area_km2": zone.area / 1e6,
                **dict(zip(SIDES, zone.box, strict=True)),
                "geometry": shapely.to_wkb(shapely.box(*zone.box)),
            }
        )
    rows.sort(key=lambda row: (row["year"], row["zone"]))
    boxes = np.array([[row[side] for side in SIDES] for row in rows]).reshape(-1, 4)
    geo = _geo(box_around(boxes) if rows else (0.0, 0.0, 0.0, 0.0), ["Polygon"])
    table = pa.Table.from_pylist(rows, schema=index_schema())
    path.parent.mkdir(parents=True, exist_ok=True)
    with store.atomic_write(path, force=True) as temporary:
        pq.write_table(
            table.replace_schema_metadata({"geo": json.dumps(geo)}), temporary, compression="zstd"
        )
