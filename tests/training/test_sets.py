"""The set loss beside an independent computation, and unknown pixels, which must not be seen by
anything.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from selion.classes import FTW2, FTW3
from selion.errors import BadInput
from selion.models.mask2former.network import SetAnswer
from selion.training.criterion import check_network, make_loss
from selion.training.recipe import Loss
from selion.training.sets import set_loss

IGNORE = 255


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def answer(seed=0, views=2, queries=4, classes=3, size=8, layers=1, coarse=1):
    rng = np.random.default_rng(seed)

    def one():
        shapes = ((views, queries, classes + 1), (views, queries, size // coarse, size // coarse))
        return SetAnswer(
            *(torch.from_numpy(rng.normal(0, 2, shape)).requires_grad_() for shape in shapes)
        )

    return one()._replace(auxiliary=tuple(one() for _ in range(layers)))


def value(loss):
    return float(loss.detach())


def labels(seed=0, views=2, size=8, unknown=0.2):
    rng = np.random.default_rng(seed)
    ids = rng.choice(3, (views, size, size))
    ids[rng.random(ids.shape) < unknown] = IGNORE
    return torch.from_numpy(ids.astype(np.int64))


def numpy_layer(layer, truth, elements_of, no_object=0.1, weights=(1.0, 1.0, 1.0)):
    """Every assignment is tried; formulas as in the paper, with the mean over known pixels."""
    classes, masks = layer.classes.detach().numpy(), layer.masks.detach().numpy()
    mask_total = dice_total = entropy = weight = 0.0
    count = sum(len(elements_of(view)) for view in truth)
    for k, view in enumerate(truth):
        known = (view if view.ndim == 2 else view[0]) != IGNORE
        elements = elements_of(view)
        if not known.any():
            continue
        p_class = np.exp(classes[k]) / np.exp(classes[k]).sum(1, keepdims=True)
        p = 1 / (1 + np.exp(-masks[k][:, known]))
        pairs = {}
        for q, e in itertools.product(range(len(p)), range(len(elements))):
            t = elements[e][1][known].astype(float)
            bce = -(t * np.log(p[q]) + (1 - t) * np.log(1 - p[q])).mean()
            dice = 1 - (2 * (p[q] * t).sum() + 1) / (p[q].sum() + t.sum() + 1)
            pairs[q, e] = (bce, dice, -2 * p_class[q, elements[e][0]] + 5 * bce + 5 * dice)
        best = min(
            itertools.permutations(range(len(p)), len(elements)),
            key=lambda qs: sum(pairs[q, e][2] for e, q in enumerate(qs)),
        )
        wanted = [len(weights)] * len(p)
        for e, q in enumerate(best):
            wanted[q] = elements[e][0]
            mask_total += pairs[q, e][0]
            dice_total += pairs[q, e][1]
        for q, name in enumerate(wanted):
            w = (*weights, no_object)[name]
            entropy += -w * np.log(p_class[q, name])
            weight += w
    return 2 * entropy / max(weight, 1e-12) + 5 * (mask_total + dice_total) / max(count, 1)


def by_class(view):
    return [(int(c), view.numpy() == c) for c in np.unique(view) if c != IGNORE]


def by_object(view):
    ids, objects = view.numpy()
    found = [(int(c), ids == c) for c in np.unique(ids) if c not in (IGNORE, 1)]
    return found + [(1, (ids == 1) & (objects == o)) for o in np.unique(objects[ids == 1])]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weights", [(), (0.2, 1.0, 3.0)])
def test_all_pixels_beside_every_assignment(seed, weights):
    said, truth = answer(seed, layers=2), labels(seed)
    expected = sum(
        numpy_layer(layer, truth, by_class, weights=weights or (1.0,) * 3)
        for layer in (said, *said.auxiliary)
    )
    assert value(set_loss(said, truth, weights=weights, points=0)) == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("seed", range(3))
def test_objects_are_elements_of_their_own(seed):
    rng = np.random.default_rng(seed)
    said, ids = answer(seed, queries=6), labels(seed)
    objects = torch.from_numpy(rng.integers(1, 4, ids.shape))
    truth = torch.stack([ids, torch.where(ids == 1, objects, 0)], 1)
    expected = sum(numpy_layer(layer, truth, by_object) for layer in (said, *said.auxiliary))
    loss = make_loss(Loss("sets", options={"targets": "instances", "points": 0}), FTW3)
    assert value(loss(said, truth)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("points", [0, 40])
@pytest.mark.parametrize("targets", ["classes", "instances"])
def test_unknown_pixels_are_seen_by_nothing(points, targets):
    """The trap: whatever the masks say where nothing is known, loss, matching and gradient stay, to
    the bit.
    """
    ids = labels(5, unknown=0.4)
    truth = (
        torch.stack([ids, torch.where(ids == 1, torch.arange(64).reshape(8, 8) // 32 + 1, 0)], 1)
        if targets == "instances"
        else ids
    )
    hidden = (ids == IGNORE)[:, None]
    found = []
    for filling in (None, 50.0, -50.0, float("inf")):
        said = answer(5, queries=6)
        layers = [said, *said.auxiliary]
        changed = [
            layer.masks if filling is None else layer.masks.masked_fill(hidden, filling)
            for layer in layers
        ]
        given = [
            layer._replace(masks=masks, auxiliary=())
            for layer, masks in zip(layers, changed, strict=True)
        ]
        torch.manual_seed(3)
        loss = set_loss(
            given[0]._replace(auxiliary=tuple(given[1:])),
            truth,
            targets=targets,
            things=(1,),
            points=points,
        )
        loss.backward()
        gradients = [
            gradient for layer in layers for gradient in (layer.classes.grad, layer.masks.grad)
        ]
        assert all(
            (layer.masks.grad.masked_select(hidden.expand_as(layer.masks)) == 0).all()
            for layer in layers
        )
        found.append((loss.detach(), gradients))
    for loss, gradients in found[1:]:
        assert torch.equal(loss, found[0][0])
        assert all(
            torch.equal(one, other) for one, other in zip(gradients, found[0][1], strict=True)
        )
    assert any(gradient.any() for gradient in found[0][1])


def test_the_published_form_would_teach_unknown_pixels():
    """Why this loss is ours: in transformers' loss an unknown pixel is "not this class" of every
    mask.
    """
    from transformers import Mask2FormerConfig
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

    weights = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
    theirs = Mask2FormerLoss(
        config=Mask2FormerConfig(num_labels=3, train_num_points=500), weight_dict=weights
    )
    ids = labels(5, views=1, unknown=0.4)
    said = answer(5, views=1, queries=4, layers=0)
    masks = torch.stack([(ids[0] == c).float() for c in range(3)])
    torch.manual_seed(0)
    parts = theirs(said.masks.float(), said.classes.float(), [masks], [torch.arange(3)])
    parts["loss_mask"].backward()
    assert (
        said.masks.grad.masked_select((ids == IGNORE)[:, None].expand_as(said.masks)) != 0
    ).any()


def test_with_everything_known_it_is_the_published_loss():
    """On blocks, where reading between pixels changes little, beside transformers' loss with evenly
    drawn points.
    """
    from transformers import Mask2FormerConfig
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

    rng = np.random.default_rng(7)
    classes = torch.from_numpy(rng.normal(0, 2, (1, 4, 4)))
    masks = torch.from_numpy(np.kron(rng.normal(0, 2, (4, 2, 2)), np.ones((32, 32))))[None]
    ids = torch.from_numpy(np.kron([[0, 1], [2, 1]], np.ones((32, 32), np.int64)))[None]
    config = Mask2FormerConfig(
        num_labels=3, train_num_points=20_000, importance_sample_ratio=0.0, oversample_ratio=1.0
    )
    weights = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
    theirs = Mask2FormerLoss(config=config, weight_dict=weights)
    torch.manual_seed(0)
    parts = theirs(
        masks.float(),
        classes.float(),
        [torch.stack([(ids[0] == c).float() for c in range(3)])],
        [torch.arange(3)],
    )
    said = SetAnswer(classes, masks)
    expected = sum(weights[name] * float(part) for name, part in parts.items())
    assert value(set_loss(said, ids, points=0)) == pytest.approx(expected, rel=0.03)


def test_coarse_masks_are_read_at_the_pixels_centres():
    said, truth = answer(2, layers=0, coarse=2), labels(2)
    finer = said._replace(
        masks=torch.nn.functional.interpolate(
            said.masks, size=(8, 8), mode="bilinear", align_corners=False
        )
    )
    assert value(set_loss(said, truth, points=0)) == pytest.approx(
        value(set_loss(finer, truth, points=0)), rel=1e-6
    )
    for points in (16, 64):
        torch.manual_seed(1)
        one = value(set_loss(said, truth, points=points))
        torch.manual_seed(1)
        assert one == pytest.approx(value(set_loss(finer, truth, points=points)), rel=1e-6)


def test_nothing_known_teaches_nothing():
    said = answer(1)
    set_loss(said, torch.full((2, 8, 8), IGNORE), points=16).backward()
    assert value(set_loss(said, torch.full((2, 8, 8), IGNORE))) == 0
    assert all(
        (grad == 0).all()
        for layer in (said, *said.auxiliary)
        for grad in (layer.classes.grad, layer.masks.grad)
    )
    half = labels(1)
    half[1] = IGNORE
    alone = answer(1)
    kept = [SetAnswer(layer.classes[:1], layer.masks[:1]) for layer in (alone, *alone.auxiliary)]
    assert value(set_loss(said, half, points=0)) == pytest.approx(
        value(set_loss(kept[0]._replace(auxiliary=(kept[1],)), half[:1], points=0))
    )


def test_more_objects_than_queries_and_numbers_that_are_none():
    said, ids = answer(4, queries=2, layers=0), labels(4)
    truth = torch.stack([ids, torch.arange(64).reshape(8, 8).expand(2, 8, 8) + 1], 1)
    assert torch.isfinite(set_loss(said, truth, targets="instances", things=(0, 1, 2), points=0))
    broken = said._replace(masks=said.masks * float("nan"))
    assert torch.isnan(set_loss(broken, ids, points=0))  # the loop stops and names the samples


def test_learning_from_a_set_finds_the_classes():
    """Free logits, a few steps: what was matched becomes the truth, and the rest "no object"."""
    torch.manual_seed(0)
    truth = labels(3, views=1, unknown=0.3)
    classes, masks = (
        torch.zeros(1, 5, 4, requires_grad=True),
        torch.randn(1, 5, 8, 8, requires_grad=True),
    )
    steps = torch.optim.Adam([classes, masks], lr=0.2)
    for _ in range(80):
        steps.zero_grad()
        set_loss(SetAnswer(classes, masks), truth, points=60).backward()
        steps.step()
    evidence = torch.einsum("vqc,vqyx->vcyx", classes.softmax(2)[..., :-1], masks.sigmoid())
    known = truth != IGNORE
    assert (evidence.argmax(1)[known] == truth[known]).float().mean() > 0.95
    assert (classes.argmax(2) == 3).sum() == 2


def test_other_answers_and_truths_are_refused():
    with pytest.raises(BadInput, match="family mask2former"):
        set_loss({"extent": torch.zeros(1)}, labels())
    with pytest.raises(BadInput, match="has no objects"):
        set_loss(answer(), labels(), targets="instances")
    spec = Loss("sets")
    with pytest.raises(BadInput, match="not compare what the family 'unet' answers"):
        check_network(torch.nn.Conv2d(3, 3, 1), make_loss(spec, FTW2), spec, "unet")
