"""Losses beside independent numpy computations, written from the formulas and not from the code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selion.errors import BadInput, UnknownName
from selion.training import losses
from selion.training.criterion import make_loss
from selion.training.recipe import Loss

W = (0.05, 0.2, 0.75)
IGNORE = 255


def batch(seed=0, shape=(2, 3, 9, 11), unknown=0.2, classes=(0, 1, 2)):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, shape).astype(np.float64)
    labels = rng.choice(classes, (shape[0], *shape[2:])).astype(np.int64)
    labels[rng.random(labels.shape) < unknown] = IGNORE
    return logits, labels


def call(function, logits, labels, **options):
    return float(function(torch.from_numpy(logits), torch.from_numpy(labels), **options))


def flat(logits, labels):
    """Known pixels as rows: probabilities (n, c), one-hot truth (n, c), logits (n, c), labels
    (n,).
    """
    rows = np.moveaxis(logits, 1, -1)[labels != IGNORE]
    truth = labels[labels != IGNORE]
    p = np.exp(rows - rows.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True), np.eye(logits.shape[1])[truth], rows, truth


def numpy_ce(logits, labels, w=(1, 1, 1)):
    p, _, _, y = flat(logits, labels)
    weight = np.asarray(w, float)[y]
    return float((weight * -np.log(p[np.arange(len(y)), y])).sum() / weight.sum())


def numpy_dice_parts(logits, labels):
    p, t, _, _ = flat(logits, labels)
    both = 2 * (p * t).sum(0) / (p.sum(0) + t.sum(0))
    return np.where(t.sum(0) > 0, 1 - both, 0.0)


def numpy_focal_tversky(logits, labels, w=(1 / 3,) * 3):
    p, t, _, _ = flat(logits, labels)
    tp, fn, fp = (p * t).sum(0), ((1 - p) * t).sum(0), (p * (1 - t)).sum(0)
    return float(
        (np.asarray(w) * (1 - (tp + 1) / (tp + 0.7 * fn + 0.3 * fp + 1)) ** (1 / 1.33)).sum()
    )


def numpy_ftnmt(logits, labels, w=(1, 1, 1)):
    p, t, _, _ = flat(logits, labels)

    def tanimoto(a, b):
        ab, aa, bb = (a * b).sum(0), (a * a).sum(0), (b * b).sum(0)
        return (
            (ab + 1e-5)
            / 5
            * sum(1 / (2**d * (aa + bb) - (2 ** (d + 1) - 1) * ab + 1e-5) for d in range(5))
        )

    return float(np.mean(np.asarray(w) * (1 - (tanimoto(p, t) + tanimoto(1 - p, 1 - t)) / 2)))


def numpy_focal(logits, labels):
    _, t, z, _ = flat(logits, labels)
    q = 1 / (1 + np.exp(-z))
    right = np.where(t > 0, q, 1 - q)
    term = (1 - right) ** 2
    return float(np.mean((term * -np.log(right)).sum(0) / term.sum(0) / len(z)))


def numpy_pixel_weighted(logits, labels, w=(1, 1, 1), scale=1.0):
    from scipy import ndimage

    place = np.arange(7) - 3
    line = np.exp(-(place**2) / 18)
    line /= line.sum()
    near = np.stack(
        [
            ndimage.correlate((one == 2).astype(float), np.outer(line, line), mode="mirror")
            for one in labels
        ]
    )
    m = (1 + scale * near)[labels != IGNORE]
    p, _, _, y = flat(logits, labels)
    return float((m * np.asarray(w)[y] * -np.log(p[np.arange(len(y)), y])).sum() / m.sum())


def numpy_inverse_shares(labels):
    known = labels[labels != IGNORE]
    share = np.array([np.mean(known == k) for k in range(3)])
    inverse = np.where(share > 0, 1 / np.maximum(share, 1e-9), 0)
    return np.where(share > 0, inverse / inverse.sum(), 1e-5)


EXPECTED = {
    "ce": lambda z, y: numpy_ce(z, y, W),
    "dice": lambda z, y: float(np.average(numpy_dice_parts(z, y), weights=W)),
    "log_cosh_dice": lambda z, y: float(
        np.log(np.cosh(np.mean(numpy_dice_parts(z, y) * W / np.sum(W))))
    ),
    "jaccard": lambda z, y: float(
        np.mean([1 - (1 - d) / (1 + d) if d else 0 for d in numpy_dice_parts(z, y)])
    ),
    "tversky": lambda z, y: float(numpy_dice_parts(z, y).mean()),
    "focal": numpy_focal,
    "focal_tversky": lambda z, y: numpy_focal_tversky(z, y, W),
    "local_tversky": lambda z, y: numpy_focal_tversky(z, y, numpy_inverse_shares(y)),
    "ftnmt": lambda z, y: numpy_ftnmt(z, y, W),
    "pixel_weighted_ce": lambda z, y: numpy_pixel_weighted(z, y, W),
    "ce+dice": lambda z, y: numpy_ce(z, y, W) + float(numpy_dice_parts(z, y).mean()),
    "ce+log_cosh_dice": lambda z, y: (
        0.5 * numpy_ce(z, y, W) + 0.5 * float(np.log(np.cosh(np.mean(numpy_dice_parts(z, y) * W))))
    ),
    "ce+ftnmt": lambda z, y: 0.5 * numpy_ce(z, y, W) + 0.5 * numpy_ftnmt(z, y, W),
    "tversky_ce": lambda z, y: 0.5 * numpy_ce(z, y, W) + 0.5 * numpy_focal_tversky(z, y, W),
}
WEIGHTLESS = ("jaccard", "tversky", "focal", "local_tversky")


def test_every_loss_has_an_independent_computation():
    assert set(EXPECTED) == set(losses.LOSSES)


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("classes", [(0, 1, 2), (0, 2)])
def test_equals_the_formula(name, classes):
    logits, labels = batch(3, classes=classes)
    options = {} if name in WEIGHTLESS else {"weights": W}
    assert call(losses.LOSSES[name], logits, labels, **options) == pytest.approx(
        EXPECTED[name](logits, labels), rel=1e-5, abs=1e-7
    )


@pytest.mark.parametrize("name", losses.LOSSES)
def test_ignored_pixels_take_no_part(name):
    logits, labels = batch(5)
    gone = labels == IGNORE
    z = torch.from_numpy(logits).requires_grad_()
    y = torch.from_numpy(labels)
    loss = losses.LOSSES[name](z, y)
    (gradient,) = torch.autograd.grad(loss, z)
    assert gradient.movedim(1, -1)[torch.from_numpy(gone)].abs().max() == 0
    assert gradient.abs().max() > 0
    changed = logits.copy()
    np.moveaxis(changed, 1, -1)[gone] = 1e4
    z2 = torch.from_numpy(changed).requires_grad_()
    loss2 = losses.LOSSES[name](z2, y)
    assert loss2.item() == loss.item()
    assert torch.equal(torch.autograd.grad(loss2, z2)[0], gradient)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_nothing_known_costs_nothing(name):
    logits, labels = batch(6)
    z = torch.from_numpy(logits).requires_grad_()
    loss = losses.LOSSES[name](z, torch.full(labels.shape, IGNORE))
    (gradient,) = torch.autograd.grad(loss, z)
    assert loss.item() == 0
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_right_answer_is_better_than_a_wrong_one_and_slopes_are_finite(name):
    _, labels = batch(7, unknown=0.1)
    right = np.moveaxis(np.eye(3)[np.where(labels == IGNORE, 0, labels)], -1, 1) * 60.0 - 30.0
    wrong = np.roll(right, 1, axis=1)
    assert call(losses.LOSSES[name], right, labels) < call(losses.LOSSES[name], wrong, labels)
    z = torch.from_numpy(right).requires_grad_()
    (gradient,) = torch.autograd.grad(losses.LOSSES[name](z, torch.from_numpy(labels)), z)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", losses.LOSSES)
def test_gradients_agree_with_differences(name):
    logits, labels = batch(8, (1, 3, 4, 4))
    function = losses.LOSSES[name]
    y = torch.from_numpy(labels)
    assert torch.autograd.gradcheck(
        lambda z: function(z, y), (torch.from_numpy(logits).requires_grad_(),), eps=1e-6, atol=1e-5
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 0.9))
def test_tversky_with_its_defaults_is_dice(seed, unknown):
    logits, labels = batch(seed, unknown=unknown)
    assert call(losses.tversky, logits, labels) == pytest.approx(
        call(losses.dice, logits, labels), rel=1e-12
    )


def test_log_cosh_dice_has_an_extra_third_with_weights_and_none_without():
    _, labels = batch(9, unknown=0)
    wrong = np.moveaxis(np.eye(3)[(labels + 1) % 3], -1, 1) * 100.0
    assert call(losses.log_cosh_dice, wrong, labels, weights=W) == pytest.approx(
        np.log(np.cosh(1 / 3)), rel=1e-6
    )
    assert call(losses.log_cosh_dice, wrong, labels) == pytest.approx(np.log(np.cosh(1)), rel=1e-6)
    scaled = tuple(7 * w for w in W)
    assert call(losses.log_cosh_dice, wrong, labels, weights=scaled) == pytest.approx(
        np.log(np.cosh(1 / 3)), rel=1e-6
    )


def test_sums_run_over_the_batch_not_over_views():
    logits, labels = batch(10)
    apart = [call(losses.dice, logits[k : k + 1], labels[k : k + 1]) for k in range(2)]
    assert call(losses.dice, logits, labels) != pytest.approx(np.mean(apart), rel=1e-6)


def test_agree_with_the_library_that_prue_used():
    smp = pytest.importorskip("segmentation_models_pytorch").losses
    logits, labels = (torch.from_numpy(v) for v in batch(11, classes=(0, 1)))
    pairs = [
        (losses.dice, smp.DiceLoss("multiclass", ignore_index=IGNORE)),
        (
            losses.tversky,
            smp.TverskyLoss("multiclass", ignore_index=IGNORE, alpha=0.3, beta=0.6, gamma=1.5),
        ),
        (losses.focal, smp.FocalLoss("multiclass", ignore_index=IGNORE, normalized=True)),
    ]
    for ours, theirs in pairs:
        options = {"alpha": 0.3, "beta": 0.6, "gamma": 1.5} if ours is losses.tversky else {}
        assert float(ours(logits, labels, **options)) == pytest.approx(
            float(theirs(logits, labels)), rel=1e-5
        )


def test_focal_divides_by_the_pixels_unless_told_not_to():
    logits, labels = batch(12)
    known = int((labels != IGNORE).sum())
    assert call(losses.focal, logits, labels, mean=False) == pytest.approx(
        known * call(losses.focal, logits, labels), rel=1e-9
    )


def test_make_loss_takes_options_and_refuses_what_it_does_not_know():
    logits, labels = (torch.from_numpy(v) for v in batch(13))
    loss = make_loss(Loss("tversky", options={"alpha": 0.3, "beta": 0.7}))
    assert float(loss(logits, labels)) == float(losses.tversky(logits, labels, alpha=0.3, beta=0.7))
    weighted = make_loss(Loss("ce", W))
    assert float(weighted(logits, labels)) == float(losses.cross_entropy(logits, labels, weights=W))
    with pytest.raises(UnknownName, match="did you mean 'log_cosh_dice'"):
        make_loss(Loss("logcosh_dice"))
    with pytest.raises(UnknownName, match="did you mean 'alpha'"):
        make_loss(Loss("tversky", options={"alfa": 0.3}))
    with pytest.raises(BadInput, match="has no class weights"):
        make_loss(Loss("focal", W))


def numpy_published_tversky(logits, labels, w):
    """The published code's arrays, broadcast as it does: (view, y, x) times (view, 1, y, x)."""
    power = np.exp(logits - logits.max(1, keepdims=True))
    p = power / power.sum(1, keepdims=True)
    valid = (labels != IGNORE)[:, None].astype(float)
    known = np.where(labels == IGNORE, 0, labels)
    total = 0.0
    for k in range(logits.shape[1]):
        predict = (p[:, k] * valid).ravel()
        target = ((known == k) * valid).ravel()
        assert predict.size == len(logits) * labels.size
        hit = (predict * target).sum()
        missed, false = ((1 - predict) * target).sum(), (predict * (1 - target)).sum()
        total += w[k] * (1 - (hit + 1) / (hit + 0.7 * missed + 0.3 * false + 1)) ** (1 / 1.33)
    return total


@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_tversky_as_published_is_that_of_the_published_broadcasting(unknown):
    logits, labels = batch(5, shape=(4, 3, 12, 10), unknown=unknown)
    for name, weights, options in (
        ("focal_tversky", W, {"weights": W}),
        ("local_tversky", numpy_inverse_shares(labels), {}),
    ):
        theirs = numpy_published_tversky(logits, labels, weights)
        found = call(losses.LOSSES[name], logits, labels, **options, as_published=True)
        assert found == pytest.approx(theirs, rel=1e-6), name
        ours = call(losses.LOSSES[name], logits, labels, **options)
        assert 1e-6 < abs(ours - theirs) < 0.05, name
    both = 0.5 * numpy_ce(logits, labels, W) + 0.5 * numpy_published_tversky(logits, labels, W)
    found = call(losses.tversky_ce, logits, labels, weights=W, as_published=True)
    assert found == pytest.approx(both, rel=1e-6)


def test_tversky_as_published_takes_no_part_where_nothing_is_known():
    logits, labels = batch(1)
    labels[:] = IGNORE
    assert call(losses.local_tversky, logits, labels, as_published=True) == 0
