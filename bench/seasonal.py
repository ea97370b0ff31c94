"""A season's archive of one tile, and two ways to make its composite; each way is a process of its
own.

    python bench/seasonal.py make FOLDER --edge 4096 --dates 20     the scenes, made once
    python bench/seasonal.py ours FOLDER OUT [--url http://...]     selion.imagery.compose
    python bench/seasonal.py odc FOLDER OUT [--url http://...]
        odc-stac, xarray and dask, two threads, as its users write it
    python bench/seasonal.py odc-bottleneck FOLDER OUT
        the same with bottleneck's median on each chunk

The scenes are files as Earth Search has them (one band each, 1024 px tiles, DEFLATE with predictor,
SCL at 20 m): a Sentinel-2 scene mirrored to size, with the noise and the clouds of each date, on 10
to 80 % of the pixels.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

BANDS = ("red", "green", "blue", "nir")
EXCLUDED = (0, 1, 3, 7, 8, 9, 10)
CRS, LEFT, TOP = "EPSG:32633", 300000.0, 5400000.0
STRIP = 1024


def make(folder: Path, edge: int, dates: int) -> None:
    """Write the scenes and ``scenes.json``; nothing is done if they are there."""
    if (folder / "scenes.json").is_file():
        return
    from scene import mirrored, pair

    folder.mkdir(parents=True, exist_ok=True)
    pixels, _ = pair()
    rows, columns = mirrored(pixels.shape[1], edge), mirrored(pixels.shape[2], edge)
    scenes = []
    for number in range(dates):
        rng = np.random.default_rng(number)
        scl = classification(edge, 0.1 + 0.7 * number / max(dates - 1, 1), rng)
        write(
            folder / f"{number:02d}_scl.tif",
            20.0,
            np.uint8,
            edge // 2,
            lambda top, scl=scl: scl[top : top + STRIP],
        )
        for band in range(len(BANDS)):

            def strip(
                top: int, band: int = band, scl: np.ndarray = scl, rng: np.random.Generator = rng
            ) -> np.ndarray:
                values = pixels[band][rows[top : top + STRIP]][:, columns].astype(np.int32) + 1000
                values += rng.integers(-30, 31, values.shape, np.int16)
                cloud = (scl[top // 2 : (top + STRIP) // 2] == 9).repeat(2, 0).repeat(2, 1)
                values[cloud] += 5000
                return np.clip(values, 1, 65535).astype(np.uint16)

            write(folder / f"{number:02d}_{BANDS[band]}.tif", 10.0, np.uint16, edge, strip)
        scenes.append(
            {
                "id": f"S2A_{number:02d}",
                "time": (
                    datetime(2024, 4, 1, 10, tzinfo=UTC) + timedelta(days=3 * number)
                ).isoformat(),
            }
        )
        print(f"scene {number + 1} of {dates}", flush=True)
    (folder / "scenes.json").write_text(json.dumps({"edge": edge, "scenes": scenes}))


def classification(edge: int, cover: float, rng: np.random.Generator) -> np.ndarray:
    """Return (y, x) uint8 at 20 m: vegetation, and cloud with shadow beside it on ``cover`` of the
    pixels, in patches of some kilometres.
    """
    from scipy.ndimage import gaussian_filter, zoom

    size = edge // 2
    small = -(-size // 16)
    noise = gaussian_filter(rng.standard_normal((small, small)), 4) + 0.3 * gaussian_filter(
        rng.standard_normal((small, small)), 1
    )
    field = zoom(noise, 16, order=1)[:size, :size]
    scl = np.full((size, size), 4, np.uint8)
    scl[field > np.quantile(noise, 1 - cover)] = 9
    scl[(np.roll(scl, (6, 8), (0, 1)) == 9) & (scl == 4)] = 3
    return scl


def write(path: Path, gsd: float, dtype: type, size: int, strip) -> None:
    """Write one band."""
    profile = {
        "driver": "GTiff",
        "dtype": dtype,
        "count": 1,
        "height": size,
        "width": size,
        "crs": CRS,
        "transform": rasterio.Affine(gsd, 0, LEFT, 0, -gsd, TOP),
        "nodata": 0,
        "tiled": True,
        "blockxsize": 1024,
        "blockysize": 1024,
        "compress": "deflate",
        "predictor": 2,
        "zlevel": 4,
        "num_threads": "all_cpus",
        "bigtiff": "if_safer",
    }
    with rasterio.open(path, "w", **profile) as sink:
        for top in range(0, size, STRIP):
            values = strip(top)
            sink.write(values, 1, window=Window(0, top, size, len(values)))


def told(folder: Path) -> tuple[int, list[dict]]:
    """Return the edge in pixels and the scenes."""
    about = json.loads((folder / "scenes.json").read_text())
    return about["edge"], about["scenes"]


def href(folder: Path, url: str | None, number: int, band: str) -> str:
    """Return the address of a band."""
    name = f"{number:02d}_{band}.tif"
    return f"{url}/{name}" if url else str(folder / name)


def ours(folder: Path, out: Path, url: str | None, readers: int | None) -> None:
    """Compose by selion."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from selion.grid import whole
    from selion.imagery.composite import ComposeOptions, compose
    from selion.imagery.reflectance import Radiometry
    from selion.imagery.scene import Scene, Season, TilePlan
    from selion.imagery.signing import Anonymous

    edge, about = told(folder)
    grid = GeoBox((edge, edge), Affine(10, 0, LEFT, 0, -10, TOP), CRS)
    scenes = tuple(
        Scene(
            one["id"],
            "33UUP",
            datetime.fromisoformat(one["time"]),
            "bench",
            {b: href(folder, url, k, b) for b in (*BANDS, "scl")},
            {},
        )
        for k, one in enumerate(about)
    )
    season = Season("window_a", date(2024, 4, 1), date(2024, 5, 31))
    plan = TilePlan("33UUP", season, grid, whole(grid), scenes, (Radiometry(-1000),) * len(scenes))
    compose(
        plan,
        out,
        signers={"bench": Anonymous()},
        options=ComposeOptions(readers=readers, force=True),
    )


