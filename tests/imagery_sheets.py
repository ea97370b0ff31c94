"""Composites cut from a countryside that is a formula: known at any point of the globe, so that a
mosaic can be compared with the truth on any grid.
"""

import json
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from selion.grid import whole
from selion.store import create_cog

BANDS = ("red", "green", "blue", "nir", "count")


def grid_at(crs, longitude, latitude, size, *, east=0, south=0, pixel=10.0):
    """A grid of ``size`` (y, x) pixels whose middle lies ``east`` and ``south`` metres from a
    point, on multiples of the pixel.
    """
    x, y = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(longitude, latitude)
    left, top = round((x + east) / pixel) - size[1] // 2, round((y - south) / pixel) + size[0] // 2
    return GeoBox(size, Affine(pixel, 0, left * pixel, 0, -pixel, top * pixel), crs)


def lonlat(grid):
    """(y, x) longitudes and latitudes of the pixels' middles."""
    rows, columns = np.arange(grid.shape[0]) + 0.5, np.arange(grid.shape[1]) + 0.5
    x, y = np.meshgrid(
        grid.transform.c + columns * grid.transform.a, grid.transform.f + rows * grid.transform.e
    )
    return Transformer.from_crs(grid.crs.to_wkt(), "OGC:CRS84", always_xy=True).transform(x, y)


def truth(grid, middle, number=0):
    """(4, y, x) float64 reflectance x 10000: waves of 300 m and of 6 km around ``middle``, so that
    10 m pixels resolve it.
    """
    longitude, latitude = lonlat(grid)
    u = ((longitude - middle[0] + 180) % 360 - 180) * 111320 * np.cos(np.radians(middle[1]))
    v = (latitude - middle[1]) * 110574
    waves = [
        np.sin(u / (50 + 9 * band)) * np.cos(v / (64 + 5 * band + 7 * number)) for band in range(4)
    ]
    return np.stack(
        [
            2000 + 300 * band + 500 * wave + 250 * np.sin(u / 900 + v / 1100)
            for band, wave in enumerate(waves)
        ]
    )


def write_sheet(
    path,
    grid,
    values,
    *,
    tile="33UUP",
    season="window_a",
    time="2024-05-05T10:20:30+00:00",
    counts=None,
):
    """Write (4, y, x) values, 0 = never seen, as a composite of selion."""
    values = np.rint(values).astype(np.uint16)
    counts = np.where((values > 0).all(0), 5, 0) if counts is None else counts
    told = {
        "tile": tile,
        "season": {"name": season},
        "scenes": [{"id": f"S2_{tile}", "time": time, "clear_share": 0.5}],
    }
    with create_cog(
        path,
        grid,
        BANDS,
        np.uint16,
        nodata=0,
        tags={"SELION_COMPOSITE": json.dumps(told)},
        block=256,
    ) as sink:
        sink.write(whole(grid), np.concatenate([values, counts[None].astype(np.uint16)]))
    return Path(path)


def four_tiles(
    folder,
    middle=(12.0, 48.0),
    size=420,
    reach=1300,
    gains=(1.0, 1.04, 0.97, 1.02),
    zones=("EPSG:32632", "EPSG:32633"),
    season="window_a",
):
    """Four tiles around a point on the border of two UTM zones, each with its own gain; neighbours
    share about 1.6 km.
    """
    number = int(season == "window_b")
    sheets = []
    for k, gain in enumerate(gains):
        zone, east, south = zones[k % 2], (-reach, reach)[k % 2], (-reach, reach)[k // 2]
        grid = grid_at(zone, *middle, (size, size), east=east, south=south)
        name = f"T{k}_{season}.tif"
        time = f"2024-05-{10 + k}T10:00:00+00:00"
        sheets.append(
            write_sheet(
                Path(folder, name),
                grid,
                gain * truth(grid, middle, number),
                tile=f"T{k}",
                season=season,
                time=time,
            )
        )
    return sheets
