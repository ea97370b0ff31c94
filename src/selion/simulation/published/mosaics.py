"""Quarterly cloudless mosaics: one COG per tile, quarter and band, and the manifests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import ndimage

from selion import store
from selion.simulation.published.nouns import COARSE, PIXEL, CopiedTile, CopyOptions
from selion.simulation.published.paint import QUARTERS, burnt
from selion.simulation.published.plan import Planting

BANDS = ("B02", "B03", "B04", "B08")
NODATA = -32768
BUCKET, KEY = "tge-labs", "sentinel-2-quarterly-cloudless-mosaics"
SOIL = (900.0, 1150.0, 1450.0, 2100.0)
CROP = (350.0, 650.0, 380.0, 4200.0)
ROUGH = (520.0, 760.0, 720.0, 2600.0)
"""Reflectance x 10000 of the four bands."""
CLOUDY = 0.04
"""Share of a tile without any observation in the first quarter."""


def write_mosaics(
    folder: Path, plan: Planting, tiles: Sequence[CopiedTile], options: CopyOptions
) -> None:
    """Write ``{year}/{Qn}/{tile}/{band}.tif`` and ``manifest/manifest_{year}_{Qn}.parquet``."""
    years = options.mosaics if options.mosaics is not None else options.years[-1:]
    for year in years:
        rows: dict[str, list[dict[str, object]]] = {quarter: [] for quarter in QUARTERS}
        for tile in tiles:
            values = _values(plan, tile, year, options)
            for k, quarter in enumerate(QUARTERS):
                for band, layer in zip(BANDS, values[k], strict=True):
                    place = f"{year}/{quarter}/{tile.key}/{band}.tif"
                    size = _write(folder / place, tile, layer)
                    rows[quarter].append(
                        {
                            "year": year,
                            "quarter": quarter,
                            "item_id": f"Sentinel-2_mosaic_{year}_{quarter}_{tile.key}",
                            "band": band,
                            "destination_bucket": BUCKET,
                            "destination_key": f"{KEY}/{place}",
                            "size_bytes": size,
                        }
                    )
        for quarter, listed in rows.items():
            path = folder / "manifest" / f"manifest_{year}_{quarter}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(listed), path, compression="zstd")


def _values(plan: Planting, tile: CopiedTile, year: int, options: CopyOptions) -> np.ndarray:
    """Return (quarter, band, y, x) int16 reflectance x 10000.

    Every field greens in a season of its own; what the maps of the year miss is grown over as rough
    land is.
    """
    fold = round(COARSE / PIXEL)
    numbers, _ = burnt(plan, tile.grid, year)
    height, width = (size // fold for size in numbers.shape)
    rng = np.random.default_rng([options.seed, 9, year, *map(ord, tile.key)])
    low = int(min(numbers.min(), 0))
    table = _greenness([options.seed, 10], int(numbers.max()) - low + 1, low)
    quarters = np.empty((len(QUARTERS), len(BANDS), height, width), np.int16)
    for k in range(len(QUARTERS)):
        green = table[k][numbers - low].reshape(height, fold, width, fold).mean((1, 3))
        farmed = (numbers != 0).reshape(height, fold, width, fold).mean((1, 3))
        for band in range(len(BANDS)):
            field = SOIL[band] + (CROP[band] - SOIL[band]) * green
            ground = farmed * field + (1 - farmed) * ROUGH[band]
            ground = ground * (1 + 0.03 * rng.standard_normal(ground.shape))
            quarters[k, band] = np.clip(np.round(ground), 1, 10000).astype(np.int16)
    waves = ndimage.gaussian_filter(rng.standard_normal((height, width)), 6)
    quarters[0, :, waves > np.quantile(waves, 1 - CLOUDY)] = NODATA
    return quarters


def _greenness(seed: Sequence[int], count: int, low: int) -> np.ndarray:
    """Return how green each parcel is in each quarter, (quarter, parcel) from 0 to 1.

    A parcel's season depends on its number and on nothing else, so that tiles agree.
    """
    table = np.empty((len(QUARTERS), count), np.float32)
    for k in range(count):
        number = k + low
        rng = np.random.default_rng([*seed, abs(number), number < 0])
        peak, width = rng.uniform(0.8, 2.6), rng.uniform(0.5, 1.0)
        table[:, k] = np.exp(-(((np.arange(len(QUARTERS)) - peak) / width) ** 2))
    return table


def _write(path: Path, tile: CopiedTile, values: np.ndarray) -> int:
    height, width = values.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = tile.grid.zoom_out(COARSE / PIXEL)
    with store.create_cog(
        path, grid, (path.stem,), "int16", nodata=NODATA, overviews="average", block=128
    ) as sink:
        sink.write((slice(0, height), slice(0, width)), values[None])
    return path.stat().st_size
