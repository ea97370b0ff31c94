"""Pictures of what a cut finds on places that neither network nor score has seen: the best, the
median and the worst place of each kind of imagery, drawn fields beside chosen ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cut_places import Place, f1, objects_of, tally
from selion.fields.node_score import CutSettings
from selion.raster import Raster
from selion.reports import picture

KINDS = ("aerial 1 m", "aerial 4 m", "true colour", "two dates")
LONGEST = 700
"""Pixels along the edge of a picture."""
COLOURS = ("red", "green", "blue")


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
