"""Prompts drawn from the truth.

How the close-range tables compare Segment Anything with models that are told nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selion.errors import BadInput, GridMismatch
from selion.models.sam.network import Prompted

COUNTS = tuple(range(1, 11))
"""Points that are given, DepthCropSeg++, Table VII: 1 to 10 at random, the best answer kept."""


@dataclass(frozen=True, eq=False, slots=True)
class BestMask:
    """The best answer of several."""

    mask: np.ndarray
    """(y, x) bool."""
    points: np.ndarray
    """(point, 2) x and y of the prompt that led to it; empty if nothing was asked."""
    iou: float
    """With the truth; NaN if nothing was asked."""
    quality: float
    """The intersection over union that the network itself expected; NaN if nothing was asked."""


def prompt_points(truth: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Draw random points inside the crop.

    Parameters
    ----------
    truth : (y, x) bool ndarray
        Where the crop truly is.
    n : int
        Points, all different; fewer if the crop has fewer pixels.
    seed : int

    Returns
    -------
    (n, 2) float64 ndarray
        x and y: column and row of a pixel.

    Raises
    ------
    BadInput
        If no pixel is crop, or ``n`` is not positive.

    Notes
    -----
    These prompts come from the truth: whoever is asked with them is told where the crop is.  Scores
    reached this way are those of an oracle, and not comparable with models that see the image
    alone.
    """
    inside = np.flatnonzero(truth)
    if n < 1 or not len(inside):
        message = (
            f"{n} points inside a crop of {len(inside)} pixels were asked for; wanted are at least "
            "one of each."
        )
        raise BadInput(message)
    chosen = np.random.default_rng([seed, n]).choice(inside, min(n, len(inside)), replace=False)
    return np.stack([chosen % truth.shape[1], chosen // truth.shape[1]], 1).astype(np.float64)


def best_of_points(
    network: Prompted,
    image: np.ndarray,
    truth: np.ndarray,
    *,
    counts: Sequence[int] = COUNTS,
    seed: int = 0,
) -> BestMask:
    """Ask with random points inside the crop, once for each number of points.

    The answer that fits the truth best is kept.

    Parameters
    ----------
    network : Prompted
        SAM, SAM 2 or SAM-HQ, see :func:`selion.models.sam.network.load_prompted`.
    image : (3, y, x) float32 ndarray
        Red, green and blue from 0 to 1.
    truth : (y, x) bool ndarray
    counts : ints
        How many points are given each time.
    seed : int

    Returns
    -------
    BestMask
        Where the truth is empty nothing can be asked, and the mask is empty.

    Raises
    ------
    GridMismatch
        If image and truth differ in size.
    BadInput
        If the image has not three bands.

    Notes
    -----
    An oracle twice over: the points are drawn from the truth, and the truth decides which answer is
    kept (close-range reference, Table VII; the paper does not say more).  One point gets three
    answers, of which the one that the network itself thinks best is taken; several points get one,
    as the authors of Segment Anything advise.
    """
    if image.shape[1:] != truth.shape:
        message = (
            f"An image of {image.shape[1:]} pixels and a truth of {truth.shape} were given: they "
            "must lie on one grid."
        )
        raise GridMismatch(message)
    if not truth.any():
        return BestMask(np.zeros(truth.shape, bool), np.empty((0, 2)), np.nan, np.nan)
    looked = network.look(image)
    best: BestMask | None = None
    for n in counts:
        points = prompt_points(truth, n, seed)
        logits, quality = network.ask(
            looked, points[None], np.ones((1, len(points)), np.int64), several=len(points) == 1
        )
        k = int(quality[0].argmax())
        mask = (network.enlarge(looked, logits[0, k : k + 1]) > 0)[0].cpu().numpy()
        found = BestMask(mask, points, _iou(mask, truth), float(quality[0, k]))
        best = found if best is None or found.iou > best.iou else best
    if best is None:
        message = "No number of points was given: name at least one."
        raise BadInput(message)
    return best


def _iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())
