"""What a difference is worth.

Group means with intervals, bootstrap, paired tests, and the least difference that a sample can
show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy import special

from selion.errors import BadInput
from selion.metrics.pixel import divide

ONE_IMAGE = "one image tells no interval"


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and what it may as well be."""

    value: float
    low: float
    high: float
    n: int
    """Groups, images or pairs behind it."""
    method: str

    @property
    def half_width(self) -> float:
        """Half of the interval: what stands after the plus-minus sign."""
        return (self.high - self.low) / 2

    @property
    def bounds(self) -> str:
        """The interval in words; a dash where nothing is known of it."""
        return "-" if np.isnan(self.low) else f"{self.low:.3f} to {self.high:.3f}"

    def __str__(self) -> str:
        known = not np.isnan(self.low)
        return f"{self.value:.3f}" + (f" [{self.low:.3f}, {self.high:.3f}]" if known else "")

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; None for what is not known."""
        return _plain(self)


def _plain(found: Interval | Comparison) -> dict[str, object]:
    return {
        key: None if isinstance(value, float) and np.isnan(value) else value
        for key, value in asdict(found).items()
    }


def group_mean(
    values: Mapping[str, float] | Sequence[float] | np.ndarray,
    level: float = 0.95,
    method: str = "normal",
) -> Interval:
    """Return the unweighted mean over groups (countries, species) and its interval.

    Parameters
    ----------
    values : mapping or sequence of float
        One score per group; NaN groups are left out and not counted in ``n``.
    level : float
        Confidence.
    method : {"normal", "t"}
        "normal" is the papers' 1.96 sd / sqrt(n); "t" takes Student's quantile, which is right for
        few groups.

    Notes
    -----
    PRUE (arXiv 2603.27101), Table 1: the mean of the 21 countries of Table 6, sd with n - 1.
    """
    given = np.array(list(values.values()) if isinstance(values, Mapping) else values, float)
    kept = given[np.isfinite(given)]
    if method not in ("normal", "t"):
        raise BadInput(f"Interval method {method!r} was given; known are 'normal' and 't'.")
    if len(kept) < 2:
        value = float(kept[0]) if len(kept) else float("nan")
        return Interval(value, float("nan"), float("nan"), len(kept), method)
    quantile = (
        special.ndtri((1 + level) / 2)
        if method == "normal"
        else special.stdtrit(len(kept) - 1, (1 + level) / 2)
    )
    half = float(quantile * kept.std(ddof=1) / np.sqrt(len(kept)))
    mean = float(kept.mean())
    return Interval(mean, mean - half, mean + half, len(kept), method)


def bootstrap(
    rows: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a percentile interval of a score by drawing images with replacement.

    Parameters
    ----------
    rows : (image, count) ndarray
        What each image contributes; what is drawn is images, never pixels, since pixels of one
        image are not independent.
    statistic : callable
        From (draw, count) *sums* over images to (draw,) scores, for instance ``f1_from_counts``.
    draws : int
        Number of bootstrap samples.
    level : float
        Confidence.
    seed : int
        Of the random draws.

    Returns
    -------
    Interval
        Of one image, whose draws are all alike, without bounds (NaN).

    Notes
    -----
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    rows = np.asarray(rows, float)
    if rows.ndim != 2 or not len(rows):
        raise BadInput(
            f"Rows of shape {rows.shape} were given; wanted is (image, count) with one image at "
            "least."
        )
    value = float(statistic(rows.sum(0, keepdims=True))[0])
    if len(rows) == 1:
        return Interval(value, float("nan"), float("nan"), 1, ONE_IMAGE)
    values = statistic(draw_weights(len(rows), draws, seed) @ rows)
    values = values[np.isfinite(values)]
    low, high = (
        np.percentile(values, [50 * (1 - level), 50 * (1 + level)])
        if len(values)
        else (np.nan, np.nan)
    )
    return Interval(
        value, float(low), float(high), len(rows), f"bootstrap over images, {draws} draws"
    )


def draw_weights(images: int, draws: int, seed: int) -> np.ndarray:
    """Return (draw, image) float64: how often each image is drawn; each row sums to ``images``."""
    return (
        np.random.default_rng(seed)
        .multinomial(images, np.full(images, 1 / images), draws)
        .astype(float)
    )


def f1_from_counts(sums: np.ndarray) -> np.ndarray:
    """Turn (draw, 3) sums of TP, FP, FN into F1."""
    under = 2 * sums[:, 0] + sums[:, 1] + sums[:, 2]
    return divide(2 * sums[:, 0], under)


def iou_from_counts(sums: np.ndarray) -> np.ndarray:
    """Turn (draw, 3) sums of TP, FP, FN into IoU."""
    return divide(sums[:, 0], sums.sum(1))


def mean_from_rows(sums: np.ndarray) -> np.ndarray:
    """Turn (draw, 2) sums of score and 1 (or a weight) into the mean score."""
    return divide(sums[:, 0], sums[:, 1])


@dataclass(frozen=True, slots=True)
class Comparison:
    """One model against another."""

    difference: float
    """First minus second."""
    low: float
    high: float
    statistic: float
    p_value: float
    n: int
    method: str
    detectable: float = float("nan")
    """Least true difference that a sample like this shows with a power of 0.8; smaller ones are
    invisible here."""

    @property
    def bounds(self) -> str:
        """The interval of the difference in words; a dash where nothing is known of it."""
        return "-" if np.isnan(self.low) else f"{self.low:+.3f} to {self.high:+.3f}"

    @property
    def sure(self) -> bool:
        """Whether the interval leaves zero out; False where there is none."""
        return self.low > 0 or self.high < 0

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; None for what is not known."""
        return _plain(self)


