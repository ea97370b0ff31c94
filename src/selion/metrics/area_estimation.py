"""Accuracy and area out of a stratified random sample, with their standard errors.

Olofsson et al., Good practices for estimating area and assessing accuracy of land change, Remote
Sensing of Environment 148 (2014), equations 1 to 13, where strata are the classes of the map; and
Stehman, Estimating area and map accuracy for stratified random sampling when the strata are
different from the map classes, International Journal of Remote Sensing 35 (2014), where they are
not.  The second contains the first: every figure here is a mean or a ratio of two means
over strata (Cochran, Sampling Techniques, sections 5.3 and 6.11), with the correction for finite
populations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selion.errors import BadInput
from selion.metrics.statistics import Interval

QUANTILE = 1.96
"""Of the normal distribution, as Olofsson et al. round it: half widths are 1.96 standard errors."""
METHOD = "normal, 1.96 standard errors"


@dataclass(frozen=True, slots=True)
class SampleEstimate:
    """A figure with its standard error."""

    value: float
    standard_error: float
    n: int
    """Units of the sample behind it: those of the denominator, where it is a ratio."""

    @property
    def half_width(self) -> float:
        """Half of the interval of 95 %."""
        return QUANTILE * self.standard_error

    def scaled(self, factor: float) -> SampleEstimate:
        """Return it in another unit, for example a share of the area as hectares."""
        return SampleEstimate(self.value * factor, self.standard_error * abs(factor), self.n)

    def interval(self, most: float = 1.0) -> Interval:
        """Return the interval of 95 %, cut to what is possible: 0 to ``most``."""
        low, high = self.value - self.half_width, self.value + self.half_width
        return Interval(self.value, max(low, 0.0), min(high, most), self.n, METHOD)


@dataclass(frozen=True, eq=False)
class StratifiedSample:
    """Which stratum each unit of a sample is from, and how large the strata are."""

    stratum: np.ndarray
    """(n,) int, positions in ``sizes``."""
    sizes: np.ndarray
    """(stratum,) int: units of each stratum in the population."""

    def __post_init__(self) -> None:
        drawn = self.drawn
        if len(drawn) > len(self.sizes) or (drawn > self.sizes).any() or (self.sizes < 1).any():
            raise BadInput(
                f"Samples of {drawn.tolist()} units were given for strata of "
                f"{self.sizes.tolist()}: wanted are samples that are not larger than their strata."
            )
        if (lacking := too_few(drawn, self.sizes)).any():
            few = np.flatnonzero(lacking).tolist()
            raise BadInput(
                f"Strata {few} have fewer than two units with an answer, so nothing can be said of "
                "their spread: answer more of them, or draw with fewer strata."
            )

    @property
    def drawn(self) -> np.ndarray:
        """(stratum,) int: units of the sample."""
        return np.bincount(self.stratum, minlength=len(self.sizes))

    @property
    def weights(self) -> np.ndarray:
        """(stratum,) float: shares of the population."""
        return np.asarray(self.sizes / self.sizes.sum())


def too_few(drawn: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Mark (stratum,) strata of whose spread nothing can be said.

    Fewer than two units were drawn, and not the only one that there is: a stratum that was looked
    at as a whole adds nothing to the variance.
    """
    return np.asarray(drawn < np.minimum(sizes, 2))


def required_size(expected: float, standard_error: float) -> int:
    """Return how many units an overall accuracy needs (Olofsson et al., equation 13).

    Parameters
    ----------
    expected : float
        Accuracy that is expected in every stratum, so that equation 13's sum of W_i S_i is S.
    standard_error : float
        That is wanted of the overall accuracy.

    Returns
    -------
    int

    Raises
    ------
    BadInput
        If they are not shares.

    Examples
    --------
    Olofsson et al., section 5.1.1, expect .5 to .7 in the changes and .9 to .95 elsewhere and want
    a standard error of .01; with .9 everywhere it is

    >>> required_size(0.9, 0.01)
    900
    """
    if not 0 < expected < 1 or not 0 < standard_error < 1:
        raise BadInput(
            f"An expected accuracy of {expected} and a standard error of {standard_error} were "
            "given; wanted are shares between 0 and 1."
        )
    return max(2, int(np.ceil(round(expected * (1 - expected) / standard_error**2, 6))))


def allocate(sizes: Sequence[int] | np.ndarray, total: int, least: int) -> np.ndarray:
    """Share a sample out to strata: by their size, but at least so many each.

    Olofsson et al., section 5.1.2: proportional, with a floor for rare strata.

    Parameters
    ----------
    sizes : (stratum,) ints
        Units of each stratum.
    total : int
        Units of the sample.
    least : int
        Units of each stratum at least, or all that it has.

    Returns
    -------
    (stratum,) int64 ndarray
        Its sum is ``total``, unless there are fewer units than that.

    Raises
    ------
    BadInput
        If ``total`` is too small for the floors.
    """
    sizes = np.asarray(sizes, np.int64)
    floors = np.minimum(sizes, least)
    if floors.sum() > total:
        raise BadInput(
            f"{total:,} units are too few for {len(sizes)} strata of at least {least}: take at "
            f"least {int(floors.sum()):,}, a smaller floor, or fewer strata."
        )
    total = min(total, int(sizes.sum()))
    fixed = np.zeros(len(sizes), bool)
    share = np.zeros(len(sizes))
    while True:
        free = total - floors[fixed].sum()
        share[~fixed] = sizes[~fixed] / max(sizes[~fixed].sum(), 1) * free
        share[fixed] = floors[fixed]
        low = ~fixed & (share < floors)
        if not low.any():
            break
        fixed |= low
    found = np.floor(share + 1e-9).astype(np.int64)
    rest = share - found
    for k in np.argsort(-rest, kind="stable")[: total - int(found.sum())]:
        found[k] += 1
    return found


