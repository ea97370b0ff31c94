"""Pictures of what a cut finds on places that neither network nor score has seen: the best, the
median and the worst place of each kind of imagery, drawn fields beside chosen ones.

    python runs/cut_pictures.py checkpoints/pictures docs/pictures/weights.webp     # all on a sheet
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cut_places import Place, f1, objects_of, tally
from selion.fields.node_score import CutSettings
from selion.raster import Raster
from selion.reports import picture

KINDS = ("aerial 1 m", "aerial 4 m", "true colour", "two dates")
LONGEST = 700
"""Pixels along the edge of a picture."""
COLOURS = ("red", "green", "blue")
RANKS = ("best", "median", "worst")
TILE, HEAD = 236, 22
"""Pixels along the edge of a picture on the sheet, and of the line above it."""


def draw(place: Place, ids: np.ndarray) -> np.ndarray:
    """(y, x, 3) uint8: the image with outlines of the drawn fields and of the chosen ones."""
    image = Raster(place.image[: len(COLOURS)], place.grid, COLOURS)
    return picture.compared(image, place.truth, ids, LONGEST)


def write_pictures(
    places: Sequence[Place], said: Sequence[np.ndarray], settings: CutSettings, folder: Path
) -> list[Path]:
    """Write the best, the median and the worst place of each kind; where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in KINDS:
        found = []
        for place, mine in zip(places, said, strict=True):
            if place.kind == kind and place.truth.any():
                ids = objects_of(place, mine, settings)
                found.append((f1(tally(place.truth, ids, place.pixel)), place.name, place, ids))
        found.sort(key=lambda row: row[:2])
        ranks = {"worst": 0, "median": len(found) // 2, "best": len(found) - 1}
        for rank, k in ranks.items() if found else ():
            score, _, place, ids = found[k]
            path = folder / f"{kind.replace(' ', '_')}_{rank}_{100 * score:.0f}.png"
            picture.save_png(draw(place, ids), path)
            written.append(path)
    return written


def weights(folder: Path, path: Path) -> None:
    """Put the twelve pictures of :func:`write_pictures` on a sheet: a row for each kind."""
    sheet = Image.new("RGB", (len(RANKS) * (TILE + 8) - 8, len(KINDS) * (TILE + HEAD)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, kind in enumerate(KINDS):
        for column, rank in enumerate(RANKS):
            (found,) = folder.glob(f"{kind.replace(' ', '_')}_{rank}_*.png")
            x, y = column * (TILE + 8), row * (TILE + HEAD)
            said = f"{kind}, {rank}: F1 {int(found.stem.rpartition('_')[2]) / 100:.2f}"
            pen.text((x + 2, y + 4), said, "black", font)
            with Image.open(found) as image:
                square = image.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS)
            sheet.paste(square, (x, y + HEAD))
    sheet.save(path, quality=41, method=6)


if __name__ == "__main__":
    weights(Path(sys.argv[1]), Path(sys.argv[2]))
