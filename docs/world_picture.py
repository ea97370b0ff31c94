"""Make ``world-seams.webp`` and ``world-history.webp`` in ``docs/pictures`` from an example.

``python examples/world.py --tile 512 -o out && python docs/world_picture.py out``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from PIL import Image, ImageDraw

from selion.simulation.published.plan import LONLAT
from selion.world import open_probabilities

TARGET = Path(__file__).with_name("pictures")
WIDE = 560
"""Pixels of each half of a picture."""
QUALITY = 50
OUTCOMES = {
    "split": (230, 126, 34),
    "merged": (142, 68, 173),
    "appeared": (39, 174, 96),
    "gone": (192, 57, 43),
}
"""As the rest of a history is kept."""
Rgb = tuple[int, int, int]


def seams(example: Path) -> Image.Image:
    """Draw the published polygons and ours, what lies under two of them in red."""
    year = 2025
    world = example / "world-seam" / "ftw-2e"
    zones = sorted((world / "vector" / str(year)).rglob("*.parquet"))
    published = pd.concat([gpd.read_parquet(path) for path in zones], ignore_index=True)
    ours = gpd.read_parquet(example / "fields-seam.parquet").to_crs(LONLAT)
    box = tuple(float(side) for side in ours.total_bounds)
    scores = open_probabilities(f"ftw-2e@{world}", box, year)
    height, width = scores.grid.shape
    found = scores.read((slice(0, height), slice(0, width)))
    grey = np.round(255 * (0.35 + 0.6 * found.values[1])).astype(np.uint8)
    grey[~found.valid] = 255
    halves = []
    for table in (published, ours):
        shapes = table.to_crs(str(scores.grid.crs)).geometry
        pairs = shapes.sindex.query(shapes, predicate="overlaps")
        doubled = [shapes.iloc[a].intersection(shapes.iloc[b]) for a, b in pairs.T if a < b]
        image = Image.fromarray(grey).convert("RGB")
        image = image.resize((WIDE, round(WIDE * height / width)), Image.Resampling.BOX)
        scale = WIDE / width
        place = partial(pixel, scores.grid, scale)
        fill(image, doubled, place, (214, 48, 49))
        edges(image, shapes, place, (20, 90, 50))
        halves.append(image)
    return beside(halves)


def history(example: Path) -> Image.Image:
    """Draw the fields of all years by what became of them, and how long they stand."""
    table = gpd.read_parquet(example / "history" / "history.parquet")
    table = table.to_crs(table.estimate_utm_crs())
    west, south, east, north = table.total_bounds
    scale = WIDE / (east - west)

    def place(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (x - west) * scale, (north - y) * scale

    size = WIDE, round((north - south) * scale)
    fates, since = Image.new("RGB", size, "white"), Image.new("RGB", size, "white")
    for row in table.sort_values("last_year").itertuples():
        told = [name for name in row.outcome if name in OUTCOMES]
        colour = OUTCOMES[told[-1]] if told else (205, 214, 205)
        fill(fates, [row.geometry], place, colour)
        seen = row.years_seen / 9
        fill(since, [row.geometry], place, (int(235 - 200 * seen), int(240 - 110 * seen), 120))
    for image in (fates, since):
        edges(image, table.geometry, place, (70, 70, 70))
    return beside([fates, since])


Place = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def pixel(grid: Any, scale: float, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where points in metres lie in the picture."""
    columns, rows = ~grid.transform * (x, y)
    return columns * scale, rows * scale


def rings(shape: Any) -> Iterator[Any]:
    """Yield the outer rings of a shape."""
    for part in shapely.get_parts(shape):
        if part.geom_type == "Polygon":
            yield part.exterior


def points(ring: Any, place: Place) -> list[tuple[float, float]]:
    """Return a ring in the picture."""
    at = shapely.get_coordinates(ring)
    return list(zip(*place(at[:, 0], at[:, 1]), strict=True))


def fill(image: Image.Image, shapes: Any, place: Place, colour: Rgb) -> None:
    """Fill shapes."""
    draw = ImageDraw.Draw(image)
    for shape in shapes:
        for ring in rings(shape):
            draw.polygon(points(ring, place), fill=colour)


def edges(image: Image.Image, shapes: Any, place: Place, colour: Rgb) -> None:
    """Draw outlines."""
    draw = ImageDraw.Draw(image)
    for shape in shapes:
        for ring in rings(shape):
            draw.line(points(ring, place), fill=colour, width=1)


def beside(images: list[Image.Image]) -> Image.Image:
    """Return images beside each other."""
    height = max(image.height for image in images)
    whole = Image.new("RGB", (sum(image.width for image in images) + 12, height), "white")
    left = 0
    for image in images:
        whole.paste(image, (left, 0))
        left += image.width + 12
    return whole


def main() -> None:
    """Write the pictures."""
    example = Path(sys.argv[1])
    for name, drawn in (("world-seams", seams(example)), ("world-history", history(example))):
        drawn.save(TARGET / f"{name}.webp", quality=QUALITY, method=6)


if __name__ == "__main__":
    main()
