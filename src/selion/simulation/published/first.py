"""The first edition: one Zarr of probabilities in degrees, and two sets of polygons."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS

from selion import store
from selion.simulation.published.nouns import CopyOptions
from selion.simulation.published.paint import paint
from selion.simulation.published.places import Place, lonlat_box
from selion.simulation.published.plan import LONLAT, Parcel, Planting, moved
from selion.simulation.published.tables import (
    box_column,
    box_of,
    geo_metadata,
    hilbert,
    write_table,
)

YEARS = (2024, 2025)
PIXEL_DEG, WEST, NORTH = 8.983119e-5, -180.0, 83.748345
"""Degrees of a pixel, and the upper left corner of the whole grid."""
FINE = 4
"""The map is painted on pixels this much smaller, and averaged."""
SHARD, CHUNK = 128, 64
"""Pixels; 8192 and 2048 in the edition."""
BANDS = ("non_field_background", "field", "field_boundaries")
LABEL_BYTES = 80
CONFIDENT = 0.578178
"""Raw confidence that counts as 100."""
COUNTRIES = {
    "plain": ("DE", "SN", "BB"),
    "seam": ("DE", "BW", "BY"),
    "zones": ("DE", "BY", "SN"),
    "equator": ("GH", "CP", "WP"),
    "norway": ("NO", "46", "11"),
    "strip": ("NZ", "CAN", "MBH"),
}
"""Country, western and eastern subdivision."""
ROWS = 64
"""Largest row group."""


def write_first(folder: Path, plan: Planting, place: Place, options: CopyOptions) -> None:
    """Write both products for the years that the edition has, of those that were asked for."""
    years = [year for year in options.years if year in YEARS]
    if not years:
        return
    grid = window(plan, place)
    parts = []
    for year in years:
        fine = grid.zoom_out(1 / FINE)
        scores = paint(plan, fine, year, [options.seed, 7, year])[0]
        height, width = grid.shape
        mean = scores.reshape(2, height, FINE, width, FINE).mean((2, 4))
        parts.append(np.stack([1 - mean.sum(0), mean[0], mean[1]]).astype(np.float32))
    write_cube(folder / "predictions" / "zarr" / "alpha" / "global.zarr", grid, years, parts)
    vectors = folder / "predictions" / "vectors" / "alpha"
    for number, year in enumerate(years):
        name = f"part-{number:05}-{options.seed:08x}.c000.snappy.parquet"
        _write_raw(vectors / "results" / name, plan, year)
    _write_admin(vectors / "results-by-admin-conf", plan, options, years)


def window(plan: Planting, place: Place) -> GeoBox:
    """Return the pixels of the global grid that hold the fields."""
    west, south, east, north = lonlat_box(place.planted, plan.crs)
    left = math.floor((west - WEST) / PIXEL_DEG)
    top = math.floor((NORTH - north) / PIXEL_DEG)
    width = math.ceil((east - WEST) / PIXEL_DEG) - left
    height = math.ceil((NORTH - south) / PIXEL_DEG) - top
    at = Affine(PIXEL_DEG, 0, WEST + left * PIXEL_DEG, 0, -PIXEL_DEG, NORTH - top * PIXEL_DEG)
    return GeoBox((height, width), at, LONLAT)


def write_cube(
    folder: Path, grid: GeoBox, years: Sequence[int], parts: Sequence[np.ndarray]
) -> None:
    """Write a Zarr v3 group: ``variables`` (time, band, y, x) and its coordinates.

    The array reaches one shard further east than anything was predicted; there it holds the fill
    value, NaN, and no bytes.
    """
    height, width = grid.shape
    shape = (len(years), len(BANDS), height, width + SHARD)
    transform = grid.transform
    folder.mkdir(parents=True)
    attributes = {
        "Conventions": "CF-1.8",
        "proj:code": LONLAT,
        "spatial:dimensions": ["y", "x"],
        "spatial:transform": list(transform[:6]),
        "spatial:shape": [shape[2], shape[3]],
    }
    _note(folder, {"zarr_format": 3, "node_type": "group", "attributes": attributes})
    for k, values in enumerate(parts):
        _write_shards(folder / "variables", k, values)
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}]
    packed = [*codecs, {"name": "zstd", "configuration": {"level": 0, "checksum": False}}]
    sharding = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [1, len(BANDS), CHUNK, CHUNK],
            "codecs": packed,
            "index_codecs": codecs,
            "index_location": "end",
        },
    }
    described = _array(
        shape,
        (1, len(BANDS), SHARD, SHARD),
        ("float32", "NaN", [sharding]),
        ("time", "band", "y", "x"),
        {"grid_mapping": "spatial_ref"},
    )
    _note(folder / "variables", described)
    days = [
        (datetime(year, 1, 1, tzinfo=UTC) - datetime(2024, 1, 1, tzinfo=UTC)).days for year in years
    ]
    centres = {
        "x": transform.c + transform.a * (np.arange(shape[3]) + 0.5),
        "y": transform.f + transform.e * (np.arange(shape[2]) + 0.5),
    }
    for name, values in centres.items():
        _coordinate(folder / name, values, "float64", (name,), {"axis": name.upper()}, packed)
    since = {"units": "days since 2024-01-01", "calendar": "proleptic_gregorian"}
    _coordinate(folder / "time", np.array(days, np.int64), "int64", ("time",), since, packed)
    texts = np.array(BANDS, f"<U{LABEL_BYTES // 4}")
    kind = {"name": "fixed_length_utf32", "configuration": {"length_bytes": LABEL_BYTES}}
    _coordinate(folder / "band", texts, kind, ("band",), {}, packed)
    a, b, c, d, e, f = transform[:6]
    told = {"crs_wkt": CRS(LONLAT).to_wkt(), "GeoTransform": f"{c} {a} {b} {f} {d} {e}"}
    _coordinate(folder / "spatial_ref", np.array(0, np.int64), "int64", (), told, packed)


def _array(
    shape: Sequence[int],
    chunk: Sequence[int],
    kind: tuple[Any, Any, list[Any]],
    dimensions: Sequence[str],
    attributes: dict[str, Any],
) -> dict[str, Any]:
    data_type, fill, codecs = kind
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": codecs,
        "attributes": attributes,
        "dimension_names": list(dimensions),
        "storage_transformers": [],
    }


def _note(folder: Path, document: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "zarr.json").write_text(json.dumps(document, indent=1), "utf-8")


def _coordinate(
    folder: Path,
    values: np.ndarray,
    kind: Any,
    dimensions: Sequence[str],
    attributes: dict[str, Any],
    codecs: list[Any],
) -> None:
    fill: Any = "" if values.dtype.kind == "U" else 0
    told = _array(values.shape, values.shape, (kind, fill, codecs), dimensions, attributes)
    _note(folder, told)
    chunk = folder.joinpath("c", *("0" for _ in values.shape))
    chunk.parent.mkdir(parents=True, exist_ok=True)
    flat = np.ascontiguousarray(values).reshape(-1)
    chunk.write_bytes(store.pack(flat.view(np.uint8)))


def _write_shards(folder: Path, time: int, values: np.ndarray) -> None:
    """Write the shards of one time: inner chunks, then where each begins and how long it is."""
    height, width = values.shape[1:]
    for row in range(0, height, SHARD):
        for column in range(0, width, SHARD):
            content, index = b"", []
            for y in range(row, row + SHARD, CHUNK):
                for x in range(column, column + SHARD, CHUNK):
                    part = values[:, y : y + CHUNK, x : x + CHUNK]
                    if not part.size:
                        index += [2**64 - 1, 2**64 - 1]
                        continue
                    chunk = np.full((len(BANDS), CHUNK, CHUNK), np.nan, np.float32)
                    chunk[:, : part.shape[1], : part.shape[2]] = part
                    packed = store.pack(chunk)
                    index += [len(content), len(packed)]
                    content += packed
            path = folder / "c" / str(time) / "0" / str(row // SHARD) / str(column // SHARD)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content + np.array(index, "<u8").tobytes())


def _write_raw(path: Path, plan: Planting, year: int) -> None:
    """Write the polygons of all three classes, as Spark does: without a CRS."""
    seen = plan.seen(year)
    inner = [one.outline.buffer(-4.0, join_style="mitre") for one in seen]
    rings = [
        one.outline.buffer(2.0, join_style="mitre").difference(inside)
        for one, inside in zip(seen, inner, strict=True)
    ]
    land = shapely.box(*box_of([one.outline for one in seen]))
    rest = land.difference(shapely.union_all([*inner, *rings]))
    rest = [part for part in shapely.get_parts(rest) if part.area > 100]
    labels = [BANDS[1]] * len(inner) + [BANDS[2]] * len(rings) + [BANDS[0]] * len(rest)
    shapes = moved([*inner, *rings, *rest], plan.crs, LONLAT)
    order = hilbert(shapes)
    shapes = [shapes[k] for k in order]
    table = pa.table(
        {
            "geometry": pa.array(shapely.to_wkb(shapes).tolist(), pa.binary()),
            "time": pa.array([datetime(year, 1, 1)] * len(shapes), pa.timestamp("ns")),  # noqa: DTZ001 - theirs has no zone
            "label": pa.array([labels[k] for k in order], pa.string()),
            "bbox": box_column(shapes),
        }
    )
    geo = json.loads(geo_metadata(box_of(shapes)))
    geo["columns"]["geometry"]["crs"] = None
    write_table(path, table, {"geo": json.dumps(geo).encode()}, ROWS, "snappy")


def _confidences(seen: Sequence[Parcel], rng: np.random.Generator) -> list[float | None]:
    """Return confidences from 0 to 100; a few are unknown."""
    raw = np.array([one.likely for one in seen]) * 0.62 + rng.normal(0, 0.03, len(seen))
    scaled = np.clip(raw / CONFIDENT * 100 - 10, 0, 100)
    unknown = rng.random(len(seen)) < 0.04
    return [None if gone else float(value) for gone, value in zip(unknown, scaled, strict=True)]


def _write_admin(folder: Path, plan: Planting, options: CopyOptions, years: Sequence[int]) -> None:
    """Write one file per subdivision.

    Fields on their border lie in both, ids begin anew each year, and the box that the eastern file
    tells of itself is wrong.
    """
    country, *parts = COUNTRIES[options.scene]
    border = 0.1 * options.step
    rows: list[tuple[Parcel, int, int, float | None]] = []
    for year in years:
        rng = np.random.default_rng([options.seed, 8, year])
        seen = plan.seen(year)
        confidences = _confidences(seen, rng)
        rows += [
            (one, year, k, confidence)
            for k, (one, confidence) in enumerate(zip(seen, confidences, strict=True))
        ]
    for side, part in enumerate(parts):
        boxes = [one.outline.bounds for one, *_ in rows]
        kept = [
            row
            for row, box in zip(rows, boxes, strict=True)
            if (box[2] > border if side else box[0] < border)
        ]
        if kept:
            place = folder / f"admin:country_code={country}" / f"{country}_{part}.parquet"
            _write_part(place, plan, kept, (country, part), wrong=bool(side))


def _write_part(
    path: Path,
    plan: Planting,
    rows: Sequence[tuple[Parcel, int, int, float | None]],
    admin: tuple[str, str],
    *,
    wrong: bool,
) -> None:
    outlines = [one.outline.buffer(-3.0, join_style="mitre") for one, *_ in rows]
    shapes = moved(outlines, plan.crs, LONLAT)
    order = hilbert(shapes)
    rows, shapes = [rows[k] for k in order], [shapes[k] for k in order]
    outlines = [outlines[k] for k in order]
    when = [datetime(year, 1, 1, tzinfo=UTC) for _, year, *_ in rows]
    count = len(rows)
    table = pa.table(
        {
            "id": pa.array([str(number) for _, _, number, _ in rows]),
            "geometry": pa.array(shapely.to_wkb(shapes).tolist(), pa.binary()),
            "bbox": box_column(shapes),
            "metrics:area": pa.array([one.area for one in outlines], pa.float32()),
            "metrics:perimeter": pa.array([one.length for one in outlines], pa.float32()),
            "determination:datetime": pa.array(when, pa.timestamp("ms", tz="UTC")),
            "determination:method": pa.array(["auto-imagery"] * count),
            "admin:country_code": pa.array([admin[0]] * count),
            "admin:subdivision_code": pa.array([f"{admin[0]}-{admin[1]}"] * count),
            "confidence": pa.array([confidence for *_, confidence in rows], pa.float64()),
        }
    )
    box = (-70.0, -40.0, -69.0, -39.0) if wrong else box_of(shapes)
    write_table(path, table, {"geo": geo_metadata(box)}, ROWS)
