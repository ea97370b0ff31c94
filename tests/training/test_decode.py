"""DECODE's three heads: targets and loss beside plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selion.classes import FTW2, FTW3
from selion.errors import BadInput
from selion.training.criterion import make_loss
from selion.training.decode import boundary_targets, decode_loss, distances
from selion.training.recipe import Loss

IGNORE = 255


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def fields(seed=0, size=14, unknown=0.1):
    """Blocks of ids, some of them touching, and what is not known."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((size, size), np.int64)
    ids[1:6, 1:7], ids[1:6, 7:13], ids[8:13, 2:5], ids[8:13, 7:14] = 1, 2, 3, 4
    known = rng.random(ids.shape) >= unknown
    return ids, known


def slow_distances(ids, known):
    depth = np.zeros(ids.shape)
    places = np.argwhere(known)
    for number in np.unique(ids[ids > 0]):
        own = np.argwhere(ids == number)
        others = places[ids[tuple(places.T)] != number]
        reach = [
            np.sqrt(((others - place) ** 2).sum(1)).min() if len(others) else 1.0 for place in own
        ]
        depth[tuple(own.T)] = np.array(reach) / max(reach)
    return depth


def test_distances_are_shares_of_the_deepest_place():
    ids, known = fields(unknown=0.0)
    assert distances(ids, known) == pytest.approx(slow_distances(ids, known), abs=1e-6)
    square = np.zeros((9, 9), np.int64)
    square[2:7, 2:7] = 1
    deep = distances(square, np.ones_like(square, bool))
    assert deep[4, 4] == 1
    assert deep[2, 4] == pytest.approx(1 / 3)
    assert (distances(np.ones((4, 4), np.int64), np.ones((4, 4), bool)) == 1).all()
    half = np.ones((4, 6), bool)
    half[:, 3:] = False
    assert (distances(np.ones((4, 6), np.int64), half)[half] == 1).all()


