"""Merge-and-match, the score of MAgSeg and of Dua et al..

All predictions that touch an object are taken as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selion.errors import UnknownName
from selion.metrics.overlap import OverlapTable

Reading = Literal["any", "largest"]


@dataclass(frozen=True, eq=False, slots=True)
class MergedScores:
    """One value per truth object, and the two rates."""

    iou: np.ndarray
    """(truth,) float64: IoU with the merged predictions; 0 without any."""
    missed: int
    """Truth objects without a prediction."""
    false: int
    """Predictions that belong to no truth object."""
    predictions: int
    """Without those that lie for the most part where the truth is not known and belong to none."""
    reading: Reading

    @property
    def mean_iou(self) -> float:
        """Mean over truth objects."""
        return float(self.iou.mean()) if len(self.iou) else float("nan")

    @property
    def median_iou(self) -> float:
        """Median over truth objects."""
        return float(np.median(self.iou)) if len(self.iou) else float("nan")

    @property
    def fnr(self) -> float:
        """Share of truth objects without a prediction."""
        return self.missed / len(self.iou) if len(self.iou) else float("nan")

    @property
    def fpr(self) -> float:
        """Share of predictions that belong to no truth object."""
        return self.false / self.predictions if self.predictions else float("nan")

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "reading": self.reading,
            "mean_iou": self.mean_iou,
            "median_iou": self.median_iou,
            "fnr": self.fnr,
            "fpr": self.fpr,
        }


def merged_scores(
    table: OverlapTable, reading: Reading = "any", least: float = 0.0
) -> MergedScores:
    """Merge the predictions that belong to each truth object and compare the whole with it.

    Parameters
    ----------
    table : OverlapTable
        Of one class.
    reading : {"any", "largest"}
        Which predictions belong to a truth object: every prediction that touches it (the paper's
        words, and one prediction may then belong to many), or only those for which it is the truth
        they share most with.  The paper does not say; the two differ by up to 0.2.
    least : float
        Least share of a prediction that must lie in the truth object; the paper gives none.

    Notes
    -----
    MAgSeg (arXiv 2605.16179), appendix C, after Dua et al. 2024 (arXiv 2411.05359): with P_i the
    union of the predictions of truth G_i, mean and median over i of |P_i & G_i| / |P_i | G_i|;
    truth without a prediction counts 0 (our reading; it is not stated).  FNR: truth without a
    prediction; FPR: predictions without a truth.

    The score rewards cutting everything into small squares: a grid that has not seen the image
    reaches a mean IoU above the paper's best with FNR 0.  Never print it without the one-to-one F1
    and the grid beside it.
    """
    if reading not in ("any", "largest"):
        raise UnknownName.among("reading of merge-and-match", reading, ("any", "largest"))
    keep = table.shared >= least * table.prediction_area[table.prediction_index]
    if reading == "largest":
        keep &= _largest(table)
    rows, columns, shared = (
        table.truth_index[keep],
        table.prediction_index[keep],
        table.shared[keep],
    )
    size = len(table.truth_ids)
    common = np.bincount(rows, shared, size)
    merged = np.bincount(rows, table.prediction_area[columns], size)
    found = np.bincount(rows, minlength=size) > 0
    judged = len(table.prediction_ids) - int(_elsewhere(table, columns).sum())
    return MergedScores(
        common / (table.truth_area + merged - common),
        int((~found).sum()),
        judged - len(np.unique(columns)),
        judged,
        reading,
    )


def _largest(table: OverlapTable) -> np.ndarray:
    """Mark, for each prediction, the pair with the truth that it shares most with.

    The lower id wins a tie.
    """
    order = np.lexsort((table.truth_index, -table.shared, table.prediction_index))
    first = (
        np.concatenate([[True], np.diff(table.prediction_index[order]) > 0])
        if len(order)
        else np.zeros(0, bool)
    )
    marks = np.zeros(len(order), bool)
    marks[order[first]] = True
    return marks


def _elsewhere(table: OverlapTable, used: np.ndarray) -> np.ndarray:
    """Mark predictions without a truth that lie mostly on ignored pixels: they are not false."""
    free = table.prediction_ignored > table.prediction_area
    free[used] = False
    return free
