"""Make ``docs/demo.png`` anew from a finished demo: ``tilth demo -o demo --force && python docs/picture.py demo``."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from tilth import fields, picture, store

TARGET = Path(__file__).with_name("demo.png")
PART, FACTOR = (420, 210), 3
"""Columns and rows of the scene's middle that are shown, and how many pixels of the picture each becomes."""
COLOURS = 96
"""A palette: a third of the bytes, and nobody sees it."""


def main() -> None:
    """Write the picture."""
    demo = Path(sys.argv[1])
    source = store.open_raster(demo / "scene" / "image.tif")
    image, _ = picture.thumbnail(source, max(source.grid.shape))
    grid = picture.zoomed(source.grid, FACTOR)
    drawn = picture.draw_outlines(picture.enlarge(image, FACTOR), fields.read_fields(demo / "fields.parquet"), grid)
    height, width = (FACTOR * size for size in (PART[1], PART[0]))
    top, left = ((edge - part) // 2 for edge, part in zip(drawn.shape[:2], (height, width), strict=True))
    Image.fromarray(drawn[top : top + height, left : left + width]).quantize(COLOURS, dither=Image.Dither.NONE).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