def odc(folder: Path, out: Path, url: str | None, chunk: int, *, bottleneck: bool) -> None:
    """Compose by odc-stac, xarray and dask; write a plain tiled GeoTIFF, which costs less than a
    COG.
    """
    import dask
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from odc.stac import configure_rio, load

    configure_rio(cloud_defaults=True)
    edge, _ = told(folder)
    grid = GeoBox((edge, edge), Affine(10, 0, LEFT, 0, -10, TOP), CRS)
    cube = load(
        items(folder, url),
        bands=[*BANDS, "scl"],
        groupby="id",
        geobox=grid,
        chunks={"x": chunk, "y": chunk},
    )
    clear = ~cube.scl.isin(EXCLUDED)
    bands = cube[list(BANDS)]
    median = _median(
        (bands.astype("float32") - 1000).where(clear & (bands > 0)), bottleneck=bottleneck
    )
    result = (median.fillna(0) + 0.5).astype("uint16")
    result["count"] = clear.sum("time").astype("uint16")
    with dask.config.set(scheduler="threads", num_workers=2):
        values = result.to_array().compute().values
    profile = {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": 5,
        "height": values.shape[1],
        "width": values.shape[2],
        "crs": CRS,
        "nodata": 0,
        "tiled": True,
    }
    profile |= {
        "transform": rasterio.Affine(10, 0, LEFT, 0, -10, TOP),
        "blockxsize": 1024,
        "blockysize": 1024,
        "compress": "zstd",
        "zstd_level": 1,
    }
    with rasterio.open(
        out, "w", num_threads="all_cpus", predictor=2, bigtiff="if_safer", **profile
    ) as sink:
        sink.write(values)


def _median(stack, *, bottleneck: bool):
    if not bottleneck:
        return stack.median("time")
    import xarray
    from bottleneck import nanmedian

    stack = stack.chunk(time=-1)
    return xarray.apply_ufunc(
        nanmedian,
        stack,
        input_core_dims=[["time"]],
        dask="parallelized",
        output_dtypes=["float32"],
        kwargs={"axis": -1},
        dask_gufunc_kwargs={"allow_rechunk": True},
    )


def items(folder: Path, url: str | None) -> list:
    """Return the scenes as STAC items that say all that odc-stac wants to know without opening a
    file.
    """
    import pystac
    from pyproj import Transformer

    edge, about = told(folder)
    to_degrees = Transformer.from_crs(CRS, 4326, always_xy=True)
    corners = [
        to_degrees.transform(LEFT + 10 * edge * dx, TOP - 10 * edge * dy)
        for dx, dy in ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))
    ]
    box = [*np.min(corners, 0).tolist(), *np.max(corners, 0).tolist()]
    found = []
    for number, one in enumerate(about):
        item = pystac.Item(
            one["id"],
            {"type": "Polygon", "coordinates": [corners]},
            box,
            datetime.fromisoformat(one["time"]),
            {"proj:code": CRS},
        )
        for band in (*BANDS, "scl"):
            gsd, size, dtype = (20, edge // 2, "uint8") if band == "scl" else (10, edge, "uint16")
            extra = {
                "proj:shape": [size, size],
                "proj:transform": [gsd, 0, LEFT, 0, -gsd, TOP],
                "raster:bands": [{"data_type": dtype, "nodata": 0}],
            }
            item.add_asset(
                band,
                pystac.Asset(
                    href(folder, url, number, band),
                    media_type=pystac.MediaType.COG,
                    roles=["data"],
                    extra_fields=extra,
                ),
            )
        found.append(item)
    return found


def main() -> None:
    """Make the scenes, or be one of the contestants."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["make", "ours", "odc", "odc-bottleneck"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--edge", type=int, default=1024)
    parser.add_argument("--dates", type=int, default=20)
    parser.add_argument("--url", help="Where FOLDER is served.")
    parser.add_argument("--readers", type=int)
    parser.add_argument("--chunk", type=int, default=2048, help="Pixels of the peer's chunks.")
    given = parser.parse_args()
    if given.what == "make":
        make(given.folder, given.edge, given.dates)
    elif given.what == "ours":
        ours(given.folder, given.out, given.url, given.readers)
    else:
        odc(
            given.folder,
            given.out,
            given.url,
            given.chunk,
            bottleneck=given.what == "odc-bottleneck",
        )


if __name__ == "__main__":
    main()
