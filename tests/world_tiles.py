"""A copy of the second edition's layout, written by rasterio and pyarrow alone.

``write_copy(folder, tiles)`` makes the tiles' rasters (uint8, no nodata, overviews of 10 m and
more) and the lite index; a tile is a :class:`Planted`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
from affine import Affine
from pyproj import Transformer
from rasterio.shutil import copy


@dataclass
class Planted:
    key: str
    epsg: int
    west: float
    north: float
    values: np.ndarray
    """(2, y, x) uint8: field and boundary."""
    year: int = 2020
    gsd: float = 2.5

    @property
    def transform(self):
        return Affine(self.gsd, 0, self.west, 0, -self.gsd, self.north)

    @property
    def lonlat(self):
        height, width = self.values.shape[1:]
        to = Transformer.from_crs(self.epsg, 4326, always_xy=True)
        return to.transform_bounds(
            self.west, self.north - height * self.gsd, self.west + width * self.gsd, self.north
        )

    def place(self, folder):
        key = self.key
        parts = ("raster", str(self.year), f"zone={key[:2]}", f"gzd={key[:3]}", key, f"{key}.tif")
        return folder.joinpath(*parts)


def write_tile(tile, path, tags=None, nodata=None, bands=("field", "boundary")):
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = tile.values.shape
    profile = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": count,
        "dtype": tile.values.dtype,
        "crs": f"EPSG:{tile.epsg}",
        "transform": tile.transform,
        "nodata": nodata,
    }
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as plain:
            plain.write(tile.values)
            for k, name in enumerate(bands, 1):
                plain.set_band_description(k, name)
            told = {"model": "unet_balanced_fp32.onnx", "quantization": "uint8 = round(255 p)"}
            plain.update_tags(**(told | {"tile_key": tile.key} if tags is None else tags))
            plain.build_overviews([4, 8, 16], rasterio.enums.Resampling.average)
        with memory.open() as plain:
            copy(
                plain,
                path,
                driver="COG",
                compress="ZSTD",
                blocksize=512,
                overviews="FORCE_USE_EXISTING",
            )
    return path


def write_copy(folder, tiles):
    for tile in tiles:
        write_tile(tile, tile.place(folder))
    boxes = np.array([tile.lonlat for tile in tiles])
    low, high = boxes[:, :2].astype(np.float32), boxes[:, 2:].astype(np.float32)
    low = np.where(low > boxes[:, :2], np.nextafter(low, np.float32(-np.inf)), low)
    high = np.where(high < boxes[:, 2:], np.nextafter(high, np.float32(np.inf)), high)
    columns = {
        "year": pa.array([tile.year for tile in tiles], pa.int16()),
        "tile_key": [tile.key for tile in tiles],
        "epsg": pa.array([tile.epsg for tile in tiles], pa.int32()),
    }
    sides = dict(zip(("xmin", "ymin", "xmax", "ymax"), (*low.T, *high.T), strict=True))
    (folder / "index").mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table(columns | {name: pa.array(side, pa.float32()) for name, side in sides.items()}),
        folder / "index" / "raster-lite.parquet",
    )
    return folder
