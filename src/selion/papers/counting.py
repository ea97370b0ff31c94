"""What is counted on chips, and the scores that follow from sums of counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from selion.metrics import Interval, bootstrap
from selion.metrics.protocol import PrueScores

COUNTS = ("pixel_tp", "pixel_fp", "pixel_fn", "object_tp", "object_fp", "object_fn")
"""Columns of a chip's counts."""
SCORES = (
    "pixel_iou",
    "pixel_precision",
    "pixel_recall",
    "object_precision",
    "object_recall",
    "object_f1",
)
"""Measures that follow from sums of counts."""
AVERAGE_PRECISION = ("ap50_95", "ap50")


@dataclass(frozen=True, eq=False, slots=True)
class CountryCounts:
    """A model in a country, chip by chip."""

    chips: tuple[str, ...]
    counts: np.ndarray
    """(chip, 6) int64: :data:`COUNTS`."""
    ap50_95: float
    """Over all chips of the country; NaN without truth."""
    ap50: float
    cut: int = 0
    """Detections that a cap left out of the average precision."""

    def values(self, *, published: bool) -> dict[str, float]:
        """Return the measures of the country; see :func:`scores_of`."""
        found = {
            name: float(score[0])
            for name, score in scores_of(
                self.counts.sum(0, keepdims=True), published=published
            ).items()
        }
        return found | {"ap50_95": self.ap50_95, "ap50": self.ap50}

    def ranges(self, *, published: bool, draws: int) -> dict[str, Interval]:
        """Return 95 % intervals over the country's chips, drawn with replacement."""
        return {
            name: bootstrap(
                self.counts.astype(float),
                lambda sums, name=name: scores_of(sums, published=published)[name],  # type: ignore[misc]
                draws=draws,
            )
            for name in SCORES
        }

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "chips": list(self.chips),
            "columns": list(COUNTS),
            "counts": self.counts.tolist(),
            "ap50_95": self.ap50_95,
            "ap50": self.ap50,
            "cut": self.cut,
        }

    @classmethod
    def from_dict(cls, table: Mapping[str, object]) -> CountryCounts:
        """Inverse of :meth:`to_dict`."""
        chips: list[str] = table["chips"]  # type: ignore[assignment]
        return cls(
            tuple(chips),
            np.array(table["counts"], np.int64).reshape(len(chips), len(COUNTS)),
            float(table["ap50_95"]),  # type: ignore[arg-type]
            float(table["ap50"]),  # type: ignore[arg-type]
            int(table["cut"]),  # type: ignore[call-overload]
        )


def counts_of(scores: PrueScores) -> np.ndarray:
    """Return (6,) int64 :data:`COUNTS` of one chip; unknown pixels count for nobody."""
    known = scores.pixels.counts
    tp = known[1, 1]
    return np.array(
        [
            *(tp, known[0, 1], known[1].sum() - tp),
            *(scores.objects.tp, scores.objects.fp, scores.objects.fn),
        ],
        np.int64,
    )


def scores_of(sums: np.ndarray, *, published: bool) -> dict[str, np.ndarray]:
    """Turn sums of counts into scores.

    Parameters
    ----------
    sums : (n, 6) ndarray
        Columns :data:`COUNTS`.
    published : bool
        F1 as in the published code: not a number where nothing matches.  Else 0 there.

    Returns
    -------
    dict
        Name of :data:`SCORES` -> (n,) float64.  Pixel scores of nothing are 0, as torchmetrics has
        them; precision without a prediction, recall without truth, and F1 without either, are NaN.
    """
    tp, fp, fn, right, wrong, missed = np.asarray(sums, np.float64).T
    precision, recall = _share(right, right + wrong), _share(right, right + missed)
    if published:
        f1 = _share(2 * precision * recall, precision + recall)
    else:
        f1 = _share(2 * right, 2 * right + wrong + missed)
    return {
        "pixel_iou": np.nan_to_num(_share(tp, tp + fp + fn)),
        "pixel_precision": np.nan_to_num(_share(tp, tp + fp)),
        "pixel_recall": np.nan_to_num(_share(tp, tp + fn)),
        "object_precision": precision,
        "object_recall": recall,
        "object_f1": f1,
    }


def _share(part: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Divide; NaN where there is nothing to divide by."""
    share: np.ndarray = np.divide(
        part, of, out=np.full(np.broadcast(part, of).shape, np.nan), where=of > 0
    )
    return share
