"""Tables of fields as an edition publishes them: nine columns, a file for each zone in a hive
folder, and the index of all; written with pyarrow alone.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

SIDES = ("xmin", "ymin", "xmax", "ymax")
STEP, SIZE = 0.01, 0.008
"""Degrees from field to field, and along one."""


def squares(west, south, columns, rows):
    """Return (n, 4) boxes, row by row from the south-west."""
    x, y = (
        v.ravel()
        for v in np.meshgrid(west + STEP * np.arange(columns), south + STEP * np.arange(rows))
    )
    return np.column_stack([x, y, x + SIZE, y + SIZE])


def write_zone(path, boxes, zone, *, year=2025, group=100, seed=0):
    """Write a zone's file; return its scores."""
    rng = np.random.default_rng(seed)
    score = rng.integers(20, 100, len(boxes)).astype(np.uint8)
    geod = CRS("EPSG:4326").get_geod()
    shapes = shapely.box(*boxes.T, ccw=True)
    _, first, same = np.unique(boxes[:, 1], return_index=True, return_inverse=True)
    sizes = np.array([geod.geometry_area_perimeter(shapes[k]) for k in first])[same]
    count = len(boxes)
    moment = datetime(year, 12, 31, tzinfo=UTC)
    sides = [pa.array(boxes[:, k]) for k in range(4)]
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": ["Polygon", "MultiPolygon"],
                "crs": json.loads(CRS("EPSG:4326").to_json()),
                "bbox": [*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist()],
                "covering": {"bbox": {side: ["bbox", side] for side in SIDES}},
            }
        },
    }
    collection = {"schemas": {f"ftw-s2-{year}": []}, "collection": f"ftw-s2-{year}"}
    table = pa.table(
        {
            "id": [f"{zone}TEK_0_0-{k}" for k in range(count)],
            "collection": [f"ftw-s2-{year}"] * count,
            "geometry": pa.array(shapely.to_wkb(shapes), pa.binary()),
            "bbox": pa.StructArray.from_arrays(sides, names=list(SIDES)),
            "metrics:area": sizes[:, 0].astype(np.float32),
            "metrics:perimeter": sizes[:, 1].astype(np.float32),
            "score": score,
            "determination:datetime": pa.array([moment] * count, pa.timestamp("ms", tz="UTC")),
            "determination:method": ["auto-imagery"] * count,
        }
    ).replace_schema_metadata({"geo": json.dumps(geo), "collection": json.dumps(collection)})
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group, compression="zstd")
    return score


def write_index(path, rows):
    """Write ``index/vector.parquet``: rows are (year, zone, href, s3_href, size, count, box)."""
    years, zones, hrefs, stores, sizes, counts, boxes = zip(*rows, strict=True)
    sides = [pa.array([float(box[k]) for box in boxes]) for k in range(4)]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "year": pa.array(years, pa.int16()),
            "zone": list(zones),
            "href": list(hrefs),
            "s3_href": list(stores),
            "size_bytes": list(sizes),
            "n_parcels": list(counts),
            "bbox": pa.StructArray.from_arrays(sides, names=list(SIDES)),
        }
    )
    pq.write_table(table, path)
