"""Chips in the layout of Fields of The World, drawn here, and a network that is a formula."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from rasterio.transform import from_origin

from selion.classes import FTW3
from selion.segmenter import InputSpec, Scaling

SIZE = 64
TEST = {"austria": 3, "vietnam": 2, "kenya": 1}
"""Test chips of each country; one more is a training chip."""
COLOURS = ("red", "green", "blue", "nir")
BANDS = tuple(f"window_{w}:{c}" for w in "ba" for c in COLOURS)
"""As the published networks: B, then A."""


def masks(draw: np.random.Generator, fields: int) -> dict[str, np.ndarray]:
    """Draw cells around random points, a line two pixels wide between them, and some bare ones.

    One cell is two fields that touch without a line between them, as neighbours sometimes do.
    """
    points = draw.uniform(0, SIZE, (fields, 2))
    y, x = np.mgrid[:SIZE, :SIZE]
    away = (y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2
    cell = away.argmin(-1)
    line = np.zeros((SIZE, SIZE), bool)
    for axis in (0, 1):
        other = np.roll(cell, 1, axis) != cell
        line |= other | np.roll(other, -1, axis)
    bare = cell % 4 == 0
    inside = ~line & ~bare
    ids = np.where(inside, cell + 1, 0)
    halved = inside & (cell == 1) & (x > points[1, 1])
    ids[halved] = fields + 5
    return {
        "instance": ids.astype(np.uint32),
        "semantic_2class": inside.astype(np.uint8),
        "semantic_3class": np.where(bare, 0, np.where(inside, 1, 2)).astype(np.uint8),
    }


def write_sample(root: Path) -> Path:
    """Write all countries."""
    for number, (country, chips) in enumerate(TEST.items()):
        rows = []
        for k in range(chips + 1):
            draw = np.random.default_rng([number, k])
            aoi = f"g{number}_{k:05d}_1"
            made = masks(draw, 9 + 3 * number)
            fresh = made["semantic_2class"] * draw.uniform(0.5, 1.6, (SIZE, SIZE))
            windows = {
                "window_a": [500, 600, 400, 900] + fresh[..., None] * [-150, 0, 50, 1500],
                "window_b": [700, 600, 500, 1100] + fresh[..., None] * [200, 100, 0, 700],
            }
            layers = {f"s2_images/{n}": v.transpose(2, 0, 1) for n, v in windows.items()}
            noisy = {
                n: (v + draw.normal(0, 120, v.shape)).clip(1).astype(np.uint16)
                for n, v in layers.items()
            }
            if country == "kenya":
                for name, lost in (("semantic_2class", 3), ("semantic_3class", 3)):
                    made[name] = np.where(made[name] == 0, lost, made[name]).astype(np.uint8)
            truth = {f"label_masks/{n}": v[None] for n, v in made.items()}
            for place, values in (noisy | truth).items():
                write_tif(root / country / place / f"{aoi}.tif", values, number, k)
            rows.append((aoi, "train" if k == chips else "test"))
        table = pd.DataFrame(rows, columns=["aoi_id", "split"])
        table.to_parquet(root / country / f"chips_{country}.parquet")
    return root


def write_tif(path: Path, values: np.ndarray, number: int, k: int) -> None:
    """Write a raster of 10 m pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    corner = from_origin(500_000 + 10 * SIZE * k, 5_000_000 + 9_000 * number, 10, 10)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=SIZE,
        height=SIZE,
        count=len(values),
        dtype=values.dtype,
        crs="EPSG:32633",
        transform=corner,
    ) as file:
        file.write(values)


@dataclass(frozen=True)
class Formula:
    """Three classes from the greenness of B and A.

    In a view of another size than a chip (a crop, an enlarged chip) it also depends on the first
    pixel, as networks depend on what surrounds a pixel: their crops do not agree.
    """

    b: float = 1.0
    a: float = 0.4
    inputs: InputSpec = field(
        default_factory=lambda: InputSpec(BANDS, Scaling((3000.0,)), window=SIZE, multiple=4)
    )
    classes: object = FTW3

    def __call__(self, views):
        return np.stack([self.shares(view.pixels) for view in views])

    def shares(self, pixels: np.ndarray) -> np.ndarray:
        """Return (class, y, x) float32 probabilities of (band, y, x) pixels, B before A."""
        x = pixels.astype(np.float64) / 3000
        green = self.b * (x[3] - x[0]) + self.a * (x[7] - x[4])
        turn = 0.15 * np.sin(40 * x[3, 0, 0]) if pixels.shape[1] != SIZE else 0.0
        away = green - (0.22 * self.b + 0.35 * self.a + turn)
        logits = np.stack([-9 * away, 14 * away, 1 - 30 * np.abs(away)])
        powers = np.exp(logits - logits.max(0))
        return (powers / powers.sum(0)).astype(np.float32)
