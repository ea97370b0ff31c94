"""Isotonic regression of a score.

The probability that what bears it is right, never less for a higher score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from selion.errors import BadInput
from selion.metrics.calibration import Reliability, reliability

LEAST = 20
"""Outcomes that a curve is fitted on at least."""
FOLDS = 5


@dataclass(frozen=True, eq=False, slots=True)
class Isotonic:
    """A curve that never falls: probability over score, straight between its knots."""

    score: np.ndarray
    """(k,) float64, ascending."""
    probability: np.ndarray
    """(k,) float64, never descending."""

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """Return the probability of (n,) scores; NaN stays NaN."""
        score = np.asarray(score, np.float64)
        return np.where(
            np.isnan(score), np.nan, np.interp(score, self.score, self.probability)
        ).astype(np.float64)

    def to_dict(self) -> dict[str, list[float]]:
        """Plain values for JSON."""
        return {"score": self.score.tolist(), "probability": self.probability.tolist()}


def fit_isotonic(score: np.ndarray, right: np.ndarray) -> Isotonic:
    """Fit a curve that never falls by least squares.

    Parameters
    ----------
    score : (n,) ndarray
        Any numbers, the higher the surer; NaN does not count.
    right : (n,) ndarray
        1, 0, or NaN for what does not count.

    Returns
    -------
    Isotonic
        A knot at both ends of each level piece.

    Raises
    ------
    BadInput
        With fewer than 20 outcomes, or all of one kind.

    Notes
    -----
    Pool adjacent violators: Barlow et al., "Statistical inference under order restrictions", 1972;
    for probabilities Zadrozny and Elkan, KDD 2002.  Equal scores are joined first.
    """
    score, right = _known(score, right)
    if len(right) < LEAST or right.min() == right.max():
        raise BadInput(
            f"{int(right.sum())} right of {len(right)} outcomes were given; a curve wants "
            f"{LEAST} outcomes at least, right and wrong ones."
        )
    levels, place, number = np.unique(score, return_inverse=True, return_counts=True)
    mean = np.bincount(place, right) / number
    found = np.asarray(optimize.isotonic_regression(mean, weights=number).x, np.float64)
    step = np.flatnonzero(np.diff(found) > 0)
    knots = np.unique(np.concatenate([[0], step, step + 1, [len(found) - 1]]))
    return Isotonic(levels[knots], found[knots])


@dataclass(frozen=True, eq=False, slots=True)
class CrossFitted:
    """A curve, and what it is worth where it was not fitted."""

    curve: Isotonic
    """Fitted on all outcomes."""
    probability: np.ndarray
    """(n,) float64: of each outcome by the curve of the other folds; NaN where it does not count,
    or the other folds have too few."""
    before: Reliability
    """Of the score as it is."""
    after: Reliability
    """Of ``probability``."""


def cross_fit(score: np.ndarray, right: np.ndarray, folds: int = FOLDS) -> CrossFitted:
    """Fit a curve, and judge it by curves of which none was fitted on what it is judged on.

    Parameters
    ----------
    score, right : (n,) ndarray
        As for :func:`fit_isotonic`, scores from 0 to 1.  Folds are consecutive parts: give
        neighbours on the ground one after the other, so that they fall into one.
    folds : int

    Raises
    ------
    BadInput
        As :func:`fit_isotonic`.
    """
    score, right = np.asarray(score, np.float64), np.asarray(right, np.float64)
    curve = fit_isotonic(score, right)
    probability = np.full(len(score), np.nan)
    counts = np.flatnonzero(np.isfinite(score) & np.isfinite(right))
    for part in np.array_split(counts, folds):
        others = np.setdiff1d(counts, part)
        try:
            probability[part] = fit_isotonic(score[others], right[others])(score[part])
        except BadInput:  # the others are too few, or all alike
            continue
    return CrossFitted(
        curve,
        probability,
        reliability(score, right, equal_mass=True),
        reliability(probability, right, equal_mass=True),
    )


def _known(score: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    score, right = np.asarray(score, np.float64), np.asarray(right, np.float64)
    if score.shape != right.shape:
        raise BadInput(
            f"{len(score)} scores and {len(right)} outcomes were given: one outcome per score is "
            "wanted."
        )
    keep = np.isfinite(score) & np.isfinite(right)
    return score[keep], right[keep]