def truth_of(ids, known, three=True):
    size = ids.shape[0]
    labels = (ids > 0).astype(np.int64)
    for y in range(size):
        for x in range(size):
            near = ids[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            if ids[y, x] and three and (near != ids[y, x]).any():
                labels[y, x] = 2
    labels[~known] = IGNORE
    return labels


@pytest.mark.parametrize("block", [False, True])
def test_targets_come_from_classes_or_from_objects(block):
    ids, known = fields(1)
    if block:  # wider than what a pixel sees
        known[2:8, 3:8] = False
    labels = truth_of(ids, known)
    both = [torch.from_numpy(v)[None] for v in (labels, ids)]
    edge, deep = boundary_targets(both[0], both[1], (1,), 2)
    assert np.array_equal(edge[0].numpy(), labels == 2)
    objects = np.where(labels != IGNORE, ids, 0)
    assert deep[0].numpy()[labels != IGNORE] == pytest.approx(
        slow_distances(objects, known)[labels != IGNORE], abs=1e-6
    )
    two = truth_of(ids, known, three=False)
    edge, _ = boundary_targets(torch.from_numpy(two)[None], both[1], (1,), -1)
    for y, x in np.argwhere(known):
        near = (slice(max(y - 1, 0), y + 2), slice(max(x - 1, 0), x + 2))
        assert bool(edge[0, y, x]) == bool(
            ids[y, x] and (ids[near][known[near]] != ids[y, x]).any()
        )
    parts, _ = boundary_targets(torch.from_numpy(labels)[None], None, (1,), 2)
    assert torch.equal(parts[0] > 0, torch.from_numpy(labels == 2))


def numpy_tanimoto(p, t, depth, smooth):
    value = 0.0
    for one, other in ((p, t), (1 - p, 1 - t)):
        pt, pp, tt = (one * other).sum(), (one * one).sum(), (other * other).sum()
        value += (
            (pt + smooth)
            * sum(1 / (2**d * (pp + tt) - (2 ** (d + 1) - 1) * pt + smooth) for d in range(depth))
            / depth
        )
    return value / 2


def heads(seed, views, classes, size):
    rng = np.random.default_rng(seed)
    shapes = {
        "extent": (views, classes, size, size),
        "boundary": (views, 1, size, size),
        "distance": (views, 1, size, size),
    }
    return {
        name: torch.from_numpy(rng.normal(0, 1.5, shape).astype(np.float32)).requires_grad_()
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("scheme", [FTW2, FTW3])
@pytest.mark.parametrize("depth", [1, 5])
def test_the_loss_is_the_mean_of_three_similarities(scheme, depth):
    made = [fields(seed) for seed in (2, 3)]
    labels = np.stack([truth_of(ids, known, three=len(scheme) == 3) for ids, known in made])
    truth = torch.from_numpy(np.stack([labels, np.stack([ids for ids, _ in made])], 1))
    said = heads(4, 2, len(scheme), 14)
    loss = make_loss(Loss("decode", options={"targets": "instances", "depth": depth}), scheme)(
        said, truth
    )
    edge, deep = (
        v.numpy()
        for v in boundary_targets(truth[:, 0], truth[:, 1], (1,), 2 if scheme is FTW3 else -1)
    )
    known = labels != IGNORE
    values = {name: v.detach().numpy().astype(float) for name, v in said.items()}
    soft = np.exp(values["extent"])
    soft = np.moveaxis(soft / soft.sum(1, keepdims=True), 1, -1)[known]
    extent = np.mean(
        [
            1 - numpy_tanimoto(soft[:, c], (labels[known] == c).astype(float), depth, 1e-5)
            for c in range(len(scheme))
        ]
    )
    others = [
        1 - numpy_tanimoto(1 / (1 + np.exp(-values[name][:, 0][known])), target[known], depth, 1e-5)
        for name, target in (("boundary", edge), ("distance", deep))
    ]
    assert float(loss.detach()) == pytest.approx((extent + sum(others)) / 3, rel=1e-4)


def test_unknown_pixels_take_no_part():
    ids, known = fields(6, unknown=0.3)
    truth = torch.from_numpy(truth_of(ids, known))[None]
    hidden = torch.from_numpy(~known)[None, None]
    found = []
    for filling in (0.0, 60.0, float("inf")):
        said = heads(7, 1, 3, 14)
        loss = decode_loss(
            {name: v.masked_fill(hidden, filling) for name, v in said.items()}, truth, boundary=2
        )
        loss.backward()
        found.append((loss.detach(), {name: v.grad for name, v in said.items()}))
    for loss, gradients in found:
        assert torch.equal(loss, found[0][0])
        assert all(
            torch.equal(gradients[name], found[0][1][name])
            and torch.isfinite(gradients[name]).all()
            for name in gradients
        )


def test_a_perfect_answer_costs_nothing_and_others_are_refused():
    ids, known = fields(8, unknown=0.0)
    labels = torch.from_numpy(truth_of(ids, known))[None]
    edge, deep = boundary_targets(labels, None, (1,), 2)
    extent = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1) * 60.0
    said = {
        "extent": extent,
        "boundary": (edge[:, None] - 0.5) * 120,
        "distance": torch.logit(deep.clamp(1e-6, 1 - 1e-6))[:, None],
    }
    assert float(decode_loss(said, labels, boundary=2).detach()) == pytest.approx(0, abs=1e-4)
    with pytest.raises(BadInput, match="family decode"):
        decode_loss(torch.zeros(1, 3, 4, 4), labels)


@pytest.mark.parametrize("targets", ["classes", "instances"])
@pytest.mark.parametrize("kind", ["decode", "sets"])
def test_the_loop_trains_networks_with_answers_of_their_own(kind, targets, tmp_path):
    """End to end through the plain loop, killed and resumed: the raw answer is compared, classes
    are validated.
    """
    from dataclasses import replace

    from selion.models import build_network
    from selion.training import loop
    from selion.training.recipe import Data, Hardware, Inputs, Model, Schedule, Validate
    from train_toys import BANDS, card, recipe, sample

    if kind == "decode":
        shape = {"family": "decode", "filters": 8, "depth": 2, "heads": 2, "pyramid": 2}
    else:
        shape = {
            "family": "mask2former",
            "queries": 6,
            "hidden": 32,
            "embed_dim": 12,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 2, 2],
            "window_size": 4,
        }
        shape |= {"decoder_layers": 2, "encoder_layers": 1, "feedforward": 32}
    made = recipe(
        model=Model(shape),
        loss=Loss(kind, (), {"targets": targets} | ({"points": 64} if kind == "sets" else {})),
        data=Data(truth="labels" if targets == "classes" else "auto"),
        input=Inputs(BANDS, (3000.0,), window=64),
        schedule=Schedule(epochs=2, batch=4, lr=3e-3, per="step"),
        validate=Validate(every=1, metric="miou"),
        hardware=Hardware("cpu", "float32", threads=1, workers=0, save_every=0),
    )
    samples = [sample(k) for k in range(2)]

    def fit(folder, **options):
        torch.manual_seed(1)
        network = build_network(shape, 8, 3)
        return loop.fit(
            network,
            samples,
            made,
            replace(card(made), architecture=shape),
            folder,
            validation=samples[:1],
            **options,
        )

    whole = fit(tmp_path / "whole")
    assert all(np.isfinite(e["loss"]) for e in whole.history if "loss" in e)
    assert np.isfinite(whole.history[-1]["val/loss"])
    assert 0 <= whole.scores.miou <= 1

    class Killed(Exception):
        pass

    def listen(stage, done, _total, _detail):
        if stage == "train" and done == 3:
            raise Killed

    with pytest.raises(Killed):
        fit(tmp_path / "cut", on_step=listen)
    again = fit(tmp_path / "cut", resume=True)
    assert all(torch.equal(again.weights[name], tensor) for name, tensor in whole.weights.items())
    assert [e.get("val/loss") for e in again.history] == [e.get("val/loss") for e in whole.history]


def test_losses_that_want_objects_want_samples_with_objects():
    from dataclasses import replace

    from selion.training.crops import make_view
    from selion.training.draws import Draw
    from selion.training.recipe import Data
    from train_toys import recipe, sample

    made = recipe(loss=Loss("sets", options={"targets": "instances"}), data=Data(truth="labels"))
    _, truth = make_view(sample(0), made, Draw(1, 0, 0))
    assert truth.shape == (2, 32, 32)
    assert (truth[0][truth[1] == 0] != 1).all()  # no field without its object
    by_ids = make_view(sample(0), replace(made, data=Data(truth="instances")), Draw(1, 0, 0))[1]
    assert np.array_equal(by_ids[1], truth[1])
    with pytest.raises(BadInput, match="toy0 has no instances"):
        make_view(replace(sample(0), instances=None), made, Draw(1, 0, 0))
