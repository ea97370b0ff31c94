"""The probabilities of a tile, predicted on its own, and the files that lie beside them."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from scipy import ndimage

from selion import store
from selion.simulation.published.nouns import PIXEL, CopiedTile, CopyOptions
from selion.simulation.published.places import lonlat_box
from selion.simulation.published.plan import LONLAT, Planting, moved

LEVELS = (4, 8, 16, 32, 64)
"""10 to 160 m; the released files have no level of 5 m."""
MARGIN = 24
"""Pixels round a tile that are burnt too, so that its edge is no boundary."""
MODEL = "unet_balanced_fp32.onnx"
QUARTERS = ("Q1", "Q2", "Q3", "Q4")
SHAKE, THIN, NOISE, GRAIN = 0.45, 0.25, 0.05, 12
"""How far outlines wander from tile to tile and how much they thin (pixels), the standard deviation
of a probability, and the size of what wanders (pixels)."""
RIM, RIM_NOISE = 12, 0.3
"""Pixels along a tile's edge where the network sees nothing beyond, and how much more noise there
is at most."""


@dataclass(frozen=True, eq=False, slots=True)
class Painted:
    """A tile that is written."""

    tile: CopiedTile
    year: int
    size: int
    """Bytes of the COG."""
    field_frac: float
    boundary_frac: float
    cropland_frac: float
    box: tuple[float, float, float, float]
    """West, south, east, north in degrees."""


def paint(
    plan: Planting, grid: GeoBox, year: int, seed: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities of field and boundary, and which pixels are true fields.

    (2, y, x) float32 and (y, x) bool.

    Noise and outlines wander with ``seed``, which is another one for each tile and year: where two
    tiles overlap they differ a little.
    """
    numbers, likely = burnt(plan, grid, year, MARGIN)
    rng = np.random.default_rng(list(seed))
    shape = numbers.shape
    at = _wandered(rng, shape)
    numbers, likely = numbers[at], likely[at]
    far = _distance(numbers) + THIN * _waves(rng, shape)
    noise = NOISE * (_waves(rng, shape) + 0.4 * rng.standard_normal(shape).astype(np.float32))
    noise *= 1 + RIM_NOISE * _rim(shape)
    is_field = numbers != 0
    inside = 1 / (1 + np.exp(-1.6 * (far - 1.6)))
    edge = np.exp(-((np.maximum(far, 0) / 1.9) ** 2))
    field = np.where(is_field, likely * inside, 0.04) + noise * np.where(is_field, 1.0, 0.5)
    # A field that the model is not sure of has a weak outline too.
    boundary = edge * np.where(is_field, 0.35 + 0.5 * likely, 0.55 * _near(is_field)) + 0.5 * noise
    field = np.clip(field, 0, 1)
    boundary = np.clip(boundary, 0, 1)
    total = np.maximum(field + boundary, 1)  # they are parts of one softmax
    inner = slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN)
    values = np.stack([field / total, boundary / total])[:, *inner].astype(np.float32)
    return values, (numbers > 0)[inner]


