"""Choosing before reading.

Bytes from the server, time of the choice, and whether a margin around clouds helps.

    python bench/choose.py [--size 2745] [--dates 30] [--margin]

One tile and season are written as COGs (bands share their pixels by hard links; every date has its
own clouds) and served over HTTP with ranges.  What is counted is what leaves the server:

* look: coarse scene classifications of all candidates, and coarse bands of the chosen ones for the
  radiometry
* chosen: the four bands and the scene classification of the chosen scenes at full resolution
* all: the same of all candidates, which is what a median of everything that the catalogue lists
  reads
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from selion import store
from selion.grid import tiles, whole
from selion.imagery.area import read_area
from selion.imagery.choose import choose
from selion.imagery.clouds import widened
from selion.imagery.reading import open_band
from selion.imagery.scene import BANDS, Scene, Season
from selion.imagery.signing import Anonymous
from selion.imagery.tiles import PlanOptions, plan_tiles

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from stac_server import StacServer  # noqa: E402

SEASON = Season("window_a", date(2024, 4, 1), date(2024, 5, 31))
AUTUMN = Season("window_b", date(2024, 9, 1), date(2024, 9, 2))
"""There is nothing in it."""
SLOVENIA = ROOT.parent / "shared" / "data" / "satellite" / "clouds" / "eolearn_slovenia_68dates"


def smooth(random: np.random.Generator, size: int, cell: int) -> np.ndarray:
    """(size, size) float32 noise of about ``cell`` pixels, 0 to 1."""
    import scipy.ndimage as ndi

    coarse = random.random((size // cell + 4, size // cell + 4))
    fine = ndi.zoom(coarse, cell, order=1)[:size, :size]
    return ((fine - fine.min()) / np.ptp(fine)).astype(np.float32)


def archive(folder: Path, size: int, dates: int) -> list[Scene]:
    """Write one tile: its bands once, a scene classification per date."""
    random = np.random.default_rng(5)
    grid = GeoBox((size, size), Affine(10, 0, 600000, 0, -10, 5400000), "EPSG:32633")
    half = GeoBox((size // 2, size // 2), grid.transform * Affine.scale(2), grid.crs)
    fields = np.kron(random.random((size // 24 + 1, size // 24 + 1)), np.ones((24, 24)))[
        :size, :size
    ]
    for band, dark, bright in zip(
        BANDS, (400, 600, 300, 3600), (1800, 1400, 1000, 2400), strict=True
    ):
        values = (
            1000
            + dark
            + (bright - dark) * np.clip(1.5 * fields - 0.5, 0, 1)
            + random.normal(0, 60, fields.shape)
        )
        with store.create_cog(
            folder / f"{band}.tif",
            grid,
            (band,),
            "uint16",
            nodata=0,
            block=512,
            overviews="average",
        ) as sink:
            sink.write(whole(grid), values.astype(np.uint16)[None])
    scenes = []
    for number in range(dates):
        clouds = smooth(random, size // 2, 120) < random.beta(1, 1.5)
        codes = np.where(
            clouds,
            random.choice([8, 9], clouds.shape),
            np.where(fields[::2, ::2][: size // 2, : size // 2] < 0.5, 4, 5),
        ).astype(np.uint8)
        day = datetime.combine(SEASON.start, datetime.min.time(), UTC) + timedelta(
            days=2 * number % 60
        )
        name = f"S2_33UXP_{number:02}"
        with store.create_cog(
            folder / f"{name}_scl.tif", half, ("scl",), "uint8", nodata=0, block=512
        ) as sink:
            sink.write(whole(half), codes[None])
        for band in BANDS:
            os.link(folder / f"{band}.tif", folder / f"{name}_{band}.tif")
        hrefs = {band: f"{name}_{band}.tif" for band in (*BANDS, "scl")}
        scenes.append(
            Scene(name, "33UXP", day, "simulated", hrefs, {}, 100 * float(clouds.mean()), "05.10")
        )
    return scenes


def read_all(scenes: list[Scene]) -> None:
    for scene in scenes:
        for band in (*BANDS, "scl"):
            source = open_band(scene, band, Anonymous())
            for roi in tiles(source.grid.shape, 1024):
                source.read(roi)


def sent_by(folder: Path, scenes: list[Scene], work) -> tuple[int, float, object]:
    """Bytes that leave a fresh server (another port: nothing is in GDAL's memory), seconds, and the
    result.
    """
    with StacServer(folder=folder) as server:
        served = [
            replace(
                scene, hrefs={band: f"{server.cogs}/{name}" for band, name in scene.hrefs.items()}
            )
            for scene in scenes
        ]
        begun = time.perf_counter()
        result = work(served)
        return sum(server.sent.values()), time.perf_counter() - begun, result


def show_bytes(size: int, dates: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes = archive(folder, size, dates)
        area = read_area((15.5, 47.5, 18.5, 49.5))
        look, seconds, plans = sent_by(
            folder,
            scenes,
            lambda served: plan_tiles(
                area, (SEASON, AUTUMN), served, {"simulated": Anonymous()}, PlanOptions()
            ),
        )
        order = [scene.id for scene in plans[0].scenes]
        chosen, _, _ = sent_by(folder, [scene for scene in scenes if scene.id in order], read_all)
        everything, _, _ = sent_by(folder, scenes, read_all)
    deep = plans[0].shares[-1]
    print(
        f"one tile of {size} x {size} px: {len(order)} of {dates} chosen in {seconds:.1f} s, "
        f"{deep:.1%} of the pixels with 5 clear views or more"
    )
    for what, count in (("look", look), ("chosen", chosen), ("all", everything)):
        print(f"  {what:8} {count / 1e6:9.1f} MB")
    print(
        f"  choose before read: {(look + chosen) / everything:.3f} of the bytes of reading all "
        f"candidates ({everything / (look + chosen):.1f} times fewer)"
    )
    print(f"  the look itself: {look / everything:.4f} of them")


def show_time() -> None:
    random = np.random.default_rng(0)
    valid = random.random((60, 1098, 1098)) < random.random((60, 1, 1))
    found = []
    for _ in range(3):
        begun = time.perf_counter()
        choose(valid)
        found.append(time.perf_counter() - begun)
    print(f"choice of 10 from 60 scenes of 1098 x 1098 px: {min(found):.3f} s")


def show_margin() -> None:
    """NDVI of the composite of partly cloudy dates against the median of the clear ones, in windows
    of two months.
    """
    import json

    masks, ndvi = (
        store.open_raster(SLOVENIA / name) for name in ("cloud_mask.tif", "ndvi_x10000.tif")
    )
    clouds = masks.read(whole(masks.grid)).values.astype(bool)
    values = ndvi.read(whole(ndvi.grid)).values / 1e4
    days = np.array(json.loads((SLOVENIA / "timestamps.json").read_text()), "datetime64[D]")
    share = clouds.mean((1, 2))
    print("margin  windows  mean |NDVI error|  seen at all")
    for margin in (0, 20, 40, 60, 100):
        errors, seen = [], []
        for start in np.arange(
            np.datetime64("2015-07-01"), np.datetime64("2017-11-01"), np.timedelta64(30, "D")
        ):
            window = np.flatnonzero((days >= start) & (days < start + np.timedelta64(61, "D")))
            clear, partly = (
                window[share[window] < 0.001],
                window[(share[window] >= 0.001) & (share[window] < 0.95)],
            )
            if not len(clear) or not len(partly):
                continue
            valid = ~widened(clouds[partly], margin / 10)
            order = list(choose(valid).order)
            median = np.nanmedian(np.where(valid[order], values[partly[order]], np.nan), 0)
            found = np.isfinite(median)
            seen.append(found.mean())
            errors.append(
                np.abs(median - np.median(values[clear], 0))[found].mean()
                if found.any()
                else np.nan
            )
        print(
            f"{margin:4} m   {len(errors):5}   {np.nanmean(errors):.4f}             "
            f"{np.mean(seen):.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--size",
        type=int,
        default=2745,
        help="edge of the tile in pixels of 10 m; a real one has 10980",
    )
    parser.add_argument("--dates", type=int, default=30)
    parser.add_argument(
        "--margin",
        action="store_true",
        help="measure a margin around clouds on the real masks instead",
    )
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.margin:
        if not SLOVENIA.is_dir():
            raise SystemExit(
                f"--margin is measured on real cloud masks, and there are none in {SLOVENIA}."
            )
        show_margin()
        return
    show_time()
    show_bytes(given.size, given.dates)


if __name__ == "__main__":
    main()
