"""Losses of PRUE's section 3.3 and of its Tables 2 and 5.

All are functions ``loss(logits, labels, **options) -> scalar``:

* ``logits``: (view, class, y, x) float32; ``labels``: (view, y, x) int64 with class ids and 255
  (IGNORE).
* An ignored pixel takes part in nothing: changing its logits changes neither the loss nor any
  gradient, and its own gradient is zero.  A batch of nothing but ignored pixels has loss 0 and
  gradient 0.
* Sums run over the whole batch, not over single views, as in the published code.

With p the softmax and t the one-hot truth of a class, TP = sum p t, FP = sum p - TP, FN = sum t -
TP over the known pixels.

References: PRUE, arXiv 2603.27101; facts of its code (ftw-baselines, ``training/losses.py`` and
``trainers.py``), where it departs from its text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from selion.classes import IGNORE

if TYPE_CHECKING:
    from torch import Tensor

Weights = Sequence[float]
EPS = 1e-7
"""Least denominator: a batch of nothing but ignored pixels has loss 0, not NaN."""


def _known(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return probabilities and one-hot truth (view, class, y, x), and what is known.

    Both are zero on ignored pixels; what is known is (view, 1, y, x).
    """
    known = (labels != IGNORE)[:, None]
    # so that not even infinity leaks out of an ignored pixel
    safe = logits.masked_fill(~known, 0.0)
    truth = (
        F.one_hot(labels.masked_fill(~known[:, 0], 0), logits.shape[1])
        .movedim(-1, 1)
        .to(logits.dtype)
    )
    return safe.softmax(1) * known, truth * known, known


