"""Depth to mask: where the gradient says that plants begin.

The DepthCropSeg++ paper gives the order of the steps and no number: normalise, find edges, weigh by
the gradient, fit a sigmoid, cut "at the point of maximum gradient change in the fitted curve".
Each step is a function here.  What a number stands for that the paper does not give is our
reconstruction.

Two curves can be fitted:

* ``"histogram"``, the plainest reading: the cumulative histogram of depth in which each pixel
  counts as much as its gradient.  A pixel lies on one side of a step or on the other, so tall
  leaves pull the curve up, and clods of soil, which are many, pull it down.
* ``"contour"``: for each depth the mean step that its contour runs along.  Contours
  through the soil meet small steps, contours around plants large ones; in between the curve rises
  as a sigmoid does.  By the coarea formula it is the gradient-weighted histogram divided by the
  plain one, when every step counts for all depths that it passes.  A low leaf counts as a tall one,
  and soil, however rough, does not count by its area.

Which one is better is measured in ``bench/pseudo_masks.py``; by default both are tried, and the
mask that looks better is kept (:mod:`selion.labelling.choosing`).

Before that the plane of the ground can be taken out.  The inverse depth of a plane is a linear
function of the pixel's place, so a camera that is tilted adds just that to what a network says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage
from scipy.optimize import linprog
from scipy.special import expit

from selion.errors import BadInput

KNEE = math.log(2 + math.sqrt(3))
"""The second derivative of a sigmoid is largest this far, in units of 1 / k, before its centre."""
TAILS = 0.02
"""The fit leaves out what is below this share and above its complement: logits have no end
there."""
SMOOTH = 2.0
"""Standard deviation, in bins, by which the contour curve is smoothed: a bin holds few steps."""
USUAL = (0.1, 0.75)
"""The contour curve is read between these shares of the gradient-weighted histogram: below are the
pits of the soil, above the tips of the tallest leaves, and a few pixels of either must not decide
what a step is."""
TILES = 16
"""The ground is looked for in so many tiles along each side ..."""
LEAST_TILE = 4
"""... of at least so many pixels ..."""
LOW = 10
"""... at this percentile of each ..."""
BELOW = 0.2
"""... as the plane that has this share of the tiles below it: plants are above."""


@dataclass(frozen=True, slots=True)
class ThresholdOptions:
    """How depth becomes a mask."""

    curve: Literal["best", "contour", "histogram"] = "best"
    """What the sigmoid is fitted to, see the module; ``"best"``: whichever mask looks better."""
    reading: Literal["slope", "knee"] = "slope"
    """"Maximum gradient change": where the curve is steepest (the largest first derivative), or
    where its slope grows fastest (the largest second one)."""
    clip: tuple[float, float] = (0.0, 100.0)
    """Percentiles of depth that become 0 and 1."""
    bins: int = 256
    ground: Literal["best", "flat", "tilted"] = "best"
    """Whether the camera looked straight down, or the plane of the ground is to be taken out;
    ``"best"``: whichever mask looks better."""

    def __post_init__(self) -> None:
        _among("curve", self.curve, ("best", "contour", "histogram"))
        _among("ground", self.ground, ("best", "flat", "tilted"))
        _among("reading", self.reading, ("slope", "knee"))
        if not 0 <= self.clip[0] < self.clip[1] <= 100:
            raise BadInput(
                f"Depth is to be clipped at the percentiles {self.clip}; wanted are two from 0 to "
                "100, the lower one first."
            )
        if self.bins < 8:
            raise BadInput(f"A histogram of {self.bins} bins was asked for; wanted are 8 or more.")


def _among(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise BadInput(f"The {what} {given!r} was asked for; there is {' and '.join(known)}.")


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """``1 / (1 + exp(-k (d - centre)))``, fitted."""

    k: float
    """Slope, in units of the inverse normalised depth."""
    centre: float
    residual: float
    """Root mean square of the curve minus the sigmoid, 0 to 1."""

    def __call__(self, depth: np.ndarray) -> np.ndarray:
        """Evaluate it."""
        found: np.ndarray = expit(self.k * (depth - self.centre))
        return found


@dataclass(frozen=True, eq=False, slots=True)
class DepthMask:
    """What one depth map gave."""

    mask: np.ndarray | None
    """(y, x) bool, True for crop; None where there is no step to find."""
    depth: np.ndarray | None
    """(y, x) float32 normalised depth, larger is nearer; None for a constant map."""
    threshold: float
    """In normalised depth; NaN without a mask."""
    sigmoid: Sigmoid | None
    why: str = ""
    """Why there is no mask."""


def depth_mask(depth: np.ndarray, options: ThresholdOptions | None = None) -> DepthMask:
    """Cut a depth map into soil and crop.

    Parameters
    ----------
    depth : (y, x) ndarray
        Relative inverse depth, as networks give it, or height: larger is nearer to the camera.  Any
        number type.
    options : ThresholdOptions, optional
        Where they leave the curve or the ground open, ``"contour"`` and ``"flat"`` are taken: to
        choose is for :func:`selion.labelling.choosing.choose_mask`.

    Returns
    -------
    DepthMask
        ``mask`` is None, and ``why`` says it, where the map is constant or has no edge.

    Raises
    ------
    BadInput
        If it is not (y, x), or holds numbers that are not finite.

    Notes
    -----
    DepthCropSeg++ (section II) gives the order of the steps only.  Parameters are ours.
    """
    options = options or ThresholdOptions()
    plane = normalise(depth, options.clip)
    if plane is not None and options.ground == "tilted":
        plane = normalise(plane - ground_plane(plane))
    if plane is None:
        return DepthMask(None, None, math.nan, None, "the depth map is constant")
    weights = gradient_weights(plane)
    made = (
        contour_curve(plane, options.bins)
        if options.curve != "histogram"
        else histogram_curve(plane, weights, options.bins)
    )
    sigmoid = fit_sigmoid(*made)
    threshold = (
        sigmoid_threshold(sigmoid, options.reading)
        if options.curve == "histogram"
        else curve_threshold(*made, sigmoid, options.reading)
    )
    mask = plane > threshold
    if not mask.any() or mask.all():
        return DepthMask(None, plane, threshold, sigmoid, "no step of depth parts soil from plants")
    return DepthMask(mask, plane, threshold, sigmoid)


def normalise(depth: np.ndarray, clip: tuple[float, float] = (0.0, 100.0)) -> np.ndarray | None:
    """Stretch depth to 0 .. 1.

    Parameters
    ----------
    depth : (y, x) ndarray
    clip : (low, high)
        Percentiles that become 0 and 1.

    Returns
    -------
    (y, x) float32 ndarray or None
        None for a constant map.

    Raises
    ------
    BadInput
        If it is not (y, x), or holds numbers that are not finite.
    """
    if depth.ndim != 2 or not depth.size:
        raise BadInput(f"A depth map of shape {depth.shape} was given; wanted is (y, x).")
    plane = depth.astype(np.float64)
    if not np.isfinite(plane).all():
        raise BadInput("The depth map holds numbers that are not finite: fill the holes first.")
    low, high = np.percentile(plane, clip)
    if high <= low:
        return None
    return np.clip((plane - low) / (high - low), 0, 1).astype(np.float32)


def ground_plane(depth: np.ndarray) -> np.ndarray:
    """Fit a plane to the ground between plants.

    Parameters
    ----------
    depth : (y, x) ndarray
        Larger is nearer.

    Returns
    -------
    (y, x) float32 ndarray
        The plane; zero where the map is too small to tell (under 3 tiles of 4 pixels a side).

    Notes
    -----
    Quantile regression (Koenker and Bassett 1978) of a low percentile of each tile, as a linear
    programme: exact, and what is tall has no more weight than what is hardly above the ground.
    """
    count = min(TILES, *(size // LEAST_TILE for size in depth.shape))
    if count < 3:
        return np.zeros(depth.shape, np.float32)
    cells = [np.array_split(np.linspace(-0.5, 0.5, size), count) for size in depth.shape]
    tiles = (
        tile for rows in np.array_split(depth, count) for tile in np.array_split(rows, count, 1)
    )
    low = np.array([np.percentile(tile, LOW) for tile in tiles], np.float64)
    y, x = np.meshgrid(*([cell.mean() for cell in side] for side in cells), indexing="ij")
    places = np.column_stack([np.ones(count**2), y.ravel(), x.ravel()])
    level, down, right = _quantile_plane(places, low)
    rows, columns = (np.concatenate(side) for side in cells)
    found: np.ndarray = (level + down * rows[:, None] + right * columns).astype(np.float32)
    return found


def _quantile_plane(places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the coefficients of the plane with the share ``BELOW`` of the values below it."""
    count, terms = places.shape
    above, below = np.full(count, BELOW), np.full(count, 1 - BELOW)
    solved = linprog(
        np.concatenate([np.zeros(terms), above, below]),
        A_eq=np.hstack([places, np.eye(count), -np.eye(count)]),
        b_eq=values,
        bounds=[(None, None)] * terms + [(0, None)] * (2 * count),
    )
    found: np.ndarray = solved.x[:terms]
    return found


