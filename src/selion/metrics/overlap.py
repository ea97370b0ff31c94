"""The table of overlaps: how many pixels each true object shares with each predicted one.

Every object score reads this one table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from selion.errors import BadInput, GridMismatch
from selion.grid import same_grid
from selion.labels import Instances

ROWS = 1024
"""Rows looked at in one go: memory is a few blocks, whatever the map's size."""


@dataclass(frozen=True, eq=False, slots=True)
class OverlapTable:
    """Sparse table of shared pixels.

    Only pairs that touch are listed; areas count known pixels only.
    """

    truth_ids: np.ndarray
    """(truth,) int64, ascending."""
    truth_area: np.ndarray
    """(truth,) float64: pixels, or m2 if a pixel area was given."""
    prediction_ids: np.ndarray
    """(prediction,) int64, ascending."""
    prediction_area: np.ndarray
    """(prediction,) float64."""
    prediction_ignored: np.ndarray
    """(prediction,) float64: what of each prediction lies on ignored pixels, in addition to
    ``prediction_area``."""
    truth_index: np.ndarray
    """(pair,) int64: row into ``truth_ids``; pairs are sorted by truth, then prediction."""
    prediction_index: np.ndarray
    """(pair,) int64: row into ``prediction_ids``."""
    shared: np.ndarray
    """(pair,) float64: common area of the pair."""

    @property
    def iou(self) -> np.ndarray:
        """(pair,) float64 intersection over union."""
        both = self.truth_area[self.truth_index] + self.prediction_area[self.prediction_index]
        shares: np.ndarray = self.shared / (both - self.shared)
        return shares


def overlap_table(
    truth: Instances | np.ndarray,
    prediction: Instances | np.ndarray,
    ignore: np.ndarray | None = None,
) -> OverlapTable:
    """Count shared pixels of two maps of object ids in one run-length pass.

    Parameters
    ----------
    truth, prediction : Instances or (y, x) integer ndarray
        Object ids, 0 is no object; any other ids are welcome, in any order and with gaps.  Two
        Instances must share a grid.
    ignore : (y, x) bool ndarray, optional
        True where the truth is not known.  Those pixels count for nobody; ``prediction_ignored``
        remembers how much of a prediction lies there.

    Returns
    -------
    OverlapTable
        Areas in pixels.

    Raises
    ------
    GridMismatch
        If shapes or grids differ.
    BadInput
        If ids are negative or not integers.
    """
    if isinstance(truth, Instances) and isinstance(prediction, Instances):
        same_grid(truth.grid, prediction.grid, ("truth", "prediction"))
    one, other = _ids(truth, "truth"), _ids(prediction, "prediction")
    if one.shape != other.shape or (ignore is not None and ignore.shape != one.shape):
        shapes = [one.shape, other.shape] + ([] if ignore is None else [ignore.shape])
        raise GridMismatch(
            f"Truth, prediction and ignore mask must share a shape, but they have {shapes}."
        )
    return overlap_of_blocks(
        (
            one[top : top + ROWS],
            other[top : top + ROWS],
            None if ignore is None else ignore[top : top + ROWS],
        )
        for top in range(0, one.shape[0], ROWS)
    )


Block = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""(y, x) truth ids, prediction ids, and the ignore mask if there is one."""


def overlap_of_blocks(blocks: Iterable[Block]) -> OverlapTable:
    """Count shared pixels of two maps that come in pieces.

    Each pixel once, the pieces in any order and of any shape.

    Memory is a piece and the distinct pairs so far, whatever the number of pixels.

    Raises
    ------
    BadInput
        If ids are negative.
    """
    return _assemble(_add_up(_count(*block) for block in blocks))


def _ids(objects: Instances | np.ndarray, what: str) -> np.ndarray:
    ids = objects.ids if isinstance(objects, Instances) else objects
    if ids.dtype == bool or not np.issubdtype(ids.dtype, np.integer):
        raise BadInput(f"The {what} ids came as {ids.dtype}; wanted are integers, 0 for no object.")
    if ids.ndim != 2:
        raise BadInput(f"The {what} ids have shape {ids.shape}; wanted is (y, x).")
    return ids


Counts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Truth ids, prediction ids and pixels of distinct pairs; truth -1 is ignored, 0 is no object."""


def _count(truth: np.ndarray, prediction: np.ndarray, ignore: np.ndarray | None) -> Counts:
    """Count the pairs of one block by runs of pixels that share both ids."""
    if min(int(truth.min(initial=0)), int(prediction.min(initial=0))) < 0:
        raise BadInput(
            "Object ids below 0 were given; wanted are positive ids, and 0 for no object."
        )
    one, other = truth.ravel(), prediction.ravel()
    if ignore is not None:
        one = np.where(ignore.ravel(), -1, one.astype(np.int64, copy=False))
    change = (one[1:] != one[:-1]) | (other[1:] != other[:-1])
    starts = (
        np.concatenate([[0], np.flatnonzero(change) + 1]) if one.size else np.zeros(0, np.int64)
    )
    lengths = np.diff(starts, append=one.size)
    return _sum_pairs(one[starts].astype(np.int64), other[starts].astype(np.int64), lengths)