def _sums(p: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return TP, FP, FN (class,)."""
    hit = (p * t).sum((0, 2, 3))
    return hit, p.sum((0, 2, 3)) - hit, t.sum((0, 2, 3)) - hit


def _tensor(weights: Weights, like: Tensor) -> Tensor:
    return (
        torch.as_tensor(weights, dtype=like.dtype, device=like.device)
        if len(weights)
        else torch.ones(like.shape[1], dtype=like.dtype, device=like.device)
    )


def cross_entropy(logits: Tensor, labels: Tensor, *, weights: Weights = ()) -> Tensor:
    """Cross-entropy, ``sum_i w_{y_i} (-log p_{i, y_i}) / sum_i w_{y_i}`` over known pixels i.

    Parameters
    ----------
    weights : sequence of float
        One per class; empty: all 1.  FTW-v1 has 0.04, 0.08, 0.88.
    """
    entropy, of_class, known = _pixel_entropy(logits, labels, weights)
    return (entropy * of_class * known).sum() / (of_class * known).sum().clamp_min(EPS)


def _pixel_entropy(
    logits: Tensor, labels: Tensor, weights: Weights
) -> tuple[Tensor, Tensor, Tensor]:
    """Return -log p of the true class, its weight, and what is known, (view, y, x) each."""
    known = labels != IGNORE
    safe = labels.masked_fill(~known, 0)
    entropy = F.cross_entropy(logits.masked_fill(~known[:, None], 0.0), safe, reduction="none")
    return entropy, _tensor(weights, logits)[safe], known


def tversky(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    gamma: float = 1.0,
    smooth: float = 0.0,
) -> Tensor:
    """Tversky loss, ``(mean_c [1 - (TP + s) / (TP + alpha FP + beta FN + s)])^gamma``.

    A class absent from the batch counts as 0 in the mean.

    At its defaults this *is* the Dice loss: Table 5's "Tversky" and "Dice" are one loss, and their
    0.43 and 0.42 object F1 the noise of a run.

    References
    ----------
    Salehi, Erdogmus and Gholipour, "Tversky loss function for image segmentation using 3D fully
    convolutional deep networks", MLMI 2017, eq. 3.
    """
    return _tversky_parts(logits, labels, alpha, beta, smooth).mean() ** gamma


def _tversky_parts(
    logits: Tensor, labels: Tensor, alpha: float, beta: float, smooth: float
) -> Tensor:
    """Return 1 minus the Tversky index per class, 0 where the batch has none of the class."""
    p, t, _ = _known(logits, labels)
    hit, false, missed = _sums(p, t)
    index = (hit + smooth) / (hit + alpha * false + beta * missed + smooth).clamp_min(EPS)
    return (1 - index) * ((hit + missed) > 0)


def dice(logits: Tensor, labels: Tensor, *, weights: Weights = (), smooth: float = 0.0) -> Tensor:
    """Soft Dice loss, ``sum_c w_c d_c / sum_c w_c`` with ``d_c = 1 - 2 TP / (2 TP + FP + FN)``.

    Absent classes have d = 0.

    Unweighted it is smp's, which Table 5 calls "Dice".

    References
    ----------
    Milletari, Navab and Ahmadi, "V-Net", 3DV 2016, section 3, without its squares in the
    denominator.
    """
    d = _tversky_parts(logits, labels, 0.5, 0.5, smooth)
    w = _tensor(weights, logits)
    return (d * w).sum() / w.sum()


def log_cosh_dice(
    logits: Tensor, labels: Tensor, *, weights: Weights = (), smooth: float = 0.0
) -> Tensor:
    """PRUE's loss, ``log cosh( mean_c [ w_c d_c / sum_k w_k ] )`` with the ``d_c`` of :func:`dice`.

    Without weights ``log cosh( mean_c d_c )``.

    With weights the mean over the C classes comes *after* they were normalised, which makes the
    argument C times smaller: with three classes it is at most 1/3 and the loss at most log
    cosh(1/3) = 0.054.  The text does not say so; the published weights were trained so, and so do
    we.

    References
    ----------
    Jadon, "A survey of loss functions for semantic segmentation", CIBCB 2020, section 2.N (without
    weights); ftw-baselines for the weights.
    """
    d = _tversky_parts(logits, labels, 0.5, 0.5, smooth)
    if len(weights):
        w = _tensor(weights, logits)
        d = d * w / w.sum()
    mean = d.mean()
    return torch.log(torch.cosh(mean))


def jaccard(logits: Tensor, labels: Tensor) -> Tensor:
    """Soft Jaccard loss, ``mean_c [1 - TP / (TP + FP + FN)]``: Tversky with alpha = beta = 1.

    References
    ----------
    Rahman and Wang, "Optimizing intersection-over-union in deep neural networks", ISVC 2016.
    """
    return tversky(logits, labels, alpha=1.0, beta=1.0)


def focal(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma: float = 2.0,
    normalised: bool = True,
    mean: bool = True,
) -> Tensor:
    """Focal loss, one class against the rest.

    ``mean_c [ sum_i f_i b_i / sum_i f_i / n ]``, ``b`` binary cross-entropy,
    ``f = (1 - exp(-b))^gamma``.

    Parameters
    ----------
    gamma : float
    normalised : bool
        Divide by the sum of the focal terms f (the normalised focal loss of arXiv 1909.07829).
    mean : bool
        Divide by the number n of known pixels besides, as smp does.  Both together are what Table 5
        was run with, and make the loss n times smaller than either: with 32 windows of 256 px it is
        of the order 1e-7, next to Adam's epsilon of 1e-8.  That row's F1 of 0.18 says more about
        this than about focal losses; ``mean = false`` gives the normalised focal loss proper.

    References
    ----------
    Lin et al., "Focal loss for dense object detection", ICCV 2017, eq. 4, in smp's form with a
    sigmoid per class; older smp sums over classes.
    """
    known = labels != IGNORE
    flat = logits.movedim(1, -1)[known]  # (known pixel, class)
    target = F.one_hot(labels[known], logits.shape[1]).to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(flat, target, reduction="none")
    term = (1 - torch.exp(-entropy)) ** gamma
    of_class = (term * entropy).sum(0)
    if normalised:
        of_class = of_class / term.sum(0).clamp_min(1e-6)
    return of_class.mean() / (max(len(flat), 1) if mean else 1)


def ftnmt(
    logits: Tensor, labels: Tensor, *, weights: Weights = (), depth: int = 5, smooth: float = 1e-5
) -> Tensor:
    """Fractal Tanimoto loss with its complement.

    ``mean_c w_c [1 - (T(p, t) + T(1 - p, 1 - t)) / 2]``.

    ``T(p, t) = (pt + s) / D * sum_{d=0..D-1} 1 / (2^d (pp + tt) - (2^{d+1} - 1) pt + s)`` with pt =
    sum p t, pp = sum p p, tt = sum t t.

    Departure: the published code leaves *class* 3 out, but not its pixels, so that unknown pixels
    were background of every class; here they take no part.

    References
    ----------
    Diakogiannis et al., "Looking for change? Roll the dice and demand attention", Remote Sensing
    13, 2021, eqs. 6 and 7.
    """
    p, t, known = _known(logits, labels)
    return (_tensor(weights, logits) * (1 - similarity(p, t, known, depth, smooth))).mean()


def similarity(p: Tensor, t: Tensor, known: Tensor, depth: int = 5, smooth: float = 1e-5) -> Tensor:
    """Return the fractal Tanimoto similarity with complement of each class, (class,).

    1 for equal fuzzy sets.

    Parameters
    ----------
    p, t : (view, class, y, x) float tensors
        From 0 to 1, and 0 where nothing is known.
    known : (view, 1, y, x) bool tensor
    depth, smooth
        See :func:`ftnmt`.
    """
    return (
        _tanimoto(p, t, depth, smooth) + _tanimoto((1 - p) * known, (1 - t) * known, depth, smooth)
    ) / 2


def _tanimoto(p: Tensor, t: Tensor, depth: int, smooth: float) -> Tensor:
    pt, pp, tt = ((a * b).sum((0, 2, 3)) for a, b in ((p, t), (p, p), (t, t)))
    total = torch.zeros_like(pt)
    for d in range(depth):
        total = total + 1 / (2.0**d * (pp + tt) - (2.0 ** (d + 1) - 1) * pt + smooth)
    return (pt + smooth) * total / depth


def focal_tversky(
    logits: Tensor,
    labels: Tensor,
    *,
    weights: Weights = (),
    alpha: float = 0.7,
    gamma: float = 1.33,
    smooth: float = 1.0,
    as_published: bool = False,
) -> Tensor:
    """Focal Tversky loss; without weights w = 1 / C.

    ``sum_c w_c (1 - (TP + s) / (TP + alpha FN + (1 - alpha) FP + s))^(1 / gamma)``.

    The power is flat below 1e-7, as its slope is infinite at a perfect answer.

    With ``as_published`` the sums are those of PRUE's public code, which multiplies (view, y, x) by
    a mask (view, 1, y, x): each pixel counts as often as views of the batch know its place, and an
    unknown pixel is background where another view knows the place.  Of a batch of which all is
    known the difference is that of ``smooth``, which is divided by the number of views.

    References
    ----------
    Abraham and Khan, "A novel focal Tversky loss function with improved attention U-Net for lesion
    segmentation", ISBI 2019, eq. 4.
    """
    hit, false, missed = (
        _published_sums(logits, labels) if as_published else _sums(*_known(logits, labels)[:2])
    )
    index = (hit + smooth) / (hit + alpha * missed + (1 - alpha) * false + smooth)
    w = _tensor(weights, logits) if len(weights) else _tensor((), logits) / logits.shape[1]
    known = (labels != IGNORE).any()
    return (w * (1 - index).clamp_min(EPS) ** (1 / gamma)).sum() * known


def _published_sums(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return hits, false and missed per class as the published code's broadcasting sums them."""
    known = labels != IGNORE
    p = logits.softmax(1)
    t = F.one_hot(labels.masked_fill(~known, 0), logits.shape[1]).movedim(-1, 1).to(p.dtype)
    times = known.sum(0).to(p.dtype)
    hit, false, missed = (
        (a * b * times).sum((0, 2, 3)) for a, b in ((p, t), (p, 1 - t), (1 - p, t))
    )
    return hit, false, missed


def local_tversky(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float = 0.7,
    gamma: float = 1.33,
    smooth: float = 1.0,
    as_published: bool = False,
) -> Tensor:
    """Focal Tversky loss whose weights are the inverse shares of the classes in the batch.

    They are normalised to sum 1; absent classes weigh 1e-5.  ``as_published`` as for
    :func:`focal_tversky`.
    """
    counts = torch.bincount(labels[labels != IGNORE].flatten(), minlength=logits.shape[1]).to(
        logits.dtype
    )
    inverse = torch.where(counts > 0, 1 / counts.clamp_min(1), torch.zeros_like(counts))
    weights = torch.where(
        counts > 0, inverse / inverse.sum().clamp_min(1e-30), torch.full_like(counts, 1e-5)
    )
    return focal_tversky(
        logits,
        labels,
        weights=weights,  # type: ignore[arg-type]
        alpha=alpha,
        gamma=gamma,
        smooth=smooth,
        as_published=as_published,
    )


def pixel_weighted_ce(
    logits: Tensor,
    labels: Tensor,
    *,
    weights: Weights = (),
    target: int = 2,
    kernel: int = 7,
    sigma: float = 3.0,
    scale: float = 1.0,
) -> Tensor:
    """Cross-entropy that counts more near a class.

    ``sum_i m_i w_{y_i} (-log p_{i, y_i}) / sum_i m_i``, ``m = 1 + scale G * [y = target]``.

    G is a Gaussian of ``kernel`` x ``kernel`` pixels and standard deviation ``sigma``, reflected at
    the border.  The class weights stand in the numerator alone, as in the published code.

    Notes
    -----
    The idea of a weight map is of Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015, section 3.
    """
    entropy, of_class, known = _pixel_entropy(logits, labels, weights)
    place = torch.arange(kernel, dtype=logits.dtype, device=logits.device) - (kernel - 1) / 2
    line = torch.exp(-(place**2) / (2 * sigma**2))
    line = line / line.sum()
    edge = F.pad((labels == target).to(logits.dtype)[:, None], (kernel // 2,) * 4, mode="reflect")
    near = F.conv2d(F.conv2d(edge, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))[:, 0]
    map_ = (1 + scale * near) * known
    return (map_ * of_class * entropy).sum() / map_.sum().clamp_min(EPS)


def ce_dice(
    logits: Tensor, labels: Tensor, *, weights: Weights = (), smooth: float = 0.0
) -> Tensor:
    """Weighted cross-entropy plus unweighted Dice."""
    return cross_entropy(logits, labels, weights=weights) + dice(logits, labels, smooth=smooth)


def _with_entropy(
    logits: Tensor, labels: Tensor, weights: Weights, share: float, other: Tensor
) -> Tensor:
    return (1 - share) * cross_entropy(logits, labels, weights=weights) + share * other


def ce_log_cosh_dice(
    logits: Tensor, labels: Tensor, *, weights: Weights = (), share: float = 0.5
) -> Tensor:
    """``(1 - share) CE + share log-cosh Dice``, both weighted."""
    overlap = log_cosh_dice(logits, labels, weights=weights)
    return _with_entropy(logits, labels, weights, share, overlap)


def ce_ftnmt(
    logits: Tensor,
    labels: Tensor,
    *,
    weights: Weights = (),
    share: float = 0.5,
    depth: int = 5,
    smooth: float = 1e-5,
) -> Tensor:
    """``(1 - share) CE + share FTNMT``, both weighted."""
    fractal = ftnmt(logits, labels, weights=weights, depth=depth, smooth=smooth)
    return _with_entropy(logits, labels, weights, share, fractal)


def tversky_ce(
    logits: Tensor,
    labels: Tensor,
    *,
    weights: Weights = (),
    share: float = 0.5,
    alpha: float = 0.7,
    gamma: float = 1.33,
    smooth: float = 1.0,
    as_published: bool = False,
) -> Tensor:
    """``(1 - share) CE + share focal Tversky``, both weighted.

    ``as_published`` as for :func:`focal_tversky`.
    """
    overlap = focal_tversky(
        logits,
        labels,
        weights=weights,
        alpha=alpha,
        gamma=gamma,
        smooth=smooth,
        as_published=as_published,
    )
    return _with_entropy(logits, labels, weights, share, overlap)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "ce": cross_entropy,
    "dice": dice,
    "log_cosh_dice": log_cosh_dice,
    "jaccard": jaccard,
    "tversky": tversky,
    "focal": focal,
    "focal_tversky": focal_tversky,
    "local_tversky": local_tversky,
    "ftnmt": ftnmt,
    "pixel_weighted_ce": pixel_weighted_ce,
    "ce+dice": ce_dice,
    "ce+log_cosh_dice": ce_log_cosh_dice,
    "ce+ftnmt": ce_ftnmt,
    "tversky_ce": tversky_ce,
}
"""What a recipe calls ``loss.kind``; beside these there are those of
:mod:`selion.training.criterion`, for networks with answers of their own."""
