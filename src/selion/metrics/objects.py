"""Object scores: which prediction is which object, and how good they are.

Precision, recall, F1, panoptic quality, over- and under-segmentation, all from one overlap table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selion.errors import BadInput
from selion.metrics.overlap import OverlapTable


@dataclass(frozen=True, eq=False, slots=True)
class Matches:
    """One-to-one pairs of a truth and a prediction."""

    truth_index: np.ndarray
    """(match,) int64: rows of the table's truth."""
    prediction_index: np.ndarray
    """(match,) int64."""
    iou: np.ndarray
    """(match,) float64."""


def match_objects(table: OverlapTable, iou: float = 0.5, *, strict: bool = False) -> Matches:
    """Pair objects one to one, the best overlap first.

    Above an IoU of 0.5 the pairing is unique (no object can share more than half of a union twice);
    below, pairs are taken greedily by IoU, ties by the order of ids.

    Parameters
    ----------
    table : OverlapTable
        From :func:`selion.metrics.overlap.overlap_table`.
    iou : float
        Least IoU of a match, above 0 and at most 1.
    strict : bool
        Demand more than ``iou``, as PRUE's code and panoptic quality do, instead of at least
        ``iou`` as COCO does.

    Raises
    ------
    BadInput
        If ``iou`` is not in (0, 1].
    """
    if not 0 < iou <= 1:
        raise BadInput(f"An IoU threshold of {iou} was given; wanted is more than 0 and at most 1.")
    value = table.iou
    chosen = np.flatnonzero(value > iou if strict else value >= iou)
    order = chosen[np.argsort(-value[chosen], kind="stable")]
    order = order[first_come(table.truth_index[order], table.prediction_index[order])]
    order = np.sort(order)
    return Matches(table.truth_index[order], table.prediction_index[order], value[order])


def first_come(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Mark the pairs that a greedy walk keeps: neither end was taken before."""
    if len(np.unique(rows)) == len(rows) and len(np.unique(columns)) == len(columns):
        return np.ones(len(rows), bool)
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    keep = np.zeros(len(rows), bool)
    for k, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        if row not in taken_rows and column not in taken_columns:
            keep[k] = True
            taken_rows.add(row)
            taken_columns.add(column)
    return keep


@dataclass(frozen=True, slots=True)
class ObjectScores:
    """Counts of matched and unmatched objects.

    Counts of images add up; 0 / 0 is NaN and says that there was nothing to find.
    """

    tp: int
    fp: int
    fn: int
    iou_sum: float = 0.0
    """Sum of the IoU of the matches."""
    ignored: int = 0
    """Predictions without a match that lie for the most part where the truth is not known: neither
    right nor wrong."""

    def __add__(self, other: ObjectScores) -> ObjectScores:
        return ObjectScores(
            self.tp + other.tp,
            self.fp + other.fp,
            self.fn + other.fn,
            self.iou_sum + other.iou_sum,
            self.ignored + other.ignored,
        )

    @property
    def precision(self) -> float:
        """TP / (TP + FP)."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """TP / (TP + FN)."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), the recognition quality of panoptic quality."""
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the matches, the segmentation quality of panoptic quality."""
        return _share(self.iou_sum, self.tp)

    @property
    def panoptic_quality(self) -> float:
        """Sum of IoU over TP + FP / 2 + FN / 2.

        Kirillov et al., "Panoptic segmentation", CVPR 2019, eq. 1; there matches have IoU > 0.5.
        """
        return _share(2 * self.iou_sum, 2 * self.tp + self.fp + self.fn)

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        names = (
            "tp",
            "fp",
            "fn",
            "ignored",
            "precision",
            "recall",
            "f1",
            "mean_iou",
            "panoptic_quality",
        )
        return {name: getattr(self, name) for name in names}


def _share(over: float, under: float) -> float:
    return float(over / under) if under else float("nan")


def object_scores(table: OverlapTable, iou: float = 0.5, *, strict: bool = False) -> ObjectScores:
    """Count one-to-one matches at an IoU.

    Parameters
    ----------
    table : OverlapTable
        Truth against prediction.
    iou, strict
        As in :func:`match_objects`.

    Returns
    -------
    ObjectScores
        An unmatched prediction of which more than half lies on ignored pixels is counted as
        ``ignored`` and not as a false alarm.
    """
    matches = match_objects(table, iou, strict=strict)
    free = table.prediction_ignored > table.prediction_area
    free[matches.prediction_index] = False
    hits, ignored = len(matches.iou), int(free.sum())
    return ObjectScores(
        hits,
        len(table.prediction_ids) - hits - ignored,
        len(table.truth_ids) - hits,
        float(matches.iou.sum()),
        ignored,
    )