def _sum_pairs(truth: np.ndarray, prediction: np.ndarray, pixels: np.ndarray) -> Counts:
    """Sum the pixels of equal pairs."""
    if not len(truth):
        return truth, prediction, pixels
    if max(int(truth.max()), int(prediction.max())) < 2**31:
        key = ((truth + 1) << 32) | prediction
        order = np.argsort(key, kind="stable")
        key = key[order]
        first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    else:
        order = np.lexsort((prediction, truth))
        a, b = truth[order], prediction[order]
        first = np.flatnonzero(np.concatenate([[True], (a[1:] != a[:-1]) | (b[1:] != b[:-1])]))
    return truth[order][first], prediction[order][first], np.add.reduceat(pixels[order], first)


def _add_up(blocks: Iterable[Counts]) -> Counts:
    """Sum counts as they come.

    New ones wait until they are as many as what is summed already, so that each is sorted a few
    times only.
    """
    nothing = np.zeros(0, np.int64)
    total: Counts = (nothing, nothing, nothing)
    waiting: list[Counts] = []
    for block in blocks:
        waiting.append(block)
        if sum(len(part[0]) for part in waiting) > max(len(total[0]), 1 << 20):
            total, waiting = _merge([total, *waiting]), []
    return _merge([total, *waiting])


def _merge(parts: list[Counts]) -> Counts:
    truth, prediction, pixels = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return _sum_pairs(truth, prediction, pixels)


def _assemble(counts: Counts) -> OverlapTable:
    """Turn counted pairs, background and ignored pixels among them, into the table."""
    truth, prediction, pixels = counts[0], counts[1], counts[2].astype(float)
    truth_ids, prediction_ids = np.unique(truth[truth > 0]), np.unique(prediction[prediction > 0])
    known = truth >= 0
    areas = [
        np.bincount(np.searchsorted(ids, column[chosen]), pixels[chosen], len(ids))
        for ids, column, chosen in (
            (truth_ids, truth, truth > 0),
            (prediction_ids, prediction, known & (prediction > 0)),
            (prediction_ids, prediction, ~known & (prediction > 0)),
        )
    ]
    pair = (truth > 0) & (prediction > 0)
    rows, columns = (
        np.searchsorted(truth_ids, truth[pair]),
        np.searchsorted(prediction_ids, prediction[pair]),
    )
    return OverlapTable(
        truth_ids, areas[0], prediction_ids, areas[1], areas[2], rows, columns, pixels[pair]
    )


def table_from_pairs(
    truth: tuple[np.ndarray, np.ndarray],
    prediction: tuple[np.ndarray, np.ndarray],
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> OverlapTable:
    """Build a table from areas that were measured elsewhere, between polygons for instance.

    Parameters
    ----------
    truth, prediction : tuple of (n,) ndarrays
        Ids (ascending, positive) and areas.
    pairs : tuple of (pair,) ndarrays
        Row of the truth, row of the prediction, common area; pairs without common area are dropped.
    """
    keep = pairs[2] > 0
    order = np.lexsort((pairs[1][keep], pairs[0][keep]))
    rows, columns, shared = (np.asarray(p)[keep][order] for p in pairs)
    (truth_ids, truth_area), (prediction_ids, prediction_area) = truth, prediction
    return OverlapTable(
        truth_ids,
        truth_area.astype(float),
        prediction_ids,
        prediction_area.astype(float),
        np.zeros(len(prediction_ids)),
        rows,
        columns,
        shared.astype(float),
    )


def join_tables(tables: Iterable[OverlapTable]) -> OverlapTable:
    """Put tables of different images beside each other as if they were one image.

    Ids are made distinct by renumbering from 1.
    """
    parts = list(tables)
    truth_start = np.cumsum([0, *(len(t.truth_ids) for t in parts)])
    prediction_start = np.cumsum([0, *(len(t.prediction_ids) for t in parts)])

    def stack(name: str) -> np.ndarray:
        return np.concatenate([getattr(t, name) for t in parts]) if parts else np.zeros(0)

    rows = np.concatenate(
        [t.truth_index + s for t, s in zip(parts, truth_start, strict=False)]
        or [np.zeros(0, np.int64)]
    )
    columns = np.concatenate(
        [t.prediction_index + s for t, s in zip(parts, prediction_start, strict=False)]
        or [np.zeros(0, np.int64)]
    )
    return OverlapTable(
        np.arange(1, truth_start[-1] + 1),
        stack("truth_area"),
        np.arange(1, prediction_start[-1] + 1),
        stack("prediction_area"),
        stack("prediction_ignored"),
        rows,
        columns,
        stack("shared"),
    )