def pooled_t_test(one: Sequence[float], other: Sequence[float], level: float = 0.95) -> Comparison:
    """Student's t-test of two independent samples with a pooled variance, two-sided.

    Notes
    -----
    DepthCropSeg++, Table VI: three runs each.  From its printed scores follow t = 18.525 and 0.360
    to 0.487 (it prints 19.259 and 0.362 to 0.485, from digits that it does not print).  Three seeds
    measure the noise of training only; pair it with :func:`paired_bootstrap` over images.
    """
    a, b = np.asarray(one, float), np.asarray(other, float)
    if min(len(a), len(b)) < 2:
        raise BadInput(
            f"Samples of {len(a)} and {len(b)} values were given; a t-test wants two each at least."
        )
    freedom = len(a) + len(b) - 2
    variance = (a.var(ddof=1) * (len(a) - 1) + b.var(ddof=1) * (len(b) - 1)) / freedom
    error = float(np.sqrt(variance * (1 / len(a) + 1 / len(b))))
    return _t_comparison(
        float(a.mean() - b.mean()),
        error,
        freedom,
        level,
        len(a) + len(b),
        "t-test, pooled variance",
    )


def paired_t_test(
    one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray, level: float = 0.95
) -> Comparison:
    """Student's t-test of paired scores (the same images, or the same countries), two-sided.

    Pairs with NaN are left out.
    """
    difference = _pairs(one, other)
    if len(difference) < 2:
        raise BadInput(
            f"{len(difference)} pairs of scores are known on both sides; a paired test wants two "
            "at least."
        )
    error = float(difference.std(ddof=1) / np.sqrt(len(difference)))
    return _t_comparison(
        float(difference.mean()),
        error,
        len(difference) - 1,
        level,
        len(difference),
        "paired t-test",
    )


