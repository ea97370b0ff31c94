"""The published polygons, with the defects of the release that its own pages name.

Each tile's parcels are cut at the edge of its pixels, simplified one by one, filtered before they
are joined, and owned by the square that their centroid falls into, within the nominal zone of their
longitude; two of one zone and one hemisphere are joined if they share a tenth of the smaller one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from selion.simulation.published.nouns import CopiedTile, CopyOptions
from selion.simulation.published.plan import LONLAT, Planting, moved
from selion.simulation.published.tables import (
    box_column,
    box_of,
    geo_metadata,
    hilbert,
    write_table,
)

SMALLEST, LARGEST, SHARED = 900.0, 5e6, 0.1
"""Square metres, and the share of the smaller half that two must have in common to be joined."""
SWOLLEN, SIMPLIFIED = 1.0, 5.0
"""Metres by which an outline reaches over its neighbour, and of the simplification."""
ROWS = 32
"""Largest row group; 16384 in the release."""
METHOD = "auto-imagery"
BOUNDARY_VOTE = "nbg-pb-h0.01-t0.3+R35+F10+G2+A900"


@dataclass(frozen=True, slots=True)
class Piece:
    """A parcel as one tile has it."""

    tile: CopiedTile
    name: str
    number: int
    """Of the planted parcel."""
    shape: Any
    """In the tile's CRS."""
    score: float


def pieces(plan: Planting, tile: CopiedTile, year: int, options: CopyOptions) -> Iterator[Piece]:
    """Yield what a tile publishes of the parcels that it sees."""
    west, south, east, north = tile.grid.boundingbox
    window = shapely.box(west, south, east, north)
    rng = np.random.default_rng([options.seed, 6, year, *map(ord, tile.key)])
    seen = plan.seen(year)
    shapes = moved([one.outline for one in seen], plan.crs, str(tile.grid.crs))
    names = rng.permutation(len(seen))  # ids mean nothing from year to year
    for name, parcel, shape in zip(names, seen, shapes, strict=True):
        wander = rng.normal(0, 0.01)
        drawn = shape.buffer(SWOLLEN, join_style="mitre").simplify(SIMPLIFIED).intersection(window)
        if drawn.area < SMALLEST or drawn.area > LARGEST or not _owned(tile, drawn):
            continue
        yield Piece(
            tile,
            f"{tile.key}-{name}",
            parcel.number,
            drawn,
            float(np.clip(parcel.likely + wander, 0, 1)),
        )


def _owned(tile: CopiedTile, shape: Any) -> bool:
    """Say whether a tile publishes a parcel: its centroid lies in the square and in the zone.

    The zone is the nominal one of six degrees; the exceptions of bands V and X are forgotten.
    """
    west, south, east, north = tile.square
    at = shape.centroid
    if not (west <= at.x < east and south <= at.y < north):
        return False
    longitude = moved([at], str(tile.grid.crs), LONLAT)[0].x
    return int((longitude + 180) // 6) + 1 == tile.zone


def joined(found: Sequence[Piece]) -> list[Piece]:
    """Join the halves of parcels of one zone that share enough.

    Each row is measured in the CRS of its own hemisphere: across the equator two halves are ten
    thousand kilometres apart.
    """
    done: list[Piece] = []
    for piece in found:
        for k, other in enumerate(done):
            if other.tile is piece.tile or other.tile.epsg != piece.tile.epsg:
                continue
            common = other.shape.intersection(piece.shape).area
            if common >= SHARED * min(other.shape.area, piece.shape.area):
                areas = other.shape.area, piece.shape.area
                score = float(np.average([other.score, piece.score], weights=areas))
                whole = shapely.union(other.shape, piece.shape)
                done[k] = Piece(other.tile, min(other.name, piece.name), piece.number, whole, score)
                break
        else:
            done.append(piece)
    return done


def write_zones(
    folder: Path, plan: Planting, tiles: Sequence[CopiedTile], year: int, options: CopyOptions
) -> list[tuple[int, int]]:
    """Write ``vector/{year}/zone=NN/utmNN.parquet`` and return which (year, zone) there are."""
    written = []
    for zone in sorted({tile.zone for tile in tiles}):
        found = [
            piece
            for tile in tiles
            if tile.zone == zone
            for piece in pieces(plan, tile, year, options)
        ]
        if found:
            place = folder / "vector" / str(year) / f"zone={zone:02}" / f"utm{zone:02}.parquet"
            _write(place, joined(found), year)
            written.append((year, zone))
    return written


def _write(path: Path, rows: Sequence[Piece], year: int) -> None:
    shapes = [moved([one.shape], str(one.tile.grid.crs), LONLAT)[0] for one in rows]
    order = hilbert(shapes)
    rows, shapes = [rows[k] for k in order], [shapes[k] for k in order]
    collection = f"ftw-s2-{year}"
    when = datetime(year, 1, 1, tzinfo=UTC)
    count = len(rows)
    columns: list[tuple[str, pa.DataType, Any]] = [
        ("id", pa.string(), [one.name for one in rows]),
        ("collection", pa.string(), [collection] * count),
        ("geometry", pa.binary(), shapely.to_wkb(shapes).tolist()),
        ("bbox", None, box_column(shapes)),
        ("metrics:area", pa.float32(), [one.shape.area for one in rows]),
        ("metrics:perimeter", pa.float32(), [one.shape.length for one in rows]),
        ("score", pa.uint8(), [round(100 * one.score) for one in rows]),
        ("determination:datetime", pa.timestamp("ms", tz="UTC"), [when] * count),
        ("determination:method", pa.string(), [METHOD] * count),
    ]
    arrays = [values if kind is None else pa.array(values, kind) for _, kind, values in columns]
    needed = {"id", "collection", "geometry"}
    schema = pa.schema(
        [
            pa.field(name, array.type, nullable=name not in needed)
            for (name, *_), array in zip(columns, arrays, strict=True)
        ]
    )
    metadata = {
        "collection": json.dumps(_collection(collection)).encode(),
        "geo": geo_metadata(box_of(shapes)),
    }
    write_table(path, pa.Table.from_arrays(arrays, schema=schema), metadata, ROWS)


def _collection(name: str) -> dict[str, Any]:
    schemas = [
        "https://vecorel.org/specification/v0.1.0/schema.yaml",
        "https://vecorel.org/geometry-metrics-extension/v0.1.0/schema.yaml",
        "https://fiboa.org/specification/v0.3.0/schema.yaml",
    ]
    details = f"A simulated copy of the layout; objects as BoundaryVote {BOUNDARY_VOTE} names them."
    score = {"type": "uint8", "description": "Mean probability of field, x 100, not calibrated"}
    return {
        "schemas": {name: schemas},
        "collection": name,
        "determination:details": details,
        "schemas:custom": {
            "$schema": "https://vecorel.org/sdl/v0.2.0/schema.json",
            "properties": {"score": score},
        },
    }
