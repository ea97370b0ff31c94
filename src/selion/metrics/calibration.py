"""Whether a confidence of 0.8 is right eight times in ten.

Reliability, calibration error, and a correction that a model card can carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize

from selion.errors import BadInput
from selion.metrics.objects import match_objects
from selion.metrics.overlap import OverlapTable


def object_outcomes(table: OverlapTable, iou: float = 0.5) -> np.ndarray:
    """Return (prediction,) float64.

    1 for predictions matched one to one at ``iou``, 0 for the others, NaN where the truth is mostly
    unknown.
    """
    outcome = np.zeros(len(table.prediction_ids))
    outcome[table.prediction_ignored > table.prediction_area] = np.nan
    outcome[match_objects(table, iou).prediction_index] = 1
    return outcome


@dataclass(frozen=True, eq=False, slots=True)
class Reliability:
    """Confidence against what came true."""

    table: pd.DataFrame
    """One row per bin: low, high, n, confidence (mean), right (share), low95 and high95 (Wilson
    interval of the share)."""
    ece: float
    """Expected calibration error: mean over objects of the distance of their bin's confidence and
    share."""
    mce: float
    """Largest distance over bins."""
    brier: float
    """Mean squared distance of confidence and outcome."""
    n: int

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "ece": self.ece,
            "mce": self.mce,
            "brier": self.brier,
            "n": self.n,
            "bins": self.table.to_dict("records"),
        }


def reliability(
    confidence: np.ndarray, right: np.ndarray, bins: int = 10, *, equal_mass: bool = False
) -> Reliability:
    """Bin confidences and compare them with the share that was right.

    Parameters
    ----------
    confidence : (n,) ndarray
        0 to 1.
    right : (n,) ndarray
        1, 0, or NaN for what does not count.
    bins : int
        Number of bins.
    equal_mass : bool
        Bins of equal numbers of objects instead of equal width; steadier where most confidences are
        alike.

    Notes
    -----
    Guo et al., "On calibration of modern neural networks", ICML 2017, eq. 3 and 5; Wilson, JASA 22,
    1927; Brier, Monthly Weather Review 78, 1950.
    """
    confidence, right = _known(confidence, right)
    edges = np.linspace(0, 1, bins + 1)
    if equal_mass and len(confidence):
        edges = np.unique(
            np.concatenate(
                [[0.0], np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1]), [1.0]]
            )
        )
    place = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, len(edges) - 2)
    n = np.bincount(place, minlength=len(edges) - 1)
    full = n > 0
    counts = n[full]
    said, was = (
        np.bincount(place, values, len(edges) - 1)[full] / counts for values in (confidence, right)
    )
    low95, high95 = _wilson(was, counts)
    table = pd.DataFrame(
        {
            "low": edges[:-1][full],
            "high": edges[1:][full],
            "n": counts,
            "confidence": said,
            "right": was,
            "low95": low95,
            "high95": high95,
        }
    )
    total = int(n.sum())
    if not total:
        return Reliability(table, float("nan"), float("nan"), float("nan"), 0)
    gap = np.abs(said - was)
    return Reliability(
        table,
        float((gap * counts).sum() / total),
        float(gap.max()),
        float(((confidence - right) ** 2).mean()),
        total,
    )


def _known(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    if confidence.shape != right.shape:
        raise BadInput(
            f"{len(confidence)} confidences and {len(right)} outcomes were given: one outcome per "
            "confidence is wanted."
        )
    keep = np.isfinite(confidence) & np.isfinite(right)
    confidence, right = confidence[keep], right[keep]
    if len(confidence) and not (confidence.min() >= 0 and confidence.max() <= 1):
        raise BadInput(
            f"Confidences from {confidence.min():g} to {confidence.max():g} were given; wanted are "
            "0 to 1."
        )
    return confidence, right


def _wilson(share: np.ndarray, n: np.ndarray, z: float = 1.959964) -> tuple[np.ndarray, np.ndarray]:
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return np.maximum(centre - half, 0), np.minimum(centre + half, 1)


@dataclass(frozen=True, slots=True)
class Correction:
    """Two numbers that make a confidence honest: ``p' = sigmoid(slope logit(p) + offset)``.

    The identity is (1, 0).
    """

    slope: float = 1.0
    offset: float = 0.0

    def __call__(self, confidence: np.ndarray) -> np.ndarray:
        """Correct confidences; their order stays."""
        return _sigmoid(self.slope * _logit(np.asarray(confidence, float)) + self.offset)

    def to_dict(self) -> dict[str, float]:
        """Plain values for a model card."""
        return {"slope": self.slope, "offset": self.offset}

    @classmethod
    def from_dict(cls, table: dict[str, float]) -> Correction:
        """Inverse of :meth:`to_dict`."""
        return cls(float(table.get("slope", 1.0)), float(table.get("offset", 0.0)))


def _logit(p: np.ndarray) -> np.ndarray:
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    logits: np.ndarray = np.log(clipped / (1 - clipped))
    return logits


def _sigmoid(x: np.ndarray) -> np.ndarray:
    share: np.ndarray = 1 / (1 + np.exp(-np.clip(x, -50, 50)))
    return share


def fit_correction(confidence: np.ndarray, right: np.ndarray) -> Correction:
    """Fit slope and offset by likelihood.

    Fit on other images than those that the corrected confidence is judged on.

    Outcomes are drawn in by Platt's targets, so that a separable sample gives a finite slope; the
    slope is never negative, so that the order of fields by confidence stays.

    Raises
    ------
    BadInput
        With fewer than ten outcomes, or all of one kind.

    Notes
    -----
    Platt, "Probabilistic outputs for support vector machines", 1999, on the logit of the confidence
    as in Kull et al., "Beta calibration", AISTATS 2017, eq. 2 with a = b.
    """
    confidence, right = _known(confidence, right)
    hits = int(right.sum())
    if len(right) < 10 or hits in (0, len(right)):
        raise BadInput(
            f"{hits} right of {len(right)} outcomes were given; a correction wants ten outcomes at "
            "least, right and wrong ones."
        )
    target = np.where(right > 0.5, (hits + 1) / (hits + 2), 1 / (len(right) - hits + 2))
    x = _logit(confidence)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        score = values[0] * x + values[1]
        error = _sigmoid(score) - target
        return float(np.mean(np.logaddexp(0, score) - target * score)), np.array(
            [np.mean(error * x), np.mean(error)]
        )

    found = optimize.minimize(
        loss, np.array([1.0, 0.0]), jac=True, bounds=[(0.0, None), (None, None)], method="L-BFGS-B"
    )
    return Correction(float(found.x[0]), float(found.x[1]))


@dataclass(frozen=True, slots=True)
class Fitted:
    """A correction, and what it was fitted on.

    Also what it is worth on images that it was not fitted on.
    """

    correction: Correction
    objects: int
    images: int
    ece: float
    """Expected calibration error as it is."""
    ece_corrected: float
    """The same when every second image is corrected by what was fitted on the others; NaN where a
    half is too small to be fitted on."""

    def to_dict(self) -> dict[str, float]:
        """Plain values for the table ``calibration`` of a model card.

        :meth:`Correction.from_dict` reads it back.
        """
        numbers = {
            "objects": float(self.objects),
            "images": float(self.images),
            "ece": self.ece,
            "ece_corrected": self.ece_corrected,
        }
        return {**self.correction.to_dict(), **numbers}


def fit_over_images(
    confidences: Sequence[np.ndarray], outcomes: Sequence[np.ndarray]
) -> Fitted | None:
    """Fit a correction on all images, and judge it by two folds over images.

    Parameters
    ----------
    confidences, outcomes : sequence of (object,) ndarray
        One pair per image; outcomes from :func:`object_outcomes`.

    Returns
    -------
    Fitted or None
        None where there is nothing to fit on: fewer than ten outcomes, or all of one kind.
    """
    everything = _fit_or_none(confidences, outcomes)
    if everything is None:
        return None
    said, was = _known(np.concatenate(confidences), np.concatenate(outcomes))
    folds = [_fit_or_none(confidences[k::2], outcomes[k::2]) for k in (0, 1)]
    corrected = float("nan")
    if folds[0] is not None and folds[1] is not None:
        crossed = [folds[1 - k % 2](c) for k, c in enumerate(confidences)]  # type: ignore[misc]
        corrected = reliability(np.concatenate(crossed), np.concatenate(outcomes)).ece
    return Fitted(everything, len(was), len(confidences), reliability(said, was).ece, corrected)


def _fit_or_none(
    confidences: Sequence[np.ndarray], outcomes: Sequence[np.ndarray]
) -> Correction | None:
    if not confidences:
        return None
    said, was = _known(np.concatenate(confidences), np.concatenate(outcomes))
    enough = len(was) >= 10 and 0 < was.sum() < len(was)
    return fit_correction(said, was) if enough else None
