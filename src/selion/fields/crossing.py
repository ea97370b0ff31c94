"""How often the outlines of two tables lie on one another, estimated before any of it is cut.

A map shows a place once, perhaps twice where tables meet.  A table that holds the same outlines
hundreds of times has pairs without end: they are counted by their boxes, a sample of them by the
outlines, and the tables are refused before they are compared.
"""

from __future__ import annotations

import numpy as np

from selion.errors import BadInput

DEPTH = 25
"""Outlines of the other table that one may lie on, on the mean."""
FEW = 100_000
"""Pairs that are always compared: a second or two."""
AT_ONCE, ENOUGH = 500_000, 4_000_000
"""Pairs of boxes that are looked up together, and after which the rest is taken to be alike."""
ROWS = 4096
"""Outlines that are looked up together at most."""
STRIDE, SAMPLE = 64, 2048
"""One pair of boxes in so many is remembered, and so many of those at most are looked at."""

SLIVER = 1e-6
"""Part of the smaller one that two outlines may share by rounding."""


def check_crossing(one: np.ndarray, other: np.ndarray, where: str) -> None:
    """Refuse outlines that lie on those of another table too often.

    Parameters
    ----------
    one, other : (n,) and (m,) object ndarray
        Shapely polygons in one CRS; the same array twice: a table against itself.
    where : str
        Which tables, for the message.

    Raises
    ------
    BadInput
        If :func:`crossing_depth` is above :data:`DEPTH`.
    """
    mean = crossing_depth(one, other)
    if mean > DEPTH:
        raise BadInput(
            f"The outlines of {where} lie on some {mean:,.0f} others each, and at most "
            f"{DEPTH} are compared: fields are there over and over; keep each of them once."
        )


def crossing_depth(one: np.ndarray, other: np.ndarray) -> float:
    """Estimate on how many of another table an outline lies, on the mean.

    Parameters
    ----------
    one, other : (n,) and (m,) object ndarray
        Shapely polygons in one CRS.

    Returns
    -------
    float
        Pairs that share ground, over the number of outlines in the larger table; 0 where their
        boxes tell already that they are no more than :data:`FEW` or :data:`DEPTH` each.  The same
        each time: what is looked at is drawn with a fixed seed.
    """
    import shapely

    if len(other) > len(one):
        one, other = other, one
    if len(one) * len(other) <= FEW:
        return 0.0
    tree, order = shapely.STRtree(other), np.random.default_rng(0).permutation(len(one))
    looked = boxes = 0
    some: list[np.ndarray] = []
    rows = order[:1]
    while len(rows) and boxes < ENOUGH:
        found = tree.query(one[rows])
        some.append(np.stack([rows[found[0]], found[1]])[:, -boxes % STRIDE :: STRIDE])
        looked, boxes = looked + len(rows), boxes + found.shape[1]
        room = AT_ONCE * looked // max(boxes, 1)
        rows = order[looked : looked + max(1, min(room, 4 * len(rows), ROWS))]
    pairs = boxes * len(one) / looked
    if pairs <= max(FEW, DEPTH * len(one)):
        return 0.0
    sample = np.concatenate(some, axis=1)
    sample = sample[:, :: max(1, sample.shape[1] // SAMPLE)]
    a, b = one[sample[0]], other[sample[1]]
    # neighbours share an edge only, and slanted ones a part of their boxes
    least = SLIVER * np.minimum(shapely.area(a), shapely.area(b))
    crossing = shapely.area(shapely.intersection(a, b)) > least
    depth = pairs * float(crossing.mean()) / len(one)
    return depth if depth * len(one) > FEW else 0.0
