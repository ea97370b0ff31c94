"""Ground that both maps of a comparison hold several times over, found by their boxes alone."""

from __future__ import annotations

import numpy as np

from selion.country.neighbourhoods import MapSide, cell_of, check_piles

PILED, PILES = 5.0, 4
"""Times that the boxes of both maps hold the ground of a cell, above which it is looked at before
any is compared, and how many such cells are; boxes of slanted fields hold theirs twice or more."""


def count_ground(ground: dict[int, np.ndarray], boxes: np.ndarray, side: int) -> None:
    """Add up, cell by cell, how large the boxes of a side are together, in square degrees."""
    cells = cell_of(boxes)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for cell in np.unique(cells).tolist():
        ground.setdefault(cell, np.zeros(2))[side] += areas[cells == cell].sum()


def refuse_piles(
    sides: tuple[MapSide, MapSide], found: dict[int, list[float]], ground: dict[int, np.ndarray]
) -> None:
    """Look first where both maps hold more ground than there is, several times over.

    Outlines that are there over and over are refused in each cell before its fields are compared;
    here they are before the first one is, and not after hours of good ones (BadInput).
    """
    times: dict[int, float] = {}
    for cell, (west, south, east, north) in found.items():
        there = max((east - west) * (north - south), 1e-12)
        times[cell] = float(ground[cell].min()) / there
    deepest = sorted(times, key=lambda cell: (-times[cell], cell))[:PILES]
    for cell in deepest:
        if times[cell] > PILED:
            west, south, east, north = found[cell]
            check_piles(sides, (west, south, east, north))
