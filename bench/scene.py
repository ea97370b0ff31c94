"""The raster of the benchmarks: a real two-season Sentinel-2 pair, mirrored to any size, else a
simulated one.

Mirrored tiles join without a seam, and the statistics of fields, edges and noise are those of the
real scene.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

PAIR = (
    Path(__file__).resolve().parents[2]
    / "shared"
    / "data"
    / "satellite"
    / "s2_unlabelled"
    / "ftw_inn_pair"
    / "s2_pair_8band.tif"
)
NAMES = tuple(
    f"{date}:{band}" for date in ("harvest", "planting") for band in ("red", "green", "blue", "nir")
)
"""Of the bands, in the order in which the bench's network has learnt them and the peer reads them:
selion maps no pair that does not say which date is which."""
_STRIP = 512


def pair() -> tuple[np.ndarray, str]:
    """Return the (band, y, x) uint16 scene that is tiled, and what it is."""
    if PAIR.is_file():
        with rasterio.open(PAIR) as source:
            return source.read(), "a real Sentinel-2 pair (Inn valley), mirrored"
    from selion.simulation.landscape import simulate

    image = simulate(7, (1024, 1024)).image
    return np.clip(np.rint(image.values), 0, 65535).astype(
        np.uint16
    ), "a simulated landscape, mirrored"


def mirrored(length: int, size: int) -> np.ndarray:
    """Index 0 .. size-1 into an axis of ``length``, running forth and back."""
    cycle = np.concatenate([np.arange(length), np.arange(length)[::-1]])
    return np.resize(cycle, size)


def write(path: Path, height: int, width: int) -> str:
    """Write a GeoTIFF of ``height`` x ``width`` px at 10 m, laid out as ftw-tools' download lays
    out its own; return what it shows.
    """
    pixels, what = pair()
    rows, columns = mirrored(pixels.shape[1], height), mirrored(pixels.shape[2], width)
    profile = {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": len(pixels),
        "height": height,
        "width": width,
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(10.0, 0.0, 359130.0, 0.0, -10.0, 5352340.0),
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "interleave": "pixel",
        "bigtiff": "if_safer",
        "num_threads": "all_cpus",
    }
    part = path.with_suffix(".part.tif")
    with rasterio.open(part, "w", **profile) as sink:
        sink.descriptions = NAMES
        for top in range(0, height, _STRIP):
            strip = pixels[:, rows[top : top + _STRIP]][:, :, columns]
            sink.write(strip, window=Window(0, top, width, strip.shape[1]))
    part.replace(path)
    return what


def ensure(folder: Path, height: int, width: int) -> Path:
    """Return the raster of that size in a folder of its own (ftw-tools scans the folder of its
    input), writing it once.
    """
    source = "real" if PAIR.is_file() else "simulated"
    path = folder / f"named_{source}_{height}x{width}" / "scene.tif"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, height, width)
    return path


if __name__ == "__main__":
    import sys

    print(ensure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
