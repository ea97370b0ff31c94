"""Make ``docs/demo.png`` anew from a finished demo.

``selion demo -o demo --force && python docs/picture.py demo``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from PIL import Image

from selion import fields, store
from selion.reports import picture

TARGET = Path(__file__).with_name("demo.png")
PART, FACTOR = (420, 210), 3
"""Columns and rows of the scene that are shown, where most fields lie, and how many pixels of the
picture each becomes."""
COLOURS = 96
"""A palette: a third of the bytes, and nobody sees it."""


def densest(frame: Any, grid: Any, height: int, width: int) -> tuple[int, int]:
    """Return top and left of the part of so many pixels that holds most fields."""
    middles = frame.geometry.centroid
    columns, rows = ~grid.transform * (middles.x.to_numpy(), middles.y.to_numpy())
    places = [
        (top, left)
        for top in range(0, grid.shape[0] - height + 1, 30)
        for left in range(0, grid.shape[1] - width + 1, 30)
    ]
    return max(
        places,
        key=lambda p: int(
            (
                (rows >= p[0])
                & (rows < p[0] + height)
                & (columns >= p[1])
                & (columns < p[1] + width)
            ).sum()
        ),
    )


def main() -> None:
    """Write the picture."""
    demo = Path(sys.argv[1])
    source = store.open_raster(demo / "scene" / "image.tif")
    image, _ = picture.thumbnail(source, max(source.grid.shape))
    grid = picture.zoomed(source.grid, FACTOR)
    frame = fields.read_fields(demo / "fields.parquet").to_crs(str(grid.crs))
    drawn = picture.draw_outlines(picture.enlarge(image, FACTOR), frame, grid)
    height, width = (FACTOR * size for size in (PART[1], PART[0]))
    top, left = densest(frame, grid, height, width)
    Image.fromarray(drawn[top : top + height, left : left + width]).quantize(
        COLOURS, dither=Image.Dither.NONE
    ).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
