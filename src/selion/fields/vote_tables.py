"""The tables of BoundaryVote: which fields stay, which are added, which touch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from selion.classes import ClassScheme
from selion.fields import seams
from selion.fields.voting import ONE_SHARE, VoteInput

FIRST, SECOND = 1, 2
"""Kinds of pieces: of the first flood, and of those of the second that are added."""


@dataclass(frozen=True, eq=False)
class FilledBlock:
    """The pieces of one block after lines are filled, for each flood."""

    blocks: tuple[seams.BasinBlock, ...]
    shared: np.ndarray
    """(m, 3) int64: piece of the second flood (-1: foreground of none), piece of the first, and how
    many pixels are in both."""


def decide(filled: list[FilledBlock], scene: VoteInput) -> tuple[np.ndarray, np.ndarray | None]:
    """Say which fields stay, and which of the second flood are added.

    Returns
    -------
    first : (k,) int64 ndarray
        Of each piece of the first flood its field, 1 .. n; 0: none, -1: no data.
    second : (m,) uint8 ndarray or None
        Whether a piece of the second flood is added; None: none is.
    """
    from selion.fields.basins import OUTSIDE

    options, floods, kept = scene.options, [], []
    for k in range(len(scene.rules)):
        basins = seams.join([one.blocks[k] for one in filled], scene.shape[1])
        pixels = np.maximum(basins.rows[:, seams.PIXELS], 1)
        mean = basins.rows[:, seams.SURE] / ONE_SHARE / pixels
        floods.append(basins)
        kept.append(
            (basins.rows[:, seams.KIND] == FIRST) & (mean >= options.min_mean_field_probability)
        )
    rows = floods[0].rows
    state = np.where(kept[0], np.arange(1, len(rows) + 1), 0)
    state[rows[:, seams.KIND] == OUTSIDE] = -1
    first: np.ndarray = state[floods[0].pieces]
    if len(floods) == 1:
        return first, None
    starts = [np.cumsum([0, *(len(one.blocks[k].basins) for one in filled)]) for k in (0, 1)]
    covered, ground, uncovered = np.zeros(len(floods[1].rows), np.int64), 0, 0
    for k, one in enumerate(filled):
        parcel, field, count = one.shared.T
        own = np.where(field >= 0, first[np.maximum(field, 0) + starts[0][k]] > 0, False)
        ground, uncovered = ground + int(count.sum()), uncovered + int(count[~own].sum())
        taken = own & (parcel >= 0)
        place = floods[1].pieces[parcel[taken] + starts[1][k]]
        np.add.at(covered, place, count[taken])
    added = kept[1] & (covered < 0.5 * floods[1].rows[:, seams.PIXELS])
    if uncovered < options.refill_min_uncovered * ground or not added.any():
        return first, None
    return first, added[floods[1].pieces].astype(np.uint8)


def settle(basins: seams.Basins, owner: np.ndarray, scene: VoteInput, overlaid: bool) -> np.ndarray:
    """Fill holes, drop small fields, and number the rest in the order of first pixels.

    ``owner`` says whose each row is, 0 nobody's; ``overlaid`` that a second flood was laid over the
    first, so that fields may touch.  As the reference does, those that touch are one if any field
    of the raster was too small.
    """
    from selion.fields.basins import unite_pairs

    rows, pairs = basins.rows, basins.passes[:, :2]
    if scene.options.fill_holes_px:
        owner = np.where(owner > 0, owner, _holes(basins, owner, scene.options.fill_holes_px))
    count = int(owner.max(initial=0)) + 1
    measure, least = _least(scene)
    size = np.zeros(count, np.int64)
    np.add.at(size, owner, rows[:, measure])
    small = (size < least)[owner] & (owner > 0)
    owner = np.where(small, 0, owner)
    if overlaid and small.any():
        touching = np.ascontiguousarray(pairs[(owner[pairs] > 0).all(axis=1)])
        group = unite_pairs(
            len(rows), np.ascontiguousarray(touching[:, 0]), np.ascontiguousarray(touching[:, 1])
        )
    else:
        first = np.full(count, len(rows))
        np.minimum.at(first, owner, np.arange(len(rows)))
        group = first[owner]
    ids = np.zeros(len(rows), np.int64)
    ids[owner > 0] = np.unique(group[owner > 0], return_inverse=True)[1] + 1
    return ids


def _least(scene: VoteInput) -> tuple[int, int]:
    """Return the column that is compared, and what the smallest field has there."""
    if not scene.min_area:
        return seams.PIXELS, 0
    if scene.pixel is not None:  # the reference's rule
        return seams.PIXELS, max(1, round(scene.min_area / scene.pixel))
    return seams.AREA, int(np.ceil(scene.min_area / scene.unit))


def _holes(basins: seams.Basins, owner: np.ndarray, most: int) -> np.ndarray:
    """Return for each row of nobody whose field alone surrounds it, or 0.

    Holes at the raster's edge and at pixels without data stay.
    """
    from selion.fields.basins import OUTSIDE, unite_pairs

    rows, pairs = basins.rows, basins.passes[:, :2]
    void = (owner == 0) & (rows[:, seams.KIND] != OUTSIDE)
    inner = pairs[void[pairs].all(axis=1)]
    group = unite_pairs(
        len(rows), np.ascontiguousarray(inner[:, 0]), np.ascontiguousarray(inner[:, 1])
    )
    pixels, closed = np.zeros(len(rows), np.int64), np.ones(len(rows), bool)
    np.add.at(pixels, group[void], rows[void, seams.PIXELS])
    closed[group[rows[:, seams.EDGE] > 0]] = False
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[void[both[:, 0]] & ~void[both[:, 1]]]
    low, high = np.full(len(rows), np.iinfo(np.int64).max), np.zeros(len(rows), np.int64)
    np.minimum.at(low, group[both[:, 0]], owner[both[:, 1]])
    np.maximum.at(high, group[both[:, 0]], owner[both[:, 1]])
    filled = closed & (low == high) & ((most < 0) | (pixels < most))
    found: np.ndarray = np.where(void & filled[group], high[group], 0)
    return found


def table_of(
    basins: seams.Basins, ids: np.ndarray, scene: VoteInput, classes: ClassScheme
) -> pd.DataFrame:
    """Return ``id``, ``class``, ``score`` (mean probability of field), ``pixels`` and ``area``."""
    count = int(ids.max(initial=0))
    total = np.zeros((3, count + 1), np.int64)
    for k, column in enumerate((seams.PIXELS, seams.AREA, seams.SURE)):
        np.add.at(total[k], ids, basins.rows[:, column])
    pixels, area, sure = total[:, 1:]
    return pd.DataFrame(
        {
            "id": np.arange(1, count + 1, dtype=np.int64),
            "class": pd.array([classes.things[0]] * count, dtype="string"),
            "score": (sure / ONE_SHARE / np.maximum(pixels, 1)).astype(np.float32),
            "pixels": pixels,
            "area": area * scene.unit,
        }
    )