def _pairs(one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> np.ndarray:
    a, b = np.asarray(one, float), np.asarray(other, float)
    if a.shape != b.shape:
        raise BadInput(
            f"{len(a)} and {len(b)} scores cannot be paired: score both models on the same images."
        )
    differences: np.ndarray = a - b
    known: np.ndarray = differences[np.isfinite(differences)]
    return known


def _t_comparison(
    difference: float, error: float, freedom: int, level: float, n: int, method: str
) -> Comparison:
    half = float(special.stdtrit(freedom, (1 + level) / 2)) * error
    statistic = (
        difference / error
        if error > 0
        else float(np.copysign(np.inf, difference))
        if difference
        else 0.0
    )
    p_value = float(2 * special.stdtr(freedom, -abs(statistic)))
    return Comparison(
        difference,
        difference - half,
        difference + half,
        statistic,
        p_value,
        n,
        method,
        detectable_difference(error, freedom, 1 - level),
    )


def detectable_difference(
    error: float, freedom: int, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the least true difference that a two-sided t-test finds with this power.

    Parameters
    ----------
    error : float
        Standard error of the difference.
    freedom : int
        Degrees of freedom.

    Notes
    -----
    Solved on the noncentral t distribution; Cohen, Statistical Power Analysis, 1988, section 2.
    """
    if not error > 0:
        return 0.0 if error == 0 else float("nan")
    from scipy import optimize, stats  # a second of processor, which few comparisons want

    bound = float(special.stdtrit(freedom, 1 - alpha / 2))

    def short(shift: float) -> float:
        # the other tail is below 1e-6 wherever the power is worth having
        return float(stats.nct.sf(bound, freedom, shift)) - power

    high = bound
    while short(high) < 0:
        high += 1.0
    return float(optimize.brentq(short, 0.0, high)) * error


def paired_bootstrap(
    one: np.ndarray,
    other: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two models on the same images.

    The same draw of images for both, and the difference of their scores.

    Parameters
    ----------
    one, other : (image, count) ndarray
        Counts of each image, as for :func:`bootstrap`.
    statistic : callable
        From (draw, count) sums to (draw,) scores.

    Returns
    -------
    Comparison
        ``p_value`` is twice the share of draws on the other side of zero, at least 1 / draws.
        ``detectable`` is 2.8 bootstrap standard errors (1.96 + 0.84: two-sided at 0.05 with a power
        of 0.8).  Of one image, whose draws are all alike, only the difference is told; the rest is
        NaN.

    Notes
    -----
    Berg-Kirkpatrick, Burkett and Klein, "An empirical investigation of statistical significance in
    NLP", EMNLP 2012.
    """
    a, b = np.asarray(one, float), np.asarray(other, float)
    if a.shape != b.shape or a.ndim != 2 or not len(a):
        raise BadInput(
            f"Counts of shapes {a.shape} and {b.shape} cannot be paired: score both models on the "
            "same images."
        )
    weights = draw_weights(len(a), draws, seed)
    found = statistic(weights @ a) - statistic(weights @ b)
    found = found[np.isfinite(found)]
    difference = float(
        statistic(a.sum(0, keepdims=True))[0] - statistic(b.sum(0, keepdims=True))[0]
    )
    if len(a) == 1 or not len(found):
        nan, method = float("nan"), ONE_IMAGE if len(a) == 1 else "paired bootstrap over images"
        return Comparison(difference, nan, nan, nan, nan, len(a), method)
    low, high = np.percentile(found, [50 * (1 - level), 50 * (1 + level)])
    spread = float(found.std(ddof=1)) if len(found) > 1 else float("nan")
    p_value = min(
        1.0, max(2 * min(float((found <= 0).mean()), float((found >= 0).mean())), 1 / len(found))
    )
    ratio = difference / spread if spread > 0 else 0.0
    factor = float(special.ndtri((1 + level) / 2) + special.ndtri(0.8))
    return Comparison(
        difference,
        float(low),
        float(high),
        ratio,
        p_value,
        len(a),
        f"paired bootstrap over images, {draws} draws",
        factor * spread,
    )


def wilcoxon_test(
    one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray
) -> Comparison:
    """Wilcoxon's signed-rank test of paired scores.

    For scores that are far from normal, such as IoU of single objects.

    Raises
    ------
    BadInput
        If no pair is known on both sides.
    """
    difference = _pairs(one, other)
    if not len(difference):
        raise BadInput("0 pairs of scores are known on both sides; a paired test wants some.")
    nan = float("nan")
    if not np.any(difference):
        return Comparison(0.0, nan, nan, 0.0, 1.0, len(difference), "Wilcoxon signed rank")
    from scipy import stats

    found = stats.wilcoxon(difference)
    return Comparison(
        float(np.median(difference)),
        nan,
        nan,
        float(found.statistic),
        float(found.pvalue),
        len(difference),
        "Wilcoxon signed rank",
    )


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Correct p-values of several comparisons.

    Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    given = np.asarray(p_values, float)
    order = np.argsort(given, kind="stable")
    steps = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    corrected = np.empty(len(given))
    corrected[order] = np.minimum(steps, 1)
    return corrected
