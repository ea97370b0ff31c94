"""How cover grows: a logistic curve through the dates of a plot, and when it reaches a height."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit

LEAST = 4
"""Dates that a curve of three numbers wants."""
SLOW, FAST = 1 / 200, 2.0
"""Rates, per day, between which a canopy closes: one at a bound was not found."""


@dataclass(frozen=True, slots=True)
class Growth:
    """``top / (1 + exp(-rate (day - middle)))``, fitted; NaN where there is no curve."""

    top: float = math.nan
    """Cover that it comes to, 0 to 1."""
    rate: float = math.nan
    """Per day."""
    middle: float = math.nan
    """Day of the fastest growth, counted as the days given were."""
    error: float = math.nan
    """Root mean square of cover minus curve."""
    why: str = ""
    """Why there is no curve, or why not to trust it."""

    def __call__(self, days: np.ndarray) -> np.ndarray:
        """Return the cover of days."""
        found: np.ndarray = self.top * expit(self.rate * (days - self.middle))
        return found

    def day_of(self, cover: float) -> float:
        """Return the day on which the curve reaches a cover; NaN if it never does."""
        if not 0 < cover < self.top:
            return math.nan
        return self.middle - math.log(self.top / cover - 1) / self.rate


def fit_growth(days: np.ndarray, cover: np.ndarray, weights: np.ndarray | None = None) -> Growth:
    """Fit a logistic curve by weighted least squares.

    Parameters
    ----------
    days : (n,) ndarray
        Days, from any first one.
    cover : (n,) ndarray
        0 to 1.
    weights : (n,) ndarray, optional
        Photographs behind each cover.

    Returns
    -------
    Growth
        ``why`` says what is wrong where dates are too few, cover falls, or the dates do not reach
        far enough up to tell where growth ends.

    Notes
    -----
    Verhulst's logistic with the asymptote at most 1, from four starts; the best is kept.
    """
    days, cover = np.asarray(days, np.float64), np.asarray(cover, np.float64)
    known = np.unique(days)
    if len(known) < LEAST:
        dates = f"{len(known)} date{'' if len(known) == 1 else 's'}"
        return Growth(why=f"{dates}: a curve wants {LEAST}")
    share = np.sqrt(np.ones_like(cover) if weights is None else weights / weights.mean())
    first, span = float(known[0]), float(known[-1] - known[0])

    def apart(free: np.ndarray) -> np.ndarray:
        top, rate, middle = free
        found: np.ndarray = share * (top * expit(rate * (days - middle)) - cover)
        return found

    highest = min(max(float(cover.max()), 0.02), 1.0)
    bounds = ([0.01, SLOW, first - span], [1.0, FAST, first + 2 * span])
    starts = [
        (min(height, 0.999), rate / span, first + span / 2)
        for height in (highest, 1.0)
        for rate in (4.0, 15.0)
    ]
    fits = [
        least_squares(apart, np.clip(start, *np.array(bounds)), bounds=bounds, x_scale="jac")
        for start in starts
    ]
    best = min(fits, key=lambda fit: float(fit.cost))
    top, rate, middle = (float(value) for value in best.x)
    error = float(np.sqrt(np.mean((top * expit(rate * (days - middle)) - cover) ** 2)))
    return Growth(top, rate, middle, error, _doubt(days, cover, top, rate, middle))


def _doubt(days: np.ndarray, cover: np.ndarray, top: float, rate: float, middle: float) -> str:
    order = np.argsort(days, kind="stable")
    slope = np.polyfit(days, cover, 1)[0]
    reasons = [
        "cover does not rise" if slope <= 0 or np.ptp(cover) < 0.02 else "",
        "falls at the end" if cover[order][-1] < cover.max() - 0.15 else "",
        "growth had not slowed down by the last date: its end is a guess"
        if top * expit(rate * (days.max() - middle)) < 0.75 * top
        else "",
        "no rate between slow and sudden fits" if not SLOW * 1.01 < rate < FAST * 0.99 else "",
    ]
    return "; ".join(filter(None, reasons))
