"""First hour of a phenotyper: photographs to cover, plots and dates to growth, an orthomosaic.

python examples/phenotyper.py [PHOTOS --pattern '{plot}_RGB1_{date}_*'] [-o FOLDER]
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import geopandas
import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image
from scipy import ndimage

from hour import Hour, arguments
from selion.grid import whole
from selion.store import create_cog

COVERS = {"north": (0.04, 0.08, 0.2, 0.45, 0.6), "south": (0.03, 0.05, 0.1, 0.3, 0.5)}
"""Cover of two plots on five dates."""
FIRST, WEEK = date(2024, 4, 2), timedelta(days=9)
PIXEL = 0.005
"""Metres of a pixel of the orthomosaic."""


def main(given: Sequence[str] | None = None) -> None:
    """Measure photographs, join them by plot and date, measure plots; without any, simulated."""
    parser = arguments(main.__doc__ or "", "hour-phenotyper")
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--pattern", default="{plot}_{date}", help="How photographs are named.")
    parser.add_argument("--model", default="crops-rgb")
    parser.add_argument("--edge", type=int, default=240, help="Pixels of what is simulated.")
    parser.add_argument("--workers", type=int, default=2, help="Photographs measured at once.")
    asked = parser.parse_args(given)
    photos = None if asked.photos is None else asked.photos.resolve()
    with Hour(asked.out, pages=asked.pages) as hour:
        if photos is None:
            photos = write_season(Path("photos"), asked.edge)
        hour.run(
            *("crops", photos, "-o", "measured", "-m", asked.model, "-j", asked.workers),
            shows=["measured/index.html"],
        )
        hour.run("crops", "trial", "measured", "-o", "trial", code=2)  # nothing says which plot
        hour.run(
            *("crops", "trial", "measured", "-o", "trial", "--pattern", asked.pattern),
            *("--at", "0.3"),
            shows=["trial/index.html"],
        )
        write_trial(Path("field"), 3, 2, asked.edge)
        hour.run(
            *("crops", "plots", "field/orthomosaic.tif", "field/plots.gpkg", "-o", "plots"),
            *("-m", asked.model),
            shows=["plots/index.html"],
        )
        hour.page("label", "screen", photos, "measured/masks", "--person", "Ada")


def paint(seed: int, cover: float, shape: tuple[int, int]) -> np.ndarray:
    """Return (y, x, 3) bytes: leaves on soil that cover so much of it."""
    random = np.random.default_rng(seed)
    rough = ndimage.gaussian_filter(random.standard_normal(shape), 2) * 2
    image = np.array([150.0, 120.0, 92.0]) * (1 + 0.12 * rough[..., None])
    leaf = np.zeros(shape, bool)
    y, x = np.mgrid[: shape[0], : shape[1]]
    while leaf.mean() < cover:
        long = random.uniform(0.04, 0.09) * min(shape)
        wide, turn = long * random.uniform(0.2, 0.4), random.uniform(0, np.pi)
        dy, dx = y - random.uniform(0, shape[0]), x - random.uniform(0, shape[1])
        u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        hit = (u / long) ** 2 + (v / wide) ** 2 < 1
        green = np.array([70.0, 135.0, 45.0]) * random.uniform(0.7, 1.3)
        image[hit] = green * (1 - 0.25 * np.abs(v / wide))[hit, None]
        leaf |= hit
    noisy: np.ndarray = np.clip(image + random.normal(0, 4, image.shape), 0, 255)
    return noisy.astype(np.uint8)


def write_season(folder: Path, edge: int) -> Path:
    """Write photographs of two plots on five dates, named by plot and date."""
    folder.mkdir(exist_ok=True)
    for number, (plot, covers) in enumerate(COVERS.items()):
        for step, cover in enumerate(covers):
            day = f"{FIRST + step * WEEK:%Y%m%d}"
            pixels = paint(10 * number + step, cover, (edge, edge * 4 // 3))
            Image.fromarray(pixels).save(folder / f"{plot}_{day}.png")
    return folder


def write_trial(folder: Path, across: int, down: int, edge: int) -> None:
    """Write ``orthomosaic.tif`` and ``plots.gpkg``: plots side by side, paths between them."""
    folder.mkdir(exist_ok=True)
    path = edge // 5
    step = edge + path
    image = np.concatenate(
        [
            np.concatenate([_plot(row * across + k, edge, path) for k in range(across)], 1)
            for row in range(down)
        ]
    )
    place = Affine(PIXEL, 0, 500_000.0, 0, -PIXEL, 5_300_000.0)
    grid = GeoBox(image.shape[:2], place, "EPSG:32632")
    bands = ("red", "green", "blue")
    with create_cog(folder / "orthomosaic.tif", grid, bands, "uint8", force=True) as sink:
        sink.write(whole(grid), np.moveaxis(image, -1, 0))
    corners = [place * (k * step, row * step) for row in range(down) for k in range(across)]
    side = edge * PIXEL
    boxes = [shapely.box(x, y - side, x + side, y) for x, y in corners]
    names = [f"P{number + 1:02}" for number in range(len(boxes))]
    table = geopandas.GeoDataFrame({"plot_id": names}, geometry=boxes, crs="EPSG:32632")
    table.to_file(folder / "plots.gpkg")


def _plot(number: int, edge: int, path: int) -> np.ndarray:
    """Return a plot with its path; each one has more on it than the one before."""
    whole_ = paint(900 + number, 0.0, (edge + path, edge + path))
    whole_[:edge, :edge] = paint(number, 0.03 + 0.04 * number, (edge, edge))
    return whole_


if __name__ == "__main__":
    main()