def mean_over(values: np.ndarray, sample: StratifiedSample) -> SampleEstimate:
    """SampleEstimate the mean of a population.

    Parameters
    ----------
    values : (n,) array
        One per unit of the sample, for example whether map and reference agree.
    sample : StratifiedSample
    """
    return ratio_over(values, np.ones(len(sample.stratum)), sample)


def ratio_over(
    numerator: np.ndarray, denominator: np.ndarray, sample: StratifiedSample
) -> SampleEstimate:
    """SampleEstimate the ratio of two sums over a population (Stehman 2014, equations 23 to 28).

    User's accuracy is the ratio of what is mapped and true over what is mapped, producer's that
    over what is true; Olofsson et al.'s equations 6 and 7 are this where strata are map classes.

    Parameters
    ----------
    numerator, denominator : (n,) array
        One per unit of the sample.
    sample : StratifiedSample

    Returns
    -------
    SampleEstimate
        NaN where the denominator's mean is 0.
    """
    y, x = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    counted = int(np.count_nonzero(x))
    means = [_stratum_means(values, sample) for values in (y, x)]
    above, below = (float(sample.weights @ values) for values in means)
    if below <= 0:
        return SampleEstimate(float("nan"), float("nan"), counted)
    value = above / below
    left = y - value * x
    centred = left - _stratum_means(left, sample)[sample.stratum]
    drawn = sample.drawn
    spread = np.bincount(sample.stratum, centred**2, len(drawn)) / np.maximum(drawn - 1, 1)
    unseen = 1 - drawn / sample.sizes
    variance = float(np.sum(sample.weights**2 * unseen * spread / drawn)) / below**2
    return SampleEstimate(value, float(np.sqrt(max(variance, 0.0))), counted)


def _stratum_means(values: np.ndarray, sample: StratifiedSample) -> np.ndarray:
    return np.asarray(np.bincount(sample.stratum, values, len(sample.sizes)) / sample.drawn)


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """What a sample says of one class."""

    users: SampleEstimate
    """Of what the map calls so, the share that is so: 1 - commission."""
    producers: SampleEstimate
    """Of what is so, the share that the map calls so: 1 - omission."""
    f1: SampleEstimate
    iou: SampleEstimate
    mapped: float
    """Share of the area that the map calls so."""
    area: SampleEstimate
    """Share of the area that is so, adjusted for the errors of the map."""


@dataclass(frozen=True, slots=True)
class AreaAdjusted:
    """Area-adjusted accuracy of a map."""

    classes: tuple[str, ...]
    matrix: np.ndarray
    """(mapped, reference) shares of the area, equation 4 of Olofsson et al."""
    counts: np.ndarray
    """(mapped, reference) units of the sample."""
    overall: SampleEstimate
    by_class: Mapping[str, ClassAccuracy]


def area_adjusted(
    mapped: np.ndarray, reference: np.ndarray, classes: Sequence[str], sample: StratifiedSample
) -> AreaAdjusted:
    """SampleEstimate accuracy and area of each class of a map.

    Parameters
    ----------
    mapped, reference : (n,) int arrays
        Positions in ``classes`` of what the map says and of what is so, by unit of the sample.
    classes : sequence of str
    sample : StratifiedSample

    Returns
    -------
    AreaAdjusted

    Notes
    -----
    F1 and intersection over union are ratios over the population, too, and get the same standard
    error as the accuracies; neither is in the papers named above.
    """
    mapped, reference = np.asarray(mapped), np.asarray(reference)
    kinds = range(len(classes))
    matrix = np.array(
        [[mean_over((mapped == i) & (reference == j), sample).value for j in kinds] for i in kinds]
    )
    counts = np.array(
        [[int(np.sum((mapped == i) & (reference == j))) for j in kinds] for i in kinds]
    )
    return AreaAdjusted(
        tuple(classes),
        matrix,
        counts,
        mean_over(mapped == reference, sample),
        {
            name: _of_class((mapped == k), (reference == k), sample)
            for k, name in enumerate(classes)
        },
    )


def _of_class(mapped: np.ndarray, reference: np.ndarray, sample: StratifiedSample) -> ClassAccuracy:
    both = mapped & reference
    return ClassAccuracy(
        users=ratio_over(both, mapped, sample),
        producers=ratio_over(both, reference, sample),
        f1=ratio_over(2.0 * both, mapped.astype(float) + reference, sample),
        iou=ratio_over(both, mapped | reference, sample),
        mapped=mean_over(mapped, sample).value,
        area=mean_over(reference, sample),
    )