def gradient_weights(depth: np.ndarray) -> np.ndarray:
    """Return Sobel's gradient magnitude of (y, x) depth, divided by its largest: 0 ..

    1; zero for a plane without an edge.
    """
    gradient = np.hypot(ndimage.sobel(depth, 0), ndimage.sobel(depth, 1))
    top = float(gradient.max())
    found: np.ndarray = gradient / top if top > 0 else gradient
    return found


def histogram_curve(
    depth: np.ndarray, weights: np.ndarray, bins: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cumulative histogram of depth in which each pixel counts as its weight.

    Parameters
    ----------
    depth : (y, x) ndarray
        0 .. 1.
    weights : (y, x) ndarray
        From :func:`gradient_weights`.

    Returns
    -------
    depths, curve : (bins,) float64 ndarray
        Upper edges of the bins, and shares from 0 to 1.
    """
    counts, edges = np.histogram(depth, bins, (0.0, 1.0), weights=weights)
    total = counts.sum()
    return edges[1:], np.cumsum(counts) / total if total > 0 else np.linspace(1 / bins, 1, bins)


def contour_curve(depth: np.ndarray, bins: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each depth, the mean step that its contour runs along.

    Made to rise, as a share of the largest.

    Parameters
    ----------
    depth : (y, x) ndarray
        0 .. 1.

    Returns
    -------
    depths, curve : (bins,) float64 ndarray
        Edges of the bins, and shares from 0 to 1.

    Notes
    -----
    Two neighbours (left-right, upper-lower) of depths a < b are a piece of the contour of every
    depth from a to b.  Its length is counted once with weight 1 and once with weight b - a, and the
    second is divided by the first.
    """
    low, high = _steps(depth)
    length = _passed(low, high, np.ones_like(low), bins)
    weighted = _passed(low, high, high - low, bins)
    below = np.cumsum(weighted) / max(float(weighted.sum()), 1e-12)
    usual = (below >= USUAL[0]) & (below <= USUAL[1])
    rising = np.maximum.accumulate(np.where(usual, weighted / np.maximum(length, 1e-12), 0))
    top = float(rising[-1])
    return np.arange(1, bins + 1) / bins, rising / top if top > 0 else np.linspace(
        1 / bins, 1, bins
    )


def _steps(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and the higher depth of all pairs of neighbours, (pair,) float64."""
    one = np.concatenate([depth[:, :-1].ravel(), depth[:-1].ravel()]).astype(np.float64)
    other = np.concatenate([depth[:, 1:].ravel(), depth[1:].ravel()]).astype(np.float64)
    return np.minimum(one, other), np.maximum(one, other)


def _passed(low: np.ndarray, high: np.ndarray, weights: np.ndarray, bins: int) -> np.ndarray:
    """Sum the weights of the steps that pass each edge of the bins, (bins,) float64, smoothed."""
    first, last = (np.minimum((value * bins).astype(np.int64), bins) for value in (low, high))
    change = np.bincount(first, weights, bins + 1) - np.bincount(last, weights, bins + 1)
    found: np.ndarray = ndimage.gaussian_filter1d(np.cumsum(change)[:bins], SMOOTH, mode="nearest")
    return np.maximum(found, 0)


def fit_sigmoid(depths: np.ndarray, curve: np.ndarray) -> Sigmoid:
    """Fit a sigmoid to a curve that rises from 0 to 1.

    Least squares on the logits between 2 and 98 %.

    Parameters
    ----------
    depths, curve : (bins,) ndarray

    Returns
    -------
    Sigmoid
        A step of the steepest slope that the bins can show where no two points are left to fit, or
        the curve does not rise.
    """
    inner = (curve > TAILS) & (curve < 1 - TAILS)
    x, logits = depths[inner], np.log(curve[inner] / (1 - curve[inner]))
    spread = float(((x - x.mean()) ** 2).sum()) if len(x) else 0.0
    k = float(((x - x.mean()) * logits).sum() / spread) if spread > 0 else 0.0
    if k <= 0:
        k, centre = (
            4.0 * len(depths),
            float(depths[min(int(np.searchsorted(curve, 0.5)), len(depths) - 1)]),
        )
    else:
        centre = float(x.mean() - logits.mean() / k)
    fitted = expit(k * (depths - centre))
    return Sigmoid(k, centre, float(np.sqrt(np.mean((fitted - curve) ** 2))))


def sigmoid_threshold(sigmoid: Sigmoid, reading: str = "slope") -> float:
    """Return the depth of "maximum gradient change".

    The centre, where f' is largest, or ``centre - ln(2 + sqrt 3) / k``, where f'' is.
    """
    return sigmoid.centre - (KNEE / sigmoid.k if reading == "knee" else 0.0)


def curve_threshold(
    depths: np.ndarray, curve: np.ndarray, sigmoid: Sigmoid, reading: str = "slope"
) -> float:
    """Return the depth at which a curve reaches the height that a reading has on a sigmoid.

    1/2 at the centre, 1 / (3 + sqrt 3) at the knee.

    It is taken from the curve itself.  A fit on logits minds the tails most, and those of the
    contour curve are soil: they say how rough it is, not where it ends.
    """
    height = 0.5 if reading == "slope" else float(expit(-KNEE))
    place = int(np.searchsorted(curve, height))
    return float(depths[place]) if place < len(depths) else sigmoid.centre
