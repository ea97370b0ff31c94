"""Parquet files: polygons in the order of a Hilbert curve, and the three indexes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from selion.simulation.published.paint import Painted

SIDES = ("xmin", "ymin", "xmax", "ymax")
ADDRESS = "https://data.source.coop/ftw/global-data-2e"
BUCKET = "s3://us-west-2.opendata.source.coop/ftw/global-data-2e"
ORDER = 16
"""Bits of each coordinate along the Hilbert curve."""
Box = tuple[float, float, float, float]


def geo_metadata(
    box: Box, *, kinds: Sequence[str] = ("Polygon", "MultiPolygon"), covering: bool = True
) -> bytes:
    """Return GeoParquet's metadata for a column ``geometry`` in EPSG:4326."""
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": list(kinds),
        "crs": json.loads(CRS("EPSG:4326").to_json()),
        "bbox": list(box),
    }
    if covering:
        column["covering"] = {"bbox": {side: ["bbox", side] for side in SIDES}}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    return json.dumps(geo).encode()


def box_of(shapes: Sequence[Any]) -> Box:
    """Return the box round all shapes."""
    return tuple(float(side) for side in shapely.total_bounds(list(shapes)))  # type: ignore[return-value]


def box_column(shapes: Sequence[Any]) -> pa.Array:
    """Return the boxes of shapes as a struct column."""
    sides = shapely.bounds(list(shapes)).reshape(-1, 4)
    return pa.StructArray.from_arrays(
        [pa.array(sides[:, k]) for k in range(4)],
        fields=[pa.field(side, pa.float64()) for side in SIDES],
    )


def hilbert(shapes: Sequence[Any]) -> np.ndarray:
    """Return the order of shapes along a Hilbert curve through the middles of their boxes."""
    sides = shapely.bounds(list(shapes)).reshape(-1, 4)
    x, y = (sides[:, 0] + sides[:, 2]) / 2, (sides[:, 1] + sides[:, 3]) / 2
    low = np.array([x.min(), y.min()]) if len(x) else np.zeros(2)
    span = max(float(np.ptp(x)), float(np.ptp(y)), 1e-6) if len(x) else 1.0
    most = 2**ORDER - 1
    column = np.minimum((x - low[0]) / span * most, most).astype(np.int64)
    row = np.minimum((y - low[1]) / span * most, most).astype(np.int64)
    index = np.zeros(len(x), np.int64)
    for bit in range(ORDER - 1, -1, -1):
        right, up = (column >> bit) & 1, (row >> bit) & 1
        index = 4 * index + ((3 * right) ^ up)
        turned = up == 0
        flip = turned & (right == 1)
        mask = (1 << bit) - 1
        column, row = column & mask, row & mask
        column, row = np.where(flip, mask - column, column), np.where(flip, mask - row, row)
        column, row = np.where(turned, row, column), np.where(turned, column, row)
    return np.argsort(index, kind="stable")


def write_table(
    path: Path, table: pa.Table, metadata: Mapping[str, bytes], rows: int, codec: str = "zstd"
) -> None:
    """Write a Parquet file of row groups of at most ``rows``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = table.replace_schema_metadata(dict(metadata))
    pq.write_table(
        table, path, compression=codec, row_group_size=max(rows, 1), write_page_index=True
    )


def write_raster_indexes(folder: Path, painted: Sequence[Painted]) -> None:
    """Write ``index/raster.parquet`` and ``index/raster-lite.parquet``."""
    rows = sorted(painted, key=lambda one: (one.year, one.tile.key))
    places = [f"raster/{one.year}/{one.tile.place}/{one.tile.key}.tif" for one in rows]
    boxes = np.array([one.box for one in rows]).reshape(-1, 4)
    shapes = shapely.box(*boxes.T)
    columns = {
        "year": pa.array([one.year for one in rows], pa.int64()),
        "tile_key": pa.array([one.tile.key for one in rows], pa.string()),
        "epsg": pa.array([one.tile.epsg for one in rows], pa.int64()),
        "href": pa.array([f"{ADDRESS}/{place}" for place in places]),
        "s3_href": pa.array([f"{BUCKET}/{place}" for place in places]),
        "size_bytes": pa.array([one.size for one in rows], pa.int64()),
        "field_frac": pa.array([one.field_frac for one in rows]),
        "boundary_frac": pa.array([one.boundary_frac for one in rows]),
        "cropland_frac": pa.array([one.cropland_frac for one in rows]),
        **{side: pa.array(boxes[:, k]) for k, side in enumerate(SIDES)},
        "geometry": pa.array(shapely.to_wkb(shapes).tolist(), pa.binary()),
    }
    geo = geo_metadata(box_of(shapes), kinds=("Polygon",), covering=False)
    write_table(folder / "index" / "raster.parquet", pa.table(columns), {"geo": geo}, 2**20)
    order = np.lexsort(([one.year for one in rows], [one.tile.key for one in rows]))
    lite = {
        "year": pa.array([rows[k].year for k in order], pa.int16()),
        "tile_key": pa.array([rows[k].tile.key for k in order], pa.string()),
        "epsg": pa.array([rows[k].tile.epsg for k in order], pa.int32()),
        **{
            side: pa.array(outward(boxes[order, k], up=side.endswith("max")))
            for k, side in enumerate(SIDES)
        },
    }
    pq.write_table(
        pa.table(lite),
        folder / "index" / "raster-lite.parquet",
        compression="zstd",
        write_statistics=False,
    )


def outward(values: np.ndarray, *, up: bool) -> np.ndarray:
    """Return float32 numbers that are not below (``up``), or not above, the given ones."""
    single = values.astype(np.float32)
    wrong = single < values if up else single > values
    end = np.float32(np.inf if up else -np.inf)
    rounded: np.ndarray = np.where(wrong, np.nextafter(single, end), single)
    return rounded


def write_vector_index(folder: Path, files: Sequence[tuple[int, int]]) -> None:
    """Write ``index/vector.parquet`` of the zone files (year, zone)."""
    rows = []
    for year, zone in sorted(files):
        place = f"vector/{year}/zone={zone:02}/utm{zone:02}.parquet"
        table = pq.read_table(folder / place, columns=["bbox", "metrics:area"])
        sides = table["bbox"].combine_chunks()
        box = [
            float((np.min if side.endswith("min") else np.max)(sides.field(side).to_numpy()))
            for side in SIDES
        ]
        rows.append(
            {
                "year": year,
                "zone": zone,
                "href": f"{ADDRESS}/{place}",
                "s3_href": f"{BUCKET}/{place}",
                "size_bytes": (folder / place).stat().st_size,
                "n_parcels": table.num_rows,
                "area_km2": float(table["metrics:area"].to_numpy().astype(np.float64).sum()) / 1e6,
                **dict(zip(SIDES, box, strict=True)),
                "geometry": shapely.to_wkb(shapely.box(*box)),
            }
        )
    boxes = [[row[side] for side in SIDES] for row in rows]
    whole = tuple(np.min(boxes, 0)[:2].tolist() + np.max(boxes, 0)[2:].tolist())
    geo = geo_metadata(whole, kinds=("Polygon",), covering=False)
    write_table(
        folder / "index" / "vector.parquet", pa.Table.from_pylist(rows), {"geo": geo}, 2**20
    )
