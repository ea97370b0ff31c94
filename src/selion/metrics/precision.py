"""Average precision from overlap tables.

COCO's numbers without COCO's masks, with a detection cap of the user's choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from selion.errors import BadInput
from selion.metrics.objects import first_come
from selion.metrics.overlap import OverlapTable

THRESHOLDS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))
"""COCO's IoU thresholds, 0.50 to 0.95."""
RECALLS = np.linspace(0, 1, 101)
"""COCO's, at which precision is read off."""


@dataclass(frozen=True, eq=False, slots=True)
class Detections:
    """One image: its overlaps, and how sure the model is of each prediction."""

    table: OverlapTable
    scores: np.ndarray
    """(prediction,) float, in the order of ``table.prediction_ids``."""

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.table.prediction_ids):
            raise BadInput(
                f"{len(self.scores)} confidences were given for {len(self.table.prediction_ids)} "
                "predicted objects: give one each, in the order of their ids."
            )


@dataclass(frozen=True, eq=False, slots=True)
class AveragePrecision:
    """Average precision and what it was made of."""

    thresholds: tuple[float, ...]
    per_threshold: np.ndarray
    """(threshold,) average precision at each IoU; NaN without truth."""
    recall: np.ndarray
    """(threshold,) largest recall at each IoU."""
    curves: np.ndarray
    """(threshold, 101) interpolated precision at recalls 0, 0.01 ... 1."""
    cap: int | None
    """Most detections per image that were looked at; None: all."""
    cut: int
    """Detections that the cap left out.  Where this is not 0, recall cannot be read as the
    model's."""

    @property
    def ap(self) -> float:
        """Mean over the thresholds: AP50:95 with COCO's."""
        return float(np.mean(self.per_threshold))

    def at(self, iou: float) -> float:
        """Return the average precision at one of the thresholds."""
        if iou not in self.thresholds:
            raise BadInput(
                f"Average precision at IoU {iou} was asked for; the thresholds are "
                f"{self.thresholds}."
            )
        return float(self.per_threshold[self.thresholds.index(iou)])

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        each = dict(
            zip((f"{t:.2f}" for t in self.thresholds), self.per_threshold.tolist(), strict=True)
        )
        return {
            "ap": self.ap,
            "per_threshold": each,
            "recall": self.recall.tolist(),
            "cap": self.cap,
            "cut": self.cut,
        }


def average_precision(
    images: Iterable[Detections],
    thresholds: Sequence[float] = THRESHOLDS,
    cap: int | None = None,
    area: tuple[float, float] | None = None,
) -> AveragePrecision:
    """Compute average precision over images.

    Each detection, the surest first, takes the truth object that it overlaps most and that is still
    free, if their IoU is at least the threshold.  Precision is made monotone and read at 101
    recalls.

    Parameters
    ----------
    images : iterable of Detections
        One per image; objects of different images never match.
    thresholds : sequence of float
        IoU thresholds.
    cap : int, optional
        Most detections per image, the surest ones.  COCO's 100, which the papers use, cuts
        smallholder chips short; the default is no cap.
    area : (low, high), optional
        Only truth with ``low <= area <= high`` counts; predictions matched to other truth, and
        unmatched predictions outside, count as nothing.

    Notes
    -----
    Equal to pycocotools 2.0 (tests).  Lin et al., "Microsoft COCO: common objects in context", ECCV
    2014; ties as in its reference code.  An unmatched prediction that lies for the most part on
    ignored pixels counts as nothing; COCO's own crowd regions work alike.
    """
    parts = [(_capped(image, cap), image) for image in images]
    cut = sum(len(image.scores) - len(order) for order, image in parts)
    sure = np.concatenate([image.scores[order] for order, image in parts] or [np.zeros(0)])
    walk = np.argsort(-sure, kind="stable")
    wanted = sum(int(_inside(image.table.truth_area, area).sum()) for _, image in parts)
    curves, recalls = [], []
    for iou in thresholds:
        outcomes = np.concatenate(
            [_outcomes(image.table, order, iou, area) for order, image in parts]
            or [np.zeros(0, np.int8)]
        )[walk]
        curve, recall = _curve(outcomes, wanted)
        curves.append(curve)
        recalls.append(recall)
    stack = np.array(curves).reshape(len(thresholds), len(RECALLS))
    return AveragePrecision(tuple(thresholds), stack.mean(1), np.array(recalls), stack, cap, cut)


def _capped(image: Detections, cap: int | None) -> np.ndarray:
    return np.argsort(-image.scores, kind="stable")[:cap]


def _inside(areas: np.ndarray, area: tuple[float, float] | None) -> np.ndarray:
    return np.ones(len(areas), bool) if area is None else (areas >= area[0]) & (areas <= area[1])


def _outcomes(
    table: OverlapTable, order: np.ndarray, iou: float, area: tuple[float, float] | None
) -> np.ndarray:
    """Say of each detection in ``order``: 1 right, 0 wrong, -1 does not count."""
    counts = _inside(table.truth_area, area)
    rank = np.full(len(table.prediction_ids), len(order))
    rank[order] = np.arange(len(order))
    value = table.iou
    # no threshold is 1, as in pycocotools
    chosen = np.flatnonzero(
        (value >= min(iou, 1 - 1e-10)) & (rank[table.prediction_index] < len(order))
    )
    rows, columns = table.truth_index[chosen], table.prediction_index[chosen]
    # counting truth first, best overlap, later truth wins a tie
    walk = np.lexsort((-rows, -value[chosen], ~counts[rows], rank[columns]))
    kept = walk[first_come(rows[walk], columns[walk])]
    free = (table.prediction_ignored > table.prediction_area) | ~_inside(
        table.prediction_area, area
    )
    outcome: np.ndarray = np.where(free, -1, 0).astype(np.int8)
    outcome[columns[kept]] = np.where(counts[rows[kept]], 1, -1)
    ordered: np.ndarray = outcome[order]
    return ordered


def _curve(outcomes: np.ndarray, wanted: int) -> tuple[np.ndarray, float]:
    """Return interpolated precision at 101 recalls, and the largest recall."""
    if wanted == 0:
        return np.full(len(RECALLS), np.nan), float("nan")
    right, wrong = np.cumsum(outcomes == 1), np.cumsum(outcomes == 0)
    if not len(right):
        return np.zeros(len(RECALLS)), 0.0
    recall = right / wanted
    precision = right / (right + wrong + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, RECALLS, side="left")
    curve = np.where(at < len(envelope), envelope[np.minimum(at, len(envelope) - 1)], 0.0)
    return curve, float(recall[-1])