def burnt(
    plan: Planting, grid: GeoBox, year: int, margin: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the parcels that a year's map shows and how likely they are.

    (y, x) int32, negative where land only looks like a field, and (y, x) float32.
    """
    seen = plan.seen(year)
    around = grid.pad(margin) if margin else grid
    shapes = moved([one.outline for one in seen], plan.crs, str(grid.crs))
    at = store.burn(shapes, range(1, len(seen) + 1), around)
    numbers = np.array([0, *(one.number for one in seen)], np.int32)
    likely = np.array([0, *(one.likely for one in seen)], np.float32)
    return numbers[at], likely[at]


def _distance(numbers: np.ndarray) -> np.ndarray:
    """Return how far each pixel's centre lies from the nearest outline, in pixels."""
    inner = np.ones(numbers.shape, bool)
    for axis in (0, 1):
        ahead = np.diff(numbers, axis=axis) != 0
        low = [slice(None), slice(None)]
        high = [slice(None), slice(None)]
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        inner[tuple(low)] &= ~ahead
        inner[tuple(high)] &= ~ahead
    far: np.ndarray = ndimage.distance_transform_edt(inner).astype(np.float32) + 0.5
    return far


def _wandered(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixel (row, column) that each pixel looks like, a little beside it."""
    rows, columns = np.indices(shape)
    return (
        np.clip(np.rint(rows + SHAKE * _waves(rng, shape)), 0, shape[0] - 1).astype(np.intp),
        np.clip(np.rint(columns + SHAKE * _waves(rng, shape)), 0, shape[1] - 1).astype(np.intp),
    )


def _near(is_field: np.ndarray) -> np.ndarray:
    """Return where fields are within two pixels, (y, x) float32."""
    near: np.ndarray = ndimage.binary_dilation(is_field, iterations=3).astype(np.float32)
    return near


def _waves(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return smooth noise of variance about 1."""
    coarse = rng.standard_normal([size // GRAIN + 3 for size in shape]).astype(np.float32)
    fine = ndimage.zoom(coarse, GRAIN, order=1)
    waves: np.ndarray = 1.4 * fine[: shape[0], : shape[1]]
    return waves


def _rim(shape: tuple[int, ...]) -> np.ndarray:
    """Return 1 at the tile's edge and 0 from :data:`RIM` pixels on, (y, x)."""
    sides = [np.minimum(np.arange(size), np.arange(size)[::-1]) - MARGIN for size in shape]
    far = np.minimum(sides[0][:, None], sides[1][None])
    rim: np.ndarray = np.clip(1 - far / RIM, 0, 1).astype(np.float32)
    return rim


def write_tile(
    folder: Path, plan: Planting, tile: CopiedTile, year: int, options: CopyOptions
) -> Painted:
    """Write a tile's COG, STAC item and thumbnail below ``raster/{year}``."""
    there = folder / "raster" / str(year) / tile.place
    there.mkdir(parents=True)
    number = list(map(ord, tile.key))
    scores, true = paint(plan, tile.grid, year, [options.seed, 5, year, *number])
    values = np.round(255 * scores).astype(np.uint8)
    path = there / f"{tile.key}.tif"
    tags = {
        "model": MODEL,
        "quantization": "uint8 = round(255 p)",
        "zstd_level": "9",
        "tile_key": tile.key,
        "source_items": ",".join(source_items(tile, year)),
    }
    with store.create_cog(
        path,
        tile.grid,
        ("field", "boundary"),
        "uint8",
        tags=tags,
        overviews="average",
        levels=LEVELS,
        scale=1 / 255,
        block=512 if options.tile >= 4096 else 128,
    ) as sink:
        height, width = tile.grid.shape
        sink.write((slice(0, height), slice(0, width)), values)
    coarse = values.reshape(2, height // 64, 64, width // 64, 64).mean((2, 4))
    painted = Painted(
        tile,
        year,
        path.stat().st_size,
        float((coarse[0] > 128).mean()),
        float((coarse[1] > 64).mean()),
        round(float(true.mean()), 6),
        lonlat_box(tuple(tile.grid.boundingbox), str(tile.grid.crs)),  # type: ignore[arg-type]
    )
    shown = values[0].reshape(height // 8, 8, width // 8, 8).mean((1, 3)).astype(np.uint8)
    (there / f"{tile.key}.thumb.png").write_bytes(grey_png(shown))
    (there / f"{tile.key}.json").write_text(json.dumps(_item(painted), indent=1), "utf-8")
    return painted


def source_items(tile: CopiedTile, year: int) -> list[str]:
    """Return the names of the mosaics that a tile was predicted from."""
    return [f"Sentinel-2_mosaic_{year}_{quarter}_{tile.key}" for quarter in QUARTERS]


def _item(painted: Painted) -> dict[str, Any]:
    tile, year = painted.tile, painted.year
    west, south, east, north = tile.grid.boundingbox
    corners = [(west, south), (west, north), (east, north), (east, south), (west, south)]
    outline = moved([_ring(corners)], str(tile.grid.crs), LONLAT)[0]
    height, width = tile.grid.shape
    properties = {
        "title": f"{tile.key}, {year}: field and boundary probabilities (a simulated copy)",
        "datetime": f"{year}-01-01T00:00:00Z",
        "start_datetime": f"{year}-01-01T00:00:00Z",
        "end_datetime": f"{year}-12-31T23:59:59Z",
        "gsd": PIXEL,
        "proj:code": str(tile.grid.crs),
        "proj:shape": [height, width],
        "proj:transform": list(tile.grid.transform[:6]),
        "proj:bbox": [west, south, east, north],
        "ftw:tile_key": tile.key,
        "ftw:field_frac": round(painted.field_frac, 6),
        "ftw:boundary_frac": round(painted.boundary_frac, 6),
        "ftw:cropland_frac": painted.cropland_frac,
        "ftw:model": MODEL,
        "ftw:source_items": source_items(tile, year),
    }
    bands = [
        {
            "name": name,
            "data_type": "uint8",
            "raster:scale": 1 / 255,
            "raster:offset": 0,
            "raster:sampling": "area",
            "raster:spatial_resolution": PIXEL,
        }
        for name in ("field", "boundary")
    ]
    data = {
        "href": f"./{tile.key}.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        "bands": bands,
        "file:size": painted.size,
    }
    thumbnail = {"href": f"./{tile.key}.thumb.png", "type": "image/png", "roles": ["thumbnail"]}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
            "https://stac-extensions.github.io/file/v2.1.0/schema.json",
        ],
        "id": tile.key,
        "collection": f"ftw-raster-{year}",
        "geometry": {"type": "Polygon", "coordinates": [[list(at) for at in outline.coords]]},
        "bbox": list(painted.box),
        "properties": properties,
        "assets": {"data": data, "thumbnail": thumbnail},
        "links": [],
    }


def _ring(corners: Sequence[tuple[float, float]]) -> Any:
    import shapely

    return shapely.LinearRing(corners)


def grey_png(values: np.ndarray) -> bytes:
    """Return a grey image as PNG."""
    height, width = values.shape

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    rows = np.concatenate([np.zeros((height, 1), np.uint8), values], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows.tobytes()))
        + chunk(b"IEND", b"")
    )
