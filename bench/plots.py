"""A trial of 200 plots in one orthomosaic: cover against the truth, time and memory.

    python bench/plots.py [--gsd 0.01] [--plots 20 10] [--models auto colour colour-otsu crops-rgb]
                          [--pale 0.6]

Plots of 1.5 m x 3 m with paths of 0.5 m between, leaves as tilted ellipses of many greens on rough
soil, cover from 2 to 80 %; the truth is the painted mask, pixel by pixel.  ``--pale``: the leaves'
colours go so far of the way to that of the soil, so that greenness tells the plants no more.  Each
run has a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import geopandas
import numpy as np
import rasterio
from affine import Affine
from scipy import ndimage, stats
from shapely.geometry import box

WIDE, HIGH, PATH = 3.0, 1.5, 0.5
"""Metres of a plot, and of the path between two."""
WEST, NORTH = 500_000.0, 5_300_000.0
CRS = "EPSG:32632"
RULES = "colour", "colour-otsu"


def paint_plot(
    random: np.random.Generator, shape: tuple[int, int], aim: float, gsd: float, pale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (3, y, x) colours and the (y, x) mask of leaves of one plot with its path."""
    rough = sum(
        weight * ndimage.gaussian_filter(random.standard_normal(shape), size) * size
        for size, weight in ((1, 0.5), (3, 1.0), (9, 1.0))
    )
    soil = np.array([150, 120, 92])[:, None, None] * (1 + 0.12 * rough)
    leaf, image = np.zeros(shape, bool), soil
    rows, columns = round(HIGH / gsd), round(WIDE / gsd)
    plot = (slice(0, rows), slice(0, columns))
    while leaf[plot].mean() < aim:
        long = random.uniform(0.03, 0.10) / gsd
        wide = long * random.uniform(0.2, 0.5)
        y, x, turn = random.uniform(0, rows), random.uniform(0, columns), random.uniform(0, np.pi)
        top, left = (max(int(place - long), 0) for place in (y, x))
        box_ = (
            slice(top, min(int(y + long) + 1, rows)),
            slice(left, min(int(x + long) + 1, columns)),
        )
        dy, dx = np.mgrid[box_] - np.array([y, x])[:, None, None]
        u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        hit = (u / long) ** 2 + (v / wide) ** 2 < 1
        green = np.array([70, 135, 45]) * random.uniform(0.6, 1.3) + random.normal(0, 8, 3)
        green += pale * (np.array([150, 120, 92]) - green)
        shade = 1 - 0.25 * np.abs(v / wide)
        image[:, *box_][:, hit] = green[:, None] * shade[hit]
        leaf[box_] |= hit
    noisy = image + random.normal(0, 4, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), leaf


def make(folder: Path, across: int, down: int, gsd: float, pale: float) -> list[float]:
    """Write ``ortho.tif`` and ``plots.gpkg``; return the true covers."""
    random = np.random.default_rng(5)
    shape = round((HIGH + PATH) / gsd), round((WIDE + PATH) / gsd)
    names, outlines, covers = [], [], []
    transform = Affine(gsd, 0, WEST, 0, -gsd, NORTH)
    profile = {
        "driver": "GTiff", "dtype": "uint8", "count": 3, "crs": CRS, "transform": transform,
        "width": across * shape[1], "height": down * shape[0], "tiled": True, "compress": "deflate",
        "blockxsize": 512, "blockysize": 512, "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    with rasterio.open(folder / "ortho.tif", "w", **profile) as out:
        for row in range(down):
            strip = []
            for column in range(across):
                image, leaf = paint_plot(random, shape, random.uniform(0.02, 0.8), gsd, pale)
                strip.append(image)
                covers.append(float(leaf[: round(HIGH / gsd), : round(WIDE / gsd)].mean()))
                x, y = WEST + column * shape[1] * gsd, NORTH - row * shape[0] * gsd
                outlines.append(box(x, y - HIGH, x + WIDE, y))
                names.append(f"{row + 1:02d}-{column + 1:02d}")
            window = rasterio.windows.Window(0, row * shape[0], across * shape[1], shape[0])
            out.write(np.concatenate(strip, 2), window=window)
    frame = geopandas.GeoDataFrame({"plot": names}, geometry=outlines, crs=CRS)
    frame.to_file(folder / "plots.gpkg")
    return covers


def measure(folder: Path, model: str) -> dict[str, float]:
    """Run the verb in a process of its own; return seconds and the peak of memory."""
    words = ["crops", "plots", folder / "ortho.tif", folder / "plots.gpkg", "-o", folder / model]
    began = time.perf_counter()
    command = [sys.executable, __file__, "--child", *map(str, words), "-m", model, "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"seconds": time.perf_counter() - began, **json.loads(done.stdout.splitlines()[-1])}


def child(words: list[str]) -> None:
    """Run the command line, then tell the peak of this process."""
    from selion.cli.main import cli

    cli(words, standalone_mode=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peak": peak}))


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gsd", type=float, default=0.01)
    parser.add_argument("--plots", type=int, nargs=2, default=(20, 10))
    parser.add_argument("--pale", type=float, default=0.0)
    parser.add_argument("--models", nargs="+", default=["auto", *RULES, "crops-rgb"])
    parser.add_argument("--keep", type=Path, help="leave everything in this folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        covers = np.array(make(folder, *args.plots, args.gsd, args.pale))
        with rasterio.open(folder / "ortho.tif") as ortho:
            print(f"{len(covers)} plots, {ortho.width} x {ortho.height} px of {args.gsd} m\n")
        print("| model | mean error of cover | largest | r | truth in interval | s | peak MB |")
        print("|---|---|---|---|---|---|---|")
        for model in args.models:
            cost = measure(folder, model)
            with (folder / model / "plots.csv").open(encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            said, low, high = (
                np.array([float(row[name]) for row in rows])
                for name in ("cover", "cover_low", "cover_high")
            )
            error, held = np.abs(said - covers), (low <= covers) & (covers <= high)
            r = stats.pearsonr(said, covers).statistic
            print(
                f"| {model} | {error.mean():.3f} | {error.max():.3f} | {r:.4f} | "
                f"{held.mean():.0%} | {cost['seconds']:.0f} | {cost['peak']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
